//! What is due: much of it at once, and some of it broken.

use std::time::Duration;

use kernel::Settings;
use kit::Verb::{List, Post};
use tests::desk::Desk;

const TOKENS: usize = 120;

fn keys(desk: &Desk, path: &str) -> Vec<String> {
    let said = desk.ask(List, path, "").expect(200);
    said.json["data"]["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

fn make_tokens(desk: &Desk) -> Vec<String> {
    let body = r#"{"policies":["default"],"ttl":"1m","no_parent":true}"#;
    (0..TOKENS).map(|_| desk.ask(Post, "auth/token/create", body).expect(200).token()).collect()
}

#[test]
fn tokens_that_end_together_are_cleared_away_by_few_commits() {
    let desk = Desk::new(400);
    let before = desk.disk.changes();
    let tokens = make_tokens(&desk);
    let making = desk.disk.changes() - before;
    assert_eq!(keys(&desk, "auth/token/accessors").len(), TOKENS + 1);
    desk.wait(Duration::from_secs(61));
    let before = desk.disk.changes();
    desk.tick();
    // Each token that was made was a commit of its own. To end one takes two steps.
    let ending = desk.disk.changes() - before;
    assert!(ending * 4 < making, "{ending} changes of the disk to end what took {making} to make");
    assert_eq!(keys(&desk, "auth/token/accessors").len(), 1);
    for token in tokens {
        desk.ask(Post, "auth/token/lookup", &format!(r#"{{"token":"{token}"}}"#)).expect(403);
    }
}

#[test]
fn one_that_cannot_be_ended_does_not_keep_the_others() {
    let desk = Desk::with(401, Settings { raw_storage_endpoint: true, ..Settings::default() });
    let known = keys(&desk, "sys/raw/kernel/3");
    make_tokens(&desk);
    let damaged = keys(&desk, "sys/raw/kernel/3").into_iter().find(|id| !known.contains(id)).unwrap();
    desk.ask(Post, &format!("sys/raw/kernel/3/{damaged}"), r#"{"value":"no token"}"#).expect(204);
    desk.wait(Duration::from_secs(61));
    desk.tick();
    let left = keys(&desk, "sys/raw/kernel/3");
    assert!(left.contains(&damaged));
    assert_eq!(left.len(), known.len() + 1);
}
