use std::collections::BTreeMap;

use kit::loose::{Flag, Given, Number, Span};
use kit::{
    Command, Error, Exists, Fault, Name, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::json::{Node, object};
use super::super::record::{Record, SECRETS, Secret};
use super::config::{self, Config};
use super::ledger::{Ledger, Metadata, Settings};
use super::{V2, at, forget, target};

/// How many fields users may write down about a secret.
const CUSTOM_MAX: usize = 64;
/// How long the name of such a field may be, in bytes.
const CUSTOM_KEY_SIZE_MAX: usize = 128;
/// How long its value may be, in bytes.
const CUSTOM_VALUE_SIZE_MAX: usize = 512;

/// Reads what is known of a secret and its versions, without their data.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Read {
    /// Where the secret lies.
    path: String,
}

impl Query<V2> for Read {
    const ROUTE: Route = Route::get("metadata/{path*}");
    type Reply = Metadata;

    fn run(self, _: &V2, cx: &Reading<'_>) -> Result<Reply<Metadata>> {
        let path = at(&self.path)?;
        let bytes = cx.get(SECRETS, Name::Path(path))?.ok_or_else(Error::not_found)?;
        Ok(match Record::parse(&bytes)? {
            Record::Plain(plain) => Ledger::of_unversioned(plain.written).metadata().into(),
            Record::Versioned(secret) => secret.ledger()?.metadata().into(),
        })
    }
}

/// The settings of a secret as a request brings them.
struct Changes {
    max_versions: Given<Number>,
    cas_required: Given<Flag>,
    delete_version_after: Given<Span>,
    metadata_cas_required: Given<Flag>,
    custom: Given<BTreeMap<String, Node>>,
    revision: Option<Number>,
}

impl Changes {
    fn parse(
        max_versions: Given<Number>,
        cas_required: Given<Flag>,
        delete_version_after: Given<Span>,
        metadata_cas_required: Given<Flag>,
        custom: Given<Node>,
        revision: Option<Number>,
    ) -> Result<Self> {
        if let Given::Value(span) = delete_version_after
            && span.0 < 0
        {
            let field = "delete_version_after";
            let seconds = span.seconds();
            return Err(Error::invalid(format!(
                "error converting input for field {field:?}: cannot provide negative value '{seconds}'"
            )));
        }
        let custom = match custom {
            Given::Absent => Given::Absent,
            Given::Null => Given::Null,
            Given::Value(value) => Given::Value(object("custom_metadata", value)?),
        };
        Ok(Self { max_versions, cas_required, delete_version_after, metadata_cas_required, custom, revision })
    }

    fn is_empty(&self) -> bool {
        self.max_versions == Given::Absent
            && self.cas_required == Given::Absent
            && self.delete_version_after == Given::Absent
            && self.metadata_cas_required == Given::Absent
            && self.custom == Given::Absent
    }

    fn check_revision(&self, config: &Config, ledger: Option<&Ledger>) -> Result<()> {
        let required = config.metadata_cas_required
            || ledger.is_some_and(|ledger| ledger.settings.metadata_cas_required);
        let Some(Number(revision)) = self.revision else {
            if required {
                return Err(Error::invalid("metadata check-and-set parameter required for this call"));
            }
            return Ok(());
        };
        match ledger {
            None if revision == 0 => Ok(()),
            None => Err(Error::invalid("metadata_cas must be 0 when creating new metadata")),
            Some(ledger) if u64::try_from(revision) == Ok(ledger.revision) => Ok(()),
            Some(_) => {
                Err(Error::invalid("metadata check-and-set parameter does not match the current version"))
            }
        }
    }

    fn apply(&self, settings: &mut Settings) {
        fn set<T: Copy, V: Default>(field: &mut V, given: &Given<T>, value: impl FnOnce(T) -> V) {
            match given {
                Given::Absent => {}
                Given::Null => *field = V::default(),
                Given::Value(given) => *field = value(*given),
            }
        }
        set(&mut settings.max_versions, &self.max_versions, config::count);
        set(&mut settings.cas_required, &self.cas_required, |flag| flag.0);
        set(&mut settings.metadata_cas_required, &self.metadata_cas_required, |flag| flag.0);
        set(&mut settings.delete_version_after, &self.delete_version_after, Span::duration);
    }

