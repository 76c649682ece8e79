use std::sync::{Arc, LazyLock};

use kit::{
    Asking, Captures, Error, Fault, Fields, Found, Kept, Kind, Once, Remote, Result, Route, Secret, Time,
    Verb,
};
use policy::{Path, Permit, Question};
use storage::{ReadSet, Snapshot, Txn};
use tokio::sync::oneshot;

use crate::audit::{self, Audited};
use crate::control_group::{Replay, Replaying};
use crate::envelope::Outcome;
use crate::finish::Pending;
use crate::flights::{self, Aloft, Flight};
use crate::identity::mfa::{Proofs, Round};
use crate::judge::Lazy;
use crate::kernel::Kernel;
use crate::mounts::Mounted;
use crate::namespaces::Namespace;
use crate::outside::{Acted, Acting, Told};
use crate::play::Play;
use crate::quotas::{Allowance, Ticket};
use crate::request::{Answer, Request};
use crate::router::{Router, Space};
use crate::spelling::lowered;
use crate::spending::Spending;
use crate::tokens::Known;
use crate::{help, inline, place, wrap_key};

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
    /// When the request came in.
    pub(crate) begun: Time,
    pub(crate) remote: Remote,
    /// The path from the root namespace on, with the names in lower case that the route wants so; nothing, if that
    /// is how it was asked.
    pub(crate) path: Option<Path>,
    /// The namespace that it leads into.
    pub(crate) namespace: Option<Arc<Namespace>>,
    /// Whether the question stands in the audit log: once for a request, not for each attempt.
    pub(crate) asked: Asked,
    /// A use of the token has been spent, and whether it was the last.
    pub(crate) spent: bool,
    pub(crate) last_use: bool,
    /// It is among those that spend a use of their token.
    pub(crate) spending: Option<Spending>,
    /// Is told when the client goes away.
    pub(crate) client: Option<oneshot::Receiver<()>>,
    /// It is in the pool for costly work.
    pub(crate) pooled: bool,
    pub(crate) once: Once,
    /// The path as it was asked for, if a name in it is looked for in lower case.
    pub(crate) spelt: Option<Path>,
    pub(crate) known: Option<Arc<Kept<Known>>>,
    pub(crate) mounted: Option<Arc<Mounted>>,
    pub(crate) operation: &'static str,
    /// The log is to say that it was done.
    pub(crate) logged: bool,
    pub(crate) granting: Vec<Arc<str>>,
    /// What was heard from outside, if the operation asks.
    pub(crate) told: Option<Told>,
    /// What others said of the second factors that a login has shown.
    pub(crate) proofs: Option<Proofs>,
    /// What was done outside, if the operation does something there.
    pub(crate) acted: Option<Arc<Acted>>,
    /// What is left of the limit of requests.
    pub(crate) allowance: Option<Allowance>,
    /// The role that a login is by, if leases are counted by role.
    pub(crate) role: Option<String>,
    /// The place of the lease that it is about to make.
    pub(crate) ticket: Option<Ticket>,
    /// That of the token that its answer is to be wrapped in.
    pub(crate) wrapping: Option<Ticket>,
    /// The token that the JWT holds which was shown in its place.
    unsigned: Option<Secret<String>>,
    /// The token that the login earned which it brought along.
    pub(crate) inline: Option<Secret<String>>,
    /// That login failed.
    pub(crate) failed: Option<inline::Failed>,
    /// It waited for the consent of others, and is done now.
    pub(crate) replaying: Option<Replaying>,
    /// It is among the requests in flight.
    aloft: Option<Aloft>,
}

/// Whether the audit log has the question of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Asked {
    /// Not yet: who asks is not known.
    No,
    /// It goes there together with the answer, as there is nothing between the two but a look.
    Owed,
    /// It does.
    Yes,
}

/// Where a request has come to.
pub(crate) enum Step {
    /// It is answered.
    Answer(Box<Outcome>),
    /// It wants to do costly work.
    Pool,
    /// A use of its token is to be spent first.
    Spend(Txn),
    /// It is answered once this is durable.
    Commit(Txn, Box<Outcome>),
    /// Whoever logs in is new, and is written down first.
    Arrive(Txn),
    /// Others have to be asked about the second factors that a login has shown.
    Prove(Box<Round>),
    /// It has to ask outside, and what it knows of whom to ask stands on these reads.
    Ask(Asking, Vec<ReadSet>),
    /// Once its plan is durable it does something outside.
    Act(Txn, Box<Acting>),
    /// Its answer is that of another request, which waited and is done now.
    Replay(Box<Replay>),
    /// It makes other requests.
    Play(Box<Play>),
    /// It brought its login along, which comes first.
    LogIn(Box<Request>),
}

/// Everything that one attempt stands on: one moment of the store.
pub(crate) struct Ground<'a> {
    pub(crate) request: &'a Request,
    pub(crate) today: &'a Snapshot,
    pub(crate) router: &'a Kept<Router>,
    /// The namespace that the request leads into.
    pub(crate) space: &'a Arc<Space>,
}

