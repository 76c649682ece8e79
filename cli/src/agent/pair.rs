//! A key made here, the request for its certificate, and a hard look at what comes back.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{
    CertificateParams, DnType, KeyPair, PublicKeyData, RsaKeySize, SanType, SignatureAlgorithm, SigningKey,
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    parse_x509_certificate,
};
use zeroize::Zeroizing;

use super::{
    ml_dsa::{MlDsa, MlDsaKey, is_signed_by},
    moment::Moment,
    record::Held,
    shelf::Pair,
};
use crate::pem;

/// No bundle is larger.
const BUNDLE_SIZE_MAX: usize = 256 * 1024;

/// The kinds of keys that the agent makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeyKind {
    #[default]
    EcP256,
    EcP384,
    Ed25519,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    MlDsa(MlDsa),
}

/// All of them, as people write them.
pub(crate) const KEY_KINDS: &str =
    "ec, ec-384, ed25519, rsa, rsa-3072, rsa-4096, ml-dsa-44, ml-dsa-65 and ml-dsa-87";

/// Whom a certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) common: String,
    /// Further host names.
    pub(crate) hosts: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) uris: Vec<String>,
}

/// A key and the request that proves that it is held.
pub(crate) struct Request {
    pub(crate) key: Zeroizing<String>,
    pub(crate) csr: String,
    /// The public half, which the certificate must hold.
    public: Vec<u8>,
}

impl KeyKind {
    /// Reads `ec-384`, `ml-dsa-65`, or a kind whose size is said beside it.
    pub(crate) fn parse(text: &str, bits: u32) -> Option<KeyKind> {
        let sized = text.rsplit_once('-').and_then(|(kind, size)| Some((kind, size.parse().ok()?)));
        let (kind, bits) = match sized {
            Some((kind, size)) if bits == 0 || bits == size => (kind, size),
            Some(_) => return None,
            None => (text, bits),
        };
        Some(match (kind, bits) {
            ("ec", 0 | 256) => KeyKind::EcP256,
            ("ec", 384) => KeyKind::EcP384,
            ("ed25519", _) => KeyKind::Ed25519,
            ("rsa", 0 | 2048) => KeyKind::Rsa2048,
            ("rsa", 3072) => KeyKind::Rsa3072,
            ("rsa", 4096) => KeyKind::Rsa4096,
            ("ml-dsa", number) => KeyKind::MlDsa(MlDsa::numbered(number)?),
            _ => return None,
        })
    }

    /// The two words of a configuration: `key_type` and `key_bits`.
    pub(crate) fn words(self) -> (&'static str, u32) {
        match self {
            KeyKind::EcP256 => ("ec", 256),
            KeyKind::EcP384 => ("ec", 384),
            KeyKind::Ed25519 => ("ed25519", 0),
            KeyKind::Rsa2048 => ("rsa", 2048),
            KeyKind::Rsa3072 => ("rsa", 3072),
            KeyKind::Rsa4096 => ("rsa", 4096),
            KeyKind::MlDsa(MlDsa::Set44) => ("ml-dsa-44", 0),
            KeyKind::MlDsa(MlDsa::Set65) => ("ml-dsa-65", 0),
            KeyKind::MlDsa(MlDsa::Set87) => ("ml-dsa-87", 0),
        }
    }

    fn make(self) -> Result<Key, rcgen::Error> {
        let algorithm: &'static SignatureAlgorithm = match self {
            KeyKind::EcP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyKind::EcP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyKind::Ed25519 => &rcgen::PKCS_ED25519,
            KeyKind::Rsa2048 => return rsa(RsaKeySize::_2048),
            KeyKind::Rsa3072 => return rsa(RsaKeySize::_3072),
            KeyKind::Rsa4096 => return rsa(RsaKeySize::_4096),
            KeyKind::MlDsa(set) => return MlDsaKey::make(set).map(Key::MlDsa),
        };
        KeyPair::generate_for(algorithm).map(Key::Usual)
    }
}

fn rsa(size: RsaKeySize) -> Result<Key, rcgen::Error> {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).map(Key::Usual)
}

/// A key, whatever its kind.
enum Key {
    Usual(KeyPair),
    MlDsa(MlDsaKey),
}

impl Key {
    fn from_pem(text: &str) -> Result<Key, rcgen::Error> {
        match MlDsaKey::from_pem(text) {
            Some(key) => Ok(Key::MlDsa(key)),
            None => KeyPair::from_pem(text).map(Key::Usual),
        }
    }

    fn pem(&self) -> Result<Zeroizing<String>, rcgen::Error> {
        match self {
            Key::Usual(key) => Ok(Zeroizing::new(key.serialize_pem())),
            Key::MlDsa(key) => key.pem(),
        }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Key::Usual(key) => key.der_bytes(),
            Key::MlDsa(key) => key.der_bytes(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Key::Usual(key) => PublicKeyData::algorithm(key),
            Key::MlDsa(key) => key.algorithm(),
        }
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Key::Usual(key) => key.sign(message),
            Key::MlDsa(key) => key.sign(message),
        }
    }
}

