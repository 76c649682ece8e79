//! Requests as ACME clients send them: signed by the key of an account, for one URL, under a nonce (RFC 8555 §6).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jws::{Message, PublicKey};
use kit::loose::{Json, Text};
use kit::{Error, Nothing, Reads, Reply, Writing};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::config::EabPolicy;
use super::nonce::Nonces;
use super::place::{Directory, Place};
use super::problem::{Kind, Problem, Refused, Result};
use super::records::{ACCOUNTS, AccountRecord, AccountStatus};
use crate::store::Id;

/// How long a part of a request may be: a certificate of the longest that are read, in base64 twice.
const PART_SIZE_MAX: usize = 512 * 1024;
/// The content type of what is no problem.
const JSON: &str = "application/json";

/// Declares a request that is signed, with its own parameters, which the path holds.
macro_rules! signed_request {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $field_doc:literal])* $field:ident,)* }) => {
        $(#[doc = $doc])*
        #[derive(serde::Deserialize, schemars::JsonSchema)]
        pub(in crate) struct $name {
            $($(#[doc = $field_doc])* $field: String,)*
            /// Refused: what nobody has signed counts for nothing (RFC 8555 §6.2).
            header: Option<kit::loose::Json>,
            /// Who issues, where the path says so: a name, an id, or `default`.
            issuer_ref: Option<kit::loose::Text>,
            /// What is asked, as the JWS holds it.
            payload: Option<kit::loose::Text>,
            /// By whom, where and under which nonce, as the JWS holds it.
            protected: Option<kit::loose::Text>,
            /// Under which role, where the path says so.
            role: Option<kit::loose::Text>,
            /// The signature over both.
            signature: Option<kit::loose::Text>,
            /// Refused: a request has one signature (RFC 8555 §6.2).
            signatures: Option<kit::loose::Json>,
        }

        impl $name {
            /// What every such request has. The number is that of its place among the routes.
            fn posted(&mut self, at: usize, rest: String) -> crate::acme::signed::Posted {
                let place = crate::acme::place::Place::of(at, self.role.take(), self.issuer_ref.take());
                crate::acme::signed::Posted {
                    place,
                    payload: self.payload.take(),
                    protected: self.protected.take(),
                    signature: self.signature.take(),
                    unsigned: self.header.take().or(self.signatures.take()),
                    rest,
                }
            }
        }
    };
}

/// Declares an operation whose requests are signed: its path below each directory, by whose key they may be signed, its
/// own parameters, and what it does.
macro_rules! signed_operation {
    (
        $(#[doc = $doc:literal])*
        $name:ident at $path:literal, by $wants:ident {
            $($(#[doc = $field_doc:literal])* $field:ident,)*
        } |$cx:ident, $asked:ident| $work:expr
    ) => {
        crate::acme::signed::signed_request! {
            $(#[doc = $doc])*
            $name { $($(#[doc = $field_doc])* $field,)* }
        }

        impl crate::acme::place::Operation for $name {
            const ROUTES: [kit::Route; 4] = crate::acme::place::routes!(post $path .unauthenticated);

            fn run(
                mut self,
                at: usize,
                cx: &mut kit::Writing<'_>,
            ) -> kit::Result<kit::Reply<kit::Nothing>> {
                let posted = self.posted(at, format!($path, $($field = self.$field),*));
                let Self { $($field,)* .. } = self;
                posted.answer(cx, crate::acme::signed::Wants::$wants, |$cx, $asked| $work)
            }
        }
    };
}

pub(super) use {signed_operation, signed_request};

/// By whose key a request must be signed.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Wants {
    /// That of an account.
    Account,
    /// One that it brings along.
    Key,
    /// Either.
    Either,
}

/// A request that nobody believes yet.
pub(super) struct Posted {
    pub(super) place: Place,
    pub(super) payload: Option<Text>,
    pub(super) protected: Option<Text>,
    pub(super) signature: Option<Text>,
    /// What stands beside these and must not.
    pub(super) unsigned: Option<Json>,
    /// Its path below the directory.
    pub(super) rest: String,
}

/// An open directory and its nonces.
pub(super) struct Desk {
    pub(super) directory: Directory,
    nonces: Arc<Nonces>,
}

/// A request that is believed.
pub(super) struct Asked<'a> {
    pub(super) directory: &'a Directory,
    pub(super) signer: Signer,
    /// The request itself, for those who must look at its signature once more.
    pub(super) message: Message<'static>,
    payload: Vec<u8>,
}

/// Who signed.
pub(super) enum Signer {
    /// The holder of an account.
    Account(Box<Owner>),
    /// The holder of this key.
    Key(Box<NewKey>),
}

/// An account.
pub(super) struct Owner {
    pub(super) id: Id,
    pub(super) record: AccountRecord,
}

/// A key that a request brought along.
pub(super) struct NewKey {
    /// As RFC 7638 spells it.
    pub(super) canonical: String,
    pub(super) public: PublicKey,
}

impl NewKey {
    /// Reads a key that somebody would sign with from now on, or says why it will not do.
    pub(super) fn read(jwk: &Value) -> Result<Self, String> {
        let public = PublicKey::from_jwk(jwk);
        let key = public.and_then(|public| Some(Self { canonical: public.canonical()?, public }));
        let key = key.ok_or("use an RSA key of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519")?;
        if let Some(modulus) =
            jwk["n"].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok())
        {
            x509::check_modulus(&modulus).map_err(|error| error.to_string())?;
        }
        Ok(key)
    }
}

/// What goes back.
pub(super) struct Said {
    status: u16,
    kind: &'static str,
    headers: Vec<(&'static str, String)>,
    bytes: Vec<u8>,
}

impl Said {
    /// JSON.
    pub(super) fn json(status: u16, value: &impl Serialize) -> Result<Self> {
        Ok(Self { status, kind: JSON, headers: Vec::new(), bytes: serde_json::to_vec(value)? })
    }

    /// Something else.
    pub(super) fn raw(kind: &'static str, bytes: Vec<u8>) -> Self {
        Self { status: 200, kind, headers: Vec::new(), bytes }
    }

    /// With a header.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Posted {
    /// Believes it and does what it asks for, or says why not, where it was asked.
    pub(super) fn answer(
        self,
        cx: &mut Writing<'_>,
        wants: Wants,
        work: impl FnOnce(&mut Writing<'_>, Asked<'_>) -> Result<Said>,
    ) -> kit::Result<Reply<Nothing>> {
        let desk = Desk::open(cx, &self.place)?;
        let said = match desk.believe(cx, &self, wants) {
            Ok(asked) => work(&mut *cx, asked),
            Err(refused) => Err(refused),
        };
        desk.answer(cx, said)
    }
}

/// A message from its three parts.
pub(super) fn message(
    protected: &Option<Text>,
    payload: &Option<Text>,
    signature: &Option<Text>,
) -> Result<Message<'static>> {
    let protected = part("protected", protected)?;
    let payload = part("payload", payload)?;
    let signature = part("signature", signature)?;
    Message::flattened(protected, payload, signature).map_err(|why| Refused::new(Kind::Malformed, why))
}

impl Desk {
    /// Opens a directory.
    pub(super) fn open(cx: &mut Writing<'_>, place: &Place) -> kit::Result<Self> {
        let directory = match Directory::open(cx, place) {
            Ok(directory) => directory,
            Err(Refused::Error(error)) if error.fault() == kit::Fault::NotFound => return Err(error),
            Err(refused) => return Err(refused.into_error(Vec::new())),
        };
        Ok(Self { directory, nonces: Nonces::of(cx) })
    }

    /// Believes a request if it was signed for this place, just now, by who may.
    pub(super) fn believe<'a>(
        &'a self,
        cx: &mut Writing<'_>,
        posted: &Posted,
        wants: Wants,
    ) -> Result<Asked<'a>> {
        let message = message(&posted.protected, &posted.payload, &posted.signature)?;
        if !cx.remote().is_jose {
            let why = "its content type is not application/jose+json";
            return Err(Refused::new(Kind::Malformed, why).with_status(415));
        }
        if posted.unsigned.is_some() {
            let why =
                "beside 'protected', 'payload' and 'signature' there is no 'header' and no 'signatures'";
            return Err(Refused::new(Kind::Malformed, why));
        }
        if message.alg().is_none() {
            let why = format!("{:?}", message.text("alg").unwrap_or_default());
            return Err(Refused::new(Kind::BadSignatureAlgorithm, why));
        }
        let url = self.directory.url(&posted.rest);
        if message.text("url") != Some(url.as_str()) {
            let why = format!("the request was signed for another URL than {url}");
            return Err(Refused::new(Kind::Unauthorized, why));
        }
        let signer = self.signer(cx, &message, wants)?;
        let key = match &signer {
            Signer::Account(owner) => &public_key(&owner.record.key)?,
            Signer::Key(key) => &key.public,
        };
        let payload = message.signed_by(key).map(<[u8]>::to_vec);
        let payload =
            payload.ok_or_else(|| Refused::new(Kind::Malformed, "the signature does not fit the key"))?;
        let nonce = message.text("nonce").unwrap_or_default();
        // A request that is run again after a conflict has used its nonce once.
        if !cx.once(|| Ok(self.nonces.spend(nonce)))? {
            return Err(Problem::because("invalid or reused nonce", Kind::BadNonce).into());
        }
        Ok(Asked { directory: &self.directory, signer, message, payload })
    }

    fn signer(&self, cx: &Writing<'_>, message: &Message<'_>, wants: Wants) -> Result<Signer> {
        match (message.value("jwk"), message.value("kid")) {
            (Some(_), Some(_)) | (None, None) => {
                Err(Refused::new(Kind::Malformed, "'protected' holds one of 'jwk' and 'kid'"))
            }
            (Some(_), None) if wants == Wants::Account => {
                Err(Problem::because("cannot process request without a 'kid'", Kind::Malformed).into())
            }
            (None, Some(_)) if wants == Wants::Key => {
                Err(Problem::because("cannot submit to newAccount with 'kid'", Kind::Malformed).into())
            }
            (Some(jwk), None) => Ok(Signer::Key(Box::new(
                NewKey::read(jwk).map_err(|why| Refused::new(Kind::BadPublicKey, why))?,
            ))),
            (None, Some(kid)) => {
                let owner = self.owner(cx, kid.as_str().unwrap_or_default())?;
                if owner.record.status != AccountStatus::Valid {
                    let why = "account in status: deactivated";
                    return Err(Refused::new(Kind::Unauthorized, why));
                }
                check_binding(&self.directory, &owner.record)?;
                Ok(Signer::Account(Box::new(owner)))
            }
        }
    }

    fn owner(&self, cx: &Writing<'_>, kid: &str) -> Result<Owner> {
        let unknown = || Refused::new(Kind::AccountDoesNotExist, "its URL is not one of this directory");
        let id = kid.strip_prefix(&self.directory.url("account/")).and_then(Id::parse).ok_or_else(unknown)?;
        let record = ACCOUNTS.get(cx, id.as_bytes())?.ok_or_else(unknown)?;
        if record.directory != self.directory.path {
            return Err(unknown());
        }
        Ok(Owner { id, record })
    }

    /// What goes back, with a nonce for the next request.
    pub(super) fn answer(&self, cx: &Writing<'_>, said: Result<Said>) -> kit::Result<Reply<Nothing>> {
        let beside = vec![("replay-nonce", self.nonces.issue(cx)), self.directory.index()];
        match said {
            Ok(Said { status, kind, headers, bytes }) => {
                for (name, value) in headers.into_iter().chain(beside) {
                    cx.notes().header(name, value);
                }
                Ok(Reply::Raw { status, kind, bytes })
            }
            Err(refused) => Err(refused.into_error(beside)),
        }
    }

    /// A nonce for a first request.
    pub(super) fn nonce(&self, cx: &Writing<'_>) -> String {
        self.nonces.issue(cx)
    }
}

impl Asked<'_> {
    /// The account that asks.
    pub(super) fn account(&self) -> Result<&Owner> {
        match &self.signer {
            Signer::Account(owner) => Ok(owner),
            Signer::Key(_) => Err(Error::internal("a request without an account was let in").into()),
        }
    }

    /// Whether it only wants to look (POST-as-GET, RFC 8555 §6.3).
    pub(super) fn looks(&self) -> bool {
        self.payload.is_empty()
    }

    /// What is asked.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.payload)
            .map_err(|error| Refused::new(Kind::Malformed, format!("the payload does not read: {error}")))
    }
}

/// A part of a request, if it is there and no longer than any that is meant well.
fn part<'a>(name: &str, text: &'a Option<Text>) -> Result<&'a str> {
    match text {
        Some(Text(text)) if text.len() > PART_SIZE_MAX => {
            let why = format!("'{name}' is longer than {PART_SIZE_MAX} bytes");
            Err(Refused::new(Kind::Malformed, why))
        }
        Some(Text(text)) => Ok(text),
        None => Err(Problem::because(format!("missing required field '{name}'"), Kind::Malformed).into()),
    }
}

/// Refuses an account that is bound to nobody where all must be.
pub(super) fn check_binding(directory: &Directory, account: &AccountRecord) -> Result<()> {
    match directory.config.eab_policy {
        EabPolicy::AlwaysRequired if account.bound.is_none() => {
            Err(Refused::new(Kind::Unauthorized, "this account is bound to nobody, and all accounts must be"))
        }
        _ => Ok(()),
    }
}

/// The public key that a record spells.
pub(super) fn public_key(canonical: &str) -> Result<PublicKey> {
    let jwk = serde_json::from_str(canonical)?;
    Ok(PublicKey::from_jwk(&jwk)
        .ok_or_else(|| Error::internal("the stored key of an account does not read"))?)
}
