use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::aead::LessSafeKey;
use ring::hkdf;
use zeroize::Zeroizing;

use crate::backend::Cipher;
use crate::cipher::{self, Schedules};
use crate::names::{NAME_KEY_SIZE, NameKey};
use crate::random::Random;

/// The version byte of every sealed record.
const RECORD_VERSION: u8 = 1;
/// The number of a term, as a record has it.
const TERM_SIZE: usize = 4;
/// The version byte of the keyring's own record.
const KEYRING_VERSION: u8 = 1;
const KEYRING_AAD: &[u8] = b"sealkeep keyring 1";
const KEY_SIZE: usize = 32;
/// Where the keys of the terms begin in the locked page.
const TERMS_AT: usize = KEY_SIZE + NAME_KEY_SIZE + KEY_SIZE;
/// How often one term may seal: with random 96-bit nonces, far from where two of them could meet.
pub(crate) const SEALS_PER_TERM_MAX: u64 = 1 << 31;

/// The keys of an open store: the root key, the key of the names, the key that others derive from, and one key for
/// each term. Never changes; a rotation makes a new one.
pub(crate) struct Keyring {
    /// Root, names, derivation, then one key per term. All in one locked page.
    keys: locked::Bytes,
    /// The keys of the terms as the cipher wants them.
    schedules: Schedules,
    terms: Vec<Term>,
    /// Tells whether a recovery key is the right one. Zeros if there is none.
    recovery: [u8; KEY_SIZE],
    seals: Arc<AtomicU64>,
}

/// One generation of the key that seals values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Term {
    number: u32,
    installed: u64,
}

/// What `sys/key-status` shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyStatus {
    /// The term that seals now.
    pub term: u32,
    /// Since when, in nanoseconds since 1970.
    pub installed: u64,
    /// How many entries it sealed. After a crash it may show more than that, never less.
    pub encryptions: u64,
}

impl Keyring {
    /// Fresh keys, at term 1.
    pub(crate) fn fresh(random: &dyn Random, now: u64) -> io::Result<Self> {
        let mut keys = locked::Bytes::zeroed(TERMS_AT + KEY_SIZE)?;
        random.fill(&mut keys);
        let terms = vec![Term { number: 1, installed: now }];
        Self::of(keys, terms, [0; KEY_SIZE], Arc::default())
    }

    fn of(
        keys: locked::Bytes,
        terms: Vec<Term>,
        recovery: [u8; KEY_SIZE],
        seals: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let schedules = Schedules::of(keys.get(TERMS_AT..).unwrap_or_default())?;
        Ok(Self { keys, schedules, terms, recovery, seals })
    }

    /// The same keys and one more, which seals from now on.
    pub(crate) fn rotated(&self, random: &dyn Random, now: u64) -> io::Result<Self> {
        let mut keys = locked::Bytes::zeroed(self.keys.len() + KEY_SIZE)?;
        let (old, new) = keys.split_at_mut(self.keys.len());
        old.copy_from_slice(&self.keys);
        random.fill(new);
        let mut terms = self.terms.clone();
        terms.push(Term { number: self.active().number + 1, installed: now });
        Self::of(keys, terms, self.recovery, Arc::default())
    }

    /// The same keys under a new root key.
    pub(crate) fn rerooted(&self, random: &dyn Random) -> io::Result<Self> {
        let mut keys = locked::Bytes::copy_of(&self.keys)?;
        let (root, _) = keys.split_at_mut(KEY_SIZE);
        random.fill(root);
        Self::of(keys, self.terms.clone(), self.recovery, Arc::clone(&self.seals))
    }

    /// The same keys, with another recovery key.
    pub(crate) fn recovered_by(&self, recovery: Option<&[u8]>) -> io::Result<Self> {
        let recovery = recovery.map_or([0; KEY_SIZE], verifier);
        Self::of(locked::Bytes::copy_of(&self.keys)?, self.terms.clone(), recovery, Arc::clone(&self.seals))
    }

    /// True for the recovery key, if there is one.
    pub(crate) fn recovers(&self, recovery: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        let set = !bool::from(self.recovery.ct_eq(&[0; KEY_SIZE]));
        set & bool::from(self.recovery.ct_eq(&verifier(recovery)))
    }

    /// As it is stored: sealed under the root key.
    pub(crate) fn sealed(&self, random: &dyn Random) -> Cipher {
        self.sealed_for(KEYRING_AAD, random)
    }

