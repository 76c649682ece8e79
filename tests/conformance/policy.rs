//! Generated policies and requests: both servers must decide alike.

use serde_json::{Value, json};
use std::fmt::Write;
use tests::binary::{Binary, setting};
use tests::dice::Dice;
use tests::http::{Client, Reply, Request};
use tests::server::Server;

/// Few letters, so that rules meet requests often.
const SEGMENTS: [&str; 4] = ["a", "b", "c", "ab"];
const MOUNTS: [&str; 2] = ["a", "b"];
const CAPABILITIES: [&str; 8] = ["create", "read", "update", "delete", "list", "scan", "patch", "sudo"];
const VERBS: [&str; 9] = ["GET", "GET", "POST", "PUT", "DELETE", "LIST", "LIST", "SCAN", "PATCH"];
const CALLERS: usize = 60;
const ASKED_PER_CALLER: usize = 40;
const DONE_PER_CALLER: usize = 30;

/// The same caller on both servers.
struct Caller {
    policies: Vec<String>,
    oracle: Client,
    subject: Client,
}

#[test]
fn generated_policies_decide_alike() {
    let seed = setting("POLICY_SEED").map_or(2026, |seed| seed.parse().expect("POLICY_SEED is a number"));
    let mut dice = Dice::new(seed);
    let oracle = Server::dev(&Binary::bao());
    let subject = Server::dev(&Binary::sealkeep());
    for root in [oracle.root(), subject.root()] {
        for mount in MOUNTS {
            root.post(&format!("sys/mounts/{mount}"), json!({"type": "kv"})).must(204);
        }
    }
    let mut differences = Vec::new();
    let (mut asked, mut granted) = (0, 0);
    for number in 0..CALLERS {
        let caller = caller(number, &mut dice, &oracle.root(), &subject.root());
        let mut found = capabilities(&caller, &mut dice);
        for _ in 0..DONE_PER_CALLER {
            let request = request(&mut dice);
            let (expected, answer) = (caller.oracle.send(&request), caller.subject.send(&request));
            asked += 1;
            granted += usize::from(expected.status != 403);
            if !alike(&expected, &answer) {
                found.push(format!("{request:?}\n  bao {expected}  sealkeep {answer}"));
            }
        }
        if !found.is_empty() {
            differences.push(format!("{}\nunder\n{}", found.join("\n"), caller.policies.join("\n")));
        }
    }
    println!("{} capabilities and {asked} requests compared, {granted} granted", CALLERS * ASKED_PER_CALLER);
    assert!(
        granted * 10 > asked && granted * 10 < asked * 9,
        "{granted} of {asked} granted: the dice prove little"
    );
    assert!(
        differences.is_empty(),
        "seed {seed}: {} callers differ\n{}",
        differences.len(),
        differences.join("\n\n")
    );
}

/// Whether two answers say the same: a refusal is a refusal, and what was let through must come to the same.
fn alike(expected: &Reply, found: &Reply) -> bool {
    let wrapped = |reply: &Reply| reply.json()["wrap_info"].is_object();
    if expected.status == 200 && found.status == 404 && found.json()["errors"] == json!([]) {
        // A list of nothing is not found. If bao has a warning to give with it, it answers, and wraps, the warning.
        let json = expected.json();
        return wrapped(expected) || (json["data"] == json!({}) && json["warnings"].is_array());
    }
    expected.status == found.status && wrapped(expected) == wrapped(found)
}

fn caller(number: usize, dice: &mut Dice, oracle: &Client, subject: &Client) -> Caller {
    let mut names = Vec::new();
    let mut policies = Vec::new();
    for part in 0..=dice.below(3) {
        let name = format!("p{number}-{part}");
        let text = policy(dice);
        for root in [oracle, subject] {
            root.post(&format!("sys/policies/acl/{name}"), json!({"policy": text})).must(204);
        }
        names.push(name);
        policies.push(text);
    }
    let token = |root: &Client| {
        let reply = root.post("auth/token/create", json!({"policies": names})).must(200);
        root.with(&reply.at("/auth/client_token"))
    };
    Caller { policies, oracle: token(oracle), subject: token(subject) }
}

fn capabilities(caller: &Caller, dice: &mut Dice) -> Vec<String> {
    let mut paths: Vec<String> = (0..ASKED_PER_CALLER).map(|_| path(dice)).collect();
    paths.sort();
    paths.dedup();
    let body = json!({"paths": paths});
    let ask = |client: &Client| client.post("sys/capabilities-self", body.clone()).must(200).json();
    let (expected, found) = (ask(&caller.oracle), ask(&caller.subject));
    let differs = |path: &&String| expected["data"][path.as_str()] != found["data"][path.as_str()];
    let show = |path: &String| {
        let (expected, found) = (&expected["data"][path.as_str()], &found["data"][path.as_str()]);
        format!("capabilities on {path}: bao {expected}, sealkeep {found}")
    };
    paths.iter().filter(differs).map(show).collect()
}

