use std::sync::{Arc, LazyLock};

use kernel::Registry;
use kit::{AnyEngine, AnyMethod, Result};
use serde_json::Value;

/// Introduces the engines and auth methods to the kernel, which knows none of them.
pub(crate) struct All;

static ENGINES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| engines::KINDS.iter().map(|(kind, _)| *kind).collect());
static METHODS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| auth::KINDS.iter().map(|(kind, _)| *kind).collect());

impl Registry for All {
    fn engine(&self, kind: &str, options: &Value) -> Result<Arc<dyn AnyEngine>> {
        engines::open(kind, options)
    }

    fn method(&self, kind: &str, options: &Value) -> Result<(Arc<dyn AnyEngine>, Arc<dyn AnyMethod>)> {
        auth::open(kind, options)
    }

    fn engine_kinds(&self) -> &'static [&'static str] {
        &ENGINES
    }

    fn method_kinds(&self) -> &'static [&'static str] {
        &METHODS
    }
}
