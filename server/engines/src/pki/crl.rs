//! Revocation lists.
//!
//! A list is worked out from the revocations when someone asks for it, and kept until it would come out differently.
//! Its date and number follow from what is stored and from the clock alone, so every node and every restart makes the
//! same list: it begins at the last change, or a whole number of steps after it, so that it never runs out.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use kit::loose::{Flag, Span, Text};
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{CrlTemplate, RevokedEntry, Serial, pem};

use super::Pki;
use super::authorities::{DEFAULT, Issuer, authorities, refused};
use super::store::{CRL, CRL_ROTATED, Id, REVOKED};

/// The content type of a list in DER.
const DER: &str = "application/pkix-crl";
/// The content type of a list in PEM, as Vault has it.
const PEM: &str = "application/x-pem-file";
/// Lists live no shorter, so that a slow clock does not refuse a new one.
const EXPIRY_SECONDS_MIN: u64 = 60;

/// How revocation lists are made.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(super) struct CrlConfig {
    /// Whether certificates that have ended can still be revoked.
    pub(super) allow_expired_cert_revocation: bool,
    /// Whether lists are made at intervals, not at each revocation.
    auto_rebuild: bool,
    /// How long before a list ends the next one is made.
    auto_rebuild_grace_period: String,
    /// How often deltas are made at most.
    delta_rebuild_interval: String,
    /// Whether lists are left empty.
    disable: bool,
    /// Whether there are deltas.
    enable_delta: bool,
    /// How long a list is good.
    expiry: String,
    /// Whether OCSP is off.
    pub(super) ocsp_disable: bool,
    /// How long an OCSP answer is good.
    ocsp_expiry: String,
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
        }
    }
}

impl CrlConfig {
    fn expiry(&self) -> Duration {
        let span = Span::parse(&self.expiry).unwrap_or_default().duration();
        span.max(Duration::from_secs(EXPIRY_SECONDS_MIN))
    }

    /// How long an OCSP answer is good; zero: it does not say.
    pub(super) fn ocsp_expiry(&self) -> Duration {
        Span::parse(&self.ocsp_expiry).unwrap_or_default().duration()
    }

    /// How long after one list the next is made, if nothing changes.
    fn step(&self) -> Duration {
        let grace = Span::parse(&self.auto_rebuild_grace_period).unwrap_or_default().duration();
        let step = match self.auto_rebuild {
            true => self.expiry().saturating_sub(grace),
            false => self.expiry() / 2,
        };
        step.max(Duration::from_secs(EXPIRY_SECONDS_MIN / 2))
    }
}

/// How much of the revocations a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of them.
    Complete,
    /// Those that the complete list does not hold yet.
    Delta,
}

/// The revocations of one issuer.
struct Revocations {
    entries: Vec<(Serial, Time)>,
    last: Time,
}

fn revocations(cx: &impl Reads, issuer: Id) -> Result<Arc<Revocations>> {
    cx.memo(&format!("revoked/{issuer}"), |cx| read_revocations(cx, issuer))
}

