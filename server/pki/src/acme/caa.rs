//! Who may certify a name, as its owner says in the name system (CAA, RFC 8659), and by which account and what proof
//! (RFC 8657). The operator says by what names this authority is meant; where they say none, nobody is asked. They are asked
//! with each proof, and again when a certificate is issued much later.

use std::time::Duration;

use jws::Message;
use kit::{Awaited, Caa, Reads, Recording, Time, World, Writing};

use super::challenge::asks;
use super::config::config;
use super::identifier::Name;
use super::limits::{Limit, Limits};
use super::problem::{Kind, Problem, Refused};
use super::prove::in_time;
use super::records::{
    ACCOUNTS, AUTHORIZATIONS, AuthorizationRecord, ChallengeKind, ChallengeStatus, ORDERS, OrderRecord,
    OrderStatus,
};
use super::signed::public_key;
use crate::store::Id;

/// How long an answer counts (CA/Browser Forum, Baseline Requirements 3.2.2.8).
const GOOD: Duration = Duration::from_secs(8 * 3600);
/// How old an answer may be that is not asked for again: a little less, so that it is still good when all have answered.
const FRESH: Duration = Duration::from_secs(8 * 3600 - 300);

/// What a record may speak of. One that must be understood, and is not, forbids.
const UNDERSTOOD: [&str; 3] = [ISSUE, ISSUE_WILD, "iodef"];
const ISSUE: &str = "issue";
const ISSUE_WILD: &str = "issuewild";

/// As whom this authority asks to be let.
pub(crate) struct Asks {
    /// Its names in such records.
    pub(super) identities: Vec<String>,
    /// The URL of the account that orders.
    pub(super) account: String,
}

/// Whom to ask again before an order is issued.
#[derive(Default)]
pub(crate) struct Questions {
    asks: Option<Asks>,
    resolver: String,
    of: Vec<(Id, Name, ChallengeKind)>,
}

/// The authorizations whose names may be certified, as their owners have just said.
pub(crate) type Heard = Result<Vec<Id>, Problem>;

/// Finds out whom to ask again before this order is issued. Nobody is asked for who has not signed.
pub(super) fn questions(
    cx: &Recording<'_>,
    order: &str,
    message: impl FnOnce() -> Option<Message<'static>>,
) -> Result<Questions, Refused> {
    let config = config(cx)?;
    let none = Questions::default;
    if !config.enabled || config.caa_identities.is_empty() {
        return Ok(none());
    }
    let Some(id) = Id::parse(order) else { return Ok(none()) };
    let Some(order) = ORDERS.get(cx, id.as_bytes())? else { return Ok(none()) };
    let Some(account) = ACCOUNTS.get(cx, order.account.as_bytes())? else { return Ok(none()) };
    let key = public_key(&account.key)?;
    let signed = message().is_some_and(|message| message.signed_by(&key).is_some());
    if !signed || order.status_at(cx.now()) != OrderStatus::Ready {
        return Ok(none());
    }
    let mut of = Vec::new();
    for id in &order.authorizations {
        let Some(record) = AUTHORIZATIONS.get(cx, id.as_bytes())? else { continue };
        if let Some(kind) = proved_by(&record).filter(|_| !is_younger(&record, FRESH, cx.now())) {
            of.push((*id, record.name, kind));
        }
    }
    if !of.is_empty() {
        Limits::of(cx).count(Limit::Questions, order.account.as_bytes(), 1, cx.now())?;
    }
    Ok(Questions {
        asks: asks(cx, &config, &account, order.account)?,
        resolver: config.dns_resolver.clone(),
        of,
    })
}

impl Questions {
    /// Most orders are issued soon, and nobody is asked for them.
    pub(super) fn awaits(&self) -> Awaited {
        if self.of.is_empty() { Awaited::Nobody } else { Awaited::Systems }
    }
}