    /// A patch says what it changes exactly: nothing that would have to be made fit.
    fn check_patch(&self) -> Result<()> {
        if let Given::Value(Number(count)) = self.max_versions
            && u32::try_from(count).is_err()
        {
            return Err(Error::invalid(format!(
                "max_versions: {count} is out of range: give a whole number from 0 to {}",
                u32::MAX
            )));
        }
        let is_text =
            |value: &Node| matches!(value, Node::Leaf(text) if text.starts_with('"') || &**text == "null");
        match &self.custom {
            Given::Value(map) if !map.values().all(is_text) => {
                Err(Error::invalid("custom_metadata: each value is a string, or null to take one away"))
            }
            _ => Ok(()),
        }
    }

    /// What the secret asks for in vain, because the mount asks for more.
    fn warn(&self, config: &Config, cx: &impl Reads) {
        let off = Given::Value(Flag(false));
        for (name, mandated) in [
            ("cas_required", config.cas_required && self.cas_required == off),
            ("metadata_cas_required", config.metadata_cas_required && self.metadata_cas_required == off),
        ] {
            if mandated {
                let text = "set to false, but is mandated by backend config. This value will be ignored.";
                cx.warn(format!("\"{name}\" {text}"));
            }
        }
    }
}

/// Sets what a secret asks for itself. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Where the secret lies.
    path: String,
    /// How many versions are kept, if more than the mount says; 0: as the mount says.
    #[serde(default, rename = "max_versions?")]
    #[schemars(rename = "max_versions")]
    max_versions: Given<Number>,
    /// Every write has to name the version it supersedes.
    #[serde(default, rename = "cas_required?")]
    #[schemars(rename = "cas_required")]
    cas_required: Given<Flag>,
    /// How long a version lives; 0: as the mount says.
    #[serde(default, rename = "delete_version_after?")]
    #[schemars(rename = "delete_version_after")]
    delete_version_after: Given<Span>,
    /// Every change of the settings has to name the revision it supersedes.
    #[serde(default, rename = "metadata_cas_required?")]
    #[schemars(rename = "metadata_cas_required")]
    metadata_cas_required: Given<Flag>,
    /// Names and values to write down about the secret, in place of those that were. No secret themselves.
    #[serde(default, rename = "custom_metadata?")]
    #[schemars(rename = "custom_metadata")]
    custom_metadata: Given<Node>,
    /// The revision that this change supersedes; 0 if there must be none.
    #[serde(default)]
    metadata_cas: Option<Number>,
}

impl Command<V2> for Write {
    const ROUTE: Route = Route::post("metadata/{path*}");
    const EXISTS: Option<Exists<V2>> = Some(|_, path, cx| super::data::exists(path, cx));
    type Reply = Nothing;

    fn run(self, _: &V2, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let path = target(&self.path)?;
        let changes = Changes::parse(
            self.max_versions,
            self.cas_required,
            self.delete_version_after,
            self.metadata_cas_required,
            self.custom_metadata,
            self.metadata_cas,
        )?;
        if changes.is_empty() {
            return Ok(Reply::Nothing);
        }
        let custom = match &changes.custom {
            Given::Absent => None,
            Given::Null => Some(BTreeMap::new()),
            Given::Value(map) => Some(texts(map)?),
        };
        custom.as_ref().map_or(Ok(()), check_custom)?;
        let config = config::current(cx)?;
        let found = Secret::load(cx, path)?;
        changes.check_revision(&config, found.as_ref().map(|secret| &secret.ledger))?;
        changes.warn(&config, cx);
        let secret = found.unwrap_or_else(|| Secret::new(Ledger::new(cx.now())));
        store(cx, path, secret, &changes, custom)
    }
}

