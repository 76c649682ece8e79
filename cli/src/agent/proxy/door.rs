//! Listening: TCP or a socket, in clear or over TLS.

use std::{
    convert::Infallible, fs, os::unix::fs::PermissionsExt, path::Path, rc::Rc, sync::Arc, time::Duration,
};

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;

use super::{Desk, Door, Place, seal::Sealed};
use crate::agent::disk::{Disk, Machine, Owner};

/// Connections of one door at the same time. More wait to be taken.
const CONNECTIONS_MAX: usize = 256;
/// How long a caller may take to say what they want, and to agree on TLS.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// A pause after the system had no room for one more connection.
const NO_ROOM: Duration = Duration::from_millis(100);

/// Opens a door and serves whoever comes until the agent ends.
pub(crate) async fn open(door: Door, desk: Rc<Desk>) -> Result<(), String> {
    let tls = door.tls.clone().map(|seal| Sealed::open(seal, desk.log())).transpose()?;
    let fresh = move || tls.as_ref().map(Sealed::acceptor);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    match door.at.clone() {
        Place::Tcp(address) => {
            let listener = TcpListener::bind(&address).await;
            let listener = listener.map_err(|e| format!("the agent cannot listen on {address}: {e}"))?;
            tokio::task::spawn_local(async move {
                loop {
                    let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
                    match listener.accept().await {
                        Ok((stream, _)) => receive((stream, place), fresh(), &door, &desk),
                        // A connection that broke before it was taken is the caller's loss; the next may come.
                        Err(_) => tokio::time::sleep(NO_ROOM).await,
                    }
                }
            });
        }
        Place::Unix { path, mode, owner } => {
            let listener = socket(&path, mode, owner)
                .map_err(|e| format!("the agent cannot listen on {}: {e}", path.display()))?;
            tokio::task::spawn_local(async move {
                loop {
                    let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
                    match listener.accept().await {
                        Ok((stream, _)) => receive((stream, place), fresh(), &door, &desk),
                        Err(_) => tokio::time::sleep(NO_ROOM).await,
                    }
                }
            });
        }
    }
    Ok(())
}

/// A socket that nobody could open before it had its mode.
fn socket(path: &Path, mode: u32, owner: Owner) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            let why = "something is there already that is no socket: move it away, or name another address";
            return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, why));
        }
        Ok(_) => Machine.remove(path)?,
        // Whatever is wrong shows when it is bound.
        Err(_) => {}
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    Machine.remove(fresh)?;
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(fresh);
    rustix::process::umask(before);
    let listener = bound?;
    if owner != Owner::default() {
        Machine.give(fresh, owner)?;
    }
    fs::set_permissions(fresh, fs::Permissions::from_mode(mode))?;
    Machine.rename(fresh, path)?;
    Ok(listener)
}

fn receive<S>(
    (stream, place): (S, OwnedSemaphorePermit),
    tls: Option<TlsAcceptor>,
    door: &Door,
    desk: &Rc<Desk>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (door, desk) = (door.clone(), Rc::clone(desk));
    tokio::task::spawn_local(async move {
        match tls {
            None => serve(stream, door, desk).await,
            Some(tls) => {
                // Whoever cannot speak TLS has no answer.
                if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIME, tls.accept(stream)).await {
                    serve(stream, door, desk).await;
                }
            }
        }
        drop(place);
    });
}

async fn serve<S>(stream: S, door: Door, desk: Rc<Desk>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(|request| {
        let (door, desk) = (door.clone(), Rc::clone(&desk));
        async move { Ok::<_, Infallible>(desk.answer(&door, request).await) }
    });
    // A caller that goes away needs no answer.
    let mut speaker = hyper::server::conn::http1::Builder::new();
    speaker.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let _ = speaker.serve_connection(TokioIo::new(stream), service).await;
}
