use std::any::Any;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Frame;
use kernel::Kernel;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use super::{ABOUT, About, KIND, SUMS, VERSION, VOUCHER, line, piece};
use crate::world;

/// Backups that are made at the same time: each keeps a moment of the store alive until its client has taken it all.
static MAKING: Semaphore = Semaphore::const_new(2);
/// What is sent at once.
const CHUNK: usize = 256 * 1024;
/// Chunks that wait for the client.
const CHUNKS_MAX: usize = 4;

type Chunk = io::Result<Bytes>;

/// A backup on its way: the body of an answer.
pub(crate) struct Archive {
    chunks: mpsc::Receiver<Chunk>,
    /// What must not end before it does.
    held: Option<Box<dyn Any + Send + Sync>>,
}

impl Archive {
    /// Keeps this until the client has all of it, or is gone.
    pub(crate) fn hold(&mut self, thing: Box<dyn Any + Send + Sync>) {
        self.held = Some(thing);
    }
}

impl hyper::body::Body for Archive {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.chunks.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

/// Makes a backup of this moment. `None`: as many as may are being made already.
pub(crate) fn write(kernel: Arc<Kernel>, server: String) -> Option<Archive> {
    let permit = MAKING.try_acquire().ok()?;
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || pack(&kernel, server, sender, permit));
    Some(Archive { chunks, held: None })
}

fn pack(kernel: &Kernel, server: String, sender: mpsc::Sender<Chunk>, _permit: SemaphorePermit<'_>) {
    let out = Chunks { sender: sender.clone(), gathered: Vec::with_capacity(CHUNK) };
    match packed(kernel, server, out) {
        Ok(entries) => tracing::info!(entries, "a backup was made"),
        Err(error) => {
            tracing::warn!(%error, "a backup was not finished");
            // The connection breaks off, so that nobody takes what they have for all of it.
            let _ = sender.blocking_send(Err(error));
        }
    }
}

fn packed(kernel: &Kernel, server: String, out: Chunks) -> io::Result<u64> {
    let mut copy = kernel.copy();
    // What is sealed cannot be made smaller.
    let mut files =
        Files { tar: tar::Builder::new(GzEncoder::new(out, Compression::none())), sums: String::new() };
    let made = world::now().rfc3339();
    let about = About { kind: KIND.to_owned(), version: VERSION, server, made };
    files.add(ABOUT, &serde_json::to_vec(&about)?)?;
    let (mut number, mut all) = (0, 0);
    while let Some((bytes, entries)) = copy.piece().map_err(io::Error::other)? {
        files.add(&piece(number), &bytes)?;
        (number, all) = (number + 1, all + entries);
    }
    let sums = std::mem::take(&mut files.sums).into_bytes();
    files.add(SUMS, &sums)?;
    let voucher = kernel.vouch(&sums).map_err(|error| io::Error::other(error.to_string()))?;
    files.add(VOUCHER, &voucher)?;
    files.tar.into_inner()?.finish()?.send()?;
    Ok(all)
}

struct Files {
    tar: tar::Builder<GzEncoder<Chunks>>,
    sums: String,
}

impl Files {
    fn add(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len().try_into().map_err(io::Error::other)?);
        header.set_mode(0o600);
        header.set_mtime(world::now().seconds());
        self.tar.append_data(&mut header, name, bytes)?;
        self.sums.push_str(&line(name, bytes));
        Ok(())
    }
}

/// Sends what is written to it, in chunks.
struct Chunks {
    sender: mpsc::Sender<Chunk>,
    gathered: Vec<u8>,
}

impl Chunks {
    fn send(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.gathered, Vec::with_capacity(CHUNK));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client went away");
        self.sender.blocking_send(Ok(chunk.into())).map_err(gone)
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
