//! Looking at what was reported: all of it, by certificate, by host, and what is not as it should be.

use std::ops::ControlFlow;

use kit::loose::{Flag, Number, Seconds, Text};
use kit::{Command, Error, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, Serial};

use super::record::{HOLDINGS, Holding, tags_of_certificate, tags_of_host};
use crate::authorities::refused;
use crate::dates;
use crate::fields::text;
use crate::store::{CERTIFICATES, REVOKED, behind};
use crate::{Pki, listing};

/// A holder who has said nothing for so long is silent: agents report every hour.
const SILENCE_SECONDS: u64 = 3 * 3600;
/// So many are shown at once, unless fewer are asked for.
const SHOWN_MAX: usize = 10_000;

/// A certificate in somebody's hands.
#[derive(JsonSchema, Serialize)]
pub(crate) struct ShownHolding {
    /// What program reports.
    agent: String,
    /// SHA-256 of the bundle of CAs that the holder trusts.
    bundle: String,
    /// The machine that holds it.
    host: String,
    /// When this was reported.
    last_seen: String,
    /// What the holder calls it.
    name: String,
    /// When the holder will renew it.
    next_renewal: Option<String>,
    /// When the certificate ends.
    not_after: String,
    /// Who holds it: an entity, or a token's accessor.
    owner: String,
    /// What the owner was called when it reported.
    owner_name: String,
    /// The role under which it was issued.
    role: String,
    /// The serial number.
    serial_number: String,
    /// Where it was looked for, and what was shown there.
    served: Vec<ShownPlace>,
    /// What is not as it should be: `silent`, `not_served`, `revoked`.
    stale: Vec<&'static str>,
}

#[derive(JsonSchema, Serialize)]
struct ShownPlace {
    address: String,
    at: String,
    serial_number: String,
}

/// Lists who holds which certificate, where it is served, and when that was last seen.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ListHoldings {
    /// The id after which to begin.
    after: Option<Text>,
    /// How many to show at most.
    limit: Option<Number>,
    /// Of this owner alone.
    owner: Option<Text>,
    /// Of this role alone.
    role: Option<Text>,
    /// Only what is not as it should be.
    stale: Option<Flag>,
    /// A holder who has reported nothing for so long is silent; three hours if left out.
    not_seen_for: Option<Seconds>,
}

impl Query<Pki> for ListHoldings {
    const ROUTE: Route = Route::list("inventory");
    type Reply = listing::Detailed<ShownHolding>;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let silence = self.not_seen_for.map_or(SILENCE_SECONDS, |span| span.0);
        let stale_only = self.stale.unwrap_or_default().0;
        let (owner, role) = (text(self.owner), text(self.role));
        let limit = usize::try_from(self.limit.unwrap_or_default().0).ok().filter(|limit| *limit > 0);
        let limit = limit.unwrap_or(SHOWN_MAX).min(SHOWN_MAX);
        let after = hex::decode(text(self.after)).map_err(|_| Error::invalid("after is no id of a list"))?;
        let from = behind(after);
        let mut found = Vec::new();
        HOLDINGS.scan(cx, &from, |id, holding| {
            let wanted = |given: &str, own: &str| given.is_empty() || given == own;
            if wanted(&owner, &holding.owner) && wanted(&role, &holding.role) {
                let shown = show(cx, holding, silence)?;
                if !stale_only || !shown.stale.is_empty() {
                    found.push((hex::encode(id), shown));
                }
            }
            Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        listing::detailed(found)
    }
}

fn show(cx: &impl Reads, holding: Holding, silence: u64) -> Result<ShownHolding> {
    let mut stale = Vec::new();
    if holding.at.until(cx.now()).as_secs() >= silence {
        stale.push("silent");
    }
    if holding.served.iter().any(|seen| !same(&seen.serial, &holding.serial)) {
        stale.push("not_served");
    }
    if REVOKED.get(cx, holding.serial()?.as_bytes())?.is_some() {
        stale.push("revoked");
    }
    let served = holding.served.into_iter().map(|seen| ShownPlace {
        address: seen.address,
        at: seen.at.truncated().rfc3339(),
        serial_number: seen.serial,
    });
    Ok(ShownHolding {
        agent: holding.agent,
        bundle: holding.bundle,
        host: holding.host,
        last_seen: holding.at.truncated().rfc3339(),
        name: holding.name,
        next_renewal: holding.next_renewal.map(|at| at.truncated().rfc3339()),
        not_after: dates::shown(holding.not_after),
        owner: holding.owner,
        owner_name: holding.owner_name,
        role: holding.role,
        serial_number: holding.serial,
        served: served.collect(),
        stale,
    })
}

/// Whether two ways of writing a serial number mean one.
fn same(one: &str, other: &str) -> bool {
    one == other || matches!((Serial::parse(one), Serial::parse(other)), (Ok(one), Ok(other)) if one == other)
}

/// Shows who holds a certificate.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct HoldersOfCertificate {
    /// The serial number, in hex with colons or hyphens.
    serial: String,
}

