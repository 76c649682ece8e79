//! The key that is to be certified: read, and held against what a role allows.

use base64::DecodeError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::{Error, Result};
use ssh_encoding::Decode;
use ssh_key::Mpint;
use ssh_key::public::KeyData;
use x509::{Family, KeyShape};

use super::fields::Lengths;
use super::key::curve_bits;

/// The longest RSA key that is written down in it is of 32,768 bits.
const SIZE_MAX: usize = 8192;

/// Reads a public key: a line as in `id_ed25519.pub`, or the base64 in its middle. The error says why not.
pub(super) fn read(text: &str) -> Result<KeyData, String> {
    let mut words = text.trim().split(' ').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let base64 = words.next().unwrap_or(first).replace(['\r', '\n'], "");
    if base64.len() > SIZE_MAX {
        return Err(format!("it is longer than {SIZE_MAX} characters"));
    }
    let bytes = STANDARD.decode(&base64).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) => at,
            _ => base64.len() / 4 * 4,
        };
        format!("illegal base64 data at input byte {at}")
    })?;
    let algorithm = String::decode(&mut bytes.as_slice()).map_err(|_| "ssh: short read".to_owned())?;
    let mut rest = bytes.as_slice();
    match KeyData::decode(&mut rest) {
        Ok(KeyData::Other(_)) | Err(ssh_key::Error::AlgorithmUnknown) => {
            Err(format!("ssh: unknown key algorithm: {}", algorithm.escape_debug()))
        }
        Ok(_) if !rest.is_empty() => Err("ssh: trailing junk in public key".to_owned()),
        Ok(key) if !has_numbers(&key) => Err("ssh: a number of the key is not positive".to_owned()),
        Ok(key) => Ok(key),
        Err(ssh_key::Error::Encoding(ssh_encoding::Error::Length)) => Err("ssh: short read".to_owned()),
        Err(ssh_key::Error::Encoding(ssh_encoding::Error::Label(_))) => {
            Err(format!("ssh: unknown key algorithm: {}", algorithm.escape_debug()))
        }
        Err(error) => Err(format!("ssh: {error}")),
    }
}

fn has_numbers(key: &KeyData) -> bool {
    let positive = |number: &Mpint| number.as_positive_bytes().is_some_and(|bytes| !bytes.is_empty());
    match key {
        KeyData::Rsa(key) => positive(&key.n) && positive(&key.e),
        KeyData::Dsa(key) => [&key.p, &key.q, &key.g, &key.y].into_iter().all(positive),
        _ => true,
    }
}

const RSA: &str = "rsa";
const DSA: &str = "dsa";
/// Keys over numbers that are smaller than this are signed only where the role names their size.
const RSA_BITS_MIN: u64 = 2048;

/// A kind of key as roles name it.
struct Kind {
    name: &'static str,
    /// What a role may call it without saying the size.
    exact: Vec<String>,
    /// What a role may call it together with a size.
    sized: &'static [&'static str],
    bits: u64,
}

/// Refuses a key that is to be signed, if the role names others.
pub(super) fn check_key(key: &KeyData, allowed: &Lengths) -> Result<()> {
    let refuse =
        |why: String| Err(Error::invalid(format!("public_key failed to meet the key requirements: {why}")));
    let kind = kind_of(key);
    match kind.standing(allowed) {
        Standing::Allowed => Ok(()),
        Standing::OtherType => refuse(format!("key of type {} is not allowed", kind.name)),
        Standing::OtherSize => refuse(format!("key is of an invalid size: {}", kind.bits)),
        Standing::Weak => refuse(format!(
            "an {} key of {} bits can be broken; it needs {RSA_BITS_MIN}, unless the role names its size in allowed_user_key_lengths",
            kind.name, kind.bits
        )),
    }
}

/// Refuses to make a key of this shape, if the role names others.
pub(super) fn check_shape(shape: KeyShape, allowed: &Lengths) -> Result<()> {
    let standing = match shape.family {
        Family::Rsa => Kind::rsa(shape.bits.into()).standing(allowed),
        Family::Ec => Kind::ecdsa(shape.bits.into()).standing(allowed),
        Family::Ed25519 => Kind::ed25519().standing(allowed),
        Family::MlDsa => Standing::OtherType,
    };
    match standing {
        Standing::Allowed => Ok(()),
        Standing::OtherType => Err(Error::invalid("provided key_type value not in allowed_user_key_types")),
        Standing::OtherSize | Standing::Weak => {
            Err(Error::invalid("provided key_bits value not in list of role's allowed_user_key_types"))
        }
    }
}

enum Standing {
    Allowed,
    OtherType,
    OtherSize,
    /// Too small, where the role names no sizes.
    Weak,
}

