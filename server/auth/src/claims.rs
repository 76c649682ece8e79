//! What signed tokens say, and whether it is what is expected: the dates and leeways are those that clients of such
//! servers count on, not those of a library.

use jws::{Message, PublicKey};
use kit::Time;
use serde_json::{Map, Number, Value};

/// By how much a token without an end, or without a beginning, is good at most.
pub(crate) const LEEWAY_SECONDS: i64 = 150;
/// By how much clocks may differ.
pub(crate) const SKEW_SECONDS: i64 = 60;
/// No date lies farther from 1970, in seconds.
const DATE_MAX: f64 = 1e13;

/// What a token says.
#[derive(Clone)]
pub(crate) struct Claims(pub(crate) Map<String, Value>);

/// What it is to say.
#[derive(Default)]
pub(crate) struct Expected<'a> {
    /// The issuer; empty: any.
    pub(crate) issuer: &'a str,
    /// The subject; empty: any.
    pub(crate) subject: &'a str,
    /// One of these must be among the audiences; none: any.
    pub(crate) audiences: &'a [String],
    /// How clocks may differ.
    pub(crate) leeways: Leeways,
    /// Whether it must say when it is good.
    pub(crate) times: Times,
}

/// Seconds; 0: the usual, below: none.
#[derive(Clone, Copy, Default)]
pub(crate) struct Leeways {
    pub(crate) expiration: i64,
    pub(crate) not_before: i64,
    pub(crate) clock_skew: i64,
}

/// Whether a token must say when it is good.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub(crate) enum Times {
    /// One of `iat`, `nbf` and `exp` must be there.
    #[default]
    Wanted,
    /// One without any is good for ever.
    Optional,
    /// `exp` must be there; nothing is made up of it about when the token began.
    Ended,
}

impl Claims {
    /// What a token says, if one of these keys signed it.
    pub(crate) fn signed_by<'k>(
        token: &Message<'_>,
        keys: impl IntoIterator<Item = &'k PublicKey>,
    ) -> Option<Self> {
        keys.into_iter().find_map(|key| token.signed_by(key)).and_then(Self::parse)
    }

    /// What a token says, whoever made it up. Only for those who have it reviewed by the issuer.
    pub(crate) fn unverified(token: &Message<'_>) -> Option<Self> {
        token.unverified().and_then(Self::parse)
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok().map(Self)
    }

    /// A claim by its name, or by a JSON pointer. One audience is a list of one; a number is whole.
    pub(crate) fn find(&self, name: &str) -> Option<Value> {
        let found = match name.starts_with('/') {
            // A pointer goes into values; the claims themselves are the first step.
            true => self.at(name),
            false => self.0.get(name),
        };
        match found? {
            Value::Null => None,
            Value::String(one) if name == "aud" => Some(Value::Array(vec![Value::String(one.clone())])),
            Value::Number(number) => Some(Value::Number(whole(number))),
            other => Some(other.clone()),
        }
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        let rest = pointer.strip_prefix('/')?;
        let (first, rest) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        self.0.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
    }

    /// Whom it is for.
    ///
    /// # Errors
    /// If it does not say so in the form it should.
    pub(crate) fn audiences(&self) -> Result<Vec<&str>, String> {
        let wrong =
            || "go-jose/go-jose/jwt: expected string or array value to unmarshal to Audience".to_owned();
        match self.0.get("aud") {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(list)) => list.iter().map(|one| one.as_str().ok_or_else(wrong)).collect(),
            Some(_) => Err(wrong()),
        }
    }

    /// Holds what it says against what is expected, at this time.
    ///
    /// # Errors
    /// With what differs.
    pub(crate) fn check(&self, expected: &Expected<'_>, now: Time) -> Result<(), String> {
        let audiences = self.audiences()?;
        let dates = (self.date("exp")?, self.date("iat")?, self.date("nbf")?);
        let (issuer, _, subject) =
            (self.registered("iss")?, self.registered("jti")?, self.registered("sub")?);
        if !expected.issuer.is_empty() && expected.issuer != issuer {
            return Err("invalid issuer (iss) claim".to_owned());
        }
        if !expected.subject.is_empty() && expected.subject != subject {
            return Err("invalid subject (sub) claim".to_owned());
        }
        let meant = |wanted: &String| audiences.contains(&wanted.as_str());
        if !expected.audiences.is_empty() && !expected.audiences.iter().any(meant) {
            let text = "audience claim does not match any expected audience";
            return Err(format!("invalid audience (aud) claim: {text}"));
        }
        check_dates(dates, expected, now)
    }

    fn registered(&self, name: &str) -> Result<&str, String> {
        let kind = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(""),
            Some(Value::String(text)) => return Ok(text),
            Some(Value::Number(_)) => "number",
            Some(Value::Bool(_)) => "bool",
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
        };
        Err(format!("json: cannot unmarshal {kind} into Go struct field Claims.{name} of type string"))
    }

    /// A date in seconds; 0: there is none.
    fn date(&self, name: &str) -> Result<i64, String> {
        let wrong = || "go-jose/go-jose/jwt: expected number value to unmarshal NumericDate".to_owned();
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(0),
            Some(Value::Number(number)) => {
                let seconds = number.as_f64().filter(|seconds| seconds.abs() < DATE_MAX).ok_or_else(wrong)?;
                #[expect(clippy::cast_possible_truncation, reason = "within the bounds checked above")]
                Ok(seconds as i64)
            }
            Some(_) => Err(wrong()),
        }
    }
}

