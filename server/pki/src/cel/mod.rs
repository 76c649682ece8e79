//! Roles whose program decides what a certificate says.
//!
//! A program in CEL sees the request (and the CSR) and comes to a `ValidationOutput` with a `CertTemplate`, or to a
//! refusal. What it may say is read in `template`; then the certificate goes the way of all others: lifetimes within
//! the issuer's, constraints, lint, record.

mod issue;
mod role;
mod scope;
mod template;

pub(super) use issue::{CelIssue, CelSign};
pub(super) use role::{DeleteCelRole, ListCelRoles, ReadCelRole, WriteCelRole, is_role};
