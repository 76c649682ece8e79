//! OCSP (RFC 6960) as its server: reading questions, and signing what an authority says of certificates.

use crate::ObjectIdentifier;
use crate::error::While;
use crate::ocsp::{BASIC, Member, SHA1, context, members_of};
use crate::{Certificate, Error, Extensions, PrivateKey, Reason, Result, Scheme, Serial, template, tlv};
use aws_lc_rs::digest;
use der::asn1::UintRef;
use der::{Decode, Tag};

const WHAT: &str = "OCSP request";
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
/// A question is never longer.
const SIZE_MAX: usize = 16 * 1024;
/// How many certificates one question may be about.
const ASKED_MAX: usize = 32;
/// A nonce has as many bytes at most (RFC 9654), and one at least.
const NONCE_MAX: usize = 128;

/// A question about certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspQuestion {
    /// Which ones.
    pub asked: Vec<CertId>,
    /// What the answer is to repeat, so that it cannot be an old one.
    pub nonce: Option<Vec<u8>>,
}

/// How a question names a certificate: by hashes of its issuer's name and key, and by its serial number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertId {
    hash: Hash,
    name_hash: Vec<u8>,
    key_hash: Vec<u8>,
    /// Its serial number.
    pub serial: Serial,
    /// All of it, to be repeated in the answer.
    der: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// What an authority says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It stands by it.
    Good,
    /// It has revoked it.
    Revoked {
        /// Since when, in seconds since 1970.
        at: u64,
        /// Why, if it says so.
        reason: Option<Reason>,
    },
    /// It has issued none of this number.
    Unknown,
}

/// What is said of one certificate.
#[derive(Clone, Copy, Debug)]
pub struct StatusOf<'a> {
    /// Which one, as the question names it.
    pub id: &'a CertId,
    /// What is said of it.
    pub status: Status,
}

/// An answer before it is signed.
#[derive(Debug)]
pub struct OcspAnswer<'a> {
    /// When it is signed, in seconds since 1970.
    pub produced_at: u64,
    /// Since when it is known to be so.
    pub this_update: u64,
    /// By when more is known; nothing: at any time.
    pub next_update: Option<u64>,
    /// What is said.
    pub statuses: &'a [StatusOf<'a>],
    /// The nonce of the question.
    pub nonce: Option<&'a [u8]>,
}

/// An answer that says nothing of any certificate, and is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OcspRefusal {
    /// The question cannot be read.
    Malformed = 1,
    /// Something is wrong here.
    Internal = 2,
    /// Ask again later.
    TryLater = 3,
    /// This authority does not answer for that issuer.
    Unauthorized = 6,
}

impl OcspQuestion {
    /// Reads DER. A signature of the question is not looked at: everybody may ask.
    ///
    /// # Errors
    /// If it is no question, or one about too many certificates.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        if der.len() > SIZE_MAX {
            return Err(Error::malformed(WHAT, format!("it is longer than {SIZE_MAX} bytes")));
        }
        let body = first_of(only(der)?.value)?;
        let parts = members_of(body.value, WHAT)?;
        let list = parts.iter().find(|part| part.tag == Tag::Sequence);
        let list = list.ok_or_else(|| Error::malformed(WHAT, "it asks about nothing"))?;
        let asked = members_of(list.value, WHAT)?;
        if asked.is_empty() || asked.len() > ASKED_MAX {
            let why = format!("it asks about {} certificates, not one to {ASKED_MAX}", asked.len());
            return Err(Error::malformed(WHAT, why));
        }
        let asked = asked.iter().map(|one| CertId::read(&first_of(one.value)?)).collect::<Result<_>>()?;
        let extensions = parts.iter().find(|part| part.tag == context(2, true));
        let nonce = extensions.map_or(Ok(None), |extensions| nonce(extensions.value))?;
        Ok(Self { asked, nonce })
    }
}

impl CertId {
    fn read(id: &Member<'_>) -> Result<Self> {
        let parts = members_of(id.value, WHAT)?;
        let [algorithm, name, key, serial] = parts.as_slice() else {
            return Err(Error::malformed(WHAT, "it does not name its certificate"));
        };
        if id.tag != Tag::Sequence || algorithm.tag != Tag::Sequence {
            return Err(Error::malformed(WHAT, "it does not name its certificate"));
        }
        let hash = Hash::read(algorithm)?;
        // What is repeated in an answer, and kept with it, is no more than what names the certificate.
        let is_digest = |part: &Member<'_>| part.tag == Tag::OctetString && part.value.len() == hash.length();
        if !is_digest(name) || !is_digest(key) {
            return Err(Error::malformed(WHAT, "a hash in it is not as long as its algorithm makes it"));
        }
        let serial = UintRef::from_der(serial.raw).reading(WHAT)?;
        Ok(Self {
            hash,
            name_hash: name.value.to_vec(),
            key_hash: key.value.to_vec(),
            serial: Serial::from_magnitude(serial.as_bytes())?,
            der: id.raw.to_vec(),
        })
    }

