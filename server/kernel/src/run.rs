use std::sync::Arc;
use std::time::Duration;

use kit::{Beyond, Body, Caller, Due, Error, Fault, Fields, Grant, Heard, Kind, Notes, Reading, Recording};
use kit::{Reads as _, Result, Right, Secret, Shown, Verb, Writing};
use policy::{Capability, Path};
use storage::Txn;

use crate::envelope::{LeaseShown, Outcome, said};
use crate::kernel::Kernel;
use crate::mounts::{Class, Mounted};
use crate::request::{Request, WrapFormat};
use crate::walk::{At, Ground, Step, Trip};
use crate::wrapping::Wrapping;
use crate::{agenda, inline, leases, spelling};

/// What an operation left beside its reply.
struct Written {
    due: Vec<Due>,
    grant: Option<Grant>,
    notes: Notes,
}

impl Kernel {
    /// Runs the operation: on the snapshot if it looks, in a transaction if it changes anything.
    pub(crate) fn run(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        at: &At<'_>,
        right: &Right<'_>,
        fields: &Fields<'_>,
    ) -> Result<Step> {
        if matches!(ground.request.verb, Verb::Post | Verb::Patch) {
            at.captures.check_names()?;
        }
        trip.logged = at.route.logged;
        if at.route.heavy && !trip.pooled {
            return Ok(Step::Pool);
        }
        if at.mounted.entry.class == Class::System {
            let token = trip.token(ground.request);
            trip.remote.token =
                token.map(|token| Shown::new(&Beyond::for_the_kernel(), token)).unwrap_or_default();
        }
        trip.remote.headers = passed(ground.request, at.mounted);
        match at.kind {
            Kind::Query => self.look(ground, trip, at, right, fields),
            Kind::Command => self.change(ground, trip, at, right, fields, None),
            Kind::Ask => self.inquire(ground, trip, at, right, fields),
            Kind::Effect => self.effect(ground, trip, at, right, fields),
            Kind::Login => Err(Error::internal("a login was taken for an operation")),
        }
    }

    fn look(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        at: &At<'_>,
        right: &Right<'_>,
        fields: &Fields<'_>,
    ) -> Result<Step> {
        let known = trip.known.clone();
        let nobody = Caller::nobody();
        let caller = known.as_ref().map_or(&nobody, |known| &known.value().caller);
        let cx = Reading::new(right, ground.today, &at.mounted.info, caller, &trip.remote, trip.now);
        let body = at.mounted.engine.query(at.endpoint, &cx, fields)?;
        let mut outcome = said(body, &cx.into_notes(), ground.merges(at));
        if let Some(play) = outcome.play.take() {
            self.question(ground, trip)?;
            return Ok(Step::Play(play));
        }
        let outcome = self.sieve(ground, trip, at, right, outcome)?;
        if ground.request.wrap_ttl.is_none() && trip.replaying.is_none() {
            return Ok(Step::Answer(Box::new(outcome)));
        }
        let mut txn = Txn::on(ground.today.clone());
        self.redeem(ground, trip, &mut txn)?;
        let outcome = self.wrap(ground, trip, &mut txn, outcome)?;
        Ok(Step::Commit(txn, Box::new(outcome)))
    }

    /// Leaves of a listing what the rule lets the caller see: before it is wrapped.
    fn sieve(
        &self,
        ground: &Ground<'_>,
        trip: &Trip,
        at: &At<'_>,
        right: &Right<'_>,
        outcome: Outcome,
    ) -> Result<Outcome> {
        let Right::Judged(permit) = right else { return Ok(outcome) };
        let filter = permit.list_scan_response_keys_filter_path().zip(trip.known.as_ref());
        let Some((filter, known)) = filter else { return Ok(outcome) };
        let acl = self.rules(ground, trip, known)?;
        let (caller, remote) = (&known.value().caller, &trip.remote);
        let cx = Reading::new(&Right::Open, ground.today, &at.mounted.info, caller, remote, trip.now);
        // As a request there would be judged.
        let may = |path: &str, capability| {
            let verb = if capability == Capability::List { Verb::List } else { Verb::Get };
            let spelt = Path::internal(&ground.space.full(path)).ok().and_then(|path| {
                spelling::of_request(ground.router.value(), ground.today, &cx, &path, verb).ok()
            });
            spelt.is_some_and(|spelt| acl.allows_in(&spelt.path, spelt.any_case, capability, trip.now.0))
        };
        crate::sys::filter_keys(outcome, filter, ground.local(at.path), may)
    }

