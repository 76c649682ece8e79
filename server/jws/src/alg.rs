use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use x509::{Digest, Padding, Scheme};

/// An algorithm by which the holder of a private key signs. It is written by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alg {
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    Rs512,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// ECDSA on P-521.
    Es512,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// RSA-PSS with SHA-384.
    Ps384,
    /// RSA-PSS with SHA-512.
    Ps512,
    /// Ed25519.
    EdDsa,
}

/// A kind of key. Each algorithm is for keys of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

/// Who does the work of an algorithm.
pub(crate) enum Way {
    /// The library, under its own name for it.
    Library(Algorithm),
    /// Nobody else: the library has no P-521.
    P521,
}

impl Alg {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::EdDsa,
    ];

    /// How headers name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this name. Names are told apart by case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// Whether a new key for it costs many milliseconds.
    pub fn is_costly(self) -> bool {
        self.kind() == Kind::Rsa
    }

    /// The left half of a hash of `text`, by which identities name the code or token that they go with (OpenID Connect
    /// Core 1.0, §3.1.3.6).
    pub fn half_hash(self, text: &str) -> String {
        let hash = match self {
            Self::Rs256 | Self::Es256 | Self::Ps256 => &SHA256,
            Self::Rs384 | Self::Es384 | Self::Ps384 => &SHA384,
            Self::Rs512 | Self::Es512 | Self::Ps512 | Self::EdDsa => &SHA512,
        };
        let hash = digest::digest(hash, text.as_bytes());
        let half = hash.as_ref().get(..hash.as_ref().len() / 2).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(half)
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => Kind::Rsa,
            Self::Es256 => Kind::P256,
            Self::Es384 => Kind::P384,
            Self::Es512 => Kind::P521,
            Self::EdDsa => Kind::Ed25519,
        }
    }

    /// What certificates call it, of those that are for RSA keys.
    pub(crate) fn rsa_scheme(self) -> Option<Scheme> {
        match self {
            Self::Rs256 => Some(Scheme::Rsa(Padding::Pkcs1, Digest::Sha256)),
            Self::Rs384 => Some(Scheme::Rsa(Padding::Pkcs1, Digest::Sha384)),
            Self::Rs512 => Some(Scheme::Rsa(Padding::Pkcs1, Digest::Sha512)),
            Self::Ps256 => Some(Scheme::Rsa(Padding::Pss, Digest::Sha256)),
            Self::Ps384 => Some(Scheme::Rsa(Padding::Pss, Digest::Sha384)),
            Self::Ps512 => Some(Scheme::Rsa(Padding::Pss, Digest::Sha512)),
            Self::Es256 | Self::Es384 | Self::Es512 | Self::EdDsa => None,
        }
    }

    pub(crate) fn way(self) -> Way {
        Way::Library(match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Rs384 => Algorithm::RS384,
            Self::Rs512 => Algorithm::RS512,
            Self::Es256 => Algorithm::ES256,
            Self::Es384 => Algorithm::ES384,
            Self::Es512 => return Way::P521,
            Self::Ps256 => Algorithm::PS256,
            Self::Ps384 => Algorithm::PS384,
            Self::Ps512 => Algorithm::PS512,
            Self::EdDsa => Algorithm::EdDSA,
        })
    }
}

impl Serialize for Alg {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Alg {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        Self::parse(&name).ok_or_else(|| serde::de::Error::custom("no algorithm has this name"))
    }
}
