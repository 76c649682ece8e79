//! Where a service finds its certificate and key: one folder for each pair, and a link to the one that counts.
//!
//! ```text
//! DIR/current -> pair-000007
//! DIR/pair-000007/{key,cert,chain,fullchain,ca,pair}.pem
//! ```
//!
//! A pair is complete and durable before the link is moved to it, and the link moves in one step. Whoever opens the
//! folder `current` once, or reads `pair.pem`, has a key and a certificate that belong together at any moment.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    rc::Rc,
};

use zeroize::Zeroizing;

use super::disk::{self, Disk, Lock, Owner};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const CURRENT: &str = "current";
/// All that a pair has.
const FILES: [&str; 6] = ["key.pem", "cert.pem", "chain.pem", "fullchain.pem", "ca.pem", "pair.pem"];
/// A CA that is its own root has no chain, and one that shows no parents names nobody to trust.
const MAY_BE_EMPTY: [&str; 2] = ["chain.pem", "ca.pem"];
/// Those of a pair that hold its key.
const SECRETS: [&str; 2] = ["key.pem", "pair.pem"];
/// Room that must be there before a certificate is asked for, so that a full disk costs the CA nothing.
const RESERVE_SIZE: usize = 64 * 1024;

/// The files of one pair, in PEM.
pub(crate) struct Pair {
    pub(crate) key: Zeroizing<String>,
    pub(crate) certificate: String,
    /// The intermediates, in the order in which a server shows them.
    pub(crate) chain: String,
    /// What clients trust.
    pub(crate) anchors: String,
}

/// The folder of one certificate.
pub(crate) struct Shelf {
    pub(crate) disk: Rc<dyn Disk>,
    pub(crate) folder: PathBuf,
    pub(crate) owner: Owner,
    lock: Option<Rc<Lock>>,
}

/// Since when nobody else writes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Before,
    /// Others may have written until now.
    Now,
}

impl Shelf {
    pub(crate) fn new(disk: Rc<dyn Disk>, folder: PathBuf, owner: Owner) -> Shelf {
        Shelf { disk, folder, owner, lock: None }
    }

