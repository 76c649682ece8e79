//! Tokens live, are used up, and die with all that they made.

use std::time::Duration;

use kit::Verb::{Get, List, Post};
use tests::desk::Desk;

#[test]
fn a_stranger_is_told_nothing() {
    let desk = Desk::new(1);
    for path in ["sys/mounts", "secret/x", "auth/token/lookup-self", "no/such/thing"] {
        let said = desk.ask_as("", Get, path, "").expect(403);
        assert_eq!(said.error(), "permission denied", "{path}");
        desk.ask_as("s.wrong", Get, path, "").expect(403);
    }
}

#[test]
fn a_child_dies_with_its_parent() {
    let desk = Desk::new(2);
    let parent =
        desk.ask(Post, "auth/token/create", r#"{"policies":["default"],"ttl":"1h"}"#).expect(200).token();
    let policy = desk.ask_as(&parent, Get, "auth/token/lookup-self", "").expect(200);
    assert_eq!(policy.json["data"]["policies"], serde_json::json!(["default"]));
    let child = desk.ask(Post, "auth/token/create", r#"{"ttl":"1h"}"#).expect(200).token();
    let grandchild = desk.ask_as(&child, Post, "auth/token/create", r#"{"ttl":"30m"}"#).expect(200).token();
    desk.ask_as(&grandchild, Get, "auth/token/lookup-self", "").expect(200);
    desk.ask(Post, "auth/token/revoke", &format!(r#"{{"token":"{child}"}}"#)).expect(204);
    // At once, before anything is swept.
    for token in [&child, &grandchild] {
        desk.ask_as(token, Get, "auth/token/lookup-self", "").expect(403);
    }
    desk.tick();
    desk.ask_as(&grandchild, Get, "auth/token/lookup-self", "").expect(403);
    desk.ask_as(&parent, Get, "auth/token/lookup-self", "").expect(200);
}

#[test]
fn a_token_ends_at_its_date() {
    let desk = Desk::new(3);
    let token =
        desk.ask(Post, "auth/token/create", r#"{"policies":["default"],"ttl":"1h"}"#).expect(200).token();
    desk.wait(Duration::from_secs(1800));
    desk.ask_as(&token, Post, "auth/token/renew-self", "{}").expect(200);
    desk.wait(Duration::from_secs(3000));
    desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(200);
    desk.wait(Duration::from_secs(700));
    desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(403);
    desk.tick();
    desk.ask(Post, "auth/token/lookup", &format!(r#"{{"token":"{token}"}}"#)).expect(403);
}

#[test]
fn a_token_of_two_uses_has_two() {
    let desk = Desk::new(4);
    let body = r#"{"policies":["default"],"ttl":"1h","num_uses":2}"#;
    let token = desk.ask(Post, "auth/token/create", body).expect(200).token();
    desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(200);
    // A refused request spends a use too.
    desk.ask_as(&token, Get, "secret/forbidden", "").expect(403);
    desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(403);
}

#[test]
fn what_is_not_there_yet_takes_create_and_what_is_there_takes_update() {
    let desk = Desk::new(6);
    desk.ask(Post, "sys/auth/jwt", r#"{"type":"jwt"}"#).expect(204);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    desk.ask(Post, "sys/auth/approle", r#"{"type":"approle"}"#).expect(204);
    desk.ask(Post, "sys/mounts/transit", r#"{"type":"transit"}"#).expect(204);
    let may = |capability: &str| {
        let policy = format!(r#"{{"policy":"path \"*\" {{ capabilities = [\"{capability}\"] }}"}}"#);
        desk.ask(Post, &format!("sys/policies/acl/{capability}"), &policy).expect(204);
        let body = format!(r#"{{"policies":["{capability}"],"no_default_policy":true}}"#);
        desk.ask(Post, "auth/token/create", &body).expect(200).token()
    };
    let (create, update) = (may("create"), may("update"));
    for (path, body) in [
        ("auth/token/roles/r", "{}"),
        ("identity/oidc/key/k", "{}"),
        ("identity/oidc/assignment/a", "{}"),
        ("identity/oidc/scope/s", "{}"),
        ("identity/oidc/client/c", r#"{"key":"default"}"#),
        ("identity/oidc/role/o", r#"{"key":"default"}"#),
        ("identity/oidc/provider/p", "{}"),
        ("auth/jwt/role/j", r#"{"role_type":"jwt","user_claim":"sub","bound_subject":"x"}"#),
        ("auth/userpass/users/u", r#"{"password":"p"}"#),
        ("auth/approle/role/a", "{}"),
        ("transit/encrypt/e", r#"{"plaintext":"aGk="}"#),
    ] {
        let status = |token: &str| desk.ask_as(token, Post, path, body).status;
        assert_eq!(status(&update), 403, "{path} is not there to be updated");
        assert!([200, 204].contains(&status(&create)), "{path} is created");
        assert_eq!(status(&create), 403, "{path} is there");
        assert!([200, 204].contains(&status(&update)), "{path} is updated");
    }
    // A drawer is its token's own.
    for (token, statuses) in [(&create, [204, 403]), (&update, [403, 403])] {
        let said = [(); 2].map(|()| desk.ask_as(token, Post, "cubbyhole/x", r#"{"a":"b"}"#).status);
        assert_eq!(said, statuses);
    }
}

#[test]
fn a_batch_token_is_not_stored_and_dies_with_the_one_that_made_it() {
    let desk = Desk::new(5);
    let parent = desk.ask(Post, "auth/token/create", r#"{"ttl":"1h"}"#).expect(200).token();
    let body = r#"{"type":"batch","policies":["default"],"ttl":"30m"}"#;
    let batch = desk.ask_as(&parent, Post, "auth/token/create", body).expect(200).token();
    assert!(batch.starts_with("b."), "{batch}");
    let shown = desk.ask_as(&batch, Get, "auth/token/lookup-self", "").expect(200);
    assert_eq!(shown.json["data"]["type"], "batch");
    desk.ask_as(&batch, Post, "auth/token/renew-self", "{}").expect(400);
    desk.ask(Post, "auth/token/revoke", &format!(r#"{{"token":"{parent}"}}"#)).expect(204);
    desk.ask_as(&batch, Get, "auth/token/lookup-self", "").expect(403);
}

#[test]
fn what_survives_a_crash_is_what_was_acknowledged() {
    let desk = Desk::new(6);
    let kept = desk.ask(Post, "auth/token/create", r#"{"ttl":"1h"}"#).expect(200).token();
    let gone = desk.ask(Post, "auth/token/create", r#"{"ttl":"1h"}"#).expect(200).token();
    desk.ask(Post, "auth/token/revoke", &format!(r#"{{"token":"{gone}"}}"#)).expect(204);
    let desk = desk.crash(storage::faulty::PowerCut::Drop);
    desk.ask_as(&kept, Get, "auth/token/lookup-self", "").expect(200);
    desk.ask_as(&gone, Get, "auth/token/lookup-self", "").expect(403);
}

#[test]
fn a_policy_named_like_two_is_neither() {
    for poisoned in [false, true] {
        let desk = Desk::new(430);
        desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
        desk.ask(Post, "kv/a", r#"{"v":"1"}"#).expect(204);
        let policy = r#"{"policy":"path \"kv/*\" { capabilities = [\"read\"] }"}"#;
        desk.ask(Post, "sys/policies/acl/vault-admin", policy).expect(204);
        let lends = r#"{"policy":"path \"auth/token/create/team\" { capabilities = [\"update\"] }"}"#;
        desk.ask(Post, "sys/policies/acl/lends", lends).expect(204);
        desk.ask(Post, "auth/token/roles/team", r#"{"allowed_policies_glob":["team-*"]}"#).expect(204);
        let lender = desk.ask(Post, "auth/token/create", r#"{"policies":["lends"]}"#).expect(200).token();
        // No name is refused for a line's end, but one that holds it is one name.
        let both = r#"{"policies":["team-0","vault-admin"],"no_default_policy":true}"#;
        let one = r#"{"policies":["team-0\nvault-admin"],"no_default_policy":true}"#;
        let ask_both = || {
            let token = desk.ask(Post, "auth/token/create", both).expect(200).token();
            desk.ask_as(&token, Get, "kv/a", "").expect(200);
        };
        let ask_one = || {
            let said = desk.ask_as(&lender, Post, "auth/token/create/team", one);
            if said.status == 200 {
                desk.ask_as(&said.token(), Get, "kv/a", "").expect(403);
            }
        };
        if poisoned {
            ask_one();
        }
        ask_both();
        ask_one();
    }
}

#[test]
fn a_limit_of_lists_is_not_outdone_by_saying_it_twice() {
    let desk = Desk::new(431);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv-v2"}"#).expect(204);
    for name in 0..5 {
        desk.ask(Post, &format!("kv/data/deep/{name}"), r#"{"data":{"v":"1"}}"#).expect(200);
    }
    let policy =
        r#"{"policy":"path \"kv/metadata/deep*\" { capabilities = [\"list\"] pagination_limit = 2 }"}"#;
    desk.ask(Post, "sys/policies/acl/few", policy).expect(204);
    let token = desk.ask(Post, "auth/token/create", r#"{"policies":["few"]}"#).expect(200).token();
    let listed = |path: &str| desk.ask_as(&token, List, path, "");
    assert_eq!(
        listed("kv/metadata/deep?limit=2").expect(200).json["data"]["keys"].as_array().unwrap().len(),
        2
    );
    for query in ["limit=1&limit=max", "limit=max&limit=1", "limit=1&limit=5"] {
        listed(&format!("kv/metadata/deep?{query}")).expect(403);
    }
}

/// More than are cut loose at once.
const CROWD: usize = 300;

#[test]
fn a_crowd_lives_on_without_its_parent() {
    let desk = Desk::new(25);
    let make = |by: &str, body: &str| desk.ask_as(by, Post, "auth/token/create", body).expect(200);
    let parent = make(&desk.root, r#"{"ttl":"2h"}"#).token();
    let children: Vec<String> =
        (0..CROWD).map(|_| make(&parent, r#"{"policies":["default"],"ttl":"1h"}"#).token()).collect();
    let grandchild = make(&make(&parent, r#"{"ttl":"1h"}"#).token(), r#"{"ttl":"1h"}"#).token();
    let batch = make(&parent, r#"{"policies":["default"],"type":"batch","ttl":"1h"}"#).token();
    let body = format!(r#"{{"token":"{parent}"}}"#);
    desk.ask(Post, "auth/token/revoke-orphan", &body).expect(204);
    let check = || {
        for child in children.iter().chain([&grandchild]) {
            let said = desk.ask_as(child, Get, "auth/token/lookup-self", "").expect(200);
            assert_eq!(said.json["data"]["orphan"], *child != grandchild);
        }
        desk.ask_as(&parent, Get, "auth/token/lookup-self", "").expect(403);
        // What is stored nowhere cannot be cut loose.
        desk.ask_as(&batch, Get, "auth/token/lookup-self", "").expect(403);
        desk.ask(Post, "auth/token/lookup", &body).expect(403);
        desk.ask(Post, "auth/token/renew", &body).expect(400);
        let again = desk.ask(Post, "auth/token/revoke-orphan", &body).expect(400);
        assert_eq!(again.error(), "token to revoke not found");
        desk.ask(Post, "auth/token/revoke", &body).expect(204);
    };
    check();
    desk.tick();
    check();
    // Each can still be ended by itself.
    let body = format!(r#"{{"token":"{}"}}"#, children[CROWD - 1]);
    desk.ask(Post, "auth/token/revoke", &body).expect(204);
    desk.ask_as(&children[CROWD - 1], Get, "auth/token/lookup-self", "").expect(403);
    desk.ask_as(&children[0], Get, "auth/token/lookup-self", "").expect(200);
}

#[test]
fn nothing_is_left_of_a_parent_that_was_ended_alone() {
    let mut desk = Desk::new(26);
    let rows = |snapshot: &storage::Snapshot| {
        let count = |table| {
            let place = storage::Place { mount: storage::MountId(*b"sealkeep/kernel\0"), table };
            let mut count = 0;
            let each = &mut |_: &[u8], _| {
                count += 1;
                Ok(std::ops::ControlFlow::Continue(()))
            };
            snapshot.scan(place, &[], None, each).unwrap();
            count
        };
        // Tokens, and who made whom.
        (count(3), count(5))
    };
    let (again, before) = desk.look(rows);
    desk = again;
    let make = |by: &str| desk.ask_as(by, Post, "auth/token/create", r#"{"ttl":"1h"}"#).expect(200).token();
    let parent = make(&desk.root);
    for _ in 0..CROWD {
        make(&parent);
    }
    desk.ask(Post, "auth/token/revoke-orphan", &format!(r#"{{"token":"{parent}"}}"#)).expect(204);
    desk.tick();
    let (_, after) = desk.look(rows);
    assert_eq!(after, (before.0 + CROWD, before.1));
}

#[test]
fn no_login_gives_a_policy_that_the_server_gives_itself() {
    let desk = Desk::new(27);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    for policy in ["control-group", " Control-Group ", "response-wrapping"] {
        let body =
            serde_json::json!({"password": "pw", "token_policies": [policy, "default"], "token_num_uses": 1});
        desk.ask(Post, "auth/userpass/users/u", &body.to_string()).expect(204);
        let said = desk.ask_as("", Post, "auth/userpass/login/u", r#"{"password":"pw"}"#).expect(400);
        assert_eq!(said.error(), format!("cannot assign policy {:?}", policy.trim().to_lowercase()));
    }
}

#[test]
fn who_is_given_the_id_of_an_ended_token_inherits_nothing() {
    let desk = Desk::new(78);
    let mine = r#"{"id":"mine","policies":["root"]}"#;
    let child =
        || desk.ask_as("mine", Post, "auth/token/create", r#"{"policies":["default"]}"#).expect(200).token();
    let lives = |token: &str| desk.ask_as(token, Get, "auth/token/lookup-self", "").status == 200;
    desk.ask(Post, "auth/token/create", mine).expect(200);
    let old = child();
    desk.ask_as("mine", Post, "cubbyhole/x", r#"{"of":"the first"}"#).expect(204);
    desk.ask(Post, "auth/token/revoke", r#"{"token":"mine"}"#).expect(204);
    // What the first left has not been cleared away yet.
    desk.ask(Post, "auth/token/create", mine).expect(200);
    assert!(!lives(&old), "its parent has ended, whoever has the parent's id now");
    desk.ask_as("mine", Get, "cubbyhole/x", "").expect(404);
    let young = child();
    desk.ask_as("mine", Post, "cubbyhole/x", r#"{"of":"the second"}"#).expect(204);
    desk.tick();
    assert!(lives(&young), "the second has not ended");
    assert_eq!(desk.ask_as("mine", Get, "cubbyhole/x", "").expect(200).json["data"]["of"], "the second");
    desk.ask(Post, "auth/token/create", mine).expect(400);
    // Neither do those that it lets live on die with the next.
    desk.ask(Post, "auth/token/revoke-orphan", r#"{"token":"mine"}"#).expect(204);
    desk.ask(Post, "auth/token/create", mine).expect(200);
    desk.ask(Post, "auth/token/revoke", r#"{"token":"mine"}"#).expect(204);
    desk.tick();
    assert!(lives(&young), "it has no parent");
}

#[test]
fn the_number_of_uses_of_a_role_is_not_for_its_batch_tokens() {
    let desk = Desk::new(79);
    for kind in ["batch", "default-batch"] {
        let role = format!(r#"{{"token_type":"{kind}","orphan":true,"renewable":false,"token_num_uses":1}}"#);
        desk.ask(Post, "auth/token/roles/r", &role).expect(204);
        let token = desk.ask(Post, "auth/token/create/r", r#"{"policies":["default"]}"#).expect(200).token();
        assert!(token.starts_with("b."), "{token}");
        for _ in 0..2 {
            let said = desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(200);
            assert_eq!(said.json["data"]["num_uses"], 0);
        }
    }
}

#[test]
fn what_was_to_end_a_used_up_token_does_not_end_the_next_of_its_id() {
    let desk = Desk::new(80);
    let once = r#"{"id":"mine","policies":["root"],"num_uses":1}"#;
    desk.ask(Post, "auth/token/create", once).expect(200);
    desk.ask_as("mine", Get, "auth/token/lookup-self", "").expect(200);
    desk.ask_as("mine", Get, "auth/token/lookup-self", "").expect(403);
    desk.ask(Post, "auth/token/create", r#"{"id":"mine","policies":["root"]}"#).expect(200);
    let child =
        desk.ask_as("mine", Post, "auth/token/create", r#"{"policies":["default"]}"#).expect(200).token();
    desk.wait(Duration::from_secs(3600));
    desk.tick();
    desk.ask_as("mine", Get, "auth/token/lookup-self", "").expect(200);
    desk.ask_as(&child, Get, "auth/token/lookup-self", "").expect(200);
}
