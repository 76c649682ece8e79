//! Keys of identity tokens turn by themselves, and codes are good once and not for long.

use std::collections::BTreeSet;
use std::time::Duration;

use kit::Verb::{Get, Post};
use serde_json::{Value, json};
use tests::desk::Desk;

const HOUR: Duration = Duration::from_secs(3600);

/// A desk, someone who is logged in, and what identifies a client.
struct Stage {
    desk: Desk,
    token: String,
    client: Value,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let desk = Desk::new(seed);
        let post = |path: &str, body: Value| desk.ask(Post, path, &body.to_string());
        post("sys/auth/userpass", json!({"type": "userpass"})).expect(204);
        let policy = r#"path "identity/oidc/*" { capabilities = ["read", "update"] }"#;
        post("sys/policies/acl/oidc", json!({ "policy": policy })).expect(204);
        post("auth/userpass/users/ann", json!({"password": "pw", "token_policies": "oidc"})).expect(204);
        let token =
            desk.ask_as("", Post, "auth/userpass/login/ann", r#"{"password":"pw"}"#).expect(200).token();
        let key = json!({"algorithm": "ES256", "rotation_period": "1h", "verification_ttl": "2h", "allowed_client_ids": "*"});
        post("identity/oidc/key/k", key).expect(204);
        post("identity/oidc/role/r", json!({"key": "k", "ttl": "1h"})).expect(204);
        let client = json!({"redirect_uris": "https://app/cb", "assignments": "allow_all", "key": "k", "id_token_ttl": "1h"});
        post("identity/oidc/client/app", client).expect(204);
        let client = desk.ask(Get, "identity/oidc/client/app", "").expect(200).json["data"].take();
        Self { desk, token, client }
    }

    /// The id of the key that signs now.
    fn signing(&self) -> String {
        let said = self.desk.ask_as(&self.token, Get, "identity/oidc/token/r", "").expect(200);
        let token = said.json["data"]["token"].as_str().unwrap().to_owned();
        let active = self.introspect(&token);
        assert_eq!(active, json!({"active": true}));
        token
    }

    fn introspect(&self, token: &str) -> Value {
        let body = json!({ "token": token }).to_string();
        self.desk.ask(Post, "identity/oidc/introspect", &body).expect(200).json
    }

    fn published(&self) -> BTreeSet<String> {
        let said = self.desk.ask_as("", Get, "identity/oidc/.well-known/keys", "").expect(200);
        let keys = said.json["keys"].as_array().unwrap();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    fn code(&self, more: &str) -> String {
        let id = self.client["client_id"].as_str().unwrap();
        let path = format!(
            "identity/oidc/provider/default/authorize?client_id={id}&redirect_uri=https://app/cb&scope=openid&response_type=code{more}"
        );
        let said = self.desk.ask_as(&self.token, Get, &path, "").expect(200);
        said.json["code"].as_str().unwrap().to_owned()
    }

    fn exchange(&self, code: &str, verifier: &str) -> (u16, Value) {
        let body = json!({
            "client_id": self.client["client_id"], "client_secret": self.client["client_secret"], "code": code,
            "grant_type": "authorization_code", "redirect_uri": "https://app/cb", "code_verifier": verifier,
        });
        let said = self.desk.ask_as("", Post, "identity/oidc/provider/default/token", &body.to_string());
        (said.status, said.json)
    }
}

#[test]
fn keys_turn_by_themselves_and_old_signatures_count_for_a_while() {
    let stage = Stage::new(50);
    let first = stage.signing();
    let before = stage.published();
    assert_eq!(before.len(), 2);
    stage.desk.wait(HOUR);
    stage.desk.tick();
    let second = stage.signing();
    let head = |token: &str| token.split('.').next().unwrap().to_owned();
    assert_ne!(head(&first), head(&second));
    let after = stage.published();
    assert_eq!(after.len(), 3);
    assert!(after.is_superset(&before), "the next key is published before it signs");
    assert_eq!(stage.introspect(&first)["active"], json!(true));
    // Two hours after the turn the first key is nobody's.
    stage.desk.wait(2 * HOUR);
    stage.desk.tick();
    let late = stage.published();
    assert_eq!(late.intersection(&before).count(), 1, "{before:?} {late:?}");
    assert_eq!(stage.introspect(&first)["active"], json!(false));
    assert_eq!(late.len(), 3);
}

#[test]
fn a_code_is_good_once_and_for_five_minutes() {
    let stage = Stage::new(51);
    let code = stage.code("");
    let (status, said) = stage.exchange(&code, "");
    assert_eq!((status, &said["token_type"]), (200, &json!("Bearer")), "{said}");
    let access = said["access_token"].as_str().unwrap();
    stage.desk.ask_as(access, Get, "auth/token/lookup-self", "").expect(403);
    stage.desk.ask_as(access, Get, "identity/oidc/token/r", "").expect(403);
    assert_eq!(
        stage.exchange(&code, ""),
        (
            400,
            json!({"error": "invalid_grant", "error_description": "authorization grant is invalid or expired"})
        )
    );
    let code = stage.code("");
    stage.desk.wait(Duration::from_secs(301));
    assert_eq!(stage.exchange(&code, "").0, 400);
    stage.desk.tick();
    assert_eq!(stage.exchange(&code, "").0, 400);
}

#[test]
fn a_wrong_answer_to_the_challenge_spends_the_code() {
    let stage = Stage::new(52);
    let challenge = "x".repeat(43);
    let code = stage.code(&format!("&code_challenge={challenge}"));
    assert_eq!(
        stage.exchange(&code, "wrong").1["error_description"],
        "invalid code_verifier for token exchange"
    );
    assert_eq!(stage.exchange(&code, &challenge).1["error"], "invalid_grant");
    let code = stage.code(&format!("&code_challenge={challenge}"));
    assert_eq!(stage.exchange(&code, &challenge).0, 200);
}

#[test]
fn who_keeps_no_secret_gets_no_tokens_for_itself() {
    let stage = Stage::new(53);
    let put = |name: &str, body: Value| {
        stage.desk.ask(Post, &format!("identity/oidc/client/{name}"), &body.to_string())
    };
    let base = json!({"redirect_uris": "https://app/cb", "assignments": "allow_all", "key": "k", "id_token_ttl": "1h"});
    let with = |more: Value| {
        let mut body = base.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let refusal = "client_credentials=true is only allowed for client_type=confidential";
    let said = put("open", with(json!({"client_type": "public", "client_credentials": true}))).expect(400);
    assert_eq!(said.error(), refusal);
    stage.desk.ask(Get, "identity/oidc/client/open", "").expect(404);
    put("open", with(json!({"client_type": "public"}))).expect(204);
    assert_eq!(put("open", json!({"client_credentials": true})).expect(400).error(), refusal);
    let id =
        stage.desk.ask(Get, "identity/oidc/client/open", "").expect(200).json["data"]["client_id"].take();
    let ask = |id: &Value, secret: &Value| {
        let body = json!({"client_id": id, "client_secret": secret, "grant_type": "client_credentials", "scope": "openid"});
        stage.desk.ask_as("", Post, "identity/oidc/provider/default/token", &body.to_string())
    };
    assert_eq!(ask(&id, &json!("")).expect(400).json["error"], "invalid_grant");
    put("kept", with(json!({"client_credentials": true}))).expect(204);
    let kept = stage.desk.ask(Get, "identity/oidc/client/kept", "").expect(200).json["data"].take();
    ask(&kept["client_id"], &json!("wrong")).expect(401);
    ask(&kept["client_id"], &kept["client_secret"]).expect(200);
}
