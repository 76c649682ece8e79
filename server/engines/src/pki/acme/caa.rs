//! Who may certify a name, as its owner says in the name system (CAA, RFC 8659), and by which account and what proof
//! (RFC 8657). The operator says by what names this authority is meant; where they say none, nobody is asked.

use std::time::Duration;

use kit::{Caa, Time, World};

use super::config::AcmeConfig;
use super::identifier::Name;
use super::problem::{Kind, Problem};
use super::prove::Proof;
use super::records::AuthorizationRecord;

/// What a record may speak of. One that must be understood, and is not, forbids.
const UNDERSTOOD: [&str; 3] = [ISSUE, ISSUE_WILD, "iodef"];
const ISSUE: &str = "issue";
const ISSUE_WILD: &str = "issuewild";

/// As whom this authority asks to be let.
pub(in crate::pki) struct Asks {
    /// Its names in such records.
    pub(super) identities: Vec<String>,
    /// The URL of the account that orders.
    pub(super) account: String,
}

/// What an owner has said counts for so long, as it does for the authorities that browsers trust.
const HEARD: Duration = Duration::from_secs(8 * 3600);

/// Whether the owner of a name that was proved must be heard again before anything is issued.
pub(super) fn is_stale(config: &AcmeConfig, record: &AuthorizationRecord, now: Time) -> bool {
    let asks = !config.caa_identities.is_empty() && !matches!(record.name, Name::Address(_));
    asks && record.proved_at().is_some_and(|proved| proved.plus(HEARD) <= now)
}

/// Finds out whether the owner of a name lets this authority certify it.
pub(super) async fn permit(proof: &Proof, world: &dyn World) -> Result<(), Problem> {
    let Some(asks) = &proof.caa else { return Ok(()) };
    let (host, is_wildcard) = match &proof.name {
        Name::Host(host) => (host, Wildcard::No),
        Name::Wildcard(host) => (host, Wildcard::Yes),
        // Records stand at names alone.
        Name::Address(_) => return Ok(()),
    };
    // What the closest name above says counts, and nothing that is said further up.
    let mut rest = host.as_str();
    loop {
        let records = world.caa(rest, &proof.resolver).await;
        let records = records.map_err(|error| Problem::new(Kind::Dns, error))?;
        if !records.is_empty() {
            return judge(&records, is_wildcard, asks, proof.kind.text())
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
