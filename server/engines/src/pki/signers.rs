//! Issuers that whoever checks cannot tell apart: those of one name and one key.
//!
//! They sign the same revocation lists, with the same numbers. Since what one of them has issued is checked against the lists
//! of the others, an issuer that goes leaves its revocations to them, and to whoever comes with that name and key later.

use aws_lc_rs::digest::{Context, SHA256};
use kit::{IdTable, Reads, Result, Writing};

use super::authorities::{Authorities, Issuer};
use super::store::{CRL_ROTATED, ISSUERS, Id};

/// The ids of issuers that are gone, by the name and key that they had.
const GONE: IdTable<Vec<Id>> = IdTable::new(25);

/// Whether both sign the same lists.
pub(super) fn are_twins(one: &Issuer, other: &Issuer) -> bool {
    one.certificate.subject_der() == other.certificate.subject_der()
        && one.certificate.public_key() == other.certificate.public_key()
}

/// The issuers that sign the same lists as this one, itself among them.
pub(super) fn twins<'a>(
    all: &'a Authorities,
    issuer: &'a Issuer,
) -> impl Iterator<Item = &'a Issuer> + use<'a> {
    all.issuers.iter().filter(move |other| are_twins(issuer, other))
}

/// Under which ids the revocations lie that stand on the lists of this issuer.
pub(super) fn listing_ids(cx: &impl Reads, all: &Authorities, issuer: &Issuer) -> Result<Vec<Id>> {
    let gone = cx.memo(&format!("gone/{}", issuer.id), |cx| GONE.get(cx, &place(issuer)))?;
    let living = twins(all, issuer).map(|twin| twin.id);
    Ok(living.chain(gone.iter().flatten().copied()).collect())
}

/// The issuer that signs the lists of one that is gone: certificates name these under the old id.
pub(super) fn heir<'a>(cx: &impl Reads, all: &'a Authorities, gone: Id) -> Result<Option<&'a Issuer>> {
    for issuer in all.issuers.iter().filter(|issuer| issuer.key.is_some()) {
        if listing_ids(cx, all, issuer)?.contains(&gone) {
            return Ok(Some(issuer));
        }
    }
    Ok(None)
}

/// Deletes an issuer. What it has revoked stays on the lists of its name and key.
pub(super) fn delete(cx: &mut Writing<'_>, issuer: &Issuer) -> Result<()> {
    ISSUERS.delete(cx, issuer.id.as_bytes())?;
    let place = place(issuer);
    let mut gone = GONE.get(cx, &place)?.unwrap_or_default();
    gone.push(issuer.id);
    GONE.put(cx, &place, &gone)?;
    // The lists of those that stay may have taken their dates from this one; no list has a lower number than one before.
    CRL_ROTATED.put(cx, &cx.now())
}

fn place(issuer: &Issuer) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    hash.update(issuer.certificate.subject_der());
    hash.update(issuer.certificate.public_key().spki());
    let mut place = [0; 32];
    place.copy_from_slice(hash.finish().as_ref());
    place
}
