use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use policy::{Alias, Group, Subject};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::{MountId, Txn};

use crate::context::Beyond;
use crate::error::Result;
use crate::memo::Memos;
use crate::secret::Secret;
use crate::time::Time;

/// Who asks. Made by the kernel from a token; an engine never sees the token.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Stands for the token without being it, and dies with it. Empty for a batch token.
    pub accessor: String,
    /// What the method that let the caller in calls it.
    pub display_name: String,
    /// Whom the identity store knows the caller as.
    pub entity: Option<Entity>,
    /// All policies of the token and of its identity.
    pub policies: Vec<String>,
    /// What kind of token was shown.
    pub kind: TokenKind,
    /// Names the drawer of this token in the cubbyhole.
    pub drawer: String,
    /// When the token ends; never, for a root token without one.
    pub expires: Option<Time>,
    /// The token carries the root policy.
    pub root: bool,
}

impl Caller {
    /// Nobody: a login, an open route, the agenda.
    pub fn nobody() -> Self {
        Self { kind: TokenKind::None, ..Self::default() }
    }
}

/// A person or machine as the identity store knows it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Entity {
    /// A UUID.
    pub id: String,
    /// The identity mount that knows it.
    #[serde(default)]
    pub book: String,
    /// Its name.
    pub name: String,
    /// What operators wrote down about it.
    pub metadata: BTreeMap<String, String>,
    /// What it is called at auth mounts, by the accessor of the mount.
    pub aliases: BTreeMap<String, Alias>,
    /// The groups it is in, directly or through others.
    pub groups: Vec<Group>,
}

impl Entity {
    /// What templates may read of it.
    pub fn subject(&self) -> Subject {
        Subject {
            entity_id: self.id.clone(),
            entity_name: self.name.clone(),
            metadata: self.metadata.clone(),
            aliases: self.aliases.clone(),
            groups: self.groups.clone(),
        }
    }
}

/// Who is who, for what is done in the name of somebody who is not there. The kernel is the one that knows.
pub trait People: fmt::Debug + Send + Sync {
    /// The entity of this id as the identity mount `book` knows it now; nothing, if it is gone or disabled.
    ///
    /// # Errors
    /// If the store does not answer.
    fn entity(&self, from: &Txn, book: &str, id: &str) -> Result<Option<Entity>>;
}

/// What kind of token a caller has shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TokenKind {
    /// Stored, renewable, revocable.
    #[default]
    Service,
    /// Self-contained: nothing is stored for it.
    Batch,
    /// No token: a login, an open route, the agenda.
    None,
}

/// Where a request came from.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    /// The client's address, after trusted proxies.
    pub address: Option<IpAddr>,
    /// The client's port.
    pub port: u16,
    /// The client's certificate chain in DER, leaf first.
    pub certificates: Arc<[Vec<u8>]>,
    /// The id under which this request stands in the audit log.
    pub request_id: String,
    /// The token itself, for the kernel's own engines.
    pub token: Shown,
    /// The token came in the Authorization header, as the OAuth standards want it.
    pub is_bearer: bool,
    /// The body is said to be a signed message (`application/jose+json`).
    pub is_jose: bool,
    /// The client wants the headers of the answer alone (HEAD).
    pub head_only: bool,
    /// The headers that the mount asks to be shown, their names in lower case.
    pub headers: Arc<[(String, Secret<String>)]>,
}

impl Remote {
    /// A header that the mount asks to be shown.
    pub fn header(&self, name: &str) -> Option<&Secret<String>> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// The token that a request showed. Only the kernel's own engines can look at it, and only they are given it.
#[derive(Clone, Debug, Default)]
pub struct Shown(Option<Arc<Secret<String>>>);

impl Shown {
    /// Takes a copy of the token.
    pub fn new(_: &Beyond, token: &Secret<String>) -> Self {
        Self(Some(Arc::new(Secret::new(token.expose().clone()))))
    }

    /// The token, if one was shown.
    pub fn token(&self, _: &Beyond) -> Option<&Secret<String>> {
        self.0.as_deref()
    }
}

/// The mount a request came through.
#[derive(Debug)]
pub struct Mount {
    /// What its keys lie under; no engine can reach another's.
    pub id: MountId,
    /// Where it answers, with its trailing slash: `secret/`, `auth/userpass/`.
    pub path: String,
    /// The path of its namespace: empty for the root, else ending in a slash.
    pub namespace: String,
    /// What belongs to its namespace as a whole lies under this.
    pub namespace_id: MountId,
    /// `kv_1a2b3c4d`.
    pub accessor: String,
    /// The type it was mounted as.
    pub kind: String,
    /// The options it was mounted with.
    pub options: Value,
    /// How long leases and tokens live unless something says otherwise.
    pub default_ttl: Duration,
    /// How long they may live at most.
    pub max_ttl: Duration,
    /// Parsed things, kept between requests.
    pub memos: Arc<Memos>,
    /// Who is who.
    pub people: &'static dyn People,
}
