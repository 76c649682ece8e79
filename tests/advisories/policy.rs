//! A. Policy and authorization.

use crate::stage::{Stage, raw};
use serde_json::json;

#[test]
fn row_001_list_respects_a_narrower_deny() {
    let stage = Stage::dev();
    for name in ["open/a", "restricted/hidden-name"] {
        stage.root.post(&format!("secret/data/{name}"), json!({"data": {"x": 1}})).must(200);
    }
    let caller = stage.caller(
        r#"path "secret/metadata/*" { capabilities = ["list", "scan"] }
           path "secret/metadata/restricted/*" { capabilities = ["deny"] }"#,
    );
    let forms = [
        "LIST /",
        "LIST ",
        "SCAN /",
        "GET /?list=true",
        "GET ?list=true",
        "GET /?scan=true",
        "GET ?scan=true",
    ];
    for form in forms {
        let (verb, rest) = form.split_once(' ').unwrap();
        let reply = caller.call(verb, &format!("secret/metadata/restricted{rest}")).must(403);
        assert!(!reply.text().contains("hidden-name"), "{form}: {reply}");
    }
    caller.list("secret/metadata/").must(200);
}

#[test]
fn row_002_a_path_is_not_left_by_dots() {
    let stage = Stage::dev();
    stage.root.post("secret/data/b/x", json!({"data": {"x": 1}})).must(200);
    let caller = stage.caller(
        r#"path "secret/data/a/*" { capabilities = ["create", "read", "update", "delete"] }
           path "secret/metadata/a/*" { capabilities = ["create", "read", "update", "delete"] }"#,
    );
    let ways = [
        "../b/x",
        "%2e%2e/b/x",
        "..%2fb/x",
        "./../b/x",
        "/../b/x",
        "%252e%252e/b/x",
        "..%5cb/x",
        ".%2e/b/x",
        "%2e./b/x",
    ];
    for kind in ["data", "metadata"] {
        for way in ways {
            for verb in ["DELETE", "GET", "PUT"] {
                let mut request = raw(verb, &format!("secret/{kind}/a/{way}"));
                if verb == "PUT" {
                    request = request.json(&json!({"data": {"x": "taken"}}));
                }
                let reply = caller.send(&request);
                // A redirect to the clean path is judged again there; what stays below a/ is the caller's own.
                let inside =
                    !way.contains("../") && way.contains('%') && matches!(reply.status, 200 | 204 | 404);
                assert!(
                    inside || matches!(reply.status, 301 | 307 | 400 | 403 | 404),
                    "{verb} {kind} {way}: {reply}"
                );
            }
        }
    }
    let reply = stage.root.get("secret/data/b/x").must(200);
    assert_eq!(
        (reply.at("/data/metadata/version"), reply.at("/data/data/x")),
        ("1".to_owned(), "1".to_owned())
    );
}

