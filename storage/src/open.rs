use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use zeroize::Zeroizing;

use crate::Index;
use crate::backend::{Cipher, SealedWrite};
use crate::commit::{Core, Done, KEYRING, Writer};
use crate::copy::Copy;
use crate::error::{Error, Result};
use crate::keyring::{KeyStatus, Keyring};
use crate::names;
use crate::phase::{Options, SEAL, Sealed};
use crate::seal::record::{self, SealRecord};
use crate::seal::{Initialised, KeyBytes, SealChoice, SealConfig, Split, UnsealKey};
use crate::snapshot::Snapshot;
use crate::txn::{Conflict, Txn};

/// What a blob's associated data begins with, so that a blob is never mistaken for an entry.
const BLOB: u8 = 2;

/// A store with its keys. Reads see the latest [`Snapshot`] and never wait; commits go through one committer.
pub struct Open {
    pub(crate) core: Arc<Core>,
    committer: Mutex<Option<JoinHandle<()>>>,
    options: Options,
    /// What keeps the root key while the store is sealed. A new root key is put under the same seal with it.
    unseal_key: Mutex<UnsealKey>,
    /// The record of the seal as it is stored: a disk that cannot be read keeps nobody from sealing.
    seal: Mutex<SealRecord>,
}

/// A new seal, or a new recovery key, that is made and does not hold yet.
pub struct NewSeal(Kind);

enum Kind {
    Whole(Box<record::Made>),
    Recovery(KeyBytes, Split),
}

impl NewSeal {
    /// The seal, if people hold shares of its key.
    pub(crate) fn of_shares(self) -> Option<Box<record::Made>> {
        match self.0 {
            Kind::Whole(made) if matches!(made.config, SealConfig::Shamir(_)) => Some(made),
            _ => None,
        }
    }
}

impl Open {
    pub(crate) fn start(
        core: Core,
        options: Options,
        unseal_key: UnsealKey,
        seal: SealRecord,
    ) -> Result<Self> {
        let core = Arc::new(core);
        let committer = if core.threaded {
            let core = Arc::clone(&core);
            let thread = std::thread::Builder::new().name("committer".to_owned()).spawn(move || core.serve());
            Some(thread?)
        } else {
            None
        };
        let (committer, unseal_key, seal) = (Mutex::new(committer), Mutex::new(unseal_key), Mutex::new(seal));
        Ok(Self { core, committer, options, unseal_key, seal })
    }

    /// The latest published state.
    pub fn snapshot(&self) -> Snapshot {
        self.core.snapshot()
    }

    /// A transaction on the latest published state.
    pub fn begin(&self) -> Txn {
        Txn::on(self.snapshot())
    }

    /// Makes all writes of `txn` durable and visible at once, or none, and waits for that.
    ///
    /// # Errors
    /// Inside, [`Conflict`] if something that it read has changed since: the caller runs it again. Outside, the disk.
    pub fn commit(&self, txn: Txn) -> Result<Result<Index, Conflict>> {
        let (answer, answered) = mpsc::sync_channel(1);
        // The receiver waits right below, so the answer always fits.
        self.submit(txn, Box::new(move |result| drop(answer.send(result))));
        answered.recv().unwrap_or(Err(Error::Closed))
    }

    /// As [`commit`](Self::commit), but does not wait: `done` is told, in the committer's thread.
    ///
    /// Transactions that were committed together share one index.
    pub fn submit(&self, txn: Txn, done: Done) {
        let prepared = txn.prepare(&*self.core.random);
        self.core.submit(prepared, done);
    }

    /// Runs and commits a transaction while nobody else can: it cannot conflict. For one that did too often.
    ///
    /// `run` must not commit anything else. If it fails, nothing is committed.
    ///
    /// # Errors
    /// Outside, the disk; inside, whatever `run` answers.
    pub fn alone<T, E>(&self, run: impl FnOnce(&mut Txn) -> Result<T, E>) -> Result<Result<T, E>> {
        self.core.exclusively(|writer| {
            if self.core.is_closed() {
                return Err(Error::Closed);
            }
            let mut txn = self.begin();
            let result = match run(&mut txn) {
                Ok(result) => result,
                Err(error) => return Ok(Err(error)),
            };
            let answers = self.core.group(writer, vec![txn.prepare(&*self.core.random)]);
            match answers.into_iter().next() {
                Some(Ok(Ok(_))) => Ok(Ok(result)),
                Some(Err(error)) => Err(error),
                Some(Ok(Err(Conflict))) | None => {
                    Err(Error::NotStored("it depended on what no longer held when it began".into()))
                }
            }
        })
    }

