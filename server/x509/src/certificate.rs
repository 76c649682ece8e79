//! Reading certificates.

use crate::ObjectIdentifier;
use crate::error::While;
use crate::extensions::{
    AUTHORITY_ACCESS, AUTHORITY_KEY_ID, BASIC_CONSTRAINTS, EXT_KEY_USAGE, KEY_USAGE, OCSP, SUBJECT_KEY_ID,
};
use crate::{
    AltNames, Error, ExtKeyUsage, Extension, Extensions, KeyUsage, PublicKey, Result, Scheme, Serial,
    Subject, Validity, oids, pem,
};
use aws_lc_rs::digest;
use der::{
    Decode, Reader, SliceReader, Tag, TagNumber,
    asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef},
};
use std::{fmt, ops::Range};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints};

const WHAT: &str = "certificate";
/// A certificate larger than this is not read.
pub(crate) const SIZE_MAX: usize = 256 * 1024;
/// No certificate, request or list that anyone made has more extensions.
const EXTENSIONS_MAX: usize = 64;

/// A certificate that was read. Its names and key are kept byte for byte, since signatures and chains hang on them.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    body: Range<usize>,
    issuer: Range<usize>,
    subject: Range<usize>,
    serial: Serial,
    validity: Validity,
    public_key: PublicKey,
    extensions: Extensions,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    authority: Option<BasicConstraints>,
}

