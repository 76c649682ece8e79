//! Issuers that whoever checks cannot tell apart: those of one name and one key.
//!
//! They sign the same revocation lists, with the same numbers. Since what one of them has issued is checked against the lists
//! of the others, an issuer that goes leaves its revocations to them, and to whoever comes with that name and key later.

use std::collections::HashSet;
use std::ops::ControlFlow;

use aws_lc_rs::digest::{Context, SHA256};
use kit::{IdTable, Reads, Result, Writing};

use super::authorities::{Authorities, Issuer};
use super::store::{CRL_ROTATED, ISSUERS, Id, LeafNotAfter, SHARD_URLS};
use super::{issued, listed};

/// The ids of issuers that are gone, by the name and key that they had.
const GONE: IdTable<Vec<Id>> = IdTable::new(25);

/// Issuers that have signed leaves without a record, by id: when the last of these ends, in seconds since 1970.
const UNRECORDED: IdTable<u64> = IdTable::new(26);

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

/// Whether any of the twins of an issuer, or itself, signs their lists.
pub(super) fn lists(all: &Authorities, issuer: &Issuer) -> bool {
    twins(all, issuer).any(|twin| twin.key.is_some() && twin.record.usage.crl)
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
    Remains::of(cx)?.keep(cx, &place, &gone)?;
    // The lists of those that stay may have taken their dates from this one; no list has a lower number than one before.
    CRL_ROTATED.put(cx, &cx.now())
}

/// Notes that an issuer signs what has no record and names a shard of its lists, once. None of it outlives the issuer, unless
/// that permits it.
pub(super) fn note_unrecorded(cx: &mut Writing<'_>, issuer: &Issuer) -> Result<()> {
    let known = cx.memo(&format!("unrecorded/{}", issuer.id), |cx| {
        let names_shards = !SHARD_URLS.get(cx)?.is_empty();
        Ok((names_shards, UNRECORDED.get(cx, issuer.id.as_bytes())?))
    })?;
    let (names_shards, known) = *known;
    if !names_shards {
        return Ok(());
    }
    let end = match issuer.record.leaf_not_after {
        LeafNotAfter::Permit => u64::MAX,
        LeafNotAfter::Err | LeafNotAfter::Truncate => issuer.certificate.validity().not_after,
    };
    if known.is_none_or(|known| known < end) {
        UNRECORDED.put(cx, issuer.id.as_bytes(), &end)?;
    }
    Ok(())
}

/// Forgets the issuers that are gone and have left nothing behind: else the lists of those that come and go again would grow
/// with each of them.
pub(super) fn forget(cx: &mut Writing<'_>) -> Result<()> {
    let mut all = Vec::new();
    GONE.scan(cx, &[], |place, ids| {
        all.push((place.to_vec(), ids));
        Ok(ControlFlow::Continue(()))
    })?;
    if all.is_empty() {
        return Ok(());
    }
    let remains = Remains::of(cx)?;
    for (place, ids) in all {
        remains.keep(cx, &place, &ids)?;
    }
    Ok(())
}

/// Who has issued what is recorded.
struct Remains(HashSet<Id>);

impl Remains {
    fn of(cx: &impl Reads) -> Result<Self> {
        let classes = issued::classes(cx)?.into_iter();
        Ok(Self(classes.filter_map(|(_, class)| class.issuer).collect()))
    }

    /// Keeps those of these issuers that something hangs on: a certificate that names their lists, or a revocation that lies
    /// under their id.
    fn keep(&self, cx: &mut Writing<'_>, place: &[u8], gone: &[Id]) -> Result<()> {
        let mut kept = Vec::new();
        for id in gone {
            let unrecorded = UNRECORDED.get(cx, id.as_bytes())?.is_some_and(|end| end > cx.now().seconds());
            match unrecorded || self.0.contains(id) || listed::any(cx, *id)? {
                true => kept.push(*id),
                false => UNRECORDED.delete(cx, id.as_bytes())?,
            }
        }
        match kept.is_empty() {
            true => GONE.delete(cx, place),
            false if kept == GONE.get(cx, place)?.unwrap_or_default() => Ok(()),
            false => GONE.put(cx, place, &kept),
        }
    }
}

fn place(issuer: &Issuer) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    hash.update(issuer.certificate.subject_der());
    hash.update(issuer.certificate.public_key().spki());
    let mut place = [0; 32];
    place.copy_from_slice(hash.finish().as_ref());
    place
}
