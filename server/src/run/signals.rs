use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Environment};
use crate::http::tls::Certificates;
use crate::log::Logs;
use crate::phase::State;
use crate::run::Failure;

/// What the system and its operator tell a server.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From now on signals come here and end nothing by themselves.
    pub(super) fn begin() -> Result<Self, Failure> {
        let take = |kind| {
            signal(kind).map_err(|error| Failure::start(format!("signals cannot be received: {error}")))
        };
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            hang_up: take(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT, and calls `reload` at each SIGHUP.
    pub(super) async fn until_stop(mut self, reload: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => tokio::task::block_in_place(&reload),
            }
        }
    }
}

/// SIGHUP: files that were moved or replaced are opened anew, and the log level is read again.
pub(super) fn reload(
    state: &State,
    certificates: &[Arc<Certificates>],
    logs: &Logs,
    files: &[PathBuf],
    environment: &Environment,
) {
    logs.reopen();
    if let Some(kernel) = state.kernel() {
        kernel.reopen_audits();
    }
    certificates.iter().for_each(|certificates| certificates.reload());
    if !files.is_empty() {
        match config::load(files, environment) {
            Ok((config, _)) => logs.set_level(config.log.level),
            Err(findings) => {
                for finding in findings {
                    tracing::error!(%finding, "the configuration is wrong now; the server goes on as it was started");
                }
            }
        }
    }
    tracing::info!("reloaded: audit files, certificates, log");
}