#[test]
fn row_003_an_identity_value_stays_within_its_segment() {
    let stage = Stage::dev();
    let role = stage.approle("web", json!({"token_policies": ["scoped"]}));
    let accessor = stage.root.get("sys/auth/approle").must(200).at("/data/accessor");
    let scope = format!("{{{{identity.entity.aliases.{accessor}.metadata.scope}}}}");
    stage.policy("scoped", &format!(r#"path "secret/data/{scope}/*" {{ capabilities = ["read"] }}"#));
    for path in ["a/b/x", "fine/x", "b/x"] {
        stage.root.post(&format!("secret/data/{path}"), json!({"data": {"x": 1}})).must(200);
    }
    let login = |scope: &str| {
        let metadata = json!({"scope": scope}).to_string();
        let secret =
            stage.root.post("auth/approle/role/web/secret-id", json!({"metadata": metadata})).must(200);
        let body = json!({"role_id": role, "secret_id": secret.at("/data/secret_id")});
        stage
            .root
            .with(&stage.anonymous().post("auth/approle/login", body).must(200).at("/auth/client_token"))
    };
    for scope in ["fine", "a/b", "a//b", "../b", "a%2fb", "*", "+", "a/+"] {
        let caller = login(scope);
        for path in ["a/b/x", "b/x", "fine/x"] {
            let status = if (scope, path) == ("fine", "fine/x") { 200 } else { 403 };
            caller.get(&format!("secret/data/{path}")).must(status);
        }
    }
}

#[test]
fn row_005_a_refused_template_takes_no_deny_away() {
    let stage = Stage::dev();
    let role = stage.approle("web", json!({"token_policies": ["templated"]}));
    let accessor = stage.root.get("sys/auth/approle").must(200).at("/data/accessor");
    let name = format!("{{{{identity.entity.aliases.{accessor}.metadata.t}}}}");
    stage.policy(
        "templated",
        &format!(
            r#"path "secret/data/*" {{ capabilities = ["read"] }}
               path "secret/data/{name}/p" {{ capabilities = ["deny"] }}"#
        ),
    );
    stage.root.post("secret/data/x/p", json!({"data": {"x": 1}})).must(200);
    let metadata = json!({"t": "x*"}).to_string();
    let secret = stage.root.post("auth/approle/role/web/secret-id", json!({"metadata": metadata})).must(200);
    let body = json!({"role_id": role, "secret_id": secret.at("/data/secret_id")});
    let login = stage.anonymous().post("auth/approle/login", body).must(200);
    let caller = stage.root.with(&login.at("/auth/client_token"));
    caller.get("secret/data/x/p").must(403);
    caller.get("secret/data/anything").must(403);
    let token = caller.token();
    let asked = json!({"token": token, "paths": ["secret/data/anything"]});
    let answer = stage.root.post("sys/capabilities", asked).must(200).json();
    assert_eq!(answer["data"]["secret/data/anything"], json!(["deny"]));
}

#[test]
fn row_007_reading_roles_issues_nothing() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true}));
    stage.approle("web", json!({"bind_secret_id": true}));
    let caller = stage.caller(
        r#"path "pki/roles/*" { capabilities = ["read", "update"] }
           path "auth/approle/role/web" { capabilities = ["read"] }"#,
    );
    caller.get("pki/roles/web").must(200);
    for path in [
        "pki/issue/web",
        "pki/sign/web",
        "pki/sign-verbatim/web",
        "auth/approle/role/web/secret-id",
        "auth/approle/role/web/custom-secret-id",
    ] {
        caller.post(path, json!({"common_name": "a.b"})).must(403);
        caller.get(path).must(403);
    }
    for path in ["pki/roles/web/issue", "pki/roles/web/creds"] {
        caller.post(path, json!({"common_name": "a.b"})).must_be_any(&[403, 404, 405]);
    }
    caller.get("auth/approle/role/web/role-id").must(403);
}

