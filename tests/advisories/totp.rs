//! H. One-time codes: one code, one use.

use crate::stage::Stage;
use serde_json::json;

#[test]
fn row_078_a_code_is_used_once_however_it_is_spelt() {
    let stage = Stage::dev();
    stage.root.post("sys/mounts/totp", json!({"type": "totp"})).must(204);
    // A period of a day, so that none ends while the test looks.
    let key = json!({"generate": true, "issuer": "I", "account_name": "a", "period": "24h", "skew": 1});
    stage.root.post("totp/keys/k", key).must(200);
    let code = stage.root.get("totp/code/k").must(200).at("/data/code");
    let check = |code: &str| stage.root.post("totp/code/k", json!({ "code": code }));
    assert_eq!(check(&code).must(200).at("/data/valid"), "true");
    let wide: String =
        code.chars().filter_map(|digit| char::from_u32(u32::from(digit) - 0x30 + 0xff10)).collect();
    let (front, back) = code.split_at(3);
    for again in [
        code.clone(),
        format!(" {code}"),
        format!("{code} "),
        format!("{front} {back}"),
        format!("{code}\n"),
        wide,
    ] {
        check(&again).must(400);
    }
    // As a number, and in the period that now is one past.
    stage
        .root
        .send(
            &tests::http::Request::new("POST", "/v1/totp/code/k")
                .token(stage.root.token())
                .body(format!("{{\"code\":\"{code}\\u0000\"}}")),
        )
        .must(400);
}
