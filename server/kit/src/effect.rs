use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::ask::Heard;
use crate::context::{Reads, Writing};
use crate::error::Result;
use crate::fields::Fields;
use crate::operation::{Call, Endpoint, Engine, tell_beside};
use crate::reply::{Body, Reply};
use crate::route::Route;
use crate::shape::Shape;
use crate::time::Time;
use crate::world::{Soon, World};

/// Changes the world outside: a database user, a cloud key. The plan is committed before anything happens there, so a
/// crash at any moment leaves a plan, and what it names is undone. `undo` must therefore succeed where `act` never began.
pub trait Effect<E: Engine>: DeserializeOwned + JsonSchema + 'static {
    /// Where it answers.
    const ROUTE: Route;
    /// Everything that is needed to do it, and to undo it.
    type Plan: Serialize + DeserializeOwned + Send + Sync;
    /// What came of it.
    type Done: Send + Sync + 'static;
    /// What stands in `data`.
    type Reply: Serialize + JsonSchema;

    /// Decides what is to be done.
    ///
    /// # Errors
    /// Those the caller is to see. Then nothing happens.
    fn plan(self, engine: &E, cx: &mut Writing<'_>) -> Result<Self::Plan>;

    /// Does it. Bounded in time by the kernel. If it fails, what it began is undone.
    ///
    /// # Errors
    /// Those the caller is to see.
    fn act(
        engine: &E,
        plan: &Self::Plan,
        world: &dyn World,
    ) -> impl Future<Output = Result<Self::Done>> + Send;

    /// Lets what was done last until then. Where nothing outside knows a date, only the date here moves.
    ///
    /// # Errors
    /// If the outside refuses; then the date stays.
    fn renew(
        _engine: &E,
        _plan: &Self::Plan,
        _until: Time,
        _world: &dyn World,
    ) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Undoes it, whether it was done, half done or never begun: after a failure, a crash, the end of its lease.
    ///
    /// # Errors
    /// If it could not be undone; it is tried again, later and later.
    fn undo(engine: &E, plan: &Self::Plan, world: &dyn World) -> impl Future<Output = Result<()>> + Send;

    /// Writes down what was done. With [`Writing::hold`](crate::Writing::hold) the plan is kept until a lease ends and then
    /// undone; without, it is forgotten.
    ///
    /// # Errors
    /// Those the caller is to see. Then what was done is undone.
    fn record(
        engine: &E,
        plan: &Self::Plan,
        done: &Self::Done,
        cx: &mut Writing<'_>,
    ) -> Result<Reply<Self::Reply>>;
}

/// The steps of an [`Effect`], its types forgotten.
pub(crate) struct Steps<E: Engine> {
    pub(crate) plan: fn(&E, &mut Writing<'_>, &Fields<'_>) -> Result<Json>,
    pub(crate) act: for<'a> fn(&'a E, &'a Json, &'a dyn World) -> Soon<'a, Result<Heard>>,
    pub(crate) renew: for<'a> fn(&'a E, &'a Json, Time, &'a dyn World) -> Soon<'a, Result<()>>,
    pub(crate) undo: for<'a> fn(&'a E, &'a Json, &'a dyn World) -> Soon<'a, Result<()>>,
    pub(crate) record: fn(&E, &Json, &Heard, &mut Writing<'_>) -> Result<Body>,
}

/// A line for an [`Effect`].
pub const fn effect<E: Engine, O: Effect<E>>() -> Endpoint<E> {
    fn plan<E: Engine, O: Effect<E>>(engine: &E, cx: &mut Writing<'_>, fields: &Fields<'_>) -> Result<Json> {
        let (operation, ignored) = fields.parse::<O>()?;
        let plan = serde_json::to_value(operation.plan(engine, cx)?)?;
        // There is an answer after `record`; what the parameters came to is known now.
        tell_beside(&Body::Empty, ignored, cx.notes());
        Ok(plan)
    }
    fn act<'a, E: Engine, O: Effect<E>>(
        engine: &'a E,
        plan: &'a Json,
        world: &'a dyn World,
    ) -> Soon<'a, Result<Heard>> {
        Box::pin(async move {
            let plan = O::Plan::deserialize(plan)?;
            O::act(engine, &plan, world).await.map(Heard::new)
        })
    }
    fn renew<'a, E: Engine, O: Effect<E>>(
        engine: &'a E,
        plan: &'a Json,
        until: Time,
        world: &'a dyn World,
    ) -> Soon<'a, Result<()>> {
        Box::pin(async move {
            let plan = O::Plan::deserialize(plan)?;
            O::renew(engine, &plan, until, world).await
        })
    }
    fn undo<'a, E: Engine, O: Effect<E>>(
        engine: &'a E,
        plan: &'a Json,
        world: &'a dyn World,
    ) -> Soon<'a, Result<()>> {
        Box::pin(async move {
            let plan = O::Plan::deserialize(plan)?;
            O::undo(engine, &plan, world).await
        })
    }
    fn record<E: Engine, O: Effect<E>>(
        engine: &E,
        plan: &Json,
        done: &Heard,
        cx: &mut Writing<'_>,
    ) -> Result<Body> {
        let plan = O::Plan::deserialize(plan)?;
        O::record(engine, &plan, done.value()?, cx)?.into_body(O::ROUTE.keys)
    }
    Endpoint {
        route: O::ROUTE,
        fields: Shape::of::<O>(),
        reply: Shape::of::<O::Reply>(),
        exists: None,
        call: Call::Effect(Steps {
            plan: plan::<E, O>,
            act: act::<E, O>,
            renew: renew::<E, O>,
            undo: undo::<E, O>,
            record: record::<E, O>,
        }),
    }
}
