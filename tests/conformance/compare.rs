//! When two answers say the same: chance and time are taken out first, all else must be equal.

use crate::script::Kept;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use tests::http::Reply;

/// Two clocks may tick between two answers.
const TICKS_MAX: f64 = 4.0;
/// Numbers above it are dates in seconds.
const DATES_FROM: f64 = 1_600_000_000.0;
/// The two servers are asked one after the other: their dates are this many seconds apart at most.
const APART_MAX: f64 = 60.0;
/// The version of bao that Sealkeep behaves like, which it gives for its engines.
const LIKE: &str = "2.7.2";
/// Headers that clients act on.
const HEADERS: [&str; 9] = [
    "content-type",
    "cache-control",
    "location",
    "pragma",
    "www-authenticate",
    "retry-after",
    "strict-transport-security",
    "x-vault-namespace",
    "x-vault-inline-auth-failed",
];

/// An answer with what is needed to take chance out of it.
pub(crate) struct Seen<'a> {
    pub(crate) reply: &'a Reply,
    pub(crate) kept: &'a Kept,
    pub(crate) address: SocketAddr,
    pub(crate) version: &'a str,
}

/// One thing that two answers say differently.
pub(crate) struct Difference {
    /// `status`, `header NAME`, or a JSON pointer into the body.
    pub(crate) pointer: String,
    expected: String,
    found: String,
}

impl Difference {
    /// Whether we say what bao says, and then more.
    pub(crate) fn adds(&self) -> bool {
        let said = self.expected.strip_suffix('"').unwrap_or(&self.expected);
        self.found.starts_with(said)
    }

    /// Whether both refuse in the same words, bao as a fault of its own and we as one of the caller's.
    pub(crate) fn blames_the_caller(&self) -> bool {
        let said = self.expected.strip_prefix("500 ");
        said.is_some() && said == self.found.strip_prefix("400 ")
    }

    /// Whether both say, and begin alike, that the value of one and the same field is of the wrong kind.
    pub(crate) fn refuses_the_same_field(&self) -> bool {
        const WORDS: &str = "error converting input for field ";
        let beginning = |text: &str| {
            let (before, rest) = text.split_once(WORDS)?;
            rest.split_once(": ").map(|(field, _)| format!("{before}{field}"))
        };
        beginning(&self.found).is_some_and(|found| beginning(&self.expected) == Some(found))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: bao {} | sealkeep {}", self.pointer, self.expected, self.found)
    }
}

/// All that differs.
pub(crate) fn differences(expected: &Seen<'_>, found: &Seen<'_>) -> Vec<Difference> {
    let mut all = Vec::new();
    if expected.reply.status != found.reply.status {
        let show = |seen: &Seen<'_>| format!("{} {}", seen.reply.status, seen.plain(&seen.reply.text()));
        push(&mut all, "status", show(expected), show(found));
        return all;
    }
    for name in HEADERS {
        let value = |seen: &Seen<'_>| seen.plain(seen.reply.header(name).unwrap_or("-"));
        if value(expected) != value(found) {
            push(&mut all, &format!("header {name}"), value(expected), value(found));
        }
    }
    match (body(expected), body(found)) {
        (Value::String(one), Value::String(other)) if one != other => push(&mut all, "", one, other),
        (one, other) => compare("", &one, &other, &mut all),
    }
    all
}

fn push(all: &mut Vec<Difference>, pointer: &str, expected: String, found: String) {
    all.push(Difference { pointer: pointer.to_owned(), expected, found });
}

fn body(seen: &Seen<'_>) -> Value {
    match serde_json::from_slice::<Value>(&seen.reply.body) {
        Ok(json) => seen.plain_json(&json),
        Err(_) if std::str::from_utf8(&seen.reply.body).is_err() => Value::String("<bytes>".to_owned()),
        Err(_) => Value::String(seen.plain(&seen.reply.text())),
    }
}

