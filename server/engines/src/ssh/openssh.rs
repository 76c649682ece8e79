//! A private key that someone brings, in whichever form `ssh-keygen` or openssl wrote it.
//!
//! OpenSSH's own form is read here and not by ssh-key, which refuses every other key of P-521: those whose number begins
//! with zeros, which OpenSSH leaves out.

use kit::{Error, Result};
use ssh_encoding::Decode;
use x509::{RsaNumbers, pem};
use zeroize::Zeroizing;

use super::key::Key;

const LABEL: &str = "OPENSSH PRIVATE KEY";
const MAGIC: &[u8] = b"openssh-key-v1\0";
const SIZE_MAX: usize = 65_536;

/// Reads it: OpenSSH's own form, PKCS#8, PKCS#1 or SEC 1, in PEM.
pub(super) fn read(text: &str) -> Result<Key> {
    let refuse = |why: String| Error::invalid(format!("could not parse private_key provided value: {why}"));
    if text.len() > SIZE_MAX {
        return Err(refuse(format!("it is longer than {SIZE_MAX} bytes")));
    }
    let blocks = pem::blocks(text).map_err(|error| refuse(error.to_string()))?;
    let Some(first) = blocks.first() else {
        return Err(refuse("ssh: no key found; it should be a private key in PEM".to_owned()));
    };
    let private = match blocks.iter().find(|block| block.label == LABEL) {
        Some(block) => from_openssh(&block.der).map_err(refuse)?,
        None if first.label.contains("ENCRYPTED") => return Err(refuse(PASSPHRASE.to_owned())),
        None => x509::PrivateKey::from_pem(text).map_err(|error| refuse(error.to_string()))?,
    };
    Key::of(private)
}

const PASSPHRASE: &str = "it is protected by a passphrase; take that off with ssh-keygen -p -f FILE";

/// PROTOCOL.key of OpenSSH.
fn from_openssh(bytes: &[u8]) -> Result<x509::PrivateKey, String> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin as OpenSSH's keys do")?;
    let cipher = text(&mut rest)?;
    let (_derivation, _options) = (text(&mut rest)?, field(&mut rest)?);
    if cipher != "none" {
        return Err(PASSPHRASE.to_owned());
    }
    if number(&mut rest)? != 1 {
        return Err("it holds more than one key".to_owned());
    }
    let _public = field(&mut rest)?;
    let private = field(&mut rest)?;
    let mut rest = private.as_slice();
    if number(&mut rest)? != number(&mut rest)? {
        return Err("it is damaged".to_owned());
    }
    let kind = text(&mut rest)?;
    match kind.as_str() {
        "ssh-ed25519" => {
            let (_public, pair) = (field(&mut rest)?, field(&mut rest)?);
            let seed = pair.first_chunk().ok_or("it is cut short")?;
            x509::PrivateKey::from_ed25519_seed(seed)
        }
        "ecdsa-sha2-nistp256" => return ec(256, &mut rest),
        "ecdsa-sha2-nistp384" => return ec(384, &mut rest),
        "ecdsa-sha2-nistp521" => return ec(521, &mut rest),
        "ssh-rsa" => {
            let mut next = || field(&mut rest);
            let (n, e, d, q_inverse, p, q) = (next()?, next()?, next()?, next()?, next()?, next()?);
            x509::PrivateKey::from_rsa_numbers(RsaNumbers {
                n: &n,
                e: &e,
                d: &d,
                p: &p,
                q: &q,
                q_inverse: &q_inverse,
            })
        }
        _ => return Err("keys of this algorithm cannot sign here; use RSA, ECDSA or Ed25519".to_owned()),
    }
    .map_err(|error| error.to_string())
}

fn ec(bits: u32, rest: &mut &[u8]) -> Result<x509::PrivateKey, String> {
    let (_curve, point, scalar) = (text(rest)?, field(rest)?, field(rest)?);
    let size = bits.div_ceil(8) as usize;
    let start = scalar.iter().position(|byte| *byte != 0).unwrap_or(scalar.len());
    let significant = scalar.get(start..).unwrap_or_default();
    // As long as the field, whatever zeros it begins with.
    let zeros = size.checked_sub(significant.len()).ok_or("its number is too long for its curve")?;
    let scalar = Zeroizing::new([&vec![0; zeros], significant].concat());
    x509::PrivateKey::from_ec_numbers(bits, &scalar, &point).map_err(|error| error.to_string())
}

fn field(rest: &mut &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    Vec::decode(rest).map(Zeroizing::new).map_err(|_| "it is cut short".to_owned())
}

fn text(rest: &mut &[u8]) -> Result<String, String> {
    String::decode(rest).map_err(|_| "it is cut short".to_owned())
}

fn number(rest: &mut &[u8]) -> Result<u32, String> {
    u32::decode(rest).map_err(|_| "it is cut short".to_owned())
}
