//! How one-time passwords of a method are made.

use kit::loose::{Number, Seconds, Text};
use kit::{Error, Result, Route};
use otp::{Algorithm, Digits};
use schemars::JsonSchema;
use serde::Deserialize;

use super::kind::Kind;
use super::method::{Routes, Wish};
use super::record::{Totp, Way};
use crate::identity::names;

const KEY_SIZE: i64 = 20;
const KEY_SIZE_MAX: i64 = 1024;
const QR_SIZE: i64 = 200;
const QR_SIZE_MAX: i64 = 4096;
const PERIOD_SECONDS: u64 = 30;
const PERIOD_SECONDS_MAX: u64 = 86_400;
const ATTEMPTS: i64 = 5;

/// What can be said of a method of one-time passwords.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::identity) struct TotpWish {
    /// Its name, by which a client may call it.
    method_name: Option<Text>,
    /// Who makes the key, as authenticators show it.
    issuer: Option<Text>,
    /// How long a code counts.
    period: Option<Seconds>,
    /// How many bytes a key has.
    key_size: Option<Number>,
    /// The side of the picture in pixels; 0 for none.
    qr_size: Option<Number>,
    /// `SHA1`, `SHA256` or `SHA512`.
    algorithm: Option<Text>,
    /// 6 or 8.
    digits: Option<Number>,
    /// How many periods before and after now still count: 0 or 1.
    skew: Option<Number>,
    /// How many codes may be tried in a period.
    max_validation_attempts: Option<Number>,
}

impl Wish for TotpWish {
    const KIND: Kind = Kind::Totp;
    const ROUTES: Routes = Routes {
        register: Route::post("mfa/method/totp"),
        get: Route::get("mfa/method/totp/{method_id}"),
        put: Route::post("mfa/method/totp/{method_id}"),
        delete: Route::delete("mfa/method/totp/{method_id}"),
    };

    fn method_name(&self) -> &str {
        self.method_name.as_ref().map_or("", |text| &text.0)
    }

    fn username_format(&self) -> Option<&str> {
        None
    }

    /// The order of the checks is that of the API: clients see the first that fails.
    fn way(self) -> Result<Way> {
        let number = |field: Option<Number>, usual: i64| field.map_or(usual, |number| number.0);
        let algorithm = self.algorithm.map_or("SHA1".to_owned(), |text| text.0);
        let algorithm = Algorithm::parse(&algorithm).map_err(|_| Error::invalid("unrecognized algorithm"))?;
        let period_seconds = self.period.map_or(PERIOD_SECONDS, |seconds| seconds.0);
        if period_seconds == 0 || period_seconds > PERIOD_SECONDS_MAX {
            return Err(Error::invalid(match period_seconds {
                0 => "period must be greater than zero",
                _ => "period must be at most a day",
            }));
        }
        let key_size = number(self.key_size, KEY_SIZE);
        if key_size <= 0 {
            return Err(Error::invalid("key_size must be greater than zero"));
        }
        if key_size > KEY_SIZE_MAX {
            return Err(Error::invalid(format!("key_size must be at most {KEY_SIZE_MAX} bytes")));
        }
        let digits = u64::try_from(number(self.digits, 6)).ok();
        let digits = digits.and_then(|digits| Digits::try_from(digits).ok());
        let digits = digits.ok_or_else(|| Error::invalid("digits can only be 6 or 8"))?;
        let skew = match number(self.skew, 1) {
            skew @ (0 | 1) => u64::from(skew == 1),
            _ => return Err(Error::invalid("skew must be 0 or 1")),
        };
        let qr_size = number(self.qr_size, QR_SIZE);
        if !(0..=QR_SIZE_MAX).contains(&qr_size) {
            return Err(Error::invalid(format!("qr_size must be between 0 and {QR_SIZE_MAX} pixels")));
        }
        let issuer = self.issuer.unwrap_or_default().0;
        if issuer.is_empty() {
            return Err(Error::invalid("issuer must be set"));
        }
        names::check("issuer", &issuer)?;
        let attempts = match number(self.max_validation_attempts, ATTEMPTS) {
            0 => ATTEMPTS,
            attempts => attempts,
        };
        let attempts_max = u64::try_from(attempts)
            .map_err(|_| Error::invalid("max_validation_attempts must be greater than zero"))?;
        Ok(Way::Totp(Totp {
            issuer,
            algorithm,
            digits,
            key_size: u64::try_from(key_size).unwrap_or_default(),
            period_seconds,
            skew,
            qr_size: u32::try_from(qr_size).unwrap_or_default(),
            attempts_max,
        }))
    }
}
