//! F, G. Tokens that issuers sign, and providers that vouch: whose they are, for whom they are, and odd ones.

use crate::issuer::{Answer, FROM, Issuer, Site, UNTIL, base64};
use crate::stage::Stage;
use crate::standin::{Play, StandIn};
use serde_json::{Value, json};
use std::sync::Arc;
use tests::authority::{ALWAYS, PAST, Wanted};
use tests::binary::Binary;
use tests::scratch::Scratch;
use tests::server::Server;
use x509::{AltNames, ExtKeyUsage};

fn with_issuer() -> (Stage, Site, Issuer) {
    let (stage, site, issuer) = (Stage::dev(), Site::open(), Issuer::new());
    site.put("/keys", &json!({"keys": [issuer.jwk("k")]}));
    stage.root.post("sys/auth/jwt", json!({"type": "jwt"})).must(204);
    stage.root.post("auth/jwt/config", json!({"jwks_url": format!("{}/keys", site.url)})).must(204);
    (stage, site, issuer)
}

#[test]
fn row_058_audiences_are_exact() {
    let (stage, _site, issuer) = with_issuer();
    let role = |name: &str, audiences: Value| {
        let body = json!({"role_type": "jwt", "user_claim": "sub", "bound_subject": "ann", "bound_audiences": audiences});
        stage.root.post(&format!("auth/jwt/role/{name}"), body).must(204);
    };
    role("one", json!("api"));
    role("list", json!(["other", "api"]));
    role("none", json!([]));
    for (audience, fits) in [
        (json!("api"), true),
        (json!(["x", "api"]), true),
        (json!("web"), false),
        (json!("ap"), false),
        (json!("api/"), false),
        (json!("API"), false),
        (json!(["x"]), false),
        (json!([]), false),
        (Value::Null, false),
        (json!(""), false),
        (json!(5), false),
        (json!({"api": 1}), false),
    ] {
        let claims = json!({"sub": "ann", "aud": audience, "iat": FROM, "exp": UNTIL});
        let token = issuer.token("k", &claims);
        for name in ["one", "list"] {
            let reply = stage.anonymous().post("auth/jwt/login", json!({"role": name, "jwt": token}));
            assert_eq!(reply.status, if fits { 200 } else { 400 }, "{name} {audience}: {reply}");
        }
        let free = audience.is_null() || audience == json!([]);
        let reply = stage.anonymous().post("auth/jwt/login", json!({"role": "none", "jwt": token}));
        assert_eq!(reply.status, if free { 200 } else { 400 }, "none {audience}: {reply}");
    }
}

#[test]
fn row_026_a_role_has_one_name() {
    let stage = Stage::dev();
    stage.root.post("sys/auth/kubernetes", json!({"type": "kubernetes"})).must(204);
    stage.root.post("sys/auth/jwt", json!({"type": "jwt"})).must(204);
    let pods = json!({"bound_service_account_names": "a", "bound_service_account_namespaces": "a"});
    stage.root.post("auth/kubernetes/role/admin", pods.clone()).must(204);
    let caller = stage.caller(
        r#"path "auth/+/role/*" { capabilities = ["create", "update", "read", "delete"] }
           path "auth/+/role/admin" { capabilities = ["deny"] }"#,
    );
    for mount in ["kubernetes", "jwt"] {
        for name in ["admin", "AdMiN", "ADMIN"] {
            caller.post(&format!("auth/{mount}/role/{name}"), pods.clone()).must(403);
            caller.get(&format!("auth/{mount}/role/{name}")).must(403);
            caller.delete(&format!("auth/{mount}/role/{name}")).must(403);
        }
    }
    caller.post("auth/kubernetes/role/Other", pods).must(204);
}

#[test]
fn row_059_a_login_to_the_server_is_confirmed_by_the_person() {
    let (stage, site, issuer) = with_issuer();
    let at = |path: &str| format!("{}{path}", site.url);
    site.put(
        "/.well-known/openid-configuration",
        &json!({"issuer": site.url, "jwks_uri": at("/keys"), "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token")}),
    );
    stage.root.post("sys/auth/oidc", json!({"type": "oidc"})).must(204);
    let config = json!({"oidc_discovery_url": site.url, "oidc_client_id": "me", "oidc_client_secret": "s", "jwt_supported_algs": "ES256"});
    stage.root.post("auth/oidc/config", config).must(204);
    let uri = "https://vault.example/v1/auth/oidc/oidc/callback";
    let role = json!({"user_claim": "sub", "allowed_redirect_uris": uri, "callback_mode": "direct"});
    stage.root.post("auth/oidc/role/r", role).must(204);
    let (attacker, victim) = (stage.anonymous(), stage.anonymous());
    let body = json!({"role": "r", "redirect_uri": uri, "client_nonce": "mine"});
    let begun = attacker.post("auth/oidc/oidc/auth_url", body).must(200);
    let (state, url) = (begun.at("/data/state"), begun.at("/data/auth_url"));
    let nonce = url.split_once("&nonce=").unwrap().1.split('&').next().unwrap();
    let identity =
        json!({"iss": site.url, "aud": "me", "sub": "victim", "iat": FROM, "exp": UNTIL, "nonce": nonce});
    site.put("/token", &json!({"id_token": issuer.token("k", &identity)}));
    let poll = || attacker.post("auth/oidc/oidc/poll", json!({"state": state, "client_nonce": "mine"}));
    // The provider has the victim's consent and sends their browser back.
    let page = victim.get(&format!("auth/oidc/oidc/callback?state={state}&code=c")).must(200);
    assert!(page.text().contains("127.0.0.1"), "the page says who began: {page}");
    poll().must(400);
    victim.get(&format!("auth/oidc/oidc/callback?state={state}&code=c&confirmation=yes")).must(200);
    poll().must(200);
}

