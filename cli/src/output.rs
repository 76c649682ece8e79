//! Printing: results on standard output in the chosen format, everything else on standard error.

use std::io::{self, IsTerminal, Write};

use serde_json::{Map, Value};

use crate::{
    client::Found,
    doc::Doc,
    secret::{Auth, Secret, WrapInfo},
    span::Span,
    stop::{LOCAL, Outcome, REMOTE, Stop},
    table::{self, entries, quoted, table},
};

/// Running text is folded here.
const LINE_WIDTH: usize = 78;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
    Pretty,
    Raw,
}

/// Whether listings show what the server knows beside the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Brief,
    Full,
}

/// The printer of one command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) detail: Detail,
}

impl Format {
    pub(crate) fn named(name: &str) -> Option<Format> {
        Some(match name.to_lowercase().as_str() {
            "table" | "" => Format::Table,
            "json" => Format::Json,
            "yaml" | "yml" => Format::Yaml,
            "pretty" => Format::Pretty,
            "raw" => Format::Raw,
            _ => return None,
        })
    }
}

/// Prints a line on standard output. A reader that went away is no error: `keep list … | head` must end well.
pub(crate) fn say(text: impl AsRef<str>) {
    raw(&format!("{}\n", text.as_ref()));
}

/// Prints on standard output exactly as given.
pub(crate) fn raw(text: &str) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(i32::from(LOCAL));
    }
}

/// Prints a line on standard error. There is nowhere left to report that this failed.
pub(crate) fn warn(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// The warnings of an answer, each with a blank line behind it.
pub(crate) fn warnings(secret: &Secret) -> Option<String> {
    let warnings = secret.warnings.as_ref().filter(|list| !list.is_empty())?;
    let told = warnings.iter().map(|warning| folded(&format!("* {warning}"), 2) + "\n");
    let told: Vec<String> = told.collect();
    Some(format!("WARNING! The following warnings were returned from the server:\n\n{}", told.join("\n")))
}

/// Folds running text at the line width, every line behind `indent` spaces.
pub(crate) fn folded(text: &str, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let lines = text.split('\n').flat_map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        even_lines(&words, LINE_WIDTH - indent)
    });
    lines.map(|line| format!("{pad}{line}")).collect::<Vec<_>>().join("\n")
}

/// Breaks a paragraph so that its lines are about as long as each other, the last apart: the squares of what they lack add
/// up to as little as can be. This is how the other clients fold, and scripts compare.
fn even_lines(words: &[&str], width: usize) -> Vec<String> {
    // For the words from each place on: what the best folding costs, and where its first line ends.
    let mut best = vec![(0, words.len()); words.len() + 1];
    for start in (0..words.len()).rev() {
        let mut length = 0;
        let mut found: Option<(usize, usize)> = None;
        for (end, word) in (start + 1..).zip(words.iter().skip(start)) {
            length += usize::from(end > start + 1) + word.chars().count();
            // A word that is longer than a line has one for itself.
            if length > width && end > start + 1 {
                break;
            }
            let lacks = if end == words.len() { 0 } else { width.abs_diff(length) };
            let rest = best.get(end).map_or(0, |(cost, _)| *cost);
            let cost = lacks * lacks + rest;
            let last = end == words.len() && length <= width;
            if last || found.is_none_or(|(cheapest, _)| cost < cheapest) {
                found = Some((cost, end));
            }
        }
        if let (Some(place), Some(found)) = (best.get_mut(start), found) {
            *place = found;
        }
    }
    let mut lines = Vec::new();
    let mut start = 0;
    while let (Some((_, end)), Some(_)) = (best.get(start), words.get(start)) {
        lines.push(words.get(start..*end).unwrap_or_default().join(" "));
        start = *end;
    }
    if lines.is_empty() { vec![String::new()] } else { lines }
}

impl Output {
    pub(crate) fn is_table(self) -> bool {
        self.format == Format::Table
    }

    /// Prints an answer.
    pub(crate) fn secret(self, secret: &Secret) -> Outcome {
        if !self.is_table() {
            return self.doc(&secret.doc());
        }
        self.warnings(secret);
        let rows = rows(secret);
        if !rows.is_empty() {
            say(table(&["Key", "Value"], rows));
        }
        Ok(0)
    }

    /// Prints an answer, or the one field of it that was asked for. What it warns of is never lost: scripts ask for fields.
    pub(crate) fn secret_or_field(self, secret: &Secret, field: Option<&str>) -> Outcome {
        match field {
            Some(name) => {
                self.warnings(secret);
                self.field(secret.named(name).as_ref(), name, "secret")
            }
            None => self.secret(secret),
        }
    }

