use std::fmt;

use crate::reply::Page;

/// What an operation comes to.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation did not happen.
#[derive(Clone, Debug)]
pub struct Error {
    fault: Fault,
    /// For the caller. Nothing: the fault alone says it.
    text: Option<String>,
    /// Go's list of errors, which some Vault clients look for.
    wrapped: bool,
    /// For the log only.
    cause: Option<String>,
    /// How the answer looks, where it is not Vault's.
    page: Option<Box<Page>>,
    /// Whose proof was wrong.
    whom: Option<Box<str>>,
}

/// Faults sorted by what the caller can do about them. The statuses are Vault's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The request is wrong, and will be wrong next time.
    Invalid,
    /// The proof of a login was wrong. Answers like `Invalid`, and counts towards a lockout.
    Credentials,
    /// The caller may not do this.
    Denied,
    /// There is no such thing.
    NotFound,
    /// There is none, and old clients look for the reason among the warnings of an envelope.
    Warned,
    /// The path is known, the verb is not.
    Verb,
    /// A condition that the request named does not hold.
    Precondition,
    /// The body is larger than allowed.
    TooLarge,
    /// The body is of a kind that this verb does not take.
    MediaType,
    /// Too much at once: come back later.
    Busy,
    /// Not a failure: the operation wants to be run again in the pool for costly work.
    Costly,
    /// Not a failure: what answers a login here is the operation of the same route.
    Elsewhere,
    /// A fault of ours, or of the machine.
    Internal,
    /// A system behind an engine said no or did not answer.
    Upstream,
    /// Sealed, or on the way up or down.
    Unavailable,
}

impl Error {
    /// The request is wrong. Say what, why, and what to do.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(Fault::Invalid, text)
    }

    /// The proof of a login was wrong.
    pub fn credentials(text: impl Into<String>) -> Self {
        Self::new(Fault::Credentials, text)
    }

    /// The proof was that of whom the method calls this, however the name was spelt.
    #[must_use]
    pub fn of(self, whom: &str) -> Self {
        Self { whom: Some(whom.into()), ..self }
    }

    /// Whose proof was wrong, if the method knows that better than by what was sent.
    pub fn whom(&self) -> Option<&str> {
        self.whom.as_deref()
    }

    /// The caller may not do this; nothing more is said.
    pub fn denied() -> Self {
        Self::new(Fault::Denied, "permission denied")
    }

    /// There is no such thing; nothing more is said.
    pub fn not_found() -> Self {
        Self { fault: Fault::NotFound, text: None, wrapped: false, cause: None, page: None, whom: None }
    }

    /// A fault with words for the caller.
    pub fn new(fault: Fault, text: impl Into<String>) -> Self {
        Self { fault, text: Some(text.into()), wrapped: false, cause: None, page: None, whom: None }
    }

    /// A fault of ours. The text is for the log; the caller learns only that it happened.
    pub fn internal(cause: impl Into<String>) -> Self {
        Self {
            fault: Fault::Internal,
            text: Some("internal error".to_owned()),
            wrapped: true,
            cause: Some(cause.into()),
            page: None,
            whom: None,
        }
    }

    /// Status 500 with words for the caller, as Vault gives for some bad input.
    pub fn server(text: impl Into<String>) -> Self {
        Self { wrapped: true, ..Self::new(Fault::Internal, text) }
    }

    /// The request is wrong, in the words in which OpenBao calls it a fault of its own: it answers some bad input with
    /// 500, and clients send that again.
    pub fn listed(text: impl Into<String>) -> Self {
        Self::invalid(text).wrapped()
    }

    /// Spelt as Go's list of one error.
    #[must_use]
    pub fn wrapped(self) -> Self {
        Self { wrapped: true, ..self }
    }

    /// Answered with a page of its own, as protocols want it that are not Vault's. Nothing that was written is kept, as
    /// with any error.
    #[must_use]
    pub fn shown_as(self, page: Page) -> Self {
        Self { page: Some(Box::new(page)), ..self }
    }

    /// The page that answers, if it is one of its own.
    pub fn page(&self) -> Option<&Page> {
        self.page.as_deref()
    }

    /// The kind of fault.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// What belongs in the log and nowhere else.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// What `errors` holds on the wire.
    pub fn texts(&self) -> Vec<String> {
        match &self.text {
            None => Vec::new(),
            Some(text) if self.wrapped => vec![format!("1 error occurred:\n\t* {text}\n\n")],
            Some(text) => vec![text.clone()],
        }
    }

    /// The one place where faults become statuses.
    pub fn status(&self) -> u16 {
        if let Some(page) = &self.page {
            return page.status;
        }
        match self.fault {
            Fault::Invalid | Fault::Credentials => 400,
            Fault::Denied => 403,
            Fault::NotFound | Fault::Warned => 404,
            Fault::Verb => 405,
            Fault::Precondition => 412,
            Fault::TooLarge => 413,
            Fault::MediaType => 415,
            Fault::Busy => 429,
            Fault::Internal | Fault::Costly | Fault::Elsewhere => 500,
            Fault::Upstream => 502,
            Fault::Unavailable => 503,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.as_deref().unwrap_or("not found"))
    }
}

impl std::error::Error for Error {}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(format!("a stored record does not read: {error}"))
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::Sealed => return Self::new(Fault::Unavailable, error.to_string()),
            // Names of things come from requests, and so does how much is to be stored. The words are those clients know.
            storage::Error::Name(_) | storage::Error::TxnTooLarge { .. } => {
                return Self::listed(error.to_string());
            }
            storage::Error::ValueTooLarge { .. } => {
                let text = format!("failed to write: {error}; store less at once, or in several places");
                return Self::listed(text);
            }
            _ => {}
        }
        let text = error.to_string();
        Self {
            fault: Fault::Internal,
            text: Some(text.clone()),
            wrapped: true,
            cause: Some(text),
            page: None,
            whom: None,
        }
    }
}
