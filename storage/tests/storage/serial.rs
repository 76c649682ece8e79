//! Transactions that overlap must end as some order of them one after the other would have.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;
use storage::{Committer, Key, Memory, Open, Txn};

use crate::desk::{PLACE, again, found};

/// One step of a transaction. What it reads goes into what it writes, so that a lost or phantom read shows.
#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    Put(u8),
    Delete(u8),
    List(u8),
    Walk,
    Scan(u8, u8),
    PutId(u8),
    DeleteId(u8),
    SweepFolder(u8),
}

const PATHS: [&str; 6] = ["a", "a/b", "a/c/d", "a/c/e", "f/g", "f"];
const FOLDERS: [&str; 4] = ["", "a", "a/c", "f"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..6_u8).prop_map(Step::Get),
        (0..6_u8).prop_map(Step::Put),
        (0..6_u8).prop_map(Step::Delete),
        (0..4_u8).prop_map(Step::List),
        Just(Step::Walk),
        (0..8_u8, 0..9_u8).prop_map(|(from, until)| Step::Scan(from, until)),
        (0..8_u8).prop_map(Step::PutId),
        (0..8_u8).prop_map(Step::DeleteId),
        (0..4_u8).prop_map(Step::SweepFolder),
    ];
    vec(step, 1..6)
}

/// The trivial store that the real one must agree with.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Model {
    paths: BTreeMap<String, u64>,
    ids: BTreeMap<Vec<u8>, u64>,
}

/// What both stores can do, so that one program runs on both.
trait Store {
    fn get(&self, path: &str) -> Option<u64>;
    fn put(&mut self, path: &str, value: u64);
    fn delete(&mut self, path: &str);
    fn list(&self, folder: &str) -> Vec<String>;
    fn walk(&self) -> Vec<String>;
    fn scan(&self, from: &[u8], until: &[u8]) -> Vec<(Vec<u8>, u64)>;
    fn put_id(&mut self, id: &[u8], value: u64);
    fn delete_id(&mut self, id: &[u8]);
    fn sweep_folder(&mut self, folder: &str);
}

