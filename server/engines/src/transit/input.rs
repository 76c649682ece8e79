//! Parameters that are secret, lists of items, and what comes of a batch.

use std::borrow::Cow;

use kit::loose::{Flag, Number, Text};
use kit::{Error, Notes, Reply, Result, Secret, Writing};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::refusal::Refusal;
use super::text;

/// A text that is wiped when it is done with, and that no refusal repeats.
#[derive(Default)]
pub(super) struct Private(Secret<String>);

impl Private {
    /// The text.
    pub(super) fn text(&self) -> &str {
        self.0.expose()
    }
}

impl<'de> Deserialize<'de> for Private {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Text::deserialize(from).map(|text| Self(Secret::new(text.0)))
    }
}

impl JsonSchema for Private {
    fn schema_name() -> Cow<'static, str> {
        Secret::<String>::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Secret::<String>::json_schema(generator)
    }
}

/// How many items a batch may have.
const BATCH_MAX: usize = 100_000;

/// A list of items.
pub(super) struct Batch<T>(pub(super) Vec<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Batch<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // serde would repeat the values that it does not like, and they are secret.
        let raw =
            <&RawValue>::deserialize(from).map_err(|_| D::Error::custom("expected a list of objects"))?;
        serde_json::from_str(raw.get()).map(Self).map_err(|error| {
            D::Error::custom(format!(
                "expected a list of objects with strings in them, which it is not at line {}, column {}",
                error.line(),
                error.column()
            ))
        })
    }
}

impl<T> JsonSchema for Batch<T> {
    fn schema_name() -> Cow<'static, str> {
        "Batch".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "object" } })
    }
}

impl<T> Batch<T> {
    /// The items, if there are any and not too many.
    pub(super) fn items(self) -> Result<Vec<T>> {
        match self.0.len() {
            0 => Err(Error::invalid("missing batch input to process")),
            1..=BATCH_MAX => Ok(self.0),
            count => Err(Error::invalid(format!(
                "batch_input has {count} items, and {BATCH_MAX} are the most: send several batches"
            ))),
        }
    }
}

/// More items than this are worked off in the pool for costly work.
const QUICK_MAX: usize = 256;

/// Asks for the pool where so many items would hold up the other requests of a thread.
pub(super) fn in_pool_if_many(cx: &Writing<'_>, count: usize) -> Result<()> {
    if count > QUICK_MAX { cx.costly() } else { Ok(()) }
}

/// Which outcomes a batch had.
#[derive(Default)]
pub(super) struct Outcomes {
    succeeded: bool,
    asked: bool,
    inner: bool,
}

impl Outcomes {
    /// Takes note of one item.
    pub(super) fn note<T>(&mut self, outcome: &Result<T, Refusal>) {
        match outcome {
            Ok(_) => self.succeeded = true,
            Err(Refusal::Asked(_)) => self.asked = true,
            Err(Refusal::Inner(_) | Refusal::Mistaken(_)) => self.inner = true,
            Err(Refusal::Uncounted(_)) => {}
        }
    }

    /// The reply with its status: 400 if the caller is at fault in any item, 500 if we are, or, where some items went
    /// well, the status that the caller chose for that.
    pub(super) fn reply<T>(&self, notes: &Notes, chosen: Option<Number>, data: T) -> Reply<T> {
        let status = match (self.asked, self.inner) {
            (false, false) => return Reply::Data(data),
            (true, _) => 400,
            (false, true) => 500,
        };
        let chosen = chosen.filter(|chosen| chosen.0 != 0 && self.succeeded);
        let status = match chosen.map(|chosen| u16::try_from(chosen.0)) {
            None => status,
            // HTTP knows none below 100.
            Some(Ok(chosen @ 100..=599)) => chosen,
            Some(_) => {
                notes.warn(format!(
                    "invalid HTTP response code override from partial_failure_response_code, reverting to {status}"
                ));
                status
            }
        };
        Reply::Status { status, data }
    }
}

/// The text of an optional parameter.
pub(super) fn word(value: Option<&Text>) -> &str {
    value.map_or("", |text| text.0.as_str())
}

/// Whether an optional parameter says yes.
pub(super) fn flag(value: Option<Flag>) -> bool {
    value.is_some_and(|flag| flag.0)
}

/// The number of an optional parameter, 0 if there is none.
pub(super) fn number(value: Option<Number>) -> i64 {
    value.map_or(0, |number| number.0)
}

/// The bytes of a context, for operations that say so little when they are none.
pub(super) fn context(value: Option<&Text>) -> Result<Vec<u8>, Refusal> {
    text::decode(word(value)).map_err(|_| Refusal::asked("failed to base64-decode context"))
}
