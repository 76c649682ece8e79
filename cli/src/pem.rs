//! What the command line must know of a certificate or a revocation list.

use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    parse_x509_certificate, parse_x509_crl,
    pem::Pem,
    public_key::PublicKey,
    x509::{AttributeTypeAndValue, X509Name},
};

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

/// What a listing tells of a certificate, as servers tell it.
pub(crate) fn listed(pem: &str) -> Option<Listed> {
    let block = first_block(pem)?;
    let (_, cert) = parse_x509_certificate(&block.contents).ok()?;
    let names = cert.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    let (key_type, key_bits) = key_of(&cert);
    Some(Listed {
        common_name: common_name(&cert),
        dns_names: names.filter_map(dns).collect(),
        issuer: distinguished(cert.issuer()),
        key_type,
        key_bits,
        not_after: moment(cert.validity().not_after.timestamp()),
        not_before: moment(cert.validity().not_before.timestamp()),
    })
}

/// What a listing tells of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) common_name: String,
    pub(crate) dns_names: Vec<String>,
    pub(crate) issuer: String,
    pub(crate) key_type: String,
    pub(crate) key_bits: usize,
    pub(crate) not_after: String,
    pub(crate) not_before: String,
}

fn key_of(cert: &X509Certificate<'_>) -> (String, usize) {
    let key = cert.public_key();
    let algorithm = key.algorithm.algorithm.to_id_string();
    let (name, bits) = match (algorithm.as_str(), key.parsed()) {
        (_, Ok(PublicKey::RSA(rsa))) => ("rsa", rsa.key_size()),
        // The numbers of a point on P-521 fill whole bytes.
        (_, Ok(PublicKey::EC(point))) => ("ec", if point.key_size() > 512 { 521 } else { point.key_size() }),
        ("1.3.101.112", _) => ("ed25519", 256),
        ("2.16.840.1.101.3.4.3.17", _) => ("ml-dsa", 44),
        ("2.16.840.1.101.3.4.3.18", _) => ("ml-dsa", 65),
        ("2.16.840.1.101.3.4.3.19", _) => ("ml-dsa", 87),
        (other, _) => (other, 0),
    };
    (name.to_owned(), bits)
}

/// A name in the form of RFC 2253: the most specific part first.
fn distinguished(name: &X509Name<'_>) -> String {
    let part = |part: &AttributeTypeAndValue<'_>| {
        let value = part.as_str().map_or_else(|_| hex(part.as_slice()), escaped);
        format!("{}={value}", attribute(&part.attr_type().to_id_string()))
    };
    let mut sets: Vec<String> =
        name.iter_rdn().map(|set| set.iter().map(part).collect::<Vec<_>>().join("+")).collect();
    sets.reverse();
    sets.join(",")
}

fn attribute(oid: &str) -> &str {
    match oid {
        "2.5.4.3" => "CN",
        "2.5.4.5" => "SERIALNUMBER",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.17" => "POSTALCODE",
        other => other,
    }
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::new();
    for (at, c) in value.chars().enumerate() {
        let edge = (c == ' ' && (at == 0 || at == last)) || (c == '#' && at == 0);
        if edge || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("#".to_owned(), |text, byte| format!("{text}{byte:02x}"))
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

/// A moment as `2026-11-26T10:20:30Z`.
fn moment(seconds: i64) -> String {
    let text = time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|moment| moment.format(&time::format_description::well_known::Rfc3339).ok());
    text.unwrap_or_else(|| "an impossible moment".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_as_servers_tell_it() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CountryName, "DE");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "O=x+y");
        params.distinguished_name.push(rcgen::DnType::CommonName, "A, \"B\" <c> ");
        params.not_before = rcgen::date_time_ymd(2030, 1, 2);
        params.not_after = rcgen::date_time_ymd(2031, 1, 2);
        let seen = listed(&params.self_signed(&key).unwrap().pem()).unwrap();
        let expect = Listed {
            common_name: "A, \"B\" <c> ".to_owned(),
            dns_names: vec!["a.example".to_owned()],
            issuer: "CN=A\\, \\\"B\\\" \\<c\\>\\ ,O=O=x\\+y,C=DE".to_owned(),
            key_type: "ec".to_owned(),
            key_bits: 384,
            not_after: "2031-01-02T00:00:00Z".to_owned(),
            not_before: "2030-01-02T00:00:00Z".to_owned(),
        };
        assert_eq!(seen, expect);
        assert_eq!(listed("nothing"), None);
    }

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
