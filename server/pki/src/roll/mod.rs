//! Replacing a CA without a handshake that fails: a machine of few states, each step of which is a transaction.
//!
//! ```text
//! requested ──(the certificate is brought)──▶ published
//! published ──(everybody trusts both)──▶ draining ──(the last old leaf has ended)──▶ finished
//!     └── abort ──▶ aborted
//! ```
//!
//! It is requested where the CA above the old one is not in this mount; else it begins with the publishing.
//!
//! While it is published, the next CA stands in the bundle that holders of certificates fetch (`advice`), and signs nothing.
//! Then it becomes the one that signs, and the old one signs no more leaves. The old one leaves the bundle when no leaf
//! under it can be shown to anybody any more.

mod record;
mod request;
mod show;
mod start;
mod step;
mod successor;

pub(super) use record::{ROLL, State};
pub(super) use request::{arrived, awaited};
pub(super) use show::ReadRoll;
pub(super) use start::{AbortRoll, StartRoll};
pub(super) use step::{RollStep, SwitchRoll};
