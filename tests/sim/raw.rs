//! The store by hand: shown, mended, and closed to all but the owner who opened it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::Settings;
use kit::Verb::{Delete, Get, List, Post};
use serde_json::json;
use tests::desk::Desk;

fn desk(seed: u64) -> Desk {
    Desk::with(seed, Settings { raw_storage_endpoint: true, ..Settings::default() })
}

fn keys(desk: &Desk, path: &str) -> Vec<String> {
    let said = desk.ask(List, path, "").expect(200);
    said.json["data"]["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_stored_is_shown_and_mended() {
    let desk = desk(80);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "kv/deep/x", r#"{"a":"before"}"#).expect(204);
    let uuid =
        desk.ask(Get, "sys/mounts/kv", "").expect(200).json["data"]["uuid"].as_str().unwrap().to_owned();
    assert!(keys(&desk, "sys/raw").contains(&format!("{uuid}/")));
    let tables = keys(&desk, &format!("sys/raw/{uuid}"));
    let table = format!("sys/raw/{uuid}/{}", tables[0]);
    assert_eq!(keys(&desk, &table), ["deep/"]);
    let path = format!("{table}deep/x");
    // A record need not be text.
    let value = desk.ask(Get, &format!("{path}?encoding=base64"), "").expect(200);
    let mut value = STANDARD.decode(value.json["data"]["value"].as_str().unwrap()).unwrap();
    let at = value.windows(6).position(|part| part == b"before").expect("it is readable by hand");
    value.splice(at..at + 6, *b"behind");
    let mended = json!({ "value": STANDARD.encode(value), "encoding": "base64" }).to_string();
    desk.ask(Post, &path, &mended).expect(204);
    assert_eq!(desk.ask(Get, "kv/deep/x", "").expect(200).json["data"]["a"], "behind");
    desk.ask(Delete, &path, "").expect(204);
    desk.ask(Get, "kv/deep/x", "").expect(404);
    // What the server named is shown in digits.
    assert!(keys(&desk, "sys/raw/kernel/3").iter().all(|key| key.starts_with("id:")));
    desk.ask(Post, "sys/raw/nonsense", r#"{"value":"x"}"#).expect(400);
    desk.ask(Get, "sys/raw/kernel/3/id:zz", "").expect(404);
}

#[test]
fn no_path_leads_to_a_key_of_the_keyring() {
    let desk = desk(81);
    for path in ["core/keyring", "core/seal-config", "core/hsm/barrier-unseal-keys"] {
        desk.ask(Get, &format!("sys/raw/{path}"), "").expect(400);
        desk.ask(Post, &format!("sys/raw/{path}"), r#"{"value":"x"}"#).expect(400);
        desk.ask(Delete, &format!("sys/raw/{path}"), "").expect(400);
    }
    for path in
        ["keyring", "seal", "kernel/keyring", "meta/seal", "00000000-0000-0000-0000-000000000000/0/seal"]
    {
        desk.ask(Get, &format!("sys/raw/{path}"), "").expect(404);
    }
}

#[test]
fn it_is_there_when_the_operator_says_so_and_for_the_owner() {
    let closed = Desk::new(82);
    closed.ask(List, "sys/raw", "").expect(404);
    closed.ask(Get, "sys/raw/kernel/10/cluster-id", "").expect(404);
    closed.ask(Post, "sys/raw/kernel/10/cluster-id", r#"{"value":"x"}"#).expect(404);
    let desk = desk(83);
    let policy = r#"{"policy":"path \"sys/raw*\" { capabilities = [\"create\",\"read\",\"update\",\"delete\",\"list\"] }"}"#;
    desk.ask(Post, "sys/policies/acl/all-but-sudo", policy).expect(204);
    let token = desk.ask(Post, "auth/token/create", r#"{"policies":["all-but-sudo"]}"#).expect(200).token();
    desk.ask_as(&token, List, "sys/raw", "").expect(403);
    desk.ask_as(&token, Get, "sys/raw/kernel/10/cluster-id", "").expect(403);
    desk.ask_as("", Get, "sys/raw/kernel/10/cluster-id", "").expect(403);
}
