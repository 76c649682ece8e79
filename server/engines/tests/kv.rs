//! Secrets, with and without versions, asked for as a client does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "the methods have logins, engines have none")]
mod bench;

use bench::{Answer, Bench};
use kit::Verb;
use serde_json::{Value, json};

fn kv(version: &str) -> Bench {
    Bench::new(engines::open("kv", &json!({ "version": version })).unwrap(), None)
}

fn put(bench: &Bench, path: &str, data: Value) -> Answer {
    bench.post(&format!("data/{path}"), json!({ "data": data }))
}

fn scan(bench: &Bench, path: &str) -> Answer {
    bench.send(Verb::Scan, path, "")
}

/// The tables of secrets and of past versions.
const SECRETS: u8 = 1;
const PAST: u8 = 2;

#[test]
fn v1_gives_back_what_was_written() {
    let bench = kv("1");
    bench.get("a").is(404);
    bench.post("a", json!({})).refuses(400, "missing data fields");
    bench.send(Verb::Post, "a", "").refuses(400, "missing data fields");
    bench.send(Verb::Post, "a?x=1", "").refuses(400, "missing data fields");
    bench.post("", json!({"x": 1})).refuses(400, "missing path");
    bench.post("a/", json!({"x": 1})).refuses(400, "cannot write to a path ending in '/'");
    bench.post(&"a".repeat(5000), json!({"x": 1})).refuses(400, "longer than 4096 bytes");
    assert_eq!(bench.exists("a"), Some(false));
    let body = r#"{"z":1.0,"b":1e3,"big":123456789012345678901234567890,"h":"<&>","n":null,"path":"p","o":{"z":1,"a":[1.50]}}"#;
    bench.send(Verb::Post, "a", body).is(204);
    assert_eq!(bench.exists("a"), Some(true));
    let read = bench.get("a").is(200);
    let expect = r#"{"b":1e3,"big":123456789012345678901234567890,"h":"\u003c\u0026\u003e","n":null,"o":{"a":[1.50],"z":1},"path":"p","z":1.0}"#;
    assert_eq!(read.text, expect);
    assert_eq!(read.advised, Some(2_764_800));
    let read = bench.get("a?version=3").is(200);
    assert_eq!(read.warnings, ["Endpoint ignored these unrecognized parameters: [version]"]);
    bench.get("a/").is(404);
    bench.get("").is(404);
    bench.patch("a", json!({"x": 1})).is(405);
    bench.delete("a").is(204);
    bench.delete("a").is(204);
    bench.delete("").is(204);
    bench.get("a").is(404);
}

#[track_caller]
fn check_advice(fields: Value, seconds: u64) {
    let bench = kv("1");
    bench.post("a", fields.clone()).is(204);
    assert_eq!(bench.get("a").is(200).advised, Some(seconds), "{fields}");
}

#[test]
fn v1_tells_how_long_to_keep_it() {
    check_advice(json!({"ttl": "1h"}), 3600);
    check_advice(json!({"lease": "30"}), 30);
    check_advice(json!({"ttl": 45, "lease": "30"}), 45);
    check_advice(json!({"ttl": "1.5h"}), 5400);
    check_advice(json!({"ttl": 0}), 0);
    check_advice(json!({"ttl": "bogus"}), 2_764_800);
    check_advice(json!({"lease": true}), 2_764_800);
}

#[test]
fn v1_lists_folders_and_scans_below() {
    let bench = kv("1");
    for path in ["a", "a/b", "a/c/d", "z"] {
        bench.post(path, json!({"x": 1})).is(204);
    }
    assert_eq!(bench.list("").is(200).data, json!({"keys": ["a", "a/", "z"]}));
    assert_eq!(bench.list("a/").is(200).data, json!({"keys": ["b", "c/"]}));
    assert_eq!(bench.list("a").is(200).data, json!({"keys": ["b", "c/"]}));
    bench.list("nope").is(404);
    assert_eq!(scan(&bench, "").is(200).data, json!({"keys": ["a", "z", "a/b", "a/c/d"]}));
    assert_eq!(scan(&bench, "a/").is(200).data, json!({"keys": ["b", "c/d"]}));
    assert_eq!(scan(&bench, "nope").is(200).data, json!({}));
}

