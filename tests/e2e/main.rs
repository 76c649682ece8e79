//! The main job from end to end: real clients against a real server, across restarts and kill -9.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says no"
)]

mod acme;
mod acme_clients;
mod acme_targets;
mod agent;
mod agent_logins;
mod ansible;
mod audit;
mod audit_sinks;
mod backup;
mod bao;
mod care;
mod cert;
mod cert_outages;
mod certificates;
mod factors;
mod first_steps;
mod guide;
mod hvac;
mod issuer;
mod issuers;
mod keep_agent;
mod keep_alone;
mod keep_handover;
mod keep_login;
mod keep_logs;
mod keep_proxy;
mod keep_restarts;
mod keep_secrets;
mod keep_setup;
mod keep_templates;
mod keep_verbs;
mod kill;
mod ldap;
mod listeners;
mod memory;
mod ml_dsa;
mod monitor;
mod namespaces;
mod node;
mod ocsp;
mod pgp;
mod pods;
mod pprof;
mod proxies;
mod relying_party;
mod restart;
mod rotation;
mod script;
mod self_init;
mod shares;
mod ssh;
mod standin;
mod transit;
mod vaultrs;
mod wire;
mod workflows;
