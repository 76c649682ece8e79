//! Every path that clients use is asked for in some script: `rows.tsv` is the list.

use crate::script::{Step, parse};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tests::binary::source_root;

/// Names of parameters that take several segments.
const DEEP: [&str; 5] = ["{path}", "{prefix}", "{url_lease_id}", "{any}", "{header}"];

/// What is always there and cannot be mounted, however a script may try.
const FIXED: [&str; 4] = ["sys", "auth", "identity", "cubbyhole"];

/// A path with the verbs it must answer with success: a refusal shows little of what an answer holds.
struct Row {
    /// `-`, `kv2`, `auth approle`.
    mount: String,
    path: String,
    verbs: Vec<String>,
    /// The file of tests that shows it, where bao cannot; `refused`, if it can do no more than refuse.
    elsewhere: Option<String>,
}

const REFUSED: &str = "refused";

/// A request of a script, as far as rows know it.
struct Asked {
    /// The mount's kind.
    mount: String,
    /// The path below it.
    path: String,
    verb: String,
    /// It is written down, and so looked at, that bao does it.
    done: bool,
}

#[test]
fn every_path_that_clients_use_is_compared() {
    let folder = source_root().join("tests/conformance");
    let asked: Vec<Asked> = scripts(&folder)
        .iter()
        .chain(&scripts(&folder.join("recorded")))
        .flat_map(|text| asked(text))
        .collect();
    let mut missing = Vec::new();
    for row in rows(include_str!("rows.tsv")) {
        let refused = row.elsewhere.as_deref() == Some(REFUSED);
        if let Some(file) = row.elsewhere.as_ref().filter(|_| !refused) {
            assert!(
                source_root().join("tests").join(file).exists(),
                "rows.tsv names {file}, which is not there"
            );
            continue;
        }
        for verb in &row.verbs {
            let hit = |asked: &Asked| {
                asked.verb == *verb
                    && asked.mount == row.mount
                    && (asked.done || refused)
                    && fits(&row.path, &asked.path)
            };
            if !asked.iter().any(hit) {
                missing.push(format!("{} {} {verb}", row.mount, row.path));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "{} are done (`was:2xx`) in no script:\n{}",
        missing.len(),
        missing.join("\n")
    );
}

fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &str| {
        let parts: Vec<&str> = line.split('\t').collect();
        assert!(
            parts.len() == 4 || parts.len() == 6,
            "rows.tsv wants four parts, or a file and a reason more: {line}"
        );
        Row {
            mount: parts[0].to_owned(),
            path: parts[1].to_owned(),
            verbs: parts[2].split(' ').map(str::to_owned).collect(),
            elsewhere: parts.get(4).map(|file| (*file).to_owned()),
        }
    };
    lines.map(row).collect()
}

fn scripts(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let scripts = entries.filter(|path| path.extension().is_some_and(|name| name == "req"));
    scripts.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// What a script asks for, with the kinds of the mounts that it makes on the way.
fn asked(script: &str) -> Vec<Asked> {
    let mut kinds = BTreeMap::from([("secret/".to_owned(), "kv2".to_owned())]);
    let mut asked = Vec::new();
    for step in parse(script).1 {
        let (path, query) = step.path.split_once('?').unwrap_or((&step.path, ""));
        let path = path.trim_start_matches("/v1/").trim_end_matches('/');
        let verb = match (step.verb.as_str(), query) {
            (_, query) if query.contains("help=") => "HELP",
            ("GET", query) if query.contains("list=true") => "LIST",
            ("GET", query) if query.contains("scan=true") => "SCAN",
            ("PUT", _) => "POST",
            (verb, _) => verb,
        };
        if verb == "POST" {
            mounted(&step, path, &mut kinds);
        }
        let below = kinds.iter().find_map(|(mount, kind)| {
            let rest = format!("{path}/");
            rest.strip_prefix(mount.as_str())
                .map(|rest| (kind.clone(), rest.trim_end_matches('/').to_owned()))
        });
        let (kind, path) = below.unwrap_or_else(|| ("-".to_owned(), path.to_owned()));
        let done = step.was.is_some_and(|was| (200..300).contains(&was));
        let one = |mount, path| Asked { mount, path, verb: verb.to_owned(), done };
        if verb == "HELP" {
            asked.push(one("-".to_owned(), path.clone()));
        }
        asked.push(one(kind, path));
    }
    asked
}

/// Notes the mount that a request makes.
fn mounted(step: &Step, path: &str, kinds: &mut BTreeMap<String, String>) {
    let Ok(body) = serde_json::from_str::<serde_json::Value>(step.body.as_deref().unwrap_or_default()) else {
        return;
    };
    let Some(kind) = body["type"].as_str() else { return };
    let version = body["options"]["version"].as_str().unwrap_or("1");
    if let Some(mount) = path.strip_prefix("sys/mounts/").filter(|mount| !mount.ends_with("/tune")) {
        let kind = match kind {
            "kv" | "generic" => format!("kv{version}"),
            "kv-v2" => "kv2".to_owned(),
            kind => kind.to_owned(),
        };
        if FIXED.iter().any(|fixed| mount.split('/').next() == Some(fixed)) {
            return;
        }
        kinds.entry(format!("{mount}/")).or_insert(kind);
    } else if let Some(mount) = path.strip_prefix("sys/auth/").filter(|mount| !mount.ends_with("/tune")) {
        let kind = if kind == "oidc" { "jwt" } else { kind };
        kinds.entry(format!("auth/{mount}/")).or_insert(format!("auth {kind}"));
    }
}

/// Whether a path is one of a pattern's.
fn fits(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut found) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (Some(hole), Some(first)) if DEEP.contains(&hole) => {
                // What is deep may be followed by words of its own: {path}/tune.
                let rest: Vec<&str> = wanted.collect();
                let tail: Vec<&str> = std::iter::once(first).chain(found).collect();
                return tail.len() > rest.len() && tail.ends_with(&rest);
            }
            (Some(hole), Some(text)) if hole == text || (hole.starts_with('{') && !text.is_empty()) => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[test]
fn rows_are_matched_whole() {
    assert!(fits("sys/mounts/{path}/tune", "sys/mounts/a/b/tune") && fits("keys/{name}", "keys/a"));
    assert!(!fits("sys/mounts/{path}/tune", "sys/mounts/tune") && !fits("keys/{name}", "keys/a/rotate"));
    assert!(!fits("keys/{name}", "keys") && !fits("keys", "keys/a"));
    let found = asked("PUT sys/mounts/a/b {\"type\":\"kv-v2\"}\nGET a/b/data/x/y?list=true was:404");
    assert_eq!((&*found[1].mount, &*found[1].path, &*found[1].verb), ("kv2", "data/x/y", "LIST"));
    assert!(!found[1].done && !found[0].done);
}
