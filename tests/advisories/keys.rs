//! The making of new keys, which is open to holders of shares and to nobody's mischief.

use crate::stage::Stage;
use serde_json::json;
use tests::http::Request;

const OPEN: &str =
    "disable_unauthed_rekey_endpoints = false\n  disable_unauthed_generate_root_endpoints = false";

#[test]
fn row_107_a_stranger_gives_up_nothing_that_another_began() {
    let (stage, shares) = Stage::audited_and(OPEN);
    let stranger = stage.anonymous();
    let begun = stranger.post("sys/rekey/init", json!({"secret_shares": 2, "secret_threshold": 2})).must(200);
    let before = stage.audit_text().len();
    for path in ["sys/rekey/init", "sys/rekey/init?nonce=", "sys/rekey/init?nonce=guess"] {
        stranger.send(&Request::new("DELETE", &format!("/v1/{path}"))).must_be_any(&[400, 403]);
    }
    stranger.send(&Request::new("DELETE", "/v1/sys/rekey-recovery-key/init")).must_be_any(&[400, 403]);
    assert_eq!(stranger.get("sys/rekey/init").must(200).at("/nonce"), begun.at("/nonce"));
    let audited = stage.audit_text().split_off(before);
    assert!(audited.matches("sys/rekey/init").count() >= 6, "each attempt is audited: {audited}");
    let done =
        stranger.post("sys/rekey/update", json!({"key": shares[0], "nonce": begun.at("/nonce")})).must(200);
    assert_eq!(done.json()["complete"], true, "what was begun goes on: {done}");
    for share in [&shares[0], &done.at("/keys/0"), &done.at("/keys_base64/1")] {
        assert!(!stage.audit_text().contains(share.as_str()), "no share is in the audit log");
    }
}

#[test]
fn row_109_a_share_belongs_to_what_was_begun_when_it_was_shown() {
    let (stage, shares) = Stage::audited_and(OPEN);
    let stranger = stage.anonymous();
    let numbers = json!({"secret_shares": 1, "secret_threshold": 1});
    let first = stranger.post("sys/rekey/init", numbers.clone()).must(200).at("/nonce");
    stage.root.send(&Request::new("DELETE", "/v1/sys/rekey/init")).must(204);
    let second = stranger.post("sys/rekey/init", numbers).must(200).at("/nonce");
    assert_ne!(first, second);
    stranger.post("sys/rekey/update", json!({"key": shares[0], "nonce": first})).must(400);
    stranger.post("sys/rekey/update", json!({"key": shares[0]})).must(400);
    assert_eq!(stranger.get("sys/rekey/init").must(200).json()["progress"], 0);
    let attempt = stranger.post("sys/generate-root/attempt", json!({})).must(200);
    stage.root.send(&Request::new("DELETE", "/v1/sys/generate-root/attempt")).must(204);
    let again = stranger.post("sys/generate-root/attempt", json!({})).must(200);
    let stale = json!({"key": shares[0], "nonce": attempt.at("/nonce")});
    stranger.post("sys/generate-root/update", stale).must(400);
    // The one-time password is shown to who began, and to nobody else.
    assert!(!stranger.get("sys/generate-root/attempt").must(200).text().contains(&again.at("/otp")));
}

#[test]
fn also_no_stranger_comes_in_unless_a_listener_says_so() {
    let (stage, _) = Stage::audited_and("");
    for path in ["rekey/init", "rekey/verify", "rekey-recovery-key/init", "generate-root/attempt"] {
        stage.anonymous().get(&format!("sys/{path}")).must(405);
    }
    stage.anonymous().get("sys/rotate/root/init").must(403);
    stage.anonymous().get("sys/generate-root-token/attempt").must(403);
    let caller = stage.caller(r#"path "secret/*" { capabilities = ["read"] }"#);
    caller.post("sys/rotate/root/init", json!({"secret_shares": 1, "secret_threshold": 1})).must(403);
    caller.post("sys/rotate/root", json!({})).must(403);
    caller.post("sys/generate-root-token/attempt", json!({})).must(403);
}
