//! Replacing many certificates at once: those of an issuer, a role, an owner or a key.
//!
//! What is to be replaced is a rule (`scope`), not a list: renewal information holds each certificate against it, so that
//! every holder hears of it at the next question. At the end of a grace the old ones are revoked (`step`), in pieces with
//! dates on the agenda, so many in a second and no more.

mod known;
mod scope;
mod show;
mod start;
mod step;

pub(super) use scope::{REISSUES, State, is_wanted};
pub(super) use show::{ListReissues, ReadReissue};
pub(super) use start::{Abort, Start};
pub(super) use step::ReissueStep;
