//! Replacing a CA without a handshake that fails: a machine of few states, each step of which is a transaction.
//!
//! ```text
//! published ──(everybody trusts both)──▶ draining ──(the last old leaf has ended)──▶ finished
//!     └── abort ──▶ aborted
//! ```
//!
//! While it is published, the next CA stands in the bundle that holders of certificates fetch (`advice`), and signs nothing.
//! Then it becomes the one that signs, and the old one signs no more leaves. The old one leaves the bundle when no leaf
//! under it can be shown to anybody any more.

mod record;
mod show;
mod start;
mod step;

pub(super) use record::ROLL;
pub(super) use show::ReadRoll;
pub(super) use start::{AbortRoll, StartRoll};
pub(super) use step::{RollStep, SwitchRoll};
