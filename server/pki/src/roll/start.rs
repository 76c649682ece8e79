//! Beginning a roll, and giving it up.

use std::time::Duration;

use kit::loose::{Flag, Number, Seconds, Text};
use kit::{Command, Error, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::record::{Leaves, ROLL, Roll, State};
use super::request::forget_request;
use super::show::{ShownRoll, show};
use super::step::RollStep;
use super::successor::{Next, Wish};
use crate::Pki;
use crate::authorities::{Authorities, DEFAULT, Issuer};
use crate::fields::{text, unsigned};
use crate::issuers::check_issuer_name;
use crate::store::{ISSUERS, Id, Usage};

/// How long the next CA is published before it signs, unless the request says otherwise.
const PUBLISH_SECONDS: u64 = 24 * 3600;
/// Holders ask every five minutes; below this some could meet a certificate of a CA that they have not heard of.
const PUBLISH_SECONDS_MIN: u64 = 15 * 60;

/// Begins the replacement of a CA: the next one is published now, and signs when everybody trusts it.
///
/// A CA gets a successor of its kind: a root signs itself, one whose parent is in this mount is signed by it. For any other
/// a key is made, and the roll waits for the certificate: the answer shows the request and says where to bring it. Where the
/// next one shall be of another kind, bring it into the mount before, and name it with `next_ref`.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct StartRoll {
    /// The CA that is replaced: a name, an id, or `default`.
    issuer_ref: Option<Text>,
    /// The CA that takes its place, if it is here already: a name or an id.
    next_ref: Option<Text>,
    /// How long the next CA is published before it signs; a day if left out.
    publish_for: Option<Seconds>,
    /// Whether to wait with the switch until everybody in the inventory trusts the next CA; yes if left out.
    wait_for_holders: Option<Flag>,
    /// The common name of the next CA; that of the old one with a number, if left out.
    common_name: Option<Text>,
    /// The name of the new issuer.
    issuer_name: Option<Text>,
    /// The size of the new key; 0 for the usual one of its type.
    key_bits: Option<Number>,
    /// The type of the new key; that of the old one if left out.
    key_type: Option<Text>,
    /// The size of a new ML-DSA key: `44`, `65` or `87`; that of the old one if left out.
    parameter_set: Option<Text>,
    /// How long the next CA lives; as long as the old one if left out.
    ttl: Option<Seconds>,
}

impl Command<Pki> for StartRoll {
    const ROUTE: Route = Route::post("roll").logged().sudo().heavy();
    type Reply = ShownRoll;

    fn run(mut self, engine: &Pki, cx: &mut Writing<'_>) -> Result<Reply<ShownRoll>> {
        if let Some(roll) = ROLL.get(cx)?.filter(Roll::goes_on) {
            return Err(Error::invalid(format!(
                "the roll from {} to {} is {}; one CA of a mount is rolled at a time. Its certificates end sooner if reissue replaces and revokes them",
                roll.old,
                roll.new,
                roll.state.word()
            )));
        }
        let publish = self.publish_for.map_or(PUBLISH_SECONDS, |span| span.0);
        if publish < PUBLISH_SECONDS_MIN {
            return Err(Error::invalid(format!(
                "publish_for is {publish} s; holders ask every five minutes and need {PUBLISH_SECONDS_MIN} s at least"
            )));
        }
        let all = Authorities::load(cx)?;
        let reference = self.issuer_ref.take().map_or(DEFAULT.to_owned(), |text| text.0);
        let old = replaced(cx, &all, &reference)?;
        let (next, next_was) = match text(self.next_ref.take()).as_str() {
            "" => (self.wish(old, &all)?.make(engine, cx, old, &all)?, None),
            reference => {
                let next = brought(&all, old, reference)?;
                (Next::Here(next.id), Some(next.record.usage))
            }
        };
        let started = cx.now();
        let (state, new, awaited) = match next {
            Next::Here(id) => {
                may_issue(cx, id, false)?;
                (State::Published, id, None)
            }
            Next::Requested(awaited) => (State::Requested, Id::new(cx), Some(awaited)),
        };
        let roll = Roll {
            old: old.id,
            new,
            state,
            started,
            publish_for: publish,
            awaited,
            publish_until: started.plus(Duration::from_secs(publish)),
            waits_for_holders: self.wait_for_holders.is_none_or(|flag| flag.0),
            next_was,
            switched: None,
            unstored_until: 0,
            after: String::new(),
            counting: Leaves::default(),
            leaves: None,
            finished: None,
            given_up: None,
        };
        ROLL.put(cx, &Some(roll.clone()))?;
        if state == State::Published {
            cx.later::<Pki, _>(Duration::from_secs(publish), &RollStep::of(&roll))?;
        }
        Ok(Reply::Data(show(cx, &Authorities::load(cx)?, &roll)?))
    }
}

