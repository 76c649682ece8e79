//! What names, policies and metadata may be.

use std::collections::BTreeMap;

use kit::{Error, Result};

use super::record::Metadata;

/// The longest name of an entity, a group or a policy, in bytes.
const NAME_SIZE_MAX: usize = 512;
/// The longest name at an auth mount: a subject of a JWT can be long.
pub(crate) const ALIAS_SIZE_MAX: usize = 1024;
/// How many policies an entity or a group may have.
const POLICIES_MAX: usize = 1000;
/// How many pairs metadata may have.
const PAIRS_MAX: usize = 64;
const KEY_SIZE_MAX: usize = 128;
const VALUE_SIZE_MAX: usize = 512;

/// How names are compared: two that differ in their case alone are one.
pub(crate) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// A name as one segment of a key, whatever is in it.
pub(crate) fn segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for char in folded(name).chars() {
        match char {
            '%' => segment.push_str("%25"),
            '/' => segment.push_str("%2f"),
            other => segment.push(other),
        }
    }
    segment
}

/// Refuses what cannot be the name of an entity or a group.
pub(crate) fn check(what: &str, name: &str) -> Result<()> {
    check_size(what, name, NAME_SIZE_MAX)
}

/// Refuses what cannot be a name at an auth mount.
pub(crate) fn check_alias(name: &str) -> Result<()> {
    check_size("name", name, ALIAS_SIZE_MAX)
}

fn check_size(what: &str, name: &str, size_max: usize) -> Result<()> {
    if name.len() > size_max {
        return Err(Error::invalid(format!("{what} is longer than {size_max} bytes; choose a shorter one")));
    }
    // As in a path, where the same name stands.
    if !name.chars().all(policy::is_printable) {
        return Err(Error::invalid(format!("{what} holds a character that nobody can see; leave it out")));
    }
    Ok(())
}

/// Policies as they are stored: trimmed, in lower case, sorted, each once. Nobody becomes root by what they are
/// called.
pub(crate) fn policies(asked: &[String]) -> Result<Vec<String>> {
    let mut policies: Vec<String> =
        asked.iter().map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()).collect();
    policies.sort();
    policies.dedup();
    if policies.iter().any(|name| name == policy::builtin::ROOT) {
        return Err(Error::invalid("policies cannot contain root"));
    }
    if policies.len() > POLICIES_MAX {
        return Err(Error::invalid(format!("policies are more than {POLICIES_MAX}; use a group")));
    }
    policies.iter().try_for_each(|name| check("policies: a name", name))?;
    Ok(policies)
}

/// Refuses metadata that is too much or has odd keys. `what` is `entity` or `group`.
pub(crate) fn check_metadata(what: &str, metadata: &Metadata) -> Result<()> {
    let wrong = |text: String| Error::invalid(format!("invalid {what} metadata: {text}")).wrapped();
    if metadata.len() > PAIRS_MAX {
        return Err(wrong(format!("metadata cannot contain more than {PAIRS_MAX} key/value pairs")));
    }
    for (key, value) in metadata {
        let fault = if key.is_empty() {
            "key cannot be blank".to_owned()
        } else if !key.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_')) {
            "key contains invalid characters".to_owned()
        } else if key.len() > KEY_SIZE_MAX {
            format!("key is too long (limit: {KEY_SIZE_MAX} characters)")
        } else if value.len() > VALUE_SIZE_MAX {
            format!("value is too long (limit: {VALUE_SIZE_MAX} characters)")
        } else {
            continue;
        };
        return Err(wrong(format!("failed to load metadata pair ({key:?}, {value:?}): {fault}")));
    }
    Ok(())
}

/// Refuses custom metadata that is too much.
pub(crate) fn check_custom_metadata(metadata: &BTreeMap<String, String>) -> Result<()> {
    let wrong = |text: String| Error::invalid(format!("custom_metadata validation failed: {text}")).wrapped();
    if metadata.len() > PAIRS_MAX {
        let count = metadata.len();
        return Err(wrong(format!("payload must contain at most {PAIRS_MAX} keys, provided {count}")));
    }
    for (key, value) in metadata {
        if key.is_empty() || key.len() > KEY_SIZE_MAX {
            let length = key.len();
            return Err(wrong(format!(
                "length of key {key:?} is {length} but must be 0 < len(key) <= {KEY_SIZE_MAX}"
            )));
        }
        if value.is_empty() || value.len() > VALUE_SIZE_MAX {
            let length = value.len();
            return Err(wrong(format!(
                "length of value for key {key:?} is {length} but must be 0 < len(value) <= {VALUE_SIZE_MAX}"
            )));
        }
        let printable = |text: &str| !text.chars().any(char::is_control);
        if !printable(key) || !printable(value) {
            return Err(wrong(format!("the pair of key {key:?} contains unprintable characters")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_root() {
        for name in ["root", "ROOT", " root", "root ", "\troot", "Root\n"] {
            let error = policies(&["a".to_owned(), name.to_owned()]).unwrap_err();
            assert_eq!(error.to_string(), "policies cannot contain root", "{name:?}");
        }
        let asked = ["B", " a ", "b", "", "default"].map(str::to_owned);
        assert_eq!(policies(&asked).unwrap(), ["a", "b", "default"]);
    }

    #[test]
    fn any_name_is_one_segment_and_no_two_are_the_same() {
        let names = ["a/b", "a%2fb", "a%252fb", "/", "//", "%", "a"];
        let mut segments: Vec<String> = names.iter().map(|name| segment(name)).collect();
        assert!(segments.iter().all(|segment| !segment.contains('/') && !segment.is_empty()));
        segments.sort();
        segments.dedup();
        assert_eq!(segments.len(), names.len());
        assert_eq!(segment("ANN"), segment("ann"));
        // The sign of Kelvin is another way to write a k.
        assert_eq!(segment("\u{212a}im"), segment("kim"));
    }

    #[test]
    fn metadata_has_bounds() {
        let one = |key: &str, value: &str| Metadata::from([(key.to_owned(), value.to_owned())]);
        check_metadata("entity", &one("team-1_x", "any text / at all")).unwrap();
        for (key, value) in [("", "x"), ("a b", "x"), ("a.b", "x"), ("k", "x".repeat(513).as_str())] {
            check_metadata("entity", &one(key, value)).unwrap_err();
        }
        check_custom_metadata(&one("a b", "x")).unwrap();
        check_custom_metadata(&one("a", "")).unwrap_err();
    }
}
