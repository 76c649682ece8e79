//! Keyrings of namespaces: what one sealed is closed to the server without it, whole after every power cut, and gone with
//! its keys.

use std::ops::ControlFlow;

use storage::faulty::{LyingDisk, PowerCut};
use storage::seal::{KeyBytes, NamedKey, SealChoice, Split, UnsealKey};
use storage::{
    Committer, Error, Key, Memory, MountId, Open, Place, Redb, RingId, Snapshot, Txn, UnsealError,
};

use crate::desk::{Seeded, again, found, in_memory};

const FAMILY: [u8; 8] = *b"familyA1";
const KERNEL: Place = Place { mount: MountId([1; 16]), table: 3 };

/// Something of the family, or its own name.
fn owner(last: u8) -> MountId {
    let mut id = [last; 16];
    id[..8].copy_from_slice(&FAMILY);
    MountId(id)
}

fn place(last: u8) -> Place {
    Place { mount: owner(last), table: 1 }
}

fn ring() -> RingId {
    RingId(FAMILY)
}

/// Makes the ring with a secret, and a row of it elsewhere. It is sealed then.
fn ring_in(open: &Open) -> KeyBytes {
    let split = Split { shares: 3, threshold: 2 };
    let (draft, shares) = open.draft_ring(owner(1), split).unwrap();
    let mut txn = open.begin();
    txn.found(draft);
    assert!(!txn.is_sealed(owner(9)), "who makes it can write to it");
    assert_eq!(txn.get(&Key::path(place(1), "first")).unwrap().as_deref(), None);
    txn.put(&Key::path(place(1), "folder/name"), b"secret".to_vec()).unwrap();
    txn.put_for(owner(2), &Key::id(KERNEL, b"row"), b"of the ring".to_vec()).unwrap();
    txn.put(&Key::id(KERNEL, b"other"), b"of the server".to_vec()).unwrap();
    open.commit(txn).unwrap().unwrap();
    split.combine(&shares[1..]).unwrap()
}

fn rows(snapshot: &Snapshot) -> Vec<Vec<u8>> {
    let mut ids = Vec::new();
    let each = &mut |id: &[u8], _| {
        ids.push(id.to_vec());
        Ok(ControlFlow::Continue(()))
    };
    snapshot.scan(KERNEL, &[], None, each).unwrap();
    ids
}

#[track_caller]
fn check_sealed(open: &Open) {
    let snapshot = open.snapshot();
    assert!(snapshot.is_sealed(owner(5)));
    let refused = |error: Error| assert!(matches!(error, Error::Sealed), "{error}");
    refused(snapshot.get(&Key::path(place(1), "folder/name")).map(drop).unwrap_err());
    refused(snapshot.list(place(1), "").map(drop).unwrap_err());
    refused(snapshot.get(&Key::id(KERNEL, b"row")).map(drop).unwrap_err());
    assert_eq!(rows(&snapshot), [b"other".to_vec()], "a scan leaves out what is sealed");
    assert!(snapshot.hides(KERNEL, b"r").unwrap());
    assert!(!snapshot.hides(KERNEL, b"o").unwrap());
    assert_eq!(open.damaged(), 0, "what is sealed is not damaged");
    let mut txn = open.begin();
    refused(txn.put(&Key::path(place(1), "new"), Vec::new()).unwrap_err());
    refused(txn.put_for(owner(3), &Key::id(KERNEL, b"new"), Vec::new()).unwrap_err());
}

#[track_caller]
fn check_open(open: &Open) {
    let snapshot = open.snapshot();
    assert_eq!(snapshot.get(&Key::path(place(1), "folder/name")).unwrap().as_deref(), Some(&b"secret"[..]));
    assert_eq!(&*snapshot.list(place(1), "folder").unwrap(), ["name"]);
    assert_eq!(rows(&snapshot), [b"other".to_vec(), b"row".to_vec()]);
    assert!(!snapshot.hides(KERNEL, b"").unwrap());
}

#[test]
fn a_ring_opens_with_its_key_alone() {
    let (open, memory) = in_memory();
    let key = ring_in(&open);
    check_sealed(&open);
    let wrong = KeyBytes::from_bytes([7; 32]);
    assert!(matches!(open.unseal_ring(ring(), &wrong), Err(UnsealError::WrongKey)));
    check_sealed(&open);
    open.unseal_ring(ring(), &key).unwrap();
    check_open(&open);
    // Names are sealed with keys of its own, too: the same path elsewhere is stored otherwise.
    open.seal_rings(&[ring()]);
    check_sealed(&open);
    drop((open, memory));
}

