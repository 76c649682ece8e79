//! Answers of the server on the disk, sealed, so that templates can be rendered while it cannot be reached.
//!
//! Losing it is harmless: everything in it is asked for again.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac, rand,
};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use super::{
    disk::{self, Disk, Machine},
    moment::Moment,
};

/// A key of AES-256.
const KEY_SIZE: usize = 32;
/// The database holds a page of each secret in memory; it is small.
const MEMORY: u64 = 1024 * 1024;
/// What is older than this, and may not be used any more, is dropped.
const KEPT_MIN: Duration = Duration::from_secs(30 * 86_400);
/// A clock that went back further than this is not believed.
const CLOCK_BACK_MAX: Duration = Duration::from_secs(300);

/// An agent that ends has the cache a little longer than its last word. So long it is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What the configuration says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CachePlan {
    pub(crate) folder: PathBuf,
    /// How old an answer may be with which the agent starts.
    pub(crate) stale_max: Duration,
    /// Whether the agent ends if it cannot be opened.
    pub(crate) needed: Needed,
}

/// Whether there must be a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needed {
    Yes,
    No,
}

/// The open cache.
pub(crate) struct Cache {
    tree: sled::Db,
    seal: RandomizedNonceKey,
    names: hmac::Key,
    stale_max: Duration,
}

impl Cache {
    /// Opens the cache, and makes it and its key if they are not there.
    pub(crate) fn open(plan: &CachePlan, now: Moment) -> Result<Cache, String> {
        let shown = plan.folder.display();
        Machine.make_folder(&plan.folder, 0o700).map_err(|e| format!("{shown} cannot be made: {e}"))?;
        let key = key(&plan.folder.join("key"))?;
        let base = plan.folder.join("answers");
        let open =
            || sled::Config::default().path(&base).cache_capacity(MEMORY).mode(sled::Mode::LowSpace).open();
        let tree = match open() {
            Err(e) if is_damage(&e) => {
                Machine.remove(&base).map_err(|e| format!("{} cannot be removed: {e}", base.display()))?;
                open()
            }
            Err(e) if is_taken(&e) => {
                await_lock(&base.join("db"));
                open()
            }
            other => other,
        };
        let tree = tree.map_err(|e| {
            format!(
                "{} cannot be opened: {e}: if nothing else uses it, remove it and it begins anew",
                base.display()
            )
        })?;
        let unusable = |_| format!("{shown}: its key cannot be used");
        let seal = RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map_err(unusable)?;
        let names = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), b"names");
        let names = hmac::Key::new(hmac::HMAC_SHA256, names.as_ref());
        let cache = Cache { tree, seal, names, stale_max: plan.stale_max };
        cache.sweep(now);
        Ok(cache)
    }

    /// Keeps an answer.
    pub(crate) fn keep(&self, question: &str, answer: &Json, now: Moment) -> Result<(), String> {
        let name = self.name(question);
        let mut sealed =
            Zeroizing::new(json!({ "at": now.millis(), "answer": answer }).to_string().into_bytes());
        let nonce = self.seal.seal_in_place_append_tag(Aad::from(name.as_ref()), &mut *sealed);
        let nonce = nonce.map_err(|_| "an answer cannot be sealed".to_owned())?;
        let record = [nonce.as_ref(), sealed.as_slice()].concat();
        self.tree
            .insert(name.as_ref(), record)
            .map(drop)
            .map_err(|e| format!("an answer cannot be kept: {e}"))
    }

    /// An answer that is young enough. An error says that there is one which is too old.
    pub(crate) fn find(&self, question: &str, now: Moment) -> Result<Option<Json>, String> {
        let name = self.name(question);
        let record = self.tree.get(name.as_ref()).map_err(|e| format!("the cache cannot be read: {e}"))?;
        let Some((at, answer)) = record.and_then(|record| self.opened(name.as_ref(), &record)) else {
            return Ok(None);
        };
        let age = now.since(at);
        if age > self.stale_max || at.since(now) > CLOCK_BACK_MAX {
            return Err(format!(
                "the cache has an answer of {at}, which max_stale ({} s) forbids",
                self.stale_max.as_secs()
            ));
        }
        Ok(Some(answer))
    }

    /// Keeps the token of an identity. It is on the disk on return: what it was got with may be taken away after that.
    pub(crate) fn keep_token(&self, whose: &str, token: &str, now: Moment) -> Result<(), String> {
        self.keep(whose, &json!(token), now)?;
        self.tree.flush().map(drop).map_err(|e| format!("it cannot be made durable: {e}"))
    }

    /// The token of an identity. How old it is says nothing: the server knows whether it is good.
    pub(crate) fn token(&self, whose: &str) -> Option<Zeroizing<String>> {
        let name = self.name(whose);
        let (_, kept) = self.opened(name.as_ref(), &self.tree.get(name.as_ref()).ok()??)?;
        Some(Zeroizing::new(kept.as_str()?.to_owned()))
    }

    /// Drops a token that is no good any more.
    pub(crate) fn drop_token(&self, whose: &str) {
        // One that stays is refused by the server again.
        let _ = self.tree.remove(self.name(whose).as_ref());
    }

    fn name(&self, question: &str) -> hmac::Tag {
        hmac::sign(&self.names, question.as_bytes())
    }

    fn opened(&self, name: &[u8], record: &[u8]) -> Option<(Moment, Json)> {
        let (nonce, sealed) = record.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let opened = self.seal.open_in_place(nonce, Aad::from(name), &mut sealed).ok()?;
        let mut kept: Json = serde_json::from_slice(opened).ok()?;
        let at = Moment::from_millis(kept.get("at")?.as_i64()?);
        Some((at, kept.get_mut("answer")?.take()))
    }

    /// Drops what is too old, and what another key sealed.
    fn sweep(&self, now: Moment) {
        for (name, record) in self.tree.iter().filter_map(Result::ok) {
            let young = self
                .opened(&name, &record)
                .is_some_and(|(at, _)| now.since(at) <= self.stale_max.max(KEPT_MIN));
            if !young {
                // What cannot be removed is refused when it is asked for.
                let _ = self.tree.remove(name);
            }
        }
    }
}

