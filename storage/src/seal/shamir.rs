//! Shamir's sharing of a secret, in the format that Vault and OpenBao hand out: for each byte of the secret the
//! value of a random polynomial over GF(2^8) modulo x^8+x^4+x^3+x+1, then the x at which it was taken.
//!
//! All arithmetic on secrets is free of branches and table look-ups.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::random::Random;

/// One share: the y bytes, then x. Or, of a key that was not split, the key. Wiped when dropped; never printed.
#[derive(Clone)]
pub struct Share(Zeroizing<Vec<u8>>);

/// Shares, or numbers of shares, that cannot be. The texts are those that clients know.
#[derive(Debug, Clone, Copy, Eq, PartialEq, thiserror::Error)]
pub enum SharesError {
    /// No shares at all.
    #[error("invalid seal configuration: shares must be at least one")]
    NoShares,
    /// No threshold.
    #[error("invalid seal configuration: threshold must be at least one")]
    NoThreshold,
    /// More needed than there are.
    #[error("invalid seal configuration: threshold cannot be larger than shares")]
    ThresholdAboveShares,
    /// One of several shares would be the secret itself.
    #[error("invalid seal configuration: threshold must be greater than one for multiple shares")]
    ThresholdOfOne,
    /// A static key needs a name.
    #[error("invalid seal configuration: the static key needs a name of 1 to 255 bytes")]
    KeyName,
    /// Fewer than the threshold.
    #[error("less than the threshold of shares were given")]
    TooFew,
    /// Shares of different secrets, or none.
    #[error("all shares must be of the same length and of a key of this store")]
    Length,
    /// The same share twice.
    #[error("duplicate share")]
    Doubled,
    /// An x of zero would be the secret itself.
    #[error("a share is malformed")]
    Malformed,
}

/// Nothing shorter is a share, or a key, of anything.
const SIZE_MIN: usize = 16;
/// A key of 32 bytes and the place at which its polynomial was taken.
const SIZE_MAX: usize = 33;

/// What cannot be a share, by its length alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Nothing so short is one.
    #[error("key is shorter than minimum {SIZE_MIN} bytes")]
    Short,
    /// Nothing so long is one.
    #[error("key is longer than maximum {SIZE_MAX} bytes")]
    Long,
}

impl Share {
    /// What somebody has shown, if it can be a share at all.
    ///
    /// # Errors
    /// If it is too short or too long.
    pub fn shown(bytes: &[u8]) -> Result<Self, Misfit> {
        match bytes.len() {
            ..SIZE_MIN => Err(Misfit::Short),
            SIZE_MIN..=SIZE_MAX => Ok(Self::new(bytes.to_vec())),
            _ => Err(Misfit::Long),
        }
    }

    /// Takes over the bytes of a share.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// For handing it out, in hex or base64.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(hidden)")
    }
}

/// Splits `secret` so that any `threshold` of `shares` make it again and fewer tell nothing.
///
/// # Errors
/// If the numbers cannot be; a threshold of one is no splitting.
pub fn split(
    secret: &[u8],
    shares: u8,
    threshold: u8,
    random: &dyn Random,
) -> Result<Vec<Share>, SharesError> {
    if threshold < 2 {
        return Err(SharesError::ThresholdOfOne);
    }
    if threshold > shares {
        return Err(SharesError::ThresholdAboveShares);
    }
    let points = some_points(usize::from(shares), random);
    let mut out: Vec<Vec<u8>> = points.iter().map(|_| Vec::with_capacity(secret.len() + 1)).collect();
    let mut above = Zeroizing::new(vec![0; usize::from(threshold) - 1]);
    for byte in secret {
        random.fill(&mut above);
        for (share, x) in out.iter_mut().zip(&points) {
            // Horner's rule, from the highest power down; the secret is the value at zero.
            let high = above.iter().fold(0, |sum, coefficient| add(mul(sum, *x), *coefficient));
            share.push(add(mul(high, *x), *byte));
        }
    }
    let whole = out.into_iter().zip(&points).map(|(mut share, x)| {
        share.push(*x);
        Share::new(share)
    });
    Ok(whole.collect())
}

