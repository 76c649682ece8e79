use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use kernel::AuditSpec;
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
    /// Those that mean nothing here. Tools that know other servers send them, and by default they would end this one.
    others: [Signal; 2],
    /// A file may not grow so large. Whoever writes hears so as well, and says what to do; by default it ends the process.
    _too_large: Signal,
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
            others: [take(SignalKind::user_defined1())?, take(SignalKind::user_defined2())?],
            _too_large: take(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Waits for SIGTERM or SIGINT, and calls `reload` at each SIGHUP.
    pub(super) async fn until_stop(mut self, reload: impl Fn()) {
        let [one, two] = &mut self.others;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => tokio::task::block_in_place(&reload),
                _ = one.recv() => tracing::warn!("SIGUSR1 means nothing here: the server goes on"),
                _ = two.recv() => tracing::warn!("SIGUSR2 means nothing here: the server goes on"),
            }
        }
    }
}

/// The audit devices that the configuration declares. SIGHUP changes them, and the next unsealing takes them from here.
pub(super) type Declared = Arc<Mutex<Vec<AuditSpec>>>;

/// What SIGHUP reads again.
pub(super) struct Reload<'a> {
    pub(super) state: &'a State,
    pub(super) certificates: Vec<Arc<Certificates>>,
    pub(super) logs: Arc<Logs>,
    pub(super) files: Vec<PathBuf>,
    pub(super) environment: Environment,
    pub(super) declared: Declared,
}

impl Reload<'_> {
    /// Files that were moved or replaced are opened anew, and of the configuration the log level and the audit devices are
    /// read again.
    pub(super) fn reload(&self) {
        self.logs.reopen();
        let kernel = self.state.kernel();
        if let Some(kernel) = &kernel {
            kernel.reopen_audits();
        }
        self.certificates.iter().for_each(|certificates| certificates.reload());
        if !self.files.is_empty() {
            match config::load(&self.files, &self.environment) {
                Ok((config, _)) => {
                    self.logs.set_level(config.log.level);
                    if let Some(kernel) = &kernel {
                        kernel.declare_audits(&config.audits);
                    }
                    *self.declared.lock().unwrap_or_else(PoisonError::into_inner) = config.audits;
                }
                Err(findings) => {
                    for finding in findings {
                        tracing::error!(%finding, "the configuration is wrong now; the server goes on as it was started");
                    }
                }
            }
        }
        tracing::info!("reloaded: audit devices, certificates, log");
    }
}
