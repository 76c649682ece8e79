//! Which drawers a token has outside its own namespace's cubbyhole, so that they are emptied when it dies.

use kit::{Name, Result};
use storage::Txn;

use crate::namespaces::Ns;
use crate::shelf::{OfNamespaces, SharedTable, Shelf, Source};
use crate::tokens::TokenHash;

/// In which namespaces beneath its own a token has a drawer: token ‖ namespace.
const DRAWERS: Shelf<(), OfNamespaces> = Shelf::shared(SharedTable::Drawers);

/// Notes that a token has a drawer in a namespace beneath its own, which is to be emptied with the others.
pub(crate) fn note(txn: &mut Txn, hash: TokenHash, ns: Ns) -> Result<()> {
    DRAWERS.put(txn, ns.mount(), Name::Id(&key(hash, ns)), &())
}

/// Up to `limit` namespaces beneath its own in which a token has a drawer.
pub(crate) fn of(source: &impl Source, hash: TokenHash, limit: usize) -> Result<Vec<Ns>> {
    let rows = DRAWERS.below(source, &hash.0, limit)?;
    Ok(rows.iter().filter_map(|(key, ())| key.last_chunk().copied().map(Ns::from_bytes)).collect())
}

/// Whether it has one in a namespace that is sealed.
pub(crate) fn hidden(source: &impl Source, hash: TokenHash) -> Result<bool> {
    DRAWERS.hides(source, &hash.0)
}

pub(crate) fn forget(txn: &mut Txn, hash: TokenHash, ns: Ns) -> Result<()> {
    DRAWERS.delete(txn, Name::Id(&key(hash, ns)))
}

fn key(hash: TokenHash, ns: Ns) -> [u8; 48] {
    let mut key = [0; 48];
    key.iter_mut().zip(hash.0.into_iter().chain(ns.mount().0)).for_each(|(to, from)| *to = from);
    key
}
