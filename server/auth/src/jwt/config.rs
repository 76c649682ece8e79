use jws::{Alg, PublicKey};
use kit::loose::{Flag, Json, Text, Texts};
use kit::{
    Ask, Error, Nothing, Query, Reading, Reads, Recording, Reply, Result, Route, Secret, World, Writing,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::provider::{Provider, Source};
use super::{CONFIG, ONLY, PROVIDER, Signed, Title};

/// How a mount is set up.
#[derive(Deserialize, Serialize)]
pub(super) struct Config {
    pub(super) oidc_discovery_url: String,
    pub(super) oidc_discovery_ca_pem: String,
    pub(super) oidc_client_id: String,
    pub(super) oidc_client_secret: Secret<String>,
    pub(super) oidc_response_mode: String,
    pub(super) oidc_response_types: Vec<String>,
    pub(super) jwks_url: String,
    pub(super) jwks_ca_pem: String,
    pub(super) jwt_validation_pubkeys: Vec<String>,
    pub(super) jwt_supported_algs: Vec<String>,
    pub(super) bound_issuer: String,
    pub(super) default_role: String,
    pub(super) namespace_in_state: bool,
    /// Why the issuer could not be reached when this was written, if that was let pass.
    pub(super) problem: Option<String>,
}

impl Config {
    /// Where the issuer publishes its keys. Nothing, if they are given here.
    pub(super) fn source(&self) -> Option<Source> {
        if !self.oidc_discovery_url.is_empty() {
            let (issuer, ca) = (self.oidc_discovery_url.clone(), self.oidc_discovery_ca_pem.clone());
            return Some(Source::Discovery { issuer, ca });
        }
        let (url, ca) = (self.jwks_url.clone(), self.jwks_ca_pem.clone());
        Some(Source::Jwks { url, ca }).filter(|_| !self.jwks_url.is_empty())
    }

    /// Whether people log in through their browser here, and not by tokens they bring.
    pub(super) fn is_flow(&self) -> bool {
        !self.oidc_discovery_url.is_empty() && !self.oidc_client_id.is_empty()
    }

    /// Whether the provider hands out the identity by itself, without a code.
    pub(super) fn is_implicit(&self) -> bool {
        self.oidc_response_types.iter().any(|kind| kind == "id_token")
    }

    /// The name of the role that a login asks for: the default one, if it names none.
    ///
    /// # Errors
    /// If there is no default either.
    pub(super) fn role_named(&self, asked: Option<&Text>) -> Result<String> {
        let asked = asked.map_or("", |role| role.0.as_str());
        let name = if asked.is_empty() { self.default_role.clone() } else { asked.to_lowercase() };
        if name.is_empty() { Err(Error::invalid("missing role")) } else { Ok(name) }
    }

    /// By which algorithms tokens may be signed.
    pub(super) fn allows(&self, alg: Alg) -> bool {
        self.jwt_supported_algs.is_empty() || self.jwt_supported_algs.iter().any(|name| name == alg.name())
    }

    fn check(&self) -> Result<()> {
        let ways = [
            !self.oidc_discovery_url.is_empty(),
            !self.jwks_url.is_empty(),
            !self.jwt_validation_pubkeys.is_empty(),
        ];
        if ways.iter().filter(|way| **way).count() != 1 {
            return Err(Error::invalid(
                "exactly one of 'jwt_validation_pubkeys', 'jwks_url', 'jwks_pairs', 'oidc_discovery_url', or \
                 'provider_config' must be set",
            ));
        }
        if self.oidc_client_id.is_empty() != self.oidc_client_secret.expose().is_empty() {
            return Err(Error::invalid(
                "both 'oidc_client_id' and 'oidc_client_secret' must be set for OIDC",
            ));
        }
        if !self.oidc_client_id.is_empty() && self.oidc_discovery_url.is_empty() {
            return Err(Error::invalid("'oidc_discovery_url' must be set for OIDC"));
        }
        if !is_certificates(&self.oidc_discovery_ca_pem) {
            let why = "could not parse CA PEM value successfully";
            return Err(Error::invalid(format!("error checking oidc discovery URL: {why}")));
        }
        if !is_certificates(&self.jwks_ca_pem) {
            return Err(Error::invalid("error checking jwks_ca_pem"));
        }
        if self.jwt_validation_pubkeys.iter().any(|pem| PublicKey::from_pem(pem).is_none()) {
            return Err(Error::invalid(
                "error parsing public key: data does not contain any valid public keys",
            ));
        }
        if let Some(name) = self.jwt_supported_algs.iter().find(|name| Alg::parse(name).is_none()) {
            return Err(Error::invalid(format!(
                "invalid jwt_supported_algs: unsupported signing algorithm {name:?}"
            )));
        }
        self.check_responses()
    }

    fn check_responses(&self) -> Result<()> {
        if !self.oidc_response_types.iter().all(|kind| kind == "code" || kind == "id_token") {
            let kinds = self.oidc_response_types.join(" ");
            return Err(Error::invalid(format!(
                "invalid response_types [{kinds}]. 'code' and 'id_token' are allowed"
            )));
        }
        match self.oidc_response_mode.as_str() {
            "" | "query" if self.is_implicit() => {
                Err(Error::invalid("query response_mode may not be used with an id_token response_type"))
            }
            "" | "query" | "form_post" => Ok(()),
            mode => Err(Error::invalid(format!("invalid response_mode: {mode:?}"))),
        }
    }
}

/// Whether this is nothing, or certificates.
fn is_certificates(pem: &str) -> bool {
    let is_certificate = |block: &x509::pem::Block<'_>| x509::Certificate::from_der(&block.der).is_ok();
    pem.is_empty()
        || x509::pem::blocks(pem).is_ok_and(|blocks| !blocks.is_empty() && blocks.iter().all(is_certificate))
}

/// Reads how this method is set up.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Read {}

/// How this method is set up, without its secret.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    bound_issuer: String,
    default_role: String,
    jwks_ca_pem: String,
    jwks_url: String,
    jwt_supported_algs: Vec<String>,
    jwt_validation_pubkeys: Vec<String>,
    namespace_in_state: bool,
    oidc_client_id: String,
    oidc_discovery_ca_pem: String,
    oidc_discovery_url: String,
    oidc_response_mode: String,
    oidc_response_types: Vec<String>,
    override_allowed_server_names: Vec<String>,
    provider_config: Map<String, Value>,
    status: &'static str,
}