#[test]
fn a_restart_seals_and_terms_outlive_it() {
    let memory = Memory::new();
    let (open, server) = found(Box::new(memory.clone()), Committer::Inline);
    let key = ring_in(&open);
    open.unseal_ring(ring(), &key).unwrap();
    assert_eq!(open.rotate_ring(ring()).unwrap().term, 2);
    let mut txn = open.begin();
    txn.put(&Key::path(place(2), "later"), b"second term".to_vec()).unwrap();
    open.commit(txn).unwrap().unwrap();
    open.rotate().unwrap();
    drop(open);
    let open = again(Box::new(memory), &server, Committer::Inline);
    check_sealed(&open);
    open.unseal_ring(ring(), &key).unwrap();
    check_open(&open);
    let later = open.snapshot().get(&Key::path(place(2), "later")).unwrap();
    assert_eq!(later.as_deref(), Some(&b"second term"[..]));
    let status = open.ring_status(ring()).unwrap();
    assert_eq!(status.term, 2);
    assert!(status.encryptions >= 1, "the count survives");
}

/// Opens a store with a ring whose active term may have sealed so often, and lets it seal one more time.
fn used(memory: &Memory, server: &UnsealKey, key: &KeyBytes, count: u64) -> Open {
    let record = [&1_u32.to_be_bytes()[..], &count.to_be_bytes()].concat();
    memory.tamper(&[&b"\0ring-used/"[..], &FAMILY].concat(), &record);
    let open = again(Box::new(memory.clone()), server, Committer::Inline);
    open.unseal_ring(ring(), key).unwrap();
    assert_eq!(open.ring_status(ring()).unwrap().encryptions, count);
    let mut txn = open.begin();
    txn.put(&Key::path(place(2), "later"), b"one more".to_vec()).unwrap();
    open.commit(txn).unwrap().unwrap();
    open
}

#[test]
fn a_term_of_a_ring_is_counted_past_a_crash_and_followed_when_it_is_used_up() {
    let memory = Memory::new();
    let (open, server) = found(Box::new(memory.clone()), Committer::Inline);
    let key = ring_in(&open);
    drop(open);
    for (count, term) in [(5, 1), (1 << 31, 2)] {
        drop(used(&memory, &server, &key, count));
        let open = again(Box::new(memory.clone()), &server, Committer::Inline);
        open.unseal_ring(ring(), &key).unwrap();
        let status = open.ring_status(ring()).unwrap();
        assert_eq!(status.term, term);
        assert!(term == 2 || status.encryptions > count, "the count is not too small: {status:?}");
        check_open(&open);
        let later = open.snapshot().get(&Key::path(place(2), "later")).unwrap();
        assert_eq!(later.as_deref(), Some(&b"one more"[..]));
    }
}

#[test]
fn sealing_and_unsealing_count_as_a_change_of_everything() {
    let (open, _memory) = in_memory();
    let key = ring_in(&open);
    let late = |work: &dyn Fn()| {
        let mut txn = open.begin();
        txn.get(&Key::id(KERNEL, b"other")).unwrap();
        txn.put(&Key::id(KERNEL, b"late"), Vec::new()).unwrap();
        let reads = txn.reads();
        work();
        assert!(!open.snapshot().holds(&reads), "a memo of before does not hold");
        assert!(open.commit(txn).unwrap().is_err(), "who read before has to read again");
    };
    late(&|| open.unseal_ring(ring(), &key).unwrap());
    late(&|| open.seal_rings(&[ring()]));
    // A write on its way when the keys go is not stored half, or under other keys.
    open.unseal_ring(ring(), &key).unwrap();
    let mut txn = open.begin();
    txn.put(&Key::path(place(1), "late"), b"x".to_vec()).unwrap();
    open.seal_rings(&[ring()]);
    assert!(open.commit(txn).unwrap().is_err());
    open.unseal_ring(ring(), &key).unwrap();
    check_open(&open);
}

