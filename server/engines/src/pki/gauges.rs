//! What monitoring is shown: when what was issued ends next, and how old revocation lists are.

use std::collections::BTreeMap;

use kit::{Gauge, Reading, Reads, Result};

use super::authorities::authorities;
use super::crl;
use super::issued;
use super::store::REVOKED;

/// So many revoked certificates that end first are passed over to find one that still counts.
const PASSED_MAX: usize = 100;
/// So many owners are shown, those whose certificates end first.
const OWNERS_MAX: usize = 1000;

const BY_ISSUER: (&str, &str) = (
    "sealkeep.pki.issuer.next_end_seconds",
    "When the first certificate of an issuer ends, in seconds since 1970.",
);
const BY_ROLE: (&str, &str) = (
    "sealkeep.pki.role.next_end_seconds",
    "When the first certificate of a role ends, in seconds since 1970.",
);
const BY_OWNER: (&str, &str) = (
    "sealkeep.pki.owner.next_end_seconds",
    "When the first certificate of an entity ends, in seconds since 1970.",
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

/// All of it.
pub(super) fn gauges(cx: &Reading<'_>) -> Result<Vec<Gauge>> {
    let (mut issuers, mut roles, mut owners) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (id, class) in issued::classes(cx)? {
        let Some(end) = next_end(cx, id)? else { continue };
        if let Some(issuer) = class.issuer {
            first(&mut issuers, issuer.to_string(), end);
        }
        for (ends, name) in [(&mut roles, class.role), (&mut owners, class.owner)] {
            if !name.is_empty() {
                first(ends, name, end);
            }
        }
    }
    let mut gauges = Vec::new();
    for ((name, about), label, ends) in
        [(BY_ISSUER, "issuer", issuers), (BY_ROLE, "role", roles), (BY_OWNER, "owner", soonest(owners))]
    {
        let gauge =
            |(of, end): (String, u64)| Gauge { name, about, value: end as f64, labels: vec![(label, of)] };
        gauges.extend(ends.into_iter().map(gauge));
    }
    gauges.extend(of_issuers(cx)?);
    Ok(gauges)
}

fn first(ends: &mut BTreeMap<String, u64>, of: String, end: u64) {
    let known = ends.entry(of).or_insert(end);
    *known = end.min(*known);
}

fn soonest(ends: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut sorted: Vec<_> = ends.into_iter().collect();
    sorted.sort_by_key(|(_, end)| *end);
    sorted.truncate(OWNERS_MAX);
    sorted.into_iter().collect()
}

/// When the first certificate of a class ends that has not ended and is not revoked.
fn next_end(cx: &Reading<'_>, class: kit::Uuid) -> Result<Option<u64>> {
    let now = cx.now().seconds();
    let (mut after, mut passed) = ((now, Vec::new()), 0);
    loop {
        let found = issued::ending(cx, class, (after.0, &after.1), u64::MAX, 1)?;
        let Some(entry) = found.into_iter().next() else { return Ok(None) };
        passed += 1;
        if passed > PASSED_MAX || REVOKED.get(cx, &entry.serial)?.is_none() {
            return Ok(Some(entry.not_after));
        }
        after = (entry.not_after, entry.serial);
    }
}

fn of_issuers(cx: &Reading<'_>) -> Result<Vec<Gauge>> {
    let all = authorities(cx)?;
    let mut lines = [vec![], vec![], vec![]];
    let [ends, made, next] = &mut lines;
    for issuer in &all.issuers {
        let gauge = |(name, about), value: u64| {
            let labels = vec![("issuer", issuer.id.to_string()), ("name", issuer.record.name.clone())];
            Gauge { name, about, value: value as f64, labels }
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