    /// Makes this process the only one that writes here, as long as it lives: two that make pairs in one folder would mix
    /// them. `WouldBlock` if another is.
    pub(crate) fn hold(&mut self) -> io::Result<Hold> {
        if self.lock.as_ref().is_some_and(|lock| lock.is_of(&self.folder)) {
            return Ok(Hold::Before);
        }
        self.lock = None;
        let lock = match self.disk.lock(&self.folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.disk.make_folder(&self.folder, FOLDER_MODE)?;
                self.disk.lock(&self.folder)?
            }
            other => other?,
        };
        self.lock = Some(Rc::new(lock));
        Ok(Hold::Now)
    }

    /// The lock, for whoever must be alone here longer than this.
    pub(crate) fn lock(&self) -> Option<Rc<Lock>> {
        self.lock.clone()
    }

    /// Puts the key of a pair to be, and makes sure there is room for the rest.
    pub(crate) fn begin(&self, number: u64, key: &str) -> io::Result<()> {
        let begun = self.unfinished(number);
        self.disk.make_folder(&self.folder, FOLDER_MODE)?;
        self.give(&self.folder)?;
        self.disk.remove(&begun)?;
        self.disk.make_folder(&begun, FOLDER_MODE)?;
        self.put(&begun, "key.pem", key)?;
        let reserve = begun.join("reserve");
        self.disk.write_new(&reserve, &[0; RESERVE_SIZE], FILE_MODE)?;
        self.disk.remove(&reserve)
    }

    /// Completes a pair that was begun. It is durable then, and not shown yet.
    pub(crate) fn complete(&self, number: u64, pair: &Pair) -> io::Result<()> {
        let (begun, done) = (self.unfinished(number), self.pair_folder(number));
        let full = format!("{}{}", pair.certificate, pair.chain);
        let whole = Zeroizing::new(format!("{}{full}", pair.key.as_str()));
        self.put(&begun, "cert.pem", &pair.certificate)?;
        self.put(&begun, "chain.pem", &pair.chain)?;
        self.put(&begun, "fullchain.pem", &full)?;
        self.put(&begun, "ca.pem", &pair.anchors)?;
        self.put(&begun, "pair.pem", &whole)?;
        self.give(&begun)?;
        self.disk.sync_folder(&begun)?;
        if self.shown() == Some(number) {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "another program has made a pair here meanwhile",
            ));
        }
        self.disk.remove(&done)?;
        self.disk.rename(&begun, &done)?;
        self.disk.sync_folder(&self.folder)
    }

    /// Takes away a pair that was begun and will not be completed.
    pub(crate) fn abandon(&self, number: u64) {
        // On a disk that is full or read-only this fails too; the next start tidies.
        let _ = self.disk.remove(&self.unfinished(number));
    }

    /// Moves the link, in one step.
    pub(crate) fn show(&self, number: u64) -> io::Result<()> {
        let fresh = self.folder.join(".current.new");
        self.disk.remove(&fresh)?;
        self.disk.link(Path::new(&pair_name(number)), &fresh)?;
        self.give(&fresh)?;
        self.clear_way()?;
        self.disk.rename(&fresh, &self.folder.join(CURRENT))?;
        self.disk.sync_folder(&self.folder)
    }

    /// A restore that follows links leaves a folder in place of the link. What is only a copy of a pair can go.
    fn clear_way(&self) -> io::Result<()> {
        let current = self.folder.join(CURRENT);
        if self.disk.target(&current).is_ok() {
            return Ok(());
        }
        let Ok(names) = self.disk.names(&current) else { return Ok(()) };
        match names.iter().find(|name| !FILES.contains(&name.as_str())) {
            None => self.disk.remove(&current),
            Some(name) => Err(io::Error::new(
                ErrorKind::AlreadyExists,
                format!(
                    "{} is a folder that holds {name}, which is not the agent's: move it away",
                    current.display()
                ),
            )),
        }
    }

    /// What of a pair is gone, if anything is. What cannot be read for another reason than that says nothing.
    pub(crate) fn flaw(&self, number: u64) -> Option<String> {
        FILES.iter().find_map(|name| {
            let path = self.pair_folder(number).join(name);
            let gone = match self.disk.read(&path) {
                Ok(bytes) if bytes.is_empty() && !MAY_BE_EMPTY.contains(name) => "is empty",
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => "is gone",
                Ok(_) | Err(_) => return None,
            };
            Some(format!("{} {gone}", path.display()))
        })
    }

    /// Where the link is, when it does not lead to the pair of this number.
    pub(crate) fn misled(&self, number: u64) -> String {
        let (current, wanted) = (self.folder.join(CURRENT), pair_name(number));
        let here = current.display();
        match self.disk.target(&current) {
            Ok(target) => format!("{here} leads to {}, not to {wanted}", target.display()),
            Err(e) if e.kind() == ErrorKind::NotFound => format!("{here}, the link to {wanted}, is gone"),
            Err(_) => format!("{here} is no link to {wanted}"),
        }
    }

    /// Closes the key of a pair to other users. What had been open.
    pub(crate) fn close(&self, number: u64) -> Vec<PathBuf> {
        let folder = self.pair_folder(number);
        let paths = SECRETS.iter().map(|name| folder.join(name)).chain([folder.clone()]);
        // What cannot be looked at or closed belongs to somebody who sees to it.
        paths.filter(|path| self.disk.close(path).unwrap_or(false)).collect()
    }

    /// The number of the pair that the link shows.
    pub(crate) fn shown(&self) -> Option<u64> {
        let target = self.disk.target(&self.folder.join(CURRENT)).ok()?;
        pair_number(target.to_str()?)
    }

    /// The number of the pair to make next, later than any that was ever begun here.
    pub(crate) fn next(&self, begun: u64) -> u64 {
        let names = self.disk.names(&self.folder).unwrap_or_default();
        let there = names.iter().filter_map(|name| pair_number(name)).max().unwrap_or(0);
        begun.max(there).max(self.shown().unwrap_or(0)) + 1
    }

    /// One file of a pair.
    pub(crate) fn file(&self, number: u64, name: &str) -> Result<Zeroizing<String>, String> {
        let path = self.pair_folder(number).join(name);
        let text = disk::read_text(self.disk.as_ref(), &path)?;
        Ok(Zeroizing::new(format!("{}\n", text.as_str())))
    }

    /// Takes away every pair but these, and what a crash left.
    pub(crate) fn keep_only(&self, numbers: &[u64]) -> io::Result<()> {
        for name in self.disk.names(&self.folder).unwrap_or_default() {
            let stale = match pair_number(&name) {
                Some(number) => !numbers.contains(&number),
                None => name.starts_with(".new-") || name == ".current.new",
            };
            if stale {
                self.disk.remove(&self.folder.join(name))?;
            }
        }
        Ok(())
    }

    fn put(&self, folder: &Path, name: &str, text: &str) -> io::Result<()> {
        let path = folder.join(name);
        self.disk.write_new(&path, text.as_bytes(), FILE_MODE)?;
        self.give(&path)
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        if self.owner == Owner::default() { Ok(()) } else { self.disk.give(path, self.owner) }
    }

    fn unfinished(&self, number: u64) -> PathBuf {
        self.folder.join(format!(".new-{number:06}"))
    }

    fn pair_folder(&self, number: u64) -> PathBuf {
        self.folder.join(pair_name(number))
    }
}

fn pair_name(number: u64) -> String {
    format!("pair-{number:06}")
}

fn pair_number(name: &str) -> Option<u64> {
    name.strip_prefix("pair-")?.parse().ok()
}
