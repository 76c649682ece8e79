//! Why a command ends early, with the exit code and the sentence for the user.

use std::fmt::Display;

/// Exit code of a mistake in the command line or on this machine.
pub(crate) const LOCAL: u8 = 1;
/// Exit code of a refusal by the server, or of something that is not there.
pub(crate) const REMOTE: u8 = 2;
/// Exit code of a command that does not exist.
pub(crate) const UNKNOWN: u8 = 127;

/// The early end of a command.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The request was to be shown and not sent: its text, for standard output.
    Shown(String),
    /// Something is wrong.
    Failed {
        /// The exit code.
        code: u8,
        /// What is wrong, in the words that scripts know.
        message: String,
        /// What to do about it, in one line.
        hint: Option<String>,
    },
}

/// What every command returns: its exit code, or why it ended early.
pub(crate) type Outcome = Result<u8, Stop>;

impl Stop {
    /// The user or this machine has to change something.
    pub(crate) fn local(message: impl Display) -> Stop {
        Stop::Failed { code: LOCAL, message: message.to_string(), hint: None }
    }

    /// The server refused, or has nothing there.
    pub(crate) fn remote(message: impl Display) -> Stop {
        Stop::Failed { code: REMOTE, message: message.to_string(), hint: None }
    }

    /// Adds what to do about it, if nothing better is known yet.
    pub(crate) fn hint(self, advice: impl Display) -> Stop {
        match self {
            Stop::Failed { code, message, hint: None } => {
                Stop::Failed { code, message, hint: Some(advice.to_string()) }
            }
            other => other,
        }
    }

    /// Adds a line to what is said, whatever that is.
    pub(crate) fn also(self, line: impl Display) -> Stop {
        match self {
            Stop::Failed { code, message, hint } => {
                let hint = hint.map_or(line.to_string(), |hint| format!("{hint}\n{line}"));
                Stop::Failed { code, message, hint: Some(hint) }
            }
            other => other,
        }
    }

    /// Says first what was being done.
    pub(crate) fn before(self, what: impl Display) -> Stop {
        match self {
            Stop::Failed { code, message, hint } => {
                Stop::Failed { code, message: format!("{what}: {message}"), hint }
            }
            other => other,
        }
    }

    /// The same end under another exit code.
    pub(crate) fn code(self, changed: u8) -> Stop {
        match self {
            Stop::Failed { message, hint, .. } => Stop::Failed { code: changed, message, hint },
            other => other,
        }
    }
}
