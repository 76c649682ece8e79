//! Logins through a browser: to the client, to the server, and by a device.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "not every test asks for everything")]
#[path = "../../engines/tests/bench/mod.rs"]
mod bench;
#[allow(dead_code, reason = "not every test asks for everything")]
mod outside;

use std::collections::BTreeMap;
use std::sync::Arc;

use bench::{Answer, Bench};
use outside::{Issuer, NOW, Sites};
use serde_json::{Value, json};

const PROVIDER: &str = "https://login.example";
const RETURN: &str = "http://localhost:8250/oidc/callback";
const PENDING: &str = "authorization_pending";
const EXPIRED: &str = "OpenBao login failed. Expired or missing OAuth state.";

struct Stage {
    bench: Bench,
    sites: Arc<Sites>,
    issuer: Issuer,
}

/// A login that was begun.
struct Begun {
    state: String,
    nonce: String,
    answer: Value,
}

impl Stage {
    fn new(config: Value) -> Self {
        let (engine, method) = auth::open("oidc", &json!({})).unwrap();
        let (sites, issuer) = (Arc::new(Sites::default()), Issuer::rsa());
        let mut bench = Bench::new(engine, Some(method));
        bench.world = Arc::clone(&sites) as Arc<dyn kit::World>;
        let at = |path: &str| format!("{PROVIDER}/{path}");
        sites.put(
            &at(".well-known/openid-configuration"),
            &json!({"issuer": PROVIDER, "jwks_uri": at("keys"), "authorization_endpoint": at("authorize"),
                "token_endpoint": at("token"), "userinfo_endpoint": at("me"),
                "device_authorization_endpoint": at("device")}),
        );
        sites.put(&at("keys"), &json!({"keys": [issuer.jwk("k")]}));
        let mut body =
            json!({"oidc_discovery_url": PROVIDER, "oidc_client_id": "me", "oidc_client_secret": "hush"});
        for (name, value) in config.as_object().unwrap() {
            body[name] = value.clone();
        }
        bench.post("config", body).is(204);
        let stage = Self { bench, sites, issuer };
        stage.role("r", json!({}));
        stage
    }

    fn role(&self, name: &str, more: Value) {
        let mut role = json!({"user_claim": "sub", "allowed_redirect_uris": [RETURN, "https://a.example/v1/auth/oidc/oidc/callback"],
            "oidc_scopes": "profile", "claim_mappings": {"mail": "mail"}});
        for (name, value) in more.as_object().unwrap() {
            role[name] = value.clone();
        }
        self.bench.post(&format!("role/{name}"), role).is(204);
    }

    fn begin(&self, role: &str, client_nonce: &str) -> Begun {
        self.begin_to(role, client_nonce, RETURN)
    }

    fn begin_to(&self, role: &str, client_nonce: &str, uri: &str) -> Begun {
        let body = json!({"role": role, "redirect_uri": uri, "client_nonce": client_nonce});
        let answer = self.bench.post("oidc/auth_url", body).is(200).data;
        let query = query(answer["auth_url"].as_str().unwrap());
        let state = answer["state"].as_str().map_or_else(|| query["state"].clone(), str::to_owned);
        Begun { state, nonce: query.get("nonce").cloned().unwrap_or_default(), answer }
    }

    fn identity(&self, begun: &Begun, changes: Value) -> String {
        let mut claims = json!({"iss": PROVIDER, "aud": "me", "sub": "ann", "iat": NOW, "exp": NOW + 60, "nonce": begun.nonce});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.issuer.token_by("k", &claims)
    }

    /// Has the provider hand this out for a code.
    fn hands_out(&self, id_token: &str) {
        let tokens = json!({"id_token": id_token, "access_token": "at", "refresh_token": "rt", "token_type": "Bearer"});
        self.sites.put(&format!("{PROVIDER}/token"), &tokens);
    }

    fn back(&self, state: &str, client_nonce: &str) -> Answer {
        self.bench.get(&format!("oidc/callback?state={state}&code=c0de&client_nonce={client_nonce}"))
    }
}

fn query(url: &str) -> BTreeMap<String, String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    query.split('&').filter_map(pair).collect()
}