/// Changes what a secret asks for itself. A null takes a setting back.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Patch {
    /// Where the secret lies.
    path: String,
    /// How many versions are kept, if more than the mount says; 0: as the mount says.
    #[serde(default, rename = "max_versions?")]
    #[schemars(rename = "max_versions")]
    max_versions: Given<Number>,
    /// Every write has to name the version it supersedes.
    #[serde(default, rename = "cas_required?")]
    #[schemars(rename = "cas_required")]
    cas_required: Given<Flag>,
    /// How long a version lives; 0: as the mount says.
    #[serde(default, rename = "delete_version_after?")]
    #[schemars(rename = "delete_version_after")]
    delete_version_after: Given<Span>,
    /// Every change of the settings has to name the revision it supersedes.
    #[serde(default, rename = "metadata_cas_required?")]
    #[schemars(rename = "metadata_cas_required")]
    metadata_cas_required: Given<Flag>,
    /// Names and values to write down about the secret, beside those that were. A null takes one out.
    #[serde(default, rename = "custom_metadata?")]
    #[schemars(rename = "custom_metadata")]
    custom_metadata: Given<Node>,
    /// The revision that this change supersedes.
    #[serde(default)]
    metadata_cas: Option<Number>,
}

impl Command<V2> for Patch {
    const ROUTE: Route = Route::patch("metadata/{path*}");
    type Reply = Nothing;

    fn run(self, _: &V2, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let path = target(&self.path)?;
        let changes = Changes::parse(
            self.max_versions,
            self.cas_required,
            self.delete_version_after,
            self.metadata_cas_required,
            self.custom_metadata,
            self.metadata_cas,
        )?;
        changes.check_patch()?;
        let Some(secret) = Secret::load(cx, path)? else { return Ok(Reply::Empty) };
        if changes.is_empty() {
            return Ok(Reply::Nothing);
        }
        let custom = match &changes.custom {
            Given::Absent => None,
            Given::Null => Some(BTreeMap::new()),
            Given::Value(map) => Some(patched(&secret.ledger.custom, map)?),
        };
        custom.as_ref().map_or(Ok(()), check_custom)?;
        let config = config::current(cx)?;
        changes.check_revision(&config, Some(&secret.ledger))?;
        changes.warn(&config, cx);
        store(cx, path, secret, &changes, custom)
    }
}

fn store(
    cx: &mut Writing<'_>,
    path: &str,
    mut secret: Secret,
    changes: &Changes,
    custom: Option<BTreeMap<String, String>>,
) -> Result<Reply<Nothing>> {
    let ledger = &mut secret.ledger;
    changes.apply(&mut ledger.settings);
    if let Some(custom) = custom {
        ledger.custom = custom;
    }
    ledger.revision += 1;
    ledger.updated = cx.now();
    secret.store(cx, path)?;
    Ok(Reply::Nothing)
}

fn patched(
    before: &BTreeMap<String, String>,
    patch: &BTreeMap<String, Node>,
) -> Result<BTreeMap<String, String>> {
    let mut custom = before.clone();
    for (key, value) in patch {
        match text(value)? {
            None => drop(custom.remove(key)),
            Some(text) => drop(custom.insert(key.clone(), text)),
        }
    }
    Ok(custom)
}

/// Values as texts. A null is the empty text, which the check then refuses.
fn texts(map: &BTreeMap<String, Node>) -> Result<BTreeMap<String, String>> {
    map.iter().map(|(key, value)| Ok((key.clone(), text(value)?.unwrap_or_default()))).collect()
}

/// A value as text; nothing for a null.
fn text(value: &Node) -> Result<Option<String>> {
    let kind = match value {
        Node::Leaf(text) => {
            return Ok(match &**text {
                "null" => None,
                "true" => Some("1".to_owned()),
                "false" => Some("0".to_owned()),
                text if text.starts_with('"') => Some(serde_json::from_str(text)?),
                number => Some(number.to_owned()),
            });
        }
        Node::List(_) => "[]interface {}",
        Node::Object(_) => "map[string]interface {}",
    };
    Err(Error::invalid(format!(
        "custom_metadata validation failed: '' expected type 'string', got unconvertible type '{kind}'"
    )))
}

