//! No route can forget its door: the list of routes is the list of tests. And the document of all routes is kept.

use kernel::openapi;
use kit::{Kind, Listed, Verb};
use serde_json::{Value, json};
use tests::binary::{setting, source_root};
use tests::desk::{Desk, Everything};

/// What the openapi document says it is the version of.
const VERSION: &str = "2.7.2";

/// A path that a pattern takes.
fn example(pattern: &str) -> String {
    let pieces = pattern.split('/').map(|piece| if piece.starts_with('{') { "x" } else { piece });
    pieces.collect::<Vec<_>>().join("/")
}

/// Every engine and method that can be mounted, where the tests mount it, and all that it can be asked.
fn everything() -> Vec<(String, Vec<Listed>)> {
    let mut all = Vec::new();
    for (kind, _) in engines::KINDS {
        all.push((format!("{kind}/"), engines::open(kind, &Value::Null).unwrap().catalog()));
    }
    for (kind, _) in auth::KINDS {
        let (engine, method) = auth::open(kind, &Value::Null).unwrap();
        let mut listed = engine.catalog();
        listed.extend(method.logins());
        all.push((format!("auth/{kind}/"), listed));
    }
    all
}

#[test]
fn every_route_wants_a_token_and_a_policy() {
    let desk = Desk::new(20);
    let kinds = engines::KINDS.iter().map(|(kind, _)| ("mounts", kind));
    for (class, kind) in kinds.chain(auth::KINDS.iter().map(|(kind, _)| ("auth", kind))) {
        let body = json!({ "type": kind }).to_string();
        desk.ask(Verb::Post, &format!("sys/{class}/{kind}"), &body).expect(204);
    }
    let body = r#"{"policies":["nothing"],"no_default_policy":true}"#;
    let nobody = desk.ask(Verb::Post, "auth/token/create", body).expect(200).token();
    let mut doors = 0;
    for (mount, listed) in everything() {
        for listed in listed {
            let Some(verb) = listed.route.verb else { continue };
            if listed.route.open || listed.kind == Kind::Login {
                continue;
            }
            let path = format!("{mount}{}", example(listed.route.pattern));
            for token in ["", "s.stranger", nobody.as_str()] {
                let said = desk.ask_as(token, verb, &path, "");
                assert_eq!(said.status, 403, "{verb:?} {path} with {token:?}: {said:?}");
            }
            doors += 1;
        }
    }
    assert!(doors > 260, "only {doors} doors were tried");
}

#[test]
fn every_route_is_documented() {
    for (mount, listed) in everything() {
        for listed in listed {
            let about = listed.fields.get("description").and_then(Value::as_str).unwrap_or_default();
            assert!(
                !about.is_empty(),
                "{mount}{} {:?} does not say what it is for",
                listed.route.pattern,
                listed.route.verb
            );
        }
    }
}

#[test]
fn the_openapi_document_is_fresh() {
    let file = source_root().join("docs/openapi.json");
    let mut fresh = serde_json::to_string_pretty(&openapi(&Everything, VERSION)).unwrap();
    fresh.push('\n');
    if setting("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == fresh,
        "docs/openapi.json is stale: run this test with UPDATE_GOLDEN=1 and look at the change"
    );
}
