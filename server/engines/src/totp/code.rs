//! Codes: made for who has no device, checked for who has one.

use kit::loose::{Span, Text};
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Totp;
use super::keys::Key;

/// Makes the code of this moment.
#[derive(Deserialize, JsonSchema)]
pub(super) struct MakeCode {
    /// Name of the key.
    name: String,
}

/// A code, and when it counts.
#[derive(JsonSchema, Serialize)]
pub(super) struct MadeCode {
    /// The code.
    code: Secret<String>,
    /// When the next one begins, in seconds since 1970.
    expire_time: u64,
    /// When it was made, in seconds since 1970.
    generated: u64,
    /// How long each code counts, as `30s`.
    period: String,
}

impl Query<Totp> for MakeCode {
    const ROUTE: Route = Route::get("code/{name:at}");
    type Reply = MadeCode;

    fn run(self, _: &Totp, cx: &Reading<'_>) -> Result<Reply<MadeCode>> {
        let key = Key::find_or_refuse(cx, &self.name)?;
        let now = cx.now().seconds();
        let step = now / key.period_seconds;
        Ok(Reply::Data(MadeCode {
            code: Secret::new(otp::code(&key.secret, key.algorithm, key.digits, step)?.to_string()),
            expire_time: (step + 1).saturating_mul(key.period_seconds),
            generated: now,
            period: Span::from_seconds(i64::try_from(key.period_seconds).unwrap_or(i64::MAX)).go(),
        }))
    }
}

/// Checks a code. A code is accepted once.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CheckCode {
    /// Name of the key.
    name: String,
    /// The code.
    code: Option<Text>,
}

/// Whether a code was right.
#[derive(JsonSchema, Serialize)]
pub(super) struct Checked {
    valid: bool,
}

impl Command<Totp> for CheckCode {
    const ROUTE: Route = Route::post("code/{name:at}");
    type Reply = Checked;

    fn run(self, _: &Totp, cx: &mut Writing<'_>) -> Result<Reply<Checked>> {
        let mut key = Key::find_or_refuse(cx, &self.name)?;
        let shown = self.code.unwrap_or_default().0;
        if shown.is_empty() {
            return Err(Error::invalid("the code value is required"));
        }
        // Compared as it is, never trimmed: a second spelling would be a second code.
        if shown.len() != key.digits.count() {
            return Err(Error::invalid("invalid number of digits for the code"));
        }
        let Some(step) = key.check().fitting(&shown, cx.now().seconds())? else {
            return Ok(Reply::Data(Checked { valid: false }));
        };
        let oldest = key.check().first(cx.now().seconds());
        key.accepted.retain(|accepted| *accepted >= oldest);
        key.accepted.push(step);
        key.store(cx, &self.name)?;
        Ok(Reply::Data(Checked { valid: true }))
    }
}
