use super::*;

#[test]
fn keys_are_made_once_listed_and_deleted_if_that_is_allowed() {
    let bench = transit();
    bench.list("keys").is(404);
    bench.get("keys/k").is(404);
    let made = key(&bench, "k", json!({})).data;
    assert_eq!(key(&bench, "k", json!({"type": "ed25519"})).data, made, "one that is there stays as it is");
    key(&bench, "a", json!({"type": "hmac", "key_size": 32}));
    assert_eq!(bench.list("keys").is(200).data, json!({"keys": ["a", "k"]}));
    assert_eq!(bench.list("keys?after=a&limit=1").is(200).data, json!({"keys": ["k"]}));
    bench.delete("keys/k").refuses(400, "error deleting policy k: deletion is not allowed for this key");
    bench.delete("keys/none").refuses(400, "could not delete key; not found");
    bench.post("keys/k/rotate", json!({})).is(200);
    bench.post("keys/k/config", json!({"deletion_allowed": true})).is(200);
    bench.delete("keys/k").is(204);
    bench.get("keys/k").is(404);
    assert_eq!(bench.paths(1), 1, "its record is gone");
    bench.post("decrypt/k", json!({"ciphertext": "vault:v1:YQ=="})).refuses(400, "encryption key not found");
    key(&bench, "k", json!({"type": "ed25519"}));
    bench.post("sign/k", json!({"input": ""})).is(200);
}

/// The advisory CVE-2026-55776: a derived key of a kind that derives none brought the server down.
#[test]
fn every_kind_is_made_or_refused_with_every_setting() {
    let bench = transit();
    for kind in CIPHERS.into_iter().chain(SIGNERS).chain(["hmac", "ml-dsa", "ml-dsa-66", "aes192-gcm96", ""])
    {
        for derived in [false, true] {
            for convergent in [false, true] {
                let name = format!("k-{kind}-{derived}-{convergent}");
                let mut body = of(kind);
                body["derived"] = json!(derived);
                body["convergent_encryption"] = json!(convergent);
                let made = bench.post(&format!("keys/{name}"), body);
                let derives = CIPHERS.contains(&kind) || kind == "ed25519";
                let can = match (derived, convergent) {
                    (false, false) => CIPHERS.contains(&kind) || SIGNERS.contains(&kind),
                    (true, false) => derives,
                    (true, true) => CIPHERS.contains(&kind),
                    (false, true) => false,
                };
                assert_eq!(made.status == 200, can, "{kind} {derived} {convergent}: {made:?}");
                assert!(can || !made.errors.is_empty());
                assert_eq!(
                    bench.get(&format!("keys/{name}")).status == 200,
                    can,
                    "refused, nothing is stored"
                );
            }
        }
    }
}

#[test]
fn settings_are_checked() {
    let bench = transit();
    let refused = |body: Value, status: u16, why: &str| bench.post("keys/new", body).refuses(status, why);
    refused(json!({"type": "bogus"}), 400, "unknown key type bogus");
    refused(json!({"type": "ml-dsa"}), 400, "invalid parameter set  for key type ml-dsa");
    refused(
        json!({"type": "ml-dsa", "parameter_set": "128"}),
        400,
        "invalid parameter set 128 for key type ml-dsa: parameter_set is one of 44, 65 and 87",
    );
    refused(
        json!({"auto_rotate_period": "10m"}),
        400,
        "auto rotate period must be 0 to disable or at least an hour",
    );
    refused(json!({"type": "hmac"}), 400, "invalid key size for HMAC key, must be between 32 and 512 bytes");
    refused(json!({"type": "hmac", "key_size": 8}), 400, "invalid key_size 8");
    refused(json!({"key_size": 32}), 400, "key_size is not valid for algorithm aes256-gcm96");
    refused(json!({"external_key_ref": "x"}), 400, "external_key_ref");
    let long = "k".repeat(2000);
    for path in ["keys", "encrypt"] {
        let body = json!({"plaintext": ""});
        bench.post(&format!("{path}/{long}"), body).refuses(400, "longer than 1024 bytes");
    }
    bench.get(&format!("keys/{long}")).is(404);
    bench
        .post(&format!("decrypt/{long}"), json!({"ciphertext": "x"}))
        .refuses(400, "encryption key not found");
    bench.post("keys/none/config", json!({})).refuses(400, "no existing key named none could be found");
    bench.post("keys/none/rotate", json!({})).refuses(400, "key not found");
    key(&bench, "k", json!({}));
    let refused = |body: Value, why: &str| bench.post("keys/k/config", body).refuses(400, why);
    refused(json!({"min_decryption_version": -1}), "min decryption version cannot be negative");
    refused(
        json!({"min_decryption_version": 2}),
        "cannot set min decryption version of 2, latest key version is 1",
    );
    refused(
        json!({"min_encryption_version": 2}),
        "cannot set min encryption version of 2, latest key version is 1",
    );
    refused(json!({"auto_rotate_period": "1m"}), "at least an hour");
    let warned = bench.post("keys/k/config", json!({"min_decryption_version": 0})).is(200).warnings;
    assert!(warned[0].contains("forcing minimum to 1"));
    bench.post("keys/k/config", json!({"exportable": true})).is(200);
    let kept = bench.post("keys/k/config", json!({"exportable": false})).is(200).data;
    assert_eq!(kept["exportable"], true, "what may be exported once may be for good");
    bench.post("keys/k/trim", json!({})).refuses(400, "missing min_available_version");
    bench
        .post("keys/k/trim", json!({"min_available_version": 1}))
        .refuses(400, "encryption version is not set");
    bench
        .post("cache-config", json!({"size": 5}))
        .refuses(400, "size must be 0 or a value greater or equal to 10");
    assert_eq!(bench.post("cache-config", json!({"size": 50})).is(200).data, json!({"size": 50}));
    assert_eq!(bench.get("cache-config").is(200).data, json!({"size": 50}));
}