#[test]
fn v2_makes_a_version_with_each_write() {
    let mut bench = kv("2");
    bench.get("data/a").is(404);
    assert_eq!(bench.exists("data/a"), Some(false));
    let first = bench.now();
    let made = put(&bench, "a", json!({"x": 1})).is(200).data;
    assert_eq!(
        made,
        json!({"created_time": first, "custom_metadata": null, "deletion_time": "", "destroyed": false, "version": 1})
    );
    assert_eq!(bench.exists("data/a"), Some(true));
    bench.wait(1);
    let body = r#"{"data":{"z":1.0,"b":1e3,"big":12345678901234567890,"h":"<"},"options":{"cas":1}}"#;
    bench.send(Verb::Post, "data/a", body).is(200);
    let read = bench.get("data/a").is(200);
    let data = r#"{"data":{"b":1e3,"big":12345678901234567890,"h":"\u003c","z":1.0},"metadata":{"#;
    assert!(read.text.starts_with(data), "{}", read.text);
    assert_eq!(read.data["metadata"]["version"], json!(2));
    assert_eq!(read.data["metadata"]["created_time"], json!(bench.now()));
    for version in ["2", "0", "-1", ""] {
        assert_eq!(bench.get(&format!("data/a?version={version}")).is(200).text, read.text);
    }
    let old = bench.get("data/a?version=1").is(200).data;
    assert_eq!((&old["data"], &old["metadata"]), (&json!({"x": 1}), &made));
    bench.get("data/a?version=99").is(404);
    bench.get("data/a?version=x").refuses(400, "error converting input for field \"version\"");
    assert_eq!((bench.paths(SECRETS), bench.paths(PAST)), (1, 1));
    bench.get("data/a/").is(404);
    bench
        .get("data/")
        .refuses(404, "Non-listing operations on the root of a K/V v2 mount are not supported.");
}

