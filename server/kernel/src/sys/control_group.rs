use kit::loose::Text;
use kit::{Beyond, Command, Error, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Sys;
use crate::control_group::{self, Parked};
use crate::router::Space;

/// Whether a request may be done now.
#[derive(JsonSchema, Serialize)]
pub(super) struct Approved {
    approved: bool,
}

/// Consents to a request that waits for approval. It counts if whoever consents is in one of the groups that the rule
/// names, once for each person, and only as long as they are in the group.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Authorize {
    /// The accessor that the request was answered with.
    #[serde(default)]
    accessor: Text,
}

impl Command<Sys> for Authorize {
    const ROUTE: Route = Route::post("control-group/authorize");
    type Reply = Approved;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Approved>> {
        let (kernel, beyond) = (engine.kernel()?, Beyond::for_the_kernel());
        let router = kernel.router(cx.peek(&beyond).snapshot())?;
        let (space, now) = (router.value().here(cx)?, cx.now());
        let (hash, parked) = control_group::find(cx.peek(&beyond), space, &self.accessor.0, now)?;
        let mut parked =
            parked.ok_or_else(|| Error::server("token internal meta does not contain control group"))?;
        let name = cx.caller().display_name.clone();
        let entity = cx.caller().entity.as_ref().map(|entity| entity.id.clone());
        let entity = entity.ok_or_else(|| Error::server("empty entity ID"))?;
        let txn = cx.beyond(&beyond);
        parked.consent(txn, &entity, &name)?;
        control_group::put(txn, space.cubbyhole()?, hash, &parked)?;
        Ok(Approved { approved: parked.approved(txn, None)? }.into())
    }
}

/// A request that waits for approval.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    approved: bool,
    authorizations: Vec<Authorization>,
    request_data: Option<Map<String, Value>>,
    request_entity: Asker,
    request_operation: String,
    request_path: String,
}

#[derive(JsonSchema, Serialize)]
struct Authorization {
    entity_id: String,
    entity_name: String,
}

/// The entity that asks; empty, if whoever asks has none.
#[derive(Default, JsonSchema, Serialize)]
struct Asker {
    #[serde(rename = "ID", skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<AliasOfAsker>,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace_id: String,
}

#[derive(JsonSchema, Serialize)]
struct AliasOfAsker {
    mount_accessor: String,
    name: String,
    #[serde(rename = "ID")]
    id: String,
    namespace_id: String,
}

/// Shows a request that waits for approval: who asks for what, and who has consented.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Show {
    /// The accessor that the request was answered with.
    #[serde(default)]
    accessor: Text,
}

impl Query<Sys> for Show {
    const ROUTE: Route = Route::post("control-group/request");
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let (kernel, today) = (engine.kernel()?, cx.beyond(&Beyond::for_the_kernel()));
        let router = kernel.router(today)?;
        let space = router.value().here(cx)?;
        let (_, parked) = control_group::find(today, space, &self.accessor.0, cx.now())?;
        let parked = parked.ok_or_else(|| Error::invalid("invalid wrapping token").wrapped())?;
        let authorizations = parked.authorizations(today)?.into_iter();
        Ok(Shown {
            approved: parked.approved(today, None)?,
            authorizations: authorizations
                .map(|(entity_id, entity_name)| Authorization { entity_id, entity_name })
                .collect(),
            request_data: parked.asked.data(),
            request_entity: asker(cx, space, &parked)?,
            request_operation: parked.asked.operation.clone(),
            request_path: parked.asked.local.clone(),
        }
        .into())
    }
}

fn asker(cx: &Reading<'_>, space: &Space, parked: &Parked) -> Result<Asker> {
    let today = cx.beyond(&Beyond::for_the_kernel());
    let Some(entity) = parked.requester(today)? else { return Ok(Asker::default()) };
    let namespace_id = space.namespace.id.clone();
    let aliases = entity.aliases.into_iter().map(|alias| AliasOfAsker {
        mount_accessor: alias.accessor,
        name: alias.name,
        id: alias.id,
        namespace_id: namespace_id.clone(),
    });
    let aliases = aliases.collect();
    Ok(Asker { id: entity.id, name: entity.name, aliases, namespace_id })
}
