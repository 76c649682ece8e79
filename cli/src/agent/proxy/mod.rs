//! The agent as a door to the server for programs of this machine: with its token, and with a memory for what is leased.
//!
//! `door` listens, `desk` looks at a request and says what becomes of it, `upstream` is the way to the server, `memory`
//! keeps answers while their leases live.

mod desk;
mod door;
mod memory;
mod upstream;

use std::path::PathBuf;

pub(crate) use desk::Desk;
pub(crate) use door::open;

use super::disk::Owner;

/// One place where the agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    pub(crate) at: Place,
    /// A certificate and its key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) header: Header,
    pub(crate) role: Role,
    pub(crate) quit: Quit,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(String),
    Unix { path: PathBuf, mode: u32, owner: Owner },
}

/// Whether a request must say that it is meant for a server like this: what browsers and confused servers cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Required,
    Free,
}

/// What a door serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    All,
    Metrics,
}

/// Whether whoever comes through this door may end the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quit {
    Allowed,
    Refused,
}

/// To whom the agent lends its token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lending {
    #[default]
    Never,
    /// To requests that have none.
    Missing,
    /// To all, whatever they bring.
    Always,
}
