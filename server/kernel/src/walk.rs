use std::borrow::Cow;
use std::sync::Arc;

use kit::{
    Beyond, Body, Caller, Captures, Due, Error, Fault, Fields, Found, Grant, Kept, Kind, Once, Reading,
};
use kit::{Remote, Result, Right, Route, Shown, Time, TokenKind, Verb, Writing};
use policy::{Acl, Capability, Parameters, Path, Permit, Question, Unreadable};
use serde_json::{Map, Value};
use storage::{Snapshot, Txn};

use crate::audit::{self, Audited, Record, Response};
use crate::envelope::{LeaseShown, Outcome, said};
use crate::finish::Pending;
use crate::kernel::Kernel;
use crate::mounts::{Class, Mounted, Router};
use crate::request::{Answer, Request};
use crate::tokens::{Known, Uses};
use crate::wrapping::Wrapping;
use crate::{agenda, help, ids, leases, tokens};

/// What a request came to. A query is done once a device has its line; a command waits to be durable.
pub enum Handled {
    /// Here is the answer.
    Done(Audited<Answer>),
    /// [`Kernel::finish`] goes on from here.
    Later(Pending),
}

/// What is found out about a request on its way. A conflict sends it back to the start, and this along.
pub(crate) struct Trip {
    pub(crate) id: String,
    pub(crate) now: Time,
    pub(crate) remote: Remote,
    /// The path with the names in lower case that the route wants so.
    path: Option<Path>,
    /// The question stands in the audit log: once for a request, not for each attempt.
    asked: bool,
    /// A use of the token has been spent, and whether it was the last.
    pub(crate) spent: bool,
    pub(crate) last_use: bool,
    /// It is in the pool for costly work.
    pub(crate) pooled: bool,
    pub(crate) once: Once,
    pub(crate) known: Option<Arc<Kept<Known>>>,
    pub(crate) mounted: Option<Arc<Mounted>>,
    operation: &'static str,
    granting: Vec<Arc<str>>,
}

/// How far a request may go before it must wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum May {
    /// It may look.
    Look,
    /// It may gather writes and do costly work.
    Write,
}

/// Where a request has come to.
pub(crate) enum Step {
    /// It is answered.
    Answer(Box<Outcome>),
    /// It has to wait for something.
    Wait,
    /// It wants to do costly work.
    Pool,
    /// A use of its token is to be spent first.
    Spend(Txn),
    /// It is answered once this is durable.
    Commit(Txn, Box<Outcome>),
}

/// Everything that one attempt stands on: one moment of the store.
pub(crate) struct Ground<'a> {
    pub(crate) request: &'a Request,
    pub(crate) today: &'a Snapshot,
    pub(crate) router: &'a Kept<Router>,
    pub(crate) may: May,
}

impl Kernel {
    /// The whole way of a request. Never waits.
    pub fn handle(&self, request: &Request) -> Handled {
        self.metrics.begin();
        let mut trip = Trip::new(self, request);
        match self.step(request, &mut trip, May::Look) {
            Ok(Step::Answer(outcome)) => Handled::Done(self.conclude(request, &mut trip, Ok(*outcome)).0),
            Err(error) => Handled::Done(self.conclude(request, &mut trip, Err(error)).0),
            Ok(Step::Pool) => {
                trip.pooled = true;
                Handled::Later(Pending::new(trip))
            }
            Ok(_) => Handled::Later(Pending::new(trip)),
        }
    }

    /// One attempt, on the latest moment of the store.
    pub(crate) fn step(&self, request: &Request, trip: &mut Trip, may: May) -> Result<Step> {
        let today = self.store.snapshot();
        let router = self.router(&today)?;
        trip.now = self.now();
        let ground = Ground { request, today: &today, router: &router, may };
        if !request.namespace.is_empty() {
            return Err(Error::new(Fault::NotFound, "namespace not found"));
        }
        loop {
            let lowered = trip.path.clone();
            match self.route(&ground, trip, lowered.as_ref().unwrap_or(&request.path))? {
                Routed::Step(step) => return Ok(step),
                Routed::Lower(path) => trip.path = Some(path),
            }
        }
    }