fn check_dates(
    (mut exp, iat, mut nbf): (i64, i64, i64),
    expected: &Expected<'_>,
    now: Time,
) -> Result<(), String> {
    if exp == 0 && iat == 0 && nbf == 0 {
        let text = "no issued at (iat), not before (nbf), or expiration time (exp) claims in token";
        return if expected.times == Times::Optional { Ok(()) } else { Err(text.to_owned()) };
    }
    let Leeways { expiration, not_before, clock_skew } = expected.leeways;
    if exp == 0 {
        exp = iat.max(nbf).saturating_add(leeway(expiration, LEEWAY_SECONDS));
    }
    if nbf == 0 {
        nbf = match expected.times {
            _ if iat != 0 => iat,
            Times::Ended => 0,
            Times::Wanted | Times::Optional => exp.saturating_sub(leeway(not_before, LEEWAY_SECONDS)),
        };
    }
    let nanos = |seconds: i64| i128::from(seconds) * 1_000_000_000;
    let (now, skew) = (i128::from(now.0), nanos(leeway(clock_skew, SKEW_SECONDS)));
    if now + skew < nanos(nbf) {
        return Err("invalid not before (nbf) claim: token not yet valid".to_owned());
    }
    if now - skew > nanos(exp) {
        return Err("invalid expiration time (exp) claim: token is expired".to_owned());
    }
    if now + skew < nanos(iat) {
        return Err("invalid issued at (iat) claim: token issued in the future".to_owned());
    }
    Ok(())
}

fn leeway(seconds: i64, usual: i64) -> i64 {
    match seconds {
        0 => usual,
        below if below < 0 => 0,
        seconds => seconds,
    }
}

/// The whole part of a number, which is what claims are compared by.
fn whole(number: &Number) -> Number {
    match (number.as_i64(), number.as_f64()) {
        (None, Some(float)) if float.abs() < DATE_MAX =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "within the bounds checked above")]
            Number::from(float as i64)
        }
        _ => number.clone(),
    }
}

