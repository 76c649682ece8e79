//! A commit that failed may be stored all the same. Nothing else is committed before that is known.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Answer, Change, Core, Writer, lock, read_anew};
use crate::Index;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::txn::Txn;

/// A disk that failed is tried again after this.
const RETRY: Duration = Duration::from_millis(500);

/// What became of a commit that was in doubt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It is stored, under this index.
    Stored(Index),
    Lost,
}

impl Core {
    /// After a failed read: opens the backend anew, unless a commit is at work, which then finds out by itself.
    pub(super) fn heal(&self) {
        let Ok(mut writer) = self.writer.try_lock() else { return };
        if writer.waited || !self.shared.sick.swap(false, Ordering::Relaxed) {
            return;
        }
        let index = self.current.load().index;
        writer.doubt.get_or_insert_with(|| Change { cause: "a read failed".into(), ..Change::to(index) });
        if let Err(error) = self.settle_doubt(&mut writer) {
            tracing::error!(%error, "a read failed, and so did opening the backend anew");
            self.doubtful.store(true, Ordering::Relaxed);
            self.shared.sick.store(true, Ordering::Relaxed);
            drop(writer);
            self.leave_to_the_committer();
        }
    }

    /// Why nothing can be written now.
    pub(super) fn refusal(&self) -> Option<Error> {
        if !self.doubtful.load(Ordering::Relaxed) {
            return None;
        }
        self.trouble().map(Error::Trouble)
    }

    /// After a failed commit: looks whether it is stored.
    pub(super) fn ask_the_disk(&self, writer: &mut Writer) -> Result<Index> {
        let cause: Arc<str> =
            writer.doubt.as_ref().map_or_else(|| "unknown".into(), |doubt| Arc::clone(&doubt.cause));
        self.doubtful.store(true, Ordering::Relaxed);
        self.set_trouble(Some(Arc::clone(&cause)));
        match self.look(writer) {
            Ok(Some(Fate::Stored(index))) => Ok(index),
            Ok(Some(Fate::Lost) | None) => Err(Error::NotStored(cause)),
            Err(_) => Err(Error::Uncertain(cause)),
        }
    }

    /// Has the committer try the disk again, who would sleep else: writes are refused at the door.
    pub(super) fn leave_to_the_committer(&self) {
        if self.threaded {
            let nothing = Txn::on(Snapshot(self.current.load_full())).prepare(&*self.random);
            self.queue.push(nothing, Box::new(drop));
        }
    }

    /// The committer tries the disk again and again, and lets others have what can be had without it. Nothing, if the store
    /// is closed meanwhile.
    pub(super) fn mend(&self) -> Option<Fate> {
        loop {
            let open = self.queue.pause(RETRY);
            let mut writer = lock(&self.writer);
            let looked = if open { self.look(&mut writer) } else { Ok(None) };
            if let Ok(fate) = looked {
                writer.waited = false;
                return fate;
            }
        }
    }

    /// Opens the backend anew if it is not known what it holds, unless the committer is about to.
    pub(super) fn settle_doubt(&self, writer: &mut Writer) -> Result<()> {
        match &writer.doubt {
            Some(doubt) if writer.waited => Err(Error::Trouble(Arc::clone(&doubt.cause))),
            _ => self.look(writer).map(drop),
        }
    }

    /// Opens the backend anew and tells what became of the commit that is in doubt.
    fn look(&self, writer: &mut Writer) -> Result<Option<Fate>> {
        let Some(doubt) = writer.doubt.take() else { return Ok(None) };
        self.shared.sick.store(false, Ordering::Relaxed);
        let fate = match self.backend.reopen().and_then(|()| read_anew(&*self.backend)) {
            Ok((index, view)) if index >= doubt.index => {
                let asked = doubt.index;
                // Rings that were opened or sealed meanwhile have used up indices that are not stored.
                let index = doubt.index.max(self.current.load().index + 1);
                self.publish(Change { index, ..doubt }, view);
                Fate::Stored(asked)
            }
            Ok((_, view)) => {
                self.publish(Change::to(self.current.load().index), view);
                Fate::Lost
            }
            Err(error) => {
                let cause: Arc<str> = format!("{} (then: {error})", doubt.cause).into();
                self.set_trouble(Some(cause));
                writer.doubt = Some(doubt);
                // A disk that takes no writes can be read, perhaps, if not by the view of before.
                if let Ok(view) = self.backend.view() {
                    self.publish(Change::to(self.current.load().index), view);
                }
                return Err(Error::Trouble(self.trouble().unwrap_or_else(|| "unknown".into())));
            }
        };
        tracing::warn!("the backend was opened anew and takes writes again");
        self.doubtful.store(false, Ordering::Relaxed);
        self.set_trouble(None);
        Ok(Some(fate))
    }
}

/// What is told once it is known what became of it.
pub(super) fn told(answer: Answer, fate: Option<Fate>) -> Answer {
    match (answer, fate) {
        (Err(Error::Uncertain(_)), Some(Fate::Stored(index))) => Ok(Ok(index)),
        (Err(Error::Uncertain(cause)), Some(Fate::Lost)) => Err(Error::NotStored(cause)),
        (answer, _) => answer,
    }
}