impl Names {
    /// All host names, the common one first.
    pub(crate) fn all_hosts(&self) -> Vec<String> {
        let common = (!self.common_is_address()).then(|| self.common.clone());
        common.into_iter().chain(self.hosts.iter().filter(|host| **host != self.common).cloned()).collect()
    }

    pub(crate) fn all_addresses(&self) -> Vec<IpAddr> {
        self.common.parse().into_iter().chain(self.addresses.iter().copied()).collect()
    }

    fn common_is_address(&self) -> bool {
        self.common.parse::<IpAddr>().is_ok()
    }
}

/// Makes a key, or takes the one given, and signs a request for these names with it.
pub(crate) fn request(
    kind: KeyKind,
    kept: Option<Zeroizing<String>>,
    names: &Names,
) -> Result<Request, String> {
    let failed = |e: rcgen::Error| format!("the request cannot be made: {e}");
    let key = match &kept {
        Some(pem) => Key::from_pem(pem).map_err(|e| format!("the kept key cannot be read: {e}"))?,
        None => kind.make().map_err(failed)?,
    };
    let mut params = CertificateParams::new(names.all_hosts()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names.common.as_str());
    let addresses = names.all_addresses().into_iter().map(SanType::IpAddress);
    params.subject_alt_names.retain(|name| !matches!(name, SanType::IpAddress(_)));
    params.subject_alt_names.extend(addresses);
    for uri in &names.uris {
        let uri = uri.as_str().try_into().map_err(|_| format!("{uri:?} is no URI for a certificate"))?;
        params.subject_alt_names.push(SanType::URI(uri));
    }
    let csr = params.serialize_request(&key).and_then(|csr| csr.pem()).map_err(failed)?;
    let public = key.der_bytes().to_vec();
    let pem = match kept {
        Some(pem) => pem,
        None => key.pem().map_err(failed)?,
    };
    Ok(Request { key: pem, csr, public })
}

/// What the CA gave for a request, checked: it must be for this key and these names, valid now, and signed by what
/// comes with it. A wrong server must not be able to replace a good certificate.
pub(crate) fn accept(
    request: &Request,
    names: &Names,
    leaf: &str,
    chain: &[String],
    number: u64,
    now: Moment,
) -> Result<(Pair, Held), String> {
    let block = pem::blocks(leaf).into_iter().next().ok_or("the server returned no certificate")?;
    let (_, cert) = parse_x509_certificate(&block).map_err(|_| "the certificate cannot be read")?;
    if *cert.public_key().subject_public_key.data != *request.public {
        return Err("the certificate is for another key than the one that was asked for".to_owned());
    }
    if let Some(missing) = missing_name(&cert, names) {
        return Err(format!("the certificate is not for {missing}; the role leaves that name out"));
    }
    let not_after = Moment::from_seconds(cert.validity().not_after.timestamp());
    if not_after <= now {
        return Err(format!("the certificate has ended already, at {not_after}"));
    }
    let parents = order(chain);
    if let Some(first) = parents.first() {
        let (_, issuer) = parse_x509_certificate(&first.der).map_err(|_| "the issuer cannot be read")?;
        if !is_signed_by(&cert, Some(issuer.public_key())) {
            return Err("the certificate is not signed by the issuer that came with it".to_owned());
        }
    }
    let held = Held {
        number,
        serial: cert.raw_serial_as_string(),
        obtained: now.max(Moment::from_seconds(cert.validity().not_before.timestamp())),
        not_after,
        bundle_not_after: parents.iter().map(|parent| parent.not_after).min(),
        ari_id: ari_id(&cert),
        bundle: None,
        unwanted: false,
    };
    let (anchors, middles): (Vec<&Parent>, Vec<&Parent>) = parents.iter().partition(|parent| parent.is_root);
    let text = |parents: &[&Parent]| parents.iter().map(|parent| parent.pem.as_str()).collect::<String>();
    let anchors = if anchors.is_empty() { middles.last().copied().into_iter().collect() } else { anchors };
    let pair = Pair {
        key: request.key.clone(),
        certificate: closed(leaf),
        chain: text(&middles),
        anchors: text(&anchors),
    };
    Ok((pair, held))
}

/// The bytes of the first certificate of a PEM text: what a handshake must show.
pub(crate) fn leaf_bytes(pem_text: &str) -> Option<Vec<u8>> {
    pem::blocks(pem_text).into_iter().next()
}

