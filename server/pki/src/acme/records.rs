//! What ACME keeps in a mount. All ids are random and made by the server.

use kit::{Caller, IdTable, Reads, Secret, Time, Writing};
use serde::{Deserialize, Serialize};

use super::identifier::Name;
use super::problem::{Kind, Problem, Refused};
use crate::store::Id;

/// Accounts by id.
pub(super) const ACCOUNTS: IdTable<AccountRecord> = IdTable::new(7);
/// The ids of accounts by the hash of their key and their directory.
pub(super) const ACCOUNT_KEYS: IdTable<Id> = IdTable::new(8);
/// Orders by id.
pub(super) const ORDERS: IdTable<OrderRecord> = IdTable::new(9);
/// What orders an account has, by both ids.
pub(super) const ACCOUNT_ORDERS: IdTable<()> = IdTable::new(10);
/// Authorizations by id.
pub(super) const AUTHORIZATIONS: IdTable<AuthorizationRecord> = IdTable::new(11);
/// Bindings that nobody has used yet, by id.
pub(super) const EABS: IdTable<EabRecord> = IdTable::new(12);
/// What was issued, by serial.
pub(super) const ISSUED: IdTable<IssuedRecord> = IdTable::new(13);
/// Authorizations that hang on no order, by account and name.
pub(super) const BEFOREHAND: IdTable<Id> = IdTable::new(14);

/// An account.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct AccountRecord {
    /// Its public key as RFC 7638 spells it.
    pub(super) key: String,
    /// The directory that it belongs to.
    pub(super) directory: String,
    pub(super) contacts: Vec<String>,
    pub(super) status: AccountStatus,
    pub(super) terms_agreed: bool,
    pub(super) created_at: Time,
    /// Whose account it is, if somebody has said so.
    pub(super) bound: Option<Binding>,
}

/// How an account stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AccountStatus {
    Valid,
    Deactivated,
}

/// Whose account it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Binding {
    /// The binding that was used.
    pub(super) eab: Id,
    /// Who made it.
    pub(super) bearer: Bearer,
    /// Names that need no proof.
    pub(super) names: Vec<String>,
}

/// Who made a binding.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Bearer {
    display_name: String,
    entity: Option<Reference>,
}

/// An entity, and the identity mount that knows it. What it is called and what it may have is asked each time.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Reference {
    id: String,
    #[serde(default)]
    book: String,
}

impl Bearer {
    /// Who asks.
    pub(super) fn of(caller: &Caller) -> Self {
        let entity = caller.entity.as_ref();
        let entity = entity.map(|entity| Reference { id: entity.id.clone(), book: entity.book.clone() });
        Self { display_name: caller.display_name.clone(), entity }
    }

    /// As roles judge them, by what identity knows of them now.
    pub(super) fn caller(&self, cx: &Writing<'_>) -> Result<Caller, Refused> {
        let display_name = self.display_name.clone();
        let Some(Reference { id, book }) = &self.entity else {
            return Ok(Caller { display_name, ..Caller::nobody() });
        };
        let gone = || {
            let why =
                "who made the binding of this account is gone or disabled; ask for a new account and binding";
            Refused::new(Kind::Unauthorized, why)
        };
        let entity = cx.entity(book, id)?.ok_or_else(gone)?;
        Ok(Caller { display_name, entity: Some(entity), ..Caller::nobody() })
    }
}

/// A binding that nobody has used yet.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct EabRecord {
    /// The shared secret, in base64url.
    pub(super) key: Secret<String>,
    pub(super) directory: String,
    pub(super) created_at: Time,
    pub(super) bearer: Bearer,
    pub(super) names: Vec<String>,
}

/// An order.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct OrderRecord {
    pub(super) account: Id,
    pub(super) names: Vec<Name>,
    pub(super) authorizations: Vec<Id>,
    pub(super) status: OrderStatus,
    pub(super) expires: Time,
    pub(super) not_before: Option<Time>,
    pub(super) not_after: Option<Time>,
    /// The profile that it asks for.
    #[serde(default)]
    pub(super) profile: Option<String>,
    /// The certificate that it replaces, as RFC 9773 names it.
    pub(super) replaces: Option<String>,
    /// The serial of the certificate that came of it.
    pub(super) serial: Option<String>,
    pub(super) problem: Option<Problem>,
}

