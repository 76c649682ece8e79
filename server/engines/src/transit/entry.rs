//! One version of a key as Go's library writes it: big numbers in decimal, each kind of key in fields of its own.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef, UintRef};
use der::{Decode, Encode, Reader, SliceReader, Tag};
use kit::Time;
use num_bigint::BigUint;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use x509::{KeyEncoding, PrivateKey};
use zeroize::Zeroizing;

use super::create::ED25519_SPKI;
use super::import::{read_public, read_secret};
use super::kind::Kind;
use super::record::{Hidden, VersionRecord};
use super::shown::public_pem;
use super::version::ed25519_point;
use super::{ecdsa, rsa, text};

/// A version of a key.
#[derive(Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Entry {
    key: Option<Hidden>,
    hmac_key: Option<Hidden>,
    time: String,
    ec_x: Option<Number>,
    ec_y: Option<Number>,
    ec_d: Option<Number>,
    rsa_key: Option<RsaKey>,
    rsa_public_key: Option<RsaPublicKey>,
    public_key: String,
    pub(super) convergent_version: i64,
    creation_time: u64,
    certificate_chain: Option<Vec<Hidden>>,
    external_key_ref: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RsaKey {
    n: Number,
    e: Number,
    d: Number,
    primes: Vec<Number>,
    precomputed: Precomputed,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Precomputed {
    dp: Option<Number>,
    dq: Option<Number>,
    qinv: Option<Number>,
    #[serde(rename = "CRTValues", default)]
    more: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RsaPublicKey {
    n: Number,
    e: Number,
}

/// Go's time before all others.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Default for Entry {
    fn default() -> Self {
        Self {
            key: None,
            hmac_key: None,
            time: NEVER.to_owned(),
            ec_x: None,
            ec_y: None,
            ec_d: None,
            rsa_key: None,
            rsa_public_key: None,
            public_key: String::new(),
            convergent_version: 0,
            creation_time: 0,
            certificate_chain: None,
            external_key_ref: String::new(),
        }
    }
}

impl Entry {
    /// Writes a version down.
    pub(super) fn of(kind: Kind, convergent: bool, version: &VersionRecord) -> Option<Self> {
        let mut entry = Self {
            hmac_key: version.hmac.clone(),
            time: version.created.rfc3339(),
            creation_time: version.created.seconds(),
            convergent_version: if convergent { 3 } else { 0 },
            certificate_chain: Some(version.chain.clone()).filter(|chain| !chain.is_empty()),
            ..Self::default()
        };
        let public = version.public.as_ref().map(|public| public.0.as_slice());
        match kind {
            kind if kind.is_rsa() => entry.put_rsa(version.secret.as_ref(), public?)?,
            kind if kind.is_ecdsa() => entry.put_ecdsa(kind, version.secret.as_ref(), public?)?,
            Kind::Ed25519 => {
                entry.key.clone_from(&version.secret);
                entry.public_key = text::encode(ed25519_point(public?)?);
            }
            kind if kind.is_ml_dsa() => {
                entry.key.clone_from(&version.secret);
                entry.public_key = public_pem(public?);
            }
            _ => entry.key.clone_from(&version.secret),
        }
        Some(entry)
    }

    fn put_rsa(&mut self, secret: Option<&Hidden>, public: &[u8]) -> Option<()> {
        let public = rsa::Public::from_spki(public)?;
        let (n, e) = public.numbers();
        self.rsa_public_key = Some(RsaPublicKey { n: decimal(n)?, e: decimal(e)? });
        let Some(secret) = secret else { return Some(()) };
        let key = PrivateKey::from_der(&secret.0).ok()?.to_der(KeyEncoding::Traditional).ok()?;
        let numbers = integers(&key).ok()?;
        let [_, n, e, d, p, q, dp, dq, qinv] = <[BigUint; 9]>::try_from(numbers).ok()?;
        let precomputed = Precomputed {
            dp: Some(decimal(&dp)?),
            dq: Some(decimal(&dq)?),
            qinv: Some(decimal(&qinv)?),
            more: Some(Vec::new()),
        };
        let primes = vec![decimal(&p)?, decimal(&q)?];
        self.rsa_key =
            Some(RsaKey { n: decimal(&n)?, e: decimal(&e)?, d: decimal(&d)?, primes, precomputed });
        Some(())
    }

    fn put_ecdsa(&mut self, kind: Kind, secret: Option<&Hidden>, public: &[u8]) -> Option<()> {
        let coordinates = ecdsa::Public::from_spki(kind, public)?.coordinates;
        let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
        self.ec_x = Some(decimal(&BigUint::from_bytes_be(x))?);
        self.ec_y = Some(decimal(&BigUint::from_bytes_be(y))?);
        self.public_key = public_pem(public);
        let Some(secret) = secret else { return Some(()) };
        let key = PrivateKey::from_der(&secret.0).ok()?.to_der(KeyEncoding::Traditional).ok()?;
        let number = SliceReader::new(&key).ok()?.sequence(|inner| {
            inner.tlv_bytes()?;
            let number = BigUint::from_bytes_be(<&OctetStringRef>::decode(inner)?.as_bytes());
            while !inner.is_finished() {
                inner.tlv_bytes()?;
            }
            Ok::<_, der::Error>(number)
        });
        self.ec_d = Some(decimal(&number.ok()?)?);
        Some(())
    }

    /// Reads it. Nothing if it is not whole, or no key of this kind.
    pub(super) fn read(&self, kind: Kind, derived: bool) -> Option<VersionRecord> {
        if !self.external_key_ref.is_empty() {
            return None;
        }
        let created = Time::parse(&self.time).unwrap_or_else(|| Time::from_seconds(self.creation_time));
        let hmac = self.hmac_key.clone().unwrap_or_default();
        let mut version = match kind {
            kind if kind.is_rsa() => self.rsa(kind, created, hmac)?,
            kind if kind.is_ecdsa() => self.ecdsa(kind, created, hmac)?,
            Kind::Ed25519 => self.ed25519(derived, created, hmac)?,
            kind if kind.is_ml_dsa() && self.key.is_none() => {
                read_public(kind, &self.public_key, created, hmac).ok()?
            }
            kind => read_secret(kind, &self.key.as_ref()?.0, created, hmac).ok()?,
        };
        // Keys of long ago have none; none is made up for them.
        version.hmac = version.hmac.filter(|hmac| !hmac.0.is_empty());
        version.chain = self.certificate_chain.clone().unwrap_or_default();
        Some(version)
    }

    fn rsa(&self, kind: Kind, created: Time, hmac: Hidden) -> Option<VersionRecord> {
        if let Some(key) = &self.rsa_key {
            let [p, q] = key.primes.as_slice() else { return None };
            let Precomputed { dp: Some(dp), dq: Some(dq), qinv: Some(qinv), .. } = &key.precomputed else {
                return None;
            };
            let zero = Number::from(0);
            let numbers = [&zero, &key.n, &key.e, &key.d, p, q, dp, dq, qinv];
            let mut body = Zeroizing::new(Vec::new());
            for number in numbers {
                body.extend_from_slice(&integer(number)?);
            }
            let der = Zeroizing::new(AnyRef::new(Tag::Sequence, &body).ok()?.to_der().ok()?);
            return read_secret(kind, &der, created, hmac).ok();
        }
        let key = self.rsa_public_key.as_ref()?;
        let key = sequence(&[integer(&key.n)?, integer(&key.e)?])?;
        let bits = BitStringRef::from_bytes(&key).ok()?.to_der().ok()?;
        let algorithm = sequence(&[oid("1.2.840.113549.1.1.1")?, vec![0x05, 0x00]])?;
        read_public(kind, &public_pem(&sequence(&[algorithm, bits])?), created, hmac).ok()
    }

    fn ecdsa(&self, kind: Kind, created: Time, hmac: Hidden) -> Option<VersionRecord> {
        let (size, curve) = match kind {
            Kind::P256 => (32, "1.2.840.10045.3.1.7"),
            Kind::P384 => (48, "1.3.132.0.34"),
            _ => (66, "1.3.132.0.35"),
        };
        let (x, y) = (wide(self.ec_x.as_ref()?, size)?, wide(self.ec_y.as_ref()?, size)?);
        let point = BitStringRef::from_bytes(&[&[4], x.as_slice(), &y].concat()).ok()?.to_der().ok()?;
        let Some(number) = &self.ec_d else {
            let algorithm = sequence(&[oid("1.2.840.10045.2.1")?, oid(curve)?])?;
            let spki = sequence(&[algorithm, point])?;
            return read_public(kind, &public_pem(&spki), created, hmac).ok();
        };
        let number = wide(number, size)?;
        let number = Zeroizing::new(OctetStringRef::new(&number).ok()?.to_der().ok()?);
        // ECPrivateKey of RFC 5915: the curve under tag 0, the public key under tag 1.
        let parts =
            [vec![0x02, 0x01, 0x01], number.to_vec(), tagged(0xa0, &oid(curve)?)?, tagged(0xa1, &point)?];
        let der = Zeroizing::new(sequence(&parts)?);
        read_secret(kind, &der, created, hmac).ok()
    }

    fn ed25519(&self, derived: bool, created: Time, hmac: Hidden) -> Option<VersionRecord> {
        let public = text::decode(&self.public_key).ok().filter(|public| public.len() == 32);
        let spki = |public: &[u8]| Hidden::new([ED25519_SPKI.as_slice(), public].concat());
        let secret = self.key.as_ref().filter(|key| !key.0.is_empty());
        let public = match secret {
            Some(secret) if derived => secret.0.get(32..64).map(spki),
            Some(secret) => return super::create::of_seed(created, secret.0.get(..32)?, hmac),
            None => public.as_deref().map(spki),
        };
        Some(VersionRecord {
            created,
            secret: secret.cloned(),
            hmac: Some(hmac),
            public: Some(public?),
            chain: Vec::new(),
        })
    }
}

fn decimal(number: &BigUint) -> Option<Number> {
    number.to_string().parse().ok()
}

fn bytes(number: &Number) -> Option<Zeroizing<Vec<u8>>> {
    Some(Zeroizing::new(BigUint::parse_bytes(number.as_str().as_bytes(), 10)?.to_bytes_be()))
}

/// A number in `size` bytes.
fn wide(number: &Number, size: usize) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = bytes(number)?;
    let filling = vec![0; size.checked_sub(bytes.len())?];
    Some(Zeroizing::new([filling.as_slice(), &bytes].concat()))
}

/// A number in DER.
fn integer(number: &Number) -> Option<Vec<u8>> {
    UintRef::new(&bytes(number)?).ok()?.to_der().ok()
}

fn oid(text: &str) -> Option<Vec<u8>> {
    ObjectIdentifier::new(text).ok()?.to_der().ok()
}

fn sequence(parts: &[Vec<u8>]) -> Option<Vec<u8>> {
    AnyRef::new(Tag::Sequence, &parts.concat()).ok()?.to_der().ok()
}

/// A short value under a tag of its context.
fn tagged(tag: u8, value: &[u8]) -> Option<Vec<u8>> {
    let length = u8::try_from(value.len()).ok()?;
    let length = if length < 0x80 { vec![length] } else { vec![0x81, length] };
    Some([&[tag], length.as_slice(), value].concat())
}

fn integers(der: &[u8]) -> der::Result<Vec<BigUint>> {
    SliceReader::new(der)?.sequence(|inner| {
        let mut numbers = Vec::new();
        while !inner.is_finished() {
            numbers.push(BigUint::from_bytes_be(UintRef::decode(inner)?.as_bytes()));
        }
        Ok::<_, der::Error>(numbers)
    })
}
