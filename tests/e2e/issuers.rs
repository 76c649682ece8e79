//! Logins that need an answer from an issuer, a provider or a cluster: there, away, slow and babbling.

use crate::issuer::{Answer, FROM, Issuer, Site, UNTIL};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::binary::Binary;
use tests::http::Client;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage};

/// Longer than any login waits for two answers, at a server that waits two seconds for each.
const BOUND: Duration = Duration::from_secs(15);

/// A server that loses its patience soon.
fn started() -> (Server, Client, Scratch) {
    let folder = Scratch::new();
    let config = Config::new(Storage::Inmem, folder.path()).with("outside_timeout = \"2s\"");
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    (server, root, folder)
}

fn claims() -> Value {
    json!({"sub": "ann", "aud": "a", "iat": FROM, "exp": UNTIL})
}

#[test]
#[allow(clippy::disallowed_methods, reason = "that a bad site holds nobody up is what this test is about")]
fn keys_of_an_issuer_change_and_its_site_fails() {
    let (server, root, _folder) = started();
    let (site, issuer, next) = (Site::open(), Issuer::new(), Issuer::new());
    site.put("/keys", &json!({"keys": [issuer.jwk("k1")]}));
    root.post("sys/auth/jwt", json!({"type": "jwt"})).must(204);
    root.post("auth/jwt/config", json!({"jwks_url": format!("{}/keys", site.url)})).must(204);
    let role =
        json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": "a", "token_policies": "p"});
    root.post("auth/jwt/role/r", role).must(204);
    let log_in = |token: &str| server.anonymous().post("auth/jwt/login", json!({"role": "r", "jwt": token}));
    let reply = log_in(&issuer.token("k1", &claims())).must(200);
    assert_eq!(reply.json()["auth"]["policies"], json!(["default", "p"]));
    let token = reply.at("/auth/client_token");
    assert_eq!(
        server.anonymous().with(&token).get("auth/token/lookup-self").must(200).at("/data/display_name"),
        "jwt-ann"
    );
    // Nobody was asked again since the configuration.
    assert_eq!(site.asked().len(), 1);
    site.put("/keys", &json!({"keys": [next.jwk("k2")]}));
    log_in(&next.token("k2", &claims())).must(200);
    assert_eq!(site.asked().len(), 2);
    log_in(&issuer.token("k1", &claims())).must(400);
    assert_eq!(site.asked().len(), 2, "a key that is gone is not asked for again at once");
    // Another mount, which knows no keys yet, and a site that fails in every way.
    root.post("sys/auth/other", json!({"type": "jwt"})).must(204);
    root.post("auth/other/role/r", json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": "a"}))
        .must(204);
    let answers = [
        Answer::Say(500, "oops".to_owned()),
        Answer::Say(200, "nonsense".to_owned()),
        Answer::Say(200, format!("{{\"keys\": \"{}\"}}", "x".repeat(5_000_000))),
        Answer::Say(302, String::new()),
        Answer::Babble,
        Answer::Hang,
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let path = format!("/bad{number}");
        site.does(&path, answer);
        let begun = Instant::now();
        let config = json!({"jwks_url": format!("{}{path}", site.url)});
        root.post("auth/other/config", config.clone()).must(400);
        let mut skips = config;
        skips["skip_jwks_validation"] = json!(true);
        root.post("auth/other/config", skips).must(200);
        let body = json!({"role": "r", "jwt": next.token("k2", &claims())});
        server.anonymous().post("auth/other/login", body).must_be_any(&[400, 502]);
        assert!(begun.elapsed() < BOUND * 3, "{path} took {:?}", begun.elapsed());
    }
}

/// It goes with every request, in a header.
#[test]
fn a_batch_token_is_as_long_with_many_groups_as_with_none() {
    let (server, root, _folder) = started();
    let (site, issuer) = (Site::open(), Issuer::new());
    site.put("/keys", &json!({"keys": [issuer.jwk("k")]}));
    root.post("sys/auth/jwt", json!({"type": "jwt"})).must(204);
    root.post("auth/jwt/config", json!({"jwks_url": format!("{}/keys", site.url)})).must(204);
    let role = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": "a", "token_policies": "p",
        "groups_claim": "groups", "token_type": "batch"});
    root.post("auth/jwt/role/r", role).must(204);
    let accessor = root.get("sys/auth/jwt").must(200).at("/data/accessor");
    let group = json!({"name": "g", "type": "external", "policies": "by-group"});
    let group = root.post("identity/group", group).must(200).at("/data/id");
    let alias = json!({"name": "group-1299", "mount_accessor": accessor, "canonical_id": group});
    root.post("identity/group-alias", alias).must(200);
    let log_in = |count: usize| {
        let mut claims = claims();
        claims["groups"] = (0..count).map(|number| format!("group-{number}")).collect();
        let body = json!({"role": "r", "jwt": issuer.token("k", &claims)});
        server.anonymous().post("auth/jwt/login", body).must(200).at("/auth/client_token")
    };
    let (none, many) = (log_in(0), log_in(1_300));
    assert!(none.starts_with("b.") && many.len() == none.len(), "{} {}", none.len(), many.len());
    let shown = server.anonymous().with(&many).get("auth/token/lookup-self").must(200);
    assert_eq!(shown.json()["data"]["policies"], json!(["default", "p"]));
    assert_eq!(shown.json()["data"]["identity_policies"], json!(["by-group"]));
}