#[test]
fn row_062_only_the_configured_issuer_is_asked() {
    let (stage, site, issuer) = with_issuer();
    let (evil, stranger) = (Site::open(), Issuer::new());
    evil.put("/keys", &json!({"keys": [stranger.jwk("k")]}));
    stage
        .root
        .post("auth/jwt/role/r", json!({"role_type": "jwt", "user_claim": "sub", "bound_subject": "ann"}))
        .must(204);
    let claims = json!({"sub": "ann", "iss": evil.url, "iat": FROM, "exp": UNTIL});
    let keys = format!("{}/keys", evil.url);
    let header = json!({"alg": "ES256", "kid": keys, "jku": keys, "x5u": keys, "jwk": stranger.jwk("k")});
    let token = stranger.signed(&header, &claims.to_string());
    stage.anonymous().post("auth/jwt/login", json!({"role": "r", "jwt": token, "jwks_url": keys})).must(400);
    assert!(evil.asked().is_empty());
    assert!(site.asked().iter().all(|(path, _)| path == "/keys"));
    stage
        .anonymous()
        .post("auth/jwt/login", json!({"role": "r", "jwt": issuer.token("k", &claims)}))
        .must(200);
}

#[test]
fn row_063_keys_come_only_from_whom_the_configuration_knows() {
    let (stage, issuer, stranger) = (Stage::dev(), Issuer::new(), Issuer::new());
    stage.root.post("sys/auth/jwt", json!({"type": "jwt"})).must(204);
    let hands_out = |issuer: &Issuer| -> Play {
        let keys = json!({"keys": [issuer.jwk("k")]}).to_string();
        Arc::new(move |_| Answer::Say(200, keys.clone()))
    };
    let folders: [Scratch; 4] = std::array::from_fn(|_| Scratch::new());
    let [at_ours, at_late, at_led, at_theirs] = folders.each_ref().map(Scratch::path);
    let root = Wanted::ca("Ours").by_itself();
    let ours = StandIn::open_as(at_ours, &root, ALWAYS, hands_out(&issuer));
    let late = StandIn::open_as(at_late, &root, PAST, hands_out(&stranger));
    let theirs = StandIn::open(at_theirs, hands_out(&stranger));
    let plain = Site::open();
    plain.put("/keys", &json!({"keys": [stranger.jwk("k")]}));
    let to = format!("{}/keys", plain.url);
    let led = StandIn::open_as(at_led, &root, ALWAYS, Arc::new(move |_| Answer::LeadTo(to.clone())));
    let at = |site: &StandIn| format!("https://127.0.0.1:{}/keys", site.port);
    let configure = |url: &str, skips: bool| {
        let body = json!({"jwks_url": url, "jwks_ca_pem": root.pem(), "skip_jwks_validation": skips});
        stage.root.post("auth/jwt/config", body)
    };
    let log_in = |by: &Issuer| {
        let token = by.token("k", &json!({"sub": "ann", "iat": FROM, "exp": UNTIL}));
        stage.anonymous().post("auth/jwt/login", json!({"role": "r", "jwt": token}))
    };
    configure(&at(&ours), false).must(204);
    let role = json!({"role_type": "jwt", "user_claim": "sub", "bound_subject": "ann"});
    stage.root.post("auth/jwt/role/r", role).must(204);
    log_in(&issuer).must(200);
    log_in(&stranger).must(400);
    for (what, url) in [
        ("by a CA of their own", at(&theirs)),
        ("of a name that is not the one asked", at(&ours).replace("127.0.0.1", "localhost")),
        ("over since long", at(&late)),
        ("none at all", format!("{}/keys", plain.url.replace("http:", "https:"))),
        ("led away from it", at(&led)),
    ] {
        let refused = configure(&url, false);
        assert_eq!(refused.status, 400, "{what}: {refused}");
        assert!(configure(&url, true).status < 300, "{what}");
        for by in [&stranger, &issuer] {
            let refused = log_in(by);
            assert_eq!(refused.status, 400, "{what}: {refused}");
        }
    }
    assert!(plain.asked().is_empty(), "nobody asks where anybody may answer");
}