fn run(store: &mut dyn Store, steps: &[Step], seed: u64) {
    let mut seen = seed;
    let mut see = |what: &dyn std::fmt::Debug| {
        for byte in format!("{what:?}").bytes() {
            seen = (seen ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        seen
    };
    for step in steps {
        match *step {
            Step::Get(at) => drop(see(&store.get(PATHS[usize::from(at)]))),
            Step::Put(at) => store.put(PATHS[usize::from(at)], see(&"put")),
            Step::Delete(at) => store.delete(PATHS[usize::from(at)]),
            Step::List(at) => drop(see(&store.list(FOLDERS[usize::from(at)]))),
            Step::Walk => drop(see(&store.walk())),
            Step::Scan(from, until) => drop(see(&store.scan(&[from], &[until]))),
            Step::PutId(id) => store.put_id(&[id], see(&"put")),
            Step::DeleteId(id) => store.delete_id(&[id]),
            Step::SweepFolder(at) => store.sweep_folder(FOLDERS[usize::from(at)]),
        }
    }
}

impl Store for Txn {
    fn get(&self, path: &str) -> Option<u64> {
        Txn::get(self, &Key::path(PLACE, path)).unwrap().map(number)
    }

    fn put(&mut self, path: &str, value: u64) {
        Txn::put(self, &Key::path(PLACE, path), value.to_be_bytes().to_vec()).unwrap();
    }

    fn delete(&mut self, path: &str) {
        Txn::delete(self, &Key::path(PLACE, path)).unwrap();
    }

    fn list(&self, folder: &str) -> Vec<String> {
        Txn::list(self, PLACE, folder).unwrap().to_vec()
    }

    fn walk(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let each = &mut |path: &str, _: &[u8]| {
            paths.push(path.to_owned());
            Ok(ControlFlow::Continue(()))
        };
        Txn::walk(self, PLACE, "", each).unwrap();
        paths
    }

    fn scan(&self, from: &[u8], until: &[u8]) -> Vec<(Vec<u8>, u64)> {
        let mut rows = Vec::new();
        let each = &mut |id: &[u8], value: storage::Value| {
            rows.push((id.to_vec(), number(value)));
            Ok(ControlFlow::Continue(()))
        };
        Txn::scan(self, PLACE, from, Some(until), each).unwrap();
        rows
    }

    fn put_id(&mut self, id: &[u8], value: u64) {
        Txn::put(self, &Key::id(PLACE, id), value.to_be_bytes().to_vec()).unwrap();
    }

    fn delete_id(&mut self, id: &[u8]) {
        Txn::delete(self, &Key::id(PLACE, id)).unwrap();
    }

    fn sweep_folder(&mut self, folder: &str) {
        Txn::sweep_folder(self, PLACE, folder, 100).unwrap();
        // A sweep reads nothing, by design; the model's does, so what is there is read as well.
        Store::walk(self);
    }
}

impl Store for Model {
    fn get(&self, path: &str) -> Option<u64> {
        self.paths.get(path).copied()
    }

    fn put(&mut self, path: &str, value: u64) {
        self.paths.insert(path.to_owned(), value);
    }

    fn delete(&mut self, path: &str) {
        self.paths.remove(path);
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let below = self.paths.keys().filter_map(|path| path.strip_prefix(&prefix));
        let children: std::collections::BTreeSet<String> =
            below.map(|rest| rest.split_inclusive('/').next().unwrap_or_default().to_owned()).collect();
        children.into_iter().collect()
    }

    fn walk(&self) -> Vec<String> {
        self.paths.keys().cloned().collect()
    }

    fn scan(&self, from: &[u8], until: &[u8]) -> Vec<(Vec<u8>, u64)> {
        let within = self.ids.iter().filter(|(id, _)| &id[..] >= from && &id[..] < until);
        within.map(|(id, value)| (id.clone(), *value)).collect()
    }

    fn put_id(&mut self, id: &[u8], value: u64) {
        self.ids.insert(id.to_vec(), value);
    }

    fn delete_id(&mut self, id: &[u8]) {
        self.ids.remove(id);
    }

    fn sweep_folder(&mut self, folder: &str) {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        self.paths.retain(|path, _| !path.starts_with(&prefix));
    }
}

fn number(value: storage::Value) -> u64 {
    u64::from_be_bytes(value[..].try_into().unwrap())
}

fn whole(open: &Open) -> Model {
    let txn = open.begin();
    let paths = Store::walk(&txn).into_iter().map(|path| (path.clone(), Store::get(&txn, &path).unwrap()));
    Model { paths: paths.collect(), ids: Store::scan(&txn, &[0], &[u8::MAX]).into_iter().collect() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each of three rounds runs all its programs on one snapshot, then commits them one by one: what is let through
    /// must be what running it at that moment would have written.
    #[test]
    fn transactions_do_not_overlap(rounds in vec(vec(steps(), 1..5), 1..4)) {
        let memory = Memory::new();
        let (open, key) = found(Box::new(memory.clone()), Committer::Inline);
        let mut model = Model::default();
        let mut seed = 0;
        for programs in rounds {
            let mut txns = Vec::new();
            for program in &programs {
                seed += 1;
                let mut txn = open.begin();
                run(&mut txn, program, seed);
                txns.push((txn, program, seed));
            }
            for (number, (txn, program, seed)) in txns.into_iter().enumerate() {
                match open.commit(txn).unwrap() {
                    Ok(_) => run(&mut model, program, seed),
                    Err(_) => prop_assert!(number > 0, "the first one cannot conflict"),
                }
                prop_assert_eq!(&whole(&open), &model);
            }
        }
        drop(open);
        prop_assert_eq!(whole(&again(Box::new(memory), &key, Committer::Inline)), model);
    }
}

#[test]
fn increments_from_many_threads_are_all_counted() {
    let (open, _) = found(Box::new(Memory::new()), Committer::Thread);
    let key = Key::path(PLACE, "counter");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut left = 50;
                while left > 0 {
                    let mut txn = open.begin();
                    let count = txn.get(&key).unwrap().map_or(0, number);
                    txn.put(&key, (count + 1).to_be_bytes().to_vec()).unwrap();
                    left -= u64::from(open.commit(txn).unwrap().is_ok());
                }
            });
        }
    });
    assert_eq!(number(open.snapshot().get(&key).unwrap().unwrap()), 200);
}
