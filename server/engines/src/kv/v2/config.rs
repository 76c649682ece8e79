use std::sync::Arc;
use std::time::Duration;

use kit::loose::{Flag, Number, Span};
use kit::{Command, Nothing, Query, Reading, Reads, Reply, Result, Route, Table, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::V2;

/// What the mount asks of all its secrets.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Config {
    pub(super) max_versions: u64,
    pub(super) cas_required: bool,
    pub(super) metadata_cas_required: bool,
    pub(super) delete_version_after: After,
}

/// How long versions live in the eyes of the mount.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) enum After {
    /// As each secret says.
    #[default]
    Unset,
    /// At most this long.
    Span(Duration),
    /// For ever, whatever a secret says.
    Never,
}

const CONFIG: Table<Config> = Table::new(3);
const NAME: &str = "config";

/// The configuration that holds now.
pub(super) fn current(cx: &impl Reads) -> Result<Arc<Config>> {
    cx.memo(NAME, |cx| Ok(CONFIG.get(cx, NAME)?.unwrap_or_default()))
}

/// A count as it is stored. Vault keeps 32 bits and takes -1 for the largest count there is.
pub(super) fn count(number: Number) -> u64 {
    u32::try_from(number.0).map_or(u64::from(u32::MAX), u64::from)
}

/// Reads what the mount asks of all its secrets.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Read {}

/// What the mount asks of all its secrets.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    cas_required: bool,
    delete_version_after: String,
    max_versions: u64,
    metadata_cas_required: bool,
}

impl Query<V2> for Read {
    const ROUTE: Route = Route::get("config");
    type Reply = Shown;

    fn run(self, _: &V2, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let config = current(cx)?;
        let delete_version_after = match config.delete_version_after {
            After::Unset => "0s".to_owned(),
            After::Span(span) => Span(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)).go(),
            After::Never => "-1s".to_owned(),
        };
        let Config { max_versions, cas_required, metadata_cas_required, .. } = *config;
        Ok(Shown { cas_required, delete_version_after, max_versions, metadata_cas_required }.into())
    }
}

/// Sets what the mount asks of all its secrets. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Every write has to name the version it supersedes.
    #[serde(default)]
    cas_required: Option<Flag>,
    /// How long versions live at most. 0: as each secret says; negative: for ever, whatever a secret says.
    #[serde(default)]
    delete_version_after: Option<Span>,
    /// How many versions of each secret are kept; 0: ten.
    #[serde(default)]
    max_versions: Option<Number>,
    /// Every change of metadata has to name the revision it supersedes.
    #[serde(default)]
    metadata_cas_required: Option<Flag>,
}

impl Command<V2> for Write {
    const ROUTE: Route = Route::post("config");
    type Reply = Nothing;

    fn run(self, _: &V2, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let mut config = CONFIG.get(cx, NAME)?.unwrap_or_default();
        if let Some(Flag(required)) = self.cas_required {
            config.cas_required = required;
        }
        if let Some(Flag(required)) = self.metadata_cas_required {
            config.metadata_cas_required = required;
        }
        if let Some(number) = self.max_versions {
            config.max_versions = count(number);
        }
        match self.delete_version_after {
            None => {}
            Some(Span(0)) => config.delete_version_after = After::Unset,
            Some(span) if span.0 < 0 => config.delete_version_after = After::Never,
            Some(span) => config.delete_version_after = After::Span(span.duration()),
        }
        CONFIG.put(cx, NAME, &config)?;
        Ok(Reply::Nothing)
    }
}
