use std::collections::BTreeMap;
use std::marker::PhantomData;

use kit::loose::{Flag, Pairs, Prose, Text};
use kit::{Beyond, Command, Error, Fault, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Sys;
use super::class::{Class, full};
use super::mounting::{Wish, mount, unmount};
use super::shown::MountShown;
use super::tune::Settings;

/// Lists what is mounted, with its configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(super) struct All<C> {
    #[serde(skip)]
    class: PhantomData<C>,
}

impl<C: Class> Query<Sys> for All<C> {
    const ROUTE: Route = C::ALL;
    type Reply = BTreeMap<String, MountShown>;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        let router = kernel.router(cx.beyond(&Beyond::for_the_kernel()))?;
        let mut shown = BTreeMap::new();
        for mounted in router.value().here(cx)?.all() {
            let method = mounted.entry.path.strip_prefix("auth/");
            let path = if C::PREFIX.is_empty() == method.is_none() {
                method.unwrap_or(&mounted.entry.path)
            } else {
                continue;
            };
            shown.insert(path.to_owned(), MountShown::of(mounted, &kernel));
        }
        Ok(shown.into())
    }
}

/// Shows one mount and its configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(super) struct One<C> {
    /// Where it is mounted.
    path: String,
    #[serde(skip)]
    class: PhantomData<C>,
}

impl<C: Class> Query<Sys> for One<C> {
    const ROUTE: Route = C::ONE;
    type Reply = MountShown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        let router = kernel.router(cx.beyond(&Beyond::for_the_kernel()))?;
        let found = C::find(router.value().here(cx)?, &full::<C>(&self.path));
        let missing = || Error::invalid(format!("{} {}/", C::MISSING, self.path.trim_matches('/')));
        Ok(MountShown::of(found.ok_or_else(missing)?, &kernel).into())
    }
}

/// Mounts an engine or auth method at a path.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(super) struct Enable<C> {
    /// Where to mount it.
    path: String,
    /// The type of engine: `kv`, `pki`, `userpass` and so on.
    #[serde(rename = "type", default)]
    kind: String,
    /// What it is for, for people.
    #[serde(default)]
    description: Prose,
    /// How long leases live, what audit shows, and the like: all that `tune` can change.
    #[serde(default)]
    config: Settings,
    /// The options of the engine.
    options: Option<Pairs>,
    /// Kept and shown; one node replicates nothing.
    #[serde(default)]
    local: Flag,
    /// Kept and shown; everything is sealed.
    #[serde(default)]
    seal_wrap: Flag,
    /// Kept and shown.
    #[serde(default)]
    external_entropy_access: Flag,
    /// The type, if `type` is `plugin`.
    #[serde(default)]
    plugin_name: Text,
    /// Of no account: every engine is built in and has the version of the server.
    #[serde(default, rename = "plugin_version")]
    _plugin_version: Text,
    #[serde(skip)]
    class: PhantomData<C>,
}

impl<C: Class> Command<Sys> for Enable<C> {
    const ROUTE: Route = C::ENABLE;
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        let kind = if self.kind == "plugin" { self.plugin_name.0 } else { self.kind };
        let wish = Wish {
            path: full::<C>(&self.path),
            kind,
            description: self.description.0,
            config: self.config,
            options: self.options.unwrap_or_default().0,
            local: self.local.0,
            seal_wrap: self.seal_wrap.0,
            external_entropy_access: self.external_entropy_access.0,
        };
        mount::<C>(&kernel, cx, wish)?;
        Ok(Reply::Nothing)
    }
}

/// Unmounts what is mounted at a path: its leases and tokens end and all it stored is deleted.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(super) struct Disable<C> {
    /// Where it is mounted.
    path: String,
    #[serde(skip)]
    class: PhantomData<C>,
}

impl<C: Class> Command<Sys> for Disable<C> {
    const ROUTE: Route = C::DISABLE;
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        // How a mount is tuned is at that path: nothing can be mounted there, and what is there is not deleted.
        if self.path.trim_end_matches('/').ends_with("/tune") {
            return Err(Error::new(Fault::Verb, "unsupported operation").wrapped());
        }
        let path = full::<C>(&self.path);
        C::may_unmount(&path)?;
        let kernel = engine.kernel()?;
        let router = kernel.router(cx.peek(&Beyond::for_the_kernel()).snapshot())?;
        if let Some(mounted) = router.value().here(cx)?.at(&path)
            && mounted.entry.class == C::CLASS
        {
            unmount(cx, mounted)?;
        }
        Ok(Reply::Nothing)
    }
}
