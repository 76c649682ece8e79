//! PKCS#10 certificate requests.

use crate::ObjectIdentifier;
use crate::certificate::{key_usage, range, read_extensions, value};
use crate::error::While;
use crate::extensions::BASIC_CONSTRAINTS;
use crate::subject::{common_names, is_readable};
use crate::{
    AltNames, Error, Extensions, KeyUsage, PrivateKey, PublicKey, Result, Scheme, Subject, oids, pem,
    template, tlv,
};
use der::{
    Decode, Reader, SliceReader,
    asn1::{AnyRef, BitStringRef},
};
use x509_cert::ext::pkix::BasicConstraints;

const WHAT: &str = "certificate request";
/// A request larger than this is not read.
const SIZE_MAX: usize = 64 * 1024;
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");

/// A request whose sender has proved to hold the key in it.
#[derive(Debug, Clone)]
pub struct Request {
    subject_der: Vec<u8>,
    subject: Subject,
    public_key: PublicKey,
    extensions: Extensions,
    alt_names: AltNames,
    authority: Option<BasicConstraints>,
}

impl Request {
    /// Reads DER and checks the signature. Weak keys, unreadable names and two common names are refused.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        if der.len() > SIZE_MAX {
            return Err(Error::malformed(WHAT, format!("it is longer than {SIZE_MAX} bytes")));
        }
        let mut reader = SliceReader::new(der).reading(WHAT)?;
        let (body, (subject_der, spki, wishes), algorithm, signature) = reader
            .sequence(|outer| {
                let start = outer.position();
                let parts = outer.sequence(read_body)?;
                let body = range(start, outer.position())?;
                let algorithm = outer.tlv_bytes()?;
                let signature = BitStringRef::decode(outer)?;
                let whole = signature.as_bytes().ok_or_else(|| der::Error::from(der::ErrorKind::Failed))?;
                Ok::<_, der::Error>((body, parts, algorithm, whole))
            })
            .reading(WHAT)?;
        reader.finish().reading(WHAT)?;
        oids::check(der, WHAT)?;
        let public_key = PublicKey::from_spki(spki)?;
        public_key.check_strength()?;
        let body = der.get(body).unwrap_or_default();
        public_key.verify(Scheme::from_der(algorithm)?, body, signature, "the certificate request")?;
        if !is_readable(subject_der)? {
            return Err(Error::malformed(WHAT, "its subject holds a value that is not what its type says"));
        }
        if common_names(subject_der)?.len() > 1 {
            return Err(Error::refused("the certificate request has more than one common name"));
        }
        let extensions = extensions(&wishes)?;
        let alt_names = extensions.names()?;
        Ok(Request {
            subject: Subject::from_der(subject_der)?,
            subject_der: subject_der.to_vec(),
            public_key,
            alt_names,
            authority: value::<BasicConstraints>(&extensions, BASIC_CONSTRAINTS)?,
            extensions,
        })
    }

    /// Reads the first request of a PEM text, or, since some clients send it so, bare base64 of DER.
    pub fn from_pem(text: &str) -> Result<Self> {
        let blocks = pem::blocks(text)?;
        let wanted = |label: &str| matches!(label, pem::REQUEST | "NEW CERTIFICATE REQUEST");
        let block = blocks
            .iter()
            .find(|block| wanted(block.label))
            .ok_or_else(|| Error::malformed(WHAT, "there is no CERTIFICATE REQUEST block"))?;
        Self::from_der(&block.der)
    }

    /// The DER of the subject.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The subject.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The other names.
    pub fn alt_names(&self) -> &AltNames {
        &self.alt_names
    }

    /// Every extension that is asked for.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The key usage that is asked for.
    pub fn key_usage(&self) -> Result<Option<KeyUsage>> {
        key_usage(&self.extensions)
    }

    /// Whether it asks to become a CA.
    pub fn wants_ca(&self) -> bool {
        self.authority.as_ref().is_some_and(|constraints| constraints.ca)
    }

    /// The path length it asks for as a CA.
    pub fn path_length(&self) -> Option<u8> {
        self.authority.as_ref()?.path_len_constraint
    }
}

/// A request before it is signed.
#[derive(Debug)]
pub struct RequestTemplate<'a> {
    /// The DER of the subject.
    pub subject: &'a [u8],
    /// What to ask for.
    pub extensions: &'a Extensions,
}

impl RequestTemplate<'_> {
    /// Signs with the key that is to be certified, and returns the request's DER.
    pub fn sign(&self, key: &PrivateKey, scheme: Scheme) -> Result<Vec<u8>> {
        let attributes = match self.extensions.is_empty() {
            true => tlv::implicit_of::<&[u8]>(0, &[]),
            false => {
                let values = tlv::set_of(vec![self.extensions.to_der()]);
                tlv::implicit_of(0, &[tlv::sequence(&[tlv::oid(&EXTENSION_REQUEST), values])])
            }
        };
        let body =
            tlv::sequence(&[tlv::number(0).as_slice(), self.subject, key.public().spki(), &attributes]);
        template::signed(body, &scheme.to_der(), key, scheme)
    }
}

/// Subject, key, and the values of the attributes that ask for extensions.
type Body<'a> = (&'a [u8], &'a [u8], Vec<&'a [u8]>);

fn read_body<'a>(body: &mut SliceReader<'a>) -> der::Result<Body<'a>> {
    u8::decode(body)?;
    let subject = body.tlv_bytes()?;
    let spki = body.tlv_bytes()?;
    let mut wishes = Vec::new();
    if !body.is_finished() {
        let mut attributes = SliceReader::new(AnyRef::decode(body)?.value())?;
        while !attributes.is_finished() {
            let (oid, values) = attributes.sequence(|attribute| {
                Ok::<_, der::Error>((ObjectIdentifier::decode(attribute)?, AnyRef::decode(attribute)?))
            })?;
            if oid == EXTENSION_REQUEST {
                wishes.push(values.value());
            }
        }
    }
    Ok((subject, spki, wishes))
}

/// The extensions that are asked for. Asking twice has no meaning, so it is refused.
fn extensions(wishes: &[&[u8]]) -> Result<Extensions> {
    match wishes {
        [] => Ok(Extensions::new()),
        [one] => read_extensions(one, WHAT),
        _ => Err(Error::malformed(WHAT, "it asks for extensions in more than one attribute")),
    }
}