/// By what the server knows a bundle of CAs.
pub(crate) fn fingerprint(bundle: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bundle.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text is a bundle of CAs and nothing else.
pub(crate) fn is_bundle(text: &str) -> bool {
    let blocks = pem::blocks(text);
    let is_authority = |block: &Vec<u8>| parse_x509_certificate(block).is_ok_and(|(_, cert)| cert.is_ca());
    text.len() <= BUNDLE_SIZE_MAX && !blocks.is_empty() && blocks.iter().all(is_authority)
}

/// Whether a text is a bundle in which all these CAs are.
pub(crate) fn holds(bundle: &str, anchors: &str) -> bool {
    let blocks = pem::blocks(bundle);
    is_bundle(bundle) && pem::blocks(anchors).iter().all(|anchor| blocks.contains(anchor))
}

/// Whether a text is a bundle in which a chain ends, leaf first.
pub(crate) fn reaches(chain: &str, bundle: &str) -> bool {
    let Some(top) = pem::blocks(chain).pop() else { return false };
    let Ok((_, last)) = parse_x509_certificate(&top) else { return false };
    let is_above = |block: &Vec<u8>| {
        *block == top
            || parse_x509_certificate(block)
                .is_ok_and(|(_, cert)| is_signed_by(&last, Some(cert.public_key())))
    };
    is_bundle(bundle) && pem::blocks(bundle).iter().any(is_above)
}

/// Both bundles in one, each CA once.
pub(crate) fn union(one: &str, other: &str) -> String {
    let known = pem::blocks(one);
    let further = other.split_inclusive("-----END CERTIFICATE-----").filter(|part| {
        let block = leaf_bytes(part);
        block.is_some_and(|block| !known.contains(&block))
    });
    further.fold(closed(one), |text, part| text + &closed(part.trim_start()))
}

/// The serial number of a certificate in DER, as colons and hex.
pub(crate) fn serial(der: &[u8]) -> String {
    parse_x509_certificate(der)
        .map_or_else(|_| "unreadable".to_owned(), |(_, cert)| cert.raw_serial_as_string())
}

struct Parent {
    pem: String,
    der: Vec<u8>,
    not_after: Moment,
    is_root: bool,
}

/// The certificates of a chain, each once.
fn order(chain: &[String]) -> Vec<Parent> {
    let mut parents: Vec<Parent> = Vec::new();
    for text in chain {
        let (Some(der), Some(seen)) = (leaf_bytes(text), pem::certificate(text)) else { continue };
        if parents.iter().all(|parent| parent.der != der) {
            let not_after = Moment::from_seconds(seen.not_after);
            parents.push(Parent { pem: closed(text), der, not_after, is_root: seen.is_root });
        }
    }
    parents
}

fn closed(pem: &str) -> String {
    format!("{}\n", pem.trim_end())
}

fn missing_name(cert: &X509Certificate<'_>, names: &Names) -> Option<String> {
    let alternatives = cert.subject_alternative_name().ok().flatten();
    let shown = alternatives.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let host = |wanted: &String| {
        shown.iter().any(|name| matches!(name, GeneralName::DNSName(dns) if dns.eq_ignore_ascii_case(wanted)))
    };
    let address = |wanted: &IpAddr| {
        let bytes = match wanted {
            IpAddr::V4(four) => four.octets().to_vec(),
            IpAddr::V6(six) => six.octets().to_vec(),
        };
        shown.iter().any(|name| matches!(name, GeneralName::IPAddress(ip) if *ip == bytes.as_slice()))
    };
    let uri =
        |wanted: &String| shown.iter().any(|name| matches!(name, GeneralName::URI(uri) if uri == wanted));
    let hosts = names.all_hosts().into_iter().find(|name| !host(name));
    let addresses = names.all_addresses().into_iter().find(|name| !address(name)).map(|ip| ip.to_string());
    hosts.or(addresses).or_else(|| names.uris.iter().find(|name| !uri(name)).cloned())
}

/// The name of a certificate for renewal information (RFC 9773 §4.1): its authority's key identifier and its serial.
fn ari_id(cert: &X509Certificate<'_>) -> Option<String> {
    let key = cert.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
        _ => None,
    })?;
    Some(format!("{}.{}", URL_SAFE_NO_PAD.encode(key.0), URL_SAFE_NO_PAD.encode(cert.raw_serial())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for (text, bits, kind) in [
            ("ec", 0, Some(KeyKind::EcP256)),
            ("ec", 384, Some(KeyKind::EcP384)),
            ("ec-384", 0, Some(KeyKind::EcP384)),
            ("ec-384", 256, None),
            ("rsa-3072", 0, Some(KeyKind::Rsa3072)),
            ("ml-dsa-65", 0, Some(KeyKind::MlDsa(MlDsa::Set65))),
            ("ml-dsa", 87, Some(KeyKind::MlDsa(MlDsa::Set87))),
            ("ml-dsa", 0, None),
            ("ml-dsa-50", 0, None),
            ("dsa", 0, None),
        ] {
            assert_eq!(KeyKind::parse(text, bits), kind, "{text} {bits}");
            if let Some(kind) = kind {
                let (text, bits) = kind.words();
                assert_eq!(KeyKind::parse(text, bits), Some(kind));
            }
        }
    }

    /// A key that is kept signs its next request as well.
    #[test]
    fn a_request_is_made_with_every_kind_of_key() {
        let names = Names { common: "a.example".to_owned(), ..Names::default() };
        for kind in ["ec", "ec-384", "ed25519", "rsa", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"] {
            let kind = KeyKind::parse(kind, 0).expect(kind);
            let first = request(kind, None, &names).expect("a request");
            let second = request(kind, Some(first.key.clone()), &names).expect("another");
            assert!(first.public == second.public && first.csr.contains("CERTIFICATE REQUEST"));
        }
    }
}