#[test]
fn row_014_a_policy_holds_from_the_next_request_on() {
    let stage = Stage::dev();
    stage.root.post("kv/a", json!({"x": 1})).must(204);
    let caller = stage.caller(r#"path "kv/*" { capabilities = ["read"] }"#);
    for _ in 0..50 {
        caller.get("kv/a").must(200);
        stage.policy("caller", r#"path "kv/*" { capabilities = ["deny"] }"#);
        caller.get("kv/a").must(403);
        stage.policy("caller", r#"path "kv/*" { capabilities = ["read"] }"#);
    }
    stage.root.delete("sys/policies/acl/caller").must(204);
    caller.get("kv/a").must(403);
}

#[test]
fn row_015_one_prefix_does_not_revoke_the_others() {
    let stage = Stage::dev();
    let caller =
        stage.caller(r#"path "sys/leases/revoke-prefix/db/*" { capabilities = ["update", "sudo"] }"#);
    let victim = stage.token(json!({"policies": ["default"]}));
    let ways = [
        "auth/token/",
        "auth/token/create",
        "db/../auth/token/",
        "db//../auth/token/",
        "db%2f..%2fauth/token/",
        "",
    ];
    for way in ways {
        let reply = caller.send(&raw("PUT", &format!("sys/leases/revoke-prefix/{way}")));
        reply.must_be_any(&[301, 307, 400, 403, 404, 405]);
    }
    victim.get("auth/token/lookup-self").must(200);
    caller.get("auth/token/lookup-self").must(200);
}

#[test]
fn row_019_a_second_door_asks_the_same_question() {
    let stage = Stage::dev();
    stage.root.post("secret/data/a", json!({"data": {"x": 1}})).must(200);
    let caller = stage.caller(r#"path "secret/metadata/*" { capabilities = ["list"] }"#);
    for (verb, path) in [
        ("GET", "secret/data/a"),
        ("GET", "secret/subkeys/a"),
        ("GET", "secret/metadata/a"),
        ("LIST", "secret/detailed-metadata/"),
        ("SCAN", "secret/detailed-metadata/"),
        ("SCAN", "secret/metadata/"),
        ("POST", "secret/delete/a"),
        ("POST", "secret/destroy/a"),
        ("POST", "secret/undelete/a"),
        ("PATCH", "secret/data/a"),
        ("PATCH", "secret/metadata/a"),
    ] {
        let mut request = raw(verb, path).json(&json!({"versions": [1]}));
        if verb == "PATCH" {
            request = request.header("Content-Type", "application/merge-patch+json");
        }
        caller.send(&request).must(403);
    }
    stage.root.get("secret/data/a").must(200);
}

#[test]
fn row_139_templates_have_no_logic() {
    let stage = Stage::dev();
    for text in
        ["{{exec `id`}}", "<%= `id` %>", "${7*7}", "{{ printf `x` }}", "{{identity.entity.name | printf}}"]
    {
        let policy = format!("path \"secret/data/{text}/*\" {{ capabilities = [\"read\"] }}");
        // Refused, or stored as it is and matching nothing.
        let reply = stage.root.post("sys/policies/acl/t", json!({"policy": policy}));
        if reply.status == 204 {
            assert_eq!(stage.root.get("sys/policies/acl/t").must(200).at("/data/policy"), policy);
            let caller = stage.token(json!({"policies": ["t"]}));
            caller.get("secret/data/49/x").must(403);
        }
    }
    stage.lives();
}

#[test]
fn also_a_pagination_limit_is_not_passed_by_zero() {
    let stage = Stage::dev();
    for number in 0..30 {
        stage.root.post(&format!("secret/data/k{number:02}"), json!({"data": {"x": 1}})).must(200);
    }
    let caller =
        stage.caller(r#"path "secret/metadata/*" { capabilities = ["list"] pagination_limit = 10 }"#);
    for limit in
        ["?limit=0", "?limit=-1", "?limit=1000000000", "", "?limit=x", "?limit=11", "?limit=10&limit=30"]
    {
        let reply = caller.list(&format!("secret/metadata/{limit}"));
        let keys = reply.json()["data"]["keys"].as_array().map_or(0, Vec::len);
        assert!(
            reply.status == 403 || reply.status == 400 || keys <= 10,
            "{limit}: {keys} keys, {}",
            reply.status
        );
    }
}

#[test]
fn also_the_order_of_policies_decides_nothing() {
    let stage = Stage::dev();
    let rules = [
        r#"path "kv/+/c" { capabilities = ["read"] }"#,
        r#"path "kv/b/*" { capabilities = ["deny"] }"#,
        r#"path "kv/*" { capabilities = ["read", "delete"] }"#,
        r#"path "kv/b/+" { capabilities = ["list"] }"#,
    ];
    for (number, rule) in rules.iter().enumerate() {
        stage.policy(&format!("p{number}"), rule);
    }
    let paths = json!({"paths": ["kv/b/c", "kv/x/c", "kv/b/x", "kv/q", "kv/b/c/d"]});
    let mut seen = Vec::new();
    for turn in 0..rules.len() {
        let mut names: Vec<String> =
            (0..rules.len()).map(|number| format!("p{}", (number + turn) % rules.len())).collect();
        seen.push(
            stage
                .token(json!({"policies": names}))
                .post("sys/capabilities-self", paths.clone())
                .must(200)
                .json()["data"]
                .clone(),
        );
        names.reverse();
        seen.push(
            stage
                .token(json!({"policies": names}))
                .post("sys/capabilities-self", paths.clone())
                .must(200)
                .json()["data"]
                .clone(),
        );
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
}
