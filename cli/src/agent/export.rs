//! The counters for Prometheus: over HTTP, and as a file for the node exporter's textfile collector.

use std::{convert::Infallible, net::SocketAddr, path::Path, rc::Rc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{
    disk::{self, Machine},
    ledger::Ledger,
};

/// Anyone may read the file: it holds names and dates, as the certificates themselves do.
const TEXT_FILE_MODE: u32 = 0o644;
/// A reader slower than this is cut off.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// A pause after the system had no room for one more connection.
const NO_ROOM: Duration = Duration::from_millis(100);

/// Answers `GET /metrics` until the agent ends.
pub(crate) async fn listen(address: SocketAddr, ledger: Rc<Ledger>) -> Result<(), String> {
    let listener =
        TcpListener::bind(address).await.map_err(|e| format!("metrics cannot listen on {address}: {e}"))?;
    tokio::task::spawn_local(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // A connection that broke before it was taken is the caller's loss; the next may come.
                tokio::time::sleep(NO_ROOM).await;
                continue;
            };
            let ledger = Rc::clone(&ledger);
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| {
                    let answer = answer(&request, &ledger);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // A reader that goes away needs no answer.
                let _ = tokio::time::timeout(ANSWER_TIME_MAX, connection).await;
            });
        }
    });
    Ok(())
}

/// Writes the file, whole.
pub(crate) fn write(path: &Path, ledger: &Ledger) -> Result<(), String> {
    disk::replace(&Machine, path, ledger.text().as_bytes(), TEXT_FILE_MODE).map_err(|e| {
        format!(
            "text_file: {} cannot be written: {e}; is its folder there, with room, and may the agent's user write in it?",
            path.display()
        )
    })
}

fn answer(request: &http::Request<Incoming>, ledger: &Ledger) -> http::Response<Full<Bytes>> {
    let (status, text) = match (request.method().as_str(), request.uri().path()) {
        ("GET", "/metrics") => (200, ledger.text()),
        (_, "/metrics") => (405, "Only GET.\n".to_owned()),
        _ => (404, "The counters are at /metrics.\n".to_owned()),
    };
    let mut response = http::Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::NOT_FOUND);
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert("content-type", kind);
    response
}
