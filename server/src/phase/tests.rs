use kernel::{Control, Env, Request, Settings};
use kit::{Remote, Verb};
use serde_json::{Value, json};
use storage::SystemRandom;
use storage::faulty::{Faults, Faulty};
use storage::seal::KeyBytes;

use super::*;
use crate::registry::All;

struct Nothing;

impl Control for Nothing {
    fn seal(&self) {}

    fn describe(&self) -> Value {
        Value::Null
    }

    fn loggers(&self) -> std::collections::BTreeMap<String, String> {
        std::collections::BTreeMap::new()
    }

    fn log_level(&self, _: Option<&str>, _: Option<&str>) -> kit::Result<()> {
        Ok(())
    }
}

fn state(keys: Option<Keys>) -> Arc<State> {
    state_on(Box::new(storage::Memory::new()), keys)
}

fn state_on(backend: Box<dyn storage::Backend>, keys: Option<Keys>) -> Arc<State> {
    let options = storage::Options::new(|| crate::world::now().0);
    let store = storage::open(backend, options).unwrap();
    let facts = Facts {
        version: "2.7.2+sealkeep.0".to_owned(),
        commit_date: "2026-01-01T00:00:00Z".to_owned(),
        storage_kind: "raft".to_owned(),
        folder: None,
        clusters: true,
        api_addr: "http://a:1".to_owned(),
        cluster_addr: String::new(),
        keys,
    };
    let begin = |store| {
        let env = Env {
            now: Box::new(crate::world::now),
            random: Arc::new(SystemRandom),
            world: Arc::new(crate::outside::Outside::with_patience(crate::config::OUTSIDE_MAX)),
            registry: Arc::new(All),
            settings: Settings::default(),
            control: Arc::new(Nothing),
        };
        Kernel::open(store, env)
    };
    Arc::new(State::new(store, facts, Arc::new(SystemRandom), Box::new(begin)))
}

fn ask(state: &Arc<State>, verb: Verb, path: &str, body: &Value) -> (u16, Value) {
    let request = Request {
        verb,
        path: policy::Path::internal(path).unwrap(),
        token: None,
        query: Vec::new(),
        body: if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() },
        namespace: String::new(),
        wrap_ttl: None,
        wrap_format: kernel::WrapFormat::Plain,
        remote: Remote::default(),
        headers: Vec::new(),
        help: false,
        meter: kernel::Meter::default(),
        lineage: kernel::Lineage::default(),
        hidden: false,
    };
    let answer = match state.answer(&request) {
        Some(Reaction::Now(answer)) => answer,
        Some(Reaction::Blocking(work)) => work(state, &request.body, Client::default()),
        None => panic!("{path} is the kernel's"),
    };
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

fn status(state: &Arc<State>) -> (bool, bool, u64) {
    let (code, body) = ask(state, Verb::Get, "sys/seal-status", &Value::Null);
    assert_eq!(code, 200);
    (body["initialized"] == true, body["sealed"] == true, body["progress"].as_u64().unwrap())
}

