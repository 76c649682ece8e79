//! Roles, logins with signed tokens, and where the keys of their issuers come from.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "not every test asks for everything")]
#[path = "../../engines/tests/bench/mod.rs"]
mod bench;
#[allow(dead_code, reason = "not every test asks for everything")]
mod outside;

use std::sync::Arc;

use bench::{Answer, Bench};
use outside::{Issuer, NOW, Sites, base64};
use serde_json::{Value, json};

const JWKS: &str = "https://issuer.example/keys";
const ISSUER: &str = "https://issuer.example";

fn method(kind: &str) -> (Bench, Arc<Sites>) {
    let (engine, method) = auth::open(kind, &json!({})).unwrap();
    let sites = Arc::new(Sites::default());
    let mut bench = Bench::new(engine, Some(method));
    bench.world = Arc::clone(&sites) as Arc<dyn kit::World>;
    (bench, sites)
}

/// A mount that knows these issuers, and a role `r` for the audience `a`.
fn with_keys(issuers: &[&Issuer]) -> Bench {
    let (bench, _) = method("jwt");
    let keys: Vec<String> = issuers.iter().map(|issuer| issuer.pem()).collect();
    bench.post("config", json!({"jwt_validation_pubkeys": keys, "default_role": "R"})).is(204);
    bench.post("role/r", json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": "a"})).is(204);
    bench
}

fn claims() -> Value {
    json!({"sub": "ann", "aud": "a", "iat": NOW, "exp": NOW + 100})
}

fn changed(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn log_in(bench: &Bench, role: &str, jwt: &str) -> Answer {
    bench.post("login", json!({"role": role, "jwt": jwt}))
}

#[test]
fn every_algorithm_that_is_known_lets_in() {
    let issuers = [Issuer::p256(), Issuer::p521(), Issuer::ed25519(), Issuer::rsa()];
    let bench = with_keys(&issuers.iter().collect::<Vec<_>>());
    for issuer in &issuers {
        let claim = log_in(&bench, "r", &issuer.token(&claims())).is(200).claim.unwrap();
        assert_eq!((claim.alias.as_str(), claim.display_name.as_str()), ("ann", "ann"));
        assert_eq!(claim.metadata["role"], "r");
    }
    let pss = issuers[3].token_with(&json!({"alg": "PS512"}), &claims().to_string());
    log_in(&bench, "r", &pss).is(200);
    // The default role, and a token with the line's end that files have.
    bench.post("login", json!({"jwt": format!("{}\n", issuers[0].token(&claims()))})).is(200);
}

#[test]
fn what_no_known_key_signed_is_refused() {
    let (issuer, stranger, rsa) = (Issuer::p256(), Issuer::p256(), Issuer::rsa());
    let bench = with_keys(&[&issuer, &rsa]);
    let unknown =
        "error validating token: error verifying token signature: no known key successfully validated";
    let payload = base64(claims().to_string().as_bytes());
    let raw = |header: &str, signature: &str| format!("{}.{payload}.{signature}", base64(header.as_bytes()));
    for token in [
        stranger.token(&claims()),
        raw(r#"{"alg":"none"}"#, ""),
        raw(r#"{"alg":"None"}"#, ""),
        raw(r#"{"alg":""}"#, ""),
        raw("{}", "AAAA"),
        raw(r#"{"alg":"HS256"}"#, "AAAA"),
        issuer.token_with(&json!({"alg": "RS256"}), &claims().to_string()),
        issuer.token_with(&json!({"alg": "ES384"}), &claims().to_string()),
        issuer.token_with(&json!({"alg": "ES256"}), "[]"),
        issuer.token_with(&json!({"alg": "ES256"}), "{"),
    ] {
        log_in(&bench, "r", &token).refuses(400, unknown);
    }
    // HMAC with the public key as its secret: the oldest trick.
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, rsa.pem().as_bytes());
    let text = format!("{}.{payload}", base64(br#"{"alg":"HS256"}"#));
    let tag = aws_lc_rs::hmac::sign(&key, text.as_bytes());
    log_in(&bench, "r", &format!("{text}.{}", base64(tag.as_ref()))).refuses(400, unknown);
    let token = issuer.token(&claims());
    let (head, signature) = token.rsplit_once('.').unwrap();
    let other = base64(changed(json!({"sub": "root"})).to_string().as_bytes());
    let forged = format!("{}.{other}.{signature}", head.split_once('.').unwrap().0);
    log_in(&bench, "r", &forged).refuses(400, unknown);
    let parts = "compact JWS format must have three parts";
    log_in(&bench, "r", "a.b").refuses(400, parts);
    log_in(&bench, "r", &format!("{token}.x")).refuses(400, parts);
    log_in(&bench, "r", &".".repeat(1_000_000)).refuses(400, "longer than");
    log_in(&bench, "r", "a.b.c").refuses(400, "illegal base64 data at input byte 0");
    let crit = issuer.token_with(&json!({"alg": "ES256", "crit": ["x"]}), &claims().to_string());
    log_in(&bench, "r", &crit).refuses(400, "extensions");
    bench.post("login", json!({"role": "r"})).refuses(400, "missing token");
    log_in(&bench, "nope", "x").refuses(400, "role \"nope\" could not be found");
}

#[test]
fn audiences_are_exact() {
    let issuer = Issuer::p256();
    let bench = with_keys(&[&issuer]);
    bench.post("role/free", json!({"role_type": "jwt", "user_claim": "sub", "bound_subject": "ann"})).is(204);
    let wrong = "invalid audience (aud) claim: audience claim does not match any expected audience";
    let check = |aud: Value, expect: &str| {
        let answer = log_in(&bench, "r", &issuer.token(&changed(json!({"aud": aud}))));
        if expect.is_empty() { drop(answer.is(200)) } else { answer.refuses(400, expect) }
    };
    check(json!("a"), "");
    check(json!(["x", "a"]), "");
    for aud in [json!("b"), json!("A"), json!("ab"), json!(""), json!([]), Value::Null] {
        check(aud, wrong);
    }
    check(json!(5), "expected string or array value to unmarshal to Audience");
    check(json!(["a", 5]), "expected string or array value to unmarshal to Audience");
    let unbound = "audience claim found in JWT but no audiences bound to the role";
    log_in(&bench, "free", &issuer.token(&claims())).refuses(400, unbound);
    log_in(&bench, "free", &issuer.token(&changed(json!({"aud": null})))).is(200);
}

#[test]
fn roles_say_what_tokens_must_say() {
    let issuer = Issuer::p256();
    let bench = with_keys(&[&issuer]);
    let role = json!({"role_type": "jwt", "user_claim": "/u/n", "user_claim_json_pointer": true, "bound_audiences": "a",
        "bound_claims": {"n": 5, "b": true, "/d/e": ["x", "y"]}, "claim_mappings": {"/u/n": "who", "mail": "mail"},
        "groups_claim": "/g", "token_policies": ["p-{{.sub}}"], "token_policies_template_claims": true, "token_ttl": "5m"});
    bench.post("role/full", role).is(204);
    let full = json!({"n": 5.0, "b": true, "d": {"e": "y"}, "u": {"n": "deep"}, "g": ["one", "", "two"]});
    let token = |changes: Value| {
        let mut claims = changed(full.clone());
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        issuer.token(&claims)
    };
    let claim = log_in(&bench, "full", &token(json!({"mail": "m@x"}))).is(200).claim.unwrap();
    assert_eq!((claim.alias.as_str(), claim.groups), ("deep", vec!["one".to_owned(), "two".to_owned()]));
    assert_eq!(claim.metadata, claim.alias_metadata);
    assert_eq!(json!(claim.metadata), json!({"role": "full", "who": "deep", "mail": "m@x"}));
    assert_eq!((claim.terms.policies, claim.terms.ttl.as_secs()), (vec!["p-ann".to_owned()], 300));
    for (changes, text) in [
        (
            json!({"n": 6}),
            "error validating claims: claim \"n\" does not match any associated bound claim values",
        ),
        (json!({"n": "5"}), "claim \"n\" does not match"),
        (json!({"b": false}), "claim \"b\" does not match"),
        (json!({"d": {"e": ["z"]}}), "claim \"/d/e\" does not match"),
        (json!({"d": {}}), "claim \"/d/e\" is missing"),
        (json!({"b": {}}), "received claim \"b\" is not a string, bool, int or list"),
        (json!({"g": {"a": 1}}), "\"/g\" claim could not be converted to string list"),
        (json!({"g": ["a", 1]}), "value 1 in groups claim could not be parsed as string"),
        (json!({"g": null}), "failed to fetch groups: \"/g\" claim not found in token"),
        (json!({"mail": 1}), "error converting claim 'mail' to string"),
        (json!({"u": {"n": 1}}), "claim \"/u/n\" could not be converted to string"),
        (json!({"u": {}}), "claim \"/u/n\" not found in token"),
        (json!({"u": {"n": ""}}), "missing name in alias"),
        (json!({"sub": {"n": ""}}), "cannot unmarshal object into Go struct field Claims.sub"),
    ] {
        log_in(&bench, "full", &token(changes)).refuses(400, text);
    }
    let glob = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": "a", "bound_claims_type": "glob",
        "bound_claims": {"ref": ["refs/heads/*", "main"]}});
    bench.post("role/glob", glob).is(204);
    for (value, status) in [("refs/heads/x", 200), ("main", 200), ("maine", 400), ("refs/tags/x", 400)] {
        log_in(&bench, "glob", &issuer.token(&changed(json!({"ref": value})))).is(status);
    }
    log_in(&bench, "glob", &issuer.token(&changed(json!({"ref": 5})))).is(400);
}

#[test]
fn mounts_bind_issuers_algorithms_and_addresses() {
    let (issuer, other) = (Issuer::p256(), Issuer::ed25519());
    let mut bench = with_keys(&[&issuer]);
    let config = json!({"jwt_validation_pubkeys": [issuer.pem(), other.pem()], "bound_issuer": "me", "jwt_supported_algs": "EdDSA"});
    bench.post("config", config).is(204);
    let algorithm = "invalid algorithm (alg) header parameter: token signed with unexpected algorithm";
    log_in(&bench, "r", &issuer.token(&changed(json!({"iss": "me"})))).refuses(400, algorithm);
    log_in(&bench, "r", &other.token(&claims())).refuses(400, "invalid issuer (iss) claim");
    log_in(&bench, "r", &other.token(&changed(json!({"iss": "me"})))).is(200);
    bench.post("login", json!({"jwt": other.token(&claims())})).refuses(400, "missing role");
    let bound = json!({"role_type": "jwt", "user_claim": "sub", "token_bound_cidrs": "10.0.0.0/8"});
    bench.post("role/here", bound).is(204);
    let token = other.token(&changed(json!({"iss": "me", "aud": null})));
    log_in(&bench, "here", &token).refuses(403, "permission denied");
    bench.remote.address = Some("10.1.1.1".parse().unwrap());
    let claim = log_in(&bench, "here", &token).is(200).claim.unwrap();
    assert_eq!(claim.terms.bound_cidrs, ["10.0.0.0/8"]);
    bench.renew(&claim).unwrap();
    bench.delete("role/here").is(204);
    assert_eq!(bench.renew(&claim).unwrap_err().to_string(), "role here does not exist during renewal");
}

#[test]
fn keys_are_fetched_kept_and_fetched_anew_when_they_change() {
    let (mut bench, sites) = method("jwt");
    let (old, new, stranger) = (Issuer::p256(), Issuer::rsa(), Issuer::p256());
    bench.post("config", json!({"jwks_url": JWKS})).refuses(400, "error checking jwks URL");
    sites.put(JWKS, &json!({"keys": [old.jwk("k1"), {"kty": "oct", "k": "AAAA"}, {"kty": "zz"}]}));
    bench.post("config", json!({"jwks_url": JWKS})).is(204);
    bench.post("role/r", json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": "a"})).is(204);
    let fetched = || sites.calls().len();
    let before = fetched();
    log_in(&bench, "r", &old.token_by("k1", &claims())).is(200);
    log_in(&bench, "r", &old.token(&claims())).is(200);
    assert_eq!(fetched(), before, "the keys of the configuration are still good");
    // Strangers do not make the server ask as often as they like.
    let failed =
        "error validating token: error verifying token signature: failed to verify id token signature";
    for _ in 0..20 {
        log_in(&bench, "r", &stranger.token_by("k9", &claims())).refuses(400, failed);
    }
    assert_eq!(fetched(), before + 1);
    sites.put(JWKS, &json!({"keys": [new.jwk("k2")]}));
    log_in(&bench, "r", &new.token_by("k2", &claims())).refuses(400, failed);
    sites.wait(11);
    log_in(&bench, "r", &new.token_by("k2", &claims())).is(200);
    assert_eq!(fetched(), before + 2, "a new key is found");
    log_in(&bench, "r", &old.token_by("k1", &claims())).refuses(400, failed);
    log_in(&bench, "r", &new.token_by("k1", &claims())).refuses(400, failed);
    // What is known stays good while the issuer is away, but not for ever.
    sites.take(JWKS);
    log_in(&bench, "r", &new.token_by("k2", &claims())).is(200);
    sites.wait(11);
    let away = "error verifying token signature: fetching keys oidc: no answer from";
    log_in(&bench, "r", &stranger.token_by("k3", &claims())).refuses(400, away);
    bench.wait(3700);
    let later = changed(json!({"iat": NOW + 3700, "exp": NOW + 3800}));
    log_in(&bench, "r", &new.token_by("k2", &later)).refuses(400, away);
    for (status, body, text) in [
        (404, "gone", "get keys failed: 404 gone"),
        (200, "nonsense", "failed to decode keys: got Content-Type = application/json, but could not"),
        (200, "[]", "failed to decode keys"),
        (200, r#"{"keys": 5}"#, "failed to decode keys"),
        (200, r#"{"keys": []}"#, "failed to verify id token signature"),
    ] {
        sites.put_raw(JWKS, status, body);
        log_in(&bench, "r", &new.token_by("k2", &later)).refuses(400, text);
        sites.wait(11);
    }
    // Another source: what was fetched from the first counts for nothing.
    sites.put("https://other.example/keys", &json!({"keys": [stranger.jwk("k2")]}));
    bench.post("config", json!({"jwks_url": "https://other.example/keys"})).is(204);
    log_in(&bench, "r", &new.token_by("k2", &later)).is(400);
    log_in(&bench, "r", &stranger.token_by("k2", &later)).is(200);
}

#[test]
fn a_discovery_document_leads_to_the_keys() {
    let (bench, sites) = method("oidc");
    let issuer = Issuer::ed25519();
    let document = format!("{ISSUER}/.well-known/openid-configuration");
    let config = json!({"oidc_discovery_url": ISSUER});
    let refused = "error checking oidc discovery URL: ";
    bench.post("config", config.clone()).refuses(400, &format!("{refused}no answer from {document}"));
    sites.put(&document, &json!({"issuer": "https://evil.example", "jwks_uri": JWKS}));
    let other = "issuer did not match the returned issuer, expected \"https://issuer.example\" got \"https://evil.example\"";
    bench.post("config", config.clone()).refuses(400, &format!("{refused}{other}"));
    sites.put_raw(&document, 500, "oops");
    bench.post("config", config.clone()).refuses(400, &format!("{refused}500: oops"));
    let mut skips = config.clone();
    skips["skip_jwks_validation"] = json!(true);
    let answer = bench.post("config", skips).is(200);
    assert_eq!(answer.warnings, ["error checking oidc discovery URL"]);
    let shown = bench.get("config").is(200);
    assert_eq!(shown.data["status"], "invalid");
    assert!(shown.warnings[0].starts_with("failed to construct JWK validator: keyset configuration error: "));
    sites.put(&document, &json!({"issuer": ISSUER, "jwks_uri": JWKS}));
    sites.put(JWKS, &json!({"keys": [issuer.jwk("k")]}));
    bench.post("role/r", json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": "a"})).is(204);
    log_in(&bench, "r", &issuer.token_by("k", &claims())).is(200);
    assert_eq!(bench.get("config").is(200).data["status"], "valid");
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    let (bench, sites) = method("jwt");
    let pem = Issuer::p256().pem();
    bench.get("config").is(404);
    bench.post("login", json!({"jwt": "x", "role": "x"})).refuses(400, "could not load configuration");
    let keys = |more: Value| {
        let mut body = json!({"jwt_validation_pubkeys": [pem]});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    for (body, text) in [
        (json!({}), "exactly one of"),
        (keys(json!({"jwks_url": "https://x"})), "exactly one of"),
        (
            json!({"jwt_validation_pubkeys": "zz"}),
            "error parsing public key: data does not contain any valid public keys",
        ),
        (keys(json!({"jwt_supported_algs": "HS256"})), "unsupported signing algorithm \"HS256\""),
        (keys(json!({"jwt_supported_algs": "none"})), "unsupported signing algorithm \"none\""),
        (keys(json!({"oidc_client_id": "a"})), "both 'oidc_client_id' and 'oidc_client_secret' must be set"),
        (
            keys(json!({"oidc_client_id": "a", "oidc_client_secret": "b"})),
            "'oidc_discovery_url' must be set for OIDC",
        ),
        (keys(json!({"oidc_response_types": "foo"})), "invalid response_types [foo]"),
        (keys(json!({"oidc_response_mode": "foo"})), "invalid response_mode: \"foo\""),
        (keys(json!({"oidc_response_types": "id_token"})), "query response_mode may not be used"),
        (keys(json!({"provider_config": {"provider": "azure"}})), "is not supported by this server"),
        (keys(json!({"provider_config": {"x": 1}})), "'provider' field not found"),
        (keys(json!({"override_allowed_server_names": "x"})), "is not supported"),
        (json!({"jwks_url": "https://x", "jwks_ca_pem": "zz"}), "error checking jwks_ca_pem"),
        (json!({"oidc_discovery_url": "https://x", "oidc_discovery_ca_pem": "zz"}), "could not parse CA PEM"),
    ] {
        bench.post("config", body).refuses(400, text);
    }
    assert!(sites.calls().is_empty(), "nobody is asked for what is wrong anyway");
    bench.get("config").is(404);
    bench.post("config", keys(json!({"namespace_in_state": false}))).is(204);
    bench.post("config", keys(json!({"default_role": "R1"}))).is(204);
    let shown = bench.get("config").is(200).data;
    assert_eq!((&shown["namespace_in_state"], &shown["default_role"]), (&json!(false), &json!("r1")));
    assert!(!shown.as_object().unwrap().contains_key("oidc_client_secret"));
}

#[test]
fn roles_are_made_read_changed_and_deleted() {
    let (bench, _) = method("jwt");
    bench.list("role").is(404);
    let jwt = |more: Value| {
        let mut body = json!({"role_type": "jwt", "user_claim": "sub", "bound_subject": "x"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    for (body, text) in [
        (json!({}), "a user claim must be defined on the role"),
        (json!({"role_type": "zz"}), "invalid 'role_type': zz"),
        (
            json!({"user_claim": "sub"}),
            "'allowed_redirect_uris' must be set if 'role_type' is 'oidc' or unspecified.",
        ),
        (json!({"role_type": "jwt", "user_claim": "sub"}), "must have at least one bound constraint"),
        (jwt(json!({"bound_claims_type": "zz"})), "invalid 'bound_claims_type': zz"),
        (jwt(json!({"bound_claims_type": "glob", "bound_claims": {"a": 5}})), "claim is not a string: 5"),
        (
            jwt(json!({"bound_claims_type": "glob", "bound_claims": {"a": {}}})),
            "claim is not a string or list",
        ),
        (jwt(json!({"bound_claims": "a=b"})), "error converting input for field \"bound_claims\""),
        (jwt(json!({"claim_mappings": {"a": "role"}})), "metadata key \"role\" is reserved"),
        (
            jwt(json!({"claim_mappings": {"a": "b", "c": "b"}})),
            "multiple keys are mapped to metadata key \"b\"",
        ),
        (jwt(json!({"oauth2_metadata": "zz"})), "Unrecognized oauth2 metadata name zz"),
        (jwt(json!({"callback_mode": "zz"})), "invalid 'callback_mode': zz"),
        (jwt(json!({"ttl": 100, "max_ttl": 50})), "ttl should not be greater than max ttl"),
        (
            jwt(json!({"token_ttl": 100, "token_max_ttl": 50})),
            "'token_ttl' cannot be greater than 'token_max_ttl'",
        ),
        (
            jwt(json!({"period": "9999h"})),
            "'period' of '\"9999h0m0s\"' is greater than the backend's maximum lease TTL of '\"768h0m0s\"'",
        ),
        (jwt(json!({"max_age": "-5"})), "cannot provide negative value '-5'"),
        (jwt(json!({"poll_interval": -1})), "cannot be negative"),
    ] {
        bench.post("role/a", body).refuses(400, text);
    }
    bench
        .post("role/a", jwt(json!({"token_policies": "{{.sub", "token_policies_template_claims": true})))
        .refuses(400, "failed to parse template policy [0]");
    bench.get("role/a").is(404);
    assert_eq!(bench.exists("role/a"), Some(false));
    let body =
        jwt(json!({"policies": "a,B", "ttl": "1m", "expiration_leeway": "-1", "clock_skew_leeway": "5m"}));
    bench.post("role/A", body).is(204);
    let shown = bench.get("role/a").is(200).data;
    assert_eq!((&shown["policies"], &shown["token_policies"]), (&json!(["a", "b"]), &json!(["a", "b"])));
    assert_eq!((&shown["expiration_leeway"], &shown["clock_skew_leeway"]), (&json!(-1), &json!(300)));
    assert_eq!((&shown["bound_claims"], &shown["oidc_scopes"]), (&Value::Null, &Value::Null));
    assert!(!shown.as_object().unwrap().contains_key("poll_interval"));
    let verbose =
        bench.post("role/a", jwt(json!({"verbose_oidc_logging": true, "token_max_ttl": "9999h"}))).is(200);
    assert_eq!(verbose.warnings.len(), 2);
    assert_eq!(bench.list("role").is(200).data, json!({"keys": ["a"]}));
    bench.delete("role/A").is(204);
    bench.get("role/a").is(404);
}

fn with_program(issuer: &Issuer, expression: &str) -> Bench {
    let bench = with_keys(&[issuer]);
    bench.post("cel/role/c", json!({"cel_program": {"expression": expression}})).is(200);
    bench
}

fn log_in_by_program(bench: &Bench, jwt: &str) -> Answer {
    bench.post("cel/login", json!({"role": "C", "jwt": jwt}))
}

#[test]
fn a_program_says_who_comes_in() {
    let issuer = Issuer::p256();
    let program = "'dev' in claims.groups && operation == 'update' && now > timestamp('2020-01-01T00:00:00Z') \
        ? pb.Auth{policies: claims.groups, display_name: claims.sub, metadata: {'who': claims.sub}, num_uses: 3, \
        alias: logical.Alias{name: claims.sub, metadata: {'a': 'b'}}, group_aliases: [logical.Alias{name: 'team'}], \
        period: 59000000001, bound_cidrs: ['127.0.0.1/32'], token_type: 1u, no_default_policy: true, \
        lease_options: pb.LeaseOptions{TTL: 119500000000, renewable: true}} : 'only for developers'";
    let bench = with_program(&issuer, program);
    let claim = log_in_by_program(&bench, &issuer.token(&changed(json!({"groups": ["dev", "ops"]}))))
        .is(200)
        .claim
        .unwrap();
    assert_eq!((claim.alias.as_str(), claim.display_name.as_str()), ("ann", "ann"));
    assert_eq!(claim.groups, ["team"]);
    assert_eq!(claim.metadata["who"], "ann");
    assert_eq!(claim.alias_metadata["a"], "b");
    let terms = claim.terms;
    assert_eq!(terms.policies, ["dev", "ops"]);
    assert_eq!((terms.ttl.as_secs(), terms.period.as_secs(), terms.num_uses), (120, 60, 3));
    assert_eq!(
        (terms.token_type.as_str(), terms.no_default_policy, terms.not_renewable),
        ("service", true, false)
    );
    let refused = log_in_by_program(&bench, &issuer.token(&changed(json!({"groups": []}))));
    assert_eq!(
        refused.is(400).errors.concat(),
        "error executing cel program: CEL role 'c' blocked authorization with message: only for developers"
    );
}

#[test]
fn a_program_that_does_not_say_lets_nobody_in() {
    let issuer = Issuer::p256();
    for (program, text) in [
        (
            "false",
            "error executing cel program: CEL role 'c' blocked authorization with boolean false return",
        ),
        ("true", "error executing cel program: CEL program 'c' returned unexpected type: types.Bool"),
        ("null", "error executing cel program: CEL program 'c' returned unexpected type: types.Null"),
        ("[1]", "error executing cel program: CEL program 'c' returned unexpected type: *types.baseList"),
        (
            "claims.nope == 'x'",
            "error executing cel program: CEL auth program failed: failed to evaluate expression: no such key: nope",
        ),
        (
            "pb.Auth{policies: claims.sub}",
            "error executing cel program: CEL auth program failed: failed to evaluate expression: unsupported field type for pb.Auth.policies",
        ),
        (
            "pb.Auth{entity_id: 'x'}",
            "error converting proto auth: a program does not choose an entity: name an alias, and identity finds its entity",
        ),
        (
            "pb.Auth{bound_cidrs: ['zz']}",
            "error converting proto auth: error parsing address \"zz\": it is neither an address nor a block",
        ),
        (
            "{'policy': ['x']}",
            "error executing cel program: CEL program 'c': pb.Auth has no field \"policy\"",
        ),
    ] {
        let bench = with_program(&issuer, program);
        assert_eq!(
            log_in_by_program(&bench, &issuer.token(&claims())).is(400).errors.concat(),
            text,
            "{program}"
        );
    }
    // A map says the same as a record.
    let bench = with_program(&issuer, "{'policies': ['x']}");
    let claim = log_in_by_program(&bench, &issuer.token(&claims())).is(200).claim.unwrap();
    assert_eq!((claim.terms.policies, claim.alias), (vec!["x".to_owned()], String::new()));
}

#[test]
fn a_program_runs_on_nothing_but_a_good_token() {
    let issuer = Issuer::p256();
    let bench = with_program(&issuer, "pb.Auth{}");
    let forged = Issuer::p256().token(&claims());
    let text = log_in_by_program(&bench, &forged).is(400).errors.concat();
    assert!(text.starts_with("error validating token"), "{text}");
    let late = issuer.token(&changed(json!({"exp": NOW - 1_000, "iat": NOW - 2_000})));
    log_in_by_program(&bench, &late).is(400);
    bench
        .post("cel/role/c", json!({"cel_program": {"expression": "pb.Auth{}"}, "bound_audiences": "other"}))
        .is(200);
    let text = log_in_by_program(&bench, &issuer.token(&claims())).is(400).errors.concat();
    assert_eq!(
        text,
        "error validating token: invalid audience (aud) claim: audience claim does not match any expected audience"
    );
    bench.post("cel/login", json!({"role": "c"})).is(400);
    bench.post("cel/login", json!({"role": "nope", "jwt": issuer.token(&claims())})).is(400);
}

#[test]
fn roles_with_programs_are_kept_changed_and_checked() {
    let issuer = Issuer::p256();
    let bench = with_keys(&[&issuer]);
    bench.list("cel/role").is(404);
    bench.post("cel/role/c", json!({})).is(400);
    bench.post("cel/role/c", json!({"cel_program": "x"})).is(400);
    bench.post("cel/role/c", json!({"cel_program": {"expression": ""}})).is(400);
    for wrong in ["1 +", "foo", "claims.foo(", "pb.Auth{nope: 1}"] {
        bench.post("cel/role/c", json!({"cel_program": {"expression": wrong}})).is(400);
    }
    let program = json!({"variables": [{"name": "a", "expression": "claims.sub"}], "expression": "a"});
    let role =
        json!({"cel_program": program, "expiration_leeway": "5m", "message": "hi", "bound_audiences": "a,b"});
    let shown = bench.post("cel/role/C", role).is(200).data;
    assert_eq!(shown["name"], "c");
    assert_eq!(shown["cel_program"], program);
    assert_eq!(shown["expiration_leeway"], 300);
    assert_eq!(shown["bound_audiences"], json!(["a", "b"]));
    let shown = bench.patch("cel/role/c", json!({"message": "ho"})).is(200).data;
    assert_eq!((&shown["message"], &shown["expiration_leeway"]), (&json!("ho"), &json!(300)));
    assert_eq!(bench.get("cel/role/c").is(200).data, shown);
    assert_eq!(bench.list("cel/role").is(200).data["keys"], json!(["c"]));
    bench.patch("cel/role/none", json!({"message": "ho"})).is(400);
    bench.delete("cel/role/c").is(204);
    bench.get("cel/role/c").is(404);
}
