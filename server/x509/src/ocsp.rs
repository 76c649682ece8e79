//! OCSP (RFC 6960) as its client: whether an authority still stands by a certificate.

use crate::ObjectIdentifier;
use crate::certificate::SIZE_MAX;
use crate::error::While;
use crate::{Certificate, Error, ExtKeyUsage, Result, Scheme, tlv};
use aws_lc_rs::digest;
use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, UintRef};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};

const WHAT: &str = "OCSP answer";
pub(crate) const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
pub(crate) const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const OCSP_SIGNING: ExtKeyUsage = ExtKeyUsage(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9"));
/// How far the clocks of two machines may be apart.
const SKEW_SECONDS: u64 = 300;
/// How long an answer that names no end is believed.
const AGE_SECONDS_MAX: u64 = 86_400;
/// How many certificates of an answer are tried as its signer's.
const SIGNERS_MAX: usize = 8;

/// What an authority says of a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It stands by it.
    Good,
    /// It has revoked it.
    Revoked,
    /// It does not know it.
    Unknown,
}

/// The question whether `issuer` still stands by `certificate`.
pub fn ocsp_request(certificate: &Certificate, issuer: &Certificate) -> Vec<u8> {
    let id = tlv::sequence(&[
        tlv::sequence(&[&tlv::oid(&SHA1), tlv::NULL]),
        tlv::octets(&name_hash(issuer)),
        tlv::octets(&issuer.public_key().key_id()),
        certificate.serial().to_der(),
    ]);
    // OCSPRequest, its TBSRequest, the list in it, and the one Request of that.
    (0..4).fold(id, |inner, _| tlv::sequence(&[inner]))
}

/// What an answer says, if it is about this certificate, of `now` (in seconds since 1970), and signed by the issuer or by
/// whom the issuer has appointed for that.
///
/// # Errors
/// If it is not, or does not read.
pub fn read_ocsp(
    answer: &[u8],
    certificate: &Certificate,
    issuer: &Certificate,
    now: u64,
) -> Result<Standing> {
    if answer.len() > SIZE_MAX {
        return Err(Error::malformed(WHAT, format!("it is longer than {SIZE_MAX} bytes")));
    }
    let basic = basic(answer)?;
    let [data, algorithm, signature, rest @ ..] = basic.as_slice() else {
        return Err(Error::malformed(WHAT, "it lacks a part"));
    };
    let scheme = Scheme::from_der(algorithm.raw)?;
    let signature = BitStringRef::from_der(signature.raw).reading(WHAT)?;
    let signed =
        |by: &Certificate| by.public_key().verify(scheme, data.raw, signature.raw_bytes(), WHAT).is_ok();
    if !signed(issuer) && !appointed(rest, issuer, now)?.iter().any(signed) {
        return Err(Error::BadSignature(WHAT));
    }
    let mut data = members(data.value)?.into_iter();
    let single =
        data.find(|member| member.tag == Tag::Sequence).map_or(Ok(vec![]), |list| members(list.value))?;
    for response in single {
        if let Some(standing) = about(&response, certificate, issuer, now)? {
            return Ok(standing);
        }
    }
    Err(Error::refused("the OCSP answer is about another certificate"))
}

/// One value: its tag, all of it, and what is in it.
pub(crate) struct Member<'a> {
    pub(crate) tag: Tag,
    pub(crate) raw: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The values that lie one after another in `content`.
fn members(content: &[u8]) -> Result<Vec<Member<'_>>> {
    members_of(content, WHAT)
}

/// The values that lie one after another in the content of a `what`.
pub(crate) fn members_of<'a>(content: &'a [u8], what: &'static str) -> Result<Vec<Member<'a>>> {
    let mut reader = SliceReader::new(content).reading(what)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        let raw = reader.tlv_bytes().reading(what)?;
        let any = AnyRef::from_der(raw).reading(what)?;
        found.push(Member { tag: any.tag(), raw, value: any.value() });
    }
    Ok(found)
}

/// The members of what the whole of `der` is.
fn inside(der: &[u8]) -> Result<Vec<Member<'_>>> {
    members(AnyRef::from_der(der).reading(WHAT)?.value())
}

