//! Making revocation lists.
//!
//! A list is worked out from the revocations when someone asks for it, and kept until it would come out differently.
//! Its date and number follow from what is stored and from the clock alone, so every node and every restart makes the
//! same list: it begins at the last change, or a whole number of steps after it, so that it never runs out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kit::{Error, Fault, Reads, Result, Time};
use x509::{CrlTemplate, Extensions};

use super::authorities::{Authorities, Issuer, authorities, refused};
use super::crl_config::CrlConfig;
use super::listed::Revocations;
use super::shards::{self, Shard};
use super::signers;
use super::store::{CRL, CRL_ROTATED};

/// A delta reaches so far back before the list that it adds to: a revocation is dated when it began, and may have been
/// stored after that list was made.
const OVERLAP: Duration = Duration::from_secs(300);

/// How much of the revocations a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of them.
    Complete,
    /// Those that the complete list does not hold yet.
    Delta,
    /// Those of one shard.
    Shard(Shard),
}

/// What one list says, before it is signed.
struct Draft<'a> {
    this_update: Time,
    next_update: Time,
    number: u64,
    delta_of: Option<u64>,
    entries: Vec<&'a [u8]>,
    extensions: Extensions,
}

/// A signed list.
pub(super) struct List {
    pub(super) der: Vec<u8>,
    /// When it was signed here, whatever date it has: with its issuer that says which one it is.
    pub(super) made: Time,
    pub(super) extent: Extent,
}

/// The revocation list of an issuer.
pub(super) fn list(cx: &impl Reads, issuer: &Issuer, extent: Extent) -> Result<Arc<List>> {
    if issuer.key.is_none() || !issuer.record.usage.crl {
        let why =
            if issuer.key.is_none() { "its key is not in this mount" } else { "its usage lacks crl-signing" };
        // `bao pki health-check` goes on after a 500, and after nothing else.
        let text = format!("unable to find CRL for issuer: id:{}: {why}", issuer.id);
        return Err(Error::new(Fault::Internal, text));
    }
    let all = authorities(cx)?;
    let config = CRL.get(cx)?;
    let (found, dates) = (revocations(cx, &all, issuer)?, Dates::of(cx, &all, issuer, &config, extent)?);
    let (start, now) = (dates.start(&found, cx.now()), cx.now());
    let mark = match dates.fixed && extent != Extent::Delta {
        // Made at fixed times, a list stays as it is, however much is revoked meanwhile.
        true => 0,
        false => found.mark(),
    };
    let algorithm = &issuer.record.revocation_signature_algorithm;
    let urls = match extent {
        Extent::Shard(shard) => shards::urls(cx, &signers::listing_ids(cx, &all, issuer)?, shard)?,
        Extent::Complete | Extent::Delta => vec![],
    };
    let stamp =
        format!("{}/{mark}/{algorithm}/{}/{}/{}", start.0, config.expiry, config.disable, urls.join(" "));
    // Those of a hundred thousand revocations, as reads, would be spoilt by any other write.
    cx.memo_stamped(&format!("crl/{}/{extent}", issuer.id), &stamp, || {
        let mut draft = dates.draft(extent, &found, start, now, &config);
        if let Extent::Shard(_) = extent {
            draft.extensions = draft.extensions.issuing_point(&urls).map_err(refused)?;
        }
        Ok(List { der: sign(issuer, &draft)?, made: cx.now(), extent })
    })
}

/// When the present list of an issuer was made, and when the next is due. It is not signed for that.
pub(super) fn dated(cx: &impl Reads, issuer: &Issuer) -> Result<(Time, Time)> {
    let config = CRL.get(cx)?;
    let all = authorities(cx)?;
    let dates = Dates::of(cx, &all, issuer, &config, Extent::Complete)?;
    let start = dates.start(&revocations(cx, &all, issuer)?, cx.now());
    Ok((start, start.plus(config.expiry())))
}

/// What stands on the lists of an issuer.
fn revocations(cx: &impl Reads, all: &Authorities, issuer: &Issuer) -> Result<Revocations> {
    Revocations::of(cx, &signers::listing_ids(cx, all, issuer)?)
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Delta => f.write_str("delta"),
            Self::Shard(shard) => shard.fmt(f),
        }
    }
}

/// What the dates of lists hang on.
struct Dates {
    rotated: Time,
    step: Duration,
    /// Whether lists are made at fixed times alone.
    fixed: bool,
}

