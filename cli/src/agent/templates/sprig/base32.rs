//! Base 32 with padding (RFC 4648 §6).

const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

pub(super) fn encoded(bytes: &[u8]) -> String {
    let mut out = String::new();
    for group in bytes.chunks(5) {
        let bits =
            group.iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte)) << (8 * (5 - group.len()));
        let letters = (group.len() * 8).div_ceil(5);
        for at in 0..8 {
            let letter = LETTERS.get(usize::try_from((bits >> (35 - 5 * at)) & 31).unwrap_or(0));
            out.push(if at < letters { letter.map_or('=', |letter| char::from(*letter)) } else { '=' });
        }
    }
    out
}

pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    if !text.len().is_multiple_of(8) {
        return None;
    }
    let mut out = Vec::new();
    for (at, group) in text.chunks(8).enumerate() {
        let letters = group.iter().position(|byte| *byte == b'=').unwrap_or(8);
        let padded = group.iter().skip(letters).all(|byte| *byte == b'=');
        let last = (at + 1) * 8 == text.len();
        let size = match letters {
            8 => 5,
            7 if last => 4,
            5 if last => 3,
            4 if last => 2,
            2 if last => 1,
            _ => return None,
        };
        let mut bits = 0_u64;
        for byte in group.iter().take(letters) {
            let value = LETTERS.iter().position(|letter| letter == byte)?;
            bits = (bits << 5) | value as u64;
        }
        bits <<= 5 * (8 - letters);
        out.extend(bits.to_be_bytes().iter().skip(3).take(if padded { size } else { return None }));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (plain, letters) in [
            ("", ""),
            ("f", "MY======"),
            ("fo", "MZXQ===="),
            ("foo", "MZXW6==="),
            ("foob", "MZXW6YQ="),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI======"),
        ] {
            assert_eq!(encoded(plain.as_bytes()), letters);
            assert_eq!(decoded(letters).as_deref(), Some(plain.as_bytes()));
        }
        for wrong in ["MY", "MY=====A", "M=======", "1Y======", "MY======MY======", "mzxw6==="] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }
}