#[test]
fn a_person_logs_in_through_a_provider() {
    let (server, root, _folder) = started();
    let (site, issuer) = (Site::open(), Issuer::new());
    let at = |path: &str| format!("{}{path}", site.url);
    site.put(
        "/.well-known/openid-configuration",
        &json!({"issuer": site.url, "jwks_uri": at("/keys"), "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token")}),
    );
    site.put("/keys", &json!({"keys": [issuer.jwk("k")]}));
    root.post("sys/auth/oidc", json!({"type": "oidc"})).must(204);
    let config = json!({"oidc_discovery_url": site.url, "oidc_client_id": "me", "oidc_client_secret": "hush", "jwt_supported_algs": "ES256"});
    root.post("auth/oidc/config", config).must(204);
    let uri = "http://localhost:8250/oidc/callback";
    root.post("auth/oidc/role/r", json!({"user_claim": "sub", "allowed_redirect_uris": uri})).must(204);
    let direct = json!({"user_claim": "sub", "allowed_redirect_uris": uri, "callback_mode": "direct"});
    root.post("auth/oidc/role/d", direct).must(204);
    let nobody = server.anonymous();
    let begin = |role: &str| {
        let body = json!({"role": role, "redirect_uri": uri, "client_nonce": "mine"});
        let url = nobody.post("auth/oidc/oidc/auth_url", body).must(200).at("/data/auth_url");
        let field = |name: &str| {
            let (_, rest) = url.split_once(&format!("&{name}=")).unwrap();
            rest.split('&').next().unwrap().to_owned()
        };
        let identity = json!({"iss": site.url, "aud": "me", "sub": "ann", "iat": FROM, "exp": UNTIL, "nonce": field("nonce")});
        site.put(
            "/token",
            &json!({"id_token": issuer.token("k", &identity), "access_token": "at", "token_type": "Bearer"}),
        );
        field("state")
    };
    let state = begin("r");
    let back = format!("auth/oidc/oidc/callback?state={state}&code=c0de&client_nonce=mine");
    let reply = nobody.get(&back).must(200);
    assert_eq!(reply.json()["auth"]["metadata"], json!({"role": "r"}));
    nobody.get(&back).must(400);
    // The browser comes to the server, and the person is asked first.
    let state = begin("d");
    let poll = json!({"state": state, "client_nonce": "mine"});
    assert_eq!(nobody.post("auth/oidc/oidc/poll", poll.clone()).must(400).errors(), "authorization_pending");
    let asked = nobody.get(&format!("auth/oidc/oidc/callback?state={state}&code=c0de")).must(200);
    assert!(asked.header("content-type").unwrap().starts_with("text/html"), "{asked}");
    assert!(asked.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"), "{asked}");
    assert_eq!(nobody.post("auth/oidc/oidc/poll", poll.clone()).must(400).errors(), "authorization_pending");
    nobody.get(&format!("auth/oidc/oidc/callback?state={state}&code=c0de&confirmation=yes")).must(200);
    nobody.post("auth/oidc/oidc/poll", poll.clone()).must(200);
    nobody.post("auth/oidc/oidc/poll", poll).must(400);
    for answer in [
        Answer::Say(400, r#"{"error":"invalid_grant"}"#.to_owned()),
        Answer::Say(200, "{".to_owned()),
        Answer::Babble,
    ] {
        let state = begin("r");
        site.does("/token", answer);
        nobody.get(&format!("auth/oidc/oidc/callback?state={state}&code=c&client_nonce=mine")).must(400);
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "that a bad site holds nobody up is what this test is about")]
fn a_cluster_vouches_for_a_pod() {
    let (server, root, _folder) = started();
    let (site, issuer) = (Site::open(), Issuer::new());
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    root.post("sys/auth/kubernetes", json!({"type": "kubernetes"})).must(204);
    let ca = root.post("sys/mounts/pki", json!({"type": "pki"})).must(204);
    drop(ca);
    let ca = root
        .post("pki/root/generate/internal", json!({"common_name": "k8s"}))
        .must(200)
        .at("/data/certificate");
    root.post("auth/kubernetes/config", json!({"kubernetes_host": site.url, "kubernetes_ca_cert": ca}))
        .must(204);
    let role = json!({"bound_service_account_names": "sa", "bound_service_account_namespaces": "ns"});
    root.post("auth/kubernetes/role/r", role).must(204);
    let account = json!({"namespace": "ns", "serviceaccount": {"name": "sa", "uid": "u1"}});
    let token =
        issuer.token("k", &json!({"aud": ["a"], "iat": FROM, "exp": UNTIL, "kubernetes.io": account}));
    let log_in = || server.anonymous().post("auth/kubernetes/login", json!({"role": "r", "jwt": token}));
    let vouched = |user: &str| {
        let user = json!({"username": user, "uid": "u1"});
        json!({"status": {"authenticated": true, "audiences": ["a"], "user": user}})
    };
    // A cluster that knows no audiences has judged the token for itself.
    let mut unaware = vouched("system:serviceaccount:ns:sa");
    unaware["status"].as_object_mut().unwrap().remove("audiences");
    site.does(reviews, Answer::Say(201, vouched("system:serviceaccount:ns:sa").to_string()));
    assert_eq!(log_in().must(200).at("/auth/metadata/service_account_uid"), "u1");
    assert!(site.asked()[0].1.contains(&token));
    for answer in [
        Answer::Say(201, vouched("system:serviceaccount:ns:other").to_string()),
        Answer::Say(201, unaware.to_string()),
        Answer::Say(201, json!({"status": {"authenticated": false}}).to_string()),
        Answer::Say(401, "{}".to_owned()),
        Answer::Say(200, "nonsense".to_owned()),
        Answer::Babble,
        Answer::Hang,
    ] {
        site.does(reviews, answer);
        let begun = Instant::now();
        log_in().must(403);
        assert!(begun.elapsed() < BOUND);
    }
}