    /// Begins a new term: what is written from now on is sealed under a new key. Old entries stay readable.
    ///
    /// # Errors
    /// If the disk fails; then the old term goes on.
    pub fn rotate(&self) -> Result<KeyStatus> {
        self.core.exclusively(|writer| {
            let random = &*self.core.random;
            let keyring = self.core.shared.keyring.load().rotated(random, (self.core.clock)())?;
            let status = keyring.status();
            self.core.store_meta(writer, vec![keyring_write(&keyring, random)], Some(keyring))?;
            Ok(status)
        })
    }

    /// The active term.
    pub fn key_status(&self) -> KeyStatus {
        self.core.shared.keyring.load().status()
    }

    /// Makes a new seal. It does not hold before [`install`](Self::install), so that its shares can be proven first.
    ///
    /// # Errors
    /// If the choice cannot be.
    pub fn draft_seal(&self, choice: &SealChoice) -> Result<(NewSeal, Initialised)> {
        let mut made = record::make(choice, &*self.core.random)?;
        let key = made.handed_out.key.clone();
        let empty = Initialised { shares: Vec::new(), recovery: Vec::new(), key };
        let handed_out = std::mem::replace(&mut made.handed_out, empty);
        Ok((NewSeal(Kind::Whole(Box::new(made))), handed_out))
    }

    /// Makes a new recovery key for a store that the server unseals itself.
    ///
    /// # Errors
    /// If the numbers cannot be, or this store has no use for a recovery key.
    pub fn draft_recovery(&self, split: Split) -> Result<(NewSeal, Vec<crate::seal::shamir::Share>)> {
        if let SealConfig::Shamir(_) = self.seal_config()? {
            return Err(Error::Seal(
                "recovery keys are for seals that unseal by themselves; this store has unseal keys, so rekey those",
            ));
        }
        let key = KeyBytes::generate(&*self.core.random);
        let shares = split.of(&key, &*self.core.random)?;
        Ok((NewSeal(Kind::Recovery(key, split)), shares))
    }

    /// Makes a new seal hold, with a new root key. The old unseal key is worth nothing from then on.
    ///
    /// # Errors
    /// If the disk fails; then the old seal holds.
    pub fn install(&self, seal: NewSeal) -> Result<()> {
        self.core.exclusively(|writer| {
            let random = &*self.core.random;
            let keyring = self.core.shared.keyring.load();
            let mut next = None;
            let (keyring, record) = match seal.0 {
                Kind::Whole(made) => {
                    let recovery = made.recovery.as_ref().map(|key| &key.expose()[..]);
                    let keyring = keyring.rerooted(random)?.recovered_by(recovery)?;
                    let record = made.keep(keyring.root(), random);
                    next = Some(made.unseal_key());
                    (keyring, record)
                }
                Kind::Recovery(key, split) => {
                    let keyring = keyring.recovered_by(Some(key.expose()))?;
                    let record = self.recovery_record(split)?;
                    (keyring, record)
                }
            };
            self.store_seal(writer, keyring, record)?;
            if let Some(key) = next {
                *self.unseal_key.lock().unwrap_or_else(PoisonError::into_inner) = key;
            }
            Ok(())
        })
    }

    /// Makes a new root key, under the seal as it is: the unseal key stays, and so does the recovery key.
    ///
    /// # Errors
    /// If the disk fails; then the old root key holds.
    pub fn reroot(&self) -> Result<()> {
        self.core.exclusively(|writer| {
            let random = &*self.core.random;
            let keyring = self.core.shared.keyring.load().rerooted(random)?;
            let config = self.seal_config()?;
            let record = self.kept_as(&config, keyring.root())?;
            self.store_seal(writer, keyring, record)
        })
    }

    /// Root key and seal go in one commit.
    fn store_seal(&self, writer: &mut Writer, keyring: Keyring, record: Cipher) -> Result<()> {
        let kept = SealRecord::read(&record).ok_or(Error::Seal("the record of the seal does not read"))?;
        let record = SealedWrite { key: names::meta(SEAL), value: Some(record) };
        let batch = vec![keyring_write(&keyring, &*self.core.random), record];
        self.core.store_meta(writer, batch, Some(keyring))?;
        *self.seal.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(())
    }

    /// What the stored seal says of itself.
    ///
    /// # Errors
    /// If the disk fails or the record is damaged.
    pub fn seal_config(&self) -> Result<SealConfig> {
        Ok(self.seal_record()?.config)
    }

    /// True for the key that proves an owner: the unseal key, or the recovery key where the server unseals itself.
    ///
    /// # Errors
    /// If the disk fails or the seal's record is damaged.
    pub fn admits(&self, key: &KeyBytes) -> Result<bool> {
        let record = self.seal_record()?;
        Ok(match record.config {
            SealConfig::Shamir(_) => record.open(&UnsealKey::Shamir(key.clone())).is_some(),
            SealConfig::Static { .. } => self.core.shared.keyring.load().recovers(key.expose()),
        })
    }

