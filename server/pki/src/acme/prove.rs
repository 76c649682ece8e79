//! Looking at proofs. Only ports 80 and 443 are ever asked, a name is looked up once and the address that came of it is
//! connected to, by redirects within a host too; little is read, and all of it ends in time. What stands in an answer is
//! never repeated.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Call, Redirects, Trust, Unproven, World};
use url::{Host, Url};
use x509::{AltNames, Certificate, ObjectIdentifier};

use super::caa;
use super::identifier::Name;
use super::problem::{Kind, Problem};
use super::records::ChallengeKind;
use super::shares::{self, Shares};
use super::targets::Targets;

/// How long looking at one proof may take.
const TIME: Duration = Duration::from_secs(20);
/// How many answers may send on.
const REDIRECTS_MAX: usize = 10;
/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 3;
/// How much of a page is read. A proof is shorter than two hundred characters.
const PAGE_SIZE_MAX: usize = 4096;
/// What a certificate that proves a name is shown to (RFC 8737 §3).
const ALPN: &str = "acme-tls/1";
/// Why a name is not looked at.
const CLOSED: &str =
    "the name leads to an address that this server does not go to (see allowed_targets in config/acme)";
/// The extension that holds the proof in it.
const ACME_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.31");

/// What is to be looked for, and where.
pub(crate) struct Proof {
    pub(super) kind: ChallengeKind,
    pub(super) name: Name,
    pub(super) token: String,
    /// The key authorization (RFC 8555 §8.1).
    pub(super) answer: String,
    /// The name server; empty for this machine's.
    pub(super) resolver: String,
    pub(super) targets: Targets,
    /// As whom this authority asks the owner of the name to be let; nothing, if it does not ask.
    pub(super) caa: Option<caa::Asks>,
    /// Who looks how much where.
    pub(super) shares: Arc<Shares>,
}

/// Looks whether a proof is in place.
pub(super) async fn look(proof: &Proof, world: &dyn World) -> Result<(), Problem> {
    let looking = async {
        match proof.kind {
            ChallengeKind::Http => page(proof, world).await?,
            ChallengeKind::Dns => record(proof, world).await?,
            ChallengeKind::TlsAlpn => certificate(proof, world).await?,
        }
        match &proof.caa {
            Some(asks) => caa::permit(asks, &proof.name, proof.kind, &proof.resolver, world).await,
            None => Ok(()),
        }
    };
    in_time(looking, world).await
}

/// What comes of looking, if it comes in time.
pub(super) async fn in_time<T>(
    looking: impl Future<Output = Result<T, Problem>>,
    world: &dyn World,
) -> Result<T, Problem> {
    tokio::select! {
        biased;
        found = looking => found,
        () = world.pause(TIME) => {
            let why = format!("there was no whole answer within {} seconds", TIME.as_secs());
            Err(Problem::new(Kind::Connection, why))
        }
    }
}

/// A page under a well-known path (RFC 8555 §8.3).
async fn page(proof: &Proof, world: &dyn World) -> Result<(), Problem> {
    let host = match proof.name {
        Name::Address(IpAddr::V6(address)) => format!("[{address}]"),
        ref name => name.text(),
    };
    let url = format!("http://{host}/.well-known/acme-challenge/{}", proof.token);
    let first: Url = url.parse().map_err(|_| Problem::new(Kind::Malformed, "the name makes no URL"))?;
    let found = permitted(found(proof, world, &first).await?, |address| proof.targets.permit(address));
    let mut addresses = found.ok_or_else(|| denied(CLOSED))?;
    let mut url = first.clone();
    for hop in 0..=REDIRECTS_MAX {
        let (at, told) = fetch(proof, world, &url, &addresses).await.map_err(|problem| match hop {
            0 => problem,
            _ if problem.kind == Kind::RateLimited => problem,
            // Where an answer sends to stood in an answer.
            _ => Problem::new(Kind::Connection, format!("{first} sends on, and nobody answers there")),
        })?;
        match told.status {
            200 if told.body.trim_ascii_end() == proof.answer.as_bytes() => return Ok(()),
            301 | 302 | 303 | 307 | 308 => {
                let next = next(&url, &told.location)?;
                addresses = match next.host() == url.host() {
                    // Looked up again, the name might lead elsewhere by now: to where nobody could have sent it on.
                    true => vec![at],
                    false => sent_on(proof, world, &next).await?,
                };
                url = next;
            }
            status => return Err(no_proof(proof, &first, (hop, at), status)),
        }
    }
    Err(wrong(&format!("more than {REDIRECTS_MAX} redirects")))
}

