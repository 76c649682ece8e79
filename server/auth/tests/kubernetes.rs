//! Roles for service accounts, and logins that a cluster vouches for.

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

const HOST: &str = "https://k8s.example:6443";
const REVIEWS: &str = "https://k8s.example:6443/apis/authentication.k8s.io/v1/tokenreviews";
const NAMESPACE: &str = "https://k8s.example:6443/api/v1/namespaces/ns";

fn kubernetes() -> (Bench, Arc<Sites>) {
    let (engine, method) = auth::open("kubernetes", &json!({})).unwrap();
    let sites = Arc::new(Sites::default());
    let mut bench = Bench::new(engine, Some(method));
    bench.world = Arc::clone(&sites) as Arc<dyn kit::World>;
    (bench, sites)
}

/// The same, set up, with a role `r` for the account `sa` in `ns`, for which the cluster vouches.
fn ready() -> (Bench, Arc<Sites>, Issuer) {
    let (bench, sites) = kubernetes();
    bench.post("config", json!({"kubernetes_host": HOST, "kubernetes_ca_cert": "pem"})).is(204);
    let role =
        json!({"bound_service_account_names": "sa,web-*", "bound_service_account_namespaces": "ns,team-*"});
    bench.post("role/r", role).is(204);
    sites.put(REVIEWS, &vouched("ns", "sa", "u1"));
    (bench, sites, Issuer::p256())
}

fn vouched(namespace: &str, name: &str, uid: &str) -> Value {
    let user = json!({"username": format!("system:serviceaccount:{namespace}:{name}"), "uid": uid});
    json!({"kind": "TokenReview", "status": {"authenticated": true, "audiences": ["a"], "user": user}})
}

/// What the token of a pod says.
fn pod(namespace: &str, name: &str, uid: &str) -> Value {
    json!({"iss": "https://kubernetes.default.svc", "aud": ["a"], "iat": NOW, "nbf": NOW, "exp": NOW + 100,
        "kubernetes.io": {"namespace": namespace, "pod": {"name": "p", "uid": "pu"},
            "serviceaccount": {"name": name, "uid": uid}}})
}

fn log_in(bench: &Bench, role: &str, jwt: &str) -> Answer {
    bench.post("login", json!({"role": role, "jwt": jwt}))
}

#[test]
fn an_account_that_the_cluster_vouches_for_is_let_in() {
    let (bench, sites, issuer) = ready();
    let token = issuer.token(&pod("ns", "sa", "u1"));
    let claim = log_in(&bench, "R", &token).is(200).claim.unwrap();
    assert_eq!((claim.alias.as_str(), claim.display_name.as_str()), ("u1", "ns-sa"));
    assert_eq!(
        json!(claim.metadata),
        json!({"role": "R", "service_account_name": "sa", "service_account_namespace": "ns",
            "service_account_secret_name": "", "service_account_uid": "u1"})
    );
    let (url, body) = sites.calls().pop().unwrap();
    let asked: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((url.as_str(), &asked["spec"]), (REVIEWS, &json!({"token": token, "audiences": ["a"]})));
    assert_eq!(sites.last_header("authorization"), format!("Bearer {token}"));
    // The tokens that lay in secrets have no end, and another shape.
    let prefix = "kubernetes.io/serviceaccount";
    let old = json!({"iss": "kubernetes/serviceaccount", format!("{prefix}/namespace"): "ns",
        format!("{prefix}/secret.name"): "sec", format!("{prefix}/service-account.name"): "sa",
        format!("{prefix}/service-account.uid"): "u1"});
    let claim = log_in(&bench, "r", &issuer.token(&old)).is(200).claim.unwrap();
    assert_eq!(claim.metadata["service_account_secret_name"], "sec");
    let named = json!({"bound_service_account_names": "*", "bound_service_account_namespaces": "*",
        "alias_name_source": "serviceaccount_name", "audience": "b"});
    bench.post("role/named", named).is(204);
    let audience = "invalid audience (aud) claim: audience claim does not match any expected audience";
    log_in(&bench, "named", &token).refuses(403, audience);
    let mut both = pod("ns", "sa", "u1");
    both["aud"] = json!(["a", "b"]);
    log_in(&bench, "named", &issuer.token(&both)).refuses(403, "permission denied");
    let mut of_b = vouched("ns", "sa", "u1");
    of_b["status"]["audiences"] = json!(["b"]);
    sites.put(REVIEWS, &of_b);
    let claim = log_in(&bench, "named", &issuer.token(&both)).is(200).claim.unwrap();
    assert_eq!(claim.alias, "ns/sa");
    bench.renew(&claim).unwrap();
    bench.delete("role/named").is(204);
    assert!(bench.renew(&claim).is_err());
}

