use aws_lc_rs::agreement::{
    self, Algorithm as Agreement, ECDH_P256, ECDH_P384, ECDH_P521, EphemeralPrivateKey, X25519,
};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::digest;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::key_wrap::{AES_128 as KEK_128, AES_256 as KEK_256, AesKek, KeyWrap as _};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey};
use kit::{Error, Result};
use storage::Random;
use zeroize::Zeroizing;

use super::key::{Curve, Ecdh, Material, Recipient};
use super::packet::{put, put_mpi};

const TAG_SESSION_KEY: u8 = 1;
const TAG_LITERAL: u8 = 11;
const TAG_ENCRYPTED: u8 = 18;
/// AES-256, as OpenPGP numbers it.
const CIPHER: u8 = 9;
const BLOCK: usize = 16;

/// A message that one recipient can read.
pub(super) fn encrypt(recipient: &Recipient, plain: &[u8], random: &dyn Random) -> Result<Vec<u8>> {
    let mut session = Zeroizing::new([0; 32]);
    random.fill(&mut *session);
    let mut out = Vec::new();
    put(&mut out, TAG_SESSION_KEY, &session_key(recipient, &session)?);
    put(&mut out, TAG_ENCRYPTED, &body(plain, &session, random)?);
    Ok(out)
}

/// The session key, for the recipient alone.
fn session_key(recipient: &Recipient, session: &[u8; 32]) -> Result<Vec<u8>> {
    let sum = session.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
    let secret = Zeroizing::new([&[CIPHER], &session[..], &sum.to_be_bytes()].concat());
    let mut out = vec![3];
    out.extend_from_slice(recipient.fingerprint.get(12..).unwrap_or_default());
    match &recipient.material {
        Material::Rsa { n, e } => {
            let key = PublicEncryptingKey::from_der(&subject_public_key(n, e)).map_err(|_| refused())?;
            let key = Pkcs1PublicEncryptingKey::new(key).map_err(|_| refused())?;
            let mut sealed = vec![0; key.ciphertext_size()];
            let sealed = key.encrypt(&secret, &mut sealed).map_err(|_| refused())?;
            out.push(1);
            put_mpi(&mut out, sealed);
        }
        Material::Ecdh(ecdh) => {
            let (point, wrapped) = agree(ecdh, &recipient.fingerprint, secret)?;
            out.push(18);
            put_mpi(&mut out, &point);
            out.push(u8::try_from(wrapped.len()).map_err(|_| refused())?);
            out.extend_from_slice(&wrapped);
        }
    }
    Ok(out)
}

/// A point, and the secret wrapped under what both sides agree on by it (RFC 6637).
fn agree(ecdh: &Ecdh, fingerprint: &[u8; 20], mut secret: Zeroizing<Vec<u8>>) -> Result<(Vec<u8>, Vec<u8>)> {
    let algorithm: &'static Agreement = match ecdh.curve {
        Curve::X25519 => &X25519,
        Curve::P256 => &ECDH_P256,
        Curve::P384 => &ECDH_P384,
        Curve::P521 => &ECDH_P521,
    };
    let hash = match ecdh.hash {
        8 => &digest::SHA256,
        9 => &digest::SHA384,
        10 => &digest::SHA512,
        _ => return Err(refused()),
    };
    let private = EphemeralPrivateKey::generate(algorithm, &SystemRandom::new()).map_err(|_| refused())?;
    let own = private.compute_public_key().map_err(|_| refused())?;
    let point = match ecdh.curve {
        Curve::X25519 => [&[0x40], own.as_ref()].concat(),
        _ => own.as_ref().to_vec(),
    };
    let oid_length = [u8::try_from(ecdh.oid.len()).map_err(|_| refused())?];
    let parameters = [
        &oid_length[..],
        &ecdh.oid,
        &[18, 3, 1, ecdh.hash, ecdh.cipher],
        b"Anonymous Sender    ",
        fingerprint,
    ]
    .concat();
    let peer = agreement::UnparsedPublicKey::new(algorithm, &ecdh.point);
    let derived = agreement::agree_ephemeral(private, peer, refused(), |shared| {
        let material = Zeroizing::new([&[0, 0, 0, 1], shared, &parameters].concat());
        Ok(Zeroizing::new(digest::digest(hash, &material).as_ref().to_vec()))
    })?;
    // Padded so that it does not show how long the session key is.
    let padding = 8 - secret.len() % 8;
    secret.extend(std::iter::repeat_n(u8::try_from(padding).unwrap_or_default(), padding));
    let mut wrapped = vec![0; secret.len() + 8];
    let wrapped = match ecdh.cipher {
        7 => AesKek::new(&KEK_128, derived.get(..16).unwrap_or_default())
            .and_then(|kek| kek.wrap(&secret, &mut wrapped)),
        9 => AesKek::new(&KEK_256, derived.get(..32).unwrap_or_default())
            .and_then(|kek| kek.wrap(&secret, &mut wrapped)),
        _ => return Err(refused()),
    };
    Ok((point, wrapped.map_err(|_| refused())?.to_vec()))
}

/// The text, encrypted and with what shows that it was not changed.
fn body(plain: &[u8], session: &[u8; 32], random: &dyn Random) -> Result<Vec<u8>> {
    let mut text = Zeroizing::new(vec![0; BLOCK]);
    random.fill(&mut text);
    let repeated = text.get(BLOCK - 2..).unwrap_or_default().to_vec();
    text.extend_from_slice(&repeated);
    // Text without a name and a date.
    put(&mut text, TAG_LITERAL, &Zeroizing::new([&[b'b', 0, 0, 0, 0, 0], plain].concat()));
    text.extend_from_slice(&[0xd3, 0x14]);
    let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
    text.extend_from_slice(sum.as_ref());
    let key = UnboundCipherKey::new(&AES_256, session).and_then(EncryptingKey::cfb128);
    let zeros = EncryptionContext::Iv128(FixedLength::from([0; BLOCK]));
    key.and_then(|key| key.less_safe_encrypt(&mut text, zeros)).map_err(|_| refused())?;
    Ok([&[1], &text[..]].concat())
}

/// A public RSA key as aws-lc-rs reads it: a `SubjectPublicKeyInfo` in DER.
fn subject_public_key(n: &[u8], e: &[u8]) -> Vec<u8> {
    const ALGORITHM: [u8; 15] =
        [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let unsigned = |number: &[u8]| der(0x02, &[&[0], number].concat());
    // A zero in front is needed only where the first bit is set, and forbidden elsewhere.
    let integer = |number: &[u8]| match number.first() {
        Some(0x80..) => unsigned(number),
        _ => der(0x02, number),
    };
    let key = der(0x30, &[integer(n), integer(e)].concat());
    der(0x30, &[&ALGORITHM[..], &der(0x03, &[&[0], &key[..]].concat())].concat())
}

fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match body.len() {
        short @ ..128 => out.push(u8::try_from(short).unwrap_or_default()),
        _ => {
            out.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
            out.extend_from_slice(&length);
        }
    }
    out.extend_from_slice(body);
    out
}

fn refused() -> Error {
    Error::invalid(
        "the share could not be encrypted to one of the PGP keys: its numbers are not those of a good key, or of a kind \
         that is not known here; use RSA of 2048 bits and more, or Curve25519",
    )
}