fn compare(pointer: &str, expected: &Value, found: &Value, all: &mut Vec<Difference>) {
    match (expected, found) {
        (Value::Object(one), Value::Object(other)) => {
            for (key, value) in one {
                let pointer = format!("{pointer}/{key}");
                match other.get(key) {
                    Some(twin) => compare(&pointer, value, twin, all),
                    None => push(all, &pointer, value.to_string(), "has no such key".to_owned()),
                }
            }
            for (key, value) in other.iter().filter(|(key, _)| !one.contains_key(*key)) {
                push(all, &format!("{pointer}/{key}"), "has no such key".to_owned(), value.to_string());
            }
        }
        // What bao keeps in a map it lists in no order; ours is sorted, by what may have a name in its place here.
        (Value::Array(one), Value::Array(other))
            if pointer == "/data/keys"
                && sorted(one) == sorted(other)
                && (other.is_sorted_by_key(Value::to_string) || other.iter().any(is_named)) => {}
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (value, twin)) in one.iter().zip(other).enumerate() {
                compare(&format!("{pointer}/{index}"), value, twin, all);
            }
        }
        (Value::Number(one), Value::Number(other)) if ticked(one, other) => {}
        (Value::String(one), Value::String(other)) if one == other || said_ticked(one, other) => {}
        (one, other) if one == other => {}
        (one, other) => push(all, pointer, one.to_string(), other.to_string()),
    }
}

fn is_named(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains('<'))
}

fn sorted(list: &[Value]) -> Vec<Value> {
    let mut list = list.to_vec();
    list.sort_by_key(Value::to_string);
    list
}

fn ticked(one: &serde_json::Number, other: &serde_json::Number) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) if one > DATES_FROM => (one - other).abs() <= APART_MAX,
        // A time to live may have ticked; a count or a version is small and must be equal.
        (Some(one), Some(other)) => one > 20.0 && other > 20.0 && (one - other).abs() <= TICKS_MAX,
        _ => false,
    }
}

/// Sentences that are equal but for durations, which may have ticked: `767h59m59s` is `768h` a moment later.
fn said_ticked(one: &str, other: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).map(str::to_owned).collect()
    };
    let (one, other) = (words(one), words(other));
    let near = |one: &str, other: &str| match (seconds(one), seconds(other)) {
        (Some(one), Some(other)) => one > 20.0 && other > 20.0 && (one - other).abs() <= TICKS_MAX,
        _ => false,
    };
    one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| one == other || near(one, other))
}

/// The seconds of a duration as Go prints it, `1h0m5s`, with what ends the word after it.
fn seconds(word: &str) -> Option<f64> {
    let mut rest = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    let mut sum = None;
    while !rest.is_empty() {
        let unit = rest.find(['h', 'm', 's'])?;
        let (number, tail) = rest.split_at(unit);
        let factor = match tail.chars().next()? {
            'h' => 3600.0,
            'm' => 60.0,
            _ => 1.0,
        };
        sum = Some(sum.unwrap_or(0.0) + number.parse::<f64>().ok()? * factor);
        rest = tail.get(1..)?;
    }
    sum
}

impl fmt::Display for Seen<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.reply.status, body(self))
    }
}

impl Seen<'_> {
    fn plain_json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.plain(text)),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.plain_json(item)).collect()),
            Value::Object(fields) => {
                let mut plain = Map::new();
                for (key, value) in fields {
                    let mut key = self.plain(key);
                    while plain.contains_key(&key) {
                        key.push('+');
                    }
                    plain.insert(key, self.plain_json(value));
                }
                Value::Object(plain)
            }
            other => other.clone(),
        }
    }

    /// The text with a name in place of everything that chance or time chose.
    fn plain(&self, text: &str) -> String {
        let address = self.address.to_string();
        let cluster = format!("{}:{}", self.address.ip(), self.address.port() + 1);
        let mut text = text.replace(&address, "<address>").replace(&cluster, "<cluster address>");
        text = text.replace(self.version, "<version>").replace(LIKE, "<version>");
        // The id of a namespace is six characters of chance; others so short could stand in a word.
        let secret = |name: &str, value: &str| {
            (value.len() >= 8 || name.starts_with("ns_")) && !value.starts_with("-----BEGIN")
        };
        for (name, value) in self.kept.iter().filter(|(name, value)| secret(name, value)) {
            text = text.replace(value.as_str(), &format!("<{name}>"));
        }
        if let Some(label) = text.strip_prefix("-----BEGIN ").and_then(|rest| rest.split("-----").next()) {
            let what = if label == "CERTIFICATE" { words(&certificate(&text)) } else { String::new() };
            return format!("<{} x {label} {}>", text.matches("-----BEGIN ").count(), what.trim());
        }
        if let Some((version, body)) = text.strip_prefix("vault:v").and_then(|rest| rest.split_once(':'))
            && body.len() >= 20
        {
            return format!("<made by version {version} of a key>");
        }
        if let Some((kind, _)) = text.split_once(" AAAA").filter(|(kind, _)| !kind.contains(' ')) {
            let what = if kind.contains("-cert-") { words(&ask_ssh_keygen(&text)) } else { String::new() };
            return format!("<{kind} {}>", what.trim());
        }
        if text.len() >= 40 && is_base64(&text) {
            return "<base64>".to_owned();
        }
        words(&text)
    }
}