    /// All of it, as the question has it.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether it means a certificate of this issuer.
    pub fn is_of(&self, issuer: &Certificate) -> bool {
        self.name_hash == self.hash.sum(issuer.subject_der())
            && self.key_hash == self.hash.sum(issuer.public_key().bits())
    }
}

impl Hash {
    /// Reads an AlgorithmIdentifier. Those known have no parameters, or a NULL in their place.
    fn read(algorithm: &Member<'_>) -> Result<Self> {
        let parts = members_of(algorithm.value, WHAT)?;
        let oid = match parts.as_slice() {
            [oid] => oid,
            [oid, nothing] if nothing.raw == tlv::NULL => oid,
            _ => {
                return Err(Error::malformed(
                    WHAT,
                    "its hash algorithm has parameters, and should have none",
                ));
            }
        };
        let oid = ObjectIdentifier::from_der(oid.raw).reading(WHAT)?;
        Self::of(&oid).ok_or_else(|| Error::malformed(WHAT, format!("it uses the unknown hash {oid}")))
    }

    /// How many bytes it makes.
    fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn of(algorithm: &ObjectIdentifier) -> Option<Self> {
        match *algorithm {
            SHA1 => Some(Self::Sha1),
            SHA256 => Some(Self::Sha256),
            SHA384 => Some(Self::Sha384),
            SHA512 => Some(Self::Sha512),
            _ => None,
        }
    }

    fn sum(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            // Names a certificate, and vouches for nothing.
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

impl OcspAnswer<'_> {
    /// Signs as the issuer of the certificates in question.
    ///
    /// # Errors
    /// If the key does not sign that way.
    pub fn sign(&self, issuer: &Certificate, key: &PrivateKey, scheme: Scheme) -> Result<Vec<u8>> {
        let responder = tlv::explicit(2, &tlv::octets(&issuer.public_key().key_id()));
        let singles = self.statuses.iter().map(|one| self.single(one)).collect::<Result<Vec<_>>>()?;
        let extensions = match self.nonce {
            Some(nonce) => {
                let one = Extensions::new().with(NONCE, false, tlv::octets(nonce));
                tlv::explicit(1, &one.to_der())
            }
            None => Vec::new(),
        };
        let body = tlv::sequence(&[
            responder,
            tlv::generalized_time(self.produced_at)?,
            tlv::sequence(&singles),
            extensions,
        ]);
        let basic = template::signed(body, &scheme.to_der(), key, scheme)?;
        let bytes = tlv::sequence(&[tlv::oid(&BASIC), tlv::octets(&basic)]);
        Ok(tlv::sequence(&[enumerated(0), tlv::explicit(0, &bytes)]))
    }

    fn single(&self, one: &StatusOf<'_>) -> Result<Vec<u8>> {
        let status = match one.status {
            Status::Good => tlv::implicit(0, &[]),
            Status::Revoked { at, reason } => {
                let reason = reason.map(|reason| tlv::explicit(0, &enumerated(reason as u8)));
                tlv::implicit_of(1, &[tlv::generalized_time(at)?, reason.unwrap_or_default()])
            }
            Status::Unknown => tlv::implicit(2, &[]),
        };
        let next = self.next_update.map(tlv::generalized_time).transpose()?;
        Ok(tlv::sequence(&[
            one.id.der.clone(),
            status,
            tlv::generalized_time(self.this_update)?,
            next.map(|next| tlv::explicit(0, &next)).unwrap_or_default(),
        ]))
    }
}

impl OcspRefusal {
    /// As DER.
    pub fn to_der(self) -> Vec<u8> {
        tlv::sequence(&[enumerated(self as u8)])
    }
}

fn enumerated(value: u8) -> Vec<u8> {
    tlv::tlv(0x0a, &[[value]])
}

/// The one value that all of the bytes are.
fn only(der: &[u8]) -> Result<Member<'_>> {
    let mut members = members_of(der, WHAT)?.into_iter();
    match (members.next(), members.next()) {
        (Some(one), None) if one.tag == Tag::Sequence => Ok(one),
        _ => Err(Error::malformed(WHAT, "it is not one sequence")),
    }
}

