//! What a template asks for from outside.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use super::sandbox::Sandbox;

/// One question. Two templates that ask the same get the same answer: a database user and its password belong together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Query {
    /// `secret "path"`, possibly with `?version=3`.
    Read(String),
    /// `secret "path" "key=value"`.
    Write(String, BTreeMap<String, String>),
    /// `secrets "path"`.
    List(String),
    /// `pkiCert "path" "key=value"`.
    Certificate(String, BTreeMap<String, String>),
    /// `file "path"`, and where it must lie.
    File(PathBuf, Option<Sandbox>),
}

impl Query {
    /// What stands for it in the cache on the disk: all of it.
    pub(crate) fn key(&self) -> String {
        let pairs = |body: &BTreeMap<String, String>| serde_json::to_string(body).unwrap_or_default();
        match self {
            Query::Read(path) => format!("read {path}"),
            Query::Write(path, body) => format!("write {path} {}", pairs(body)),
            Query::List(path) => format!("list {path}"),
            Query::Certificate(path, body) => format!("certificate {path} {}", pairs(body)),
            Query::File(path, _) => format!("file {}", path.display()),
        }
    }
}

/// For messages: without what is sent, which may be secret.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Query::Read(path) => write!(f, "secret {path:?}"),
            Query::Write(path, _) => write!(f, "secret {path:?} (written)"),
            Query::List(path) => write!(f, "secrets {path:?}"),
            Query::Certificate(path, _) => write!(f, "pkiCert {path:?}"),
            Query::File(path, _) => write!(f, "file {:?}", path.display()),
        }
    }
}