/// What a certificate says, without its numbers, keys, dates and signature. The same one comes in many answers, and
/// openssl is a process: it is asked once.
fn certificate(pem: &str) -> String {
    static ASKED: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let mut asked = ASKED.lock().expect("nobody panics while holding it");
    asked.entry(pem.to_owned()).or_insert_with(|| ask_openssl(pem)).clone()
}

fn ask_openssl(pem: &str) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-text", "-certopt", "no_serial,no_validity,no_sigdump"]);
    let mut openssl =
        openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("openssl is installed");
    openssl.stdin.take().expect("piped").write_all(pem.as_bytes()).expect("openssl reads");
    let text = openssl.wait_with_output().expect("openssl ends").stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    let said =
        |line: &&str| line.is_empty() || !line.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    let (head, extensions) = text.split_once("X509v3 extensions:").unwrap_or((&text, ""));
    let mut blocks: Vec<String> = Vec::new();
    for line in extensions.lines() {
        // What an extension says is further in than its name.
        match blocks.last_mut().filter(|_| line.starts_with("                ")) {
            Some(block) => {
                block.push('\n');
                block.push_str(line);
            }
            None => blocks.push(line.to_owned()),
        }
    }
    // Their order says nothing.
    blocks.sort();
    let lines = head.lines().chain(blocks.iter().flat_map(|block| block.lines()));
    lines.map(str::trim).filter(said).map(|line| format!("{}; ", names_sorted(line))).collect()
}

/// What an SSH certificate says, without its serial, keys and dates.
fn ask_ssh_keygen(line: &str) -> String {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-L", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut keygen = keygen.spawn().expect("ssh-keygen is installed");
    keygen.stdin.take().expect("piped").write_all(line.as_bytes()).expect("ssh-keygen reads");
    let text = keygen.wait_with_output().expect("ssh-keygen ends").stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    let chance = ["Public key:", "Signing CA:", "Serial:", "Valid:"];
    let said = |line: &&str| !chance.iter().any(|start| line.starts_with(start));
    text.lines().map(str::trim).filter(said).map(|line| format!("{line}; ")).collect()
}

/// The order of alternative names says nothing either.
fn names_sorted(line: &str) -> String {
    let mut names: Vec<&str> = line.split(", ").collect();
    if ["DNS:", "IP Address:", "URI:", "email:", "othername:"].iter().any(|kind| line.starts_with(kind)) {
        names.sort_unstable();
    }
    names.join(", ")
}

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let mixed = digits.bytes().any(|byte| byte.is_ascii_lowercase())
        && digits.bytes().any(|byte| byte.is_ascii_uppercase());
    mixed && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

fn words(text: &str) -> String {
    let mut plain = String::new();
    let mut word = String::new();
    for letter in text.chars().chain(['\0']) {
        if letter.is_ascii_alphanumeric() || "_.:-+".contains(letter) {
            word.push(letter);
            continue;
        }
        plain.push_str(&named(&word));
        word.clear();
        plain.push(letter);
    }
    plain.pop();
    plain
}

