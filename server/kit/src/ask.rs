use std::any::Any;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::{Reads, Recording, Writing};
use crate::error::{Error, Result};
use crate::fields::Fields;
use crate::login::{AuthMethod, Claim, LoginCall, LoginPoint};
use crate::operation::{Call, Endpoint, Engine, tell_beside};
use crate::reply::{Body, Reply};
use crate::route::Route;
use crate::shape::Shape;
use crate::world::{Soon, World};

/// Needs an answer from outside before it can decide: a directory, an issuer's keys, a review of a token. It stores
/// nothing before it has one. What it read to know whom to ask is held until it has decided: if that changed
/// meanwhile, it asks again.
pub trait Ask<E: Engine>: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Where it answers.
    const ROUTE: Route;
    /// What there is to know before asking: whom, and with what credentials.
    type Facts: Send + Sync + 'static;
    /// What was heard.
    type Heard: Send + Sync + 'static;
    /// What stands in `data`.
    type Reply: Serialize + JsonSchema;
    /// Whom it waits for. Those who wait for people leave those alone who wait for systems.
    fn awaits(_: &Self::Facts) -> Awaited {
        Awaited::Systems
    }

    /// Finds out what to ask.
    ///
    /// # Errors
    /// Those the caller is to see. Then nobody is asked.
    fn facts(&self, engine: &E, cx: &Recording<'_>) -> Result<Self::Facts>;

    /// Asks. Bounded in time by the kernel.
    ///
    /// # Errors
    /// Those the caller is to see: [`Fault::Upstream`](crate::Fault::Upstream) if there was no answer.
    fn ask(&self, facts: &Self::Facts, world: &dyn World)
    -> impl Future<Output = Result<Self::Heard>> + Send;

    /// Decides. After a conflict it is run again, with the same answer.
    ///
    /// # Errors
    /// Those the caller is to see. Nothing that was written so far is kept.
    fn run(self, engine: &E, heard: &Self::Heard, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>>;
}

/// A login that has to ask outside. Like a [`Login`](crate::Login), it ends in a claim.
pub trait AskLogin<M: AuthMethod>: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Where it answers. It wants no token.
    const ROUTE: Route;
    /// What there is to know before asking.
    type Facts: Send + Sync + 'static;
    /// What was heard.
    type Heard: Send + Sync + 'static;

    /// Whom this claims to be, for the counter of failed logins.
    fn who(&self) -> String;

    /// Finds out what to ask.
    ///
    /// # Errors
    /// Those the caller is to see. Then nobody is asked.
    fn facts(&self, method: &M, cx: &Recording<'_>) -> Result<Self::Facts>;

    /// Asks. Bounded in time by the kernel.
    ///
    /// # Errors
    /// [`Error::credentials`] if the outside refuses the proof.
    fn ask(&self, facts: &Self::Facts, world: &dyn World)
    -> impl Future<Output = Result<Self::Heard>> + Send;

    /// Looks at the proof, and at what was heard.
    ///
    /// # Errors
    /// [`Error::credentials`] if it is wrong.
    fn run(self, method: &M, heard: &Self::Heard, cx: &mut Writing<'_>) -> Result<Claim>;
}

/// What was heard from outside, its type forgotten.
#[derive(Clone)]
pub struct Heard(Arc<dyn Any + Send + Sync>);

/// Whom a question is put to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Awaited {
    /// A system, which answers as fast as it can.
    Systems,
    /// Somebody who is to look at their phone.
    People,
    /// Nobody: this time there is nothing to ask.
    Nobody,
}

/// A question that is ready to be asked.
pub struct Asking {
    question: Box<Question>,
    awaits: Awaited,
}

type Question = dyn FnOnce(Arc<dyn World>) -> Soon<'static, Result<Heard>> + Send;

impl Heard {
    pub(crate) fn new<T: Send + Sync + 'static>(value: T) -> Self {
        Self(Arc::new(value))
    }

    pub(crate) fn value<T: 'static>(&self) -> Result<&T> {
        self.0.downcast_ref().ok_or_else(|| Error::internal("what was heard is of another type"))
    }
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heard(..)")
    }
}

impl Asking {
    /// Asks.
    pub fn ask(self, world: Arc<dyn World>) -> Soon<'static, Result<Heard>> {
        (self.question)(world)
    }

    /// Whom it is put to.
    pub fn awaits(&self) -> Awaited {
        self.awaits
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asking(..)")
    }
}

/// A line for an [`Ask`].
pub const fn ask<E: Engine, O: Ask<E>>() -> Endpoint<E> {
    fn facts<E: Engine, O: Ask<E>>(engine: &E, cx: &Recording<'_>, fields: &Fields<'_>) -> Result<Asking> {
        let (operation, _) = fields.parse::<O>()?;
        let facts = operation.facts(engine, cx)?;
        let awaits = O::awaits(&facts);
        let question: Box<Question> = Box::new(move |world| {
            Box::pin(async move { operation.ask(&facts, &*world).await.map(Heard::new) })
        });
        Ok(Asking { question, awaits })
    }
    fn run<E: Engine, O: Ask<E>>(
        engine: &E,
        cx: &mut Writing<'_>,
        fields: &Fields<'_>,
        heard: &Heard,
    ) -> Result<Body> {
        let (operation, ignored) = fields.parse::<O>()?;
        let reply = operation.run(engine, heard.value()?, cx)?.into_body(O::ROUTE.keys)?;
        tell_beside(&reply, ignored, cx.notes());
        Ok(reply)
    }
    Endpoint {
        route: O::ROUTE,
        fields: Shape::of::<O>(),
        reply: Shape::of::<O::Reply>(),
        exists: None,
        call: Call::Ask { facts: facts::<E, O>, run: run::<E, O> },
    }
}

/// A line for an [`AskLogin`].
pub const fn ask_login<M: AuthMethod, L: AskLogin<M>>() -> LoginPoint<M> {
    fn facts<M: AuthMethod, L: AskLogin<M>>(
        method: &M,
        cx: &Recording<'_>,
        fields: &Fields<'_>,
    ) -> Result<Asking> {
        let (login, _) = fields.parse::<L>()?;
        let facts = login.facts(method, cx)?;
        let question: Box<Question> =
            Box::new(move |world| Box::pin(async move { login.ask(&facts, &*world).await.map(Heard::new) }));
        Ok(Asking { question, awaits: Awaited::Systems })
    }
    fn run<M: AuthMethod, L: AskLogin<M>>(
        method: &M,
        cx: &mut Writing<'_>,
        fields: &Fields<'_>,
        heard: &Heard,
    ) -> Result<Claim> {
        let (login, ignored) = fields.parse::<L>()?;
        let claim = login.run(method, heard.value()?, cx)?;
        crate::operation::tell(ignored, cx.notes());
        Ok(claim)
    }
    fn who<M: AuthMethod, L: AskLogin<M>>(fields: &Fields<'_>) -> Result<String> {
        Ok(fields.parse::<L>()?.0.who())
    }
    LoginPoint {
        route: L::ROUTE.unauthenticated(),
        fields: Shape::of::<L>(),
        who: who::<M, L>,
        call: LoginCall::Ask { facts: facts::<M, L>, run: run::<M, L> },
    }
}
