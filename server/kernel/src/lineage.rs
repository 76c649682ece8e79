use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use kit::{Error, Result};

/// What made a request, if a request did: a workflow, or a server that sets itself up. It gives the request its id, by
/// which audit shows where it came from, and bounds what workflows can set off.
#[derive(Clone, Debug, Default)]
pub struct Lineage(Option<Line>);

#[derive(Clone, Debug)]
struct Line {
    id: String,
    /// How many workflows are around it.
    depth: u32,
    /// One of them was begun by a stranger.
    open: bool,
    /// How many requests may still be made on behalf of the outermost.
    left: Arc<AtomicU32>,
    /// It is the login that another request brought along.
    logs_in: bool,
}

/// A workflow calls another, and that another, no deeper than this.
const DEPTH_MAX: u32 = 5;
/// What a request sets off by workflows makes no more requests in all.
const REQUESTS_MAX: u32 = 1_000;

impl Line {
    fn first() -> Self {
        let left = Arc::new(AtomicU32::new(REQUESTS_MAX));
        Self { id: String::new(), depth: 0, open: false, left, logs_in: false }
    }
}

impl Lineage {
    /// A request that the server makes of itself, by this id.
    pub fn named(id: String) -> Self {
        Self(Some(Line { id, ..Line::first() }))
    }

    /// That of the login that a request of this id brought along.
    pub(crate) fn login(&self, id: &str) -> Self {
        let line = self.0.clone().unwrap_or_else(Line::first);
        Self(Some(Line { id: format!("{id}.inline-auth"), logs_in: true, ..line }))
    }

    /// Whether it is the login that another request brought along, and may be nothing else.
    pub(crate) fn logs_in(&self) -> bool {
        self.0.as_ref().is_some_and(|line| line.logs_in)
    }

    /// The id of the request, if it is given one.
    pub(crate) fn id(&self) -> Option<&str> {
        self.0.as_ref().map(|line| line.id.as_str())
    }

    /// Whether a workflow makes it, which hands its answer on.
    pub(crate) fn is_of_workflow(&self) -> bool {
        self.0.as_ref().is_some_and(|line| line.depth > 0)
    }

    /// That of the requests of a workflow which this request, by this id, begins.
    ///
    /// # Errors
    /// If workflows are too deep in each other, or a stranger began one that calls another.
    pub(crate) fn below(&self, id: &str, workflow: &str, open: bool) -> Result<Self> {
        let (depth, left) = match &self.0 {
            Some(line) if line.open => return Err(Error::denied().wrapped()),
            Some(line) => (line.depth, Arc::clone(&line.left)),
            None => (0, Arc::new(AtomicU32::new(REQUESTS_MAX))),
        };
        if depth == DEPTH_MAX {
            return Err(Error::invalid("too much workflow recursion").wrapped());
        }
        let kind = if open { "unauthed" } else { "authed" };
        let id = format!("{id}.{kind}.workflow.{workflow}");
        Ok(Self(Some(Line { id, depth: depth + 1, open, left, logs_in: false })))
    }

    /// That of one request of a workflow.
    ///
    /// # Errors
    /// If no more may be made.
    pub(crate) fn step(&self, name: &str) -> Result<Self> {
        let Some(line) = &self.0 else { return Ok(Self(None)) };
        let taken = line.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        let many = format!("workflows that call each other make no more than {REQUESTS_MAX} requests in all");
        taken.map_err(|_| Error::invalid(many).wrapped())?;
        Ok(Self(Some(Line { id: format!("{}.{name}", line.id), ..line.clone() })))
    }
}