fn named(word: &str) -> String {
    let (body, tail) = match word.strip_suffix(['.', ':']) {
        Some(body) => (body, &word[body.len()..]),
        None => (word, ""),
    };
    let name = match (name_of(body), body.split_once('.')) {
        (Some(name), _) => name,
        (None, Some((first, rest))) => format!("{}.{}", named(first), named(rest)),
        (None, None) => body.to_owned(),
    };
    format!("{name}{tail}")
}

/// What kind of chance or time this word is, if it is any.
fn name_of(word: &str) -> Option<String> {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let long = word.len() >= 20;
    let name = if word.len() == 36 && word.split('-').map(str::len).eq([8, 4, 4, 4, 12]) {
        "<uuid>"
    } else if long && word.as_bytes()[4] == b'-' && word.as_bytes()[10] == b'T' {
        "<time>"
    } else if word.starts_with("hvo_secret_") {
        "<client secret>"
    } else if long && (word.starts_with("s.") || word.starts_with("b.")) {
        "<token>"
    } else if word.strip_prefix("hmac-sha256:").is_some_and(|digits| digits.len() == 64 && is_hex(digits)) {
        "<hmac>"
    } else if long
        && word.len() % 3 == 2
        && word.split([':', '-']).all(|pair| pair.len() == 2 && is_hex(pair))
    {
        "<serial>"
    } else if let Some((kind, _)) =
        word.rsplit_once(['_', '-']).filter(|(_, id)| matches!(id.len(), 8 | 64) && is_hex(id))
    {
        return Some(format!("{kind}_<id>"));
    } else if (14..=16).contains(&word.len())
        && is_hex(word)
        && word.bytes().any(|byte| byte.is_ascii_digit())
        // Of hexadecimal numbers so long, one in some thousands has digits alone.
        && !word.bytes().any(|byte| byte.is_ascii_uppercase())
    {
        "<number>"
    } else if word.len() >= 32 && is_hex(word.strip_prefix('h').unwrap_or(word)) {
        "<hex>"
    } else if word.len() >= 32 && word.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')) {
        "<base32>"
    } else if (24..=40).contains(&word.len()) && is_random(word) {
        "<random>"
    } else {
        return None;
    };
    Some(name.to_owned())
}

/// Letters and digits as chance mixes them, not as a person writes words.
fn is_random(word: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| word.as_bytes().iter().any(kind);
    word.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
}

#[track_caller]
#[cfg(test)]
fn check(text: &str, plain: &str) {
    assert_eq!(words(text), plain);
}

#[test]
fn chance_and_time_get_names_and_nothing_else_does() {
    check("id 7f3c2a10-1b2c-3d4e-5f60-718293a4b5c6.", "id <uuid>.");
    check("s.abcdefghijklmnopqrstuvwx and s.short", "<token> and s.short");
    check("2026-11-26T15:35:05.609Z", "<time>");
    check("kv_0a1b2c3d/data", "kv_<id>/data");
    check("12:ab:34:cd:56:ef:78:90", "<serial>");
    check("entity_76803e29.root kGYQUlkUccVDapvleNuFbMVr", "entity_<id>.root <random>");
    check("auth/approle/login", "auth/approle/login");
    check("1 error occurred:\n\t* permission denied\n\n", "1 error occurred:\n\t* permission denied\n\n");
}

#[test]
fn a_count_must_be_equal_and_a_time_to_live_may_tick() {
    let number = |text: &str| serde_json::from_str::<serde_json::Number>(text).unwrap();
    assert!(ticked(&number("3600"), &number("3599")) && ticked(&number("1795707308"), &number("1795707310")));
    assert!(!ticked(&number("1"), &number("2")) && !ticked(&number("3600"), &number("2764800")));
}

#[test]
fn a_duration_in_a_sentence_may_tick_and_nothing_else_may_differ() {
    let of = |max: &str| {
        format!("TTL of \"768h\" exceeded the effective max_ttl of \"{max}\"; TTL value is capped")
    };
    assert!(said_ticked(&of("767h59m59s"), &of("768h")) && said_ticked(&of("1h"), &of("59m58s")));
    assert!(!said_ticked(&of("767h59m59s"), &of("767h59m")) && !said_ticked(&of("5s"), &of("4s")));
    assert!(!said_ticked("the key hums", "the key sums") && !said_ticked("a b", "a"));
}
