//! The keys of a mount: made, listed, shown, set aside, deleted.

use kit::loose::{Flag, Number, Span, Text};
use kit::{Command, Error, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing, page};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Transit;
use super::create::create;
use super::input::{context, flag, number, word};
use super::kind::{HMAC_SIZES, Kind, Unknown};
use super::record::{KEYS, KeyRecord, NAME_SIZE_MAX, VERSIONS, load};
use super::shown::{Shown, show};

/// The shortest time in which a key rotates by itself, in seconds.
pub(super) const AUTO_ROTATE_MIN_SECONDS: i64 = 3600;

/// Whether a key can have this name: whether a path can name it.
pub(super) fn is_name(name: &str) -> bool {
    let word = |char: char| char.is_alphanumeric() || char == '_';
    let inner = |char: char| word(char) || char == '-' || char == '.';
    name.len() <= NAME_SIZE_MAX && name.starts_with(word) && name.ends_with(word) && name.chars().all(inner)
}

/// Lists the names of the keys.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListKeys {
    /// The name after which to begin.
    after: Option<Text>,
    /// How many to show at most; all if it is not positive.
    limit: Option<Number>,
}

/// Names.
#[derive(JsonSchema, Serialize)]
pub(super) struct Names {
    keys: Vec<String>,
}

impl Query<Transit> for ListKeys {
    const ROUTE: Route = Route::list("keys");
    type Reply = Names;

    fn run(self, _: &Transit, cx: &Reading<'_>) -> Result<Reply<Names>> {
        let keys = page(&KEYS.list(cx, "")?, word(self.after.as_ref()), number(self.limit));
        match keys.is_empty() {
            true => Err(Error::not_found()),
            false => Ok(Reply::Data(Names { keys })),
        }
    }
}

/// Shows a key, its versions and its settings, but none of its secrets.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadKey {
    /// The key.
    name: String,
    /// Which of the keys derived from this one to show the public half of, in base64.
    context: Option<Text>,
}

impl Query<Transit> for ReadKey {
    const ROUTE: Route = Route::get("keys/{name}");
    type Reply = Shown;

    fn run(self, _: &Transit, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let record = load(cx, &self.name)?.ok_or_else(Error::not_found)?;
        let context = context(self.context.as_ref())?;
        show(cx, &self.name, &record, &context).map(Reply::Data)
    }
}

/// Makes a key. One that is there already stays as it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CreateKey {
    /// Its name.
    name: String,
    /// Whether the key may be backed up in the clear. Cannot be taken back.
    allow_plaintext_backup: Option<Flag>,
    /// How often it rotates by itself: an hour at least, or 0 for never.
    auto_rotate_period: Option<Span>,
    /// Of no account when a key is made.
    #[serde(rename = "context")]
    _context: Option<Text>,
    /// Whether equal plaintexts in equal contexts become equal ciphertexts. Wants `derived`.
    convergent_encryption: Option<Flag>,
    /// Whether each context has a key of its own, derived from this one.
    derived: Option<Flag>,
    /// Whether the key may be exported. Cannot be taken back.
    exportable: Option<Flag>,
    /// A key outside of this server, which this server does not use.
    external_key_ref: Option<Text>,
    /// The size of an HMAC key in bytes: 32 to 512.
    key_size: Option<Number>,
    /// For `ml-dsa`, how large its keys are: `44`, `65` or `87`.
    parameter_set: Option<Text>,
    /// `aes128-gcm96`, `aes256-gcm96`, `chacha20-poly1305`, `xchacha20-poly1305`, `ed25519`, `ecdsa-p256`, `ecdsa-p384`,
    /// `ecdsa-p521`, `rsa-2048`, `rsa-3072`, `rsa-4096`, `ml-dsa` or `hmac`.
    #[serde(rename = "type")]
    kind: Option<Text>,
}

impl Command<Transit> for CreateKey {
    const ROUTE: Route = Route::post("keys/{name}");
    type Reply = Shown;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        let record = self.record()?;
        let name = &self.name;
        let record = match load(cx, name)? {
            Some(there) => there,
            None => {
                check_kind(&record)?;
                create(cx, name, record)?.record.clone()
            }
        };
        show(cx, name, &record, &[]).map(Reply::Data)
    }
}

