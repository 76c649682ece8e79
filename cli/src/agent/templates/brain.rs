//! The answers, and when each must be seen to.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use gotmpl::Value;
use serde_json::Value as Json;

use super::{
    language::Known,
    query::Query,
    source::{self, Answer, Habit, Life, Source},
    values::Numbers,
};
use crate::agent::{
    cache::Cache,
    log::Level,
    moment::Moment,
    schedule,
    world::{Trouble, World},
};

/// How long a wait after failures may become; the waits of certificates are bounded in the same way.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What is known.
pub(super) struct Brain<W> {
    pub(super) source: Source<W>,
    habit: Habit,
    cache: Option<Rc<Cache>>,
    entries: BTreeMap<Query, Entry>,
    /// The server did not answer in this round: nobody else needs to wait for it.
    down: Option<Trouble>,
}

struct Entry {
    told: Option<Told>,
    /// When to renew it, look again, or try again.
    next: Moment,
    failures: u32,
}

struct Told {
    json: Json,
    value: Value,
    numbers: Numbers,
    life: Life,
}

/// A question that has no answer yet.
pub(super) struct Unanswered {
    /// Why, if it was asked for now; nothing if its wait is not over.
    pub(super) trouble: Option<Trouble>,
    pub(super) failures: u32,
    pub(super) again: Moment,
}

impl<W: World> Brain<W> {
    pub(super) fn new(source: Source<W>, habit: Habit, cache: Option<Rc<Cache>>) -> Brain<W> {
        Brain { source, habit, cache, entries: BTreeMap::new(), down: None }
    }

    pub(super) fn now(&self) -> Moment {
        self.source.world.now()
    }

    /// All answers.
    pub(super) fn known(&self) -> Known {
        let mut known = Known::default();
        for (query, entry) in &self.entries {
            if let Some(told) = &entry.told {
                known.answers.insert(query.clone(), told.value.clone());
                known.numbers.join(&told.numbers);
            }
        }
        known
    }

    /// A new round begins.
    pub(super) fn begin(&mut self) {
        self.down = None;
    }

    /// The token is another: what was leased to the one before ends with it.
    pub(super) fn new_token(&mut self) {
        let now = self.now();
        for entry in self.entries.values_mut() {
            if let Some(told) = &mut entry.told
                && matches!(told.life, Life::Lease { .. } | Life::Token { .. })
            {
                told.life = Life::Until(now);
                entry.next = now;
            }
        }
    }

    /// These are to be looked at again now, because what they say cannot be used.
    pub(super) fn doubt(&mut self, queries: &BTreeSet<Query>) {
        let now = self.now();
        for (query, entry) in &mut self.entries {
            let read = entry.told.as_ref().is_some_and(|told| matches!(told.life, Life::Static | Life::File));
            if read && queries.contains(query) {
                entry.next = now;
            }
        }
    }

    /// What failed is tried again now: there is a token again.
    pub(super) fn hurry(&mut self) {
        let now = self.now();
        for entry in self.entries.values_mut().filter(|entry| entry.failures > 0) {
            entry.next = now;
        }
    }

    /// Drops what nobody uses any more.
    pub(super) fn retain(&mut self, used: &BTreeSet<Query>) {
        self.entries.retain(|query, _| used.contains(query));
    }

    /// The most failures in a row that one of these has had.
    pub(super) fn failures(&self, queries: &BTreeSet<Query>) -> u32 {
        let failed = self.entries.iter().filter(|(query, _)| queries.contains(query));
        failed.map(|(_, entry)| entry.failures).max().unwrap_or(0)
    }

    /// The next moment at which there is something to do.
    pub(super) fn next(&self) -> Option<Moment> {
        self.entries.values().map(|entry| entry.next).min()
    }

    /// Gets an answer that a template cannot be rendered without.
    pub(super) async fn need(&mut self, query: &Query, kept: Option<&str>) -> Result<(), Unanswered> {
        let now = self.now();
        match self.entries.get(query) {
            Some(entry) if entry.told.is_some() => return Ok(()),
            Some(entry) if entry.next > now => {
                return Err(Unanswered { trouble: None, failures: entry.failures, again: entry.next });
            }
            _ => {}
        }
        match self.fetch(query, kept).await {
            Ok(answer) => {
                self.take(query, answer);
                Ok(())
            }
            Err(trouble) => self.fall_back(query, trouble),
        }
    }

