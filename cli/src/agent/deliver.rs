//! How a service is told that its certificate is new.

use std::{path::PathBuf, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::post;

/// A reload that takes longer has hung.
pub(crate) const RELOAD_TIME_DEFAULT: Duration = Duration::from_secs(30);
/// Of what a command says, this much goes into the message.
const SAID_SIZE_MAX: usize = 400;

/// One way to make a service take its new certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// A unit of systemd.
    Unit(String),
    /// A signal to the process whose number is in a file.
    Signal { signal: String, pid_file: PathBuf },
    /// A program with its arguments.
    Command { words: Vec<String>, time_max: Duration },
    /// A POST to a URL.
    Http(String),
}

impl Reload {
    /// Reads what `-reload` takes.
    pub(crate) fn parse(text: &str) -> Result<Reload, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match (kind, rest) {
            ("nginx", "") => Ok(nginx()),
            ("http" | "https", _) => post::check(text).map(|()| Reload::Http(text.to_owned())),
            (_, "") => Err(unknown(text)),
            ("systemd", unit) => Ok(Reload::Unit(unit.to_owned())),
            ("signal", file) => {
                let (signal, file) = match file.split_once(':') {
                    Some((signal, file)) => (signal, file),
                    None => ("HUP", file),
                };
                number(signal)?;
                Ok(Reload::Signal { signal: signal.to_owned(), pid_file: PathBuf::from(file) })
            }
            ("command", line) => Ok(Reload::shell(line)),
            _ => Err(unknown(text)),
        }
    }

    /// A line for the shell.
    pub(crate) fn shell(line: &str) -> Reload {
        let words = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
        Reload::Command { words, time_max: RELOAD_TIME_DEFAULT }
    }

    /// Does it, and says why not.
    pub(crate) async fn run(&self) -> Result<(), String> {
        match self {
            Reload::Unit(unit) => {
                let words = ["systemctl", "reload-or-restart", "--", unit].map(str::to_owned);
                run(&words, RELOAD_TIME_DEFAULT).await
            }
            Reload::Signal { signal, pid_file } => send(signal, pid_file),
            Reload::Command { words, time_max } => run(words, *time_max).await,
            Reload::Http(url) => post::post(url, "application/json", String::new()).await,
        }
    }
}

/// The signal of this name, with or without SIG.
pub(crate) fn number(name: &str) -> Result<Signal, String> {
    Ok(match name.strip_prefix("SIG").unwrap_or(name) {
        "HUP" => Signal::HUP,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "INT" => Signal::INT,
        "TERM" => Signal::TERM,
        "QUIT" => Signal::QUIT,
        "WINCH" => Signal::WINCH,
        other => {
            return Err(format!(
                "{other:?} is no signal for a reload: HUP, USR1, USR2, INT, TERM, QUIT or WINCH"
            ));
        }
    })
}

/// nginx as this machine runs it: under systemd, or by itself. Both check its configuration first.
fn nginx() -> Reload {
    if std::path::Path::new("/run/systemd/system").exists() {
        return Reload::Unit("nginx".to_owned());
    }
    let words = ["nginx", "-s", "reload"].map(str::to_owned).to_vec();
    Reload::Command { words, time_max: RELOAD_TIME_DEFAULT }
}

fn unknown(text: &str) -> String {
    format!(
        "{text:?} is no way to reload: write nginx, systemd:UNIT, signal:PIDFILE, signal:USR1:PIDFILE, command:LINE or a URL"
    )
}

fn send(signal: &str, pid_file: &std::path::Path) -> Result<(), String> {
    let shown = pid_file.display();
    let text = std::fs::read_to_string(pid_file).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    // The first process of a container can be the service itself.
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| format!("{shown} holds no process number"))?;
    kill_process(pid, number(signal)?).map_err(|e| format!("the process of {shown} takes no signal: {e}"))
}

async fn run(words: &[String], time_max: Duration) -> Result<(), String> {
    let (program, rest) = words.split_first().ok_or("the command is empty")?;
    let shown = words.last().filter(|_| program == "/bin/sh").unwrap_or(program);
    let mut command = Command::new(program);
    command.args(rest).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let running = command.spawn().map_err(|e| format!("`{shown}` cannot be started: {e}"))?;
    let Ok(ended) = tokio::time::timeout(time_max, running.wait_with_output()).await else {
        return Err(format!("`{shown}` did not end within {} s", time_max.as_secs()));
    };
    let output = ended.map_err(|e| format!("`{shown}` cannot be awaited: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stderr, output.stdout].concat();
    let said: String =
        String::from_utf8_lossy(&said).trim().replace('\n', " | ").chars().take(SAID_SIZE_MAX).collect();
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    Err(format!("`{shown}` ended with {}{said}", output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_reload_are_read() {
        assert_eq!(Reload::parse("systemd:nginx"), Ok(Reload::Unit("nginx".to_owned())));
        let hup = Reload::Signal { signal: "HUP".to_owned(), pid_file: "/run/x.pid".into() };
        assert_eq!(Reload::parse("signal:/run/x.pid"), Ok(hup));
        assert_eq!(Reload::parse("command:a -b"), Ok(Reload::shell("a -b")));
        let url = "https://127.0.0.1/reload";
        assert_eq!(Reload::parse(url), Ok(Reload::Http(url.to_owned())));
        for wrong in ["", "apache", "systemd:", "signal:KILL:/x", "unit:nginx", "http:", "https://"] {
            assert!(Reload::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_command_that_fails_or_hangs_says_so() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            assert_eq!(Reload::shell("true").run().await, Ok(()));
            let failed = Reload::shell("echo broken config >&2; exit 3").run().await.expect_err("it failed");
            assert!(failed.contains("exit status: 3: broken config"), "{failed}");
            let words = ["sleep", "600"].map(str::to_owned).to_vec();
            let hung = Reload::Command { words, time_max: Duration::from_millis(50) }.run().await;
            assert!(hung.expect_err("it hung").contains("did not end"));
            let gone = Reload::Signal { signal: "HUP".to_owned(), pid_file: "/nowhere".into() };
            assert!(gone.run().await.is_err());
        });
    }
}
