//! Why a call brought no answer to use, said so that scripts recognise it and people know what to do.

use std::fmt;

use serde_json::Value;

use crate::{
    call::Verb,
    client::{Credential, Reply},
    output,
    secret::Secret,
    stop::{REMOTE, Stop},
    trouble::Trouble,
};

/// A call without a usable answer.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The server answered with an error.
    Answer(Box<Answer>),
    /// No answer came.
    NoAnswer { verb: Verb, url: String, trouble: Trouble },
    /// The call was to be shown, not sent.
    Shown(String),
    /// The call could not even be made.
    Local(String),
}

/// An answer that says no.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) verb: Verb,
    pub(crate) url: String,
    pub(crate) namespace: Option<String>,
    pub(crate) status: u16,
    pub(crate) errors: Vec<String>,
    pub(crate) credential: Credential,
    pub(crate) first_token: Option<String>,
    /// Whether nobody has set the server up yet.
    pub(crate) new_server: bool,
    /// The server's clock, in seconds since 1970.
    pub(crate) date: Option<i64>,
    /// How long the server asks to be left alone.
    pub(crate) retry_after: Option<std::time::Duration>,
    body: bytes::Bytes,
    /// Whether the body is none of the API's, and is told as it is.
    raw: bool,
}

impl Refused {
    /// An answer that is not what the API promises.
    pub(crate) fn unreadable(error: &serde_json::Error) -> Refused {
        Refused::Local(format!("The server's answer cannot be read: {error}. Is this the API's address?"))
    }

    /// The status, if the server answered.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Refused::Answer(answer) => Some(answer.status),
            _ => None,
        }
    }

    /// Whether the server said no more than that there is no such thing: where nothing is mounted, it says so.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Refused::Answer(answer) if answer.status == 404 && answer.says_nothing())
    }

    /// What was wrong, without where it was asked.
    pub(crate) fn reason(&self) -> String {
        match self {
            Refused::Answer(answer) if !answer.errors.is_empty() => answer.errors.join("; "),
            Refused::Answer(answer) => format!("the server answered with status {}", answer.status),
            Refused::NoAnswer { .. } => "the server does not answer".to_owned(),
            Refused::Shown(_) | Refused::Local(_) => "this program refused".to_owned(),
        }
    }

    /// The end of the command, told as `prefix: why`.
    pub(crate) fn during(self, prefix: impl fmt::Display) -> Stop {
        let prefix = prefix.to_string();
        self.told(Some(&prefix))
    }

    fn told(self, prefix: Option<&str>) -> Stop {
        let hint = self.hint();
        let text = match &self {
            Refused::Answer(answer) => match answer.warnings() {
                Some(warnings) => format!("{answer}\n{warnings}"),
                None => answer.to_string(),
            },
            other => other.to_string(),
        };
        let message = prefix.map_or_else(|| text.clone(), |prefix| format!("{prefix}: {text}"));
        match self {
            Refused::Shown(text) => Stop::Shown(text),
            _ => Stop::Failed { code: REMOTE, message, hint },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Refused::Answer(answer) => answer.hint(),
            Refused::NoAnswer { trouble, .. } => trouble.hint().map(str::to_owned),
            Refused::Shown(_) | Refused::Local(_) => None,
        }
    }
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Stop {
        refused.told(None)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Answer(answer) => answer.fmt(f),
            Refused::NoAnswer { verb, url, trouble } => {
                write!(f, "{} {url:?}: {}", verb.capitalised(), trouble.text())
            }
            Refused::Shown(text) | Refused::Local(text) => f.write_str(text),
        }
    }
}

impl Answer {
    /// Reads the error list of an answer; whatever else it is stays as raw text.
    pub(crate) fn read(
        verb: Verb,
        url: String,
        namespace: Option<String>,
        reply: Reply,
        credential: Credential,
    ) -> Answer {
        let parsed: Option<Value> = serde_json::from_slice(&reply.body).ok();
        let raw = !parsed.as_ref().is_some_and(Value::is_object);
        let list = parsed.as_ref().and_then(|value| value.get("errors")).and_then(Value::as_array);
        let errors = list
            .map(|list| {
                list.iter().map(|e| e.as_str().map_or_else(|| e.to_string(), str::to_owned)).collect()
            })
            .unwrap_or_default();
        Answer {
            verb,
            url,
            namespace,
            status: reply.status,
            errors,
            credential,
            first_token: None,
            new_server: false,
            date: reply.date,
            retry_after: reply.retry_after,
            body: reply.body,
            raw,
        }
    }

    /// The envelope, if the answer holds one in spite of its status.
    pub(crate) fn secret(&self) -> Option<Secret> {
        Secret::parse(&self.body).ok().flatten()
    }

    /// The errors on one line, if there are any.
    pub(crate) fn on_one_line(&self) -> Option<String> {
        let words: Vec<&str> = self.errors.iter().flat_map(|error| error.split_whitespace()).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// What an answer warns of although it is a refusal, as kv does of paths that are no paths of its API.
    fn warnings(&self) -> Option<String> {
        output::warnings(&self.secret()?)
    }

    /// Whether there is neither an error nor a warning in it.
    pub(crate) fn says_nothing(&self) -> bool {
        self.errors.is_empty() && self.warnings().is_none()
    }

    /// Whether the server itself is sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.status == 503 && self.says("sealed") && !self.says("namespace is sealed")
    }

    /// Whether an error says `words`.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.errors.iter().any(|error| error.contains(words))
    }

    fn hint(&self) -> Option<String> {
        let text = |text: &str| Some(text.to_owned());
        let raw = String::from_utf8_lossy(&self.body);
        match self.status {
            403 if self.credential == Credential::Missing => Some(self.login_hint()),
            403 if self.errors.iter().any(|error| error == "permission denied") => {
                text("The server does not know this token, or it has expired: run `keep login`.")
            }
            403 if self.says("permission denied") => text(
                "The token is valid, but its policies do not allow this: `keep token capabilities PATH` shows what they do.",
            ),
            503 if self.says("namespace is sealed") => {
                text("Ask who holds its shares to unseal it: `keep namespace unseal NAME`.")
            }
            503 if self.is_sealed() && !self.new_server => {
                text("Unseal the server with `keep operator unseal`.")
            }
            400 | 501 | 503 if self.new_server || self.says("not initialized") => {
                text("The server is new: set it up with `keep operator init`.")
            }
            400 if raw.contains("HTTP request to an HTTPS server") => {
                text("The server speaks TLS: write the address with https://.")
            }
            _ => None,
        }
    }

    fn login_hint(&self) -> String {
        match &self.first_token {
            None => "No token is set: run `keep login`, or set KEEP_TOKEN.".to_owned(),
            Some(file) => format!(
                "No token is set: run `keep login`. The first token of this machine's server is in {file}: `keep login - < {file}`."
            ),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Error making API request.\n\n")?;
        if let Some(namespace) = &self.namespace {
            writeln!(f, "Namespace: {namespace}")?;
        }
        writeln!(f, "URL: {} {}", self.verb.name(), self.url)?;
        if self.raw && self.errors.is_empty() {
            let raw = String::from_utf8_lossy(&self.body);
            return write!(f, "Code: {}. Raw Message:\n\n{}", self.status, raw.trim_end());
        }
        write!(f, "Code: {}. Errors:\n\n", self.status)?;
        for (at, error) in self.errors.iter().enumerate() {
            let gap = if at == 0 { "" } else { "\n" };
            write!(f, "{gap}* {error}")?;
        }
        Ok(())
    }
}
