//! A private key that someone brings, in whichever form `ssh-keygen` or openssl wrote it.

use kit::{Error, Result};
use ssh_key::private::{KeypairData, PrivateKey, RsaKeypair};
use x509::RsaNumbers;

use super::key::{Key, curve_bits};

const OPENSSH: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";

/// Reads it: OpenSSH's own form, PKCS#8, PKCS#1 or SEC 1, in PEM.
pub(super) fn read(text: &str) -> Result<Key> {
    let refuse = |why: String| Error::invalid(format!("could not parse private_key provided value: {why}"));
    let private = if text.contains(OPENSSH) {
        from_openssh(text).map_err(refuse)?
    } else if text.contains("-----BEGIN ") {
        x509::PrivateKey::from_pem(text).map_err(|error| refuse(error.to_string()))?
    } else {
        return Err(refuse("ssh: no key found; it should be a private key in PEM".to_owned()));
    };
    Key::of(private)
}

fn from_openssh(text: &str) -> Result<x509::PrivateKey, String> {
    let key = PrivateKey::from_openssh(text.trim_start()).map_err(|error| error.to_string())?;
    match key.key_data() {
        KeypairData::Ed25519(pair) => x509::PrivateKey::from_ed25519_seed(pair.private.as_ref()),
        KeypairData::Ecdsa(pair) => x509::PrivateKey::from_ec_numbers(
            curve_bits(pair.curve()),
            pair.private_key_bytes(),
            pair.public_key_bytes(),
        ),
        KeypairData::Rsa(pair) => x509::PrivateKey::from_rsa_numbers(numbers(pair)?),
        KeypairData::Encrypted(_) => {
            return Err(
                "it is protected by a passphrase; take that off with ssh-keygen -p -f FILE".to_owned()
            );
        }
        _ => return Err("keys of this algorithm cannot sign here; use RSA, ECDSA or Ed25519".to_owned()),
    }
    .map_err(|error| error.to_string())
}

fn numbers(pair: &RsaKeypair) -> Result<RsaNumbers<'_>, String> {
    let negative = || "a number of the RSA key is negative".to_owned();
    Ok(RsaNumbers {
        n: pair.public.n.as_positive_bytes().ok_or_else(negative)?,
        e: pair.public.e.as_positive_bytes().ok_or_else(negative)?,
        d: pair.private.d.as_positive_bytes().ok_or_else(negative)?,
        p: pair.private.p.as_positive_bytes().ok_or_else(negative)?,
        q: pair.private.q.as_positive_bytes().ok_or_else(negative)?,
        q_inverse: pair.private.iqmp.as_positive_bytes().ok_or_else(negative)?,
    })
}
