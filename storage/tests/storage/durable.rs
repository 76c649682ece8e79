//! What lies on the disk, and who may open it.

use std::path::Path;
use std::sync::Arc;

use storage::faulty::LyingDisk;
use storage::{Backend, Committer, Error, Key, Memory, Redb, Sled};

use crate::desk::{Folder, PLACE, again, found};

const SECRET_NAME: &str = "northern-lighthouse-password";
const SECRET_VALUE: &str = "correct horse battery staple";

fn holds(bytes: &[u8], what: &str) -> bool {
    bytes.windows(what.len()).any(|part| part == what.as_bytes())
}

fn write_secret(backend: Box<dyn Backend>) {
    let (open, _) = found(backend, Committer::Thread);
    let mut txn = open.begin();
    txn.put(&Key::path(PLACE, &format!("team/{SECRET_NAME}/x")), SECRET_VALUE.into()).unwrap();
    txn.put(&Key::path_then(PLACE, SECRET_NAME, &[1]), SECRET_VALUE.into()).unwrap();
    txn.put(&Key::id(PLACE, b"an-id-in-clear"), SECRET_VALUE.into()).unwrap();
    open.commit(txn).unwrap().unwrap();
    drop(open.shut());
}

#[track_caller]
fn check_files(folder: &Path) {
    let mut found_id = false;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        assert!(!holds(&bytes, SECRET_NAME), "a name lies in clear in {}", path.display());
        assert!(!holds(&bytes, "northern"), "a part of a name lies in clear in {}", path.display());
        assert!(!holds(&bytes, SECRET_VALUE), "a value lies in clear in {}", path.display());
        found_id |= holds(&bytes, "an-id-in-clear");
    }
    assert!(found_id, "the search would find what lies in clear");
}

#[test]
fn neither_names_nor_values_reach_the_disk() {
    let folder = Folder::new();
    write_secret(Box::new(Redb::open(folder.path()).unwrap()));
    check_files(folder.path());
    let folder = Folder::new();
    write_secret(Box::new(Sled::open(folder.path()).unwrap()));
    check_files(folder.path());
}

#[track_caller]
fn refused(result: Result<impl Sized, Error>, part: &str) {
    let error = result.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn a_second_process_is_refused() {
    // File locks belong to the open file, so a second opening in this process stands for one in another.
    let folder = Folder::new();
    let first = Redb::open(folder.path()).unwrap();
    refused(Redb::open(folder.path()), "is in use by another process");
    drop(first);
    drop(Redb::open(folder.path()).unwrap());
    let folder = Folder::new();
    let first = Sled::open(folder.path()).unwrap();
    refused(Sled::open(folder.path()), "is in use by another process");
    drop(first);
    drop(Sled::open(folder.path()).unwrap());
}

/// The library writes zeros and a header, and only then that it is one of its files.
#[test]
fn a_store_whose_making_was_cut_short_is_made_anew() {
    let folder = Folder::new();
    let (whole, half) = (folder.path().join("sealkeep.redb"), folder.path().join("sealkeep.redb.new"));
    std::fs::write(&half, [0; 8192]).unwrap();
    drop(Redb::open(folder.path()).unwrap());
    assert!(whole.exists() && !half.exists());
    drop(Redb::open(folder.path()).unwrap());
    // Whoever is at it keeps others out, too.
    std::fs::remove_file(&whole).unwrap();
    let busy = std::fs::File::create(&half).unwrap();
    busy.lock().unwrap();
    refused(Redb::open(folder.path()), "in use by another process");
    drop(busy);
    drop(Redb::open(folder.path()).unwrap());
    // What lies at the store's own path and is none stays what it is.
    std::fs::write(&whole, [0; 8192]).unwrap();
    refused(Redb::open(folder.path()), "It is damaged, or not Sealkeep's");
    assert_eq!(std::fs::read(&whole).unwrap(), [0; 8192]);
}

#[test]
fn the_folder_of_another_program_is_refused_and_left_alone() {
    for sign in ["vault.db", "raft/raft.db", "core/_keyring"] {
        let folder = Folder::new();
        let file = folder.path().join(sign);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, b"theirs").unwrap();
        refused(Redb::open(folder.path()), "Vault or OpenBao");
        refused(Sled::open(folder.path()), "Give Sealkeep an empty folder");
        assert!(!folder.path().join("sealkeep.redb").exists());
    }
    let folder = Folder::new();
    std::fs::write(folder.path().join("sealkeep.redb"), vec![b'x'; 8192]).unwrap();
    refused(Redb::open(folder.path()), "not Sealkeep's");
}

#[test]
fn a_newer_format_is_refused() {
    let memory = Memory::new();
    found(Box::new(memory.clone()), Committer::Inline);
    memory.tamper(b"\0format", b"sealkeep\0\0\0\x03");
    refused(
        storage::open(Box::new(memory), crate::desk::options(Committer::Inline)),
        "start the newer Sealkeep",
    );
}