fn read_revocations(cx: &impl Reads, issuer: Id) -> Result<Revocations> {
    let mut found = Revocations { entries: vec![], last: Time::default() };
    REVOKED.scan(cx, &[], |serial, record| {
        if record.issuer == Some(issuer) {
            found.entries.push((Serial::from_magnitude(serial).map_err(refused)?, record.at));
            found.last = found.last.max(record.at);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// What one list says, before it is signed.
struct Draft {
    this_update: Time,
    next_update: Time,
    number: u64,
    delta_of: Option<u64>,
    entries: Vec<RevokedEntry>,
}

/// The revocation list of an issuer, in DER.
pub(super) fn list(cx: &impl Reads, issuer: &Issuer, extent: Extent) -> Result<Arc<Vec<u8>>> {
    if issuer.key.is_none() || !issuer.record.usage.crl {
        return Err(Error::invalid(format!(
            "the issuer {} signs no revocation list: {}",
            issuer.id,
            if issuer.key.is_none() { "its key is not in this mount" } else { "its usage lacks crl-signing" }
        )));
    }
    let config = CRL.get(cx)?;
    let rotated = CRL_ROTATED.get(cx)?.max(issuer.record.created_at);
    if config.auto_rebuild {
        return rebuilt_list(cx, issuer, extent, &config, rotated);
    }
    let found = revocations(cx, issuer.id)?;
    let change = rotated.max(found.last);
    let start = begin(change, config.step(), cx.now());
    let key = format!("crl/{}/{}/{extent:?}/{}", issuer.id, start.0, config.disable);
    cx.memo(&key, |cx| {
        let found = revocations(cx, issuer.id)?;
        let all = authorities(cx)?;
        let issuer = all.issuer_or_refuse(&issuer.id.to_string())?;
        let config = CRL.get(cx)?;
        let complete = if config.disable { vec![] } else { entries(&found, Time::default(), start) };
        sign(issuer, draft(extent, start, start, config.expiry(), complete, vec![]))
    })
}

/// With `auto_rebuild`, a list holds what was revoked when it began, so it is good however much is revoked meanwhile:
/// the memo is given no reads that could spoil it.
fn rebuilt_list(
    outer: &impl Reads,
    issuer: &Issuer,
    extent: Extent,
    config: &CrlConfig,
    rotated: Time,
) -> Result<Arc<Vec<u8>>> {
    let start = begin(rotated, config.step(), outer.now());
    if extent == Extent::Complete {
        let algorithm = &issuer.record.revocation_signature_algorithm;
        let key =
            format!("crl-at/{}/{}/{}/{}/{algorithm}", issuer.id, start.0, config.expiry, config.disable);
        return outer.memo(&key, |_| {
            let found = read_revocations(outer, issuer.id)?;
            let complete = if config.disable { vec![] } else { entries(&found, Time::default(), start) };
            sign(issuer, draft(extent, start, start, config.expiry(), complete, vec![]))
        });
    }
    let found = revocations(outer, issuer.id)?;
    let since = if config.disable { vec![] } else { entries(&found, Time(start.0 + 1), Time(u64::MAX)) };
    let change = start.max(found.last);
    sign(issuer, draft(extent, start, change, config.expiry(), vec![], since)).map(Arc::new)
}

/// The last moment, whole steps after `change`, that is not in the future.
pub(super) fn begin(change: Time, step: Duration, now: Time) -> Time {
    let step = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX).max(1);
    Time(change.0 + now.0.saturating_sub(change.0) / step * step)
}

fn entries(found: &Revocations, from: Time, until: Time) -> Vec<RevokedEntry> {
    let within = found.entries.iter().filter(|(_, at)| *at >= from && *at <= until);
    within
        .map(|(serial, at)| RevokedEntry {
            serial: serial.clone(),
            revoked_at: at.seconds(),
            reason: None,
            invalid_since: None,
        })
        .collect()
}

fn draft(
    extent: Extent,
    base: Time,
    start: Time,
    expiry: Duration,
    complete: Vec<RevokedEntry>,
    since: Vec<RevokedEntry>,
) -> Draft {
    Draft {
        this_update: start,
        next_update: start.plus(expiry),
        number: start.0,
        delta_of: (extent == Extent::Delta).then_some(base.0),
        entries: if extent == Extent::Delta { since } else { complete },
    }
}

fn sign(issuer: &Issuer, draft: Draft) -> Result<Vec<u8>> {
    let key = issuer.key.as_ref().ok_or_else(|| Error::internal("an issuer without its key signs a list"))?;
    let scheme = issuer.revocation_scheme()?;
    let own = issuer.certificate.subject_key_id().unwrap_or_else(|| key.public().key_id());
    let template = CrlTemplate {
        this_update: draft.this_update.seconds(),
        next_update: draft.next_update.seconds(),
        number: draft.number,
        delta_of: draft.delta_of,
        authority_key_id: &own,
        revoked: &draft.entries,
    };
    template.sign(issuer.certificate.subject_der(), key, scheme).map_err(refused)
}

/// The revocation list of the default issuer as bare bytes; nothing while there is none.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RawList<const AT: usize> {}

const RAW_ROUTES: [Route; 4] = [
    Route::get("crl").unauthenticated(),
    Route::get("crl/pem").unauthenticated(),
    Route::get("crl/delta").unauthenticated(),
    Route::get("crl/delta/pem").unauthenticated(),
];

/// Extent and form of the routes, by their place.
const fn extent(at: usize) -> Extent {
    if at < 2 { Extent::Complete } else { Extent::Delta }
}

const fn in_pem(at: usize) -> bool {
    at % 2 == 1
}

impl<const AT: usize> Query<Pki> for RawList<AT> {
    const ROUTE: Route = RAW_ROUTES[AT];
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<kit::Nothing>> {
        let all = authorities(cx)?;
        let kind = if in_pem(AT) { PEM } else { DER };
        let Some(issuer) = all.issuer(DEFAULT) else {
            return Ok(Reply::Raw { status: 204, kind, bytes: vec![] });
        };
        let list = list(cx, issuer, extent(AT))?;
        let bytes = if in_pem(AT) { pem::encode(pem::CRL, &list).into_bytes() } else { list.to_vec() };
        Ok(Reply::Raw { status: 200, kind, bytes })
    }
}

/// The revocation list of an issuer as bare bytes.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RawIssuerList<const AT: usize> {
    /// A name, an id, or `default`.
    issuer_ref: String,
}

const ISSUER_ROUTES: [Route; 4] = [
    Route::get("issuer/{issuer_ref}/crl/der").unauthenticated(),
    Route::get("issuer/{issuer_ref}/crl/pem").unauthenticated(),
    Route::get("issuer/{issuer_ref}/crl/delta/der").unauthenticated(),
    Route::get("issuer/{issuer_ref}/crl/delta/pem").unauthenticated(),
];

impl<const AT: usize> Query<Pki> for RawIssuerList<AT> {
    const ROUTE: Route = ISSUER_ROUTES[AT];
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<kit::Nothing>> {
        let all = authorities(cx)?;
        let list = list(cx, all.issuer_or_refuse(&self.issuer_ref)?, extent(AT))?;
        Ok(match in_pem(AT) {
            true => {
                let text = format!("{}\n", pem::encode(pem::CRL, &list));
                Reply::Raw { status: 200, kind: PEM, bytes: text.into_bytes() }
            }
            false => Reply::Raw { status: 200, kind: DER, bytes: list.to_vec() },
        })
    }
}

/// The revocation list of an issuer in an envelope.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ShowIssuerList<const AT: usize> {
    /// A name, an id, or `default`.
    issuer_ref: String,
}

const SHOW_ROUTES: [Route; 2] = [
    Route::get("issuer/{issuer_ref}/crl").unauthenticated(),
    Route::get("issuer/{issuer_ref}/crl/delta").unauthenticated(),
];

/// A revocation list.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownList {
    crl: String,
}

