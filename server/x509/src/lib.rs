//! Certificates, requests, revocation lists and their keys.
//!
//! The crate is pure: the time and a serial's randomness are parameters, nothing is stored, nothing is dialled.
//! It writes DER by itself (`tlv`), so that names and keys appear byte for byte as their owners wrote them, and
//! reads with `x509-cert`, which refuses what is not DER. The signatures are aws-lc's.
//!
//! * [`PrivateKey`], [`PublicKey`], [`Scheme`]: keys, how they sign, how they are written down
//! * [`Subject`], [`AltNames`], [`KeyUsage`], [`ExtKeyUsage`]: what a certificate says about its holder
//! * [`Template`] and [`Extensions`]: a certificate before it is signed; [`Certificate`]: one that was
//! * [`Request`]: a PKCS#10 request; [`RevocationList`] and [`CrlTemplate`]: revocation
//! * [`ocsp_request`] and [`read_ocsp`]: asking an authority whether it still stands by a certificate; [`OcspQuestion`] and
//!   [`OcspAnswer`]: being that authority
//! * [`NameConstraints`]: the names that a CA may vouch for; [`PolicyPath`]: the policies that it needs
//! * [`chain_of`]: from a certificate to its root

mod alt_names;
mod certificate;
mod chain;
mod constraints;
mod crl;
mod dns;
mod error;
mod extensions;
mod key;
mod ml_dsa;
mod numbers;
mod ocsp;
mod ocsp_answer;
mod oid;
mod oids;
pub mod pem;
mod policies;
mod public_key;
mod request;
mod scheme;
mod serial;
mod shape;
mod subject;
mod subtrees;
mod template;
mod tlv;
mod usage;
mod weak;

pub use alt_names::{AltNames, NAMES_MAX, OtherName};
pub use certificate::Certificate;
pub use chain::chain_of;
pub use constraints::NameConstraints;
pub use crl::{CrlTemplate, Reason, RevocationList, RevokedEntry};
pub use dns::{is_hostname, is_hostname_or_wildcard, to_ascii};
pub use error::{Error, Result};
pub use extensions::{Extension, Extensions, Policy};
pub use key::{KeyEncoding, PrivateKey};
pub use ml_dsa::MlDsa;
pub use numbers::RsaNumbers;
pub use ocsp::{Standing, ocsp_request, read_ocsp};
pub use ocsp_answer::{CertId, OcspAnswer, OcspQuestion, OcspRefusal, Status, StatusOf};
pub use oid::ObjectIdentifier;
pub use policies::PolicyPath;
pub use public_key::{Family, KeyShape, PublicKey};
pub use request::{Request, RequestTemplate};
pub use scheme::{Digest, Padding, Scheme};
pub use serial::Serial;
pub use subject::{COMMON_NAME_MAX, Subject};
pub use subtrees::Subtrees;
pub use template::{Template, Validity};
pub use usage::{ExtKeyUsage, KeyUsage};
pub use weak::check as check_modulus;

/// The last second a certificate can name (RFC 5280 §4.1.2.5): 9999-12-31T23:59:59Z.
pub const NO_EXPIRY: u64 = 253_402_300_799;