impl Kind {
    fn rsa(bits: u64) -> Self {
        Self { name: RSA, exact: vec![], sized: &["rsa", "ssh-rsa"], bits }
    }

    fn ecdsa(bits: u64) -> Self {
        Self { name: "ecdsa", exact: vec![format!("ecdsa-sha2-nistp{bits}")], sized: &["ecdsa", "ec"], bits }
    }

    fn ed25519() -> Self {
        let exact = vec!["ed25519".to_owned(), "ssh-ed25519".to_owned()];
        Self { name: "ed25519", exact, sized: &[], bits: 0 }
    }

    fn standing(&self, allowed: &Lengths) -> Standing {
        if allowed.0.is_empty() {
            let weak = matches!(self.name, RSA | DSA) && self.bits < RSA_BITS_MIN;
            return if weak { Standing::Weak } else { Standing::Allowed };
        }
        let sizes = |name: &str| allowed.0.get(name);
        let exact = self.exact.iter().filter_map(|name| sizes(name));
        let sized = self.sized.iter().filter_map(|name| sizes(name));
        if exact.clone().any(|sizes| !sizes.is_empty())
            || sized.clone().any(|sizes| sizes.contains(&self.bits))
        {
            Standing::Allowed
        } else if exact.count() + sized.count() == 0 {
            Standing::OtherType
        } else {
            Standing::OtherSize
        }
    }
}

fn kind_of(key: &KeyData) -> Kind {
    match key {
        KeyData::Rsa(key) => Kind::rsa(bits(&key.n)),
        KeyData::Dsa(key) => {
            Kind { name: DSA, exact: vec![], sized: &["dsa", "ssh-dss"], bits: bits(&key.p) }
        }
        KeyData::Ecdsa(key) => Kind::ecdsa(curve_bits(key.curve()).into()),
        KeyData::Ed25519(_) => Kind::ed25519(),
        // A key in hardware is allowed by its own name alone.
        other => Kind { name: "sk", exact: vec![other.algorithm().to_string()], sized: &[], bits: 0 },
    }
}

fn bits(number: &Mpint) -> u64 {
    match number.as_positive_bytes() {
        Some([top, rest @ ..]) => rest.len() as u64 * 8 + 8 - u64::from(top.leading_zeros()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "AAAAC3NzaC1lZDI1NTE5AAAAICnO36VFhAs5/BQfkW/3qHrWry6yzPRYwsmKDz4+KnMY";

    #[track_caller]
    fn check(text: &str, expect: Result<(), &str>) {
        assert_eq!(read(text).map(|_| ()), expect.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn keys_are_read_as_clients_send_them() {
        check(ED25519, Ok(()));
        check(&format!("ssh-ed25519 {ED25519} ann@host\n"), Ok(()));
        check(&format!("ssh-ed25519 {ED25519}\r\n"), Ok(()));
        check("zz", Err("illegal base64 data at input byte 0"));
        check("ssh-rsa zz!", Err("illegal base64 data at input byte 2"));
        check("eA==", Err("ssh: short read"));
        check("AAAAB3NzaC1yc2EAAAA=", Err("ssh: short read"));
        check("AAAABHpvcHA=", Err("ssh: unknown key algorithm: zopp"));
        check("", Err("ssh: short read"));
        check(&"A".repeat(9000), Err("it is longer than 8192 characters"));
    }

    #[test]
    fn a_role_names_the_keys_it_signs() {
        let key = read(ED25519).unwrap();
        for (allowed, expect) in [
            ("{}", ""),
            (r#"{"ed25519":0}"#, ""),
            (r#"{"ssh-ed25519":5}"#, ""),
            (r#"{"ed25519":[]}"#, "key is of an invalid size: 0"),
            (r#"{"rsa":2048,"ec":[256,384]}"#, "key of type ed25519 is not allowed"),
        ] {
            let allowed: Lengths = serde_json::from_str(allowed).unwrap();
            let found = check_key(&key, &allowed).map_err(|error| error.to_string());
            match expect {
                "" => assert_eq!(found, Ok(())),
                why => assert!(found.unwrap_err().ends_with(why)),
            }
        }
        let ec: Lengths = serde_json::from_str(r#"{"ec":"256, 384","ecdsa-sha2-nistp521":0}"#).unwrap();
        let shape = |bits| KeyShape { family: Family::Ec, bits };
        for bits in [256, 384, 521] {
            assert!(check_shape(shape(bits), &ec).is_ok());
        }
        assert!(check_shape(KeyShape { family: Family::Rsa, bits: 2048 }, &ec).is_err());
    }
}
