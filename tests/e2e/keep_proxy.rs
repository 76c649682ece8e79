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
