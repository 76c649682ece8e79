//! The owners of a server make its keys anew, and a root token by their shares.

use kernel::Settings;
use kit::Verb::{Delete, Get, Post};
use serde_json::{Value, json};
use storage::faulty::PowerCut;
use storage::seal::{KeyBytes, NamedKey, SealChoice, Split};
use tests::desk::Desk;

const TWO_OF_THREE: Split = Split { shares: 3, threshold: 2 };

fn open() -> Settings {
    Settings { open_rekey: true, open_generate_root: true, ..Settings::default() }
}

fn unsealing_itself(recovery: Option<Split>) -> SealChoice {
    let key = NamedKey { id: "one".to_owned(), key: KeyBytes::from_bytes([7; 32]) };
    SealChoice::Static { key, recovery }
}

pub(crate) fn share(key: &str, nonce: &Value) -> String {
    json!({ "key": key, "nonce": nonce }).to_string()
}

pub(crate) fn keys(of: &Value) -> Vec<String> {
    of["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

/// Makes a root token with these shares.
#[track_caller]
fn generate(desk: &Desk, shares: &[String]) -> String {
    let begun = desk.ask(Post, "sys/generate-root-token/attempt", "").expect(200).json["data"].clone();
    let mut done = Value::Null;
    for key in shares {
        let body = share(key, &begun["nonce"]);
        done = desk.ask(Post, "sys/generate-root-token/update", &body).expect(200).json["data"].clone();
    }
    assert_eq!(done["complete"], true);
    let body = json!({ "encoded_token": done["encoded_token"], "otp": begun["otp"] }).to_string();
    let decoded = desk.ask_as("", Post, "sys/decode-token", &body).expect(200);
    decoded.json["data"]["token"].as_str().unwrap().to_owned()
}

#[test]
fn the_owners_make_a_root_token() {
    let desk = Desk::sealed_by(&SealChoice::Shamir(TWO_OF_THREE), 60, Settings::default());
    let token = generate(&desk, &desk.shares[1..]);
    let own = desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(200);
    assert_eq!(own.json["data"]["policies"], json!(["root"]));
    // What was shown is not shown again, and not kept.
    let status = desk.ask(Get, "sys/generate-root-token/attempt", "").expect(200);
    assert_eq!((&status.json["data"]["started"], &status.json["data"]["otp"]), (&json!(false), &json!("")));
}

#[test]
fn shares_of_others_make_nothing_and_are_forgotten() {
    let desk = Desk::sealed_by(&SealChoice::Shamir(TWO_OF_THREE), 61, Settings::default());
    let other = Desk::sealed_by(&SealChoice::Shamir(TWO_OF_THREE), 62, Settings::default());
    let begun = desk.ask(Post, "sys/generate-root-token/attempt", "").expect(200).json["data"].clone();
    let show = |key: &String| desk.ask(Post, "sys/generate-root-token/update", &share(key, &begun["nonce"]));
    show(&other.shares[0]).expect(200);
    show(&other.shares[1]).expect(400);
    show(&desk.shares[0]).expect(200);
    show(&other.shares[1]).expect(400);
    let status = desk.ask(Get, "sys/generate-root-token/attempt", "").expect(200);
    assert_eq!(status.json["data"]["progress"], 0, "one good share and a bad one leave nothing behind");
    // A restart forgets all of it.
    let desk = desk.crash(PowerCut::Drop);
    let status = desk.ask(Get, "sys/generate-root-token/attempt", "").expect(200);
    assert_eq!(status.json["data"]["started"], false);
}

#[test]
fn new_shares_hold_when_they_are_proven_and_not_before() {
    let desk = Desk::sealed_by(&SealChoice::Shamir(TWO_OF_THREE), 63, Settings::default());
    let body = r#"{"secret_shares":2,"secret_threshold":2,"require_verification":true}"#;
    let begun = desk.ask(Post, "sys/rotate/root/init", body).expect(200).json["data"].clone();
    desk.ask(Post, "sys/rotate/root/update", &share(&desk.shares[0], &begun["nonce"])).expect(200);
    let done = desk.ask(Post, "sys/rotate/root/update", &share(&desk.shares[2], &begun["nonce"])).expect(200);
    let (done, new) = (&done.json["data"], keys(&done.json["data"]));
    assert_eq!(new.len(), 2);
    generate(&desk, &desk.shares[..2]);
    for key in &new {
        desk.ask(Post, "sys/rotate/root/verify", &share(key, &done["verification_nonce"])).expect(200);
    }
    generate(&desk, &new);
    let begun = desk.ask(Post, "sys/generate-root-token/attempt", "").expect(200).json["data"].clone();
    let old = |at: usize| share(&desk.shares[at], &begun["nonce"]);
    desk.ask(Post, "sys/generate-root-token/update", &old(0)).expect(200);
    desk.ask(Post, "sys/generate-root-token/update", &old(1)).expect(400);
}

#[test]
fn a_server_that_unseals_itself_gives_a_recovery_key_later() {
    let desk = Desk::sealed_by(&unsealing_itself(None), 64, Settings::default());
    desk.ask(Post, "sys/generate-root-token/attempt", "").expect(400);
    desk.ask(Post, "sys/rotate/root/init", r#"{"secret_shares":1,"secret_threshold":1}"#).expect(400);
    let body = r#"{"secret_shares":3,"secret_threshold":2}"#;
    let done = desk.ask(Post, "sys/rotate/recovery/init", body).expect(200);
    let recovery = keys(&done.json["data"]);
    let token = generate(&desk, &recovery[..2]);
    desk.ask_as(&token, Get, "sys/mounts", "").expect(200);
    // From now on its holders are asked.
    let begun = desk.ask(Post, "sys/rotate/recovery/init", body).expect(200).json["data"].clone();
    assert_eq!((&begun["started"], &begun["required"]), (&json!(true), &json!(2)));
    desk.ask(Delete, "sys/rotate/recovery/init", "").expect(204);
    // The root key is made anew with them, and nothing is split.
    let begun = desk.ask(Post, "sys/rotate/root/init", "{}").expect(200).json["data"].clone();
    desk.ask(Post, "sys/rotate/root/update", &share(&recovery[0], &begun["nonce"])).expect(200);
    let done = desk.ask(Post, "sys/rotate/root/update", &share(&recovery[2], &begun["nonce"])).expect(200);
    assert_eq!((&done.json["data"]["complete"], &done.json["data"]["keys"]), (&json!(true), &json!([])));
    desk.ask(Post, "sys/rotate/root", "").expect(204);
    let desk = desk.crash(PowerCut::Drop);
    generate(&desk, &recovery[1..]);
}

#[test]
fn strangers_come_in_where_the_operator_lets_them() {
    let desk = Desk::new(65);
    for path in ["sys/rekey/init", "sys/rekey-recovery-key/init", "sys/generate-root/attempt"] {
        desk.ask_as("", Get, path, "").expect(405);
        desk.ask(Get, path, "").expect(405);
    }
    let desk = Desk::with(66, open());
    let body = r#"{"secret_shares":1,"secret_threshold":1}"#;
    let begun = desk.ask_as("", Post, "sys/rekey/init", body).expect(200).json;
    // Who has no nonce and no right stops nobody.
    desk.ask_as("", Delete, "sys/rekey/init", "").expect(403);
    desk.ask_as("", Delete, "sys/rekey/init?nonce=x", "").expect(403);
    let nobody = desk.ask(Post, "auth/token/create", r#"{"policies":["default"]}"#).expect(200).token();
    desk.ask_as(&nobody, Delete, "sys/rekey/init", "").expect(403);
    assert_eq!(desk.ask_as("", Get, "sys/rekey/init", "").expect(200).json["nonce"], begun["nonce"]);
    desk.ask(Delete, "sys/rekey/init", "").expect(204);
    let begun = desk.ask_as("", Post, "sys/rekey/init", body).expect(200).json;
    // The first nonce is worth nothing for what was begun later.
    let nonce = begun["nonce"].as_str().unwrap();
    desk.ask_as("", Delete, &format!("sys/rekey/init?nonce={nonce}"), "").expect(204);
    let begun = desk.ask_as("", Post, "sys/rekey/init", body).expect(200).json;
    desk.ask_as("", Post, "sys/rekey/update", &share(&desk.shares[0], &json!(nonce))).expect(400);
    let done =
        desk.ask_as("", Post, "sys/rekey/update", &share(&desk.shares[0], &begun["nonce"])).expect(200);
    assert_ne!(keys(&done.json)[0], desk.shares[0]);
    let begun = desk.ask_as("", Post, "sys/generate-root/attempt", "").expect(200).json;
    desk.ask_as("", Delete, "sys/generate-root/attempt", "").expect(403);
    let body = share(&keys(&done.json)[0], &begun["nonce"]);
    desk.ask_as("", Post, "sys/generate-root/update", &body).expect(200);
}
