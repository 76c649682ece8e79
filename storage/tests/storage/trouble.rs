//! Disks that fail: nothing acknowledged is lost, nothing refused is stored, and the store recovers by itself.

use std::sync::mpsc;

use storage::faulty::{Faults, Faulty, LyingDisk};
use storage::{Backend, Committer, Conflict, Error, Key, Memory, Open, Redb, Sled};

use crate::desk::{Folder, PLACE, again, found};

fn write(open: &Open, path: &str) -> Result<(), Error> {
    let mut txn = open.begin();
    txn.put(&Key::path(PLACE, path), b"value".to_vec()).unwrap();
    open.commit(txn).map(|committed| assert!(committed.is_ok()))
}

/// A write under way.
fn submitted(open: &Open, path: &str) -> mpsc::Receiver<Result<Result<u64, Conflict>, Error>> {
    let (told, answer) = mpsc::channel();
    let mut txn = open.begin();
    txn.put(&Key::path(PLACE, path), vec![]).unwrap();
    open.submit(txn, Box::new(move |result| told.send(result).unwrap()));
    answer
}

fn has(open: &Open, path: &str) -> bool {
    open.snapshot().get(&Key::path(PLACE, path)).unwrap().is_some()
}

fn faulty(committer: Committer) -> (Open, Faults) {
    let faults = Faults::new();
    let backend = Faulty::new(Box::new(Memory::new()), faults.clone());
    (found(Box::new(backend), committer).0, faults)
}

#[test]
fn a_lost_commit_is_refused_and_the_next_one_is_taken() {
    for committer in [Committer::Inline, Committer::Thread] {
        let (open, faults) = faulty(committer);
        write(&open, "before").unwrap();
        faults.lose_commits(1);
        assert!(matches!(write(&open, "lost"), Err(Error::NotStored(_))));
        assert_eq!(faults.fired(), 1);
        assert!(!has(&open, "lost") && has(&open, "before"));
        assert_eq!(open.trouble(), None);
        write(&open, "after").unwrap();
        assert_eq!(open.snapshot().list(PLACE, "").unwrap().to_vec(), ["after", "before"]);
    }
}

#[test]
fn a_commit_whose_answer_was_lost_is_found_to_be_stored() {
    for committer in [Committer::Inline, Committer::Thread] {
        let (open, faults) = faulty(committer);
        assert!(!has(&open, "a"));
        let reader = open.begin();
        reader.get(&Key::path(PLACE, "a")).unwrap();
        faults.answer_wrongly(1);
        write(&open, "a").unwrap();
        assert_eq!(faults.fired(), 1);
        assert!(has(&open, "a"), "and what readers remembered no longer counts");
        let mut late = reader;
        late.put(&Key::path(PLACE, "b"), vec![]).unwrap();
        assert_eq!(open.commit(late).unwrap(), Err(Conflict));
    }
}

#[test]
fn while_the_disk_is_gone_writes_are_refused_and_reads_go_on() {
    let (open, faults) = faulty(Committer::Inline);
    write(&open, "cached").unwrap();
    faults.lose_commits(1);
    faults.fail_openings(2);
    assert!(matches!(write(&open, "a"), Err(Error::Uncertain(_))));
    assert!(open.trouble().unwrap().contains("injected fault"));
    assert!(has(&open, "cached"));
    let refusal = write(&open, "b").unwrap_err();
    assert!(matches!(&refusal, Error::Trouble(_)), "{refusal}");
    write(&open, "c").unwrap();
    assert_eq!(open.trouble(), None);
    assert_eq!(open.snapshot().list(PLACE, "").unwrap().to_vec(), ["c", "cached"]);
}

#[test]
fn a_doubtful_commit_shows_once_the_disk_says_that_it_is_there() {
    let (open, faults) = faulty(Committer::Inline);
    faults.answer_wrongly(1);
    faults.fail_openings(1);
    assert!(!has(&open, "a"));
    assert!(matches!(write(&open, "a"), Err(Error::Uncertain(_))));
    assert!(!has(&open, "a"));
    write(&open, "b").unwrap();
    assert!(has(&open, "a") && has(&open, "b"));
}

#[test]
fn the_committer_tries_again_until_the_disk_answers() {
    let (open, faults) = faulty(Committer::Thread);
    faults.lose_commits(1);
    faults.fail_openings(2);
    let answer = submitted(&open, "a");
    assert!(matches!(answer.recv().unwrap(), Err(Error::NotStored(_))));
    assert_eq!(faults.fired(), 3);
    write(&open, "b").unwrap();
}

#[test]
fn nobody_waits_for_a_disk_that_is_gone_but_who_wrote() {
    let (open, faults) = faulty(Committer::Thread);
    write(&open, "before").unwrap();
    faults.lose_commits(1);
    faults.fail_openings(1_000);
    let answer = submitted(&open, "lost");
    while open.trouble().is_none() {
        std::thread::yield_now();
    }
    assert!(matches!(open.rotate(), Err(Error::Trouble(_) | Error::Uncertain(_))));
    assert!(matches!(open.reroot(), Err(Error::Trouble(_) | Error::Uncertain(_))));
    assert!(open.alone(|_| Ok::<_, ()>(())).is_err());
    open.seal_blob(b"token", b"batch").unwrap();
    assert!(has(&open, "before"));
    assert!(answer.try_recv().is_err(), "it is not known yet");
    faults.fail_openings(0);
    assert!(matches!(answer.recv().unwrap(), Err(Error::NotStored(_))));
    write(&open, "after").unwrap();
    assert_eq!(open.snapshot().list(PLACE, "").unwrap().to_vec(), ["after", "before"]);
}

