use std::ops::ControlFlow;

use storage::{Conflict, Error, Key, MountId, Open, Place, Snapshot, TXN_SIZE_MAX, Txn, VALUE_SIZE_MAX};

use crate::desk::{PLACE, in_memory};

fn put(open: &Open, paths: &[&str]) {
    let mut txn = open.begin();
    for path in paths {
        txn.put(&Key::path(PLACE, path), path.as_bytes().to_vec()).unwrap();
    }
    open.commit(txn).unwrap().unwrap();
}

fn walk(snapshot: &Snapshot, folder: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let each = &mut |path: &str, _: &[u8]| {
        paths.push(path.to_owned());
        Ok(ControlFlow::Continue(()))
    };
    snapshot.walk(PLACE, folder, each).unwrap();
    paths
}

fn scan(txn: &Txn, from: &[u8], until: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let each = &mut |id: &[u8], value: storage::Value| {
        rows.push((id.to_vec(), value.to_vec()));
        Ok(ControlFlow::Continue(()))
    };
    txn.scan(PLACE, from, until, each).unwrap();
    rows
}

#[test]
fn a_snapshot_stays_what_it_was() {
    let (open, _) = in_memory();
    put(&open, &["a"]);
    let before = open.snapshot();
    let mut txn = open.begin();
    txn.put(&Key::path(PLACE, "a"), b"new".to_vec()).unwrap();
    txn.put(&Key::path(PLACE, "b"), b"new".to_vec()).unwrap();
    let index = open.commit(txn).unwrap().unwrap();
    // Warm the cache from the new side first: the old side must not be served from it.
    assert_eq!(&*open.snapshot().get(&Key::path(PLACE, "a")).unwrap().unwrap(), b"new");
    assert_eq!(open.snapshot().list(PLACE, "").unwrap().to_vec(), ["a", "b"]);
    assert_eq!(&*before.get(&Key::path(PLACE, "a")).unwrap().unwrap(), b"a");
    assert_eq!(before.get(&Key::path(PLACE, "b")).unwrap(), None);
    assert_eq!(before.list(PLACE, "").unwrap().to_vec(), ["a"]);
    // And having read the old does not make the new forget.
    assert_eq!(&*open.snapshot().get(&Key::path(PLACE, "a")).unwrap().unwrap(), b"new");
    assert_eq!(open.snapshot().index(), index);
}

#[test]
fn lists_show_children_and_folders() {
    let (open, _) = in_memory();
    put(&open, &["a", "a/b", "a/c/d", "a/c/e", "a-b", "z/1"]);
    let snapshot = open.snapshot();
    let list = |folder: &str| snapshot.list(PLACE, folder).unwrap().to_vec();
    assert_eq!(list(""), ["a", "a-b", "a/", "z/"]);
    assert_eq!(list("a"), ["b", "c/"]);
    assert_eq!(list("a/"), ["b", "c/"]);
    assert_eq!(list("a/c/"), ["d", "e"]);
    assert!(list("nothing/here").is_empty());
    assert!(snapshot.list(Place { table: 2, ..PLACE }, "").unwrap().is_empty());
    assert_eq!(walk(&snapshot, ""), ["a", "a-b", "a/b", "a/c/d", "a/c/e", "z/1"]);
    assert_eq!(walk(&snapshot, "a"), ["b", "c/d", "c/e"]);
}

#[test]
fn a_folder_with_many_descendants_is_one_child() {
    let (open, _) = in_memory();
    let deep: Vec<String> = (0..40).map(|number| format!("big/{number:02}/leaf")).collect();
    put(&open, &deep.iter().map(String::as_str).chain(["big/x", "small/y"]).collect::<Vec<_>>());
    let snapshot = open.snapshot();
    assert_eq!(snapshot.list(PLACE, "").unwrap().to_vec(), ["big/", "small/"]);
    assert_eq!(snapshot.list(PLACE, "big").unwrap().len(), 41);
    assert_eq!(walk(&snapshot, "").len(), 42);
}

#[test]
fn a_list_follows_what_is_written_and_deleted() {
    let (open, _) = in_memory();
    put(&open, &["a/b/c"]);
    assert_eq!(open.snapshot().list(PLACE, "").unwrap().to_vec(), ["a/"]);
    let mut txn = open.begin();
    txn.delete(&Key::path(PLACE, "a/b/c")).unwrap();
    assert!(txn.list(PLACE, "").unwrap().is_empty(), "the last descendant is gone, so the folder is");
    txn.put(&Key::path(PLACE, "a/d"), vec![]).unwrap();
    assert_eq!(txn.list(PLACE, "").unwrap().to_vec(), ["a/"]);
    assert_eq!(txn.list(PLACE, "a").unwrap().to_vec(), ["d"]);
    open.commit(txn).unwrap().unwrap();
    assert_eq!(open.snapshot().list(PLACE, "a").unwrap().to_vec(), ["d"]);
}

