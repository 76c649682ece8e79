//! Every secrets engine there is.
//!
//! To add one: its file or folder, its `mod` line, its lines in [`open`] and [`KINDS`]. The certificate authority is the
//! crate `pki`.

mod kv;
mod ssh;
mod totp;
mod transit;

use std::sync::Arc;

use kit::{AnyEngine, Engine, Error, Result};
use serde_json::Value;

/// The types by which an engine can be mounted, and what each is for.
pub const KINDS: &[(&str, &str)] = &[
    ("kv", kv::V1::ABOUT),
    ("kv-v1", kv::V1::ABOUT),
    ("kv-v2", kv::V2::ABOUT),
    ("generic", kv::V1::ABOUT),
    ("pki", pki::Pki::ABOUT),
    ("ssh", ssh::Ssh::ABOUT),
    ("totp", totp::Totp::ABOUT),
    ("transit", transit::Transit::ABOUT),
];

/// The engine of a mount of type `kind`.
///
/// # Errors
/// If there is no such type, or it does not take these options.
pub fn open(kind: &str, options: &Value) -> Result<Arc<dyn AnyEngine>> {
    match kind {
        "kv" => match kv::version(options)? {
            kv::Version::One => engine::<kv::V1>(options),
            kv::Version::Leased => engine::<kv::Leased>(options),
            kv::Version::Two => engine::<kv::V2>(options),
        },
        "kv-v1" | "generic" => engine::<kv::V1>(options),
        "kv-v2" => engine::<kv::V2>(options),
        "pki" => engine::<pki::Pki>(options),
        "ssh" => engine::<ssh::Ssh>(options),
        "totp" => engine::<totp::Totp>(options),
        "transit" => engine::<transit::Transit>(options),
        _ => Err(Error::invalid(format!("plugin not found in the catalog: {kind}"))),
    }
}

fn engine<E: Engine>(options: &Value) -> Result<Arc<dyn AnyEngine>> {
    Ok(Arc::new(E::open(options)?))
}

#[cfg(test)]
mod tests {
    use kit::{Found, Verb};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(kind: &str, options: Value, versioned: Option<bool>) {
        let found = open(kind, &options).ok().map(|engine| match engine.find(Verb::Get, "data/a") {
            Found::Here { route, .. } => route.pattern.starts_with("data/"),
            _ => false,
        });
        assert_eq!(found, versioned, "{kind} with {options}");
    }

    #[test]
    fn a_type_and_its_options_choose_the_engine() {
        check("kv", json!({}), Some(false));
        check("kv", json!(null), Some(false));
        check("kv", json!({"version": "1"}), Some(false));
        check("kv", json!({"version": "2"}), Some(true));
        check("kv", json!({"version": 2}), Some(true));
        check("kv", json!({"version": "3"}), None);
        check("kv", json!({"leased_passthrough": "true"}), Some(false));
        check("kv", json!({"leased_passthrough": "perhaps"}), None);
        check("kv-v2", json!({"version": "1"}), Some(true));
        check("generic", json!({}), Some(false));
        check("nope", json!({}), None);
    }

    #[test]
    fn every_listed_type_opens() {
        for (kind, about) in KINDS {
            assert!(open(kind, &json!({})).is_ok() && !about.is_empty(), "{kind}");
        }
    }
}
