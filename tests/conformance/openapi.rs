//! The document of all that can be asked: what bao's has, ours has, under the same names, for clients are generated from it.

use crate::run::Side;
use crate::script::Start;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use tests::binary::Binary;

/// Paths of bao's document that ours has not, and why.
const ABSENT: [(&str, &str); 9] = [
    ("/identity/alias", "other names of entity-alias, which old clients used; they answer and are not shown"),
    ("/identity/persona", "the same"),
    ("/secret/^.*$", "kv v2's way to say that a path is none of its own"),
    ("/sys/external-keys", "there are no external keys here"),
    ("/sys/generate-root", "another name of generate-root/attempt"),
    ("/sys/internal/inspect/request", "shows what a plugin is sent, and there are no plugins"),
    ("/sys/leases/lookup/", "the same without the slash is there"),
    ("/sys/plugins/", "there are no plugins"),
    ("/sys/pprof", "one path with the name of the profile"),
];

/// Operations of a path that ours has not, and why.
const OTHER_VERBS: [(&str, &str); 3] = [
    ("/identity/mfa/method/", "lists by kind are one path with the kind as a parameter"),
    ("/sys/plugins/", "there are no plugins"),
    ("/sys/raw", "what is at no path is neither written nor deleted"),
];

/// What a body may say in bao's document and not in ours, and why.
const OTHER_FIELDS: [(&str, &str); 13] = [
    ("after", "stands in bao's document for all operations of a path, and means something to lists alone"),
    ("limit", "the same"),
    ("url_lease_id", "stands in the path"),
    ("urlalgorithm", "stands in the path"),
    ("urlbytes", "stands in the path"),
    ("source", "stands in the path"),
    ("bytes", "stands in the path"),
    ("path", "stands in the path"),
    ("pgp_keys", "means something to a namespace that is made"),
    ("seal", "the same"),
    ("name", "stands in the path"),
    ("id", "stands in the path"),
    ("method_id", "stands in the path"),
];

/// A path with the names of its parameters taken out.
fn bare(path: &str) -> String {
    let hole = |part: &str| if part.starts_with('{') { "{}".to_owned() } else { part.to_owned() };
    path.split('/').map(hole).collect::<Vec<_>>().join("/")
}

fn document(side: &Side) -> Value {
    let reply = side.ask("GET", "sys/internal/specs/openapi", None);
    assert_eq!(reply.status, 200, "{reply}");
    reply.json()
}

fn paths(document: &Value) -> BTreeMap<String, &Map<String, Value>> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.map(|(path, entry)| (bare(path), entry.as_object().unwrap())).collect()
}

/// The names in the body of an operation.
fn fields(document: &Value, operation: &Value) -> BTreeSet<String> {
    let contents = operation["requestBody"]["content"].as_object().into_iter().flat_map(Map::values);
    let name = |content: &Value| content["schema"]["$ref"].as_str()?.rsplit('/').next().map(str::to_owned);
    let schemas = contents.filter_map(name).map(|name| &document["components"]["schemas"][name]);
    let properties = schemas.filter_map(|schema| schema["properties"].as_object());
    properties.flat_map(Map::keys).cloned().collect()
}

#[test]
fn clients_find_under_the_same_names_what_they_find_in_bao() {
    let (oracle, subject) =
        (Side::start(&Binary::bao(), Start::Dev), Side::start(&Binary::sealkeep(), Start::Dev));
    let (expected, found) = (document(&oracle), document(&subject));
    let (theirs, ours) = (paths(&expected), paths(&found));
    assert!(theirs.len() > 150, "bao's document is nearly empty: {} paths", theirs.len());
    let excused = |list: &[(&str, &str)], path: &str| list.iter().any(|(start, _)| path.starts_with(start));
    let mut report = Vec::new();
    for (path, entry) in &theirs {
        let Some(own) = ours.get(path) else {
            if !excused(&ABSENT, path) {
                report.push(format!("{path} is not there"));
            }
            continue;
        };
        for verb in ["get", "post", "patch", "delete"] {
            match (entry.get(verb), own.get(verb)) {
                (Some(theirs), Some(ours)) => {
                    let ours = fields(&found, ours);
                    let missing = fields(&expected, theirs).into_iter().filter(|name| !ours.contains(name));
                    let missing = missing.filter(|name| !OTHER_FIELDS.iter().any(|(field, _)| field == name));
                    report.extend(missing.map(|name| format!("{path} {verb} does not take {name}")));
                }
                (Some(_), None) if !excused(&OTHER_VERBS, path) => {
                    report.push(format!("{path} has no {verb}"))
                }
                _ => {}
            }
        }
    }
    for (path, entry) in &ours {
        let names = entry.values().flat_map(|operation| fields(&found, operation));
        let odd = names.filter(|name| name.ends_with('?') || name.contains('*'));
        report.extend(odd.map(|name| format!("{path} takes {name:?}, which no client can send")));
    }
    assert!(report.is_empty(), "{} differences:\n{}", report.len(), report.join("\n"));
}
