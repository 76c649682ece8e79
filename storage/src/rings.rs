//! Making, opening and sealing the keyrings of namespaces.

use std::sync::Arc;

use crate::backend::{Cipher, SealedWrite};
use crate::commit::{SEALS_RESERVED, Writer};
use crate::error::{Error, Result};
use crate::key::{MountId, Place};
use crate::keyring::{KeyStatus, Keyring};
use crate::open::{NewSeal, Open};
use crate::phase::{self, UnsealError};
use crate::ring::{self, RINGS_MAX, Ring, RingChange, RingId};
use crate::seal::record::{self, Made, SealRecord};
use crate::seal::shamir::Share;
use crate::seal::{KeyBytes, SealChoice, SealConfig, Split, UnsealKey};
use crate::txn::Txn;

/// A ring that is made and not stored yet.
pub struct RingDraft {
    pub(crate) ring: Ring,
    seal: Made,
}

/// Rings that come or go with a transaction.
#[derive(Default)]
pub(crate) struct RingsOf {
    /// Made with it; it seals with their keys.
    pub(crate) founded: Vec<RingDraft>,
    pub(crate) dropped: Vec<RingId>,
}

impl Txn {
    /// Makes a ring together with what else this writes. It seals that, and is sealed from the commit on.
    pub fn found(&mut self, ring: RingDraft) {
        self.rings.get_or_insert_default().founded.push(ring);
    }

    /// Ends a ring: with this commit its keys are gone, and what it sealed is rubbish.
    pub fn drop_ring(&mut self, ring: RingId) {
        self.rings.get_or_insert_default().dropped.push(ring);
    }

    /// The ring that seals what an owner has, those included that are made here.
    pub fn ring(&self, owner: MountId) -> Option<RingId> {
        self.founds(owner).map(|ring| ring.id).or_else(|| self.snapshot().ring(owner))
    }

    /// As [`Snapshot::hides`](crate::Snapshot::hides): what is written here is not looked at.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn hides(&self, place: Place, prefix: &[u8]) -> Result<bool> {
        self.snapshot().hides(place, prefix)
    }

    /// True if what an owner has cannot be read or written now.
    pub fn is_sealed(&self, owner: MountId) -> bool {
        self.founds(owner).is_none() && self.snapshot().is_sealed(owner)
    }

    /// The ring of an owner, if it is made with this.
    pub(crate) fn founds(&self, owner: MountId) -> Option<&Ring> {
        let id = RingId::of(owner);
        self.rings.as_ref()?.founded.iter().map(|draft| &draft.ring).find(|ring| ring.id == id)
    }
}

impl RingDraft {
    /// What the ring writes of itself.
    pub(crate) fn writes(&self, random: &dyn crate::Random) -> Vec<SealedWrite> {
        let seal = self.seal.keep(self.ring.keyring.root(), random);
        vec![
            SealedWrite { key: ring::seal_key(self.ring.id), value: Some(seal) },
            self.ring.keys_write(random),
            self.ring.used_write(SEALS_RESERVED),
            phase::format_of_rings(),
        ]
    }
}

impl Open {
    /// Makes a ring for an owner and its family, and the shares that open it. [`Txn::found`] stores it.
    ///
    /// # Errors
    /// If the numbers cannot be, there are too many rings, or one of this id.
    pub fn draft_ring(&self, owner: MountId, split: Split) -> Result<(RingDraft, Vec<Share>)> {
        let (id, random) = (RingId::of(owner), &*self.core.random);
        let rings = self.core.shared.rings.load();
        if rings.len() >= RINGS_MAX {
            return Err(Error::Seal(
                "there are 1000 namespaces with a seal of their own already; delete one, or make this one without a seal",
            ));
        }
        if rings.knows(id) {
            return Err(Error::Seal("an id was made twice; try again"));
        }
        let mut seal = record::make(&SealChoice::Shamir(split), random)?;
        let shares = std::mem::take(&mut seal.handed_out.shares);
        let keyring = Keyring::fresh(random, (self.core.clock)())?;
        let ring = Ring::new(id, keyring, seal.key().clone(), 0)?;
        Ok((RingDraft { ring, seal }, shares))
    }

    /// Opens a ring with its unseal key. What it sealed can be read from then on.
    ///
    /// # Errors
    /// If the key does not fit, or the ring is damaged or gone.
    pub fn unseal_ring(&self, id: RingId, key: &KeyBytes) -> Result<(), UnsealError> {
        self.core.exclusively(|writer| {
            let record = self.ring_record(id)?;
            let opened = record.open(&UnsealKey::Shamir(key.clone()));
            let (root, _) = opened.ok_or(UnsealError::WrongKey)?;
            let view = &self.core.current.load().view;
            let read = |key| view.get(&key).map_err(Error::from);
            let stored = read(ring::keys_key(id))?.ok_or(UnsealError::Damaged)?;
            let keyring = ring::unseal(id, &root, &stored).map_err(Error::from)?;
            let keyring = keyring.ok_or(UnsealError::Damaged)?;
            let used = phase::seals(read(ring::used_key(id))?.as_ref(), keyring.status().term);
            keyring.count_from(used);
            let ring = Arc::new(Ring::new(id, keyring, key.clone(), used).map_err(Error::from)?);
            if self.core.shared.rings.load().open(id).is_none() {
                self.core.swap_rings(writer, |rings| rings.set(id, Some(ring)));
            }
            Ok(())
        })
    }

