//! The same requests to the real OpenBao and to Sealkeep, and the answers compared.
//!
//! Each area is a script (`*.req`, see [`script`] for the format). Statuses, shapes, types, texts and all values that
//! are not chance or time must be equal; what may differ is listed in `allowed.txt` with its reason.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says no"
)]

mod compare;
mod policy;
mod run;
mod script;

macro_rules! areas {
    ($($area:ident)+) => {
        $(#[test]
        fn $area() {
            run::check(stringify!($area), include_str!(concat!(stringify!($area), ".req")));
        })+
    };
}

areas! { approle audit cel cert config control_group cubbyhole generate_root http identity init jwt kubernetes kv1 kv2 leases mfa namespaces oidc pki policies quotas raw rekey ssh sys token totp transit userpass workflows wrapping }