#[test]
fn without_its_keys_a_ring_is_dropped_and_swept() {
    let (open, _memory) = in_memory();
    ring_in(&open);
    let mut txn = open.begin();
    txn.drop_ring(ring());
    open.commit(txn).unwrap().unwrap();
    let mut txn = open.begin();
    assert_eq!(txn.sweep_family(ring(), 100).unwrap(), 1);
    let ids = txn.snapshot().ids_of_rings(KERNEL, &[], 10, &|id| id == ring()).unwrap();
    assert_eq!(ids, [b"row".to_vec()]);
    ids.iter().try_for_each(|id| txn.delete(&Key::id(KERNEL, id))).unwrap();
    open.commit(txn).unwrap().unwrap();
    let mut txn = open.begin();
    assert_eq!(txn.sweep_family(ring(), 100).unwrap(), 0);
    assert!(txn.snapshot().ids_of_rings(KERNEL, &[], 10, &|_| true).unwrap().is_empty());
    assert_eq!(rows(txn.snapshot()), [b"other".to_vec()]);
    assert_eq!(open.snapshot().ring_count(), 0);
}

/// All that can happen to a ring, in order. Ends when the power does.
fn life(open: &Open) -> Option<KeyBytes> {
    let (draft, shares) = open.draft_ring(owner(1), Split { shares: 1, threshold: 1 }).unwrap();
    let key = KeyBytes::from_slice(shares[0].as_bytes()).unwrap();
    let mut txn = open.begin();
    txn.found(draft);
    txn.put(&Key::path(place(1), "a"), b"1".to_vec()).unwrap();
    txn.put_for(owner(1), &Key::id(KERNEL, b"entry"), b"1".to_vec()).unwrap();
    open.commit(txn).ok()?.unwrap();
    if open.unseal_ring(ring(), &key).is_ok() {
        let write = |txn: &mut Txn| txn.put(&Key::path(place(1), "b"), b"2".to_vec());
        let mut txn = open.begin();
        if write(&mut txn).is_ok() {
            let _ = open.commit(txn);
        }
        let _ = open.rotate_ring(ring());
        open.seal_rings(&[ring()]);
    }
    Some(key)
}

fn redb(disk: &LyingDisk) -> Box<Redb> {
    Box::new(disk.redb().unwrap())
}

#[test]
fn every_power_cut_leaves_it_whole() {
    let origin = LyingDisk::new();
    let (open, server): (_, UnsealKey) = found(redb(&origin), Committer::Inline);
    drop(open.shut());
    drop(open);
    let whole = origin.copy();
    let start = whole.changes();
    let open = again(redb(&whole), &server, Committer::Inline);
    life(&open).unwrap();
    drop(open);
    let points = whole.changes() - start;
    assert!(points > 20, "there are writes to cut: {points}");
    for (number, point) in (0..points).enumerate() {
        let disk = origin.copy();
        let open = again(redb(&disk), &server, Committer::Inline);
        disk.cut_at(start + point);
        let key = life(&open);
        drop(open);
        let cut = [PowerCut::Drop, PowerCut::Tail, PowerCut::Sectors][number % 3];
        disk.restart(cut, &Seeded::new(point));
        let open = again(redb(&disk), &server, Committer::Inline);
        let snapshot = open.snapshot();
        match (snapshot.ring(owner(1)), key) {
            (None, None) => assert!(!snapshot.hides(KERNEL, b"entry").unwrap(), "a half at {point}"),
            (None, Some(_)) => panic!("what was acknowledged is lost at {point}"),
            (Some(_), None) => assert!(snapshot.hides(KERNEL, b"entry").unwrap(), "a half at {point}"),
            (Some(_), Some(key)) => {
                open.unseal_ring(ring(), &key).unwrap();
                let first = open.snapshot().get(&Key::path(place(1), "a")).unwrap();
                assert_eq!(first.as_deref(), Some(&b"1"[..]), "at {point}");
                assert_eq!(open.damaged(), 0);
            }
        }
    }
}

fn one_of_one() -> Split {
    Split { shares: 1, threshold: 1 }
}

/// Makes a new seal hold, and hands out its key, and whether somebody was told that it holds.
fn renew(open: &Open) -> (KeyBytes, bool) {
    let (seal, made) = open.draft_seal(&SealChoice::Shamir(one_of_one())).unwrap();
    let UnsealKey::Shamir(key) = made.key else { panic!("a seal of shares has a key") };
    (key, open.install_ring(ring(), seal).is_ok())
}

