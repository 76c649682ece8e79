use kit::{Body, Error, Result, Time};
use policy::{Acl, Capability, ListFilter};
use serde_json::{Map, Value};

use crate::envelope::Outcome;
use crate::router::Space;

/// Leaves of a listing only the keys that the caller could read, or list where they are folders.
pub(crate) fn filter_keys(
    mut outcome: Outcome,
    filter: &ListFilter,
    acl: &Acl,
    space: &Space,
    path: &str,
    now: Time,
) -> Result<Outcome> {
    let Body::Data(data) = &outcome.body else { return Ok(outcome) };
    let mut data: Map<String, Value> = serde_json::from_slice(data)?;
    if data.keys().any(|name| name != "keys" && name != "key_info") {
        return Err(Error::server("cannot filter a listing that holds more than keys and key_info"));
    }
    let shown = |key: &str| {
        let capability = if key.ends_with('/') { Capability::List } else { Capability::Read };
        filter.path_of(path, key).is_ok_and(|path| acl.allows(&space.full(&path), capability, now.0))
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
