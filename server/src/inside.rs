//! Requests of the server to itself, through the front door: judged and audited like all others.

use std::sync::Arc;

use kernel::{Answer, Handled, Kernel, Lineage, Request};
use kit::{Remote, Secret, Verb};
use policy::Path;

/// Asks, and waits for the answer. Not for threads that others depend on.
pub(crate) fn ask(
    kernel: &Arc<Kernel>,
    token: &str,
    verb: Verb,
    path: &str,
    body: Vec<u8>,
) -> Result<Answer, String> {
    Ok(send(kernel, &request(token, verb, path, body)?))
}

/// A request in the root namespace.
pub(crate) fn request(token: &str, verb: Verb, path: &str, body: Vec<u8>) -> Result<Request, String> {
    let folder = matches!(verb, Verb::List | Verb::Scan) && !path.ends_with('/');
    let path = if folder { format!("{path}/") } else { path.to_owned() };
    Ok(Request {
        verb,
        path: Path::parse(&path).map_err(|error| format!("{path}: {error}"))?,
        token: (!token.is_empty()).then(|| Secret::new(token.to_owned())),
        query: Vec::new(),
        body,
        namespace: String::new(),
        wrap_ttl: None,
        wrap_format: kernel::WrapFormat::Plain,
        remote: Remote::default(),
        headers: Vec::new(),
        help: false,
        meter: kernel::Meter::default(),
        lineage: Lineage::default(),
        hidden: false,
    })
}

/// Makes a request, and waits for the answer.
pub(crate) fn send(kernel: &Arc<Kernel>, request: &Request) -> Answer {
    let runtime = tokio::runtime::Handle::current();
    match kernel.handle(request) {
        Handled::Done(answer) => answer.into_inner(),
        Handled::Later(pending) => runtime.block_on(kernel.finish(pending, request)).into_inner(),
    }
}

/// What went wrong, for the log and the operator: the texts of the refusal.
pub(crate) fn refusal(answer: &Answer) -> Option<String> {
    match answer.status {
        200..300 => None,
        status => Some(format!("{status}: {}", String::from_utf8_lossy(&answer.body).trim())),
    }
}
