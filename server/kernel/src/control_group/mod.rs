//! Requests that are done only once others have consented: what waits, and who counts as having consented.

mod asked;
mod park;
mod replay;

use std::collections::BTreeSet;

use kit::{Error, MountId, Name, Result, Time};
use policy::{Capability, ControlGroup};
use serde::{Deserialize, Serialize};
use storage::{Key, Place, Txn};

use crate::cubbyhole;
use crate::identity::{Book, Resolved};
use crate::ids;
use crate::router::{Router, Space};
use crate::shelf::Source;
use crate::token_record::Purpose;
use crate::tokens::{self, TokenHash, TokenRecord};
use crate::wrapping;

pub(crate) use asked::Asked;
pub(crate) use replay::{Replay, Replaying};

/// The policy of tokens that a waiting request is known by.
const POLICY: &str = policy::builtin::CONTROL_GROUP;
/// What lies in the drawer of such a token.
const NAME: &str = "control-group";
/// How many may consent to one request. A factor wants so many at most; more change nothing.
const APPROVALS_MAX: usize = 256;

/// A request that waits, as it lies in the drawer of its token, and goes away with it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Parked {
    pub(crate) asked: Asked,
    /// The token of who asked, sealed under the token of this request: only who holds that can have it done.
    #[serde(with = "hex::serde")]
    sealed: Vec<u8>,
    /// The entity of who asked; empty, if there is none.
    pub(crate) requester: String,
    /// The identity mount whose groups are meant.
    book: String,
    wanted: Wanted,
    approvals: Vec<Approval>,
}

/// Whose consent is wanted for one capability. All factors must be satisfied.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Wanted {
    self_auth_allowed: bool,
    factors: Vec<Factor>,
}

/// So many members of any of these groups.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Factor {
    group_names: Vec<String>,
    group_ids: Vec<String>,
    approvals: u32,
}

/// Somebody's consent.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Approval {
    entity_id: String,
    /// What the token that gave it was called.
    name: String,
}

impl Wanted {
    /// What a rule wants for this capability.
    pub(crate) fn of(group: &ControlGroup, capability: Capability) -> Self {
        let factors = group.factors_of(capability).map(|factor| Factor {
            group_names: factor.group_names.clone(),
            group_ids: factor.group_ids.clone(),
            approvals: factor.approvals,
        });
        Self { self_auth_allowed: group.self_auth_allowed, factors: factors.collect() }
    }

    /// Whether those who consented, without the one who asked if that does not count, are enough.
    fn satisfied(&self, consented: &[Resolved], requester: &str) -> bool {
        let counts = |one: &&Resolved| self.self_auth_allowed || one.entity.id != requester;
        self.factors.iter().all(|factor| {
            let members = consented.iter().filter(counts).filter(|one| factor.has(one)).count();
            u32::try_from(members).is_ok_and(|members| members >= factor.approvals)
        })
    }
}

impl Factor {
    /// Whether this entity is in one of the groups, directly or through others.
    fn has(&self, one: &Resolved) -> bool {
        one.groups().any(|group| {
            self.group_ids.contains(&group.id)
                || self.group_names.iter().any(|name| name.eq_ignore_ascii_case(&group.name))
        })
    }
}

impl Parked {
    fn book(&self) -> Result<Book> {
        ids::mount(&self.book).map(Book::of).ok_or_else(|| Error::internal("a request that waits is damaged"))
    }

    /// Those whose consent counts today: each person once, whatever was merged since, and none who is disabled.
    fn consented(&self, from: &impl Source) -> Result<Vec<(Resolved, &Approval)>> {
        let book = self.book()?;
        let (mut seen, mut consented) = (BTreeSet::new(), Vec::new());
        for approval in &self.approvals {
            let Some(one) = book.resolve(from, &approval.entity_id)? else { continue };
            let counts = !one.entity.disabled && self.wanted.factors.iter().any(|factor| factor.has(&one));
            if counts && seen.insert(one.entity.id.clone()) {
                consented.push((one, approval));
            }
        }
        Ok(consented)
    }

    /// Who asked, by the id that they have today.
    fn asker(&self, from: &impl Source) -> Result<String> {
        let found =
            if self.requester.is_empty() { None } else { self.book()?.resolve(from, &self.requester)? };
        Ok(found.map_or_else(|| self.requester.clone(), |one| one.entity.id))
    }

    /// The ids and names of those whose consent counts today.
    pub(crate) fn authorizations(&self, from: &impl Source) -> Result<Vec<(String, String)>> {
        let consented = self.consented(from)?.into_iter();
        Ok(consented.map(|(one, approval)| (one.entity.id, approval.name.clone())).collect())
    }

