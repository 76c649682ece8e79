//! Whether what was written still lies there: people restore, copy and tidy, and a service reads it at its next start.

use std::time::Duration;

use super::Course;
use crate::agent::{
    log::Level,
    moment::Moment,
    record::Record,
    shelf::Shelf,
    world::{Event, Trouble, World},
};

/// What loses its files again within this is not fetched again at once: something takes them away.
const BETWEEN_LOSSES: Duration = Duration::from_secs(3600);

impl Course {
    /// Compares the disk with the record. A link that leads elsewhere is put right and delivered again; a pair without its
    /// files is as none.
    pub(super) fn mend(&mut self, world: &impl World, now: Moment) -> Result<(), Trouble> {
        let Some(held) = self.record.held.clone() else { return Ok(()) };
        if let Some(flaw) = self.shelf.flaw(held.number) {
            self.lose(world, now, &flaw);
            return Ok(());
        }
        for path in self.shelf.close(held.number) {
            let line =
                format!("{}: {} was open to other users; it is closed again", self.plan.name, path.display());
            world.log(Level::Warn, &line);
        }
        let Some(astray) = astray(&self.shelf, &self.record) else { return Ok(()) };
        if self.record.delivered {
            world.log(Level::Warn, &format!("{}: {astray}; it is put right", self.plan.name));
        }
        self.record.delivered = false;
        self.show(held.number)
    }

    /// The pair is worth nothing any more.
    fn lose(&mut self, world: &impl World, now: Moment, flaw: &str) {
        let again = self.lost_at.is_some_and(|at| now < at.plus(BETWEEN_LOSSES));
        let said = format!("{flaw}: the pair is worth nothing, and another is fetched");
        world.log(Level::Warn, &format!("{}: {said}", self.plan.name));
        self.tell(world, Event::DiskFailed, &said);
        let earlier = self.record.earlier.take().filter(|held| self.shelf.flaw(held.number).is_none());
        let fresh = Record::new(&self.plan.name);
        let old = std::mem::replace(&mut self.record, fresh);
        self.record.number = old.number;
        self.record.failures = old.failures;
        self.record.last_success = old.last_success;
        self.record.last_error = old.last_error;
        self.record.last_report = old.last_report;
        self.record.try_at = old.try_at;
        // Until there is another one, a service that starts finds the one before.
        if let Some(earlier) = earlier.as_ref().filter(|held| held.not_after > now && !held.unwanted) {
            let shown = self.shelf.show(earlier.number);
            shown.unwrap_or_else(|e| world.log(Level::Warn, &format!("{}: {e}", self.plan.name)));
        }
        self.record.earlier = earlier;
        let after = if again { now.plus(BETWEEN_LOSSES) } else { now };
        self.record.try_at = self.record.try_at.max(after);
        // What is fetched after a wait and lost once more waits again.
        self.lost_at = Some(after);
    }
}

/// What lies on the disk other than the record says, if anything does.
pub(crate) fn astray(shelf: &Shelf, record: &Record) -> Option<String> {
    let held = record.held.as_ref()?;
    let earlier = record.earlier.as_ref().filter(|_| !record.delivered);
    let right = earlier.into_iter().chain([held]).any(|held| shelf.shown() == Some(held.number));
    let flaw = shelf.flaw(held.number);
    flaw.or_else(|| (!right).then(|| shelf.misled(held.number)))
}
