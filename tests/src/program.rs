//! A program that runs beside the test: it is listened to, awaited, and gone when the test is.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A program that prints nothing is looked at again after this long.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(20);
/// How often something is looked for before the test gives up (half a minute of silence).
pub const QUESTIONS_MAX: usize = 1_500;

/// A running program, ended with the test.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Mutex<Receiver<()>>,
    /// Held, so that waiting for a line goes on to take its time when the program has closed its output and is not yet
    /// gone.
    _bell: Sender<()>,
    log: Arc<Mutex<String>>,
}

impl Program {
    /// Starts it, tied to the test's own thread, with nothing to read and all that it prints kept.
    pub fn start(command: &Command) -> Self {
        let mut command = dying_with_us(command);
        command.env("HOME", std::env::temp_dir()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (bell, lines) = channel();
        let log = Arc::new(Mutex::new(String::new()));
        listen(child.stdout.take().expect("stdout is piped"), bell.clone(), Arc::clone(&log));
        listen(child.stderr.take().expect("stderr is piped"), bell.clone(), Arc::clone(&log));
        Self { child, lines: Mutex::new(lines), _bell: bell, log }
    }

    /// Waits for its next line, or a moment without one.
    pub fn wait_a_little(&self) {
        let lines = self.lines.lock().expect("no listener panicked");
        if lines.recv_timeout(BETWEEN_QUESTIONS).is_ok() {
            // All that it has said by now is one reason to look again.
            lines.try_iter().for_each(drop);
        }
    }

    /// Looks until something is there; panics with what it printed if it never is.
    #[track_caller]
    pub fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        for _ in 0..QUESTIONS_MAX {
            if let Some(found) = look() {
                return found;
            }
            self.wait_a_little();
        }
        panic!("waited in vain until {what}; the program said:\n{}", self.log());
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has printed.
    pub fn log(&self) -> String {
        self.log.lock().expect("no listener panicked").clone()
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        for _ in 0..QUESTIONS_MAX {
            if let Some(status) = self.ended() {
                return status;
            }
            self.wait_a_little();
        }
        panic!("it does not end; it said:\n{}", self.log());
    }

    /// Sends a signal, as SIGHUP.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a child has a process id"), signal)
            .expect("the child is ours");
    }

    /// Asks it to end with SIGTERM and waits until it has.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.end()
    }

    /// Ends it with SIGKILL, as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("a killed child ends");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same command, ended by the kernel if the test is killed before it can do so itself. The tie is to the thread
/// that starts it: start programs from the test's own thread.
fn dying_with_us(command: &Command) -> Command {
    let tie = Path::new("/usr/bin/setpriv");
    let mut tied = if tie.exists() {
        let mut tied = Command::new(tie);
        tied.args(["--pdeathsig", "KILL"]).arg(command.get_program());
        tied
    } else {
        Command::new(command.get_program())
    };
    tied.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    tied
}

fn listen(stream: impl Read + Send + 'static, bell: Sender<()>, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().expect("no reader of the log panics");
            log.push_str(&line);
            log.push('\n');
            // Nobody may be waiting any more; the log is still kept.
            let _ = bell.send(());
        }
    });
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::Program;

    /// A program under load closes its output some time before it is gone.
    #[test]
    fn one_that_closed_its_output_is_given_time_to_end() {
        let mut program = Program::start(Command::new("sh").args(["-c", "exec >&- 2>&-; sleep 0.3; exit 3"]));
        assert_eq!(program.end().code(), Some(3));
    }
}
