//! Listening: TCP or a socket, in clear or over TLS.

use std::{convert::Infallible, fs, os::unix::fs::PermissionsExt, path::Path, rc::Rc, sync::Arc};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};
use tokio_rustls::TlsAcceptor;

use super::{Desk, Door, Place};
use crate::agent::disk::{Disk, Machine, Owner};

/// Opens a door and serves whoever comes until the agent ends.
pub(crate) async fn open(door: Door, desk: Rc<Desk>) -> Result<(), String> {
    let tls = match &door.tls {
        Some((cert, key)) => Some(acceptor(cert, key)?),
        None => None,
    };
    match door.at.clone() {
        Place::Tcp(address) => {
            let listener = TcpListener::bind(&address).await;
            let listener = listener.map_err(|e| format!("the agent cannot listen on {address}: {e}"))?;
            tokio::task::spawn_local(async move {
                loop {
                    // A connection that broke before it was taken is the caller's loss; the next may come.
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    receive(stream, tls.clone(), &door, &desk);
                }
            });
        }
        Place::Unix { path, mode, owner } => {
            let listener = socket(&path, mode, owner)
                .map_err(|e| format!("the agent cannot listen on {}: {e}", path.display()))?;
            tokio::task::spawn_local(async move {
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    receive(stream, tls.clone(), &door, &desk);
                }
            });
        }
    }
    Ok(())
}

/// A socket that nobody could open before it had its mode.
fn socket(path: &Path, mode: u32, owner: Owner) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    if fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
        Machine.remove(path)?;
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

fn receive<S>(stream: S, tls: Option<TlsAcceptor>, door: &Door, desk: &Rc<Desk>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (door, desk) = (door.clone(), Rc::clone(desk));
    tokio::task::spawn_local(async move {
        match tls {
            None => serve(stream, door, desk).await,
            Some(tls) => {
                // Whoever cannot speak TLS has no answer.
                if let Ok(stream) = tls.accept(stream).await {
                    serve(stream, door, desk).await;
                }
            }
        }
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
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let wrong = |file: &Path, why: String| format!("{} cannot be used: {why}", file.display());
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let chain = chain.map_err(|e| wrong(cert, e.to_string()))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(cert, e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| wrong(cert, e.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
