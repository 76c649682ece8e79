//! Who may do what, where: paths, rules, decisions and their reasons.
//!
//! Pure functions over values: no clock, no storage, no I/O. The one thing this crate hands out is a
//! [`Permit`]: proof that a caller was judged. Nothing below the kernel can be reached without one.
//!
//! The way of a policy: its text becomes a [`Policy`] when it is written ([`Policy::parse`]); the policies of a
//! token and what is known about its owner ([`Subject`]) become an [`Acl`] ([`Acl::compile`]); an `Acl` answers
//! a [`Question`] with a [`Permit`] or a [`Denied`]. [`explain`] answers the same question with its reasons.
//!
//! Decisions are those of OpenBao 2.7.2, which `tests/decisions.rs` replays, but for these, on purpose:
//! numbers in `allowed_parameters` and `denied_parameters` match numbers (there they match nothing, so that a denied
//! number passes); values of parameters may be templates; an empty template value is a missing one, so that it cannot
//! turn `kv/{{…}}*` into `kv/*`; a `deny` whose template has no value denies everything (there it denies nothing);
//! Vault's `subscribe` and `recover` are accepted; broken JSON is no empty policy.

mod acl;
mod any_case;
pub mod builtin;
mod capability;
mod control_group;
mod duration;
mod explain;
pub mod hcl;
mod list_filter;
mod parameters;
mod path;
mod permit;
mod policy;
mod rule;
mod template;

pub use acl::{Acl, Granted, Resultant};
pub use any_case::AnyCase;
pub use capability::{Capabilities, Capability, UnknownCapability};
pub use control_group::{ControlGroup, Factor};
pub use duration::parse_duration;
pub use explain::{Consent, ConsentFactor, Explanation, NearMiss, Origin, Verdict, explain};
pub use list_filter::ListFilter;
pub use parameters::{NoParameters, Parameters, Unreadable};
pub use path::{BadPath, PATH_BYTES_MAX, Path, is_printable};
pub use permit::{Denied, ListLimit, Permit, Question};
pub use policy::{POLICY_BYTES_MAX, Policy, PolicyError};
pub use template::{Alias, Group, Subject, Unrendered, has_directive, render};
