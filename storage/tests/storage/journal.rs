//! What is committed lies in the journal until it is folded into the map, and nobody can tell the difference.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use storage::faulty::{LyingDisk, PowerCut};
use storage::seal::UnsealKey;
use storage::{Backend, Committer, Error, Key, Open, Redb, Snapshot};

use crate::desk::{Folder, PLACE, Seeded, again, found};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn put(open: &Open, id: &[u8], value: Vec<u8>) -> Result<(), Error> {
    let mut txn = open.begin();
    txn.put(&Key::id(PLACE, id), value).unwrap();
    open.commit(txn).map(|committed| assert!(committed.is_ok()))
}

fn content(snapshot: &Snapshot) -> Model {
    let mut model = Model::new();
    let each = &mut |id: &[u8], value: storage::Value| {
        model.insert(id.to_vec(), value.to_vec());
        Ok(ControlFlow::Continue(()))
    };
    snapshot.scan(PLACE, &[], None, each).unwrap();
    model
}

fn boxed(disk: &LyingDisk) -> Box<dyn Backend> {
    Box::new(disk.redb().unwrap())
}

/// Ends without folding what the journal holds, as a kill does.
fn killed(open: Open, disk: &LyingDisk) {
    drop(open);
    disk.restart(PowerCut::Drop, &Seeded::new(1));
}

#[test]
fn every_moment_stays_what_it_was_while_the_journal_is_folded_under_it() {
    for seed in 0..6 {
        let random = Seeded::new(seed);
        let disk = LyingDisk::new();
        let (mut open, key) = found(boxed(&disk), Committer::Inline);
        let (mut model, mut moments) = (Model::new(), Vec::new());
        for step in 0..200_u64 {
            let mut txn = open.begin();
            for _ in 0..=random.below(4) {
                let id = vec![random.below(40) as u8; 1 + random.below(2) as usize];
                match random.below(3) {
                    0 => {
                        txn.delete(&Key::id(PLACE, &id)).unwrap();
                        model.remove(&id);
                    }
                    _ => {
                        let value = vec![step as u8; random.below(1500) as usize];
                        txn.put(&Key::id(PLACE, &id), value.clone()).unwrap();
                        model.insert(id, value);
                    }
                }
            }
            open.commit(txn).unwrap().unwrap();
            moments.push((open.snapshot(), model.clone()));
            if moments.len() > 12 {
                moments.remove(random.below(12) as usize);
            }
            for (snapshot, model) in &moments {
                assert_eq!(&content(snapshot), model, "seed {seed}, step {step}");
                let id = vec![random.below(40) as u8];
                let got = snapshot.get(&Key::id(PLACE, &id)).unwrap().map(|value| value.to_vec());
                assert_eq!(got.as_ref(), model.get(&id), "seed {seed}, step {step}");
            }
            if random.below(60) == 0 {
                moments.clear();
                killed(open, &disk);
                open = again(boxed(&disk), &key, Committer::Inline);
                assert_eq!(content(&open.snapshot()), model, "seed {seed}, after step {step}");
            }
        }
    }
}

#[test]
fn a_commit_that_no_half_takes_is_as_durable_as_others() {
    let disk = LyingDisk::new();
    let (open, key) = found(boxed(&disk), Committer::Inline);
    let mut model = Model::new();
    for number in 0..12_u8 {
        let value = vec![number; if number % 3 == 1 { 100_000 } else { 900 }];
        put(&open, &[number], value.clone()).unwrap();
        model.insert(vec![number], value);
    }
    killed(open, &disk);
    let open = again(boxed(&disk), &key, Committer::Inline);
    assert_eq!(content(&open.snapshot()), model);
}

/// A store with commits in the journal, and what it held after each of them.
fn unfolded() -> (LyingDisk, UnsealKey, Vec<Model>) {
    let disk = LyingDisk::new();
    let (open, key) = found(boxed(&disk), Committer::Inline);
    drop(open.shut());
    drop(open);
    let open = again(boxed(&disk), &key, Committer::Inline);
    let mut models = vec![Model::new()];
    for number in 0..6_u8 {
        let mut model = models.last().unwrap().clone();
        model.insert(vec![number / 2], vec![number; 300]);
        put(&open, &[number / 2], vec![number; 300]).unwrap();
        models.push(model);
    }
    killed(open, &disk);
    (disk, key, models)
}

#[test]
fn a_flipped_bit_in_the_journal_is_found_and_no_older_value_is_served() {
    let (origin, key, models) = unfolded();
    let image = origin.dump();
    let map = origin.map_size();
    let used: Vec<usize> = (map..image.len()).filter(|at| image[*at] != 0).collect();
    let (mut refused, mut shorter) = (0, 0);
    for at in used.iter().step_by(used.len() / 150) {
        let disk = origin.copy();
        disk.flip(*at, (*at % 8) as u8);
        let Ok(redb) = disk.redb() else {
            refused += 1;
            continue;
        };
        let found = content(&again(Box::new(redb), &key, Committer::Inline).snapshot());
        // What was written last cannot be told from what was being written when the power went.
        let last = models.len() - 1;
        assert!(found == models[last] || found == models[last - 1], "flipped at {at}: {:?}", found.keys());
        shorter += u32::from(found != models[last]);
    }
    assert!(refused > 50 && shorter > 5, "{refused} {shorter}");
}

