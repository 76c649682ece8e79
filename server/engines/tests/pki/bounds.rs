//! What a role, an issuer and a program let through, and no more.

use serde_json::json;

use crate::{Desk, EC, ready, role};

#[test]
fn a_program_makes_no_authority() {
    let (bench, desk) = (ready(), Desk::new("cel-ca"));
    let said = "ValidationOutput{template: CertTemplate{Subject: PKIX.Name{CommonName: \"a.example.com\"}}}";
    bench.post("cel/roles/c", json!({"cel_program": {"expression": said}})).is(200);
    let csr = |more: &str| desk.csr(&format!("{EC} -subj /CN=a.example.com{more}"));
    bench.post("cel/sign/c", json!({"csr": csr("")})).is(200);
    let wants = csr(" -addext basicConstraints=critical,CA:TRUE");
    bench.post("cel/sign/c", json!({ "csr": wants })).refuses(400, "asks to become a CA");
}

#[test]
fn a_role_says_when_the_latest_end_is() {
    let bench = ready();
    role(&bench, json!({"not_after_bound": "2026-01-02T00:00:00Z"})).is(200);
    let issue = |end: &str| bench.post("issue/r", json!({"common_name": "a.example.com", "not_after": end}));
    issue("2026-01-02T00:00:00Z").is(200);
    issue("2026-01-02T00:00:01Z").refuses(400, "beyond the maximum timestamp");
    role(&bench, json!({"not_after_bound": "forbid"})).is(200);
    issue("2026-01-01T01:00:00Z").refuses(400, "not_after cannot be provided");
}

#[test]
fn an_issuer_that_was_revoked_signs_no_more_certificates() {
    let bench = ready();
    bench.post("issuer/default/revoke", json!({})).is(200);
    let usage = json!({"usage": "read-only,issuing-certificates,crl-signing"});
    bench.patch("issuer/default", usage.clone()).refuses(400, "unable to modify its usage");
    bench.post("issuer/default", usage).refuses(400, "unable to modify its usage");
    bench.patch("issuer/default", json!({"usage": "read-only,crl-signing"})).is(200);
}
