//! The doors of `keep agent`: what was revoked through them, in whatever spelling, is not handed out again.

use crate::agent::{APPROLE, Site, Socket};
use serde_json::json;
use tests::binary::Binary;
use tests::program::Program;

#[test]
fn a_token_that_was_revoked_in_another_spelling_leaves_the_cache() {
    let site = Site::new();
    site.root.post("sys/namespaces/nsx", json!({})).must(200);
    let rules = ["", "nsx/"].map(|at| {
        format!("path \"{at}auth/token/*\" {{ capabilities = [\"create\", \"update\", \"sudo\"] }}\n")
    });
    site.root.post("sys/policies/acl/app", json!({"policy": rules.concat()})).must(204);
    let config = format!(
        "auto_auth {{{APPROLE}\n}}\napi_proxy {{ use_auto_auth_token = true }}\ncache {{}}\nlistener \"unix\" {{ address = \"@/socket\" }}"
    );
    let agent = Program::start(&site.command(&Binary::keep(), "agent", &config));
    let socket = Socket(site.path("socket"));
    agent.until("it listens", || socket.0.exists().then_some(()));
    for (made, revoked) in [
        ("v1/auth/token/create", "v1/auth/token/%72evoke"),
        ("v1/auth/token/create", "v1/auth/token/revoke%2Daccessor"),
        ("v1/nsx/auth/token/create", "v1/nsx/auth/token/revoke"),
        ("v1/nsx/auth/token/create", "v1/nsx/auth/token/%72evoke-accessor"),
    ] {
        let token = || {
            let (cache, answer) = socket.post(made, &json!({"ttl": "5m", "policies": ["default"]}));
            let text =
                |key: &str| answer["auth"][key].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
            (cache, text("client_token"), text("accessor"))
        };
        let (cache, first, accessor) = token();
        assert_eq!(cache, "MISS", "{revoked}");
        assert_eq!(token().0, "HIT", "{revoked}");
        socket.post(revoked, &json!({"token": first, "accessor": accessor}));
        let (cache, second, accessor) = token();
        assert_eq!((cache.as_str(), first == second), ("MISS", false), "{revoked}");
        socket.post(revoked, &json!({"token": second, "accessor": accessor}));
    }
    assert!(agent.stop().success());
}

/// Somebody revokes the agent's own token. The next request through it does not fail for that; and one that its policies refuse
/// makes nobody log in.
#[test]
fn a_token_that_the_server_forgot_is_replaced_at_once() {
    let site = Site::new();
    let rules = "path \"auth/token/*\" { capabilities = [\"create\", \"update\", \"sudo\"] }";
    site.root.post("sys/policies/acl/app", json!({"policy": rules})).must(204);
    let login = APPROLE.replace("reading = true", "reading = false");
    let config = format!(
        "auto_auth {{{login}\n}}\napi_proxy {{ use_auto_auth_token = true }}\ncache {{}}\nlistener \"unix\" {{ address = \"@/socket\" }}"
    );
    let agent = Program::start(&site.command(&Binary::keep(), "agent", &config));
    let socket = Socket(site.path("socket"));
    agent.until("it listens", || socket.0.exists().then_some(()));
    let make = || socket.post("v1/auth/token/create", &json!({"ttl": "5m", "policies": ["default"]}));
    let (_, first) = make();
    assert!(first["auth"]["client_token"].is_string(), "{first}");
    site.root.post("sys/leases/revoke-prefix/auth/approle/login", json!({})).must(204);
    let (_, held) = make();
    assert_eq!(held, first, "what the cache holds is asked of nobody");
    let (cache, second) = socket.post("v1/auth/token/create", &json!({"ttl": "6m", "policies": ["default"]}));
    assert!(second["auth"]["client_token"].is_string(), "{second}");
    assert_eq!(cache, "MISS");
    let (cache, third) = make();
    assert!(cache == "MISS" && third != first, "what hung on the old token is gone: {third}");
    for _ in 0..5 {
        let (_, refused) = socket.post("v1/sys/policies/acl/other", &json!({"policy": rules}));
        assert!(refused["errors"].to_string().contains("permission denied"), "{refused}");
    }
    let logins = agent.log().matches("logging in again").count();
    assert_eq!(logins, 1, "{}", agent.log());
    assert!(agent.stop().success());
}

#[test]
fn a_socket_does_not_take_the_place_of_a_file() {
    let site = Site::new();
    let precious = site.folder.file("precious", "mine");
    let config = "listener \"unix\" { address = \"@/precious\" }";
    let mut agent = Program::start(&site.command(&Binary::keep(), "agent", config));
    assert!(!agent.end().success());
    agent.until("it says why", || agent.log().contains("already that is no socket").then_some(()));
    assert_eq!(std::fs::read_to_string(precious).unwrap(), "mine");
}
