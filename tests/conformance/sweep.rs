//! Every parameter that clients send, with values of every wrong kind, to both servers: what bao refuses is refused here too, as the
//! caller's mistake and never as a fault of ours, and nothing of it is stored.

use crate::run::Side;
use crate::script::{Start, parse};
use serde_json::{Value, json};
use tests::binary::Binary;

/// What hardly any parameter takes.
fn wrong() -> Vec<Value> {
    vec![
        json!({"a": {"b": []}}),
        json!([[1]]),
        json!(1.5),
        json!(-1),
        serde_json::from_str("1000000000000000000000000000000").unwrap(),
        json!("\u{0}\u{202e}"),
        json!("a".repeat(5000)),
    ]
}

/// What people read: what nobody can see is refused in it, though OpenBao takes some of that.
const SEEN: [&str; 10] = [
    "description",
    "display_name",
    "policies",
    "token_policies",
    "allowed_policies",
    "allowed_policies_glob",
    "disallowed_policies",
    "disallowed_policies_glob",
    "allowed_entity_aliases",
    "to",
];

/// A path with a body that it takes.
struct Row {
    path: String,
    body: Value,
    parameters: Vec<String>,
}

fn rows() -> Vec<Row> {
    let lines = include_str!("sweep.tsv").lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let parts: Vec<&str> = line.split('\t').collect();
        Row {
            path: parts[0].to_owned(),
            body: serde_json::from_str(parts[1]).unwrap(),
            parameters: parts[2].split(' ').map(str::to_owned).collect(),
        }
    };
    lines.map(row).collect()
}

/// Both servers, with what the rows speak of.
fn both() -> (Side, Side) {
    let (start, steps) = parse(include_str!("sweep.req"));
    assert_eq!(start, Start::Dev);
    let mut sides = (Side::start(&Binary::bao(), start), Side::start(&Binary::sealkeep(), start));
    for step in &steps {
        for side in [&mut sides.0, &mut sides.1] {
            let reply = side.take(step);
            assert!(reply.status < 300, "sweep.req:{} {reply}", step.line);
        }
    }
    sides
}

/// Asks the paths below one root for everything.
fn check(root: &str) {
    let (oracle, subject) = both();
    let (mut asked, mut report) = (0_usize, Vec::new());
    for Row { path, body, parameters } in rows().iter().filter(|row| row.path.starts_with(root)) {
        for parameter in parameters {
            for value in wrong() {
                let fresh = format!("sweep{asked}");
                asked += 1;
                let mut body = body.clone();
                body[parameter] = value.clone();
                let body = body.to_string().replace('@', &fresh);
                let path = path.replace('@', &fresh);
                // OpenBao breaks off where some value brings down what it does with the request.
                let expected = oracle.try_ask("POST", &path, Some(&body)).ok();
                let found = subject.ask("POST", &path, Some(&body));
                let unseen = value.as_str().is_some_and(|text| text.contains('\0'));
                let refused = expected.as_ref().is_none_or(|reply| reply.status >= 400)
                    || unseen && SEEN.contains(&parameter.as_str());
                let expected = expected.map_or("broke off".to_owned(), |reply| reply.to_string());
                let shown: String = value.to_string().chars().take(24).collect();
                let mut say = |what: &str| {
                    report.push(format!(
                        "{path} {parameter}={shown}: {what}\n    bao {expected}\n    sealkeep {found}"
                    ));
                };
                match found.status {
                    500.. => say("a fault of ours"),
                    ..300 if refused => say("taken"),
                    400.. if path.ends_with(&fresh) && is_there(&subject, &path) => {
                        say("stored all the same")
                    }
                    _ => {}
                }
            }
        }
    }
    println!("{root}: {asked} requests compared");
    assert!(asked > 0 && report.is_empty(), "{} of {asked}:\n{}", report.len(), report.join("\n"));
}

fn is_there(side: &Side, path: &str) -> bool {
    side.ask("GET", path, None).status == 200
}

/// What OpenBao stores under a name of any length is refused, and the refusal says which name it is.
#[test]
fn names_have_an_end() {
    let (_, subject) = both();
    let name = "n".repeat(3000);
    let mut report = Vec::new();
    for Row { path, body, .. } in rows().iter().filter(|row| row.path.contains('@')) {
        // What secrets are called is theirs.
        if path.starts_with("kv2/") {
            continue;
        }
        let path = path.replace('@', &name);
        let reply = subject.ask("POST", &path, Some(&body.to_string().replace('@', "n")));
        if reply.status != 400
            || !reply.text().contains("onger than 512 bytes") && !path.contains("namespaces/")
        {
            report.push(format!("{path}: {reply}"));
        }
        if is_there(&subject, &path) {
            report.push(format!("{path}: stored"));
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}

#[test]
fn parameters_of_logins() {
    check("auth/");
}

#[test]
fn parameters_of_identity() {
    check("identity/");
}

#[test]
fn parameters_of_the_server() {
    check("sys/");
}

#[test]
fn parameters_of_transit() {
    check("transit/");
}

#[test]
fn parameters_of_ssh_and_totp() {
    check("ssh/");
    check("totp/");
}

#[test]
fn parameters_of_secrets() {
    check("kv2/");
}
