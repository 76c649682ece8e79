//! `exec`: a program that has secrets in its environment, and gets new ones by being started again.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    rc::Rc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
};
use zeroize::Zeroizing;

use super::log::{Level, Log};

/// A program that does not end within this after it was asked is killed.
const ENDING_TIME_MAX: Duration = Duration::from_secs(30);
/// The exit code of a program that a signal ended is this and the signal's number, as shells have it.
const SIGNALLED: u8 = 128;

/// What is run, and how it is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildPlan {
    pub(crate) words: Vec<String>,
    pub(crate) restart: Restart,
    /// What asks it to end before it is started again.
    pub(crate) stop_signal: Signal,
    /// Where it writes, if not where the agent does.
    pub(crate) stdout: Option<PathBuf>,
    pub(crate) stderr: Option<PathBuf>,
}

/// Whether it is started again when a secret changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    Never,
}

/// What following its variables came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    Started,
    Restarted,
    Same,
}

/// The program.
pub(crate) struct Child {
    plan: ChildPlan,
    log: Rc<Log>,
    process: Option<tokio::process::Child>,
    variables: Vec<(String, Zeroizing<String>)>,
    forwarded: Vec<(tokio::signal::unix::Signal, Signal)>,
}

impl Child {
    pub(crate) fn new(plan: ChildPlan, log: Rc<Log>) -> Child {
        let kinds = [
            (SignalKind::hangup(), Signal::HUP),
            (SignalKind::user_defined1(), Signal::USR1),
            (SignalKind::user_defined2(), Signal::USR2),
            (SignalKind::window_change(), Signal::WINCH),
        ];
        // A signal that cannot be heard is not forwarded.
        let heard = kinds.into_iter().filter_map(|(kind, sent)| Some((signal(kind).ok()?, sent)));
        Child { plan, log, process: None, variables: Vec::new(), forwarded: heard.collect() }
    }

    /// Starts it with these variables, or again if they are others.
    pub(crate) async fn follow(
        &mut self,
        variables: Vec<(String, Zeroizing<String>)>,
    ) -> Result<Followed, String> {
        let again = self.process.is_some();
        if again {
            if self.variables == variables {
                return Ok(Followed::Same);
            }
            if self.plan.restart == Restart::Never {
                let line =
                    "a secret changed; restart_on_secret_changes = \"never\" leaves the program as it is";
                self.log.write(Level::Info, line);
                self.variables = variables;
                return Ok(Followed::Same);
            }
            self.log.write(Level::Info, "a secret changed: the program is started again");
            self.stop(self.plan.stop_signal).await;
        }
        let Some((program, rest)) = self.plan.words.split_first() else {
            return Err("exec: the command is empty".to_owned());
        };
        let mut command = Command::new(program);
        command.args(rest).kill_on_drop(true);
        if let Some(path) = &self.plan.stdout {
            command.stdout(appended(path)?);
        }
        if let Some(path) = &self.plan.stderr {
            command.stderr(appended(path)?);
        }
        command.envs(variables.iter().map(|(name, value)| (name, value.as_str())));
        let process = command.spawn().map_err(|e| {
            format!("exec: `{program}` cannot be started: {e}; the agent's user must be able to run it")
        })?;
        self.process = Some(process);
        self.variables = variables;
        Ok(if again { Followed::Restarted } else { Followed::Started })
    }

    /// Waits until it ends by itself, and hands on signals meanwhile. Its exit code.
    pub(crate) async fn ended(&mut self) -> u8 {
        loop {
            let Some(process) = &mut self.process else { return std::future::pending().await };
            let id = process.id();
            tokio::select! {
                status = process.wait() => {
                    self.process = None;
                    if let (Ok(status), Some(program)) = (&status, self.plan.words.first()) {
                        let line = format!("exec: `{program}` ended with {status}; so does the agent");
                        self.log.write(Level::Error, &line);
                    }
                    return status.map_or(crate::stop::LOCAL, code);
                }
                signal = next(&mut self.forwarded) => send(id, signal),
            }
        }
    }

    /// Hands on the signal that ends the agent. The program's exit code.
    pub(crate) async fn end(&mut self, signal: Signal) -> u8 {
        self.stop(signal).await.map_or(0, code)
    }

    async fn stop(&mut self, signal: Signal) -> Option<ExitStatus> {
        let mut process = self.process.take()?;
        send(process.id(), signal);
        if let Ok(status) = tokio::time::timeout(ENDING_TIME_MAX, process.wait()).await {
            return status.ok();
        }
        self.log.write(Level::Warn, "the program did not end within 30 s: it is killed");
        // It may have ended between the two.
        let _ = process.kill().await;
        process.wait().await.ok()
    }
}

fn appended(path: &Path) -> Result<Stdio, String> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map(Stdio::from).map_err(|e| {
        format!(
            "exec: {} cannot be written: {e}; the agent's user must be able to write there",
            path.display()
        )
    })
}

async fn next(forwarded: &mut [(tokio::signal::unix::Signal, Signal)]) -> Signal {
    std::future::poll_fn(|context| {
        for (heard, sent) in forwarded.iter_mut() {
            if heard.poll_recv(context).is_ready() {
                return std::task::Poll::Ready(*sent);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

fn send(id: Option<u32>, signal: Signal) {
    let pid = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended a moment ago.
        let _ = kill_process(pid, signal);
    }
}

fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(crate::stop::LOCAL),
        (None, Some(signal)) => SIGNALLED.saturating_add(u8::try_from(signal).unwrap_or(0)),
        (None, None) => crate::stop::LOCAL,
    }
}