impl Dates {
    fn of(
        cx: &impl Reads,
        all: &Authorities,
        issuer: &Issuer,
        config: &CrlConfig,
        extent: Extent,
    ) -> Result<Self> {
        // Twins give one list one number, whichever is asked.
        let created = signers::twins(all, issuer).map(|twin| twin.record.created_at).max();
        let rotated = CRL_ROTATED.get(cx)?.max(created.unwrap_or_default());
        // Shards are small and have no deltas: who wants those between the fixed times has the shards made anew instead.
        let anew = config.enable_delta && matches!(extent, Extent::Shard(_));
        Ok(Self { rotated, step: config.step(), fixed: config.auto_rebuild && !anew })
    }

    /// What the present list goes back to.
    fn change(&self, found: &Revocations) -> Time {
        if self.fixed { self.rotated } else { self.rotated.max(found.last()) }
    }

    /// When the present list begins.
    fn start(&self, found: &Revocations, now: Time) -> Time {
        begin(self.change(found), self.step, now)
    }

    fn draft<'a>(
        &self,
        extent: Extent,
        found: &'a Revocations,
        start: Time,
        now: Time,
        config: &CrlConfig,
    ) -> Draft<'a> {
        // What was revoked later than now was revoked before the clock was set back.
        let by_then = |at: Time| !self.fixed || at <= start || at > now;
        let since = start.minus(OVERLAP);
        let entries = match extent {
            _ if config.disable => vec![],
            Extent::Complete if !self.fixed => found.whole(),
            Extent::Complete => found.some(|listed| by_then(listed.at)),
            Extent::Shard(shard) => found.some(|listed| shard.holds(listed.slot) && by_then(listed.at)),
            Extent::Delta if self.fixed => found.some(|listed| listed.at > since),
            // Where each revocation makes a new complete list, it leaves nothing to add.
            Extent::Delta => vec![],
        };
        // One that was stored late leaves the date as it was, but not the number.
        let count = if self.fixed { 0 } else { found.count() as u64 };
        // Numbers never go back, also where the clock was set back (RFC 5280 §5.2.3).
        let base = start.max(self.change(found)).0 + count;
        let begins = if extent == Extent::Delta { start.max(found.last().min(now)) } else { start };
        let number = match extent {
            // It follows the list that it adds to, even where it adds nothing: who checks takes no other (RFC 5280 §5.2.4).
            Extent::Delta if self.fixed => base.max(begins.0) + found.count() as u64 + 1,
            Extent::Delta => base + 1,
            Extent::Complete | Extent::Shard(_) => base,
        };
        Draft {
            this_update: begins,
            next_update: begins.plus(config.expiry()),
            number,
            delta_of: (extent == Extent::Delta).then_some(base),
            entries,
            extensions: Extensions::new(),
        }
    }
}

/// The last moment, whole steps after `change`, that is not in the future. Where the clock was set back since the change, whole
/// steps after 1970: nobody takes a list that begins in the future.
pub(super) fn begin(change: Time, step: Duration, now: Time) -> Time {
    let step = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX).max(1);
    let change = if change > now { Time::default() } else { change };
    Time(change.0 + now.0.saturating_sub(change.0) / step * step)
}

fn sign(issuer: &Issuer, draft: &Draft<'_>) -> Result<Vec<u8>> {
    let key = issuer.key.as_ref().ok_or_else(|| Error::internal("an issuer without its key signs a list"))?;
    let scheme = issuer.revocation_scheme()?;
    let own = issuer.certificate.subject_key_id().unwrap_or_else(|| key.public().key_id());
    let template = CrlTemplate {
        this_update: draft.this_update.seconds(),
        next_update: draft.next_update.seconds(),
        number: draft.number,
        delta_of: draft.delta_of,
        authority_key_id: &own,
        revoked: &draft.entries,
        extensions: draft.extensions.clone(),
    };
    template.sign(issuer.certificate.subject_der(), key, scheme).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_begins_at_the_change_or_whole_steps_after() {
        let step = Duration::from_secs(10);
        for (change, now, expect) in
            [(100, 100, 100), (100, 109, 100), (100, 110, 110), (100, 155, 150), (100, 57, 50)]
        {
            let (change, now) = (Time::from_seconds(change), Time::from_seconds(now));
            assert_eq!(begin(change, step, now), Time::from_seconds(expect));
        }
    }
}
