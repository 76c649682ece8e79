use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use kit::{Body, Error, Fields, Kept, Kind, Reading, Result, Right, Route, Verb};
use policy::{Acl, Capability, Parameters, Permit, Question, Unreadable};
use serde_json::{Map, Value};
use storage::Txn;

use crate::agenda::{self, Item};
use crate::control_group::{self, Wanted};
use crate::envelope::Outcome;
use crate::identity;
use crate::kernel::Kernel;
use crate::request::Request;
use crate::tokens::{Known, TokenRecord, Uses};
use crate::walk::{Asked, At, Ground, Step, Trip, granting};
use crate::{help, place, spelling, tokens};

/// When a token that was used up is ended at the latest: no request takes so long.
const USED_UP_WAIT: Duration = Duration::from_secs(600);

impl Kernel {
    /// Identify, judge, audit, run.
    pub(crate) fn go(&self, ground: &Ground<'_>, trip: &mut Trip, at: &At<'_>) -> Result<Step> {
        let fields = Fields { path: at.captures, query: &ground.request.query, body: &ground.request.body };
        if !trip.spent && !ground.request.help {
            let path = ground.local(at.path);
            if let Err(refused) = crate::sys::verify_wrapping(self, ground, trip, path, &fields) {
                // Audit tells who has tried.
                trip.known = self.identify(ground, trip).ok();
                return Err(refused);
            }
        }
        let open = at.route.open || self.opened(ground.request, at);
        if open && !ground.request.help {
            trip.known = self.identify(ground, trip).ok();
            self.question(ground, trip)?;
            return self.run(ground, trip, at, &Right::Open, &fields);
        }
        let known = self.identify(ground, trip)?;
        trip.known = Some(Arc::clone(&known));
        if let Some(step) = self.spend(ground, trip, &known)? {
            return Ok(step);
        }
        if ground.request.help {
            let permit = self.rules(ground, trip, &known)?.permit_help();
            self.question(ground, trip)?;
            let rest = ground.local(at.path).strip_prefix(&at.mounted.entry.path).unwrap_or_default();
            let help = help::asked(ground.request, at.mounted, rest, permit);
            return Ok(Step::Answer(Box::new(help.unwrap_or_else(|| Outcome::new(Body::Empty)))));
        }
        let permit = self.judge(ground, trip, at, &known, &fields)?;
        crate::sys::check_wrapping_wish(ground.request, ground.local(at.path))?;
        let rest = at.path.as_str().get(at.before..).unwrap_or_default();
        place::check_keys(ground.space, at.mounted, rest)?;
        trip.granting = granting(&permit);
        match self.only_looks(ground, trip, at) {
            true => trip.asked = Asked::Owed,
            false => self.question(ground, trip)?,
        }
        if let Some(step) = self.consent(ground, trip, at, &known, &permit)? {
            return Ok(step);
        }
        let limited = limit(&permit, &ground.request.query, at.route);
        let fields = Fields { query: limited.as_deref().unwrap_or(fields.query), ..fields };
        self.run(ground, trip, at, &Right::Judged(&permit), &fields)
    }

    /// If the rule wants the consent of others, the request waits for it; one that has waited notes what is wanted now.
    fn consent(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        at: &At<'_>,
        known: &Kept<Known>,
        permit: &Permit,
    ) -> Result<Option<Step>> {
        let wanted = permit.control_group().zip(permit.capability());
        match (&mut trip.replaying, wanted) {
            (Some(replaying), wanted) => {
                replaying.wanted = wanted.map(|(group, capability)| Wanted::of(group, capability));
                Ok(None)
            }
            (None, Some((group, capability))) => {
                self.park(ground, trip, at, known, (group, capability)).map(Some)
            }
            (None, None) => Ok(None),
        }
    }

    /// Whether there is nothing between the question and its answer but a look.
    fn only_looks(&self, ground: &Ground<'_>, trip: &Trip, at: &At<'_>) -> bool {
        let waits = at.route.heavy || ground.request.wrap_ttl.is_some() || trip.replaying.is_some();
        trip.asked == Asked::No && at.kind == Kind::Query && !waits
    }

    /// Whether the operator has opened what otherwise wants a token.
    fn opened(&self, request: &Request, at: &At<'_>) -> bool {
        self.env.settings.open_metrics && request.token.is_none() && at.path.as_str() == crate::sys::METRICS
    }