fn init(state: &Arc<State>) -> Vec<String> {
    let (code, body) =
        ask(state, Verb::Post, "sys/init", &json!({"secret_shares": 3, "secret_threshold": 2}));
    assert_eq!(code, 200, "{body}");
    body["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

fn unseal(state: &Arc<State>, key: &str) -> (u16, Value) {
    ask(state, Verb::Post, "sys/unseal", &json!({ "key": key }))
}

#[test]
fn a_server_goes_from_blank_to_open_and_back() {
    let state = state(None);
    assert_eq!(status(&state), (false, true, 0));
    assert_eq!(ask(&state, Verb::Get, "sys/health", &Value::Null).0, 501);
    assert_eq!(unseal(&state, &"ab".repeat(33)).0, 400);
    let keys = init(&state);
    assert_eq!(status(&state), (true, true, 0));
    assert_eq!(ask(&state, Verb::Get, "sys/health", &Value::Null).0, 503);
    assert_eq!(ask(&state, Verb::Get, "sys/leader", &Value::Null).0, 503);
    assert_eq!(
        ask(&state, Verb::Post, "sys/init", &json!({"secret_shares": 1, "secret_threshold": 1})).0,
        400
    );
    assert!(state.kernel().is_none());
    for round in 0..3 {
        assert_eq!(unseal(&state, &keys[round]).1["progress"], 1);
        assert_eq!(unseal(&state, &keys[(round + 1) % 3]).1["sealed"], false);
        assert_eq!(status(&state), (true, false, 0));
        assert_eq!(ask(&state, Verb::Get, "sys/health", &Value::Null).0, 200);
        assert_eq!(unseal(&state, &keys[0]).1["sealed"], false, "a share more harms nobody");
        state.seal().unwrap();
        assert_eq!(status(&state), (true, true, 0));
    }
}

/// A guesser must not learn which of the shares was wrong, nor how many were right.
#[test]
fn wrong_shares_tell_nothing_and_are_forgotten() {
    let state = state(None);
    let keys = init(&state);
    let mut wrong = keys[0].clone();
    wrong.replace_range(0..2, if wrong.starts_with("00") { "01" } else { "00" });
    let mut answers = Vec::new();
    let at_other_place = format!("{}{}", &keys[2][..64], &keys[1][64..]);
    for (first, second) in [
        (wrong.clone(), keys[1].clone()),
        (keys[1].clone(), wrong.clone()),
        (wrong.clone(), at_other_place),
        (keys[1].clone(), keys[0][..40].to_owned()),
        ("ff".repeat(33), "fe".repeat(33)),
    ] {
        assert_eq!(unseal(&state, &first).1["progress"], 1);
        answers.push(unseal(&state, &second));
        assert_eq!(status(&state), (true, true, 0));
    }
    assert!(answers.iter().all(|answer| answer.0 == 400 && *answer == answers[0]), "{answers:?}");
    assert_eq!(unseal(&state, &keys[0]).1["progress"], 1);
    assert_eq!(unseal(&state, &keys[2]).1["sealed"], false);
}

#[test]
fn the_same_share_counts_once_and_reset_forgets() {
    let state = state(None);
    let keys = init(&state);
    let (_, first) = unseal(&state, &keys[0]);
    let (_, again) = unseal(&state, &keys[0]);
    assert_eq!((again["progress"].as_u64(), &again["nonce"]), (Some(1), &first["nonce"]));
    assert!(!first["nonce"].as_str().unwrap().is_empty());
    let (code, body) = ask(&state, Verb::Post, "sys/unseal", &json!({"reset": true}));
    assert_eq!((code, &body["progress"], &body["nonce"]), (200, &json!(0), &json!("")));
    assert_eq!(ask(&state, Verb::Post, "sys/unseal", &json!({})).0, 400);
    assert_eq!(ask(&state, Verb::Get, "sys/unseal", &Value::Null).0, 405);
}

#[test]
fn a_static_key_unseals_by_itself() {
    let key = NamedKey { id: "a".to_owned(), key: KeyBytes::from_bytes([7; 32]) };
    let state = state(Some(Keys { current: key, previous: None }));
    let (code, body) =
        ask(&state, Verb::Post, "sys/init", &json!({"recovery_shares": 3, "recovery_threshold": 2}));
    assert_eq!(code, 200, "{body}");
    assert_eq!(
        (body["keys"].as_array().unwrap().len(), body["recovery_keys"].as_array().unwrap().len()),
        (0, 3)
    );
    assert_eq!(status(&state), (true, false, 0));
    state.seal().unwrap();
    assert_eq!(status(&state), (true, true, 0));
    assert!(state.unseal_itself().unwrap());
    assert_eq!(status(&state), (true, false, 0));
}

/// A store that is sealed with keys that nobody was told is lost.
#[track_caller]
fn check_that_nothing_is_stored(break_it: fn(&Faults), mend_it: fn(&Faults), why: &str) {
    for keys in [
        None,
        Some(Keys {
            current: NamedKey { id: "a".to_owned(), key: KeyBytes::from_bytes([7; 32]) },
            previous: None,
        }),
    ] {
        let (memory, faults) = (storage::Memory::new(), Faults::new());
        let state = state_on(Box::new(Faulty::new(Box::new(memory.clone()), faults.clone())), keys.clone());
        break_it(&faults);
        let wanted = match keys {
            None => json!({"secret_shares": 1, "secret_threshold": 1}),
            Some(_) => json!({"recovery_shares": 1, "recovery_threshold": 1}),
        };
        let (code, body) = ask(&state, Verb::Post, "sys/init", &wanted);
        assert_eq!(code, 500, "{body}");
        assert!(body["errors"][0].as_str().unwrap().contains(why), "{body}");
        assert_eq!(memory.dump(), Vec::new(), "a restart finds a blank store");
        assert_eq!(status(&state), (false, true, 0));
        mend_it(&faults);
        assert_eq!(ask(&state, Verb::Post, "sys/init", &wanted).0, 200);
        assert!(status(&state).0);
    }
}

#[test]
fn a_disk_without_room_is_not_initialised() {
    let full = |faults: &Faults| faults.leave_free(Some(5_000_000));
    check_that_nothing_is_stored(
        full,
        |faults| faults.leave_free(None),
        "the disk has only 5000000 bytes left",
    );
}

#[test]
fn a_disk_that_fails_is_not_initialised() {
    check_that_nothing_is_stored(|faults| faults.lose_commits(1), |_| {}, "nothing of it was stored");
}

/// The keys of what was stored after all went to nobody: the next attempt makes it anew.
#[test]
fn a_disk_that_cannot_be_asked_is_initialised_anew() {
    let (memory, faults) = (storage::Memory::new(), Faults::new());
    let state = state_on(Box::new(Faulty::new(Box::new(memory), faults.clone())), None);
    faults.answer_wrongly(1);
    faults.fail_openings(1);
    let one = json!({"secret_shares": 1, "secret_threshold": 1});
    let (code, body) = ask(&state, Verb::Post, "sys/init", &one);
    assert_eq!(code, 500, "{body}");
    let (code, body) = ask(&state, Verb::Post, "sys/init", &one);
    assert_eq!(code, 200, "{body}");
    let (code, body) = unseal(&state, body["keys"][0].as_str().unwrap());
    assert_eq!((code, &body["sealed"]), (200, &json!(false)), "{body}");
}

/// What is stored in spite of an error is there, and so are its keys.
#[test]
fn an_error_that_was_none_hands_out_the_keys() {
    let faults = Faults::new();
    let state = state_on(Box::new(Faulty::new(Box::new(storage::Memory::new()), faults.clone())), None);
    faults.answer_wrongly(1);
    let keys = init(&state);
    assert_eq!(unseal(&state, &keys[0]).1["progress"], 1);
    assert_eq!(unseal(&state, &keys[1]).1["sealed"], false);
}
