//! Roles, and what is issued under them.

use std::fs;

use serde_json::{Value, json};
use x509::Certificate;

use crate::{Desk, EC, NOW, mount, ready, role, text};

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
    bench.patch("roles/none", json!({"ttl": "1h"})).refuses(400, "Unable to fetch role entry to patch");
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

/// Where no certificate is to be shown above a leaf, the answer has no chain, as that of OpenBao.
#[test]
fn a_chain_of_roots_alone_is_left_out() {
    let bench = ready();
    for (path, format) in [("issue/r", "pem"), ("issue/r", "der"), ("issue/r", "pem_bundle")] {
        let body = json!({"common_name": "a.example.com", "remove_roots_from_chain": true, "format": format});
        let leaf = bench.post(path, body).is(200);
        assert!(leaf.data.get("ca_chain").is_none(), "{format}: {:?}", leaf.data);
        assert_eq!(text(&leaf, "certificate").matches("BEGIN CERT").count(), usize::from(format != "der"));
    }
}

/// Object identifiers under 2 have second numbers above 39 (`2.999` is for examples), and each field takes them.
#[test]
fn object_identifiers_have_large_second_numbers() {
    let (bench, desk) = (ready(), Desk::new("oids"));
    let rules = json!({"ext_key_usage_oids": "2.999.1,2.49", "policy_identifiers": ["2.999.7"], "allowed_other_sans": "2.999.3;UTF8:*"});
    role(&bench, rules);
    let leaf = bench
        .post("issue/r", json!({"common_name": "a.example.com", "other_sans": "2.999.3;UTF8:x"}))
        .is(200);
    desk.put("leaf.pem", text(&leaf, "certificate"));
    let said = desk.openssl("x509 -in leaf.pem -noout -text");
    for part in ["2.999.1", "2.49", "Policy: 2.999.7", "othername"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let csr = desk.csr(&format!("{EC} -subj /CN=a.example.com -addext subjectAltName=DNS:a.example.com,otherName:2.999.3;UTF8:y -addext extendedKeyUsage=2.999.9 -addext 2.999.10=DER:0500"));
    let verbatim = bench.post("sign-verbatim", json!({"csr": csr})).is(200);
    desk.put("leaf.pem", text(&verbatim, "certificate"));
    let said = desk.openssl("x509 -in leaf.pem -noout -text");
    assert!(said.contains("2.999.10"), "{said}");
    for wrong in ["3.1", "1.40.5", "2.2147483648", "2.999.", "2"] {
        bench
            .post("roles/x", json!({"ext_key_usage_oids": wrong}))
            .refuses(400, "could not be parsed as a valid oid");
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
    let cut = issue(beyond.clone()).is(200);
    assert_eq!(cut.data["expiration"], NOW + 700 * 3600, "a new issuer cuts leaves to its own end");
    assert!(cut.warnings[0].contains("ends with its issuer at 2026-01-30T04:00:00Z"), "{:?}", cut.warnings);
    bench.patch("issuer/default", json!({"leaf_not_after_behavior": "err"})).is(200);
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
}

#[test]
fn names_beyond_dns_are_held_to_the_lists_of_the_role() {
    let bench = ready();
    let refused = |body: Value, why: &str| bench.post("issue/r", body).refuses(400, why);
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
    let csr = desk.csr(&format!(
        "{EC} -subj /O=Evil/CN=a.example.com -addext subjectAltName=DNS:b.example.com,IP:8.8.8.8"
    ));
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
    bench.post("sign-verbatim", json!({"csr": ca})).refuses(400, "only leaves are signed here");
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

/// A template may name the caller as a login knows it, and by a group; what nobody has is warned of.
#[test]
fn templates_know_aliases_and_groups() {
    let mut bench = ready();
    let mut ann = crate::entity("e1");
    let entity = ann.entity.as_mut().unwrap();
    let alias = policy::Alias { name: "ann".to_owned(), ..policy::Alias::default() };
    entity.aliases.insert("auth_userpass_1".to_owned(), alias);
    entity.groups.push(policy::Group { id: "g1".into(), name: "web".into(), ..policy::Group::default() });
    let templates = json!({
        "allowed_domains": "{{identity.entity.aliases.auth_userpass_1.name}}.example.com,{{identity.groups.names.web.id}}.example.com",
        "allowed_domains_template": true, "allow_bare_domains": true, "allow_subdomains": false,
        "allowed_uri_sans": "spiffe://x/{{identity.entity.aliases.auth_userpass_1.name}}", "allowed_uri_sans_template": true,
    });
    assert_eq!(role(&bench, templates).is(200).warnings, [""; 0]);
    bench.caller = ann;
    let issue = |name: &str, uri: &str| bench.post("issue/r", json!({"common_name": name, "uri_sans": uri}));
    issue("ann.example.com", "spiffe://x/ann").is(200);
    issue("g1.example.com", "spiffe://x/ann").is(200);
    issue("bob.example.com", "spiffe://x/ann").refuses(400, "falls under none of allowed_domains");
    issue("ann.example.com", "spiffe://x/bob").refuses(400, "fits none of allowed_uri_sans");
    let odd = role(&bench, json!({"allowed_domains": "{{token.name}}.x", "allowed_domains_template": true}))
        .is(200);
    assert!(
        odd.warnings[0].contains("allowed_domains holds the template \"token.name\""),
        "{:?}",
        odd.warnings
    );
}

/// A comma divides other names where they come as one text, and nothing in a list of one.
#[test]
fn a_list_of_one_other_name_may_hold_a_comma() {
    let bench = ready();
    let allowed = json!({"allow_any_name": true, "allowed_other_sans": ["1.2.3;UTF8:a,b"]});
    assert_eq!(role(&bench, allowed).is(200).data["allowed_other_sans"], json!(["1.2.3;UTF8:a,b"]));
    let issue =
        |sans: Value| bench.post("issue/r", json!({"common_name": "x.example.com", "other_sans": sans}));
    issue(json!(["1.2.3;UTF8:a,b"])).is(200);
    issue(json!(["1.2.3;UTF8:a"])).refuses(400, "allowed_other_sans");
    let allowed = json!({"allow_any_name": true, "allowed_other_sans": "1.2.3;UTF8:a,1.2.4;UTF8:b"});
    role(&bench, allowed).is(200);
    issue(json!("1.2.3;UTF8:a,1.2.4;UTF8:b")).is(200);
    issue(json!("1.2.3;UTF8:a,1.2.4;UTF8:c")).refuses(400, "allowed_other_sans");
}
