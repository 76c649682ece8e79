//! Signed tokens: the compact form of JWS, and the claims of JWT.
//!
//! They are only ever verified here, and only by public keys. An HMAC has no place in the list of algorithms, so a
//! public key cannot be taken for a shared secret; nor has `none`.

mod claims;
#[cfg(test)]
mod fuzz;
mod token;

pub(crate) use claims::{Claims, Expected, Leeways, Times, list};
pub(crate) use jws::{Alg, KEYS_MAX, PublicKey};
pub(crate) use token::Token;
