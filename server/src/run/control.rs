use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::Control;
use tokio::sync::Notify;

use crate::config::Level;
use crate::log::Logs;
use crate::phase::State;

/// The server as the kernel sees it.
pub(super) struct Around {
    seal_wanted: Arc<Notify>,
    described: serde_json::Value,
    logs: Arc<Logs>,
}

impl Around {
    pub(super) fn new(seal_wanted: Arc<Notify>, described: serde_json::Value, logs: Arc<Logs>) -> Self {
        Self { seal_wanted, described, logs }
    }
}

impl Control for Around {
    fn seal(&self) {
        // The request that wants it must end first, so this only asks for it.
        self.seal_wanted.notify_one();
    }

    fn describe(&self) -> serde_json::Value {
        self.described.clone()
    }

    fn loggers(&self) -> BTreeMap<String, String> {
        self.logs.levels()
    }

    fn log_level(&self, part: Option<&str>, level: Option<&str>) -> kit::Result<()> {
        let wrong = |_| {
            let text = format!("invalid level provided: unknown log level: {}", level.unwrap_or_default());
            kit::Error::invalid(text)
        };
        let level = level.map(str::parse::<Level>).transpose().map_err(wrong)?;
        match self.logs.set_part(part, level) {
            true => Ok(()),
            false => Err(kit::Error::invalid(format!("logger {:?} not found", part.unwrap_or_default()))),
        }
    }
}

/// Seals each time it is asked for.
pub(super) async fn seal_when_wanted(state: Arc<State>, wanted: Arc<Notify>) {
    loop {
        wanted.notified().await;
        let state = Arc::clone(&state);
        match tokio::task::spawn_blocking(move || locked::scrub(|| state.seal())).await {
            Ok(Ok(())) => {}
            Ok(Err(stuck)) => tracing::error!(error = %stuck, "sealed, but the storage did not close well"),
            Err(error) => tracing::error!(%error, "sealing ended in a fault of ours"),
        }
    }
}
