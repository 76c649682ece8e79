//! Time-based one-time passwords (RFC 6238): what the totp engine and the second factor of logins share.
//!
//! [`code()`] makes the code of a moment, [`Check`] looks at one that somebody typed, [`url()`] and [`png()`] are what an
//! authenticator reads.

mod barcode;
mod check;
mod otpauth;
mod rfc6238;

pub use barcode::png;
pub use check::Check;
pub use otpauth::{Said, read, url};
pub use rfc6238::{Algorithm, Digits, code, encode_secret, read_secret};
