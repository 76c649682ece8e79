use std::time::Duration;

use kit::{Error, MountId, Name, Result, Time};
use serde::{Deserialize, Serialize};
use storage::{Key, Place, Random, Txn};

use crate::cubbyhole;
use crate::envelope::{Outcome, Wrapped};
use crate::router::Space;
use crate::shelf::Source;
use crate::token_record::Purpose;
use crate::tokens::{TokenHash, TokenRecord, Tokens};
use crate::ttl::whole;

/// The policy of wrapping tokens.
const POLICY: &str = policy::builtin::RESPONSE_WRAPPING;

/// What stands beside a wrapped answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct WrapInfo {
    pub(crate) creation_path: String,
    pub(crate) creation_time: String,
    pub(crate) creation_ttl: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) wrapped_accessor: String,
}

#[derive(Deserialize, Serialize)]
struct Held {
    response: String,
}

/// What an answer is wrapped with.
pub(crate) struct Wrapping<'a> {
    pub(crate) tokens: &'a Tokens,
    /// The namespace that the wrapping token belongs to.
    pub(crate) space: &'a Space,
    /// The path of the request in that namespace.
    pub(crate) path: &'a str,
    /// Who wraps, as a token is called.
    pub(crate) display_name: &'a str,
    pub(crate) ttl: Duration,
    pub(crate) now: Time,
    pub(crate) random: &'a dyn Random,
}

impl Wrapping<'_> {
    /// Puts an answer into the drawer of a new token that can be used once, in the transaction of the answer.
    ///
    /// # Errors
    /// If it is too large to be stored.
    pub(crate) fn wrap(&self, txn: &mut Txn, outcome: &Outcome) -> Result<Wrapped> {
        let accessor = outcome.auth.as_ref().map(|auth| auth.accessor.clone());
        let wrapped_accessor = accessor.or_else(|| outcome.wrapped_accessor.clone()).unwrap_or_default();
        let held =
            String::from_utf8(outcome.envelope()).map_err(|_| Error::internal("an envelope is not UTF-8"))?;
        let info = WrapInfo {
            creation_path: self.path.to_owned(),
            creation_time: self.now.rfc3339(),
            creation_ttl: whole(self.ttl).as_secs(),
            wrapped_accessor,
        };
        self.put(txn, held, info)
    }

    /// Puts what a token held under a new one, with the path and span of the old.
    ///
    /// # Errors
    /// If it is too large to be stored.
    pub(crate) fn put(&self, txn: &mut Txn, held: String, info: WrapInfo) -> Result<Wrapped> {
        let ttl = Duration::from_secs(info.creation_ttl);
        let record = TokenRecord {
            policies: vec![POLICY.to_owned()],
            path: info.creation_path.clone(),
            display_name: self.display_name.to_owned(),
            created: self.now,
            ttl_seconds: info.creation_ttl,
            explicit_max_ttl_seconds: info.creation_ttl,
            expires: Some(self.now.plus(ttl)),
            uses_left: Some(1),
            purpose: Some(Purpose::Wrapping),
            ..TokenRecord::default()
        };
        let made = self.tokens.make(txn, self.random, &self.space.namespace, None, record)?;
        let drawer = made.place()?.drawer();
        self.fill(txn, &format!("{drawer}/response"), &Held { response: held })?;
        self.fill(txn, &format!("{drawer}/wrapinfo"), &info)?;
        Ok(Wrapped {
            token: made.id.expose().clone(),
            hash: made.place()?,
            accessor: made.record.accessor,
            ttl_seconds: info.creation_ttl,
            created: self.now,
            creation_path: info.creation_path,
            wrapped_accessor: info.wrapped_accessor,
            signed: None,
        })
    }

    fn fill(&self, txn: &mut Txn, path: &str, value: &impl Serialize) -> Result<()> {
        let place = Place { mount: self.space.cubbyhole()?, table: cubbyhole::TABLE };
        Ok(txn.put(&Key { place, name: Name::Path(path) }, serde_json::to_vec(value)?)?)
    }
}

/// Whether a token is there to unwrap something and for nothing else.
pub(crate) fn is_wrapping(record: &TokenRecord) -> bool {
    record.purpose() == Some(Purpose::Wrapping)
}

/// What a wrapping token holds.
///
/// # Errors
/// If it holds nothing.
pub(crate) fn held(source: &impl Source, cubbyhole: MountId, token: TokenHash) -> Result<(String, WrapInfo)> {
    let read = |name: &str| {
        let path = format!("{}/{name}", token.drawer());
        let place = Place { mount: cubbyhole, table: cubbyhole::TABLE };
        source.value(&Key { place, name: Name::Path(&path) })
    };
    let (Some(response), Some(info)) = (read("response")?, read("wrapinfo")?) else { return Err(invalid()) };
    let Held { response } = serde_json::from_slice(&response)?;
    Ok((response, serde_json::from_slice(&info)?))
}

/// What a token that unwraps nothing is told.
pub(crate) fn invalid() -> Error {
    Error::invalid("wrapping token is not valid or does not exist")
}
