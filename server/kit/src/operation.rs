use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ask::{Asking, Heard};
use crate::context::{Reading, Reads, Recording, Writing};
use crate::effect::Steps;
use crate::error::Result;
use crate::fields::{Fields, Ignored, unprefixed};
use crate::notes::Notes;
use crate::reply::{Body, Reply};
use crate::route::{Called, Captures, Route};
use crate::shape::Shape;

/// A kind of secrets engine or auth method. The value is one mount's options; all state is in storage.
pub trait Engine: Send + Sync + Sized + 'static {
    /// The type by which it is mounted.
    const NAME: &'static str;
    /// What it is for, in a sentence.
    const ABOUT: &'static str;
    /// Everything it can be asked.
    const ENDPOINTS: &'static [Endpoint<Self>];

    /// Builds the engine of one mount.
    ///
    /// # Errors
    /// If the options are wrong.
    fn open(options: &Value) -> Result<Self>;

    /// How it calls what a path of its routes with `:called` names: rules judge that, so that none is walked around by
    /// another spelling.
    ///
    /// # Errors
    /// If the store does not answer.
    fn called(&self, name: &str, _: &Reading<'_>) -> Result<Called> {
        Ok(Called::InAnyCase(name.to_lowercase()))
    }

    /// What monitoring is shown of a mount. It is asked often: a few lookups are allowed, no walk through what is stored.
    ///
    /// # Errors
    /// If the store does not answer.
    fn gauges(&self, _: &Reading<'_>) -> Result<Vec<Gauge>> {
        Ok(Vec::new())
    }
}

/// Something that an engine shows to monitoring.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    /// With dots; Prometheus sees underscores.
    pub name: &'static str,
    /// What it tells, in a sentence.
    pub about: &'static str,
    /// How much it is now.
    pub value: f64,
    /// Of what. The mount is added.
    pub labels: Vec<(&'static str, String)>,
}

/// Looks, and changes nothing. Any node answers it.
pub trait Query<E: Engine>: DeserializeOwned + JsonSchema {
    /// Where it answers.
    const ROUTE: Route;
    /// What stands in `data`.
    type Reply: Serialize + JsonSchema;

    /// Answers it.
    ///
    /// # Errors
    /// Those the caller is to see.
    fn run(self, engine: &E, cx: &Reading<'_>) -> Result<Reply<Self::Reply>>;
}

/// Changes this mount, all of it or none. The leader runs it; after a conflict, again from the start.
pub trait Command<E: Engine>: DeserializeOwned + JsonSchema {
    /// Where it answers.
    const ROUTE: Route;
    /// What stands in `data`.
    type Reply: Serialize + JsonSchema;

    /// Tells whether what it writes to is there. Then it is judged as `update`, else as `create`. Nothing: always as the
    /// verb says.
    const EXISTS: Option<Exists<E>> = None;

    /// Does it.
    ///
    /// # Errors
    /// Those the caller is to see. Nothing that was written so far is kept.
    fn run(self, engine: &E, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>>;
}

/// Tells of a path whether what lies there is there; nothing, if that makes no difference to this one.
///
/// # Errors
/// If the store does not answer.
pub type Exists<E> = fn(&E, &Captures<'_>, &Reading<'_>) -> Result<Option<bool>>;

/// One line of an engine's table, its parameter and reply types forgotten.
pub struct Endpoint<E: Engine> {
    /// Where it answers.
    pub route: Route,
    /// What it takes.
    pub fields: Shape,
    /// What it gives.
    pub reply: Shape,
    pub(crate) exists: Option<Exists<E>>,
    pub(crate) call: Call<E>,
}

pub(crate) enum Call<E: Engine> {
    Query(fn(&E, &Reading<'_>, &Fields<'_>) -> Result<Body>),
    Command(fn(&E, &mut Writing<'_>, &Fields<'_>) -> Result<Body>),
    Ask {
        facts: fn(&E, &Recording<'_>, &Fields<'_>) -> Result<Asking>,
        run: fn(&E, &mut Writing<'_>, &Fields<'_>, &Heard) -> Result<Body>,
    },
    Effect(Steps<E>),
}

/// A line for a [`Query`].
pub const fn query<E: Engine, O: Query<E>>() -> Endpoint<E> {
    fn run<E: Engine, O: Query<E>>(engine: &E, cx: &Reading<'_>, fields: &Fields<'_>) -> Result<Body> {
        let (operation, ignored) = fields.parse::<O>()?;
        let reply = operation.run(engine, cx)?.into_body(O::ROUTE.keys)?;
        tell_beside(&reply, ignored, cx.notes());
        Ok(reply)
    }
    Endpoint {
        route: O::ROUTE,
        fields: Shape::of::<O>(),
        reply: Shape::of::<O::Reply>(),
        exists: None,
        call: Call::Query(run::<E, O>),
    }
}

/// A line for a [`Command`].
pub const fn command<E: Engine, O: Command<E>>() -> Endpoint<E> {
    fn run<E: Engine, O: Command<E>>(engine: &E, cx: &mut Writing<'_>, fields: &Fields<'_>) -> Result<Body> {
        let parsed = fields.parse::<O>();
        let (operation, ignored) = if O::EXISTS.is_some() { parsed.map_err(unprefixed)? } else { parsed? };
        let reply = operation.run(engine, cx)?.into_body(O::ROUTE.keys)?;
        tell_beside(&reply, ignored, cx.notes());
        Ok(reply)
    }
    Endpoint {
        route: O::ROUTE,
        fields: Shape::of::<O>(),
        reply: Shape::of::<O::Reply>(),
        exists: O::EXISTS,
        call: Call::Command(run::<E, O>),
    }
}

/// Warns of parameters that came to nothing, if there is an answer to put the warning in.
pub(crate) fn tell_beside(reply: &Body, ignored: Ignored, notes: &Notes) {
    if !matches!(reply, Body::Nothing) || notes.speak() {
        tell(ignored, notes);
    }
}

/// Warns of parameters that came to nothing.
pub(crate) fn tell(ignored: Ignored, notes: &Notes) {
    if !ignored.unknown.is_empty() {
        let names = ignored.unknown.join(" ");
        notes.warn(format!("Endpoint ignored these unrecognized parameters: [{names}]"));
    }
    if !ignored.replaced.is_empty() {
        let names = ignored.replaced.join(" ");
        notes.warn(format!(
            "Endpoint replaced the value of these parameters with the values captured from the endpoint's path: [{names}]"
        ));
    }
}