impl<T: Title> Query<Signed<T>> for Read {
    const ROUTE: Route = Route::get("config");
    type Reply = Shown;

    fn run(self, _: &Signed<T>, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let config = CONFIG.get(cx, ONLY)?.ok_or_else(Error::not_found)?;
        let unseen = matches!(config.source(), Some(Source::Discovery { .. })) && !PROVIDER.has(cx, ONLY)?;
        let status = match config.problem {
            Some(why) if unseen => {
                cx.warn(format!("failed to construct JWK validator: keyset configuration error: {why}"));
                "invalid"
            }
            _ => "valid",
        };
        let shown = Shown {
            bound_issuer: config.bound_issuer,
            default_role: config.default_role,
            jwks_ca_pem: config.jwks_ca_pem,
            jwks_url: config.jwks_url,
            jwt_supported_algs: config.jwt_supported_algs,
            jwt_validation_pubkeys: config.jwt_validation_pubkeys,
            namespace_in_state: config.namespace_in_state,
            oidc_client_id: config.oidc_client_id,
            oidc_discovery_ca_pem: config.oidc_discovery_ca_pem,
            oidc_discovery_url: config.oidc_discovery_url,
            oidc_response_mode: config.oidc_response_mode,
            oidc_response_types: config.oidc_response_types,
            override_allowed_server_names: Vec::new(),
            provider_config: Map::new(),
            status,
        };
        Ok(shown.into())
    }
}

/// Sets this method up, all of it anew. The issuer is asked for its keys first.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Write {
    /// The issuer that tokens must name; empty: any.
    bound_issuer: Option<Text>,
    /// The role of a login that names none.
    default_role: Option<Text>,
    /// Certificates in PEM that sign that of `jwks_url`; empty: those of the system.
    jwks_ca_pem: Option<Text>,
    /// Where the issuer publishes its keys.
    jwks_url: Option<Text>,
    /// The algorithms that tokens may be signed by; empty: all that are known. Logins through a browser: RS256.
    jwt_supported_algs: Option<Texts>,
    /// The issuer's keys, in PEM.
    jwt_validation_pubkeys: Option<Texts>,
    /// The namespace travels in the state of a login through a browser, not in the address to return to.
    namespace_in_state: Option<Flag>,
    /// As which client this server is known to the provider.
    oidc_client_id: Option<Text>,
    /// What that client proves itself with.
    oidc_client_secret: Option<Secret<String>>,
    /// Certificates in PEM that sign those of the provider; empty: those of the system.
    oidc_discovery_ca_pem: Option<Text>,
    /// The issuer, where it has a discovery document.
    oidc_discovery_url: Option<Text>,
    /// How the provider answers: `query` or `form_post`.
    oidc_response_mode: Option<Text>,
    /// What the provider answers with: `code` or `id_token`.
    oidc_response_types: Option<Texts>,
    /// Not supported: must be empty.
    override_allowed_server_names: Option<Texts>,
    /// Not supported: must be empty.
    provider_config: Option<Json>,
    /// Takes the settings although the issuer could not be reached.
    skip_jwks_validation: Option<Flag>,
}

