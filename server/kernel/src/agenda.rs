use std::ops::ControlFlow;

use kit::{Due, Error, MountId, Name, Result, Time};
use serde::{Deserialize, Serialize};
use storage::{Snapshot, Txn};

use crate::ids;
use crate::leases::LeaseId;
use crate::namespaces::Ns;
use crate::shelf::{KERNEL, OfNamespaces, SharedTable, Shelf, Source};
use crate::tokens::TokenHash;

/// Everything that is to happen later, in the order of its date: date ‖ tag. It is in the store, so a new
/// leader goes on where the old one stopped, and what is due is a scan that stops early.
const AGENDA: Shelf<Item> = Shelf::new(NUMBER);
const NUMBER: u8 = 8;

/// What is on the agenda to be undone outside, by the mount that did it: mount ‖ tag. So an unmounted engine knows when
/// it has nothing left to do.
const UNDOING: Shelf<(), OfNamespaces> = Shelf::shared(SharedTable::Undoing);

/// What tells entries of one date apart.
pub(crate) type Tag = [u8; 16];

/// What happens when its date comes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Item {
    /// An internal operation of a mount.
    Operation {
        /// The mount's id, never its path: a move does not break it.
        mount: String,
        due: Due,
        #[serde(default)]
        attempts: u32,
    },
    /// A token ends.
    Token {
        hash: TokenHash,
        /// The one that it belongs to.
        #[serde(default, skip_serializing_if = "Ns::is_root")]
        namespace: Ns,
    },
    /// A lease ends.
    Lease { id: LeaseId },
    /// What a dead token left behind is cleared away.
    Bury {
        hash: TokenHash,
        /// The one that it belonged to.
        #[serde(default, skip_serializing_if = "Ns::is_root")]
        namespace: Ns,
        /// Those it made live on without it.
        childless: bool,
    },
    /// What an unmounted engine left behind is cleared away.
    Sweep { mount: String },
    /// What an unmounted engine did outside is undone; then it is forgotten, and what it left behind is cleared away.
    Unmount {
        mount: String,
        #[serde(default)]
        attempts: u32,
    },
    /// Every lease below a prefix ends that was issued until then. What is mounted at the same path later keeps its
    /// own.
    EndAll {
        #[serde(default, skip_serializing_if = "Ns::is_root")]
        namespace: Ns,
        prefix: String,
        force: bool,
        until: Time,
    },
    /// What a deleted namespace holds is ended and cleared away.
    Raze {
        namespace: Ns,
        /// The one that it lies in.
        #[serde(default, skip_serializing_if = "Ns::is_root")]
        above: Ns,
    },
    /// What a namespace with a seal of its own has left behind is cleared away. Nobody can read it any more.
    Wipe {
        /// Where the namespace lay.
        #[serde(default, skip_serializing_if = "Ns::is_root")]
        above: Ns,
        /// The one that is gone.
        ring: Ns,
        /// How far it has come: a place among the kernel's tables, and an id there in hex.
        #[serde(default)]
        table: u8,
        #[serde(default)]
        from: String,
    },
}

impl Item {
    /// Whose it is. What belongs to a namespace with a seal of its own is on an agenda apart, so that nobody looks at it
    /// while that is sealed.
    pub(crate) fn owner(&self) -> MountId {
        match self {
            Self::Operation { mount, .. } | Self::Sweep { mount } | Self::Unmount { mount, .. } => {
                ids::mount(mount).unwrap_or(KERNEL)
            }
            Self::Token { namespace, .. } | Self::Bury { namespace, .. } | Self::EndAll { namespace, .. } => {
                namespace.mount()
            }
            Self::Lease { id } => id.ns.mount(),
            Self::Raze { above, .. } | Self::Wipe { above, .. } => above.mount(),
        }
    }
}

/// An entry of the agenda.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) at: Time,
    pub(crate) tag: Tag,
    pub(crate) item: Item,
}

/// The agenda of whoever owns something.
fn agenda(source: &impl Source, owner: MountId) -> Shelf<Item> {
    source.ring(owner).map_or(AGENDA, |ring| Shelf::within(ring.owner(), NUMBER))
}

pub(crate) fn enter(txn: &mut Txn, at: Time, tag: Tag, item: &Item) -> Result<()> {
    agenda(txn, item.owner()).put(txn, Name::Id(&key(at, tag)), item)
}

/// Takes an entry of this owner off.
pub(crate) fn strike(txn: &mut Txn, owner: MountId, at: Time, tag: Tag) -> Result<()> {
    agenda(txn, owner).delete(txn, Name::Id(&key(at, tag)))
}

/// Takes an entry off that was found.
pub(crate) fn strike_found(txn: &mut Txn, found: &Found) -> Result<()> {
    strike(txn, found.item.owner(), found.at, found.tag)
}

/// Whether this entry still stands.
pub(crate) fn stands(source: &impl Source, found: &Found) -> Result<bool> {
    stands_at(source, found.item.owner(), found.at, found.tag)
}

/// Whether there is an entry of this owner, date and tag.
pub(crate) fn stands_at(source: &impl Source, owner: MountId, at: Time, tag: Tag) -> Result<bool> {
    Ok(agenda(source, owner).get(source, Name::Id(&key(at, tag)))?.is_some())
}

/// Up to `limit` entries that are due, oldest first; and as many of each open namespace with a seal of its own.
pub(crate) fn due(today: &Snapshot, now: Time, limit: usize) -> Result<Vec<Found>> {
    let mut found = due_on(&AGENDA, today, now, limit)?;
    for ring in today.open_rings() {
        found.append(&mut due_on(&Shelf::within(ring.owner(), NUMBER), today, now, limit)?);
    }
    Ok(found)
}

fn due_on(agenda: &Shelf<Item>, today: &Snapshot, now: Time, limit: usize) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let until = now.0.saturating_add(1).to_be_bytes();
    agenda.scan(today, &[], Some(&until), |id, item| {
        let at = id.first_chunk::<8>().map(|date| Time(u64::from_be_bytes(*date)));
        let tag = id.last_chunk::<16>().copied();
        let (Some(at), Some(tag)) = (at, tag) else {
            return Err(Error::internal("an entry of the agenda has a damaged key"));
        };
        found.push(Found { at, tag, item });
        Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

/// Notes that something of a mount is to be undone outside.
pub(crate) fn note_undo(txn: &mut Txn, mount: MountId, tag: Tag) -> Result<()> {
    UNDOING.put(txn, mount, Name::Id(&undo_key(mount, tag)), &())
}

/// Notes that it is undone, or need not be.
pub(crate) fn forget_undo(txn: &mut Txn, mount: MountId, tag: Tag) -> Result<()> {
    UNDOING.delete(txn, Name::Id(&undo_key(mount, tag)))
}

/// Whether something of a mount is to be undone outside, leases aside.
pub(crate) fn undoes(source: &impl Source, mount: MountId) -> Result<bool> {
    Ok(!UNDOING.below(source, &mount.0, 1)?.is_empty())
}

fn undo_key(mount: MountId, tag: Tag) -> [u8; 32] {
    let mut key = [0; 32];
    key.iter_mut().zip(mount.0.into_iter().chain(tag)).for_each(|(to, from)| *to = from);
    key
}

fn key(at: Time, tag: Tag) -> [u8; 24] {
    let mut key = [0; 24];
    key.iter_mut().zip(at.0.to_be_bytes().into_iter().chain(tag)).for_each(|(to, from)| *to = from);
    key
}
