//! What certificates say, by every kind of issuer, for every kind of key.

use serde_json::{Value, json};

use crate::{Desk, USER_KEY, below, mount, ready, role, said, sign};

#[test]
fn a_certificate_says_what_was_granted() {
    let bench = ready(json!({
        "default_extensions": {"permit-pty": "", "login@example.com": 5},
        "ttl": "1h", "max_ttl": "10h", "allow_user_key_ids": true,
    }));
    let answer = sign(&bench, json!({"valid_principals": "bob, ann,ann"})).is(200);
    let said = said(&answer);
    assert!(said.contains(&"Type: ssh-ed25519-cert-v01@openssh.com user certificate".to_owned()), "{said:?}");
    assert_eq!(below(&said, "Principals:"), ["ann", "bob"]);
    assert_eq!(below(&said, "Critical Options"), Vec::<String>::new());
    assert_eq!(
        below(&said, "Extensions:"),
        ["login@example.com UNKNOWN OPTION: 0000000135 (len 5)", "permit-pty"]
    );
    assert!(said.iter().any(|line| line.starts_with("Key ID: \"vault-")), "{said:?}");
    // The bench begins on the first of January 2026; a certificate half a minute before.
    let valid = said.iter().find(|line| line.starts_with("Valid:")).unwrap();
    assert!(valid.contains("59:30 to ") && valid.ends_with(":00:00"), "{valid}");
    let serial = u64::from_str_radix(answer.data["serial_number"].as_str().unwrap(), 16).unwrap();
    assert!(said.contains(&format!("Serial: {serial}")), "{serial} {said:?}");
    assert_eq!(answer.data["issuer_id"], bench.get("config/ca").data["issuer_id"]);
    assert!(answer.data["signed_key"].as_str().unwrap().ends_with('\n'));
    let other = sign(&bench, json!({"key_id": "mine", "ttl": "5h"})).is(200);
    assert_ne!(other.data["serial_number"], answer.data["serial_number"]);
    assert!(crate::said(&other).contains(&"Key ID: \"mine\"".to_owned()));
}

#[track_caller]
fn check_issuer(key: Value, algorithm: &str) {
    let bench = mount();
    let made = bench.post("config/ca", key).is(200);
    assert!(made.data["public_key"].as_str().unwrap().ends_with('\n'));
    assert_eq!(bench.get("public_key").is(200).text, made.data["public_key"].as_str().unwrap());
    role(&bench, json!({}));
    let said = said(&sign(&bench, json!({})).is(200));
    let signing = said.iter().find(|line| line.starts_with("Signing CA:")).unwrap();
    assert!(signing.ends_with(&format!("(using {algorithm})")), "{signing}");
}

#[test]
fn every_kind_of_issuer_signs() {
    check_issuer(json!({"key_type": "ssh-ed25519"}), "ssh-ed25519");
    check_issuer(json!({"key_type": "ed25519"}), "ssh-ed25519");
    check_issuer(json!({"key_type": "ecdsa-sha2-nistp256"}), "ecdsa-sha2-nistp256");
    check_issuer(json!({"key_type": "ecdsa-sha2-nistp384"}), "ecdsa-sha2-nistp384");
    check_issuer(json!({"key_type": "ecdsa-sha2-nistp521"}), "ecdsa-sha2-nistp521");
    check_issuer(json!({"key_type": "ec", "key_bits": 384}), "ecdsa-sha2-nistp384");
    check_issuer(json!({"key_type": "rsa", "key_bits": 2048}), "rsa-sha2-256");
}

#[test]
fn an_rsa_issuer_signs_as_the_role_says() {
    let bench = mount();
    bench.post("config/ca", json!({"key_type": "ssh-rsa", "key_bits": 2048})).is(200);
    for (asked, used) in
        [("", "rsa-sha2-256"), ("rsa-sha2-256", "rsa-sha2-256"), ("rsa-sha2-512", "rsa-sha2-512")]
    {
        role(&bench, json!({"algorithm_signer": asked}));
        let said = said(&sign(&bench, json!({})).is(200));
        assert!(said.iter().any(|line| line.ends_with(&format!("(using {used})"))), "{said:?}");
    }
    let weak = json!({"key_type": "ca", "allow_user_certificates": true, "algorithm_signer": "ssh-rsa"});
    bench.post("roles/r", weak).refuses(400, "signs with SHA-1");
}

