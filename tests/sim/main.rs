//! The whole server under a seed: same seed, same run.

mod catalog;
mod faults;
mod sys;
mod tokens;
