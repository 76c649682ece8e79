//! Enforcements: who must show a second factor.

use std::sync::Arc;

use kit::loose::{Text, Texts};
use kit::{Beyond, Command, Error, Nothing, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::record::Enforcement;
use crate::identity::shown::{self, Listed};
use crate::identity::{Books, Identity, names, own};
use crate::ids;
use crate::namespaces::{Namespace, Ns};

/// How many enforcements there may be: each login looks at all of them.
const ENFORCEMENTS_MAX: usize = 256;

/// An enforcement as it is shown.
#[derive(JsonSchema, Serialize)]
pub(in crate::identity) struct EnforcementShown {
    auth_method_accessors: Vec<String>,
    auth_method_types: Vec<String>,
    id: String,
    identity_entity_ids: Vec<String>,
    identity_group_ids: Vec<String>,
    mfa_method_ids: Vec<String>,
    name: String,
    namespace_id: String,
    namespace_path: String,
}

impl EnforcementShown {
    fn of(it: Enforcement, namespace: &Namespace) -> Self {
        Self {
            auth_method_accessors: it.accessors,
            auth_method_types: it.kinds,
            id: it.id,
            identity_entity_ids: it.entities,
            identity_group_ids: it.groups,
            mfa_method_ids: it.methods,
            name: it.name,
            namespace_id: namespace.id.clone(),
            namespace_path: namespace.path.clone(),
        }
    }
}

/// Lists the enforcements.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct List {}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("mfa/login-enforcement");
    type Reply = Listed<EnforcementShown>;

    fn run(self, engine: &Identity, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let namespace = namespace(engine, cx)?;
        let all = own(cx).all_enforcements(cx.beyond(&Beyond::for_the_kernel()))?;
        shown::listed(
            all.into_iter().map(|it| (it.name.clone(), EnforcementShown::of(it, &namespace))).collect(),
        )
    }
}

/// Shows an enforcement.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Get {
    /// Its name.
    name: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("mfa/login-enforcement/{name}");
    type Reply = EnforcementShown;

    fn run(self, engine: &Identity, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let namespace = namespace(engine, cx)?;
        let found = own(cx).enforcement(cx.beyond(&Beyond::for_the_kernel()), &self.name)?;
        Ok(EnforcementShown::of(found.ok_or_else(Error::not_found)?, &namespace).into())
    }
}

/// Makes or changes an enforcement.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Put {
    /// Its name.
    name: String,
    /// The methods, any one of which satisfies it: of this namespace, or of one that holds it.
    #[serde(default)]
    mfa_method_ids: Texts,
    /// Logins at the auth mounts of these accessors.
    #[serde(default)]
    auth_method_accessors: Texts,
    /// Logins at auth mounts of these types.
    #[serde(default)]
    auth_method_types: Texts,
    /// Logins of those in these groups.
    #[serde(default)]
    identity_group_ids: Texts,
    /// Logins of these entities.
    #[serde(default)]
    identity_entity_ids: Texts,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("mfa/login-enforcement/{name}");
    type Reply = Nothing;

    /// The order of the checks is that of the API: clients see the first that fails.
    fn run(self, engine: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let (book, beyond) = (own(cx), Beyond::for_the_kernel());
        names::check("name", &self.name)?;
        let router = engine.kernel()?.router(cx.peek(&beyond).snapshot())?;
        let (router, txn, ns) = (router.value(), cx.peek(&beyond), Ns::of(cx));
        let (here, books) = (router.here(cx)?, Books::of(router, ns)?);
        if self.mfa_method_ids.0.is_empty() {
            return Err(Error::invalid("missing method ids"));
        }
        let every = |ids: &Texts, known: &mut dyn FnMut(&str) -> Result<bool>, text: &'static str| {
            for id in &ids.0 {
                if !known(id)? {
                    return Err(Error::invalid(text));
                }
            }
            Ok(())
        };
        every(
            &self.mfa_method_ids,
            &mut |id| Ok(books.method(txn, id)?.is_some()),
            "one of the provided method ids doesn't exist",
        )?;
        every(
            &self.auth_method_accessors,
            &mut |accessor| {
                Ok(router.by_accessor(ns, accessor).is_some_and(|mounted| mounted.method.is_some()))
            },
            "one of the auth method accessors provided is invalid",
        )?;
        every(
            &self.auth_method_types,
            &mut |kind| Ok(here.all().any(|mounted| mounted.method.is_some() && mounted.entry.kind == kind)),
            "one of the auth method types provided is invalid",
        )?;
        every(
            &self.identity_group_ids,
            &mut |id| Ok(book.group(txn, id)?.is_some()),
            "one of the provided group ids doesn't exist",
        )?;
        every(
            &self.identity_entity_ids,
            &mut |id| Ok(book.entity(txn, id)?.is_some()),
            "one of the provided entity ids doesn't exist",
        )?;
        let old = book.enforcement(txn, &self.name)?;
        if old.is_none() && book.all_enforcements(txn)?.len() >= ENFORCEMENTS_MAX {
            let text = format!("there are {ENFORCEMENTS_MAX} enforcements already; delete one, or widen one");
            return Err(Error::invalid(text));
        }
        let enforcement = Enforcement {
            id: old.map_or_else(|| ids::new_uuid(cx.randomness()), |old| old.id),
            name: self.name,
            methods: self.mfa_method_ids.0,
            accessors: self.auth_method_accessors.0,
            kinds: self.auth_method_types.0,
            groups: self.identity_group_ids.0,
            entities: self.identity_entity_ids.0,
        };
        if enforcement.binds_nobody() {
            let text = "One of auth_method_accessors, auth_method_types, identity_group_ids, identity_entity_ids must be specified";
            return Err(Error::invalid(text));
        }
        book.put_enforcement(cx.beyond(&beyond), &enforcement)?;
        Ok(Reply::Nothing)
    }
}

/// The namespace that a request is in.
fn namespace(engine: &Identity, cx: &Reading<'_>) -> Result<Arc<Namespace>> {
    let router = engine.kernel()?.router(cx.beyond(&Beyond::for_the_kernel()))?;
    Ok(Arc::clone(&router.value().here(cx)?.namespace))
}

impl Enforcement {
    fn binds_nobody(&self) -> bool {
        [&self.accessors, &self.kinds, &self.groups, &self.entities].iter().all(|list| list.is_empty())
    }
}

/// Deletes an enforcement.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Delete {
    /// Its name.
    name: Text,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::delete("mfa/login-enforcement/{name}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        own(cx).delete_enforcement(cx.beyond(&Beyond::for_the_kernel()), &self.name.0)?;
        Ok(Reply::Nothing)
    }
}
