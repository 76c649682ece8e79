//! What the tests share: seeded randomness, a store in a drawer, folders that go away.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use storage::seal::{SealChoice, Split, UnsealKey};
use storage::{Backend, Committer, Memory, MountId, Open, Options, Phase, Place, Random};

pub(crate) const PLACE: Place = Place { mount: MountId([1; 16]), table: 1 };

/// Randomness that a seed repeats (splitmix64).
pub(crate) struct Seeded(Mutex<u64>);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes) % bound
    }
}

impl Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap();
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

pub(crate) fn options(committer: Committer) -> Options {
    let mut options = Options::new(|| 7);
    options.committer = committer;
    options.cache_bytes = 1024 * 1024;
    options
}

pub(crate) fn one_key() -> SealChoice {
    SealChoice::Shamir(Split { shares: 1, threshold: 1 })
}

/// A new store on `backend`, and what unseals it.
pub(crate) fn found(backend: Box<dyn Backend>, committer: Committer) -> (Open, UnsealKey) {
    let Phase::Blank(blank) = storage::open(backend, options(committer)).unwrap() else {
        panic!("not blank")
    };
    let (sealed, initialised) = blank.init(&one_key(), &Seeded::new(1)).unwrap();
    let open = sealed.unseal(&initialised.key, Arc::new(Seeded::new(2))).unwrap();
    (open, initialised.key)
}

/// A store that is there already.
pub(crate) fn again(backend: Box<dyn Backend>, key: &UnsealKey, committer: Committer) -> Open {
    let Phase::Sealed(sealed) = storage::open(backend, options(committer)).unwrap() else {
        panic!("not sealed")
    };
    sealed.unseal(key, Arc::new(Seeded::new(3))).unwrap()
}

pub(crate) fn in_memory() -> (Open, Memory) {
    let memory = Memory::new();
    (found(Box::new(memory.clone()), Committer::Inline).0, memory)
}

/// A folder below the target directory that is removed with its content.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("storage-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
