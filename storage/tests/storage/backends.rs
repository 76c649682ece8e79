//! One suite for every backend: what the store above relies on.

use storage::faulty::{Faults, Faulty, LyingDisk};
use storage::{Backend, Committer, Key, Memory, Place, Redb, Sled};

use crate::desk::{Folder, PLACE, again, found};

fn suite(make: &dyn Fn() -> Box<dyn Backend>) {
    let (open, key) = found(make(), Committer::Thread);
    let path = |number: u32| format!("folder/{}/leaf {number}", number % 7);
    for round in 0..3_u8 {
        let mut txn = open.begin();
        for number in 0..200 {
            txn.put(&Key::path(PLACE, &path(number)), vec![round; 10]).unwrap();
            txn.put(&Key::id(PLACE, &number.to_be_bytes()), vec![round; 10]).unwrap();
        }
        // Larger than any page or chunk, and then smaller again.
        txn.put(&Key::id(PLACE, b"large"), vec![round; 300_000 - 120_000 * usize::from(round)]).unwrap();
        open.commit(txn).unwrap().unwrap();
    }
    let before = open.snapshot();
    let mut txn = open.begin();
    for number in (0..200).step_by(2) {
        txn.delete(&Key::path(PLACE, &path(number))).unwrap();
        txn.delete(&Key::id(PLACE, &u32::to_be_bytes(number))).unwrap();
    }
    txn.delete(&Key::id(PLACE, b"large")).unwrap();
    txn.put(&Key::path(PLACE, "folder/new"), vec![]).unwrap();
    txn.put(&Key::path(Place { table: 2, ..PLACE }, "other"), vec![1]).unwrap();
    open.commit(txn).unwrap().unwrap();

    // The old moment is whole: deleted entries are there, new ones are not, in gets, lists and scans.
    let count = |snapshot: &storage::Snapshot| {
        let mut ids = Vec::new();
        let each = &mut |id: &[u8], _| {
            ids.push(id.to_vec());
            Ok(std::ops::ControlFlow::Continue(()))
        };
        snapshot.scan(PLACE, &[], None, each).unwrap();
        assert!(ids.is_sorted());
        ids.len()
    };
    assert_eq!(count(&before), 201);
    assert_eq!(count(&open.snapshot()), 100);
    assert_eq!(before.get(&Key::id(PLACE, b"large")).unwrap().unwrap().to_vec(), vec![2; 60_000]);
    assert_eq!(open.snapshot().get(&Key::id(PLACE, b"large")).unwrap(), None);
    assert_eq!(before.list(PLACE, "folder").unwrap().len(), 7);
    assert_eq!(open.snapshot().list(PLACE, "folder").unwrap().len(), 8);
    assert_eq!(before.get(&Key::path(PLACE, &path(0))).unwrap().unwrap().to_vec(), vec![2; 10]);
    drop(before);

    // It is all there after the end of the process.
    let index = open.snapshot().index();
    drop(open.shut());
    drop(open);
    let open = again(make(), &key, Committer::Thread);
    assert_eq!(open.snapshot().index(), index);
    assert_eq!(count(&open.snapshot()), 100);
    assert_eq!(open.snapshot().list(PLACE, "folder").unwrap().len(), 8);
    assert_eq!(open.snapshot().get(&Key::path(PLACE, &path(0))).unwrap(), None);
    assert_eq!(open.snapshot().get(&Key::path(PLACE, &path(1))).unwrap().unwrap().to_vec(), vec![2; 10]);
}

#[test]
fn memory() {
    let memory = Memory::new();
    suite(&|| Box::new(memory.clone()));
}

#[test]
fn redb_in_a_folder() {
    let folder = Folder::new();
    suite(&|| Box::new(Redb::open(folder.path()).unwrap()));
}

#[test]
fn redb_on_a_disk_in_memory() {
    let disk = LyingDisk::new();
    suite(&|| Box::new(disk.redb().unwrap()));
}

#[test]
fn sled_in_a_folder() {
    let folder = Folder::new();
    suite(&|| Box::new(Sled::open(folder.path()).unwrap()));
}

#[test]
fn a_faulty_one_without_faults() {
    let memory = Memory::new();
    suite(&|| Box::new(Faulty::new(Box::new(memory.clone()), Faults::new())));
}
