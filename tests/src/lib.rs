//! Sealkeep from outside: what starts a real server, speaks to it, and takes it away again.
//!
//! Everything here works for any binary that takes OpenBao's command line and configuration, so each test can be run
//! against the real `bao` first and is believed only then.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this crate is test code throughout: a panic is how a test says no"
)]

pub mod acme;
pub mod authority;
pub mod binary;
pub mod desk;
pub mod dice;
pub mod frames;
pub mod http;
pub mod program;
pub mod scratch;
pub mod server;