impl StartRoll {
    fn wish(&mut self, old: &Issuer, all: &Authorities) -> Result<Wish> {
        let shape = old.certificate.public_key().shape();
        let validity = old.certificate.validity();
        let name = text(self.issuer_name.take());
        check_issuer_name(&name, None, all)?;
        let key_type = match text(self.key_type.take()) {
            given if given.is_empty() => shape.family.name().to_owned(),
            given => given,
        };
        let own_bits = if key_type == shape.family.name() { u64::from(shape.bits) } else { 0 };
        let key_bits = self.key_bits.map_or(own_bits, |bits| unsigned(Some(bits)));
        let parameter_set = match text(self.parameter_set.take()) {
            given if given.is_empty() => own_bits.to_string(),
            given => given,
        };
        Ok(Wish {
            common_name: text(self.common_name.take()),
            issuer_name: name,
            key_bits: if key_type == "ed25519" { 0 } else { key_bits },
            key_type,
            parameter_set,
            ttl: self.ttl.map_or(validity.not_after.saturating_sub(validity.not_before), |span| span.0),
        })
    }
}

/// Lets an issuer issue, or not.
pub(super) fn may_issue(cx: &mut Writing<'_>, id: Id, may: bool) -> Result<()> {
    let gone = || Error::invalid(format!("the issuer {id} of the roll is not here any more"));
    let mut record = ISSUERS.get(cx, id.as_bytes())?.ok_or_else(gone)?;
    record.usage.issuing = may;
    ISSUERS.put(cx, id.as_bytes(), &record)
}

/// The CA that is to be replaced: one that issues, or one that was revoked, which needs it most.
fn replaced<'a>(cx: &Writing<'_>, all: &'a Authorities, reference: &str) -> Result<&'a Issuer> {
    match all.issuer(reference).filter(|issuer| issuer.record.revoked_at.is_some()) {
        Some(revoked) => {
            cx.warn("The CA that is to be replaced was revoked, so it issues nothing; the next one does from the switch on (roll/switch does that at once).");
            Ok(revoked)
        }
        None => Ok(all.signer(reference)?.0),
    }
}

fn brought<'a>(all: &'a Authorities, old: &Issuer, reference: &str) -> Result<&'a Issuer> {
    let (next, _) = all.signer(reference)?;
    if next.id == old.id {
        return Err(Error::invalid("next_ref is the CA that is to be replaced"));
    }
    if Some(next.id) == all.defaults.issuer {
        return Err(Error::invalid(
            "next_ref is the default issuer, which signs already: make the old one the default again, and begin then",
        ));
    }
    Ok(next)
}

/// Gives up a roll whose next CA has not signed yet: it leaves the bundle.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct AbortRoll {}

impl Command<Pki> for AbortRoll {
    const ROUTE: Route = Route::post("roll/abort").logged().sudo();
    type Reply = ShownRoll;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<ShownRoll>> {
        let mut roll = ROLL.get(cx)?.ok_or_else(|| Error::invalid(NONE))?;
        if !roll.is_abortable() {
            return Err(Error::invalid(format!(
                "the roll is {}: it can be given up until the next CA signs. To go back, wait until it is finished, and roll again",
                roll.state.word()
            )));
        }
        // One that is gone from the mount needs no rights back.
        if let (Some(usage), Some(mut record)) = (roll.next_was, ISSUERS.get(cx, roll.new.as_bytes())?) {
            let issuing = usage.issuing && record.revoked_at.is_none();
            record.usage = Usage { issuing, ..record.usage };
            ISSUERS.put(cx, roll.new.as_bytes(), &record)?;
        }
        if let Some(awaited) = &roll.awaited {
            forget_request(cx, awaited)?;
        }
        (roll.state, roll.finished) = (State::Aborted, Some(cx.now()));
        ROLL.put(cx, &Some(roll.clone()))?;
        Ok(Reply::Data(show(cx, &Authorities::load(cx)?, &roll)?))
    }
}

/// What is said where there is no roll.
pub(super) const NONE: &str = "no CA of this mount is being rolled; POST roll begins it";
