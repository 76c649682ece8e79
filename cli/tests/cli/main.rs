//! `keep` as its users meet it: beside the real `bao` CLI, against a real server, over TLS, and against a
//! server that misbehaves.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, and says where"
)]

mod bao;
mod first_run;
mod side_by_side;
mod verbs;
mod wire;
