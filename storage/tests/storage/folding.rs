//! The map fails while the journal is folded into it. What was acknowledged is there, what was refused is not, and nothing is
//! half done.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc;

use storage::faulty::{LyingDisk, PowerCut};
use storage::seal::UnsealKey;
use storage::{Committer, Conflict, Error, Key, Open, Txn};

use crate::desk::{PLACE, Seeded, again, found};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// What has to be there, and what it would be with the commits of which it is not known whether they are stored.
struct Expected {
    sure: Model,
    perhaps: Vec<Model>,
}

impl Expected {
    /// Two keys in one commit, so that a half of it would show.
    fn next(&self, open: &Open, random: &Seeded) -> (Txn, Model) {
        let ids = [random.below(400), 1000 + random.below(400)].map(|id| id.to_be_bytes().to_vec());
        let value = vec![random.below(256) as u8; 1 + random.below(1800) as usize];
        let mut txn = open.begin();
        let mut next = self.sure.clone();
        for id in ids {
            txn.put(&Key::id(PLACE, &id), value.clone()).unwrap();
            next.insert(id, value.clone());
        }
        (txn, next)
    }

    fn put(&mut self, open: &Open, random: &Seeded) -> bool {
        let (txn, next) = self.next(open, random);
        self.note(open.commit(txn), next)
    }

    /// Whether it was acknowledged.
    fn note(&mut self, answer: Told, next: Model) -> bool {
        match answer {
            Ok(committed) => {
                committed.unwrap();
                *self = Self { sure: next, perhaps: Vec::new() };
                return true;
            }
            Err(Error::Uncertain(_)) => self.perhaps.push(next),
            Err(Error::NotStored(_) | Error::Trouble(_)) => {}
            Err(error) => panic!("{error}"),
        }
        false
    }

    fn check(&mut self, open: &Open, when: &str) {
        // A map that could not be opened anew while it failed is opened by the read after the one that meets that.
        let found = content(open).or_else(|_| content(open)).unwrap();
        assert!(found == self.sure || self.perhaps.contains(&found), "{when}");
        *self = Self { sure: found, perhaps: Vec::new() };
    }
}

fn content(open: &Open) -> Result<Model, Error> {
    let mut model = Model::new();
    let each = &mut |id: &[u8], value: storage::Value| {
        model.insert(id.to_vec(), value.to_vec());
        Ok(ControlFlow::Continue(()))
    };
    open.snapshot().scan(PLACE, &[], None, each)?;
    Ok(model)
}

/// A store that was folded, and goes on in the journal.
fn started(committer: Committer) -> (LyingDisk, UnsealKey, Expected) {
    let disk = LyingDisk::new();
    let (open, key) = found(Box::new(disk.redb().unwrap()), committer);
    let mut expected = Expected { sure: Model::new(), perhaps: Vec::new() };
    let random = Seeded::new(4);
    for _ in 0..40 {
        assert!(expected.put(&open, &random));
    }
    drop(open.shut());
    (disk, key, expected)
}

#[test]
fn whatever_fails_of_a_fold_nothing_is_lost() {
    let (origin, key, expected) = started(Committer::Inline);
    for (times, cut) in [(1, PowerCut::Drop), (2, PowerCut::Tail), (40, PowerCut::Sectors)] {
        let mut points = 0;
        for point in 0.. {
            let disk = origin.copy();
            let mut expected = Expected { sure: expected.sure.clone(), perhaps: Vec::new() };
            let open = again(Box::new(disk.redb().unwrap()), &key, Committer::Inline);
            let random = Seeded::new(point);
            disk.fail_map(point, times);
            let mut refused = 0;
            for _ in 0..30 {
                refused += usize::from(!expected.put(&open, &random));
            }
            let when = format!("{times} fail from {point} on");
            if disk.fired() == 0 {
                break;
            }
            assert!(refused > 0, "where nobody else folds, a commit is told: {when}");
            disk.fail_map(u64::MAX, 0);
            expected.check(&open, &when);
            assert!(expected.put(&open, &random), "it recovers: {when}");
            assert_eq!((open.unsettled(), open.trouble()), (None, None), "{when}");
            expected.check(&open, &when);
            drop(open);
            disk.restart(cut, &random);
            let open = again(Box::new(disk.redb().unwrap()), &key, Committer::Inline);
            expected.check(&open, &format!("after a power cut: {when}"));
            points += 1;
        }
        assert!(points > 20, "there is something to fail: {points}");
    }
}

