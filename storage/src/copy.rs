//! A store as a whole, as it lies on the disk: what backups are made of.
//!
//! A copy goes in pieces, each a run of entries in the order of their keys: the length of the key and of the value as
//! 32-bit numbers, most significant byte first, then both. Nothing is opened on the way, so a copy is as sealed as the disk.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::backend::{Backend, Cipher, SealedKey, SealedWrite, View};
use crate::error::{Error, Result};
use crate::names;
use crate::phase::{self, Options, Phase};
use crate::txn::VALUE_SIZE_MAX;

/// What a piece comes to before the next begins.
const PIECE: usize = 4 * 1024 * 1024;
/// No piece is longer: that much, and one entry of the largest kind.
pub const PIECE_SIZE_MAX: usize = PIECE + 2 * VALUE_SIZE_MAX;

/// One moment of a store, still sealed, from its beginning to its end.
pub struct Copy {
    view: Arc<dyn View>,
    after: Option<Vec<u8>>,
}

impl Copy {
    pub(crate) fn of(view: Arc<dyn View>) -> Self {
        Self { view, after: None }
    }

    /// The next piece, and how many entries are in it; nothing at the end.
    ///
    /// # Errors
    /// If the disk fails, or the moment is gone.
    pub fn piece(&mut self) -> Result<Option<(Vec<u8>, u64)>> {
        let (mut piece, mut entries, mut last) = (Vec::new(), 0, None);
        let from = SealedKey(self.after.as_deref().map_or_else(Box::default, next));
        self.view.scan(&from, &names::after(&[u8::MAX - 1]), &mut |key, value| {
            for part in [key, value] {
                piece.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            }
            piece.extend_from_slice(key);
            piece.extend_from_slice(value);
            entries += 1;
            last = Some(key.to_vec());
            if piece.len() < PIECE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if last.is_some() {
            self.after = last;
        }
        Ok((entries > 0).then_some((piece, entries)))
    }
}

/// A store that is filled with the pieces of a copy.
pub struct Restoring {
    backend: Box<dyn Backend>,
    last: Vec<u8>,
}

impl Restoring {
    /// Fills this one.
    ///
    /// # Errors
    /// If something lies in it, or the disk fails.
    pub fn into(backend: Box<dyn Backend>) -> Result<Self> {
        match phase::is_blank(&*backend)? {
            true => Ok(Self { backend, last: Vec::new() }),
            false => Err(Error::Foreign("only an empty store can be filled from a backup".to_owned())),
        }
    }

    /// Stores the next piece.
    ///
    /// # Errors
    /// If it is none, or the disk fails.
    pub fn piece(&mut self, mut piece: &[u8]) -> Result<()> {
        let damaged = || Error::Foreign("a piece of the backup is damaged".to_owned());
        let mut batch = Vec::new();
        while !piece.is_empty() {
            let (key, value) = entry(&mut piece).ok_or_else(damaged)?;
            if key <= &*self.last {
                return Err(Error::Foreign("the pieces of the backup are not in their order".to_owned()));
            }
            self.last = key.to_vec();
            batch.push(SealedWrite { key: SealedKey(key.into()), value: Some(Cipher::from_disk(value)) });
        }
        Ok(self.backend.commit(&batch)?)
    }

    /// What it has become.
    ///
    /// # Errors
    /// If that is no store of this program, or of a later one.
    pub fn finish(self, options: Options) -> Result<Phase> {
        self.backend.settle()?;
        phase::open(self.backend, options)
    }
}

/// The first key behind this one.
fn next(key: &[u8]) -> Box<[u8]> {
    [key, &[0]].concat().into()
}

/// Takes the first entry off a piece.
fn entry<'a>(piece: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (key_size, rest) = piece.split_first_chunk::<4>()?;
    let (value_size, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*key_size)).ok()?)?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*value_size)).ok()?)?;
    *piece = rest;
    Some((key, value))
}
