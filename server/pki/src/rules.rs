//! A role, read once: everything in it that could be wrong is right in here.

use std::net::IpAddr;
use std::sync::Arc;

use kit::{Error, Reads, Result};
use serde::Deserialize;
use x509::{ExtKeyUsage, KeyShape, KeyUsage, ObjectIdentifier, OtherName, Padding, Policy};

use super::authorities::refused;
use super::role::Role;
use super::store::ROLES;
use super::{dates, fields};

/// A role whose fields have been parsed.
pub(super) struct Rules {
    pub(super) role: Role,
    /// The keys that are made; `None` where the request must say.
    pub(super) key_shape: Option<KeyShape>,
    pub(super) key_usage: KeyUsage,
    pub(super) purposes: Vec<ExtKeyUsage>,
    pub(super) policies: Vec<Policy>,
    pub(super) networks: Vec<Network>,
    pub(super) other_names: OtherNames,
    pub(super) padding: Padding,
    /// In seconds since 1970, as the next.
    pub(super) not_after: Option<u64>,
    pub(super) not_before: Option<u64>,
    pub(super) not_after_bound: NotAfterBound,
    pub(super) not_before_bound: NotBeforeBound,
    pub(super) common_names: CommonNames,
}

/// What a common name may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommonNames {
    /// Anything at all.
    Unchecked,
    /// A name that passes the role's rules, of these kinds.
    Checked { email: bool, hostname: bool },
}

/// What a request may say of the end of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotAfterBound {
    Permit,
    TtlLimited,
    Forbid,
    /// In seconds since 1970.
    Until(u64),
}

/// What a request may say of the start of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotBeforeBound {
    Permit,
    Duration,
    Forbid,
}

/// The other names that may be asked for.
pub(super) enum OtherNames {
    /// All.
    Any,
    /// Those whose type is here and whose value fits the pattern beside it.
    Among(Vec<OtherName>),
}

/// The rules of a role, as they were committed.
pub(super) fn rules(cx: &impl Reads, name: &str) -> Result<Option<Arc<Option<Rules>>>> {
    let found =
        cx.memo(&format!("role/{name}"), |cx| ROLES.get(cx, name)?.map(|role| Rules::of(&role)).transpose())?;
    Ok(found.is_some().then_some(found))
}

impl Rules {
    /// Parses a role. Refuses what no certificate could be issued under.
    pub(super) fn of(role: &Role) -> Result<Self> {
        let key_shape = match role.key_type.as_str() {
            "any" => None,
            key_type => Some(fields::key_shape(key_type, role.key_bits, &role.parameter_set)?),
        };
        role.subject().to_der().map_err(refused)?;
        Ok(Self {
            key_shape,
            key_usage: KeyUsage::parse(&role.key_usage).map_err(refused)?,
            purposes: purposes(role)?,
            policies: policies(&role.policy_identifiers)?,
            networks: networks(&role.allowed_ip_sans_cidr)?,
            other_names: other_names(&role.allowed_other_sans)?,
            padding: signature(role)?,
            not_after: moment("not_after", &role.not_after)?,
            not_before: moment("not_before", &role.not_before)?,
            not_after_bound: not_after_bound(&role.not_after_bound)?,
            not_before_bound: not_before_bound(&role.not_before_bound)?,
            common_names: common_names(&role.cn_validations)?,
            role: role.clone(),
        })
    }
}

/// How programs in Go write a time that was not set.
pub(super) const UNSET: &str = "0001-01-01T00:00:00Z";

/// A time that a role or a request names, in seconds since 1970; empty for none. What lies before is 1970.
pub(super) fn moment(field: &str, text: &str) -> Result<Option<u64>> {
    if text.is_empty() || text == UNSET {
        return Ok(None);
    }
    dates::parse(text).map(Some).ok_or_else(|| {
        Error::invalid(format!("{field} is {text:?}; it should be a time in UTC like 2030-01-02T15:04:05Z"))
    })
}

/// The purposes that names and numbers stand for, each once.
pub(super) fn ext_key_usages(names: &[String], oids: &[String]) -> Result<Vec<ExtKeyUsage>> {
    let names = names.iter().filter(|name| !name.trim().is_empty()).map(|name| ExtKeyUsage::parse(name));
    let oids = oids.iter().filter(|oid| !oid.trim().is_empty()).map(|oid| ExtKeyUsage::from_oid(oid));
    let mut purposes: Vec<ExtKeyUsage> = Vec::new();
    for purpose in names.chain(oids) {
        let purpose = purpose.map_err(refused)?;
        if !purposes.contains(&purpose) {
            purposes.push(purpose);
        }
    }
    Ok(purposes)
}