/// What is told of a page that proves nothing. What a host inside answers is its own affair: whoever orders a
/// certificate for it need not hold it.
fn no_proof(proof: &Proof, first: &Url, (hop, at): (usize, IpAddr), status: u16) -> Problem {
    let place = if hop == 0 { first.to_string() } else { format!("what {first} sends on to") };
    match status != 200 && proof.targets.permit_redirect(at) {
        true => wrong(&format!("{place} answers with status {status}")),
        false => wrong(&format!("{place} does not hold the key authorization")),
    }
}

/// Where an answer sends to.
fn next(url: &Url, location: &str) -> Result<Url, Problem> {
    let next = url.join(location).map_err(|_| wrong("a redirect that is no URL"))?;
    let usual = match next.scheme() {
        "http" => next.port_or_known_default() == Some(80),
        "https" => next.port_or_known_default() == Some(443),
        _ => false,
    };
    if !usual || !next.username().is_empty() || next.password().is_some() {
        return Err(denied(
            "a redirect is followed to http on port 80 and to https on port 443, and to nothing else",
        ));
    }
    Ok(next)
}

/// The addresses of another host that an answer sends on to, as far as the server follows.
async fn sent_on(proof: &Proof, world: &dyn World, url: &Url) -> Result<Vec<IpAddr>, Problem> {
    let found = found(proof, world, url).await;
    let found = found.map_err(|problem| Problem::new(problem.kind, "a redirect leads to no address"))?;
    permitted(found, |address| proof.targets.permit_redirect(address)).ok_or_else(|| {
        denied(
            "a redirect leads to an address that this server does not go to (see allowed_targets in config/acme)",
        )
    })
}

/// The addresses of a URL.
async fn found(proof: &Proof, world: &dyn World, url: &Url) -> Result<Vec<IpAddr>, Problem> {
    match url.host() {
        Some(Host::Ipv4(address)) => Ok(vec![IpAddr::V4(address)]),
        Some(Host::Ipv6(address)) => Ok(vec![IpAddr::V6(address)]),
        Some(Host::Domain(name)) => resolve(world, name, &proof.resolver).await,
        None => Err(wrong("a redirect to no host")),
    }
}

async fn resolve(world: &dyn World, name: &str, resolver: &str) -> Result<Vec<IpAddr>, Problem> {
    let found = world.addresses(name, resolver).await.map_err(|error| Problem::new(Kind::Dns, error))?;
    match found.is_empty() {
        true => Err(Problem::new(Kind::Dns, format!("{name} has no address"))),
        false => Ok(found),
    }
}

/// Of these addresses the first few that may be gone to; nothing, if none may.
fn permitted(found: Vec<IpAddr>, may: impl Fn(IpAddr) -> bool) -> Option<Vec<IpAddr>> {
    let permitted: Vec<IpAddr> =
        found.into_iter().filter(|address| may(*address)).take(ADDRESSES_MAX).collect();
    (!permitted.is_empty()).then_some(permitted)
}

/// What is said by the first of these addresses that says anything.
async fn fetch(
    proof: &Proof,
    world: &dyn World,
    url: &Url,
    addresses: &[IpAddr],
) -> Result<(IpAddr, kit::Told), Problem> {
    let mut failed = Problem::new(Kind::Connection, "no address was tried");
    for address in addresses {
        let _place = proof.shares.at_target(*address).ok_or_else(shares::taken)?;
        let call = Call {
            method: "GET",
            url: url.to_string(),
            trust: Trust { unproven: Unproven::Taken, ..Trust::default() },
            redirects: Redirects::Shown,
            at: Some(*address),
            size_max: Some(PAGE_SIZE_MAX),
            ..Call::default()
        };
        match world.fetch(call).await {
            Ok(told) => return Ok((*address, told)),
            Err(error) => failed = Problem::new(Kind::Connection, error),
        }
    }
    Err(failed)
}

