//! Who someone is: entities, groups, and what follows from both at the very next request.

use kit::Verb::{Delete, Get, List, Post};
use serde_json::{Value, json};
use storage::faulty::PowerCut;
use tests::desk::{Desk, Said};

/// A desk with userpass, whose users are made by need.
struct People {
    desk: Desk,
    accessor: String,
}

impl People {
    fn new(seed: u64) -> Self {
        let desk = Desk::new(seed);
        desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
        desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
        desk.ask(Post, "kv/red/x", r#"{"a":"b"}"#).expect(204);
        let mounts = desk.ask(Get, "sys/auth", "").expect(200);
        let accessor = mounts.json["data"]["userpass/"]["accessor"].as_str().unwrap().to_owned();
        Self { desk, accessor }
    }

    fn user(&self, name: &str) {
        let path = format!("auth/userpass/users/{name}");
        // A hash in place of a password: bcrypt is slow, and nobody checks passwords here.
        self.desk.ask(Post, &path, r#"{"password":"pw"}"#).expect(204);
    }

    fn log_in(&self, name: &str) -> Said {
        self.desk.ask_as("", Post, &format!("auth/userpass/login/{name}"), r#"{"password":"pw"}"#)
    }

    /// A token and the entity that it stands for.
    fn arrive(&self, name: &str) -> (String, String) {
        self.user(name);
        let said = self.log_in(name).expect(200);
        let entity = said.json["auth"]["entity_id"].as_str().unwrap().to_owned();
        (said.token(), entity)
    }

    fn policy(&self, name: &str, text: &str) {
        let body = json!({ "policy": text }).to_string();
        self.desk.ask(Post, &format!("sys/policies/acl/{name}"), &body).expect(204);
    }

    fn post(&self, path: &str, body: &Value) -> Said {
        self.desk.ask(Post, path, &body.to_string())
    }

    fn get(&self, path: &str) -> Value {
        self.desk.ask(Get, path, "").expect(200).json["data"].take()
    }

    fn made(&self, path: &str, body: &Value) -> String {
        self.post(path, body).expect(200).json["data"]["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn may(&self, token: &str, path: &str, status: u16) {
        self.desk.ask_as(token, Get, path, "").expect(status);
    }
}

#[test]
fn a_change_of_an_entity_or_a_group_shows_at_the_next_request() {
    let people = People::new(31);
    people.policy("red", r#"path "kv/red/*" { capabilities = ["read"] }"#);
    let (token, entity) = people.arrive("ann");
    people.may(&token, "kv/red/x", 403);
    let path = format!("identity/entity/id/{entity}");
    people.post(&path, &json!({"policies": ["red"]})).expect(204);
    people.may(&token, "kv/red/x", 200);
    people.post(&path, &json!({"policies": []})).expect(204);
    people.may(&token, "kv/red/x", 403);
    // By a group, and by a group of that group.
    let inner = people.made("identity/group", &json!({"name": "inner", "member_entity_ids": [entity]}));
    people.may(&token, "kv/red/x", 403);
    let body = json!({"name": "outer", "policies": "red", "member_group_ids": [inner]});
    let outer = people.made("identity/group", &body);
    people.may(&token, "kv/red/x", 200);
    let lookup = people.desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(200);
    assert_eq!(lookup.json["data"]["identity_policies"], json!(["red"]));
    assert_eq!(lookup.json["data"]["policies"], json!(["default"]));
    people.post(&format!("identity/group/id/{outer}"), &json!({"member_group_ids": []})).expect(204);
    people.may(&token, "kv/red/x", 403);
    people.post(&format!("identity/group/id/{outer}"), &json!({"member_group_ids": [inner]})).expect(204);
    people.may(&token, "kv/red/x", 200);
    people.desk.ask(Delete, &format!("identity/group/id/{inner}"), "").expect(204);
    people.may(&token, "kv/red/x", 403);
    people.desk.tick();
    assert_eq!(people.get(&path)["direct_group_ids"], json!([]));
}

#[test]
fn who_is_disabled_or_gone_is_refused() {
    let people = People::new(32);
    let (token, entity) = people.arrive("ann");
    let path = format!("identity/entity/id/{entity}");
    people.post(&path, &json!({"disabled": true})).expect(204);
    people.may(&token, "auth/token/lookup-self", 403);
    assert_eq!(people.log_in("ann").expect(403).error(), "permission denied");
    people.post(&path, &json!({"disabled": false})).expect(204);
    people.may(&token, "auth/token/lookup-self", 200);
    let child = people.desk.ask_as(&people.desk.root, Post, "auth/token/create", "{}").expect(200);
    assert_eq!(child.json["auth"]["entity_id"], "");
    people.desk.ask(Delete, &path, "").expect(204);
    people.may(&token, "auth/token/lookup-self", 403);
    // The next login is somebody new.
    let again = people.log_in("ann").expect(200);
    assert_ne!(again.json["auth"]["entity_id"], json!(entity));
}

#[test]
fn a_child_is_who_its_parent_is_and_an_orphan_is_nobody() {
    let people = People::new(33);
    people.policy("make", r#"path "auth/token/*" { capabilities = ["create", "update", "sudo"] }"#);
    let (token, entity) = people.arrive("ann");
    people.post(&format!("identity/entity/id/{entity}"), &json!({"policies": ["make"]})).expect(204);
    let child = people.desk.ask_as(&token, Post, "auth/token/create", "{}").expect(200);
    assert_eq!(child.json["auth"]["entity_id"], json!(entity));
    assert_eq!(child.json["auth"]["identity_policies"], json!(["make"]));
    assert_eq!(child.json["auth"]["token_policies"], json!(["default"]));
    let orphan = people.desk.ask_as(&token, Post, "auth/token/create-orphan", "{}").expect(200);
    assert_eq!(orphan.json["auth"]["entity_id"], "");
    let batch =
        people.desk.ask_as(&token, Post, "auth/token/create", r#"{"type":"batch"}"#).expect(200).token();
    people.desk.ask(Delete, &format!("identity/entity/id/{entity}"), "").expect(204);
    for token in [child.token(), batch] {
        people.may(&token, "auth/token/lookup-self", 403);
    }
    people.may(&orphan.token(), "auth/token/lookup-self", 200);
}

#[test]
fn templates_are_filled_in_by_who_asks() {
    let people = People::new(34);
    let text = format!(
        r#"path "kv/{{{{identity.entity.metadata.team}}}}/*" {{ capabilities = ["read"] }}
           path "sys/mounts/{{{{identity.entity.aliases.{}.name}}}}" {{ capabilities = ["read"] }}
           path "sys/mounts/{{{{identity.groups.names.ops.id}}}}" {{ capabilities = ["read"] }}"#,
        people.accessor
    );
    people.policy("own", &text);
    let (red, entity) = people.arrive("ann");
    let (other, _) = people.arrive("bob");
    let group = people.made("identity/group", &json!({"name": "ops", "policies": "own"}));
    let members = json!({"member_entity_ids": [entity]});
    people.may(&red, "kv/red/x", 403);
    people.post(&format!("identity/group/id/{group}"), &members).expect(204);
    people.may(&red, "kv/red/x", 403);
    people.post(&format!("identity/entity/id/{entity}"), &json!({"metadata": {"team": "red"}})).expect(204);
    people.may(&red, "kv/red/x", 200);
    people.may(&red, "sys/mounts/ann", 400);
    people.may(&red, "sys/mounts/bob", 403);
    people.may(&red, &format!("sys/mounts/{group}"), 400);
    people.may(&other, "kv/red/x", 403);
    people.may(&red, &format!("identity/entity/id/{entity}"), 200);
    people.may(&other, &format!("identity/entity/id/{entity}"), 403);
    let team = json!({"metadata": {"team": "blue"}});
    people.post(&format!("identity/entity/id/{entity}"), &team).expect(204);
    people.may(&red, "kv/red/x", 403);
}

#[test]
fn a_merged_entity_lives_on_in_the_other() {
    let people = People::new(35);
    people.policy("red", r#"path "kv/red/*" { capabilities = ["read"] }"#);
    let (token, from) = people.arrive("ann");
    let into = people.made("identity/entity", &json!({"name": "into", "policies": "red"}));
    let group = people.made("identity/group", &json!({"name": "g", "member_entity_ids": [from]}));
    let body = json!({"to_entity_id": into, "from_entity_ids": [from]});
    people.post("identity/entity/merge", &body).expect(204);
    people.may(&token, "kv/red/x", 200);
    assert_eq!(people.log_in("ann").expect(200).json["auth"]["entity_id"], json!(into));
    let shown = people.get(&format!("identity/group/id/{group}"));
    assert_eq!(shown["member_entity_ids"], json!([into]));
    let last = people.made("identity/entity", &json!({"name": "last"}));
    let body = json!({"to_entity_id": last, "from_entity_ids": [into]});
    people.post("identity/entity/merge", &body).expect(204);
    people.may(&token, "kv/red/x", 403);
    people.may(&token, "auth/token/lookup-self", 200);
    let shown = people.get(&format!("identity/entity/id/{last}"));
    assert_eq!(shown["merged_entity_ids"], json!([from, into]));
    people.desk.ask(Delete, &format!("identity/entity/id/{last}"), "").expect(204);
    people.may(&token, "auth/token/lookup-self", 403);
}

#[test]
fn of_two_aliases_at_one_mount_one_stays() {
    let people = People::new(36);
    let (_, ann) = people.arrive("ann");
    let (_, bob) = people.arrive("bob");
    let alias = people.get(&format!("identity/entity/id/{bob}"))["aliases"][0]["id"].take();
    let mut body = json!({"to_entity_id": ann, "from_entity_ids": [bob]});
    let said = people.post("identity/entity/merge", &body).expect(400);
    assert!(said.error().contains("have aliases with the same mount accessor"), "{said:?}");
    body["conflicting_alias_ids_to_keep"] = json!([alias]);
    people.post("identity/entity/merge", &body).expect(204);
    let shown = people.get(&format!("identity/entity/id/{ann}"));
    assert_eq!(shown["aliases"].as_array().unwrap().len(), 1);
    assert_eq!(shown["aliases"][0]["id"], alias);
    assert_eq!(people.log_in("bob").expect(200).json["auth"]["entity_id"], json!(ann));
    assert_ne!(people.log_in("ann").expect(200).json["auth"]["entity_id"], json!(ann));
}

#[test]
fn names_that_differ_in_case_alone_are_one() {
    let people = People::new(37);
    let ann = people.made("identity/entity", &json!({"name": "Ann"}));
    people.post("identity/entity", &json!({"name": "ANN", "metadata": {"a": "b"}})).expect(204);
    assert_eq!(people.get("identity/entity/name/ann")["id"], json!(ann));
    let bob = people.made("identity/entity", &json!({"name": "bob"}));
    let said = people.post(&format!("identity/entity/id/{bob}"), &json!({"name": "aNN"})).expect(400);
    assert_eq!(said.error(), "entity name is already in use");
    let alias = json!({"name": "Carl", "mount_accessor": people.accessor, "canonical_id": ann});
    people.post("identity/entity-alias", &alias).expect(200);
    people.user("carl");
    assert_eq!(people.log_in("CARL").expect(200).json["auth"]["entity_id"], json!(ann));
    // A name with anything in it is one name.
    for name in ["a/b", "a%2fb", "/", " x "] {
        let id = people.made("identity/entity", &json!({ "name": name }));
        let found = people.post("identity/lookup/entity", &json!({ "name": name })).expect(200);
        assert_eq!(found.json["data"]["id"], json!(id), "{name:?}");
    }
}

#[test]
fn writes_at_the_same_time_lose_nothing() {
    let people = People::new(38);
    let (_, entity) = people.arrive("ann");
    let requests: Vec<(String, Value)> = (0..24)
        .map(|n| {
            ("identity/group".to_owned(), json!({"name": format!("g{n}"), "member_entity_ids": [entity]}))
        })
        .chain([(format!("identity/entity/id/{entity}"), json!({"metadata": {"a": "b"}}))])
        .chain([(format!("identity/entity/id/{entity}"), json!({"policies": ["p"]}))])
        .chain([(format!("identity/entity/id/{entity}"), json!({"name": "ann"}))])
        .chain((0..4).map(|_| ("identity/entity".to_owned(), json!({"name": "one"}))))
        .collect();
    let statuses = std::thread::scope(|scope| {
        let threads: Vec<_> =
            requests.iter().map(|(path, body)| scope.spawn(|| people.post(path, body).status)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(statuses.iter().all(|status| matches!(status, 200 | 204)), "{statuses:?}");
    let shown = people.get(&format!("identity/entity/id/{entity}"));
    assert_eq!(shown["direct_group_ids"].as_array().unwrap().len(), 24);
    assert_eq!(
        (&shown["metadata"], &shown["policies"], &shown["name"]),
        (&json!({"a": "b"}), &json!(["p"]), &json!("ann"))
    );
    // Four times the same name is one entity.
    let names = people.desk.ask(List, "identity/entity/name", "").expect(200);
    let ones = names.json["data"]["keys"].as_array().unwrap().iter().filter(|name| **name == "one").count();
    assert_eq!(ones, 1);
}

#[test]
fn the_first_logins_of_one_person_are_one_person() {
    let people = People::new(39);
    people.user("ann");
    let ids = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| people.log_in("ann").expect(200))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.map(|said| said.json["auth"]["entity_id"].to_string()).collect::<Vec<_>>()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let aliases = people.desk.ask(List, "identity/entity-alias/id", "").expect(200);
    assert_eq!(aliases.json["data"]["keys"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_known_of_people_survives_a_crash() {
    let people = People::new(40);
    let (token, entity) = people.arrive("ann");
    let group = people.made("identity/group", &json!({"name": "g", "member_entity_ids": [entity]}));
    let desk = people.desk.crash(PowerCut::Drop);
    let shown = desk.ask_as(&token, Get, &format!("identity/entity/id/{entity}"), "").expect(200);
    assert_eq!(shown.json["data"]["group_ids"], json!([group]));
}

#[test]
fn bad_input_is_named_and_nothing_is_stored() {
    let people = People::new(41);
    let long = "x".repeat(600);
    let pairs: serde_json::Map<String, Value> = (0..65).map(|n| (format!("k{n}"), json!("v"))).collect();
    for (path, body, word) in [
        ("identity/entity", json!({ "name": long }), "name"),
        ("identity/entity", json!({"name": "a\u{7}b"}), "name"),
        ("identity/entity", json!({"name": "n", "metadata": {"a b": "x"}}), "metadata"),
        ("identity/entity", json!({"name": "n", "metadata": {"a": long}}), "metadata"),
        ("identity/entity", json!({"name": "n", "metadata": pairs}), "metadata"),
        ("identity/entity", json!({"name": "n", "policies": ["a", " Root"]}), "policies"),
        ("identity/entity", json!({"name": "n", "policies": [[1]]}), "policies"),
        ("identity/entity", json!({"name": "n", "disabled": "perhaps"}), "disabled"),
        ("identity/group", json!({"name": "n", "type": "odd"}), "type"),
        ("identity/group", json!({"name": "n", "policies": "ROOT"}), "policies"),
        ("identity/group", json!({"name": "n", "member_entity_ids": ["nobody"]}), "entity ID"),
        ("identity/group", json!({"name": "n", "member_group_ids": ["none"]}), "group ID"),
    ] {
        let said = people.post(path, &body).expect(400);
        assert!(said.error().contains(word), "{body}: {said:?}");
    }
    people.desk.ask(List, "identity/entity/name", "").expect(404);
    people.desk.ask(List, "identity/group/name", "").expect(404);
    let group = people.made("identity/group", &json!({"name": "g"}));
    let inner = people.made("identity/group", &json!({"name": "inner"}));
    let path = format!("identity/group/id/{group}");
    people.post(&path, &json!({"member_group_ids": [group]})).expect(400);
    people.post(&path, &json!({"member_group_ids": [inner]})).expect(204);
    let said =
        people.post(&format!("identity/group/id/{inner}"), &json!({"member_group_ids": [group]})).expect(400);
    assert!(said.error().starts_with("cyclic relationship"), "{said:?}");
}

#[test]
fn whoever_comes_again_is_who_they_are_by_now_and_not_who_they_were() {
    let people = People::new(32);
    let (_, entity) = people.arrive("ann");
    let again = || people.log_in("ann").expect(200).json["auth"].clone();
    let same = again();
    assert_eq!((same["entity_id"].as_str(), same["identity_policies"].as_array()), (Some(&*entity), None));
    let path = format!("identity/entity/id/{entity}");
    people.post(&path, &json!({"policies": ["red"]})).expect(204);
    assert_eq!(again()["identity_policies"], json!(["red"]));
    let group = people
        .made("identity/group", &json!({"name": "g", "policies": "blue", "member_entity_ids": [entity]}));
    assert_eq!(again()["identity_policies"], json!(["blue", "red"]));
    people.desk.ask(Delete, &format!("identity/group/id/{group}"), "").expect(204);
    assert_eq!(again()["identity_policies"], json!(["red"]));
    people.post(&path, &json!({"disabled": true})).expect(204);
    people.log_in("ann").expect(403);
    people.post(&path, &json!({"disabled": false})).expect(204);
    assert_eq!(again()["entity_id"], json!(entity));
    // A second factor that is wanted from now on is wanted of those who never owed one.
    let totp = json!({"issuer": "i", "period": 30}).to_string();
    let said = people.desk.ask(Post, "identity/mfa/method/totp", &totp).expect(200);
    let body = json!({"mfa_method_ids": [said.json["data"]["method_id"]], "auth_method_types": ["userpass"]});
    people.post("identity/mfa/login-enforcement/all", &body).expect(204);
    let owing = again();
    assert!(
        owing["client_token"] == json!("") && owing["mfa_requirement"]["mfa_constraints"]["all"].is_object()
    );
    people.desk.ask(Delete, "identity/mfa/login-enforcement/all", "").expect(204);
    // Who is gone comes as somebody new.
    people.desk.ask(Delete, &path, "").expect(204);
    let new = again();
    assert!(new["entity_id"] != json!(entity) && new["identity_policies"].is_null());
    assert_eq!(again()["entity_id"], new["entity_id"]);
}
