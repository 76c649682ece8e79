//! Random requests against a model, while the disk fails, fills up and loses power. What was acknowledged is there,
//! what was refused is not, and what was under way is whole or absent.

use std::collections::BTreeMap;

use kit::Verb::{Delete, Get, List, Post};
use serde_json::json;
use storage::faulty::PowerCut;
use tests::desk::Desk;
use tests::dice::Dice;

use crate::metrics::gauge;

/// How many runs, and how many requests in each.
const SEEDS: u64 = 20;
const STEPS: usize = 120;

/// What a path may hold: the last acknowledged value, and, after a write whose fate is unknown, that one too.
#[derive(Clone, Debug, Default)]
struct Expected {
    sure: Option<u64>,
    maybe: Option<Option<u64>>,
}

/// How often each fault struck: a test of a fault that never happened proves nothing.
#[derive(Debug, Default)]
struct Struck {
    crashes: usize,
    failures: usize,
    full: usize,
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_half_done() {
    let mut struck = Struck::default();
    for seed in 0..SEEDS {
        run(seed, &mut struck);
    }
    assert!(struck.crashes > 100 && struck.failures > 100 && struck.full > 20, "{struck:?}");
}

fn run(seed: u64, struck: &mut Struck) {
    let mut dice = Dice::new(seed);
    let mut desk = Desk::new(seed);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    let mut model: BTreeMap<String, Expected> = BTreeMap::new();
    for _ in 0..STEPS {
        match dice.below(12) {
            0 => {
                desk = desk.crash(*dice.pick(&[PowerCut::Drop, PowerCut::Tail, PowerCut::Sectors]));
                struck.crashes += 1;
            }
            1 => {
                // Within the next commit or the one after it the disk fails, once.
                desk.disk.fail_at(desk.disk.changes() + dice.below(4) as u64);
                write(&desk, &mut dice, &mut model, seed);
                struck.failures += 1;
            }
            2 => {
                desk.disk.limit(Some(0));
                // What does not fit into what the file has room for is refused, and reads go on.
                let said = desk.ask(Post, "kv/large", &json!({ "v": "x".repeat(600_000) }).to_string());
                struck.full += usize::from(said.status >= 500);
                check(&desk, &mut model, seed);
                desk.disk.limit(None);
            }
            3..=6 => write(&desk, &mut dice, &mut model, seed),
            _ => check(&desk, &mut model, seed),
        }
    }
    desk = desk.crash(PowerCut::Sectors);
    check(&desk, &mut model, seed);
}

#[test]
fn what_cannot_be_moved_into_the_store_is_seen_until_it_can() {
    let desk = Desk::new(1);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    let unsettled = || gauge(&desk, "sealkeep.store.unsettled");
    assert_eq!(unsettled(), 0.0);
    desk.disk.limit(Some(desk.disk.dump().len() as u64));
    let body = json!({ "v": "x".repeat(2000) }).to_string();
    let refused = (0..1000).any(|number| desk.ask(Post, &format!("kv/{number}"), &body).status >= 500);
    assert!(refused && desk.disk.fired() > 0);
    assert_eq!(unsettled(), 1.0);
    desk.disk.limit(None);
    desk.ask(Post, "kv/later", &body).expect(204);
    assert_eq!(unsettled(), 0.0);
}

#[test]
fn who_is_to_be_let_in_no_more_is_not_while_the_disk_is_nearly_full() {
    let desk = Desk::new(1);
    let token = || {
        let made = desk.ask(Post, "auth/token/create", r#"{"ttl":"1h"}"#);
        made.json["auth"]["client_token"].as_str().unwrap().to_owned()
    };
    const POLICY: &str = r#"{"policy":"path \"a\" {}"}"#;
    let (revoked, swept) = (token(), token());
    desk.disk.leave_free(Some(1_000_000));
    let refusal = desk.ask(Post, "sys/policies/acl/p", POLICY);
    refusal.expect(500);
    desk.ask(Post, "auth/token/revoke", &json!({ "token": revoked }).to_string()).expect(204);
    desk.ask_as(&revoked, Get, "auth/token/lookup-self", "").expect(403);
    desk.ask(Post, "sys/leases/revoke-prefix/auth/token/create", "").expect(204);
    desk.ask_as(&swept, Get, "auth/token/lookup-self", "").expect(403);
    desk.disk.leave_free(None);
    desk.ask(Post, "sys/policies/acl/p", POLICY).expect(204);
}

fn write(desk: &Desk, dice: &mut Dice, model: &mut BTreeMap<String, Expected>, seed: u64) {
    let name = format!("{}", dice.below(6));
    let path = format!("kv/f/{name}");
    let value = (dice.below(4) > 0).then(|| dice.roll() >> 16);
    let said = match value {
        Some(value) => desk.ask(Post, &path, &json!({ "v": value }).to_string()),
        None => desk.ask(Delete, &path, ""),
    };
    let expected = model.entry(name).or_default();
    match said.status {
        204 => *expected = Expected { sure: value, maybe: None },
        500.. => expected.maybe = Some(value),
        _ => panic!("seed {seed}: {said:?}"),
    }
}

/// Reads everything back. A write whose fate was unknown has one now.
fn check(desk: &Desk, model: &mut BTreeMap<String, Expected>, seed: u64) {
    for (name, expected) in model.iter_mut() {
        let said = desk.ask(Get, &format!("kv/f/{name}"), "");
        let found = match said.status {
            200 => Some(said.json["data"]["v"].as_u64().unwrap()),
            404 => None,
            _ => panic!("seed {seed}: {said:?}"),
        };
        let fits = found == expected.sure || expected.maybe == Some(found);
        assert!(fits, "seed {seed}: {name} is {found:?}, not {expected:?}");
        *expected = Expected { sure: found, maybe: None };
    }
    let listed = desk.ask(List, "kv/f", "");
    let names = listed.json["data"]["keys"].as_array().map_or(0, Vec::len);
    let there = model.values().filter(|expected| expected.sure.is_some()).count();
    assert_eq!(names, there, "seed {seed}: the list and the records differ: {listed:?}");
}