    fn route(&self, ground: &Ground<'_>, trip: &mut Trip, path: &Path) -> Result<Routed> {
        let verb = ground.request.verb;
        let itself = || ground.router.value().at(&format!("{}/", path.as_str()));
        let nearest = ground.router.value().nearest(path.as_str());
        // `path-help secret` asks about the mount, whose path ends in a slash.
        let nearest =
            nearest.or_else(|| itself().filter(|_| ground.request.help).map(|mounted| (mounted, "")));
        trip.mounted = nearest.map(|(mounted, _)| Arc::clone(mounted));
        let Some((mounted, rest)) = nearest else {
            if let Nothing::Step(step) = self.judge_nothing(ground, trip, path)? {
                return Ok(Routed::Step(step));
            }
            if itself().is_some() {
                return Err(Error::not_found());
            }
            let text = format!("no handler for route \"{}\". route entry not found.", path.as_str());
            return Err(Error::new(Fault::NotFound, text));
        };
        if let Some(method) = &mounted.method
            && let Some((point, route, fit)) = method.find_login(verb, rest)
        {
            return match fit {
                kit::Match::Lower(range) => lower(path, rest, range),
                kit::Match::Yes(captures) => {
                    self.let_in(ground, trip, path, point, route, captures).map(Routed::Step)
                }
                kit::Match::No => Err(Error::not_found()),
            };
        }
        match mounted.engine.find(verb, rest) {
            Found::Lower(range) => lower(path, rest, range),
            Found::Here { endpoint, route, kind, captures } => {
                let at = At { mounted, path, endpoint, route, kind, captures };
                self.go(ground, trip, &at).map(Routed::Step)
            }
            other => {
                // A login is open to strangers, and so is what is wrong with how they ask.
                let login = |method: &Arc<dyn kit::AnyMethod>| method.find_login(Verb::Post, rest).is_some();
                if !ground.request.help && mounted.method.as_ref().is_some_and(login) {
                    return Err(Error::new(Fault::Verb, "unsupported operation"));
                }
                let permit = match self.judge_nothing(ground, trip, path)? {
                    Nothing::Permit(permit) => permit,
                    Nothing::Step(step) => return Ok(Routed::Step(step)),
                };
                if let Some(help) = help::asked(ground.request, mounted, rest, permit) {
                    return Ok(Routed::Step(Step::Answer(Box::new(help))));
                }
                Err(match other {
                    Found::OtherVerb => Error::new(Fault::Verb, "unsupported operation").wrapped(),
                    _ => Error::new(Fault::NotFound, "unsupported path").wrapped(),
                })
            }
        }
    }

    /// Identify, judge, audit, run.
    fn go(&self, ground: &Ground<'_>, trip: &mut Trip, at: &At<'_>) -> Result<Step> {
        let fields = Fields { path: at.captures, query: &ground.request.query, body: &ground.request.body };
        if !trip.spent && !ground.request.help {
            crate::sys::verify_wrapping(self, ground.today, ground.request, &fields, trip.now)?;
        }
        let open = at.route.open || self.opened(ground.request, at);
        if open && !ground.request.help {
            trip.known = self.identify(ground, trip).ok();
            self.ask(ground, trip)?;
            return self.run(ground, trip, at, &Right::Open, &fields);
        }
        let known = self.identify(ground, trip)?;
        trip.known = Some(Arc::clone(&known));
        if let Some(step) = self.spend(ground, trip, &known)? {
            return Ok(step);
        }
        if ground.request.help {
            let permit = self.rules(ground, trip, &known)?.permit_help();
            self.ask(ground, trip)?;
            let rest = at.path.as_str().strip_prefix(&at.mounted.entry.path).unwrap_or_default();
            let help = help::asked(ground.request, at.mounted, rest, permit);
            return Ok(Step::Answer(Box::new(help.unwrap_or_else(|| Outcome::new(Body::Empty)))));
        }
        let permit = self.judge(ground, trip, at, &known, &fields)?;
        crate::sys::check_wrapping_wish(ground.request)?;
        trip.granting = permit.granting_policies().map(|granted| Arc::clone(&granted.policy)).collect();
        self.ask(ground, trip)?;
        let limited = limit(&permit, &ground.request.query, at.route);
        let fields = Fields { query: limited.as_deref().unwrap_or(fields.query), ..fields };
        let step = self.run(ground, trip, at, &Right::Judged(&permit), &fields)?;
        Ok(match (step, permit.list_scan_response_keys_filter_path()) {
            (Step::Answer(outcome), Some(filter)) => {
                let acl = self.rules(ground, trip, &known)?;
                Step::Answer(Box::new(crate::sys::filter_keys(*outcome, filter, &acl, at.path, trip.now)?))
            }
            (step, _) => step,
        })
    }

