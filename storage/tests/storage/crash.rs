//! The power goes at every write of a run, and each time the store opens with all that was acknowledged and no half of
//! anything.

use std::collections::BTreeMap;

use storage::faulty::{LyingDisk, PowerCut};
use storage::seal::UnsealKey;
use storage::{Committer, Key, Open, Redb};

use crate::desk::{PLACE, Seeded, again, found};

type Model = BTreeMap<String, Vec<u8>>;

const TXNS: u64 = 8;

fn redb(disk: &LyingDisk) -> Box<Redb> {
    Box::new(disk.redb().unwrap())
}

/// What one transaction does, under a seed. Each writes several keys, so that a half of one would show.
fn change(seed: u64, number: u64) -> Vec<(String, Option<Vec<u8>>)> {
    let random = Seeded::new(seed.wrapping_mul(1000) + number);
    let mut writes = BTreeMap::new();
    for _ in 0..=random.below(4) {
        let path = format!("f{}/k{}", random.below(2), random.below(4));
        let value = (random.below(4) > 0).then(|| vec![number as u8; random.below(6000) as usize]);
        writes.insert(path, value);
    }
    writes.into_iter().collect()
}

fn apply(model: &mut Model, writes: &[(String, Option<Vec<u8>>)]) {
    for (path, value) in writes {
        match value {
            Some(value) => drop(model.insert(path.clone(), value.clone())),
            None => drop(model.remove(path)),
        }
    }
}

/// Runs until the power goes. Answers what was acknowledged, and what it would be with the one that was under way.
fn run(open: &Open, seed: u64) -> (Model, Model) {
    let mut model = Model::new();
    for number in 0..TXNS {
        let writes = change(seed, number);
        let mut txn = open.begin();
        for (path, value) in &writes {
            match value {
                Some(value) => txn.put(&Key::path(PLACE, path), value.clone()).unwrap(),
                None => txn.delete(&Key::path(PLACE, path)).unwrap(),
            }
        }
        let mut next = model.clone();
        apply(&mut next, &writes);
        match open.commit(txn) {
            Ok(committed) => drop(committed.unwrap()),
            Err(_) => return (model, next),
        }
        model = next;
    }
    (model.clone(), model)
}

fn content(open: &Open) -> Model {
    let snapshot = open.snapshot();
    let mut model = Model::new();
    let each = &mut |path: &str, _: &[u8]| {
        model.insert(path.to_owned(), snapshot.get(&Key::path(PLACE, path))?.unwrap().to_vec());
        Ok(std::ops::ControlFlow::Continue(()))
    };
    snapshot.walk(PLACE, "", each).unwrap();
    model
}

fn founded() -> (LyingDisk, UnsealKey) {
    let disk = LyingDisk::new();
    let (open, key) = found(redb(&disk), Committer::Inline);
    drop(open.shut());
    (disk, key)
}

#[test]
fn a_power_cut_at_every_write_loses_nothing_acknowledged() {
    let (origin, key) = founded();
    let seed = 42;
    let whole = origin.copy();
    let start = whole.changes();
    let open = again(redb(&whole), &key, Committer::Inline);
    run(&open, seed);
    drop(open.shut());
    drop(open);
    let points = whole.changes() - start;
    assert!(points > 40, "there are writes to cut: {points}");
    for (number, point) in (0..points).enumerate() {
        let disk = origin.copy();
        let open = again(redb(&disk), &key, Committer::Inline);
        disk.cut_at(start + point);
        let (acknowledged, under_way) = run(&open, seed);
        drop(open);
        let cut = [PowerCut::Drop, PowerCut::Tail, PowerCut::Sectors][number % 3];
        disk.restart(cut, &Seeded::new(point));
        let found = content(&again(redb(&disk), &key, Committer::Inline));
        assert!(
            found == acknowledged || found == under_way,
            "{cut:?} at write {point}: {:?} is neither {:?} nor {:?}",
            found.keys(),
            acknowledged.keys(),
            under_way.keys()
        );
    }
}

#[test]
fn power_cuts_under_other_seeds() {
    let (origin, key) = founded();
    for seed in 0..40 {
        let random = Seeded::new(seed);
        let disk = origin.copy();
        let open = again(redb(&disk), &key, Committer::Inline);
        disk.cut_at(disk.changes() + random.below(60));
        let (acknowledged, under_way) = run(&open, seed);
        drop(open);
        let cut = [PowerCut::Drop, PowerCut::Tail, PowerCut::Sectors][(seed % 3) as usize];
        disk.restart(cut, &random);
        let open = again(redb(&disk), &key, Committer::Inline);
        let found = content(&open);
        assert!(found == acknowledged || found == under_way, "seed {seed}");
        // And it goes on from there.
        let mut txn = open.begin();
        txn.put(&Key::path(PLACE, "f0/later"), vec![1]).unwrap();
        open.commit(txn).unwrap().unwrap();
    }
}

/// Who is killed leaves writes that the system has and the disk has not. What the next process relies on must be on the disk.
#[test]
fn a_kill_and_then_a_power_cut_lose_nothing_acknowledged() {
    let (origin, key) = founded();
    for point in 0..120 {
        let disk = origin.copy();
        let open = again(redb(&disk), &key, Committer::Inline);
        disk.cut_at(disk.changes() + point);
        let (mut acknowledged, under_way) = run(&open, 7);
        drop(open);
        disk.cut_at(u64::MAX);
        let open = again(redb(&disk), &key, Committer::Inline);
        let found = content(&open);
        assert!(found == acknowledged || found == under_way, "at write {point}");
        acknowledged = found;
        for number in 0..3_u8 {
            let path = format!("later/{number}");
            let mut txn = open.begin();
            txn.put(&Key::path(PLACE, &path), vec![number; 3000]).unwrap();
            open.commit(txn).unwrap().unwrap();
            acknowledged.insert(path, vec![number; 3000]);
        }
        drop(open);
        disk.restart(PowerCut::Drop, &Seeded::new(point));
        assert_eq!(content(&again(redb(&disk), &key, Committer::Inline)), acknowledged, "at write {point}");
    }
}