    /// Prints an object that is no envelope.
    pub(crate) fn object(self, data: &Map<String, Value>) -> Outcome {
        if !self.is_table() {
            return self.doc(&Doc::Value(Value::Object(data.clone())));
        }
        if !data.is_empty() {
            say(table(&["Key", "Value"], entries(data)));
        }
        Ok(0)
    }

    /// Prints a document as JSON or YAML; the caller has its own table.
    pub(crate) fn doc(self, doc: &Doc) -> Outcome {
        match self.format {
            Format::Json | Format::Table => say(doc.json()),
            Format::Yaml => say(doc.yaml()),
            Format::Pretty => {
                return Err(Stop::local(
                    "Could not parse output: cannot use the pretty formatter for this type",
                ));
            }
            Format::Raw => return Err(raw_unsupported()),
        }
        Ok(0)
    }

    /// Prints one value and nothing else; at a terminal with a final newline, into a pipe without.
    pub(crate) fn field(self, value: Option<&Value>, name: &str, inside: &str) -> Outcome {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Err(Stop::local(format!("Field \"{name}\" not present in {inside}")));
        };
        let text = match self.format {
            Format::Table | Format::Raw | Format::Pretty => table::plain(value),
            Format::Json => Doc::Value(value.clone()).json(),
            Format::Yaml => Doc::Value(value.clone()).yaml() + "\n",
        };
        raw(&text);
        if io::stdout().is_terminal() {
            raw("\n");
        }
        Ok(0)
    }

    /// Prints the keys of a listing, or says that `path` has none.
    pub(crate) fn listing(self, found: Found, path: &str) -> Outcome {
        match found {
            Found::Secret(secret) => self.listed(&secret, path),
            Found::Nothing { reason } => {
                self.nothing_listed(Found::end(format!("No value found at {path}"), reason))
            }
        }
    }

    /// The same of a secret that is there.
    pub(crate) fn listed(self, secret: &Secret, path: &str) -> Outcome {
        if secret.wrap_info.is_some() {
            return self.secret(secret);
        }
        if secret.data.is_none() && self.is_table() {
            // It has only warnings.
            return self.secret(secret);
        }
        let Some(keys) = secret.keys() else {
            self.warnings(secret);
            return self.nothing_listed(Stop::remote(format!("No entries found at {path}")));
        };
        let detailed = self.detail == Detail::Full;
        if !self.is_table() {
            let whole = if detailed { secret.doc() } else { Doc::Value(Value::Array(keys.clone())) };
            return self.doc(&whole);
        }
        self.warnings(secret);
        let mut names: Vec<String> = keys.iter().map(table::plain).collect();
        names.sort();
        let details =
            secret.field("key_info").and_then(Value::as_object).filter(|map| detailed && !map.is_empty());
        if !names.is_empty() {
            say(listing_table(&names, details));
        }
        Ok(0)
    }

    /// Says that there is nothing, in a way that programs can read too.
    fn nothing_listed(self, end: Stop) -> Outcome {
        if self.is_table() {
            return Err(end);
        }
        self.doc(&Doc::Map(Vec::new()))?;
        Ok(REMOTE)
    }

    /// Prints the warnings of an answer on standard error.
    pub(crate) fn warnings(self, secret: &Secret) {
        if let Some(text) = warnings(secret) {
            warn(text);
        }
    }

    /// Refuses `-format=raw` where the answer is not a single document of the server.
    pub(crate) fn refuse_raw(self) -> Result<(), Stop> {
        if self.format == Format::Raw { Err(raw_unsupported()) } else { Ok(()) }
    }
}

fn raw_unsupported() -> Stop {
    Stop::local("This command does not support the -format=raw option.")
}

fn rows(secret: &Secret) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |key: &str, value: String| rows.push(vec![key.to_owned(), value]);
    if let Some(seconds) = secret.lease_duration.filter(|seconds| *seconds > 0) {
        let human = Span::from_seconds(seconds).human();
        match secret.lease_id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => {
                row("lease_id", id.to_owned());
                row("lease_duration", human);
                row("lease_renewable", secret.renewable.unwrap_or_default().to_string());
            }
            // A value without a lease: how long a reader may rely on it.
            None => row("refresh_interval", human),
        }
    }
    if let Some(auth) = &secret.auth {
        rows.extend(auth_rows(auth));
    }
    if let Some(wrap) = &secret.wrap_info {
        rows.extend(wrap_rows(wrap));
    }
    if let Some(data) = secret.data() {
        rows.extend(entries(data));
    }
    rows
}