/// How an order stands. There is no `processing`: a certificate is issued in the transaction that asks for it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OrderStatus {
    Pending,
    Ready,
    Valid,
    Invalid,
}

impl OrderRecord {
    /// How it stands now: one that is not done in time is over.
    pub(super) fn status_at(&self, now: Time) -> OrderStatus {
        match self.status {
            OrderStatus::Pending | OrderStatus::Ready if self.expires <= now => OrderStatus::Invalid,
            status => status,
        }
    }
}

/// What must be proved for one name.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct AuthorizationRecord {
    pub(super) account: Id,
    /// The order that it belongs to; none, if the name is proved before anything is ordered.
    pub(super) order: Option<Id>,
    pub(super) name: Name,
    pub(super) status: AuthorizationStatus,
    pub(super) expires: Time,
    /// When the owner of the name was last asked whether this authority may certify it.
    #[serde(default)]
    pub(super) caa_at: Option<Time>,
    pub(super) challenges: Vec<ChallengeRecord>,
}

/// How an authorization stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AuthorizationStatus {
    Pending,
    Valid,
    Invalid,
    Deactivated,
    Expired,
}

impl AuthorizationRecord {
    /// How it stands now.
    pub(super) fn status_at(&self, now: Time) -> AuthorizationStatus {
        match self.status {
            AuthorizationStatus::Pending if self.expires <= now => AuthorizationStatus::Invalid,
            AuthorizationStatus::Valid if self.expires <= now => AuthorizationStatus::Expired,
            status => status,
        }
    }
}

/// One way to prove a name.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct ChallengeRecord {
    pub(super) kind: ChallengeKind,
    pub(super) token: String,
    pub(super) status: ChallengeStatus,
    pub(super) validated: Option<Time>,
    pub(super) problem: Option<Problem>,
    /// When it is looked at again, once it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) looked_at: Option<Time>,
}

impl ChallengeRecord {
    /// In how many seconds a client should ask again: after the next look, while there is to be one.
    pub(super) fn asked_again(&self, now: Time) -> Option<u64> {
        let left = self.looked_at.map_or(0, |at| now.until(at).as_secs());
        (self.status == ChallengeStatus::Processing).then_some(left + 1)
    }
}

/// The ways to prove a name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum ChallengeKind {
    /// By a page (RFC 8555 §8.3).
    #[serde(rename = "http-01")]
    Http,
    /// By a record in the name system (RFC 8555 §8.4).
    #[serde(rename = "dns-01")]
    Dns,
    /// By a certificate (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn,
}

impl ChallengeKind {
    /// How URLs and clients name it.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Http => "http-01",
            Self::Dns => "dns-01",
            Self::TlsAlpn => "tls-alpn-01",
        }
    }
}

/// How a challenge stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ChallengeStatus {
    Pending,
    Processing,
    Valid,
    Invalid,
}

/// What was issued, and to whom.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct IssuedRecord {
    pub(super) account: Id,
    pub(super) names: Vec<Name>,
    /// The order that is to replace it.
    pub(super) replaced_by: Option<Id>,
}

/// A record that hangs on the account that asks, or nothing: what is another's does not exist.
pub(super) fn order_of(cx: &impl Reads, account: Id, id: &str) -> kit::Result<Option<(Id, OrderRecord)>> {
    let Some(id) = Id::parse(id) else { return Ok(None) };
    let order = ORDERS.get(cx, id.as_bytes())?;
    Ok(order.filter(|order| order.account == account).map(|order| (id, order)))
}

/// The same for authorizations.
pub(super) fn authorization_of(
    cx: &impl Reads,
    account: Id,
    id: &str,
) -> kit::Result<Option<(Id, AuthorizationRecord)>> {
    let Some(id) = Id::parse(id) else { return Ok(None) };
    let found = AUTHORIZATIONS.get(cx, id.as_bytes())?;
    Ok(found.filter(|found| found.account == account).map(|found| (id, found)))
}