    pub(crate) fn identify(&self, ground: &Ground<'_>, trip: &Trip) -> Result<Arc<Kept<Known>>> {
        let token = trip.token(ground.request).ok_or_else(Error::denied)?;
        let uses = if trip.spent { Uses::Spent } else { Uses::Left };
        let known =
            self.tokens.identify(token.expose(), &self.store, ground.today, trip.now, &trip.remote, uses)?;
        // Its rules reach no further either; a token of another namespace is nobody here.
        match known.value().namespace.holds(&ground.space.namespace) {
            true => Ok(known),
            false => Err(Error::denied().wrapped()),
        }
    }

    /// The rules that a token carries.
    pub(crate) fn rules(&self, ground: &Ground<'_>, trip: &Trip, known: &Kept<Known>) -> Result<Arc<Acl>> {
        self.tokens.acl(known.value(), ground.today, trip.now)
    }

    /// A token with a number of uses spends one before anything else, so that a failing request spends it too.
    pub(crate) fn spend(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        known: &Kept<Known>,
    ) -> Result<Option<Step>> {
        // The token of a request that waits has one use, and that is to have it done, not to ask whether it may be.
        let unlimited =
            |record: &TokenRecord| record.uses_left.is_none() || control_group::is_waiting(record);
        if trip.spent || unlimited(&known.value().record) {
            return Ok(None);
        }
        let mut txn = Txn::on(ground.today.clone());
        let Known { hash, record, .. } = known.value();
        tokens::spend(&mut txn, *hash)?;
        // Before it is spent: whoever spends the last one must not end the token of this one.
        trip.spending.get_or_insert_with(|| self.spendings.begin(*hash));
        if record.uses_left == Some(1) && record.expires.is_none() {
            // It is ended when its last request is answered; should that not come to pass, nothing else would do so.
            let item = Item::Token { hash: *hash, namespace: record.namespace };
            agenda::enter(&mut txn, trip.now.plus(USED_UP_WAIT), hash.tag(), &item)?;
        }
        Ok(Some(Step::Spend(txn)))
    }

    fn judge(
        &self,
        ground: &Ground<'_>,
        trip: &mut Trip,
        at: &At<'_>,
        known: &Kept<Known>,
        fields: &Fields<'_>,
    ) -> Result<Permit> {
        let (caller, remote) = (&known.value().caller, &trip.remote);
        let cx = Reading::new(&Right::Open, ground.today, &at.mounted.info, caller, remote, trip.now);
        let mut capability = ground.request.verb.capability();
        if ground.request.verb == Verb::Post
            && at.kind == Kind::Command
            && at.mounted.engine.exists(at.endpoint, &at.captures, &cx)? == Some(false)
        {
            capability = Capability::Create;
            trip.operation = "create";
        }
        let (path, any_case) = spelling::judged(&cx, &*at.mounted.engine, at.path, at.before, &at.captures)?;
        let question = Question {
            path: &path,
            any_case,
            or_bare: at.route.answers_bare(),
            capability,
            needs_sudo: at.route.sudo,
            parameters: &Lazy(fields),
            wrap_ttl: ground.request.wrap_ttl,
            now: trip.now.0,
        };
        let mut acl = self.rules(ground, trip, known)?;
        if acl.reads_clock() {
            let bearer = identity::bearer(ground.today, &known.value().record)?;
            acl = Arc::new(tokens::compile(ground.today, &bearer, trip.now)?);
        }
        acl.permit(&question).map_err(|denied| {
            tracing::debug!(path = path.as_str(), reason = denied.reason(), "denied");
            Error::denied().wrapped()
        })
    }
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
        policy::ListLimit::AsAsked => {
            let mut asked = query.iter().filter(|(name, _)| name == "limit").map(|(_, value)| value);
            match (asked.next().map(|limit| &**limit), asked.next()) {
                (Some("max"), None) => 0,
                _ => return None,
            }
        }
    };
    let others = query.iter().filter(|(name, _)| name != "limit").cloned();
    Some(others.chain([("limit".into(), limit.to_string().into())]).collect())
}

/// The parameters of a request, read only if a rule wants to know them.
pub(crate) struct Lazy<'a>(pub(crate) &'a Fields<'a>);

impl Parameters for Lazy<'_> {
    fn parameters(&self) -> Result<Cow<'_, Map<String, Value>>, Unreadable> {
        self.0.as_map().map(Cow::Owned).map_err(|error| Unreadable(error.to_string()))
    }
}