#[test]
fn a_journal_with_holes_is_refused() {
    let (origin, key, models) = unfolded();
    let (map, size) = (origin.map_size(), origin.dump().len());
    let page = 4096;
    // Its head; a record before others; the insides of the last two, of which only one can have been under way.
    let records = (map + page..size).step_by(page).filter(|at| origin.dump()[*at..].starts_with(b"skjr"));
    let records: Vec<usize> = records.collect();
    assert_eq!(records.len(), models.len() - 1);
    let last = records[records.len() - 1];
    for (holes, what) in [
        (vec![(map, page)], "its head is damaged"),
        (vec![(records[1], page)], "the record "),
        (vec![(last - page + 100, 200), (last + 100, 200)], "was begun"),
    ] {
        let disk = origin.copy();
        holes.iter().for_each(|(at, size)| disk.wipe(*at, *size));
        let error = disk.redb().map(drop).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let disk = origin.copy();
    disk.wipe(last + 100, 200);
    let found = content(&again(boxed(&disk), &key, Committer::Inline).snapshot());
    assert_eq!(found, models[models.len() - 2], "as if the power had gone while it was written");
}

#[test]
fn what_waits_to_be_folded_refuses_nothing_that_there_is_room_for() {
    let disk = LyingDisk::new();
    let (open, _) = found(boxed(&disk), Committer::Inline);
    disk.leave_free(Some(16 * 1024 * 1024 + 100_000));
    for number in 0..60_u8 {
        put(&open, &[number], vec![number; 100]).unwrap();
    }
    disk.leave_free(Some(16 * 1024 * 1024));
    let error = put(&open, b"one more", vec![1; 100]).unwrap_err();
    assert!(error.to_string().contains("only 16777216 bytes left"), "{error}");
}

#[test]
fn a_power_cut_in_a_fold_loses_nothing() {
    let (origin, key, models) = unfolded();
    let mut cuts = 0;
    for point in 0.. {
        let disk = origin.copy();
        let open = again(boxed(&disk), &key, Committer::Inline);
        disk.cut_at(disk.changes() + point);
        drop(open.shut());
        drop(open);
        let fired = disk.fired();
        let cut = [PowerCut::Drop, PowerCut::Tail, PowerCut::Sectors][point as usize % 3];
        disk.restart(cut, &Seeded::new(point));
        let open = again(boxed(&disk), &key, Committer::Inline);
        assert_eq!(content(&open.snapshot()), models[models.len() - 1], "{cut:?} at {point}");
        if fired == 0 {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 10, "there are writes to cut: {cuts}");
}

/// The system shows to the next process what it could not bring to the disk, and tries no more.
#[test]
fn a_kill_after_a_fold_that_failed_and_then_a_power_cut_lose_nothing() {
    let (origin, key, models) = unfolded();
    for point in 0.. {
        let disk = origin.copy();
        let open = again(boxed(&disk), &key, Committer::Inline);
        disk.cut_at(disk.changes() + point);
        drop(open.shut());
        drop(open);
        let fired = disk.fired();
        disk.cut_at(u64::MAX);
        let open = again(boxed(&disk), &key, Committer::Inline);
        let mut model = models[models.len() - 1].clone();
        for number in 0..3_u8 {
            put(&open, &[100 + number], vec![number; 300]).unwrap();
            model.insert(vec![100 + number], vec![number; 300]);
        }
        killed(open, &disk);
        assert_eq!(content(&again(boxed(&disk), &key, Committer::Inline).snapshot()), model, "at {point}");
        if fired == 0 {
            break;
        }
    }
}

#[test]
fn where_nothing_can_be_folded_commits_are_refused_once_the_journal_is_full() {
    let disk = LyingDisk::new();
    let (open, key) = found(boxed(&disk), Committer::Inline);
    disk.limit(Some(disk.dump().len() as u64));
    let (mut model, mut refused) = (Model::new(), 0);
    for number in 0..2000_u32 {
        let id = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
        match put(&open, &id, vec![1; 2000]) {
            Ok(()) => drop(model.insert(id.to_vec(), vec![1; 2000])),
            Err(error) => {
                refused += 1;
                assert!(matches!(error, Error::NotStored(_) | Error::Trouble(_)), "{error}");
            }
        }
        assert_eq!(content(&open.snapshot()).len(), model.len(), "{number}");
        if refused > 5 {
            break;
        }
    }
    assert!(refused > 5 && model.len() > 5, "{refused} {}", model.len());
    disk.limit(None);
    put(&open, b"later", vec![2]).unwrap();
    model.insert(b"later".to_vec(), vec![2]);
    assert_eq!(content(&open.snapshot()), model);
    killed(open, &disk);
    assert_eq!(content(&again(boxed(&disk), &key, Committer::Inline).snapshot()), model);
}

/// A folder with a store of which one commit is in the map and one in the journal.
fn site() -> (Folder, UnsealKey) {
    let folder = Folder::new();
    let (open, key) = found(opened(folder.path()), Committer::Inline);
    put(&open, b"folded", vec![1]).unwrap();
    drop(open.shut());
    drop(open);
    let open = again(opened(folder.path()), &key, Committer::Inline);
    put(&open, b"journalled", vec![2]).unwrap();
    drop(open);
    (folder, key)
}

fn opened(folder: &Path) -> Box<dyn Backend> {
    Box::new(Redb::open(folder).unwrap())
}

fn refusal(folder: &Path) -> String {
    Redb::open(folder).map(drop).unwrap_err().to_string()
}

#[test]
fn a_journal_that_is_missing_or_anothers_is_asked_for() {
    let (folder, key) = site();
    let (other, _) = site();
    let journal = folder.path().join("sealkeep.journal");
    let whole = std::fs::read(&journal).unwrap();
    std::fs::remove_file(&journal).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains("sealkeep.journal") && error.contains("it is missing"), "{error}");
    assert!(!journal.exists(), "and nothing is put in its place");
    for (bytes, why) in [
        (std::fs::read(other.path().join("sealkeep.journal")).unwrap(), "the journal of another store"),
        (b"text".to_vec(), "too short"),
        (vec![b'x'; 8192], "it is no journal"),
        (whole[..whole.len() - 4096].to_vec(), "its length"),
    ] {
        std::fs::write(&journal, &bytes).unwrap();
        let error = refusal(folder.path());
        assert!(error.contains(why) && error.contains("empty file"), "{error}");
        assert_eq!(std::fs::read(&journal).unwrap(), bytes, "it is left as it is");
    }
    std::fs::write(&journal, &whole).unwrap();
    let open = again(opened(folder.path()), &key, Committer::Inline);
    assert_eq!(content(&open.snapshot()).len(), 2);
    drop(open);
    // Who says so gets what the map has.
    std::fs::write(&journal, []).unwrap();
    let open = again(opened(folder.path()), &key, Committer::Inline);
    assert_eq!(content(&open.snapshot()), Model::from([(b"folded".to_vec(), vec![1])]));
    put(&open, b"later", vec![3]).unwrap();
    drop(open);
    let open = again(opened(folder.path()), &key, Committer::Inline);
    assert_eq!(content(&open.snapshot()).len(), 2);
}

#[test]
fn a_journal_whose_map_is_gone_is_not_written_over() {
    let (folder, key) = site();
    let (map, journal) = (folder.path().join("sealkeep.redb"), folder.path().join("sealkeep.journal"));
    let (whole, commits) = (std::fs::read(&map).unwrap(), std::fs::read(&journal).unwrap());
    std::fs::remove_file(&map).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains("holds commits") && error.contains("Put that back"), "{error}");
    assert!(!map.exists(), "and no empty one is put there");
    assert_eq!(std::fs::read(&journal).unwrap(), commits);
    std::fs::write(&map, whole).unwrap();
    let open = again(opened(folder.path()), &key, Committer::Inline);
    assert_eq!(content(&open.snapshot()).len(), 2);
}

