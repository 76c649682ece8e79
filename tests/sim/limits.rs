//! What is asked for in odd measures, and what would cost too much.

use std::time::Duration;

use kernel::{Handled, Request, Settings};
use kit::Verb::{Delete, Get, List, Post};
use serde_json::{Value, json};
use tests::desk::{Desk, Said, request};

fn wrap(desk: &Desk, span: Duration) -> Said {
    let asked = request(&desk.root, Post, "sys/wrapping/wrap", r#"{"a":"b"}"#);
    desk.send(&Request { wrap_ttl: Some(span), ..asked }).expect(200)
}

fn unwrap(desk: &Desk, wrapped: &Said) -> Said {
    let body = json!({ "token": wrapped.json["wrap_info"]["token"] }).to_string();
    desk.ask(Post, "sys/wrapping/unwrap", &body)
}

#[test]
fn a_wrapping_lives_as_long_as_was_asked_and_not_a_part_of_a_second_less() {
    let desk = Desk::new(520);
    let half = wrap(&desk, Duration::from_millis(500));
    desk.wait(Duration::from_millis(400));
    assert_eq!(unwrap(&desk, &half).expect(200).json["data"]["a"], "b");
    let longer = wrap(&desk, Duration::from_millis(1500));
    desk.wait(Duration::from_millis(1400));
    assert_eq!(unwrap(&desk, &longer).expect(200).json["data"]["a"], "b");
    let short = wrap(&desk, Duration::from_millis(500));
    desk.wait(Duration::from_millis(1001));
    unwrap(&desk, &short).expect(400);
}

#[test]
fn a_bound_of_less_than_a_second_is_a_bound() {
    let desk = Desk::new(521);
    let body = r#"{"policies":["default"],"ttl":"1h","explicit_max_ttl":"500ms"}"#;
    let token = desk.ask(Post, "auth/token/create", body).expect(200).token();
    let lookup = json!({ "token": token }).to_string();
    let said = desk.ask(Post, "auth/token/lookup", &lookup).expect(200);
    assert_eq!(said.json["data"]["explicit_max_ttl"], 1);
    desk.wait(Duration::from_millis(900));
    let said = desk.ask_as(&token, Post, "auth/token/renew-self", r#"{"increment":"1h"}"#).expect(200);
    assert_eq!(said.json["auth"]["lease_duration"], 1, "it counts whole seconds, and there is no hour");
    desk.wait(Duration::from_millis(1100));
    desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(403);
    for what in ["ttl", "period"] {
        let body = json!({ "policies": ["default"], what: "500ms" }).to_string();
        let token = desk.ask(Post, "auth/token/create", &body).expect(200).token();
        desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(200);
        desk.wait(Duration::from_millis(1100));
        desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(403);
    }
}

#[test]
fn a_bound_of_less_than_a_second_is_a_bound_in_roles_and_methods_too() {
    let desk = Desk::new(522);
    for kind in ["userpass", "approle"] {
        let body = json!({ "type": kind }).to_string();
        desk.ask(Post, &format!("sys/auth/{kind}"), &body).expect(204);
    }
    let user = r#"{"password":"pw","token_explicit_max_ttl":"500ms","token_ttl":"500ms"}"#;
    desk.ask(Post, "auth/userpass/users/ann", user).expect(204);
    let said = desk.ask(Get, "auth/userpass/users/ann", "").expect(200);
    assert_eq!(said.json["data"]["token_explicit_max_ttl"], 1);
    let said = desk.ask_as("", Post, "auth/userpass/login/ann", r#"{"password":"pw"}"#).expect(200);
    assert_eq!(said.json["auth"]["lease_duration"], 1);
    desk.ask(Post, "auth/approle/role/r", "{}").expect(204);
    let said = desk.ask(Post, "auth/approle/role/r/secret-id", r#"{"ttl":"500ms"}"#).expect(200);
    assert_eq!(said.json["data"]["secret_id_ttl"], 1);
    desk.ask(Post, "auth/token/roles/r", r#"{"token_explicit_max_ttl":"500ms","period":"1500ms"}"#)
        .expect(204);
    let said = desk.ask(Get, "auth/token/roles/r", "").expect(200);
    assert_eq!(said.json["data"]["token_explicit_max_ttl"], 1);
    assert_eq!(said.json["data"]["period"], 2);
    let said = desk.ask(Post, "auth/token/create/r", r#"{"policies":["default"]}"#).expect(200);
    assert_eq!(said.json["auth"]["lease_duration"], 1);
}

/// Sends it as HTTP would, and insists that it goes to the pool for costly work.
fn pooled(desk: &Desk, asked: &Request) -> Said {
    match desk.kernel.handle(asked) {
        Handled::Later(pending) => desk.finish(pending, asked),
        Handled::Done(_) => panic!("{} was done by the thread that answers requests", asked.path.as_str()),
    }
}

fn policy(length: usize, charset: &str, rare: usize) -> String {
    let text = format!(
        "length = {length}\nrule \"charset\" {{ charset = \"{charset}\" }}\nrule \"charset\" {{ charset = \"0\" min-chars = {rare} }}"
    );
    json!({ "policy": text }).to_string()
}

#[test]
fn passwords_are_made_in_the_pool_and_of_so_many_characters() {
    let desk = Desk::new(522);
    let charset = |count: u32| (0x4e00..0x4e00 + count).filter_map(char::from_u32).collect::<String>();
    let put = |body: &str| pooled(&desk, &request(&desk.root, Post, "sys/policies/password/p", body));
    put(&policy(20, &charset(255), 0)).expect(204);
    let made = pooled(&desk, &request(&desk.root, Get, "sys/policies/password/p/generate", "")).expect(200);
    assert_eq!(made.json["data"]["password"].as_str().unwrap().chars().count(), 20);
    for count in [256, 20_000] {
        let said = put(&policy(20, &charset(count), 0)).expect(400);
        assert!(said.error().contains("charset is too long"), "{said:?}");
    }
    let said = put(&policy(100, &charset(200), 60)).expect(400);
    assert!(said.error().contains("cannot be made in reasonable time"), "{said:?}");
    let said = desk.ask(Get, "sys/policies/password/p", "").expect(200);
    assert!(matches!(&said.json["data"]["policy"], Value::String(text) if text.contains("length = 20")));
}

#[test]
fn how_a_mount_is_tuned_is_not_deleted() {
    let desk = Desk::new(523);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    desk.ask(Post, "sys/mounts/kv/deep", r#"{"type":"kv"}"#).expect(204);
    for path in ["sys/auth/userpass/tune", "sys/mounts/kv/deep/tune", "sys/mounts/nothing/tune"] {
        assert!(desk.ask(Delete, path, "").expect(405).error().contains("unsupported operation"), "{path}");
    }
    desk.ask(Get, "sys/mounts/kv/deep/tune", "").expect(200);
    desk.ask(Delete, "sys/mounts/kv/deep", "").expect(204);
}

/// Who is locked out, by name.
fn locked(desk: &Desk) -> Vec<String> {
    let said = desk.ask(Get, "sys/locked-users", "").expect(200);
    let mounts = said.json["data"]["by_namespace"][0]["mount_accessors"].as_array().unwrap().clone();
    let names = mounts.iter().flat_map(|mount| mount["alias_identifiers"].as_array().unwrap().clone());
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_long_name_is_locked_out_shown_cut_and_let_in_again() {
    let desk = Desk::new(524);
    desk.ask(Post, "sys/auth/approle", r#"{"type":"approle"}"#).expect(204);
    let long = "r".repeat(4000);
    let accessor = desk.ask(Get, "sys/auth/approle", "").expect(200).json["data"]["accessor"].clone();
    let login = |role: &str| {
        let body = json!({ "role_id": role, "secret_id": "wrong" }).to_string();
        desk.ask_as("", Post, "auth/approle/login", &body)
    };
    (0..5).for_each(|_| drop(login(&long).expect(400)));
    login(&long).expect(403);
    let shown = locked(&desk);
    assert!(shown.len() == 1 && shown[0].starts_with("rrr") && shown[0].len() < 300, "{shown:?}");
    login(&format!("{long}r")).expect(400);
    for name in [shown[0].clone(), long.clone()] {
        let path = format!("sys/locked-users/{}/unlock/{name}", accessor.as_str().unwrap());
        desk.ask(Post, &path, "{}").expect(204);
        assert!(locked(&desk).is_empty());
        (0..5).for_each(|_| drop(login(&long).expect(400)));
        login(&long).expect(403);
    }
    // No role can have such an id, so none is locked out.
    (0..9).for_each(|_| drop(login(&"r".repeat(100_000)).expect(400)));
    assert_eq!(locked(&desk).len(), 1);
}

#[test]
fn what_is_too_large_to_be_stored_is_the_callers_mistake() {
    let desk = Desk::new(79);
    desk.ask(Post, "sys/mounts/kv1", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    let large = "x".repeat(1024 * 1024 + 1);
    let many: Vec<String> = (0..3000).map(|number| format!("{number:0>400}")).collect();
    let refused = |path: &str, body: Value| {
        let said = desk.ask(Post, path, &body.to_string()).expect(400);
        let text = said.error();
        let clear = text.contains("failed to write: put failed due to value being too large; got ")
            && text.contains(" bytes, max: 1048576 bytes; store less at once");
        assert!(clear, "{path}: {text}");
    };
    refused("kv1/a", json!({ "x": large }));
    refused("cubbyhole/a", json!({ "x": large }));
    refused("auth/token/create", json!({ "meta": { "a": large } }));
    refused("auth/userpass/users/a", json!({ "password": "p", "token_policies": many }));
    refused("sys/mounts/other", json!({ "type": "kv", "description": large }));
    desk.ask(Get, "kv1/a", "").expect(404);
    desk.ask(List, "auth/userpass/users", "").expect(404);
}

#[test]
fn a_secret_that_could_be_written_can_be_deleted_however_large_it_is() {
    let desk = Desk::with(78, Settings { raw_storage_endpoint: true, ..Settings::default() });
    desk.ask(Post, "sys/mounts/kv2", r#"{"type":"kv","options":{"version":"2"}}"#).expect(204);
    let write = |size: usize| {
        desk.ask(Post, "kv2/data/big", &format!(r#"{{"data":{{"x":"{}"}}}}"#, "a".repeat(size)))
    };
    let size_of =
        |path: &str| desk.ask(Get, path, "").expect(200).json["data"]["data"]["x"].as_str().unwrap().len();
    // An entry holds 1 MiB, and the names of the fields are in it.
    let most = 1024 * 1024 - r#"{"x":""}"#.len();
    let why = "put failed due to value being too large; got 1048577 bytes, max: 1048576";
    assert!(write(most + 1).expect(400).error().contains(why));
    write(most).expect(200);
    assert_eq!(size_of("kv2/data/big"), most);
    desk.ask(Post, "kv2/metadata/big", r#"{"custom_metadata":{"of":"ann"}}"#).expect(204);
    desk.ask(Delete, "kv2/data/big", "").expect(204);
    desk.ask(Get, "kv2/data/big", "").expect(404);
    desk.ask(Post, "kv2/undelete/big", r#"{"versions":[1]}"#).expect(204);
    desk.ask(Get, "kv2/subkeys/big", "").expect(200);
    assert_eq!(size_of("kv2/data/big"), most);
    write(most - 1).expect(200);
    assert_eq!((size_of("kv2/data/big"), size_of("kv2/data/big?version=1")), (most - 1, most));
    desk.ask(Post, "kv2/delete/big", r#"{"versions":[1,2]}"#).expect(204);
    desk.ask(Post, "kv2/undelete/big", r#"{"versions":[2]}"#).expect(204);
    write(3).expect(200);
    assert_eq!((size_of("kv2/data/big"), size_of("kv2/data/big?version=2")), (3, most - 1));
    // A version that is destroyed, or falls out of the history, leaves nothing behind, and neither does the whole.
    let uuid = desk.ask(Get, "sys/mounts/kv2", "").expect(200).json["data"]["uuid"].clone();
    let past = format!("sys/raw/{}/2", uuid.as_str().unwrap());
    desk.ask(List, &past, "").expect(200);
    write(most).expect(200);
    desk.ask(Post, "kv2/destroy/big", r#"{"versions":[1,2,3,4]}"#).expect(204);
    desk.ask(Get, "kv2/data/big", "").expect(404);
    desk.ask(List, &past, "").expect(404);
    desk.ask(Post, "kv2/metadata/big", r#"{"max_versions":1}"#).expect(204);
    write(most).expect(200);
    write(most).expect(200);
    write(3).expect(200);
    desk.ask(List, &past, "").expect(404);
    write(most).expect(200);
    desk.ask(Delete, "kv2/metadata/big", "").expect(204);
    desk.ask(List, &past, "").expect(404);
}
