//! Bindings: secrets by which somebody known here says that an account is theirs (RFC 8555 §7.3.4). A binding is good for
//! one account, and the account may have what the one who made it may have.

use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jws::Message;
use kit::loose::{Number, Text, Texts};
use kit::{Command, Error, Nothing, Query, Reading, Reads, Reply, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::place::{Directory, Place, routes};
use super::problem::{Kind, Refused, Result};
use super::records::{Bearer, Binding, EABS, EabRecord};
use super::signed::NewKey;
use crate::store::Id;
use crate::{Pki, listing};

/// What each secret begins with, so that none begins with a dash: some clients take that for an option.
const PREFIX: &str = "vault-eab-0-";
/// The kind of secret: one for HMACs.
const KEY_TYPE: &str = "hs";
/// How many names a binding may spare from proof.
const NAMES_MAX: usize = 100;

/// Makes a binding for one account, in the name of the caller.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct NewEab<const AT: usize> {
    /// Names that the account need not prove, as far as the role allows them at all; `*.` stands for all below.
    authorized_names: Option<Texts>,
    /// Who issues, where the path says so: a name, an id, or `default`.
    issuer_ref: Option<Text>,
    /// Under which role, where the path says so.
    role: Option<Text>,
}

/// A binding, with its secret. It is shown only here.
#[derive(JsonSchema, Serialize)]
pub(crate) struct Made {
    acme_directory: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorized_names: Vec<String>,
    created_on: String,
    id: String,
    key: Secret<String>,
    key_type: &'static str,
}

const ROUTES: [Route; 4] = routes!(post "new-eab");

impl<const AT: usize> Command<Pki> for NewEab<AT> {
    const ROUTE: Route = ROUTES[AT];
    type Reply = Made;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> kit::Result<Reply<Made>> {
        let names = self.authorized_names.unwrap_or_default().0;
        make(cx, &Place::of(AT, self.role, self.issuer_ref), names)
    }
}

fn make(cx: &mut Writing<'_>, place: &Place, names: Vec<String>) -> kit::Result<Reply<Made>> {
    if names.len() > NAMES_MAX {
        return Err(Error::invalid(format!(
            "authorized_names holds {}; {NAMES_MAX} are allowed",
            names.len()
        )));
    }
    let names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let key = Zeroizing::new(cx.random::<32>());
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*key));
    let (id, created_at) = (Id::new(cx), cx.now());
    let record = EabRecord {
        key: Secret::new(key.clone()),
        directory: place.path(),
        created_at,
        bearer: Bearer::of(cx.caller()),
        names: names.clone(),
    };
    EABS.put(cx, id.as_bytes(), &record)?;
    Ok(Reply::Data(Made {
        acme_directory: format!("{}directory", record.directory),
        authorized_names: names,
        created_on: created_at.truncated().rfc3339(),
        id: id.to_string(),
        key: Secret::new(key),
        key_type: KEY_TYPE,
    }))
}

/// Lists the bindings that nobody has used yet.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ListEabs {
    /// The id after which to begin.
    after: Option<Text>,
    /// How many to show at most; all if it is not positive.
    limit: Option<Number>,
}

/// A binding in a list.
#[derive(JsonSchema, Serialize)]
pub(crate) struct Listed {
    acme_directory: String,
    created_on: String,
    key_type: &'static str,
}

impl Query<Pki> for ListEabs {
    const ROUTE: Route = Route::list("eab");
    type Reply = listing::Detailed<Listed>;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> kit::Result<Reply<Self::Reply>> {
        let mut found = Vec::new();
        EABS.scan(cx, &[], |id, record| {
            let listed = Listed {
                acme_directory: format!("{}directory", record.directory),
                created_on: record.created_at.truncated().rfc3339(),
                key_type: KEY_TYPE,
            };
            found.push((Id::from_bytes(id)?.to_string(), listed));
            Ok(ControlFlow::Continue(()))
        })?;
        listing::detailed(listing::part(found, self.after, self.limit))
    }
}

/// Deletes a binding that nobody has used yet.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct DeleteEab {
    /// Its id.
    key_id: String,
}

impl Command<Pki> for DeleteEab {
    const ROUTE: Route = Route::delete("eab/{key_id}");
    type Reply = Option<Nothing>;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> kit::Result<Reply<Option<Nothing>>> {
        let nowhere = || Error::new(kit::Fault::NotFound, "unsupported path").wrapped();
        let id = Id::parse(&self.key_id).ok_or_else(nowhere)?;
        if EABS.get(cx, id.as_bytes())?.is_none() {
            cx.warn(format!("No key id found with id: {}", self.key_id));
        }
        EABS.delete(cx, id.as_bytes())?;
        Ok(Reply::Data(None))
    }
}

/// The three parts of a binding as a client sends it.
#[derive(Deserialize)]
struct Sent {
    payload: String,
    protected: String,
    signature: String,
}

/// Uses a binding up: it must name this key, for this directory, under the secret that was handed out.
pub(super) fn redeem(
    cx: &mut Writing<'_>,
    directory: &Directory,
    key: &NewKey,
    sent: &Value,
) -> Result<Binding> {
    let malformed = |why: &str| Refused::new(Kind::Malformed, format!("externalAccountBinding: {why}"));
    let sent = Sent::deserialize(sent).map_err(|_| malformed("it is no JWS in the flattened form"))?;
    let message =
        Message::flattened(&sent.protected, &sent.payload, &sent.signature).map_err(|why| malformed(&why))?;
    if message.text("url") != Some(directory.url("new-account").as_str()) {
        return Err(malformed("its 'url' is not that of this request"));
    }
    if message.value("nonce").is_some() {
        return Err(malformed("it has a nonce"));
    }
    // Who guesses learns nothing of which part was wrong.
    let wrong =
        || Refused::new(Kind::Unauthorized, "the external account binding is unknown, used, or wrong");
    let id = message.text("kid").and_then(Id::parse).ok_or_else(wrong)?;
    let record = EABS.get(cx, id.as_bytes())?.filter(|record| record.directory == directory.path);
    let record = record.ok_or_else(wrong)?;
    let secret = URL_SAFE_NO_PAD.decode(record.key.expose());
    let secret = Zeroizing::new(secret.map_err(|_| Error::internal("a stored binding is not base64url"))?);
    let said = message.authenticated_by(&secret).ok_or_else(wrong)?;
    let named: Value = serde_json::from_slice(said).map_err(|_| malformed("its payload is no key"))?;
    let named = jws::PublicKey::from_jwk(&named).and_then(|named| named.canonical());
    if named.as_ref() != Some(&key.canonical) {
        return Err(malformed("its payload is not the key of the account"));
    }
    record.bearer.caller(cx)?;
    EABS.delete(cx, id.as_bytes())?;
    Ok(Binding { eab: id, bearer: record.bearer, names: record.names })
}
