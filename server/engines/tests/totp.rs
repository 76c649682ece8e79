//! One-time passwords, asked for as a client does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "the methods have logins, engines have none")]
mod bench;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bench::Bench;
use serde_json::{Value, json};

fn totp() -> Bench {
    Bench::new(engines::open("totp", &json!({})).unwrap(), None)
}

/// A mount with the key `k`, whose secret is that of RFC 6238.
fn ready(changes: Value) -> Bench {
    let bench = totp();
    let mut body = json!({"key": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    bench.post("keys/k", body).is(204);
    bench
}

fn code(bench: &Bench) -> String {
    bench.get("code/k").is(200).data["code"].as_str().unwrap().to_owned()
}

#[track_caller]
fn check(bench: &Bench, code: &str, valid: bool) {
    assert_eq!(bench.post("code/k", json!({ "code": code })).is(200).data, json!({ "valid": valid }));
}

#[track_caller]
fn used(bench: &Bench, code: &str) {
    bench
        .post("code/k", json!({ "code": code }))
        .refuses(400, "code already used; wait until the next time period");
}

#[test]
fn a_code_is_made_for_its_period() {
    let mut bench = ready(json!({}));
    bench.wait(17);
    let made = bench.get("code/k").is(200).data;
    assert_eq!(made["generated"], 1_767_225_617);
    assert_eq!(made["expire_time"], 1_767_225_630);
    assert_eq!(made["period"], "30s");
    assert_eq!(made["code"].as_str().unwrap().len(), 6);
    bench.wait(13);
    assert_ne!(code(&bench), made["code"]);
}

#[test]
fn a_code_is_accepted_once_in_every_spelling_and_in_every_period_that_counts() {
    let mut bench = ready(json!({}));
    let first = code(&bench);
    check(&bench, &first, true);
    used(&bench, &first);
    let wide: String = first.chars().map(|c| char::from_u32(c as u32 - 0x30 + 0xff10).unwrap()).collect();
    for spelling in
        [format!(" {first}"), format!("{first} "), format!("{} {}", &first[..3], &first[3..]), wide]
    {
        bench
            .post("code/k", json!({ "code": spelling }))
            .refuses(400, "invalid number of digits for the code");
    }
    bench.wait(30);
    used(&bench, &first);
    let second = code(&bench);
    check(&bench, &second, true);
    bench.wait(30);
    // The code of two periods ago no longer counts, and one that counts still is not accepted again.
    check(&bench, &first, false);
    used(&bench, &second);
}

#[test]
fn codes_of_the_neighbouring_periods_count_and_each_once() {
    let mut bench = ready(json!({}));
    let early = code(&bench);
    bench.wait(30);
    let now = code(&bench);
    check(&bench, &now, true);
    check(&bench, &early, true);
    used(&bench, &early);
    let mut strict = ready(json!({"skew": 0}));
    let early = code(&strict);
    strict.wait(30);
    check(&strict, &early, false);
}

#[test]
fn a_key_written_again_does_not_forget_what_was_used() {
    let bench = ready(json!({}));
    let first = code(&bench);
    check(&bench, &first, true);
    bench.post("keys/k", json!({"key": "gezdgnbvgy3tqojqgezdgnbvgy3tqojq", "issuer": "x"})).is(204);
    used(&bench, &first);
    bench.post("keys/k", json!({"key": "MZXW6YTB"})).is(204);
    check(&bench, &first, false);
    check(&bench, &code(&bench), true);
}

#[test]
fn a_wrong_code_is_wrong() {
    let bench = ready(json!({"digits": 8}));
    let right = code(&bench);
    let wrong = if right == "00000000" { "00000001" } else { "00000000" };
    check(&bench, wrong, false);
    check(&bench, wrong, false);
    check(&bench, "1234567a", false);
    bench.post("code/k", json!({"code": "123456"})).refuses(400, "invalid number of digits for the code");
    bench.post("code/k", json!({})).refuses(400, "the code value is required");
    bench.post("code/nope", json!({"code": "1"})).refuses(400, "unknown key: nope");
    bench.get("code/nope").refuses(400, "unknown key: nope");
    check(&bench, &right, true);
}

#[test]
fn a_made_key_is_shown_once_and_read_without_its_secret() {
    let bench = totp();
    let body = json!({"generate": true, "issuer": "A&B", "account_name": "a@b c", "period": "1m", "digits": 8, "algorithm": "SHA512"});
    let made = bench.post("keys/a@b", body).is(200).data;
    let url = made["url"].as_str().unwrap();
    let front = "otpauth://totp/A&B:a@b%20c?algorithm=SHA512&digits=8&issuer=A%26B&period=60&secret=";
    assert_eq!(url.strip_prefix(front).unwrap().len(), 32);
    let picture = STANDARD.decode(made["barcode"].as_str().unwrap()).unwrap();
    assert_eq!(&picture[1..4], b"PNG");
    assert_eq!(&picture[16..24], [0, 0, 0, 200, 0, 0, 0, 200]);
    let shown = bench.get("keys/a@b").is(200).data;
    let expect =
        json!({"account_name": "a@b c", "algorithm": "SHA512", "digits": 8, "issuer": "A&B", "period": 60});
    assert_eq!(shown, expect);
    // What it makes here, who has the URL makes too.
    bench.post("keys/k", json!({ "url": url })).is(204);
    assert_eq!(bench.get("keys/k").data, expect);
    assert_eq!(bench.get("code/a@b").data["code"], bench.get("code/k").data["code"]);
    let secret = |name: &str| {
        let body = json!({"generate": true, "issuer": "I", "account_name": "a", "qr_size": 0});
        let made = bench.post(&format!("keys/{name}"), body).is(200).data;
        assert_eq!(made.get("barcode"), None);
        made["url"].as_str().unwrap().rsplit_once('=').unwrap().1.to_owned()
    };
    assert_ne!(secret("x"), secret("y"));
    let hidden = json!({"generate": true, "issuer": "I", "account_name": "a", "exported": false});
    bench.post("keys/h", hidden).is(204);
    assert_eq!(bench.list("keys").data, json!({"keys": ["a@b", "h", "k", "x", "y"]}));
    assert_eq!(bench.list("keys?after=h&limit=2").data, json!({"keys": ["k", "x"]}));
    bench.delete("keys/h").is(204);
    bench.get("keys/h").is(404);
    bench.get("code/h").refuses(400, "unknown key: h");
}

#[test]
fn bad_keys_are_refused_and_nothing_is_kept() {
    let bench = totp();
    let made = |changes: Value| {
        let mut body = json!({"generate": true, "issuer": "I", "account_name": "a"});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        bench.post("keys/k", body)
    };
    for (changes, text) in [
        (json!({"key": "aaaa"}), "a key should not be passed if generate is true"),
        (json!({"url": "x"}), "a url should not be passed if generate is true"),
        (json!({"skew": 2}), "the skew value must be 0 or 1"),
        (json!({"period": 0}), "the period value must be greater than zero"),
        (json!({"period": -5}), "field \"period\": cannot provide negative value '-5'"),
        (json!({"period": "1e9"}), "field \"period\""),
        (json!({"period": 100_000_000}), "the period value must be at most a year"),
        (json!({"qr_size": -1}), "the qr_size value must be greater than or equal to zero"),
        (json!({"qr_size": 100_000}), "the qr_size value must be at most 4096"),
        (json!({"qr_size": 10}), "can not scale barcode to an image smaller than"),
        (json!({"key_size": 0}), "the key_size value must be greater than zero"),
        (json!({"key_size": 5000}), "the key_size value must be at most 1024"),
        (json!({"account_name": "é".repeat(500)}), "longer than a QR code holds"),
        (json!({"digits": 7}), "the digits value can only be 6 or 8"),
        (json!({"digits": "x"}), "field \"digits\""),
        (json!({"algorithm": "MD5"}), "the algorithm value is not valid"),
        (json!({"account_name": ""}), "the account_name value is required for generated keys"),
        (json!({"issuer": ""}), "the issuer value is required for generated keys"),
        (json!({"issuer": "a\u{1b}b"}), "the issuer value must hold no control characters"),
        (json!({"account_name": "a".repeat(2000)}), "the account_name value must be at most 1024 bytes"),
        (json!({"generate": "maybe"}), "field \"generate\""),
        (json!({"generate": false}), "the key value is required"),
        (json!({"generate": false, "key": "1"}), "illegal base32 data at input byte 0"),
        (json!({"generate": false, "url": "::x"}), "an error occurred while parsing url string"),
        (json!({"generate": false, "url": "otpauth://totp/a?digits=7&secret=aaaa"}), "can only be 6 or 8"),
        (
            json!({"generate": false, "url": "otpauth://totp/a?period=-1&secret=aaaa"}),
            "must be greater than zero",
        ),
    ] {
        made(changes).refuses(400, text);
    }
    assert_eq!(bench.paths(1), 0);
    bench.list("keys").is(404);
}
