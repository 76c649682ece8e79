//! Issuers, keys, and the mount around them.

use serde_json::{Value, json};
use x509::Certificate;

use crate::{Desk, EC, NOW, mount, ready, role, text};

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
}

#[test]
fn what_still_names_a_deleted_issuer_is_warned_of() {
    let bench = mount();
    let body = json!({"common_name": "A", "key_type": "ec", "issuer_name": "c", "key_name": "ka"});
    bench.post("root/generate/internal", body).is(200);
    let second = bench.post("root/generate/existing", json!({"common_name": "B", "key_ref": "ka"})).is(200);
    let b = text(&second, "issuer_id");
    bench.post("config/issuers", json!({"default": b})).is(200);
    let gone = bench.delete(&format!("issuer/{b}")).is(200);
    assert!(gone.warnings[0].contains("was configured as the default issuer"));
    role(&bench, json!({"issuer_ref": "c"})).is(200);
    let named = bench
        .post("root/generate/existing", json!({"common_name": "D", "key_ref": "ka", "issuer_name": "d"}))
        .is(200);
    role(&bench, json!({"issuer_ref": "d"})).is(200);
    let id = text(&named, "issuer_id");
    assert_eq!(bench.get("config/issuers").data["default"], id, "there was none, and it can sign");
    assert!(
        bench.delete(&format!("issuer/{id}")).is(200).warnings.contains(&"1 roles reference d".to_owned())
    );
    bench.get("issuer/default").refuses(500, "no default issuer currently configured");
    let rotated = bench.post("root/rotate/internal", json!({"common_name": "N", "key_type": "ec"})).is(200);
    assert_eq!(rotated.data["issuer_name"], "next");
    assert_eq!(bench.post("root/replace", json!({})).is(200).data["default"], rotated.data["issuer_id"]);
    // That name is taken now, and nobody has asked for it.
    let again = bench.post("root/rotate/internal", json!({"common_name": "M", "key_type": "ec"})).is(200);
    assert_eq!(again.data["issuer_name"], "");
    let body = json!({"common_name": "L", "key_type": "ec", "issuer_name": "next"});
    bench.post("root/rotate/internal", body).refuses(400, "issuer name already in use");
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
    assert_eq!(certificate.validity().not_after, NOW + 100 * 3600, "nobody would believe it any longer");
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
        .post(
            "config/auto-tidy",
            json!({"enabled": true, "tidy_cert_store": false, "tidy_revoked_certs": false}),
        )
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

#[test]
fn what_a_ca_excludes_leaves_all_else_free() {
    let bench = mount();
    let made = json!({
        "common_name": "Example", "key_type": "ec", "ttl": "87600h", "permitted_ip_ranges": "10.0.0.0/8",
        "excluded_dns_domains": "bad.example", "excluded_ip_ranges": "10.9.0.0/16",
        "permitted_email_addresses": "example.com", "excluded_uri_domains": ".evil.example",
    });
    let root = bench.post("root/generate/internal", made).is(200);
    role(&bench, json!({"allow_any_name": true, "allowed_uri_sans": "*"})).is(200);
    let desk = Desk::new("excluded");
    desk.put("ca.pem", text(&root, "certificate"));
    let said = desk.openssl("x509 -in ca.pem -noout -text");
    for line in ["IP:10.0.0.0/255.0.0.0", "email:example.com", "DNS:bad.example", "URI:.evil.example"] {
        assert!(said.contains(line), "{said}");
    }
    let issue = |names: Value| {
        let mut body = json!({"common_name": "a.good.example"});
        body.as_object_mut().unwrap().extend(names.as_object().unwrap().clone());
        bench.post("issue/r", body)
    };
    let good = issue(
        json!({"ip_sans": "10.1.1.1", "alt_names": "a@example.com", "uri_sans": "https://a.example/x"}),
    );
    desk.put("l.pem", text(&good.is(200), "certificate"));
    desk.openssl(&format!("verify -attime {} -CAfile ca.pem l.pem", NOW + 60));
    for (names, why) in [
        (json!({"alt_names": "x.bad.example"}), "x.bad.example lies in bad.example, which"),
        (json!({"ip_sans": "10.9.1.1"}), "10.9.1.1 lies in 10.9.0.0/16, which"),
        (json!({"ip_sans": "11.0.0.1"}), "11.0.0.1 lies outside of what"),
        (json!({"ip_sans": "::ffff:10.9.1.1"}), "10.9.1.1 lies in 10.9.0.0/16, which"),
        (json!({"alt_names": "a@example.org"}), "a@example.org lies outside of what"),
        (json!({"uri_sans": "https://x.evil.example/"}), "lies in .evil.example, which"),
    ] {
        issue(names).refuses(400, why);
    }
    for (field, value) in [
        ("permitted_ip_ranges", "10.0.0.0"),
        ("excluded_dns_domains", "a b"),
        ("permitted_uri_domains", "*.x"),
    ] {
        let body = json!({"common_name": "Other", "key_type": "ec", field: value});
        bench.post("root/generate/internal", body).refuses(400, "the name constraint");
    }
}

#[test]
fn a_ca_obeys_the_constraints_on_its_own_names() {
    let bench = mount();
    let made = json!({"common_name": "Example", "key_type": "ec", "ttl": "87600h", "permitted_dns_domains": "example.com"});
    bench.post("root/generate/internal", made).is(200);
    role(&bench, json!({"allow_any_name": true, "enforce_hostnames": false, "require_cn": false, "allowed_uri_sans": "*"})).is(200);
    let issue = |body: Value| bench.post("issue/r", body);
    issue(json!({"common_name": "a.example.com", "alt_names": "*.example.com,example.com"})).is(200);
    issue(json!({"common_name": "a.example.com", "ip_sans": "10.0.0.1"})).is(200);
    let outside =
        "a.example.org lies outside of what the name constraints of the CA permit: example.com (issuer ";
    issue(json!({"common_name": "a.example.org"})).refuses(400, outside);
    issue(json!({"common_name": "a.example.com", "alt_names": "a.example.org"})).refuses(400, outside);
    issue(json!({"common_name": "a.example.org", "exclude_cn_from_sans": true})).refuses(400, outside);
    let desk = Desk::new("constrained");
    let csr = desk.csr("-subj /CN=a.example.org -addext subjectAltName=DNS:a.example.org");
    bench.post("sign-verbatim", json!({"csr": csr})).refuses(400, outside);
    let certificates = || bench.list("certs").data["keys"].as_array().map(Vec::len);
    let before = certificates();
    // An intermediate below it is bound as well, though its own certificate says nothing.
    let csr = bench
        .post("intermediate/generate/internal", json!({"common_name": "Below", "key_type": "ec"}))
        .is(200);
    let signed =
        bench.post("root/sign-intermediate", json!({"csr": text(&csr, "csr"), "ttl": "1000h"})).is(200);
    let set =
        bench.post("intermediate/set-signed", json!({"certificate": text(&signed, "certificate")})).is(200);
    let below = set.data["imported_issuers"][0].as_str().unwrap().to_owned();
    bench
        .post(&format!("issuer/{below}/issue/r"), json!({"common_name": "a.example.org"}))
        .refuses(400, outside);
    bench.post(&format!("issuer/{below}/issue/r"), json!({"common_name": "a.example.com"})).is(200);
    assert_eq!(certificates(), before.map(|count| count + 2), "what was refused is not stored");
}
