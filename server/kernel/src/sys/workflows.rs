//! `sys/workflows`: requests that are written down once, and made in the name of whoever runs them.

use std::collections::BTreeMap;

use flow::{Input, Workflow};
use kit::loose::{Flag, Number, Prose, Text};
use kit::{Beyond, Command, Error, Fault, Nothing, Query, Reading, Reads, Reply, Result, Route};
use kit::{Writing, page};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use storage::Name;

use super::Sys;
use crate::envelope::Attached;
use crate::namespaces::Ns;
use crate::play::{Play, Show};
use crate::shelf::{Shelves, Source};

/// A workflow as it is stored.
#[derive(Deserialize, Serialize)]
struct Stored {
    workflow: String,
    description: String,
    version: u64,
    cas_required: bool,
    allow_unauthenticated: bool,
}

const WORKFLOWS: Shelves<Stored> = Shelves::new(31);

/// A workflow as it is shown.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    allow_unauthenticated: bool,
    cas_required: bool,
    description: String,
    path: String,
    version: u64,
    workflow: String,
}

impl Shown {
    fn of(path: &str, stored: Stored) -> Self {
        Self {
            allow_unauthenticated: stored.allow_unauthenticated,
            cas_required: stored.cas_required,
            description: stored.description,
            path: path.to_owned(),
            version: stored.version,
            workflow: stored.workflow,
        }
    }
}

fn find(source: &impl Source, ns: Ns, path: &str) -> Result<Option<Stored>> {
    WORKFLOWS.of(ns).get(source, Name::Path(path))
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Keys {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    key_info: BTreeMap<String, Shown>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

/// The workflows below a folder. What is a folder itself has no more to tell.
fn keys(cx: &Reading<'_>, folder: &str, names: &[String], after: &str, limit: i64) -> Result<Keys> {
    let source = cx.beyond(&Beyond::for_the_kernel());
    let keys = page(names, after, limit);
    let mut key_info = BTreeMap::new();
    for key in &keys {
        let path = if folder.is_empty() { key.clone() } else { format!("{folder}/{key}") };
        if !key.ends_with('/')
            && let Some(stored) = find(source, Ns::of(cx), &path)?
        {
            key_info.insert(key.clone(), Shown::of(&path, stored));
        }
    }
    Ok(Keys { key_info, keys })
}

fn listed(cx: &Reading<'_>, folder: &str, after: &str, limit: Option<Number>) -> Result<Reply<Keys>> {
    let folder = folder.trim_matches('/');
    let names = WORKFLOWS.of(Ns::of(cx)).list(cx.beyond(&Beyond::for_the_kernel()), folder)?;
    if names.is_empty() {
        return Err(Error::not_found());
    }
    keys(cx, folder, &names, after, limit.unwrap_or_default().0).map(Reply::Data)
}

fn scanned(cx: &Reading<'_>, folder: &str, after: &str, limit: Option<Number>) -> Result<Reply<Keys>> {
    let folder = folder.trim_matches('/');
    let names = WORKFLOWS.of(Ns::of(cx)).walk(cx.beyond(&Beyond::for_the_kernel()), folder)?;
    let below = |name: &String| name.strip_prefix(folder).map(|name| name.trim_start_matches('/').to_owned());
    let names: Vec<String> = names.iter().filter_map(below).collect();
    keys(cx, folder, &names, after, limit.unwrap_or_default().0).map(Reply::Data)
}

/// Lists workflows.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {
    /// Begins after this name.
    #[serde(default)]
    after: String,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

impl Query<Sys> for List {
    const ROUTE: Route = Route::list("workflows/manage");
    type Reply = Keys;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        listed(cx, "", &self.after, self.limit)
    }
}

/// Lists the workflows in a folder.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListBelow {
    /// The folder.
    path: String,
    /// Begins after this name.
    #[serde(default)]
    after: String,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

impl Query<Sys> for ListBelow {
    const ROUTE: Route = Route::list("workflows/manage/{path:lower+}");
    type Reply = Keys;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        listed(cx, &self.path, &self.after, self.limit)
    }
}

/// Lists workflows, however deep they lie.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Scan {
    /// Begins after this name.
    #[serde(default)]
    after: String,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

impl Query<Sys> for Scan {
    const ROUTE: Route = Route::scan("workflows/manage");
    type Reply = Keys;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        scanned(cx, "", &self.after, self.limit)
    }
}

/// Lists the workflows below a folder, however deep they lie.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ScanBelow {
    /// The folder.
    path: String,
    /// Begins after this name.
    #[serde(default)]
    after: String,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

impl Query<Sys> for ScanBelow {
    const ROUTE: Route = Route::scan("workflows/manage/{path:lower+}");
    type Reply = Keys;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        scanned(cx, &self.path, &self.after, self.limit)
    }
}

/// Shows a workflow.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    /// Which one.
    path: String,
}

impl Query<Sys> for Get {
    const ROUTE: Route = Route::get("workflows/manage/{path:lower+}");
    type Reply = Shown;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let stored = find(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), &self.path)?;
        Ok(Shown::of(&self.path, stored.ok_or_else(Error::not_found)?).into())
    }
}

/// Writes a workflow down, or another in its place.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Put {
    /// Which one.
    path: String,
    /// The workflow, in HCL or JSON.
    #[serde(default)]
    workflow: Option<Text>,
    /// What it is for.
    #[serde(default)]
    description: Option<Prose>,
    /// The version that is there now; -1: there is none.
    #[serde(default)]
    cas: Option<Number>,
    /// Whether whoever writes it must say which version is there.
    #[serde(default)]
    cas_required: Option<Flag>,
    /// Whether strangers may run it, if the server's configuration lets them run any.
    #[serde(default)]
    allow_unauthenticated: Option<Flag>,
}

