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
