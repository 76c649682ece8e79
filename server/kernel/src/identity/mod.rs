//! `identity/`: who someone is, whatever they log in by; what groups they are in; what follows from both.
//!
//! A login becomes an entity in `arrival.rs`; a token's entity becomes policies in `resolve.rs` and `bearer.rs`. All
//! records lie in a [`Book`] under the id of an identity mount, and a token names that mount, so that each namespace
//! has its own.

mod alias;
mod arrival;
mod batch;
mod bearer;
mod book;
mod books;
mod entity;
mod group;
mod group_alias;
mod lookup;
mod membership;
mod merge;
pub(crate) mod mfa;
mod names;
mod oidc;
mod record;
mod resolve;
mod shown;

use std::sync::{Arc, Weak};

use kit::{Endpoint, Engine, Error, Reads, Result, command, query};
use storage::Snapshot;

pub(crate) use arrival::Arrival;
pub(crate) use bearer::{Bearer, Everybody, bearer, shown_policies, united};
pub(crate) use book::Book;
pub(crate) use books::Books;
pub(crate) use record::Entity;
pub(crate) use resolve::Resolved;

use crate::kernel::Kernel;
use crate::mounts::Mounted;
use crate::namespaces::Ns;
use crate::router::Router;

/// Where identity answers.
pub(crate) const PATH: &str = "identity/";
/// How the root namespace is called in names that are made up.
const ROOT_NAMESPACE_ID: &str = "root";

/// The engine of identities. It sees beyond its mount.
pub(crate) struct Identity {
    kernel: Weak<Kernel>,
}

impl Identity {
    pub(crate) fn new(kernel: Weak<Kernel>) -> Self {
        Self { kernel }
    }

    /// The kernel, while there is one: it is gone once the server is sealed.
    fn kernel(&self) -> Result<Arc<Kernel>> {
        self.kernel.upgrade().ok_or_else(|| Error::new(kit::Fault::Unavailable, "Vault is sealed"))
    }

    /// The books that hold where a request is.
    fn books(&self, cx: &impl Reads, today: &Snapshot) -> Result<Books> {
        Books::of(self.kernel()?.router(today)?.value(), Ns::of(cx))
    }
}

/// The book in which an auth mount's people stand: that of its namespace.
pub(crate) fn book(router: &Router, mounted: &Mounted) -> Option<Book> {
    router.space(mounted.namespace.ns)?.at(PATH).map(|mounted| Book::of(mounted.info.id))
}

/// The book of the mount that a request came through.
fn own(cx: &impl Reads) -> Book {
    Book::of(cx.mount().id)
}