fn check_custom(custom: &BTreeMap<String, String>) -> Result<()> {
    if custom.len() > CUSTOM_MAX {
        let text = format!("payload must contain at most {CUSTOM_MAX} keys, provided {}", custom.len());
        return refuse(&[text]);
    }
    let mut faults = Vec::new();
    for (key, value) in custom {
        let (key_size, size) = (key.len(), value.len());
        if !(1..=CUSTOM_KEY_SIZE_MAX).contains(&key_size) {
            let text = format!(
                "length of key {key:?} is {key_size} but must be 0 < len(key) <= {CUSTOM_KEY_SIZE_MAX}"
            );
            faults.push(text);
        }
        if !(1..=CUSTOM_VALUE_SIZE_MAX).contains(&size) {
            let bound = format!("0 < len(value) <= {CUSTOM_VALUE_SIZE_MAX}");
            faults.push(format!("length of value for key {key:?} is {size} but must be {bound}"));
        }
        if !printable(key) {
            faults.push(format!("key {key:?} contains unprintable characters"));
        }
        if !printable(value) {
            faults.push(format!("value for key {key:?} contains unprintable characters"));
        }
    }
    if faults.is_empty() { Ok(()) } else { refuse(&faults) }
}

/// All faults at once, in the spelling of Go's list of errors.
fn refuse(faults: &[String]) -> Result<()> {
    let noun = if faults.len() == 1 { "error" } else { "errors" };
    let lines: String =
        faults.iter().map(|fault| format!("\t* custom_metadata validation failed: {fault}\n")).collect();
    Err(Error::invalid(format!("{} {noun} occurred:\n{lines}\n", faults.len())))
}

fn printable(text: &str) -> bool {
    text.chars().all(|char| char == ' ' || !(char.is_control() || char.is_whitespace()))
}

/// Deletes a secret with all its versions, for ever.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Where the secret lies.
    path: String,
}

impl Command<V2> for Delete {
    const ROUTE: Route = Route::delete("metadata/{path*}");
    type Reply = Nothing;

    fn run(self, _: &V2, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let path = match at(&self.path) {
            Err(error) if error.fault() == Fault::NotFound => return Ok(Reply::Nothing),
            path => path?,
        };
        let Some(secret) = Secret::load(cx, path)? else { return Ok(Reply::Nothing) };
        let current = secret.ledger.current;
        let apart = secret.apart == Some(current);
        for version in secret.ledger.versions.keys().filter(|version| **version != current || apart) {
            forget(cx, path, *version)?;
        }
        cx.delete(SECRETS, Name::Path(path))?;
        Ok(Reply::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(custom: serde_json::Value, expect: Option<&str>) {
        let map = object("custom_metadata", Node::parse(&custom.to_string()).unwrap()).unwrap();
        let refusal =
            texts(&map).and_then(|custom| check_custom(&custom)).err().map(|error| error.to_string());
        match (&refusal, expect) {
            (None, None) => {}
            (Some(refusal), Some(expect)) => assert!(refusal.contains(expect), "{refusal}"),
            _ => panic!("{refusal:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn custom_metadata_has_limits() {
        check(json!({"a": "1", "b": 2, "c": true}), None);
        check(json!({"a": [1]}), Some("got unconvertible type '[]interface {}'"));
        check(json!({"": "1"}), Some("length of key \"\" is 0 but must be 0 < len(key) <= 128"));
        check(json!({"a": ""}), Some("length of value for key \"a\" is 0 but must be 0 < len(value) <= 512"));
        check(json!({"a": "\u{1}"}), Some("value for key \"a\" contains unprintable characters"));
        check(json!({"a\n": "1"}), Some("contains unprintable characters"));
        check(
            json!({"": "1", "b": "\u{1}"}),
            Some("2 errors occurred:\n\t* custom_metadata validation failed: "),
        );
        let many: serde_json::Map<_, _> = (0..65).map(|index| (index.to_string(), json!("1"))).collect();
        check(many.into(), Some("payload must contain at most 64 keys, provided 65"));
    }
}