fn auth_rows(auth: &Auth) -> Vec<Vec<String>> {
    if let Some(requirement) = auth.mfa_requirement.as_ref().filter(|value| !value.is_null()) {
        return mfa_rows(requirement);
    }
    let list = |list: &Option<Vec<String>>| quoted(list.as_deref().unwrap_or_default());
    let lifetime = match auth.lease_duration {
        0 => "∞".to_owned(),
        seconds => Span::from_seconds(seconds).human(),
    };
    let mut rows = vec![
        vec!["token".to_owned(), auth.client_token.clone()],
        vec!["token_accessor".to_owned(), auth.accessor.clone()],
        vec!["token_duration".to_owned(), lifetime],
        vec!["token_renewable".to_owned(), auth.renewable.to_string()],
        vec!["token_policies".to_owned(), list(&auth.token_policies)],
        vec!["identity_policies".to_owned(), list(&auth.identity_policies)],
        vec!["policies".to_owned(), list(&auth.policies)],
    ];
    for (key, value) in auth.metadata.iter().flatten() {
        rows.push(vec![format!("token_meta_{key}"), table::plain(value)]);
    }
    rows
}

fn mfa_rows(requirement: &Value) -> Vec<Vec<String>> {
    let id = requirement.get("mfa_request_id").map(table::plain).unwrap_or_default();
    let mut rows = vec![vec!["mfa_request_id".to_owned(), id]];
    let constraints = requirement.get("mfa_constraints").and_then(Value::as_object);
    for (name, constraint) in constraints.into_iter().flatten() {
        for method in constraint.get("any").and_then(Value::as_array).into_iter().flatten() {
            let part = |key: &str| method.get(key).map(table::plain).unwrap_or_default();
            let start = format!("mfa_constraint_{name}_{}", part("type"));
            rows.push(vec![format!("{start}_id"), part("id")]);
            rows.push(vec![format!("{start}_uses_passcode"), part("uses_passcode")]);
            if !part("name").is_empty() {
                rows.push(vec![format!("{start}_name"), part("name")]);
            }
        }
    }
    rows
}

fn wrap_rows(wrap: &WrapInfo) -> Vec<Vec<String>> {
    let mut rows = vec![
        vec!["wrapping_token:".to_owned(), wrap.token.clone()],
        vec!["wrapping_accessor:".to_owned(), wrap.accessor.clone()],
        vec!["wrapping_token_ttl:".to_owned(), Span::from_seconds(wrap.ttl).human()],
        vec!["wrapping_token_creation_time:".to_owned(), spelled(&wrap.creation_time)],
        vec!["wrapping_token_creation_path:".to_owned(), wrap.creation_path.clone()],
    ];
    if !wrap.wrapped_accessor.is_empty() {
        rows.push(vec!["wrapped_accessor:".to_owned(), wrap.wrapped_accessor.clone()]);
    }
    rows
}

/// A moment in UTC as tables of wrapped answers have always shown it.
fn spelled(time: &str) -> String {
    match time.strip_suffix('Z') {
        Some(utc) => format!("{} +0000 UTC", utc.replacen('T', " ", 1)),
        None => time.to_owned(),
    }
}

fn listing_table(names: &[String], details: Option<&Map<String, Value>>) -> String {
    let Some(details) = details else {
        return table(&["Keys"], names.iter().map(|name| vec![name.clone()]).collect());
    };
    let shown = details.iter().filter(|(name, _)| names.contains(name));
    let mut titles: Vec<&str> =
        shown.filter_map(|(_, row)| row.as_object()).flat_map(|row| row.keys().map(String::as_str)).collect();
    titles.sort_unstable();
    titles.dedup();
    let row = |name: &String| {
        let mut cells = vec![name.clone()];
        if let Some(known) = details.get(name).and_then(Value::as_object) {
            cells.extend(
                titles.iter().map(|key| known.get(*key).map_or_else(String::new, |v| table::entry(key, v))),
            );
        }
        cells
    };
    let rows = names.iter().map(row).collect();
    let mut header = vec!["Keys"];
    header.extend(&titles);
    table(&header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_folded_behind_its_indent() {
        let text = folded(
            "* Supplying a custom ID for the token uses the weaker SHA1 hashing instead of the more secure",
            2,
        );
        assert_eq!(
            text,
            "  * Supplying a custom ID for the token uses the weaker SHA1 hashing instead\n  of the more secure"
        );
    }

    #[test]
    fn a_wrapped_answer_tells_its_time_as_ever() {
        assert_eq!(spelled("2026-11-26T15:34:37.388164705Z"), "2026-11-26 15:34:37.388164705 +0000 UTC");
    }
}
