//! Whether there is what a re-issue names. One that is about nothing, by a slip of the pen, would look like one that is done.

use std::ops::ControlFlow;

use kit::{Error, Reads, Result};
use x509::Certificate;

use super::scope::Scope;
use crate::authorities::{authorities, no_issuer, refused};
use crate::cel::is_role;
use crate::issued::{self, Class, Place};
use crate::store::{CERTIFICATES, Id, ROLES};

/// So many entries of the index are looked at for a key. Where there are more, the count tells whether it is there.
const LOOKED_AT_MAX: usize = 20_000;

/// The issuer of this reference.
pub(super) fn issuer(cx: &impl Reads, reference: &str) -> Result<Id> {
    let found = authorities(cx)?.issuer(reference).map(|issuer| issuer.id);
    found.ok_or_else(|| {
        Error::invalid(format!("{}; `bao list {}issuers` lists them", no_issuer(reference), cx.mount().path))
    })
}

/// Refuses a role, an owner or a key that nobody knows here.
pub(super) fn check(cx: &impl Reads, scope: &Scope) -> Result<()> {
    let mount = cx.mount().path.clone();
    let (role, owner, key) = (&scope.role, &scope.owner, &scope.key);
    if !role.is_empty()
        && ROLES.get(cx, role)?.is_none()
        && !is_role(cx, role)?
        && !issued::has_class(cx, |class| class.role == *role)?
    {
        return Err(Error::invalid(format!(
            "there is no role {role} in {mount}, and nothing was issued under it; `bao list {mount}roles` lists the roles, `bao list {mount}cel/roles` those in CEL, which are named cel/…"
        )));
    }
    let of_owner = Scope { owner: owner.clone(), ..Scope::default() };
    if !owner.is_empty() && !issued::has_class(cx, |class| of_owner.may_name(class))? {
        return Err(Error::invalid(format!(
            "nothing was issued to the entity {owner} in {mount}; `bao list -detailed {mount}certs/search` shows the owner of each certificate, `bao list identity/entity/id` all entities"
        )));
    }
    if !key.is_empty() && !may_have_key(cx, scope)? {
        return Err(Error::invalid(format!(
            "no certificate in {mount} that is still good has the key {key}; `keep pki revoke -key=FILE` reads the key of a certificate, `keep pki list` shows what there is"
        )));
    }
    Ok(())
}

fn may_have_key(cx: &impl Reads, scope: &Scope) -> Result<bool> {
    let (mut place, mut seen, mut found) = (Place::default(), 0, false);
    let wanted = |class: &Class| scope.may_name(class);
    loop {
        let is_last = issued::walk(cx, &mut place, wanted, |entry, _, _| {
            seen += 1;
            if scope.may_be(entry)
                && let Some(record) = CERTIFICATES.get(cx, &entry.serial)?
            {
                found = scope.is_key_of(&Certificate::of_record(&record.der.0).map_err(refused)?);
            }
            let goes_on = !found && seen < LOOKED_AT_MAX;
            Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        if found || seen >= LOOKED_AT_MAX || is_last {
            return Ok(found || !is_last);
        }
    }
}
