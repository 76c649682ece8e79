//! Logins that wait for somebody to look at their phone have places of their own: however many there are, what asks
//! systems outside goes on.

use std::pin::Pin;
use std::task::{Context, Waker};

use kernel::{Handled, Request};
use kit::Verb::{Get, Post};
use serde_json::{Value, json};
use tests::desk::{Desk, request};

use crate::outside::{Mood, desk};

/// How many may wait at once.
const PLACES: usize = 512;
/// How many of those that ask systems outside may be of one mount.
const OF_MOUNT: usize = 64;
/// How often in a row a phone may ring in vain.
const TRIES: usize = 5;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// A login of somebody new that owes a push, and the request that has the phone ring.
fn waiting(desk: &Desk, method: &str, number: usize) -> Request {
    let role = format!("auth/approle/role/r{number}");
    desk.ask(Post, &role, "{}").expect(204);
    let role_id = text(&desk.ask(Get, &format!("{role}/role-id"), "").expect(200).json["data"]["role_id"]);
    let secret = desk.ask(Post, &format!("{role}/secret-id"), "{}").expect(200);
    let body = json!({"role_id": role_id, "secret_id": secret.json["data"]["secret_id"]}).to_string();
    let said = desk.ask_as("", Post, "auth/approle/login", &body).expect(200);
    let id = text(&said.json["auth"]["mfa_requirement"]["mfa_request_id"]);
    let body = json!({"mfa_request_id": id, "mfa_payload": { method: [] }}).to_string();
    request("", Post, "sys/mfa/validate", &body)
}

#[test]
fn phones_that_ring_take_no_place_of_systems_outside() {
    let (desk, directory) = desk(60);
    desk.ask(Post, "r/directory", r#"{"at":"dir"}"#).expect(204);
    desk.ask(Post, "sys/auth/approle", r#"{"type":"approle"}"#).expect(204);
    let duo = json!({"method_name": "push", "secret_key": "s", "integration_key": "i", "api_hostname": "duo.example"});
    let made = desk.ask(Post, "identity/mfa/method/duo", &duo.to_string()).expect(200);
    let method = text(&made.json["data"]["method_id"]);
    let body = json!({"mfa_method_ids": [method], "auth_method_types": ["approle"]}).to_string();
    desk.ask(Post, "identity/mfa/login-enforcement/e", &body).expect(204);
    let people: Vec<Request> = (0..=PLACES / TRIES).map(|number| waiting(&desk, &method, number)).collect();
    directory.mood(Mood::Asleep);
    let asked = people.iter().cycle().take(PLACES);
    let ringing: Vec<Pin<Box<_>>> = asked
        .map(|asked| {
            let Handled::Later(pending) = desk.kernel.handle(asked) else { panic!("an ask waits") };
            let mut finishing = Box::pin(desk.kernel.finish(pending, asked));
            assert!(finishing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            finishing
        })
        .collect();
    directory.mood(Mood::Well);
    desk.ask(Get, "r/lookup/ann", "").expect(200);
    let refused = desk.send(&people[0]).expect(429);
    assert!(refused.error().contains("second factor"), "{refused:?}");
    drop(ringing);
    assert_ne!(desk.send(&people[0]).status, 429, "there is room again");
}

#[test]
fn a_mount_whose_systems_hang_leaves_places_for_the_others() {
    let (desk, directory) = desk(61);
    for mount in ["r", "s"] {
        if mount != "r" {
            desk.ask(Post, "sys/mounts/s", r#"{"type":"rented"}"#).expect(204);
        }
        desk.ask(Post, &format!("{mount}/directory"), r#"{"at":"dir"}"#).expect(204);
    }
    directory.mood(Mood::Asleep);
    let asked = request(&desk.root, Get, "r/lookup/ann", "");
    let hanging: Vec<Pin<Box<_>>> = (0..OF_MOUNT)
        .map(|_| {
            let Handled::Later(pending) = desk.kernel.handle(&asked) else { panic!("an ask waits") };
            let mut finishing = Box::pin(desk.kernel.finish(pending, &asked));
            assert!(finishing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            finishing
        })
        .collect();
    directory.mood(Mood::Well);
    desk.ask(Get, "r/lookup/ann", "").expect(429);
    desk.ask(Get, "s/lookup/ann", "").expect(200);
    // A change of the mounts gives it no places beside those it has.
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Get, "r/lookup/ann", "").expect(429);
    drop(hanging);
    desk.ask(Get, "r/lookup/ann", "").expect(200);
}
