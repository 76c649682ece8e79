//! The ways to prove who the agent is, as its configuration names them.

use std::path::PathBuf;

use zeroize::Zeroizing;

/// How the agent proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// A token that is at hand, for a single run.
    Given(Zeroizing<String>),
    /// Somebody else's token, in a file.
    TokenFile {
        path: PathBuf,
    },
    Approle {
        role_id: PathBuf,
        secret_id: Option<SecretId>,
    },
    /// A statement signed by someone else, in a file: jwt and kubernetes.
    Jwt {
        role: String,
        proof: Proof,
    },
    /// The client certificate of the connection.
    Cert {
        role: Option<String>,
    },
    /// A name and a password in a file: userpass and ldap.
    Password {
        user: String,
        proof: Proof,
    },
}

/// A file that proves who the agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) path: PathBuf,
    pub(crate) after_reading: AfterReading,
}

/// Where the secret id lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretId {
    pub(crate) proof: Proof,
    /// The file may hold a wrapping token made at this path; what it wraps then takes its place.
    pub(crate) wrapped_at: Option<String>,
}

/// What happens to a file with a proof once that has served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterReading {
    Keep,
    /// It goes; of a link, the link.
    Remove,
    /// What a link leads to goes.
    RemoveTarget,
}