    /// Whether the operator has opened what otherwise wants a token.
    fn opened(&self, request: &Request, at: &At<'_>) -> bool {
        self.env.settings.open_metrics && request.token.is_none() && at.path.as_str() == crate::sys::METRICS
    }

    fn identify(&self, ground: &Ground<'_>, trip: &Trip) -> Result<Arc<Kept<Known>>> {
        let token = ground.request.token.as_ref().ok_or_else(Error::denied)?;
        let uses = if trip.spent { Uses::Spent } else { Uses::Left };
        self.tokens.identify(token.expose(), &self.store, ground.today, trip.now, &trip.remote, uses)
    }

    /// The rules that a token carries.
    fn rules(&self, ground: &Ground<'_>, trip: &Trip, known: &Kept<Known>) -> Result<Arc<Acl>> {
        self.tokens.acl(known.value(), ground.today, trip.now)
    }

    /// A token with a number of uses spends one before anything else, so that a failing request spends it too.
    fn spend(&self, ground: &Ground<'_>, trip: &Trip, known: &Kept<Known>) -> Result<Option<Step>> {
        if trip.spent || known.value().record.uses_left.is_none() {
            return Ok(None);
        }
        if ground.may == May::Look {
            return Ok(Some(Step::Wait));
        }
        let mut txn = Txn::on(ground.today.clone());
        tokens::spend(&mut txn, known.value().hash)?;
        Ok(Some(Step::Spend(txn)))
    }

    /// Where nothing answers, a stranger is told what they would be told anywhere.
    fn judge_nothing(&self, ground: &Ground<'_>, trip: &mut Trip, path: &Path) -> Result<Nothing> {
        let known = self.identify(ground, trip)?;
        trip.known = Some(Arc::clone(&known));
        if let Some(step) = self.spend(ground, trip, &known)? {
            return Ok(Nothing::Step(step));
        }
        let acl = self.rules(ground, trip, &known)?;
        if ground.request.help {
            return Ok(Nothing::Permit(acl.permit_help()));
        }
        let fields =
            Fields { path: Captures::default(), query: &ground.request.query, body: &ground.request.body };
        let question = Question {
            path,
            capability: ground.request.verb.capability(),
            needs_sudo: false,
            parameters: &Lazy(&fields),
            wrap_ttl: ground.request.wrap_ttl,
            now: trip.now.0,
        };
        acl.permit(&question).map(Nothing::Permit).map_err(|_| Error::denied().wrapped())
    }

    fn judge(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        at: &At<'_>,
        known: &Kept<Known>,
        fields: &Fields<'_>,
    ) -> Result<Permit> {
        let mut capability = ground.request.verb.capability();
        if ground.request.verb == Verb::Post && at.kind == Kind::Command {
            let (caller, remote) = (&known.value().caller, &trip.remote);
            let cx = Reading::new(&Right::Open, ground.today, &at.mounted.info, caller, remote, trip.now);
            if at.mounted.engine.exists(at.endpoint, &at.captures, &cx)? == Some(false) {
                capability = Capability::Create;
                trip.operation = "create";
            }
        }
        let question = Question {
            path: at.path,
            capability,
            needs_sudo: at.route.sudo,
            parameters: &Lazy(fields),
            wrap_ttl: ground.request.wrap_ttl,
            now: trip.now.0,
        };
        let mut acl = self.rules(ground, trip, known)?;
        if acl.reads_clock() {
            acl = Arc::new(tokens::compile_caller(ground.today, &known.value().caller, trip.now)?);
        }
        acl.permit(&question).map_err(|denied| {
            tracing::debug!(path = at.path.as_str(), reason = denied.reason(), "denied");
            Error::denied().wrapped()
        })
    }

