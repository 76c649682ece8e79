use aws_lc_rs::digest;
use kit::Time;

use super::packet::{Packet, mpi, number, packets};
use super::signature::{Kind, Signature};

const TAG_SIGNATURE: u8 = 2;
const TAG_PUBLIC: u8 = 6;
const TAG_USER: u8 = 13;
const TAG_SUBKEY: u8 = 14;

/// What a key has to be marked with to be encrypted to: for messages, or for what is stored.
const ENCRYPTS: u8 = 0x04 | 0x08;

/// The part of a key that is encrypted to.
#[derive(Clone)]
pub(super) struct Recipient {
    pub(super) fingerprint: [u8; 20],
    pub(super) material: Material,
}

/// Its numbers.
#[derive(Clone)]
pub(super) enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ecdh(Ecdh),
}

/// A key that agrees on a secret (RFC 6637).
#[derive(Clone)]
pub(super) struct Ecdh {
    pub(super) curve: Curve,
    pub(super) oid: Vec<u8>,
    /// As aws-lc-rs reads it.
    pub(super) point: Vec<u8>,
    pub(super) hash: u8,
    pub(super) cipher: u8,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Curve {
    X25519,
    P256,
    P384,
    P521,
}

/// A public key of version 4.
pub(super) struct Public<'a> {
    body: &'a [u8],
    created: u64,
    pub(super) algorithm: u8,
    pub(super) material: &'a [u8],
}

impl<'a> Public<'a> {
    fn read(body: &'a [u8]) -> Result<Self, &'static str> {
        const SHORT: &str = "it is cut off";
        let (version, rest) = number(body, 1).ok_or(SHORT)?;
        if version != 4 {
            return Err("it is of another version than 4, and no other is known here");
        }
        let (created, rest) = number(rest, 4).ok_or(SHORT)?;
        let (algorithm, material) = rest.split_first().ok_or(SHORT)?;
        Ok(Self { body, created: created as u64, algorithm: *algorithm, material })
    }

    /// What is hashed of it, for its fingerprint and in signatures.
    pub(super) fn hashed(&self) -> Vec<u8> {
        let length = u16::try_from(self.body.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&[0x99], &length[..], self.body].concat()
    }

    fn fingerprint(&self) -> [u8; 20] {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.hashed());
        let mut fingerprint = [0; 20];
        fingerprint.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        fingerprint
    }

    /// Its numbers, if it can be encrypted to.
    fn recipient(&self) -> Option<Recipient> {
        let material = match self.algorithm {
            1 | 2 => {
                let (n, rest) = mpi(self.material)?;
                let (e, _) = mpi(rest)?;
                Material::Rsa { n: n.to_vec(), e: e.to_vec() }
            }
            18 => Material::Ecdh(ecdh(self.material)?),
            _ => return None,
        };
        Some(Recipient { fingerprint: self.fingerprint(), material })
    }

    /// Whether it is still good, by a signature of the key.
    fn lives(&self, signature: &Signature<'_>, now: Time) -> bool {
        signature.key_seconds.is_none_or(|seconds| seconds == 0 || self.created + seconds > now.seconds())
    }
}

/// Which curve an identifier names.
pub(super) fn curve(oid: &[u8]) -> Option<Curve> {
    match oid {
        [0x2b, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01] => Some(Curve::X25519),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => Some(Curve::P256),
        [0x2b, 0x81, 0x04, 0x00, 0x22] => Some(Curve::P384),
        [0x2b, 0x81, 0x04, 0x00, 0x23] => Some(Curve::P521),
        _ => None,
    }
}

fn ecdh(material: &[u8]) -> Option<Ecdh> {
    let (length, rest) = number(material, 1)?;
    let (oid, rest) = rest.split_at_checked(length)?;
    let curve = curve(oid)?;
    let (point, rest) = mpi(rest)?;
    // AES-192, which gpg takes for P-384, is not there to wrap with.
    let [3, 1, hash @ 8..=10, cipher @ (7 | 9), ..] = *rest else { return None };
    let point = match curve {
        Curve::X25519 => point.strip_prefix(&[0x40]).filter(|point| point.len() == 32)?,
        _ => point,
    };
    Some(Ecdh { curve, oid: oid.to_vec(), point: point.to_vec(), hash, cipher })
}

