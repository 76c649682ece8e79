//! Backups as they travel: a `tar` archive in `gzip`, as clients of Vault's API expect one. What lies in it is described in
//! `docs/FORMAT.md`.

mod read;
mod write;

use serde::{Deserialize, Serialize};

pub(crate) use read::{Bad, Restored, read};
pub(crate) use write::{Archive, write};

/// What a backup is, and of when.
const ABOUT: &str = "meta.json";
/// The digests of all that comes before, as `sha256sum` writes them.
const SUMS: &str = "SHA256SUMS";
/// The same, sealed by the store that the backup is of. It comes last: without it a backup is cut short.
const VOUCHER: &str = "SHA256SUMS.sealed";
/// How this kind of backup is called.
const KIND: &str = "sealkeep backup";
const VERSION: u32 = 1;

/// What a backup says of itself.
#[derive(Deserialize, Serialize)]
struct About {
    kind: String,
    version: u32,
    /// The version of the server that made it.
    server: String,
    /// When, as RFC 3339 has it.
    made: String,
}

/// The name of a piece of the store.
fn piece(number: u32) -> String {
    format!("state/{number:08}")
}

/// A line of the digests.
fn line(name: &str, bytes: &[u8]) -> String {
    format!("{}  {name}\n", hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes)))
}
