//! RSA keys that are long enough, and can be broken all the same: what the Baseline Requirements of the CA/Browser Forum
//! (§6.1.1.3) have a CA look for. Of it only Debian's keys of 2008 are not looked for, whose list has tens of megabytes.

use crate::{Error, Result};
use num_bigint::BigUint;

/// Factors up to this are looked for. No prime of a key that was made with care is so small.
const FACTOR_MAX: u64 = 751;
/// The primes by which a key of a chip with the fault of CVE-2017-15361 (ROCA) shows.
const PRINTS: [u64; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
/// What such a chip takes powers of, instead of chance.
const ROCA_GENERATOR: u64 = 65_537;
/// How many steps of Fermat's method are tried: it finds two primes that lie close together.
const FERMAT_STEPS: u32 = 100;

/// Refuses a modulus, big endian, that can be taken apart.
///
/// # Errors
/// With what is known of it.
pub fn check(modulus: &[u8]) -> Result<()> {
    let modulus = BigUint::from_bytes_be(modulus);
    if let Some(factor) = small_factor(&modulus) {
        return Err(weak(&format!("{factor} divides its modulus")));
    }
    if is_roca(&modulus) {
        return Err(weak("it was made by a chip whose keys can be taken apart (ROCA, CVE-2017-15361)"));
    }
    if has_close_primes(&modulus) {
        return Err(weak("its two primes lie so close together that they are found at once"));
    }
    Ok(())
}

fn weak(why: &str) -> Error {
    Error::refused(format!("the RSA key is weak: {why}; make a new one"))
}

fn residue(modulus: &BigUint, divisor: u64) -> u64 {
    (modulus % divisor).to_u64_digits().first().copied().unwrap_or_default()
}

fn small_factor(modulus: &BigUint) -> Option<u64> {
    // What divides it that is no prime has a prime before it that does.
    std::iter::once(2).chain((3..=FACTOR_MAX).step_by(2)).find(|divisor| residue(modulus, *divisor) == 0)
}

/// Whether the modulus is a power of the generator to each of the primes.
fn is_roca(modulus: &BigUint) -> bool {
    PRINTS.iter().all(|prime| {
        let wanted = residue(modulus, *prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * ROCA_GENERATOR % prime));
        powers.take(*prime as usize).any(|power| power == wanted)
    })
}

/// Fermat's method: a modulus of two primes is the difference of two squares, and if the primes lie close together, the
/// greater of them is one of the first above the modulus.
fn has_close_primes(modulus: &BigUint) -> bool {
    let mut root = modulus.sqrt();
    if &root * &root < *modulus {
        root += 1_u8;
    }
    (0..FERMAT_STEPS).any(|step| {
        let root = &root + step;
        is_square(&(&root * &root - modulus))
    })
}

fn is_square(number: &BigUint) -> bool {
    // Most numbers show by what is left of a small division that they are no square.
    let may_be = |divisor: u64| {
        let left = residue(number, divisor);
        (0..divisor).any(|root| root * root % divisor == left)
    };
    [64, 63, 65, 11].into_iter().all(may_be) && number.sqrt().pow(2) == *number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Family, KeyShape, PrivateKey};

    #[track_caller]
    fn refused(modulus: &BigUint, why: &str) {
        let text = check(&modulus.to_bytes_be()).unwrap_err().to_string();
        assert!(text.contains(why), "{text}");
    }

    /// A number of that many bits that no test calls weak by itself: RSA-2048, which nobody has taken apart.
    fn challenge() -> BigUint {
        let text = "25195908475657893494027183240048398571429282126204032027777137836043662020707595556264018525880784\
            4069182906412495150821892985591491761845028084891200728449926873928072877767359714183472702618963750149\
            7182469116507761337985909570009733045974880842840179742910064245869181719511874612151517265463228221686\
            9987549182422433637259085141865462043576798423387184774447920739934236584823824281198163815010674810451\
            6603773060562016196762561338441436038339044149526344321901146575444541784240209246165157233507787077498\
            17125772467962926386356373289912154831438167899885040445364023527381951378636564391212010397122822120720357";
        BigUint::parse_bytes(text.as_bytes(), 10).unwrap()
    }

    #[test]
    fn keys_that_were_made_with_care_pass() {
        let own = PrivateKey::generate(KeyShape { family: Family::Rsa, bits: 2048 }).unwrap();
        own.public().check_strength().unwrap();
        check(&challenge().to_bytes_be()).unwrap();
    }

    #[test]
    fn moduli_that_fall_apart_are_refused() {
        let challenge = challenge();
        refused(&(&challenge * 3_u8), "3 divides");
        refused(&(&challenge * 751_u16), "751 divides");
        refused(&(&challenge * 2_u8), "2 divides");
        refused(&challenge.pow(2), "close together");
        refused(&(&challenge * (&challenge + 20_u8)), "close together");
    }

    #[test]
    fn what_a_faulty_chip_makes_is_refused() {
        // A power of the generator modulo the product of the primes, made longer by a multiple of it that is even.
        let product = PRINTS.iter().fold(BigUint::from(1_u8), |product, prime| product * *prime);
        let power = BigUint::from(ROCA_GENERATOR).modpow(&BigUint::from(12_345_u32), &product);
        let found = (1_u32..).map(|times| &power + (&product << 1900) * times);
        let modulus = found.into_iter().find(|modulus| small_factor(modulus).is_none()).unwrap();
        refused(&modulus, "ROCA");
    }
}
