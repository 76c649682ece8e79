//! More leases than one commit ends: all of them end, each once, and what cannot be undone yet waits for its date.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use kernel::Handled;
use kit::Verb::{Delete, Get, List, Post};
use serde_json::json;
use tests::desk::{Desk, request};

use crate::outside::{Directory, Mood, desk};

/// More than is ended at once.
const CROWD: usize = 300;

/// Does what is due until nothing is, and insists that this comes to an end.
fn settle(desk: &Desk) {
    for _ in 0..40 {
        let ticked = desk.kernel.tick().unwrap();
        ticked.outside.into_iter().for_each(|claimed| {
            let mut doing = pin!(desk.kernel.outside(claimed));
            assert!(doing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        });
        if ticked.count == 0 {
            return;
        }
    }
    panic!("there is always something due");
}

/// A token that rents, and what it has rented.
fn holder(desk: &Desk, count: usize) -> String {
    let policy =
        json!({"policy": "path \"r/creds/*\" { capabilities = [\"create\", \"update\"] }"}).to_string();
    desk.ask(Post, "sys/policies/acl/rents", &policy).expect(204);
    let token =
        desk.ask(Post, "auth/token/create", r#"{"policies":["rents"],"ttl":"8h"}"#).expect(200).token();
    (0..count).for_each(|_| drop(desk.ask_as(&token, Post, "r/creds/web", "{}").expect(200)));
    token
}

fn leased(desk: &Desk, folder: &str) -> usize {
    let said = desk.ask(List, &format!("sys/leases/lookup/{folder}"), "");
    said.json["data"]["keys"].as_array().map_or(0, Vec::len)
}

/// A crowd was told to end while the directory was down. Each is tried once, and again by its own date.
fn tried_once_and_again(desk: &Desk, directory: &Directory, before: usize) {
    settle(desk);
    assert_eq!(directory.calls() - before, CROWD, "each is tried once");
    assert_eq!(directory.there("dir/").len(), CROWD);
    settle(desk);
    assert_eq!(directory.calls() - before, CROWD, "and then waits for its date");
    directory.mood(Mood::Well);
    desk.wait(Duration::from_secs(11));
    settle(desk);
    assert_eq!(directory.calls() - before, 2 * CROWD);
    assert!(directory.there("dir/").is_empty());
    assert_eq!(leased(desk, "r/creds/web"), 0);
}

#[test]
fn a_dead_tokens_crowd_that_cannot_be_undone_waits_for_its_dates() {
    let (desk, directory) = desk(501);
    let holder = holder(&desk, CROWD);
    directory.mood(Mood::Down);
    let before = directory.calls();
    desk.ask(Post, "auth/token/revoke", &json!({ "token": holder }).to_string()).expect(204);
    tried_once_and_again(&desk, &directory, before);
}

#[test]
fn a_prefix_with_a_crowd_that_cannot_be_undone_waits_for_its_dates() {
    for body in ["{}", r#"{"sync":false}"#] {
        let (desk, directory) = desk(502);
        holder(&desk, CROWD);
        directory.mood(Mood::Down);
        let before = directory.calls();
        let said = desk.ask(Post, "sys/leases/revoke-prefix/r/creds", body);
        assert_eq!(said.status, if body == "{}" { 204 } else { 202 });
        tried_once_and_again(&desk, &directory, before);
    }
}

#[test]
fn what_is_being_undone_is_not_undone_twice_at_once() {
    let (desk, directory) = desk(503);
    let holder = holder(&desk, 1);
    desk.wait(Duration::from_secs(3601));
    let claimed = desk.kernel.tick().unwrap().outside;
    assert_eq!(claimed.len(), 1);
    let lease = desk.ask(List, "sys/leases/lookup/r/creds/web", "").expect(200);
    let lease = format!("r/creds/web/{}", lease.json["data"]["keys"][0].as_str().unwrap());
    for (path, body, status) in [
        ("sys/leases/revoke", json!({ "lease_id": lease }), 429),
        ("sys/leases/revoke-prefix/r/creds", json!({}), 204),
        ("auth/token/revoke", json!({ "token": holder }), 204),
    ] {
        desk.ask(Post, path, &body.to_string()).expect(status);
        settle(&desk);
        assert_eq!(directory.calls(), 1, "after {path} it is only made, and whoever took it up is at it");
    }
    claimed.into_iter().for_each(|claimed| {
        let mut doing = pin!(desk.kernel.outside(claimed));
        assert!(doing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    });
    assert!(directory.there("dir/").is_empty());
}

#[test]
fn who_waits_for_a_prefix_waits_for_all_of_it() {
    for (path, body, left) in [
        ("sys/leases/revoke-prefix/ssh", "{}", 0),
        ("sys/revoke-force/ssh", "{}", 0),
        ("sys/leases/revoke-prefix/ssh", r#"{"sync":false}"#, 2 * CROWD - 256),
    ] {
        let desk = Desk::new(504);
        desk.ask(Post, "sys/mounts/ssh", r#"{"type":"ssh"}"#).expect(204);
        let role = r#"{"key_type":"otp","default_user":"u","cidr_list":"0.0.0.0/0"}"#;
        desk.ask(Post, "ssh/roles/web", role).expect(204);
        (0..2 * CROWD).for_each(|_| drop(desk.ask(Post, "ssh/creds/web", r#"{"ip":"1.2.3.4"}"#).expect(200)));
        assert_eq!(leased(&desk, "ssh/creds/web"), 2 * CROWD);
        let request = request(&desk.root, Post, path, body);
        // So many hold up no thread that answers requests.
        let Handled::Later(pending) = desk.kernel.handle(&request) else { panic!("{path} was done at once") };
        desk.finish(pending, &request).expect(if left == 0 { 204 } else { 202 });
        assert_eq!(leased(&desk, "ssh/creds/web"), left, "{path} {body}");
        settle(&desk);
        assert_eq!(leased(&desk, "ssh/creds/web"), 0);
        desk.wait(Duration::from_secs(200));
        settle(&desk);
    }
}

#[test]
fn the_older_path_of_a_forced_end_wants_sudo() {
    let desk = Desk::new(505);
    let policy = r#"{"policy":"path \"sys/revoke-force/*\" { capabilities = [\"update\"] }"}"#;
    desk.ask(Post, "sys/policies/acl/forces", policy).expect(204);
    let token = desk.ask(Post, "auth/token/create", r#"{"policies":["forces"]}"#).expect(200).token();
    desk.ask_as(&token, Post, "sys/revoke-force/a/b", "{}").expect(403);
    desk.ask(Post, "sys/revoke-force/a/b", "{}").expect(204);
}

#[test]
fn a_used_up_token_is_ended_even_if_its_last_request_never_is() {
    let (desk, directory) = desk(506);
    let accessors = |desk: &Desk| {
        let said = desk.ask(List, "auth/token/accessors", "").expect(200);
        said.json["data"]["keys"].as_array().unwrap().len()
    };
    let token =
        desk.ask(Post, "auth/token/create", r#"{"policies":["root"],"num_uses":1}"#).expect(200).token();
    directory.mood(Mood::Asleep);
    {
        let request = request(&token, Post, "r/creds/web", "{}");
        let Handled::Later(pending) = desk.kernel.handle(&request) else { panic!("it has to wait") };
        let mut finishing = pin!(desk.kernel.finish(pending, &request));
        assert!(finishing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    directory.mood(Mood::Well);
    desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(403);
    assert_eq!(accessors(&desk), 2);
    desk.wait(Duration::from_secs(601));
    settle(&desk);
    assert_eq!(accessors(&desk), 1);
    desk.ask(Delete, "sys/mounts/r", "").expect(204);
}
