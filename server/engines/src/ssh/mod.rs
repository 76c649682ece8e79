//! Access to machines over SSH: certificates that they trust, and one-time passwords for those that know none.
//!
//! `ca` makes issuers and takes them in, `issuers` names them; `authorities` keeps them parsed and `key` signs with them. A
//! role (`role`) says what may be asked for: `principals` holds the names against it, `options` the rights, `subject` the
//! key; `sign` makes the certificate (`certificate`). `otp` and `addresses` are for passwords.

mod addresses;
mod authorities;
mod ca;
mod certificate;
mod fields;
mod issuers;
mod key;
mod openssh;
mod options;
mod otp;
mod principals;
mod role;
mod sign;
mod store;
mod subject;

use kit::{Endpoint, Engine, Result, command, query};

/// One mount for SSH.
pub(crate) struct Ssh;

impl Engine for Ssh {
    const NAME: &'static str = "ssh";
    const ABOUT: &'static str = "Signs SSH certificates for users and hosts, as roles allow, and gives one-time passwords for logins.";

    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        command::<Ssh, sign::Sign>(),
        command::<Ssh, sign::Issue>(),
        query::<Ssh, ca::ReadCa>(),
        command::<Ssh, ca::WriteCa>(),
        command::<Ssh, ca::DeleteCa>(),
        command::<Ssh, ca::ImportIssuer<0>>(),
        command::<Ssh, ca::ImportIssuer<1>>(),
        query::<Ssh, issuers::ListIssuers>(),
        query::<Ssh, issuers::ReadIssuer>(),
        command::<Ssh, issuers::WriteIssuer>(),
        command::<Ssh, issuers::DeleteIssuer>(),
        query::<Ssh, issuers::IssuerPublicKey>(),
        query::<Ssh, issuers::PublicKey>(),
        query::<Ssh, issuers::ReadDefault>(),
        command::<Ssh, issuers::WriteDefault>(),
        query::<Ssh, role::ListRoles>(),
        query::<Ssh, role::ReadRole>(),
        command::<Ssh, role::WriteRole>(),
        command::<Ssh, role::DeleteRole>(),
        command::<Ssh, otp::MakePassword>(),
        command::<Ssh, otp::CheckPassword>(),
        command::<Ssh, otp::ForgetPassword>(),
        query::<Ssh, addresses::Lookup>(),
        query::<Ssh, addresses::ReadAnyAddress>(),
        command::<Ssh, addresses::WriteAnyAddress>(),
        command::<Ssh, addresses::DeleteAnyAddress>(),
        command::<Ssh, addresses::TidyDynamicKeys>(),
    ];

    fn open(_: &serde_json::Value) -> Result<Self> {
        Ok(Self)
    }
}