#[test]
fn every_kind_of_key_is_signed() {
    let (bench, desk) = (ready(json!({})), Desk::new());
    for (arguments, kind) in [
        (&["-t", "ed25519"][..], "ssh-ed25519-cert-v01@openssh.com"),
        (&["-t", "ecdsa", "-b", "256"], "ecdsa-sha2-nistp256-cert-v01@openssh.com"),
        (&["-t", "ecdsa", "-b", "521"], "ecdsa-sha2-nistp521-cert-v01@openssh.com"),
        (&["-t", "rsa", "-b", "2048"], "ssh-rsa-cert-v01@openssh.com"),
    ] {
        let (_, public) = desk.pair(arguments);
        let said = said(&sign(&bench, json!({"public_key": public})).is(200));
        assert!(said.contains(&format!("Type: {kind} user certificate")), "{said:?}");
    }
    for (key, why) in [
        ("", "missing public_key"),
        ("zz", "failed to parse public_key as SSH key: illegal base64 data at input byte 0"),
        ("AAAABHpvcHA=", "failed to parse public_key as SSH key: ssh: unknown key algorithm: zopp"),
    ] {
        sign(&bench, json!({ "public_key": key })).refuses(400, why);
    }
    // A certificate is no key to certify.
    let signed = sign(&bench, json!({})).is(200).data["signed_key"].clone();
    sign(&bench, json!({ "public_key": signed })).refuses(400, "unknown key algorithm");
}

#[track_caller]
fn check_issued(key: Value, begin: &str, kind: &str) {
    let (bench, desk) = (ready(json!({"default_user": "ann"})), Desk::new());
    let mut body = json!({});
    body.as_object_mut().unwrap().extend(key.as_object().unwrap().clone());
    let answer = bench.post("issue/r", body).is(200);
    let private = answer.data["private_key"].as_str().unwrap();
    assert!(private.starts_with(&format!("-----BEGIN {begin} PRIVATE KEY-----\n")), "{begin}");
    assert!(private.ends_with(&format!("-----END {begin} PRIVATE KEY-----\n")), "{begin}");
    assert_eq!(answer.data["private_key_type"], key["key_type"]);
    desk.put("k", private);
    let public = desk.keygen(&["-y", "-f", "k"]);
    assert!(public.starts_with(kind), "{public}");
    desk.put("k.pub", &public);
    let print = desk.keygen(&["-l", "-f", "k.pub"]);
    let print = print.split(' ').nth(1).unwrap();
    let said = said(&answer);
    assert!(said.iter().any(|line| line.starts_with("Public key:") && line.ends_with(print)), "{said:?}");
    assert_eq!(below(&said, "Principals:"), ["ann"]);
}

#[test]
fn a_key_is_made_with_its_certificate() {
    check_issued(json!({"key_type": "ed25519"}), "OPENSSH", "ssh-ed25519 ");
    check_issued(json!({"key_type": "ec"}), "EC", "ecdsa-sha2-nistp256 ");
    check_issued(json!({"key_type": "ec", "key_bits": 521}), "EC", "ecdsa-sha2-nistp521 ");
    check_issued(json!({"key_type": "rsa", "key_bits": 2048}), "RSA", "ssh-rsa ");
    let bench = ready(json!({"default_user": "ann"}));
    for (body, why) in [
        (json!({"key_type": "dsa"}), "unknown ssh key pair algorithm: dsa"),
        (
            json!({"key_type": "rsa", "key_bits": 1024}),
            "refusing to generate weak rsa key: 1024 bits < 2048 bits",
        ),
        (json!({"key_type": "rsa", "key_bits": -1}), "refusing to generate weak rsa key"),
        (json!({"key_type": "ec", "key_bits": 224}), "unknown ECDSA key pair algorithm and bits: ec / 224"),
        (json!({"key_bits": "many"}), "field \"key_bits\""),
    ] {
        bench.post("issue/r", body).refuses(400, why);
    }
    bench.post("issue/nope", json!({})).refuses(400, "unknown role: nope");
    bench.post("sign/nope", json!({"public_key": USER_KEY})).refuses(400, "Unknown role: nope");
}