impl CreateKey {
    fn record(&self) -> Result<KeyRecord> {
        let auto_rotate_seconds = auto_rotate_seconds(self.auto_rotate_period)?;
        let (derived, convergent) = (flag(self.derived), flag(self.convergent_encryption));
        if convergent && !derived {
            return Err(Error::invalid("convergent encryption requires derivation to be enabled"));
        }
        if !word(self.external_key_ref.as_ref()).is_empty() {
            return Err(Error::invalid(
                "external_key_ref: this server uses no keys outside of it; leave it out, or import the key",
            ));
        }
        let name = self.kind.as_ref().map_or(Kind::Aes256.name(), |kind| kind.0.as_str());
        let set = word(self.parameter_set.as_ref());
        let kind = Kind::asked(name, set).map_err(|unknown| match unknown {
            Unknown::Name => Error::invalid(format!("unknown key type {name}")),
            Unknown::Set => unknown_set(name, set),
        })?;
        let size = number(self.key_size);
        if size != 0 && kind != Kind::Hmac {
            return Err(Error::invalid(format!("key_size is not valid for algorithm {name}")));
        }
        let fits = usize::try_from(size).is_ok_and(|size| HMAC_SIZES.contains(&size));
        if size != 0 && !fits {
            return Err(Error::invalid(format!("invalid key_size {size}")));
        }
        Ok(KeyRecord {
            derived,
            convergent,
            exportable: flag(self.exportable),
            plaintext_backup: flag(self.allow_plaintext_backup),
            auto_rotate_seconds,
            size: u64::try_from(size).unwrap_or(0),
            ..KeyRecord::new(kind)
        })
    }
}

/// Refuses a parameter set that there is not.
pub(super) fn unknown_set(name: &str, set: &str) -> Error {
    Error::invalid(format!(
        "invalid parameter set {set} for key type {name}: parameter_set is one of 44, 65 and 87"
    ))
}

/// A period of rotation, if it is one.
pub(super) fn auto_rotate_seconds(period: Option<Span>) -> Result<u64> {
    let seconds = period.unwrap_or_default().seconds();
    if seconds != 0 && seconds < AUTO_ROTATE_MIN_SECONDS {
        return Err(Error::invalid("auto rotate period must be 0 to disable or at least an hour"));
    }
    Ok(u64::try_from(seconds).unwrap_or(0))
}

/// Refuses derivation where there is none.
fn check_kind(record: &KeyRecord) -> Result<()> {
    let name = record.kind.name();
    match record.kind {
        kind if kind.is_cipher() => Ok(()),
        Kind::Ed25519 if record.convergent => {
            Err(Error::listed(format!("convergent encryption not supported for keys of type {name}")))
        }
        Kind::Ed25519 => Ok(()),
        _ if record.derived => Err(Error::listed(format!(
            "key derivation and convergent encryption not supported for keys of type {name}"
        ))),
        _ => Ok(()),
    }
}

/// Deletes a key with all its versions, if its settings allow that. What it encrypted is lost.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteKey {
    /// The key.
    name: String,
}

impl Command<Transit> for DeleteKey {
    const ROUTE: Route = Route::delete("keys/{name}");
    type Reply = Nothing;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let name = &self.name;
        let refused = |why: &str| Error::invalid(format!("error deleting policy {name}: {why}"));
        let record = load(cx, name)?.ok_or_else(|| refused("could not delete key; not found"))?;
        if !record.deletion_allowed {
            return Err(refused("deletion is not allowed for this key"));
        }
        remove(cx, name, &record)?;
        Ok(Reply::Nothing)
    }
}

/// Takes a key away with all its versions.
pub(super) fn remove(cx: &mut Writing<'_>, name: &str, record: &KeyRecord) -> Result<()> {
    for number in record.min_available.max(1)..=record.latest {
        VERSIONS.delete(cx, name, number)?;
    }
    KEYS.delete(cx, name)
}

/// Sets a key aside: it is good for nothing until it is restored, and nothing is lost.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SetAside {
    /// The key.
    name: String,
}

impl Command<Transit> for SetAside {
    const ROUTE: Route = Route::delete("keys/{name}/soft-delete");
    type Reply = Shown;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        set_aside(cx, &self.name, true, "key was already marked as soft deleted")
    }
}

/// Makes a key that was set aside usable again.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TakeBack {
    /// The key.
    name: String,
}

impl Command<Transit> for TakeBack {
    const ROUTE: Route = Route::post("keys/{name}/soft-delete-restore");
    type Reply = Shown;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        set_aside(cx, &self.name, false, "key was already restored")
    }
}

fn set_aside(cx: &mut Writing<'_>, name: &str, aside: bool, already: &str) -> Result<Reply<Shown>> {
    let Some(mut record) = load(cx, name)? else { return Ok(Reply::Nothing) };
    if record.set_aside == aside {
        cx.warn(already);
    } else {
        record.set_aside = aside;
        KEYS.put(cx, name, &record)?;
    }
    show(cx, name, &record, &[]).map(Reply::Data)
}
