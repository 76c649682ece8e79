//! Name constraints as they are asked for: parts of the space of names.

use crate::dns::is_hostname;
use crate::{Error, Result, tlv};
use std::net::IpAddr;

/// More of them in one certificate is an attack or a mistake.
const SUBTREES_MAX: usize = 1024;

/// Parts of the space of names, sorted by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subtrees {
    /// Domains: a host and all below it, or with a leading dot those below alone.
    pub dns: Vec<String>,
    /// Mail: an address, a host, or with a leading dot all hosts below one.
    pub email: Vec<String>,
    /// Hosts in URIs: one, or with a leading dot all below one.
    pub uri: Vec<String>,
    /// Networks, as `10.0.0.0/8`.
    pub ip: Vec<String>,
}

impl Subtrees {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.dns.len() + self.email.len() + self.uri.len() + self.ip.len()
    }

    /// GeneralSubtrees under the tag of that number; nothing for none.
    pub(crate) fn to_der(&self, number: u8) -> Result<Vec<u8>> {
        if self.is_empty() {
            return Ok(vec![]);
        }
        if self.len() > SUBTREES_MAX {
            return Err(Error::refused(format!(
                "{} name constraints; {SUBTREES_MAX} are allowed",
                self.len()
            )));
        }
        let mut found = Vec::with_capacity(self.len());
        for domain in &self.dns {
            found.push(tlv::implicit(2, host(domain)?));
        }
        for address in &self.email {
            let domain = address.rsplit_once('@').map_or(address.as_str(), |(_, domain)| domain);
            host(domain)?;
            found.push(tlv::implicit(1, ascii(address)?));
        }
        for domain in &self.uri {
            found.push(tlv::implicit(6, host(domain)?));
        }
        for network in &self.ip {
            found.push(tlv::implicit(7, &masked(network)?));
        }
        let subtrees: Vec<_> = found.iter().map(|name| tlv::sequence(&[name])).collect();
        Ok(tlv::implicit_of(number, &subtrees))
    }
}

fn ascii(text: &str) -> Result<&[u8]> {
    match text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.as_bytes()),
        false => Err(Error::refused(format!(
            "the name constraint {text:?} is not in ASCII form; write names in other scripts as xn--…"
        ))),
    }
}

fn host(text: &str) -> Result<&[u8]> {
    let bytes = ascii(text)?;
    match is_hostname(text.strip_prefix('.').unwrap_or(text)) {
        true => Ok(bytes),
        false => Err(Error::refused(format!("the name constraint {text:?} is no domain"))),
    }
}

/// Address and mask of a network.
fn masked(text: &str) -> Result<Vec<u8>> {
    let wrong = || Error::refused(format!("the name constraint {text:?} is no network like 10.0.0.0/8"));
    let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let bits: u32 = bits.parse().map_err(|_| wrong())?;
    let both = match address {
        IpAddr::V4(address) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            [(address.to_bits() & mask).to_be_bytes(), mask.to_be_bytes()].concat()
        }
        IpAddr::V6(address) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            [(address.to_bits() & mask).to_be_bytes(), mask.to_be_bytes()].concat()
        }
        _ => return Err(wrong()),
    };
    Ok(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_become_address_and_mask() {
        assert_eq!(masked("10.1.2.3/8").unwrap(), [10, 0, 0, 0, 255, 0, 0, 0]);
        assert_eq!(masked("0.0.0.0/0").unwrap(), [0; 8]);
        assert_eq!(masked("2001:db8::/32").unwrap()[16..21], [255, 255, 255, 255, 0]);
        for wrong in ["10.0.0.1", "10.0.0.0/33", "x/8", "::/129", "10.0.0.0/"] {
            assert!(masked(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_name_is_no_constraint() {
        for domain in ["", ".", "a b", "bücher.example", "*.example.com", "a..b"] {
            let asked = Subtrees { dns: vec![domain.to_owned()], ..Subtrees::default() };
            assert!(asked.to_der(0).is_err(), "{domain}");
        }
        for mail in ["a@b@", "a @b.c", "@"] {
            let asked = Subtrees { email: vec![mail.to_owned()], ..Subtrees::default() };
            assert!(asked.to_der(0).is_err(), "{mail}");
        }
    }
}