    /// Runs the operation: on the snapshot if it looks, in a transaction if it changes anything.
    fn run(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        at: &At<'_>,
        right: &Right<'_>,
        fields: &Fields<'_>,
    ) -> Result<Step> {
        let writes = at.kind == Kind::Command && !at.route.looks_first;
        if ground.may == May::Look && (writes || at.route.heavy) {
            return Ok(Step::Wait);
        }
        if at.route.heavy && !trip.pooled {
            return Ok(Step::Pool);
        }
        if at.mounted.entry.class == Class::System {
            let token = ground.request.token.as_ref();
            trip.remote.token =
                token.map(|token| Shown::new(&Beyond::for_the_kernel(), token)).unwrap_or_default();
        }
        let known = trip.known.clone();
        let nobody = Caller { kind: TokenKind::None, ..Caller::default() };
        let caller = known.as_ref().map_or(&nobody, |known| &known.value().caller);
        if at.kind == Kind::Query {
            let cx = Reading::new(right, ground.today, &at.mounted.info, caller, &trip.remote, trip.now);
            let body = at.mounted.engine.query(at.endpoint, &cx, fields)?;
            let outcome = said(body, &cx.into_notes(), at.route.merged);
            if ground.request.wrap_ttl.is_none() {
                return Ok(Step::Answer(Box::new(outcome)));
            }
            if ground.may == May::Look {
                return Ok(Step::Wait);
            }
            let mut txn = self.transaction(ground, known.as_deref());
            let outcome = self.wrap(ground, trip, &mut txn, outcome)?;
            return Ok(Step::Commit(txn, Box::new(outcome)));
        }
        let mut txn = self.transaction(ground, known.as_deref());
        let random = &*self.env.random;
        let (info, now) = (&at.mounted.info, trip.now);
        trip.once.pooled = trip.pooled;
        let mut cx = Writing::new(right, &mut txn, info, caller, &trip.remote, now, random, &mut trip.once);
        let body = match at.mounted.engine.command(at.endpoint, &mut cx, fields) {
            Err(error) if error.fault() == Fault::Costly && !trip.pooled => return Ok(Step::Pool),
            result => result?,
        };
        let (due, grant, notes) = cx.finish();
        let outcome = said(body, &notes, at.route.merged);
        if ground.may == May::Look {
            let looked = txn.is_empty() && due.is_empty() && grant.is_none();
            return Ok(match looked && ground.request.wrap_ttl.is_none() {
                true => Step::Answer(Box::new(outcome)),
                false => Step::Wait,
            });
        }
        let outcome = self.promise(&mut txn, trip, at, due, grant, outcome)?;
        let outcome = self.wrap(ground, trip, &mut txn, outcome)?;
        Ok(Step::Commit(txn, Box::new(outcome)))
    }

    /// A transaction that stands on all that the request was judged by.
    pub(crate) fn transaction(&self, ground: &Ground<'_>, known: Option<&Kept<Known>>) -> Txn {
        let mut txn = Txn::on(ground.today.clone());
        txn.join(ground.router.reads());
        if let Some(known) = known {
            txn.join(known.reads());
        }
        txn
    }

