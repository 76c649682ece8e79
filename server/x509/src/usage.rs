//! What a key may be used for.

use crate::ObjectIdentifier;
use crate::{Error, Family, Result};
use std::fmt;

/// The bits of the key usage extension, the first bit of RFC 5280 §4.2.1.3 in the most significant place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyUsage(u16);

const USAGES: [(&str, u16); 9] = [
    ("DigitalSignature", 0x8000),
    ("ContentCommitment", 0x4000),
    ("KeyEncipherment", 0x2000),
    ("DataEncipherment", 0x1000),
    ("KeyAgreement", 0x0800),
    ("CertSign", 0x0400),
    ("CRLSign", 0x0200),
    ("EncipherOnly", 0x0100),
    ("DecipherOnly", 0x0080),
];

impl KeyUsage {
    /// Signing certificates and revocation lists, as a CA does.
    pub const CA: KeyUsage = KeyUsage(0x0600);
    /// No usage named, so no extension.
    pub const NONE: KeyUsage = KeyUsage(0);

    /// Reads Go's names without `KeyUsage`, in any case.
    pub fn parse(names: &[impl AsRef<str>]) -> Result<Self> {
        let mut bits = 0;
        for name in names {
            let plain = name.as_ref().trim().to_ascii_lowercase();
            let plain = match plain.strip_prefix("keyusage").unwrap_or(&plain) {
                "" => continue,
                "nonrepudiation" => "contentcommitment",
                other => other,
            };
            let known = USAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(plain));
            let (_, bit) =
                known.ok_or_else(|| unknown("key_usage", name.as_ref(), USAGES.iter().map(|u| u.0)))?;
            bits |= bit;
        }
        Ok(KeyUsage(bits))
    }

    /// The names of its bits.
    pub fn names(self) -> Vec<&'static str> {
        USAGES.iter().filter(|(_, bit)| self.0 & bit != 0).map(|(name, _)| *name).collect()
    }

    /// Whether it may sign certificates.
    pub fn cert_sign(self) -> bool {
        self.0 & 0x0400 != 0
    }

    /// Whether it may sign revocation lists.
    pub fn crl_sign(self) -> bool {
        self.0 & 0x0200 != 0
    }

    /// These usages and those.
    pub fn with(self, other: KeyUsage) -> Self {
        KeyUsage(self.0 | other.0)
    }

    /// These usages but those.
    pub fn without(self, other: KeyUsage) -> Self {
        KeyUsage(self.0 & !other.0)
    }

    /// Those of these usages that a key of this family can have: RSA agrees on no keys (RFC 3279 §2.3.1), EC enciphers
    /// nothing (RFC 8813 §3), Ed25519 (RFC 8410 §5) and ML-DSA (RFC 9881 §5) do neither.
    pub fn fitting(self, family: Family) -> Self {
        const SIGNS: u16 = 0xc600;
        KeyUsage(match family {
            Family::Rsa => self.0 & (SIGNS | 0x3000),
            Family::Ec => self.0 & (SIGNS | 0x0980),
            Family::Ed25519 | Family::MlDsa => self.0 & SIGNS,
        })
    }

    pub(crate) fn from_bits(bytes: &[u8]) -> Self {
        let byte = |at: usize| u16::from(bytes.get(at).copied().unwrap_or_default());
        KeyUsage(byte(0) << 8 | byte(1))
    }

    pub(crate) fn bits(self) -> u16 {
        self.0
    }
}

/// One purpose of the extended key usage extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtKeyUsage(pub ObjectIdentifier);