/// The secret that `shares` make. Shares of another secret, or too few, make something else.
///
/// # Errors
/// If they are fewer than two, unequal in length, doubled or malformed.
pub fn combine(shares: &[Share]) -> Result<Zeroizing<Vec<u8>>, SharesError> {
    let mut points = Vec::with_capacity(shares.len());
    let mut values = Vec::with_capacity(shares.len());
    for share in shares {
        let (x, y) = share.0.split_last().ok_or(SharesError::Length)?;
        match *x {
            0 => return Err(SharesError::Malformed),
            x if points.contains(&x) => return Err(SharesError::Doubled),
            x => points.push(x),
        }
        values.push(y);
    }
    let len = match values.as_slice() {
        [] | [_] => return Err(SharesError::TooFew),
        [first, rest @ ..] if first.is_empty() || rest.iter().any(|y| y.len() != first.len()) => {
            return Err(SharesError::Length);
        }
        [first, ..] => first.len(),
    };
    let mut secret = Zeroizing::new(vec![0; len]);
    for (y, x) in values.iter().zip(&points) {
        let mut weight = at_zero(*x, &points);
        for (sum, value) in secret.iter_mut().zip(*y) {
            *sum = add(*sum, mul(weight, *value));
        }
        weight.zeroize();
    }
    Ok(secret)
}

/// The weight of the point `x` in the interpolation at zero: the product of o / (o - x) over the other points o.
fn at_zero(x: u8, points: &[u8]) -> u8 {
    let others = points.iter().filter(|other| **other != x);
    others.fold(1, |product, other| mul(product, mul(*other, invert(add(*other, x)))))
}

/// A random selection of different x, none of them zero.
fn some_points(count: usize, random: &dyn Random) -> Vec<u8> {
    let mut points: Vec<u8> = (1..=u8::MAX).collect();
    for place in (1..points.len()).rev() {
        points.swap(place, below(place + 1, random));
    }
    points.truncate(count);
    points
}

/// A uniform number below `bound`, which is at most 255.
fn below(bound: usize, random: &dyn Random) -> usize {
    let fair = 256 - 256 % bound;
    loop {
        let mut byte = [0];
        random.fill(&mut byte);
        let [byte] = byte;
        if usize::from(byte) < fair {
            return usize::from(byte) % bound;
        }
    }
}

fn add(a: u8, b: u8) -> u8 {
    a ^ b
}

/// Multiplies bit by bit, the same steps for every input.
fn mul(a: u8, b: u8) -> u8 {
    (0..8).rev().fold(0_u8, |product, bit| {
        let reduce = (product >> 7).wrapping_neg() & 0x1b;
        let term = ((b >> bit) & 1).wrapping_neg() & a;
        term ^ reduce ^ (product << 1)
    })
}

/// The inverse is the 254th power. Zero, which has none, gives zero.
fn invert(a: u8) -> u8 {
    let square = |a: u8| mul(a, a);
    // 254 = 0b1111_1110: seven times square and multiply, then one square.
    let power = (0..6).fold(a, |power, _| mul(square(power), a));
    square(power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn the_field_is_that_of_aes() {
        // FIPS 197, section 4.2.
        assert_eq!(mul(0x57, 0x83), 0xc1);
        assert_eq!(mul(0x57, 0x13), 0xfe);
        assert!((1..=u8::MAX).all(|a| mul(a, invert(a)) == 1));
        assert_eq!(invert(0), 0);
    }

    #[test]
    fn points_are_a_permutation() {
        let mut points = some_points(255, &SystemRandom);
        assert_ne!(points, some_points(255, &SystemRandom));
        points.sort_unstable();
        assert!(points.iter().copied().eq(1..=255));
    }

    #[track_caller]
    fn check(numbers: &[Vec<u8>], expect: SharesError) {
        let shares: Vec<Share> = numbers.iter().cloned().map(Share::new).collect();
        assert_eq!(combine(&shares).unwrap_err(), expect);
    }

    #[test]
    fn impossible_shares_are_refused() {
        check(&[], SharesError::TooFew);
        check(&[vec![1, 2]], SharesError::TooFew);
        check(&[vec![1, 2], vec![3, 2]], SharesError::Doubled);
        check(&[vec![1, 2], vec![3, 0]], SharesError::Malformed);
        check(&[vec![1, 2], vec![3, 4, 5]], SharesError::Length);
        check(&[vec![2], vec![4]], SharesError::Length);
        check(&[vec![], vec![4, 3]], SharesError::Length);
    }
}
