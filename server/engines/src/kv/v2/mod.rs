//! The second kv: each write makes a version, and past ones can be read, deleted, brought back and destroyed.
//!
//! One record holds all of a secret but the data of its past versions, so a read is one lookup and a write two
//! records: the new current version, and the one it supersedes.

mod config;
mod data;
mod detailed;
mod ledger;
mod listing;
mod metadata;
mod stray;
mod subkeys;
mod versions;

use kit::{Endpoint, Engine, Error, Fault, Name, Result, Table, Writing, command, query};
use serde_json::Value;

pub(super) use ledger::Ledger;
#[cfg(test)]
pub(super) use ledger::Written;

use super::record::{PAST, SECRETS};
use super::v1::Ended;

/// Secrets at paths, with their history.
pub(crate) struct V2;

impl Engine for V2 {
    const NAME: &'static str = "kv";
    const ABOUT: &'static str = "Keeps secrets at paths of your choice, with their past versions.";
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        query::<Self, data::Read>(),
        command::<Self, data::Write>(),
        command::<Self, data::Patch>(),
        command::<Self, data::Delete>(),
        query::<Self, metadata::Read>(),
        command::<Self, metadata::Write>(),
        command::<Self, metadata::Patch>(),
        command::<Self, metadata::Delete>(),
        query::<Self, listing::List>(),
        query::<Self, listing::Scan>(),
        command::<Self, versions::Delete>(),
        command::<Self, versions::Undelete>(),
        command::<Self, versions::Destroy>(),
        query::<Self, subkeys::Read>(),
        query::<Self, detailed::List>(),
        query::<Self, detailed::Scan>(),
        query::<Self, config::Read>(),
        command::<Self, config::Write>(),
        query::<Self, stray::Get>(),
        query::<Self, stray::List>(),
        query::<Self, stray::Scan>(),
        query::<Self, stray::Post>(),
        query::<Self, stray::Patch>(),
        query::<Self, stray::Delete>(),
        command::<Self, Ended>(),
    ];

    fn open(_: &Value) -> Result<Self> {
        Ok(Self)
    }
}

/// Names only: the records have a form of their own.
const PATHS: Table<()> = Table::new(SECRETS);

/// Forgets the data of a past version.
fn forget(cx: &mut Writing<'_>, path: &str, version: u64) -> Result<()> {
    cx.delete(PAST, Name::PathThen(path, &version.to_be_bytes()))
}

/// The path of a secret that is written to.
fn target(path: &str) -> Result<&str> {
    if path.is_empty() { at(path) } else { super::target(path) }
}

/// A path that a read, a deletion or the like is about.
fn at(path: &str) -> Result<&str> {
    match super::secret(path) {
        Some(path) => Ok(path),
        None if path.is_empty() => {
            let text = "Non-listing operations on the root of a K/V v2 mount are not supported.";
            Err(Error::new(Fault::Warned, text))
        }
        None => Err(Error::not_found()),
    }
}
