//! A workflow, request by request. Each goes the whole way that one from outside goes: judged by the rules of the token it
//! shows, counted, audited. A workflow has no rights of its own, and nothing is held while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use flow::{Asked, Chance, Group, History, Input, Step as FlowStep, Told, Within, Workflow};
use kit::loose::Span;
use kit::{Body, Error, Fault, Result, Secret, Soon, Time, Verb};
use policy::Path;
use serde_json::{Value, json};
use storage::Txn;

use crate::envelope::Outcome;
use crate::finish::costly;
use crate::kernel::Kernel;
use crate::lineage::Lineage;
use crate::place;
use crate::quotas::Meter;
use crate::request::{Answer, Request, WrapFormat};
use crate::sys::Installing;
use crate::turns::RACES_MAX;
use crate::walk::{Ground, Handled, Trip};

/// A workflow that somebody may run, and what they gave to it.
pub(crate) struct Play {
    pub(crate) path: String,
    pub(crate) workflow: Workflow,
    pub(crate) input: Option<Input>,
    /// A stranger runs it.
    pub(crate) open: bool,
    pub(crate) show: Show,
}

/// What whoever runs a workflow is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Show {
    /// What its output says.
    Output,
    /// Everything that was asked and answered.
    Trace,
}

impl fmt::Debug for Play {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was given can be a password.
        f.debug_struct("Play").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a workflow went no further.
struct Stopped {
    status: u16,
    text: String,
}

impl Stopped {
    fn wrong(text: String) -> Self {
        Self { status: 400, text }
    }

    fn before(self, place: &str) -> Self {
        Self { text: format!("{place}: {}", self.text), ..self }
    }

    /// The refusal, in the words that clients know. What a workflow asks wrongly it will ask wrongly again, so that
    /// is no fault of this server, after which clients would try again.
    fn into_error(self, play: &Play) -> Error {
        let fault = match self.status {
            403 => Fault::Denied,
            404 => Fault::NotFound,
            405 => Fault::Verb,
            412 => Fault::Precondition,
            413 => Fault::TooLarge,
            429 => Fault::Busy,
            500 => Fault::Internal,
            502 => Fault::Upstream,
            503 => Fault::Unavailable,
            _ => Fault::Invalid,
        };
        let error = Error::new(fault, self.text);
        if play.open { error } else { error.wrapped() }
    }
}

/// A workflow under way.
struct Stage<'a> {
    kernel: &'a Kernel,
    request: &'a Request,
    play: &'a Play,
    /// The token of whoever runs it.
    token: Option<Secret<String>>,
    /// The namespace that it was run in, without slashes at its ends. Its requests begin there.
    namespace: String,
    lineage: Lineage,
    deadline: Time,
    history: History,
    /// Seals whose shares stand in answers to its requests. They hold once its own answer is written down.
    installing: Vec<Arc<Installing>>,
}

