//! A login that owes a second factor has no token until it has shown one, and no code counts twice.

use std::time::Duration;

use kit::Secret;
use kit::Verb::{Delete, Get, Post};
use otp::{Algorithm, Digits};
use serde_json::{Value, json};
use storage::faulty::PowerCut;
use tests::desk::{Desk, Said, request};

struct Stage {
    desk: Desk,
    method: String,
    entity: String,
    secret: Secret<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// A server with ann, who logs in with a password and whose device is enrolled. Nothing is enforced yet.
fn stage(seed: u64) -> Stage {
    let desk = Desk::new(seed);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    desk.ask(Post, "auth/userpass/users/ann", r#"{"password":"pw"}"#).expect(204);
    let entity = text(&log_in(&desk, "").expect(200).json["auth"]["entity_id"]);
    let method = r#"{"issuer":"Here","method_name":"phone","max_validation_attempts":3}"#;
    let method =
        text(&desk.ask(Post, "identity/mfa/method/totp", method).expect(200).json["data"]["method_id"]);
    let body = json!({ "method_id": method, "entity_id": entity }).to_string();
    let enrolled = desk.ask(Post, "identity/mfa/method/totp/admin-generate", &body).expect(200);
    let url = text(&enrolled.json["data"]["url"]);
    let secret = url.split("secret=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    Stage { desk, method, entity, secret: Secret::new(secret) }
}

fn log_in(desk: &Desk, header: &str) -> Said {
    let mut login = request("", Post, "auth/userpass/login/ann", r#"{"password":"pw"}"#);
    if !header.is_empty() {
        login.headers.push(("x-vault-mfa".to_owned(), header.to_owned()));
    }
    desk.send(&login)
}

impl Stage {
    fn enforce(&self, whom: &Value) {
        let mut body = json!({ "mfa_method_ids": [self.method] });
        body.as_object_mut().unwrap().extend(whom.as_object().unwrap().clone());
        self.desk.ask(Post, "identity/mfa/login-enforcement/e", &body.to_string()).expect(204);
    }

    /// The code of this moment.
    fn code(&self) -> String {
        let digits = Digits::try_from(6).unwrap();
        let step = self.desk.seconds() / 30;
        otp::code(&self.secret, Algorithm::Sha1, digits, step).unwrap().to_string()
    }

    fn begin(&self) -> String {
        let said = log_in(&self.desk, "").expect(200);
        assert_eq!(said.json["auth"]["client_token"], "");
        text(&said.json["auth"]["mfa_requirement"]["mfa_request_id"])
    }

    fn show(&self, id: &str, code: &str) -> Said {
        let body = json!({ "mfa_request_id": id, "mfa_payload": { self.method.as_str(): [code] } });
        self.desk.ask_as("", Post, "sys/mfa/validate", &body.to_string())
    }
}

#[test]
fn a_login_in_two_steps() {
    let stage = stage(1);
    stage.enforce(&json!({ "auth_method_types": ["userpass"] }));
    let id = stage.begin();
    let wrong = stage.show(&id, "000000").expect(403);
    assert!(wrong.error().starts_with("failed to satisfy enforcement e. error: "), "{wrong:?}");
    let said = stage.show(&id, &stage.code()).expect(200);
    assert_eq!(said.json["auth"]["entity_id"], stage.entity.as_str());
    stage.desk.ask_as(&said.token(), Get, "auth/token/lookup-self", "").expect(200);
    assert_eq!(stage.show(&id, &stage.code()).expect(400).error(), "invalid request ID");
}

#[test]
fn a_request_that_brings_its_login_along_brings_its_code_too() {
    let stage = stage(10);
    stage.enforce(&json!({ "auth_method_types": ["userpass"] }));
    let ask = |code: &str| {
        let mut asked = request("", Get, "auth/token/lookup-self", "");
        let password = "eyJrZXkiOiJwYXNzd29yZCIsInZhbHVlIjoicHcifQ";
        let mut headers = vec![
            ("x-vault-inline-auth-path", "auth/userpass/login/ann".to_owned()),
            ("x-vault-inline-auth-parameter-1", password.to_owned()),
        ];
        if !code.is_empty() {
            headers.push(("x-vault-mfa", format!("{}:{code}", stage.method)));
        }
        asked.headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        stage.desk.send(&asked)
    };
    assert!(ask("").expect(400).error().contains("use the X-Vault-MFA header"));
    ask("000000").expect(403);
    let code = stage.code();
    assert_eq!(ask(&code).expect(200).json["data"]["entity_id"], stage.entity.as_str());
    ask(&code).expect(403);
}

#[test]
fn one_code_satisfies_all_who_want_one_of_its_method() {
    let stage = stage(9);
    stage.enforce(&json!({ "auth_method_types": ["userpass"] }));
    let other =
        json!({ "mfa_method_ids": [stage.method], "identity_entity_ids": [stage.entity] }).to_string();
    stage.desk.ask(Post, "identity/mfa/login-enforcement/other", &other).expect(204);
    let code = stage.code();
    let shown = |code: &str| log_in(&stage.desk, &format!("{}:{code}", stage.method));
    shown("000000").expect(403);
    let token = shown(&code).expect(200).token();
    stage.desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(200);
    // It is used up all the same.
    shown(&code).expect(403);
    stage.desk.wait(Duration::from_secs(120));
    let id = stage.begin();
    stage.show(&id, &stage.code()).expect(200);
    // A third one wants another method, which no code of this one is for.
    let phone = r#"{"issuer":"There","method_name":"other"}"#;
    let phone = stage.desk.ask(Post, "identity/mfa/method/totp", phone).expect(200);
    let third =
        json!({ "mfa_method_ids": [phone.json["data"]["method_id"]], "auth_method_types": ["userpass"] });
    stage.desk.ask(Post, "identity/mfa/login-enforcement/third", &third.to_string()).expect(204);
    stage.desk.wait(Duration::from_secs(120));
    shown(&stage.code()).expect(403);
}

#[test]
fn no_code_counts_twice_not_even_after_a_restart() {
    let mut stage = stage(2);
    stage.enforce(&json!({ "identity_entity_ids": [stage.entity] }));
    let code = stage.code();
    stage.show(&stage.begin(), &code).expect(200);
    let again = stage.show(&stage.begin(), &code).expect(403);
    assert!(again.error().contains("code already used"), "{again:?}");
    log_in(&stage.desk, &format!("phone:{code}")).expect(403);
    stage.desk = stage.desk.crash(PowerCut::Drop);
    stage.show(&stage.begin(), &code).expect(403);
    stage.desk.wait(Duration::from_secs(60));
    stage.show(&stage.begin(), &stage.code()).expect(200);
}

#[test]
fn a_login_in_one_step() {
    let stage = stage(3);
    stage.enforce(&json!({ "auth_method_types": ["userpass"] }));
    log_in(&stage.desk, &format!("phone:{}", stage.code())).expect(200).token();
    stage.desk.wait(Duration::from_secs(60));
    log_in(&stage.desk, &format!("{}:{}", stage.method, stage.code())).expect(200).token();
    log_in(&stage.desk, "phone").expect(403);
    log_in(&stage.desk, "other:123456").expect(403);
}

#[test]
fn other_spellings_of_a_code_are_wrong_and_all_tries_are_counted_together() {
    let stage = stage(4);
    stage.enforce(&json!({ "auth_method_types": ["userpass"] }));
    let code = stage.code();
    let id = stage.begin();
    stage.show(&id, &format!(" {code}")).expect(403);
    log_in(&stage.desk, &format!("phone:{code} ")).expect(403);
    stage.show(&id, &format!("{code}\t")).expect(403);
    // The fourth try in a period is refused, although the code is right, whichever way it comes.
    for said in [stage.show(&id, &code), log_in(&stage.desk, &format!("phone:{code}"))] {
        let said = said.expect(403);
        assert!(said.error().contains("maximum TOTP validation attempts"), "{said:?}");
    }
    stage.desk.wait(Duration::from_secs(60));
    stage.show(&stage.begin(), &stage.code()).expect(200);
}

#[test]
fn wrong_codes_lock_nobody_out_and_nothing_is_no_code() {
    let stage = stage(5);
    stage.enforce(&json!({ "auth_method_types": ["userpass"] }));
    let id = stage.begin();
    for _ in 0..9 {
        stage.show(&id, "").expect(403);
    }
    for _ in 0..3 {
        assert!(stage.show(&id, "000000").expect(403).error().contains("not supplied or incorrect"));
    }
    for _ in 0..5 {
        assert!(stage.show(&id, "000000").expect(403).error().contains("maximum TOTP validation attempts"));
        log_in(&stage.desk, "phone:000000").expect(403);
    }
    let id = stage.begin();
    stage.desk.wait(Duration::from_secs(60));
    stage.show(&id, &stage.code()).expect(200);
    let text = log_in(&stage.desk, "phone:").expect(400).error().to_owned();
    assert!(text.ends_with("missing method value"), "{text}");
}

#[test]
fn whom_an_enforcement_binds() {
    let stage = stage(6);
    let owes = || log_in(&stage.desk, "").expect(200).json["auth"]["mfa_requirement"].is_object();
    assert!(!owes());
    let group = json!({ "name": "ops", "member_entity_ids": [stage.entity] }).to_string();
    let group = text(&stage.desk.ask(Post, "identity/group", &group).expect(200).json["data"]["id"]);
    stage.enforce(&json!({ "identity_group_ids": [group] }));
    assert!(owes(), "it is in the group");
    stage.desk.ask(Delete, &format!("identity/group/id/{group}"), "").expect(204);
    assert!(!owes(), "the group is gone");
    let accessor = text(&stage.desk.ask(Get, "sys/auth/userpass", "").expect(200).json["data"]["accessor"]);
    stage.enforce(&json!({ "auth_method_accessors": [accessor] }));
    assert!(owes());
    stage.desk.ask(Delete, &format!("identity/mfa/method/totp/{}", stage.method), "").expect(500);
    stage.desk.ask(Delete, "identity/mfa/login-enforcement/e", "").expect(204);
    assert!(!owes());
}

#[test]
fn a_login_owes_what_is_enforced_when_it_is_finished() {
    let stage = stage(8);
    let everybody = json!({ "auth_method_types": ["userpass"] });
    stage.enforce(&everybody);
    let id = stage.begin();
    let other = r#"{"issuer":"Here","method_name":"tablet"}"#;
    let other = stage.desk.ask(Post, "identity/mfa/method/totp", other).expect(200);
    let body =
        json!({ "mfa_method_ids": [other.json["data"]["method_id"]], "auth_method_types": ["userpass"] });
    let second = "identity/mfa/login-enforcement/second";
    stage.desk.ask(Post, second, &body.to_string()).expect(204);
    let refused = stage.show(&id, &stage.code()).expect(403);
    assert!(refused.error().contains("failed to satisfy enforcement second"), "{refused:?}");
    stage.desk.ask(Delete, second, "").expect(204);
    // The code of the refused try was not used up.
    assert!(!stage.show(&id, &stage.code()).expect(200).token().is_empty());
}

#[test]
fn who_has_no_device_does_not_come_in() {
    let stage = stage(7);
    stage.enforce(&json!({ "auth_method_types": ["userpass"] }));
    let both = json!({ "method_id": stage.method, "entity_id": stage.entity }).to_string();
    stage.desk.ask(Post, "identity/mfa/method/totp/admin-destroy", &both).expect(204);
    stage.show(&stage.begin(), &stage.code()).expect(403);
    // And a login that waits too long is forgotten.
    let id = stage.begin();
    stage.desk.wait(Duration::from_secs(301));
    assert_eq!(stage.show(&id, &stage.code()).expect(400).error(), "invalid request ID");
}

/// Who was known twice keeps their device, and the codes it has shown stay used.
#[test]
fn a_merged_entity_keeps_its_device() {
    let stage = stage(8);
    stage.enforce(&json!({ "auth_method_types": ["userpass"] }));
    let made = |name: &str| {
        let body = json!({ "name": name }).to_string();
        text(&stage.desk.ask(Post, "identity/entity", &body).expect(200).json["data"]["id"])
    };
    let merge = |from: &str, to: &str, force: bool| {
        let body = json!({ "from_entity_ids": [from], "to_entity_id": to, "force": force }).to_string();
        stage.desk.ask(Post, "identity/entity/merge", &body)
    };
    let enrol = |entity: &str| {
        let both = json!({ "method_id": stage.method, "entity_id": entity }).to_string();
        stage.desk.ask(Post, "identity/mfa/method/totp/admin-generate", &both)
    };
    let code = stage.code();
    stage.show(&stage.begin(), &code).expect(200);
    let one = made("one");
    merge(&stage.entity, &one, false).expect(204);
    let said = stage.show(&stage.begin(), &code).expect(403);
    assert!(said.error().contains("code already used"), "{said:?}");
    stage.desk.wait(Duration::from_secs(60));
    let said = stage.show(&stage.begin(), &stage.code()).expect(200);
    assert_eq!(said.json["auth"]["entity_id"], json!(one));
    let warned = enrol(&one).expect(200).json["warnings"].to_string();
    assert!(warned.contains("Entity already has a secret for MFA method"), "{warned}");
    // Two devices for one method: somebody has to say that the other one goes.
    let two = made("two");
    enrol(&two).expect(200);
    let said = merge(&two, &one, false).expect(400);
    let text = format!("conflicting MFA config ID {:?} in entity ID {two:?}", stage.method);
    assert_eq!(said.error(), text);
    merge(&two, &one, true).expect(204);
    stage.desk.wait(Duration::from_secs(60));
    stage.show(&stage.begin(), &stage.code()).expect(200);
}

/// What became of the first try is not known to who was told that it failed: they try again.
#[test]
fn a_login_whose_token_could_not_be_stored_still_waits() {
    let stage = stage(6);
    stage.enforce(&json!({ "auth_method_types": ["userpass"] }));
    let (id, code) = (stage.begin(), stage.code());
    stage.desk.disk.fail_at(stage.desk.disk.changes());
    let said = stage.show(&id, &code);
    assert!(said.status >= 500, "{said:?}");
    let said = stage.show(&id, &code).expect(200);
    stage.desk.ask_as(&said.token(), Get, "auth/token/lookup-self", "").expect(200);
    assert_eq!(stage.show(&id, &code).expect(400).error(), "invalid request ID");
}