    /// Whether all who must have consented; and, if the rules want something else by now, whether that is satisfied too.
    pub(crate) fn approved(&self, from: &impl Source, by_now: Option<&Wanted>) -> Result<bool> {
        let consented: Vec<_> = self.consented(from)?.into_iter().map(|(one, _)| one).collect();
        let asker = self.asker(from)?;
        let satisfied = |wanted: &Wanted| wanted.satisfied(&consented, &asker);
        Ok(satisfied(&self.wanted) && by_now.is_none_or(satisfied))
    }

    /// Takes somebody's consent. Of one who is in none of the groups it is nothing.
    ///
    /// # Errors
    /// If they are the one who asked, and that does not count; or they have consented already.
    pub(crate) fn consent(&mut self, from: &impl Source, entity: &str, name: &str) -> Result<()> {
        let Some(one) = self.book()?.resolve(from, entity)? else { return Ok(()) };
        if !self.wanted.self_auth_allowed && one.entity.id == self.asker(from)? {
            return Err(Error::server("token owner cannot be approver"));
        }
        if self.authorizations(from)?.iter().any(|(known, _)| *known == one.entity.id) {
            return Err(Error::server("approver has already authorized"));
        }
        if !self.wanted.factors.iter().any(|factor| factor.has(&one)) {
            return Ok(());
        }
        self.approvals.retain(|approval| approval.entity_id != one.entity.id);
        if self.approvals.len() >= APPROVALS_MAX {
            return Err(Error::invalid(format!("{APPROVALS_MAX} have consented to this request already")));
        }
        self.approvals.push(Approval { entity_id: one.entity.id, name: name.to_owned() });
        Ok(())
    }

    /// The entity of who asked, and where it is known.
    pub(crate) fn requester(&self, from: &impl Source) -> Result<Option<crate::identity::Entity>> {
        if self.requester.is_empty() {
            return Ok(None);
        }
        Ok(self.book()?.resolve(from, &self.requester)?.map(|one| one.entity))
    }
}

/// Whether a token is there to have a waiting request done, and for nothing else.
pub(crate) fn is_waiting(record: &TokenRecord) -> bool {
    record.purpose() == Some(Purpose::Waiting)
}

/// What waits under a token.
pub(crate) fn parked(source: &impl Source, cubbyhole: MountId, hash: TokenHash) -> Result<Option<Parked>> {
    let path = drawer(hash);
    let value = source.value(&Key { place: place(cubbyhole), name: Name::Path(&path) })?;
    Ok(value.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
}

/// Puts down what waits under a token.
pub(crate) fn put(txn: &mut Txn, cubbyhole: MountId, hash: TokenHash, parked: &Parked) -> Result<()> {
    let path = drawer(hash);
    let key = Key { place: place(cubbyhole), name: Name::Path(&path) };
    Ok(txn.put(&key, serde_json::to_vec(parked)?)?)
}

/// The token that an accessor of this namespace stands for, and what waits under it.
///
/// # Errors
/// If there is no such token.
pub(crate) fn find(
    source: &impl Source,
    space: &Space,
    accessor: &str,
    now: Time,
) -> Result<(TokenHash, Option<Parked>)> {
    if accessor.is_empty() {
        return Err(Error::invalid("missing accessor").wrapped());
    }
    let found = tokens::find_accessor(source, &space.namespace, accessor)?;
    let found = found.filter(|(_, record)| record.expires.is_none_or(|expires| expires > now));
    let (hash, record) = found.ok_or_else(|| Error::invalid("invalid accessor").wrapped())?;
    let waits = if is_waiting(&record) { parked(source, space.cubbyhole()?, hash)? } else { None };
    Ok((hash, waits))
}

/// Ends the wait of an approved request in the transaction that does it, so that it is done once.
///
/// # Errors
/// If it is gone, or not approved by those who count today.
fn redeem(txn: &mut Txn, router: &Router, replaying: &Replaying, now: Time) -> Result<()> {
    let hash = replaying.hash;
    let record = tokens::find(txn, hash)?.filter(is_waiting).ok_or_else(wrapping::invalid)?;
    if record.expires.is_some_and(|expires| expires <= now) {
        return Err(wrapping::invalid());
    }
    let space = router.space(record.namespace).filter(|space| space.lives()).ok_or_else(wrapping::invalid)?;
    let parked = parked(txn, space.cubbyhole()?, hash)?.ok_or_else(wrapping::invalid)?;
    if !parked.approved(txn, replaying.wanted.as_ref())? {
        return Err(not_approved());
    }
    tokens::revoke(txn, hash, now)
}

/// What one is told who is too early.
pub(crate) fn not_approved() -> Error {
    Error::invalid(
        "request needs further approval: sys/control-group/request shows who has consented; the token stays good \
         until then",
    )
}

fn place(cubbyhole: MountId) -> Place {
    Place { mount: cubbyhole, table: cubbyhole::TABLE }
}

fn drawer(hash: TokenHash) -> String {
    format!("{}/{NAME}", hash.drawer())
}
