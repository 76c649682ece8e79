//! What the operator says over the API of web pages: which of other origins may ask, and which headers those of the
//! web UI get.

use std::sync::Arc;

use kit::{Memo, Name, Result};
use serde::{Deserialize, Serialize};
use storage::Txn;

use crate::kernel::Kernel;
use crate::shelf::{Shelf, Source};

/// Which pages of other origins may ask. One record.
const CORS: Shelf<Cors> = Shelf::new(27);
const RECORD: Name<'static> = Name::Id(b"cors");
/// Headers of the web UI by name.
const HEADERS: Shelf<Vec<String>> = Shelf::new(28);

/// How many headers the pages of the web UI may have.
pub(crate) const HEADERS_MAX: usize = 64;

/// Which pages of other origins may ask.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Cors {
    /// Their origins; `*` is every one.
    pub origins: Vec<String>,
    /// Headers that they may send beside those of every client.
    pub headers: Vec<String>,
    /// Whether they may send what the browser keeps for this server.
    pub credentials: bool,
}

/// A header of the web UI, with its values.
pub type WebHeader = (String, Vec<String>);

/// What was read of it, kept while it reads the same.
pub(crate) struct Web {
    cors: Memo<(), Option<Arc<Cors>>>,
    headers: Memo<(), Arc<[WebHeader]>>,
}

impl Default for Web {
    fn default() -> Self {
        Self { cors: Memo::new(1), headers: Memo::new(1) }
    }
}

impl Kernel {
    /// Which pages of other origins may ask, if the operator has set it over the API.
    pub fn cors(&self) -> Option<Arc<Cors>> {
        let today = self.store.snapshot();
        let kept = self.web.cors.get(&(), &today, |txn| Ok::<_, kit::Error>(cors(txn)?.map(Arc::new)));
        match kept {
            Ok(kept) => kept.value().clone(),
            Err(error) => {
                tracing::error!(%error, "which origins may ask cannot be read; none may");
                None
            }
        }
    }

    /// The headers that the pages of the web UI get.
    pub fn web_headers(&self) -> Arc<[WebHeader]> {
        let today = self.store.snapshot();
        match self.web.headers.get(&(), &today, |txn| headers(txn).map(Arc::from)) {
            Ok(kept) => Arc::clone(kept.value()),
            Err(error) => {
                tracing::error!(%error, "the headers of the web UI cannot be read");
                Arc::from([])
            }
        }
    }
}

pub(crate) fn cors(source: &impl Source) -> Result<Option<Cors>> {
    CORS.get(source, RECORD)
}

pub(crate) fn put_cors(txn: &mut Txn, cors: &Cors) -> Result<()> {
    CORS.put(txn, RECORD, cors)
}

pub(crate) fn delete_cors(txn: &mut Txn) -> Result<()> {
    CORS.delete(txn, RECORD)
}

/// All headers, in the order of their names.
pub(crate) fn headers(source: &impl Source) -> Result<Vec<WebHeader>> {
    let mut headers = Vec::new();
    for name in HEADERS.list(source, "")?.iter() {
        if let Some(values) = header(source, name)? {
            headers.push((name.clone(), values));
        }
    }
    Ok(headers)
}

pub(crate) fn header(source: &impl Source, name: &str) -> Result<Option<Vec<String>>> {
    HEADERS.get(source, Name::Path(name))
}

pub(crate) fn put_header(txn: &mut Txn, name: &str, values: &Vec<String>) -> Result<()> {
    HEADERS.put(txn, Name::Path(name), values)
}

pub(crate) fn delete_header(txn: &mut Txn, name: &str) -> Result<()> {
    HEADERS.delete(txn, Name::Path(name))
}