    /// A command; or an ask that has its answer.
    fn change(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        at: &At<'_>,
        right: &Right<'_>,
        fields: &Fields<'_>,
        heard: Option<&Heard>,
    ) -> Result<Step> {
        let mut txn = Txn::on(ground.today.clone());
        self.redeem(ground, trip, &mut txn)?;
        let engine = &at.mounted.engine;
        let written = self.write_in(&mut txn, trip, at, right, |cx| match heard {
            Some(heard) => engine.decide(at.endpoint, cx, fields, heard),
            None => engine.command(at.endpoint, cx, fields),
        });
        trip.told_reads().iter().for_each(|reads| txn.join(reads));
        match written {
            Err(error) if error.fault() == Fault::Costly && !trip.pooled => Ok(Step::Pool),
            Err(error) => Err(error),
            Ok((body, written)) => self.settle_change(ground, trip, at, txn, body, written),
        }
    }

    /// An ask: what there is to know first; then, once an answer is there that still answers the question, the decision.
    fn inquire(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        at: &At<'_>,
        right: &Right<'_>,
        fields: &Fields<'_>,
    ) -> Result<Step> {
        if let Some(heard) = trip.heard(ground.today)? {
            return self.change(ground, trip, at, right, fields, Some(&heard));
        }
        let known = trip.known.clone();
        let nobody = Caller::nobody();
        let caller = known.as_ref().map_or(&nobody, |known| &known.value().caller);
        let txn = Txn::on(ground.today.clone());
        let cx = Recording::new(right, &txn, &at.mounted.info, caller, &trip.remote, trip.now);
        let asking = at.mounted.engine.facts(at.endpoint, &cx, fields)?;
        Ok(Step::Ask(asking, cx.finish()))
    }

    /// An effect: its plan first; then, once it has been carried out, the record of it.
    fn effect(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        at: &At<'_>,
        right: &Right<'_>,
        fields: &Fields<'_>,
    ) -> Result<Step> {
        let mut txn = Txn::on(ground.today.clone());
        self.redeem(ground, trip, &mut txn)?;
        let engine = &at.mounted.engine;
        if let Some(acted) = trip.acted.clone() {
            acted.acting.strike(&mut txn)?;
            let acting = &acted.acting;
            let (body, written) = self.write_in(&mut txn, trip, at, right, |cx| {
                acting.warnings.iter().for_each(|warning| cx.warn(warning));
                engine.record(at.endpoint, &acting.plan, &acted.done, cx)
            })?;
            return self.settle_change(ground, trip, at, txn, body, written);
        }
        let (plan, written) =
            self.write_in(&mut txn, trip, at, right, |cx| engine.plan(at.endpoint, cx, fields))?;
        self.enter_due(&mut txn, &at.mounted.entry.uuid, written.due)?;
        let mut acting = self.enter_plan(&mut txn, at.mounted, at.endpoint, plan, trip.now)?;
        acting.warnings = written.notes.take_warnings();
        Ok(Step::Act(txn, Box::new(acting)))
    }

    /// Runs what writes, in the caller's name.
    fn write_in<T>(
        &self,
        txn: &mut Txn,
        trip: &mut Trip,
        at: &At<'_>,
        right: &Right<'_>,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T>,
    ) -> Result<(T, Written)> {
        let known = trip.known.clone();
        let nobody = Caller::nobody();
        let caller = known.as_ref().map_or(&nobody, |known| &known.value().caller);
        let random = &*self.env.random;
        let (info, now) = (&at.mounted.info, trip.now);
        trip.once.pooled = trip.pooled;
        let mut cx = Writing::new(right, txn, info, caller, &trip.remote, now, random, &mut trip.once);
        let value = work(&mut cx)?;
        let (due, grant, notes) = cx.finish();
        Ok((value, Written { due, grant, notes }))
    }

    fn settle_change(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        at: &At<'_>,
        mut txn: Txn,
        body: Body,
        written: Written,
    ) -> Result<Step> {
        let mut outcome = said(body, &written.notes, ground.merges(at));
        if let Some(mut replay) = outcome.replay.take() {
            replay.wish(ground.request.wrap_ttl);
            return Ok(Step::Replay(replay));
        }
        let outcome = self.promise(&mut txn, trip, at, written.due, written.grant, outcome)?;
        let outcome = self.wrap(ground, trip, &mut txn, outcome)?;
        Ok(Step::Commit(txn, Box::new(outcome)))
    }

