//! Why a certificate, a request or a key was not accepted or could not be made.

/// What went wrong, sorted by who can put it right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not what they should be.
    #[error("{what} cannot be read: {why}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The bytes can be read, and what they ask for is refused.
    #[error("{0}")]
    Refused(String),
    /// A signature does not come from the key it should come from.
    #[error("the signature of {0} does not verify")]
    BadSignature(&'static str),
    /// The cryptographic library failed, which input cannot cause.
    #[error("{0} failed inside the cryptographic library")]
    Crypto(&'static str),
}

/// The result of this crate's work.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn malformed(what: &'static str, why: impl std::fmt::Display) -> Self {
        Error::Malformed { what, why: why.to_string() }
    }

    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Error::Refused(why.into())
    }
}

/// Says of a DER error what was being read when it came.
pub(crate) trait While<T> {
    fn reading(self, what: &'static str) -> Result<T>;
}

impl<T> While<T> for std::result::Result<T, der::Error> {
    fn reading(self, what: &'static str) -> Result<T> {
        self.map_err(|e| Error::malformed(what, e))
    }
}
