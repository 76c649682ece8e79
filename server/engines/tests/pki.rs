//! The certificate authority, its certificates and lists judged by openssl.

#![recursion_limit = "256"] // a role has many fields
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may panic

#[allow(dead_code)] // each suite uses its own part of it
mod bench;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use bench::{Answer, Bench};
use serde_json::{Value, json};
use x509::{Certificate, RevocationList, Serial};

fn mount() -> Bench {
    Bench::new(engines::open("pki", &json!({})).unwrap(), None)
}

/// A mount with a root of P-256 and a role for example.com.
fn ready() -> Bench {
    let bench = mount();
    bench
        .post("root/generate/internal", json!({"common_name": "Root", "key_type": "ec", "ttl": "700h"}))
        .is(200);
    role(&bench, json!({}));
    bench
}

fn role(bench: &Bench, changes: Value) -> Answer {
    let mut body = json!({
        "allowed_domains": "example.com", "allow_subdomains": true, "key_type": "ec", "ttl": "1h", "max_ttl": "72h",
    });
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    bench.post("roles/r", body)
}

fn text<'a>(answer: &'a Answer, field: &str) -> &'a str {
    answer.data[field].as_str().unwrap_or_else(|| panic!("no text {field} in {answer:?}"))
}

/// A folder for openssl.
struct Desk(PathBuf);