#[test]
fn programs_log_in_beside_people() {
    let stage = Stage::new(json!({}));
    let role = json!({"role_type": "jwt", "bound_audiences": "me", "user_claim": "sub"});
    stage.bench.post("role/machine", role).is(204);
    let mut claims = json!({"iss": PROVIDER, "aud": "me", "sub": "robot", "iat": NOW, "exp": NOW + 60});
    let log_in = |role: &str, claims: &Value| {
        stage.bench.post("login", json!({"role": role, "jwt": stage.issuer.token_by("k", claims)}))
    };
    assert_eq!(log_in("machine", &claims).is(200).claim.unwrap().alias, "robot");
    log_in("r", &claims).is(400);
    claims["aud"] = json!("another");
    log_in("machine", &claims).is(400);
    claims["aud"] = json!("me");
    let forged = json!({"role": "machine", "jwt": Issuer::rsa().token_by("k", &claims)});
    stage.bench.post("login", forged).is(400);
}

#[test]
fn a_browser_returns_to_the_client() {
    let stage = Stage::new(json!({}));
    let begun = stage.begin("R", "mine");
    let sent = query(begun.answer["auth_url"].as_str().unwrap());
    assert!(
        begun.answer["auth_url"]
            .as_str()
            .unwrap()
            .starts_with("https://login.example/authorize?client_id=me&")
    );
    assert_eq!((sent["code_challenge_method"].as_str(), sent["response_type"].as_str()), ("S256", "code"));
    assert_eq!(
        (sent["scope"].as_str(), sent["redirect_uri"].as_str()),
        ("openid+profile", "http%3A%2F%2Flocalhost%3A8250%2Foidc%2Fcallback")
    );
    assert!(begun.state.starts_with("st_") && begun.nonce.starts_with("n_"));
    stage.hands_out(&stage.identity(&begun, json!({})));
    stage.sites.put(&format!("{PROVIDER}/me"), &json!({"sub": "ann", "mail": "ann@x"}));
    let claim = stage.back(&begun.state, "mine").is(200).claim.unwrap();
    assert_eq!((claim.alias.as_str(), &claim.metadata["mail"]), ("ann", &"ann@x".to_owned()));
    let (url, body) = stage.sites.calls().into_iter().rev().find(|(url, _)| url.ends_with("/token")).unwrap();
    let form = query(&format!("{url}?{body}"));
    assert_eq!((form["grant_type"].as_str(), form["code"].as_str()), ("authorization_code", "c0de"));
    assert_eq!(form["code_verifier"].len(), 43);
    assert!(!body.contains("hush"), "the secret goes in a header");
    stage.back(&begun.state, "mine").refuses(400, EXPIRED);
}

#[test]
fn a_state_is_good_once_and_for_a_while() {
    let mut stage = Stage::new(json!({}));
    stage.back("st_none", "").refuses(400, EXPIRED);
    stage.bench.get("oidc/callback").refuses(400, EXPIRED);
    let begun = stage.begin("r", "mine");
    stage.back(&begun.state, "other").refuses(400, "invalid client_nonce");
    stage.back(&begun.state, "mine").refuses(400, EXPIRED);
    let begun = stage.begin("r", "");
    let path = format!("oidc/callback?state={}&error=Access_Denied&error_description=<b>", begun.state);
    stage.bench.get(&path).refuses(400, "OpenBao login failed. access_denied");
    stage.back(&begun.state, "").refuses(400, EXPIRED);
    let begun = stage.begin("r", "");
    stage
        .bench
        .get(&format!("oidc/callback?state={}&error=zz", begun.state))
        .refuses(400, "An unknown error occurred");
    let begun = stage.begin("r", "");
    stage
        .bench
        .get(&format!("oidc/callback?state={}", begun.state))
        .refuses(400, "No code or id_token received.");
    let begun = stage.begin("r", "");
    stage.hands_out(&stage.identity(&begun, json!({"iat": NOW + 599, "exp": NOW + 700})));
    stage.bench.wait(599);
    stage.back(&begun.state, "").is(200);
    let begun = stage.begin("r", "");
    stage.bench.wait(600);
    stage.back(&begun.state, "").refuses(400, EXPIRED);
}

