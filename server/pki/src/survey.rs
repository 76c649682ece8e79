//! When what this mount has issued ends next: of each issuer, role and owner the first end of what nothing has replaced.
//!
//! A certificate is replaced where one of the same role with the same names ends later. No record says so: whatever was issued
//! is walked through, in pieces, one at each look, and what the last whole walk has found is shown meanwhile. So a look costs
//! little among a million certificates, and issuing costs nothing more. A restart begins the walk anew.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use kit::{Reading, Reads, Result};
use x509::Serial;

use super::issued::{self, Class, Entry, Place};
use super::store::{Id, REVOKED};

/// So many certificates one look walks through, and this part of those it has seen, up to so many: a long walk has long steps.
const PIECE: usize = 2_000;
const PART: usize = 16;
const PIECE_MAX: usize = 20_000;
/// One call of the walk costs as much as so many certificates, even where it finds none.
const CALL: usize = 100;
/// So many revoked certificates of a name are passed over to find one that still counts.
const PASSED_MAX: usize = 100;
/// So many owners are shown, those whose certificates end first.
const OWNERS_MAX: usize = 1000;
/// What lives no longer than this is short-lived, in seconds.
const SHORT: u64 = 86_400;

/// The first ends of a kind: by whether what ends is long-lived, and by its issuer, role or owner.
pub(super) type First = BTreeMap<(bool, String), u64>;

/// What one whole walk has found.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) issuers: First,
    pub(super) roles: First,
    pub(super) owners: First,
}

/// How far this mount's walk has come, and what the last one has found.
#[derive(Default)]
struct Survey(Mutex<Walk>);

#[derive(Default)]
struct Walk {
    place: Place,
    classes: Vec<(Id, Class)>,
    places: HashMap<Id, u32>,
    seen: Vec<Seen>,
    found: Arc<Ends>,
}

/// A certificate that has not ended: its role and names in a hash, its end, and the place of its class.
struct Seen {
    name: u64,
    end: u64,
    class: u32,
    is_long: bool,
}

/// Walks one piece further, and tells what the last whole walk has found.
pub(super) fn look(cx: &Reading<'_>) -> Result<Arc<Ends>> {
    let survey: Arc<Survey> = cx.lasting();
    let mut walk = survey.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut left = (PIECE + walk.seen.len() / PART).min(PIECE_MAX);
    while left > 0 {
        if walk.step(cx, &mut left)? {
            let whole = std::mem::take(&mut *walk);
            walk.found = Arc::new(whole.ends(cx)?);
            break;
        }
    }
    Ok(Arc::clone(&walk.found))
}

impl Walk {
    fn step(&mut self, cx: &Reading<'_>, left: &mut usize) -> Result<bool> {
        let Self { place, classes, places, seen, .. } = self;
        *left = left.saturating_sub(CALL);
        issued::walk(
            cx,
            place,
            |_| true,
            |entry, id, class| {
                let next = u32::try_from(classes.len()).unwrap_or(u32::MAX);
                let at = *places.entry(id).or_insert_with(|| {
                    classes.push((id, class.clone()));
                    next
                });
                seen.push(Seen::of(entry, class, at));
                *left = left.saturating_sub(1);
                Ok(if *left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            },
        )
    }

    fn ends(mut self, cx: &Reading<'_>) -> Result<Ends> {
        self.seen.sort_unstable_by_key(|one| (one.name, one.end));
        let names = self.seen.chunk_by(|one, next| one.name == next.name);
        let mut names: Vec<_> = names.collect();
        names.sort_unstable_by_key(|of_name| of_name.last().map(|newest| newest.end));
        let mut ends = Ends::default();
        let mut settled = HashSet::new();
        for of_name in names {
            let Some(newest) = of_name.last() else { continue };
            let Some((_, class)) = self.classes.get(newest.class as usize) else { continue };
            let kind = (newest.class, newest.is_long);
            if settled.contains(&kind) {
                continue;
            }
            let good = match ends.wants(class, newest.is_long) {
                true => self.unrevoked(cx, of_name)?,
                false => Some(newest),
            };
            let Some(good) = good else { continue };
            settled.insert(kind);
            if let Some((_, class)) = self.classes.get(good.class as usize) {
                ends.enter(class, good);
            }
        }
        Ok(ends)
    }

    /// The newest certificate of a name that is not revoked.
    fn unrevoked<'a>(&self, cx: &Reading<'_>, of_name: &'a [Seen]) -> Result<Option<&'a Seen>> {
        for one in of_name.iter().rev().take(PASSED_MAX) {
            let Some((id, class)) = self.classes.get(one.class as usize) else { continue };
            for entry in issued::ending(cx, *id, (one.end, &[]), one.end.saturating_add(1), PASSED_MAX)? {
                if name(&entry, class) == one.name && REVOKED.get(cx, &entry.serial)?.is_none() {
                    return Ok(Some(one));
                }
            }
        }
        Ok(None)
    }
}

impl Seen {
    fn of(entry: &Entry, class: &Class, at: u32) -> Self {
        let issued = Serial::from_magnitude(&entry.serial).ok().and_then(|serial| serial.time());
        // What was signed elsewhere does not say by its number when.
        let life = issued.map_or(u64::MAX, |nanos| entry.not_after.saturating_sub(nanos / 1_000_000_000));
        Self { name: name(entry, class), end: entry.not_after, class: at, is_long: life > SHORT }
    }
}

/// What a certificate and those that replace it have in common. One without names is replaced by none.
fn name(entry: &Entry, class: &Class) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut names: Vec<_> = entry.names.iter().collect();
    names.sort_unstable();
    (&class.role, &names).hash(&mut hasher);
    if names.is_empty() {
        entry.serial.hash(&mut hasher);
    }
    hasher.finish()
}

impl Ends {
    /// Whether a certificate of this class could be the first of anything. They come by their ends.
    fn wants(&self, class: &Class, is_long: bool) -> bool {
        let lacks = |ends: &First, of: &str| !of.is_empty() && !ends.contains_key(&(is_long, of.to_owned()));
        lacks(&self.issuers, &issuer(class))
            || lacks(&self.roles, &class.role)
            || self.owners.len() < OWNERS_MAX && lacks(&self.owners, &class.owner)
    }

    fn enter(&mut self, class: &Class, one: &Seen) {
        let has_room = self.owners.len() < OWNERS_MAX;
        let kinds = [
            (&mut self.issuers, issuer(class), true),
            (&mut self.roles, class.role.clone(), true),
            (&mut self.owners, class.owner.clone(), has_room),
        ];
        for (ends, of, has_room) in kinds {
            let key = (one.is_long, of);
            if key.1.is_empty() || !has_room && !ends.contains_key(&key) {
                continue;
            }
            ends.entry(key).and_modify(|end| *end = one.end.min(*end)).or_insert(one.end);
        }
    }
}

fn issuer(class: &Class) -> String {
    class.issuer.map(|id| id.to_string()).unwrap_or_default()
}