    /// All of the latest published state, sealed, for a backup.
    pub fn copy(&self) -> Copy {
        Copy::of(Arc::clone(&self.core.current.load().view))
    }

    /// What opens it again.
    pub fn unseal_key(&self) -> UnsealKey {
        self.unseal_key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Seals bytes that are kept elsewhere, such as a batch token, for `aad` alone.
    ///
    /// # Errors
    /// If the seal had to be counted first and the disk fails.
    pub fn seal_blob(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        self.core.count_one_ahead()?;
        let keyring = self.core.shared.keyring.load();
        Ok(keyring.seal(&blob_name(aad), plain, &*self.core.random).0.to_vec())
    }

    /// Opens what [`seal_blob`](Self::seal_blob) made for the same `aad`, under any term.
    pub fn open_blob(&self, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.core.shared.keyring.load().open(&blob_name(aad), sealed).map(Zeroizing::new)
    }

    /// A key for `label` that stays the same for the life of the store, whatever is rotated.
    pub fn derive(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        self.core.shared.keyring.load().derive(label)
    }

    /// Why writes are refused at the moment, if they are.
    pub fn trouble(&self) -> Option<String> {
        self.core.trouble().map(|cause| cause.to_string())
    }

    /// Why what is committed does not reach its place at the moment, if so. It is durable; soon there is no room for more.
    pub fn unsettled(&self) -> Option<String> {
        self.core.backend.unsettled().map(|cause| cause.to_string())
    }

    /// How many reads met a damaged entry since the store was opened.
    pub fn damaged(&self) -> u64 {
        self.core.shared.damaged.load(Ordering::Relaxed)
    }

    /// How many bytes of memory hold what was read of late, as they are reckoned.
    pub fn cached_bytes(&self) -> u64 {
        let shared = &self.core.shared;
        shared.entries.weight() + shared.lists.weight() + shared.folders.weight()
    }

    /// What `storage_type` shows.
    pub fn storage_kind(&self) -> &'static str {
        self.core.backend.kind()
    }

    /// Takes no more writes, commits those that wait, and hands back the store without its keys.
    ///
    /// Snapshots that are still held go on reading; the last one drops the keys.
    ///
    /// A disk that has failed keeps nobody from sealing. It is then opened anew before the store is unsealed.
    pub fn shut(&self) -> Sealed {
        self.core.close();
        self.join();
        let (backend, options) = (Arc::clone(&self.core.backend), self.options.clone());
        let stored = self.core.store_count();
        match &stored {
            Ok(()) => self.core.settle(),
            Err(error) => {
                tracing::warn!(%error, "the store was closed, and the disk takes no writes: the stored count of seals stays ahead");
            }
        }
        let last = self.seal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Sealed::after(backend, options, last, stored.is_err())
    }

    fn join(&self) {
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last owner may be a callback in the committer's own thread, which then ends by itself.
        if let Some(thread) = committer
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the committer ended in a panic");
        }
    }

    fn seal_record(&self) -> Result<SealRecord> {
        let stored = self.core.current.load().view.get(&names::meta(SEAL))?;
        let record = stored.as_ref().and_then(SealRecord::read);
        record.ok_or_else(|| {
            Error::Foreign("the record of the seal is damaged; restore it from a backup".to_owned())
        })
    }

    /// The seal's record with another split of the recovery key.
    fn recovery_record(&self, split: Split) -> Result<Cipher> {
        let SealConfig::Static { key_id, .. } = self.seal_config()? else {
            return Err(Error::Seal("only a seal that unseals by itself has a recovery key"));
        };
        let config = SealConfig::Static { key_id, recovery: Some(split) };
        self.kept_as(&config, self.core.shared.keyring.load().root())
    }

    /// The record that keeps `root` under the seal as it is, described by `config`.
    fn kept_as(&self, config: &SealConfig, root: &[u8]) -> Result<Cipher> {
        let key = self.unseal_key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if self.seal_record()?.open(&key).is_none() {
            return Err(Error::Seal(
                "the key that unseals this store is not known; seal and unseal it first",
            ));
        }
        let key = match &key {
            UnsealKey::Shamir(key) => key,
            UnsealKey::Static { current, .. } => &current.key,
        };
        Ok(record::keep(config, key, root, &*self.core.random))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.core.close();
        self.join();
    }
}

fn keyring_write(keyring: &Keyring, random: &dyn crate::Random) -> SealedWrite {
    SealedWrite { key: names::meta(KEYRING), value: Some(keyring.sealed(random)) }
}

fn blob_name(aad: &[u8]) -> Vec<u8> {
    [&[BLOB], aad].concat()
}