    /// Writes down what is to happen later, and makes a lease of what was granted.
    fn promise(
        &self,
        txn: &mut Txn,
        trip: &Trip,
        at: &At<'_>,
        due: Vec<Due>,
        grant: Option<Grant>,
        mut outcome: Outcome,
    ) -> Result<Outcome> {
        self.enter_due(txn, &at.mounted.info, due)?;
        let Some(grant) = grant else { return Ok(outcome) };
        if trip.last_use {
            let text = "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.";
            return Err(Error::invalid(text));
        }
        let holder = trip.known.as_ref().map(|known| known.value());
        let grant = match holder.filter(|known| known.record.batch) {
            // Nobody revokes a batch token's leases when it ends: they end with it by their own dates.
            Some(known) => leases::within(grant, known.record.left(trip.now))?,
            None => grant,
        };
        let holder =
            holder.and_then(|known| if known.record.batch { known.record.parent } else { Some(known.hash) });
        let path = at.path.as_str();
        let (id, thing, warnings) =
            leases::enter(txn, &*self.env.random, path, &at.mounted.info, holder, grant, trip.now)?;
        outcome.lease =
            LeaseShown { id, renewable: thing.renewable, seconds: trip.now.until(thing.expires).as_secs() };
        outcome.warnings.extend(warnings);
        Ok(outcome)
    }

    pub(crate) fn enter_due(&self, txn: &mut Txn, mount: &kit::Mount, due: Vec<Due>) -> Result<()> {
        for due in due {
            let mut tag = [0; 16];
            self.env.random.fill(&mut tag);
            let item = agenda::Item::Operation { mount: ids::uuid(mount.id.0), due, attempts: 0 };
            let agenda::Item::Operation { due, .. } = &item else { continue };
            agenda::enter(txn, due.at, tag, &item)?;
        }
        Ok(())
    }

    /// Puts the answer under a wrapping token, if the caller wants that and there is something to wrap.
    pub(crate) fn wrap(
        &self,
        ground: &Ground<'_>,
        trip: &Trip,
        txn: &mut Txn,
        mut outcome: Outcome,
    ) -> Result<Outcome> {
        let Some(ttl) = ground.request.wrap_ttl.filter(|ttl| !ttl.is_zero()) else { return Ok(outcome) };
        if outcome.wrapped.is_some() || !outcome.can_be_wrapped() {
            return Ok(outcome);
        }
        let cubbyhole =
            ground.router.value().at("cubbyhole/").ok_or_else(|| Error::internal("no cubbyhole"))?;
        let wrapping = Wrapping {
            tokens: &self.tokens,
            cubbyhole: cubbyhole.info.id,
            path: ground.request.path.as_str(),
            ttl,
            now: trip.now,
            random: &*self.env.random,
        };
        outcome.wrapped = Some(wrapping.wrap(txn, &outcome)?);
        outcome.warnings.clear();
        Ok(outcome)
    }

    /// Writes the question down, once.
    pub(crate) fn ask(&self, ground: &Ground<'_>, trip: &mut Trip) -> Result<()> {
        if trip.asked {
            return Ok(());
        }
        let kept = self.audits.trail(ground.today, &self.store)?;
        self.audits.write(kept.value(), &self.record(ground.request, trip, None, None))?;
        trip.asked = true;
        Ok(())
    }

    /// Writes the answer down and hands it over. True: no device took it, so it must not count.
    pub(crate) fn conclude(
        &self,
        request: &Request,
        trip: &mut Trip,
        result: Result<Outcome>,
    ) -> (Audited<Answer>, bool) {
        if let Err(error) = &result
            && let Some(cause) = error.cause()
        {
            tracing::error!(request = trip.id, path = request.path.as_str(), cause, "a request failed");
        }
        let today = self.store.snapshot();
        let written = self.audits.trail(&today, &self.store).and_then(|kept| {
            let trail = kept.value();
            let error = result.as_ref().err().map(|error| error.texts().concat());
            if !trip.asked {
                self.audits.write(trail, &self.record(request, trip, error.as_deref(), None))?;
            }
            let response = result.as_ref().map_or_else(|_| Response::default(), Outcome::response);
            self.audits.write(trail, &self.record(request, trip, error.as_deref(), Some(response)))
        });
        match written {
            Ok(written) => {
                let answer = match result {
                    Ok(outcome) => outcome.into_answer(&trip.id),
                    Err(error) => Answer::from_error(&error),
                };
                self.metrics.end(request.verb, answer.status);
                (crate::audit::Audits::audited(written, answer), false)
            }
            Err(error) => {
                tracing::error!(request = trip.id, cause = error.cause(), "a request could not be audited");
                self.metrics.end(request.verb, 500);
                self.metrics.unaudited();
                (crate::audit::Audits::refused(Answer::from_error(&Error::internal("audit"))), true)
            }
        }
    }

