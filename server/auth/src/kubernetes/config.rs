use jws::{Message, PublicKey};
use kit::loose::{Flag, Text, Texts};
use kit::{
    Ask, Error, Nothing, PodFile, Query, Reading, Recording, Reply, Result, Route, Secret, World, Writing,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CONFIG, Kubernetes, ONLY};

/// Which cluster, and how it is asked.
#[derive(Deserialize, Serialize)]
pub(super) struct Config {
    pub(super) kubernetes_host: String,
    pub(super) kubernetes_ca_cert: String,
    pub(super) token_reviewer_jwt: Secret<String>,
    pub(super) pem_keys: Vec<String>,
    pub(super) issuer: String,
    pub(super) disable_iss_validation: bool,
    pub(super) disable_local_ca_jwt: bool,
}

/// Reads which cluster vouches for tokens.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Read {}

/// Which cluster, without the token it is asked with.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    disable_iss_validation: bool,
    disable_local_ca_jwt: bool,
    issuer: String,
    kubernetes_ca_cert: String,
    kubernetes_host: String,
    pem_keys: Vec<String>,
    token_reviewer_jwt_set: bool,
}

impl Query<Kubernetes> for Read {
    const ROUTE: Route = Route::get("config");
    type Reply = Shown;

    fn run(self, _: &Kubernetes, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let config = CONFIG.get(cx, ONLY)?.ok_or_else(Error::not_found)?;
        let shown = Shown {
            disable_iss_validation: config.disable_iss_validation,
            disable_local_ca_jwt: config.disable_local_ca_jwt,
            issuer: config.issuer,
            kubernetes_ca_cert: config.kubernetes_ca_cert,
            kubernetes_host: config.kubernetes_host,
            pem_keys: config.pem_keys,
            token_reviewer_jwt_set: !config.token_reviewer_jwt.expose().is_empty(),
        };
        Ok(shown.into())
    }
}

/// Sets which cluster vouches for tokens, all of it anew.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Write {
    /// The URL of the cluster's API; or a host, or a host and a port, over HTTPS.
    kubernetes_host: Option<Text>,
    /// Certificates in PEM that sign that of the API. If it is left out: those of the pod this server runs in.
    kubernetes_ca_cert: Option<Text>,
    /// With which token the API is asked. If it is left out: with that of the pod this server runs in, or else with
    /// the one that is to be reviewed.
    token_reviewer_jwt: Option<Secret<String>>,
    /// Keys in PEM, one of which must have signed a token before the API is asked about it.
    pem_keys: Option<Texts>,
    /// The issuer that tokens must name, if that is looked at.
    issuer: Option<Text>,
    /// Whether the issuer is of no account. On unless it is said otherwise.
    disable_iss_validation: Option<Flag>,
    /// Takes nothing from the pod that this server runs in.
    disable_local_ca_jwt: Option<Flag>,
}

impl Write {
    fn config(&self) -> Config {
        let text = |text: &Option<Text>| text.as_ref().map(|text| text.0.clone()).unwrap_or_default();
        let keys = self.pem_keys.iter().flat_map(|keys| keys.0.iter());
        let jwt = self.token_reviewer_jwt.as_ref().map(|jwt| jwt.expose().trim().to_owned());
        Config {
            kubernetes_host: text(&self.kubernetes_host),
            kubernetes_ca_cert: text(&self.kubernetes_ca_cert),
            token_reviewer_jwt: Secret::new(jwt.unwrap_or_default()),
            pem_keys: keys.filter(|key| !key.is_empty()).cloned().collect(),
            issuer: text(&self.issuer),
            disable_iss_validation: self.disable_iss_validation.is_none_or(|flag| flag.0),
            disable_local_ca_jwt: self.disable_local_ca_jwt.is_some_and(|flag| flag.0),
        }
    }
}

impl Config {
    fn check(&self) -> Result<()> {
        if self.kubernetes_host.is_empty() {
            return Err(Error::invalid("no host provided"));
        }
        if self.disable_local_ca_jwt && self.kubernetes_ca_cert.is_empty() {
            return Err(Error::invalid("kubernetes_ca_cert must be given when disable_local_ca_jwt is true"));
        }
        let jwt = self.token_reviewer_jwt.expose();
        if let Some(why) = Some(jwt).filter(|jwt| !jwt.is_empty()).and_then(|jwt| Message::compact(jwt).err())
        {
            return Err(Error::invalid(format!("token_reviewer_jwt is not a token: {why}")));
        }
        if self.pem_keys.iter().any(|pem| PublicKey::from_pem(pem).is_none()) {
            return Err(Error::invalid("data does not contain any valid public keys"));
        }
        Ok(())
    }
}

impl Ask<Kubernetes> for Write {
    const ROUTE: Route = Route::post("config");
    type Facts = bool;
    type Heard = ();
    type Reply = Nothing;

    /// Whether the pod's certificates are relied upon.
    fn facts(&self, _: &Kubernetes, _: &Recording<'_>) -> Result<bool> {
        let config = self.config();
        config.check()?;
        Ok(config.kubernetes_ca_cert.is_empty())
    }

    async fn ask(&self, facts: &bool, world: &dyn World) -> Result<()> {
        if *facts && world.pod(PodFile::Ca).await.is_none() {
            let path = PodFile::Ca.path();
            return Err(Error::invalid(format!("open {path}: no such file or directory")));
        }
        Ok(())
    }

    fn run(self, _: &Kubernetes, (): &(), cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        CONFIG.put(cx, ONLY, &self.config())?;
        Ok(Reply::Nothing)
    }
}