    /// Writes down what is to happen later, and makes a lease of what was granted.
    fn promise(
        &self,
        txn: &mut Txn,
        trip: &mut Trip,
        at: &At<'_>,
        due: Vec<Due>,
        grant: Option<Grant>,
        mut outcome: Outcome,
    ) -> Result<Outcome> {
        self.enter_due(txn, &at.mounted.entry.uuid, due)?;
        let Some(grant) = grant else { return Ok(outcome) };
        if trip.last_use {
            let text = "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.";
            return Err(Error::invalid(text));
        }
        if trip.known.as_ref().is_some_and(|known| known.value().record.transient) {
            return Err(inline::no_lease());
        }
        self.take_place(txn.snapshot(), trip, at.path.as_str())?;
        let holder = trip.known.as_ref().map(|known| known.value());
        let grant = match holder.filter(|known| known.record.batch) {
            // Nobody revokes a batch token's leases when it ends: they end with it by their own dates.
            Some(known) => leases::within(grant, known.record.left(trip.now))?,
            None => grant,
        };
        let holder =
            holder.and_then(|known| if known.record.batch { known.record.parent } else { Some(known.hash) });
        let path = at.path.as_str().strip_prefix(&at.mounted.namespace.path).unwrap_or_default();
        let (id, thing, warnings) =
            leases::enter(txn, &*self.env.random, path, &at.mounted.info, holder, grant, trip.now)?;
        outcome.lease = LeaseShown {
            id: at.mounted.namespace.mark(id.path.clone()),
            renewable: thing.renewable,
            seconds: trip.now.until(thing.expires).as_secs(),
        };
        outcome.lent = Some(id);
        outcome.warnings.extend(warnings);
        Ok(outcome)
    }

    /// Enters what a mount is to do later, the mount named by its UUID.
    pub(crate) fn enter_due(&self, txn: &mut Txn, mount: &str, due: Vec<Due>) -> Result<()> {
        for due in due {
            let mut tag = [0; 16];
            self.env.random.fill(&mut tag);
            let at = due.at;
            let item = agenda::Item::Operation { mount: mount.to_owned(), due, attempts: 0 };
            agenda::enter(txn, at, tag, &item)?;
        }
        Ok(())
    }

    /// Puts the answer under a wrapping token, if the caller wants that and there is something to wrap.
    pub(crate) fn wrap(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        txn: &mut Txn,
        mut outcome: Outcome,
    ) -> Result<Outcome> {
        let ttl = ground.request.wrap_ttl.filter(|ttl| !ttl.is_zero());
        if outcome.wrapped.is_some() || !outcome.can_be_wrapped() {
            self.sign(ground, &mut outcome)?;
            return Ok(outcome);
        }
        let Some(ttl) = ttl else { return Ok(outcome) };
        let ttl = wrapped_for(ttl, trip, &outcome)?;
        self.take_place_for_wrapping(txn.snapshot(), trip, &ground.request.path)?;
        let known = trip.known.clone();
        let login = || outcome.auth.as_ref().map(|auth| auth.display_name.clone());
        let caller = known.as_ref().map(|known| known.value().record.display_name.clone());
        let wrapping = Wrapping {
            tokens: &self.tokens,
            display_name: &caller.or_else(login).unwrap_or_default(),
            space: ground.space,
            path: ground.local(trip.path.as_ref().unwrap_or(&ground.request.path)),
            ttl,
            now: trip.now,
            random: &*self.env.random,
        };
        let wrapped = wrapping.wrap(txn, &outcome)?;
        outcome.wrapper = Some(wrapped.hash);
        outcome.wrapped = Some(wrapped);
        outcome.warnings.clear();
        self.sign(ground, &mut outcome)?;
        Ok(outcome)
    }

    /// Signs a wrapping token, if it is wished for in that form.
    pub(crate) fn sign(&self, ground: &Ground<'_>, outcome: &mut Outcome) -> Result<()> {
        if let (WrapFormat::Jwt, Some(wrapped)) = (ground.request.wrap_format, &mut outcome.wrapped) {
            wrapped.signed = Some(self.wrap_key.sign(wrapped, &self.env.settings.api_addr)?);
        }
        Ok(())
    }
}

/// How long an answer may wait to be unwrapped. Who shows no token gets nothing kept but a login, for what that mount
/// would let a token live: else any stranger could fill the store with answers that nobody fetches.
fn wrapped_for(ttl: Duration, trip: &Trip, outcome: &Outcome) -> Result<Duration> {
    if trip.known.is_some() {
        return Ok(ttl);
    }
    if outcome.auth.is_none() {
        return Err(Error::invalid(
            "X-Vault-Wrap-TTL: what is answered without a token is not wrapped, unless it is a login; leave the header out, or show a token",
        ));
    }
    Ok(trip.mounted.as_ref().map_or(ttl, |mounted| ttl.min(mounted.info.max_ttl)))
}

/// The headers of a request that a mount asks to be shown.
pub(crate) fn passed(request: &Request, mounted: &Mounted) -> Arc<[(String, Secret<String>)]> {
    let wanted = &mounted.entry.config.passthrough_request_headers;
    if wanted.is_empty() {
        return Arc::default();
    }
    let sent = request.headers.iter().filter(|(name, _)| !inline::is_parameter(name));
    let sent = sent.filter(|(name, _)| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)));
    sent.map(|(name, value)| (name.clone(), Secret::new(value.clone()))).collect()
}
