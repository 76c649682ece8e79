//! What moves a roll on: the switch, and the wait for the last leaf.

use std::ops::ControlFlow;
use std::time::Duration;

use kit::{Command, Error, Nothing, Reads, Reply, Result, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::Certificate;

use super::record::{Leaves, ROLL, Roll, State};
use super::request::awaits;
use super::show::{ShownRoll, laggards, show};
use super::start::{NONE, may_issue};
use crate::Pki;
use crate::authorities::{Authorities, DEFAULT, refused};
use crate::issued::{self, Class, Entry, Place};
use crate::store::{CERTIFICATES, DEFAULTS, REVOKED, ROLES};

/// How many certificates one piece of the search looks at.
const PAGE: usize = 500;
/// How often to look whether the last holder trusts the next CA.
const HOLDERS_AGAIN: Duration = Duration::from_secs(60);
/// How often to look for leaves that were revoked before their end.
const LEAVES_AGAIN: Duration = Duration::from_secs(24 * 3600);
const SOON: Duration = Duration::from_secs(1);

/// Moves a roll on, if it is time.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(crate) struct RollStep {
    /// The roll and the state for which it was entered: what went on otherwise is left alone.
    started: String,
    state: String,
}

impl RollStep {
    /// For a roll as it stands.
    pub(super) fn of(roll: &Roll) -> Self {
        Self { started: roll.started.0.to_string(), state: roll.state.word().to_owned() }
    }
}

impl Command<Pki> for RollStep {
    const ROUTE: Route = Route::internal("roll-step");
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let Some(mut roll) = ROLL.get(cx)? else { return Ok(Reply::Nothing) };
        if roll.started.0.to_string() != self.started || roll.state.word() != self.state {
            return Ok(Reply::Nothing);
        }
        let wait = match roll.state {
            State::Published => publish(cx, &mut roll)?,
            State::Draining => drain(cx, &mut roll)?,
            State::Requested | State::Finished | State::Aborted => return Ok(Reply::Nothing),
        };
        ROLL.put(cx, &Some(roll.clone()))?;
        if roll.shares_trust() {
            cx.later::<Pki, _>(wait, &RollStep::of(&roll))?;
        }
        Ok(Reply::Nothing)
    }
}

fn publish(cx: &mut Writing<'_>, roll: &mut Roll) -> Result<Duration> {
    if roll.publish_until > cx.now() {
        return Ok(cx.now().until(roll.publish_until));
    }
    let all = Authorities::load(cx)?;
    if let Some(why) = roll.hindrance(&all) {
        // Nobody is there to be refused. What was published leaves the bundle.
        (roll.state, roll.finished, roll.given_up) = (State::Aborted, Some(cx.now()), Some(why));
        return Ok(Duration::ZERO);
    }
    if roll.waits_for_holders && laggards(cx, &all, roll)?.count > 0 {
        return Ok(HOLDERS_AGAIN);
    }
    switch(cx, &all, roll)?;
    Ok(Duration::ZERO)
}

/// Has the next CA sign in the place of the old one, wherever that was named.
fn switch(cx: &mut Writing<'_>, all: &Authorities, roll: &mut Roll) -> Result<()> {
    let old = all.issuer_or_refuse(&roll.old.to_string())?;
    let mut defaults = DEFAULTS.get(cx)?;
    let was_default = defaults.issuer == Some(roll.old);
    let names_old = |reference: &str| {
        let own = all.issuer(reference).is_some_and(|issuer| issuer.id == old.id);
        match reference {
            "" | DEFAULT => was_default,
            _ => own,
        }
    };
    may_issue(cx, roll.new, true)?;
    may_issue(cx, roll.old, false)?;
    let not_after = old.certificate.validity().not_after;
    for name in ROLES.walk(cx, "")? {
        let Some(mut role) = ROLES.get(cx, &name)? else { continue };
        if !names_old(&role.issuer_ref) {
            continue;
        }
        if role.no_store {
            let life = if role.max_ttl == 0 { cx.mount().max_ttl.as_secs() } else { role.max_ttl };
            let ends = cx.now().seconds().saturating_add(life).min(not_after);
            roll.unstored_until = roll.unstored_until.max(ends);
        }
        if !matches!(role.issuer_ref.as_str(), "" | DEFAULT) {
            role.issuer_ref = roll.new.to_string();
            ROLES.put(cx, &name, &role)?;
        }
    }
    if was_default {
        defaults.issuer = Some(roll.new);
        DEFAULTS.put(cx, &defaults)?;
    }
    (roll.state, roll.switched) = (State::Draining, Some(cx.now()));
    Ok(())
}