#[test]
fn a_store_that_takes_anothers_place_takes_it_whole() {
    for cut_short in [false, true] {
        let (folder, _) = site();
        let (open, key) = found(Box::new(Redb::beside(folder.path()).unwrap()), Committer::Inline);
        put(&open, b"new", vec![1]).unwrap();
        match cut_short {
            false => Redb::supersede(folder.path()).unwrap(),
            true => {
                let next = folder.path().join("sealkeep.redb.next");
                std::fs::rename(next, folder.path().join("sealkeep.redb")).unwrap();
            }
        }
        // It goes on under its new name, and in its own journal.
        put(&open, b"later", vec![2]).unwrap();
        drop(open);
        let open = again(opened(folder.path()), &key, Committer::Inline);
        let both = [(b"later".to_vec(), vec![2]), (b"new".to_vec(), vec![1])];
        assert_eq!(content(&open.snapshot()), Model::from(both), "cut short: {cut_short}");
        let names = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["sealkeep.journal", "sealkeep.redb"]);
    }
}

#[test]
fn a_store_that_did_not_take_anothers_place_leaves_it_as_it_was() {
    let (folder, key) = site();
    drop(found(Box::new(Redb::beside(folder.path()).unwrap()), Committer::Inline));
    let open = again(opened(folder.path()), &key, Committer::Inline);
    assert_eq!(content(&open.snapshot()).len(), 2);
    assert!(!folder.path().join("sealkeep.journal.next").exists());
}