#[test]
fn a_doubt_that_another_leaves_is_settled_by_the_committer() {
    let (open, faults) = faulty(Committer::Thread);
    faults.lose_commits(1);
    faults.fail_openings(2);
    assert!(matches!(open.rotate(), Err(Error::Uncertain(_))));
    while open.trouble().is_some() {
        std::thread::yield_now();
    }
    assert_eq!(open.key_status().term, 1);
    write(&open, "a").unwrap();
}

#[test]
fn a_failed_read_is_an_error_once() {
    let (open, faults) = faulty(Committer::Inline);
    faults.fail_reads(1);
    assert!(matches!(open.snapshot().get(&Key::path(PLACE, "unread")), Err(Error::Io(_))));
    assert!(!has(&open, "unread"));
    write(&open, "unread").unwrap();
}

#[test]
fn a_disk_that_is_nearly_full_refuses_writes_but_not_deletes() {
    let (open, faults) = faulty(Committer::Inline);
    write(&open, "a").unwrap();
    faults.leave_free(Some(1024 * 1024));
    let refusal = write(&open, "b").unwrap_err();
    assert!(refusal.to_string().contains("the disk has only 1048576 bytes left"), "{refusal}");
    assert!(open.trouble().is_some());
    let mut txn = open.begin();
    txn.delete(&Key::path(PLACE, "a")).unwrap();
    open.commit(txn).unwrap().unwrap();
    faults.leave_free(None);
    write(&open, "b").unwrap();
    assert_eq!(open.trouble(), None);
}

#[test]
fn on_a_disk_that_is_nearly_full_less_can_be_put_in_the_place_of_more() {
    let (open, faults) = faulty(Committer::Inline);
    ["a", "b", "c"].iter().for_each(|name| write(&open, name).unwrap());
    faults.leave_free(Some(0));
    let replace = |gone: &[&str], note: Vec<u8>| {
        let mut txn = open.begin();
        gone.iter().for_each(|name| txn.delete(&Key::path(PLACE, name)).unwrap());
        txn.put(&Key::path(PLACE, "note"), note).unwrap();
        open.commit(txn)
    };
    replace(&["a"], b"one for one".to_vec()).unwrap_err();
    replace(&["a", "b"], vec![0; 32 * 1024]).unwrap_err();
    assert!(has(&open, "a"));
    replace(&["a", "b"], b"one for two".to_vec()).unwrap().unwrap();
    assert!(has(&open, "note") && !has(&open, "a"));
    write(&open, "d").unwrap_err();
}

#[test]
fn a_failure_during_rotation_keeps_the_old_term() {
    let (open, faults) = faulty(Committer::Inline);
    faults.lose_commits(1);
    assert!(open.rotate().is_err());
    assert_eq!(open.key_status().term, 1);
    faults.answer_wrongly(1);
    assert_eq!(open.rotate().unwrap().term, 2);
    assert_eq!(open.key_status().term, 2);
    write(&open, "a").unwrap();
    assert!(has(&open, "a"));
}

#[track_caller]
fn reopens(backend: Box<dyn Backend>) {
    let faults = Faults::new();
    let (open, _) = found(Box::new(Faulty::new(backend, faults.clone())), Committer::Thread);
    write(&open, "before").unwrap();
    let old = open.snapshot();
    faults.lose_commits(1);
    assert!(matches!(write(&open, "lost"), Err(Error::NotStored(_))));
    assert_eq!(faults.fired(), 1);
    // A view from before the disk was opened anew may end. It does not lie.
    assert!(!matches!(old.get(&Key::path(PLACE, "never")), Ok(Some(_))));
    assert!(!matches!(old.list(PLACE, "").as_deref(), Ok([]) | Ok([_, _, ..])));
    write(&open, "after").unwrap();
    assert_eq!(open.snapshot().list(PLACE, "").unwrap().to_vec(), ["after", "before"]);
}

#[test]
fn every_backend_reopens_while_views_of_it_live() {
    let folder = Folder::new();
    reopens(Box::new(Redb::open(folder.path()).unwrap()));
    let folder = Folder::new();
    reopens(Box::new(Sled::open(folder.path()).unwrap()));
    reopens(Box::new(LyingDisk::new().redb().unwrap()));
    reopens(Box::new(Memory::new()));
}

#[test]
fn redb_recovers_from_a_full_disk_and_from_failed_writes() {
    let disk = LyingDisk::new();
    let redb = || Box::new(disk.redb().unwrap());
    let (open, key) = found(redb(), Committer::Inline);
    write(&open, "before").unwrap();
    disk.limit(Some(disk.dump().len() as u64));
    let mut refused = 0;
    for number in 0..40_u8 {
        let mut txn = open.begin();
        txn.put(&Key::path(PLACE, &format!("big/{number}")), vec![number; 500_000]).unwrap();
        refused += u32::from(open.commit(txn).is_err());
    }
    assert!(refused > 0 && disk.fired() > 0, "the disk did get full");
    assert!(has(&open, "before"), "reads go on");
    disk.limit(None);
    write(&open, "after").unwrap();
    for step in 0..12 {
        disk.fail_at(disk.changes() + step);
        let path = format!("fails at {step}");
        let stored = write(&open, &path).is_ok();
        assert_eq!(has(&open, &path), stored, "{path}");
    }
    let names = open.snapshot().list(PLACE, "").unwrap();
    drop(open.shut());
    drop(open);
    let open = again(redb(), &key, Committer::Inline);
    assert_eq!(open.snapshot().list(PLACE, "").unwrap(), names);
    assert!(has(&open, "before") && has(&open, "after"));
}