/// The fingerprint of a key, and the part of it that is encrypted to: the newest that the key has signed for that.
///
/// # Errors
/// If it is no key, or has no such part.
pub(super) fn read(bytes: &[u8], now: Time) -> Result<(String, Recipient), &'static str> {
    let packets = packets(bytes)?;
    let (first, rest) = packets.split_first().ok_or("it is empty")?;
    if first.tag != TAG_PUBLIC {
        return Err(match first.tag {
            5 => "it is a private key: never give that away; export the public one",
            _ => "it does not begin with a public key",
        });
    }
    let primary = Public::read(first.body)?;
    let fingerprint = hex::encode(primary.fingerprint());
    // A second key in the same text is another's.
    let end = rest.iter().position(|packet| packet.tag == TAG_PUBLIC).unwrap_or(rest.len());
    let rest = rest.get(..end).unwrap_or_default();
    let own = own_flags(&primary, rest, now)?;
    let mut newest: Option<(u64, Recipient)> = None;
    for (at, packet) in rest.iter().enumerate().filter(|(_, packet)| packet.tag == TAG_SUBKEY) {
        let Ok(subkey) = Public::read(packet.body) else { continue };
        let signatures = signatures(rest.get(at + 1..).unwrap_or_default());
        let Some(recipient) = subkey.recipient().filter(|_| bound(&primary, &subkey, &signatures, now))
        else {
            continue;
        };
        if newest.as_ref().is_none_or(|(created, _)| *created <= subkey.created) {
            newest = Some((subkey.created, recipient));
        }
    }
    let own = || primary.recipient().filter(|_| own & ENCRYPTS != 0);
    let recipient = newest.map(|(_, recipient)| recipient).or_else(own);
    Ok((fingerprint, recipient.ok_or("nothing in it can be encrypted to: no part of it is signed for that, of a kind that is known here, and good still")?))
}

/// The signatures that follow a packet.
fn signatures<'a>(packets: &'a [Packet<'a>]) -> Vec<Signature<'a>> {
    let following = packets.iter().take_while(|packet| packet.tag == TAG_SIGNATURE);
    following.filter_map(|packet| Signature::read(packet.body)).collect()
}

/// Whether the key says of this part that it is its own, to encrypt to, and good still.
fn bound(primary: &Public<'_>, subkey: &Public<'_>, signatures: &[Signature<'_>], now: Time) -> bool {
    let both = [primary.hashed(), subkey.hashed()].concat();
    let holds = |signature: &&Signature<'_>| signature.holds(primary, &both);
    if signatures.iter().filter(|signature| signature.kind == Kind::SubkeyRevocation).any(|one| holds(&one)) {
        return false;
    }
    let bindings = signatures.iter().filter(|signature| signature.kind == Kind::SubkeyBinding);
    let latest = bindings.filter(holds).max_by_key(|signature| signature.created);
    latest.is_some_and(|latest| latest.flags.unwrap_or(0) & ENCRYPTS != 0 && subkey.lives(latest, now))
}

/// What the key says of itself that it is for.
///
/// # Errors
/// If it is revoked, or good no more.
fn own_flags(primary: &Public<'_>, rest: &[Packet<'_>], now: Time) -> Result<u8, &'static str> {
    let own = primary.hashed();
    let mut latest: Option<(u64, u8, bool)> = None;
    let mut note = |signature: &Signature<'_>| {
        if latest.is_none_or(|(created, ..)| created <= signature.created) {
            latest = Some((signature.created, signature.flags.unwrap_or(0), primary.lives(signature, now)));
        }
    };
    for signature in signatures(rest) {
        let (revokes, direct) = (signature.kind == Kind::KeyRevocation, signature.kind == Kind::Direct);
        if (revokes || direct) && signature.holds(primary, &own) {
            if revokes {
                return Err("it has been revoked");
            }
            note(&signature);
        }
    }
    for (at, user) in rest.iter().enumerate().filter(|(_, packet)| packet.tag == TAG_USER) {
        let length = u32::try_from(user.body.len()).unwrap_or(u32::MAX).to_be_bytes();
        let hashed = [&own[..], &[0xb4], &length, user.body].concat();
        let signatures = signatures(rest.get(at + 1..).unwrap_or_default());
        signatures
            .iter()
            .filter(|signature| signature.kind == Kind::Certification && signature.holds(primary, &hashed))
            .for_each(&mut note);
    }
    match latest {
        None => Err("it is not signed by itself with a signature that is known here"),
        Some((_, _, false)) => Err("it has expired"),
        Some((_, flags, true)) => Ok(flags),
    }
}
