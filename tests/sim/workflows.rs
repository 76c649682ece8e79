//! Workflows have no rights of their own, leave a trace of every request, and end: in a refusal, in a crash, in a loop.

use kernel::{Request, Settings};
use kit::Verb;
use kit::Verb::{Delete, Get, List, Post, Scan};
use serde_json::{Value, json};
use storage::faulty::PowerCut;
use tests::desk::{Desk, Said, request};

fn put(desk: &Desk, path: &str, workflow: &str) -> Said {
    desk.ask(Post, &format!("sys/workflows/manage/{path}"), &json!({ "workflow": workflow }).to_string())
}

fn run(desk: &Desk, token: &str, path: &str, input: Value) -> Said {
    desk.ask_as(token, Post, &format!("sys/workflows/execute/{path}"), &input.to_string())
}

/// A token that may run workflows and do this much more.
fn someone(desk: &Desk, rules: &str) -> String {
    let policy = format!("path \"sys/workflows/execute/*\" {{ capabilities = [\"update\"] }}\n{rules}");
    desk.ask(Post, "sys/policies/acl/some", &json!({ "policy": policy }).to_string()).expect(204);
    desk.ask(Post, "auth/token/create", r#"{"policies":["some"]}"#).expect(200).token()
}

/// Writes two secrets and tells what is in them.
const PAIR: &str = r#"
input {
  field "string" "who" { required = true }
  field "int" "count" { default = 3 }
}
flow "write" {
  request "first" {
    operation = "create"
    path = { eval_source = "template" eval_type = "string" template = "kv/{{ .input.who }}/first" }
    data = {
      count = { eval_source = "input" eval_type = "int" field_name = "count" }
      by = { eval_source = "cel" eval_type = "string" expression = "input.who + '!'" }
    }
  }
  request "second" {
    operation = "update"
    path = { eval_source = "cel" eval_type = "string" expression = "'kv/' + input.who + '/second'" }
    data = { first = { eval_source = "request" eval_type = "string" flow_name = "write" request_name = "first" field_selector = "path" } }
  }
}
flow "read" {
  request "first" {
    operation = "read"
    path = { eval_source = "request" eval_type = "string" flow_name = "write" request_name = "first" field_selector = ["path"] }
  }
  request "never" {
    operation = "delete"
    path = "kv/nothing"
    when = { eval_source = "cel" eval_type = "bool" expression = "responses.read.first.data.count > 100" }
  }
}
output {
  data = {
    count = { eval_source = "response" eval_type = "int" flow_name = "read" response_name = "first" field_selector = ["data", "count"] }
    by = { eval_source = "cel" eval_type = "string" expression = "responses.read.first.data.by" }
    made = { eval_source = "cel" eval_type = "any" expression = "has(responses.write.first)" }
  }
}
"#;

fn desk(seed: u64) -> Desk {
    let desk = Desk::new(seed);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk
}

#[test]
fn requests_are_made_one_after_the_other_with_what_came_before() {
    let desk = desk(800);
    put(&desk, "pair", PAIR).expect(200);
    let said = run(&desk, &desk.root, "pair", json!({"who": "ann", "count": "7"})).expect(200);
    assert_eq!(said.json["data"], json!({"count": 7, "by": "ann!", "made": true}));
    assert_eq!(desk.ask(Get, "kv/ann/second", "").expect(200).json["data"]["first"], "kv/ann/first");
    let said = run(&desk, &desk.root, "pair", json!({"who": "bob"})).expect(200);
    assert_eq!(said.json["data"]["count"], 3);
    for (input, text) in [
        (json!({}), "failed input validation: missing required field \"who\""),
        (json!({"who": "ann", "count": "many"}), "error converting input for field \"count\""),
    ] {
        let said = run(&desk, &desk.root, "pair", input).expect(400);
        assert!(said.error().contains(text) && !said.error().contains("many"), "{}", said.error());
    }
}

#[test]
fn a_workflow_is_written_down_shown_listed_and_deleted() {
    let desk = desk(801);
    desk.ask(List, "sys/workflows/manage", "").expect(404);
    assert_eq!(desk.ask(Scan, "sys/workflows/manage", "").expect(200).json["data"], json!({}));
    assert_eq!(put(&desk, "a/One", PAIR).expect(200).json["data"]["version"], 1);
    put(&desk, "two", PAIR).expect(200);
    assert_eq!(put(&desk, "a/one", PAIR).expect(200).json["data"]["version"], 2);
    let listed = desk.ask(List, "sys/workflows/manage", "").expect(200).json;
    assert_eq!(listed["data"]["keys"], json!(["a/", "two"]));
    assert_eq!(listed["data"]["key_info"]["two"]["workflow"], PAIR);
    assert_eq!(desk.ask(List, "sys/workflows/manage/a", "").expect(200).json["data"]["keys"], json!(["one"]));
    assert_eq!(
        desk.ask(Scan, "sys/workflows/manage", "").expect(200).json["data"]["keys"],
        json!(["a/one", "two"])
    );
    let cas = |cas: i64| json!({"workflow": PAIR, "cas": cas, "cas_required": true}).to_string();
    desk.ask(Post, "sys/workflows/manage/two", &cas(5)).expect(400);
    desk.ask(Post, "sys/workflows/manage/two", &cas(-1)).expect(400);
    desk.ask(Post, "sys/workflows/manage/two", &cas(1)).expect(200);
    put(&desk, "two", PAIR).expect(400);
    desk.ask(Delete, "sys/workflows/manage/two", "").expect(204);
    desk.ask(Get, "sys/workflows/manage/two", "").expect(404);
    run(&desk, &desk.root, "two", json!({"who": "ann"})).expect(404);
}

#[test]
fn what_is_wrong_is_refused_when_it_is_written() {
    let desk = desk(802);
    let step = |inner: &str| format!("flow \"a\" {{ request \"x\" {{ operation = \"read\" {inner} }} }}");
    for (workflow, text) in [
        (String::new(), "workflow must have at least one \"flow\" block"),
        ("x".to_owned(), "failed during HCL parsing"),
        (
            step("path = \"a\" bar = 1"),
            "unknown or unsupported field bar found in configuration at workflow:1:",
        ),
        (
            step(r#"path = { eval_source = "env" eval_type = "string" env_var = "HOME" }"#),
            "unknown value for 'eval_source': env",
        ),
        (
            step(r#"path = { eval_source = "file" eval_type = "string" path = "/etc/passwd" }"#),
            "unknown value for 'eval_source': file",
        ),
        (
            step(r#"path = { eval_source = "cel" eval_type = "string" expression = "1 +" }"#),
            "invalid CEL syntax",
        ),
        (
            step(r#"path = { eval_source = "cel" expression = "1" }"#),
            "missing either 'eval_type' or 'eval_source'",
        ),
        (
            step(
                r#"path = { eval_source = "template" eval_type = "string" template = "{{ template \"x\" }}" }"#,
            ),
            "neither defines nor calls",
        ),
        (
            step(r#"path = { eval_source = "input" eval_type = "string" field_name = "x" }"#),
            "unknown value for 'eval_source': input",
        ),
        (format!("{}\n{}", step("path = \"a\""), step("path = \"a\"")), "duplicate outer block name 'a'"),
        (
            "flow \"a\" { request \"o ne\" { operation = \"read\" path = \"a\" } }".to_owned(),
            "is invalid: must start with a letter",
        ),
        (
            "flow { request \"x\" { operation = \"read\" path = \"a\" } }".to_owned(),
            "flow type must be specified",
        ),
        (
            format!("{}\noutput {{ headers = {{ a = [\"b\"] }} }}", step("path = \"a\"")),
            "headers are not sent here",
        ),
    ] {
        let said = put(&desk, "wrong", &workflow).expect(400);
        assert!(said.error().contains(text), "{workflow}: {}", said.error());
    }
    desk.ask(Get, "sys/workflows/manage/wrong", "").expect(404);
}

#[test]
fn a_workflow_may_do_what_its_caller_may_and_no_more() {
    let desk = desk(803);
    put(&desk, "pair", PAIR).expect(200);
    let nobody = someone(&desk, "");
    let said = run(&desk, &nobody, "pair", json!({"who": "ann"})).expect(403);
    let text = "1 error occurred:\n\t* flow.[write (0)]: request.[first (0)]: failed to evaluate request: 1 error occurred:\n\t* permission denied\n\n\n\n";
    assert_eq!(said.error(), text);
    desk.ask(Get, "kv/ann/first", "").expect(404);
    // What was done before a refusal stands: a workflow is no transaction.
    let half = someone(&desk, "path \"kv/+/first\" { capabilities = [\"create\", \"update\", \"read\"] }");
    run(&desk, &half, "pair", json!({"who": "ann"})).expect(403);
    desk.ask(Get, "kv/ann/first", "").expect(200);
    desk.ask(Get, "kv/ann/second", "").expect(404);
    let all = someone(&desk, "path \"kv/*\" { capabilities = [\"create\", \"update\", \"read\"] }");
    run(&desk, &all, "pair", json!({"who": "ann"})).expect(200);
    // Who may run one may not look into it, nor change it.
    desk.ask_as(&all, Post, "sys/workflows/trace/pair", r#"{"who":"ann"}"#).expect(403);
    desk.ask_as(&all, Get, "sys/workflows/manage/pair", "").expect(403);
    run(&desk, "", "pair", json!({"who": "ann"})).expect(403);
    run(&desk, "s.none", "pair", json!({"who": "ann"})).expect(403);
}

#[test]
fn a_refusal_that_is_allowed_does_not_end_it() {
    let desk = desk(804);
    let workflow = r#"
flow "a" {
  request "refused" { operation = "read" path = "sys/nothing/here" allow_failure = true }
  request "absent" { operation = "read" path = "kv/absent" }
  request "after" { operation = "update" path = "kv/after" data = { a = "b" } }
}
output { data = { refused = { eval_source = "cel" eval_type = "bool" expression = "!('refused' in responses.a)" } } }
"#;
    put(&desk, "soft", workflow).expect(200);
    assert_eq!(run(&desk, &desk.root, "soft", json!({})).expect(200).json["data"]["refused"], true);
    desk.ask(Get, "kv/after", "").expect(200);
}

#[test]
fn a_trace_shows_what_was_asked_but_no_token() {
    let desk = desk(805);
    put(&desk, "pair", PAIR).expect(200);
    let said = desk.ask(Post, "sys/workflows/trace/pair", r#"{"who":"ann"}"#).expect(200);
    let data = &said.json["data"];
    assert_eq!(data["error"], Value::Null);
    assert_eq!(data["history"]["requests"]["write"]["first"]["path"], "kv/ann/first");
    assert_eq!(data["history"]["requests"]["write"]["first"]["map"]["by"], "ann!");
    assert_eq!(data["history"]["responses"]["read"]["first"]["data"]["count"], 3);
    assert_eq!(data["response"]["data"]["count"], 3);
    assert!(!String::from_utf8_lossy(&said.raw).contains(&desk.root), "a token is shown");
    put(&desk, "fails", "flow \"a\" { request \"x\" { operation = \"read\" path = \"no/such/mount\" } }")
        .expect(200);
    let said = desk.ask(Post, "sys/workflows/trace/fails", "").expect(200);
    let error = said.json["data"]["error"].as_str().unwrap();
    assert!(error.starts_with("flow.[a (0)]: request.[x (0)]: failed to evaluate request"), "{error}");
}

#[test]
fn workflows_that_call_each_other_end() {
    let desk = desk(806);
    let itself =
        "flow \"a\" { request \"x\" { operation = \"update\" path = \"sys/workflows/execute/loop\" } }";
    put(&desk, "loop", itself).expect(200);
    let said = run(&desk, &desk.root, "loop", json!({})).expect(400);
    assert!(said.error().contains("too much workflow recursion"), "{}", said.error());
    let steps: Vec<String> = (0..100)
        .map(|number| format!("request \"x{number}\" {{ operation = \"update\" path = \"sys/workflows/execute/wide\" allow_failure = true }}"))
        .collect();
    put(&desk, "wide", &format!("flow \"a\" {{ {} }}", steps.join("\n"))).expect(200);
    let said = run(&desk, &desk.root, "wide", json!({})).expect(400);
    assert!(said.error().contains("make no more than 1000 requests in all"), "{}", said.error());
    let said = put(
        &desk,
        "long",
        &format!(
            "flow \"a\" {{ {} request \"y\" {{ operation = \"read\" path = \"a\" }} }}",
            steps.join("\n")
        ),
    );
    assert!(said.expect(400).error().contains("no more than 100 requests"));
}

#[test]
fn strangers_run_only_what_both_the_operator_and_the_workflow_let_them() {
    let open = Desk::with(807, Settings { allow_unauthenticated_workflows: true, ..Settings::default() });
    let closed = desk(808);
    let workflow = r#"
input { field "string" "token" {} }
flow "a" { request "self" {
  operation = "read"
  path = "auth/token/lookup-self"
  token = { eval_source = "input" eval_type = "string" field_name = "token" }
} }
output { data = { path = { eval_source = "response" eval_type = "string" flow_name = "a" response_name = "self" field_selector = ["data", "path"] } } }
"#;
    for desk in [&open, &closed] {
        desk.ask(
            Post,
            "sys/workflows/manage/open",
            &json!({"workflow": workflow, "allow_unauthenticated": true}).to_string(),
        )
        .expect(200);
        put(desk, "shut", workflow).expect(200);
    }
    let stranger = |desk: &Desk, path: &str, token: &str| {
        desk.ask_as(
            "",
            Post,
            &format!("sys/workflows/unauthed-execute/{path}"),
            &json!({"token": token}).to_string(),
        )
    };
    assert_eq!(stranger(&open, "open", &open.root).expect(200).json["data"]["path"], "auth/token/root");
    // A stranger has no token, and so no rights, but what they show.
    stranger(&open, "open", "").expect(403);
    for (desk, path) in [(&open, "shut"), (&open, "none"), (&closed, "open"), (&closed, "shut")] {
        assert_eq!(stranger(desk, path, &desk.root).expect(403).error(), "permission denied");
    }
    let calls = "flow \"a\" { request \"x\" { operation = \"update\" path = \"sys/workflows/unauthed-execute/open\" } }";
    open.ask(
        Post,
        "sys/workflows/manage/calls",
        &json!({"workflow": calls, "allow_unauthenticated": true}).to_string(),
    )
    .expect(200);
    stranger(&open, "calls", "").expect(403);
}

#[test]
fn a_workflow_stays_in_its_namespace() {
    let desk = desk(809);
    desk.ask(Post, "sys/namespaces/team", "").expect(200);
    let within = |verb: Verb, path: &str, body: &str| {
        desk.send(&Request { namespace: "team".to_owned(), ..request(&desk.root, verb, path, body) })
    };
    within(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    let workflow =
        "flow \"a\" { request \"x\" { operation = \"update\" path = \"kv/mine\" data = { a = \"b\" } } }";
    within(Post, "sys/workflows/manage/w", &json!({ "workflow": workflow }).to_string()).expect(200);
    run(&desk, &desk.root, "w", json!({})).expect(404);
    within(Post, "sys/workflows/execute/w", "").expect(200);
    within(Get, "kv/mine", "").expect(200);
    desk.ask(Get, "kv/mine", "").expect(404);
    let up = r#"flow "a" { request "x" { operation = "read" path = "kv/mine" headers = { X-Vault-Namespace = "../" } } }"#;
    within(Post, "sys/workflows/manage/up", &json!({ "workflow": up }).to_string()).expect(200);
    within(Post, "sys/workflows/execute/up", "").expect(404);
}

#[test]
fn an_answer_can_be_wrapped_and_a_token_with_uses_spends_one_for_each_request() {
    let desk = desk(810);
    put(&desk, "pair", PAIR).expect(200);
    let wrapped = desk.ask_wrapped(&desk.root, Post, "sys/workflows/execute/pair", r#"{"who":"ann"}"#);
    let held = desk.ask_as(&wrapped, Post, "sys/wrapping/unwrap", "").expect(200);
    assert_eq!(held.json["data"]["count"], 3);
    let rule = "path \"kv/*\" { capabilities = [\"create\", \"update\", \"read\"] }";
    someone(&desk, rule);
    let uses = |uses: u64| {
        let body = json!({"policies": ["some"], "num_uses": uses}).to_string();
        desk.ask(Post, "auth/token/create", &body).expect(200).token()
    };
    run(&desk, &uses(4), "pair", json!({"who": "cleo"})).expect(200);
    run(&desk, &uses(2), "pair", json!({"who": "dan"})).expect(403);
    desk.ask(Get, "kv/dan/first", "").expect(200);
    desk.ask(Get, "kv/dan/second", "").expect(404);
}

/// What was done before the power went stays done, and what came after was not: no half of a request.
#[test]
fn a_crash_in_the_middle_leaves_whole_requests() {
    let desk = desk(811);
    let steps: Vec<String> = (0..20)
        .map(|number| format!("request \"x{number}\" {{ operation = \"update\" path = \"kv/x{number}\" data = {{ a = \"{number}\" }} }}"))
        .collect();
    let fails = "request \"stop\" { operation = \"read\" path = \"no/such/mount\" }";
    put(&desk, "many", &format!("flow \"a\" {{ {} {fails} }}", steps.join("\n"))).expect(200);
    run(&desk, &desk.root, "many", json!({})).expect(404);
    let desk = desk.crash(PowerCut::Drop);
    for number in 0..20 {
        assert_eq!(
            desk.ask(Get, &format!("kv/x{number}"), "").expect(200).json["data"]["a"],
            number.to_string()
        );
    }
    desk.ask(Get, "sys/workflows/manage/many", "").expect(200);
}