    /// The same, as that of whoever `aad` names.
    pub(crate) fn sealed_for(&self, aad: &[u8], random: &dyn Random) -> Cipher {
        let mut plain =
            Zeroizing::new(Vec::with_capacity(self.keys.len() + self.terms.len() * 12 + KEY_SIZE + 4));
        let (shared, term_keys) = self.keys.split_at(TERMS_AT);
        plain.extend_from_slice(shared.get(KEY_SIZE..).unwrap_or_default());
        plain.extend_from_slice(&self.recovery);
        for (term, key) in self.terms.iter().zip(term_keys.chunks(KEY_SIZE)) {
            plain.extend_from_slice(&term.number.to_be_bytes());
            plain.extend_from_slice(&term.installed.to_be_bytes());
            plain.extend_from_slice(key);
        }
        let mut out = vec![KEYRING_VERSION];
        cipher::seal_once(self.root(), aad, &plain, random, &mut out);
        Cipher(out.into())
    }

    /// `None` if `root` is not the key that sealed it.
    pub(crate) fn unseal(root: &[u8], stored: &Cipher) -> io::Result<Option<Self>> {
        Self::unseal_for(KEYRING_AAD, root, stored)
    }

    /// The same, for the keyring of whoever `aad` names.
    pub(crate) fn unseal_for(aad: &[u8], root: &[u8], stored: &Cipher) -> io::Result<Option<Self>> {
        let Some((&KEYRING_VERSION, sealed)) = stored.0.split_first() else { return Ok(None) };
        let Some(plain) = cipher::open_once(root, aad, sealed).map(Zeroizing::new) else {
            return Ok(None);
        };
        let Some((shared, rest)) = plain.split_at_checked(TERMS_AT - KEY_SIZE) else { return Ok(None) };
        let Some((recovery, rest)) = rest.split_first_chunk::<KEY_SIZE>() else { return Ok(None) };
        let records = rest.chunks_exact(12 + KEY_SIZE);
        let mut keys = locked::Bytes::zeroed(TERMS_AT + records.len() * KEY_SIZE)?;
        let (head, term_keys) = keys.split_at_mut(TERMS_AT);
        head.iter_mut().zip(root.iter().chain(shared)).for_each(|(to, from)| *to = *from);
        let mut terms = Vec::with_capacity(records.len());
        for (record, key) in records.zip(term_keys.chunks_mut(KEY_SIZE)) {
            let Some((number, record)) = record.split_first_chunk::<4>() else { return Ok(None) };
            let Some((installed, from)) = record.split_first_chunk::<8>() else { return Ok(None) };
            key.copy_from_slice(from);
            terms.push(Term {
                number: u32::from_be_bytes(*number),
                installed: u64::from_be_bytes(*installed),
            });
        }
        match terms.is_empty() {
            true => Ok(None),
            false => Self::of(keys, terms, *recovery, Arc::default()).map(Some),
        }
    }

    /// Seals `plain` under its own name, so that a value moved to another name does not open.
    pub(crate) fn seal(&self, name: &[u8], plain: &[u8], random: &dyn Random) -> Cipher {
        self.seal_marked(&[RECORD_VERSION], name, plain, random)
    }

    /// The same, with `mark` before the term.
    pub(crate) fn seal_marked(&self, mark: &[u8], name: &[u8], plain: &[u8], random: &dyn Random) -> Cipher {
        self.seals.fetch_add(1, Ordering::Relaxed);
        let term = self.active().number;
        let mut out = Vec::with_capacity(mark.len() + TERM_SIZE + plain.len() + cipher::OVERHEAD);
        out.extend_from_slice(mark);
        out.extend_from_slice(&term.to_be_bytes());
        let aad = record_aad(name, &out);
        let key = self.schedule(term).expect("the active term has a key");
        cipher::seal(key, &aad, plain, random, &mut out);
        Cipher(out.into())
    }

    /// `None` if the bytes were not sealed by this keyring under this name.
    pub(crate) fn open(&self, name: &[u8], cipher: &[u8]) -> Option<Vec<u8>> {
        match cipher.first() {
            Some(&RECORD_VERSION) => self.open_marked(1, name, cipher),
            _ => None,
        }
    }

    /// The same, where a mark of this size stands before the term.
    pub(crate) fn open_marked(&self, mark: usize, name: &[u8], cipher: &[u8]) -> Option<Vec<u8>> {
        let (head, sealed) = cipher.split_at_checked(mark + TERM_SIZE)?;
        let term = head.get(mark..)?;
        let key = self.schedule(u32::from_be_bytes(term.try_into().ok()?))?;
        cipher::open(key, &record_aad(name, head), sealed)
    }

