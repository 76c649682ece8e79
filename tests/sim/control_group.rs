//! A request whose rule wants the consent of others is done once they have given it: once, for who asked, and never
//! otherwise.

use std::time::Duration;

use kit::Verb::{Delete, Get, List, Post};
use serde_json::{Value, json};
use storage::faulty::PowerCut;
use tests::desk::{Desk, Said, request};

/// Who asks.
const ANN: &str = "ann";
/// Who may consent.
const BOB: &str = "bob";
const CAROL: &str = "carol";
/// Who may not.
const DAVE: &str = "dave";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// A rule for `kv/*` that wants `approvals` of the group `boss` for these capabilities.
fn rule(capabilities: &str, approvals: u32, more: &str) -> String {
    format!(
        r#"path "kv/*" {{ capabilities = ["read", "create", "update", "list", "delete"]
             control_group = {{ {more}
               factor "two" {{ controlled_capabilities = [{capabilities}]
                 identity {{ group_names = ["boss"] approvals = {approvals} }} }} }} }}
           path "sys/control-group/*" {{ capabilities = ["update"] }}"#
    )
}

struct Office {
    desk: Desk,
}

/// What a request that waits is known by.
struct Waiting {
    token: String,
    accessor: String,
}

impl Office {
    fn new(seed: u64, rule: &str) -> Self {
        let desk = Desk::new(seed);
        desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
        desk.ask(Post, "kv/x", r#"{"a":"1"}"#).expect(204);
        let office = Self { desk };
        office.policy("asking", rule);
        office.policy("consenting", r#"path "sys/control-group/*" { capabilities = ["update"] }"#);
        let role = json!({ "allowed_entity_aliases": [ANN, BOB, CAROL, DAVE] }).to_string();
        office.desk.ask(Post, "auth/token/roles/people", &role).expect(204);
        office.group(&[ANN, BOB, CAROL]);
        office
    }

    fn policy(&self, name: &str, text: &str) {
        let body = json!({ "policy": text }).to_string();
        self.desk.ask(Post, &format!("sys/policies/acl/{name}"), &body).expect(204);
    }

    /// People come by tokens that stand for them.
    fn log_in(&self, person: &str) -> Said {
        let policy = if person == ANN { "asking" } else { "consenting" };
        let body = json!({ "entity_alias": person, "policies": [policy] }).to_string();
        self.desk.ask(Post, "auth/token/create/people", &body).expect(200)
    }

    fn token(&self, person: &str) -> String {
        self.log_in(person).token()
    }

    fn entity(&self, person: &str) -> String {
        text(&self.log_in(person).json["auth"]["entity_id"])
    }

    fn group(&self, people: &[&str]) {
        let ids: Vec<String> = people.iter().map(|person| self.entity(person)).collect();
        let body = json!({ "member_entity_ids": ids }).to_string();
        let said = self.desk.ask(Post, "identity/group/name/boss", &body);
        assert!([200, 204].contains(&said.status), "{said:?}");
    }

    fn consent(&self, person: &str, waiting: &Waiting) -> Said {
        let body = json!({ "accessor": waiting.accessor }).to_string();
        self.desk.ask_as(&self.token(person), Post, "sys/control-group/authorize", &body)
    }

    fn look(&self, waiting: &Waiting) -> Said {
        let body = json!({ "accessor": waiting.accessor }).to_string();
        self.desk.ask(Post, "sys/control-group/request", &body)
    }

    fn unwrap(&self, waiting: &Waiting) -> Said {
        self.desk.ask_as(&waiting.token, Post, "sys/wrapping/unwrap", "")
    }
}

impl Waiting {
    fn of(said: &Said) -> Self {
        let wrap = &said.json["wrap_info"];
        Self { token: text(&wrap["token"]), accessor: text(&wrap["accessor"]) }
    }
}

#[test]
fn a_request_is_done_once_enough_have_consented() {
    let office = Office::new(1, &rule(r#""read""#, 2, r#"ttl = "1h""#));
    let ann = office.token(ANN);
    let said = office.desk.ask_as(&ann, Get, "kv/x", "").expect(200);
    assert_eq!(said.json["data"], Value::Null);
    assert_eq!(said.json["wrap_info"]["creation_path"], "kv/x");
    assert_eq!(said.json["wrap_info"]["ttl"], 3600);
    let waiting = Waiting::of(&said);
    assert!(office.unwrap(&waiting).expect(400).error().starts_with("request needs further approval"));
    assert_eq!(office.consent(BOB, &waiting).expect(200).json["data"]["approved"], false);
    assert!(office.consent(BOB, &waiting).expect(500).error().contains("approver has already authorized"));
    assert!(office.consent(ANN, &waiting).expect(500).error().contains("token owner cannot be approver"));
    assert_eq!(office.consent(DAVE, &waiting).expect(200).json["data"]["approved"], false);
    office.unwrap(&waiting).expect(400);
    let shown = office.look(&waiting).expect(200).json["data"].clone();
    assert_eq!(shown["approved"], false);
    assert_eq!(shown["request_path"], "kv/x");
    assert_eq!(shown["request_operation"], "read");
    assert_eq!(shown["request_entity"]["ID"], office.entity(ANN).as_str());
    assert_eq!(shown["authorizations"].as_array().map(Vec::len), Some(1));
    assert_eq!(office.consent(CAROL, &waiting).expect(200).json["data"]["approved"], true);
    assert_eq!(office.unwrap(&waiting).expect(200).json["data"]["a"], "1");
    office.unwrap(&waiting).expect(400);
    assert!(office.look(&waiting).expect(400).error().contains("invalid accessor"));
}

#[test]
fn what_changes_something_is_done_once_and_only_after_consent() {
    let office = Office::new(2, &rule(r#""update", "create""#, 1, r#"ttl = "1h""#));
    let ann = office.token(ANN);
    let waiting = Waiting::of(&office.desk.ask_as(&ann, Post, "kv/new", r#"{"b":"2"}"#).expect(200));
    office.desk.ask(Get, "kv/new", "").expect(404);
    assert_eq!(office.look(&waiting).json["data"]["request_data"], json!({ "b": "2" }));
    office.consent(BOB, &waiting).expect(200);
    office.desk.ask(Get, "kv/new", "").expect(404);
    office.unwrap(&waiting).expect(204);
    assert_eq!(office.desk.ask(Get, "kv/new", "").expect(200).json["data"], json!({ "b": "2" }));
    office.desk.ask(Delete, "kv/new", "").expect(204);
    office.unwrap(&waiting).expect(400);
    office.desk.ask(Get, "kv/new", "").expect(404);
    // Whoever holds the token may have it done through a token of their own; what is not controlled needs nothing.
    office.desk.ask_as(&ann, Get, "kv/x", "").expect(200);
    let waiting = Waiting::of(&office.desk.ask_as(&ann, Post, "kv/other", r#"{"c":"3"}"#).expect(200));
    office.consent(CAROL, &waiting).expect(200);
    let body = json!({ "token": waiting.token }).to_string();
    office.desk.ask(Post, "sys/wrapping/unwrap", &body).expect(204);
    office.desk.ask(Post, "sys/wrapping/unwrap", &body).expect(400);
}

#[test]
fn what_waits_and_who_has_consented_outlive_a_crash() {
    let mut office = Office::new(3, &rule(r#""read""#, 2, r#"ttl = "1h""#));
    let ann = office.token(ANN);
    let waiting = Waiting::of(&office.desk.ask_as(&ann, Get, "kv/x", "").expect(200));
    office.consent(BOB, &waiting).expect(200);
    office.desk = office.desk.crash(PowerCut::Drop);
    assert!(office.consent(BOB, &waiting).expect(500).error().contains("already authorized"));
    office.consent(CAROL, &waiting).expect(200);
    office.desk = office.desk.crash(PowerCut::Drop);
    office.unwrap(&waiting).expect(200);
    office.desk = office.desk.crash(PowerCut::Drop);
    office.unwrap(&waiting).expect(400);
}

#[test]
fn who_has_left_the_group_has_consented_to_nothing() {
    let office = Office::new(4, &rule(r#""read""#, 1, r#"ttl = "1h""#));
    let ann = office.token(ANN);
    let waiting = Waiting::of(&office.desk.ask_as(&ann, Get, "kv/x", "").expect(200));
    assert_eq!(office.consent(BOB, &waiting).json["data"]["approved"], true);
    office.group(&[ANN, CAROL]);
    assert_eq!(office.look(&waiting).json["data"]["approved"], false);
    office.unwrap(&waiting).expect(400);
    office.group(&[ANN, BOB, CAROL]);
    let body = json!({ "disabled": true }).to_string();
    let bob = office.entity(BOB);
    office.desk.ask(Post, &format!("identity/entity/id/{bob}"), &body);
    office.unwrap(&waiting).expect(400);
    office.consent(CAROL, &waiting).expect(200);
    office.unwrap(&waiting).expect(200);
}

#[test]
fn one_person_is_one_however_many_entities_they_had() {
    let office = Office::new(5, &rule(r#""read""#, 2, r#"ttl = "1h""#));
    let ann = office.token(ANN);
    let waiting = Waiting::of(&office.desk.ask_as(&ann, Get, "kv/x", "").expect(200));
    office.consent(BOB, &waiting).expect(200);
    assert_eq!(office.consent(CAROL, &waiting).json["data"]["approved"], true);
    let (bob, carol) = (office.entity(BOB), office.entity(CAROL));
    let shown = office.desk.ask(Get, &format!("identity/entity/id/{bob}"), "").expect(200);
    let keep = text(&shown.json["data"]["aliases"][0]["id"]);
    let body =
        json!({ "from_entity_ids": [carol], "to_entity_id": bob, "conflicting_alias_ids_to_keep": [keep] });
    office.desk.ask(Post, "identity/entity/merge", &body.to_string()).expect(204);
    office.unwrap(&waiting).expect(400);
}

#[test]
fn the_rights_of_who_asked_are_judged_when_it_is_done() {
    let text = rule(r#""read""#, 1, r#"ttl = "1h""#);
    let office = Office::new(6, &text);
    let asked = || {
        let ann = office.token(ANN);
        let waiting = Waiting::of(&office.desk.ask_as(&ann, Get, "kv/x", "").expect(200));
        office.consent(BOB, &waiting).expect(200);
        (ann, waiting)
    };
    // The rule is gone, and comes back.
    let (_, waiting) = asked();
    office.policy("asking", r#"path "other/*" { capabilities = ["read"] }"#);
    office.unwrap(&waiting).expect(403);
    office.policy("asking", &text);
    office.unwrap(&waiting).expect(200);
    // The rule wants more by now.
    let (_, waiting) = asked();
    office.policy("asking", &rule(r#""read""#, 2, r#"ttl = "1h""#));
    office.unwrap(&waiting).expect(400);
    office.consent(CAROL, &waiting).expect(200);
    office.unwrap(&waiting).expect(200);
    office.policy("asking", &text);
    // Who asked is not there any more.
    let (ann, waiting) = asked();
    office.desk.ask_as(&ann, Post, "auth/token/revoke-self", "");
    office.desk.ask(Post, "auth/token/revoke", &json!({ "token": ann }).to_string());
    office.unwrap(&waiting).expect(403);
    let root = json!({ "token": waiting.token }).to_string();
    office.desk.ask(Post, "sys/wrapping/unwrap", &root).expect(403);
}

#[test]
fn the_token_of_a_request_can_do_nothing_else_and_ends_with_its_time() {
    let office = Office::new(7, &rule(r#""read""#, 1, r#"ttl = "10m""#));
    let ann = office.token(ANN);
    let waiting = Waiting::of(&office.desk.ask_as(&ann, Get, "kv/x", "").expect(200));
    for (verb, path) in [
        (Get, "kv/x"),
        (Get, "auth/token/lookup-self"),
        (Get, "cubbyhole/control-group"),
        (List, "cubbyhole"),
        (Post, "sys/control-group/authorize"),
        (Post, "auth/token/create"),
    ] {
        office.desk.ask_as(&waiting.token, verb, path, "{}").expect(403);
    }
    for path in ["sys/wrapping/lookup", "sys/wrapping/rewrap"] {
        office.desk.ask(Post, path, &json!({ "token": waiting.token }).to_string()).expect(400);
    }
    office.consent(BOB, &waiting).expect(200);
    office.desk.wait(Duration::from_secs(601));
    office.unwrap(&waiting).expect(400);
    office.desk.tick();
    office.look(&waiting).expect(400);
    // An ordinary wrapping is none, and an ordinary token neither.
    let wrapped = office.desk.ask_wrapped(&office.desk.root, Get, "kv/x", "");
    let accessor = office.desk.ask(Post, "auth/token/lookup", &json!({ "token": wrapped }).to_string());
    let other = Waiting { token: wrapped, accessor: text(&accessor.expect(200).json["data"]["accessor"]) };
    assert!(office.look(&other).expect(400).error().contains("invalid wrapping token"));
    assert!(office.consent(BOB, &other).expect(500).error().contains("does not contain control group"));
}

#[test]
fn one_who_asks_may_consent_only_where_the_rule_says_so() {
    let office = Office::new(8, &rule(r#""read""#, 1, r#"ttl = "1h" self_auth_allowed = true"#));
    let ann = office.token(ANN);
    let waiting = Waiting::of(&office.desk.ask_as(&ann, Get, "kv/x", "").expect(200));
    assert_eq!(office.consent(ANN, &waiting).expect(200).json["data"]["approved"], true);
    office.unwrap(&waiting).expect(200);
    // Nobody: consent is that of a person.
    let waiting = Waiting::of(&office.desk.ask_as(&ann, Get, "kv/x", "").expect(200));
    let body = json!({ "accessor": waiting.accessor }).to_string();
    let said = office.desk.ask(Post, "sys/control-group/authorize", &body).expect(500);
    assert!(said.error().contains("empty entity ID"));
}

#[test]
fn the_answer_is_wrapped_if_that_was_wished_for() {
    let office = Office::new(9, &rule(r#""read""#, 1, r#"ttl = "1h""#));
    let mut asked = request(&office.token(ANN), Get, "kv/x", "");
    asked.wrap_ttl = Some(Duration::from_secs(300));
    let waiting = Waiting::of(&office.desk.send(&asked).expect(200));
    office.consent(BOB, &waiting).expect(200);
    let said = office.unwrap(&waiting).expect(200);
    assert_eq!(said.json["wrap_info"]["ttl"], 300);
    let wrapped = json!({ "token": said.json["wrap_info"]["token"] }).to_string();
    assert_eq!(office.desk.ask(Post, "sys/wrapping/unwrap", &wrapped).expect(200).json["data"]["a"], "1");
}

#[test]
fn a_use_is_kept_for_when_it_is_done() {
    let office = Office::new(10, &rule(r#""read""#, 1, ""));
    let make = |uses: u32| {
        let body = json!({ "policies": ["asking"], "num_uses": uses }).to_string();
        office.desk.ask(Post, "auth/token/create", &body).expect(200).token()
    };
    assert!(office.desk.ask_as(&make(1), Get, "kv/x", "").expect(400).error().contains("no use left"));
    let said = office.desk.ask_as(&make(2), Get, "kv/x", "").expect(200);
    assert_eq!(said.json["wrap_info"]["ttl"], 24 * 3600, "a rule that says nothing");
    let waiting = Waiting::of(&said);
    office.consent(BOB, &waiting).expect(200);
    office.unwrap(&waiting).expect(200);
}

#[test]
fn a_rule_that_wants_no_consent_does_not_take_that_of_another_away() {
    let office = Office::new(11, &rule(r#""read""#, 1, r#"ttl = "1h""#));
    office.policy("plain", r#"path "kv/*" { capabilities = ["read"] }"#);
    for policies in [["asking", "plain"], ["plain", "asking"]] {
        let body = json!({ "policies": policies }).to_string();
        let token = office.desk.ask(Post, "auth/token/create", &body).expect(200).token();
        Waiting::of(&office.desk.ask_as(&token, Get, "kv/x", "").expect(200));
    }
}

#[test]
fn an_explanation_says_whose_consent_is_wanted() {
    let office = Office::new(12, &rule(r#""read""#, 2, r#"ttl = "1h""#));
    let body = r#"{"policies":["asking"],"path":"kv/x","operation":"read"}"#;
    let said = office.desk.ask(Post, "sys/policies/explain", body).expect(200).json["data"].clone();
    assert_eq!(said["verdict"], "allowed");
    assert_eq!(said["control_group"]["factors"][0]["approvals"], 2);
    assert_eq!(said["control_group"]["factors"][0]["group_names"], json!(["boss"]));
    assert!(text(&said["reason"]).contains("once others have consented"));
    let body = r#"{"policies":["asking"],"path":"kv/x","operation":"list"}"#;
    assert!(office.desk.ask(Post, "sys/policies/explain", body).json["data"].get("control_group").is_none());
}

#[test]
fn a_listing_that_is_wrapped_or_waited_is_sieved_as_any_other() {
    let rule = r#"path "kv/" { capabilities = ["list"] list_scan_response_keys_filter_path = "{{ .path }}{{ .key }}"
          control_group = { ttl = "1h" factor "two" { controlled_capabilities = ["list"]
            identity { group_names = ["boss"] approvals = 1 } } } }
        path "kv/x" { capabilities = ["read"] }"#;
    let office = Office::new(13, rule);
    office.desk.ask(Post, "kv/y", r#"{"a":"1"}"#).expect(204);
    let waiting = Waiting::of(&office.desk.ask_as(&office.token(ANN), List, "kv", "").expect(200));
    office.consent(BOB, &waiting).expect(200);
    assert_eq!(office.unwrap(&waiting).expect(200).json["data"]["keys"], json!(["x"]));
    office.policy(
        "asking",
        r#"path "kv/" { capabilities = ["list"] list_scan_response_keys_filter_path = "{{ .path }}{{ .key }}" }
           path "kv/x" { capabilities = ["read"] }"#,
    );
    let wrapped = office.desk.ask_wrapped(&office.token(ANN), List, "kv", "");
    let body = json!({ "token": wrapped }).to_string();
    let said = office.desk.ask(Post, "sys/wrapping/unwrap", &body).expect(200);
    assert_eq!(said.json["data"]["keys"], json!(["x"]));
}

/// Reads a secret, and tells by what the request is known if it waits.
const TELL: &str = r#"
flow "read" { request "x" { operation = "read" path = "kv/x" } }
output {
  data = {
    token = { eval_source = "response" eval_type = "string" flow_name = "read" response_name = "x" field_selector = ["wrap_info", "token"] }
    accessor = { eval_source = "response" eval_type = "string" flow_name = "read" response_name = "x" field_selector = ["wrap_info", "accessor"] }
    had = { eval_source = "cel" eval_type = "bool" expression = "responses.read.x.data != null" }
  }
}"#;

#[test]
fn what_a_workflow_asks_for_waits_like_what_its_caller_asks_for() {
    let execute = r#"path "sys/workflows/execute/*" { capabilities = ["update"] }"#;
    let office = Office::new(20, &format!("{}\n{execute}", rule(r#""read""#, 1, r#"ttl = "1h""#)));
    let workflow = json!({ "workflow": TELL }).to_string();
    office.desk.ask(Post, "sys/workflows/manage/tell", &workflow).expect(200);
    let ann = office.token(ANN);
    let said = office.desk.ask_as(&ann, Post, "sys/workflows/execute/tell", "{}").expect(200);
    let data = &said.json["data"];
    assert_eq!(data["had"], false, "{said:?}");
    let waiting = Waiting { token: text(&data["token"]), accessor: text(&data["accessor"]) };
    assert_eq!(office.look(&waiting).expect(200).json["data"]["request_path"], "kv/x");
    office.unwrap(&waiting).expect(400);
    office.consent(BOB, &waiting).expect(200);
    assert_eq!(office.unwrap(&waiting).expect(200).json["data"]["a"], "1");
    office.unwrap(&waiting).expect(400);
}

#[test]
fn a_workflow_that_waits_is_played_once() {
    let execute = r#"path "sys/workflows/execute/*" { capabilities = ["update"]
        control_group = { ttl = "1h" factor "two" { controlled_capabilities = ["update"] identity { group_names = ["boss"] approvals = 1 } } } }
        path "kv/*" { capabilities = ["create", "update"] }"#;
    let office = Office::new(21, execute);
    let write = r#"
        input { field "string" "what" { required = true } }
        flow "write" { request "y" { operation = "update" path = "kv/y"
          data = { what = { eval_source = "input" eval_type = "string" field_name = "what" } } } }
        output { data = { done = { eval_source = "cel" eval_type = "bool" expression = "has(responses.write.y)" } } }"#;
    let workflow = json!({ "workflow": write }).to_string();
    office.desk.ask(Post, "sys/workflows/manage/write", &workflow).expect(200);
    let ann = office.token(ANN);
    let asked =
        office.desk.ask_as(&ann, Post, "sys/workflows/execute/write", r#"{"what":"this"}"#).expect(200);
    let waiting = Waiting::of(&asked);
    office.unwrap(&waiting).expect(400);
    office.desk.ask(Get, "kv/y", "").expect(404);
    office.consent(CAROL, &waiting).expect(200);
    assert_eq!(office.unwrap(&waiting).expect(200).json["data"], json!({ "done": true }));
    assert_eq!(office.desk.ask(Get, "kv/y", "").expect(200).json["data"], json!({ "what": "this" }));
    office.desk.ask(Delete, "kv/y", "").expect(204);
    office.unwrap(&waiting).expect(400);
    office.desk.ask(Get, "kv/y", "").expect(404);
}
