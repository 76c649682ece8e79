use kit::{Error, Fault, Reply, Result, Route};
use serde::Serialize;
use storage::seal::SealConfig;

use crate::ceremonies::Target;
use crate::kernel::Kernel;
use crate::seals::SealOf;

/// One of the ways to a new key.
pub(in crate::sys) trait Way: Send + Sync + 'static {
    const TARGET: Target;
    const SPEECH: Speech;
    const STATUS: Route;
    const BEGIN: Route;
    const CANCEL: Route;
    const UPDATE: Route;
    const PROGRESS: Route;
    const VERIFY: Route;
    const RESTART: Route;

    /// Whether this way is open at all.
    fn enter(seal: &SealOf<'_>) -> Result<()>;

    /// The reply in the form that clients of this way know.
    fn reply<T: Serialize>(value: T) -> Reply<T>;
}

/// The words of a way, which clients know.
pub(in crate::sys) struct Speech {
    pub(super) form: Form,
    pub(super) nothing: &'static str,
    pub(super) idle: &'static str,
    pub(super) busy: &'static str,
    pub(super) nonce: &'static str,
    pub(super) doubled: &'static str,
    pub(super) finished: &'static str,
    pub(super) numbers: &'static str,
    pub(super) unprovable: &'static str,
}

/// Which fields an answer has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::sys) enum Form {
    /// As `sys/rekey` shows it.
    Rekey,
    /// As `sys/rotate` shows it.
    Rotate,
}

/// `sys/rekey`, which strangers may use if a listener lets them.
pub(in crate::sys) struct RekeyRoot;
/// `sys/rekey-recovery-key`, the same.
pub(in crate::sys) struct RekeyRecovery;
/// `sys/rotate/root`
pub(in crate::sys) struct RotationOfRoot;
/// `sys/rotate/recovery`
pub(in crate::sys) struct RotationOfRecovery;

/// Where a way would keep encrypted shares.
pub(in crate::sys) trait Keeping: Way {
    const BACKUP: Route;
    const FORGET_BACKUP: Route;
}

const REKEY: Speech = Speech {
    form: Form::Rekey,
    nothing: "no rekey configuration found",
    idle: "no rekey in progress",
    busy: "rekey already in progress",
    nonce: "incorrect nonce supplied; nonce for this rekey operation is",
    doubled: "given key has already been provided during this generation operation",
    finished: "rekey operation already finished; verification must be performed; nonce for the verification operation is",
    numbers: "invalid rekey seal configuration",
    unprovable: "requiring verification not supported when rekeying the barrier key with recovery keys",
};

const ROTATE: Speech = Speech {
    form: Form::Rotate,
    nothing: "no rotation configuration found",
    idle: "no rotation in progress",
    busy: "rotation already in progress",
    nonce: "incorrect nonce supplied; nonce for rotation is",
    doubled: "given key has already been provided during this rotation",
    finished: "rotation already finished; verification must be performed; nonce for the verification operation is",
    numbers: "invalid rotate seal configuration",
    unprovable: "requiring verification not supported when rotating the barrier key with recovery keys",
};

impl Way for RekeyRoot {
    const TARGET: Target = Target::Root;
    const SPEECH: Speech = REKEY;
    const STATUS: Route = Route::get("rekey/init").unauthenticated();
    const BEGIN: Route = Route::post("rekey/init").unauthenticated();
    const CANCEL: Route = Route::delete("rekey/init").unauthenticated();
    const UPDATE: Route = Route::post("rekey/update").unauthenticated().with_keys();
    const PROGRESS: Route = Route::get("rekey/verify").unauthenticated();
    const VERIFY: Route = Route::post("rekey/verify").unauthenticated();
    const RESTART: Route = Route::delete("rekey/verify").unauthenticated();

    fn enter(seal: &SealOf<'_>) -> Result<()> {
        opened(seal.kernel)
    }

    fn reply<T: Serialize>(value: T) -> Reply<T> {
        Reply::Bare(value)
    }
}

