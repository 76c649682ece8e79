//! The second factor of logins: who must show one (`enforcement`), how it is made (`method`, `enrol`), and whether it was
//! shown (`gate`). A login that still owes one waits in memory (`waiting`): a restart forgets it, and it is begun again.

pub(super) mod enforcement;
pub(super) mod enrol;
mod gate;
pub(super) mod method;
mod record;
mod waiting;

pub(crate) use gate::{Choice, Owed, Shown};
pub(crate) use waiting::{Waiting, WaitingLogin};
