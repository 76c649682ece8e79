//! Backups. The kernel says who may make and restore them; HTTP sends and takes the bytes.

use kit::{Command, Nothing, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Sys;
use crate::request::ARCHIVE;

/// Sends all that is stored, sealed as it lies on the disk: a `tar` archive, compressed by `gzip`, whose last file proves
/// that it is whole.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Save {}

impl Query<Sys> for Save {
    const ROUTE: Route = Route::get("storage/raft/snapshot").root_only();
    type Reply = Nothing;

    fn run(self, _: &Sys, _: &Reading<'_>) -> Result<Reply<Nothing>> {
        Ok(Reply::Raw { status: 200, kind: ARCHIVE, bytes: Vec::new() })
    }
}

const RESTORES: [Route; 2] = [
    Route::post("storage/raft/snapshot").root_only(),
    Route::post("storage/raft/snapshot-force").root_only(),
];

/// Puts a backup in the place of all that is stored. The body is the archive as it was sent. `snapshot-force` takes one of
/// other keys too.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Restore<const AT: usize> {}

impl<const AT: usize> Command<Sys> for Restore<AT> {
    const ROUTE: Route = RESTORES[AT];
    type Reply = Nothing;

    fn run(self, _: &Sys, _: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        Ok(Reply::Nothing)
    }
}
