//! What the command line must know of a certificate or a revocation list.

use x509_parser::{certificate::X509Certificate, parse_x509_certificate, parse_x509_crl, pem::Pem};

use crate::agent::ml_dsa::is_signed_by;

/// The parts of a certificate that checks look at. Moments are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) common_name: String,
    pub(crate) issuer: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) is_ca: bool,
    pub(crate) is_root: bool,
}

/// When a revocation list was made and when the next one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RevocationList {
    pub(crate) this_update: i64,
    pub(crate) next_update: i64,
}

/// Reads the first certificate of a PEM text.
pub(crate) fn certificate(pem: &str) -> Option<Certificate> {
    let block = first_block(pem)?;
    let (_, cert) = parse_x509_certificate(&block.contents).ok()?;
    Some(Certificate {
        not_before: cert.validity().not_before.timestamp(),
        not_after: cert.validity().not_after.timestamp(),
        common_name: common_name(&cert),
        issuer: cert.issuer().as_raw().to_vec(),
        subject: cert.subject().as_raw().to_vec(),
        is_ca: cert.is_ca(),
        is_root: cert.issuer().as_raw() == cert.subject().as_raw() && is_signed_by(&cert, None),
    })
}

/// Reads the first revocation list of a PEM text.
pub(crate) fn revocation_list(pem: &str) -> Option<RevocationList> {
    let block = first_block(pem)?;
    let (_, list) = parse_x509_crl(&block.contents).ok()?;
    Some(RevocationList {
        this_update: list.last_update().timestamp(),
        next_update: list.next_update()?.timestamp(),
    })
}

/// What stands in the blocks of a PEM text.
pub(crate) fn blocks(pem: &str) -> Vec<Vec<u8>> {
    Pem::iter_from_buffer(pem.as_bytes()).map_while(Result::ok).map(|block| block.contents).collect()
}

fn first_block(pem: &str) -> Option<Pem> {
    Pem::iter_from_buffer(pem.as_bytes()).next()?.ok()
}

fn common_name(cert: &X509Certificate<'_>) -> String {
    let name = cert.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    name.unwrap_or_default().to_owned()
}

/// A moment as `2026-11-26`.
pub(crate) fn day(seconds: i64) -> String {
    match time::OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(moment) => {
            format!("{:04}-{:02}-{:02}", moment.year(), u8::from(moment.month()), moment.day())
        }
        Err(_) => "an impossible day".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_told_from_a_leaf() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "root");
        params.not_after = rcgen::date_time_ymd(2030, 1, 2);
        let root = params.self_signed(&key).unwrap();
        let seen = certificate(&root.pem()).unwrap();
        assert!(seen.is_root && seen.is_ca);
        assert_eq!((seen.common_name.as_str(), day(seen.not_after).as_str()), ("root", "2030-01-02"));
        let issuer = rcgen::Issuer::new(params, key);
        let leaf_key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
        let leaf = certificate(&leaf.pem()).unwrap();
        assert!(!leaf.is_root && !leaf.is_ca && leaf.issuer == seen.subject);
        assert_eq!(certificate("nothing"), None);
    }
}
