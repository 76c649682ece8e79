//! From when until when a certificate is valid.

use kit::loose::Span;
use kit::{Error, Reads, Result};
use x509::Validity;

use super::authorities::Issuer;
use super::dates::shown;
use super::fields::Seconds;
use super::rules::{NotAfterBound, NotBeforeBound, Rules, moment};
use super::store::LeafNotAfter;

/// What a request says about it, in seconds and in seconds since 1970.
pub(super) struct AskedLifetime {
    pub(super) ttl_seconds: u64,
    /// Whether that lies within what the role says of the end already, as an order's does.
    pub(super) is_fitted: bool,
    pub(super) not_before: Option<u64>,
    pub(super) not_after: Option<u64>,
}

impl AskedLifetime {
    /// Reads the parameters.
    pub(super) fn read(ttl: Option<Seconds>, not_before: &str, not_after: &str) -> Result<Self> {
        let ttl_seconds = ttl.unwrap_or_default().0;
        if ttl_seconds > 0 && !not_after.is_empty() {
            return Err(two_ends());
        }
        Ok(Self {
            ttl_seconds,
            is_fitted: false,
            not_before: moment("not_before", not_before)?,
            not_after: moment("not_after", not_after)?,
        })
    }
}

fn two_ends() -> Error {
    Error::invalid(
        "Either ttl or not_after should be provided. Both should not be provided in the same request.",
    )
}

/// The lifetime of a leaf, as its role, its issuer and the mount allow it.
pub(super) fn of_leaf(
    asked: &AskedLifetime,
    rules: &Rules,
    issuer: &Issuer,
    cx: &impl Reads,
) -> Result<Validity> {
    let role = &rules.role;
    let now = cx.now().seconds();
    let not_before = leaf_start(asked, rules, now)?;
    tell_of_1970(not_before, cx);
    let limits = Limits { ttl: role.ttl, max_ttl: role.max_ttl };
    let not_after = match asked.not_after {
        Some(time) => bounded(time, rules, limits.max(cx), now)?,
        None => match rules.not_after {
            Some(time) if asked.ttl_seconds == 0 => time,
            Some(_) if !asked.is_fitted => return Err(two_ends()),
            _ => now.saturating_add(limits.choose(asked.ttl_seconds, cx)),
        },
    };
    let not_after = within_issuer(not_after, issuer, cx)?;
    ordered(not_before, not_after)
}

/// The lifetime of a CA that this mount makes or signs.
pub(super) fn of_ca(asked: &AskedLifetime, not_before_duration: u64, cx: &impl Reads) -> Result<Validity> {
    let limits = Limits { ttl: 0, max_ttl: 0 };
    let usual = cx.now().seconds().saturating_sub(not_before_duration);
    let start = asked.not_before.unwrap_or(usual);
    tell_of_1970(start, cx);
    let end = match asked.not_after {
        Some(time) => time,
        None => cx.now().seconds().saturating_add(limits.choose(asked.ttl_seconds, cx)),
    };
    ordered(start, end)
}

/// Dates here begin in 1970. What was valid before then is of no use to anybody, but is told.
fn tell_of_1970(not_before: u64, cx: &impl Reads) {
    if not_before == 0 {
        cx.warn("the certificate is valid from 1970-01-01T00:00:00Z on: an earlier start is not kept");
    }
}

struct Limits {
    ttl: u64,
    max_ttl: u64,
}

impl Limits {
    fn max(&self, cx: &impl Reads) -> u64 {
        match self.max_ttl {
            0 => cx.mount().max_ttl.as_secs(),
            seconds => seconds,
        }
    }

    /// What the request asks for, else what the role has, else the mount's; cut to the maximum with a warning.
    fn choose(&self, asked: u64, cx: &impl Reads) -> u64 {
        let default = cx.mount().default_ttl.as_secs();
        let ttl = [asked, self.ttl, default].into_iter().find(|seconds| *seconds != 0).unwrap_or_default();
        let max = self.max(cx);
        if ttl > max {
            cx.warn(format!(
                "TTL \"{}\" is longer than permitted maxTTL \"{}\", so maxTTL is being used",
                go(ttl),
                go(max)
            ));
        }
        ttl.min(max)
    }
}