    /// A key for `label` that stays the same for the life of the store.
    pub(crate) fn derive(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        let key = self.keys.get(TERMS_AT - KEY_SIZE..TERMS_AT).expect("a keyring has a derivation key");
        let mut out = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"sealkeep derive 1")
            .extract(key)
            .expand(&[label], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut *out))
            .expect("32 bytes are within what HKDF can give");
        out
    }

    pub(crate) fn names(&self) -> io::Result<NameKey> {
        let key = self.keys.get(KEY_SIZE..KEY_SIZE + NAME_KEY_SIZE).expect("a keyring has a name key");
        NameKey::new(key)
    }

    pub(crate) fn root(&self) -> &[u8] {
        self.keys.get(..KEY_SIZE).expect("a keyring has a root key")
    }

    pub(crate) fn status(&self) -> KeyStatus {
        let Term { number, installed } = self.active();
        KeyStatus { term: number, installed, encryptions: self.seals.load(Ordering::Relaxed) }
    }

    /// Goes on counting where an earlier run stopped.
    pub(crate) fn count_from(&self, seals: u64) {
        self.seals.store(seals, Ordering::Relaxed);
    }

    fn active(&self) -> Term {
        *self.terms.last().expect("a keyring has at least one term")
    }

    fn schedule(&self, number: u32) -> Option<&LessSafeKey> {
        // Almost always the last one; and there are few.
        let at = self.terms.iter().rposition(|term| term.number == number)?;
        self.schedules.get(at)
    }
}

/// Name, format version and term: all that a value is bound to.
fn record_aad(name: &[u8], head: &[u8]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(name.len() + head.len());
    aad.extend_from_slice(name);
    aad.extend_from_slice(head);
    aad
}

/// A recovery key has 256 bits of randomness, so a plain hash tells it apart and gives nothing away.
fn verifier(recovery: &[u8]) -> [u8; KEY_SIZE] {
    let digest = ring::digest::digest(&ring::digest::SHA256, recovery);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn every_term_opens_what_it_sealed_and_survives_storage() {
        let first = Keyring::fresh(&SystemRandom, 5).unwrap();
        let old = first.seal(b"name", b"value", &SystemRandom);
        let second = first.rotated(&SystemRandom, 6).unwrap();
        let new = second.seal(b"name", b"value", &SystemRandom);
        let back = Keyring::unseal(second.root(), &second.sealed(&SystemRandom)).unwrap().unwrap();
        assert_eq!(back.open(b"name", &old.0).unwrap(), b"value");
        assert_eq!(back.open(b"name", &new.0).unwrap(), b"value");
        assert!(first.open(b"name", &new.0).is_none(), "the old keyring does not have the new term");
        assert_eq!(back.status().term, 2);
        assert_eq!(back.status().installed, 6);
        assert_eq!(back.derive(b"x"), first.derive(b"x"));
        assert_ne!(back.derive(b"x"), first.derive(b"y"));
        assert!(Keyring::unseal(&[0; 32], &second.sealed(&SystemRandom)).unwrap().is_none());
    }

    #[test]
    fn a_value_opens_only_whole_and_under_its_name() {
        let keyring = Keyring::fresh(&SystemRandom, 0).unwrap();
        let sealed = keyring.seal(b"name", b"value", &SystemRandom);
        assert!(keyring.open(b"other", &sealed.0).is_none());
        for at in 0..sealed.0.len() {
            for bit in 0..8 {
                let mut bytes = sealed.0.to_vec();
                bytes[at] ^= 1 << bit;
                assert!(keyring.open(b"name", &bytes).is_none(), "bit {bit} of byte {at} is not protected");
            }
        }
        assert!((0..sealed.0.len()).all(|len| keyring.open(b"name", &sealed.0[..len]).is_none()));
    }

    #[test]
    fn only_the_recovery_key_recovers() {
        let keyring = Keyring::fresh(&SystemRandom, 0).unwrap();
        assert!(!keyring.recovers(&[1; 32]));
        let keyring = keyring.recovered_by(Some(&[1; 32])).unwrap();
        let back = Keyring::unseal(keyring.root(), &keyring.sealed(&SystemRandom)).unwrap().unwrap();
        assert!(back.recovers(&[1; 32]) && !back.recovers(&[2; 32]));
    }
}
