//! New keys under a new seal: `sys/rotate/root` and `sys/rotate/recovery`, and what they were before, `sys/rekey`.
//!
//! The four are one: who asks, with which words they are answered, and whose key it is differ.

mod backup;
mod begin;
mod install;
mod update;
mod verify;
mod way;

pub(super) use backup::{Backup, ForgetBackup};
pub(super) use begin::{Begin, Cancel, RotateRoot, Status};
pub(crate) use install::Installing;
pub(super) use update::{Texts, Update, exposed};
pub(super) use verify::{Progress, Restart, Verify};
pub(super) use way::{RekeyRecovery, RekeyRoot, RotationOfRecovery, RotationOfRoot};
