//! Whatever is asked, each line of an audit file is one JSON object, and no value of a secret is in it.

use std::collections::HashSet;

use kernel::{Handled, Settings};
use kit::Verb::{Delete, Get, Patch, Post};
use serde_json::{Value, json};
use tests::binary::setting;
use tests::desk::{Desk, request};
use tests::dice::Dice;
use tests::scratch::Scratch;

/// Requests of a run; `FUZZ_CASES` says another number.
const CASES: usize = 400;

/// So long is each word of a secret.
const WORD: usize = 9;

/// What OpenBao counts a client as whose token has no entity and the policies `a`, `b` and `default`.
const CLIENT: &str = "bXQoRWTMMagNRD/6lt2+EmFQAtEG9eKRgjedGC6GgOI=";

/// What means something to JSON, terminals and readers of lines.
const ODD: [&str; 14] = [
    "\"",
    "\\",
    "\n",
    "\r\n",
    "\0",
    "\u{1b}[2J",
    "\u{2028}",
    "\u{7f}",
    "{",
    "}",
    "é",
    "🔒",
    "\\u0000",
    "</script>",
];

/// A text that occurs nowhere by chance, with odd pieces in it.
fn secret(dice: &mut Dice) -> String {
    let mut text = dice.word(WORD);
    for _ in 0..dice.below(4) {
        text.push_str(ODD[dice.below(ODD.len())]);
        text.push_str(&dice.word(WORD));
    }
    text
}

/// A body that holds these secrets, nested as chance has it. What does not read is refused at the door.
fn body(dice: &mut Dice, secrets: &mut Vec<String>) -> String {
    let mut value = Value::Null;
    for _ in 0..=dice.below(4) {
        let new = secret(dice);
        secrets.push(new.clone());
        value = match dice.below(4) {
            0 => json!([new, value]),
            1 => json!({ "deep": { "er": new }, "more": value }),
            2 => json!({ "data": value, "value": new, "number": 1.5 }),
            _ => json!([[new], value, true, null]),
        };
    }
    json!({ "data": { "it": value.clone() }, "value": value, "password": secret_too(dice, secrets) })
        .to_string()
}

fn secret_too(dice: &mut Dice, secrets: &mut Vec<String>) -> String {
    secrets.push(secret(dice));
    secrets.last().cloned().unwrap_or_default()
}