#[test]
fn a_key_that_is_set_aside_is_good_for_nothing_until_it_is_taken_back() {
    let bench = transit();
    key(&bench, "k", json!({"type": "ed25519"}));
    assert_eq!(bench.delete("keys/k/soft-delete").is(200).data["soft_deleted"], true);
    bench.post("sign/k", json!({"input": ""})).refuses(400, "refusing to use soft-deleted key");
    bench.post("hmac/k", json!({"input": ""})).refuses(400, "refusing to use soft-deleted key");
    bench.post("keys/k/rotate", json!({})).refuses(400, "refusing to use soft-deleted key");
    assert_eq!(bench.post("keys/k/soft-delete-restore", json!({})).is(200).data["soft_deleted"], false);
    bench.post("sign/k", json!({"input": ""})).is(200);
    let again = bench.post("keys/k/soft-delete-restore", json!({})).is(200);
    assert_eq!(again.warnings, ["key was already restored"]);
}

#[test]
fn a_key_rotates_by_itself() {
    let mut bench = transit();
    key(&bench, "k", json!({"auto_rotate_period": "1h"}));
    let latest = |bench: &Bench| bench.get("keys/k").is(200).data["latest_version"].as_u64().unwrap();
    bench.wait(3599);
    bench.tick();
    assert_eq!(latest(&bench), 1);
    bench.wait(1);
    bench.tick();
    assert_eq!(latest(&bench), 2);
    bench.wait(1800);
    bench.post("keys/k/rotate", json!({})).is(200);
    bench.wait(1800);
    bench.tick();
    assert_eq!(latest(&bench), 3, "an hour since the rotation by hand has not passed");
    bench.wait(1800);
    bench.tick();
    assert_eq!(latest(&bench), 4);
    bench.post("keys/k/config", json!({"auto_rotate_period": "2h"})).is(200);
    bench.wait(3600);
    bench.tick();
    assert_eq!(latest(&bench), 4, "the old schedule counts no more");
    bench.wait(3600);
    bench.tick();
    assert_eq!(latest(&bench), 5);
    bench.post("keys/k/config", json!({"auto_rotate_period": 0, "deletion_allowed": true})).is(200);
    bench.wait(100_000);
    bench.tick();
    assert_eq!(latest(&bench), 5);
    bench.post("keys/k/config", json!({"auto_rotate_period": 3600})).is(200);
    bench.delete("keys/k").is(204);
    key(&bench, "k", json!({}));
    bench.wait(3600);
    bench.tick();
    assert_eq!(latest(&bench), 1, "the schedule of a deleted key does not move its successor");
}

#[test]
fn random_bytes_are_as_many_as_were_asked_for() {
    let bench = transit();
    let size = |path: &str, body: Value| text(&bench.post(path, body).is(200), "random_bytes").len();
    assert_eq!(size("random", json!({})), 44);
    assert_eq!(size("random/8", json!({"format": "hex"})), 16);
    assert_eq!(size("random/all/8", json!({"format": "hex"})), 16);
    assert_eq!(size("random/seal", json!({"bytes": 8, "format": "hex"})), 16);
    bench.post("random/zz", json!({})).refuses(400, "error parsing url-set byte count");
    bench.post("random/abc/4", json!({})).refuses(400, "unsupported entropy source \"abc\"");
    bench.post("random", json!({"bytes": 0})).refuses(400, "'bytes' cannot be less than 1");
    bench.post("random/131073", json!({})).refuses(400, "'bytes' should be less than 131072");
}

#[test]
fn versions_are_cut_off_behind_all_that_is_still_used() {
    let bench = transit();
    key(&bench, "k", json!({"type": "ecdsa-p256"}));
    for _ in 0..4 {
        bench.post("keys/k/rotate", json!({})).is(200);
    }
    let config = |decryption: u64, encryption: u64| {
        let body = json!({"min_decryption_version": decryption, "min_encryption_version": encryption});
        bench.post("keys/k/config", body)
    };
    let trim = |oldest: i64| bench.post("keys/k/trim", json!({ "min_available_version": oldest }));
    config(2, 4).is(200);
    trim(5).refuses(400, "greater than minmum encryption version");
    trim(3).refuses(400, "greater than minimum decryption version");
    trim(-1).refuses(400, "cannot be decremented");
    trim(2).is(200);
    config(1, 1).refuses(400, "min available version");
    config(1, 4).refuses(400, "min available version");
    key(&bench, "peer", json!({"type": "ecdsa-p256"}));
    let peer = bench.get("export/public-key/peer").is(200).data["keys"]["1"].clone();
    let agree = |version: i64| {
        let body = json!({"base_key_name": "k", "base_key_version": version, "peer_public_key": peer});
        bench.post(&format!("derive-key/d{version}"), body)
    };
    agree(1).refuses(400, "less than the minimum available");
    agree(6).refuses(400, "higher than the latest");
    agree(-1).refuses(400, "negative");
    agree(2).is(204);
}