impl Command<Sys> for Put {
    const ROUTE: Route = Route::post("workflows/manage/{path:lower+}").logged();
    type Reply = Shown;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        let flag = |flag: Option<Flag>| flag.is_some_and(|flag| flag.0);
        if self.path.ends_with('/') {
            return Err(Error::invalid("path: a workflow's path does not end in a slash"));
        }
        let workflow = self.workflow.unwrap_or_default().0;
        Workflow::parse(&workflow).map_err(Error::invalid)?;
        let ns = Ns::of(cx);
        let txn = cx.beyond(&Beyond::for_the_kernel());
        let known = find(txn, ns, &self.path)?;
        let cas_required = flag(self.cas_required);
        let wants = cas_required || known.as_ref().is_some_and(|known| known.cas_required);
        check_version(self.cas, known.as_ref().map(|known| known.version), wants)?;
        let stored = Stored {
            workflow,
            description: self.description.unwrap_or_default().0,
            version: known.map_or(0, |known| known.version) + 1,
            cas_required,
            allow_unauthenticated: flag(self.allow_unauthenticated),
        };
        WORKFLOWS.of(ns).put(txn, Name::Path(&self.path), &stored)?;
        Ok(Shown::of(&self.path, stored).into())
    }
}

/// Holds the version that the caller believes is there against the one that is.
fn check_version(cas: Option<Number>, version: Option<u64>, required: bool) -> Result<()> {
    let refusal = match (cas.map(|cas| cas.0), version) {
        (None, _) if required => "check-and-set parameter required for this call",
        (None, _) | (Some(-1), None) => return Ok(()),
        (Some(-1), Some(_)) => "check-and-set parameter set to -1 on existing entry",
        (Some(_), None) => "check-and-set parameter set greater than 1 on non-existent entry",
        (Some(cas), Some(version)) if u64::try_from(cas) == Ok(version) => return Ok(()),
        (Some(_), Some(_)) => "check-and-set parameter did not match the current version",
    };
    Err(Error::invalid(refusal))
}

/// Deletes a workflow.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Which one.
    path: String,
}

impl Command<Sys> for Delete {
    const ROUTE: Route = Route::delete("workflows/manage/{path:lower+}").logged();
    type Reply = Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let ns = Ns::of(cx);
        WORKFLOWS.of(ns).delete(cx.beyond(&Beyond::for_the_kernel()), Name::Path(&self.path))?;
        Ok(Reply::Nothing)
    }
}

/// Runs a workflow: its requests are made one after the other, by the caller's token.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Execute {
    /// Which one.
    path: String,
    /// What it asks for.
    #[serde(rename = "*")]
    input: Map<String, Value>,
}

impl Query<Sys> for Execute {
    const ROUTE: Route = Route::post("workflows/execute/{path:lower+}");
    type Reply = Nothing;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        let stored = find(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), &self.path)?;
        begin(cx, self.path, stored, self.input, Show::Output)
    }
}

/// Runs a workflow, and shows all that it asked and was answered.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Trace {
    /// Which one.
    path: String,
    /// What it asks for.
    #[serde(rename = "*")]
    input: Map<String, Value>,
}

impl Query<Sys> for Trace {
    const ROUTE: Route = Route::post("workflows/trace/{path:lower+}");
    type Reply = Nothing;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        let stored = find(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), &self.path)?;
        begin(cx, self.path, stored, self.input, Show::Trace)
    }
}

/// Runs a workflow for a stranger, where the server's configuration and the workflow allow it.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ExecuteOpenly {
    /// Which one.
    path: String,
    /// What it asks for.
    #[serde(rename = "*")]
    input: Map<String, Value>,
}

impl Query<Sys> for ExecuteOpenly {
    const ROUTE: Route = Route::post("workflows/unauthed-execute/{path:lower+}").unauthenticated();
    type Reply = Nothing;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        // Where strangers may run none, they are told what they would be told anywhere.
        let allowed = engine.kernel()?.env.settings.allow_unauthenticated_workflows;
        let stored = find(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), &self.path)?;
        let stored = stored.filter(|stored| allowed && stored.allow_unauthenticated);
        let stored = stored.ok_or_else(Error::denied)?;
        let play = prepared(self.path, &stored, self.input, Show::Output)?;
        attach(cx, Play { open: true, ..play })
    }
}

fn begin(
    cx: &Reading<'_>,
    path: String,
    stored: Option<Stored>,
    input: Map<String, Value>,
    show: Show,
) -> Result<Reply<Nothing>> {
    let missing = || Error::new(Fault::NotFound, "workflow does not exist").wrapped();
    attach(cx, prepared(path, &stored.ok_or_else(missing)?, input, show)?)
}

fn prepared(path: String, stored: &Stored, input: Map<String, Value>, show: Show) -> Result<Play> {
    let unreadable = |why| Error::server(format!("failed to parse workflow: {why}"));
    let workflow = Workflow::parse(&stored.workflow).map_err(unreadable)?;
    let failed = |why| Error::invalid(format!("failed building profile engine: {why}")).wrapped();
    let fields = workflow.input.as_deref();
    let input = fields.map(|fields| Input::settle(fields, input)).transpose().map_err(failed)?;
    Ok(Play { path, workflow, input, open: false, show })
}

/// Hands a workflow to the kernel, which runs it once the request has been judged and written down.
fn attach(cx: &Reading<'_>, play: Play) -> Result<Reply<Nothing>> {
    cx.notes().attach(&Beyond::for_the_kernel(), Box::new(Attached::Play(Box::new(play))));
    Ok(Reply::Nothing)
}
