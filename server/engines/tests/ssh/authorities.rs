//! Issuers and roles: made, brought, named, deleted.

use serde_json::{Value, json};

use crate::{Bench, Desk, USER_KEY, mount, ready, role, said, sign};

#[test]
fn a_mount_without_an_issuer_says_so() {
    let bench = mount();
    role(&bench, json!({}));
    let nobody = "no default issuer currently configured";
    for path in ["config/ca", "config/issuers", "public_key", "issuer/default", "issuer/default/public_key"] {
        bench.get(path).refuses(400, nobody);
    }
    sign(&bench, json!({})).refuses(400, nobody);
    bench.list("issuers").is(404);
    bench.delete("config/ca").is(204);
}

#[test]
fn issuers_are_made_named_and_deleted() {
    let bench = mount();
    let made = |path: &str, body: Value| bench.post(path, body).is(200).data;
    let first = made("config/ca", json!({"key_type": "ed25519", "issuer_name": "one"}));
    let second = made("issuers/import/two", json!({"key_type": "ec"}));
    assert_eq!((&first["issuer_name"], &second["issuer_name"]), (&json!("one"), &json!("two")));
    assert_eq!(bench.get("config/issuers").data["default"], first["issuer_id"]);
    for (name, why) in [
        ("two", "issuer name already in use"),
        ("default", "reserved keyword 'default' can not be used as issuer name"),
        ("a b", "issuer name contained invalid characters"),
        ("", "expected non-empty issuer name"),
    ] {
        bench.post("issuers/import", json!({"key_type": "ec", "issuer_name": name})).refuses(400, why);
        bench.post("issuer/one", json!({ "issuer_name": name })).refuses(400, why);
    }
    let third = made("issuers/import", json!({"key_type": "ed25519", "set_default": true}));
    assert_eq!(bench.get("config/ca").data, third);
    let listed = bench.list("issuers").is(200).data;
    assert_eq!(listed["keys"].as_array().unwrap().len(), 3);
    let id = third["issuer_id"].as_str().unwrap();
    assert_eq!(
        listed["key_info"][id],
        json!({"is_default": true, "issuer_name": "", "public_key": third["public_key"]})
    );
    assert_eq!(bench.list("issuers?limit=1").data["key_info"].as_object().unwrap().len(), 1);
    let changed = bench.post("config/issuers", json!({"default": "two"})).is(200);
    assert!(
        changed.warnings[0]
            .starts_with(&format!("Previous default ({id}) has been updated with the issuer 'two'"))
    );
    let same = bench.post("config/issuers", json!({"default": "two"})).is(200);
    assert_eq!(same.warnings, ["The default issuer is already set to the specified issuer."]);
    bench
        .post("config/issuers", json!({"default": "default"}))
        .refuses(400, "must be non-empty and can't be 'default'");
    bench
        .post("config/issuers", json!({"default": "nope"}))
        .refuses(400, "unable to find issuer for reference: nope");
    role(&bench, json!({"issuer_ref": "one"}));
    let signed = sign(&bench, json!({})).is(200);
    assert_eq!(signed.data["issuer_id"], first["issuer_id"]);
    let renamed = bench.post("issuer/one", json!({"issuer_name": "uno"})).is(200);
    assert_eq!(renamed.warnings, ["1 roles reference 'one'"]);
    sign(&bench, json!({})).refuses(400, "unable to find issuer for reference: one");
    let gone = bench.delete("issuer/two").is(200);
    assert!(gone.warnings[0].contains("this was configured as the default issuer"), "{gone:?}");
    bench.delete("issuer/two").is(204);
    assert_eq!(
        bench.delete("config/ca").is(200).warnings,
        ["Deleted 2 issuers, including default issuer if configured."]
    );
    bench.get("config/ca").refuses(400, "no default issuer");
}

#[track_caller]
fn bring(bench: &Bench, private: &str, public: &str) -> crate::Answer {
    bench.post("config/ca", json!({"private_key": private, "public_key": public}))
}

#[test]
fn a_ca_of_ssh_keygen_goes_on_signing_here() {
    let desk = Desk::new();
    for arguments in [
        &["-t", "ed25519"][..],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "ecdsa", "-b", "384", "-m", "PEM"],
        &["-t", "rsa", "-b", "2048"],
        &["-t", "rsa", "-b", "2048", "-m", "PEM"],
        &["-t", "rsa", "-b", "2048", "-m", "PKCS8"],
    ] {
        let (private, public) = desk.pair(arguments);
        let bench = mount();
        assert_eq!(bring(&bench, &private, &public).is(200).data["public_key"], public, "{arguments:?}");
        role(&bench, json!({}));
        let print = desk.keygen(&["-l", "-f", "k.pub"]);
        let print = print.split(' ').nth(1).unwrap();
        let said = said(&sign(&bench, json!({})).is(200));
        assert!(said.iter().any(|line| line.starts_with("Signing CA:") && line.contains(print)), "{said:?}");
    }
}

