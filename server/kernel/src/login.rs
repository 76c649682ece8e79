use std::sync::Arc;
use std::time::Duration;

use kit::AnyMethod;
use kit::{Caller, Captures, Claim, Error, Fault, Fields, Recording, Remote, Result, Right, Route};
use kit::{Time, Writing};
use policy::Path;
use storage::Txn;

use crate::envelope::{Auth, Outcome, Requirement};
use crate::identity::mfa::{Owed, Proofs, Round, Showing, Shown, WaitingLogin};
use crate::identity::{self, Books};
use crate::inline;
use crate::kernel::Kernel;
use crate::lockout::Rule;
use crate::mounts::Mounted;
use crate::regulars::Whom;
use crate::request::Request;
use crate::router::Router;
use crate::tokens::{self, Made, TokenRecord, Tokens};
use crate::ttl::{Bounds, whole};
use crate::walk::{Ground, Step, Trip};

impl Kernel {
    /// A login: the one way without a token. The claim and the token it earns are one transaction.
    pub(crate) fn let_in(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        path: &Path,
        point: usize,
        route: Route,
        captures: Captures<'_>,
    ) -> Result<Step> {
        let mounted = trip.mounted.clone().ok_or_else(|| Error::internal("a login without a mount"))?;
        let method = mounted.method.clone().ok_or_else(|| Error::internal("a login without a method"))?;
        self.question(ground, trip)?;
        let fields = Fields { path: captures, query: &ground.request.query, body: &ground.request.body };
        let rule = Rule::of(&mounted, &self.env.settings.lockouts);
        let mut who = Claimed { method: &*method, point, fields: &fields, called: None };
        let accessor = &mounted.entry.accessor;
        if let Some(rule) = rule
            && self.lockouts.locked(accessor, || who.name(), rule, trip.now)
        {
            return Err(Error::denied());
        }
        if route.heavy && !trip.pooled {
            return Ok(Step::Pool);
        }
        trip.role = self.role_for_quota(ground, &mounted)?;
        self.take_place(ground.today, trip, path.as_str())?;
        let now = trip.now;
        let failed = |error: Error| match rule.filter(|_| error.fault() == Fault::Credentials) {
            Some(rule) => self.count_failure(accessor, error, &who, rule, now),
            None => error,
        };
        let nobody = Caller::nobody();
        let info = &mounted.info;
        let heard = trip.heard(ground.today).map_err(failed)?;
        if heard.is_none() && method.asks(point) {
            return ask_first(ground, trip, &*method, info, point, &fields).map_err(failed);
        }
        let mut txn = Txn::on(ground.today.clone());
        trip.told_reads().iter().for_each(|reads| txn.join(reads));
        let random = &*self.env.random;
        trip.once.pooled = trip.pooled;
        let mut cx =
            Writing::new(&Right::Login, &mut txn, info, &nobody, &trip.remote, now, random, &mut trip.once);
        let mut claim = method.login(point, &mut cx, &fields, heard.as_ref()).map_err(failed)?;
        let (due, _, notes) = cx.finish();
        self.enter_due(&mut txn, &mounted.entry.uuid, due)?;
        who.called = claim.called.take();
        // Who they are is known only now, and by any other name they are locked out as well.
        if let Some(rule) = rule.filter(|_| who.called.is_some())
            && self.lockouts.locked(accessor, || who.name(), rule, now)
        {
            return Err(Error::denied());
        }
        let proven = Proven { claim, who, rule, warnings: notes.take_warnings() };
        self.earn(ground, trip, txn, &mounted, ground.local(path), proven)
    }

    /// Counts a wrong proof for whom it was of. Who is locked out hears no more whether it was wrong.
    fn count_failure(&self, accessor: &str, error: Error, who: &Claimed<'_>, rule: Rule, now: Time) -> Error {
        let whom = error.whom().map_or_else(|| who.name(), str::to_owned);
        if error.whom().is_some() && self.lockouts.locked(accessor, || whom.clone(), rule, now) {
            return Error::denied();
        }
        self.lockouts.failed(accessor, &whom, rule, now);
        error
    }

