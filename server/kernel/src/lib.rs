//! From a request to an audited answer.
//!
//! [`Kernel::handle`] is the whole way: route, identify, judge, audit, run, audit. Each step takes what the step
//! before it proved. Start reading in `walk.rs`.
//!
//! What is absent on purpose: nothing here awaits, except [`Kernel::finish`] and [`Kernel::outside`]; no engine is named; nothing is
//! loaded whole.

mod agenda;
mod audit;
mod ceremonies;
mod cidr;
mod conclude;
mod control_group;
mod cubbyhole;
mod drawers;
mod envelope;
mod finish;
mod flights;
mod help;
mod identity;
mod ids;
mod inline;
mod judge;
mod kernel;
mod leases;
mod lineage;
mod lockout;
mod login;
mod metrics;
mod mounts;
mod namespaces;
mod openapi;
mod openpgp;
mod outside;
mod place;
mod play;
mod policies;
mod pool;
mod quotas;
mod raze;
mod regulars;
mod request;
mod router;
mod run;
mod seals;
mod settings;
mod shelf;
mod spelling;
mod spending;
mod sys;
mod tick;
mod token;
mod token_record;
mod tokens;
mod ttl;
mod turns;
mod unsealing;
mod walk;
mod web;
mod wrap_key;
mod wrapping;

pub use audit::Audited;
pub use finish::{Pending, has_gone};
pub use kernel::{Control, Env, Kernel};
pub use lineage::Lineage;
pub use mounts::Registry;
pub use openapi::openapi;
pub use openpgp::PgpKey;
pub use outside::Claimed;
pub use pool::origin;
pub use quotas::{Allowance, Meter};
pub use request::{ARCHIVE, Answer, JSON, Request, TEXT, WrapFormat, namespace};
pub use settings::{AuditSpec, Lockout, Settings};
pub use tick::Ticked;
pub use walk::Handled;
pub use web::{Cors, WebHeader};