/// A certificate and its holders.
#[derive(JsonSchema, Serialize)]
pub(crate) struct ShownHolders {
    /// SHA-256 of the certificate, in hex.
    fingerprint: String,
    /// Who holds it, as they reported.
    holders: Vec<ShownHolding>,
    /// The issuer.
    issuer_id: Option<String>,
    /// When it ends.
    not_after: String,
    /// Who asked for it.
    owner: String,
    /// Since when it is revoked.
    revocation_time_rfc3339: Option<String>,
    /// The role under which it was issued.
    role: String,
    /// The serial number.
    serial_number: String,
}

impl Query<Pki> for HoldersOfCertificate {
    const ROUTE: Route = Route::get("inventory/certificate/{serial:any}");
    type Reply = ShownHolders;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ShownHolders>> {
        let serial = Serial::parse(&self.serial).map_err(refused)?;
        let record = CERTIFICATES.get(cx, serial.as_bytes())?.ok_or_else(Error::not_found)?;
        let certificate = Certificate::of_record(&record.der.0).map_err(refused)?;
        let revoked = REVOKED.get(cx, serial.as_bytes())?;
        Ok(Reply::Data(ShownHolders {
            fingerprint: certificate.fingerprint(),
            holders: shown(cx, tags_of_certificate(cx, &serial.colons())?)?,
            issuer_id: record.issuer.map(|id| id.to_string()),
            not_after: dates::shown(certificate.validity().not_after),
            owner: record.owner,
            revocation_time_rfc3339: revoked.map(|revoked| revoked.at.rfc3339()),
            role: record.role,
            serial_number: serial.colons(),
        }))
    }
}

fn shown(cx: &impl Reads, tags: Vec<Vec<u8>>) -> Result<Vec<ShownHolding>> {
    let mut shown = Vec::new();
    for tag in tags.iter().take(SHOWN_MAX) {
        if let Some(holding) = HOLDINGS.get(cx, tag)? {
            shown.push(show(cx, holding, SILENCE_SECONDS)?);
        }
    }
    Ok(shown)
}

/// Shows what certificates a host holds.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct HoldingsOfHost {
    /// The host, as it reports itself.
    host: String,
}

/// The certificates of a host.
#[derive(JsonSchema, Serialize)]
pub(crate) struct ShownHost {
    /// What it holds.
    certificates: Vec<ShownHolding>,
}

impl Query<Pki> for HoldingsOfHost {
    const ROUTE: Route = Route::get("inventory/host/{host:any}");
    type Reply = ShownHost;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ShownHost>> {
        let certificates = shown(cx, tags_of_host(cx, &self.host)?)?;
        match certificates.is_empty() {
            true => Err(Error::not_found()),
            false => Ok(Reply::Data(ShownHost { certificates })),
        }
    }
}

/// Forgets what a host that is gone has reported. The certificate is not touched.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct DeleteHolding {
    /// The id, as lists show it.
    id: String,
}

impl Command<Pki> for DeleteHolding {
    const ROUTE: Route = Route::delete("inventory/{id}");
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let tag =
            hex::decode(&self.id).map_err(|_| Error::invalid("that is no id of the inventory's list"))?;
        if let Some(holding) = HOLDINGS.get(cx, &tag)? {
            holding.delete(cx)?;
        }
        Ok(Reply::Nothing)
    }
}
