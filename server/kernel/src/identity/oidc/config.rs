//! Under which address tokens are issued.

use kit::loose::Text;
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Table, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::identity::Identity;

/// The settings, under one name.
const CONFIG: Table<Config> = Table::new(20);
const NAME: &str = "config";

/// What is said to whoever sets an issuer.
pub(super) const SET_ISSUER: &str = "If \"issuer\" is set explicitly, all tokens must be validated against that address, including those issued by secondary clusters. Setting issuer to \"\" will restore the default behavior of using the cluster's api_addr as the issuer.";
const NO_ISSUER: &str = "Both \"issuer\" and OpenBao's \"api_addr\" are empty. The issuer claim in generated tokens will not be network reachable.";

/// What is set for all identity tokens.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(in crate::identity) struct Config {
    /// The address that clients reach this server under; empty: that of the server's configuration.
    issuer: String,
}

/// The address under which something of this mount is issued: `set`, or the server's own.
pub(super) fn base(identity: &Identity, cx: &impl Reads, set: &str) -> Result<String> {
    let kernel = identity.kernel()?;
    let address = if set.is_empty() { &kernel.env.settings.api_addr } else { set };
    let mount = cx.mount();
    Ok(format!("{}/v1/{}{}oidc", address.trim_end_matches('/'), mount.namespace, mount.path))
}

/// The issuer of identity tokens.
pub(super) fn issuer(identity: &Identity, cx: &impl Reads) -> Result<String> {
    base(identity, cx, &CONFIG.get(cx, NAME)?.unwrap_or_default().issuer)
}

/// Refuses an issuer that is more or less than an address.
pub(super) fn check_issuer(issuer: &str) -> Result<()> {
    let rest = issuer.strip_prefix("https://").or_else(|| issuer.strip_prefix("http://"));
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_' | ':' | '[' | ']');
    match rest.filter(|host| !host.is_empty() && host.chars().all(fits)) {
        Some(_) => Ok(()),
        None => Err(Error::invalid(
            "invalid issuer, which must include only a scheme, host, and optional port (e.g. https://example.com:8200)",
        )),
    }
}

/// Shows what is set for all identity tokens.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Get {}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("oidc/config").or_folder();
    type Reply = Config;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Config>> {
        let config = CONFIG.get(cx, NAME)?.unwrap_or_default();
        if config.issuer.is_empty() && identity.kernel()?.env.settings.api_addr.is_empty() {
            cx.warn(NO_ISSUER);
        }
        Ok(config.into())
    }
}

/// Sets the address under which identity tokens are issued.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Put {
    /// A scheme, a host and perhaps a port; empty: the server's own.
    issuer: Option<Text>,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("oidc/config");
    type Reply = kit::Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let Some(Text(issuer)) = self.issuer else { return Ok(Reply::Nothing) };
        if !issuer.is_empty() {
            check_issuer(&issuer)?;
            cx.warn(SET_ISSUER);
        }
        CONFIG.put(cx, NAME, &Config { issuer })?;
        Ok(Reply::Nothing)
    }
}