/// The parts of the BasicOCSPResponse in an answer.
fn basic(answer: &[u8]) -> Result<Vec<Member<'_>>> {
    let outer = inside(answer)?;
    let [status, bytes @ ..] = outer.as_slice() else {
        return Err(Error::malformed(WHAT, "it is empty"));
    };
    if status.value != [0] {
        let code = status.value.first().copied().unwrap_or_default();
        return Err(Error::refused(format!("the OCSP server did not answer the question (status {code})")));
    }
    let bytes = bytes.first().ok_or_else(|| Error::malformed(WHAT, "it holds no answer"))?;
    let bytes = inside(bytes.value)?;
    let [kind, basic] = bytes.as_slice() else {
        return Err(Error::malformed(WHAT, "it holds no answer"));
    };
    if ObjectIdentifier::from_der(kind.raw).reading(WHAT)? != BASIC {
        return Err(Error::refused("the OCSP answer is of an unknown kind"));
    }
    inside(basic.value)
}

/// Those of the answer's certificates whom the issuer has appointed to answer for it.
fn appointed(rest: &[Member<'_>], issuer: &Certificate, now: u64) -> Result<Vec<Certificate>> {
    let Some(certificates) = rest.iter().find(|member| member.tag == context(0, true)) else {
        return Ok(vec![]);
    };
    let certificates = inside(certificates.value)?;
    let may = |certificate: &Certificate| {
        let purposes = certificate.ext_key_usage().ok().flatten().unwrap_or_default();
        let validity = certificate.validity();
        certificate.verify_issued_by(issuer).is_ok()
            && purposes.contains(&OCSP_SIGNING)
            && (validity.not_before..=validity.not_after).contains(&now)
    };
    let read =
        certificates.iter().take(SIGNERS_MAX).filter_map(|member| Certificate::from_der(member.raw).ok());
    Ok(read.filter(may).collect())
}

/// What a SingleResponse says, if it is about this certificate.
fn about(
    response: &Member<'_>,
    certificate: &Certificate,
    issuer: &Certificate,
    now: u64,
) -> Result<Option<Standing>> {
    let parts = members(response.value)?;
    let [id, status, this_update, rest @ ..] = parts.as_slice() else {
        return Err(Error::malformed(WHAT, "it lacks a part"));
    };
    if !is_of(id, certificate, issuer)? {
        return Ok(None);
    }
    let from = time(this_update.raw)?;
    let until = match rest.iter().find(|member| member.tag == context(0, true)) {
        Some(next_update) => time(next_update.value)?,
        None => from.saturating_add(AGE_SECONDS_MAX),
    };
    if from > now.saturating_add(SKEW_SECONDS) || until.saturating_add(SKEW_SECONDS) < now {
        return Err(Error::refused("the OCSP answer is not of this time"));
    }
    match status.tag {
        Tag::ContextSpecific { number: TagNumber(0), .. } => Ok(Some(Standing::Good)),
        Tag::ContextSpecific { number: TagNumber(1), .. } => Ok(Some(Standing::Revoked)),
        _ => Ok(Some(Standing::Unknown)),
    }
}

fn is_of(id: &Member<'_>, certificate: &Certificate, issuer: &Certificate) -> Result<bool> {
    let parts = members(id.value)?;
    let [algorithm, name, key, serial] = parts.as_slice() else {
        return Err(Error::malformed(WHAT, "it does not name its certificate"));
    };
    let algorithm = members(algorithm.value)?;
    let is_sha1 = algorithm.first().is_some_and(|oid| oid.value == SHA1.as_bytes());
    let serial = UintRef::from_der(serial.raw).reading(WHAT)?;
    let serial = crate::Serial::from_magnitude(serial.as_bytes())?;
    Ok(is_sha1
        && name.value == name_hash(issuer)
        && key.value == issuer.public_key().key_id()
        && serial == *certificate.serial())
}

fn name_hash(issuer: &Certificate) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, issuer.subject_der()).as_ref().to_vec()
}

fn time(der: &[u8]) -> Result<u64> {
    Ok(GeneralizedTime::from_der(der).reading(WHAT)?.to_unix_duration().as_secs())
}

pub(crate) fn context(number: u32, constructed: bool) -> Tag {
    Tag::ContextSpecific { constructed, number: TagNumber(number) }
}