impl Engine for Identity {
    const NAME: &'static str = "identity";
    const ABOUT: &'static str = "Knows people and machines by all their logins, and the groups they are in.";
    /// The first that fits answers.
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        command::<_, entity::Register>(),
        command::<_, batch::Delete>(),
        command::<_, merge::Merge>(),
        query::<_, entity::List>(),
        query::<_, entity::Get>(),
        command::<_, entity::Put>(),
        command::<_, entity::Delete>(),
        query::<_, entity::Names>(),
        query::<_, entity::GetNamed>(),
        command::<_, entity::PutNamed>(),
        command::<_, entity::DeleteNamed>(),
        command::<_, alias::Register>(),
        query::<_, alias::List>(),
        query::<_, alias::Get>(),
        command::<_, alias::Put>(),
        command::<_, alias::Delete>(),
        command::<_, group::Register>(),
        query::<_, group::List>(),
        query::<_, group::Get>(),
        command::<_, group::Put>(),
        command::<_, group::Delete>(),
        query::<_, group::Names>(),
        query::<_, group::GetNamed>(),
        command::<_, group::PutNamed>(),
        command::<_, group::DeleteNamed>(),
        command::<_, membership::Sweep>(),
        command::<_, group_alias::Register>(),
        query::<_, group_alias::List>(),
        query::<_, group_alias::Get>(),
        command::<_, group_alias::Put>(),
        command::<_, group_alias::Delete>(),
        query::<_, mfa::method::List>(),
        query::<_, mfa::method::ListKind>(),
        command::<_, mfa::enrol::Generate>(),
        command::<_, mfa::enrol::AdminGenerate>(),
        command::<_, mfa::enrol::AdminDestroy>(),
        command::<_, mfa::method::Register<mfa::totp::TotpWish>>(),
        query::<_, mfa::method::GetOf<mfa::totp::TotpWish>>(),
        command::<_, mfa::method::Put<mfa::totp::TotpWish>>(),
        command::<_, mfa::method::Delete<mfa::totp::TotpWish>>(),
        command::<_, mfa::method::Register<mfa::duo::DuoWish>>(),
        query::<_, mfa::method::GetOf<mfa::duo::DuoWish>>(),
        command::<_, mfa::method::Put<mfa::duo::DuoWish>>(),
        command::<_, mfa::method::Delete<mfa::duo::DuoWish>>(),
        command::<_, mfa::method::Register<mfa::okta::OktaWish>>(),
        query::<_, mfa::method::GetOf<mfa::okta::OktaWish>>(),
        command::<_, mfa::method::Put<mfa::okta::OktaWish>>(),
        command::<_, mfa::method::Delete<mfa::okta::OktaWish>>(),
        command::<_, mfa::method::Register<mfa::pingid::PingIdWish>>(),
        query::<_, mfa::method::GetOf<mfa::pingid::PingIdWish>>(),
        command::<_, mfa::method::Put<mfa::pingid::PingIdWish>>(),
        command::<_, mfa::method::Delete<mfa::pingid::PingIdWish>>(),
        command::<_, mfa::method::RegisterNothing>(),
        query::<_, mfa::method::Get>(),
        query::<_, mfa::enforcement::List>(),
        query::<_, mfa::enforcement::Get>(),
        command::<_, mfa::enforcement::Put>(),
        command::<_, mfa::enforcement::Delete>(),
        query::<_, lookup::Entity>(),
        query::<_, lookup::Group>(),
        query::<_, oidc::config::Get>(),
        command::<_, oidc::config::Put>(),
        query::<_, oidc::discovery::Own>(),
        query::<_, oidc::discovery::OwnKeys>(),
        query::<_, oidc::key::Get>(),
        query::<_, oidc::key::List>(),
        command::<_, oidc::key::Put>(),
        command::<_, oidc::key::Delete>(),
        command::<_, oidc::key::Rotate>(),
        command::<_, oidc::key::Turn>(),
        query::<_, oidc::role::Get>(),
        query::<_, oidc::role::List>(),
        command::<_, oidc::role::Put>(),
        command::<_, oidc::role::Delete>(),
        query::<_, oidc::issue::Token>(),
        query::<_, oidc::introspect::Introspect>(),
        query::<_, oidc::assignment::Get>(),
        query::<_, oidc::assignment::List>(),
        command::<_, oidc::assignment::Put>(),
        command::<_, oidc::assignment::Delete>(),
        query::<_, oidc::scope::Get>(),
        query::<_, oidc::scope::List>(),
        command::<_, oidc::scope::Put>(),
        command::<_, oidc::scope::Delete>(),
        query::<_, oidc::client::Get>(),
        query::<_, oidc::client::List>(),
        command::<_, oidc::client::Put>(),
        command::<_, oidc::client::Delete>(),
        query::<_, oidc::provider::Get>(),
        query::<_, oidc::provider::List>(),
        command::<_, oidc::provider::Put>(),
        command::<_, oidc::provider::Delete>(),
        query::<_, oidc::discovery::Provider>(),
        query::<_, oidc::discovery::ProviderKeys>(),
        command::<_, oidc::authorize::Authorize>(),
        command::<_, oidc::authorize::AuthorizePosted>(),
        command::<_, oidc::authorize::Forget>(),
        command::<_, oidc::exchange::Exchange>(),
        query::<_, oidc::userinfo::UserInfo>(),
        query::<_, oidc::userinfo::UserInfoPosted>(),
    ];

    fn open(_: &serde_json::Value) -> Result<Self> {
        Err(Error::internal("identity/ is made by the kernel"))
    }
}
