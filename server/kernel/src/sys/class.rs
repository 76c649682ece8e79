use std::sync::Arc;

use kit::{Error, Result, Route};

use crate::mounts::{self, Mounted};
use crate::router::Space;

/// What differs between `sys/mounts` and `sys/auth`. Everything else of the two is the same code.
pub(super) trait Class: Send + Sync + 'static {
    const CLASS: mounts::Class;
    /// What stands before the path of a mount, and is not shown.
    const PREFIX: &'static str;
    const ALL: Route;
    const ONE: Route;
    const ENABLE: Route;
    const DISABLE: Route;
    const TUNED: Route;
    const TUNE: Route;
    /// What is mounted.
    const NOUN: &'static str;
    /// How a mount that is not there is called.
    const MISSING: &'static str;

    /// What is mounted at a path.
    fn find<'a>(space: &'a Space, path: &str) -> Option<&'a Arc<Mounted>> {
        space.at(path)
    }

    /// Refuses to mount at a path that is kept for the server.
    fn may_mount(path: &str, kind: &str) -> Result<()>;

    /// Refuses to unmount what the server cannot be without.
    fn may_unmount(path: &str) -> Result<()>;
}

/// Secrets engines.
pub(super) struct Secrets;

/// Auth methods.
pub(super) struct Methods;

/// Paths at which no one else can mount.
const RESERVED: [&str; 5] = ["audit/", "auth/", "cubbyhole/", "identity/", "sys/"];
/// Types of which there is one, and which is there already.
const SINGLE: [&str; 4] = ["cubbyhole", "identity", "system", "token"];

impl Class for Secrets {
    const CLASS: mounts::Class = mounts::Class::Secret;
    const PREFIX: &'static str = "";
    const ALL: Route = Route::get("mounts").merged();
    const ONE: Route = Route::get("mounts/{path+}").merged();
    const ENABLE: Route = Route::post("mounts/{path+}").logged();
    const DISABLE: Route = Route::delete("mounts/{path+}").logged();
    const TUNED: Route = Route::get("mounts/{path+}/tune").merged();
    const TUNE: Route = Route::post("mounts/{path+}/tune").logged();
    const NOUN: &'static str = "secrets engine";
    const MISSING: &'static str = "No secret engine mount at";

    /// A path below a mount shows that.
    fn find<'a>(space: &'a Space, path: &str) -> Option<&'a Arc<Mounted>> {
        space
            .nearest(path)
            .map(|(mounted, _)| mounted)
            .filter(|mounted| mounted.method.is_none() || mounted.entry.path == path)
    }

    fn may_mount(path: &str, kind: &str) -> Result<()> {
        if reserved(path) {
            return Err(Error::invalid(format!("cannot mount {path:?}")));
        }
        if SINGLE.contains(&kind) {
            return Err(Error::invalid(format!("mount type of {kind:?} is not mountable")));
        }
        Ok(())
    }

    fn may_unmount(path: &str) -> Result<()> {
        if RESERVED.contains(&path) || path.starts_with("auth/") {
            return Err(Error::invalid(format!("cannot unmount {path:?}")));
        }
        Ok(())
    }
}

impl Class for Methods {
    const CLASS: mounts::Class = mounts::Class::Auth;
    const PREFIX: &'static str = "auth/";
    const ALL: Route = Route::get("auth").merged();
    const ONE: Route = Route::get("auth/{path+}").merged().sudo();
    const ENABLE: Route = Route::post("auth/{path+}").logged().sudo();
    const DISABLE: Route = Route::delete("auth/{path+}").logged().sudo();
    const TUNED: Route = Route::get("auth/{path+}/tune").merged().sudo();
    const TUNE: Route = Route::post("auth/{path+}/tune").logged().sudo();
    const NOUN: &'static str = "auth method";
    const MISSING: &'static str = "No auth engine at";

    fn may_mount(_: &str, kind: &str) -> Result<()> {
        if kind == "token" {
            return Err(Error::invalid("token credential backend cannot be instantiated"));
        }
        Ok(())
    }

    fn may_unmount(path: &str) -> Result<()> {
        if path == "auth/token/" {
            return Err(Error::invalid("token credential backend cannot be disabled"));
        }
        Ok(())
    }
}

/// Whether a path lies where only the server itself mounts.
pub(super) fn reserved(path: &str) -> bool {
    RESERVED.iter().any(|reserved| path.starts_with(reserved))
}

/// The path of a mount as the router knows it: with what stands before its class, and one slash at the end.
pub(super) fn full<C: Class>(path: &str) -> String {
    format!("{}{}/", C::PREFIX, path.trim_matches('/'))
}