#[test]
fn a_thread_that_folds_onto_a_failing_map_loses_nothing() {
    let (mut fired, mut refused) = (0, 0);
    for seed in 0..16 {
        let random = Seeded::new(seed);
        let (disk, key, mut expected) = started(Committer::Thread);
        let open =
            |disk: &LyingDisk| again(Box::new(disk.redb_that_folds().unwrap()), &key, Committer::Thread);
        let mut store = open(&disk);
        for step in 0..160 {
            match random.below(24) {
                0..4 => disk.fail_map(random.below(60), 1 + random.below(3)),
                4 => disk.limit(Some(disk.dump().len() as u64)),
                5..8 => disk.limit(None),
                8 => {
                    // While a half is being folded, perhaps, and a commit is under way.
                    disk.cut_at(disk.changes() + random.below(20));
                    let (txn, next) = expected.next(&store, &random);
                    let (told, answer) = mpsc::channel();
                    store.submit(txn, Box::new(move |result| told.send(result).unwrap()));
                    drop(store);
                    expected.note(answer.recv().unwrap(), next);
                    let cut = [PowerCut::Drop, PowerCut::Tail, PowerCut::Sectors][random.below(3) as usize];
                    disk.restart(cut, &random);
                    store = open(&disk);
                    expected.check(&store, &format!("seed {seed}, after a cut at {step}"));
                }
                _ => refused += usize::from(!expected.put(&store, &random)),
            }
        }
        disk.fail_map(u64::MAX, 0);
        disk.limit(None);
        expected.check(&store, &format!("seed {seed}"));
        assert!(expected.put(&store, &random), "it recovers: seed {seed}");
        drop(store.shut());
        assert_eq!(store.unsettled(), None, "seed {seed}");
        drop(store);
        fired += disk.fired();
        disk.restart(PowerCut::Drop, &random);
        expected.check(&open(&disk), &format!("seed {seed}, after the end"));
    }
    assert!(fired > 100 && refused > 10, "{fired} {refused}");
}

type Told = Result<Result<u64, Conflict>, Error>;

/// A commit under way, and what there is if it is stored.
fn submitted(open: &Open, expected: &Expected, random: &Seeded) -> (mpsc::Receiver<Told>, Model) {
    let (txn, next) = expected.next(open, random);
    let (told, answer) = mpsc::channel();
    open.submit(txn, Box::new(move |result| drop(told.send(result))));
    (answer, next)
}

#[test]
fn a_map_that_takes_no_writes_is_read_all_the_same() {
    for (committer, everything) in
        [(Committer::Inline, false), (Committer::Thread, false), (Committer::Thread, true)]
    {
        let (disk, key, mut expected) = started(committer);
        let open = again(Box::new(disk.redb().unwrap()), &key, committer);
        let random = Seeded::new(7);
        let mut refused = 0;
        match everything {
            true => disk.cut_at(disk.changes()),
            false => disk.fail_map(0, u64::MAX),
        }
        let mut waits = None;
        for _ in 0..40 {
            waits = waits.take().or_else(|| Some(submitted(&open, &expected, &random)));
            // Who wrote first on a disk that is gone waits until it is back.
            let told = loop {
                match &waits {
                    Some((answer, _)) if open.trouble().is_some() => break answer.try_recv().ok(),
                    Some((answer, _)) => match answer.try_recv() {
                        Ok(told) => break Some(told),
                        Err(_) => std::thread::yield_now(),
                    },
                    None => break None,
                }
            };
            match told {
                Some(told) => {
                    let next = waits.take().map(|(_, next)| next).unwrap();
                    refused += usize::from(!expected.note(told, next));
                }
                None => refused += 1,
            }
            let found = content(&open).or_else(|_| content(&open)).unwrap();
            let may_be = expected.perhaps.iter().chain(waits.iter().map(|(_, next)| next));
            assert!(
                found == expected.sure || may_be.into_iter().any(|model| *model == found),
                "{committer:?}"
            );
        }
        assert!(refused > 0);
        // Every view that is given out now can be read, whenever the disk is tried again.
        (0..50).for_each(|_| assert!(content(&open).is_ok()));
        disk.cut_at(u64::MAX);
        disk.fail_map(u64::MAX, 0);
        if let Some((answer, next)) = waits {
            expected.note(answer.recv().unwrap(), next);
        }
        while open.trouble().is_some() && committer != Committer::Inline {
            std::thread::yield_now();
        }
        expected.check(&open, "the disk is back");
        assert!(expected.put(&open, &random), "{committer:?} {everything}");
        drop(open.shut());
        drop(open);
        disk.restart(PowerCut::Drop, &random);
        expected.check(&again(Box::new(disk.redb().unwrap()), &key, committer), "after the end");
    }
}
