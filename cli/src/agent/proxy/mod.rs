//! The agent as a door to the server for programs of this machine: with its token, and with a memory for what is leased.
//!
//! `door` listens, `desk` looks at a request and says what becomes of it, `upstream` is the way to the server, `memory`
//! keeps answers while their leases live.

mod desk;
mod door;
mod memory;
mod seal;
mod upstream;

use std::path::PathBuf;

pub(crate) use desk::Desk;
pub(crate) use door::open;
pub(crate) use seal::{Clients, Seal, Versions};

use super::disk::Owner;

/// One place where the agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    pub(crate) at: Place,
    /// How it speaks TLS; not at all if nothing is said.
    pub(crate) tls: Option<Seal>,
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

/// How requests are handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manners {
    pub(crate) lending: Lending,
    pub(crate) memory: Remembers,
    pub(crate) namespaces: Namespaces,
    pub(crate) connections: Connections,
}

/// Whether answers with a lease are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Remembers {
    Leases,
    #[default]
    Nothing,
}

/// What the namespace of the configuration is to a request that names one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Namespaces {
    /// Nothing: the request says where it is.
    #[default]
    OfRequest,
    /// The place that the request's is below.
    Prepended,
}

/// Whether connections to the server wait for the next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Connections {
    #[default]
    Kept,
    Closed,
}
