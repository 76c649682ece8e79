use std::io;
use std::sync::Arc;

use crate::key::Place;

/// Why storage refused. Sorted by what the caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// One entry is larger than [`VALUE_SIZE_MAX`](crate::VALUE_SIZE_MAX). The text is the one clients know.
    #[error("put failed due to value being too large; got {size} bytes, max: {max} bytes")]
    ValueTooLarge {
        /// What was to be stored.
        size: usize,
        /// What can be.
        max: usize,
    },
    /// A transaction grew beyond [`TXN_SIZE_MAX`](crate::TXN_SIZE_MAX).
    #[error(
        "the transaction is too large: more than {max} bytes in one commit; split the request into smaller ones"
    )]
    TxnTooLarge {
        /// What one transaction can hold.
        max: usize,
    },
    /// A name that cannot be stored.
    #[error("invalid name: {0}")]
    Name(&'static str),
    /// An entry that no key of this store opens: damaged, or moved by someone who writes the disk.
    #[error(
        "the entry {entry} of {place} is damaged and was not served; restore it from a backup, or delete it and write it anew"
    )]
    Corrupt {
        /// Where it lies.
        place: Place,
        /// Its key as stored, in hex; names are sealed in it.
        entry: String,
    },
    /// Writes are refused until the disk works again. Reads go on.
    #[error(
        "writes are refused: {0}; free space or repair the disk, and the server takes writes again by itself"
    )]
    Trouble(Arc<str>),
    /// The write failed, and was not stored.
    #[error("the write failed and nothing of it was stored: {0}")]
    NotStored(Arc<str>),
    /// The write failed, and the disk cannot be asked any more whether it was stored.
    #[error("the write failed, and whether it was stored is not known until the disk can be read again: {0}")]
    Uncertain(Arc<str>),
    /// More writes wait than are worth waiting for.
    #[error("too many writes are waiting for the disk; try again later")]
    Busy,
    /// It belongs to a namespace with a seal of its own, and that is sealed.
    #[error("namespace is sealed")]
    Sealed,
    /// What the seal of this store has no use for.
    #[error("{0}")]
    Seal(&'static str),
    /// The store was sealed while this was under way.
    #[error("the store was sealed")]
    Closed,
    /// The folder or file holds something else than a store of this version.
    #[error("{0}")]
    Foreign(String),
    /// Another process has this store open.
    #[error("{0} is in use by another process; stop that one first, or give this one a folder of its own")]
    InUse(String),
    /// Number of shares, threshold or shares that cannot be.
    #[error("{0}")]
    Shares(#[from] crate::seal::shamir::SharesError),
    /// The backend failed to read or to open.
    #[error("storage: {0}")]
    Io(Arc<io::Error>),
}

/// What storage answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}
