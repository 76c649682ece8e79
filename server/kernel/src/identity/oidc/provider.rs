//! Providers: through which clients let people in.

use std::collections::BTreeMap;

use kit::loose::{Text, Texts};
use kit::{Command, Error, Exists, Nothing, Query, Reading, Reads, Reply, Result, Route, Table, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{config, key, scope, template, unique};
use crate::identity::Identity;

/// Providers by name.
const PROVIDERS: Table<Provider> = Table::new(27);
/// The provider that is always there.
const DEFAULT: &str = "default";

/// Through which clients let people in.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Provider {
    issuer: String,
    allowed_client_ids: Vec<String>,
    pub(super) scopes_supported: Vec<String>,
}

/// The provider of this name.
pub(super) fn find(cx: &impl Reads, name: &str) -> Result<Option<Provider>> {
    let builtin = || Provider { allowed_client_ids: vec![key::ALL.to_owned()], ..Provider::default() };
    Ok(PROVIDERS.get(cx, name)?.or_else(|| (name == DEFAULT).then(builtin)))
}

/// All providers, by name.
pub(super) fn all(cx: &impl Reads) -> Result<Vec<(String, Provider)>> {
    let mut names = PROVIDERS.list(cx, "")?.to_vec();
    names.push(DEFAULT.to_owned());
    let mut providers = Vec::new();
    for name in unique(names) {
        providers.extend(find(cx, &name)?.map(|provider| (name, provider)));
    }
    Ok(providers)
}

impl Provider {
    /// Whether a client may use it.
    pub(super) fn allows(&self, client_id: &str) -> bool {
        self.allowed_client_ids.iter().any(|known| known == key::ALL || known == client_id)
    }

    /// The address under which it issues tokens.
    pub(super) fn issuer(&self, identity: &Identity, cx: &impl Reads, name: &str) -> Result<String> {
        Ok(format!("{}/provider/{name}", config::base(identity, cx, &self.issuer)?))
    }
}

/// Makes a provider, or changes it.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Put {
    /// Its name.
    name: String,
    /// A scheme, a host and perhaps a port; empty: the server's own.
    issuer: Option<Text>,
    /// The clients that may use it; `*` for all.
    allowed_client_ids: Option<Texts>,
    /// The scopes that clients may ask for.
    scopes_supported: Option<Texts>,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("oidc/provider/{name}");
    const EXISTS: Option<Exists<Identity>> =
        Some(|_, path, cx| find(cx, path.get("name")).map(|found| Some(found.is_some())));
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let mut provider = find(cx, &self.name)?.unwrap_or_default();
        if let Some(Text(issuer)) = self.issuer {
            provider.issuer = issuer;
        }
        if let Some(Texts(ids)) = self.allowed_client_ids {
            provider.allowed_client_ids = unique(ids);
        }
        if let Some(Texts(scopes)) = self.scopes_supported {
            provider.scopes_supported = unique(scopes);
        }
        if !provider.issuer.is_empty() {
            config::check_issuer(&provider.issuer)?;
            cx.warn(config::SET_ISSUER);
        }
        let mut setters: BTreeMap<String, &String> = BTreeMap::new();
        for name in &provider.scopes_supported {
            let missing = || Error::invalid(format!("scope {name:?} does not exist"));
            let scope = scope::find(cx, name)?.ok_or_else(missing)?;
            for (claim, _) in template::claims(&scope.template, None, cx.now())? {
                if let Some(other) = setters.get(&claim) {
                    cx.warn(format!(
                        "Found scope templates with conflicting top-level keys: conflict {claim:?} in scopes {name:?}, {other:?}. This may result in an error if the scopes are requested in an OIDC Authentication Request."
                    ));
                }
                setters.insert(claim, name);
            }
        }
        PROVIDERS.put(cx, &self.name, &provider)?;
        Ok(Reply::Nothing)
    }
}

/// What may be seen of a provider.
#[derive(JsonSchema, Serialize)]
pub(in crate::identity) struct Shown {
    allowed_client_ids: Vec<String>,
    issuer: String,
    scopes_supported: Vec<String>,
}

/// Shows a provider.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Get {
    /// Its name.
    name: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("oidc/provider/{name}");
    type Reply = Shown;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let provider = find(cx, &self.name)?.ok_or_else(Error::not_found)?;
        Ok(shown(identity, cx, &self.name, provider)?.into())
    }
}

fn shown(identity: &Identity, cx: &Reading<'_>, name: &str, provider: Provider) -> Result<Shown> {
    let issuer = provider.issuer(identity, cx, name)?;
    let Provider { allowed_client_ids, scopes_supported, .. } = provider;
    Ok(Shown { allowed_client_ids, issuer, scopes_supported })
}

/// The providers.
#[derive(JsonSchema, Serialize)]
pub(in crate::identity) struct Listed {
    key_info: BTreeMap<String, Shown>,
    keys: Vec<String>,
}

/// Lists the providers.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct List {
    /// Only those that this client may use.
    #[serde(default)]
    allowed_client_id: Text,
}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("oidc/provider");
    type Reply = Listed;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Listed>> {
        let client = &self.allowed_client_id.0;
        let mut listed = Listed { key_info: BTreeMap::new(), keys: Vec::new() };
        for (name, provider) in all(cx)? {
            if client.is_empty() || provider.allows(client) {
                listed.key_info.insert(name.clone(), shown(identity, cx, &name, provider)?);
                listed.keys.push(name);
            }
        }
        if listed.keys.is_empty() { Err(Error::not_found()) } else { Ok(listed.into()) }
    }
}

/// Deletes a provider. Nobody logs in through it any more.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Delete {
    /// Its name.
    name: String,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::delete("oidc/provider/{name}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if self.name == DEFAULT {
            return Err(Error::invalid(format!("deletion of OIDC provider {DEFAULT:?} not allowed")));
        }
        PROVIDERS.delete(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}
