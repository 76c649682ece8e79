//! Every auth method there is.
//!
//! To add one: its file or folder, its `mod` line, its lines in [`open`] and [`KINDS`].

mod anyone;
mod approle;
mod cert;
mod cidr;
mod claims;
mod jwt;
mod kubernetes;
mod ldap;
mod listing;
mod named;
mod token_params;
mod userpass;

pub use anyone::Anyone;
pub use named::trusting;

use std::sync::Arc;

use kit::{AnyEngine, AnyMethod, AuthMethod, Engine, Error, Result};
use serde_json::Value;

use jwt::Title as _;

/// The types by which a method can be enabled, and what each is for.
pub const KINDS: &[(&str, &str)] = &[
    (approle::AppRole::NAME, approle::AppRole::ABOUT),
    (cert::Cert::NAME, cert::Cert::ABOUT),
    (jwt::Jwt::NAME, jwt::Jwt::ABOUT),
    (jwt::Oidc::NAME, jwt::Oidc::ABOUT),
    (kubernetes::Kubernetes::NAME, kubernetes::Kubernetes::ABOUT),
    (ldap::Ldap::NAME, ldap::Ldap::ABOUT),
    (userpass::Userpass::NAME, userpass::Userpass::ABOUT),
];

/// The method of a mount of type `kind`: as what can be asked, and as what lets people in.
///
/// # Errors
/// If there is no such type, or it does not take these options.
pub fn open(kind: &str, options: &Value) -> Result<(Arc<dyn AnyEngine>, Arc<dyn AnyMethod>)> {
    match kind {
        approle::AppRole::NAME => method::<approle::AppRole>(options),
        cert::Cert::NAME => method::<cert::Cert>(options),
        jwt::Jwt::NAME => method::<jwt::Signed<jwt::Jwt>>(options),
        jwt::Oidc::NAME => method::<jwt::Signed<jwt::Oidc>>(options),
        kubernetes::Kubernetes::NAME => method::<kubernetes::Kubernetes>(options),
        ldap::Ldap::NAME => method::<ldap::Ldap>(options),
        userpass::Userpass::NAME => method::<userpass::Userpass>(options),
        _ => Err(Error::invalid(format!("plugin not found in the catalog: {kind}"))),
    }
}

fn method<M: AuthMethod>(options: &Value) -> Result<(Arc<dyn AnyEngine>, Arc<dyn AnyMethod>)> {
    let method = Arc::new(M::open(options)?);
    Ok((Arc::clone(&method) as Arc<dyn AnyEngine>, method))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_listed_type_opens_and_lets_people_in() {
        for (kind, about) in KINDS {
            let (engine, method) = open(kind, &json!({})).unwrap();
            assert_eq!(engine.name(), *kind);
            assert!(!about.is_empty() && !method.logins().is_empty());
        }
        assert!(open("nope", &json!({})).is_err());
    }
}
