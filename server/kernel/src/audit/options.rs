use std::collections::BTreeMap;
use std::time::Duration;

use kit::loose::Span;
use kit::{Error, Result};

use crate::audit::file::Spot;
use crate::audit::http::Post;
use crate::audit::socket::Address;
use crate::audit::syslog::Voice;

/// What can be set on every device, whatever its type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) prefix: String,
    /// Nothing is hashed.
    pub(crate) log_raw: bool,
    /// Accessors are hashed too.
    pub(crate) hmac_accessor: bool,
    /// Lists are written as their length.
    pub(crate) elide_list_responses: bool,
}

/// Where a device writes to, by its type.
#[derive(Debug)]
pub(crate) enum Target {
    /// `file`
    File(Spot),
    /// `file`, where that is the output of the server
    Output,
    /// `socket`
    Socket(Address),
    /// `syslog`
    Syslog(Voice),
    /// `http`
    Http(Post),
}

/// The options of a device as they were given.
pub(crate) struct Given<'a>(&'a BTreeMap<String, String>);

impl Given<'_> {
    /// An option as a text; empty if it was not given.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.text(name) {
            "" => Ok(default),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => {
                Err(Error::invalid(format!("the audit option {name:?} must be true or false, not {other:?}")))
            }
        }
    }

    /// An option that says how long.
    pub(crate) fn span(&self, name: &str, default: Duration) -> Result<Duration> {
        match self.text(name) {
            "" => Ok(default),
            text => Span::parse(text).map(Span::duration).ok_or_else(|| {
                Error::invalid(format!(
                    "the audit option {name:?} must be a duration, like 2s or 500ms, not {text:?}"
                ))
            }),
        }
    }
}

/// Reads what an entry says.
///
/// # Errors
/// With the type or the option that is wrong, and what would be right.
pub(crate) fn read(
    kind: &str,
    options: &BTreeMap<String, String>,
    allow_prefix: bool,
) -> Result<(Target, Options)> {
    let given = Given(options);
    let target = match kind {
        "file" => Spot::read(&given)?.map_or(Target::Output, Target::File),
        "socket" => Target::Socket(Address::read(&given)?),
        "syslog" => Target::Syslog(Voice::read(&given)?),
        "http" => Target::Http(Post::read(&given)?),
        other => return Err(Error::invalid(format!("unknown backend type: {other:?}"))),
    };
    match given.text("format") {
        "" | "json" => {}
        "jsonx" => {
            return Err(Error::invalid(
                "jsonx formatting has been removed, consider switching to json by omitting \"format\" or setting it to \"json\"",
            ));
        }
        other => {
            return Err(Error::invalid(format!(
                "unknown format type {other:?}; this server writes \"json\""
            )));
        }
    }
    let prefix = given.text("prefix").to_owned();
    if !prefix.is_empty() && !allow_prefix {
        return Err(Error::invalid(
            "audit log prefixing is not allowed; set allow_audit_log_prefixing in the server's configuration",
        ));
    }
    let options = Options {
        prefix,
        log_raw: given.flag("log_raw", false)?,
        hmac_accessor: given.flag("hmac_accessor", true)?,
        elide_list_responses: given.flag("elide_list_responses", false)?,
    };
    Ok((target, options))
}
