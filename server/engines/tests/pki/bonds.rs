//! What binds a CA: the constraints of those above it, and what its own request asks to be bound to.

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::{Desk, EC, mount, role, text};

/// A root of these constraints, and a CA of the same mount below it, by their ids.
fn pair(bench: &Bench, constraints: Value) -> (String, String) {
    let mut body = json!({"common_name": "Top", "key_type": "ec", "ttl": "900h", "issuer_name": "top"});
    body.as_object_mut().unwrap().extend(constraints.as_object().unwrap().clone());
    let root = bench.post("root/generate/internal", body).is(200);
    let body = json!({"common_name": "Below", "key_type": "ec"});
    let csr = bench.post("intermediate/generate/internal", body).is(200);
    let body = json!({"csr": text(&csr, "csr"), "ttl": "800h"});
    let signed = bench.post("root/sign-intermediate", body).is(200);
    let body = json!({"certificate": text(&signed, "certificate")});
    let set = bench.post("intermediate/set-signed", body).is(200);
    (text(&root, "issuer_id").to_owned(), set.data["imported_issuers"][0].as_str().unwrap().to_owned())
}

/// What is shown as the chain of an issuer is a matter of what clients need, and unbinds nobody.
#[test]
fn no_manual_chain_hides_the_constraints_above() {
    let bench = mount();
    let (top, below) = pair(&bench, json!({"permitted_dns_domains": "example.com"}));
    role(&bench, json!({"allow_any_name": true})).is(200);
    let issue = |name: &str| bench.post(&format!("issuer/{below}/issue/r"), json!({"common_name": name}));
    let outside =
        "a.example.org lies outside of what the name constraints of the CA permit: example.com (issuer top)";
    for chain in [json!([]), json!([below]), json!([below, top])] {
        bench.patch(&format!("issuer/{below}"), json!({"manual_chain": chain})).is(200);
        issue("a.example.org").refuses(400, outside);
        issue("a.example.com").is(200);
    }
}

/// Whoever verifies a certificate may go any way up: of a CA that several have signed, one has to permit the name.
#[test]
fn one_way_up_is_enough() {
    let bench = mount();
    let (_, below) = pair(&bench, json!({"permitted_dns_domains": "example.com"}));
    role(&bench, json!({"allow_any_name": true})).is(200);
    let issue = || bench.post(&format!("issuer/{below}/issue/r"), json!({"common_name": "a.example.org"}));
    issue().refuses(400, "issuer top");
    let body = json!({"common_name": "Top", "key_ref": "default", "ttl": "900h", "issuer_name": "free"});
    bench.post("root/generate/existing", body).is(200);
    issue().is(200);
    bench.post("issuer/free/revoke", json!({})).is(200);
    issue().refuses(400, "issuer top");
}

fn ask(desk: &Desk, extensions: &[&str]) -> String {
    let asked: String = extensions.iter().map(|one| format!(" -addext {one}")).collect();
    desk.csr(&format!("{EC} -subj /O=Corp/CN=Int{asked}"))
}

#[test]
fn a_ca_is_bound_to_what_its_request_says() {
    let bench = mount();
    let body = json!({"common_name": "Root", "key_type": "ec", "ttl": "900h"});
    bench.post("root/generate/internal", body).is(200);
    let desk = Desk::new("bonds");
    let csr = ask(
        &desk,
        &[
            "basicConstraints=critical,CA:TRUE,pathlen:0",
            "keyUsage=critical,digitalSignature,keyCertSign",
            "extendedKeyUsage=clientAuth",
            "nameConstraints=permitted;DNS:foo.com",
            "certificatePolicies=1.2.3.4",
            "policyConstraints=requireExplicitPolicy:0",
            "inhibitAnyPolicy=0",
        ],
    );
    let sign = |csr: &str, more: Value| {
        let mut body = json!({"csr": csr, "ttl": "800h", "use_csr_values": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bench.post("root/sign-intermediate", body)
    };
    let signed = sign(&csr, json!({"key_usage": "CRLSign"})).is(200);
    desk.put("i.pem", text(&signed, "certificate"));
    let said = desk.openssl("x509 -in i.pem -noout -text");
    for line in [
        "Digital Signature, Certificate Sign, CRL Sign\n",
        "TLS Web Client Authentication\n",
        "Name Constraints: critical\n",
        "DNS:foo.com\n",
        "Policy: 1.2.3.4\n",
        "Policy Constraints: critical\n",
        "Inhibit Any Policy: critical\n",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    let twice = "otherwise than the parameters do";
    sign(&csr, json!({"permitted_dns_domains": "bar.com"})).refuses(400, twice);
    sign(&csr, json!({"ext_key_usage": "ServerAuth"})).refuses(400, twice);
    sign(&csr, json!({"ext_key_usage": "ClientAuth"})).is(200);
    // Without its values nothing of it counts but name and key.
    let plain = sign(&csr, json!({"use_csr_values": false})).is(200);
    desk.put("i.pem", text(&plain, "certificate"));
    assert!(
        !desk
            .openssl("x509 -in i.pem -noout -text")
            .contains("Constraints: critical\n                Permitted")
    );
}

#[test]
fn what_a_request_asks_for_is_not_dropped_in_silence() {
    let bench = mount();
    let body = json!({"common_name": "Root", "key_type": "ec", "ttl": "900h"});
    bench.post("root/generate/internal", body).is(200);
    let desk = Desk::new("bonds-refused");
    let sign = |extension: &str| {
        let csr = ask(&desk, &[extension]);
        let body = json!({"csr": csr, "ttl": "800h", "use_csr_values": true});
        bench.post("root/sign-intermediate", body)
    };
    sign("keyUsage=digitalSignature").refuses(400, "the key usage DigitalSignature, which lacks CertSign");
    sign("1.2.3.4=critical,DER:0500").refuses(400, "the critical extension 1.2.3.4");
    sign("nameConstraints=critical,DER:0500").refuses(400, "is not what it should be");
    let warned = sign("1.2.3.4=DER:0500").is(200);
    assert!(
        warned.warnings.iter().any(|text| text.contains("The extension 1.2.3.4 of the csr was left out"))
    );
}
