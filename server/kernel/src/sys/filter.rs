use kit::{Body, Error, Result};
use policy::{Capability, ListFilter};
use serde_json::{Map, Value};

use crate::envelope::Outcome;
/// Leaves of a listing only the keys that the caller could read, or list where they are folders: `may` says so of a path in
/// the namespace.
pub(crate) fn filter_keys(
    mut outcome: Outcome,
    filter: &ListFilter,
    path: &str,
    may: impl Fn(&str, Capability) -> bool,
) -> Result<Outcome> {
    let Body::Data(data) = &outcome.body else { return Ok(outcome) };
    let mut data: Map<String, Value> = serde_json::from_slice(data)?;
    if data.keys().any(|name| name != "keys" && name != "key_info") {
        return Err(Error::server("cannot filter a listing that holds more than keys and key_info"));
    }
    let shown = |key: &str| {
        let capability = if key.ends_with('/') { Capability::List } else { Capability::Read };
        filter.path_of(path, key).is_ok_and(|path| may(&path, capability))
    };
    if let Some(Value::Array(keys)) = data.get_mut("keys") {
        keys.retain(|key| key.as_str().is_some_and(shown));
    }
    if let Some(Value::Object(infos)) = data.get_mut("key_info") {
        infos.retain(|key, _| shown(key));
    }
    outcome.body = Body::Data(serde_json::to_vec(&data)?);
    Ok(outcome)
}