impl Write {
    fn config(&self, namespace_in_state: bool) -> Config {
        let text = |text: &Option<Text>| text.as_ref().map(|text| text.0.clone()).unwrap_or_default();
        let texts = |texts: &Option<Texts>| {
            let texts = texts.as_ref().map(|texts| texts.0.clone()).unwrap_or_default();
            texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<String>>()
        };
        let secret = self.oidc_client_secret.as_ref().map(|secret| secret.expose().clone());
        Config {
            oidc_discovery_url: text(&self.oidc_discovery_url),
            oidc_discovery_ca_pem: text(&self.oidc_discovery_ca_pem),
            oidc_client_id: text(&self.oidc_client_id),
            oidc_client_secret: Secret::new(secret.unwrap_or_default()),
            oidc_response_mode: text(&self.oidc_response_mode),
            oidc_response_types: texts(&self.oidc_response_types),
            jwks_url: text(&self.jwks_url),
            jwks_ca_pem: text(&self.jwks_ca_pem),
            jwt_validation_pubkeys: texts(&self.jwt_validation_pubkeys),
            jwt_supported_algs: texts(&self.jwt_supported_algs),
            bound_issuer: text(&self.bound_issuer),
            default_role: text(&self.default_role).to_lowercase(),
            namespace_in_state: self.namespace_in_state.map_or(namespace_in_state, |flag| flag.0),
            problem: None,
        }
    }

    /// Refuses what the real one has and this one has not: nothing that is set is ignored.
    fn check_unsupported(&self) -> Result<()> {
        let names = self.override_allowed_server_names.as_ref();
        if names.is_some_and(|names| names.0.iter().any(|name| !name.is_empty())) {
            return Err(Error::invalid(
                "override_allowed_server_names is not supported: give the issuer a certificate for its name",
            ));
        }
        let why = match self.provider_config.as_ref().map(|config| &config.0) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Object(config)) if config.is_empty() => return Ok(()),
            Some(Value::Object(config)) => match config.get("provider").and_then(Value::as_str) {
                None => "'provider' field not found in provider_config".to_owned(),
                Some(name @ ("azure" | "gsuite" | "secureauth" | "ibmisam" | "kubernetes")) => format!(
                    "provider {name:?} is not supported by this server: leave provider_config out and use what is in \
                     the token"
                ),
                Some(name) => format!("provider {name:?} not found in custom providers"),
            },
            Some(_) => "it must be an object".to_owned(),
        };
        Err(Error::invalid(format!("invalid provider_config: {why}")))
    }
}

impl<T: Title> Ask<Signed<T>> for Write {
    const ROUTE: Route = Route::post("config");
    type Facts = Option<Source>;
    type Heard = Option<Result<Provider, String>>;
    type Reply = Nothing;

    fn facts(&self, _: &Signed<T>, _: &Recording<'_>) -> Result<Option<Source>> {
        let config = self.config(true);
        config.check()?;
        self.check_unsupported()?;
        Ok(config.source())
    }

    async fn ask(
        &self,
        facts: &Option<Source>,
        world: &dyn World,
    ) -> Result<Option<Result<Provider, String>>> {
        let Some(source) = facts else { return Ok(None) };
        let skips = self.skip_jwks_validation.is_some_and(|flag| flag.0);
        match source.fetch(world).await {
            Ok(provider) => Ok(Some(Ok(provider))),
            Err(error) if skips => Ok(Some(Err(error.to_string()))),
            Err(error) => Err(Error::invalid(match source {
                Source::Jwks { .. } => "error checking jwks URL".to_owned(),
                Source::Discovery { .. } => format!("error checking oidc discovery URL: {error}"),
            })),
        }
    }

    fn run(
        self,
        _: &Signed<T>,
        heard: &Option<Result<Provider, String>>,
        cx: &mut Writing<'_>,
    ) -> Result<Reply<Nothing>> {
        let kept = CONFIG.get(cx, ONLY)?.map(|config| config.namespace_in_state);
        let mut config = self.config(kept.unwrap_or(true));
        match heard {
            Some(Ok(provider)) => PROVIDER.put(cx, ONLY, provider)?,
            Some(Err(why)) => {
                let what = if config.jwks_url.is_empty() { "oidc discovery" } else { "jwks" };
                cx.warn(format!("error checking {what} URL"));
                config.problem = Some(why.clone());
                PROVIDER.delete(cx, ONLY)?;
            }
            None => PROVIDER.delete(cx, ONLY)?,
        }
        CONFIG.put(cx, ONLY, &config)?;
        Ok(Reply::Nothing)
    }
}
