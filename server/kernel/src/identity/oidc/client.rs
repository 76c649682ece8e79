//! Clients: those who let people in through a provider.

use std::collections::BTreeMap;

use kit::loose::{Flag, Seconds, Text, Texts};
use kit::{
    Command, Error, Exists, Nothing, Query, Reading, Reads, Reply, Result, Route, Secret, Table, Writing,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{assignment, key, unique};
use crate::identity::Identity;
use crate::ids;

/// Clients by name.
const CLIENTS: Table<Client> = Table::new(25);
/// The name of a client by its id.
const NAMES: Table<String> = Table::new(26);
const DAY_SECONDS: u64 = 24 * 3600;
const ID_LENGTH: usize = 32;
const SECRET_LENGTH: usize = 64;
const SECRET_PREFIX: &str = "hvo_secret_";

/// Someone who lets people in through a provider.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Client {
    pub(super) redirect_uris: Vec<String>,
    pub(super) assignments: Vec<String>,
    pub(super) key: String,
    pub(super) id_token_seconds: u64,
    pub(super) access_token_seconds: u64,
    pub(super) kind: Kind,
    pub(super) client_id: String,
    pub(super) client_secret: Secret<String>,
    pub(super) authorization_code: bool,
    pub(super) client_credentials: bool,
}

/// Whether a client can keep a secret.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// It can.
    #[default]
    Confidential,
    /// It cannot, so it proves with each login that it is the one that began it.
    Public,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            redirect_uris: Vec::new(),
            assignments: Vec::new(),
            key: key::DEFAULT.to_owned(),
            id_token_seconds: DAY_SECONDS,
            access_token_seconds: DAY_SECONDS,
            kind: Kind::Confidential,
            client_id: String::new(),
            client_secret: Secret::default(),
            authorization_code: true,
            client_credentials: false,
        }
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Confidential => "confidential",
            Self::Public => "public",
        }
    }
}

/// The client of this id.
pub(super) fn by_id(cx: &impl Reads, client_id: &str) -> Result<Option<Client>> {
    if client_id.is_empty() || !client_id.chars().all(|char| char.is_ascii_alphanumeric()) {
        return Ok(None);
    }
    let name = NAMES.get(cx, client_id)?;
    name.map_or(Ok(None), |name| CLIENTS.get(cx, &name))
}

/// All clients, by name.
pub(super) fn all(cx: &impl Reads) -> Result<Vec<(String, Client)>> {
    let mut clients = Vec::new();
    for name in CLIENTS.list(cx, "")?.iter() {
        clients.extend(CLIENTS.get(cx, name)?.map(|client| (name.clone(), client)));
    }
    Ok(clients)
}

/// The clients whose tokens a key signs.
pub(super) fn of_key(cx: &impl Reads, key: &str) -> Result<Vec<(String, Client)>> {
    Ok(all(cx)?.into_iter().filter(|(_, client)| client.key == key).collect())
}

