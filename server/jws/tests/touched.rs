//! A token that was touched is no token, and nothing that only looks like one is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code: a panic is how a test says no")]

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jws::{Message, PublicKey};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use serde_json::json;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(5),
        ..ProptestConfig::default()
    }
}

/// A key and a token by it, always the same.
fn signed() -> (PublicKey, String) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let encoded = |value: &[u8]| URL_SAFE_NO_PAD.encode(value);
    let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": encoded(pair.public_key().as_ref())});
    let (header, payload) =
        (json!({"alg": "EdDSA", "kid": "k"}), json!({"sub": "ann", "exp": 4_102_444_800_u64}));
    let text =
        format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(payload.to_string().as_bytes()));
    let token = format!("{text}.{}", encoded(pair.sign(text.as_bytes()).as_ref()));
    (PublicKey::from_jwk(&key).unwrap(), token)
}

fn holds(token: &str, key: &PublicKey) -> bool {
    Message::compact(token).is_ok_and(|token| token.signed_by(key).is_some())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_touched_token_is_none(at in any::<Index>(), letter in "[A-Za-z0-9_.+/= -]{0,2}", cut in 0_usize..3) {
        let (key, token) = signed();
        prop_assert!(holds(&token, &key));
        let at = at.index(token.len());
        let touched = format!("{}{letter}{}", &token[..at], &token[(at + cut).min(token.len())..]);
        // Space around a token is no part of it.
        prop_assert_eq!(holds(&touched, &key), touched.trim() == token, "{}", touched);
    }

    #[test]
    fn parts_of_anything_are_answered(header in any::<String>(), payload in any::<Vec<u8>>(), rest in "[A-Za-z0-9_.-]{0,20}") {
        let (key, _) = signed();
        let (header, payload) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let token = format!("{header}.{payload}.{rest}");
        prop_assert!(!holds(&token, &key));
        prop_assert!(!holds(&rest, &key));
        let flattened = Message::flattened(&header, &payload, &rest);
        prop_assert!(!flattened.is_ok_and(|message| message.signed_by(&key).is_some()));
    }

    #[test]
    fn headers_choose_no_algorithm(alg in "(none|None|HS256|ES256|RS256|PS512|EdDSA|eddsa|)", kid in any::<String>()) {
        let (key, token) = signed();
        let (_, rest) = token.split_once('.').unwrap();
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": kid}).to_string());
        let swapped = format!("{header}.{rest}");
        prop_assert!(!holds(&swapped, &key) || (alg == "EdDSA" && kid == "k"));
        let unsigned = rest.rsplit_once('.').unwrap().0;
        let bare = format!("{header}.{unsigned}.");
        prop_assert!(!holds(&bare, &key));
    }
}
