//! The whole server under a seed: same seed, same run.

mod catalog;
mod sys;
mod tokens;
