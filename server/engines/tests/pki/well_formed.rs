//! What a certificate says has the form that its kind wants: else it is refused, with the form.

use serde_json::{Value, json};
use x509::Certificate;

use crate::bench::{Answer, Bench};
use crate::{Desk, EC, mount, ready, role, text};

#[track_caller]
fn names(answer: &Answer) -> x509::AltNames {
    Certificate::from_pem(text(answer, "certificate")).unwrap().alt_names().unwrap()
}

fn any(bench: &Bench, changes: Value) {
    let mut body = json!({"allow_any_name": true, "require_cn": false, "allowed_uri_sans": "*"});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    role(bench, body).is(200);
}

#[test]
fn a_uri_fits_in_its_own_case_alone() {
    let bench = ready();
    role(&bench, json!({"allowed_uri_sans": "spiffe://x.org/ns/prod,spiffe://x.org/dev/*"})).is(200);
    let ask = |uri: &str| bench.post("issue/r", json!({"common_name": "a.example.com", "uri_sans": uri}));
    for good in ["spiffe://x.org/ns/prod", "spiffe://x.org/dev/Any"] {
        assert_eq!(names(&ask(good).is(200)).uri, [good]);
    }
    for bad in ["spiffe://x.org/NS/PROD", "spiffe://x.org/Dev/any"] {
        ask(bad).refuses(400, "fits none of allowed_uri_sans");
    }
}

#[test]
fn addresses_and_stars_are_no_host_names() {
    let bench = ready();
    any(&bench, json!({}));
    let ask = |body: Value| bench.post("issue/r", body);
    ask(json!({"alt_names": "1.2.3.4"})).refuses(400, "belongs among the ip_sans");
    for name in ["*", "*.", "a.org,*"] {
        ask(json!({"alt_names": name})).refuses(400, "it is no host name");
    }
    ask(json!({"common_name": "*."})).refuses(400, "it is no host name");
    let address = ask(json!({"common_name": "1.2.3.4", "ip_sans": "1.2.3.4"})).is(200);
    assert!(names(&address).dns.is_empty() && names(&address).ip.len() == 1);
    any(&bench, json!({"enforce_hostnames": false}));
    for name in ["*", "no host", "a..b", "1.2.3.4"] {
        ask(json!({"alt_names": name})).refuses(400, "in the alternative names is none");
    }
    for mail in ["a b@x.org", "a<b>@x.org", "a@no host", "a@*.org"] {
        assert_eq!(ask(json!({"alt_names": mail})).status, 400, "{mail}");
    }
    let good = names(&ask(json!({"alt_names": "my_host.x.org,*.x.org,o'neill+x@x.org"})).is(200));
    assert_eq!((good.dns, good.email.len()), (vec!["my_host.x.org".to_owned(), "*.x.org".to_owned()], 1));
    assert!(names(&ask(json!({"common_name": "Some Service"})).is(200)).is_empty());
}

#[test]
fn a_subject_that_is_empty_leaves_the_names_critical() {
    let (bench, desk) = (ready(), Desk::new("nobody"));
    let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:a.org"));
    let signed = bench.post("sign-verbatim", json!({"csr": csr, "ttl": "1h"})).is(200);
    desk.put("v.pem", text(&signed, "certificate"));
    let shown = desk.openssl("x509 -in v.pem -noout -ext subjectAltName");
    assert!(shown.contains("Alternative Name: critical"), "{shown}");
    let body = json!({"csr": csr, "use_csr_values": true, "ttl": "1h"});
    let signed = bench.post("root/sign-intermediate", body).is(200);
    assert!(signed.warnings.iter().any(|warning| warning.contains("generated without a Subject")));
    desk.put("v.pem", text(&signed, "certificate"));
    assert!(desk.openssl("x509 -in v.pem -noout -ext subjectAltName").contains("critical"));
    let csr = desk.csr(&format!("{EC} -subj /"));
    let signed = bench.post("root/sign-intermediate", json!({"csr": csr, "alt_names": "x.org"})).is(200);
    assert!(signed.warnings[0].contains("generated without a Subject"), "{:?}", signed.warnings);
}