impl<const AT: usize> Query<Pki> for ShowIssuerList<AT> {
    const ROUTE: Route = SHOW_ROUTES[AT];
    type Reply = ShownList;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ShownList>> {
        let all = authorities(cx)?;
        let extent = if AT == 0 { Extent::Complete } else { Extent::Delta };
        let list = list(cx, all.issuer_or_refuse(&self.issuer_ref)?, extent)?;
        Ok(Reply::Data(ShownList { crl: format!("{}\n", pem::encode(pem::CRL, &list)) }))
    }
}

/// Makes all revocation lists anew.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Rotate<const AT: usize> {}

const ROTATE_ROUTES: [Route; 2] = [Route::get("crl/rotate"), Route::get("crl/rotate-delta")];
/// The place of the route for deltas.
const DELTAS: usize = 1;

/// Whether it was done.
#[derive(JsonSchema, Serialize)]
pub(super) struct Done {
    success: bool,
}

impl<const AT: usize> Command<Pki> for Rotate<AT> {
    const ROUTE: Route = ROTATE_ROUTES[AT];
    type Reply = Done;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Done>> {
        // A delta is made whenever it is asked for, so there is nothing to make anew.
        if AT == DELTAS {
            if !CRL.get(cx)?.enable_delta {
                cx.warn("requested rebuild of delta CRL when delta CRL is not enabled; this is a no-op");
            }
        } else {
            CRL_ROTATED.put(cx, &cx.now())?;
        }
        Ok(Reply::Data(Done { success: true }))
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
            if Span::parse(&given).is_none_or(|span| span.0 < 0) {
                return Err(Error::invalid(format!(
                    "given {name} could not be decoded: time: invalid duration {given:?}"
                )));
            }
            *field = given;
        }
        config.check()?;
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
    fn a_list_begins_at_the_change_or_whole_steps_after() {
        let step = Duration::from_secs(10);
        for (change, now, expect) in
            [(100, 100, 100), (100, 109, 100), (100, 110, 110), (100, 155, 150), (100, 50, 100)]
        {
            let (change, now) = (Time::from_seconds(change), Time::from_seconds(now));
            assert_eq!(begin(change, step, now), Time::from_seconds(expect));
        }
    }

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
