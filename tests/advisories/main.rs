//! The published faults of our field, each as a refusal: one test per row of the table of advisories, by its number.
//!
//! Each asks a real server over the wire, as an attacker would. Rows about parts that Sealkeep does not have (yet) have
//! no test; those that were no advisory but deserve a test are named `also_…`. Row 51 is held in `tests/e2e/cert.rs`, 67 and 81
//! in `tests/sim/factors.rs` and `mfa.rs`, 150 in `tests/sim/unmounting.rs`, 162 in `tests/e2e/keep_secrets.rs`: they need a site, a clock or an agent.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says no"
)]

mod acme;
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
mod seal;
mod signed;
mod ssh;
mod stage;
mod tokens;
mod totp;
mod transit;