#[test]
fn new_shares_take_the_place_of_the_old_ones() {
    let memory = Memory::new();
    let (open, server) = found(Box::new(memory.clone()), Committer::Inline);
    let old = ring_in(&open);
    let (seal, _) = open.draft_seal(&SealChoice::Shamir(one_of_one())).unwrap();
    assert!(matches!(open.install_ring(ring(), seal), Err(Error::Sealed)), "nobody rekeys what is sealed");
    assert!(matches!(open.reroot_ring(ring()), Err(Error::Sealed)));
    open.unseal_ring(ring(), &old).unwrap();
    open.reroot_ring(ring()).unwrap();
    assert!(open.ring_admits(ring(), &old).unwrap(), "a new root key changes no share");
    assert_eq!(open.rotate_ring(ring()).unwrap().term, 2);
    let (new, held) = renew(&open);
    assert!(held);
    assert!(open.ring_admits(ring(), &new).unwrap() && !open.ring_admits(ring(), &old).unwrap());
    assert_eq!(open.ring_split(ring()).unwrap(), one_of_one());
    // The server's own seal is another.
    let UnsealKey::Shamir(own) = &server else { panic!("a seal of shares") };
    assert!(
        open.admits(own).unwrap() && !open.admits(&new).unwrap() && !open.ring_admits(ring(), own).unwrap()
    );
    open.reroot_ring(ring()).unwrap();
    drop(open);
    let open = again(Box::new(memory), &server, Committer::Inline);
    check_sealed(&open);
    assert!(matches!(open.unseal_ring(ring(), &old), Err(UnsealError::WrongKey)));
    open.unseal_ring(ring(), &new).unwrap();
    check_open(&open);
    assert_eq!(open.ring_status(ring()).unwrap().term, 2);
}

#[test]
fn a_server_that_unseals_itself_has_no_seal_for_a_ring() {
    let (open, _memory) = in_memory();
    let key = ring_in(&open);
    open.unseal_ring(ring(), &key).unwrap();
    let named = NamedKey { id: "one".to_owned(), key: KeyBytes::from_bytes([7; 32]) };
    let (seal, _) = open.draft_seal(&SealChoice::Static { key: named, recovery: None }).unwrap();
    assert!(open.install_ring(ring(), seal).is_err());
    assert!(open.ring_admits(ring(), &key).unwrap());
}

#[test]
fn a_power_cut_while_shares_are_made_anew_leaves_the_old_ones_or_the_new() {
    let origin = LyingDisk::new();
    let (open, server): (_, UnsealKey) = found(redb(&origin), Committer::Inline);
    let old = ring_in(&open);
    drop(open.shut());
    drop(open);
    // A new root key, new shares, a new term, and the next new shares.
    let work = |open: &Open| {
        open.unseal_ring(ring(), &old).unwrap();
        let _ = open.reroot_ring(ring());
        let first = renew(open);
        let _ = open.rotate_ring(ring());
        vec![(old.clone(), true), first, renew(open)]
    };
    let whole = origin.copy();
    let open = again(redb(&whole), &server, Committer::Inline);
    let start = whole.changes();
    assert!(work(&open).iter().all(|(_, told)| *told));
    drop(open);
    let points = whole.changes() - start;
    assert!(points > 12, "there are writes to cut: {points}");
    for point in 0..points {
        let disk = origin.copy();
        let open = again(redb(&disk), &server, Committer::Inline);
        disk.cut_at(disk.changes() + point);
        let keys = work(&open);
        drop(open);
        let cut = [PowerCut::Drop, PowerCut::Tail, PowerCut::Sectors][usize::try_from(point).unwrap() % 3];
        disk.restart(cut, &Seeded::new(point));
        let open = again(redb(&disk), &server, Committer::Inline);
        let fits: Vec<_> = keys.iter().map(|(key, _)| open.ring_admits(ring(), key).unwrap()).collect();
        assert_eq!(fits.iter().filter(|fits| **fits).count(), 1, "one of all keys opens it, at {point}");
        let fits = fits.iter().position(|fits| *fits).unwrap();
        let told = keys.iter().rposition(|(_, told)| *told).unwrap();
        assert!(fits >= told, "what was acknowledged holds, at {point}");
        open.unseal_ring(ring(), &keys[fits].0).unwrap();
        check_open(&open);
        assert_eq!(open.damaged(), 0);
    }
}