#[test]
fn suffixes_are_in_order_under_one_name() {
    let (open, _) = in_memory();
    let mut txn = open.begin();
    for number in [3_u64, 1, 2] {
        let suffix = number.to_be_bytes();
        txn.put(&Key::path_then(PLACE, "db/role", &suffix), vec![number as u8]).unwrap();
        txn.put(&Key::path_then(PLACE, "db/other", &suffix), vec![9]).unwrap();
    }
    let versions = |txn: &Txn, until: Option<&[u8]>| {
        let mut found = Vec::new();
        txn.scan_path(PLACE, "db/role", &2_u64.to_be_bytes(), until, &mut |_, value| {
            found.push(value[0]);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        found
    };
    assert_eq!(versions(&txn, None), [2, 3]);
    open.commit(txn).unwrap().unwrap();
    let mut txn = open.begin();
    assert_eq!(versions(&txn, None), [2, 3]);
    assert_eq!(versions(&txn, Some(&3_u64.to_be_bytes())), [2]);
    assert_eq!(txn.list(PLACE, "db").unwrap().to_vec(), ["other", "role"]);
    assert_eq!(walk(&open.snapshot(), "db").len(), 6);
    for number in [1_u64, 2, 3] {
        assert_eq!(txn.list(PLACE, "db").unwrap().to_vec(), ["other", "role"]);
        txn.delete(&Key::path_then(PLACE, "db/role", &number.to_be_bytes())).unwrap();
    }
    assert_eq!(txn.list(PLACE, "db").unwrap().to_vec(), ["other"]);
    assert!(versions(&txn, None).is_empty());
}

#[test]
fn scans_merge_own_writes() {
    let (open, _) = in_memory();
    let mut txn = open.begin();
    for id in [1_u8, 3, 5, 7] {
        txn.put(&Key::id(PLACE, &[id]), vec![id]).unwrap();
    }
    open.commit(txn).unwrap().unwrap();
    let mut txn = open.begin();
    txn.put(&Key::id(PLACE, &[0]), vec![10]).unwrap();
    txn.put(&Key::id(PLACE, &[3]), vec![13]).unwrap();
    txn.put(&Key::id(PLACE, &[4]), vec![14]).unwrap();
    txn.put(&Key::id(PLACE, &[9]), vec![19]).unwrap();
    txn.delete(&Key::id(PLACE, &[5])).unwrap();
    let ids =
        |rows: Vec<(Vec<u8>, Vec<u8>)>| rows.iter().map(|(id, value)| (id[0], value[0])).collect::<Vec<_>>();
    assert_eq!(ids(scan(&txn, &[], None)), [(0, 10), (1, 1), (3, 13), (4, 14), (7, 7), (9, 19)]);
    assert_eq!(ids(scan(&txn, &[3], Some(&[7]))), [(3, 13), (4, 14)]);
}

#[test]
fn a_long_scan_misses_and_doubles_nothing() {
    let (open, _) = in_memory();
    let mut txn = open.begin();
    for number in 0..1000_u32 {
        txn.put(&Key::id(PLACE, &number.to_be_bytes()), number.to_le_bytes().to_vec()).unwrap();
    }
    open.commit(txn).unwrap().unwrap();
    let rows = scan(&open.begin(), &10_u32.to_be_bytes(), Some(&900_u32.to_be_bytes()));
    assert!(
        rows.iter().map(|(id, _)| id.clone()).eq((10..900_u32).map(|number| number.to_be_bytes().to_vec()))
    );
    let mut seen = 0;
    let stopped = open.snapshot().scan(PLACE, &[], None, &mut |_, _| {
        seen += 1;
        Ok(if seen == 300 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    stopped.unwrap();
    assert_eq!(seen, 300);
}

#[test]
fn sweeping_leaves_other_mounts_alone() {
    let (open, _) = in_memory();
    let other = Place { mount: MountId([2; 16]), table: 1 };
    put(&open, &["a", "b/c", "b/d/e", "bb"]);
    let mut txn = open.begin();
    txn.put(&Key::id(Place { table: 9, ..PLACE }, &[1]), vec![]).unwrap();
    txn.put(&Key::path(other, "a"), b"kept".to_vec()).unwrap();
    open.commit(txn).unwrap().unwrap();

    let mut txn = open.begin();
    assert_eq!(txn.sweep_folder(PLACE, "b", 10).unwrap(), 2);
    assert_eq!(txn.list(PLACE, "").unwrap().to_vec(), ["a", "bb"]);
    assert_eq!(txn.sweep_folder(PLACE, "b", 10).unwrap(), 0, "what is deleted already is not found again");
    assert_eq!(txn.sweep(PLACE.mount, 2).unwrap(), 2);
    assert_eq!(txn.sweep(PLACE.mount, 2).unwrap(), 1);
    assert_eq!(txn.sweep(PLACE.mount, 2).unwrap(), 0);
    open.commit(txn).unwrap().unwrap();
    assert!(open.snapshot().list(PLACE, "").unwrap().is_empty());
    assert_eq!(&*open.snapshot().get(&Key::path(other, "a")).unwrap().unwrap(), b"kept");
}

#[test]
fn limits_have_the_texts_that_clients_know() {
    let (open, _) = in_memory();
    let mut txn = open.begin();
    let error = txn.put(&Key::path(PLACE, "a"), vec![0; VALUE_SIZE_MAX + 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "put failed due to value being too large; got 1048577 bytes, max: 1048576 bytes"
    );
    let fits = TXN_SIZE_MAX / VALUE_SIZE_MAX - 1;
    for number in 0..fits {
        txn.put(&Key::path(PLACE, &format!("{number}")), vec![0; VALUE_SIZE_MAX]).unwrap();
        // Overwriting counts once.
        txn.put(&Key::path(PLACE, &format!("{number}")), vec![0; VALUE_SIZE_MAX]).unwrap();
    }
    txn.put(&Key::path(PLACE, "more"), vec![0; VALUE_SIZE_MAX / 2]).unwrap();
    assert!(matches!(
        txn.put(&Key::path(PLACE, "much more"), vec![0; VALUE_SIZE_MAX]),
        Err(Error::TxnTooLarge { .. })
    ));
    open.commit(txn).unwrap().unwrap();
    assert_eq!(open.snapshot().get(&Key::path(PLACE, "0")).unwrap().unwrap().len(), VALUE_SIZE_MAX);
}

#[test]
fn names_that_no_listing_could_show_are_refused() {
    let (open, _) = in_memory();
    for path in ["", "/", "/a", "a/", "a//b", &"x".repeat(4097)] {
        let mut txn = open.begin();
        assert!(matches!(txn.put(&Key::path(PLACE, path), vec![]), Err(Error::Name(_))), "{path:.10}");
        assert!(matches!(open.snapshot().get(&Key::path(PLACE, path)), Err(Error::Name(_))), "{path:.10}");
    }
}

#[track_caller]
fn conflict(read: impl Fn(&Txn), meanwhile: impl Fn(&mut Txn), expect: bool) {
    let (open, _) = in_memory();
    put(&open, &["there", "folder/there", "elsewhere/there"]);
    let mut ours = open.begin();
    read(&ours);
    ours.put(&Key::path(Place { table: 7, ..PLACE }, "ours"), vec![]).unwrap();
    let mut theirs = open.begin();
    meanwhile(&mut theirs);
    open.commit(theirs).unwrap().unwrap();
    assert_eq!(open.commit(ours).unwrap() == Err(Conflict), expect);
}

#[test]
fn what_was_read_must_still_hold() {
    let get = |path: &'static str| move |txn: &Txn| drop(txn.get(&Key::path(PLACE, path)).unwrap());
    let list = |folder: &'static str| move |txn: &Txn| drop(txn.list(PLACE, folder).unwrap());
    let put = |path: &'static str| move |txn: &mut Txn| txn.put(&Key::path(PLACE, path), vec![1]).unwrap();
    let delete = |path: &'static str| move |txn: &mut Txn| txn.delete(&Key::path(PLACE, path)).unwrap();
    let overwrite = |path: &'static str| {
        move |txn: &mut Txn| {
            txn.get(&Key::path(PLACE, path)).unwrap();
            txn.put(&Key::path(PLACE, path), vec![1]).unwrap();
        }
    };
    conflict(get("there"), put("there"), true);
    conflict(get("there"), delete("there"), true);
    conflict(get("absent"), put("absent"), true);
    conflict(get("there"), put("other"), false);
    conflict(list("folder"), put("folder/new"), true);
    conflict(list("folder"), delete("folder/there"), true);
    conflict(list(""), put("new/folder/leaf"), true);
    conflict(list("folder"), put("elsewhere/new"), false);
    conflict(list("folder"), overwrite("folder/there"), false);
    conflict(list("folder"), |txn| drop(txn.get(&Key::path(PLACE, "folder/there"))), false);
}

#[test]
fn what_was_scanned_must_still_hold() {
    let scanned =
        |from: &'static [u8], until: &'static [u8]| move |txn: &Txn| drop(scan(txn, from, Some(until)));
    let put = |id: &'static [u8]| move |txn: &mut Txn| txn.put(&Key::id(PLACE, id), vec![]).unwrap();
    conflict(scanned(b"a", b"c"), put(b"b"), true);
    const HERE: &[u8] = b"accessor-0000001/lease";
    conflict(scanned(b"accessor-0000001", b"accessor-0000002"), put(HERE), true);
    conflict(scanned(b"accessor-0000002", b"accessor-0000003"), put(HERE), false);
    conflict(
        |txn| {
            txn.scan_path(PLACE, "p", &[], None, &mut |_, _| Ok(ControlFlow::Continue(()))).unwrap();
        },
        |txn| txn.put(&Key::path_then(PLACE, "p", &[1]), vec![]).unwrap(),
        true,
    );
}

#[test]
fn a_scanned_row_that_changes_is_a_conflict() {
    let (open, _) = in_memory();
    let key = Key::id(PLACE, b"row");
    let mut txn = open.begin();
    txn.put(&key, vec![1]).unwrap();
    open.commit(txn).unwrap().unwrap();
    let mut ours = open.begin();
    scan(&ours, &[], None);
    ours.put(&Key::id(PLACE, b"ours"), vec![]).unwrap();
    let mut theirs = open.begin();
    theirs.get(&key).unwrap();
    theirs.put(&key, vec![2]).unwrap();
    open.commit(theirs).unwrap().unwrap();
    assert_eq!(open.commit(ours).unwrap(), Err(Conflict));
}

#[test]
fn a_joined_read_set_counts_as_read() {
    let (open, _) = in_memory();
    put(&open, &["a"]);
    let reading = open.begin();
    reading.get(&Key::path(PLACE, "a")).unwrap();
    let memo = reading.reads();
    assert!(open.snapshot().holds(&memo) && memo.holds_on(&open.snapshot()));
    put(&open, &["b"]);
    // An old memo that still holds does not make a transaction old.
    let mut txn = open.begin();
    txn.get(&Key::path(PLACE, "b")).unwrap();
    txn.join(&memo);
    txn.put(&Key::path(PLACE, "c"), vec![]).unwrap();
    open.commit(txn).unwrap().unwrap();
    // One that broke after joining is a conflict.
    let mut txn = open.begin();
    txn.join(&memo);
    txn.put(&Key::path(PLACE, "c"), vec![]).unwrap();
    put(&open, &["a"]);
    assert_eq!(open.commit(txn).unwrap(), Err(Conflict));
    // And so is one that was broken before.
    assert!(!open.snapshot().holds(&memo));
    let mut txn = open.begin();
    txn.join(&memo);
    txn.put(&Key::path(PLACE, "c"), vec![]).unwrap();
    assert_eq!(open.commit(txn).unwrap(), Err(Conflict));
}

#[test]
fn a_memo_from_the_future_does_not_hold_in_the_past() {
    let (open, _) = in_memory();
    put(&open, &["a"]);
    let past = open.snapshot();
    put(&open, &["a"]);
    let reading = open.begin();
    reading.get(&Key::path(PLACE, "a")).unwrap();
    assert!(!past.holds(&reading.reads()));
}

#[test]
fn alone_cannot_conflict() {
    let (open, _) = in_memory();
    let counted = open.alone(|txn| {
        let key = Key::path(PLACE, "count");
        let count = txn.get(&key)?.map_or(0, |value| value[0]);
        txn.put(&key, vec![count + 1])?;
        Ok::<_, Error>(count)
    });
    assert_eq!(counted.unwrap().unwrap(), 0);
    let refused = open.alone(|txn| {
        txn.put(&Key::path(PLACE, "count"), vec![9]).unwrap();
        Err::<(), _>("no")
    });
    assert_eq!(refused.unwrap(), Err("no"));
    assert_eq!(&*open.snapshot().get(&Key::path(PLACE, "count")).unwrap().unwrap(), &[1]);
}
