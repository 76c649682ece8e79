//! How far a roll is, and whom it waits for.

use std::ops::ControlFlow;

use kit::{Error, Query, Reading, Reads, Reply, Result, Route, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::record::{ROLL, Roll, State};
use super::request;
use crate::Pki;
use crate::advice::{bundle, fingerprint};
use crate::authorities::{Authorities, authorities};
use crate::dates;
use crate::inventory::HOLDINGS;
use crate::store::{CERTIFICATES, Id};

/// So many hosts are named; the others are counted.
const HOSTS_SHOWN_MAX: usize = 100;

/// A roll, and how far it is.
#[derive(JsonSchema, Serialize)]
pub(crate) struct ShownRoll {
    /// Whether it can be given up.
    abortable: bool,
    /// What is to be done that only people can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    awaits: Option<String>,
    /// SHA-256 of the bundle that holders should have now, in hex.
    bundle: String,
    /// The request of the next CA, where its certificate is awaited.
    #[serde(skip_serializing_if = "Option::is_none")]
    csr: Option<String>,
    /// When it was finished or given up.
    finished: Option<String>,
    /// Why it was given up, where nobody said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    given_up: Option<String>,
    /// When the last leaf of the old CA ends, as far as that is known.
    last_leaf_ends: Option<String>,
    /// Live leaves of the old CA, when they were last counted.
    leaves: Option<u64>,
    /// The CA that takes the place of the old one.
    next: ShownCa,
    /// The CA that is replaced.
    old: ShownCa,
    /// Until when the next CA is published and does not sign, once it is there.
    publish_until: Option<String>,
    /// When it began.
    started: String,
    /// What to ask the CA above for in `sign-intermediate`, beside the request, so that the next CA is like the old one.
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_with: Option<Map<String, Value>>,
    /// `requested`, `published`, `draining`, `finished`, `aborted`.
    state: &'static str,
    /// When the next CA began to sign.
    switched: Option<String>,
    /// Holders in the inventory that do not trust the next CA yet.
    waiting_for: u64,
    /// The first hundred of them, as `host/name`.
    waiting_hosts: Vec<String>,
    /// Whether the switch waits for them.
    waits_for_holders: bool,
}

/// One of the two CAs.
#[derive(JsonSchema, Serialize)]
struct ShownCa {
    common_name: String,
    issuer_id: String,
    issuer_name: String,
    not_after: String,
}

/// Shows the roll that goes on, or the last one.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ReadRoll {}

impl Query<Pki> for ReadRoll {
    const ROUTE: Route = Route::get("roll");
    type Reply = ShownRoll;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ShownRoll>> {
        let roll = ROLL.get(cx)?.ok_or_else(Error::not_found)?;
        Ok(Reply::Data(show(cx, &*authorities(cx)?, &roll)?))
    }
}

/// The roll as callers see it.
pub(super) fn show(cx: &impl Reads, all: &Authorities, roll: &Roll) -> Result<ShownRoll> {
    let date = |at: Time| at.truncated().rfc3339();
    let waiting = match roll.state {
        State::Published => laggards(cx, all, roll)?,
        _ => Laggards::default(),
    };
    let awaited = roll.awaited.as_ref().filter(|_| roll.goes_on());
    let ends = roll.leaves.map(|leaves| leaves.last_ends.max(roll.unstored_until)).filter(|ends| *ends > 0);
    Ok(ShownRoll {
        abortable: roll.is_abortable(),
        awaits: awaited.map(|_| request::awaits(cx, all, roll)),
        bundle: wanted_bundle(cx, all, roll)?,
        csr: awaited.map(|awaited| awaited.csr.clone()),
        finished: roll.finished.map(date),
        given_up: roll.given_up.clone(),
        last_leaf_ends: ends.map(dates::shown),
        leaves: roll.leaves.map(|leaves| leaves.count),
        next: ca(all, roll.new),
        old: ca(all, roll.old),
        publish_until: roll.awaited.is_none().then(|| date(roll.publish_until)),
        started: date(roll.started),
        sign_with: awaited.map(|awaited| request::sign_with(all, roll, awaited)).transpose()?,
        state: roll.state.word(),
        switched: roll.switched.map(date),
        waiting_for: waiting.count,
        waiting_hosts: waiting.hosts,
        waits_for_holders: roll.waits_for_holders,
    })
}

fn ca(all: &Authorities, id: Id) -> ShownCa {
    let issuer = all.issuers.iter().find(|issuer| issuer.id == id);
    let certificate = issuer.map(|issuer| &issuer.certificate);
    ShownCa {
        common_name: certificate.and_then(|it| it.subject().ok()).unwrap_or_default().common_name,
        issuer_id: id.to_string(),
        issuer_name: issuer.map(|issuer| issuer.record.name.clone()).unwrap_or_default(),
        not_after: certificate
            .map(|certificate| dates::shown(certificate.validity().not_after))
            .unwrap_or_default(),
    }
}

fn wanted_bundle(cx: &impl Reads, all: &Authorities, roll: &Roll) -> Result<String> {
    let of = if roll.state == State::Finished { roll.new } else { roll.old };
    let issuer = all.issuers.iter().find(|issuer| issuer.id == of);
    Ok(issuer
        .map(|issuer| bundle(cx, all, issuer))
        .transpose()?
        .map(|text| fingerprint(&text))
        .unwrap_or_default())
}

/// Holders that do not trust the next CA yet.
#[derive(Default)]
pub(super) struct Laggards {
    pub(super) count: u64,
    hosts: Vec<String>,
}

/// Who holds a live certificate of the old CA and has not reported the bundle with both.
pub(super) fn laggards(cx: &impl Reads, all: &Authorities, roll: &Roll) -> Result<Laggards> {
    let wanted = wanted_bundle(cx, all, roll)?;
    let (now, mut found) = (cx.now().seconds(), Laggards::default());
    HOLDINGS.scan(cx, &[], |_, holding| {
        if holding.bundle != wanted && holding.not_after > now {
            let record = CERTIFICATES.get(cx, holding.serial()?.as_bytes())?;
            if record.is_some_and(|record| record.issuer == Some(roll.old)) {
                found.count += 1;
                if found.hosts.len() < HOSTS_SHOWN_MAX {
                    found.hosts.push(format!("{}/{}", holding.host, holding.name));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}