    /// What someone gets who has proven who they are: a token, or a question for a second factor.
    fn earn(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        mut txn: Txn,
        mounted: &Arc<Mounted>,
        path: &str,
        proven: Proven<'_>,
    ) -> Result<Step> {
        let Proven { claim, who, rule, mut warnings } = proven;
        let (accessor, now) = (&mounted.entry.accessor, trip.now);
        let (router, remote, role) = (ground.router.value(), &trip.remote, trip.role.as_deref());
        let within = ground.request.lineage.logs_in().then_some(self.env.settings.max_request_duration);
        let door = Door { router, mounted, path, now, remote, role, within };
        let whom = self.whom(&door, &mut txn, &claim)?;
        let owed = match self.owed(ground, &door, &mut txn, &whom, trip.proofs.as_ref())? {
            Owing::Settled => Vec::new(),
            Owing::Owed(owed) => owed,
            Owing::Prove(_) if whom.is_new => return self.arrive_first(ground, &door, &claim),
            Owing::Prove(round) => return Ok(Step::Prove(round)),
        };
        if !owed.is_empty() && ground.request.lineage.logs_in() {
            return Err(inline::owes());
        }
        if !owed.is_empty() {
            let waiting = WaitingLogin {
                claim,
                namespace: mounted.entry.namespace,
                mount: mounted.entry.uuid.clone(),
                path: path.to_owned(),
                who: rule.map(|_| who.name()).unwrap_or_default(),
                entity: whom.entity_id,
                role: trip.role.clone(),
                since: now,
                address: trip.remote.address,
            };
            return Ok(Step::Commit(txn, Box::new(self.let_wait(waiting, &owed, warnings))));
        }
        let (made, auth, told) = self.admit(&door, &mut txn, claim, whom)?;
        if rule.is_some() {
            self.lockouts.clear(accessor, || who.name());
        }
        let mut outcome = Outcome::new(kit::Body::Nothing);
        warnings.extend(told);
        outcome.warnings = warnings;
        outcome.made = made.hash;
        outcome.auth = Some(auth);
        let outcome = self.wrap(ground, trip, &mut txn, outcome)?;
        Ok(Step::Commit(txn, Box::new(outcome)))
    }

    /// What a login still owes, once what it brought along has been looked at.
    fn owed(
        &self,
        ground: &Ground<'_>,
        door: &Door<'_>,
        txn: &mut Txn,
        whom: &Whom,
        proofs: Option<&Proofs>,
    ) -> Result<Owing> {
        if whom.owes_nothing {
            return Ok(Owing::Settled);
        }
        let books = Books::at(door.router, door.mounted)?;
        let (entity, namespace) = (&*whom.entity_id, &door.mounted.namespace);
        let owed = books.owed(txn, door.mounted, entity)?;
        let shown = shown(ground.request)?;
        if owed.is_empty() || shown.is_empty() {
            return Ok(Owing::Owed(owed));
        }
        let round = books.round(txn, namespace, entity, &owed, &shown, door.remote.address)?;
        let none = Proofs::default();
        let proofs = proofs.unwrap_or(&none);
        if !proofs.answer(&round) {
            return Ok(Owing::Prove(Box::new(round)));
        }
        let showing = Showing { waiting: &self.waiting, entity, shown: &shown, proofs, now: door.now };
        books.settle_owed(txn, &owed, &showing)?.or_refuse()?;
        Ok(Owing::Settled)
    }

    /// Writes down someone who is new before anybody is asked about them, so that it is the same one afterwards. What the
    /// login itself writes is left for when it succeeds.
    fn arrive_first(&self, ground: &Ground<'_>, door: &Door<'_>, claim: &Claim) -> Result<Step> {
        let mut txn = Txn::on(ground.today.clone());
        self.whom(door, &mut txn, claim)?;
        Ok(Step::Arrive(txn))
    }

    /// Lets a login wait for its second factor, and tells what that is.
    fn let_wait(&self, login: WaitingLogin, owed: &[Owed], mut warnings: Vec<String>) -> Outcome {
        let id = crate::ids::new_uuid(&*self.env.random);
        let text = "A login request was issued that is subject to MFA validation. Please make sure to validate the login by sending another request to mfa/validate endpoint.";
        warnings.push(text.to_owned());
        let mut outcome = Outcome::new(kit::Body::Nothing);
        outcome.warnings = warnings;
        outcome.owes = Some(Requirement::new(&id, owed));
        let ns = login.namespace;
        self.waiting.put(id.clone(), login);
        // If its namespace was sealed a moment ago, what waits there has been forgotten already.
        if self.store.snapshot().is_sealed(ns.mount()) {
            self.waiting.forget(&id);
        }
        outcome
    }

