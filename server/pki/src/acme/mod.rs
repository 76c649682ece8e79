//! An ACME server (RFC 8555): certificates for whoever proves to hold a name, without a token.
//!
//! There are four directories: of the mount, of a role, of an issuer, of both (`place`). Every request but a few is signed
//! by an account's key (`signed`), under a nonce that counts once (`nonce`). An order (`order`) asks for names; each has an
//! authorization (`authorization`, `beforehand`) with challenges, which are looked at outside of any transaction (`challenge`,
//! `prove`, `caa`), so many at once for each account and at each address (`shares`). When all are proved, `finalize` issues, by the code and the rules of the engine's roles.

mod account;
mod authorization;
mod beforehand;
mod caa;
mod certificate;
mod challenge;
mod config;
mod directory;
mod eab;
mod finalize;
mod identifier;
mod key_change;
mod limits;
mod new_order;
mod nonce;
mod order;
mod place;
mod problem;
mod prove;
mod records;
mod renewal;
mod revocation;
mod shares;
mod signed;
mod targets;

pub(super) use account::ForgetAccount;
pub(super) use beforehand::ForgetAuthorization;
pub(super) use challenge::Validate;
pub(super) use config::{AcmeConfig, ReadAcme, WriteAcme};
pub(super) use directory::{NewNonce, NotDeleted, NotPosted, Refuse, ShowDirectory};
pub(super) use eab::{DeleteEab, ListEabs, NewEab};
pub(super) use order::ForgetOrder;
pub(super) use renewal::{CertificateName, RenewalInfo, suggested};

use place::At;

/// The signed operations, by the number of their place.
macro_rules! signed {
    ($($module:ident::$name:ident,)*) => {
        $(pub(super) type $name<const AT: usize> = At<AT, $module::$name>;)*
    };
}

signed! {
    account::Account,
    account::AccountOrders,
    account::AccountOrdersAfter,
    account::NewAccount,
    authorization::Authorization,
    beforehand::NewAuthz,
    certificate::Certificate,
    certificate::CertificateByChain,
    challenge::Challenge,
    finalize::Finalize,
    key_change::KeyChange,
    new_order::NewOrder,
    order::ShowOrder,
    revocation::RevokeCert,
}
