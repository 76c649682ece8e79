//! Secrets at paths: the engine most servers exist for. Version 1 keeps what was written last, version 2
//! keeps a history. Both keep their records in one table, so that a mount becomes versioned in no time.

mod json;
mod record;
mod v1;
mod v2;

use kit::{Error, Result};
use serde_json::Value;

pub(crate) use v1::V1;
pub(crate) use v2::V2;

/// The longest path of a secret, in bytes; the store takes no longer name.
const PATH_SIZE_MAX: usize = 4096;

/// Which kv a mount is.
pub(crate) enum Version {
    One,
    Two,
}

/// What the options of a mount of type `kv` say.
pub(crate) fn version(options: &Value) -> Result<Version> {
    match options.get("version") {
        None | Some(Value::Null) => Ok(Version::One),
        Some(Value::String(text)) if text.is_empty() || text == "1" => Ok(Version::One),
        Some(Value::String(text)) if text == "2" => Ok(Version::Two),
        Some(Value::Number(number)) if number.as_u64() == Some(1) => Ok(Version::One),
        Some(Value::Number(number)) if number.as_u64() == Some(2) => Ok(Version::Two),
        Some(_) => Err(Error::invalid("unknown version of kv: the option \"version\" is 1 or 2")),
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
