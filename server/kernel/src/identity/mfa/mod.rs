//! The second factor of logins: who must show one (`enforcement`), by what (`method` and the kinds beside it, `enrol`), and
//! whether it was shown (`gate`), for which others may have to be asked first (`round`). A login that still owes one waits in
//! memory (`waiting`): a restart forgets it, and it is begun again.

pub(super) mod duo;
pub(super) mod enforcement;
pub(super) mod enrol;
mod gate;
mod kind;
pub(super) mod method;
pub(super) mod okta;
pub(super) mod pingid;
mod record;
mod round;
pub(super) mod totp;
mod waiting;

pub(super) use record::Method;

pub(crate) use gate::{Choice, Owed, Showing, Shown};
pub(crate) use round::{Proofs, Round};
pub(crate) use waiting::{Claimed, Waiting, WaitingLogin};