/// A claim as a list: a list is one, and a text, boolean or number is a list of one.
pub(crate) fn list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(list) => Some(list),
        Value::String(_) | Value::Bool(_) | Value::Number(_) => Some(vec![value]),
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_767_225_600;

    fn claims(value: Value) -> Claims {
        Claims::parse(value.to_string().as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(leeways: Leeways, value: Value, expect: &str) {
        let expected = Expected { leeways, ..Expected::default() };
        let now = Time(Time::from_seconds(NOW as u64).0 + 1);
        let came = claims(value.clone()).check(&expected, now).err().unwrap_or_default();
        assert_eq!(came, expect, "{value}");
    }

    #[test]
    fn dates_are_held_against_the_clock() {
        let expired = "invalid expiration time (exp) claim: token is expired";
        let early = "invalid not before (nbf) claim: token not yet valid";
        let none = "no issued at (iat), not before (nbf), or expiration time (exp) claims in token";
        let number = "go-jose/go-jose/jwt: expected number value to unmarshal NumericDate";
        let usual = Leeways::default();
        check(usual, json!({}), none);
        check(usual, json!({"exp": 0, "iat": null}), none);
        check(usual, json!({"exp": NOW - 59}), "");
        check(usual, json!({"exp": NOW - 60}), expired);
        check(usual, json!({"exp": NOW + 210}), "");
        check(usual, json!({"exp": NOW + 211}), early);
        check(usual, json!({"iat": NOW - 209}), "");
        check(usual, json!({"iat": NOW - 210}), expired);
        check(usual, json!({"nbf": NOW + 60}), "");
        check(usual, json!({"nbf": NOW + 61}), early);
        check(
            usual,
            json!({"nbf": NOW, "exp": NOW + 9, "iat": NOW + 61}),
            "invalid issued at (iat) claim: token issued in the future",
        );
        check(usual, json!({"exp": -5, "iat": NOW}), expired);
        check(usual, json!({"exp": 1e300, "iat": NOW}), number);
        check(usual, json!({"exp": "x"}), number);
        let strict = Leeways { expiration: -1, not_before: -1, clock_skew: -1 };
        check(strict, json!({"exp": NOW, "iat": NOW - 5}), expired);
        check(strict, json!({"exp": NOW + 1, "iat": NOW - 5}), "");
        check(strict, json!({"nbf": NOW}), expired);
        check(Leeways { expiration: 5, not_before: 5, clock_skew: 5 }, json!({"iat": NOW - 9}), "");
        let ended = Expected { times: Times::Ended, ..Expected::default() };
        let now = Time::from_seconds(NOW as u64);
        claims(json!({"exp": NOW + 3600})).check(&ended, now).unwrap();
        assert_eq!(
            claims(json!({"exp": NOW + 3600, "nbf": NOW + 61})).check(&ended, now).unwrap_err(),
            early
        );
    }

    #[test]
    fn registered_claims_are_what_they_should_be() {
        let time = |mut value: Value| {
            value["exp"] = json!(NOW + 9);
            value
        };
        let usual = Leeways::default();
        check(
            usual,
            time(json!({"sub": 5})),
            "json: cannot unmarshal number into Go struct field Claims.sub of type string",
        );
        check(
            usual,
            time(json!({"iss": [1]})),
            "json: cannot unmarshal array into Go struct field Claims.iss of type string",
        );
        let audience = "go-jose/go-jose/jwt: expected string or array value to unmarshal to Audience";
        check(usual, time(json!({"aud": 5})), audience);
        check(usual, time(json!({"aud": ["a", 5]})), audience);
        check(usual, time(json!({"aud": null})), "");
    }

    #[test]
    fn claims_are_found_by_name_and_by_pointer() {
        let claims = claims(json!({"aud": "a", "n": 5.7, "d/e": {"f~": ["x"]}, "/p": 1}));
        assert_eq!(claims.find("aud"), Some(json!(["a"])));
        assert_eq!(claims.find("n").map(|number| number.to_string()).as_deref(), Some("5"));
        assert_eq!(claims.find("/d~1e/f~0/0"), Some(json!("x")));
        assert_eq!(claims.find("/p"), None);
        assert_eq!(claims.find("d/e").unwrap(), json!({"f~": ["x"]}));
    }
}
