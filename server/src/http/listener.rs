//! Doors: sockets, TLS, limits on connections, and an orderly end.

use std::future::poll_fn;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::body::DISCARD_MAX;
use super::conn::{Door, Service};
use super::proxy;
use super::refusal::{self, Refusal};
use super::request::Peer;
use super::tls::Certificates;
use super::watch::{Order, Pulse, Watch};
use crate::config::Place;

/// Connections of one listener at the same time, if there are files for them. More wait to be accepted.
pub(crate) const CONNECTIONS_MAX: u32 = 8192;
/// The head of a request, all of it.
const HEAD_SIZE_MAX: usize = 64 * 1024;
/// The same over HTTP/2, where a head costs its sender a few bytes and a connection has many: room for a long batch token.
const HEAD_LIST_SIZE_MAX: u32 = 32 * 1024;
/// Requests at the same time on one connection of HTTP/2.
pub(super) const STREAMS_MAX: u32 = 128;
/// What of the bodies of one connection of HTTP/2 may have come and not been read, and of one body alone.
const UNREAD_MAX: u32 = 256 * 1024;
const STREAM_WINDOW: u32 = 128 * 1024;
/// An answer up to this goes to the socket in one piece.
const PIECE_MAX: usize = 4096;
/// How long the handshake of TLS may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What a client hears that speaks HTTP where TLS is spoken: Go's words, which clients look for.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// What to do where the address is taken.
pub(crate) const ANOTHER_ADDRESS: &str = "Stop it, or give this one another address";
/// A pause after the system had no room for one more connection.
const NO_ROOM: Duration = Duration::from_millis(100);

/// A socket that is bound, and what stands behind it.
pub(crate) struct Bound {
    socket: Socket,
    door: Arc<Door>,
    certificates: Option<Arc<Certificates>>,
    watch: Arc<Watch>,
    /// The last connection could not be accepted.
    failing: AtomicBool,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Bound {
    /// Takes the address. Nobody is let in yet.
    pub(crate) async fn new(door: Door) -> io::Result<Self> {
        let certificates = door.listener.tls.as_ref().map(Certificates::read).transpose()?.map(Arc::new);
        let socket = match &door.listener.place {
            Place::Tcp(address) => {
                Socket::Tcp(TcpListener::bind(address).await.map_err(|error| taken(address, &error))?)
            }
            Place::Unix { path, mode } => unix(path, *mode).await?,
        };
        Ok(Self {
            socket,
            door: Arc::new(door),
            certificates,
            watch: Arc::default(),
            failing: AtomicBool::default(),
        })
    }

    /// Where it listens, as a URL or path.
    pub(crate) fn shown(&self) -> String {
        match &self.socket {
            Socket::Tcp(socket) => {
                let scheme = if self.certificates.is_some() { "https" } else { "http" };
                socket.local_addr().map_or_else(|_| String::new(), |address| format!("{scheme}://{address}"))
            }
            Socket::Unix(_, path) => format!("unix://{}", path.display()),
        }
    }

    /// The certificates, to be read again.
    pub(crate) fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.clone()
    }

