//! Behaviour of the crate as its users see it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test reports by panicking")]

mod backends;
mod crash;
mod desk;
mod durable;
mod folding;
mod journal;
mod rings;
mod sealing;
mod seals;
mod serial;
mod snapshots;
mod trouble;
