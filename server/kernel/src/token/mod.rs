//! `auth/token/`: the engine by which tokens make, show, prolong and end tokens.

use std::sync::{Arc, Weak};

use kit::{Endpoint, Engine, Error, Result};

use crate::kernel::Kernel;

/// The engine of tokens. It sees beyond its mount.
pub(crate) struct Token {
    kernel: Weak<Kernel>,
}

impl Token {
    pub(crate) fn new(kernel: Weak<Kernel>) -> Self {
        Self { kernel }
    }

    /// The kernel, while there is one: it is gone once the server is sealed.
    fn kernel(&self) -> Result<Arc<Kernel>> {
        self.kernel.upgrade().ok_or_else(|| Error::new(kit::Fault::Unavailable, "Vault is sealed"))
    }
}

impl Engine for Token {
    const NAME: &'static str = "token";
    const ABOUT: &'static str = "Makes, shows, prolongs and ends tokens.";
    const ENDPOINTS: &'static [Endpoint<Self>] = &[];

    fn open(_: &serde_json::Value) -> Result<Self> {
        Err(Error::internal("auth/token/ is made by the kernel"))
    }
}