fn first_of(content: &[u8]) -> Result<Member<'_>> {
    let first = members_of(content, WHAT)?.into_iter().next();
    first.ok_or_else(|| Error::malformed(WHAT, "a part of it is empty"))
}

/// The nonce among the extensions of a question. One that is critical and unknown makes it a question that nobody here
/// understands (RFC 6960 §4.4).
fn nonce(extensions: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut nonce = None;
    for extension in members_of(only(extensions)?.value, WHAT)? {
        let parts = members_of(extension.value, WHAT)?;
        let (Some(oid), Some(value)) = (parts.first(), parts.last()) else { continue };
        if oid.value != NONCE.as_bytes() {
            let critical = parts.iter().any(|part| part.tag == Tag::Boolean && part.value != [0]);
            if critical {
                return Err(Error::malformed(WHAT, "it has a critical extension that is not known"));
            }
            continue;
        }
        if nonce.is_some() {
            continue;
        }
        // RFC 9654: an OCTET STRING within; older clients put their bytes there as they are.
        let inner = members_of(value.value, WHAT).ok();
        let inner = inner.as_deref().and_then(|members| match members {
            [one] if one.tag == Tag::OctetString => Some(one.value),
            _ => None,
        });
        let found = inner.unwrap_or(value.value);
        if found.is_empty() || found.len() > NONCE_MAX {
            return Err(Error::malformed(WHAT, format!("its nonce has not one to {NONCE_MAX} bytes")));
        }
        nonce = Some(found.to_vec());
    }
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(serial: u8) -> Vec<u8> {
        tlv::sequence(&[
            tlv::sequence(&[&tlv::oid(&SHA256), tlv::NULL]),
            tlv::octets(&[1; 32]),
            tlv::octets(&[2; 32]),
            tlv::number(serial.into()),
        ])
    }

    fn question(ids: &[Vec<u8>], rest: &[u8]) -> Vec<u8> {
        let list: Vec<_> = ids.iter().map(|id| tlv::sequence(&[id])).collect();
        tlv::sequence(&[tlv::sequence(&[tlv::sequence(&list).as_slice(), rest])])
    }

    fn with_nonce(nonce: &[u8]) -> Vec<u8> {
        tlv::explicit(2, &Extensions::new().with(NONCE, false, tlv::octets(nonce)).to_der())
    }

    #[test]
    fn questions_are_read_with_their_nonce() {
        let read = OcspQuestion::from_der(&question(&[id(7), id(8)], &with_nonce(b"fresh"))).unwrap();
        let serials: Vec<_> = read.asked.iter().map(|one| one.serial.as_bytes().to_vec()).collect();
        assert_eq!(serials, [[7], [8]]);
        assert_eq!(read.nonce.as_deref(), Some(&b"fresh"[..]));
        assert_eq!(OcspQuestion::from_der(&question(&[id(7)], &[])).unwrap().nonce, None);
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_refused() {
        let unknown = ObjectIdentifier::new_unwrap("1.2.3.4");
        for critical in [false, true] {
            let extensions = Extensions::new().with(unknown, critical, tlv::octets(b"x")).with(
                NONCE,
                false,
                tlv::octets(b"fresh"),
            );
            let read = OcspQuestion::from_der(&question(&[id(7)], &tlv::explicit(2, &extensions.to_der())));
            assert_eq!(read.is_err(), critical, "{read:?}");
        }
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let many: Vec<_> = (0..=ASKED_MAX).map(|_| id(1)).collect();
        let nonce = with_nonce(&[0; NONCE_MAX + 1]);
        let whole = question(&[id(7)], &[]);
        let cut = whole.split_last().unwrap().1.to_vec();
        for wrong in [
            vec![],
            b"garbage".to_vec(),
            vec![0x30; SIZE_MAX + 1],
            tlv::sequence::<&[u8]>(&[]),
            question(&[], &[]),
            question(&many, &[]),
            question(&[id(7)], &nonce),
            [whole.as_slice(), &[0]].concat(),
            cut,
        ] {
            assert!(OcspQuestion::from_der(&wrong).is_err(), "{wrong:x?}");
        }
    }

    #[test]
    fn refusals_are_five_bytes() {
        assert_eq!(OcspRefusal::Malformed.to_der(), [0x30, 3, 0x0a, 1, 1]);
        assert_eq!(OcspRefusal::Unauthorized.to_der(), [0x30, 3, 0x0a, 1, 6]);
    }
}