impl Step {
    /// What is to become durable stands on all that the request was judged by: its way and who asks. What is not, has
    /// nothing that a commit would have to check.
    fn resting_on(mut self, ground: &Ground<'_>, trip: &Trip) -> Self {
        if let Self::Commit(txn, _) | Self::Act(txn, _) | Self::Arrive(txn) = &mut self
            && !txn.is_empty()
        {
            txn.join(ground.router.reads());
            trip.known.iter().for_each(|known| txn.join(known.reads()));
        }
        self
    }
}

impl Ground<'_> {
    /// A path of the request, as its namespace sees it.
    pub(crate) fn local<'b>(&self, path: &'b Path) -> &'b str {
        path.as_str().strip_prefix(&self.space.namespace.path).unwrap_or_default()
    }

    /// Whether the fields of `data` are repeated at the top: where a path names the namespace they never were.
    pub(crate) fn merges(&self, at: &At<'_>) -> bool {
        at.route.merged && self.request.path.as_str().starts_with(&at.mounted.entry.path)
    }
}

impl Kernel {
    /// The whole way of a request. Never waits.
    pub fn handle(&self, request: &Request) -> Handled {
        let allowance = match self.meter_whole(request) {
            Ok(allowance) => allowance,
            Err(refused) => return Handled::Done(*refused),
        };
        self.metrics.begin();
        let mut trip = Trip { allowance, ..Trip::new(self, request) };
        let result = match self.step(request, &mut trip) {
            Ok(Step::Answer(outcome)) => Ok(outcome),
            // What wrote nothing has nothing to wait for.
            Ok(Step::Commit(txn, outcome)) if txn.is_empty() && !outcome.goes_on() => Ok(outcome),
            Err(error) => Err(error),
            Ok(step) => {
                trip.aloft = Some(self.flights.begin(&trip.id, trip.flight(request)));
                return Handled::Later(Pending::new(trip, step));
            }
        };
        Handled::Done(self.conclude(request, &mut trip, result.map(|outcome| *outcome)).0)
    }

    /// One attempt, on the latest moment of the store.
    pub(crate) fn step(&self, request: &Request, trip: &mut Trip) -> Result<Step> {
        let today = self.store.snapshot();
        let router = self.router(&today)?;
        trip.now = self.now();
        // What an earlier attempt was granted says nothing of this one.
        trip.granting.clear();
        trip.operation = audit::operation(request.verb);
        if trip.inline.is_none()
            && let Some(login) = inline::login(request, &trip.id, router.value())?
        {
            return Ok(Step::LogIn(Box::new(login)));
        }
        let space = place::find(self, request, &today, router.value(), trip)?;
        let ground = Ground { request, today: &today, router: &router, space };
        loop {
            let lowered = trip.path.clone();
            match self.route(&ground, trip, lowered.as_ref().unwrap_or(&request.path))? {
                Routed::Step(step) => return Ok(step.resting_on(&ground, trip)),
                Routed::Lower(path) => {
                    trip.spelt.get_or_insert_with(|| lowered.unwrap_or_else(|| request.path.clone()));
                    trip.path = Some(path);
                }
            }
        }
    }

