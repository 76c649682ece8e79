//! What holds across namespaces: a second factor that one wants is owed beneath it, and what is asked about a token is
//! judged where that belongs.

use kernel::Request;
use kit::Verb;
use kit::Verb::{Delete, Get, List, Post};
use otp::{Algorithm, Digits};
use serde_json::{Value, json};
use tests::desk::{Desk, Said, request};

const ALL: &str = r#"{"policy":"path \"*\" { capabilities = [\"create\",\"read\",\"update\",\"delete\",\"list\",\"sudo\"] }"}"#;

fn within(desk: &Desk, namespace: &str, token: &str, verb: Verb, path: &str, body: &str) -> Said {
    desk.send(&Request { namespace: namespace.to_owned(), ..request(token, verb, path, body) })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Makes a namespace with people who log in with a password, of whom bob is one.
fn people(desk: &Desk, parent: &str, name: &str) {
    within(desk, parent, &desk.root, Post, &format!("sys/namespaces/{name}"), "").expect(200);
    let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
    within(desk, &path, &desk.root, Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    within(desk, &path, &desk.root, Post, "auth/userpass/users/bob", r#"{"password":"pw"}"#).expect(204);
}

fn log_in(desk: &Desk, namespace: &str) -> Said {
    within(desk, namespace, "", Post, "auth/userpass/login/bob", r#"{"password":"pw"}"#).expect(200)
}

/// A method of a namespace, by its id.
fn method(desk: &Desk, namespace: &str, name: &str) -> String {
    let body = json!({"issuer": "Here", "method_name": name}).to_string();
    let said = within(desk, namespace, &desk.root, Post, "identity/mfa/method/totp", &body).expect(200);
    text(&said.json["data"]["method_id"])
}

fn enforce(desk: &Desk, namespace: &str, method: &str) -> Said {
    let body = json!({"mfa_method_ids": [method], "auth_method_types": ["userpass"]}).to_string();
    within(desk, namespace, &desk.root, Post, "identity/mfa/login-enforcement/e", &body)
}

/// Enrols an entity of a namespace, and gives the secret of its device.
fn enrol(desk: &Desk, namespace: &str, method: &str, entity: &str) -> kit::Secret<String> {
    let body = json!({"method_id": method, "entity_id": entity}).to_string();
    let path = "identity/mfa/method/totp/admin-generate";
    let url = text(&within(desk, namespace, &desk.root, Post, path, &body).expect(200).json["data"]["url"]);
    kit::Secret::new(url.split("secret=").nth(1).unwrap().split('&').next().unwrap().to_owned())
}

fn code(desk: &Desk, secret: &kit::Secret<String>) -> String {
    let digits = Digits::try_from(6).unwrap();
    otp::code(secret, Algorithm::Sha1, digits, desk.seconds() / 30).unwrap().to_string()
}

fn validate(desk: &Desk, namespace: &str, login: &Said, payload: &Value) -> Said {
    let id = &login.json["auth"]["mfa_requirement"]["mfa_request_id"];
    let body = json!({"mfa_request_id": id, "mfa_payload": payload}).to_string();
    within(desk, namespace, "", Post, "sys/mfa/validate", &body)
}

#[test]
fn a_second_factor_that_is_wanted_above_is_owed_beneath() {
    let desk = Desk::new(400);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    people(&desk, "", "team");
    people(&desk, "team", "sub");
    let phone = method(&desk, "", "phone");
    // They have come before, so the server remembers that they owed nothing.
    let entities = ["team", "team/sub"].map(|namespace| {
        let said = log_in(&desk, namespace);
        assert!(!said.token().is_empty());
        text(&said.json["auth"]["entity_id"])
    });
    enforce(&desk, "", &phone).expect(204);
    for (namespace, entity) in ["team", "team/sub"].iter().zip(&entities) {
        let said = log_in(&desk, namespace);
        assert_eq!(said.token(), "", "{said:?}");
        let wanted = &said.json["auth"]["mfa_requirement"]["mfa_constraints"]["e"]["any"][0];
        assert_eq!((&wanted["id"], &wanted["name"]), (&json!(phone), &json!("phone")));
        validate(&desk, namespace, &said, &json!({"phone": ["000000"]})).expect(403);
        // Devices are enrolled where the people are.
        let body = json!({"method_id": phone, "entity_id": entity}).to_string();
        let path = "identity/mfa/method/totp/admin-generate";
        assert_eq!(desk.ask(Post, path, &body).expect(400).error(), "invalid entity ID");
        let secret = enrol(&desk, namespace, &phone, entity);
        let code = code(&desk, &secret);
        let said = validate(&desk, namespace, &said, &json!({ phone.as_str(): [code] })).expect(200);
        within(&desk, namespace, &said.token(), Get, "auth/token/lookup-self", "").expect(200);
        // A code counts once, in one step too.
        let mut again = request("", Post, "auth/userpass/login/bob", r#"{"password":"pw"}"#);
        again.namespace = (*namespace).to_owned();
        again.headers.push(("x-vault-mfa".to_owned(), format!("phone:{code}")));
        assert!(desk.send(&again).expect(403).error().contains("code already used"));
    }
    desk.ask(Delete, "identity/mfa/login-enforcement/e", "").expect(204);
    assert!(!log_in(&desk, "team/sub").token().is_empty());
}

#[test]
fn a_login_is_finished_where_it_began() {
    let desk = Desk::new(404);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    people(&desk, "", "team");
    let entity = text(&log_in(&desk, "team").json["auth"]["entity_id"]);
    let phone = method(&desk, "", "phone");
    enforce(&desk, "", &phone).expect(204);
    let secret = enrol(&desk, "team", &phone, &entity);
    let (said, code) = (log_in(&desk, "team"), code(&desk, &secret));
    let refused = validate(&desk, "", &said, &json!({ "phone": [code] })).expect(400);
    assert_eq!(refused.error(), "original request was issued in a different namespace");
    validate(&desk, "team", &said, &json!({ "phone": [code] })).expect(200);
}

#[test]
fn two_that_are_called_alike_are_both_owed() {
    let desk = Desk::new(401);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    people(&desk, "", "team");
    let entity = text(&log_in(&desk, "team").json["auth"]["entity_id"]);
    let (above, own) = (method(&desk, "", "above"), method(&desk, "team", "own"));
    enforce(&desk, "", &above).expect(204);
    enforce(&desk, "team", &own).expect(204);
    let said = log_in(&desk, "team");
    let wanted = &said.json["auth"]["mfa_requirement"]["mfa_constraints"];
    assert_eq!(
        (&wanted["e"]["any"][0]["id"], &wanted["team/e"]["any"][0]["id"]),
        (&json!(above), &json!(own))
    );
    let secrets = [&above, &own].map(|method| enrol(&desk, "team", method, &entity));
    let [first, second] = secrets.each_ref().map(|secret| code(&desk, secret));
    for one in [json!({ above.as_str(): [first] }), json!({ own.as_str(): [second] })] {
        validate(&desk, "team", &said, &one).expect(403);
    }
    let both = json!({ above.as_str(): [first], own.as_str(): [second] });
    validate(&desk, "team", &said, &both).expect(200).token();
}

#[test]
fn a_method_is_used_beneath_and_changed_where_it_stands() {
    let desk = Desk::new(402);
    people(&desk, "", "team");
    people(&desk, "", "other");
    let (above, own) = (method(&desk, "", "phone"), method(&desk, "team", "phone"));
    let ask = |namespace: &str, verb, path: &str, body: &str| {
        within(&desk, namespace, &desk.root, verb, path, body)
    };
    for path in [format!("identity/mfa/method/{above}"), format!("identity/mfa/method/totp/{above}")] {
        let said = ask("team", Get, &path, "").expect(200);
        assert_eq!(said.json["data"]["namespace_id"], "root");
    }
    let listed = ask("team", List, "identity/mfa/method", "").expect(200);
    let keys = listed.json["data"]["keys"].as_array().unwrap().clone();
    assert!(keys.len() == 2 && keys.contains(&json!(above)) && keys.contains(&json!(own)), "{listed:?}");
    assert_eq!(listed.json["data"]["key_info"][&own]["namespace_path"], "team/");
    let listed = ask("", List, "identity/mfa/method/totp", "").expect(200);
    assert_eq!(listed.json["data"]["keys"], json!([above]));
    // Not by those beneath, and not under its own id either: what stands in its place there would count above.
    let theirs = format!("identity/mfa/method/totp/{above}");
    let said = ask("team", Post, &theirs, r#"{"issuer":"Team"}"#).expect(400);
    assert_eq!(said.error(), "request namespace does not match method namespace");
    ask("team", Delete, &theirs, "").expect(500);
    assert_eq!(ask("", Get, &theirs, "").expect(200).json["data"]["issuer"], "Here");
    // Nobody beside or above sees one of a namespace.
    for namespace in ["", "other"] {
        ask(namespace, Get, &format!("identity/mfa/method/{own}"), "").expect(404);
        enforce(&desk, namespace, &own).expect(400);
    }
    enforce(&desk, "team", &above).expect(204);
    assert!(ask("", Delete, &theirs, "").expect(500).error().contains("still used by an enforcement"));
    assert_eq!(log_in(&desk, "team").token(), "");
    assert!(!log_in(&desk, "other").token().is_empty());
    ask("team", Delete, "identity/mfa/login-enforcement/e", "").expect(204);
    ask("", Delete, &theirs, "").expect(204);
    ask("team", Get, &theirs, "").expect(404);
}

/// A token of a namespace, with its accessor.
fn token(desk: &Desk, namespace: &str, policy: &str) -> (String, String) {
    let body = json!({"policies": [policy], "ttl": "1h"}).to_string();
    let said = within(desk, namespace, &desk.root, Post, "auth/token/create", &body).expect(200);
    (said.token(), text(&said.json["auth"]["accessor"]))
}

const DEEDS: [&str; 4] = ["lookup", "renew", "revoke", "revoke-orphan"];

#[test]
fn nothing_is_done_to_tokens_of_a_namespace_that_ones_own_does_not_hold() {
    let desk = Desk::new(403);
    for (parent, name) in [("", "nsa"), ("", "nsb"), ("nsa", "deep")] {
        people(&desk, parent, name);
    }
    within(&desk, "nsa", &desk.root, Post, "sys/policies/acl/admin", ALL).expect(204);
    let (admin, _) = token(&desk, "nsa", "admin");
    let status = |by: &str, asked: &str, of: &str, deed: &str| {
        let (victim, _) = token(&desk, of, "default");
        let body = json!({ "token": victim }).to_string();
        let said = within(&desk, asked, by, Post, &format!("auth/token/{deed}"), &body);
        let lives = within(&desk, of, &victim, Get, "auth/token/lookup-self", "").status == 200;
        assert_eq!(lives, !(said.status == 204 && deed.starts_with("revoke")), "{deed} of {of}");
        said.status
    };
    let all = |by: &str, asked: &str, of: &str| DEEDS.map(|deed| status(by, asked, of, deed));
    assert_eq!(all(&admin, "nsa", "nsb"), [403, 403, 403, 403]);
    assert_eq!(all(&admin, "nsa/deep", "nsb"), [403, 403, 403, 403]);
    // An id of the root namespace does not say so.
    assert_eq!(all(&admin, "nsa", ""), [403, 400, 403, 403]);
    assert_eq!(all(&admin, "nsa", "nsa"), [200, 200, 204, 204]);
    assert_eq!(all(&admin, "nsa", "nsa/deep"), [200, 200, 204, 204]);
    assert_eq!(all(&admin, "nsa/deep", "nsa"), [200, 200, 204, 204]);
    assert_eq!(all(&desk.root, "", "nsa/deep"), [200, 200, 204, 204]);
    assert_eq!(all(&desk.root, "nsa", "nsb"), [200, 200, 204, 204]);
    // Whether there is such a token there is told to nobody either.
    let (other, accessor) = token(&desk, "nsb", "default");
    let suffix = other.rsplit('.').next().unwrap();
    let (_, own) = token(&desk, "nsa", "default");
    for deed in DEEDS {
        let body = json!({"token": format!("s.abcdefghijklmnopqrstuvwx.{suffix}")}).to_string();
        within(&desk, "nsa", &admin, Post, &format!("auth/token/{deed}"), &body).expect(403);
    }
    let batch = json!({"policies": ["default"], "type": "batch", "ttl": "1h"}).to_string();
    let batch = within(&desk, "nsb", &desk.root, Post, "auth/token/create", &batch).expect(200).token();
    for deed in DEEDS {
        let body = json!({ "token": batch }).to_string();
        within(&desk, "nsa", &admin, Post, &format!("auth/token/{deed}"), &body).expect(403);
    }
    for deed in ["lookup-accessor", "renew-accessor", "revoke-accessor"] {
        let path = format!("auth/token/{deed}");
        within(&desk, "nsa", &admin, Post, &path, &json!({ "accessor": accessor }).to_string()).expect(400);
        assert!(
            within(&desk, "nsa", &admin, Post, &path, &json!({ "accessor": own }).to_string()).status < 300
        );
    }
    within(&desk, "nsb", &other, Get, "auth/token/lookup-self", "").expect(200);
}

#[test]
fn what_is_asked_about_a_token_beneath_must_be_allowed_there() {
    let desk = Desk::new(404);
    people(&desk, "", "nsa");
    people(&desk, "nsa", "deep");
    let rules = |path: &str| {
        json!({"policy": format!("path \"{path}\" {{ capabilities = [\"update\"] }}")}).to_string()
    };
    within(&desk, "nsa", &desk.root, Post, "sys/policies/acl/here", &rules("auth/token/*")).expect(204);
    within(&desk, "nsa", &desk.root, Post, "sys/policies/acl/both", &rules("+/auth/token/revoke"))
        .expect(204);
    let body = r#"{"policies":["here","both"]}"#;
    let both = within(&desk, "nsa", &desk.root, Post, "auth/token/create", body).expect(200).token();
    let (here, _) = token(&desk, "nsa", "here");
    let (deep, _) = token(&desk, "nsa/deep", "default");
    let body = json!({ "token": deep }).to_string();
    let ask = |by: &str, deed: &str| within(&desk, "nsa", by, Post, &format!("auth/token/{deed}"), &body);
    ask(&here, "revoke").expect(403);
    ask(&both, "lookup").expect(403);
    ask(&both, "revoke").expect(204);
}

#[test]
fn a_locked_namespace_says_nothing_of_itself_to_an_invented_token() {
    let desk = Desk::new(405);
    people(&desk, "", "team");
    people(&desk, "team", "sub");
    let (known, _) = token(&desk, "team/sub", "default");
    let suffix = known.rsplit('.').next().unwrap().to_owned();
    desk.ask(Post, "sys/namespaces/api-lock/lock/team", "").expect(200);
    let invented = format!("s.x.{suffix}");
    let stranger = "s.x.abcdef";
    for path in
        ["auth/token/lookup-self", "auth/token/renew-self", "sys/wrapping/lookup", "sys/wrapping/unwrap"]
    {
        let verb = if path.ends_with("lookup-self") { Get } else { Post };
        let said = [&invented[..], stranger].map(|token| desk.ask_as(token, verb, path, "{}"));
        assert_eq!((said[0].status, &said[0].raw), (said[1].status, &said[1].raw), "{path}");
    }
    assert_eq!(
        desk.ask_as(&invented, Get, "auth/token/lookup-self", "").expect(403).error(),
        "permission denied"
    );
    // Who has one is told what is the matter.
    assert!(desk.ask_as(&known, Get, "auth/token/lookup-self", "").expect(503).error().contains("locked"));
}
