use std::ops::Range;

use schemars::Schema;

use crate::context::{Reading, Writing};
use crate::error::{Error, Result};
use crate::fields::Fields;
use crate::operation::{Call, Engine};
use crate::reply::Body;
use crate::route::{Captures, Match, Route, Verb};

/// An engine as the kernel holds it: its type forgotten, its table kept.
pub trait AnyEngine: Send + Sync {
    /// The type by which it is mounted.
    fn name(&self) -> &'static str;

    /// What it is for.
    fn about(&self) -> &'static str;

    /// Everything this engine can be asked, with the schemas of question and answer.
    fn catalog(&self) -> Vec<Listed>;

    /// The operation that answers a verb at a path below the mount.
    fn find<'a>(&self, verb: Verb, path: &'a str) -> Found<'a>;

    /// The internal operation of this name.
    fn find_internal(&self, name: &str) -> Option<usize>;

    /// Where the operation at this place of the table answers.
    fn route(&self, endpoint: usize) -> Option<Route>;

    /// Whether what an operation writes to is there; `None` if that makes no difference to it.
    ///
    /// # Errors
    /// If the store does not answer.
    fn exists(&self, endpoint: usize, path: &Captures<'_>, cx: &Reading<'_>) -> Result<Option<bool>>;

    /// Runs a query.
    ///
    /// # Errors
    /// Those of the operation.
    fn query(&self, endpoint: usize, cx: &Reading<'_>, fields: &Fields<'_>) -> Result<Body>;

    /// Runs a command.
    ///
    /// # Errors
    /// Those of the operation.
    fn command(&self, endpoint: usize, cx: &mut Writing<'_>, fields: &Fields<'_>) -> Result<Body>;
}

/// What answers a verb at a path.
pub enum Found<'a> {
    /// An operation.
    Here {
        /// Its place in the table.
        endpoint: usize,
        /// Its route.
        route: Route,
        /// What it is.
        kind: Kind,
        /// The pieces of the path.
        captures: Captures<'a>,
    },
    /// One would, if the bytes in this range were in lower case.
    Lower(Range<usize>),
    /// Something is here, but not for this verb.
    OtherVerb,
    /// Nothing is here.
    Nowhere,
}

/// The kinds of operations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Looks.
    Query,
    /// Changes this mount.
    Command,
    /// Lets someone in.
    Login,
}

/// One operation as documents and tests see it.
pub struct Listed {
    /// Where it answers.
    pub route: Route,
    /// What it is.
    pub kind: Kind,
    /// What it takes.
    pub fields: Schema,
    /// What it gives.
    pub reply: Option<Schema>,
}

impl Listed {
    pub(crate) fn login(route: Route, fields: Schema) -> Self {
        Self { route, kind: Kind::Login, fields, reply: None }
    }
}

impl<E: Engine> AnyEngine for E {
    fn name(&self) -> &'static str {
        E::NAME
    }

    fn about(&self) -> &'static str {
        E::ABOUT
    }

    fn catalog(&self) -> Vec<Listed> {
        let listed = E::ENDPOINTS.iter().map(|point| Listed {
            route: point.route,
            kind: point.call.kind(),
            fields: (point.fields)(),
            reply: Some((point.reply)()),
        });
        listed.collect()
    }

    fn find<'a>(&self, verb: Verb, path: &'a str) -> Found<'a> {
        let mut other_verb = false;
        for (endpoint, point) in E::ENDPOINTS.iter().enumerate() {
            let Some(known) = point.route.verb else { continue };
            if known != verb && other_verb {
                continue;
            }
            match point.route.captures(path) {
                Match::No => {}
                _ if known != verb => other_verb = true,
                Match::Lower(range) => return Found::Lower(range),
                Match::Yes(captures) => {
                    return Found::Here { endpoint, route: point.route, kind: point.call.kind(), captures };
                }
            }
        }
        if other_verb { Found::OtherVerb } else { Found::Nowhere }
    }

    fn find_internal(&self, name: &str) -> Option<usize> {
        E::ENDPOINTS.iter().position(|point| point.route.verb.is_none() && point.route.pattern == name)
    }

    fn route(&self, endpoint: usize) -> Option<Route> {
        E::ENDPOINTS.get(endpoint).map(|point| point.route)
    }

    fn exists(&self, endpoint: usize, path: &Captures<'_>, cx: &Reading<'_>) -> Result<Option<bool>> {
        E::ENDPOINTS.get(endpoint).map_or(Ok(None), |point| (point.exists)(self, path, cx))
    }

    fn query(&self, endpoint: usize, cx: &Reading<'_>, fields: &Fields<'_>) -> Result<Body> {
        match E::ENDPOINTS.get(endpoint).map(|point| &point.call) {
            Some(Call::Query(run)) => run(self, cx, fields),
            _ => Err(Error::internal("the kernel took this operation for a query")),
        }
    }

    fn command(&self, endpoint: usize, cx: &mut Writing<'_>, fields: &Fields<'_>) -> Result<Body> {
        match E::ENDPOINTS.get(endpoint).map(|point| &point.call) {
            Some(Call::Command(run)) => run(self, cx, fields),
            _ => Err(Error::internal("the kernel took this operation for a command")),
        }
    }
}

impl<E: Engine> Call<E> {
    fn kind(&self) -> Kind {
        match self {
            Self::Query(_) => Kind::Query,
            Self::Command(_) => Kind::Command,
        }
    }
}
