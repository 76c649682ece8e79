//! The whole server under a seed: same seed, same run.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says no"
)]

mod above;
mod acme;
mod acme_client;
mod agenda;
mod audit_lines;
mod catalog;
mod clock;
mod control_group;
mod crowds;
mod factors;
mod faults;
mod identity;
mod inline;
mod issuing;
mod keys;
mod limits;
mod lines;
mod lists;
mod metrics;
mod mfa;
mod namespace_keys;
mod namespaces;
mod oidc;
mod outside;
mod phones;
mod pprof;
mod quotas;
mod raw;
mod refusals;
mod sealed_namespaces;
mod shards;
mod sys;
mod together;
mod tokens;
mod unmounting;
mod workflows;
