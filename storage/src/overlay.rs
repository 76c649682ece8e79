use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::Disk;

/// What is written stands in pieces of this size.
const PIECE: u64 = 4096;
/// Opening a map writes some pages. What would write more wants another disk.
const PIECES_MAX: usize = 16 * 1024;

/// A disk as it can be read, with what is written kept in memory: where the disk takes no writes, a library that writes
/// when it opens a file can read it all the same. What is written there comes to nothing.
pub(crate) struct Overlay {
    disk: Arc<dyn Disk>,
    written: Mutex<Written>,
}

struct Written {
    size: u64,
    /// So much of the disk shows.
    shown: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    /// Over what the disk holds now.
    ///
    /// # Errors
    /// If the disk cannot even be read.
    pub(crate) fn over(disk: Arc<dyn Disk>) -> io::Result<Self> {
        let size = disk.size()?;
        Ok(Self { disk, written: Mutex::new(Written { size, shown: size, pieces: BTreeMap::new() }) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece as the disk has it, with zeros beyond what of it shows.
    fn beneath(&self, number: u64, shown: u64) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; PIECE as usize];
        let from = number * PIECE;
        let there = shown.saturating_sub(from).min(PIECE) as usize;
        let (known, _) = piece.split_at_mut(there);
        self.disk.read(from, known)?;
        Ok(piece)
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").finish_non_exhaustive()
    }
}

/// The pieces that a range touches: number, where in it, where in the range.
fn touched(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PIECE) as usize;
        let next = (done + PIECE as usize - within).min(len);
        let part = done..next;
        done = next;
        Some((at / PIECE, within, part))
    })
}

impl Disk for Overlay {
    fn size(&self) -> io::Result<u64> {
        Ok(self.written().size)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.saturating_add(out.len() as u64) > written.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, part) in touched(offset, out.len()) {
            let to = out.get_mut(part).unwrap_or_default();
            let beneath;
            let piece = match written.pieces.get(&number) {
                Some(piece) => piece,
                None => {
                    beneath = self.beneath(number, written.shown)?;
                    &beneath
                }
            };
            to.copy_from_slice(piece.get(within..within + to.len()).unwrap_or_default());
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        // What is cut off comes back as zeros, should it grow again.
        written.shown = written.shown.min(len);
        written.pieces.split_off(&len.div_ceil(PIECE));
        if let Some(last) = written.pieces.get_mut(&(len / PIECE)) {
            last.iter_mut().skip((len % PIECE) as usize).for_each(|byte| *byte = 0);
        }
        written.size = len;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for (number, within, part) in touched(offset, data.len()) {
            if !written.pieces.contains_key(&number) {
                if written.pieces.len() >= PIECES_MAX {
                    return Err(io::Error::other("the disk takes no writes, and too much would be written"));
                }
                let piece = self.beneath(number, written.shown)?;
                written.pieces.insert(number, piece);
            }
            let from = data.get(part).unwrap_or_default();
            let piece =
                written.pieces.get_mut(&number).and_then(|piece| piece.get_mut(within..within + from.len()));
            piece.unwrap_or_default().copy_from_slice(from);
        }
        written.size = written.size.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn forget(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileDisk;

    #[test]
    fn it_shows_what_was_written_and_the_disk_stays_as_it_was() {
        let file = tempfile();
        let disk = Arc::new(FileDisk(file));
        let before: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
        disk.write(0, &before).unwrap();
        let overlay = Overlay::over(Arc::<FileDisk>::clone(&disk)).unwrap();
        let mut model = before.clone();
        for (at, data) in [(0, vec![1; 10]), (4090, vec![2; 20]), (8000, vec![3; 5000]), (20_000, vec![4; 3])]
        {
            overlay.write(at as u64, &data).unwrap();
            model.resize(model.len().max(at + data.len()), 0);
            model.get_mut(at..at + data.len()).unwrap().copy_from_slice(&data);
        }
        assert_eq!(overlay.size().unwrap(), model.len() as u64);
        for (at, len) in [(0, model.len()), (4095, 2), (9_990, 20), (19_999, 4), (12_999, 4_000)] {
            let mut read = vec![9; len];
            overlay.read(at as u64, &mut read).unwrap();
            assert_eq!(Some(&*read), model.get(at..at + len), "{at} {len}");
        }
        assert!(overlay.read(20_000, &mut [0; 4]).is_err());
        for len in [8100, 5000, 30_000] {
            overlay.set_len(len).unwrap();
            model.resize(len as usize, 0);
            let mut read = vec![9; model.len()];
            overlay.read(0, &mut read).unwrap();
            assert!(read == model, "{len}");
        }
        let mut after = vec![0; before.len()];
        disk.read(0, &mut after).unwrap();
        assert!(after == before && disk.size().unwrap() == 10_000);
    }

    fn tempfile() -> std::fs::File {
        let path = std::env::temp_dir().join(format!("overlay-{}", std::process::id()));
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }
}
