use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::folder;

/// The file below redb. Small, so that tests can put one in its place that lies, tears and fails.
pub trait Disk: Debug + Send + Sync {
    /// How long it is.
    ///
    /// # Errors
    /// If the disk fails, here and below.
    fn size(&self) -> io::Result<u64>;
    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// Also if there is less.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Makes it longer, with zeros, or shorter.
    ///
    /// # Errors
    /// If the disk is full, for one.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Writes, not yet durably.
    ///
    /// # Errors
    /// If the disk fails.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes durable what was written.
    ///
    /// # Errors
    /// Then nothing is known of what was written since the last time.
    fn sync(&self) -> io::Result<()>;
    /// Forgets what is only in memory, so that reads after a failed sync tell what is on the disk.
    ///
    /// # Errors
    /// If the disk fails.
    fn forget(&self) -> io::Result<()>;
    /// How many more bytes fit, if that is known.
    ///
    /// # Errors
    /// If the disk fails.
    fn free_bytes(&self) -> io::Result<Option<u64>>;
}

/// A file of the operating system, which holds the lock against other processes.
#[derive(Debug)]
pub(crate) struct FileDisk(pub(crate) File);

impl Disk for FileDisk {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn forget(&self) -> io::Result<()> {
        // Linux marks pages clean whose writing failed, and would read them back as if they were stored.
        rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        folder::free_bytes(&self.0).map(Some)
    }
}
