//! What a certificate is asked for: host names and addresses.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::problem::{Kind, Problem};

/// A name of RFC 1035 is not longer.
const NAME_SIZE_MAX: usize = 253;

/// A name as orders write it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) struct Identifier {
    r#type: String,
    value: String,
}

/// A name that was understood.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Name {
    /// A host, in lower case.
    Host(String),
    /// Every host right below.
    Wildcard(String),
    /// An address (RFC 8738).
    Address(IpAddr),
}

impl Identifier {
    /// Understands it.
    pub(super) fn read(&self) -> Result<Name, Problem> {
        match self.r#type.as_str() {
            "dns" => Name::host(&self.value),
            "ip" => {
                let address: Option<IpAddr> = self.value.parse().ok();
                // One address has one text; else it could be asked for in several.
                let address = address.filter(|address| {
                    address.to_string() == self.value && address.to_canonical() == *address
                });
                address.map(Name::Address).ok_or_else(|| {
                    let why = format!("{:?} is no address in its usual form", short(&self.value));
                    Problem::new(Kind::Malformed, why)
                })
            }
            other => {
                let why = format!("{:?}; it is \"dns\" or \"ip\"", short(other));
                Err(Problem::new(Kind::UnsupportedIdentifier, why))
            }
        }
    }
}

impl Name {
    fn host(text: &str) -> Result<Self, Problem> {
        let wrong = |why: &str| Problem::new(Kind::Malformed, format!("{:?} {why}", short(text)));
        let lower = text.to_ascii_lowercase();
        if text.len() > NAME_SIZE_MAX {
            return Err(wrong("is longer than a host name can be"));
        }
        if lower.parse::<IpAddr>().is_ok() {
            return Err(wrong("is an address; ask for it with the type \"ip\""));
        }
        let (wildcard, host) = match lower.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, lower.as_str()),
        };
        if host.contains('*') {
            return Err(wrong("has a wildcard that is not its whole first label"));
        }
        // `10.1` and `0x7f000001` are names to some and addresses to others: a proof for one would count for the other.
        if is_number(host.rsplit('.').next().unwrap_or_default()) {
            return Err(wrong(
                "ends in a number, so it is an address to some; ask for it with the type \"ip\"",
            ));
        }
        // Names in other scripts come as they stand in certificates.
        if !x509::is_hostname(host) {
            return Err(wrong("is no host name"));
        }
        if !is_spelt(host) {
            return Err(wrong("has a label in `xn--` that spells nothing"));
        }
        Ok(if wildcard { Self::Wildcard(host.to_owned()) } else { Self::Host(host.to_owned()) })
    }

    /// As an order shows it.
    pub(super) fn identifier(&self) -> Identifier {
        let r#type = if matches!(self, Self::Address(_)) { "ip" } else { "dns" };
        Identifier { r#type: r#type.to_owned(), value: self.text() }
    }

    /// As an authorization shows it: a wildcard is proved by what lies above it.
    pub(super) fn proved_as(&self) -> Identifier {
        match self {
            Self::Wildcard(host) => Identifier { r#type: "dns".to_owned(), value: host.clone() },
            other => other.identifier(),
        }
    }

    /// As a certificate writes it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Host(host) => host.clone(),
            Self::Wildcard(host) => format!("*.{host}"),
            Self::Address(address) => address.to_string(),
        }
    }

    /// Whether it is this name, or lies under it where it begins with `*.`.
    pub(super) fn is_among(&self, names: &[String]) -> bool {
        let text = self.text();
        names.iter().any(|name| match name.strip_prefix("*.") {
            _ if *name == text => true,
            Some(above) => text.strip_suffix(above).is_some_and(|label| label.ends_with('.')),
            None => false,
        })
    }
}

/// Whether a last label makes an address of a name, as browsers read URLs.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit())
}

/// Whether the labels of a name that stand for another script do so as all read them: no two texts for one name.
fn is_spelt(host: &str) -> bool {
    let foreign = host.split('.').any(|label| label.starts_with("xn--"));
    !foreign || url::Host::parse(host).is_ok_and(|read| read == url::Host::Domain(host.to_owned()))
}

fn short(text: &str) -> String {
    text.chars().take(NAME_SIZE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(r#type: &str, value: &str, expect: Result<&str, Kind>) {
        let identifier = Identifier { r#type: r#type.to_owned(), value: value.to_owned() };
        let found = identifier.read().map(|name| name.text()).map_err(|problem| problem.kind);
        assert_eq!(found, expect.map(str::to_owned), "{type} {value}");
    }

    #[test]
    fn names_are_understood_or_refused() {
        check("dns", "App.Example.COM", Ok("app.example.com"));
        check("dns", "*.example.com", Ok("*.example.com"));
        check("dns", "a.*.example.com", Err(Kind::Malformed));
        check("dns", "*a.example.com", Err(Kind::Malformed));
        check("dns", "*", Err(Kind::Malformed));
        check("dns", "10.0.0.1", Err(Kind::Malformed));
        check("dns", "::1", Err(Kind::Malformed));
        for odd in ["10.1", "2130706433", "0x7f000001", "127.0.0.0x1", "a.1", "*.1", "0X7F.1", "0x"] {
            check("dns", odd, Err(Kind::Malformed));
        }
        check("dns", "1.example", Ok("1.example"));
        check("dns", "0x7g", Ok("0x7g"));
        check("dns", "xn--bcher-kva.example", Ok("xn--bcher-kva.example"));
        check("dns", "*.XN--BCHER-KVA.example", Ok("*.xn--bcher-kva.example"));
        for odd in
            ["xn--a.example", "xn--.example", "a.xn--0.example", "xn--a-.example", "xn--bcher-KVA0.example"]
        {
            check("dns", odd, Err(Kind::Malformed));
        }
        check("dns", "a b", Err(Kind::Malformed));
        check("dns", "", Err(Kind::Malformed));
        check("dns", "a/../b", Err(Kind::Malformed));
        check("dns", &"a.".repeat(200), Err(Kind::Malformed));
        check("ip", "10.0.0.1", Ok("10.0.0.1"));
        check("ip", "2001:db8::1", Ok("2001:db8::1"));
        check("ip", "2001:0db8::1", Err(Kind::Malformed));
        check("ip", "010.0.0.1", Err(Kind::Malformed));
        check("ip", "::ffff:10.0.0.1", Err(Kind::Malformed));
        check("ip", "10.0.0.0/8", Err(Kind::Malformed));
        check("uri", "spiffe://x/y", Err(Kind::UnsupportedIdentifier));
    }

    #[test]
    fn names_lie_under_others() {
        let among = |text: &str, name: &str| Name::host(text).unwrap().is_among(&[name.to_owned()]);
        assert!(among("a.example.com", "a.example.com") && among("a.example.com", "*.example.com"));
        assert!(among("b.a.example.com", "*.example.com") && among("*.example.com", "*.example.com"));
        assert!(!among("example.com", "*.example.com") && !among("xexample.com", "*.example.com"));
    }
}
