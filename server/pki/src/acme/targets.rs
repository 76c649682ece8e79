//! Where the server may go to look at a proof. Whoever can order a certificate chooses the name, and whoever owns the name
//! chooses the address: so addresses that can only be meant ill are out, and what is left is the operator's to decide.

use std::net::IpAddr;

use kit::{Error, Result};

use crate::rules::Network;

/// This machine and its nearest surroundings, what is nobody's address, and what cloud providers tell a machine about
/// itself.
const CLOSED: [&str; 16] = [
    "0.0.0.0/8",
    "100.100.100.200/32",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2002::/16",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "fe80::/10",
    "ff00::/8",
];
/// Networks that are somebody's own.
const PRIVATE: [&str; 5] = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

/// Where the server may go.
pub(super) struct Targets {
    allowed: Vec<Network>,
    denied: Vec<Network>,
}

impl Targets {
    /// Reads the operator's lists.
    pub(super) fn read(allowed: &[String], denied: &[String]) -> Result<Self> {
        Ok(Self {
            allowed: networks("allowed_targets", allowed)?,
            denied: networks("denied_targets", denied)?,
        })
    }

    /// Whether a name that is to be proved may lead there. What the operator denies is denied; what they allow is
    /// allowed, whatever it is; of the rest all but what can only be meant ill.
    pub(super) fn permit(&self, address: IpAddr) -> bool {
        let among = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        !among(&self.denied) && (among(&self.allowed) || !among(&fixed(&CLOSED)))
    }

    /// Whether an answer may send the server on to there: to no network that is somebody's own, unless the operator
    /// allows it.
    pub(super) fn permit_redirect(&self, address: IpAddr) -> bool {
        let among = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        self.permit(address) && (among(&self.allowed) || !among(&fixed(&PRIVATE)))
    }
}

fn fixed(texts: &[&str]) -> Vec<Network> {
    texts.iter().filter_map(|text| Network::parse(text)).collect()
}

fn networks(field: &str, texts: &[String]) -> Result<Vec<Network>> {
    let read = |text: &String| {
        let whole = text
            .parse::<IpAddr>()
            .map(|address| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }));
        Network::parse(whole.as_ref().unwrap_or(text)).ok_or_else(|| {
            Error::invalid(format!("{field} holds {text:?}; it should be networks like 10.1.0.0/16"))
        })
    };
    texts.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(targets: &Targets, address: &str, permitted: bool, redirects: bool) {
        let parsed = address.parse().unwrap();
        let found = (targets.permit(parsed), targets.permit_redirect(parsed));
        assert_eq!(found, (permitted, redirects), "{address}");
    }

    #[test]
    fn every_closed_network_is_read() {
        assert_eq!((fixed(&CLOSED).len(), fixed(&PRIVATE).len()), (CLOSED.len(), PRIVATE.len()));
    }

    #[test]
    fn the_server_goes_where_it_may() {
        let usual = Targets::read(&[], &[]).unwrap();
        for closed in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "fe80::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "168.63.129.16",
        ] {
            check(&usual, closed, false, false);
        }
        check(&usual, "10.0.0.1", true, false);
        check(&usual, "100.100.100.201", true, false);
        check(&usual, "::ffff:10.0.0.1", true, false);
        check(&usual, "fd12::1", true, false);
        check(&usual, "203.0.113.5", true, true);
        let own = |text: &str| vec![text.to_owned()];
        let lab = Targets::read(&own("127.0.0.5"), &own("10.9.0.0/16")).unwrap();
        check(&lab, "127.0.0.5", true, true);
        check(&lab, "127.0.0.6", false, false);
        check(&lab, "10.9.1.1", false, false);
        check(&lab, "10.8.1.1", true, false);
        assert!(Targets::read(&own("127.0.0.x"), &[]).is_err());
    }
}