    /// Makes the token that a claim earns.
    pub(crate) fn admit(
        &self,
        door: &Door<'_>,
        txn: &mut Txn,
        claim: Claim,
        whom: Whom,
    ) -> Result<(Made, Auth, Vec<String>)> {
        let Door { mounted, now, .. } = *door;
        let terms = claim.terms;
        if terms.policies.iter().any(|policy| policy.trim().eq_ignore_ascii_case("root")) {
            return Err(Error::invalid("auth methods cannot create root tokens"));
        }
        let policies = TokenRecord::sanitised(&terms.policies, !terms.no_default_policy);
        tokens::check_assignable(&policies)?;
        let transient = door.within.is_some();
        let batch = transient || is_batch(&terms.token_type, &mounted.entry.config.token_type);
        let bounds = Bounds {
            ttl: terms.ttl,
            max_ttl: terms.max_ttl,
            period: terms.period,
            explicit_max_ttl: terms.explicit_max_ttl,
            mount_ttl: mounted.info.default_ttl,
            mount_max_ttl: mounted.info.max_ttl,
            increment: Duration::ZERO,
        };
        let mut granted = bounds.grant(now, now)?;
        granted.ttl = door.within.map_or(granted.ttl, |most| granted.ttl.min(most));
        let record = TokenRecord {
            policies,
            path: door.path.to_owned(),
            meta: Some(claim.metadata),
            display_name: display_name(mounted, &claim.display_name),
            created: now,
            ttl_seconds: granted.ttl.as_secs(),
            expires: Some(now.plus(granted.ttl)),
            uses_left: (terms.num_uses > 0 && !transient).then_some(terms.num_uses),
            period_seconds: whole(terms.period).as_secs(),
            explicit_max_ttl_seconds: whole(terms.explicit_max_ttl).as_secs(),
            max_ttl_seconds: whole(terms.max_ttl).as_secs(),
            bound_cidrs: if terms.bind_ip { vec![here(door.remote)?] } else { terms.bound_cidrs },
            renewable: !terms.not_renewable && !batch,
            mount: Some(mounted.entry.uuid.clone()),
            internal: claim.internal,
            login_policies: terms.policies,
            login_role: door.role.unwrap_or_default().to_owned(),
            no_default_policy: terms.no_default_policy,
            entity_id: whom.entity_id,
            identity: whom.identity,
            groups: claim.groups,
            transient,
            ..TokenRecord::default()
        };
        let made = if batch {
            if record.uses_left.is_some() {
                return Err(Error::invalid("batch tokens cannot have a limited use count"));
            }
            Tokens::make_batch(&self.store, &mounted.namespace, record.without_renewal())?
        } else {
            self.tokens.make(txn, &*self.env.random, &mounted.namespace, None, record)?
        };
        let auth = Auth { entity_created: whom.is_new, ..Auth::of(&made) };
        let policies = match whom.policies {
            Some(policies) => policies,
            None => identity::shown_policies(txn, &made.record)?,
        };
        Ok((made, auth.with_identity(policies), granted.warnings))
    }
}

/// What a login still has to do about second factors.
enum Owing {
    /// Nothing: it owed none, or has shown all.
    Settled,
    /// It owes these, if any.
    Owed(Vec<Owed>),
    /// Others have to be asked about what it has shown.
    Prove(Box<Round>),
}

/// Whom a login claims to be, for the counter of failed logins: read out only where some have failed.
struct Claimed<'a> {
    method: &'a dyn AnyMethod,
    point: usize,
    fields: &'a Fields<'a>,
    /// As the method has learnt to call them.
    called: Option<String>,
}

impl Claimed<'_> {
    fn name(&self) -> String {
        if let Some(called) = &self.called {
            return called.clone();
        }
        // What cannot be read is refused by the login itself.
        self.method.who(self.point, self.fields).unwrap_or_default()
    }
}

/// A login whose proof was right.
struct Proven<'a> {
    claim: Claim,
    who: Claimed<'a>,
    rule: Option<Rule>,
    warnings: Vec<String>,
}

/// Where and when someone comes in.
#[derive(Clone, Copy)]
pub(crate) struct Door<'a> {
    pub(crate) router: &'a Router,
    pub(crate) mounted: &'a Arc<Mounted>,
    pub(crate) path: &'a str,
    pub(crate) now: Time,
    pub(crate) remote: &'a Remote,
    /// The role that the login is by, if leases are counted by role.
    pub(crate) role: Option<&'a str>,
    /// The token is for one request, and so long at the most.
    pub(crate) within: Option<Duration>,
}

/// What a login wants to know from outside before it can be looked at.
fn ask_first(
    ground: &Ground<'_>,
    trip: &Trip,
    method: &dyn AnyMethod,
    info: &kit::Mount,
    point: usize,
    fields: &Fields<'_>,
) -> Result<Step> {
    let nobody = Caller::nobody();
    let txn = Txn::on(ground.today.clone());
    let cx = Recording::new(&Right::Login, &txn, info, &nobody, &trip.remote, trip.now);
    let asking = method.facts(point, &cx, fields)?;
    Ok(Step::Ask(asking, cx.finish()))
}

/// The second factors that a login brings along.
fn shown(request: &Request) -> Result<Shown> {
    let headers = request.headers.iter().filter(|(name, _)| name == "x-vault-mfa");
    Shown::from_headers(headers.map(|(_, value)| value.as_str()))
}

/// The address that logs in, as the one block its token may be used from. Without an address there is no such token.
fn here(remote: &Remote) -> Result<String> {
    let unknown =
        "token_strictly_bind_ip is set, but the address of this login is not known: log in over TCP";
    let address = remote.address.ok_or_else(|| Error::invalid(unknown))?;
    Ok(address.to_canonical().to_string())
}

/// Whether a login earns a batch token, by what the role and the mount say.
fn is_batch(role: &str, mount: &str) -> bool {
    match (mount, role) {
        ("service", _) => false,
        ("batch", _) => true,
        (_, "batch" | "default-batch") => true,
        ("default-batch", "" | "default") => true,
        _ => false,
    }
}

/// `userpass-ann`: the mount, a dash, the name. In a namespace the mount's whole path stands there: `team-auth-userpass-ann`.
fn display_name(mounted: &Mounted, name: &str) -> String {
    let full = format!("{}{}", mounted.namespace.path, mounted.entry.path);
    let mount = full.strip_prefix("auth/").unwrap_or(&full).trim_end_matches('/').replace('/', "-");
    if name.is_empty() { mount } else { format!("{mount}-{name}") }
}