#[test]
fn accounts_that_a_role_is_not_for_are_refused_before_anybody_is_asked() {
    let (bench, sites, issuer) = ready();
    let before = sites.calls().len();
    let check = |claims: Value, status: u16, text: &str| {
        log_in(&bench, "r", &issuer.token(&claims)).refuses(status, text);
    };
    let with = |name: &str, value: Value| {
        let mut claims = pod("ns", "sa", "u1");
        claims[name] = value;
        claims
    };
    check(pod("ns", "bad", "u1"), 403, "service account name not authorized");
    check(pod("bad", "sa", "u1"), 403, "namespace not authorized");
    check(json!({}), 403, "service account name not authorized");
    check(with("exp", json!(NOW - 100)), 403, "invalid expiration time (exp) claim: token is expired");
    check(with("nbf", json!(NOW + 100)), 403, "invalid not before (nbf) claim: token not yet valid");
    check(with("aud", json!("a")), 500, "'aud' source data must be an array or slice, got string");
    check(with("aud", json!(5)), 403, "expected string or array value to unmarshal to Audience");
    check(with("kubernetes.io", json!(5)), 500, "'kubernetes.io' expected a map or struct");
    check(
        with("kubernetes.io", json!({"namespace": 5})),
        500,
        "'kubernetes.io.namespace' expected type 'string'",
    );
    let ed = Issuer::ed25519().token(&pod("ns", "sa", "u1"));
    log_in(&bench, "r", &ed).refuses(403, "token signed with unexpected algorithm");
    let payload = base64(pod("ns", "sa", "u1").to_string().as_bytes());
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, "{}"] {
        let token = format!("{}.{payload}.AAAA", base64(header.as_bytes()));
        log_in(&bench, "r", &token).refuses(403, "permission denied");
    }
    log_in(&bench, "r", "zz").refuses(403, "permission denied");
    log_in(&bench, "nope", "zz").refuses(400, "invalid role name \"nope\"");
    log_in(&bench, "r", "").refuses(400, "missing jwt");
    bench.post("login", json!({"jwt": "x"})).refuses(400, "missing role");
    assert_eq!(sites.calls().len(), before);
}

#[test]
fn whom_the_cluster_does_not_vouch_for_is_refused() {
    let (bench, sites, issuer) = ready();
    let token = issuer.token(&pod("ns", "sa", "u1"));
    let status = |status: Value| json!({"kind": "TokenReview", "status": status});
    let user = |name: &str, uid: &str| json!({"username": name, "uid": uid});
    for answer in [
        status(json!({"authenticated": false, "error": "bad token"})),
        status(json!({"authenticated": false, "user": user("system:serviceaccount:ns:sa", "u1")})),
        status(
            json!({"authenticated": true, "error": "x", "user": user("system:serviceaccount:ns:sa", "u1")}),
        ),
        status(json!({"authenticated": true, "user": user("bob", "u1")})),
        status(json!({"authenticated": true, "user": user("system:serviceaccount:ns:other", "u1")})),
        status(json!({"authenticated": true, "user": user("system:serviceaccount:other:sa", "u1")})),
        status(json!({"authenticated": true, "user": user("system:serviceaccount:ns:sa", "u9")})),
        status(
            json!({"authenticated": true, "audiences": ["z"], "user": user("system:serviceaccount:ns:sa", "u1")}),
        ),
        // It was asked about audiences, and says nothing of them.
        status(json!({"authenticated": true, "user": user("system:serviceaccount:ns:sa", "u1")})),
        status(
            json!({"authenticated": true, "audiences": [], "user": user("system:serviceaccount:ns:sa", "u1")}),
        ),
        status(json!({"authenticated": true})),
        json!({}),
        json!([]),
    ] {
        sites.put(REVIEWS, &answer);
        log_in(&bench, "r", &token).refuses(403, "permission denied");
    }
    for (code, body) in [(401, "{}"), (403, "{}"), (500, "oops"), (200, "nonsense"), (302, "")] {
        sites.put_raw(REVIEWS, code, body);
        log_in(&bench, "r", &token).refuses(403, "permission denied");
    }
    sites.put_raw(REVIEWS, 201, &vouched("ns", "sa", "u1").to_string());
    log_in(&bench, "r", &token).is(200);
    log_in(&bench, "r", &issuer.token(&pod("ns", "sa", ""))).refuses(403, "permission denied");
    let any = json!({"bound_service_account_names": "*", "bound_service_account_namespaces": "*"});
    bench.post("role/any", any).is(204);
    sites.put(REVIEWS, &vouched("", "", "u1"));
    log_in(&bench, "any", &issuer.token(&pod("", "", "u1"))).refuses(403, "not authorized");
    sites.put_raw(REVIEWS, 201, &vouched("ns", "sa", "u1").to_string());
    log_in(&bench, "r", &issuer.token(&pod("ns", "web-1", "u1"))).refuses(403, "permission denied");
    sites.take(REVIEWS);
    log_in(&bench, "r", &token).refuses(403, "permission denied");
}