fn policy(dice: &mut Dice) -> String {
    let rules: Vec<(String, Vec<&str>)> = (0..=dice.below(6)).map(|_| (glob(dice), granted(dice))).collect();
    if dice.once_in(8) {
        let rules: serde_json::Map<String, Value> = rules
            .into_iter()
            .map(|(path, capabilities)| (path, json!({"capabilities": capabilities})))
            .collect();
        return json!({"path": rules}).to_string();
    }
    let mut text = String::new();
    for (path, capabilities) in rules {
        let limits = if dice.once_in(4) { limits(dice) } else { String::new() };
        writeln!(text, "path \"{path}\" {{ capabilities = {} {limits} }}", json!(capabilities))
            .expect("memory");
    }
    text
}

fn granted(dice: &mut Dice) -> Vec<&'static str> {
    if dice.once_in(7) {
        return vec!["deny"];
    }
    CAPABILITIES.into_iter().filter(|_| !dice.once_in(3)).collect()
}

fn limits(dice: &mut Dice) -> String {
    let all = [
        "allowed_parameters = { \"x\" = [\"1\", \"2*\"] }",
        "allowed_parameters = { \"x\" = [] \"*\" = [] }",
        "allowed_parameters = { \"*\" = [\"1\"] }",
        "denied_parameters = { \"x\" = [\"1\"] }",
        "denied_parameters = { \"*\" = [] }",
        "denied_parameters = { \"y\" = [] }",
        "required_parameters = [\"x\"]",
        "min_wrapping_ttl = \"10s\"",
        "max_wrapping_ttl = \"1m\"",
        "pagination_limit = 2",
        "required_parameters = [\"limit\"]",
        "expiration = \"2000-01-01T00:00:00Z\"",
        "expiration = \"2999-01-01T00:00:00Z\"",
    ];
    (*dice.pick(&all[..])).to_owned()
}

fn segment(dice: &mut Dice) -> &'static str {
    SEGMENTS[dice.below(SEGMENTS.len())]
}

/// A path as a rule may name it.
fn glob(dice: &mut Dice) -> String {
    let mut path = (*dice.pick(&MOUNTS)).to_owned();
    if dice.once_in(8) {
        path = "+".to_owned();
    }
    for _ in 0..dice.below(4) {
        path.push('/');
        path.push_str(if dice.once_in(4) { "+" } else { segment(dice) });
    }
    match dice.below(5) {
        0 => path.push('/'),
        1 => path.push_str("/*"),
        2 if !path.ends_with('+') => path.push('*'),
        _ => {}
    }
    path
}

/// A path as a request may name it.
fn path(dice: &mut Dice) -> String {
    let mut path = (*dice.pick(&MOUNTS)).to_owned();
    for _ in 0..=dice.below(4) {
        path.push('/');
        path.push_str(segment(dice));
    }
    if dice.once_in(5) {
        path.push('/');
    }
    path
}

fn request(dice: &mut Dice) -> Request {
    let verb = *dice.pick(&VERBS);
    let query = match dice.below(12) {
        0 => "?list=true",
        1 => "?scan=true",
        2 => "?limit=1",
        3 => "?limit=5",
        4 => "?limit=max",
        5 => "?x=1",
        _ => "",
    };
    let query = if verb == "GET" || verb == "LIST" || verb == "SCAN" { query } else { "" };
    let mut request = Request::new(verb, &format!("/v1/{}{query}", path(dice)));
    if matches!(verb, "POST" | "PUT" | "PATCH") {
        let bodies = [
            json!({"x": "1"}),
            json!({"x": "22"}),
            json!({"X": "3"}),
            json!({"y": "1"}),
            json!({"x": "1", "y": 1}),
            json!({"x": 1}),
            json!({"x": ["1", "2"]}),
            json!({"x": true}),
        ];
        request = request.json(dice.pick(&bodies[..]));
        if verb == "PATCH" {
            request = request.header("Content-Type", "application/merge-patch+json");
        }
    }
    match dice.below(10) {
        0 => request.header("X-Vault-Wrap-TTL", "5"),
        1 => request.header("X-Vault-Wrap-TTL", "30"),
        2 => request.header("X-Vault-Wrap-TTL", "120"),
        _ => request,
    }
}