/// Whether what is there cannot be read, whatever the database calls that. A disk that fails is another matter, and so is
/// another agent that has it open.
fn is_damage(error: &sled::Error) -> bool {
    match error {
        sled::Error::Io(e) => matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData),
        _ => true,
    }
}

/// Whether another has the database open, which the library says in words alone.
fn is_taken(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(_)) && error.to_string().contains("acquire lock")
}

/// Waits until nobody has a file locked, but not for ever.
fn await_lock(path: &Path) {
    let Ok(file) = File::open(path) else { return };
    let (free, told) = mpsc::channel();
    thread::spawn(move || {
        // Had for a moment only: whoever waits opens it anew.
        let _ = flock(&file, FlockOperation::LockExclusive);
        drop(file);
        let _ = free.send(());
    });
    let _ = told.recv_timeout(LOCK_WAIT);
}

/// The key, from its file.
fn key(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let shown = path.display();
    match fs::read(path) {
        Ok(bytes) if bytes.len() == KEY_SIZE => return Ok(Zeroizing::new(bytes)),
        Ok(_) => {
            return Err(format!("{shown} holds no key of 32 bytes: remove it and the cache begins anew"));
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(format!("{shown} cannot be read: {e}")),
    }
    let mut fresh = Zeroizing::new(vec![0; KEY_SIZE]);
    rand::fill(&mut fresh).map_err(|_| "the system gives no randomness".to_owned())?;
    disk::replace(&Machine, path, &fresh, 0o600).map_err(|e| format!("{shown} cannot be written: {e}"))?;
    Ok(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_while_another_ends_waits_for_it() {
        let folder = std::env::temp_dir().join(format!("keep-cache-waits-{}", std::process::id()));
        let plan =
            CachePlan { folder: folder.clone(), stale_max: Duration::from_secs(60), needed: Needed::Yes };
        let now = Moment::from_seconds(1_700_000_000);
        let held = Cache::open(&plan, now).unwrap();
        let (begun, seen) = mpsc::channel();
        let next = thread::spawn(move || {
            begun.send(()).unwrap();
            Cache::open(&plan, now).map(drop)
        });
        seen.recv().unwrap();
        drop(held);
        assert_eq!(next.join().unwrap(), Ok(()));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn an_answer_is_sealed_and_has_an_age() {
        let folder = std::env::temp_dir().join(format!("keep-cache-{}", std::process::id()));
        let plan =
            CachePlan { folder: folder.clone(), stale_max: Duration::from_secs(60), needed: Needed::Yes };
        let at = |seconds: i64| Moment::from_seconds(1_700_000_000 + seconds);
        let answer = json!({"Data": {"password": "sesame-in-clear"}});
        let cache = Cache::open(&plan, at(0)).unwrap();
        cache.keep("read a", &answer, at(0)).unwrap();
        drop(cache);
        let cache = Cache::open(&plan, at(1)).unwrap();
        assert_eq!(cache.find("read a", at(60)), Ok(Some(answer)));
        assert_eq!(cache.find("read b", at(1)), Ok(None));
        assert!(cache.find("read a", at(61)).is_err_and(|why| why.contains("max_stale")));
        assert!(cache.find("read a", at(-400)).is_err(), "the clock went back");
        cache.keep_token("token a", "s.sesame", at(0)).unwrap();
        assert_eq!(cache.token("token a").as_deref().map(String::as_str), Some("s.sesame"));
        assert_eq!(cache.token("token b"), None, "another identity has another token");
        drop(cache);
        for file in fs::read_dir(folder.join("answers")).unwrap().filter_map(Result::ok) {
            let bytes = fs::read(file.path()).unwrap_or_default();
            assert!(!bytes.windows(6).any(|window| window == b"sesame"), "{file:?}");
        }
        for file in fs::read_dir(folder.join("answers")).unwrap().filter_map(Result::ok) {
            if file.path().is_file() {
                fs::write(file.path(), [0xa5; 3000]).unwrap();
            }
        }
        let cache = Cache::open(&plan, at(1)).expect("what is damaged begins anew");
        assert_eq!(cache.find("read a", at(1)), Ok(None));
        drop(cache);
        fs::write(folder.join("key"), [7; KEY_SIZE]).unwrap();
        let cache = Cache::open(&plan, at(1)).unwrap();
        assert_eq!(cache.find("read a", at(1)), Ok(None), "another key opens nothing");
        drop(cache);
        fs::remove_dir_all(&folder).unwrap();
    }
}