const PURPOSES: [(&str, &str); 14] = [
    ("Any", "2.5.29.37.0"),
    ("ServerAuth", "1.3.6.1.5.5.7.3.1"),
    ("ClientAuth", "1.3.6.1.5.5.7.3.2"),
    ("CodeSigning", "1.3.6.1.5.5.7.3.3"),
    ("EmailProtection", "1.3.6.1.5.5.7.3.4"),
    ("IPSECEndSystem", "1.3.6.1.5.5.7.3.5"),
    ("IPSECTunnel", "1.3.6.1.5.5.7.3.6"),
    ("IPSECUser", "1.3.6.1.5.5.7.3.7"),
    ("TimeStamping", "1.3.6.1.5.5.7.3.8"),
    ("OCSPSigning", "1.3.6.1.5.5.7.3.9"),
    ("MicrosoftServerGatedCrypto", "1.3.6.1.4.1.311.10.3.3"),
    ("NetscapeServerGatedCrypto", "2.16.840.1.113730.4.1"),
    ("MicrosoftCommercialCodeSigning", "1.3.6.1.4.1.311.2.1.22"),
    ("MicrosoftKernelCodeSigning", "1.3.6.1.4.1.311.61.1.1"),
];

impl ExtKeyUsage {
    /// Answers of OCSP, in the name of a CA.
    pub const OCSP_SIGNING: ExtKeyUsage = ExtKeyUsage(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9"));
    /// TLS servers.
    pub const SERVER_AUTH: ExtKeyUsage = ExtKeyUsage(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"));
    /// Every purpose.
    pub const ANY: ExtKeyUsage = ExtKeyUsage(ObjectIdentifier::new_unwrap("2.5.29.37.0"));
    /// TLS clients.
    pub const CLIENT_AUTH: ExtKeyUsage = ExtKeyUsage(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"));
    /// Code.
    pub const CODE_SIGNING: ExtKeyUsage = ExtKeyUsage(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3"));
    /// Mail.
    pub const EMAIL_PROTECTION: ExtKeyUsage = ExtKeyUsage(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4"));

    /// Reads Go's name without `ExtKeyUsage`, in any case.
    pub fn parse(name: &str) -> Result<Self> {
        let plain = name.trim().to_ascii_lowercase();
        let plain = plain.strip_prefix("extkeyusage").unwrap_or(&plain);
        let known = PURPOSES.iter().find(|(known, _)| known.eq_ignore_ascii_case(plain));
        known
            .map(|(_, oid)| ExtKeyUsage(ObjectIdentifier::new_unwrap(oid)))
            .ok_or_else(|| unknown("ext_key_usage", name, PURPOSES.iter().map(|p| p.0)))
    }

    /// Reads a purpose by its number.
    pub fn from_oid(oid: &str) -> Result<Self> {
        ObjectIdentifier::new(oid.trim()).map(ExtKeyUsage).map_err(|_| {
            Error::refused(format!("\"{oid}\" could not be parsed as a valid oid for an extended key usage"))
        })
    }
}

impl fmt::Display for ExtKeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PURPOSES.iter().find(|(_, oid)| ObjectIdentifier::new_unwrap(oid) == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

fn unknown<'a>(field: &str, name: &str, all: impl Iterator<Item = &'a str>) -> Error {
    Error::refused(format!("unknown {field} {name}; it is one of {}", all.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_unknown_ones_refused() {
        let usage = KeyUsage::parse(&["digitalsignature", "KeyUsageCRLSign", " certsign ", ""]).unwrap();
        assert_eq!(usage.names(), ["DigitalSignature", "CertSign", "CRLSign"]);
        let fitting = |family| {
            KeyUsage::parse(&["DigitalSignature", "KeyAgreement", "KeyEncipherment"]).unwrap().fitting(family)
        };
        assert_eq!(fitting(Family::Rsa).names(), ["DigitalSignature", "KeyEncipherment"]);
        assert_eq!(fitting(Family::Ec).names(), ["DigitalSignature", "KeyAgreement"]);
        assert_eq!(fitting(Family::Ed25519).names(), ["DigitalSignature"]);
        assert_eq!(fitting(Family::MlDsa).names(), ["DigitalSignature"]);
        assert!(KeyUsage::parse(&["ServerAuth"]).unwrap_err().to_string().contains("KeyEncipherment"));
        assert_eq!(ExtKeyUsage::parse("serverauth").unwrap(), ExtKeyUsage::SERVER_AUTH);
        assert!(ExtKeyUsage::parse("server").is_err());
        assert!(ExtKeyUsage::from_oid("1.x").is_err());
    }
}
