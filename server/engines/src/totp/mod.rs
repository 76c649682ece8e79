//! Time-based one-time passwords (RFC 6238): makes the codes of a key, or checks those that another device made.
//!
//! `enrol` makes a key or takes one in, with the URL and the picture that an authenticator reads; `keys` shows and deletes;
//! `code` makes and checks codes, which the crate `otp` works out.

mod code;
mod enrol;
mod keys;

use kit::{Endpoint, Engine, Result, command, query};

/// One mount of one-time passwords.
pub(crate) struct Totp;

impl Engine for Totp {
    const NAME: &'static str = "totp";
    const ABOUT: &'static str =
        "Makes and checks time-based one-time passwords, as authenticator apps show them.";

    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        query::<Totp, keys::ListKeys>(),
        query::<Totp, keys::ReadKey>(),
        command::<Totp, enrol::WriteKey>(),
        command::<Totp, keys::DeleteKey>(),
        query::<Totp, code::MakeCode>(),
        command::<Totp, code::CheckCode>(),
    ];

    fn open(_: &serde_json::Value) -> Result<Self> {
        Ok(Self)
    }
}