#[test]
fn an_identity_must_be_of_this_login() {
    let stage = Stage::new(json!({}));
    stage.role("bound", json!({"bound_audiences": "api", "max_age": "1m", "bound_subject": "ann", "oauth2_metadata": "access_token"}));
    let check = |role: &str, changes: Value, expect: &str| {
        let begun = stage.begin(role, "");
        stage.hands_out(&stage.identity(&begun, changes.clone()));
        let answer = stage.back(&begun.state, "");
        if expect.is_empty() { drop(answer.is(200)) } else { answer.refuses(400, expect) }
    };
    check("r", json!({}), "");
    check("r", json!({"nonce": "n_other"}), "Token verification failed. invalid id_token nonce");
    check("r", json!({"nonce": null}), "invalid id_token nonce");
    check("r", json!({"iss": "https://evil.example"}), "invalid issuer (iss) claim");
    check("r", json!({"aud": "other"}), "invalid id_token audiences");
    check("r", json!({"aud": ["me", "other"]}), "invalid id_token audiences");
    check("r", json!({"aud": ["me", "other"], "azp": "me"}), "");
    check("r", json!({"aud": "me", "azp": "other"}), "invalid id_token audiences");
    check("r", json!({"exp": NOW - 61}), "token is expired");
    check("r", json!({"exp": null}), "has no end");
    check("r", json!({"at_hash": "AAAA"}), "access_token failed verification");
    check("bound", json!({"auth_time": NOW}), "invalid id_token audiences");
    check("bound", json!({"aud": ["me", "api"], "azp": "me", "auth_time": NOW - 119}), "");
    check("bound", json!({"aud": ["me", "api"], "azp": "me", "auth_time": NOW - 121}), "max_age");
    check("bound", json!({"aud": ["me", "api"], "azp": "me"}), "max_age");
    let ann = json!({"aud": ["me", "api"], "azp": "me", "auth_time": NOW, "sub": "bob"});
    check("bound", ann, "OpenBao login failed. sub claim does not match bound subject");
    // What another person's userinfo says is not taken.
    stage.sites.put(&format!("{PROVIDER}/me"), &json!({"sub": "bob", "mail": "bob@x"}));
    let begun = stage.begin("r", "");
    stage.hands_out(&stage.identity(&begun, json!({"at_hash": "sda5G2fCr6XjIpiNlGJjjQ"})));
    let claim = stage.back(&begun.state, "").is(200).claim.unwrap();
    assert!(!claim.metadata.contains_key("mail"));
    // Another key, another algorithm.
    let begun = stage.begin("r", "");
    let claims =
        json!({"iss": PROVIDER, "aud": "me", "sub": "ann", "exp": NOW + 9, "iat": NOW, "nonce": begun.nonce});
    stage.hands_out(&Issuer::rsa().token_by("k", &claims));
    stage.back(&begun.state, "").refuses(400, "failed to verify id token signature");
    let begun = stage.begin("r", "");
    stage.hands_out(&Issuer::p256().token_by("k", &claims));
    stage.back(&begun.state, "").refuses(400, "unsupported algorithm");
    for (status, body) in
        [(400, r#"{"error":"invalid_grant"}"#), (500, "oops"), (200, "nonsense"), (200, "{}")]
    {
        let begun = stage.begin("r", "");
        stage.sites.put_raw(&format!("{PROVIDER}/token"), status, body);
        stage.back(&begun.state, "").refuses(400, "OpenBao login failed. Error exchanging oidc code: ");
    }
}

#[test]
fn only_allowed_addresses_are_returned_to() {
    let stage = Stage::new(json!({}));
    for (uri, allowed) in [
        (RETURN, true),
        ("http://localhost:1/oidc/callback", true),
        ("http://localhost:8250/other", false),
        ("https://evil.example/", false),
        ("http://localhost:8250@evil.example/oidc/callback", false),
    ] {
        let url = stage.bench.post("oidc/auth_url", json!({"role": "r", "redirect_uri": uri})).is(200).data;
        assert_eq!(url["auth_url"] != "", allowed, "{uri}");
    }
    stage
        .bench
        .post("oidc/auth_url", json!({"role": "nope"}))
        .refuses(400, "role \"nope\" could not be found");
    stage.bench.post("oidc/auth_url", json!({"role": "r"})).refuses(400, "missing redirect_uri");
    stage.bench.post("oidc/auth_url", json!({})).refuses(400, "missing role");
    let begun = stage.begin_to("r", "", "http://localhost:8250/oidc/callback?namespace=team");
    assert!(begun.state.ends_with("%2Cns%3Dteam"), "{}", begun.state);
}

#[test]
fn a_browser_returns_to_the_server_and_the_person_says_it_was_they() {
    let stage = Stage::new(json!({}));
    stage.role("d", json!({"callback_mode": "direct", "poll_interval": 7}));
    stage
        .bench
        .post("oidc/auth_url", json!({"role": "d", "redirect_uri": RETURN}))
        .refuses(400, "missing client_nonce");
    let begun = stage.begin("d", "mine");
    assert_eq!(begun.answer["poll_interval"], "7");
    let poll =
        |nonce: &str| stage.bench.post("oidc/poll", json!({"state": begun.state, "client_nonce": nonce}));
    stage.hands_out(&stage.identity(&begun, json!({})));
    poll("mine").refuses(400, PENDING);
    let path = format!("oidc/callback?state={}&code=%22%3E%3Cscript%3E", begun.state);
    let asked = stage.bench.get(&format!("oidc/callback?state={}&code=\"><script>", begun.state)).is(200);
    assert!(asked.claim.is_none());
    assert!(asked.text.contains("127.0.0.1") && asked.text.contains("Was it you?"), "{}", asked.text);
    assert!(!asked.text.contains("<script>"));
    poll("mine").refuses(400, PENDING);
    let done = stage.bench.get(&format!("{path}&confirmation=yes")).is(200);
    assert!(done.text.contains("Go back to where you began"));
    stage.bench.get(&format!("{path}&confirmation=yes")).refuses(400, EXPIRED);
    assert_eq!(poll("mine").is(200).claim.unwrap().alias, "ann");
    poll("mine").refuses(400, EXPIRED);
    // Who does not know the nonce ends it for everybody.
    let other = stage.begin("d", "mine");
    stage
        .bench
        .post("oidc/poll", json!({"state": other.state, "client_nonce": "x"}))
        .refuses(400, "invalid client_nonce");
    stage
        .bench
        .post("oidc/poll", json!({"state": other.state, "client_nonce": "mine"}))
        .refuses(400, EXPIRED);
    stage.role("d", json!({"callback_mode": "direct", "oidc_disable_confirmation": true}));
    let begun = stage.begin("d", "mine");
    stage.hands_out(&stage.identity(&begun, json!({})));
    stage.bench.get(&format!("oidc/callback?state={}&code=c", begun.state)).is(200);
    stage.bench.post("oidc/poll", json!({"state": begun.state, "client_nonce": "mine"})).is(200);
    let begun = stage.begin("d", "mine");
    stage.bench.get(&format!("oidc/callback?state={}&error=access_denied", begun.state)).is(400);
    stage
        .bench
        .post("oidc/poll", json!({"state": begun.state, "client_nonce": "mine"}))
        .refuses(400, "access_denied");
}

#[test]
fn a_device_waits_for_a_person_elsewhere() {
    let stage = Stage::new(json!({}));
    stage.role("dev", json!({"callback_mode": "device"}));
    stage.sites.put(&format!("{PROVIDER}/device"), &json!({"device_code": "dc", "user_code": "AB-CD", "verification_uri": "https://login.example/go", "interval": 9}));
    let begun = stage.begin_to("dev", "mine", "");
    assert_eq!(
        (&begun.answer["auth_url"], &begun.answer["user_code"], &begun.answer["poll_interval"]),
        (&json!("https://login.example/go"), &json!("AB-CD"), &json!("9"))
    );
    let token = format!("{PROVIDER}/token");
    let poll = |state: &str| stage.bench.post("oidc/poll", json!({"state": state, "client_nonce": "mine"}));
    for word in [PENDING, "slow_down"] {
        stage.sites.put_raw(&token, 400, &json!({"error": word}).to_string());
        poll(&begun.state).refuses(400, word);
    }
    stage.sites.put_raw(&token, 503, "oops");
    poll(&begun.state).refuses(502, "the provider answered 503");
    stage.hands_out(&stage.identity(&begun, json!({"nonce": null})));
    assert_eq!(poll(&begun.state).is(200).claim.unwrap().alias, "ann");
    poll(&begun.state).refuses(400, EXPIRED);
    let begun = stage.begin_to("dev", "mine", "");
    stage.sites.put_raw(&token, 400, &json!({"error": "expired_token"}).to_string());
    poll(&begun.state).refuses(400, "authorization failed: expired_token");
    poll(&begun.state).refuses(400, EXPIRED);
}

#[test]
fn a_provider_posts_what_it_hands_out() {
    let stage = Stage::new(json!({"oidc_response_mode": "form_post", "oidc_response_types": "id_token"}));
    let uri = "https://a.example/v1/auth/oidc/oidc/callback";
    let begun = stage.begin_to("r", "", uri);
    let sent = query(begun.answer["auth_url"].as_str().unwrap());
    assert_eq!((sent["response_type"].as_str(), sent["response_mode"].as_str()), ("id_token", "form_post"));
    assert!(!sent.contains_key("code_challenge"));
    let posted = stage
        .bench
        .post("oidc/callback", json!({"state": begun.state, "id_token": stage.identity(&begun, json!({}))}))
        .is(200);
    assert!(
        posted
            .text
            .contains(&format!("/ui/vault/auth/oidc/oidc/callback?code=no_code&amp;state={}", begun.state))
    );
    stage.bench.post("oidc/callback", json!({"state": begun.state, "id_token": "other"})).is(400);
    let path = format!("oidc/callback?state={}&code=no_code", begun.state);
    assert_eq!(stage.bench.get(&path).is(200).claim.unwrap().alias, "ann");
    stage.bench.get(&path).refuses(400, EXPIRED);
    stage.bench.post("oidc/callback", json!({"state": "st_none"})).is(400);
    Stage::new(json!({})).bench.post("oidc/callback", json!({"state": "x"})).is(405);
}

#[test]
fn whoever_begins_logins_without_end_keeps_nobody_from_theirs() {
    const FLOWS_MAX: usize = 10_000;
    let mut stage = Stage::new(json!({}));
    let begun = stage.begin("r", "mine");
    stage.bench.remote.address = Some([192, 0, 2, 7].into());
    for _ in 0..FLOWS_MAX {
        stage.begin("r", "theirs");
    }
    stage.bench.remote.address = Some([127, 0, 0, 1].into());
    let later = stage.begin("r", "mine");
    for begun in [begun, later] {
        stage.hands_out(&stage.identity(&begun, json!({})));
        stage.back(&begun.state, "mine").is(200);
    }
}

/// Where a token may be used, its login must be made; the browser that brings it may be anywhere.
#[test]
fn a_login_ends_where_its_role_says() {
    let mut stage = Stage::new(json!({}));
    let near = |stage: &mut Stage, address: &str| stage.bench.remote.address = Some(address.parse().unwrap());
    for mode in ["client", "direct"] {
        stage.role("here", json!({"callback_mode": mode, "token_bound_cidrs": "10.0.0.0/8"}));
        for (address, comes_in) in [("10.1.1.1", true), ("127.0.0.1", false)] {
            near(&mut stage, "10.1.1.1");
            let begun = stage.begin("here", "mine");
            stage.hands_out(&stage.identity(&begun, json!({})));
            if mode == "direct" {
                near(&mut stage, "192.0.2.1");
                let path = format!("oidc/callback?state={}&code=c&confirmation=yes", begun.state);
                stage.bench.get(&path.replace("&confirmation=yes", "")).is(200);
                stage.bench.get(&path).is(200);
            }
            near(&mut stage, address);
            let answer = match mode {
                "direct" => {
                    stage.bench.post("oidc/poll", json!({"state": begun.state, "client_nonce": "mine"}))
                }
                _ => stage.back(&begun.state, "mine"),
            };
            assert_eq!(answer.status, if comes_in { 200 } else { 403 }, "{mode} {address}: {answer:?}");
        }
    }
}