/// Asks.
pub(super) async fn hear(questions: &Questions, world: &dyn World) -> Heard {
    let Some(asks) = questions.asks.as_ref().filter(|_| !questions.of.is_empty()) else {
        return Ok(Vec::new());
    };
    let asking = async {
        for (_, name, kind) in &questions.of {
            permit(asks, name, *kind, &questions.resolver, world).await?;
        }
        Ok(questions.of.iter().map(|(id, ..)| *id).collect())
    };
    in_time(asking, world).await
}

/// Notes what was heard, and refuses an order with a name whose owner does not let this authority certify it, or has not
/// said so of late.
pub(super) fn settle(cx: &mut Writing<'_>, order: &OrderRecord, heard: &Heard) -> Result<(), Refused> {
    let heard = heard.as_ref().map_err(|problem| Refused::from(problem.clone()))?;
    if config(cx)?.caa_identities.is_empty() {
        return Ok(());
    }
    let now = cx.now();
    for id in &order.authorizations {
        let Some(mut record) = AUTHORIZATIONS.get(cx, id.as_bytes())? else { continue };
        if heard.contains(id) {
            record.caa_at = Some(now);
            AUTHORIZATIONS.put(cx, id.as_bytes(), &record)?;
        } else if proved_by(&record).is_some() && !is_younger(&record, GOOD, now) {
            let why = format!("the CAA records of {} are to be read again; try again", record.name.text());
            return Err(Refused::new(Kind::ServerInternal, why));
        }
    }
    Ok(())
}

/// What has proved a name that has an owner to ask: none of those that an account was given, and no address.
fn proved_by(record: &AuthorizationRecord) -> Option<ChallengeKind> {
    let proved = record.challenges.iter().find(|one| one.status == ChallengeStatus::Valid)?;
    (!matches!(record.name, Name::Address(_))).then_some(proved.kind)
}

fn is_younger(record: &AuthorizationRecord, age: Duration, now: Time) -> bool {
    record.caa_at.is_some_and(|at| at.until(now) < age)
}