    fn record<'a>(
        &self,
        request: &'a Request,
        trip: &'a Trip,
        error: Option<&'a str>,
        response: Option<Response<'a>>,
    ) -> Record<'a> {
        Record {
            now: trip.now,
            id: &trip.id,
            request,
            path: trip.path.as_ref().unwrap_or(&request.path).as_str(),
            operation: if request.help { "help" } else { trip.operation },
            mounted: trip.mounted.as_deref(),
            known: trip.known.as_ref().map(|known| known.value()),
            granting: &trip.granting,
            error,
            response,
        }
    }
}

/// An operation that a request has found.
pub(crate) struct At<'a> {
    pub(crate) mounted: &'a Arc<Mounted>,
    pub(crate) path: &'a Path,
    pub(crate) endpoint: usize,
    pub(crate) route: Route,
    pub(crate) kind: Kind,
    pub(crate) captures: Captures<'a>,
}

/// What a request comes to that has found nothing.
enum Nothing {
    /// It might have looked.
    Permit(Permit),
    /// It has to wait first.
    Step(Step),
}

enum Routed {
    Step(Step),
    /// The same request, with a name in lower case.
    Lower(Path),
}

/// Puts the bytes of `rest` in this range in lower case. They are counted from the end, for a mount lies before.
fn lower(path: &Path, rest: &str, range: std::ops::Range<usize>) -> Result<Routed> {
    let text = path.as_str();
    let start = text.len() - rest.len() + range.start;
    let (head, tail) = text.split_at_checked(start).unwrap_or((text, ""));
    let (name, tail) = tail.split_at_checked(range.len()).unwrap_or((tail, ""));
    let lowered = format!("{head}{}{tail}", name.to_lowercase());
    Path::internal(&lowered).map(Routed::Lower).map_err(|_| Error::denied())
}

/// The query with the limit that the policy sets, if it sets one.
fn limit<'a>(
    permit: &Permit,
    query: &'a [(Cow<'static, str>, Cow<'static, str>)],
    route: Route,
) -> Option<Vec<(Cow<'a, str>, Cow<'a, str>)>> {
    if !matches!(route.verb, Some(Verb::List | Verb::Scan)) {
        return None;
    }
    let limit = match permit.list_limit() {
        policy::ListLimit::Set(limit) => limit,
        policy::ListLimit::AsAsked if query.iter().any(|(name, value)| name == "limit" && value == "max") => {
            0
        }
        policy::ListLimit::AsAsked => return None,
    };
    let others = query.iter().filter(|(name, _)| name != "limit").cloned();
    Some(others.chain([("limit".into(), limit.to_string().into())]).collect())
}

/// The parameters of a request, read only if a rule wants to know them.
struct Lazy<'a>(&'a Fields<'a>);

impl Parameters for Lazy<'_> {
    fn parameters(&self) -> Result<Cow<'_, Map<String, Value>>, Unreadable> {
        self.0.as_map().map(Cow::Owned).map_err(|error| Unreadable(error.to_string()))
    }
}

impl Trip {
    fn new(kernel: &Kernel, request: &Request) -> Self {
        let id = kernel.request_ids.next();
        let remote = Remote { request_id: id.clone(), ..request.remote.clone() };
        Self {
            id,
            now: kernel.now(),
            remote,
            path: None,
            asked: false,
            spent: false,
            last_use: false,
            pooled: false,
            once: Once::default(),
            known: None,
            mounted: None,
            operation: audit::operation(request.verb),
            granting: Vec::new(),
        }
    }
}
