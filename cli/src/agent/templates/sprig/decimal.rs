//! Numbers with a fraction, exactly, as long as they are of a common size.

/// A number of digits, and how many of them stand behind the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    digits: i128,
    behind: u32,
}

/// No number has more digits behind its point; beyond, floats must do.
const BEHIND_MAX: u32 = 18;
/// A quotient has this many.
const BEHIND_QUOTIENT: u32 = 16;

impl Decimal {
    /// The shortest number that this float stands for.
    pub(super) fn of(number: f64) -> Option<Decimal> {
        let text = number.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let behind = u32::try_from(fraction.len()).ok().filter(|behind| *behind <= BEHIND_MAX)?;
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Decimal { digits, behind })
    }

    pub(super) fn float(self) -> f64 {
        format!("{}e-{}", self.digits, self.behind).parse().unwrap_or(f64::NAN)
    }

    pub(super) fn plus(self, other: Decimal) -> Option<Decimal> {
        let behind = self.behind.max(other.behind);
        let digits = self.at(behind)?.checked_add(other.at(behind)?)?;
        Some(Decimal { digits, behind })
    }

    pub(super) fn minus(self, other: Decimal) -> Option<Decimal> {
        self.plus(Decimal { digits: other.digits.checked_neg()?, ..other })
    }

    pub(super) fn times(self, other: Decimal) -> Option<Decimal> {
        let digits = self.digits.checked_mul(other.digits)?;
        Some(Decimal { digits, behind: self.behind + other.behind })
    }

    /// Rounded to the nearest, away from zero if it lies between.
    pub(super) fn over(self, other: Decimal) -> Option<Decimal> {
        let above = self.at(self.behind.max(other.behind) + BEHIND_QUOTIENT)?;
        let below = other.at(self.behind.max(other.behind))?;
        let (whole, rest) = (above.checked_div(below)?, above.checked_rem(below)?);
        let up = rest.checked_mul(2)?.unsigned_abs() >= below.unsigned_abs();
        let way = if (above < 0) == (below < 0) { 1 } else { -1 };
        Some(Decimal { digits: if up { whole + way } else { whole }, behind: BEHIND_QUOTIENT })
    }

    /// Its digits, with so many behind the point.
    fn at(self, behind: u32) -> Option<i128> {
        let more = behind.checked_sub(self.behind)?;
        self.digits.checked_mul(10_i128.checked_pow(more)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_come_out_as_people_write_them() {
        let of = |number: f64| Decimal::of(number).unwrap();
        assert_eq!(of(0.1).plus(of(0.2)).unwrap().float(), 0.3);
        assert_eq!(of(1.1).times(of(1.1)).unwrap().float(), 1.21);
        assert_eq!(of(1.0).over(of(3.0)).unwrap().float(), 0.333_333_333_333_333_3);
        assert_eq!(of(-2.0).over(of(3.0)).unwrap().float(), -0.666_666_666_666_666_7);
        assert_eq!(of(10.5).minus(of(0.5)).unwrap().float(), 10.0);
        assert_eq!(Decimal::of(1e300).and_then(|large| large.times(of(2.0))), None);
        assert_eq!(Decimal::of(1e-30), None);
    }
}
