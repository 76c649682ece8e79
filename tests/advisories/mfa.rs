//! H. The second factor: one code, one use, and tries counted over both ways.

use serde_json::json;
use tests::http::Request;

use crate::stage::Stage;

#[test]
fn row_079_other_spellings_of_a_code_neither_pass_again_nor_escape_the_count() {
    let stage = Stage::dev();
    stage.root.post("sys/auth/userpass", json!({"type": "userpass"})).must(204);
    stage.root.post("auth/userpass/users/ann", json!({"password": "pw"})).must(204);
    let log_in = |header: &str| {
        let login = Request::new("POST", "/v1/auth/userpass/login/ann").body(r#"{"password":"pw"}"#);
        stage.root.send(&if header.is_empty() { login } else { login.header("X-Vault-MFA", header) })
    };
    let entity = log_in("").must(200).at("/auth/entity_id");
    // A period of a day, so that none ends while the test looks.
    let method = json!({"issuer": "I", "method_name": "m", "period": "24h", "max_validation_attempts": 3});
    let method = stage.root.post("identity/mfa/method/totp", method).must(200).at("/data/method_id");
    let both = json!({"method_id": method, "entity_id": entity});
    let url = stage.root.post("identity/mfa/method/totp/admin-generate", both).must(200).at("/data/url");
    // The totp engine stands in for the phone: it reads the same URL.
    stage.root.post("sys/mounts/totp", json!({"type": "totp"})).must(204);
    stage.root.post("totp/keys/phone", json!({"url": url})).must(204);
    let enforce = json!({"mfa_method_ids": [method], "auth_method_types": ["userpass"]});
    stage.root.post("identity/mfa/login-enforcement/e", enforce).must(204);
    let begin = || log_in("").must(200).at("/auth/mfa_requirement/mfa_request_id");
    let show = |code: &str| {
        let body = json!({"mfa_request_id": begin(), "mfa_payload": {method.as_str(): [code]}});
        stage.root.send(&Request::new("POST", "/v1/sys/mfa/validate").body(body.to_string()))
    };
    let code = stage.root.get("totp/code/phone").must(200).at("/data/code");
    show(&code).must(200);
    show(&code).must(403);
    show(&format!(" {code}")).must(403);
    log_in(&format!("m:{code} ")).must(403);
    // The tries of this period are used up, whichever way the next one comes.
    for said in [show(&code), log_in(&format!("m:{code}"))] {
        let said = said.must(403);
        assert!(said.text().contains("maximum TOTP validation attempts"), "{}", said.text());
    }
}
