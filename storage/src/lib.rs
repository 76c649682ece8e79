//! Durable, ordered, transactional, encrypted bytes.
//!
//! A store is [`Blank`], [`Sealed`] or [`Open`]; each is a type, and only [`Open`] holds keys and can read.
//! Reads work on an immutable [`Snapshot`] and never wait for a writer. Writes gather in a [`Txn`], and one commit
//! makes all of a transaction durable or none of it. A [`Backend`] only ever sees [`Cipher`] and [`SealedKey`].
//! `docs/FORMAT.md` describes every stored byte.

mod backend;
mod cache;
mod cipher;
mod commit;
mod copy;
mod disk;
mod error;
pub mod faulty;
mod folder;
mod journal;
mod key;
mod keyring;
mod layer;
mod memory;
mod names;
mod open;
mod overlay;
mod phase;
mod queue;
mod random;
mod redb;
mod ring;
mod rings;
pub mod seal;
mod siv;
mod sled;
mod snapshot;
mod stripes;
mod tree;
mod txn;
mod undo;
mod value;

pub use backend::{Backend, Cipher, EachSealed, SealedKey, SealedWrite, View};
pub use commit::{Clock, Done};
pub use copy::{Copy, PIECE_SIZE_MAX, Restoring};
pub use disk::Disk;
pub use error::{Error, Result};
pub use folder::survey;
pub use key::{Key, MountId, NAME_SIZE_MAX, Name, Place};
pub use keyring::KeyStatus;
pub use memory::Memory;
pub use open::{NewSeal, Open};
pub use phase::{
    Blank, Committer, FORMAT_VERSION, Options, Phase, Sealed, StillBlank, StillSealed, UnsealError, open,
};
pub use random::{Random, SystemRandom};
pub use redb::Redb;
pub use ring::{FAMILY_SIZE, RINGS_MAX, RingId};
pub use rings::RingDraft;
pub use sled::Sled;
pub use snapshot::{EachPath, EachRow, Snapshot};
pub use stripes::ReadSet;
pub use txn::{Conflict, TXN_SIZE_MAX, Txn, VALUE_SIZE_MAX};
pub use value::Value;

/// The number of a commit. Grows with every group of transactions that is committed together.
pub type Index = u64;