impl Desk {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pki-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Desk(path)
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        fs::write(self.0.join(name), text).unwrap();
        self
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) -> String {
        let out = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.0).output().unwrap();
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success(), "openssl {arguments}: {text}");
        text
    }

    fn csr(&self, arguments: &str) -> String {
        self.openssl(&format!("req -new -nodes -keyout k.pem -out r.pem {arguments}"));
        self.text("r.pem")
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const NOW: u64 = 1_767_225_600;
const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";

#[test]
fn an_empty_mount_says_so() {
    let bench = mount();
    for path in ["ca", "ca/pem", "ca_chain", "crl", "crl/pem"] {
        assert_eq!(bench.get(path).is(204).bytes, b"");
    }
    bench.get("cert/ca").refuses(400, "no default issuer currently configured");
    for path in ["issuers", "keys", "roles", "certs", "certs/revoked"] {
        bench.list(path).is(404);
    }
    bench.post("issue/r", json!({"common_name": "a.example.com"})).refuses(400, "unknown role: r");
    role(&bench, json!({})).is(200);
    bench
        .post("issue/r", json!({"common_name": "a.example.com"}))
        .refuses(500, "no default issuer currently configured");
    assert_eq!(
        bench.get("config/issuers").data,
        json!({"default": "", "default_follows_latest_issuer": false})
    );
    assert_eq!(bench.get("config/crl").data["expiry"], "72h");
    bench.get("issuer/nope").refuses(500, "unable to find PKI issuer for reference: nope");
    bench.get("key/nope").refuses(500, "unable to find PKI key for reference: nope");
    bench.delete("roles/nope").is(204);
    bench.delete("key/nope").is(204);
    bench.delete("issuer/nope").is(200);
}

#[test]
fn a_role_reads_back_with_its_defaults() {
    let bench = mount();
    let written = bench
        .post(
            "roles/r",
            json!({"allowed_domains": ["example.com"], "allow_subdomains": "true", "max_ttl": "72h"}),
        )
        .is(200);
    assert_eq!(bench.get("roles/r").data, written.data);
    assert_eq!(
        written.data,
        json!({
            "allow_any_name": false, "allow_bare_domains": false, "allow_glob_domains": false,
            "allow_globs_in_identity_templates": false, "allow_ip_sans": true, "allow_localhost": true,
            "allow_subdomains": true, "allow_token_displayname": false, "allow_wildcard_certificates": true,
            "allowed_domains": ["example.com"], "allowed_domains_template": false, "allowed_ip_sans_cidr": [],
            "allowed_other_sans": [], "allowed_serial_numbers": [], "allowed_uri_sans": [],
            "allowed_uri_sans_template": false, "allowed_user_ids": [], "basic_constraints_valid_for_non_ca": false,
            "client_flag": true, "cn_validations": ["email", "hostname"], "code_signing_flag": false, "country": [],
            "email_protection_flag": false, "enforce_hostnames": true, "ext_key_usage": [], "ext_key_usage_oids": [],
            "generate_lease": false, "issuer_ref": "default", "key_bits": 2048, "key_type": "rsa",
            "key_usage": ["DigitalSignature", "KeyAgreement", "KeyEncipherment"], "locality": [], "max_ttl": 259_200,
            "no_store": false, "not_after": "", "not_after_bound": "permit", "not_before": "",
            "not_before_bound": "permit", "not_before_duration": 30, "organization": [], "ou": [],
            "policy_identifiers": [], "postal_code": [], "province": [], "require_cn": true, "server_flag": true,
            "signature_bits": 0, "street_address": [], "ttl": 0, "use_csr_common_name": true, "use_csr_sans": true,
            "use_pss": false,
        })
    );
    let patched = bench.patch("roles/r", json!({"ttl": "1h"})).is(200);
    assert_eq!((&patched.data["ttl"], &patched.data["max_ttl"]), (&json!(3600), &json!(259_200)));
    bench.patch("roles/none", json!({"ttl": "1h"})).refuses(404, "Unable to fetch role entry to patch");
    bench
        .post("roles/r", json!({"ttl": "10h", "max_ttl": "1h"}))
        .refuses(400, "\"ttl\" value must be less than \"max_ttl\" value");
    bench.post("roles/r", json!({"key_type": "zz"})).refuses(400, "unknown key type zz");
    let warned = bench.post("roles/w", json!({"generate_lease": true, "issuer_ref": "nope"})).is(200);
    assert_eq!(warned.warnings.len(), 2);
    assert_eq!(bench.list("roles").data, json!({"keys": ["r", "w"]}));
    assert_eq!(bench.list("roles?after=r").data, json!({"keys": ["w"]}));
    bench.delete("roles/w").is(204);
    bench.get("roles/w").is(404);
}

#[test]
fn a_chain_of_root_intermediate_and_leaf_verifies() {
    for (key_type, bits) in [("rsa", 2048), ("ec", 256), ("ec", 384), ("ec", 521), ("ed25519", 0)] {
        let desk = Desk::new(&format!("chain-{key_type}{bits}"));
        let above = mount();
        above.post("config/urls", json!({"issuing_certificates": "http://x/ca", "crl_distribution_points": ["http://x/crl"], "ocsp_servers": "http://x/ocsp"})).is(200);
        let key = json!({"common_name": "Root", "key_type": key_type, "key_bits": bits, "issuer_name": "root1", "ttl": "760h"});
        let root = above.post("root/generate/internal", key).is(200);
        assert!(root.warnings.is_empty() && root.data.get("private_key").is_none());
        let below = mount();
        let request = below
            .post(
                "intermediate/generate/internal",
                json!({"common_name": "Int", "key_type": key_type, "key_bits": bits}),
            )
            .is(200);
        let signed = above
            .post("root/sign-intermediate", json!({"csr": text(&request, "csr"), "common_name": "Int", "ttl": "700h", "max_path_length": 0}))
            .is(200);
        assert_eq!(
            signed.warnings,
            [
                "Max path length of the signed certificate is zero. This certificate cannot be used to issue intermediate CA certificates."
            ]
        );
        let bundle = format!("{}\n{}", text(&signed, "certificate"), text(&root, "certificate"));
        let set = below.post("intermediate/set-signed", json!({"certificate": bundle})).is(200);
        assert_eq!(set.data["imported_issuers"].as_array().unwrap().len(), 2);
        let id = set.data["imported_issuers"][0].as_str().unwrap();
        assert_eq!(set.data["mapping"][id], request.data["key_id"]);
        role(&below, json!({"key_type": key_type, "key_bits": bits})).is(200);
        let leaf = below.post("issue/r", json!({"common_name": "a.example.com", "alt_names": "*.b.example.com,m@c.example.com", "ip_sans": "10.0.0.1"})).is(200);
        let chain = leaf.data["ca_chain"].as_array().unwrap();
        assert_eq!(chain.len(), 2);
        assert_eq!(
            below.get("ca_chain").text,
            format!("{}\n{}", chain[0].as_str().unwrap(), chain[1].as_str().unwrap())
        );
        desk.put("root.pem", text(&root, "certificate")).put("int.pem", text(&signed, "certificate"));
        desk.put("leaf.pem", text(&leaf, "certificate")).put("key.pem", text(&leaf, "private_key"));
        desk.openssl(&format!("verify -x509_strict -purpose sslserver -verify_hostname a.example.com -attime {NOW} -CAfile root.pem -untrusted int.pem leaf.pem"));
        let (public, own) =
            (desk.openssl("x509 -in leaf.pem -noout -pubkey"), desk.openssl("pkey -in key.pem -pubout"));
        assert_eq!(public, own);
        let without = below
            .post("issue/r", json!({"common_name": "a.example.com", "remove_roots_from_chain": true}))
            .is(200);
        assert_eq!(without.data["ca_chain"].as_array().unwrap().len(), 1);
        let refused = above.post("issuer/root1/sign-intermediate", json!({"csr": "zz"}));
        refused.refuses(400, "csr contains no data");
    }
}

#[test]
fn a_leaf_lasts_as_long_as_role_mount_and_issuer_allow() {
    let bench = ready();
    let issue = |body: Value| bench.post("issue/r", body);
    let usual = issue(json!({"common_name": "a.example.com"})).is(200);
    assert_eq!(
        (&usual.data["not_before"], &usual.data["expiration"]),
        (&json!(NOW - 30), &json!(NOW + 3600))
    );
    let long = issue(json!({"common_name": "a.example.com", "ttl": "9999h"})).is(200);
    assert_eq!(
        long.warnings,
        ["TTL \"9999h0m0s\" is longer than permitted maxTTL \"72h0m0s\", so maxTTL is being used"]
    );
    assert_eq!(long.data["expiration"], NOW + 72 * 3600);
    role(&bench, json!({"max_ttl": "760h"}));
    let beyond = json!({"common_name": "a.example.com", "ttl": "701h"});
    issue(beyond.clone()).refuses(400, "cannot satisfy request, as TTL would result in notAfter of 2026-01-30T05:00:00Z that is beyond the expiration of the CA certificate at 2026-01-30T04:00:00Z");
    bench.patch("issuer/default", json!({"leaf_not_after_behavior": "truncate"})).is(200);
    assert_eq!(issue(beyond.clone()).is(200).data["expiration"], NOW + 700 * 3600);
    bench.patch("issuer/default", json!({"leaf_not_after_behavior": "permit"})).is(200);
    assert_eq!(issue(beyond).is(200).data["expiration"], NOW + 701 * 3600);
    issue(json!({"common_name": "a.example.com", "ttl": "-1h"}))
        .refuses(400, "cannot provide negative value '-3600'");
    issue(json!({"common_name": "a.example.com", "not_after": "zz"})).refuses(400, "not_after");
    issue(json!({"common_name": "a.example.com", "not_after": "2020-01-01T00:00:00Z"}))
        .refuses(400, "is later than the certificate's Not After");
    role(&bench, json!({"not_after_bound": "forbid"}));
    issue(json!({"common_name": "a.example.com", "not_after": "2026-01-02T00:00:00Z"}))
        .refuses(400, "not_after cannot be provided");
    role(&bench, json!({"not_after_bound": "ttl-limited", "max_ttl": "1h"}));
    issue(json!({"common_name": "a.example.com", "not_after": "2026-01-02T00:00:00Z"}))
        .refuses(400, "beyond the TTL of 1h0m0s");
    role(&bench, json!({"not_before_bound": "duration"}));
    issue(json!({"common_name": "a.example.com", "not_before": "2025-01-02T00:00:00Z"}))
        .refuses(400, "allowed not_before_duration of 30s");
}

#[test]
fn refused_names_say_by_which_rule() {
    let bench = ready();
    let refused = |body: Value, why: &str| bench.post("issue/r", body).refuses(400, why);
    refused(
        json!({"common_name": "bad.org"}),
        "common name bad.org not allowed by this role: it falls under none of allowed_domains [example.com]",
    );
    refused(
        json!({"common_name": "example.com", "exclude_cn_from_sans": true}),
        "common name example.com not allowed by this role: it is one of allowed_domains itself, and allow_bare_domains is false",
    );
    refused(
        json!({"common_name": "a.example.com", "alt_names": "bad.org"}),
        "subject alternate name bad.org not allowed by this role",
    );
    refused(
        json!({"common_name": "a.example.com", "alt_names": "a_b.example.com"}),
        "subject alternate name a_b.example.com not allowed by this role: it is no host name",
    );
    refused(
        json!({"common_name": "a.example.com", "alt_names": "m@bad.org"}),
        "email address m@bad.org not allowed by this role",
    );
    refused(
        json!({"common_name": "a.example.com", "ip_sans": "zz"}),
        "the value \"zz\" is not a valid IP address",
    );
    refused(
        json!({"common_name": "a.example.com", "uri_sans": "urn:x"}),
        "URI Subject Alternative Names are not allowed in this role, but were provided via the API",
    );
    refused(json!({"common_name": "a.example.com", "uri_sans": "::"}), "is not a valid URI");
    refused(
        json!({"common_name": "a.example.com", "other_sans": "1.2.3;UTF8:x"}),
        "other SAN OID 1.2.3 not allowed by this role",
    );
    refused(
        json!({"common_name": "a.example.com", "other_sans": "zz"}),
        "could not parse requested other SAN",
    );
    refused(
        json!({"common_name": "a.example.com", "serial_number": "1"}),
        "serial_number 1 not allowed by this role",
    );
    refused(
        json!({"common_name": "a.example.com", "user_ids": "u"}),
        "user_id u is not allowed by this role",
    );
    refused(json!({"alt_names": "a.example.com"}), "the common_name field is required");
    refused(
        json!({"common_name": "a.example.com", "format": "zz"}),
        "the \"format\" path parameter must be \"pem\", \"der\", or \"pem_bundle\"",
    );
    refused(
        json!({"common_name": format!("{}.example.com", "a".repeat(60))}),
        "longer than the 64 characters",
    );
    role(&bench, json!({"allow_ip_sans": false}));
    refused(json!({"common_name": "a.example.com", "ip_sans": "10.0.0.1"}), "allow_ip_sans is false");
    role(&bench, json!({"allowed_ip_sans_cidr": "10.0.0.0/8"}));
    refused(
        json!({"common_name": "a.example.com", "ip_sans": "8.8.8.8"}),
        "the IP address \"8.8.8.8\" is not allowed in this role",
    );
    bench.post("issue/r", json!({"common_name": "a.example.com", "ip_sans": "10.1.2.3"})).is(200);
    role(
        &bench,
        json!({"allowed_uri_sans": "spiffe://*", "allowed_other_sans": "1.2.3;UTF8:a*", "allowed_serial_numbers": "4*", "allowed_user_ids": "u*"}),
    );
    refused(
        json!({"common_name": "a.example.com", "uri_sans": "http://x"}),
        "http://x fits none of allowed_uri_sans [spiffe://*]",
    );
    refused(
        json!({"common_name": "a.example.com", "other_sans": "1.2.3;UTF8:b"}),
        "other SAN b not allowed for OID 1.2.3 by this role",
    );
    let good = json!({"common_name": "a.example.com", "uri_sans": "spiffe://td/x", "other_sans": "1.2.3;UTF8:ab", "serial_number": "42", "user_ids": "u1"});
    let good = bench.post("issue/r", good).is(200);
    let names = Certificate::from_pem(text(&good, "certificate")).unwrap().alt_names().unwrap();
    assert_eq!((names.uri, names.other[0].value.as_str()), (vec!["spiffe://td/x".to_owned()], "ab"));
    role(&bench, json!({"key_type": "any"}));
    refused(
        json!({"common_name": "a.example.com"}),
        "role key type \"any\" not allowed for issuing certificates",
    );
    bench.post("issue/r", json!({"common_name": "a.example.com", "key_type": "ed25519"})).is(200);
}

#[test]
fn requests_are_held_to_the_same_rules() {
    let (bench, desk) = (ready(), Desk::new("sign"));
    let csr = desk.csr(&format!("{EC} -subj /O=Evil/CN=a.example.com -addext subjectAltName=DNS:b.example.com,IP:8.8.8.8 -addext basicConstraints=CA:TRUE"));
    let sign = |body: Value| bench.post("sign/r", body);
    let signed = sign(json!({"csr": csr, "common_name": "x", "alt_names": "y"})).is(200);
    assert_eq!(signed.warnings.len(), 2, "{:?}", signed.warnings);
    let certificate = Certificate::from_pem(text(&signed, "certificate")).unwrap();
    assert!(!certificate.is_ca() && signed.data.get("private_key").is_none());
    assert!(certificate.subject().unwrap().organization.is_empty());
    assert_eq!(certificate.alt_names().unwrap().dns, ["a.example.com", "b.example.com"]);
    role(&bench, json!({"allowed_ip_sans_cidr": "10.0.0.0/8"}));
    sign(json!({"csr": csr})).refuses(400, "the IP address \"8.8.8.8\" is not allowed in this role");
    role(&bench, json!({"allowed_ip_sans_cidr": "10.0.0.0/8", "use_csr_sans": false}));
    let without = sign(json!({"csr": csr})).is(200);
    assert!(Certificate::from_pem(text(&without, "certificate")).unwrap().alt_names().unwrap().ip.is_empty());
    role(&bench, json!({"allow_ip_sans": false}));
    sign(json!({"csr": csr})).refuses(400, "was provided via CSR");
    role(&bench, json!({"key_type": "rsa"}));
    sign(json!({"csr": csr})).refuses(400, "role requires keys of type rsa");
    role(&bench, json!({"key_bits": 384}));
    sign(json!({"csr": csr}))
        .refuses(400, "role requires a minimum of a 384-bit key, but CSR's key is 256 bits");
    role(&bench, json!({}));
    for addition in ["dirName:d", "otherName:1.2.3;INT:3"] {
        let addition = format!("subjectAltName=DNS:b.example.com,{addition}");
        fs::write(desk.0.join("d.cnf"), format!("[req]\ndistinguished_name=n\nreq_extensions=e\nprompt=no\n[n]\nCN=a.example.com\n[e]\n{addition}\n[d]\nCN=x\n")).unwrap();
        let csr = desk.csr(&format!("{EC} -config d.cnf"));
        sign(json!({"csr": csr})).refuses(400, "which no role can allow");
    }
    sign(json!({})).refuses(400, "\"csr\" is empty");
    sign(json!({"csr": "zz"})).refuses(400, "csr contains no data");
    let weak = desk.csr("-newkey rsa:1024 -subj /CN=a.example.com");
    sign(json!({"csr": weak})).refuses(400, "RSA keys < 2048 bits");
}

#[test]
fn verbatim_copies_the_request_but_makes_no_ca() {
    let (bench, desk) = (ready(), Desk::new("verbatim"));
    let csr = desk.csr(&format!("{EC} -subj /O=Any/CN=any.org -addext subjectAltName=DNS:any.org,URI:urn:x -addext extendedKeyUsage=codeSigning"));
    for path in
        ["sign-verbatim", "sign-verbatim/r", "issuer/default/sign-verbatim", "issuer/default/sign-verbatim/r"]
    {
        let signed = bench.post(path, json!({"csr": csr, "ttl": "1h"})).is(200);
        let certificate = Certificate::from_pem(text(&signed, "certificate")).unwrap();
        assert_eq!(certificate.subject().unwrap().to_string(), "CN=any.org,O=Any");
        assert_eq!(certificate.alt_names().unwrap().uri, ["urn:x"]);
        desk.put("v.pem", text(&signed, "certificate"));
        assert!(
            desk.openssl("x509 -in v.pem -noout -ext extendedKeyUsage,keyUsage").contains("Code Signing")
        );
    }
    let ca = desk.csr(&format!("{EC} -subj /CN=any.org -addext basicConstraints=CA:TRUE"));
    bench.post("sign-verbatim", json!({"csr": ca})).refuses(400, "sign-verbatim signs leaves only");
}

#[test]
fn formats_are_what_clients_expect() {
    let bench = ready();
    let issue = |more: Value| {
        let mut body = json!({"common_name": "a.example.com"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bench.post("issue/r", body).is(200)
    };
    let plain = issue(json!({}));
    for field in ["certificate", "private_key", "issuing_ca"] {
        assert!(!text(&plain, field).ends_with('\n'));
    }
    assert!(text(&plain, "private_key").starts_with("-----BEGIN EC PRIVATE KEY"));
    assert_eq!(plain.data["private_key_type"], "ec");
    assert!(
        text(&issue(json!({"private_key_format": "pkcs8"})), "private_key")
            .starts_with("-----BEGIN PRIVATE KEY")
    );
    let bundle = issue(json!({"format": "pem_bundle"}));
    let labels: Vec<_> =
        x509::pem::blocks(text(&bundle, "certificate")).unwrap().iter().map(|b| b.label.to_owned()).collect();
    assert_eq!(labels, ["EC PRIVATE KEY", "CERTIFICATE", "CERTIFICATE"]);
    let der = issue(json!({"format": "der"}));
    assert!(
        text(&der, "certificate").starts_with("MII")
            && der.data["ca_chain"][0].as_str().unwrap().starts_with("MII")
    );
}

fn list(bench: &Bench) -> RevocationList {
    let list = RevocationList::from_der(&bench.get("crl").is(200).bytes).unwrap();
    let ca = Certificate::from_der(&bench.get("ca").is(200).bytes).unwrap();
    list.verify(ca.public_key()).unwrap();
    list
}

#[test]
fn a_revoked_certificate_is_on_the_list_at_once() {
    let (mut bench, desk) = (ready(), Desk::new("revoke"));
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    let serial = text(&leaf, "serial_number").to_owned();
    let before = list(&bench);
    assert!(before.revoked.is_empty());
    bench.list("certs/revoked").is(404);
    bench.wait(10);
    let revoked = bench.post("revoke", json!({"serial_number": serial.replace(':', "-")})).is(200);
    assert_eq!(revoked.data["state"], "revoked");
    assert_eq!(revoked.data["revocation_time"], NOW + 10);
    bench.wait(10);
    let again = bench.post("revoke", json!({"serial_number": serial})).is(200);
    assert_eq!(again.data, revoked.data);
    let after = list(&bench);
    assert_eq!(after.revoked_at(&Serial::parse(&serial).unwrap()), Some(NOW + 10));
    assert!(after.number > before.number && after.this_update == NOW + 10);
    let shown = bench.get(&format!("cert/{serial}")).is(200);
    assert_eq!(shown.data["revocation_time"], NOW + 10);
    assert_eq!(shown.data["issuer_id"], bench.get("issuer/default").data["issuer_id"]);
    assert_eq!(bench.list("certs/revoked").data, json!({"keys": [serial]}));
    desk.put("crl.pem", bench.get("crl/pem").text).put("ca.pem", bench.get("ca/pem").text);
    assert!(desk.openssl("crl -in crl.pem -noout -text -CAfile ca.pem").contains("verify OK"));
    assert_eq!(bench.get("issuer/default/crl").data["crl"].as_str().unwrap().trim(), desk.text("crl.pem"));

    bench.wait(71 * 3600);
    let later = list(&bench);
    assert!(later.next_update.unwrap() > NOW + 71 * 3600 + 3600, "a list is good for a while yet");
    assert_eq!(later.revoked.len(), 1);
    bench.get("crl/rotate").is(200);
    assert!(list(&bench).number > later.number);

    bench
        .post("revoke", json!({"serial_number": "aa:bb"}))
        .refuses(400, "certificate with serial aa:bb not found.");
    bench
        .post("revoke", json!({}))
        .refuses(400, "The serial number or certificate to revoke must be provided.");
    bench
        .post("revoke", json!({"certificate": "zz"}))
        .refuses(500, "provided certificate data was too short");
    let ca = bench.get("ca/pem").text;
    bench.post("revoke", json!({"certificate": ca})).refuses(400, "to its own CRL is not allowed");
}

#[test]
fn who_holds_the_key_may_revoke_and_nobody_elses_certificate() {
    let bench = ready();
    role(&bench, json!({"no_store": true}));
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    let other = bench.post("issue/r", json!({"common_name": "b.example.com"})).is(200);
    let (certificate, key) = (text(&leaf, "certificate"), text(&leaf, "private_key"));
    bench.get(&format!("cert/{}", text(&leaf, "serial_number"))).is(404);
    bench.post("revoke", json!({"serial_number": text(&leaf, "serial_number")})).refuses(400, "not found");
    bench
        .post("revoke-with-key", json!({"certificate": text(&other, "certificate"), "private_key": key}))
        .refuses(400, "doesn't match");
    bench
        .post("revoke-with-key", json!({"certificate": certificate, "private_key": "zz"}))
        .refuses(400, "Provided data for private_key was too short");
    bench.post("revoke-with-key", json!({"certificate": certificate, "private_key": key})).is(200);
    assert_eq!(list(&bench).revoked.len(), 1);
    let foreign = ready();
    foreign
        .post("revoke", json!({"certificate": certificate}))
        .refuses(400, "not signed by any issuer of this mount");
}

#[test]
fn a_leased_certificate_is_revoked_when_the_lease_ends() {
    let mut bench = ready();
    role(&bench, json!({"generate_lease": true}));
    bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    assert_eq!(bench.tick(), 0);
    bench.post("config/crl", json!({"allow_expired_cert_revocation": true})).is(200);
    bench.wait(3601);
    assert_eq!(bench.tick(), 1);
    assert_eq!(list(&bench).revoked.len(), 1);
}

#[test]
fn many_revocations_survive_tidy_rotation_and_auto_rebuild() {
    let mut bench = ready();
    let mut revoked = Vec::new();
    for at in 0..60 {
        let ttl = if at % 2 == 0 { "1h" } else { "70h" };
        let leaf = bench.post("issue/r", json!({"common_name": "a.example.com", "ttl": ttl})).is(200);
        bench.post("revoke", json!({"serial_number": text(&leaf, "serial_number")})).is(200);
        if at % 2 == 1 {
            revoked.push(Serial::parse(text(&leaf, "serial_number")).unwrap());
        }
    }
    revoked.sort();
    bench.wait(3600 * 2);
    let before = list(&bench);
    assert_eq!(before.revoked.len(), 60);
    let tidy = bench.post("tidy", json!({"tidy_cert_store": true, "tidy_revoked_certs": true, "safety_buffer": "30m", "page_size": 10})).is(202);
    assert!(tidy.warnings[0].contains("successfully started"));
    bench.post("tidy", json!({"safety_buffer": "-1h"})).refuses(400, "cannot provide negative value '-3600'");
    assert_eq!(bench.get("tidy-status").data["state"], "Running");
    assert!(bench.tick() > 6, "a tidy goes in pieces");
    let status = bench.get("tidy-status").is(200);
    assert_eq!(status.data["state"], "Finished");
    assert_eq!(status.data["cert_store_deleted_count"], 30);
    let kept = list(&bench);
    assert_eq!(kept.revoked.iter().map(|(serial, _)| serial.clone()).collect::<Vec<_>>(), revoked);
    assert!(kept.number > before.number);

    bench.post("config/crl", json!({"auto_rebuild": true, "enable_delta": true})).is(200);
    let complete = list(&bench);
    bench.wait(60);
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    bench.post("revoke", json!({"serial_number": text(&leaf, "serial_number")})).is(200);
    assert_eq!(list(&bench), complete, "the list stays until it is rebuilt");
    let delta = RevocationList::from_der(&bench.get("crl/delta").is(200).bytes).unwrap();
    assert_eq!((delta.delta_of, delta.revoked.len()), (complete.number, 1));
    bench.wait(60 * 3600);
    assert_eq!(list(&bench).revoked.len(), 31);
    bench
        .post("config/crl", json!({"expiry": "zz"}))
        .refuses(400, "given expiry could not be decoded: time: invalid duration \"zz\"");
}

#[test]
fn issuers_and_keys_are_named_listed_and_deleted() {
    let bench = mount();
    let first = bench
        .post(
            "root/generate/exported",
            json!({"common_name": "A", "key_type": "ec", "issuer_name": "a", "key_name": "ka"}),
        )
        .is(200);
    assert!(text(&first, "private_key").contains("EC PRIVATE KEY"));
    bench
        .post("root/generate/internal", json!({"common_name": "B", "issuer_name": "a", "key_type": "ec"}))
        .refuses(400, "issuer name already in use");
    bench
        .post(
            "root/generate/internal",
            json!({"common_name": "B", "issuer_name": "default", "key_type": "ec"}),
        )
        .refuses(400, "reserved keyword 'default'");
    bench
        .post("root/generate/zz", json!({"common_name": "B"}))
        .refuses(400, "the \"exported\" path parameter must be");
    let second = bench.post("root/generate/existing", json!({"common_name": "B", "key_ref": "ka"})).is(200);
    assert_eq!(first.data["key_id"], second.data["key_id"]);
    let (a, b) = (text(&first, "issuer_id"), text(&second, "issuer_id"));
    assert_eq!(bench.get("config/issuers").data["default"], a);
    bench.post("config/issuers", json!({"default": b})).is(200);
    assert_eq!(bench.list("issuers").data["key_info"][b]["is_default"], true);
    bench
        .post("config/issuers", json!({"default": "nope"}))
        .refuses(400, "Error resolving issuer reference: unable to find PKI issuer for reference: nope");
    let renamed = bench
        .post(
            "issuer/a",
            json!({"issuer_name": "c", "usage": "read-only", "issuing_certificates": "http://i/ca"}),
        )
        .is(200);
    assert_eq!(
        (renamed.data["issuer_name"].as_str(), renamed.data["usage"].as_str()),
        (Some("c"), Some("read-only"))
    );
    role(&bench, json!({"issuer_ref": "c"})).is(200);
    bench
        .post("issue/r", json!({"common_name": "a.example.com"}))
        .refuses(500, "does not allow issuing-certificates");
    bench
        .post("issuer/c", json!({"leaf_not_after_behavior": "zz"}))
        .refuses(400, "Unknown value for field `leaf_not_after_behavior`");
    bench.post("issuer/c", json!({"usage": "zz"})).refuses(400, "Unable to parse specified usages: [zz]");
    assert_eq!(bench.get("key/ka").is(200).data["key_type"], "ec");
    bench.delete("key/ka").refuses(400, "Key in Use by Issuer");
    bench
        .post("keys/generate/internal", json!({"key_type": "ec", "key_name": "ka"}))
        .refuses(400, "key name already in use");
    bench.post("keys/generate/internal", json!({"key_type": "ec", "key_name": "kb"})).is(200);
    bench.post("key/kb", json!({"key_name": "a b"})).refuses(400, "outside of valid character limits");
    bench.delete("key/kb").is(204);
    let gone = bench.delete(&format!("issuer/{b}")).is(200);
    assert!(gone.warnings[0].contains("was configured as the default issuer"));
    role(&bench, json!({"issuer_ref": "c"})).is(200);
    let named = bench
        .post("root/generate/existing", json!({"common_name": "D", "key_ref": "ka", "issuer_name": "d"}))
        .is(200);
    role(&bench, json!({"issuer_ref": "d"})).is(200);
    let id = text(&named, "issuer_id");
    assert_eq!(bench.delete(&format!("issuer/{id}")).is(200).warnings, ["1 roles reference d"]);
    bench.get("issuer/default").refuses(500, "no default issuer currently configured");
    let rotated = bench.post("root/rotate/internal", json!({"common_name": "N", "key_type": "ec"})).is(200);
    assert_eq!(rotated.data["issuer_name"], "next");
    assert_eq!(bench.post("root/replace", json!({})).is(200).data["default"], rotated.data["issuer_id"]);
    bench.delete("root").is(200);
    bench.list("issuers").is(404);
    bench.list("keys").is(404);
}

#[test]
fn a_ca_moves_here_with_its_key() {
    let (old, new, desk) = (mount(), mount(), Desk::new("import"));
    let root = old
        .post(
            "root/generate/exported",
            json!({"common_name": "Root", "key_type": "ec", "organization": "A,B"}),
        )
        .is(200);
    let bundle = format!("{}\n{}", text(&root, "private_key"), text(&root, "certificate"));
    new.post("issuers/import/cert", json!({"pem_bundle": bundle}))
        .refuses(400, "private keys found in the PEM bundle");
    let imported = new.post("config/ca", json!({"pem_bundle": bundle})).is(200);
    assert_eq!(imported.data["imported_keys"].as_array().unwrap().len(), 1);
    let again = new.post("issuers/import/bundle", json!({"pem_bundle": bundle})).is(200);
    assert_eq!(
        (&again.data["imported_issuers"], &again.data["existing_issuers"]),
        (&Value::Null, &imported.data["imported_issuers"])
    );
    role(&new, json!({})).is(200);
    let leaf = new.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    desk.put("root.pem", text(&root, "certificate")).put("leaf.pem", text(&leaf, "certificate"));
    desk.openssl(&format!("verify -x509_strict -attime {NOW} -CAfile root.pem leaf.pem"));
    new.post("config/ca", json!({"pem_bundle": "zz"})).refuses(400, "provided data for import was too short");
    new.post("config/ca", json!({"pem_bundle": text(&leaf, "certificate")})).refuses(400, "is not a CA's");
    new.post("keys/import", json!({"pem_bundle": text(&leaf, "private_key"), "key_name": "k"})).is(200);
}

#[test]
fn an_intermediate_gets_no_more_than_its_issuer_has() {
    let (bench, desk) = (mount(), Desk::new("intermediate"));
    bench
        .post(
            "root/generate/internal",
            json!({"common_name": "Root", "key_type": "ec", "max_path_length": 1, "ttl": "100h"}),
        )
        .is(200);
    let csr = desk.csr(&format!("{EC} -subj /O=Corp/CN=Int"));
    let signed = bench.post("root/sign-intermediate", json!({"csr": csr, "use_csr_values": true, "ttl": "500h", "permitted_dns_domains": "example.com", "max_path_length": 7})).is(200);
    let certificate = Certificate::from_pem(text(&signed, "certificate")).unwrap();
    assert_eq!(certificate.path_length(), Some(0));
    assert_eq!(certificate.validity().not_after, NOW + 500 * 3600);
    assert!(signed.warnings.iter().any(|warning| warning.contains("after the CA's expiration time")));
    assert_eq!(certificate.subject().unwrap().to_string(), "CN=Int,O=Corp");
    desk.put("i.pem", text(&signed, "certificate"));
    assert!(desk.openssl("x509 -in i.pem -noout -ext nameConstraints").contains("DNS:example.com"));
    let bridged =
        bench.post("root/sign-self-issued", json!({"certificate": bench.get("ca/pem").text})).is(200);
    assert!(text(&bridged, "certificate").starts_with("-----BEGIN CERTIFICATE"));
    bench
        .post("root/sign-self-issued", json!({"certificate": "x"}))
        .refuses(400, "certificate could not be PEM-decoded");
    bench
        .post("root/sign-self-issued", json!({"certificate": text(&signed, "certificate")}))
        .refuses(400, "not self-issued");
    let revoked = bench.post("issuer/default/revoke", json!({})).is(200);
    assert_eq!((&revoked.data["revoked"], revoked.warnings.len()), (&json!(true), 2));
    role(&bench, json!({})).is(200);
    bench
        .post("issue/r", json!({"common_name": "a.example.com"}))
        .refuses(500, "does not allow issuing-certificates");
}

#[test]
fn certificates_are_listed_in_pages_and_read_raw() {
    let bench = ready();
    let mut serials: Vec<_> = (0..3)
        .map(|_| {
            text(&bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200), "serial_number")
                .to_owned()
        })
        .collect();
    let ca = Certificate::from_der(&bench.get("ca").bytes).unwrap();
    serials.push(ca.serial().colons());
    serials.sort();
    assert_eq!(bench.list("certs").data, json!({"keys": serials}));
    assert_eq!(bench.list("certs?limit=2").data, json!({"keys": serials[..2]}));
    assert_eq!(bench.list(&format!("certs?after={}", serials[1])).data, json!({"keys": serials[2..]}));
    let detailed = bench.list("certs/detailed").is(200);
    assert_eq!(detailed.data["key_info"][&serials[0]]["issuer"], "CN=Root");
    let raw = bench.get(&format!("cert/{}/raw", serials[0])).is(200).bytes;
    assert_eq!(Certificate::from_der(&raw).unwrap().serial().colons(), serials[0]);
    assert!(bench.get(&format!("cert/{}/raw/pem", serials[0])).is(200).text.starts_with("-----BEGIN"));
    bench.get("cert/nope").refuses(404, "unsupported path");
    bench.get("cert/00-01").is(404);
    for path in ["cert/ca", "cert/ca_chain", "cert/crl", "cert/delta-crl", "issuer/default/json"] {
        bench.get(path).is(200);
    }
}

#[test]
fn urls_are_filled_in_and_bad_ones_refused() {
    let (bench, desk) = (ready(), Desk::new("urls"));
    bench.post("config/urls", json!({"issuing_certificates": "zz"})).refuses(
        400,
        "invalid URL found in Authority Information Access (AIA) parameter issuing_certificates: zz",
    );
    bench.post("config/urls", json!({"enable_templating": true, "crl_distribution_points": "{{cluster_aia_path}}/issuer/{{issuer_id}}/crl/der"})).is(200);
    bench
        .post("issue/r", json!({"common_name": "a.example.com"}))
        .refuses(400, "which config/cluster does not set");
    bench.post("config/cluster", json!({"path": "https://v/v1/pki", "aia_path": "http://v/v1/pki"})).is(200);
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    let id = bench.get("issuer/default").data["issuer_id"].as_str().unwrap().to_owned();
    desk.put("l.pem", text(&leaf, "certificate"));
    let shown = desk.openssl("x509 -in l.pem -noout -ext crlDistributionPoints");
    assert!(shown.contains(&format!("http://v/v1/pki/issuer/{id}/crl/der")), "{shown}");
}

#[test]
fn tidying_by_itself_waits_for_its_interval() {
    let mut bench = ready();
    bench
        .post("config/auto-tidy", json!({"enabled": true}))
        .refuses(400, "Auto-tidy enabled but no tidy operations were requested");
    let auto = bench
        .post("config/auto-tidy", json!({"enabled": true, "tidy_cert_store": true, "safety_buffer": "1h"}))
        .is(200);
    assert_eq!(
        (&auto.data["interval_duration"], &auto.data["safety_buffer"]),
        (&json!(43_200), &json!(3600))
    );
    assert_eq!(bench.get("config/auto-tidy").data, auto.data);
    bench.wait(1);
    assert_eq!(bench.post("tidy-cancel", json!({})).is(200).warnings.len(), 1);
}

#[test]
fn a_role_is_bound_to_its_issuer() {
    let (bench, desk) = (ready(), Desk::new("bound"));
    bench
        .post(
            "root/generate/internal",
            json!({"common_name": "Other", "key_type": "ec", "issuer_name": "other"}),
        )
        .is(200);
    let csr = desk.csr(&format!("{EC} -subj /CN=a.example.com"));
    let issuer = |path: &str, body: Value| {
        let answer = bench.post(path, body).is(200);
        let certificate = Certificate::from_pem(text(&answer, "certificate")).unwrap();
        (
            certificate.issuer().unwrap().common_name,
            answer.warnings.iter().any(|warning| warning.contains("was ignored")),
        )
    };
    let issue = json!({"common_name": "a.example.com", "issuer_ref": "other"});
    let sign = json!({"csr": csr, "issuer_ref": "other", "ttl": "1h"});
    for (path, body, expect) in [
        ("issue/r", &issue, ("Root".to_owned(), true)),
        ("sign/r", &sign, ("Root".to_owned(), true)),
        ("sign-verbatim/r", &sign, ("Root".to_owned(), true)),
        ("sign-verbatim", &sign, ("Other".to_owned(), false)),
        ("issuer/other/issue/r", &issue, ("Other".to_owned(), false)),
        ("issuer/other/sign/r", &sign, ("Other".to_owned(), false)),
        ("issuer/other/sign-verbatim/r", &sign, ("Other".to_owned(), false)),
        ("issuer/default/issue/r", &issue, ("Root".to_owned(), false)),
    ] {
        assert_eq!(issuer(path, body.clone()), expect, "{path}");
    }
    role(&bench, json!({"issuer_ref": "other"})).is(200);
    assert_eq!(
        issuer("issue/r", json!({"common_name": "a.example.com", "issuer_ref": "default"})),
        ("Other".to_owned(), false)
    );
}
