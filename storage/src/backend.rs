use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes that only the keyring of a store makes and reads. The one currency of a backend.
#[derive(Clone, Eq, PartialEq)]
pub struct Cipher(pub(crate) Arc<[u8]>);

/// A key as it is stored: what users named is sealed in it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SealedKey(pub(crate) Box<[u8]>);

/// One change: a key and what it shall hold, or nothing.
#[derive(Clone)]
pub struct SealedWrite {
    pub(crate) key: SealedKey,
    pub(crate) value: Option<Cipher>,
}

/// What a scan hands its rows to, still sealed, until it breaks.
pub type EachSealed<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Where sealed bytes survive a power cut. Small, so that the lying, crashing, slow twin for tests is one page.
pub trait Backend: Send + Sync {
    /// An immutable moment: later commits do not show in it.
    ///
    /// # Errors
    /// If the disk fails.
    fn view(&self) -> io::Result<Arc<dyn View>>;

    /// Makes all of `batch` durable, or none of it. No key occurs twice in a batch.
    ///
    /// # Errors
    /// After an error it is open whether the batch is stored: call [`reopen`](Self::reopen) and look.
    fn commit(&self, batch: &[SealedWrite]) -> io::Result<()>;

    /// Forgets what is in memory and reads the disk anew. Views made before may fail from then on, never lie.
    ///
    /// # Errors
    /// If the disk still fails.
    fn reopen(&self) -> io::Result<()>;

    /// Called when writes pause: the moment to make the next open fast.
    ///
    /// # Errors
    /// If the disk fails; nothing that was committed is in doubt.
    fn settle(&self) -> io::Result<()> {
        Ok(())
    }

    /// Why what was committed cannot be settled at the moment, if so. It is durable, and there is less and less room for more.
    fn unsettled(&self) -> Option<Arc<str>> {
        None
    }

    /// How many bytes the disk has left, if this backend has a disk that can be asked.
    ///
    /// # Errors
    /// If it has one that does not answer.
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// How many bytes of writes fit one commit well. A group stops growing there.
    fn batch_size_max(&self) -> usize {
        16 * 1024 * 1024
    }

    /// What `storage_type` shows.
    fn kind(&self) -> &'static str;
}

/// An immutable moment of a backend.
pub trait View: Send + Sync {
    /// What `key` held at that moment.
    ///
    /// # Errors
    /// If the disk fails, or the moment is gone.
    fn get(&self, key: &SealedKey) -> io::Result<Option<Cipher>>;

    /// Every entry from `from` (inclusive) to `until` (exclusive), in byte order, until `each` breaks.
    ///
    /// # Errors
    /// If the disk fails, or the moment is gone.
    fn scan(&self, from: &SealedKey, until: &SealedKey, each: EachSealed<'_>) -> io::Result<()>;
}

impl Cipher {
    pub(crate) fn from_disk(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl SealedKey {
    /// The bytes that a backend orders by.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl SealedWrite {
    /// What changes.
    pub fn key(&self) -> &SealedKey {
        &self.key
    }

    /// What it becomes; `None` deletes it.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_ref().map(|cipher| &*cipher.0)
    }

    pub(crate) fn size(&self) -> usize {
        self.key.0.len() + self.value.as_ref().map_or(0, |value| value.0.len())
    }
}
