//! Whom a token stands for when it is judged.

use kit::{Error, People, Result};
use storage::Txn;

use super::book::Book;
use super::resolve::Resolved;
use crate::namespaces::{self, Namespace};
use crate::shelf::Source;
use crate::tokens::TokenRecord;
use crate::{ids, mounts};

/// A token with its identity: what it may do is what both may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bearer {
    /// Where its policies are those of these names, and mean what they say.
    pub(crate) namespace: Namespace,
    /// Its entity and what templates may read of it.
    pub(crate) entity: Option<kit::Entity>,
    /// The policies of its entity and its groups.
    pub(crate) identity_policies: Vec<String>,
    /// Those and its own, sorted, each once.
    pub(crate) policies: Vec<String>,
    /// A policy that has no name.
    pub(crate) inline: String,
    /// It carries the root policy itself: no identity can give that.
    pub(crate) root: bool,
}

/// Whom this token stands for.
///
/// # Errors
/// Denied, if its entity is gone or disabled, or its namespace has been deleted.
pub(crate) fn bearer(from: &impl Source, record: &TokenRecord) -> Result<Bearer> {
    let root = record.is_root();
    let namespace = namespaces::living(from, record.namespace)?.ok_or_else(Error::denied)?;
    let inline = record.inline_policy.clone();
    let own = Bearer { namespace, policies: record.policies.clone(), inline, root, ..Bearer::default() };
    if record.entity_id.is_empty() {
        return Ok(own);
    }
    let book = Book::of_token(record).ok_or_else(Error::denied)?;
    let resolved = book.resolve(from, &record.entity_id)?;
    let resolved = resolved.filter(|resolved| !resolved.entity.disabled).ok_or_else(Error::denied)?;
    let identity_policies = if record.no_identity_policies { Vec::new() } else { resolved.policies() };
    let policies = united(&record.policies, &identity_policies);
    let entity = Some(kit::Entity { book: book.uuid(), ..resolved.caller(&own.namespace.path) });
    Ok(Bearer { entity, policies, identity_policies, ..own })
}

/// All whom the server knows, for engines.
#[derive(Debug)]
pub(crate) struct Everybody;

impl People for Everybody {
    fn entity(&self, from: &Txn, book: &str, id: &str) -> Result<Option<kit::Entity>> {
        let (Some(mount), Some(known)) = (ids::mount(book), mounts::find(from, book)?) else {
            return Ok(None);
        };
        let Some(namespace) = namespaces::living(from, known.namespace)? else { return Ok(None) };
        let resolved = Book::of(mount).resolve(from, id)?.filter(|resolved| !resolved.entity.disabled);
        let entity =
            |resolved: Resolved| kit::Entity { book: book.to_owned(), ..resolved.caller(&namespace.path) };
        Ok(resolved.map(entity))
    }
}

/// The policies that a token has by its identity, for showing. One whose entity is gone has none.
pub(crate) fn shown_policies(from: &impl Source, record: &TokenRecord) -> Result<Vec<String>> {
    let book = Book::of_token(record).filter(|_| !record.no_identity_policies);
    let Some(book) = book else { return Ok(Vec::new()) };
    let resolved = book.resolve(from, &record.entity_id)?;
    Ok(resolved.map(|resolved| resolved.policies()).unwrap_or_default())
}

/// Two lists of policies in one, sorted, each once.
pub(crate) fn united(own: &[String], more: &[String]) -> Vec<String> {
    let mut policies: Vec<String> = own.iter().chain(more).cloned().collect();
    policies.sort();
    policies.dedup();
    policies
}

impl Book {
    /// The book that the entity of a token stands in.
    pub(crate) fn of_token(record: &TokenRecord) -> Option<Self> {
        record.identity.as_deref().and_then(ids::mount).map(Self::of)
    }
}