fn leaf_start(asked: &AskedLifetime, rules: &Rules, now: u64) -> Result<u64> {
    let usual = now.saturating_sub(rules.role.not_before_duration);
    let Some(time) = asked.not_before else { return Ok(rules.not_before.unwrap_or(usual)) };
    match rules.not_before_bound {
        NotBeforeBound::Forbid => {
            Err(Error::invalid("not_before_bound is set to forbid. not_before cannot be provided."))
        }
        NotBeforeBound::Duration if time < usual => Err(Error::invalid(format!(
            "not_before_bound is set to duration. Cannot satisfy request as it would result in notBefore of {} that is older than the allowed not_before_duration of {}",
            shown(time),
            go(rules.role.not_before_duration)
        ))),
        _ => Ok(time),
    }
}

fn bounded(time: u64, rules: &Rules, max_ttl: u64, now: u64) -> Result<u64> {
    match &rules.not_after_bound {
        NotAfterBound::Forbid => {
            Err(Error::invalid("not_after_bound is set to forbid. not_after cannot be provided."))
        }
        NotAfterBound::TtlLimited if time > now.saturating_add(max_ttl) => Err(Error::invalid(format!(
            "not_after_bound is set to ttl-limited. Cannot satisfy request as that would result in notAfter of {} that is beyond the TTL of {}",
            shown(time),
            go(max_ttl)
        ))),
        NotAfterBound::Until(bound) if time > *bound => Err(Error::invalid(format!(
            "not_after_bound is set to {0}. Cannot satisfy request as that would result in notAfter of {1} that is beyond the maximum timestamp of {0}",
            shown(*bound),
            shown(time)
        ))),
        _ => Ok(time),
    }
}

/// The end of an intermediate. It may lie beyond that of its issuer, since another may sign it too, but that is told.
pub(super) fn of_intermediate(validity: Validity, issuer: &Issuer, cx: &impl Reads) -> u64 {
    let end = issuer.certificate.validity().not_after;
    if validity.not_after <= end {
        return validity.not_after;
    }
    if issuer.record.leaf_not_after == LeafNotAfter::Truncate {
        cx.warn(CUT);
        return end;
    }
    cx.warn("The expiration time for the signed certificate is after the CA's expiration time. If the new certificate is not treated as a root, validation paths with the certificate past the issuing CA's expiration time will fail.");
    validity.not_after
}

const CUT: &str = "The expiration time asked for is after the CA's expiration time, so the new certificate ends with its CA. If another CA is to sign it too, set the issuer's leaf_not_after_behavior to permit.";

/// Cuts a lifetime to that of the issuer, or refuses it, as the issuer says.
fn within_issuer(not_after: u64, issuer: &Issuer, cx: &impl Reads) -> Result<u64> {
    let end = issuer.certificate.validity().not_after;
    if not_after <= end {
        return Ok(not_after);
    }
    match issuer.record.leaf_not_after {
        LeafNotAfter::Permit => Ok(not_after),
        LeafNotAfter::Truncate => {
            cx.warn(format!(
                "the certificate ends with its issuer at {}, not at {}, since the issuer's leaf_not_after_behavior is truncate",
                shown(end),
                shown(not_after)
            ));
            Ok(end)
        }
        LeafNotAfter::Err => Err(Error::invalid(format!(
            "cannot satisfy request, as TTL would result in notAfter of {} that is beyond the expiration of the CA certificate at {}",
            shown(not_after),
            shown(end)
        ))),
    }
}

fn ordered(not_before: u64, not_after: u64) -> Result<Validity> {
    if not_after < not_before {
        return Err(Error::invalid(format!(
            "The certificate's Not Before ({}) is later than the certificate's Not After ({})",
            shown(not_before),
            shown(not_after)
        )));
    }
    Ok(Validity { not_before, not_after })
}

fn go(seconds: u64) -> String {
    Span::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX)).go()
}