/// Makes a client, or changes it.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Put {
    /// Its name.
    name: String,
    /// Where people are sent back to, each in full.
    redirect_uris: Option<Texts>,
    /// Who may log in: the names of assignments.
    assignments: Option<Texts>,
    /// The key that signs its tokens. It cannot be changed.
    key: Option<Text>,
    /// How long an id token is good; a day, if left out.
    id_token_ttl: Option<Seconds>,
    /// How long an access token is good; a day, if left out.
    access_token_ttl: Option<Seconds>,
    /// `confidential`: it keeps a secret; `public`: it cannot. It cannot be changed.
    client_type: Option<Text>,
    /// Whether people log in to it.
    authorization_code: Option<Flag>,
    /// Whether it gets tokens for itself.
    client_credentials: Option<Flag>,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("oidc/client/{name}");
    const EXISTS: Option<Exists<Identity>> = Some(|_, path, cx| CLIENTS.has(cx, path.get("name")).map(Some));
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let old = CLIENTS.get(cx, &self.name)?;
        let is_new = old.is_none();
        let mut client = old.unwrap_or_default();
        if let Some(Texts(uris)) = self.redirect_uris {
            client.redirect_uris = unique(uris);
        }
        if let Some(Texts(names)) = self.assignments {
            client.assignments = unique(names);
        }
        for name in &client.assignments {
            if assignment::find(cx, name)?.is_none() {
                return Err(Error::invalid(format!("assignment {name:?} does not exist")));
            }
        }
        if let Some(Text(name)) = self.key {
            if !is_new && client.key != name {
                return Err(Error::invalid("key modification is not allowed"));
            }
            client.key = name;
        }
        let missing = || Error::invalid(format!("key {:?} does not exist", client.key));
        let key = key::find(cx, &client.key)?.ok_or_else(missing)?;
        if let Some(ttl) = self.id_token_ttl {
            client.id_token_seconds = ttl.0;
        }
        if client.id_token_seconds > key.verification_seconds {
            return Err(Error::invalid(
                "a client's id_token_ttl cannot be greater than the verification_ttl of the key it references",
            ));
        }
        if let Some(ttl) = self.access_token_ttl {
            client.access_token_seconds = ttl.0;
        }
        if let Some(Flag(flag)) = self.authorization_code {
            client.authorization_code = flag;
        }
        if let Some(Flag(flag)) = self.client_credentials {
            client.client_credentials = flag;
        }
        if let Some(Text(word)) = self.client_type {
            client.kind = kind(&word, (!is_new).then_some(client.kind))?;
        }
        if client.client_credentials && client.kind == Kind::Public {
            return Err(Error::invalid(
                "client_credentials=true is only allowed for client_type=confidential",
            ));
        }
        key::ensure(cx, &client.key, key)?;
        if client.client_id.is_empty() {
            client.client_id = ids::base62(cx.randomness(), ID_LENGTH);
        }
        if client.kind == Kind::Confidential && client.client_secret.expose().is_empty() {
            let secret = ids::base62(cx.randomness(), SECRET_LENGTH);
            client.client_secret = Secret::new(format!("{SECRET_PREFIX}{secret}"));
        }
        NAMES.put(cx, &client.client_id, &self.name)?;
        CLIENTS.put(cx, &self.name, &client)?;
        Ok(Reply::Nothing)
    }
}

fn kind(word: &str, old: Option<Kind>) -> Result<Kind> {
    if old.is_some_and(|old| old.word() != word) {
        return Err(Error::invalid("client_type modification is not allowed"));
    }
    match word {
        "confidential" => Ok(Kind::Confidential),
        "public" => Ok(Kind::Public),
        other => Err(Error::invalid(format!("invalid client_type {other:?}"))),
    }
}

/// What may be seen of a client.
#[derive(JsonSchema, Serialize)]
pub(in crate::identity) struct Shown {
    access_token_ttl: u64,
    assignments: Vec<String>,
    authorization_code: bool,
    client_credentials: bool,
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<Secret<String>>,
    client_type: &'static str,
    id_token_ttl: u64,
    key: String,
    redirect_uris: Vec<String>,
}

impl Shown {
    fn of(client: Client) -> Self {
        Self {
            access_token_ttl: client.access_token_seconds,
            assignments: client.assignments,
            authorization_code: client.authorization_code,
            client_credentials: client.client_credentials,
            client_id: client.client_id,
            client_secret: None,
            client_type: client.kind.word(),
            id_token_ttl: client.id_token_seconds,
            key: client.key,
            redirect_uris: client.redirect_uris,
        }
    }
}

/// Shows a client, its id and its secret.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Get {
    /// Its name.
    name: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("oidc/client/{name}");
    type Reply = Shown;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let mut client = CLIENTS.get(cx, &self.name)?.ok_or_else(Error::not_found)?;
        let secret = std::mem::take(&mut client.client_secret);
        let client_secret = (client.kind == Kind::Confidential).then_some(secret);
        Ok(Shown { client_secret, ..Shown::of(client) }.into())
    }
}

/// The clients, without their secrets.
#[derive(JsonSchema, Serialize)]
pub(in crate::identity) struct Listed {
    key_info: BTreeMap<String, Shown>,
    keys: Vec<String>,
}

/// Lists the clients.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct List {}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("oidc/client");
    type Reply = Listed;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<Listed>> {
        let clients = all(cx)?;
        if clients.is_empty() {
            return Err(Error::not_found());
        }
        let keys = clients.iter().map(|(name, _)| name.clone()).collect();
        let key_info = clients.into_iter().map(|(name, client)| (name, Shown::of(client))).collect();
        Ok(Listed { key_info, keys }.into())
    }
}

/// Deletes a client. Nobody logs in to it any more.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Delete {
    /// Its name.
    name: String,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::delete("oidc/client/{name}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if let Some(client) = CLIENTS.get(cx, &self.name)? {
            NAMES.delete(cx, &client.client_id)?;
            CLIENTS.delete(cx, &self.name)?;
        }
        Ok(Reply::Nothing)
    }
}
