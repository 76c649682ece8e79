use std::ops::Range;

use schemars::Schema;
use serde_json::Value as Json;

use crate::ask::{Asking, Heard};
use crate::context::{Reading, Recording, Writing};
use crate::effect::Steps;
use crate::error::{Error, Result};
use crate::fields::Fields;
use crate::operation::{Call, Engine, Gauge};
use crate::reply::Body;
use crate::route::{Called, Captures, Match, Route, Verb};
use crate::time::Time;
use crate::world::{Soon, World};

/// An engine as the kernel holds it: its type forgotten, its table kept.
pub trait AnyEngine: Send + Sync {
    /// The type by which it is mounted.
    fn name(&self) -> &'static str;

    /// What it is for.
    fn about(&self) -> &'static str;

    /// Everything this engine can be asked, with the schemas of question and answer.
    fn catalog(&self) -> Vec<Listed>;

    /// What monitoring is shown of a mount.
    ///
    /// # Errors
    /// If the store does not answer.
    fn gauges(&self, cx: &Reading<'_>) -> Result<Vec<Gauge>>;

    /// The operation that answers a verb at a path below the mount.
    fn find<'a>(&self, verb: Verb, path: &'a str) -> Found<'a>;

    /// The internal operation of this name.
    fn find_internal(&self, name: &str) -> Option<usize>;

    /// Where the operation at this place of the table answers.
    fn route(&self, endpoint: usize) -> Option<Route>;

    /// What the operation at this place of the table is.
    fn kind(&self, endpoint: usize) -> Option<Kind>;

    /// Whether what an operation writes to is there; `None` if that makes no difference to it.
    ///
    /// # Errors
    /// If the store does not answer.
    fn exists(&self, endpoint: usize, path: &Captures<'_>, cx: &Reading<'_>) -> Result<Option<bool>>;

    /// How the engine calls what a path names in a route with `:called`.
    ///
    /// # Errors
    /// If the store does not answer.
    fn called(&self, name: &str, cx: &Reading<'_>) -> Result<Called>;

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

    /// What an ask wants to hear from outside.
    ///
    /// # Errors
    /// Those of the operation.
    fn facts(&self, endpoint: usize, cx: &Recording<'_>, fields: &Fields<'_>) -> Result<Asking>;

    /// Runs an ask that has its answer.
    ///
    /// # Errors
    /// Those of the operation.
    fn decide(
        &self,
        endpoint: usize,
        cx: &mut Writing<'_>,
        fields: &Fields<'_>,
        heard: &Heard,
    ) -> Result<Body>;

    /// What an effect is going to do.
    ///
    /// # Errors
    /// Those of the operation.
    fn plan(&self, endpoint: usize, cx: &mut Writing<'_>, fields: &Fields<'_>) -> Result<Json>;

    /// Does what an effect has planned.
    fn act<'a>(&'a self, endpoint: usize, plan: &'a Json, world: &'a dyn World) -> Soon<'a, Result<Heard>>;

    /// Lets what an effect did last longer.
    fn extend<'a>(
        &'a self,
        endpoint: usize,
        plan: &'a Json,
        until: Time,
        world: &'a dyn World,
    ) -> Soon<'a, Result<()>>;

    /// Undoes what an effect did, or began, or only planned.
    fn undo<'a>(&'a self, endpoint: usize, plan: &'a Json, world: &'a dyn World) -> Soon<'a, Result<()>>;

    /// Writes down what an effect did.
    ///
    /// # Errors
    /// Those of the operation.
    fn record(&self, endpoint: usize, plan: &Json, done: &Heard, cx: &mut Writing<'_>) -> Result<Body>;

    /// The effect that answers at this pattern, whatever the verb.
    fn find_effect(&self, pattern: &str) -> Option<usize>;
}

/// What answers a verb at a path.
pub enum Found<'a> {
    /// An operation.
    Here {
        /// Its place in the table.
        endpoint: usize,
        /// Its route.
        route: &'static Route,
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
    /// Asks outside, then decides.
    Ask,
    /// Changes the world outside.
    Effect,
    /// Lets someone in.
    Login,
}