impl Way for RekeyRecovery {
    const TARGET: Target = Target::Recovery;
    const SPEECH: Speech = REKEY;
    const STATUS: Route = Route::get("rekey-recovery-key/init").unauthenticated();
    const BEGIN: Route = Route::post("rekey-recovery-key/init").unauthenticated();
    const CANCEL: Route = Route::delete("rekey-recovery-key/init").unauthenticated();
    const UPDATE: Route = Route::post("rekey-recovery-key/update").unauthenticated().with_keys();
    const PROGRESS: Route = Route::get("rekey-recovery-key/verify").unauthenticated();
    const VERIFY: Route = Route::post("rekey-recovery-key/verify").unauthenticated();
    const RESTART: Route = Route::delete("rekey-recovery-key/verify").unauthenticated();

    fn enter(seal: &SealOf<'_>) -> Result<()> {
        opened(seal.kernel)?;
        recoverable(seal, "recovery rekeying not supported")
    }

    fn reply<T: Serialize>(value: T) -> Reply<T> {
        Reply::Bare(value)
    }
}

impl Way for RotationOfRoot {
    const TARGET: Target = Target::Root;
    const SPEECH: Speech = ROTATE;
    const STATUS: Route = Route::get("rotate/root/init");
    const BEGIN: Route = Route::post("rotate/root/init");
    const CANCEL: Route = Route::delete("rotate/root/init");
    const UPDATE: Route = Route::post("rotate/root/update").with_keys();
    const PROGRESS: Route = Route::get("rotate/root/verify");
    const VERIFY: Route = Route::post("rotate/root/verify");
    const RESTART: Route = Route::delete("rotate/root/verify");

    fn enter(_: &SealOf<'_>) -> Result<()> {
        Ok(())
    }

    fn reply<T: Serialize>(value: T) -> Reply<T> {
        Reply::Data(value)
    }
}

impl Keeping for RotationOfRoot {
    const BACKUP: Route = Route::get("rotate/root/backup").merged();
    const FORGET_BACKUP: Route = Route::delete("rotate/root/backup");
}

impl Way for RotationOfRecovery {
    const TARGET: Target = Target::Recovery;
    const SPEECH: Speech = ROTATE;
    const STATUS: Route = Route::get("rotate/recovery/init");
    const BEGIN: Route = Route::post("rotate/recovery/init");
    const CANCEL: Route = Route::delete("rotate/recovery/init");
    const UPDATE: Route = Route::post("rotate/recovery/update").with_keys();
    const PROGRESS: Route = Route::get("rotate/recovery/verify");
    const VERIFY: Route = Route::post("rotate/recovery/verify");
    const RESTART: Route = Route::delete("rotate/recovery/verify");

    fn enter(seal: &SealOf<'_>) -> Result<()> {
        recoverable(seal, "recovery keys not supported: this seal is made of key shares; use sys/rotate/root")
    }

    fn reply<T: Serialize>(value: T) -> Reply<T> {
        Reply::Data(value)
    }
}

impl Keeping for RotationOfRecovery {
    const BACKUP: Route = Route::get("rotate/recovery/backup").merged();
    const FORGET_BACKUP: Route = Route::delete("rotate/recovery/backup");
}

fn opened(kernel: &Kernel) -> Result<()> {
    if kernel.env.settings.open_rekey {
        Ok(())
    } else {
        Err(Error::new(Fault::Verb, "unsupported operation"))
    }
}

fn recoverable(seal: &SealOf<'_>, why_not: &str) -> Result<()> {
    match seal.config()? {
        SealConfig::Static { .. } => Ok(()),
        SealConfig::Shamir(_) => Err(Error::invalid(why_not)),
    }
}

impl Keeping for RekeyRoot {
    const BACKUP: Route = Route::get("rekey/backup").merged();
    const FORGET_BACKUP: Route = Route::delete("rekey/backup");
}

impl Keeping for RekeyRecovery {
    const BACKUP: Route = Route::get("rekey/recovery-key-backup").merged();
    const FORGET_BACKUP: Route = Route::delete("rekey/recovery-key-backup");
}