    /// Closes connections that wait too long. To be called once a second.
    pub(crate) fn sweeper(&self) -> impl Fn() + Send + Sync + 'static {
        let (watch, times) = (Arc::clone(&self.watch), self.door.listener.times);
        move || watch.sweep(&times)
    }

    /// Lets so many clients in at the same time until `stop`; then ends what was begun, for `grace` at most.
    pub(crate) async fn serve(self, connections: u32, mut stop: watch::Receiver<bool>, grace: Duration) {
        let room = Arc::new(Semaphore::new(usize::try_from(connections).unwrap_or(usize::MAX)));
        loop {
            let accepted = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, self.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = accepted => accepted,
            };
            let (Ok(permit), Ok((stream, peer))) = (permit, accepted) else {
                tokio::time::sleep(NO_ROOM).await;
                continue;
            };
            let service = Service {
                door: Arc::clone(&self.door),
                peer,
                pulse: self.watch.enter(),
                purse: Arc::default(),
            };
            let certificates = self.certificates.clone();
            tokio::spawn(async move {
                speak(stream, certificates, service).await;
                drop(permit);
            });
        }
        let Self { socket, watch, .. } = self;
        if let Socket::Unix(_, path) = &socket {
            // Whoever connects from now on shall hear at once that nobody is there.
            let _ = std::fs::remove_file(path);
        }
        drop(socket);
        watch.tell_all(Order::Drain);
        let ended = tokio::time::timeout(grace, room.acquire_many(connections)).await;
        if ended.is_err() {
            let left = watch.tell_all(Order::Close);
            tracing::warn!(left, "connections were closed in the middle of a request");
        }
    }

    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        let accepted = match &self.socket {
            Socket::Tcp(socket) => socket.accept().await.map(|(stream, address)| {
                // Answers are written whole: waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                let peer = Peer {
                    address: Some(address.ip().to_canonical()),
                    port: address.port(),
                    ..Peer::default()
                };
                (Stream::Tcp(stream), peer)
            }),
            Socket::Unix(socket, _) => {
                socket.accept().await.map(|(stream, _)| (Stream::Unix(stream), Peer::default()))
            }
        };
        match &accepted {
            Ok(_) => self.failing.store(false, Relaxed),
            // It is tried again ten times a second: the log is told of the first in a row.
            Err(error) if !self.failing.swap(true, Relaxed) => {
                tracing::warn!(%error, "a connection could not be accepted; it waits, and so do those behind it");
            }
            Err(_) => {}
        }
        accepted
    }
}

fn taken(address: &str, error: &io::Error) -> io::Error {
    let text = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{address} is taken: another program listens there. {ANOTHER_ADDRESS}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{address} cannot be taken: ports below 1024 need the capability CAP_NET_BIND_SERVICE")
        }
        _ => format!("{address} cannot be taken: {error}"),
    };
    io::Error::new(error.kind(), text)
}

