//! `auth/token/`: the engine by which tokens make, show, prolong and end tokens.

mod create;
mod lookup;
mod renew;
mod revoke;
mod roles;

use std::sync::{Arc, Weak};

use kit::{Beyond, Endpoint, Engine, Error, Reads, Result, command, query};
use policy::Capability;
use storage::Snapshot;

use crate::kernel::Kernel;
use crate::namespaces::{self, Namespace, Ns};
use crate::shelf::Source;
use crate::tokens::{self, TokenHash, TokenRecord, Uses};

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

/// What someone asks about a token that they name.
struct Deed {
    /// Where it is asked, in any namespace.
    path: &'static str,
    capability: Capability,
    needs_sudo: bool,
}

/// A token that someone names, if they may do this to it: its stored record, or what it carries. What is asked about a
/// token of another namespace is judged as if it were asked there.
///
/// # Errors
/// Denied, if their own token reaches no tokens of that namespace.
fn named(
    kernel: &Kernel,
    cx: &impl Reads,
    source: &impl Source,
    today: &Snapshot,
    id: &str,
    deed: &Deed,
) -> Result<Option<(TokenHash, TokenRecord)>> {
    let router = kernel.router(today)?;
    // By what the id says first: whether there is such a token there is nobody's business here.
    if let Some(suffix) = namespaces::suffix(id)
        && let Some(space) = router.value().by_suffix(Some(suffix))
    {
        check_reach(kernel, cx, today, &space.namespace, deed)?;
    }
    let found = stored(kernel, source, id)?;
    if let Some((_, record)) = &found {
        let space = router.value().space(record.namespace).filter(|space| space.lives());
        let space = space.ok_or_else(|| Error::denied().wrapped())?;
        check_reach(kernel, cx, today, &space.namespace, deed)?;
    }
    Ok(found)
}

/// Whether the token that asks may do this to tokens of a namespace.
fn check_reach(
    kernel: &Kernel,
    cx: &impl Reads,
    today: &Snapshot,
    namespace: &Namespace,
    deed: &Deed,
) -> Result<()> {
    // Here the request itself has been judged.
    if namespace.ns == Ns::of(cx) {
        return Ok(());
    }
    let (now, beyond) = (cx.now(), Beyond::for_the_kernel());
    let own = cx.remote().token.token(&beyond).ok_or_else(Error::denied)?;
    let known = kernel.tokens.identify(own.expose(), &kernel.store, today, now, cx.remote(), Uses::Spent)?;
    let acl = kernel.tokens.acl(known.value(), today, now)?;
    let path = format!("{}{}", namespace.path, deed.path);
    let may = known.value().namespace.holds(namespace)
        && acl.allows(&path, deed.capability, now.0)
        && (!deed.needs_sudo || acl.has_sudo(&path, now.0));
    if may { Ok(()) } else { Err(Error::denied().wrapped()) }
}

fn stored(kernel: &Kernel, source: &impl Source, id: &str) -> Result<Option<(TokenHash, TokenRecord)>> {
    let hash = kernel.tokens.hash(id);
    if id.starts_with("b.") {
        return Ok(kernel.tokens.open_batch(&kernel.store, id).map(|record| (hash, record)));
    }
    Ok(tokens::find(source, hash)?.map(|record| (hash, record)))
}
