//! Numbers. Whatever is given is taken for one, and for zero if it is none.

use gotmpl::Value;

use super::decimal::Decimal;
use crate::agent::templates::{
    functions::{Function, argument, wrong},
    language::Made,
};

pub(super) const ALL: [(&str, Function); 24] = [
    ("add", |args| sum(args, |a, b| a.wrapping_add(b), 0)),
    ("add1", |args| Ok(Value::Int(whole(argument(args, 0)?).wrapping_add(1)))),
    ("sub", |args| pair(args, i64::checked_sub)),
    ("mul", |args| sum(args, |a, b| a.wrapping_mul(b), 1)),
    ("div", |args| pair(args, i64::checked_div)),
    ("mod", |args| pair(args, i64::checked_rem)),
    ("max", |args| most(args, i64::max)),
    ("biggest", |args| most(args, i64::max)),
    ("min", |args| most(args, i64::min)),
    ("maxf", |args| float_most(args, f64::max)),
    ("minf", |args| float_most(args, f64::min)),
    ("floor", |args| Ok(Value::Float(float(argument(args, 0)?).floor()))),
    ("ceil", |args| Ok(Value::Float(float(argument(args, 0)?).ceil()))),
    ("round", round),
    ("add1f", |args| decimals(args, (Some(1.0), 0), Decimal::plus, |a, b| a + b)),
    ("addf", |args| decimals(args, (Some(0.0), 0), Decimal::plus, |a, b| a + b)),
    ("subf", |args| decimals(args, (None, 1), Decimal::minus, |a, b| a - b)),
    ("mulf", |args| decimals(args, (None, 1), Decimal::times, |a, b| a * b)),
    ("divf", |args| decimals(args, (None, 1), Decimal::over, |a, b| a / b)),
    ("atoi", |args| Ok(Value::Int(super::shown(argument(args, 0)?).parse().unwrap_or(0)))),
    ("int", |args| Ok(Value::Int(whole(argument(args, 0)?)))),
    ("int64", |args| Ok(Value::Int(whole(argument(args, 0)?)))),
    ("float64", |args| Ok(Value::Float(float(argument(args, 0)?)))),
    ("toDecimal", |args| {
        let digits = super::shown(argument(args, 0)?);
        Ok(Value::Int(i64::from_str_radix(&digits, 8).unwrap_or(0)))
    }),
];

/// A value as a whole number.
pub(super) fn whole(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        Value::Uint(number) => i64::try_from(*number).unwrap_or(i64::MAX),
        Value::Float(number) => *number as i64,
        Value::Bool(flag) => i64::from(*flag),
        Value::String(text) => whole_text(text),
        _ => 0,
    }
}

/// A number as Go's programs write it: `0x1f`, `0b1`, `017`, and `5.00`.
fn whole_text(text: &str) -> i64 {
    let text = match text.split_once('.') {
        Some((whole, zeros))
            if !whole.is_empty() && !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') =>
        {
            whole
        }
        _ => text,
    };
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, digits.get(2..)),
        Some("0b" | "0B") => (2, digits.get(2..)),
        Some("0o" | "0O") => (8, digits.get(2..)),
        Some(_) if digits.starts_with('0') => (8, digits.get(1..)),
        _ => (10, Some(digits)),
    };
    let digits = digits.unwrap_or_default();
    if digits.starts_with(['+', '-']) {
        return 0;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), base).unwrap_or(0)
}

/// A value as a number with a fraction.
pub(super) fn float(value: &Value) -> f64 {
    match value {
        Value::Int(number) => *number as f64,
        Value::Uint(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::String(text) => text.parse().unwrap_or(0.0),
        _ => 0.0,
    }
}

fn sum(args: &[Value], join: fn(i64, i64) -> i64, start: i64) -> Made {
    Ok(Value::Int(args.iter().map(whole).fold(start, join)))
}

fn pair(args: &[Value], join: fn(i64, i64) -> Option<i64>) -> Made {
    let joined = join(whole(argument(args, 0)?), whole(argument(args, 1)?));
    joined.map(Value::Int).ok_or_else(|| wrong("a sum is too large, or divides by zero"))
}

fn most(args: &[Value], join: fn(i64, i64) -> i64) -> Made {
    let first = whole(argument(args, 0)?);
    Ok(Value::Int(args.iter().skip(1).map(whole).fold(first, join)))
}

fn float_most(args: &[Value], join: fn(f64, f64) -> f64) -> Made {
    let first = float(argument(args, 0)?);
    Ok(Value::Float(args.iter().skip(1).map(float).fold(first, join)))
}

fn round(args: &[Value]) -> Made {
    let power = 10_f64.powi(i32::try_from(whole(argument(args, 1)?)).unwrap_or(0));
    let limit = args.get(2).map_or(0.5, float);
    let digits = power * float(argument(args, 0)?);
    let rounded = if digits.fract() >= limit { digits.ceil() } else { digits.floor() };
    Ok(Value::Float(rounded / power))
}

/// Sums that come out as people write them: 0.1 and 0.2 are 0.3.
fn decimals(
    args: &[Value],
    (start, skipped): (Option<f64>, usize),
    join: fn(Decimal, Decimal) -> Option<Decimal>,
    rough: fn(f64, f64) -> f64,
) -> Made {
    let first = match start {
        Some(start) => start,
        None => float(argument(args, 0)?),
    };
    let rest: Vec<f64> = args.iter().skip(skipped).map(float).collect();
    let zero = |b: &f64| rough(1.0, *b).is_infinite();
    if rest.iter().any(zero) {
        return Err(wrong("a sum divides by zero"));
    }
    let exact = rest.iter().fold(Decimal::of(first), |sum, number| join(sum?, Decimal::of(*number)?));
    let number = exact.map(Decimal::float);
    Ok(Value::Float(number.unwrap_or_else(|| rest.iter().fold(first, |sum, number| rough(sum, *number)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_numbers_as_go_reads_them() {
        for (text, number) in [
            ("12", 12),
            ("-0x10", -16),
            ("017", 15),
            ("0", 0),
            ("5.00", 5),
            ("5.5", 0),
            ("x", 0),
            ("", 0),
            ("+3", 3),
            ("--3", 0),
        ] {
            assert_eq!(whole(&Value::String(text.into())), number, "{text}");
        }
    }
}