#[test]
fn known_keys_are_looked_at_first_and_the_pod_helps_out() {
    let (bench, sites, issuer) = ready();
    let token = issuer.token(&pod("ns", "sa", "u1"));
    let config = |more: Value| {
        let mut body = json!({"kubernetes_host": "k8s.example:6443"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let keys = json!([Issuer::rsa().pem(), issuer.pem()]);
    bench
        .post(
            "config",
            config(json!({"kubernetes_ca_cert": "pem", "pem_keys": keys, "token_reviewer_jwt": token})),
        )
        .is(204);
    log_in(&bench, "r", &token).is(200);
    let before = sites.calls().len();
    log_in(&bench, "r", &Issuer::p256().token(&pod("ns", "sa", "u1"))).refuses(403, "permission denied");
    assert_eq!(sites.calls().len(), before, "a forgery does not reach the cluster");
    let shown = bench.get("config").is(200).data;
    assert_eq!(
        (&shown["token_reviewer_jwt_set"], &shown["disable_iss_validation"]),
        (&json!(true), &json!(true))
    );
    assert!(!shown.to_string().contains(&token));
    let issued =
        json!({"kubernetes_ca_cert": "pem", "disable_iss_validation": false, "issuer": "https://other"});
    bench.post("config", config(issued)).is(204);
    log_in(&bench, "r", &token).refuses(403, "invalid issuer (iss) claim");
    // Without certificates it takes those of its pod, or says that it is in none.
    let local = "open /var/run/secrets/kubernetes.io/serviceaccount/ca.crt: no such file or directory";
    bench.post("config", config(json!({}))).refuses(400, local);
    sites.pod("of the pod");
    bench.post("config", config(json!({}))).is(204);
    log_in(&bench, "r", &token).is(200);
    assert_eq!(sites.last_header("authorization"), "Bearer of the pod-Token");
    for (body, text) in [
        (json!({"kubernetes_host": ""}), "no host provided"),
        (
            json!({"disable_local_ca_jwt": true}),
            "kubernetes_ca_cert must be given when disable_local_ca_jwt is true",
        ),
        (json!({"pem_keys": "zz"}), "data does not contain any valid public keys"),
        (json!({"token_reviewer_jwt": "zz"}), "token_reviewer_jwt is not a token"),
    ] {
        bench.post("config", config(body)).refuses(400, text);
    }
}

#[test]
fn namespaces_are_selected_by_their_labels() {
    let (bench, sites, issuer) = ready();
    let selector = r#"{"matchLabels":{"env":"prod"}}"#;
    let role =
        json!({"bound_service_account_names": "sa", "bound_service_account_namespace_selector": selector});
    bench.post("role/sel", role).is(204);
    let token = issuer.token(&pod("ns", "sa", "u1"));
    let reviewer =
        "namespace not authorized err=namespace lookup failed: TokenReviewer JWT needs to be configured";
    log_in(&bench, "sel", &token).refuses(403, reviewer);
    let config = json!({"kubernetes_host": HOST, "kubernetes_ca_cert": "pem", "token_reviewer_jwt": token});
    bench.post("config", config).is(204);
    log_in(&bench, "sel", &token).refuses(403, "namespace not authorized err=no answer");
    sites.put(NAMESPACE, &json!({"metadata": {"labels": {"env": "dev"}}}));
    log_in(&bench, "sel", &token).refuses(403, "namespace not authorized");
    sites.put(NAMESPACE, &json!({"metadata": {"labels": {"env": "prod"}}}));
    log_in(&bench, "sel", &token).is(200);
    // A name that is none leads nowhere, whatever a cluster would answer there.
    let (far, selected) = ("../../x", json!({"metadata": {"labels": {"env": "prod"}}}));
    sites.put(&NAMESPACE.replace("/ns", &format!("/{far}")), &selected);
    sites.put(REVIEWS, &vouched(far, "sa", "u1"));
    log_in(&bench, "sel", &issuer.token(&pod(far, "sa", "u1"))).refuses(403, "namespace not authorized");
}

#[test]
fn roles_are_made_read_changed_and_deleted() {
    let (bench, _) = kubernetes();
    bench.get("config").is(404);
    let role = |more: Value| {
        let mut body = json!({"bound_service_account_names": "sa", "bound_service_account_namespaces": "ns"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    for (body, text) in [
        (json!({}), "\"bound_service_account_names\" can not be empty"),
        (
            json!({"bound_service_account_names": "sa"}),
            "\"bound_service_account_namespaces\" can not be empty if",
        ),
        (role(json!({"bound_service_account_names": "sa,*"})), "can not mix \"*\" with values"),
        (role(json!({"bound_service_account_namespaces": "ns,*"})), "can not mix \"*\" with values"),
        (role(json!({"alias_name_source": "zz"})), "invalid alias_name_source, must be one of"),
        (
            role(json!({"bound_service_account_namespace_selector": "zz"})),
            "invalid \"bound_service_account_namespace_selector\"",
        ),
        (role(json!({"token_period": "9999h"})), "token period of '\"9999h0m0s\"' is greater than"),
        (role(json!({"ttl": 100, "max_ttl": 50})), "token ttl should not be greater than token max ttl"),
    ] {
        bench.post("role/a", body).refuses(400, text);
    }
    bench.get("role/a").is(404);
    bench.post("role/Ab", role(json!({"policies": "x", "alias_name_source": "serviceaccount_name"}))).is(204);
    bench.post("role/ab", json!({"token_policies": "z", "audience": "a"})).is(204);
    let shown = bench.get("role/AB").is(200).data;
    assert_eq!(
        (&shown["alias_name_source"], &shown["audience"], &shown["token_policies"]),
        (&json!("serviceaccount_name"), &json!("a"), &json!(["z"]))
    );
    assert!(!shown.as_object().unwrap().contains_key("policies"));
    let long = bench.post("role/ab", json!({"max_ttl": "9999h"})).is(200);
    assert!(long.warnings[0].starts_with("max_ttl is greater than the system or backend mount's maximum"));
    assert_eq!(bench.list("role").is(200).data, json!({"keys": ["ab"]}));
    bench.delete("role/ab").is(204);
    bench.get("role/ab").is(404);
}

#[test]
fn an_account_comes_from_where_its_role_says() {
    let (mut bench, _, issuer) = ready();
    let token = issuer.token(&pod("ns", "sa", "u1"));
    let bound = json!({"bound_service_account_names": "sa", "bound_service_account_namespaces": "ns",
        "token_bound_cidrs": "10.0.0.0/8"});
    bench.post("role/here", bound).is(204);
    log_in(&bench, "here", &token).refuses(403, "permission denied");
    bench.remote.address = Some("10.1.1.1".parse().unwrap());
    assert_eq!(log_in(&bench, "here", &token).is(200).claim.unwrap().terms.bound_cidrs, ["10.0.0.0/8"]);
    bench.remote.address = None;
    log_in(&bench, "here", &token).refuses(403, "permission denied");
}