impl Kernel {
    /// Runs a workflow.
    pub(crate) fn play<'a>(
        &'a self,
        request: &'a Request,
        trip: &'a mut Trip,
        play: Play,
    ) -> Soon<'a, Result<Outcome>> {
        Box::pin(async move {
            let lineage = request.lineage.below(&trip.id, &play.path, play.open)?;
            self.redeem_before(request, trip).await?;
            let namespace = trip.namespace.as_ref().map_or("", |namespace| namespace.path.trim_matches('/'));
            let mut stage = Stage {
                kernel: self,
                request,
                play: &play,
                token: trip.token(request).map(|token| Secret::new(token.expose().clone())),
                namespace: namespace.to_owned(),
                lineage,
                deadline: trip.begun.plus(self.env.settings.max_request_duration),
                history: History::default(),
                installing: Vec::new(),
            };
            let ended = stage.run().await;
            let data = match play.show {
                Show::Trace => stage.trace(ended),
                Show::Output => stage.output(ended)?,
            };
            let installing = stage.installing;
            Ok(Outcome { installing, ..self.tell(request, trip, &serde_json::to_vec(&data)?).await? })
        })
    }

    /// If this request waited for the consent of others: ends its wait before anything is done, so that it is done once.
    async fn redeem_before(&self, request: &Request, trip: &mut Trip) -> Result<()> {
        if trip.replaying.is_none() {
            return Ok(());
        }
        let busy = "too much else is being written: try again";
        self.beside(request, trip, busy, |ground, trip, txn| self.redeem(ground, trip, txn)).await
    }

    /// The answer, under a wrapping token if the caller wants that.
    async fn tell(&self, request: &Request, trip: &mut Trip, data: &[u8]) -> Result<Outcome> {
        let outcome = || Outcome::new(Body::Data(data.to_vec()));
        if request.wrap_ttl.is_none() {
            return Ok(outcome());
        }
        let busy = "the answer could not be wrapped: too much else is being written";
        self.beside(request, trip, busy, |ground, trip, txn| self.wrap(ground, trip, txn, outcome())).await
    }

    /// Commits what a workflow writes beside its requests, on the latest moment of the store.
    async fn beside<T>(
        &self,
        request: &Request,
        trip: &mut Trip,
        busy: &str,
        work: impl Fn(&Ground<'_>, &mut Trip, &mut Txn) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..RACES_MAX {
            let today = self.store.snapshot();
            let router = self.router(&today)?;
            let space = Arc::clone(place::find(self, request, &today, router.value(), trip)?);
            let ground = Ground { request, today: &today, router: &router, space: &space };
            let mut txn = Txn::on(today.clone());
            let done = work(&ground, trip, &mut txn)?;
            if self.commit(txn).await?.is_ok() {
                return Ok(done);
            }
        }
        Err(Error::new(Fault::Busy, busy))
    }
}

