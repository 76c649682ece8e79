use std::net::IpAddr;

/// A block of addresses: `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cidr {
    network: u128,
    mask: u128,
    v4: bool,
}

impl Cidr {
    /// Reads a block; `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.trim().split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text.trim(), None),
        };
        let (bits, width, v4) = bits(address.parse().ok()?);
        let length = length.unwrap_or(width);
        if length > width {
            return None;
        }
        let mask = u128::MAX.checked_shl(width - length).unwrap_or(0);
        let mask = if v4 { mask & u128::from(u32::MAX) } else { mask };
        Some(Self { network: bits & mask, mask, v4 })
    }

    /// Whether it holds this address. An IPv4 address in IPv6's clothes is an IPv4 address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let (bits, _, v4) = bits(address);
        v4 == self.v4 && bits & self.mask == self.network
    }
}

/// Writes a block of one address as that address, which is how it is shown.
pub(crate) fn shorten(text: &mut String) {
    let alone = |address: &str, length: &str| match address.parse() {
        Ok(IpAddr::V4(_)) => length == "32",
        Ok(IpAddr::V6(_)) => length == "128",
        Err(_) => false,
    };
    if let Some((address, length)) = text.split_once('/')
        && alone(address, length)
    {
        text.truncate(address.len());
    }
}

fn bits(address: IpAddr) -> (u128, u32, bool) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32, true),
        IpAddr::V6(v6) => (v6.to_bits(), 128, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_addresses() {
        for (block, address, holds) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1/32", "127.0.0.2", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("fe80::/10", "fe81::1", true),
        ] {
            let cidr = Cidr::parse(block).unwrap();
            assert_eq!(cidr.contains(address.parse().unwrap()), holds, "{block} {address}");
        }
        for wrong in ["", "10.0.0.0/33", "ten", "10.0.0.0/x"] {
            assert_eq!(Cidr::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_block_of_one_is_written_as_its_address() {
        for (text, shown) in [
            ("10.1.2.3/32", "10.1.2.3"),
            ("::1/128", "::1"),
            ("::1/32", "::1/32"),
            ("10.0.0.5/8", "10.0.0.5/8"),
            ("10.1.2.3", "10.1.2.3"),
        ] {
            let mut text = text.to_owned();
            shorten(&mut text);
            assert_eq!(text, shown);
        }
    }
}
