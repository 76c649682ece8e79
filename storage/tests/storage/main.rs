//! Behaviour of the crate as its users see it.

mod backends;
mod crash;
mod desk;
mod durable;
mod seals;
mod serial;
mod snapshots;
mod trouble;
