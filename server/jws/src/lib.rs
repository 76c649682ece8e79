//! Signatures as JSON carries them (RFC 7515 to 7518): the algorithms there are, the keys that verify and sign, and
//! messages in the compact form of tokens and in the flattened form of ACME.
//!
//! This is the only place that knows any of it. The crate `jsonwebtoken` signs and verifies; what it lacks, ES512, is
//! aws-lc's, in the same table ([`Alg`]). A key has one kind, and each algorithm is for keys of one kind: a public key
//! cannot be taken for a shared secret, and `none` has no name here. What claims mean is not known here either.

mod alg;
mod message;
mod private;
mod public;

pub use alg::Alg;
pub use message::Message;
pub use private::Signer;
pub use public::{KEYS_MAX, PublicKey};
