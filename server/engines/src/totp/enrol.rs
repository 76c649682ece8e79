//! A key is made here, or one that another service made is taken in.

use kit::loose::{Flag, Number, Seconds, Text};
use kit::{Command, Error, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::Totp;
use super::keys::Key;
use otp::{Algorithm, Digits, encode_secret, read_secret};

const KEY_SIZE: i64 = 20;
const KEY_SIZE_MAX: i64 = 1024;
const PERIOD_SECONDS: u64 = 30;
/// A year. No authenticator waits longer.
const PERIOD_SECONDS_MAX: u64 = 31_536_000;
const DIGITS: i64 = 6;
const SKEW: i64 = 1;
const QR_SIZE: i64 = 200;
/// Sixteen million pixels, which take a tenth of a second.
const QR_SIZE_MAX: i64 = 4096;
/// Of an issuer and of an account name, in bytes.
const NAME_SIZE_MAX: usize = 1024;

/// Makes a key, or takes one in. With `generate`, a new secret is made, and answered once as a URL and a QR code; without it,
/// `url` or `key` brings the secret of another service.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteKey {
    /// Name of the key.
    name: String,
    /// Whose account it is. With `generate`, it must be there.
    account_name: Option<Text>,
    /// The hash that codes are made with: `SHA1`, `SHA256` or `SHA512`.
    algorithm: Option<Text>,
    /// How many digits a code has: 6 or 8.
    digits: Option<Number>,
    /// With `generate`, whether URL and QR code are answered. Without them nobody but this server can make codes.
    exported: Option<Flag>,
    /// Whether the secret is made here.
    generate: Option<Flag>,
    /// Which organisation the account is with. With `generate`, it must be there.
    issuer: Option<Text>,
    /// The secret, in base32. Not with `generate`.
    key: Option<Text>,
    /// With `generate`, how many bytes the secret has.
    key_size: Option<Number>,
    /// How long a code counts.
    period: Option<Seconds>,
    /// With `generate`, the sides of the QR code in pixels; 0 for none.
    qr_size: Option<Number>,
    /// How many periods before and after now still count when a code is checked: 0 or 1.
    skew: Option<Number>,
    /// An `otpauth` URL that says all of this. Not with `generate`.
    url: Option<Text>,
}

/// What an authenticator is given.
#[derive(JsonSchema, Serialize)]
pub(super) struct Enrolled {
    /// A PNG in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    barcode: Option<Secret<String>>,
    /// The `otpauth` URL.
    url: Secret<String>,
}

impl Drop for WriteKey {
    fn drop(&mut self) {
        for secret in [&mut self.key, &mut self.url].into_iter().flatten() {
            secret.0.zeroize();
        }
    }
}

impl Command<Totp> for WriteKey {
    const ROUTE: Route = Route::post("keys/{name:at}");
    type Reply = Enrolled;

    fn run(mut self, _: &Totp, cx: &mut Writing<'_>) -> Result<Reply<Enrolled>> {
        let generate = self.generate.unwrap_or_default().0;
        let (mut form, brought) = self.form(generate)?;
        if !generate {
            form.secret = brought;
            store(form, cx, &self.name)?;
            return Ok(Reply::Nothing);
        }
        let mut bytes = Zeroizing::new(vec![0; self.key_size()?]);
        cx.randomness().fill(&mut bytes);
        form.secret = encode_secret(&bytes);
        if !self.exported.unwrap_or(Flag(true)).0 {
            store(form, cx, &self.name)?;
            return Ok(Reply::Nothing);
        }
        let url = otp::url(
            &form.issuer,
            &form.account_name,
            &form.secret,
            form.algorithm,
            form.digits,
            form.period_seconds,
        );
        let barcode = match self.qr_size()? {
            0 => None,
            size => Some(otp::png(url.expose(), size)?),
        };
        store(form, cx, &self.name)?;
        Ok(Reply::Data(Enrolled { barcode, url }))
    }
}

