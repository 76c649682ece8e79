//! `X-Forwarded-For`, from proxies that are believed.

use std::net::IpAddr;

use crate::config::Forwarded;

/// For whom a request is made, and who says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Spoken {
    pub(crate) address: Option<IpAddr>,
    /// A believed proxy says so. Then nothing of the connection is the client's.
    pub(crate) by_proxy: bool,
}

/// The address for which the request is made. `chain` are the values of the header, in order.
pub(crate) fn client<'a>(
    rule: &Forwarded,
    peer: Option<IpAddr>,
    chain: impl Iterator<Item = &'a [u8]>,
) -> Result<Spoken, String> {
    let itself = Spoken { address: peer, by_proxy: false };
    let values: Vec<&[u8]> = chain.collect();
    if values.is_empty() {
        if rule.reject_not_present {
            return Err("missing x-forwarded-for header and configured to reject when not present".to_owned());
        }
        return Ok(itself);
    }
    if !peer.is_some_and(|peer| rule.believed.iter().any(|network| network.contains(peer))) {
        if rule.reject_not_believed {
            let text =
                "client address not authorized for x-forwarded-for and configured to reject connection";
            return Err(text.to_owned());
        }
        return Ok(itself);
    }
    let hops: Vec<&[u8]> =
        values.iter().flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).collect();
    let Some(hop) = hops.len().checked_sub(rule.hop_skips + 1).and_then(|index| hops.get(index)) else {
        return Err(format!(
            "malformed x-forwarded-for configuration or request, hops to skip ({}) would skip before earliest chain link (chain length {})",
            rule.hop_skips,
            hops.len()
        ));
    };
    let address = std::str::from_utf8(hop).ok().and_then(parse);
    let spoken = address.map(|address| Spoken { address: Some(address), by_proxy: true });
    spoken.ok_or_else(|| "malformed x-forwarded-for header: an entry is no address".to_owned())
}

/// An address, with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let whole = text.parse().ok();
    whole.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(skips: usize, peer: &str, chain: &[&str], expect: Result<&str, &str>) {
        let rule = Forwarded {
            believed: vec!["10.0.0.0/8".parse().unwrap()],
            hop_skips: skips,
            reject_not_believed: true,
            reject_not_present: true,
            certificate: None,
        };
        let chain = chain.iter().map(|value| value.as_bytes());
        let found = client(&rule, Some(peer.parse().unwrap()), chain);
        match expect {
            Ok(address) => {
                let address = Some(address.parse().unwrap());
                assert_eq!(found, Ok(Spoken { address, by_proxy: true }));
            }
            Err(text) => assert!(found.unwrap_err().contains(text)),
        }
    }

    #[test]
    fn only_believed_proxies_speak_for_others() {
        check(0, "10.1.1.1", &["1.2.3.4"], Ok("1.2.3.4"));
        check(0, "10.1.1.1", &["6.6.6.6, 1.2.3.4"], Ok("1.2.3.4"));
        check(1, "10.1.1.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], Ok("1.2.3.4"));
        check(1, "10.1.1.1", &["1.2.3.4", "10.0.0.2"], Ok("1.2.3.4"));
        check(0, "10.1.1.1", &["[2001:db8::1]:443"], Ok("2001:db8::1"));
        check(2, "10.1.1.1", &["1.2.3.4"], Err("would skip before earliest"));
        check(0, "10.1.1.1", &["nonsense"], Err("no address"));
        check(0, "10.1.1.1", &[], Err("missing x-forwarded-for"));
        check(0, "11.1.1.1", &["1.2.3.4"], Err("not authorized"));
    }
}