impl Stage<'_> {
    fn within(&self) -> Within<'_> {
        let random = Arc::clone(&self.kernel.env.random);
        Within {
            history: &self.history,
            input: self.play.input.as_ref(),
            outside: None,
            chance: Chance {
                now: self.kernel.now(),
                fill: Arc::new(move |bytes: &mut [u8]| random.fill(bytes)),
            },
        }
    }

    /// What comes of an expression: it can be work, so it has a place among those who work.
    async fn work<T>(&self, work: impl FnOnce(&Within<'_>) -> Result<T, String>) -> Result<T, Stopped> {
        let place = self.kernel.pool.place(self.request.remote.address).await;
        let _place =
            place.map_err(|error| Stopped { status: error.status(), text: error.texts().concat() })?;
        costly(|| work(&self.within())).map_err(Stopped::wrong)
    }

    async fn run(&mut self) -> Result<(), Stopped> {
        let play = self.play;
        for (index, group) in play.workflow.groups.iter().enumerate() {
            let place = format!("flow.[{} ({index})]", group.name);
            self.group(index, group).await.map_err(|stopped| stopped.before(&place))?;
        }
        Ok(())
    }

    async fn group(&mut self, number: usize, group: &Group) -> Result<(), Stopped> {
        if !self.work(|within| group.is_made(within)).await? {
            return Ok(());
        }
        for (index, step) in group.steps.iter().enumerate() {
            let place = format!("request.[{} ({index})]", step.name);
            let name = format!("flow[{number}].{}.request[{index}].{}", group.name, step.name);
            self.step(group, step, &name).await.map_err(|stopped| stopped.before(&place))?;
        }
        Ok(())
    }

    async fn step(&mut self, group: &Group, step: &FlowStep, name: &str) -> Result<(), Stopped> {
        if self.kernel.now() > self.deadline {
            return Err(Stopped { status: 503, text: "the workflow has taken too long".to_owned() });
        }
        let said = |error: Error| Stopped { status: error.status(), text: error.texts().concat() };
        let asked = self.work(|within| step.asked(within)).await;
        let asked = asked.map_err(|stopped| stopped.before("in building request"))?;
        let lineage = self.lineage.step(name).map_err(said)?;
        let id = lineage.id().unwrap_or_default().to_owned();
        self.history.note_request(&group.name, &step.name, &id, &asked).map_err(Stopped::wrong)?;
        if !asked.made {
            return Ok(());
        }
        let (may_fail, request) = (asked.may_fail, self.request(asked, lineage));
        let request = request.map_err(|why| Stopped::wrong(format!("in building request: {why}")))?;
        let answer = self.ask(&request).await;
        let told = Told::new(answer.status, &answer.body);
        match told.refusal() {
            Some(_) if may_fail => Ok(()),
            Some(text) => {
                Err(Stopped { status: told.status(), text: format!("failed to evaluate request: {text}") })
            }
            None => self.history.note_response(&group.name, &step.name, &told).map_err(Stopped::wrong),
        }
    }

    async fn ask(&mut self, request: &Request) -> Answer {
        match self.kernel.handle(request) {
            Handled::Done(answer) => answer.into_inner(),
            Handled::Later(pending) => {
                let finished: Soon<'_, _> = Box::pin(self.kernel.closed(pending, request));
                let closed = finished.await;
                self.installing.extend(closed.installing);
                closed.answer.into_inner()
            }
        }
    }

    /// The request as one from outside would be.
    fn request(&self, asked: Asked, lineage: Lineage) -> Result<Request, String> {
        let folder = matches!(asked.verb, Verb::List | Verb::Scan) && !asked.path.ends_with('/');
        let path = if folder { format!("{}/", asked.path) } else { asked.path };
        let path = Path::parse(&path).map_err(|error| format!("failed to evaluate path: {error}"))?;
        let header = |name: &str| asked.headers.get(name).and_then(|values| values.first());
        let namespace = match header("x-vault-namespace") {
            Some(below) => format!("{}/{}", self.namespace, below.trim_matches('/')),
            None => self.namespace.clone(),
        };
        let wrap_ttl = header("x-vault-wrap-ttl").map(|text| wrap_ttl(text)).transpose()?;
        let token = match asked.token {
            Some(token) => (!token.is_empty()).then(|| Secret::new(token)),
            None => self.token.as_ref().map(|token| Secret::new(token.expose().clone())),
        };
        let reserved = ["x-vault-namespace", "x-vault-wrap-ttl", "x-vault-token", "authorization"];
        let headers = asked.headers.iter().filter(|(name, _)| !reserved.contains(&name.as_str()));
        let headers =
            headers.flat_map(|(name, values)| values.iter().map(|value| (name.clone(), value.clone())));
        let body = if asked.data.is_empty() {
            Vec::new()
        } else {
            Value::Object(asked.data).to_string().into_bytes()
        };
        Ok(Request {
            verb: asked.verb,
            path,
            token,
            query: Vec::new(),
            body,
            namespace: namespace.trim_matches('/').to_owned(),
            wrap_ttl,
            wrap_format: WrapFormat::Plain,
            remote: self.request.remote.clone(),
            headers: headers.collect(),
            help: false,
            meter: Meter::default(),
            lineage,
            hidden: false,
        })
    }

    /// What the output says, once all requests are made.
    fn output(&self, ended: Result<(), Stopped>) -> Result<Value> {
        let Some(output) = &self.play.workflow.output else {
            let before = "failed to evaluate workflow";
            ended.map_err(|stopped| stopped.before(before).into_error(self.play))?;
            return Ok(Value::Null);
        };
        ended.map_err(|stopped| stopped.into_error(self.play))?;
        let data = costly(|| output.data(&self.within()));
        let data = data.map_err(|why| Stopped::wrong(why).into_error(self.play))?;
        Ok(data.map_or(Value::Null, Value::Object))
    }

    /// All that was asked and answered, and where it ended.
    fn trace(&self, ended: Result<(), Stopped>) -> Value {
        let told = match (ended, &self.play.workflow.output) {
            (Err(stopped), _) => Err(stopped.text),
            (Ok(()), None) => Ok(None),
            (Ok(()), Some(output)) => costly(|| output.data(&self.within())).map(Some),
        };
        let history = self.history.shown();
        match told {
            Err(text) => json!({ "history": history, "error": text }),
            Ok(None) => json!({ "history": history, "error": null }),
            Ok(Some(data)) => json!({ "history": history, "error": null, "response": {
                "auth": null, "data": data, "headers": {}, "redirect": "", "secret": null, "warnings": null,
                "wrap_info": null,
            } }),
        }
    }
}

fn wrap_ttl(text: &str) -> Result<Duration, String> {
    let nanos = Span::parse(text).and_then(|span| u64::try_from(span.0).ok());
    nanos
        .map(Duration::from_nanos)
        .ok_or_else(|| "x-vault-wrap-ttl is a span of time, such as 60s".to_owned())
}
