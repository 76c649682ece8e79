//! `keep agent`: certificates that renew themselves, reload their service, and are looked at on the wire.
//!
//! What is decided is pure and gets clock, dice, disk and network from outside ([`world::World`], [`disk::Disk`]):
//! `schedule` says when, `course` is the way of one certificate, `login` is who the agent is, `shelf` is what lies on
//! the disk. `here` is the real world, `run` puts all together, and `fleet` (tests only) is a thousand agents in one
//! process.

mod alerts;
mod ari;
pub(crate) mod bell;
pub(crate) mod cache;
pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod config;
pub(crate) mod course;
pub(crate) mod deliver;
pub(crate) mod disk;
pub(crate) mod enrol;
mod export;
#[cfg(test)]
mod fleet;
mod handover;
pub(crate) mod here;
pub(crate) mod ledger;
pub(crate) mod log;
pub(crate) mod login;
mod mail;
pub(crate) mod ml_dsa;
pub(crate) mod moment;
pub(crate) mod owner;
pub(crate) mod pair;
mod post;
pub(crate) mod probe;
pub(crate) mod proxy;
pub(crate) mod record;
mod repeats;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod shelf;
pub(crate) mod sinks;
pub(crate) mod templates;
pub(crate) mod unit;
pub(crate) mod world;
