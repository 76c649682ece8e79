//! `keep cert get` that leads to nothing leaves nothing behind, and what was there before is as it was.

use crate::rotation::Site;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What lies in a folder, with all that is in it.
fn contents(site: &Site, name: &str) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(site.path(name)) else { return BTreeMap::new() };
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap_or_default())
    };
    entries.map(read).collect()
}

#[track_caller]
fn refused(site: &Site, flags: &str) -> String {
    let tls = site.path("tls").display().to_string();
    let output = site.shell(&format!("! keep cert get -name=app.internal -role=web -dir={tls} {flags}"));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_a_failed_run_made_on_the_server_goes_again() {
    let site = Site::new();
    let root = site.authority("24h");
    let said = refused(&site, "-alt-names=example.com");
    for line in [
        "Taken away again: the approle role keep-app.internal.",
        "Taken away again: the policy keep-app.internal.",
        "Taken away again: the auth method approle/.",
        "What was written here is taken away again",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    root.get("sys/policies/acl/keep-app.internal").must(404);
    assert!(root.get("sys/auth").must(200).json()["data"]["approle/"].is_null());
    assert!(contents(&site, "agent.d").is_empty() && contents(&site, "tls").is_empty());
    // Somebody else's role keeps approle where it is.
    root.post("sys/auth/approle", json!({"type": "approle"})).must(204);
    root.post("auth/approle/role/other", json!({"token_policies": "other"})).must(204);
    let said = refused(&site, "-alt-names=example.com");
    assert!(!said.contains("auth method"), "{said}");
    assert_eq!(root.list("auth/approle/role").must(200).json()["data"]["keys"], json!(["other"]));
}

#[test]
fn a_failed_run_leaves_an_identity_that_was_there_as_it_was() {
    let site = Site::new();
    let root = site.authority("24h");
    let tls = site.path("tls").display().to_string();
    site.shell(&format!("keep cert get -name=app.internal -role=web -dir={tls}"));
    let mine = "path \"pki/sign/web\" { capabilities = [\"update\"] }\n";
    root.post("sys/policies/acl/keep-app.internal", json!({"policy": mine})).must(204);
    root.post("auth/approle/role/keep-app.internal", json!({"token_ttl": "7m", "token_num_uses": 9}))
        .must(204);
    let look = || -> (Value, Value, Value) {
        let role = root.get("auth/approle/role/keep-app.internal").must(200).json();
        let policy = root.get("sys/policies/acl/keep-app.internal").must(200).json();
        let ids = root.list("auth/approle/role/keep-app.internal/secret-id").must(200).json();
        (role["data"].clone(), policy["data"]["policy"].clone(), ids["data"]["keys"].clone())
    };
    let (before, files) = (look(), contents(&site, "agent.d"));
    assert_eq!(files.len(), 3, "{:?}", files.keys());
    let said = refused(&site, "-alt-names=example.com");
    assert!(said.contains("Put back as it was: the policy keep-app.internal."), "{said}");
    assert!(said.contains("Put back as it was: the approle role keep-app.internal."), "{said}");
    assert!(said.contains("Taken away again: a secret id of keep-app.internal."), "{said}");
    assert_eq!(look(), before);
    assert_eq!(contents(&site, "agent.d"), files, "the agent that runs with it goes on");
    // Another role is another identity: whoever lives by this one keeps it.
    let body = json!({"allowed_domains": "internal", "allow_subdomains": true, "key_type": "ec"});
    root.post("pki/roles/other", body).must(200);
    let other = site.shell(&format!("! keep cert get -name=app.internal -role=other -dir={tls}2"));
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains("is for something else than pki/sign/other"), "{said}");
    assert_eq!(look(), before);
    // And it does go on.
    let mut agent = site.agent(&["-once"]);
    assert!(agent.end().success(), "{}", agent.log());
}

/// Whoever may make a policy, and nothing of approle, is told what stays if it cannot be taken away.
#[test]
fn what_cannot_be_taken_away_is_named_with_what_to_do() {
    let site = Site::new();
    let root = site.authority("24h");
    root.post("sys/auth/approle", json!({"type": "approle"})).must(204);
    let rules = r#"
path "sys/auth" { capabilities = ["read"] }
path "sys/policies/acl/keep-*" { capabilities = ["create", "update"] }
"#;
    root.post("sys/policies/acl/half", json!({"policy": rules})).must(204);
    let token =
        root.post("auth/token/create", json!({"policies": ["half"]})).must(200).at("/auth/client_token");
    let output = site.shell(&format!(
        "! KEEP_TOKEN={token} keep cert get -name=app.internal -role=web -dir={}",
        site.path("tls").display()
    ));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("its role"), "{said}");
    assert!(
        said.contains("Still on the server: the policy keep-app.internal, as it cannot be taken away"),
        "{said}"
    );
    assert!(said.contains("`keep policy delete keep-app.internal`"), "{said}");
}

/// The exit code is what a monitor looks at: it says so before the certificate has ended.
#[test]
fn a_renewal_that_fails_is_seen_in_the_exit_code() {
    let site = Site::new();
    let root = site.authority("60s");
    let tls = site.path("tls").display().to_string();
    site.shell(&format!("keep cert get -name=app.internal -role=web -survive=50s -dir={tls}"));
    assert!(String::from_utf8(site.shell("keep cert status").stdout).unwrap().contains(" held "));
    root.delete("sys/policies/acl/keep-app.internal").must(204);
    let agent = site.agent(&[]);
    agent.until("a renewal fails", || agent.log().contains("asking for a certificate").then_some(()));
    let status = site.shell("keep cert status || test $? = 2 && echo said");
    let said = String::from_utf8(status.stdout).unwrap();
    assert!(said.contains(" failing ") && said.contains("said"), "{said}\n{}", agent.log());
    assert!(agent.stop().success());
}

/// A script whose variable is empty does not delete the newest version.
#[test]
fn versions_that_are_given_and_empty_delete_nothing() {
    let site = Site::new();
    let root = site.server.root();
    root.post("secret/data/dv", json!({"data": {"a": 1}})).must(200);
    for flag in ["-versions=", "-versions=,", "-versions= "] {
        let output = site.shell(&format!("! keep kv delete \"{flag}\" secret/dv"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("-versions is given and names none"), "{flag}: {said}");
    }
    root.get("secret/data/dv").must(200);
    site.shell("keep kv delete secret/dv");
    root.get("secret/data/dv").must(404);
}
