//! Roles whose program decides.

use serde_json::{Value, json};
use x509::Certificate;

use crate::bench::Bench;
use crate::{Desk, EC, NOW, ready, text};

fn program(bench: &Bench, variables: Value, expression: &str) {
    let body = json!({"cel_program": {"variables": variables, "expression": expression}});
    bench.post("cel/roles/c", body).is(200);
}

const TEMPLATE: &str = r#"CertTemplate{
    Subject: PKIX.Name{CommonName: cn, Organization: ["Example"]},
    DNSNames: [cn],
    IPAddresses: [net.IP{IP: b"\x7f\x00\x00\x01"}],
    URIs: [url.URL{Scheme: "spiffe", Host: "example.com", Path: "/app"}],
    KeyUsage: KeyUsage.KeyUsageDigitalSignature,
    ExtKeyUsage: [ExtKeyUsage.ExtKeyUsageServerAuth],
    NotAfter: now + duration("2h")}"#;

#[test]
fn a_program_decides_what_a_certificate_says() {
    let (bench, desk) = (ready(), Desk::new("cel"));
    let variables = json!([{"name": "cn", "expression": "request.common_name"}, {"name": "cert", "expression": TEMPLATE}]);
    program(
        &bench,
        variables,
        r#"cn.endsWith(".example.com") ? ValidationOutput{template: cert, key_type: "ec", warnings: ["as asked"]} : "only example.com""#,
    );
    let issued = bench.post("cel/issue/c", json!({"common_name": "a.example.com"})).is(200);
    assert_eq!(issued.warnings, ["as asked"]);
    assert_eq!(issued.data["expiration"], NOW + 7200);
    desk.put("l.pem", text(&issued, "certificate")).put("ca.pem", bench.get("ca/pem").text);
    desk.openssl(&format!("verify -attime {NOW} -CAfile ca.pem l.pem"));
    let shown = desk.openssl("x509 -in l.pem -noout -text");
    for part in [
        "O = Example",
        "DNS:a.example.com, URI:spiffe://example.com/app, IP Address:127.0.0.1",
        "TLS Web Server Authentication",
        "Digital Signature",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    bench.post("cel/issue/c", json!({"common_name": "a.example.org"})).refuses(400, "only example.com");
    bench.post("cel/issue/none", json!({})).refuses(400, "CEL role not found");
    let found = bench.list("certs/search?role=cel/c").is(200);
    assert_eq!(found.data["keys"][0], issued.data["serial_number"]);
    let both = json!({"common_name": "a.example.com", "ttl": "1h", "not_after": "2026-01-02T00:00:00Z"});
    bench.post("cel/issue/c", both).refuses(400, "Either ttl or not_after");
}

#[test]
fn a_program_sees_the_csr_and_the_ca_keeps_its_bounds() {
    let (bench, desk) = (ready(), Desk::new("cel-csr"));
    let csr = desk.csr(&format!("{EC} -subj /CN=b.example.com -addext subjectAltName=DNS:b.example.com"));
    let said = "ValidationOutput{template: CertTemplate{Subject: PKIX.Name{CommonName: parsed_csr.Subject.CommonName}, DNSNames: parsed_csr.DNSNames}}";
    program(&bench, json!([]), said);
    let signed = bench.post("cel/sign/c", json!({"csr": csr, "ttl": "3h"})).is(200);
    let certificate = Certificate::from_pem(text(&signed, "certificate")).unwrap();
    assert_eq!(certificate.alt_names().unwrap().dns, ["b.example.com"]);
    assert_eq!(certificate.validity().not_after, NOW + 3 * 3600);
    assert!(signed.data.get("private_key").is_none());
    let cut = bench.post("cel/sign/c", json!({"csr": csr, "ttl": "9000h"})).is(200);
    assert_eq!(cut.data["expiration"], NOW + 700 * 3600, "no longer than the issuer");
    for (expression, why) in [
        ("true", "request denied"),
        ("false", "request denied"),
        ("1", "unexpected mainProgram result type int64"),
        ("ValidationOutput{}", "template is nil"),
        ("ValidationOutput{template: CertTemplate{IsCA: true}}", "a CA is not signed by a role"),
        (
            "ValidationOutput{template: CertTemplate{KeyUsage: KeyUsage.KeyUsageCertSign}}",
            "a CA is not signed by a role",
        ),
        ("ValidationOutput{template: CertTemplate{}}", "would name nobody"),
        ("ValidationOutput{template: CertTemplate{DNSNames: [1]}}", "CertTemplate.DNSNames"),
        (
            "ValidationOutput{issuer_ref: \"nope\", template: CertTemplate{DNSNames: [\"a\"]}}",
            "unable to find PKI issuer for reference: nope",
        ),
        (
            "ValidationOutput{template: CertTemplate{DNSNames: [\"a\"], ExtraExtensions: [PKIX.Extension{Id: [2, 5, 29, 19], Value: b\"\"}]}}",
            "made from other fields",
        ),
    ] {
        program(&bench, json!([]), expression);
        let refused = bench.post("cel/sign/c", json!({"csr": csr}));
        assert!(refused.status >= 400 && refused.errors[0].contains(why), "{expression}: {refused:?}");
    }
    bench.post("cel/sign/c", json!({"csr": "zz"})).refuses(400, "csr contains no data");
}

#[test]
fn a_silent_program_leaves_the_bounds_of_the_mount() {
    let bench = ready();
    let mapped = r#"ValidationOutput{key_type: "ec", template: CertTemplate{DNSNames: ["c.org"],
        PolicyIdentifiers: [ObjectIdentifier{arc: [1, 2, 3]}, ObjectIdentifier{arc: [1, 2, 3]}],
        IPAddresses: [net.IP{IP: b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x00\x01"}]}}"#;
    program(&bench, json!([]), mapped);
    let issued = bench.post("cel/issue/c", json!({"ttl": "1h"})).is(200);
    let certificate = Certificate::from_pem(text(&issued, "certificate")).unwrap();
    assert_eq!(certificate.alt_names().unwrap().ip, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    for extension in certificate.extensions().iter() {
        assert_eq!(extension.check_shape(), Ok(()));
    }
    let root = json!({"common_name": "Long", "key_type": "ec", "not_after": "2050-01-01T00:00:00Z", "issuer_name": "long"});
    bench.post("issuers/generate/root/internal", root).is(200);
    let long = r#"ValidationOutput{key_type: "ec", issuer_ref: "long", template: CertTemplate{DNSNames: ["c.org"]}}"#;
    program(&bench, json!([]), long);
    let longest = bench.post("cel/issue/c", json!({"ttl": "1000000h"})).is(200).data["expiration"].clone();
    let asked = bench.post("cel/issue/c", json!({"not_after": "2040-01-01T00:00:00Z"})).is(200);
    assert_eq!(asked.data["expiration"], longest, "the longest of the mount");
    assert!(asked.warnings[0].contains("beyond the longest lifetime of the mount"), "{:?}", asked.warnings);
}

#[test]
fn roles_are_kept_like_others() {
    let bench = ready();
    bench.list("cel/roles").is(404);
    bench.post("cel/roles/c", json!({})).refuses(400, "missing required field 'cel_program'");
    for (expression, why) in
        [("1 +", "invalid CEL syntax for main expression"), ("nope", "error type-checking CEL MainProgram")]
    {
        bench.post("cel/roles/c", json!({"cel_program": {"expression": expression}})).refuses(400, why);
    }
    program(&bench, json!([]), "false");
    let shown = bench.get("cel/roles/c").is(200);
    assert_eq!(shown.data, json!({"name": "c", "cel_program": {"expression": "false"}}));
    bench.patch("cel/roles/c", json!({"cel_program": {"expression": "true"}})).is(200);
    let variables = json!([{"name": "a", "expression": "1"}]);
    bench.patch("cel/roles/c", json!({"cel_program": {"variables": variables}})).is(200);
    let whole = json!({"variables": variables, "expression": "true"});
    assert_eq!(bench.get("cel/roles/c").data["cel_program"], whole, "what is not given stays");
    bench.patch("cel/roles/c", json!({"cel_program": {"variables": null}})).is(200);
    assert_eq!(bench.get("cel/roles/c").data["cel_program"], json!({"expression": "true"}));
    bench.patch("cel/roles/d", json!({})).refuses(400, "Unable to fetch cel role entry to patch");
    assert_eq!(bench.list("cel/roles").data["keys"], json!(["c"]));
    bench.delete("cel/roles/c").is(200);
    bench.get("cel/roles/c").is(404);
}