#[test]
fn a_bad_ca_is_refused() {
    let (bench, desk) = (mount(), Desk::new());
    let (private, public) = desk.pair(&["-t", "ed25519"]);
    let (_, other) = desk.pair(&["-t", "ed25519"]);
    bring(&bench, &private, &other).refuses(400, "public_key is not the public half of private_key");
    bring(&bench, "y", &public).refuses(400, "could not parse private_key provided value");
    bring(&bench, &private[..200], &public).refuses(400, "could not parse private_key provided value");
    bring(&bench, &private, "x")
        .refuses(400, "could not parse public_key provided value: illegal base64 data");
    bring(&bench, "", &public).refuses(400, "only one of public_key and private_key set");
    bring(&bench, &private, "").refuses(400, "only one of public_key and private_key set");
    desk.put("k", &private);
    desk.keygen(&["-p", "-q", "-P", "", "-N", "hunter2", "-f", "k"]);
    bring(&bench, &desk.text("k"), &public).refuses(400, "protected by a passphrase");
    for (body, why) in [
        (
            json!({"generate_signing_key": true, "public_key": "x"}),
            "must not be set when generate_signing_key is set to true",
        ),
        (json!({"generate_signing_key": false}), "missing public_key"),
        (json!({"generate_signing_key": "perhaps"}), "field \"generate_signing_key\""),
        (json!({"key_type": "dsa"}), "unknown ssh key pair algorithm: dsa"),
        (
            json!({"key_type": "ssh-rsa", "key_bits": 1024}),
            "refusing to generate weak ssh-rsa key: 1024 bits < 2048 bits",
        ),
        (json!({"key_type": "ssh-rsa", "key_bits": 2050}), "unsupported bit length"),
    ] {
        bench.post("config/ca", body).refuses(400, why);
    }
    bench.list("issuers").is(404);
}

#[test]
fn a_private_key_is_nowhere_to_be_seen() {
    let bench = mount();
    let desk = Desk::new();
    let (private, public) = desk.pair(&["-t", "ed25519"]);
    bring(&bench, &private, &public).is(200);
    let (count, stored) = bench.ids(1);
    assert_eq!(count, 1);
    assert!(String::from_utf8_lossy(&stored).contains("pkcs8"));
    for path in ["config/ca", "issuer/default", "public_key"] {
        let shown = bench.get(path).is(200).text;
        assert!(!shown.contains("pkcs8") && !shown.contains("PRIVATE"), "{shown}");
    }
}

#[test]
fn roles_read_back_as_they_were_written() {
    let bench = ready(json!({}));
    role(
        &bench,
        json!({
            "default_extensions": {"permit-pty": true, "n": 5}, "allowed_user_key_lengths": {"ec": "256,384", "rsa": 2048},
            "ttl": "30m", "not_before_duration": 0, "algorithm_signer": "", "issuer_ref": "later",
        }),
    );
    let shown = bench.get("roles/r").is(200).data;
    let expect = json!({
        "algorithm_signer": "default", "allow_bare_domains": false, "allow_commas_in_identity_templates": false,
        "allow_empty_principals": false, "allow_host_certificates": false, "allow_subdomains": false,
        "allow_user_certificates": true, "allow_user_key_ids": false, "allow_wildcards_in_identity_templates": false,
        "allowed_critical_options": "", "allowed_domains": "", "allowed_domains_template": false, "allowed_extensions": "",
        "allowed_user_key_lengths": {"ec": [256, 384], "rsa": [2048]}, "allowed_users": "ann,bob",
        "allowed_users_template": false, "default_critical_options": {}, "default_extensions": {"n": "5", "permit-pty": "true"},
        "default_extensions_template": false, "default_user": "", "default_user_template": false, "issuer_ref": "later",
        "key_id_format": "", "key_type": "ca", "max_ttl": 0, "not_before_duration": 0, "ttl": 1800,
    });
    assert_eq!(shown, expect);
    bench.post("roles/o", json!({"key_type": "otp", "default_user": "ann"})).is(204);
    let listed = bench.list("roles").is(200).data;
    assert_eq!(
        listed["key_info"],
        json!({"o": {"key_type": "otp"}, "r": {"issuer_ref": "later", "key_type": "ca"}})
    );
    assert_eq!(bench.list("roles?after=o").data["keys"], json!(["r"]));
    for (body, why) in [
        (json!({}), "missing key type"),
        (json!({"key_type": "x"}), "invalid key type"),
        (json!({"key_type": "dynamic"}), "dynamic key type roles are no longer supported"),
        (
            json!({"key_type": "ca"}),
            "Either 'allow_user_certificates' or 'allow_host_certificates' must be set to 'true'",
        ),
        (
            json!({"key_type": "ca", "allow_user_certificates": true, "algorithm_signer": "md5"}),
            "unknown algorithm signer \"md5\"",
        ),
        (
            json!({"key_type": "ca", "allow_user_certificates": true, "allowed_users": "a\nb"}),
            "allowed_users must hold no control characters",
        ),
        (
            json!({"key_type": "ca", "allow_user_certificates": true, "allowed_users": "a".repeat(70_000)}),
            "allowed_users must be at most",
        ),
        (json!({"key_type": "otp"}), "missing default user"),
        (
            json!({"key_type": "otp", "default_user": "u", "port": 65_536}),
            "port must be a number from 1 to 65535",
        ),
        (
            json!({"key_type": "otp", "default_user": "u", "port": -1}),
            "port must be a number from 1 to 65535",
        ),
        (
            json!({"key_type": "otp", "default_user": "u", "cidr_list": "10.0.0.0"}),
            "failed to validate cidr_list: invalid CIDR address: 10.0.0.0",
        ),
    ] {
        bench.post("roles/bad", body).refuses(400, why);
    }
    bench.get("roles/bad").is(404);
    bench.delete("roles/r").is(204);
    bench.delete("roles/r").is(204);
    bench.post("sign/r", json!({"public_key": USER_KEY})).refuses(400, "Unknown role: r");
}