async fn unix(path: &Path, mode: Option<u32>) -> io::Result<Socket> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            let text = format!(
                "{} is there already and is no socket: give the listener another path",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        if UnixStream::connect(path).await.is_ok() {
            let text = format!(
                "{} is taken: another program listens there. Stop it, or give this one another path",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        // A socket that nobody answers at was left behind by a server that was killed.
        std::fs::remove_file(path)?;
    }
    let bound = UnixListener::bind(path).map_err(|error| taken(&path.display().to_string(), &error))?;
    if let Some(mode) = mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(Socket::Unix(bound, path.to_owned()))
}

async fn speak(stream: Stream, certificates: Option<Arc<Certificates>>, mut service: Service) {
    let door = Arc::clone(&service.door);
    match (stream, &door.listener.proxy_protocol) {
        (Stream::Unix(stream), _) => serve(stream, service).await,
        (Stream::Tcp(mut stream), None) => {
            let refusing = async {
                let is_plain = certificates.is_some() && speaks_http(&stream).await;
                if is_plain {
                    refuse_plain(&mut stream).await;
                }
                is_plain
            };
            match tokio::time::timeout(HANDSHAKE, refusing).await {
                Ok(false) => speak_tcp(stream, certificates, service).await,
                Ok(true) => tracing::debug!("a client spoke HTTP where TLS is spoken"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        }
        (Stream::Tcp(stream), Some(rule)) => match proxy::open(rule, stream, &mut service.peer).await {
            Ok(stream) => speak_tcp(stream, certificates, service).await,
            // The proxy's affair, or that of somebody who is none.
            Err(error) => tracing::debug!(%error, "a connection was closed"),
        },
    }
}

/// Whether a client begins as a request in clear does. A handshake of TLS begins with the byte 22.
async fn speaks_http(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1) if first.iter().all(u8::is_ascii_uppercase))
}

/// Says what is wrong, once what was asked has been read: who is still sending hears nothing.
async fn refuse_plain(stream: &mut TcpStream) {
    let mut head = [0; 4096];
    if stream.read(&mut head).await.is_ok() && stream.write_all(NOT_TLS).await.is_ok() {
        // It may be gone already.
        let _ = stream.shutdown().await;
    }
}

async fn speak_tcp<T>(stream: T, certificates: Option<Arc<Certificates>>, mut service: Service)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(certificates) = certificates else { return serve(stream, service).await };
    let accept = TlsAcceptor::from(certificates.current()).accept(stream);
    // A failed handshake is the client's affair, and scanners make many.
    match tokio::time::timeout(HANDSHAKE, accept).await {
        Ok(Ok(stream)) => {
            service.peer.certificates = client_chain(&stream);
            serve(stream, service).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

fn client_chain<T>(stream: &TlsStream<T>) -> Arc<[Vec<u8>]> {
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap_or_default().iter().map(|certificate| certificate.to_vec()).collect()
}

async fn serve<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: T, service: Service) {
    let (pulse, times) = (Arc::clone(&service.pulse), service.door.listener.times);
    // A handshake had a limit of its own.
    pulse.begin();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // How long a client may take is watched for all connections together, see `watch`.
    builder.http1().header_read_timeout(None).max_buf_size(HEAD_SIZE_MAX);
    builder.http2().max_concurrent_streams(STREAMS_MAX).max_header_list_size(HEAD_LIST_SIZE_MAX);
    builder.http2().initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(UNREAD_MAX);
    let io = TokioIo::new(Watched { stream, pulse: Arc::clone(&pulse), ending: None, refusal: None });
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut draining = false;
    let ended = poll_fn(|cx| {
        match pulse.order(cx.waker()) {
            Order::Close => return Poll::Ready(Ok(())),
            Order::Drain if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            _ => {}
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        match pulse.verdict(&times) {
            Order::Go => Poll::Pending,
            Order::Drain if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
                connection.as_mut().poll(cx)
            }
            Order::Drain => Poll::Pending,
            Order::Close => Poll::Ready(Ok(())),
        }
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// A stream that tells its [`Pulse`] when bytes come in.
struct Watched<T> {
    stream: T,
    pulse: Arc<Pulse>,
    /// All is said; so much more of what the client is still sending is read.
    ending: Option<u64>,
    /// What is sent in place of a refusal without words.
    refusal: Option<Refusal>,
}

impl<T: AsyncRead + Unpin> Watched<T> {
    /// Reads what nobody wants any more: to close in the face of who is sending takes the answer away from them, too.
    fn poll_discard(&mut self, left: u64, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut left = left;
        let mut bytes = [0; 4096];
        while left > 0 {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    if !self.pulse.is_amid() {
                        self.pulse.begin();
                    }
                    left = left.saturating_sub(buffer.filled().len() as u64);
                    self.ending = Some(left);
                }
                Poll::Ready(_) => break,
                Poll::Pending if self.pulse.is_amid() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.pulse.bears_keys() {
            // The buffer lies where an earlier request lay.
            buffer.initialize_unfilled();
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() && buffer.filled().len() > before {
            self.pulse.bytes();
        }
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.refusal.is_none() {
            this.refusal = Refusal::in_place_of(bytes);
        }
        match &mut this.refusal {
            None => Pin::new(&mut this.stream).poll_write(cx, bytes),
            Some(refusal) => {
                ready!(refusal.poll_write(&mut this.stream, cx))?;
                this.refusal = None;
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let left = match self.ending {
            Some(left) => left,
            None => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                *self.ending.insert(DISCARD_MAX)
            }
        };
        self.poll_discard(left, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = slices.first().filter(|first| refusal::is_bare(first)) {
            return self.poll_write(cx, first);
        }
        let size: usize = slices.iter().map(|slice| slice.len()).sum();
        if slices.len() < 2 || size > PIECE_MAX || self.pulse.bears_keys() {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        // To put a short answer together costs less than to have the system collect it.
        let mut piece = Vec::with_capacity(size);
        slices.iter().for_each(|slice| piece.extend_from_slice(slice));
        Pin::new(&mut self.stream).poll_write(cx, &piece)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