#[test]
fn wildcards_and_uris_do_not_get_round_what_is_excluded() {
    let bench = mount();
    let root = json!({
        "common_name": "Root", "key_type": "ec", "ttl": "700h",
        "excluded_dns_domains": "secret.example.com", "excluded_uri_domains": "x.org",
    });
    bench.post("root/generate/internal", root).is(200);
    any(&bench, json!({}));
    let ask = |body: Value| bench.post("issue/r", body);
    let wildcard = json!({"common_name": "*.example.com", "exclude_cn_from_sans": true});
    for body in [json!({"alt_names": "*.example.com"}), wildcard] {
        ask(body).refuses(400, "lies in secret.example.com, which the name constraints of the CA exclude");
    }
    ask(json!({"alt_names": "*.a.example.com"})).is(200);
    for uri in ["urn:uuid:1", "https://10.0.0.1/"] {
        ask(json!({"uri_sans": uri})).refuses(400, "has no host by its name");
    }
    ask(json!({"uri_sans": "https://x.org/"})).refuses(400, "lies in x.org");
    ask(json!({"uri_sans": "spiffe://y.org/a"})).is(200);
}

#[test]
fn policies_stand_in_a_certificate_once() {
    let (bench, desk) = (ready(), Desk::new("policies"));
    role(&bench, json!({"policy_identifiers": ["1.2.3", "1.2.3"]})).is(200);
    let issued = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    desk.put("l.pem", text(&issued, "certificate"));
    let shown = desk.openssl("x509 -in l.pem -noout -ext certificatePolicies");
    assert_eq!(shown.matches("Policy: 1.2.3").count(), 1, "{shown}");
    let other = json!({"policy_identifiers": ["1.2.3", r#"{"oid":"1.2.3","notice":"x"}"#]});
    role(&bench, other).refuses(400, "holds 1.2.3 twice");
}

#[test]
fn subjects_hold_what_their_fields_hold() {
    let bench = ready();
    let letters = "two letters of ISO 3166";
    role(&bench, json!({"country": "Germany"})).refuses(400, letters);
    let root = json!({"common_name": "Next", "key_type": "ec", "country": "Germany"});
    bench.post("issuers/generate/root/internal", root).refuses(400, letters);
    role(&bench, json!({"allowed_serial_numbers": "*", "country": "DE"})).is(200);
    let ask = |serial: &str| {
        bench.post("issue/r", json!({"common_name": "a.example.com", "serial_number": serial}))
    };
    ask("CN-17").is(200);
    ask("a_b*&é").refuses(400, "letters, digits, spaces");
    let long = role(&bench, json!({"ou": "u".repeat(65)})).is(200);
    assert!(long.warnings[0].starts_with("ou is longer than the 64 characters"), "{:?}", long.warnings);
    let root = json!({"common_name": "Next", "key_type": "ec", "organization": "o".repeat(65)});
    let long = bench.post("issuers/generate/root/internal", root).is(200);
    assert!(long.warnings.iter().any(|warning| warning.starts_with("organization is longer")));
}

#[test]
fn a_bridge_leads_from_a_root_to_a_root() {
    let (bench, desk) = (mount(), Desk::new("bridge"));
    desk.openssl("req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out r.pem -subj /CN=Other -days 30");
    let good = desk.text("r.pem");
    let mut broken = x509::pem::blocks(&good).unwrap().remove(0).der.to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let broken = x509::pem::encode(x509::pem::CERTIFICATE, &broken);
    let root = |length: i64| {
        let body = json!({
            "common_name": "Root", "key_type": "ec", "ttl": "700h", "issuer_name": format!("l{}", length + 1),
            "max_path_length": length,
        });
        bench.post("issuers/generate/root/internal", body).is(200);
    };
    root(0);
    root(-1);
    let bridge = |issuer: &str, certificate: &str| {
        bench.post(&format!("issuer/{issuer}/sign-self-issued"), json!({"certificate": certificate}))
    };
    bridge("l0", &good).is(200);
    bridge("l0", &broken).refuses(400, "not signed by its own key");
    bridge("l1", &good).refuses(400, "max_path_length is zero");
    // The path takes no count of one that bears the issuer's own name.
    bridge("l1", bench.get("issuer/l0/pem").text.as_str()).is(200);
}