/// A record in the name system (RFC 8555 §8.4).
async fn record(proof: &Proof, world: &dyn World) -> Result<(), Problem> {
    let host = match &proof.name {
        Name::Host(host) | Name::Wildcard(host) => host,
        Name::Address(_) => return Err(denied("an address is not proved by a record")),
    };
    let name = format!("_acme-challenge.{host}");
    let found = world.texts(&name, &proof.resolver).await.map_err(|error| Problem::new(Kind::Dns, error))?;
    let expected = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, proof.answer.as_bytes()));
    match found.contains(&expected) {
        true => Ok(()),
        false => Err(wrong(&format!(
            "none of the {} TXT records of {name} holds the digest of the key authorization",
            found.len()
        ))),
    }
}

/// A certificate that is shown to those who ask for it (RFC 8737).
async fn certificate(proof: &Proof, world: &dyn World) -> Result<(), Problem> {
    let (asked, found) = match &proof.name {
        Name::Host(host) => (host.clone(), resolve(world, host, &proof.resolver).await?),
        Name::Address(address) => (reversed(*address), vec![*address]),
        Name::Wildcard(_) => return Err(denied("a wildcard is not proved by a certificate")),
    };
    let mut failed = Problem::new(Kind::Tls, "no address was tried");
    let permitted = permitted(found, |address| proof.targets.permit(address));
    for address in permitted.ok_or_else(|| denied(CLOSED))? {
        let _place = proof.shares.at_target(address).ok_or_else(shares::taken)?;
        match world.certificate(SocketAddr::new(address, 443), &asked, ALPN).await {
            Ok(der) => return proves(proof, &der),
            Err(error) => failed = Problem::new(Kind::Tls, error),
        }
    }
    Err(failed)
}

/// As which name an address is asked for (RFC 8738 §6).
fn reversed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            digits.map(|digit| format!("{digit:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

fn proves(proof: &Proof, der: &[u8]) -> Result<(), Problem> {
    let unreadable = |error: x509::Error| wrong(&format!("the certificate does not read: {error}"));
    let certificate = Certificate::from_der(der).map_err(unreadable)?;
    let named = certificate.alt_names().map_err(unreadable)?;
    let expected = match &proof.name {
        Name::Address(address) => AltNames { ip: vec![*address], ..AltNames::default() },
        name => AltNames { dns: vec![name.text()], ..AltNames::default() },
    };
    let lower = AltNames { dns: named.dns.iter().map(|name| name.to_ascii_lowercase()).collect(), ..named };
    if lower != expected {
        return Err(wrong("the certificate is not for this name alone"));
    }
    if !certificate.is_self_signed() {
        return Err(wrong("the certificate is not self-signed"));
    }
    let held = digest::digest(&digest::SHA256, proof.answer.as_bytes());
    // An OCTET STRING of 32 bytes.
    let held = [&[0x04, 0x20], held.as_ref()].concat();
    match certificate.extensions().find(&ACME_IDENTIFIER) {
        Some(found) if found.critical && found.value == held => Ok(()),
        Some(found) if !found.critical => Err(wrong("the acmeIdentifier extension is not critical")),
        Some(_) => {
            Err(wrong("the acmeIdentifier extension does not hold the digest of the key authorization"))
        }
        None => Err(wrong("the certificate has no acmeIdentifier extension")),
    }
}

fn wrong(why: &str) -> Problem {
    Problem::new(Kind::IncorrectResponse, why)
}

/// What no waiting mends.
fn denied(why: &str) -> Problem {
    Problem::new(Kind::Unauthorized, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_asked_for_backwards() {
        assert_eq!(reversed("192.0.2.1".parse().unwrap()), "1.2.0.192.in-addr.arpa");
        let long = reversed("2001:db8::1".parse().unwrap());
        assert!(long.starts_with("1.0.0.0.") && long.ends_with("8.b.d.0.1.0.0.2.ip6.arpa"), "{long}");
    }

    #[track_caller]
    fn check(location: &str, expect: Option<&str>) {
        let url: Url = "http://a.example/x".parse().unwrap();
        assert_eq!(next(&url, location).ok().map(|url| url.to_string()).as_deref(), expect, "{location}");
    }

    #[test]
    fn redirects_lead_to_two_ports_only() {
        check("/y", Some("http://a.example/y"));
        check("https://a.example/x", Some("https://a.example/x"));
        check("http://b.example:80/", Some("http://b.example/"));
        check("http://b.example:8080/", None);
        check("https://b.example:80/", None);
        check("ftp://b.example/", None);
        check("file:///etc/passwd", None);
        check("http://me@b.example/", None);
        check("http://b.example:22/", None);
    }
}
