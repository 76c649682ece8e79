use std::fmt;

use kit::Error;

/// Why one item of a request came to nothing. A batch goes on after it.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The request is wrong.
    Asked(String),
    /// The request is wrong, but a batch with such an item does not count as failed.
    Uncounted(String),
    /// The request is wrong, but OpenBao counts it as a fault of its own, and in a batch it counts as one.
    Mistaken(String),
    /// A fault of ours.
    Inner(String),
}

/// What a key that is set aside says to every use.
pub(super) const SET_ASIDE: &str = "refusing to use soft-deleted key";

impl Refusal {
    /// The request is wrong.
    pub(super) fn asked(text: impl Into<String>) -> Self {
        Self::Asked(text.into())
    }

    /// The request is wrong, and OpenBao counts it as a fault of its own.
    pub(super) fn mistaken(text: impl Into<String>) -> Self {
        Self::Mistaken(text.into())
    }

    /// A fault of ours.
    pub(super) fn inner(text: impl Into<String>) -> Self {
        Self::Inner(text.into())
    }

    /// The sentence.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Asked(text) | Self::Uncounted(text) | Self::Mistaken(text) | Self::Inner(text) => text,
        }
    }

    /// For operations in which OpenBao answers every refusal with 500, in its words.
    pub(super) fn listed(&self) -> Error {
        match self {
            Self::Inner(text) => Error::server(text),
            other => Error::listed(other.text()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Asked(text) | Refusal::Uncounted(text) => Self::invalid(text),
            Refusal::Mistaken(text) => Self::listed(text),
            Refusal::Inner(text) => Self::server(text),
        }
    }
}
