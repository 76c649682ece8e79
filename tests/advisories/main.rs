//! The published faults of our field, each as a refusal: one test per row of the table of advisories, by its number.
//!
//! Each asks a real server over the wire, as an attacker would; those that were no advisory but deserve a test are named
//! `also_…`. Which rows are held elsewhere, and which are about parts that Sealkeep does not have, stands in `rows.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says no"
)]

mod acme;
mod agent;
mod audit;
mod cert;
mod control_group;
mod doors;
mod identity;
#[path = "../e2e/issuer.rs"]
#[allow(dead_code, reason = "shared with the tests from end to end")]
mod issuer;
mod keys;
mod ldap;
mod leases;
mod load;
mod logins;
mod mfa;
mod names;
mod namespaces;
mod pki;
mod policy;
mod rows;
mod seal;
mod signed;
mod ssh;
mod stage;
#[path = "../e2e/standin.rs"]
#[allow(dead_code, reason = "shared with the tests from end to end")]
mod standin;
mod strangers;
mod tokens;
mod totp;
mod transit;
