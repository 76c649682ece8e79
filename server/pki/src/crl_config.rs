//! How revocation lists are made.

use std::time::Duration;

use kit::loose::{Flag, Number, Span, Text};
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::store::{CRL, CRL_ROTATED};
use super::{Pki, shards};

/// Lists live no shorter, so that a slow clock does not refuse a new one.
const EXPIRY_SECONDS_MIN: u64 = 60;

/// How revocation lists are made.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(super) struct CrlConfig {
    /// Whether certificates that have ended can still be revoked.
    pub(super) allow_expired_cert_revocation: bool,
    /// Whether lists are made at intervals, not at each revocation.
    pub(super) auto_rebuild: bool,
    /// How long before a list ends the next one is made.
    auto_rebuild_grace_period: String,
    /// How often deltas are made at most.
    delta_rebuild_interval: String,
    /// Whether lists are left empty.
    pub(super) disable: bool,
    /// Whether there are deltas.
    pub(super) enable_delta: bool,
    /// How long a list is good.
    pub(super) expiry: String,
    /// Whether OCSP is off.
    pub(super) ocsp_disable: bool,
    /// How long an OCSP answer is good.
    ocsp_expiry: String,
    /// Where the shard of a certificate is, with `{{shard}}` and the templates of `config/urls`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) shard_url: String,
    /// Into how many shards the revocation list is divided, for certificates from now on; 0: into none.
    #[serde(skip_serializing_if = "is_none")]
    pub(super) shards: u64,
}

fn is_none(shards: &u64) -> bool {
    *shards == 0
}

impl Default for CrlConfig {
    fn default() -> Self {
        Self {
            allow_expired_cert_revocation: false,
            auto_rebuild: false,
            auto_rebuild_grace_period: "12h".to_owned(),
            delta_rebuild_interval: "15m".to_owned(),
            disable: false,
            enable_delta: false,
            expiry: "72h".to_owned(),
            ocsp_disable: false,
            ocsp_expiry: "12h".to_owned(),
            shard_url: String::new(),
            shards: 0,
        }
    }
}

impl CrlConfig {
    /// How long a list is good.
    pub(super) fn expiry(&self) -> Duration {
        let span = Span::parse(&self.expiry).unwrap_or_default().duration();
        span.max(Duration::from_secs(EXPIRY_SECONDS_MIN))
    }

    /// How long an OCSP answer is good; zero: it does not say.
    pub(super) fn ocsp_expiry(&self) -> Duration {
        Span::parse(&self.ocsp_expiry).unwrap_or_default().duration()
    }

    /// How long after one list the next is made, if nothing changes.
    pub(super) fn step(&self) -> Duration {
        let grace = Span::parse(&self.auto_rebuild_grace_period).unwrap_or_default().duration();
        let step = match self.auto_rebuild {
            true => self.expiry().saturating_sub(grace),
            false => self.expiry() / 2,
        };
        step.max(Duration::from_secs(EXPIRY_SECONDS_MIN / 2))
    }
}

/// Shows how revocation lists are made.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadConfig {}

impl Query<Pki> for ReadConfig {
    const ROUTE: Route = Route::get("config/crl");
    type Reply = CrlConfig;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<CrlConfig>> {
        Ok(Reply::Data(CRL.get(cx)?))
    }
}

/// Sets how revocation lists are made.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteConfig {
    /// Whether certificates that have ended can still be revoked.
    allow_expired_cert_revocation: Option<Flag>,
    /// Whether lists are made at intervals, not at each revocation.
    auto_rebuild: Option<Flag>,
    /// How long before a list ends the next one is made.
    auto_rebuild_grace_period: Option<Text>,
    /// How often deltas are made at most.
    delta_rebuild_interval: Option<Text>,
    /// Whether lists are left empty.
    disable: Option<Flag>,
    /// Whether there are deltas.
    enable_delta: Option<Flag>,
    /// How long a list is good.
    expiry: Option<Text>,
    /// Whether OCSP is off.
    ocsp_disable: Option<Flag>,
    /// How long an OCSP answer is good.
    ocsp_expiry: Option<Text>,
    /// Where the shard of a certificate is, with `{{shard}}` and the templates of `config/urls`; where it is left out, below
    /// the path of `config/cluster`.
    shard_url: Option<Text>,
    /// Into how many shards the revocation list is divided, for certificates from now on: a power of two up to 1024, or 0
    /// for none.
    shards: Option<Number>,
}

impl Command<Pki> for WriteConfig {
    const ROUTE: Route = Route::post("config/crl");
    type Reply = CrlConfig;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<CrlConfig>> {
        let mut config = CRL.get(cx)?;
        for (field, given) in [
            (&mut config.allow_expired_cert_revocation, self.allow_expired_cert_revocation),
            (&mut config.auto_rebuild, self.auto_rebuild),
            (&mut config.disable, self.disable),
            (&mut config.enable_delta, self.enable_delta),
            (&mut config.ocsp_disable, self.ocsp_disable),
        ] {
            *field = given.map_or(*field, |flag| flag.0);
        }
        for (name, field, given) in [
            ("expiry", &mut config.expiry, self.expiry),
            (
                "auto_rebuild_grace_period",
                &mut config.auto_rebuild_grace_period,
                self.auto_rebuild_grace_period,
            ),
            ("delta_rebuild_interval", &mut config.delta_rebuild_interval, self.delta_rebuild_interval),
            ("ocsp_expiry", &mut config.ocsp_expiry, self.ocsp_expiry),
        ] {
            let Some(Text(given)) = given else { continue };
            let wrong = |why| Error::invalid(format!("given {name} could not be decoded: {why}"));
            if Span::read(&given).map_err(wrong)?.0 < 0 {
                return Err(wrong(format!("{given:?} is negative; give a time of 0 or more")));
            }
            *field = given;
        }
        if let Some(Number(shards)) = self.shards {
            config.shards = shards::count(shards)?;
        }
        if let Some(Text(url)) = self.shard_url {
            config.shard_url = url;
        }
        config.check()?;
        shards::adopt(cx, &config)?;
        CRL.put(cx, &config)?;
        CRL_ROTATED.put(cx, &cx.now())?;
        Ok(Reply::Data(config))
    }
}

impl CrlConfig {
    fn check(&self) -> Result<()> {
        let span = |text: &str| Span::parse(text).unwrap_or_default();
        if self.auto_rebuild && span(&self.auto_rebuild_grace_period) >= span(&self.expiry) {
            return Err(Error::invalid(format!(
                "CRL auto-rebuilding grace period ({}) must be strictly shorter than CRL expiry ({}) value when auto-rebuilding of CRLs is enabled",
                self.auto_rebuild_grace_period, self.expiry
            )));
        }
        if self.enable_delta && !self.auto_rebuild {
            return Err(Error::invalid(
                "Delta CRLs cannot be enabled when auto rebuilding is disabled as the complete CRL is always regenerated!",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_never_runs_out_before_the_next_one() {
        for (expiry, grace, auto) in
            [("72h", "12h", false), ("72h", "12h", true), ("1s", "0s", false), ("0", "9h", true)]
        {
            let config = CrlConfig {
                expiry: expiry.into(),
                auto_rebuild_grace_period: grace.into(),
                auto_rebuild: auto,
                ..CrlConfig::default()
            };
            assert!(config.step() <= config.expiry(), "{config:?}");
        }
    }
}