/// Finds out whether the owner of a name lets this authority certify it.
pub(super) async fn permit(
    asks: &Asks,
    name: &Name,
    kind: ChallengeKind,
    resolver: &str,
    world: &dyn World,
) -> Result<(), Problem> {
    let (host, is_wildcard) = match name {
        Name::Host(host) => (host, Wildcard::No),
        Name::Wildcard(host) => (host, Wildcard::Yes),
        // Records stand at names alone.
        Name::Address(_) => return Ok(()),
    };
    // What the closest name above says counts, and nothing that is said further up.
    let mut rest = host.as_str();
    loop {
        let records = world.caa(rest, resolver).await;
        let records = records.map_err(|error| Problem::new(Kind::Dns, error))?;
        if !records.is_empty() {
            return judge(&records, is_wildcard, asks, kind.text())
                .map_err(|why| Problem::new(Kind::Caa, format!("the CAA records of {rest} {why}")));
        }
        match rest.split_once('.') {
            Some((_, above)) => rest = above,
            None => return Ok(()),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Wildcard {
    Yes,
    No,
}

fn judge(records: &[Caa], wildcard: Wildcard, asks: &Asks, method: &str) -> Result<(), String> {
    let tagged = |tag: &'static str| records.iter().filter(move |one| one.tag.eq_ignore_ascii_case(tag));
    let understood = |one: &&Caa| UNDERSTOOD.iter().any(|tag| one.tag.eq_ignore_ascii_case(tag));
    if let Some(strange) = records.iter().find(|one| one.critical && !understood(one)) {
        let tag: String = strange.tag.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
        return Err(format!("hold a critical property {tag:?}, which is not understood here"));
    }
    let wild = wildcard == Wildcard::Yes && tagged(ISSUE_WILD).next().is_some();
    let mut speaking = tagged(if wild { ISSUE_WILD } else { ISSUE }).peekable();
    if speaking.peek().is_none() || speaking.any(|one| lets(&one.value, asks, method)) {
        return Ok(());
    }
    Err(format!("do not let [{}] certify it for this account by {method}", asks.identities.join(", ")))
}

/// Whether one record lets this authority certify. One that cannot be read lets nobody.
fn lets(value: &str, asks: &Asks, method: &str) -> bool {
    let mut parts = value.split(';').map(str::trim);
    let authority = parts.next().unwrap_or_default();
    if !asks.identities.iter().any(|own| own.eq_ignore_ascii_case(authority)) {
        return false;
    }
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    let parameters: Option<Vec<_>> = parts.iter().map(|part| part.split_once('=')).collect();
    let Some(parameters) = parameters else { return false };
    let given = |name: &str| {
        let found = parameters.iter().filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim()).collect::<Vec<_>>()
    };
    let account = match given("accounturi").as_slice() {
        [] => true,
        [one] => *one == asks.account,
        _ => false,
    };
    account
        && match given("validationmethods").as_slice() {
            [] => true,
            [one] => one.split(',').any(|known| known.trim() == method),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "https://ca.test/v1/pki/acme/account/1";

    /// Judges records that are written `tag value`, or `!tag value` for critical ones.
    #[track_caller]
    fn check(wildcard: Wildcard, records: &[&str], expect: bool) {
        let record = |text: &&str| {
            let (tag, value) = text.split_once(' ').unwrap();
            let (critical, tag) = tag.strip_prefix('!').map_or((false, tag), |tag| (true, tag));
            Caa { critical, tag: tag.to_owned(), value: value.to_owned() }
        };
        let records: Vec<_> = records.iter().map(record).collect();
        let asks = Asks { identities: vec!["ca.test".to_owned()], account: ACCOUNT.to_owned() };
        assert_eq!(judge(&records, wildcard, &asks, "http-01").is_ok(), expect, "{records:?}");
    }

    #[test]
    fn owners_say_who_certifies() {
        let host = |records: &[&str], expect| check(Wildcard::No, records, expect);
        host(&["issue ca.test"], true);
        host(&["ISSUE CA.TEST"], true);
        host(&["issue other.test"], false);
        host(&["issue other.test", "issue ca.test"], true);
        host(&["issue ;"], false);
        host(&["issue "], false);
        host(&["issue xca.test"], false);
        host(&["issue ca.test.evil"], false);
        host(&["iodef mailto:me@example.org"], true);
        host(&["issuewild other.test"], true);
        host(&["tbs unknown"], true);
        host(&["!tbs unknown", "issue ca.test"], false);
        host(&["!issue ca.test"], true);
        let wild = |records: &[&str], expect| check(Wildcard::Yes, records, expect);
        wild(&["issue ca.test"], true);
        wild(&["issue ca.test", "issuewild ;"], false);
        wild(&["issue ;", "issuewild ca.test"], true);
        wild(&["issue other.test"], false);
    }

    #[test]
    fn owners_say_for_whom_and_how() {
        let host = |parameters: &str, expect| {
            check(Wildcard::No, &[format!("issue ca.test{parameters}").as_str()], expect);
        };
        host(&format!("; accounturi={ACCOUNT}"), true);
        host(&format!(";accounturi={ACCOUNT};"), true);
        host(&format!("; accounturi={ACCOUNT}2"), false);
        host(&format!("; accounturi={ACCOUNT}; accounturi={ACCOUNT}"), false);
        host("; accounturi=", false);
        host("; validationmethods=http-01", true);
        host("; validationmethods=dns-01,http-01", true);
        host("; validationmethods=dns-01", false);
        host("; validationmethods=", false);
        host("; validationmethods=http-01; validationmethods=http-01", false);
        host(&format!("; validationmethods=http-01; accounturi={ACCOUNT}"), true);
        host(&format!("; validationmethods=dns-01; accounturi={ACCOUNT}"), false);
        host("; policy=ev", true);
        host("; nonsense", false);
    }
}
