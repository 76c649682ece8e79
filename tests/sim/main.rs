//! The whole server under a seed: same seed, same run.

mod sys;
mod tokens;
