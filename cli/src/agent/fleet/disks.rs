//! Disks for tests: one in memory, and one that dies, or fills up, at a step of one's choice.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::agent::disk::{Disk, Lock, Owner};

#[derive(Clone)]
enum Node {
    Folder,
    File(Vec<u8>),
    Link(PathBuf),
}

/// A disk in memory.
#[derive(Default)]
pub(super) struct Memory(RefCell<BTreeMap<PathBuf, Node>>);

impl Memory {
    pub(super) fn with_credentials() -> Memory {
        let memory = Memory::default();
        for (path, text) in [("/etc/agent/role-id", "role"), ("/etc/agent/secret-id", "secret")] {
            memory.write_new(Path::new(path), text.as_bytes(), 0o600).unwrap();
        }
        memory
    }

    /// The path with a link on its way followed.
    fn real(&self, path: &Path) -> PathBuf {
        let nodes = self.0.borrow();
        let mut out = PathBuf::new();
        for part in path.components() {
            out.push(part);
            if out != *path
                && let Some(Node::Link(target)) = nodes.get(&out)
            {
                out.set_file_name(target);
            }
        }
        out
    }
}

impl Disk for Memory {
    fn make_folder(&self, path: &Path, _: u32) -> io::Result<()> {
        self.0.borrow_mut().entry(path.to_owned()).or_insert(Node::Folder);
        Ok(())
    }

    fn write_new(&self, path: &Path, bytes: &[u8], _: u32) -> io::Result<()> {
        match self.0.borrow_mut().insert(path.to_owned(), Node::File(bytes.to_vec())) {
            None => Ok(()),
            Some(_) => Err(ErrorKind::AlreadyExists.into()),
        }
    }

    fn give(&self, _: &Path, _: Owner) -> io::Result<()> {
        Ok(())
    }

    fn close(&self, _: &Path) -> io::Result<bool> {
        Ok(false)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut nodes = self.0.borrow_mut();
        let moved: Vec<PathBuf> = nodes.keys().filter(|path| path.starts_with(from)).cloned().collect();
        if moved.is_empty() {
            return Err(ErrorKind::NotFound.into());
        }
        for path in moved {
            let node = nodes.remove(&path).unwrap();
            let rest = path.strip_prefix(from).unwrap();
            let path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            nodes.insert(path, node);
        }
        Ok(())
    }

    fn link(&self, target: &Path, at: &Path) -> io::Result<()> {
        self.0.borrow_mut().insert(at.to_owned(), Node::Link(target.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.borrow_mut().retain(|other, _| !other.starts_with(path));
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        match self.0.borrow().get(&self.real(path)) {
            Some(Node::File(bytes)) => Ok(bytes.clone().into()),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    fn target(&self, path: &Path) -> io::Result<PathBuf> {
        match self.0.borrow().get(path) {
            Some(Node::Link(target)) => Ok(target.clone()),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let nodes = self.0.borrow();
        let inside = nodes.keys().filter(|other| other.parent() == Some(path));
        Ok(inside.map(|other| other.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn lock(&self, _: &Path) -> io::Result<Lock> {
        Ok(Lock::alone())
    }
}

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    /// The process is killed in the middle of a step: half a file may be there, and nothing happens after it.
    Dies,
    /// This one step is refused; those after it work.
    Refuses(ErrorKind),
}

/// A disk whose steps are counted, and that fails at one of them.
pub(super) struct Faulty<D> {
    pub(super) inner: D,
    pub(super) steps: Cell<u32>,
    pub(super) fails_at: Cell<Option<u32>>,
    pub(super) how: Cell<Failing>,
}

impl<D: Disk> Faulty<D> {
    pub(super) fn new(inner: D) -> Faulty<D> {
        Faulty { inner, steps: Cell::new(0), fails_at: Cell::new(None), how: Cell::new(Failing::Dies) }
    }

    /// From here on the steps are counted from zero.
    pub(super) fn fail_at(&self, step: Option<u32>, how: Failing) {
        self.steps.set(0);
        self.fails_at.set(step);
        self.how.set(how);
    }

    fn step(&self) -> io::Result<()> {
        let step = self.steps.get();
        self.steps.set(step + 1);
        match (self.fails_at.get(), self.how.get()) {
            (Some(at), Failing::Dies) if step >= at => Err(io::Error::other("the process is dead")),
            (Some(at), Failing::Refuses(kind)) if step == at => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

impl<D: Disk> Disk for Faulty<D> {
    fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.step()?;
        self.inner.make_folder(path, mode)
    }

    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let dying = self.how.get() == Failing::Dies && self.fails_at.get() == Some(self.steps.get());
        self.step().inspect_err(|_| {
            if dying {
                let half = bytes.get(..bytes.len() / 2).unwrap();
                self.inner.write_new(path, half, mode).unwrap();
            }
        })?;
        self.inner.write_new(path, bytes, mode)
    }

    fn give(&self, path: &Path, owner: Owner) -> io::Result<()> {
        self.step()?;
        self.inner.give(path, owner)
    }

    fn close(&self, path: &Path) -> io::Result<bool> {
        self.inner.close(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.inner.sync_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        self.inner.rename(from, to)
    }

    fn link(&self, target: &Path, at: &Path) -> io::Result<()> {
        self.step()?;
        self.inner.link(target, at)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.inner.remove(path)
    }

    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        self.inner.read(path)
    }

    fn target(&self, path: &Path) -> io::Result<PathBuf> {
        self.inner.target(path)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        self.inner.names(path)
    }

    // An agent that died still lies in this process, and would hold what the kernel frees.
    fn lock(&self, _: &Path) -> io::Result<Lock> {
        Ok(Lock::alone())
    }
}