#[test]
fn a_line_is_one_object_without_secrets() {
    let (desk, folder) = (Desk::new(17), Scratch::new());
    let file = folder.path().join("audit.log");
    let options = json!({"type": "file", "options": {"file_path": file.display().to_string()}});
    desk.ask(Post, "sys/audit/file", &options.to_string()).expect(204);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "sys/mounts/two", r#"{"type":"kv-v2"}"#).expect(204);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    desk.ask(Post, "sys/auth/approle", r#"{"type":"approle"}"#).expect(204);
    desk.ask(Post, "auth/userpass/users/ann", r#"{"password":"onlyannknowsit"}"#).expect(204);
    let mut dice = Dice::new(17);
    let mut secrets = vec!["onlyannknowsit".to_owned()];
    let cases = setting("FUZZ_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let before = std::fs::read_to_string(&file).unwrap().lines().count();
    for case in 0..cases {
        let body = body(&mut dice, &mut secrets);
        // Passwords are hashed for long: so many that it is seen, and no more.
        let people = if case % 40 == 0 { "auth/userpass/users" } else { "auth/approle/role" };
        let places = ["kv", "two/data", people, "cubbyhole", "nowhere"];
        let path = format!("{}/a{case}", places[dice.below(places.len())]);
        let _ = desk.ask(if dice.once_in(5) { Patch } else { Post }, &path, &body);
        let _ = desk.ask(Get, &path, "");
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.split_terminator('\n').collect();
    assert!(
        lines.len() >= before + cases * 3,
        "every question has a line, and nearly every answer: {}",
        lines.len()
    );
    for line in &lines {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(read["type"] == "request" || read["type"] == "response", "{line}");
        assert!(!line.bytes().any(|byte| byte.is_ascii_control()), "{line:?}");
    }
    // What stands in a row anywhere in the file: to look through all of it for each word would take much longer.
    let said: HashSet<&[u8]> = text.as_bytes().windows(WORD).collect();
    for secret in &secrets {
        // The odd pieces would be spelt in another way; the words beside them would not.
        for word in secret.split(|char: char| !char.is_ascii_alphanumeric()).filter(|word| word.len() >= WORD)
        {
            assert!(!said.contains(&word.as_bytes()[..WORD]), "{secret:?} lies in the audit file");
        }
    }
}

/// The door to the network lets no such body in; whoever else brings one is audited before they are refused, and writes
/// no line of their own.
#[test]
fn a_body_that_does_not_read_is_audited_and_forges_nothing() {
    let (desk, folder) = (Desk::new(18), Scratch::new());
    let file = folder.path().join("audit.log");
    let options = json!({"type": "file", "options": {"file_path": file.display().to_string()}});
    desk.ask(Post, "sys/audit/file", &options.to_string()).expect(204);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    let lines = || -> Vec<String> {
        let text = std::fs::read_to_string(&file).unwrap();
        text.split_terminator('\n').map(str::to_owned).collect()
    };
    let forged = r#"{"type":"response","auth":{"accessor":"forged"}}"#;
    for body in [
        "hunter2222".to_owned(),
        "[\"hunter2222\"]".to_owned(),
        "{\"hunter2222\": ".to_owned(),
        "{\"password\": hunter2222}".to_owned(),
        "{\"a\": \"hunter2222\n\u{1b}[2J\"}".to_owned(),
        format!("{{}}}}}}\n{forged}\n"),
        format!("{{\"a\": \"\n{forged}\n"),
    ] {
        let before = lines().len();
        let said = desk.ask(Post, "kv/a", &body);
        assert!((400..500).contains(&said.status), "{body:?}: {said:?}");
        let lines = lines();
        let [question, answer] = &lines[before..] else { panic!("{body:?}: {:?}", &lines[before..]) };
        for (line, kind) in [(question, "request"), (answer, "response")] {
            let read: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
            assert_eq!((read["type"].as_str(), read["request"]["path"].as_str()), (Some(kind), Some("kv/a")));
            assert!(!line.contains("hunter2222") && !line.contains("forged"), "{line}");
        }
    }
}

#[test]
fn a_device_that_no_longer_opens_stops_nobody() {
    let scratch = Scratch::new();
    let settings =
        |allow_audit_prefix| Settings { allow_audit_api: true, allow_audit_prefix, ..Settings::default() };
    let desk = Desk::with(432, settings(true));
    let enable = |name: &str, more: Value| {
        let mut options = json!({ "file_path": scratch.path().join(name) });
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body = json!({ "type": "file", "options": options }).to_string();
        desk.ask(Post, &format!("sys/audit/{name}"), &body).expect(204);
    };
    enable("plain", json!({}));
    enable("marked", json!({ "prefix": "@cee: " }));
    let desk = desk.start_again_with(settings(false));
    let lines = || std::fs::read_to_string(scratch.path().join("plain")).unwrap().lines().count();
    let before = lines();
    desk.ask(Get, "auth/token/lookup-self", "").expect(200);
    assert_eq!(lines(), before + 2);
    desk.ask(Delete, "sys/audit/marked", "").expect(204);
    desk.ask(Get, "auth/token/lookup-self", "").expect(200);
}

#[test]
fn what_an_attempt_was_granted_is_not_said_of_the_next() {
    let (desk, folder) = (Desk::new(19), Scratch::new());
    let file = folder.path().join("audit.log");
    let options = json!({"type": "file", "options": {"file_path": file.display().to_string()}});
    desk.ask(Post, "sys/audit/file", &options.to_string()).expect(204);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    let policy = |capabilities: &str| {
        let text = format!("path \"kv/*\" {{ capabilities = [{capabilities}] }}");
        desk.ask(Post, "sys/policies/acl/writer", &json!({ "policy": text }).to_string()).expect(204);
    };
    policy("\"create\", \"update\"");
    let token = desk.ask(Post, "auth/token/create", r#"{"policies":["writer"]}"#).expect(200).token();
    let put = request(&token, Post, "kv/a", r#"{"x":"y"}"#);
    let Handled::Later(pending) = desk.kernel.handle(&put) else { panic!("a write waits to be durable") };
    // Between its first attempt and the commit.
    desk.ask(Post, "kv/a", r#"{"x":"z"}"#).expect(204);
    policy("\"deny\"");
    desk.finish(pending, &put).expect(403);
    let text = std::fs::read_to_string(&file).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["request"]["path"]), (&json!("response"), &json!("kv/a")), "{last}");
    let verdict = &last["auth"]["policy_results"];
    assert_eq!(verdict["allowed"], false, "{last}");
    assert!(verdict["granting_policies"].is_null(), "{last}");
    assert_eq!(last["request"]["operation"], "update", "{last}");
}

/// Who watches logs asks who logged in, from where, and what was handed out.
#[test]
fn a_line_says_who_logged_in_and_what_was_handed_out() {
    let (desk, folder) = (Desk::new(21), Scratch::new());
    let file = folder.path().join("audit.log");
    let options = json!({"type": "file", "options": {"file_path": file.display().to_string()}});
    desk.ask(Post, "sys/audit/file", &options.to_string()).expect(204);
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let last = || lines().pop().unwrap();
    assert_eq!(lines()[0]["auth"]["token_type"], "default", "{}", lines()[0]);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    assert_eq!(last()["auth"]["policy_results"]["granting_policies"][0]["name"], "root");
    desk.ask(Post, "auth/userpass/users/ann", r#"{"password":"pw","token_policies":"p"}"#).expect(204);
    let login = |header: Option<u64>| {
        let mut asked = request("", Post, "auth/userpass/login/ANN", r#"{"password":"pw"}"#);
        asked.wrap_ttl = header.map(std::time::Duration::from_secs);
        desk.send(&asked).expect(200)
    };
    login(None);
    let line = last();
    assert_eq!(line["request"]["path"], "auth/userpass/login/ANN", "as it was asked for");
    for auth in [&line["auth"], &line["response"]["auth"]] {
        assert_eq!(auth["metadata"]["username"], "ann", "{line}");
        assert_eq!(auth["display_name"], "userpass-ann");
        assert!(auth["client_token"].as_str().unwrap().starts_with("hmac-sha256:"));
    }
    let wrapped = login(Some(60));
    let line = last();
    assert_eq!(line["auth"]["metadata"]["username"], "ann", "{line}");
    assert!(line["response"]["auth"].is_null() && line["response"]["wrap_info"].is_object());
    let wrapping = wrapped.json["wrap_info"]["token"].as_str().unwrap().to_owned();
    desk.ask_as(&wrapping, Post, "sys/wrapping/unwrap", "").expect(200);
    let line = last();
    assert_eq!(line["response"]["auth"]["metadata"]["username"], "ann", "{line}");
    assert_eq!(line["auth"]["display_name"], "userpass-ann", "who wrapped it");
    assert_eq!(line["auth"]["remaining_uses"], 1, "as many as there were");
    desk.ask_as("", Post, "auth/userpass/login/ann", r#"{"password":"no"}"#).expect(400);
    let line = last();
    assert_eq!(line["auth"], json!({"token_type": "default"}), "{line}");
    assert!(line["response"]["data"]["error"].as_str().unwrap().starts_with("hmac-sha256:"));
    let child =
        desk.ask(Post, "auth/token/create", r#"{"policies":["b","a"],"num_uses":4,"meta":{"k":"v"}}"#);
    let line = last();
    assert_eq!([&line["request"]["mount_class"], &line["response"]["mount_class"]], ["auth", "auth"]);
    assert_eq!(
        (&line["response"]["auth"]["num_uses"], &line["response"]["auth"]["metadata"]["k"]),
        (&json!(4), &json!("v"))
    );
    desk.ask_as(&child.expect(200).token(), Get, "auth/token/lookup-self", "").expect(200);
    let line = last();
    assert_eq!(line["auth"]["remaining_uses"], 4, "{line}");
    // What other counters make of the policies a, b and default in the root namespace.
    assert_eq!(line["request"]["client_id"], CLIENT);
    assert!(line["request"]["mount_running_version"].as_str().unwrap().starts_with('v'));
    desk.ask(Get, "auth/userpass/users/none", "").expect(404);
    assert!(last()["error"].is_null(), "{}", last());
    desk.ask(Post, "sys/namespaces/team", "").expect(200);
    desk.ask(Post, "team/sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    let line = last();
    assert_eq!(
        (&line["request"]["mount_point"], &line["request"]["mount_type"]),
        (&json!("team/sys/"), &json!("ns_system"))
    );
}
