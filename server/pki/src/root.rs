//! Forgetting all issuers and keys at once.

use kit::{Command, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Pki;
use super::authorities::Authorities;
use super::signers;
use super::store::{DEFAULTS, Defaults, KEYS};

/// Deletes every issuer and every key of the mount, for good. What they issued stays valid until it ends; what they
/// revoked is on the lists again when their certificates and keys are imported again.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteRoot {}

impl Command<Pki> for DeleteRoot {
    const ROUTE: Route = Route::delete("root").logged().sudo();
    type Reply = Option<kit::Nothing>;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let all = Authorities::load(cx)?;
        for issuer in &all.issuers {
            signers::delete(cx, issuer)?;
        }
        for key in &all.keys {
            KEYS.delete(cx, key.id.as_bytes())?;
        }
        DEFAULTS.put(cx, &Defaults { follows_latest: all.defaults.follows_latest, ..Defaults::default() })?;
        cx.warn("DELETE /root deletes all keys and issuers; prefer the new DELETE /key/:key_ref and DELETE /issuer/:issuer_ref for finer granularity, unless removal of all keys and issuers is desired.");
        Ok(Reply::Data(None))
    }
}