#[test]
fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let data = folder.path().join("data");
    let (open, _) = found(Box::new(Redb::open(&data).unwrap()), Committer::Inline);
    drop(open);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("sealkeep.redb")), 0o600);
}

#[test]
fn a_flipped_bit_is_an_error_that_names_the_place_and_stops_nothing_else() {
    let memory = Memory::new();
    let (open, key) = found(Box::new(memory.clone()), Committer::Inline);
    let mut txn = open.begin();
    txn.put(&Key::path(PLACE, "damaged"), b"value".to_vec()).unwrap();
    txn.put(&Key::path(PLACE, "whole"), b"value".to_vec()).unwrap();
    txn.put(&Key::id(PLACE, b"1 damaged"), b"value".to_vec()).unwrap();
    txn.put(&Key::id(PLACE, b"2 whole"), b"value".to_vec()).unwrap();
    open.commit(txn).unwrap().unwrap();
    drop(open);
    for (stored, value) in memory.dump() {
        let whole = stored.ends_with(b"2 whole") || stored.len() == 19 + 3 + 16 + "whole".len();
        if stored[0] == 1 && !whole {
            let mut value = value;
            *value.last_mut().unwrap() ^= 1;
            memory.tamper(&stored, &value);
        }
    }
    let open = again(Box::new(memory), &key, Committer::Inline);
    let snapshot = open.snapshot();
    let error = snapshot.get(&Key::path(PLACE, "damaged")).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { place, .. } if *place == PLACE));
    assert!(!format!("{error} {error:?}").contains("damaged\""), "the name is sealed in the message as well");
    assert_eq!(&*snapshot.get(&Key::path(PLACE, "whole")).unwrap().unwrap(), b"value");
    let mut rows = 0;
    let each = &mut |id: &[u8], _| {
        assert_eq!(id, b"2 whole");
        rows += 1;
        Ok(std::ops::ControlFlow::Continue(()))
    };
    snapshot.scan(PLACE, &[], None, each).unwrap();
    assert_eq!((rows, open.damaged()), (1, 2));
}

#[test]
fn a_value_moved_to_another_name_does_not_open() {
    let memory = Memory::new();
    let (open, key) = found(Box::new(memory.clone()), Committer::Inline);
    let mut txn = open.begin();
    txn.put(&Key::id(PLACE, b"mine"), b"my secret".to_vec()).unwrap();
    txn.put(&Key::id(PLACE, b"yours"), b"your secret".to_vec()).unwrap();
    open.commit(txn).unwrap().unwrap();
    drop(open);
    let dump = memory.dump();
    let stored = |end: &[u8]| dump.iter().find(|(key, _)| key.ends_with(end)).unwrap().clone();
    memory.tamper(&stored(b"mine").0, &stored(b"yours").1);
    let open = again(Box::new(memory), &key, Committer::Inline);
    assert!(matches!(open.snapshot().get(&Key::id(PLACE, b"mine")), Err(Error::Corrupt { .. })));
}

#[test]
fn flipped_bits_anywhere_in_the_file_are_never_served() {
    let disk = LyingDisk::new();
    let (open, key) = found(Box::new(disk.redb().unwrap()), Committer::Inline);
    let mut txn = open.begin();
    for number in 0..200_u8 {
        txn.put(&Key::path(PLACE, &format!("folder/{number}")), vec![number; 500]).unwrap();
    }
    open.commit(txn).unwrap().unwrap();
    drop(open.shut());
    drop(open);
    let image = disk.dump();
    let used: Vec<usize> = (0..image.len()).filter(|at| image[*at] != 0).collect();
    let mut noticed = 0;
    for at in used.iter().step_by(used.len() / 60) {
        let disk = disk.copy();
        disk.flip(*at, (*at % 8) as u8);
        noticed += u32::from(!serves_only_what_was_written(&disk, &key));
    }
    assert!(noticed > 20, "flips in what is in use are noticed: {noticed}");
}

/// True if everything can be read; false if an error says that something cannot.
fn serves_only_what_was_written(disk: &LyingDisk, key: &storage::seal::UnsealKey) -> bool {
    let Ok(redb) = disk.redb() else { return false };
    let Ok(storage::Phase::Sealed(sealed)) =
        storage::open(Box::new(redb), crate::desk::options(Committer::Inline))
    else {
        return false;
    };
    let Ok(open) = sealed.unseal(key, Arc::new(storage::SystemRandom)) else { return false };
    let snapshot = open.snapshot();
    (0..200_u8).all(|number| match snapshot.get(&Key::path(PLACE, &format!("folder/{number}"))) {
        Ok(Some(value)) => {
            assert_eq!(value.to_vec(), vec![number; 500]);
            true
        }
        _ => false,
    })
}
