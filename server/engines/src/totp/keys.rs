//! The keys of a mount: what is kept of one, read, listed, deleted.

use kit::loose::{Number, Text};
use kit::{
    Command, Error, Nothing, Query, Reading, Reads, Reply, Result, Route, Secret, Table, Writing, page,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Totp;
use otp::{Algorithm, Digits};

const KEYS: Table<Key> = Table::new(1);

/// A key, and how its codes are made.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Key {
    /// In base32, in upper case, without padding.
    pub(super) secret: Secret<String>,
    pub(super) issuer: String,
    pub(super) account_name: String,
    pub(super) algorithm: Algorithm,
    pub(super) digits: Digits,
    pub(super) period_seconds: u64,
    /// How many periods before and after now still count.
    pub(super) skew: u64,
    /// The periods whose codes were accepted already, as far as they still count.
    pub(super) accepted: Vec<u64>,
}

impl Key {
    /// The key of this name.
    pub(super) fn find(cx: &impl Reads, name: &str) -> Result<Option<Self>> {
        KEYS.get(cx, name)
    }

    /// The key of this name, or the refusal that clients know.
    pub(super) fn find_or_refuse(cx: &impl Reads, name: &str) -> Result<Self> {
        Self::find(cx, name)?.ok_or_else(|| Error::invalid(format!("unknown key: {name}")))
    }

    /// Keeps it under this name.
    pub(super) fn store(&self, cx: &mut Writing<'_>, name: &str) -> Result<()> {
        KEYS.put(cx, name, self)
    }

    /// As a code is checked against it.
    pub(super) fn check(&self) -> otp::Check<'_> {
        otp::Check {
            secret: &self.secret,
            algorithm: self.algorithm,
            digits: self.digits,
            period_seconds: self.period_seconds,
            skew: self.skew,
            accepted: &self.accepted,
        }
    }

    /// Whether both make the same codes.
    pub(super) fn makes_codes_of(&self, other: &Self) -> bool {
        let form = |key: &Self| (key.algorithm, key.digits, key.period_seconds);
        form(self) == form(other) && self.secret.same(&other.secret)
    }
}

/// What is shown of a key: all but the secret.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownKey {
    account_name: String,
    algorithm: Algorithm,
    digits: Digits,
    issuer: String,
    /// The seconds for which a code counts.
    period: u64,
}

/// Shows how a key makes its codes.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadKey {
    /// Name of the key.
    name: String,
}

impl Query<Totp> for ReadKey {
    const ROUTE: Route = Route::get("keys/{name:at}");
    type Reply = ShownKey;

    fn run(self, _: &Totp, cx: &Reading<'_>) -> Result<Reply<ShownKey>> {
        let key = Key::find(cx, &self.name)?.ok_or_else(Error::not_found)?;
        Ok(Reply::Data(ShownKey {
            account_name: key.account_name,
            algorithm: key.algorithm,
            digits: key.digits,
            issuer: key.issuer,
            period: key.period_seconds,
        }))
    }
}

/// Lists the keys.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListKeys {
    /// The name after which to begin.
    after: Option<Text>,
    /// How many names to show at most; all if it is not positive.
    limit: Option<Number>,
}

/// The names of the keys.
#[derive(JsonSchema, Serialize)]
pub(super) struct Listed {
    keys: Vec<String>,
}

impl Query<Totp> for ListKeys {
    const ROUTE: Route = Route::list("keys");
    type Reply = Listed;

    fn run(self, _: &Totp, cx: &Reading<'_>) -> Result<Reply<Listed>> {
        let names = KEYS.list(cx, "")?;
        let keys = page(&names, &self.after.unwrap_or_default().0, self.limit.unwrap_or_default().0);
        match keys.is_empty() {
            true => Err(Error::not_found()),
            false => Ok(Reply::Data(Listed { keys })),
        }
    }
}

/// Deletes a key for good. Its codes are then neither made nor accepted.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteKey {
    /// Name of the key.
    name: String,
}

impl Command<Totp> for DeleteKey {
    const ROUTE: Route = Route::delete("keys/{name:at}");
    type Reply = Nothing;

    fn run(self, _: &Totp, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        KEYS.delete(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}
