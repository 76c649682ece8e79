//! `wrap_ttl` of a login: what `bao agent` does with it, `keep agent` does.

use crate::agent::Site;
use serde_json::{Value, json};
use tests::binary::Binary;
use tests::program::Program;

/// A login that is wrapped, for the one sink.
const WRAPPED: &str = r#"auto_auth {
  method "approle" {
    wrap_ttl = "5m"
    config = {
      role_id_file_path = "@/role"
      secret_id_file_path = "@/secret"
    }
  }
  sink "file" { config = { path = "@/sink", mode = 0600 } }
}"#;

/// The names in a JSON object, in the order in which they stand there.
fn names(text: &str) -> Vec<String> {
    let parts = text.trim_matches(['{', '}', '\n']).split(',');
    parts.filter_map(|part| part.split_once(':')).map(|(name, _)| name.to_owned()).collect()
}

#[track_caller]
fn hands_over(program: &Binary) -> String {
    let site = Site::new();
    let agent = Program::start(&site.command(program, "agent", WRAPPED));
    let text = agent.until("the sink is written", || site.read("sink").filter(|text| text.ends_with("}\n")));
    assert!(!site.path("secret").exists(), "the secret id has served");
    let wrap: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&wrap["ttl"], &wrap["creation_path"]), (&json!(300), &json!("auth/approle/login")), "{wrap}");
    let root = &site.root;
    let accessor = wrap["wrapped_accessor"].as_str().unwrap();
    root.post("auth/token/lookup-accessor", json!({"accessor": accessor})).must(200);
    // Whoever opens it has the token, and nobody a second time.
    let taker = site.server.anonymous().with(wrap["token"].as_str().unwrap());
    let opened = taker.post("sys/wrapping/unwrap", json!({})).must(200);
    let token = opened.at("/auth/client_token");
    let looked = site.server.anonymous().with(&token).get("auth/token/lookup-self").must(200);
    assert_eq!(looked.at("/data/path"), "auth/approle/login");
    taker.post("sys/wrapping/unwrap", json!({})).must(400);
    assert!(!agent.log().contains(&token) && !agent.log().contains(wrap["token"].as_str().unwrap()));
    // The agent rests: it neither logs in again nor renews what it does not have.
    assert!(agent.stop().success(), "it ends when it is told to");
    assert_eq!(site.read("sink").as_deref(), Some(text.as_str()));
    let again = root.post("auth/approle/role/web/secret-id", json!({})).must(200);
    site.folder.file("secret", &again.at("/data/secret_id"));
    let once = format!("{WRAPPED}\nexit_after_auth = true");
    let mut agent = Program::start(&site.command(program, "agent", &once));
    assert!(agent.end().success(), "{}", agent.log());
    assert_ne!(site.read("sink").as_deref(), Some(text.as_str()), "a run is a login");
    text
}

#[test]
fn a_wrapped_login_goes_to_its_sink_as_both_agents_have_it() {
    let (theirs, ours) = (hands_over(&Binary::bao()), hands_over(&Binary::keep()));
    assert_eq!(names(&ours), names(&theirs));
}

#[test]
fn a_wrapped_login_that_fails_is_tried_again_and_a_secret_id_is_used_once() {
    let site = Site::new();
    let config =
        WRAPPED.replace("wrap_ttl", "max_backoff = \"1s\"\n    wrap_ttl").replace("@/sink", "@/deep/sink");
    let once = site.root.post("auth/approle/role/web", json!({"secret_id_num_uses": 1}));
    once.must(204);
    let secret = site.root.post("auth/approle/role/web/secret-id", json!({})).must(200).at("/data/secret_id");
    site.folder.file("secret", "wrong");
    let agent = Program::start(&site.command(&Binary::keep(), "agent", &config));
    let said = |words: &str| agent.until(words, || agent.log().contains(words).then_some(()));
    said("the token: logging in");
    site.folder.file("secret", &secret);
    said("is there room, and may the agent's user write there?");
    std::fs::create_dir(site.path("deep")).unwrap();
    agent.until("the sink is written", || site.read("deep/sink"));
    said("the agent itself does not have it");
    assert_eq!(agent.log().matches("logging in").count(), 1, "{}", agent.log());
    assert!(agent.stop().success());
}