    /// Sees to everything that is due. The questions whose answers are others now, and what went wrong.
    pub(super) async fn refresh(&mut self) -> (BTreeSet<Query>, Vec<(Query, Trouble, u32)>) {
        let now = self.now();
        let due: Vec<Query> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.told.is_some() && entry.next <= now)
            .map(|(query, _)| query.clone())
            .collect();
        let (mut changed, mut wrong) = (BTreeSet::new(), Vec::new());
        for query in due {
            match self.see_to(&query).await {
                Ok(true) => drop(changed.insert(query)),
                Ok(false) => {}
                Err(trouble) => {
                    let failures = self.failed(&query, &trouble);
                    wrong.push((query, trouble, failures));
                }
            }
        }
        (changed, wrong)
    }

    /// Renews an answer or gets it anew. Whether it says something else.
    async fn see_to(&mut self, query: &Query) -> Result<bool, Trouble> {
        let life =
            self.entries.get(query).and_then(|entry| entry.told.as_ref()).map(|told| told.life.clone());
        if let Some(life @ (Life::Lease { .. } | Life::Token { .. })) = life {
            self.still_up()?;
            let renewed = self.source.renew(&life).await;
            if let Some(next) = self.note(renewed)? {
                self.settle(query, next);
                return Ok(false);
            }
        }
        let answer = self.fetch(query, None).await?;
        let before = self.entries.get(query).and_then(|entry| entry.told.as_ref());
        let changed = before.is_none_or(|told| !source::same(&told.json, &answer.json));
        self.take(query, answer);
        Ok(changed)
    }

    async fn fetch(&mut self, query: &Query, kept: Option<&str>) -> Result<Answer, Trouble> {
        if !matches!(query, Query::File(..)) {
            self.still_up()?;
        }
        let answer = self.source.fetch(query, kept).await;
        self.note(answer)
    }

    fn still_up(&self) -> Result<(), Trouble> {
        self.down.clone().map_or(Ok(()), Err)
    }

    fn note<T>(&mut self, outcome: Result<T, Trouble>) -> Result<T, Trouble> {
        if let Err(trouble) = &outcome
            && trouble.unanswered()
        {
            self.down = Some(trouble.clone());
        }
        outcome
    }

    fn take(&mut self, query: &Query, answer: Answer) {
        if let Some(cache) = &self.cache
            && !matches!(query, Query::File(..))
            && let Err(why) = cache.keep(&query.key(), &answer.json, self.now())
        {
            self.source.world.log(Level::Warn, &format!("the cache: {why}"));
        }
        let mut numbers = Numbers::default();
        let value = numbers.read(&answer.json);
        let told = Told { json: answer.json, value, numbers, life: answer.life.clone() };
        let next = Moment::default();
        self.entries.insert(query.clone(), Entry { told: Some(told), next, failures: 0 });
        self.settle(query, answer.life);
    }

    fn settle(&mut self, query: &Query, life: Life) {
        let due = life.due(self.now(), self.habit, self.source.world.chance());
        if let Some(entry) = self.entries.get_mut(query) {
            (entry.next, entry.failures) = (due, 0);
            if let Some(told) = &mut entry.told {
                told.life = life;
            }
        }
    }

    /// What the cache on the disk has, if the server has no answer.
    fn fall_back(&mut self, query: &Query, trouble: Trouble) -> Result<(), Unanswered> {
        let failures = self.failed(query, &trouble);
        let again = self.entries.get(query).map_or(self.now(), |entry| entry.next);
        let unanswered = |trouble: Trouble| Unanswered { trouble: Some(trouble), failures, again };
        let Some(cache) = self.cache.clone().filter(|_| trouble.lost()) else {
            return Err(unanswered(trouble));
        };
        match cache.find(&query.key(), self.now()) {
            Ok(Some(json)) => {
                let line = format!("{query} comes from the cache: {}", trouble.text);
                self.source.world.log(Level::Warn, &line);
                let mut numbers = Numbers::default();
                let value = numbers.read(&json);
                if let Some(entry) = self.entries.get_mut(query) {
                    entry.told = Some(Told { json, value, numbers, life: Life::Static });
                }
                Ok(())
            }
            Ok(None) => Err(unanswered(trouble)),
            Err(why) => Err(unanswered(trouble.during(&why))),
        }
    }

    fn failed(&mut self, query: &Query, trouble: &Trouble) -> u32 {
        let (now, chance) = (self.now(), self.source.world.chance());
        let fresh = Entry { told: None, next: now, failures: 0 };
        let entry = self.entries.entry(query.clone()).or_insert(fresh);
        entry.failures = entry.failures.saturating_add(1);
        let wait = schedule::backoff(entry.failures, PATIENCE, chance);
        entry.next = now.plus(trouble.pause.unwrap_or_default().min(PATIENCE).max(wait));
        entry.failures
    }
}