fn purposes(role: &Role) -> Result<Vec<ExtKeyUsage>> {
    let flags = [
        (role.server_flag, ExtKeyUsage::SERVER_AUTH),
        (role.client_flag, ExtKeyUsage::CLIENT_AUTH),
        (role.code_signing_flag, ExtKeyUsage::CODE_SIGNING),
        (role.email_protection_flag, ExtKeyUsage::EMAIL_PROTECTION),
    ];
    let mut purposes: Vec<_> = flags.into_iter().filter(|(is, _)| *is).map(|(_, purpose)| purpose).collect();
    for purpose in ext_key_usages(&role.ext_key_usage, &role.ext_key_usage_oids)? {
        if !purposes.contains(&purpose) {
            purposes.push(purpose);
        }
    }
    Ok(purposes)
}

fn signature(role: &Role) -> Result<Padding> {
    match role.signature_bits {
        0 | 256 | 384 | 512 => Ok(if role.use_pss { Padding::Pss } else { Padding::Pkcs1 }),
        other => Err(Error::invalid(format!(
            "unsupported hash signature algorithm: {other}; signature_bits is 256, 384, 512 or 0 for the default"
        ))),
    }
}

/// The longest text of a notice, in characters (RFC 5280, section 4.2.1.4).
const NOTICE_LENGTH_MAX: usize = 200;

/// Each policy once, as RFC 5280 has it: a certificate with one twice is read by no program in Go.
fn policies(texts: &[String]) -> Result<Vec<Policy>> {
    let mut policies: Vec<Policy> = Vec::new();
    for text in texts {
        let new = policy(text)?;
        match policies.iter().find(|policy| policy.oid == new.oid) {
            None => policies.push(new),
            Some(same) if *same == new => {}
            Some(_) => {
                return Err(Error::invalid(format!(
                    "policy_identifiers holds {} twice, and says other things of it; a certificate holds a policy once (RFC 5280, section 4.2.1.4)",
                    new.oid
                )));
            }
        }
    }
    Ok(policies)
}

fn policy(text: &str) -> Result<Policy> {
    #[derive(Deserialize)]
    struct Parts {
        oid: String,
        cps: Option<String>,
        notice: Option<String>,
    }
    if let Ok(oid) = ObjectIdentifier::new(text.trim()) {
        return Ok(Policy { oid, cps: None, notice: None });
    }
    let shape = || {
        Error::invalid(format!(
            "policy identifier {text:?} is neither an OID nor a JSON object like {{\"oid\":\"1.3.6.1.4.1.7.8\",\"cps\":\"https://…\",\"notice\":\"…\"}}"
        ))
    };
    let parts: Parts = serde_json::from_str(text).map_err(|_| shape())?;
    let oid = ObjectIdentifier::new(&parts.oid).map_err(|_| shape())?;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (cps, notice) = (filled(parts.cps), filled(parts.notice));
    if let Some(cps) = cps.as_ref().filter(|cps| fields::check_uri(cps).is_err()) {
        return Err(Error::invalid(format!("the cps of the policy {oid} is {cps:?}; it should be a URI")));
    }
    if notice.as_ref().is_some_and(|notice| notice.chars().count() > NOTICE_LENGTH_MAX) {
        return Err(Error::invalid(format!(
            "the notice of the policy {oid} is longer than {NOTICE_LENGTH_MAX} characters (RFC 5280, section 4.2.1.4)"
        )));
    }
    Ok(Policy { oid, cps, notice })
}

fn not_after_bound(text: &str) -> Result<NotAfterBound> {
    match text {
        "permit" | "" => Ok(NotAfterBound::Permit),
        "ttl-limited" => Ok(NotAfterBound::TtlLimited),
        "forbid" => Ok(NotAfterBound::Forbid),
        time => match moment("not_after_bound", time) {
            Ok(Some(time)) => Ok(NotAfterBound::Until(time)),
            _ => Err(Error::invalid(
                "Unknown value for field `not_after_bound`. Possible values are `permit`, `ttl-limited`, `forbid`, or an explicit timestamp.",
            )),
        },
    }
}

fn not_before_bound(text: &str) -> Result<NotBeforeBound> {
    match text {
        "permit" | "" => Ok(NotBeforeBound::Permit),
        "duration" => Ok(NotBeforeBound::Duration),
        "forbid" => Ok(NotBeforeBound::Forbid),
        _ => Err(Error::invalid(
            "Unknown value for field `not_before_bound`. Possible values are `permit` `duration` or `forbid`",
        )),
    }
}

