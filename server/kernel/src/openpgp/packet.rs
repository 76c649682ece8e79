/// A packet: its tag and its body.
pub(super) struct Packet<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
}

/// The packets of a key, in their order.
///
/// # Errors
/// If the bytes end before a packet does, or it is of a form that no key has.
pub(super) fn packets(mut bytes: &[u8]) -> Result<Vec<Packet<'_>>, &'static str> {
    const SHORT: &str = "it ends in the middle of a packet";
    let mut packets = Vec::new();
    while let Some((head, rest)) = bytes.split_first() {
        if head & 0x80 == 0 {
            return Err(
                "openpgp: invalid data: tag byte does not have MSB set (is it armored? give the binary key, in base64)",
            );
        }
        let (tag, length, rest) = if head & 0x40 == 0 {
            let (length, rest) = match head & 3 {
                0 => number(rest, 1),
                1 => number(rest, 2),
                2 => number(rest, 4),
                _ => return Err("it has a packet without a length"),
            }
            .ok_or(SHORT)?;
            ((head >> 2) & 0x0f, length, rest)
        } else {
            let (length, rest) =
                length(rest).ok_or("it has a packet in pieces, or ends in the middle of one")?;
            (head & 0x3f, length, rest)
        };
        let (body, rest) = rest.split_at_checked(length).ok_or(SHORT)?;
        packets.push(Packet { tag, body });
        bytes = rest;
    }
    Ok(packets)
}

/// A length as new packets have it, and what follows.
pub(super) fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match *bytes.first()? {
        first @ ..192 => Some((usize::from(first), bytes.get(1..)?)),
        192..224 => {
            let (two, rest) = number(bytes, 2)?;
            Some((two - (192 << 8) + 192, rest))
        }
        255 => number(bytes.get(1..)?, 4),
        _ => None,
    }
}

/// A length as subpackets of signatures have it: with two bytes it goes further.
pub(super) fn sublength(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match *bytes.first()? {
        224..=254 => {
            let (two, rest) = number(bytes, 2)?;
            Some((two - (192 << 8) + 192, rest))
        }
        _ => length(bytes),
    }
}

/// A number of so many bytes, and what follows.
pub(super) fn number(bytes: &[u8], size: usize) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_at_checked(size)?;
    Some((number.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest))
}

/// A large number without its zeros in front, and what follows.
pub(super) fn mpi(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (bits, rest) = number(bytes, 2)?;
    rest.split_at_checked(bits.div_ceil(8))
}

/// Writes a large number.
pub(super) fn put_mpi(out: &mut Vec<u8>, number: &[u8]) {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = number.get(zeros..).unwrap_or_default();
    let first = number.first().map_or(0, |first| 8 - usize::try_from(first.leading_zeros()).unwrap_or(0));
    let bits = number.len().saturating_sub(1) * 8 + first;
    out.extend_from_slice(&u16::try_from(bits).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(number);
}

/// Writes a packet.
pub(super) fn put(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    out.push(0xc0 | tag);
    match body.len() {
        length @ ..192 => out.push(u8::try_from(length).unwrap_or_default()),
        length @ ..8384 => {
            let rest = u16::try_from(length - 192).unwrap_or_default() + (192 << 8);
            out.extend_from_slice(&rest.to_be_bytes());
        }
        length => {
            out.push(255);
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(body);
}
