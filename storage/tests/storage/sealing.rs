//! Sealing and unsealing where the disk takes no writes: nobody has to start the server again.

use std::sync::Arc;

use storage::faulty::{Faults, Faulty, LyingDisk};
use storage::seal::{KeyBytes, NamedKey, SealChoice, SealConfig, UnsealKey};
use storage::{Committer, Error, Key, Memory, Open, Phase, Sealed, StillSealed};

use crate::desk::{PLACE, Seeded, found, options};

fn put(open: &Open, id: &[u8]) -> Result<(), Error> {
    let mut txn = open.begin();
    txn.put(&Key::id(PLACE, id), vec![1; 2000]).unwrap();
    open.commit(txn).map(|committed| assert!(committed.is_ok()))
}

fn has(open: &Open, id: &[u8]) -> bool {
    open.snapshot().get(&Key::id(PLACE, id)).unwrap().is_some()
}

fn unsealed(sealed: Sealed, key: &UnsealKey) -> Open {
    sealed.unseal(key, Arc::new(Seeded::new(9))).unwrap()
}

#[test]
fn a_store_whose_disk_is_full_is_sealed_and_goes_on_once_there_is_room() {
    for committer in [Committer::Inline, Committer::Thread] {
        let disk = LyingDisk::new();
        let (open, key) = found(Box::new(disk.redb().unwrap()), committer);
        disk.limit(Some(disk.dump().len() as u64));
        let mut stored = Vec::new();
        for number in 0_u32.. {
            let id = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
            match put(&open, &id) {
                Ok(()) => stored.push(id),
                Err(_) => break,
            }
        }
        assert!(stored.len() > 5, "{}", stored.len());
        let sealed = open.shut();
        drop(open);
        let open = unsealed(sealed, &key);
        assert!(stored.iter().all(|id| has(&open, id)), "all can be read while the disk is full");
        assert!(put(&open, b"while it is full").is_err());
        let sealed = open.shut();
        drop(open);
        disk.limit(None);
        let open = unsealed(sealed, &key);
        put(&open, b"later").unwrap();
        assert_eq!(open.trouble(), None);
        assert!(stored.iter().all(|id| has(&open, id)) && has(&open, b"later"));
        assert!(!has(&open, b"while it is full"));
    }
}

/// A commit that was in doubt when the store was sealed must not be taken for a later one.
#[test]
fn what_was_in_doubt_when_the_store_was_sealed_is_read_from_the_disk() {
    for stored in [true, false] {
        let faults = Faults::new();
        let backend = Faulty::new(Box::new(LyingDisk::new().redb().unwrap()), faults.clone());
        let (open, key) = found(Box::new(backend), Committer::Inline);
        put(&open, b"before").unwrap();
        match stored {
            true => faults.answer_wrongly(1),
            false => faults.lose_commits(1),
        }
        // One for the commit, one for sealing.
        faults.fail_openings(2);
        assert!(matches!(put(&open, b"doubtful"), Err(Error::Uncertain(_))));
        let sealed = open.shut();
        drop(open);
        let open = unsealed(sealed, &key);
        assert_eq!(has(&open, b"doubtful"), stored);
        faults.lose_commits(1);
        assert!(put(&open, b"lost").is_err());
        assert!(!has(&open, b"lost"), "and the count of commits is that of the disk");
        put(&open, b"later").unwrap();
        assert!(has(&open, b"before") && has(&open, b"later"));
    }
}

#[test]
fn a_disk_that_cannot_even_be_read_keeps_nobody_from_sealing() {
    let faults = Faults::new();
    let backend = Faulty::new(Box::new(LyingDisk::new().redb().unwrap()), faults.clone());
    let (open, key) = found(Box::new(backend), Committer::Inline);
    put(&open, b"before").unwrap();
    faults.lose_commits(1);
    faults.fail_openings(1_000);
    faults.fail_reads(1_000);
    assert!(put(&open, b"lost").is_err());
    let sealed = open.shut();
    drop(open);
    let StillSealed { sealed, why } = *sealed.unseal(&key, Arc::new(Seeded::new(8))).err().unwrap();
    assert!(why.to_string().contains("injected fault"), "{why}");
    faults.fail_openings(0);
    faults.fail_reads(0);
    let open = unsealed(sealed, &key);
    assert!(has(&open, b"before") && !has(&open, b"lost"));
}

fn named(id: &str, byte: u8) -> NamedKey {
    NamedKey { id: id.to_owned(), key: KeyBytes::from_bytes([byte; 32]) }
}

/// A store under the static key `old`.
fn under_old(backend: Box<dyn storage::Backend>) -> Sealed {
    let Phase::Blank(blank) = storage::open(backend, options(Committer::Inline)).unwrap() else {
        panic!("not blank")
    };
    let choice = SealChoice::Static { key: named("old", 1), recovery: None };
    blank.init(&choice, &Seeded::new(1)).unwrap().0
}

/// Unseals with a new key until it opens; how often it did not. The old key is worth nothing then.
fn rotated(mut sealed: Sealed) -> (Open, usize) {
    let key = UnsealKey::Static { current: named("new", 2), previous: Some(named("old", 1)) };
    let mut failed = 0;
    let open = loop {
        match sealed.unseal(&key, Arc::new(Seeded::new(9))) {
            Ok(open) => break open,
            Err(still) => (sealed, failed) = (still.sealed, failed + 1),
        }
        assert!(failed < 5, "it does not heal");
    };
    assert_eq!(open.seal_config().unwrap(), SealConfig::Static { key_id: "new".to_owned(), recovery: None });
    let sealed = open.shut();
    drop(open);
    let old = UnsealKey::Static { current: named("old", 1), previous: None };
    let sealed = sealed.unseal(&old, Arc::new(Seeded::new(9))).map(drop).unwrap_err().sealed;
    (unsealed(sealed, &key), failed)
}

#[test]
fn a_static_key_whose_replacing_failed_is_replaced_at_the_next_unseal() {
    for (lost, unheard) in [(1, 0), (0, 1), (2, 0)] {
        let faults = Faults::new();
        let sealed = under_old(Box::new(Faulty::new(Box::new(Memory::new()), faults.clone())));
        faults.lose_commits(lost);
        faults.answer_wrongly(unheard);
        let (open, failed) = rotated(sealed);
        assert_eq!(failed as u64, lost + unheard);
        put(&open, b"later").unwrap();
    }
    let mut struck = 0;
    for point in 0..4 {
        let disk = LyingDisk::new();
        let sealed = under_old(Box::new(disk.redb().unwrap()));
        disk.fail_at(disk.changes() + point);
        let (open, failed) = rotated(sealed);
        struck += failed;
        put(&open, b"later").unwrap();
        drop(open);
    }
    assert!(struck >= 2, "a write and a sync failed: {struck}");
}
