//! Blocks of addresses, as operators write them.

use std::net::IpAddr;

/// A block of addresses: `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Block {
    address: IpAddr,
    bits: u8,
}

impl Block {
    /// Reads `address/bits`; bits that the block leaves open may be set.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let address: IpAddr = address.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        (bits <= max).then_some(Self { address, bits })
    }

    /// The same, or an address alone, which is a block of one.
    pub(crate) fn parse_loosely(text: &str) -> Option<Self> {
        let alone = || {
            let address: IpAddr = text.parse().ok()?;
            Some(Self { address, bits: if address.is_ipv4() { 32 } else { 128 } })
        };
        Self::parse(text).or_else(alone)
    }

    /// Whether an address lies in it. An IPv4 address in the clothes of IPv6 counts as what it is.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same(u32::from(own).into(), u32::from(other).into(), 32, self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.into(), other.into(), 128, self.bits),
            _ => false,
        }
    }

    /// Whether all of it lies in `outer`.
    pub(crate) fn within(&self, outer: &Self) -> bool {
        self.bits >= outer.bits
            && self.address.is_ipv4() == outer.address.is_ipv4()
            && outer.holds(self.address)
    }
}

fn same(own: u128, other: u128, width: u32, bits: u8) -> bool {
    let open = width - u32::from(bits);
    own.checked_shr(open).unwrap_or(0) == other.checked_shr(open).unwrap_or(0)
}

/// Whether an address lies in one of `blocks`. What does not read holds nothing.
pub(crate) fn any_holds(blocks: &[String], address: IpAddr) -> bool {
    blocks.iter().filter_map(|text| Block::parse_loosely(text)).any(|block| block.holds(address))
}

/// Whether each of `inner` lies within one of `outer`.
pub(crate) fn all_within(inner: &[String], outer: &[String]) -> bool {
    let outer: Vec<Block> = outer.iter().filter_map(|text| Block::parse_loosely(text)).collect();
    let covered = |block: Block| outer.iter().any(|wide| block.within(wide));
    inner.iter().all(|text| Block::parse_loosely(text).is_some_and(covered))
}

/// The first of `blocks` that is not `address/bits`.
pub(crate) fn first_wrong(blocks: &[String]) -> Option<&str> {
    blocks.iter().map(String::as_str).find(|text| Block::parse(text).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(block: &str, address: &str, expect: bool) {
        assert_eq!(any_holds(&[block.to_owned()], address.parse().unwrap()), expect, "{address} in {block}");
    }

    #[test]
    fn blocks_hold_addresses() {
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.1.2.3/8", "10.9.9.9", true);
        check("10.1.2.3", "10.1.2.3", true);
        check("10.1.2.3", "10.1.2.4", false);
        check("0.0.0.0/0", "255.1.2.3", true);
        check("0.0.0.0/0", "::1", false);
        check("::/0", "2001:db8::1", true);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("127.0.0.1/32", "::ffff:127.0.0.1", true);
        check("bogus", "127.0.0.1", false);
    }

    #[test]
    fn only_blocks_are_blocks() {
        for wrong in ["bogus", "10.0.0.1", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0/8"] {
            assert_eq!(first_wrong(&["::/0".to_owned(), wrong.to_owned()]), Some(wrong));
        }
        assert_eq!(first_wrong(&["10.0.0.0/8".to_owned(), "::1/128".to_owned()]), None);
    }

    #[test]
    fn blocks_lie_within_blocks() {
        let within = |inner: &str, outer: &str| all_within(&[inner.to_owned()], &[outer.to_owned()]);
        assert!(within("10.1.0.0/16", "10.0.0.0/8"));
        assert!(!within("10.0.0.0/8", "10.1.0.0/16"));
        assert!(!within("10.0.0.0/8", "::/0"));
        assert!(!within("bogus", "0.0.0.0/0"));
        assert!(all_within(&[], &[]));
    }
}