/// `openssl req -x509` makes a certificate that is its own CA. Named as the CA it is taken, and nothing else of it is overlooked.
#[test]
fn row_063_a_site_may_be_its_own_ca() {
    let (stage, issuer, folder) = (Stage::dev(), Issuer::new(), Scratch::new());
    stage.root.post("sys/auth/jwt", json!({"type": "jwt"})).must(204);
    let keys = json!({"keys": [issuer.jwk("k")]}).to_string();
    let configure = |what: &str, wanted: Wanted, named: Option<&Wanted>, host: &str, status: u16| {
        let folder = folder.path().join(what.replace(' ', "-"));
        std::fs::create_dir(&folder).unwrap();
        let (own, keys) = (wanted.by_itself(), keys.clone());
        let ca = named.map_or_else(|| own.pem(), |named| named.by_itself().pem());
        let play: Play = Arc::new(move |_| Answer::Say(200, keys.clone()));
        let site = StandIn::showing(&folder, &own, &own, play);
        let url = format!("https://{host}:{}/keys", site.port);
        let answer = stage.root.post("auth/jwt/config", json!({"jwks_url": url, "jwks_ca_pem": ca}));
        assert_eq!(answer.status, status, "{what}: {answer}");
    };
    let names = AltNames { ip: vec!["127.0.0.1".parse().unwrap()], ..AltNames::default() };
    let own = || Wanted { names: names.clone(), ..Wanted::ca("Own") };
    configure("itself", own(), None, "127.0.0.1", 204);
    configure("another of that name", own(), Some(&own()), "127.0.0.1", 400);
    configure("under another name", own(), None, "localhost", 400);
    configure("ended", Wanted { validity: PAST, ..own() }, None, "127.0.0.1", 400);
    let for_clients = Wanted { purposes: vec![ExtKeyUsage::CLIENT_AUTH], ..own() };
    configure("for clients", for_clients, None, "127.0.0.1", 400);
}

#[test]
fn row_114_odd_tokens_are_refused_at_once() {
    let (stage, _site, issuer) = with_issuer();
    stage
        .root
        .post("auth/jwt/role/r", json!({"role_type": "jwt", "user_claim": "sub", "bound_subject": "ann"}))
        .must(204);
    let claims = json!({"sub": "ann", "iat": FROM, "exp": UNTIL}).to_string();
    let with = |header: Value| issuer.signed(&header, &claims);
    let good = with(json!({"alg": "ES256", "kid": "k"}));
    for token in [
        with(json!({"alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": 2_147_483_648_i64, "p2s": "x"})),
        with(json!({"alg": "ES256", "kid": "k", "zip": "DEF", "crit": ["zip"]})),
        with(json!({"alg": "ES256", "kid": "k", "b64": false})),
        with(json!({"alg": null})),
        with(json!({"alg": ["ES256"]})),
        with(json!(null)),
        with(json!([])),
        format!("{}..", base64(br#"{"alg":"ES256"}"#)),
        ".".repeat(1_000_000),
        format!("{good}.{good}"),
        "..".to_owned(),
        "\u{0}.\u{0}.\u{0}".to_owned(),
        "[".repeat(100_000),
        format!("{}.{}.AAAA", base64("[".repeat(50_000).as_bytes()), base64(b"{}")),
    ] {
        let reply = stage.anonymous().post("auth/jwt/login", json!({"role": "r", "jwt": token}));
        assert_eq!(reply.status, 400, "{}: {reply}", token.chars().take(60).collect::<String>());
    }
    stage.anonymous().post("auth/jwt/login", json!({"role": "r", "jwt": good})).must(200);
}

#[test]
fn row_097_no_token_lies_in_the_log() {
    let server = Server::dev_with(&Binary::sealkeep(), &["-log-level=trace"]);
    let stage = Stage { root: server.root(), server, folder: Scratch::new() };
    let (site, issuer) = (Site::open(), Issuer::new());
    site.put("/keys", &json!({"keys": [issuer.jwk("k")]}));
    stage.root.post("sys/auth/jwt", json!({"type": "jwt"})).must(204);
    stage.root.post("auth/jwt/config", json!({"jwks_url": format!("{}/keys", site.url)})).must(204);
    let role = json!({"role_type": "jwt", "user_claim": "sub", "bound_subject": "ann"});
    stage.root.post("auth/jwt/role/r", role).must(204);
    let token = |subject: &str| issuer.token("k", &json!({"sub": subject, "iat": FROM, "exp": UNTIL}));
    let log_in = |jwt: String| stage.anonymous().post("auth/jwt/login", json!({"role": "r", "jwt": jwt}));
    let made = log_in(token("ann")).must(200).at("/auth/client_token");
    log_in(token("eve")).must(400);
    log_in(format!("{}x", token("ann"))).must(400);
    stage.root.post("auth/jwt/login", json!({"jwt": [token("ann")]})).must_be_any(&[400]);
    let log = stage.server.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "it says all that it can say");
    assert!(!log.contains("eyJ") && !log.contains(&made), "a token lies in the log");
}
