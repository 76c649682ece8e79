//! The same requests to the real OpenBao and to Sealkeep, and the answers compared.
//!
//! Each area is a script (`*.req`, see [`script`] for the format). Statuses, shapes, types, texts and all values that
//! are not chance or time must be equal; what may differ is listed in `allowed.txt` with its reason.
//!
//! `recorded/` holds what real servers were once asked, two thousand exchanges, as scripts: each token, id and key that came
//! out of an answer is taken from this run's answers, and `was:` is the status that was recorded. `rows.tsv` lists the
//! paths that clients use; each is asked for in some script.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says no"
)]

mod compare;
mod openapi;
mod policy;
mod rows;
mod run;
mod script;
mod sweep;

macro_rules! areas {
    ($($area:ident)+) => {
        $(#[test]
        fn $area() {
            run::check(stringify!($area), include_str!(concat!(stringify!($area), ".req")));
        })+
    };
}

areas! { acme approle audit cel cert config control_group cubbyhole generate_root http identity init inline jwt kubernetes kv1 kv2 leases mfa namespaces oidc pki pki_cel policies pprof quotas raw rekey sealable slash ssh sys token totp transit userpass workflows wrapping }

macro_rules! recorded {
    ($($part:ident: $($area:ident)*;)+) => {
        mod recorded {
            $(#[test]
            fn $part() {
                let areas = [$(stringify!($area)),*];
                crate::run::replay(stringify!($part), &areas, include_str!(concat!("recorded/", stringify!($part), ".req")));
            })+
        }
    };
}

// What clients once asked a real OpenBao, in the order in which they did; each with the areas that it is of.
recorded! {
    acl: policies sys token;
    approle: approle;
    cert: cert;
    dev: policies token sys namespaces wrapping;
    http: http;
    identity: identity oidc mfa;
    init: init;
    jwt: jwt cel;
    kubernetes: kubernetes;
    kv: kv1 kv2 cubbyhole;
    leases: leases wrapping;
    loggers: sys config policies workflows control_group;
    mfa: mfa identity;
    mounts: sys;
    namespaces: namespaces;
    open: rekey generate_root;
    pki: pki;
    pki9: pki;
    policies: policies;
    ssh: ssh;
    sys: sys config quotas rekey generate_root audit raw;
    token: token;
    totp: totp;
    transit: transit;
    userpass: userpass;
}
