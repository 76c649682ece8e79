//! An ACME server (RFC 8555): certificates for whoever proves to hold a name, without a token.
//!
//! There are four directories: of the mount, of a role, of an issuer, of both (`place`). Every request but a few is signed
//! by an account's key (`signed`), under a nonce that counts once (`nonce`). An order (`order`) asks for names; each has an
//! authorization (`authorization`, `beforehand`) with challenges, which are looked at outside of any transaction (`challenge`,
//! `prove`, `caa`). When all are proved, `finalize` issues, by the code and the rules of the engine's roles.

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
mod signed;
mod targets;

pub(super) use account::{Account, AccountOrders, AccountOrdersAfter, ForgetAccount, NewAccount};
pub(super) use authorization::Authorization;
pub(super) use beforehand::{ForgetAuthorization, NewAuthz};
pub(super) use certificate::{Certificate, CertificateByChain};
pub(super) use challenge::{Challenge, Validate};
pub(super) use config::{AcmeConfig, ReadAcme, WriteAcme};
pub(super) use directory::{NewNonce, ShowDirectory};
pub(super) use eab::{DeleteEab, ListEabs, NewEab};
pub(super) use finalize::Finalize;
pub(super) use key_change::KeyChange;
pub(super) use new_order::NewOrder;
pub(super) use order::{ForgetOrder, ShowOrder};
pub(super) use renewal::{CertificateName, RenewalInfo, suggested};
pub(super) use revocation::RevokeCert;