fn common_names(words: &[String]) -> Result<CommonNames> {
    if words.len() == 1 && words.iter().any(|word| word == "disabled") {
        return Ok(CommonNames::Unchecked);
    }
    let (mut email, mut hostname) = (words.is_empty(), words.is_empty());
    for word in words {
        match word.to_ascii_lowercase().as_str() {
            "email" => email = true,
            "hostname" => hostname = true,
            other => {
                return Err(Error::server(format!(
                    "cn_validations value incorrect: unknown type: `{other}`"
                )));
            }
        }
    }
    Ok(CommonNames::Checked { email, hostname })
}

fn other_names(texts: &[String]) -> Result<OtherNames> {
    if texts.iter().any(|text| text == "*") {
        return Ok(OtherNames::Any);
    }
    let parse = |text: &String| {
        OtherName::parse(text).map_err(|e| Error::invalid(format!("error parsing allowed_other_sans: {e}")))
    };
    Ok(OtherNames::Among(texts.iter().map(parse).collect::<Result<_>>()?))
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    bits: u32,
}

fn networks(texts: &[String]) -> Result<Vec<Network>> {
    let parse = |text: &String| {
        Network::parse(text).ok_or_else(|| {
            Error::invalid(format!("error parsing allowed_ip_sans_cidr: invalid CIDR address: {text}"))
        })
    };
    texts.iter().map(parse).collect()
}

impl Network {
    /// Reads `address/bits`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        if bits > width {
            return None;
        }
        // Addresses are looked at as what they are; so is a network of IPv4 in IPv6's clothes.
        match (address.to_canonical(), bits.checked_sub(96)) {
            (v4 @ IpAddr::V4(_), Some(bits)) if address.is_ipv6() => Some(Self { address: v4, bits }),
            _ => Some(Self { address, bits }),
        }
    }

    /// Whether the address lies in it. An IPv4 address in IPv6's clothes is the IPv4 address.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let cut = |bits: u128, width: u32| bits.checked_shr(width - self.bits).unwrap_or(0);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                cut(net.to_bits().into(), 32) == cut(ip.to_bits().into(), 32)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => cut(net.to_bits(), 128) == cut(ip.to_bits(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        for (network, address, expect) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "8.8.8.8", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::ffff:10.0.0.0/104", "10.1.1.1", true),
            ("::ffff:10.0.0.0/104", "11.1.1.1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expect, "{network:?} {address}");
        }
        assert!(Network::parse("10.0.0.0/33").is_none() && Network::parse("10.0.0.0").is_none());
    }

    #[test]
    fn roles_that_could_issue_nothing_are_refused() {
        type Spoil = fn(&mut Role);
        let policies = |of: &[&str]| of.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let twice = Role {
            policy_identifiers: policies(&["1.2.3", "1.2.3", "{\"oid\":\"1.2.4\",\"cps\":\"http://x\"}"]),
            ..Role::default()
        };
        assert_eq!(Rules::of(&twice).unwrap().policies.len(), 2);
        let spoilt: [(Spoil, &str); 13] = [
            (|role| role.country = vec!["Germany".into()], "two letters of ISO 3166"),
            (
                |role| {
                    role.policy_identifiers =
                        vec!["1.2.3".into(), "{\"oid\":\"1.2.3\",\"notice\":\"x\"}".into()]
                },
                "holds 1.2.3 twice",
            ),
            (
                |role| {
                    role.policy_identifiers =
                        vec![format!("{{\"oid\":\"1.2.3\",\"notice\":\"{}\"}}", "ü".repeat(201))]
                },
                "longer than 200 characters",
            ),
            (
                |role| role.policy_identifiers = vec!["{\"oid\":\"1.2.3\",\"cps\":\"not a uri\"}".into()],
                "it should be a URI",
            ),
            (|role| role.key_type = "zz".into(), "unknown key type zz"),
            (|role| role.key_bits = 1024, "RSA keys < 2048 bits are unsafe"),
            (|role| role.key_usage = vec!["zz".into()], "unknown key_usage zz"),
            (|role| role.ext_key_usage_oids = vec!["yy".into()], "could not be parsed as a valid oid"),
            (|role| role.policy_identifiers = vec!["yy".into()], "policy identifier \"yy\""),
            (|role| role.allowed_ip_sans_cidr = vec!["yy".into()], "invalid CIDR address: yy"),
            (|role| role.cn_validations = vec!["yy".into()], "unknown type: `yy`"),
            (|role| role.not_after = "soon".into(), "not_after is \"soon\""),
            (|role| role.signature_bits = 100, "unsupported hash signature algorithm"),
        ];
        for (spoil, why) in spoilt {
            let mut role = Role::default();
            spoil(&mut role);
            let error = Rules::of(&role).err().unwrap().to_string();
            assert!(error.contains(why), "{error} should say {why}");
        }
        assert!(Rules::of(&Role::default()).is_ok());
    }
}
