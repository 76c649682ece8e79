//! Secrets at paths: the engine most servers exist for. Version 1 keeps what was written last, version 2
//! keeps a history. Both keep their records in one table, so that a mount becomes versioned in no time.

mod json;
mod record;
mod v1;
mod v2;

use kit::loose::Flag;
use kit::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

pub(crate) use v1::{Leased, V1};
pub(crate) use v2::V2;

/// The longest path of a secret, in bytes; the store takes no longer name.
const PATH_SIZE_MAX: usize = 4096;

/// Which kv a mount is.
pub(crate) enum Version {
    One,
    /// The first, whose readings have leases.
    Leased,
    Two,
}

/// What the options of a mount of type `kv` say.
pub(crate) fn version(options: &Value) -> Result<Version> {
    let one = if is_leased(options)? { Version::Leased } else { Version::One };
    match options.get("version") {
        None | Some(Value::Null) => Ok(one),
        Some(Value::String(text)) if text.is_empty() || text == "1" => Ok(one),
        Some(Value::String(text)) if text == "2" => Ok(Version::Two),
        Some(Value::Number(number)) if number.as_u64() == Some(1) => Ok(one),
        Some(Value::Number(number)) if number.as_u64() == Some(2) => Ok(Version::Two),
        Some(_) => Err(Error::invalid("unknown version of kv: the option \"version\" is 1 or 2")),
    }
}

fn is_leased(options: &Value) -> Result<bool> {
    match options.get("leased_passthrough") {
        None | Some(Value::Null) => Ok(false),
        Some(flag) => {
            let wrong = |_| Error::invalid("the option \"leased_passthrough\" is true or false");
            Flag::deserialize(flag).map(|flag| flag.0).map_err(wrong)
        }
    }
}

/// A path as a secret can have it; nothing for those that name none, such as a folder.
fn secret(path: &str) -> Option<&str> {
    Some(path).filter(|path| !path.is_empty() && !path.ends_with('/') && path.len() <= PATH_SIZE_MAX)
}

/// A path as one can write to it.
fn target(path: &str) -> Result<&str> {
    match secret(path) {
        Some(path) => Ok(path),
        None if path.is_empty() => Err(Error::invalid("missing path")),
        None if path.ends_with('/') => Err(Error::invalid("cannot write to a path ending in '/'")),
        None => Err(Error::invalid(format!(
            "the path is longer than {PATH_SIZE_MAX} bytes: choose a shorter one"
        ))),
    }
}