impl WriteKey {
    /// The key without its secret, and the secret if one was brought.
    fn form(&mut self, generate: bool) -> Result<(Key, Secret<String>)> {
        let mut secret = Zeroizing::new(self.key.take().unwrap_or_default().0);
        let url = Zeroizing::new(self.url.take().unwrap_or_default().0);
        if generate && !secret.is_empty() {
            return Err(Error::invalid("a key should not be passed if generate is true"));
        }
        if generate && !url.is_empty() {
            return Err(Error::invalid("a url should not be passed if generate is true"));
        }
        let mut issuer = self.issuer.take().unwrap_or_default().0;
        let mut account_name = self.account_name.take().unwrap_or_default().0;
        let mut algorithm = self.algorithm.take().map_or("SHA1".to_owned(), |text| text.0);
        let mut digits = self.digits.map_or(DIGITS, |number| number.0);
        let mut period = self.period.map_or(PERIOD_SECONDS, |seconds| seconds.0);
        if !url.is_empty() {
            let said = otp::read(&url)?;
            issuer = said.issuer.unwrap_or(issuer);
            (account_name, secret) = (said.account_name, said.secret);
            digits = said.digits.unwrap_or(digits);
            period = said.period.map_or(period, |period| u64::try_from(period).unwrap_or(0));
            algorithm = said.algorithm.unwrap_or(algorithm);
        }
        let count = u64::try_from(digits).unwrap_or(0);
        let digits = Digits::try_from(count).map_err(Error::invalid)?;
        let algorithm = Algorithm::parse(&algorithm)?;
        let period_seconds = checked_period(period)?;
        let skew = self.skew()?;
        self.qr_size()?;
        self.key_size()?;
        check_names(&issuer, &account_name, generate)?;
        if !generate {
            if secret.is_empty() {
                return Err(Error::invalid("the key value is required"));
            }
            read_secret(&secret)?;
        }
        let secret = Secret::new(secret.trim_end_matches('=').to_ascii_uppercase());
        let nothing = Secret::new(String::new());
        let key = Key {
            secret: nothing,
            issuer,
            account_name,
            algorithm,
            digits,
            period_seconds,
            skew,
            accepted: vec![],
        };
        Ok((key, secret))
    }

    fn skew(&self) -> Result<u64> {
        match self.skew.map_or(SKEW, |number| number.0) {
            0 => Ok(0),
            1 => Ok(1),
            _ => Err(Error::invalid("the skew value must be 0 or 1")),
        }
    }

    fn qr_size(&self) -> Result<u32> {
        match self.qr_size.map_or(QR_SIZE, |number| number.0) {
            size if size < 0 => {
                Err(Error::invalid("the qr_size value must be greater than or equal to zero"))
            }
            size if size > QR_SIZE_MAX => {
                Err(Error::invalid(format!("the qr_size value must be at most {QR_SIZE_MAX} pixels")))
            }
            size => Ok(u32::try_from(size).unwrap_or(0)),
        }
    }

    fn key_size(&self) -> Result<usize> {
        match self.key_size.map_or(KEY_SIZE, |number| number.0) {
            size if size <= 0 => Err(Error::invalid("the key_size value must be greater than zero")),
            size if size > KEY_SIZE_MAX => {
                Err(Error::invalid(format!("the key_size value must be at most {KEY_SIZE_MAX} bytes")))
            }
            size => Ok(usize::try_from(size).unwrap_or(0)),
        }
    }
}

fn checked_period(seconds: u64) -> Result<u64> {
    match seconds {
        0 => Err(Error::invalid("the period value must be greater than zero")),
        _ if seconds > PERIOD_SECONDS_MAX => Err(Error::invalid("the period value must be at most a year")),
        _ => Ok(seconds),
    }
}

fn check_names(issuer: &str, account_name: &str, required: bool) -> Result<()> {
    for (field, name) in [("account_name", account_name), ("issuer", issuer)] {
        if required && name.is_empty() {
            return Err(Error::invalid(format!("the {field} value is required for generated keys")));
        }
        if name.len() > NAME_SIZE_MAX {
            return Err(Error::invalid(format!("the {field} value must be at most {NAME_SIZE_MAX} bytes")));
        }
        if !name.chars().all(policy::is_printable) {
            return Err(Error::invalid(format!("the {field} value must hold no control characters")));
        }
    }
    Ok(())
}

/// Keeps the key. One that makes the codes of the key in its place goes on refusing those that were used.
fn store(mut key: Key, cx: &mut Writing<'_>, name: &str) -> Result<()> {
    if let Some(before) = Key::find(cx, name)?
        && before.makes_codes_of(&key)
    {
        key.accepted = before.accepted;
    }
    key.store(cx, name)
}
