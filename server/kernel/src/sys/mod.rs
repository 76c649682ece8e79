//! `sys/`: the engine through which the server itself is operated.

mod filter;

use std::sync::{Arc, Weak};

use kit::{Endpoint, Engine, Error, Result};

use crate::kernel::Kernel;

pub(crate) use filter::filter_keys;

/// The server's own engine. It sees beyond its mount.
pub(crate) struct Sys {
    kernel: Weak<Kernel>,
}

impl Sys {
    pub(crate) fn new(kernel: Weak<Kernel>) -> Self {
        Self { kernel }
    }

    /// The kernel, while there is one: it is gone once the server is sealed.
    fn kernel(&self) -> Result<Arc<Kernel>> {
        self.kernel.upgrade().ok_or_else(|| Error::new(kit::Fault::Unavailable, "Vault is sealed"))
    }
}

impl Engine for Sys {
    const NAME: &'static str = "system";
    const ABOUT: &'static str = "Operates the server: mounts, policies, leases, audit, keys.";
    const ENDPOINTS: &'static [Endpoint<Self>] = &[];

    fn open(_: &serde_json::Value) -> Result<Self> {
        Err(Error::internal("sys/ is made by the kernel"))
    }
}
