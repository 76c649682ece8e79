//! A next CA whose certificate is signed elsewhere: what is asked of people, and what happens when they bring it.

use std::time::Duration;

use kit::{Reads, Result, Writing};
use serde_json::{Map, Value};
use x509::Certificate;

use super::record::{Awaited, ROLL, Roll, State};
use super::start::may_issue;
use super::step::RollStep;
use super::successor::{self, like};
use crate::Pki;
use crate::authorities::Authorities;
use crate::store::{ISSUERS, Id, KEYS};

/// What is to be done, in a sentence.
pub(super) fn awaits(cx: &impl Reads, all: &Authorities, roll: &Roll) -> String {
    let old = all.issuers.iter().find(|issuer| issuer.id == roll.old);
    let above = old.and_then(|old| old.certificate.issuer().ok()).map(|name| name.to_string());
    let above =
        above.filter(|name| !name.is_empty()).unwrap_or_else(|| "the CA above the old one".to_owned());
    let mount = &cx.mount().path;
    format!(
        "have the request in csr signed by {above}, which signed the old CA and is not in {mount} with its key (root/sign-intermediate with what sign_with says, where it is a mount of this server), and bring the certificate: `bao write {mount}intermediate/set-signed certificate=@signed.pem`; the roll goes on by itself then. `keep pki roll sign -parent-mount=MOUNT` does both"
    )
}

/// What the CA above is to be asked for, beside the request.
pub(super) fn sign_with(all: &Authorities, roll: &Roll, awaited: &Awaited) -> Result<Map<String, Value>> {
    let Some(old) = all.issuers.iter().find(|issuer| issuer.id == roll.old) else { return Ok(Map::new()) };
    let life = old.certificate.validity();
    let ttl = match awaited.ttl {
        0 => life.not_after.saturating_sub(life.not_before),
        ttl => ttl,
    };
    successor::sign_with(old, ttl)
}

/// The issuer that a roll awaits for this key, and its name.
pub(crate) fn awaited(cx: &impl Reads, key: Id) -> Result<Option<(Id, String)>> {
    let roll = ROLL.get(cx)?.filter(|roll| roll.state == State::Requested);
    Ok(roll.and_then(|roll| {
        let awaited = roll.awaited.filter(|awaited| awaited.key == key)?;
        Some((roll.new, awaited.issuer_name))
    }))
}

/// Goes on with the roll that awaited this certificate: the next CA is here, and is published.
pub(crate) fn arrived(cx: &mut Writing<'_>, certificate: &Certificate) -> Result<()> {
    let Some(mut roll) = ROLL.get(cx)? else { return Ok(()) };
    if let (Some(old), Some(new)) =
        (ISSUERS.get(cx, roll.old.as_bytes())?, ISSUERS.get(cx, roll.new.as_bytes())?)
    {
        if certificate.validity().not_after <= end_of(&old)? {
            cx.warn("the next CA does not outlive the one that it replaces; `roll/abort` gives the roll up, if that is not meant");
        }
        ISSUERS.put(cx, roll.new.as_bytes(), &like(&old, new))?;
    }
    may_issue(cx, roll.new, false)?;
    let publish = Duration::from_secs(roll.publish_for);
    (roll.state, roll.awaited, roll.publish_until) = (State::Published, None, cx.now().plus(publish));
    ROLL.put(cx, &Some(roll.clone()))?;
    cx.later::<Pki, _>(publish, &RollStep::of(&roll))
}

fn end_of(issuer: &crate::store::IssuerRecord) -> Result<u64> {
    let certificate = Certificate::of_record(&issuer.certificate.0).map_err(crate::authorities::refused)?;
    Ok(certificate.validity().not_after)
}

/// Forgets the key of a request that nobody will sign any more.
pub(super) fn forget_request(cx: &mut Writing<'_>, awaited: &Awaited) -> Result<()> {
    KEYS.delete(cx, awaited.key.as_bytes())
}