    fn route(&self, ground: &Ground<'_>, trip: &mut Trip, path: &Path) -> Result<Routed> {
        let verb = ground.request.verb;
        let (space, local) = (ground.space, ground.local(path));
        let itself = || space.at(&format!("{local}/"));
        let nearest = space.nearest(local);
        // `path-help secret` asks about the mount, whose path ends in a slash.
        let nearest =
            nearest.or_else(|| itself().filter(|_| ground.request.help).map(|mounted| (mounted, "")));
        trip.mounted = nearest.map(|(mounted, _)| Arc::clone(mounted));
        let Some((mounted, rest)) = nearest else {
            if ground.request.lineage.logs_in() {
                return Err(Error::new(Fault::Elsewhere, "no login"));
            }
            if let Nothing::Step(step) = self.judge_nothing(ground, trip, path)? {
                return Ok(Routed::Step(step));
            }
            if itself().is_some() {
                return Err(Error::not_found());
            }
            let text = format!("no handler for route \"{local}\". route entry not found.");
            return Err(Error::new(Fault::NotFound, text));
        };
        place::check_reach(ground.request, mounted, rest)?;
        if ground.request.hidden {
            return Err(Error::new(Fault::Verb, "unsupported operation"));
        }
        if let Some(method) = &mounted.method
            && let Some((point, route, fit)) = method.find_login(verb, rest)
        {
            match fit {
                kit::Match::Lower(range) => return lowered(path, rest, range).map(Routed::Lower),
                kit::Match::Yes(captures) => {
                    match self.let_in(ground, trip, path, point, route, captures) {
                        // A browser comes where a client would log in, and wants a page.
                        Err(error) if error.fault() == Fault::Elsewhere => {}
                        step => return step.map(Routed::Step),
                    }
                }
                kit::Match::No => return Err(Error::not_found()),
            }
        }
        if ground.request.lineage.logs_in() {
            return Err(elsewhere(mounted, rest));
        }
        match mounted.engine.find(verb, rest) {
            Found::Lower(range) => lowered(path, rest, range).map(Routed::Lower),
            Found::Here { endpoint, route, kind, captures } => {
                let before = path.as_str().len() - rest.len();
                let at = At { mounted, path, before, endpoint, route: *route, kind, captures };
                self.go(ground, trip, &at).map(Routed::Step)
            }
            other => {
                // A login is open to strangers, and so is what is wrong with how they ask.
                if !ground.request.help && is_login(mounted, rest) {
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
            any_case: None,
            or_bare: false,
            capability: ground.request.verb.capability(),
            needs_sudo: false,
            parameters: &Lazy(&fields),
            wrap_ttl: ground.request.wrap_ttl,
            now: trip.now.0,
        };
        let permit = acl.permit(&question).map_err(|_| Error::denied().wrapped())?;
        trip.granting = granting(&permit);
        Ok(Nothing::Permit(permit))
    }
}

/// An operation that a request has found.
pub(crate) struct At<'a> {
    pub(crate) mounted: &'a Arc<Mounted>,
    pub(crate) path: &'a Path,
    /// How many bytes of the path stand before what the engine sees of it.
    pub(crate) before: usize,
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

/// What a JWT of ours holds, if one is shown where wrappings are looked at and opened. Any other stays what it is, and
/// is no token.
fn unsigned(kernel: &Kernel, request: &Request) -> Option<Secret<String>> {
    if !OPENS.iter().any(|path| request.path.as_str().ends_with(path)) {
        return None;
    }
    let shown = request.token.as_ref().filter(|token| wrap_key::is_signed(token.expose()))?;
    kernel.wrap_key.token(shown.expose()).ok().map(|token| Secret::new(token.into_owned()))
}

/// The policies that a permit stands on, for the audit log.
pub(crate) fn granting(permit: &Permit) -> Vec<Arc<str>> {
    static ROOT: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(policy::builtin::ROOT));
    match permit.root_policy() {
        true => vec![Arc::clone(&ROOT)],
        false => permit.granting_policies().map(|granted| Arc::clone(&granted.policy)).collect(),
    }
}

/// Whether a login is asked for there, in the way that logins are.
fn is_login(mounted: &Mounted, rest: &str) -> bool {
    mounted.method.as_ref().is_some_and(|method| method.find_login(Verb::Post, rest).is_some())
}

/// What is asked as a login, and is none.
fn elsewhere(mounted: &Mounted, rest: &str) -> Error {
    match is_login(mounted, rest) {
        true => Error::new(Fault::Verb, "unsupported operation"),
        false => Error::new(Fault::Elsewhere, "no login"),
    }
}

/// Where wrappings are looked at and opened.
const OPENS: [&str; 3] = ["sys/wrapping/lookup", "sys/wrapping/rewrap", "sys/wrapping/unwrap"];

impl Trip {
    /// As `sys/in-flight-req` shows it.
    fn flight(&self, request: &Request) -> Flight {
        let address = self.remote.address.map(|address| std::net::SocketAddr::new(address, self.remote.port));
        Flight {
            since: self.now,
            address: address.map(|address| address.to_string()).unwrap_or_default(),
            path: request.path.as_str().to_owned(),
            method: flights::method(request.verb),
            client: self
                .known
                .as_ref()
                .map(|known| known.value().caller.accessor.clone())
                .unwrap_or_default(),
        }
    }

    pub(crate) fn new(kernel: &Kernel, request: &Request) -> Self {
        let id = request.lineage.id().map_or_else(|| kernel.request_ids.next(), str::to_owned);
        let remote = Remote { request_id: id.clone(), ..request.remote.clone() };
        let begun = kernel.now();
        Self {
            id,
            now: begun,
            begun,
            remote,
            path: None,
            spelt: None,
            namespace: None,
            asked: Asked::No,
            spent: false,
            last_use: false,
            spending: None,
            client: None,
            pooled: false,
            once: Once::default(),
            known: None,
            mounted: None,
            operation: audit::operation(request.verb),
            logged: false,
            granting: Vec::new(),
            told: None,
            proofs: None,
            acted: None,
            allowance: None,
            role: None,
            ticket: None,
            wrapping: None,
            unsigned: unsigned(kernel, request),
            inline: None,
            failed: None,
            replaying: None,
            aloft: None,
        }
    }

    /// The token that was shown, out of its JWT if it was in one; or that of the login that came along.
    pub(crate) fn token<'a>(&'a self, request: &'a Request) -> Option<&'a Secret<String>> {
        self.inline.as_ref().or(self.unsigned.as_ref()).or(request.token.as_ref())
    }

    /// A request that waited, under the id that it had.
    pub(crate) fn again(kernel: &Kernel, request: &Request, id: String, replaying: Replaying) -> Self {
        let remote = Remote { request_id: id.clone(), ..request.remote.clone() };
        Self { id, remote, replaying: Some(replaying), ..Self::new(kernel, request) }
    }
}
