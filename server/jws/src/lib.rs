//! Signatures as JSON carries them (RFC 7515 to 7518): the algorithms there are, the keys that verify them, and the
//! flattened form in which ACME sends every request.

mod alg;
mod flattened;
mod key;

pub use alg::Alg;
pub use flattened::Flattened;
pub use key::{KEYS_MAX, PublicKey};
