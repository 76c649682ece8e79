//! Revocation lists of client certificates are fetched again when they have run out, and stay in force until then.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kernel::Settings;
use kit::Verb::{Delete, Get, Post};
use kit::{Call, Error, Fault, Result, Soon, Time, Told, World};
use serde_json::{Value, json};
use tests::authority::{Wanted, revocation_list_until};
use tests::desk::{Desk, Everything, START_SECONDS, Surroundings};

/// Somebody who hands out a list, or does not.
#[derive(Clone, Default)]
struct Publisher(Arc<Mutex<Option<String>>>);

impl World for Publisher {
    fn now(&self) -> Time {
        Time::from_seconds(START_SECONDS)
    }

    fn pause(&self, _: Duration) -> Soon<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn fetch(&self, _: Call) -> Soon<'_, Result<Told>> {
        let told = match self.0.lock().unwrap().clone() {
            Some(list) => Ok(Told {
                status: 200,
                kind: String::new(),
                max_age_seconds: None,
                body: list.into_bytes(),
                ..Told::default()
            }),
            None => Err(Error::new(Fault::Upstream, "the publisher is away")),
        };
        Box::pin(std::future::ready(told))
    }

    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Soon<'a, Result<std::net::TcpStream>> {
        let text = format!("no connection to {host}:{port}");
        Box::pin(std::future::ready(Err(Error::new(Fault::Upstream, text))))
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_list_that_has_run_out_is_fetched_again() {
    let publisher = Publisher::default();
    let surroundings = Surroundings { registry: Arc::new(Everything), world: Arc::new(publisher.clone()) };
    let desk = Desk::within(31, Settings::default(), surroundings);
    let ca = Wanted::ca("ours").by_itself();
    let publish = |hours: u64, serials: &[u8], number: u64| {
        let until = desk.seconds() + hours * 3600;
        *publisher.0.lock().unwrap() = Some(revocation_list_until(until, &ca, serials, number));
        Time::from_seconds(until).rfc3339()
    };
    let shown = || desk.ask(Get, "auth/cert/crls/far", "").expect(200).json["data"].clone();
    let count = |shown: &Value| shown["serials"].as_object().unwrap().len();
    desk.ask(Post, "sys/auth/cert", r#"{"type":"cert"}"#).expect(204);
    let first = publish(1, &[9], 1);
    let body = json!({"url": "http://far/list"}).to_string();
    desk.ask(Post, "auth/cert/crls/far", &body).expect(204);
    assert_eq!((&shown()["cdp"]["valid_until"], count(&shown())), (&json!(first), 1));
    // While it holds, nobody asks for another.
    publish(1, &[9, 8], 2);
    desk.wait(HOUR / 2);
    desk.tick();
    assert_eq!(count(&shown()), 1);
    // The publisher is away when it has run out: the old list stays in force, and says why.
    *publisher.0.lock().unwrap() = None;
    desk.wait(HOUR);
    desk.tick();
    let late = shown();
    assert_eq!((&late["cdp"]["valid_until"], count(&late)), (&json!(first), 1));
    assert!(late["cdp"]["trouble"].as_str().unwrap().contains("the publisher is away"), "{late}");
    // What is no list changes nothing either.
    *publisher.0.lock().unwrap() = Some("<html>".to_owned());
    desk.wait(HOUR);
    desk.tick();
    assert_eq!(count(&shown()), 1);
    let next = publish(24, &[9, 8, 7], 3);
    desk.wait(HOUR / 4);
    desk.tick();
    let fresh = shown();
    assert_eq!((&fresh["cdp"]["valid_until"], count(&fresh)), (&json!(next), 3));
    assert!(fresh["cdp"].get("trouble").is_none(), "{fresh}");
    // One that was true once, and one that is past its time, leave it as it is.
    for (hours, number, why) in [(48, 2, "older than the one"), (0, 4, "past its next update")] {
        publish(hours, &[], number);
        desk.wait(25 * HOUR);
        if hours > 0 {
            publish(hours, &[], number);
        }
        desk.tick();
        let kept = shown();
        assert_eq!(count(&kept), 3, "{kept}");
        assert!(kept["cdp"]["trouble"].as_str().unwrap().contains(why), "{kept}");
    }
    // By hand it is deleted first.
    publish(1, &[1], 1);
    desk.ask(Post, "auth/cert/crls/far", &body).expect(400);
    desk.ask(Delete, "auth/cert/crls/far", "").expect(204);
    desk.ask(Post, "auth/cert/crls/far", &body).expect(204);
}
