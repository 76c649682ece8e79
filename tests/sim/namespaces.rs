//! Namespaces: nothing of one can be reached from beside it or from below, by no route, and nothing is left of one
//! that was deleted.

use std::ops::ControlFlow;
use std::time::Duration;

use kernel::Request;
use kit::Verb::{Delete, Get, List, Patch, Post, Scan};
use kit::{Kind, Verb};
use serde_json::{Value, json};
use storage::faulty::PowerCut;
use storage::{MountId, Place, Snapshot};
use tests::desk::{Desk, Everything, Said, request};

/// Asks in a namespace that the header names.
fn within(desk: &Desk, namespace: &str, token: &str, verb: Verb, path: &str, body: &str) -> Said {
    desk.send(&Request { namespace: namespace.to_owned(), ..request(token, verb, path, body) })
}

/// Everything that there is to do.
const ALL: &str = r#"{"policy":"path \"*\" { capabilities = [\"create\",\"read\",\"update\",\"patch\",\"delete\",\"list\",\"scan\",\"sudo\"] }"}"#;

/// Makes a namespace below another, with `kv/` and a secret, and gives a token that may do everything in it.
fn team(desk: &Desk, parent: &str, name: &str) -> String {
    within(desk, parent, &desk.root, Post, &format!("sys/namespaces/{name}"), "").expect(200);
    let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
    let ask = |verb, at: &str, body: &str| within(desk, &path, &desk.root, verb, at, body);
    ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    ask(Post, "kv/secret", &json!({"of": path}).to_string()).expect(204);
    ask(Post, "sys/policies/acl/admin", ALL).expect(204);
    ask(Post, "auth/token/create", r#"{"policies":["admin"]}"#).expect(200).token()
}

#[test]
fn header_and_path_lead_to_the_same_place() {
    let desk = Desk::new(40);
    team(&desk, "", "a");
    team(&desk, "a", "b");
    let root = desk.root.clone();
    let secrets = [
        within(&desk, "a/b", &root, Get, "kv/secret", ""),
        within(&desk, "a", &root, Get, "b/kv/secret", ""),
        within(&desk, "", &root, Get, "a/b/kv/secret", ""),
    ];
    for said in secrets {
        assert_eq!(said.expect(200).json["data"]["of"], "a/b");
    }
    for (namespace, path) in [("a/b", "a/b/kv/secret"), ("a", "a/kv/secret"), ("a/b", "b/kv/secret")] {
        within(&desk, namespace, &root, Get, path, "").expect(404);
    }
    for namespace in ["b", "a/c", "A", "a//b", "a/../a", "a/b/c", "root", "a/root", "."] {
        let said = within(&desk, namespace, &root, Get, "kv/secret", "").expect(404);
        assert_eq!(said.error(), "namespace not found", "{namespace}");
    }
}

#[test]
fn a_token_reaches_its_namespace_and_those_beneath() {
    let desk = Desk::new(41);
    let (a, other) = (team(&desk, "", "a"), team(&desk, "", "other"));
    let below = team(&desk, "a", "b");
    assert!(a.matches('.').count() == 2, "the id of the namespace ends the token: {a}");
    for (token, namespace, status) in [
        (&a, "a", 200),
        (&a, "a/b", 200),
        (&a, "other", 403),
        (&below, "a/b", 200),
        (&below, "a", 403),
        (&below, "other", 403),
        (&other, "other", 200),
        (&other, "a", 403),
        (&other, "a/b", 403),
    ] {
        within(&desk, namespace, token, Get, "kv/secret", "").expect(status);
    }
    for token in [&a, &other, &below] {
        within(&desk, "", token, Get, "kv/secret", "").expect(403);
        within(&desk, "", token, List, "sys/namespaces", "").expect(403);
        // What a token asks about itself it may ask anywhere.
        within(&desk, "", token, Get, "auth/token/lookup-self", "").expect(200);
    }
}

/// How many entries lie in all tables of an owner: a mount, a namespace, or the kernel.
fn entries(snapshot: &Snapshot, owner: MountId) -> usize {
    let mut count = 0;
    for table in 0..=u8::MAX {
        let place = Place { mount: owner, table };
        let mut add = || {
            count += 1;
            Ok(ControlFlow::Continue(()))
        };
        snapshot.scan(place, &[], None, &mut |_, _| add()).unwrap();
        snapshot.walk(place, "", &mut |_, _| add()).unwrap();
    }
    count
}

/// What owns the entries of a mount or namespace of this UUID.
fn owner(uuid: &Value) -> MountId {
    let digits: String = uuid.as_str().unwrap().chars().filter(char::is_ascii_hexdigit).collect();
    MountId(std::array::from_fn(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()))
}

/// What belongs to the server as a whole.
const KERNEL: MountId = MountId(*b"sealkeep/kernel\0");

/// The namespace itself and everything that is mounted in it.
fn owners(desk: &Desk, namespace: &str) -> Vec<MountId> {
    let itself = desk.ask(Get, &format!("sys/namespaces/{namespace}"), "").expect(200);
    let mut owners = vec![owner(&itself.json["data"]["uuid"])];
    for kind in ["sys/mounts", "sys/auth"] {
        let mounts = within(desk, namespace, &desk.root, Get, kind, "").expect(200);
        owners.extend(mounts.json["data"].as_object().unwrap().values().map(|mount| owner(&mount["uuid"])));
    }
    owners
}

/// A path that a pattern takes.
fn example(pattern: &str) -> String {
    let pieces = pattern.split('/').map(|piece| if piece.starts_with('{') { "x" } else { piece });
    pieces.collect::<Vec<_>>().join("/")
}

/// What a token asks about itself or about a wrapping is asked in its own namespace.
const OWN: [&str; 5] =
    ["lookup-self", "renew-self", "revoke-self", "sys/wrapping/rewrap", "sys/wrapping/unwrap"];

#[test]
fn no_route_lets_a_token_of_another_namespace_in() {
    let desk = Desk::new(42);
    let (a, other) = (team(&desk, "", "a"), team(&desk, "", "other"));
    let below = team(&desk, "a", "b");
    for namespace in ["", "a"] {
        within(&desk, namespace, &desk.root, Post, "sys/mounts/pki", r#"{"type":"pki"}"#).expect(204);
        within(&desk, namespace, &desk.root, Post, "sys/auth/up", r#"{"type":"userpass"}"#).expect(204);
        within(&desk, namespace, &desk.root, Post, "sys/auth/ar", r#"{"type":"approle"}"#).expect(204);
    }
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    let document = kernel::openapi(&Everything, "2.7.2");
    let mut tried = 0;
    let system = document["paths"].as_object().unwrap().keys().map(|path| path.trim_start_matches('/'));
    let system: Vec<String> = system
        .filter(|path| {
            path.starts_with("sys/") || path.starts_with("auth/token/") || path.starts_with("cubbyhole")
        })
        .map(example)
        .collect();
    let mut places: Vec<(Verb, String)> = Vec::new();
    for path in system {
        places.extend([Get, Post, List, Scan, Patch, Delete].map(|verb| (verb, path.clone())));
    }
    for (mount, kind) in [("kv/", "kv"), ("pki/", "pki")] {
        for listed in engines::open(kind, &Value::Null).unwrap().catalog() {
            let Some(verb) = listed.route.verb.filter(|_| !listed.route.open) else { continue };
            places.push((verb, format!("{mount}{}", example(listed.route.pattern))));
        }
    }
    for (mount, kind) in [("auth/up/", "userpass"), ("auth/ar/", "approle")] {
        for listed in auth::open(kind, &Value::Null).unwrap().0.catalog() {
            let Some(verb) = listed.route.verb.filter(|_| listed.kind != Kind::Login) else { continue };
            places.push((verb, format!("{mount}{}", example(listed.route.pattern))));
        }
    }
    for (verb, path) in places {
        if OWN.iter().any(|own| path.ends_with(own)) {
            continue;
        }
        for (token, namespace) in [(&other, "a"), (&below, "a"), (&a, "other"), (&other, ""), (&a, "")] {
            let said = within(&desk, namespace, token, verb, &path, "");
            let stranger = within(&desk, namespace, "", verb, &path, "");
            // Nothing that a stranger is not told as well.
            let shut = said.status == 403 || said.json["errors"] == stranger.json["errors"];
            let open = ["sys/internal/", "sys/wrapping/lookup", "sys/replication/", "sys/metrics"];
            let open = open.iter().any(|open| path.starts_with(open));
            assert!(shut || open, "{verb:?} {path} in {namespace:?}: {said:?}");
            tried += 1;
        }
    }
    assert!(tried > 2000, "only {tried} doors were tried");
}

#[test]
fn the_same_names_mean_other_things_in_other_namespaces() {
    let desk = Desk::new(43);
    let root = desk.root.clone();
    let read = |path: &str| {
        json!({"policy": format!("path \"{path}\" {{ capabilities = [\"read\"] }}")}).to_string()
    };
    for (namespace, reads) in [("wide", "kv/*"), ("narrow", "kv/open")] {
        within(&desk, "", &root, Post, &format!("sys/namespaces/{namespace}"), "").expect(200);
        within(&desk, namespace, &root, Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
        for name in ["open", "shut"] {
            within(&desk, namespace, &root, Post, &format!("kv/{name}"), r#"{"a":1}"#).expect(204);
        }
        within(&desk, namespace, &root, Post, "sys/policies/acl/p", &read(reads)).expect(204);
    }
    let token = |namespace: &str| {
        within(&desk, namespace, &root, Post, "auth/token/create", r#"{"policies":["p"]}"#)
            .expect(200)
            .token()
    };
    let (wide, narrow) = (token("wide"), token("narrow"));
    // Compiled rules are kept by name, and by namespace.
    for _ in 0..50 {
        within(&desk, "wide", &wide, Get, "kv/shut", "").expect(200);
        within(&desk, "narrow", &narrow, Get, "kv/shut", "").expect(403);
        within(&desk, "narrow", &narrow, Get, "kv/open", "").expect(200);
    }
    // A policy of that name in the root is neither of the two.
    desk.ask(Get, "sys/policies/acl/p", "").expect(404);
    let said = desk.ask(Post, "auth/token/create", r#"{"policies":["p"]}"#).expect(200);
    assert!(said.json["warnings"][0].as_str().unwrap().contains("does not exist"), "{said:?}");
    within(&desk, "narrow", &root, Post, "sys/policies/acl/p", &read("kv/*")).expect(204);
    within(&desk, "narrow", &narrow, Get, "kv/shut", "").expect(200);
}

#[test]
fn a_policy_above_says_the_namespace_in_its_paths() {
    let desk = Desk::new(44);
    team(&desk, "", "a");
    let policy = r#"{"policy":"path \"a/kv/*\" { capabilities = [\"read\"] } path \"+/sys/*\" { capabilities = [\"read\"] }"}"#;
    desk.ask(Post, "sys/policies/acl/cross", policy).expect(204);
    let token = desk.ask(Post, "auth/token/create", r#"{"policies":["cross"]}"#).expect(200).token();
    within(&desk, "a", &token, Get, "kv/secret", "").expect(200);
    within(&desk, "", &token, Get, "a/kv/secret", "").expect(200);
    within(&desk, "a", &token, Post, "kv/secret", r#"{"a":1}"#).expect(403);
    let may = |namespace: &str, path: &str| {
        let body = json!({"token": token, "paths": [path]}).to_string();
        let said = within(&desk, namespace, &desk.root, Post, "sys/capabilities", &body).expect(200);
        said.json["data"][path].clone()
    };
    assert_eq!(may("a", "kv/x"), json!(["read"]));
    assert_eq!(may("", "kv/x"), json!(["deny"]));
    assert_eq!(may("", "a/kv/x"), json!(["read"]));
    // Who may not make tokens in a namespace by sudo makes none, whatever their policies are called.
    let maker = r#"{"policy":"path \"a/auth/token/create\" { capabilities = [\"update\"] }"}"#;
    desk.ask(Post, "sys/policies/acl/maker", maker).expect(204);
    let maker = desk.ask(Post, "auth/token/create", r#"{"policies":["maker"]}"#).expect(200).token();
    let said = within(&desk, "a", &maker, Post, "auth/token/create", r#"{"policies":["admin"]}"#).expect(400);
    assert!(said.error().starts_with("root or sudo privileges required"), "{said:?}");
}

#[test]
fn there_is_no_root_but_in_the_root() {
    let desk = Desk::new(45);
    let admin = team(&desk, "", "a");
    let root = desk.root.clone();
    for token in [&root, &admin] {
        let said =
            within(&desk, "a", token, Post, "auth/token/create", r#"{"policies":["root"]}"#).expect(400);
        assert!(said.error().contains("root tokens may not be created"), "{said:?}");
        within(&desk, "a", token, Post, "auth/token/roles/r", r#"{"allowed_policies":"root"}"#).expect(204);
        within(&desk, "a", token, Post, "auth/token/create/r", "").expect(400);
        within(&desk, "a", token, Post, "auth/token/create", r#"{"id":"mine","policies":["admin"]}"#)
            .expect(400);
    }
    let listed = within(&desk, "a", &root, List, "sys/policies/acl", "").expect(200);
    assert_eq!(listed.json["data"]["keys"], json!(["admin", "default"]));
    // The server as a whole is operated from the root.
    for (verb, path) in [(Get, "sys/audit"), (Get, "sys/host-info"), (Post, "sys/seal"), (Get, "sys/metrics")]
    {
        for token in [&root, &admin, &String::new()] {
            let said = within(&desk, "a", token, verb, path, "").expect(400);
            assert!(said.error().starts_with("operation "), "{said:?}");
            let said = within(&desk, "", token, verb, &format!("a/{path}"), "").expect(400);
            assert_eq!(said.error(), "operation only available in root namespace");
        }
    }
}

#[test]
fn drawers_and_wrappings_stay_in_their_namespace() {
    let desk = Desk::new(46);
    let (a, other) = (team(&desk, "", "a"), team(&desk, "", "other"));
    let root = desk.root.clone();
    within(&desk, "a", &a, Post, "cubbyhole/x", r#"{"a":1}"#).expect(204);
    within(&desk, "a", &root, Post, "cubbyhole/x", r#"{"a":2}"#).expect(204);
    within(&desk, "", &root, Get, "cubbyhole/x", "").expect(404);
    assert_eq!(within(&desk, "a", &root, Get, "cubbyhole/x", "").expect(200).json["data"]["a"], 2);
    assert_eq!(within(&desk, "a", &a, Get, "cubbyhole/x", "").expect(200).json["data"]["a"], 1);
    let wrapped = |token: &str| {
        let asked = request(token, Get, "kv/secret", "");
        let ttl = Some(Duration::from_secs(60));
        let said = desk.send(&Request { namespace: "a".to_owned(), wrap_ttl: ttl, ..asked }).expect(200);
        assert_eq!(said.json["wrap_info"]["creation_path"], "kv/secret");
        said.json["wrap_info"]["token"].as_str().unwrap().to_owned()
    };
    for token in [&root, &a] {
        let wrapping = wrapped(token);
        assert!(wrapping.matches('.').count() == 2, "{wrapping}");
        // Whoever holds a wrapping may open it, from wherever they come, once.
        within(&desk, "", &wrapping, Post, "sys/wrapping/unwrap", "").expect(200);
        within(&desk, "a", &wrapping, Post, "sys/wrapping/unwrap", "").expect(400);
    }
    let wrapping = wrapped(&a);
    let body = json!({"token": wrapping}).to_string();
    within(&desk, "other", &other, Post, "sys/wrapping/unwrap", &body).expect(200);
    // A token that dies takes its drawers with it, in whatever namespace they are.
    desk.ask(Post, "sys/policies/acl/all", ALL).expect(204);
    let short = desk.ask(Post, "auth/token/create", r#"{"policies":["all"]}"#).expect(200).token();
    within(&desk, "a", &short, Post, "cubbyhole/y", r#"{"a":3}"#).expect(204);
    let mounts = within(&desk, "a", &root, Get, "sys/mounts", "").expect(200);
    let cubbyhole = owner(&mounts.json["data"]["cubbyhole/"]["uuid"]);
    desk.tick();
    let (desk, before) = desk.look(|snapshot| entries(snapshot, cubbyhole));
    within(&desk, "", &short, Post, "auth/token/revoke-self", "").expect(204);
    desk.tick();
    let (_, after) = desk.look(|snapshot| entries(snapshot, cubbyhole));
    assert_eq!(after + 1, before);
}

#[test]
fn accessors_and_leases_are_not_named_from_outside() {
    let desk = Desk::new(47);
    let (a, other) = (team(&desk, "", "a"), team(&desk, "", "other"));
    let accessor = |token: &str, namespace: &str| {
        let said = within(&desk, namespace, token, Get, "auth/token/lookup-self", "").expect(200);
        json!({"accessor": said.json["data"]["accessor"], "paths": ["kv/x"]}).to_string()
    };
    let asked = accessor(&a, "a");
    for path in [
        "auth/token/lookup-accessor",
        "auth/token/renew-accessor",
        "sys/capabilities-accessor",
        "auth/token/revoke-accessor",
    ] {
        let said = within(&desk, "other", &other, Post, path, &asked).expect(400);
        assert!(said.error().contains("different namespace"), "{said:?}");
    }
    within(&desk, "a", &a, Post, "auth/token/lookup-accessor", &asked).expect(200);
    let keys = within(&desk, "a", &a, List, "sys/leases/lookup/auth/token/create", "").expect(200);
    let id = format!("auth/token/create/{}", keys.json["data"]["keys"][0].as_str().unwrap());
    let body = json!({"lease_id": id}).to_string();
    within(&desk, "a", &a, Post, "sys/leases/lookup", &body).expect(200);
    desk.ask(Post, "sys/leases/lookup", &body).expect(200);
    within(&desk, "other", &other, Post, "sys/leases/lookup", &body).expect(400);
    within(&desk, "other", &other, Post, "sys/leases/revoke", &body).expect(204);
    within(&desk, "a", &a, Get, "auth/token/lookup-self", "").expect(200);
    // Without its ending the id is that of a lease of the root, which nobody names from beneath.
    let (bare, _) = id.rsplit_once('.').unwrap();
    let body = json!({"lease_id": bare}).to_string();
    within(&desk, "a", &a, Post, "sys/leases/lookup", &body).expect(400);
    within(&desk, "a", &a, Post, "sys/leases/revoke-prefix/auth/token", "").expect(204);
    within(&desk, "a", &a, Get, "kv/secret", "").expect(403);
    within(&desk, "other", &other, Get, "kv/secret", "").expect(200);
}

#[test]
fn a_lock_closes_a_namespace_and_those_beneath() {
    let desk = Desk::new(48);
    let a = team(&desk, "", "a");
    let below = team(&desk, "a", "b");
    let root = desk.root.clone();
    let lock = "sys/namespaces/api-lock/lock/a";
    let key = desk.ask(Post, lock, "").expect(200).json["data"]["unlock_key"].as_str().unwrap().to_owned();
    desk.ask(Post, lock, "").expect(400);
    for (namespace, token) in
        [("a", &a), ("a/b", &below), ("a", &root), ("a/b", &root), ("a", &String::new())]
    {
        let said = within(&desk, namespace, token, Get, "kv/secret", "").expect(503);
        assert!(said.error().contains("\"a/\" must be unlocked"), "{said:?}");
    }
    within(&desk, "", &below, Get, "auth/token/lookup-self", "").expect(503);
    let desk = desk.crash(PowerCut::Drop);
    let unlock = "sys/namespaces/api-lock/unlock";
    within(&desk, "a", &a, Post, unlock, r#"{"unlock_key":"wrong"}"#).expect(400);
    within(&desk, "a/b", &below, Post, unlock, &json!({"unlock_key": key}).to_string()).expect(400);
    within(&desk, "a", &a, Post, unlock, &json!({"unlock_key": key}).to_string()).expect(204);
    within(&desk, "a/b", &below, Get, "kv/secret", "").expect(200);
    within(&desk, "a", &a, Post, "sys/namespaces/api-lock/lock", "").expect(200);
    desk.ask(Post, "sys/namespaces/api-lock/unlock/a", "").expect(200);
    desk.ask(Post, "sys/namespaces/api-lock/lock", "").expect(400);
}

#[test]
fn nothing_is_left_of_a_deleted_namespace() {
    let desk = Desk::new(49);
    desk.ask(Get, "sys/mounts", "").expect(200);
    desk.tick();
    let (desk, before) = desk.look(|snapshot| entries(snapshot, KERNEL));
    let admin = team(&desk, "", "gone");
    let ask = |verb, path: &str, body: &str| within(&desk, "gone", &admin, verb, path, body);
    ask(Post, "sys/auth/up", r#"{"type":"userpass"}"#).expect(204);
    ask(Post, "auth/up/users/ann", r#"{"password":"pw","token_policies":"admin"}"#).expect(204);
    let mut tokens = vec![admin.clone()];
    for number in 0..600 {
        let body = r#"{"policies":["admin"]}"#;
        let token = ask(Post, "auth/token/create", body).expect(200).token();
        within(&desk, "gone", &token, Post, "cubbyhole/x", r#"{"a":1}"#).expect(204);
        ask(Post, &format!("kv/secret/{number}"), r#"{"a":1}"#).expect(204);
        tokens.push(token);
    }
    ask(Post, "sys/policies/password/p", r#"{"policy":"length=20 rule \"charset\" { charset=\"abc\" }"}"#)
        .expect(204);
    ask(Post, "auth/token/roles/r", r#"{"allowed_policies":"admin"}"#).expect(204);
    within(&desk, "gone", &desk.root, Post, "cubbyhole/mine", r#"{"a":1}"#).expect(204);
    let old = owners(&desk, "gone");
    assert_eq!(old.len(), 7, "itself, sys, cubbyhole, identity, kv, token, up");
    let (desk, held) = desk.look(|snapshot| old.iter().map(|owner| entries(snapshot, *owner)).sum::<usize>());
    assert!(held > 2400, "600 secrets, drawers, accessors and leases, and not {held}");

    let said = desk.ask(Delete, "sys/namespaces/gone", "").expect(200);
    assert_eq!(said.json["data"]["status"], "in-progress");
    // It is gone at once: nothing has been cleared away yet.
    for token in tokens.iter().step_by(100) {
        within(&desk, "gone", token, Get, "kv/secret", "").expect(404);
        within(&desk, "", token, Get, "auth/token/lookup-self", "").expect(403);
        let body = json!({"token": token}).to_string();
        desk.ask(Post, "auth/token/lookup", &body).expect(403);
    }
    // As long as something is left it is shown, and deleting it again changes nothing.
    let said = desk.ask(Delete, "sys/namespaces/gone", "").expect(200);
    assert_eq!(said.json["data"]["status"], "in-progress");
    assert_eq!(desk.ask(Get, "sys/namespaces/gone", "").expect(200).json["data"]["tainted"], true);
    // One of the same name is another one, before and after the old is cleared away, and through a crash.
    let new = team(&desk, "", "gone");
    let mut desk = desk;
    for cut in [PowerCut::Drop, PowerCut::Drop, PowerCut::Drop] {
        desk.kernel.tick().unwrap();
        desk = desk.crash(cut);
    }
    desk.tick();
    within(&desk, "gone", &new, Get, "kv/secret", "").expect(200);
    within(&desk, "gone", &new, Get, "kv/secret/1", "").expect(404);
    within(&desk, "gone", &admin, Get, "kv/secret", "").expect(403);
    let (desk, left) = desk.look(|snapshot| old.iter().map(|owner| entries(snapshot, *owner)).sum::<usize>());
    assert_eq!(left, 0);
    let new = owners(&desk, "gone");
    desk.ask(Delete, "sys/namespaces/gone", "").expect(200);
    desk.tick();
    let (_, left) = desk.look(|snapshot| {
        let owned: usize = new.iter().map(|owner| entries(snapshot, *owner)).sum();
        (owned, entries(snapshot, KERNEL))
    });
    // The root token remembers that it had a drawer there; that goes with the root token.
    assert_eq!(left, (0, before + 1), "what the two owned, and the tables of the kernel");
}

#[test]
fn a_namespace_that_holds_others_is_not_deleted() {
    let desk = Desk::new(50);
    team(&desk, "", "a");
    team(&desk, "a", "b");
    let said = desk.ask(Delete, "sys/namespaces/a", "").expect(400);
    assert_eq!(said.error(), "unable to delete namespace containing child namespaces");
    desk.ask(Delete, "sys/namespaces/a/b", "").expect(400);
    within(&desk, "a", &desk.root, Delete, "sys/namespaces/b", "").expect(200);
    desk.ask(Delete, "sys/namespaces/a", "").expect(200);
    desk.tick();
    desk.ask(List, "sys/namespaces", "").expect(404);
}

#[test]
fn a_mount_moves_between_namespaces() {
    let desk = Desk::new(51);
    let (a, other) = (team(&desk, "", "a"), team(&desk, "", "other"));
    let said = desk.ask(Post, "sys/remount", r#"{"from":"a/kv","to":"other/moved"}"#).expect(200);
    let id = said.json["data"]["migration_id"].as_str().unwrap();
    let status = format!("sys/remount/status/{id}");
    assert_eq!(desk.ask(Get, &status, "").expect(200).json["data"]["migration_info"]["status"], "success");
    within(&desk, "a", &a, Get, &status, "").expect(404);
    within(&desk, "a", &a, Get, "kv/secret", "").expect(404);
    assert_eq!(within(&desk, "other", &other, Get, "moved/secret", "").expect(200).json["data"]["of"], "a");
    // From inside nobody moves anything out.
    for to in ["../a/kv", "a/kv", "/a/kv"] {
        let body = json!({"from": "moved", "to": to}).to_string();
        let said = within(&desk, "other", &other, Post, "sys/remount", &body);
        within(&desk, "a", &a, Get, "kv/secret", "").expect(404);
        if said.status == 200 {
            let back = json!({"from": to.trim_matches('/'), "to": "moved"}).to_string();
            within(&desk, "other", &other, Post, "sys/remount", &back).expect(200);
        }
    }
}

#[test]
fn names_that_would_mean_something_else_are_refused() {
    let desk = Desk::new(52);
    desk.ask(Post, "sys/mounts/taken/deep", r#"{"type":"kv"}"#).expect(204);
    for name in ["sys", "auth", "root", "audit", "cubbyhole", "identity", "a b", "a+", "a*b", "x/y", "taken"]
    {
        let path = format!("sys/namespaces/{}", name.replace(' ', "%20"));
        desk.ask(Post, &path, "").expect(400);
    }
    desk.ask(Post, &format!("sys/namespaces/{}", "n".repeat(2000)), "").expect(400);
    desk.ask(List, "sys/namespaces", "").expect(404);
    desk.ask(Post, "sys/namespaces/team", "").expect(200);
    for path in ["team", "team/kv"] {
        desk.ask(Post, &format!("sys/mounts/{path}"), r#"{"type":"kv"}"#).expect(400);
    }
    desk.ask(Post, "sys/mounts/teams", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "sys/namespaces/x", r#"{"custom_metadata":{"a":1}}"#).expect(400);
    let long = json!({"custom_metadata": {"a": "v".repeat(600)}}).to_string();
    desk.ask(Post, "sys/namespaces/x", &long).expect(400);
    desk.ask(Post, "sys/namespaces/x", r#"{"seal":"shamir"}"#).expect(400);
    desk.ask(Get, "sys/namespaces/x", "").expect(404);
}
