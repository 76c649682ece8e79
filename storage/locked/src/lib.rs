//! Memory for keys: locked, left out of core dumps, wiped.
//!
//! This is the one crate of the workspace with `unsafe` code, because no safe interface of the operating
//! system gives a program pages that never reach the swap device or a core dump. It stays small enough to
//! be read in one sitting: a [`Bytes`] owns whole pages that it mapped itself, so that locking and wiping
//! them concerns nobody else's data.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};
use zeroize::Zeroize;

/// Set once the system refused to lock a page, so that the server can say so once at start.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// A fixed number of bytes in pages of their own: locked, left out of core dumps, wiped when dropped.
pub struct Bytes {
    pages: NonNull<u8>,
    mapped: usize,
    len: usize,
}

impl Bytes {
    /// Maps and locks room for `len` zero bytes.
    ///
    /// A system that refuses the lock (its limit on locked memory is used up) does not stop the program:
    /// the pages are then only wiped and kept out of core dumps, and [`all_locked`] answers false.
    ///
    /// # Errors
    /// If the system has no memory left to map.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let mapped = len.max(1).div_ceil(page).checked_mul(page).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: a fresh private mapping at an address of the kernel's choice touches nobody else's memory.
        let pages = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                mapped,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let pages =
            NonNull::new(pages.cast::<u8>()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        // SAFETY: `pages` is a mapping of `mapped` bytes that was made above and that only this value owns.
        let locked = unsafe { rustix::mm::mlock(pages.as_ptr().cast(), mapped) };
        // SAFETY: the same mapping; DONTDUMP only changes what a core dump would hold.
        let undumped = unsafe { rustix::mm::madvise(pages.as_ptr().cast(), mapped, Advice::LinuxDontDump) };
        if locked.is_err() || undumped.is_err() {
            REFUSED.store(true, Ordering::Relaxed);
        }
        Ok(Self { pages, mapped, len })
    }

    /// Moves `bytes` into locked pages. The caller wipes what it copied from.
    ///
    /// # Errors
    /// If the system has no memory left to map.
    pub fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        let mut locked = Self::zeroed(bytes.len())?;
        locked.copy_from_slice(bytes);
        Ok(locked)
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `pages` maps at least `len` initialised bytes for as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr(), self.len) }
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` proves that nobody else looks.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_ptr(), self.len) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.zeroize();
        // SAFETY: this value mapped exactly these pages, and nothing borrows them any more. Unmapping unlocks.
        // An error would leave wiped pages behind, which harms nobody.
        let _ = unsafe { rustix::mm::munmap(self.pages.as_ptr().cast(), self.mapped) };
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({} locked)", self.len)
    }
}

// SAFETY: a `Bytes` owns its pages as a `Box<[u8]>` owns its heap memory: no interior mutability, no thread affinity.
unsafe impl Send for Bytes {}
// SAFETY: shared access only reads.
unsafe impl Sync for Bytes {}

/// Values that hold keys and cannot wipe themselves, such as key schedules of a library: in pages of their own, which are
/// wiped when the values are dropped.
pub struct Kept<T> {
    pages: Bytes,
    count: usize,
    values: PhantomData<T>,
}

impl<T> Kept<T> {
    /// Keeps `count` values. On their way they lie on the stack: call it within [`scrub`].
    ///
    /// # Errors
    /// If the system has no memory left to map.
    pub fn of(count: usize, mut make: impl FnMut(usize) -> T) -> io::Result<Self> {
        const { assert!(align_of::<T>() <= 4096, "a page begins at a multiple of its size") };
        let size = count.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let pages = Bytes::zeroed(size)?;
        let mut kept = Self { pages, count: 0, values: PhantomData };
        for at in 0..count {
            let value = make(at);
            // SAFETY: `pages` has room for `count` values from its beginning, which is aligned for any of them.
            unsafe { kept.pages.as_mut_ptr().cast::<T>().add(at).write(value) };
            kept.count += 1;
        }
        Ok(kept)
    }
}

impl<T> Deref for Kept<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the first `count` values were written by `of`, and nothing changes them while `self` lives.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr().cast::<T>(), self.count) }
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        let values = std::ptr::slice_from_raw_parts_mut(self.pages.as_mut_ptr().cast::<T>(), self.count);
        // SAFETY: the values were written by `of`, and nobody looks at them after this. The pages are wiped after it.
        unsafe { std::ptr::drop_in_place(values) };
    }
}

impl<T> std::fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({} values)", self.count)
    }
}

/// So much of the stack is cleared: more than anything here takes that has a key in its hands.
const SCRUBBED: usize = 64 * 1024;

/// Does `work`, and then clears the stack that it used: moves and registers leave copies of keys there. For what is done
/// now and then; it costs more than most work.
pub fn scrub<T>(work: impl FnOnce() -> T) -> T {
    let done = apart(work);
    clear();
    done
}

/// In a frame of its own, which lies where [`clear`] has its own.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn clear() {
    let mut room = [0_u8; SCRUBBED];
    std::hint::black_box(&mut room);
}

/// False if the system refused to lock or to hide any page so far.
pub fn all_locked() -> bool {
    !REFUSED.load(Ordering::Relaxed)
}

/// Keeps this process out of core dumps and out of reach of other processes of the same user (ptrace).
///
/// # Errors
/// If the system refuses; the server then says so and goes on.
pub fn forbid_core_dumps() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_is_put_in_and_survives_a_move() {
        let mut bytes = Bytes::zeroed(5000).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
        bytes[4999] = 7;
        let moved = std::thread::spawn(move || bytes[4999]).join().unwrap();
        assert_eq!(moved, 7);
    }

    #[test]
    fn is_locked_as_the_kernel_sees_it() {
        let bytes = Bytes::copy_of(&[0x5a; 64]).unwrap();
        if !all_locked() {
            return;
        }
        let address = format!("{:x}-", bytes.as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let area = maps.split_once(&address);
        // The kernel may have joined the page with a neighbour of the same kind; then its line starts elsewhere.
        if let Some((_, area)) = area {
            let flags = area.lines().find(|line| line.starts_with("VmFlags")).unwrap();
            assert!(flags.contains(" lo") && flags.contains(" dd"), "{flags}");
        }
    }

    #[test]
    fn what_is_kept_is_there_and_is_dropped_once() {
        use std::sync::Arc;
        let counted = Arc::new(());
        let kept = Kept::of(700, |at| (at, Arc::clone(&counted))).unwrap();
        assert!(kept.iter().enumerate().all(|(at, value)| value.0 == at) && kept.len() == 700);
        assert_eq!(Arc::strong_count(&counted), 701);
        drop(kept);
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn more_than_there_can_be_is_refused() {
        let refused = Kept::of(usize::MAX / 8 + 2, |at| at as u64).map(drop).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(Bytes::zeroed(usize::MAX).map(drop).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }

    #[test]
    fn scrubbing_hands_on_what_was_done() {
        assert_eq!(scrub(|| "done".to_owned()), "done");
    }

    #[test]
    fn says_nothing_of_its_content() {
        assert_eq!(format!("{:?}", Bytes::copy_of(b"secret").unwrap()), "Bytes(6 locked)");
    }
}