    /// Seals rings: their keys are dropped, and nothing that was read of them is believed any more.
    pub fn seal_rings(&self, ids: &[RingId]) {
        self.core.exclusively(|writer| {
            let rings = self.core.shared.rings.load_full();
            let open: Vec<_> = ids.iter().filter_map(|id| rings.open(*id)).map(Arc::clone).collect();
            if open.is_empty() {
                return;
            }
            self.core.swap_rings(writer, |rings| open.iter().for_each(|ring| rings.set(ring.id, None)));
            let counts = open.iter().map(|ring| ring.used_write(ring.keyring.status().encryptions)).collect();
            // Without this the count runs ahead of the truth, which is no harm.
            if let Err(error) = self.core.store_meta(writer, counts, None) {
                tracing::warn!(%error, "how often the keys of a sealed namespace have sealed is not written down exactly");
            }
        });
    }

    /// Begins a new term of a ring.
    ///
    /// # Errors
    /// If it is sealed, or the disk fails; then the old term goes on.
    pub fn rotate_ring(&self, id: RingId) -> Result<KeyStatus> {
        self.core.exclusively(|writer| {
            let (random, now) = (&*self.core.random, (self.core.clock)());
            let ring = Arc::new(self.open_ring(id)?.rotated(random, now)?);
            let batch = vec![ring.keys_write(random), ring.used_write(SEALS_RESERVED)];
            let status = ring.keyring.status();
            self.core.store_rings(writer, batch, vec![(id, RingChange::Rotated(ring))])?;
            Ok(status)
        })
    }

    /// Makes a new seal of a ring hold, with a new root key. Its old shares are worth nothing from then on.
    ///
    /// # Errors
    /// If it is sealed, or the disk fails; then the old seal holds.
    pub fn install_ring(&self, id: RingId, seal: NewSeal) -> Result<()> {
        let made = seal.of_shares().ok_or(Error::Seal("the seal of a namespace is made of key shares"))?;
        self.core.exclusively(|writer| {
            let random = &*self.core.random;
            let ring = self.open_ring(id)?.rerooted(random, made.key().clone())?;
            let record = made.keep(ring.keyring.root(), random);
            self.store_rerooted(writer, ring, record)
        })
    }

    /// Makes a new root key of a ring, under its seal as it is: no share changes.
    ///
    /// # Errors
    /// If it is sealed, or the disk fails; then the old root key holds.
    pub fn reroot_ring(&self, id: RingId) -> Result<()> {
        self.core.exclusively(|writer| {
            let random = &*self.core.random;
            let open = self.open_ring(id)?;
            let ring = open.rerooted(random, open.unseal_key.clone())?;
            let config = self.ring_record(id)?.config;
            let record = record::keep(&config, &ring.unseal_key, ring.keyring.root(), random);
            self.store_rerooted(writer, ring, record)
        })
    }

    /// Root key and seal go in one commit: there is no moment at which neither the old shares open it nor the new ones.
    fn store_rerooted(&self, writer: &mut Writer, ring: Ring, record: Cipher) -> Result<()> {
        let record = SealedWrite { key: ring::seal_key(ring.id), value: Some(record) };
        let batch = vec![ring.keys_write(&*self.core.random), record];
        let change = (ring.id, RingChange::Rotated(Arc::new(ring)));
        self.core.store_rings(writer, batch, vec![change]).map(drop)
    }

    /// True for the key that a ring's shares make.
    ///
    /// # Errors
    /// If there is no such ring, its record is damaged, or the disk fails.
    pub fn ring_admits(&self, id: RingId, key: &KeyBytes) -> Result<bool> {
        Ok(self.ring_record(id)?.open(&UnsealKey::Shamir(key.clone())).is_some())
    }

    /// The active term of a ring.
    ///
    /// # Errors
    /// If it is sealed.
    pub fn ring_status(&self, id: RingId) -> Result<KeyStatus> {
        Ok(self.open_ring(id)?.keyring.status())
    }

    /// Into how many shares the unseal key of a ring is split.
    ///
    /// # Errors
    /// If there is no such ring, its record is damaged, or the disk fails.
    pub fn ring_split(&self, id: RingId) -> Result<Split> {
        match self.ring_record(id)?.config {
            SealConfig::Shamir(split) => Ok(split),
            SealConfig::Static { .. } => Err(damaged()),
        }
    }

    fn open_ring(&self, id: RingId) -> Result<Arc<Ring>> {
        self.core.shared.rings.load().open(id).map(Arc::clone).ok_or(Error::Sealed)
    }

    fn ring_record(&self, id: RingId) -> Result<SealRecord> {
        let stored = self.core.current.load().view.get(&ring::seal_key(id))?;
        stored.as_ref().and_then(SealRecord::read).ok_or_else(damaged)
    }
}

fn damaged() -> Error {
    Error::Seal("the record of this namespace's seal is missing or damaged; restore it from a backup")
}