impl Certificate {
    /// Reads DER that comes from outside.
    ///
    /// # Errors
    /// If it is no certificate, or one of its object identifiers could be written shorter.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let read = Self::of_record(der)?;
        oids::check(der, WHAT)?;
        Ok(read)
    }

    /// Reads DER that is kept here. It was looked at when it came, or was made; that was done less closely by older versions, and
    /// what they let in can be shown and revoked all the same.
    ///
    /// # Errors
    /// If it is no certificate.
    pub fn of_record(der: &[u8]) -> Result<Self> {
        if der.len() > SIZE_MAX {
            return Err(Error::malformed(WHAT, format!("it is longer than {SIZE_MAX} bytes")));
        }
        let mut reader = SliceReader::new(der).reading(WHAT)?;
        let (body, parts, algorithm, signature) = reader
            .sequence(|outer| {
                let start = outer.position();
                let parts = outer.sequence(Parts::read)?;
                let body = range(start, outer.position())?;
                let algorithm = outer.tlv_bytes()?.to_vec();
                let signature = BitStringRef::decode(outer)?;
                Ok::<_, der::Error>((body, parts, algorithm, signature.raw_bytes().to_vec()))
            })
            .reading(WHAT)?;
        reader.finish().reading(WHAT)?;
        if parts.algorithm != algorithm {
            return Err(Error::malformed(WHAT, "it names its signature algorithm twice, and not the same"));
        }
        let extensions = read_extensions(parts.extensions, WHAT)?;
        let authority = value::<BasicConstraints>(&extensions, BASIC_CONSTRAINTS)?;
        Ok(Certificate {
            der: der.to_vec(),
            body,
            issuer: parts.issuer,
            subject: parts.subject,
            serial: Serial::from_magnitude(parts.serial)?,
            validity: parts.validity,
            public_key: PublicKey::from_spki(parts.spki)?,
            extensions,
            algorithm,
            signature,
            authority,
        })
    }

    /// Reads the first certificate of a PEM text.
    pub fn from_pem(text: &str) -> Result<Self> {
        let blocks = pem::blocks(text)?;
        let block = blocks
            .iter()
            .find(|block| block.label == pem::CERTIFICATE)
            .ok_or_else(|| Error::malformed(WHAT, "there is no CERTIFICATE block"))?;
        Self::from_der(&block.der)
    }

    /// The whole of it.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// PEM, without a newline at its end.
    pub fn to_pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.der)
    }

    /// Its number.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Its lifetime.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The DER of its issuer's name.
    pub fn issuer_der(&self) -> &[u8] {
        self.der.get(self.issuer.clone()).unwrap_or_default()
    }

    /// The DER of its subject.
    pub fn subject_der(&self) -> &[u8] {
        self.der.get(self.subject.clone()).unwrap_or_default()
    }

    /// Its subject.
    pub fn subject(&self) -> Result<Subject> {
        Subject::from_der(self.subject_der())
    }

    /// Its issuer's name.
    pub fn issuer(&self) -> Result<Subject> {
        Subject::from_der(self.issuer_der())
    }

    /// Its holder's key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Everything else it says.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Its other names; none when it has none.
    pub fn alt_names(&self) -> Result<AltNames> {
        self.extensions.names()
    }

    /// What its key may be used for; `None` when it does not say.
    pub fn key_usage(&self) -> Result<Option<KeyUsage>> {
        key_usage(&self.extensions)
    }

    /// The purposes of its key; `None` when it does not say.
    pub fn ext_key_usage(&self) -> Result<Option<Vec<ExtKeyUsage>>> {
        self.extensions.purposes()
    }

    /// Whether it says for which purposes its key is.
    pub fn names_purposes(&self) -> bool {
        self.extensions.find(&EXT_KEY_USAGE).is_some()
    }

    /// Where to ask whether it still holds, as it says itself.
    pub fn ocsp_servers(&self) -> Vec<String> {
        let places = value::<Vec<AnyRef<'_>>>(&self.extensions, AUTHORITY_ACCESS).ok().flatten();
        let url = |place: AnyRef<'_>| {
            let mut place = SliceReader::new(place.value()).ok()?;
            let way = ObjectIdentifier::decode(&mut place).ok()?;
            match GeneralName::decode(&mut place).ok()? {
                GeneralName::UniformResourceIdentifier(url) if way == OCSP => Some(url.to_string()),
                _ => None,
            }
        };
        places.unwrap_or_default().into_iter().filter_map(url).collect()
    }

    /// Whether it is a CA.
    pub fn is_ca(&self) -> bool {
        self.authority.as_ref().is_some_and(|constraints| constraints.ca)
    }

    /// How many CAs may follow below it; `None` when it does not say.
    pub fn path_length(&self) -> Option<u8> {
        self.authority.as_ref().filter(|constraints| constraints.ca)?.path_len_constraint
    }

    /// The name of its own key.
    pub fn subject_key_id(&self) -> Option<Vec<u8>> {
        let extension = self.extensions.find(&SUBJECT_KEY_ID)?;
        <&OctetStringRef>::from_der(&extension.value).ok().map(|id| id.as_bytes().to_vec())
    }

    /// The name of its signer's key.
    pub fn authority_key_id(&self) -> Option<Vec<u8>> {
        authority_key_id(&self.extensions)
    }

    /// How it is signed. SHA-1 and unknown algorithms are an error.
    pub fn scheme(&self) -> Result<Scheme> {
        Scheme::from_der(&self.algorithm)
    }

    /// SHA-256 over the whole of it, in hex.
    pub fn fingerprint(&self) -> String {
        hex::encode(digest::digest(&digest::SHA256, &self.der))
    }

    /// Whether its issuer and its subject have one name, as a root's have.
    pub fn is_self_issued(&self) -> bool {
        self.issuer_der() == self.subject_der()
    }

    /// Whether its own key has signed it.
    pub fn is_self_signed(&self) -> bool {
        self.is_self_issued() && self.verify_key(&self.public_key).is_ok()
    }

    /// Checks that `issuer` is who it says it is from: by name, by key identifier, by signature.
    pub fn verify_issued_by(&self, issuer: &Certificate) -> Result<()> {
        if self.issuer_der() != issuer.subject_der() {
            return Err(Error::refused("the issuer's name is not the one in the certificate"));
        }
        if let (Some(named), Some(own)) = (self.authority_key_id(), issuer.subject_key_id())
            && named != own
        {
            return Err(Error::refused("the issuer's key identifier is not the one in the certificate"));
        }
        self.verify_key(&issuer.public_key)
    }

    fn verify_key(&self, key: &PublicKey) -> Result<()> {
        let body = self.der.get(self.body.clone()).unwrap_or_default();
        key.verify(self.scheme()?, body, &self.signature, "the certificate")
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.serial)
    }
}

/// The fields of a TBSCertificate.
struct Parts<'a> {
    serial: &'a [u8],
    algorithm: &'a [u8],
    issuer: Range<usize>,
    validity: Validity,
    subject: Range<usize>,
    spki: &'a [u8],
    /// Nothing, where there are none.
    extensions: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(tbs: &mut SliceReader<'a>) -> der::Result<Self> {
        tbs.context_specific::<u8>(TagNumber(0), der::TagMode::Explicit)?;
        let serial = UintRef::decode(tbs)?.as_bytes();
        let algorithm = tbs.tlv_bytes()?;
        let issuer = skip(tbs)?;
        let validity = tbs.sequence(|inner| {
            Ok::<_, der::Error>(Validity { not_before: start(inner)?, not_after: seconds(inner)? })
        })?;
        let subject = skip(tbs)?;
        let spki = tbs.tlv_bytes()?;
        let mut extensions = [].as_slice();
        while !tbs.is_finished() {
            let field = AnyRef::decode(tbs)?;
            if der::Tagged::tag(&field) == (Tag::ContextSpecific { constructed: true, number: TagNumber(3) })
            {
                extensions = field.value();
            }
        }
        Ok(Parts { serial, algorithm, issuer, validity, subject, spki, extensions })
    }
}