#[test]
fn v2_refuses_what_is_no_secret() {
    let bench = kv("2");
    let refused = |body: &str, text: &str| {
        let answer = bench.send(Verb::Post, "data/a", body);
        answer.refuses(400, text);
        assert!(!answer.errors.concat().contains("CANARY"), "{:?}", answer.errors);
        bench.get("data/a").is(404);
    };
    refused("{}", "no data provided");
    refused(r#"{"data":"CANARY"}"#, "error converting input for field \"data\"");
    refused(r#"{"data":["CANARY"]}"#, "got unconvertible type 'string'");
    refused(r#"{"data":7}"#, "got unconvertible type 'json.Number'");
    refused(r#"{"data":{"CANARY":"#, "failed to decode JSON input");
    refused(r#"{"data":{"CANARY":"\ud800"}}"#, "error converting input for field \"data\"");
    refused(r#"{"data":{},"options":"CANARY"}"#, "error converting input for field \"options\"");
    bench.send(Verb::Post, "data/a/", r#"{"data":{}}"#).refuses(400, "cannot write to a path ending in '/'");
    let warned = bench.post("data/a", json!({"data": {"x": 1}, "cas": 1})).is(200).warnings;
    assert_eq!(warned, ["Endpoint ignored these unrecognized parameters: [cas]"]);
    bench.post("data/n", json!({"data": null})).is(200);
    assert_eq!(bench.get("data/n").is(200).data["data"], json!(null));
}

#[track_caller]
fn check_cas(cas: Value, expect: Result<(), &str>) {
    let bench = kv("2");
    put(&bench, "a", json!({"x": 1})).is(200);
    let answer = bench.post("data/a", json!({"data": {"x": 2}, "options": {"cas": cas}}));
    match expect {
        Ok(()) => drop(answer.is(200)),
        Err(text) => answer.refuses(400, text),
    }
}

#[test]
fn v2_writes_only_over_the_version_that_was_named() {
    let other = Err("check-and-set parameter did not match the current version");
    let unread = Err("error parsing check-and-set parameter");
    for cas in [json!(1), json!("1"), json!(true), json!("0x1")] {
        check_cas(cas, Ok(()));
    }
    for cas in [json!(0), json!(2), json!(-1), json!(""), json!(null), json!(false)] {
        check_cas(cas, other);
    }
    for cas in [json!("z"), json!(1.5), json!(1.0), json!([1]), json!({"a": 1})] {
        check_cas(cas, unread);
    }
    let bench = kv("2");
    bench.post("data/a", json!({"data": {}, "options": {"cas": 0}})).is(200);
    bench.post("config", json!({"cas_required": "true"})).is(204);
    put(&bench, "a", json!({})).refuses(400, "check-and-set parameter required for this call");
    bench.patch("data/a", json!({"data": {}})).refuses(400, "check-and-set parameter required for this call");
    bench.post("config", json!({"cas_required": false})).is(204);
    bench.post("metadata/a", json!({"cas_required": true})).is(204);
    put(&bench, "a", json!({})).refuses(400, "check-and-set parameter required for this call");
}

#[test]
fn v2_deletes_brings_back_and_destroys() {
    let bench = kv("2");
    for value in 1..=3 {
        put(&bench, "a", json!({ "x": value })).is(200);
    }
    bench.delete("data/a").is(204);
    let gone = bench.get("data/a").is(404).data;
    assert_eq!(gone["data"], json!(null));
    assert_eq!(gone["metadata"]["deletion_time"], json!(bench.now()));
    bench.post("undelete/a", json!({"versions": "3"})).is(204);
    assert_eq!(bench.get("data/a").is(200).data["data"], json!({"x": 3}));
    bench.post("delete/a", json!({"versions": [1, 2, 99, -1]})).is(204);
    bench.get("data/a?version=1").is(404);
    bench.post("undelete/a", json!({"versions": [1]})).is(204);
    assert_eq!(bench.get("data/a?version=1").is(200).data["data"], json!({"x": 1}));
    bench.post("destroy/a", json!({"versions": [1, 3]})).is(204);
    bench.post("undelete/a", json!({"versions": [1, 3]})).is(204);
    for version in [1, 3] {
        let gone = bench.get(&format!("data/a?version={version}")).is(404).data;
        assert_eq!((&gone["data"], &gone["metadata"]["destroyed"]), (&json!(null), &json!(true)));
    }
    assert_eq!(bench.paths(PAST), 1, "only version 2 still has data in the past");
    put(&bench, "a", json!({"x": 4})).is(200);
    assert_eq!(bench.paths(PAST), 1, "a destroyed version leaves nothing behind");
    bench.get("data/a?version=3").is(404);
    for path in ["delete", "undelete"] {
        bench.post(&format!("{path}/a"), json!({})).refuses(400, "No version number provided");
        bench.post(&format!("{path}/nope"), json!({"versions": [1]})).is(204);
    }
    bench.post("destroy/a", json!({"versions": []})).refuses(400, "no version number provided");
    bench
        .post("delete/a", json!({"versions": ["x"]}))
        .refuses(400, "error converting input for field \"versions\"");
    bench.delete("data/nope").is(204);
    bench.delete("metadata/a").is(204);
    assert_eq!((bench.paths(SECRETS), bench.paths(PAST)), (0, 0));
    bench.delete("metadata/a").is(204);
    assert_eq!(put(&bench, "a", json!({})).is(200).data["version"], json!(1));
}

#[test]
fn v2_keeps_as_many_versions_as_it_is_told() {
    let bench = kv("2");
    for value in 1..=13 {
        put(&bench, "a", json!({ "x": value })).is(200);
    }
    assert_eq!(bench.paths(PAST), 9);
    let known = bench.get("metadata/a").is(200).data;
    assert_eq!((&known["oldest_version"], &known["current_version"]), (&json!(4), &json!(13)));
    assert_eq!(known["versions"].as_object().unwrap().len(), 10);
    bench.get("data/a?version=3").is(404);
    assert_eq!(bench.get("data/a?version=4").is(200).data["data"], json!({"x": 4}));
    bench.post("metadata/a", json!({"max_versions": 1})).is(204);
    put(&bench, "a", json!({"x": 14})).is(200);
    assert_eq!((bench.paths(SECRETS), bench.paths(PAST)), (1, 0));
    bench.get("data/a?version=13").is(404);
    bench.post("config", json!({"max_versions": 2})).is(204);
    put(&bench, "a", json!({"x": 15})).is(200);
    assert_eq!(bench.get("data/a?version=14").is(200).data["data"], json!({"x": 14}));
}

#[test]
fn v2_versions_end_when_they_are_told_to() {
    let mut bench = kv("2");
    bench.post("config", json!({"delete_version_after": "10m"})).is(204);
    bench.post("metadata/a", json!({"delete_version_after": "5m"})).is(204);
    put(&bench, "a", json!({"x": 1})).is(200);
    bench.wait(299);
    let read = bench.get("data/a").is(200).data;
    bench.wait(1);
    let gone = bench.get("data/a").is(404).data;
    assert_eq!(gone["metadata"], read["metadata"]);
    assert_eq!(gone["metadata"]["deletion_time"], json!(bench.now()));
    bench.patch("data/a", json!({"data": {"y": 1}})).is(404);
    bench.post("undelete/a", json!({"versions": [1]})).is(204);
    bench.get("data/a").is(200);
    bench.wait(300);
    bench.get("data/a").is(404);
    bench.post("config", json!({"delete_version_after": "-1s"})).is(204);
    assert_eq!(put(&bench, "a", json!({})).is(200).data["deletion_time"], json!(""));
    let negative = json!({"delete_version_after": "-1s"});
    bench.post("metadata/a", negative).refuses(400, "cannot provide negative value '-1'");
}

#[test]
fn v2_patches_merge() {
    let bench = kv("2");
    bench.patch("data/a", json!({"data": {"x": 1}})).is(404);
    bench.send(Verb::Post, "data/a", r#"{"data":{"x":{"y":1.0,"z":2},"q":2}}"#).is(200);
    bench.patch("data/a", json!({})).refuses(400, "no data provided");
    let patched = bench.patch("data/a", json!({"data": {"x": {"z": null, "n": 5}, "q": null}})).is(200);
    assert_eq!(patched.data["version"], json!(2));
    assert!(bench.get("data/a").is(200).text.starts_with(r#"{"data":{"x":{"n":5,"y":1.0}},"#));
    let cas = |cas: u64| bench.patch("data/a", json!({"data": {"x": 1}, "options": {"cas": cas}}));
    cas(1).refuses(400, "check-and-set parameter did not match the current version");
    cas(2).is(200);
    bench.delete("data/a").is(204);
    let gone = bench.patch("data/a", json!({"data": {"x": 1}})).is(404).data;
    assert_eq!((&gone["version"], &gone["deletion_time"]), (&json!(3), &json!(bench.now())));
    bench.post("metadata/m", json!({"max_versions": 1})).is(204);
    assert_eq!(bench.patch("data/m", json!({"data": {"x": 1}})).is(404).text, "");
}

#[test]
fn v2_metadata_is_kept_beside_the_versions() {
    let mut bench = kv("2");
    bench.post("metadata/m", json!({})).is(204);
    bench.get("metadata/m").is(404);
    bench.patch("metadata/m", json!({"max_versions": 1})).is(404);
    let created = bench.now();
    bench.post("metadata/m", json!({"max_versions": 3, "custom_metadata": {"a": "<1>", "n": 2}})).is(204);
    assert_eq!(
        bench.get("metadata/m").is(200).data,
        json!({"cas_required": false, "created_time": created, "current_metadata_version": 1, "current_version": 0,
            "custom_metadata": {"a": "<1>", "n": "2"}, "delete_version_after": "0s", "max_versions": 3,
            "metadata_cas_required": false, "oldest_version": 0, "updated_time": created, "versions": {}})
    );
    bench.get("data/m").is(404);
    bench.get("subkeys/m").is(404);
    assert_eq!(bench.exists("data/m"), Some(true));
    put(&bench, "m", json!({"x": 1})).is(200);
    assert_eq!(
        bench.get("data/m").is(200).data["metadata"]["custom_metadata"],
        json!({"a": "<1>", "n": "2"})
    );
    bench.wait(1);
    let patch = json!({"custom_metadata": {"a": null, "b": "3"}, "max_versions": null, "delete_version_after": "3h25m19s"});
    bench.patch("metadata/m", patch).is(204);
    let known = bench.get("metadata/m").is(200).data;
    assert_eq!(
        (&known["custom_metadata"], &known["max_versions"]),
        (&json!({"b": "3", "n": "2"}), &json!(0))
    );
    assert_eq!(
        (&known["delete_version_after"], &known["updated_time"]),
        (&json!("3h25m19s"), &json!(bench.now()))
    );
    assert_eq!(bench.get("data/m").is(200).data["metadata"]["custom_metadata"], known["custom_metadata"]);
    bench.patch("metadata/m", json!({"custom_metadata": null})).is(204);
    assert_eq!(bench.get("metadata/m").data["custom_metadata"], json!(null));
    bench.patch("metadata/m", json!({})).is(204);
    assert_eq!(bench.get("metadata/m").data["current_metadata_version"], json!(3));
    let custom = |custom: Value| bench.post("metadata/m", json!({ "custom_metadata": custom }));
    custom(json!("x")).refuses(400, "error converting input for field \"custom_metadata\"");
    custom(json!({"a": ""}))
        .refuses(400, "1 error occurred:\n\t* custom_metadata validation failed: length of value");
    custom(json!({"a".repeat(129): "1"})).refuses(400, "is 129 but must be 0 < len(key) <= 128");
    bench.post("config", json!({"cas_required": true})).is(204);
    let warned = bench.post("metadata/m", json!({"cas_required": false})).is(200).warnings;
    assert!(warned[0].starts_with("\"cas_required\" set to false, but is mandated by backend config."));
}

#[test]
fn v2_metadata_changes_only_over_the_revision_that_was_named() {
    let bench = kv("2");
    let other = "metadata check-and-set parameter does not match the current version";
    let required = "metadata check-and-set parameter required for this call";
    let post = |cas: Value| bench.post("metadata/c", json!({"max_versions": 1, "metadata_cas": cas}));
    post(json!(1)).refuses(400, "metadata_cas must be 0 when creating new metadata");
    post(json!(0)).is(204);
    post(json!(0)).refuses(400, other);
    post(json!(1)).is(204);
    bench.post("metadata/c", json!({"metadata_cas_required": true})).is(204);
    post(json!(null)).refuses(400, required);
    bench.patch("metadata/c", json!({"max_versions": 2})).refuses(400, required);
    bench.patch("metadata/c", json!({"max_versions": 2, "metadata_cas": 9})).refuses(400, other);
    bench.patch("metadata/c", json!({"max_versions": 2, "metadata_cas": 3})).is(204);
    bench.post("config", json!({"metadata_cas_required": true})).is(204);
    bench.post("metadata/d", json!({"max_versions": 2})).refuses(400, required);
}

#[test]
fn v2_lists_pages_scans_and_details() {
    let bench = kv("2");
    for path in ["l/a", "l/a/b", "l/c/d/e", "l/z"] {
        put(&bench, path, json!({"x": 1})).is(200);
    }
    let keys = |target: &str| bench.list(target).is(200).data["keys"].clone();
    assert_eq!(keys("metadata/l"), json!(["a", "a/", "c/", "z"]));
    assert_eq!(keys("metadata/l/?after=a&limit=1"), json!(["a/"]));
    assert_eq!(keys("metadata/l/?limit=-1"), json!(["a", "a/", "c/", "z"]));
    assert_eq!(keys("metadata"), json!(["l/"]));
    bench.list("metadata/nope").is(404);
    bench.list("metadata/l/?limit=x").refuses(400, "error converting input for field \"limit\"");
    assert_eq!(scan(&bench, "metadata/l").is(200).data, json!({"keys": ["a", "z", "c/d/e", "a/b"]}));
    let page = scan(&bench, "metadata/l?after=a&limit=2").is(200).data;
    assert_eq!(page, json!({"keys": ["a/b", "c/d/e"]}), "pages are in the order of the alphabet");
    assert_eq!(scan(&bench, "metadata/nope").is(200).data, json!({}));
    let detailed = bench.list("detailed-metadata/l").is(200).data;
    assert_eq!(detailed["keys"], json!(["a", "a/", "c/", "z"]));
    assert_eq!(detailed["key_info"]["z"], bench.get("metadata/l/z").data);
    assert_eq!(detailed["key_info"]["c/"], json!({}));
    let all = scan(&bench, "detailed-metadata/").is(200).data;
    assert_eq!(all["key_info"]["l/c/d/e"]["current_version"], json!(1));
    assert_eq!(scan(&bench, "detailed-metadata/nope").is(200).data, json!({}));
    bench.list("detailed-metadata/nope").is(404);
}

#[test]
fn v2_subkeys_show_no_value() {
    let bench = kv("2");
    put(&bench, "a", json!({"x": {"y": {"z": "CANARY"}, "l": ["CANARY"]}, "q": "CANARY"})).is(200);
    let shown = bench.get("subkeys/a").is(200);
    assert!(!shown.text.contains("CANARY"));
    assert_eq!(shown.data["subkeys"], json!({"q": null, "x": {"l": null, "y": {"z": null}}}));
    assert_eq!(bench.get("subkeys/a?depth=1").is(200).data["subkeys"], json!({"q": null, "x": null}));
    put(&bench, "a", json!({"n": 1})).is(200);
    assert_eq!(
        bench.get("subkeys/a?version=1&depth=1").is(200).data["subkeys"],
        json!({"q": null, "x": null})
    );
    bench.get("subkeys/a?version=9").is(404);
    bench.delete("data/a").is(204);
    assert_eq!(bench.get("subkeys/a").is(404).data["subkeys"], json!(null));
}

#[test]
fn v2_configuration_reads_back() {
    let bench = kv("2");
    let shown = |cas: bool, after: &str, max: u64| json!({"cas_required": cas, "delete_version_after": after, "max_versions": max, "metadata_cas_required": false});
    assert_eq!(bench.get("config").is(200).data, shown(false, "0s", 0));
    bench
        .post(
            "config",
            json!({"delete_version_after": "3h25m19s", "cas_required": "true", "max_versions": "5"}),
        )
        .is(204);
    assert_eq!(bench.get("config").is(200).data, shown(true, "3h25m19s", 5));
    bench.post("config", json!({"delete_version_after": "-7s", "cas_required": false})).is(204);
    assert_eq!(bench.get("config").is(200).data, shown(false, "-1s", 5));
    bench.post("config", json!({"delete_version_after": 0, "max_versions": -1})).is(204);
    assert_eq!(bench.get("config").is(200).data, shown(false, "0s", 4_294_967_295));
    bench
        .post("config", json!({"max_versions": "abc"}))
        .refuses(400, "error converting input for field \"max_versions\"");
}

#[test]
fn v2_tells_clients_of_v1_where_they_are() {
    let bench = kv("2");
    for (verb, word) in [
        (Verb::Get, "get"),
        (Verb::Post, "put"),
        (Verb::List, "list"),
        (Verb::Scan, "scan"),
        (Verb::Patch, "patch"),
        (Verb::Delete, "delete"),
    ] {
        let stray = bench.send(verb, "a", if word == "put" { r#"{"x":1}"# } else { "" }).is(404);
        assert!(stray.warnings[0].starts_with("Invalid path for a versioned K/V secrets engine."));
        assert!(stray.warnings[0].ends_with(&format!("use 'bao kv {word}' for this operation.")));
    }
    for (verb, path) in [
        (Verb::Delete, "config"),
        (Verb::List, "data/a"),
        (Verb::Get, "delete/a"),
        (Verb::Delete, "destroy/a"),
        (Verb::Get, "detailed-metadata/a"),
    ] {
        bench.send(verb, path, "").refuses(405, "unsupported operation");
    }
}

#[test]
fn a_mount_becomes_versioned_at_once() {
    let bench = kv("1");
    bench.post("a/b", json!({"x": 1})).is(204);
    let written = bench.now();
    let mut bench = bench.reopen(engines::open("kv", &json!({"version": "2"})).unwrap());
    bench.wait(5);
    let read = bench.get("data/a/b").is(200).data;
    assert_eq!((&read["data"], &read["metadata"]["created_time"]), (&json!({"x": 1}), &json!(written)));
    assert_eq!(bench.list("metadata/a").is(200).data, json!({"keys": ["b"]}));
    let known = bench.get("metadata/a/b").is(200).data;
    assert_eq!((&known["current_version"], &known["oldest_version"]), (&json!(1), &json!(1)));
    assert_eq!(bench.get("subkeys/a/b").is(200).data["subkeys"], json!({"x": null}));
    bench.patch("data/a/b", json!({"data": {"y": 2}, "options": {"cas": 1}})).is(200);
    assert_eq!(bench.get("data/a/b").is(200).data["data"], json!({"x": 1, "y": 2}));
    assert_eq!(bench.get("data/a/b?version=1").is(200).data["data"], json!({"x": 1}));
}

#[test]
fn what_is_read_of_a_lending_mount_has_a_lease() {
    let mut bench = Bench::new(engines::open("kv", &json!({ "leased_passthrough": "true" })).unwrap(), None);
    bench.post("a", json!({"x": 1, "ttl": "90s"})).is(204);
    bench.wait(100);
    assert_eq!(bench.tick(), 0, "to write lends nothing");
    for _ in 0..2 {
        let read = bench.get("a").is(200);
        assert_eq!((read.text.as_str(), read.advised), (r#"{"ttl":"90s","x":1}"#, None));
    }
    bench.get("b").is(404);
    bench.wait(89);
    assert_eq!(bench.tick(), 0);
    bench.wait(2);
    assert_eq!(bench.tick(), 2, "each reading has a lease");
    bench.delete("a").is(204);
    bench.get("a").is(404);
}
