//! What monitoring is shown: when what was issued ends next, how old revocation lists are, and how far re-issues and a roll
//! are.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use kit::{Gauge, Reading, Reads, Result};

use super::authorities::authorities;
use super::crl;
use super::reissue::{self, REISSUES};
use super::roll::{self, ROLL};
use super::survey;

const BY_ISSUER: (&str, &str) = (
    "sealkeep.pki.issuer.next_end_seconds",
    "When the first certificate of an issuer ends that no later one of its names has replaced, in seconds since 1970.",
);
const BY_ROLE: (&str, &str) = (
    "sealkeep.pki.role.next_end_seconds",
    "When the first certificate of a role ends that no later one of its names has replaced, in seconds since 1970.",
);
const BY_OWNER: (&str, &str) = (
    "sealkeep.pki.owner.next_end_seconds",
    "When the first certificate of an entity ends that no later one of its names has replaced, in seconds since 1970.",
);
const ISSUER_END: (&str, &str) =
    ("sealkeep.pki.issuer.not_after_seconds", "When an issuer itself ends, in seconds since 1970.");
const CRL_MADE: (&str, &str) = (
    "sealkeep.pki.crl.made_seconds",
    "When the revocation list of an issuer was made, in seconds since 1970.",
);
const CRL_NEXT: (&str, &str) = (
    "sealkeep.pki.crl.next_update_seconds",
    "When the revocation list of an issuer runs out, in seconds since 1970.",
);

const REISSUES_IN: (&str, &str) = ("sealkeep.pki.reissue.count", "How many re-issues are in a state.");
const REISSUE_LEFT: (&str, &str) = (
    "sealkeep.pki.reissue.left",
    "Certificates that re-issues which go on will revoke, and have not revoked yet.",
);
const REISSUE_REVOKED: (&str, &str) =
    ("sealkeep.pki.reissue.revoked", "Certificates that the re-issues which are remembered have revoked.");
const REISSUE_FAILED: (&str, &str) =
    ("sealkeep.pki.reissue.failed", "Certificates that the re-issues which are remembered could not revoke.");
const REISSUE_REVOKES: (&str, &str) = (
    "sealkeep.pki.reissue.revoke_at_seconds",
    "When the first re-issue that waits revokes what it replaces, in seconds since 1970.",
);
const ROLL_IN: (&str, &str) =
    ("sealkeep.pki.roll.state", "1 for the state in which the last roll of a CA is, 0 for the others.");
const ROLL_PUBLISHED: (&str, &str) = (
    "sealkeep.pki.roll.publish_until_seconds",
    "Until when the next CA is published and does not sign, in seconds since 1970.",
);
const ROLL_ENDS: (&str, &str) = (
    "sealkeep.pki.roll.last_leaf_ends_seconds",
    "When the last leaf of the old CA ends, as far as that is known, in seconds since 1970.",
);
const ROLL_LEAVES: (&str, &str) =
    ("sealkeep.pki.roll.leaves", "Live leaves of the old CA, when they were last counted.");

/// All of it.
pub(super) fn gauges(cx: &Reading<'_>) -> Result<Vec<Gauge>> {
    let ends = survey::look(cx)?;
    let mut gauges = Vec::new();
    for (what, label, first) in [
        (BY_ISSUER, "issuer", &ends.issuers),
        (BY_ROLE, "role", &ends.roles),
        (BY_OWNER, "owner", &ends.owners),
    ] {
        // What has ended since the last whole walk is for the next one to replace.
        for ((is_long, of), end) in first.iter().filter(|(_, end)| **end >= cx.now().seconds()) {
            let life = if *is_long { "long" } else { "short" };
            gauges.push(gauge(what, *end, vec![("life", life.to_owned()), (label, of.clone())]));
        }
    }
    gauges.extend(of_issuers(cx)?);
    gauges.extend(of_reissues(cx)?);
    gauges.extend(of_roll(cx)?);
    Ok(gauges)
}

fn gauge(
    (name, about): (&'static str, &'static str),
    value: u64,
    labels: Vec<(&'static str, String)>,
) -> Gauge {
    Gauge { name, about, value: value as f64, labels }
}

/// Re-issues in numbers: nothing where there never was one.
fn of_reissues(cx: &Reading<'_>) -> Result<Vec<Gauge>> {
    let (mut states, mut left, mut revoked, mut failed, mut next) = (BTreeMap::new(), 0, 0, 0, None::<u64>);
    REISSUES.scan(cx, &[], |_, reissue| {
        *states.entry(reissue.state.word()).or_insert(0) += 1;
        (revoked, failed) = (revoked + reissue.revoked, failed + reissue.failed);
        if let Some(at) = reissue.revoke_at.filter(|_| reissue.state.is_open()) {
            left += reissue.matched.saturating_sub(reissue.revoked + reissue.failed);
            next = Some(next.map_or(at.seconds(), |known| known.min(at.seconds())));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if states.is_empty() {
        return Ok(Vec::new());
    }
    let in_state = |state: reissue::State| {
        let count = states.get(state.word()).copied().unwrap_or(0);
        gauge(REISSUES_IN, count, vec![("state", state.word().to_owned())])
    };
    let mut gauges: Vec<_> = reissue::State::ALL.into_iter().map(in_state).collect();
    let sums = [(REISSUE_LEFT, left), (REISSUE_REVOKED, revoked), (REISSUE_FAILED, failed)];
    gauges.extend(sums.map(|(what, value)| gauge(what, value, vec![])));
    gauges.extend(next.map(|at| gauge(REISSUE_REVOKES, at, vec![])));
    Ok(gauges)
}

/// The roll in numbers: nothing where there never was one.
fn of_roll(cx: &Reading<'_>) -> Result<Vec<Gauge>> {
    let Some(roll) = ROLL.get(cx)? else { return Ok(Vec::new()) };
    let in_state = |state: roll::State| {
        gauge(ROLL_IN, u64::from(state == roll.state), vec![("state", state.word().to_owned())])
    };
    let mut gauges: Vec<_> = roll::State::ALL.into_iter().map(in_state).collect();
    if roll.state == roll::State::Published {
        gauges.push(gauge(ROLL_PUBLISHED, roll.publish_until.seconds(), vec![]));
    }
    if let Some(leaves) = roll.leaves {
        gauges.push(gauge(ROLL_LEAVES, leaves.count, vec![]));
        gauges.push(gauge(ROLL_ENDS, leaves.last_ends.max(roll.unstored_until), vec![]));
    }
    Ok(gauges)
}

fn of_issuers(cx: &Reading<'_>) -> Result<Vec<Gauge>> {
    let all = authorities(cx)?;
    let mut lines = [vec![], vec![], vec![]];
    let [ends, made, next] = &mut lines;
    for issuer in &all.issuers {
        let gauge = |what, value| {
            let labels = vec![("issuer", issuer.id.to_string()), ("name", issuer.record.name.clone())];
            gauge(what, value, labels)
        };
        ends.push(gauge(ISSUER_END, issuer.certificate.validity().not_after));
        if issuer.key.is_some() && issuer.record.usage.crl {
            let (start, end) = crl::dated(cx, issuer)?;
            made.push(gauge(CRL_MADE, start.seconds()));
            next.push(gauge(CRL_NEXT, end.seconds()));
        }
    }
    Ok(lines.concat())
}