/// Reads the `Extensions` of a `what`; no bytes are none. An extension named twice has no meaning, so it is refused.
pub(crate) fn read_extensions(der: &[u8], what: &'static str) -> Result<Extensions> {
    let mut extensions = Extensions::new();
    if der.is_empty() {
        return Ok(extensions);
    }
    let mut reader = SliceReader::new(der).reading(what)?;
    let found = Vec::<AnyRef<'_>>::decode(&mut reader).reading(what)?;
    reader.finish().reading(what)?;
    if found.len() > EXTENSIONS_MAX {
        let why = format!("it has {} extensions; {EXTENSIONS_MAX} are allowed", found.len());
        return Err(Error::malformed(what, why));
    }
    for extension in found {
        let (oid, critical, value) = extension_of(extension).reading(what)?;
        if extensions.find(&oid).is_some() {
            return Err(Error::malformed(what, format!("it has the extension {oid} twice")));
        }
        extensions = extensions.with(oid, critical, value);
    }
    Ok(extensions)
}

fn extension_of(extension: AnyRef<'_>) -> der::Result<(ObjectIdentifier, bool, Vec<u8>)> {
    der::Tagged::tag(&extension).assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(extension.value())?;
    let oid = ObjectIdentifier::decode(&mut reader)?;
    let critical = Option::<bool>::decode(&mut reader)?.unwrap_or(false);
    let value = <&OctetStringRef>::decode(&mut reader)?.as_bytes().to_vec();
    reader.finish()?;
    Ok((oid, critical, value))
}

pub(crate) fn key_usage(extensions: &Extensions) -> Result<Option<KeyUsage>> {
    let Some(extension) = extensions.find(&KEY_USAGE) else { return Ok(None) };
    let bits = BitStringRef::from_der(&extension.value).reading("key usage")?;
    Ok(Some(KeyUsage::from_bits(bits.raw_bytes())))
}

pub(crate) fn authority_key_id(extensions: &Extensions) -> Option<Vec<u8>> {
    let Extension { value, .. } = extensions.find(&AUTHORITY_KEY_ID)?;
    let id = AuthorityKeyIdentifier::from_der(value).ok()?.key_identifier?;
    Some(id.as_bytes().to_vec())
}

/// The decoded value of the extension of that number.
pub(crate) fn value<'a, T: Decode<'a, Error = der::Error>>(
    extensions: &'a Extensions,
    oid: ObjectIdentifier,
) -> Result<Option<T>> {
    extensions.find(&oid).map(|e| T::from_der(&e.value)).transpose().reading("extension")
}

/// When a certificate begins. Before 1970 counts as 1970: both are past.
fn start(reader: &mut SliceReader<'_>) -> der::Result<u64> {
    let mut again = reader.clone();
    seconds(reader).or_else(|error| {
        let field = AnyRef::decode(&mut again)?;
        // Of two digits for the year, 50 is 1950 (RFC 5280 §4.1.2.5.1).
        let (years, is_before): (usize, fn(&[u8]) -> bool) = match der::Tagged::tag(&field) {
            Tag::UtcTime => (2, |year| (b"50".as_slice()..b"70".as_slice()).contains(&year)),
            Tag::GeneralizedTime => (4, |year| year < b"1970".as_slice()),
            _ => return Err(error),
        };
        let Some((year, [rest @ .., b'Z'])) = field.value().split_at_checked(years) else {
            return Err(error);
        };
        let is_time = rest.len() == 10 && year.iter().chain(rest).all(u8::is_ascii_digit);
        if !is_time || !is_before(year) {
            return Err(error);
        }
        *reader = again.clone();
        Ok(0)
    })
}

pub(crate) fn seconds(reader: &mut SliceReader<'_>) -> der::Result<u64> {
    Ok(x509_cert::time::Time::decode(reader)?.to_unix_duration().as_secs())
}

fn skip(reader: &mut SliceReader<'_>) -> der::Result<Range<usize>> {
    let start = reader.position();
    reader.tlv_bytes()?;
    range(start, reader.position())
}

pub(crate) fn range(start: der::Length, end: der::Length) -> der::Result<Range<usize>> {
    Ok(usize::try_from(start)?..usize::try_from(end)?)
}
