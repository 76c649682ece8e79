use std::ops::ControlFlow;
use std::time::Duration;

use kit::{Beyond, Command, Error, Name, Query, Reading, Reads, Reply, Result, Route, Time, Writing, loose};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::Txn;

use super::Sys;
use super::class::reserved;
use crate::agenda::{self, Item};
use crate::ids;
use crate::mounts::{Class, MountEntry};
use crate::router::Conflict;
use crate::shelf::{OfNamespaces, SharedTable, Shelf};

/// Moves of mounts by their id, for a day.
const MOVES: Shelf<Move, OfNamespaces> = Shelf::shared(SharedTable::Moves);
/// How long a move can be asked about.
const KEPT: Duration = Duration::from_secs(24 * 3600);
const QUEUED: &str = "Mount move has been queued. Progress will be reported in OpenBao's server log, tagged with the returned migration_id";

/// A move that was made.
#[derive(Deserialize, Serialize)]
struct Move {
    source: String,
    target: String,
    at: Time,
    /// The path of the namespace that it was asked in. Who asks beneath that is told nothing of it.
    #[serde(default)]
    above: String,
}

/// Moves a mount to another path. What it stores stays as it is; its leases end, for their names hold the old path.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
pub(super) struct Remount {
    /// Where it is mounted.
    from: String,
    /// Where it shall be.
    to: loose::Name,
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Started {
    migration_id: String,
}

impl Command<Sys> for Remount {
    const ROUTE: Route = Route::post("remount").logged().sudo().merged();
    type Reply = Started;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let beyond = Beyond::for_the_kernel();
        if self.from.trim().is_empty() || self.to.0.trim().is_empty() {
            return Err(Error::invalid("both 'from' and 'to' path must be specified as a string"));
        }
        let from = format!("{}/", self.from.trim_matches('/'));
        let to = format!("{}/", self.to.0.trim_matches('/'));
        policy::Path::internal(&to)
            .map_err(|error| Error::invalid(format!("invalid destination mount: {error}")))?;
        let kernel = engine.kernel()?;
        let router = kernel.router(cx.peek(&beyond).snapshot())?;
        let above = router.value().here(cx)?;
        let (full_from, full_to) = (above.full(&from), above.full(&to));
        // Either may lie in a namespace beneath this one.
        let (source, old) = router.value().locate(&full_from);
        let (target, new) = router.value().locate(&full_to);
        check(old, new)?;
        let mounted = source.at(old);
        let mounted = mounted.ok_or_else(|| Error::invalid(format!("no matching mount at {from:?}")))?;
        if mounted.entry.class == Class::System {
            return Err(Error::invalid(format!("cannot remount {from:?}")));
        }
        if let Some(locked) = source.locked.as_ref().or(target.locked.as_ref()) {
            return Err(Error::invalid(format!("the namespace {locked:?} is locked; unlock it first")));
        }
        let rings = [source, target].map(|space| cx.peek(&beyond).ring(space.namespace.ns.mount()));
        if let [one, other] = rings
            && one != other
        {
            return Err(Error::invalid(
                "a mount cannot move into or out of a namespace with a seal of its own, for other keys seal it; mount a new one there and copy what this one holds",
            ));
        }
        match router.value().conflict(target, new) {
            Some(Conflict::Mount(taken) | Conflict::Namespace(taken)) => {
                let taken = target.full(taken);
                return Err(Error::invalid(format!("path already in use at {taken:?}")));
            }
            None => {}
        }
        let id = ids::new_uuid(cx.randomness());
        let (now, tag) = (cx.now(), cx.random::<16>());
        let txn = cx.beyond(&beyond);
        let namespace = target.namespace.ns;
        MountEntry { namespace, path: new.to_owned(), ..mounted.entry.clone() }.store(txn)?;
        let (namespace, prefix) = (source.namespace.ns, old.to_owned());
        agenda::enter(txn, now, tag, &Item::EndAll { namespace, prefix, force: true, until: now })?;
        forget_old(txn, now)?;
        let made = Move { source: full_from, target: full_to, at: now, above: above.namespace.path.clone() };
        MOVES.put(txn, source.namespace.ns.mount(), Name::Id(id.as_bytes()), &made)?;
        cx.warn(QUEUED);
        Ok(Started { migration_id: id }.into())
    }
}

/// Whether a mount may move from here to there at all.
fn check(from: &str, to: &str) -> Result<()> {
    let method = |path: &str| path.starts_with("auth/") && path.len() > "auth/".len();
    if method(from) {
        return match to {
            _ if from == "auth/token/" => Err(Error::invalid(format!("cannot remount {from:?}"))),
            "auth/token/" => Err(Error::invalid(format!("cannot remount to destination {to:?}"))),
            _ if !method(to) => {
                Err(Error::invalid(format!("cannot remount auth mount to non-auth mount {to:?}")))
            }
            _ => Ok(()),
        };
    }
    if reserved(to) {
        return Err(Error::invalid(format!("cannot remount to destination {to}")));
    }
    if reserved(from) {
        return Err(Error::invalid(format!("cannot remount {from:?}")));
    }
    Ok(())
}

fn forget_old(txn: &mut Txn, now: Time) -> Result<()> {
    let mut old = Vec::new();
    MOVES.scan(txn, &[], None, |id, done| {
        if done.at.plus(KEPT) < now {
            old.push(id.to_vec());
        }
        Ok(ControlFlow::Continue(()))
    })?;
    old.iter().try_for_each(|id| MOVES.delete(txn, Name::Id(id)))
}

/// Says how a move of a mount went.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Status {
    /// What `remount` answered.
    migration_id: String,
}

#[derive(JsonSchema, Serialize)]
pub(super) struct StatusShown {
    migration_id: String,
    migration_info: MoveShown,
}

#[derive(JsonSchema, Serialize)]
struct MoveShown {
    source_mount: String,
    status: &'static str,
    target_mount: String,
}

impl Query<Sys> for Status {
    const ROUTE: Route = Route::get("remount/status/{migration_id+}");
    type Reply = StatusShown;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let snapshot = cx.beyond(&Beyond::for_the_kernel());
        let found =
            MOVES.get(snapshot, Name::Id(self.migration_id.as_bytes()))?.ok_or_else(Error::not_found)?;
        if !found.above.starts_with(&cx.mount().namespace) {
            return Err(Error::not_found());
        }
        // A move is one commit: whoever can ask about it sees it done.
        let info = MoveShown { source_mount: found.source, status: "success", target_mount: found.target };
        Ok(StatusShown { migration_id: self.migration_id, migration_info: info }.into())
    }
}