/// One piece of the search for live leaves of the old CA; at its end the roll is finished, or a later search is entered.
fn drain(cx: &mut Writing<'_>, roll: &mut Roll) -> Result<Duration> {
    if !search(cx, roll)? {
        return Ok(Duration::ZERO);
    }
    let found = std::mem::take(&mut roll.counting);
    (roll.leaves, roll.after) = (Some(found), String::new());
    let last = found.last_ends.max(roll.unstored_until);
    if last <= cx.now().seconds() {
        (roll.state, roll.finished) = (State::Finished, Some(cx.now()));
        return Ok(Duration::ZERO);
    }
    Ok(cx.now().until(Time::from_seconds(last)).clamp(SOON, LEAVES_AGAIN))
}

/// Whether the search has come to its end.
fn search(cx: &Writing<'_>, roll: &mut Roll) -> Result<bool> {
    let mut place = Place::read(&roll.after);
    let mut counting = if place.is_start() { Leaves::default() } else { roll.counting };
    let (old, mut seen) = (roll.old, 0);
    let is_last = issued::walk(
        cx,
        &mut place,
        |class| class.issuer == Some(old),
        |entry, _, class| {
            seen += 1;
            if is_leaf(cx, entry, class)? && REVOKED.get(cx, &entry.serial)?.is_none() {
                let last_ends = counting.last_ends.max(entry.not_after);
                counting = Leaves { count: counting.count + 1, last_ends };
            }
            Ok(if seen < PAGE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        },
    )?;
    (roll.after, roll.counting) = (place.text(), counting);
    Ok(is_last)
}

/// A role issues leaves alone; what was signed without one is looked at.
fn is_leaf(cx: &Writing<'_>, entry: &Entry, class: &Class) -> Result<bool> {
    if !class.role.is_empty() {
        return Ok(true);
    }
    let Some(record) = CERTIFICATES.get(cx, &entry.serial)? else { return Ok(false) };
    Ok(!Certificate::of_record(&record.der.0).map_err(refused)?.is_ca())
}

/// Has the next CA sign now, whoever does not trust it yet.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct SwitchRoll {}

impl Command<Pki> for SwitchRoll {
    const ROUTE: Route = Route::post("roll/switch").logged().sudo();
    type Reply = ShownRoll;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<ShownRoll>> {
        let mut roll = ROLL.get(cx)?.ok_or_else(|| Error::invalid(NONE))?;
        let all = Authorities::load(cx)?;
        match roll.state {
            State::Published => {}
            State::Requested => return Err(Error::invalid(awaits(cx, &all, &roll))),
            state => return Err(Error::invalid(format!("the roll is {} already", state.word()))),
        }
        if let Some(why) = roll.hindrance(&all) {
            return Err(Error::invalid(format!(
                "{why}: roll/abort gives this roll up, and POST roll begins another"
            )));
        }
        let missing = laggards(cx, &all, &roll)?.count;
        if missing > 0 {
            cx.warn(format!(
                "{missing} holders do not trust the next CA yet; their handshakes with whoever renews before they do will fail"
            ));
        }
        switch(cx, &all, &mut roll)?;
        ROLL.put(cx, &Some(roll.clone()))?;
        cx.later::<Pki, _>(Duration::ZERO, &RollStep::of(&roll))?;
        Ok(Reply::Data(show(cx, &Authorities::load(cx)?, &roll)?))
    }
}