/// One operation as documents and tests see it.
pub struct Listed {
    /// Where it answers.
    pub route: Route,
    /// What it is.
    pub kind: Kind,
    /// Whether it is judged as `create` where there is nothing yet.
    pub creates: bool,
    /// What it takes.
    pub fields: Schema,
    /// What it gives.
    pub reply: Option<Schema>,
}

impl Listed {
    pub(crate) fn login(route: Route, fields: Schema) -> Self {
        Self { route, kind: Kind::Login, creates: false, fields, reply: None }
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
            fields: point.fields.schema(),
            reply: Some(point.reply.schema()),
            creates: point.exists.is_some(),
        });
        listed.collect()
    }

    fn gauges(&self, cx: &Reading<'_>) -> Result<Vec<Gauge>> {
        Engine::gauges(self, cx)
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
                    return Found::Here { endpoint, route: &point.route, kind: point.call.kind(), captures };
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

    fn kind(&self, endpoint: usize) -> Option<Kind> {
        E::ENDPOINTS.get(endpoint).map(|point| point.call.kind())
    }

    fn exists(&self, endpoint: usize, path: &Captures<'_>, cx: &Reading<'_>) -> Result<Option<bool>> {
        let exists = E::ENDPOINTS.get(endpoint).and_then(|point| point.exists);
        exists.map_or(Ok(None), |exists| exists(self, path, cx))
    }

    fn called(&self, name: &str, cx: &Reading<'_>) -> Result<Called> {
        Engine::called(self, name, cx)
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

    fn facts(&self, endpoint: usize, cx: &Recording<'_>, fields: &Fields<'_>) -> Result<Asking> {
        match E::ENDPOINTS.get(endpoint).map(|point| &point.call) {
            Some(Call::Ask { facts, .. }) => facts(self, cx, fields),
            _ => Err(Error::internal("the kernel took this operation for an ask")),
        }
    }

    fn decide(
        &self,
        endpoint: usize,
        cx: &mut Writing<'_>,
        fields: &Fields<'_>,
        heard: &Heard,
    ) -> Result<Body> {
        match E::ENDPOINTS.get(endpoint).map(|point| &point.call) {
            Some(Call::Ask { run, .. }) => run(self, cx, fields, heard),
            _ => Err(Error::internal("the kernel took this operation for an ask")),
        }
    }

    fn plan(&self, endpoint: usize, cx: &mut Writing<'_>, fields: &Fields<'_>) -> Result<Json> {
        (steps::<E>(endpoint)?.plan)(self, cx, fields)
    }

    fn act<'a>(&'a self, endpoint: usize, plan: &'a Json, world: &'a dyn World) -> Soon<'a, Result<Heard>> {
        match steps::<E>(endpoint) {
            Ok(steps) => (steps.act)(self, plan, world),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn extend<'a>(
        &'a self,
        endpoint: usize,
        plan: &'a Json,
        until: Time,
        world: &'a dyn World,
    ) -> Soon<'a, Result<()>> {
        match steps::<E>(endpoint) {
            Ok(steps) => (steps.renew)(self, plan, until, world),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn undo<'a>(&'a self, endpoint: usize, plan: &'a Json, world: &'a dyn World) -> Soon<'a, Result<()>> {
        match steps::<E>(endpoint) {
            Ok(steps) => (steps.undo)(self, plan, world),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn record(&self, endpoint: usize, plan: &Json, done: &Heard, cx: &mut Writing<'_>) -> Result<Body> {
        (steps::<E>(endpoint)?.record)(self, plan, done, cx)
    }

    fn find_effect(&self, pattern: &str) -> Option<usize> {
        let effect = |point: &crate::operation::Endpoint<E>| matches!(point.call, Call::Effect(_));
        E::ENDPOINTS.iter().position(|point| effect(point) && point.route.pattern == pattern)
    }
}

fn steps<E: Engine>(endpoint: usize) -> Result<&'static Steps<E>> {
    match E::ENDPOINTS.get(endpoint).map(|point| &point.call) {
        Some(Call::Effect(steps)) => Ok(steps),
        _ => Err(Error::internal("the kernel took this operation for an effect")),
    }
}

impl<E: Engine> Call<E> {
    fn kind(&self) -> Kind {
        match self {
            Self::Query(_) => Kind::Query,
            Self::Command(_) => Kind::Command,
            Self::Ask { .. } => Kind::Ask,
            Self::Effect(_) => Kind::Effect,
        }
    }
}
