//! Names of users and groups of this machine, as numbers.

use std::fs;

/// The number of a user or group: a number as it is, or a name of `/etc/passwd` or `/etc/group`.
fn number(name: &str, file: &str, what: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string(file).map_err(|e| format!("{file} cannot be read: {e}"))?;
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| format!("there is no {what} {name:?} in {file}; a number will do too"))
}

pub(crate) fn user(name: &str) -> Result<u32, String> {
    number(name, "/etc/passwd", "user")
}

pub(crate) fn group(name: &str) -> Result<u32, String> {
    number(name, "/etc/group", "group")
}
