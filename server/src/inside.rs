//! Requests of the server to itself, through the front door: judged and audited like all others.

use std::sync::Arc;

use kernel::{Answer, Handled, Kernel, Request};
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
    let folder = matches!(verb, Verb::List | Verb::Scan) && !path.ends_with('/');
    let path = if folder { format!("{path}/") } else { path.to_owned() };
    let request = Request {
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
    };
    let runtime = tokio::runtime::Handle::current();
    Ok(match kernel.handle(&request) {
        Handled::Done(answer) => answer.into_inner(),
        Handled::Later(pending) => runtime.block_on(kernel.finish(pending, &request)).into_inner(),
    })
}

/// What went wrong, for the log and the operator: the texts of the refusal.
pub(crate) fn refusal(answer: &Answer) -> Option<String> {
    match answer.status {
        200..300 => None,
        status => Some(format!("{status}: {}", String::from_utf8_lossy(&answer.body).trim())),
    }
}
