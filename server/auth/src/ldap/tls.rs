//! TLS to a directory.

use std::sync::Arc;

use kit::{Error, Result};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use super::config::Config;
use crate::anyone::Anyone;
use crate::named::trusting;

/// How to speak TLS with the servers of these settings.
///
/// # Errors
/// If the settings do not fit together, or a certificate or key does not read.
pub(super) fn config(config: &Config) -> Result<Arc<ClientConfig>> {
    let directory = &config.directory;
    let versions = versions(&directory.tls_min_version, &directory.tls_max_version)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| Error::internal(format!("no TLS: {error}")))?;
    let builder = if directory.insecure_tls {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone::new(provider)))
    } else {
        let (roots, named) = roots(&directory.certificate)?;
        trusting(builder, &provider, roots, named)
    };
    let (certificate, key) = (&config.client_tls_cert, config.client_tls_key.expose());
    let config = match (certificate.is_empty(), key.is_empty()) {
        (true, true) => builder.with_no_client_auth(),
        (false, false) => {
            let wrong = |error: &dyn std::fmt::Display| {
                Error::invalid(format!("failed to parse client X509 key pair: {error}"))
            };
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(|error| wrong(&error))?;
            // The text of this error could show the key.
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|_| wrong(&"client_tls_key is no key in PEM"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| wrong(&error))?
        }
        _ => return Err(Error::invalid("both client_tls_cert and client_tls_key must be set")),
    };
    Ok(Arc::new(config))
}

/// The versions from one to another, of those that are still safe.
fn versions(least: &str, most: &str) -> Result<Vec<&'static SupportedProtocolVersion>> {
    const NAMES: [&str; 4] = ["tls10", "tls11", "tls12", "tls13"];
    let rank = |field: &str, name: &str| {
        let found = NAMES.iter().position(|known| *known == name);
        found.ok_or_else(|| Error::invalid(format!("invalid '{field}'")))
    };
    let (from, to) = (rank("tls_min_version", least)?, rank("tls_max_version", most)?);
    if to < from {
        return Err(Error::invalid("'tls_max_version' must be greater than or equal to 'tls_min_version'"));
    }
    match (from, to) {
        (_, 0 | 1) => Err(Error::invalid("'tls_max_version' is too old to be safe: use tls12 or tls13")),
        (_, 2) => Ok(vec![&version::TLS12]),
        (3, _) => Ok(vec![&version::TLS13]),
        _ => Ok(vec![&version::TLS13, &version::TLS12]),
    }
}

fn roots(certificate: &str) -> Result<(RootCertStore, Vec<CertificateDer<'static>>)> {
    let mut roots = RootCertStore::empty();
    if certificate.is_empty() {
        let native = rustls_native_certs::load_native_certs().certs;
        roots.add_parsable_certificates(native.iter().cloned());
        return Ok((roots, native));
    }
    let wrong =
        |error: &dyn std::fmt::Display| Error::invalid(format!("failed to parse server tls cert: {error}"));
    let mut named = Vec::new();
    for root in CertificateDer::pem_slice_iter(certificate.as_bytes()) {
        let root = root.map_err(|error| wrong(&error))?;
        roots.add(root.clone()).map_err(|error| wrong(&error))?;
        named.push(root);
    }
    if roots.is_empty() { Err(wrong(&"there is no CERTIFICATE block")) } else { Ok((roots, named)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(least: &str, most: &str, expect: Result<usize, &str>) {
        let found = versions(least, most).map(|versions| versions.len()).map_err(|error| error.to_string());
        assert_eq!(found, expect.map_err(str::to_owned), "{least} to {most}");
    }

    #[test]
    fn only_safe_versions_are_spoken() {
        check("tls12", "tls12", Ok(1));
        check("tls12", "tls13", Ok(2));
        check("tls13", "tls13", Ok(1));
        check("tls10", "tls12", Ok(1));
        check("tls10", "tls11", Err("'tls_max_version' is too old to be safe: use tls12 or tls13"));
        check("ssl3", "tls12", Err("invalid 'tls_min_version'"));
        let turned = "'tls_max_version' must be greater than or equal to 'tls_min_version'";
        check("tls13", "tls12", Err(turned));
    }
}
