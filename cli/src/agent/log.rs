//! The agent's log: lines on standard error, plain, as Vault Agent has them, or as JSON; and in a file, if one is named.

mod file;

use std::{cell::RefCell, path::PathBuf, time::Duration};

use serde_json::json;

use super::moment::Moment;
use crate::{output::warn, settings};
use file::LogFile;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Nothing but what happened: whoever gathers standard error writes the time before it.
    Plain,
    /// With time and level, as Vault Agent writes it.
    Standard,
    Json,
}

/// What was said of the log; what was not is as usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogPlan {
    pub(crate) format: Option<Format>,
    pub(crate) level: Option<Level>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) rotation: Rotation,
}

/// When the file is put aside for a new one, and how many that were put aside stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// When it holds so many bytes; 0 for any number.
    pub(crate) bytes: Option<u64>,
    pub(crate) after: Option<Duration>,
    /// 0 keeps all, less than that none.
    pub(crate) kept: Option<i64>,
}

/// The log of one agent.
pub(crate) struct Log {
    format: Format,
    /// What is written at least; nothing, where whoever began it says how it ended.
    least: Option<Level>,
    file: Option<RefCell<LogFile>>,
}

impl Level {
    /// Reads the word for it.
    pub(crate) fn parse(text: &str) -> Result<Level, String> {
        Ok(match text.trim().to_lowercase().as_str() {
            "trace" => Level::Trace,
            "debug" => Level::Debug,
            "info" | "notice" => Level::Info,
            "warn" | "warning" => Level::Warn,
            "err" | "error" => Level::Error,
            _ => return Err(format!("log_level must be trace, debug, info, warn or error, not {text:?}")),
        })
    }

    fn word(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

impl Format {
    /// Reads the word for it.
    pub(crate) fn parse(text: &str) -> Result<Format, String> {
        Ok(match text.trim().to_lowercase().as_str() {
            "standard" => Format::Standard,
            "json" => Format::Json,
            _ => return Err(format!("log_format must be standard or json, not {text:?}")),
        })
    }

    fn line(self, level: Level, text: &str, now: Moment) -> String {
        match self {
            Format::Plain => text.to_owned(),
            Format::Standard => {
                let word = format!("[{}]", level.word().to_uppercase());
                format!("{} {word:<7} agent: {text}", now.precise(3))
            }
            Format::Json => json!({
                "@level": level.word(),
                "@message": text,
                "@module": "agent",
                "@timestamp": now.precise(6),
            })
            .to_string(),
        }
    }
}

impl LogPlan {
    /// The folder that it writes to.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let file = self.file.as_ref()?;
        Some(file::whole(file).parent()?.to_owned())
    }

    /// This, and where it says nothing, the other.
    pub(crate) fn or(self, other: LogPlan) -> LogPlan {
        LogPlan {
            format: self.format.or(other.format),
            level: self.level.or(other.level),
            file: self.file.or(other.file),
            rotation: Rotation {
                bytes: self.rotation.bytes.or(other.rotation.bytes),
                after: self.rotation.after.or(other.rotation.after),
                kept: self.rotation.kept.or(other.rotation.kept),
            },
        }
    }
}

impl Log {
    /// Opens it; a file that cannot be written is a reason not to start.
    pub(crate) fn open(plan: &LogPlan) -> Result<Log, String> {
        let open = |path: &PathBuf| LogFile::open(path, plan.rotation, settings::now()).map(RefCell::new);
        Ok(Log {
            format: plan.format.unwrap_or(Format::Plain),
            least: Some(plan.level.unwrap_or(Level::Info)),
            file: plan.file.as_ref().map(open).transpose()?,
        })
    }

    /// One in which nothing is written.
    pub(crate) fn silent() -> Log {
        Log { format: Format::Plain, least: None, file: None }
    }

    /// Whether its lines are JSON, and whatever reads them expects nothing else.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes a line. It must hold no secret.
    pub(crate) fn write(&self, level: Level, text: &str) {
        if self.least.is_none_or(|least| level < least) {
            return;
        }
        let now = settings::now();
        warn(self.format.line(level, text, now));
        let Some(file) = &self.file else { return };
        // A file has nobody who writes the time before its lines.
        let format = if self.format == Format::Plain { Format::Standard } else { self.format };
        let line = format.line(level, text, now);
        if let Err(why) = file.borrow_mut().write(&line, now) {
            warn(self.format.line(Level::Warn, &why, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_as_vault_agents_do() {
        let now = Moment::from_millis(1_795_783_850_773);
        let line = |format: Format, level| format.line(level, "a \"b\"\nc", now);
        assert_eq!(line(Format::Plain, Level::Info), "a \"b\"\nc");
        let standard = line(Format::Standard, Level::Warn);
        assert_eq!(standard, "2026-11-27T12:50:50.773Z [WARN]  agent: a \"b\"\nc");
        assert!(line(Format::Standard, Level::Error).contains("Z [ERROR] agent: a"));
        assert_eq!(
            line(Format::Json, Level::Info),
            r#"{"@level":"info","@message":"a \"b\"\nc","@module":"agent","@timestamp":"2026-11-27T12:50:50.773000Z"}"#
        );
    }
}
