//! `auth/token/`: the engine by which tokens make, show, prolong and end tokens.

mod create;
mod lookup;
mod renew;
mod revoke;
mod roles;

use std::sync::{Arc, Weak};

use kit::{Endpoint, Engine, Error, Reads, Result, command, query};

use crate::kernel::Kernel;
use crate::shelf::Source;
use crate::tokens::{self, TokenHash, TokenRecord};

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
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        command::<_, create::Create>(),
        command::<_, create::CreateOrphan>(),
        command::<_, create::CreateByRole>(),
        query::<_, lookup::Own>(),
        query::<_, lookup::OwnPosted>(),
        query::<_, lookup::Other>(),
        query::<_, lookup::OtherPosted>(),
        query::<_, lookup::ByAccessor>(),
        query::<_, lookup::Accessors>(),
        command::<_, renew::RenewOwn>(),
        command::<_, renew::RenewOther>(),
        command::<_, renew::RenewByAccessor>(),
        command::<_, revoke::RevokeOwn>(),
        command::<_, revoke::RevokeOther>(),
        command::<_, revoke::RevokeByAccessor>(),
        command::<_, revoke::RevokeOrphan>(),
        command::<_, revoke::Tidy>(),
        query::<_, roles::Get>(),
        query::<_, roles::List>(),
        command::<_, roles::Put>(),
        command::<_, roles::Delete>(),
    ];

    fn open(_: &serde_json::Value) -> Result<Self> {
        Err(Error::internal("auth/token/ is made by the kernel"))
    }
}

/// The hash of the caller's token.
fn own_hash(cx: &impl Reads) -> Result<TokenHash> {
    TokenHash::of_drawer(&cx.caller().drawer).ok_or_else(Error::denied)
}

/// A token that someone names: its stored record, or what it carries.
fn named(kernel: &Kernel, source: &impl Source, id: &str) -> Result<Option<(TokenHash, TokenRecord)>> {
    let hash = kernel.tokens.hash(id);
    if id.starts_with("b.") {
        return Ok(kernel.tokens.open_batch(&kernel.store, id).map(|record| (hash, record)));
    }
    Ok(tokens::find(source, hash)?.map(|record| (hash, record)))
}
