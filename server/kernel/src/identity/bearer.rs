//! Whom a token stands for when it is judged.

use kit::{Error, Result};

use super::book::Book;
use crate::ids;
use crate::namespaces::{self, Namespace};
use crate::shelf::Source;
use crate::tokens::TokenRecord;

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
    let resolved = match Book::of_token(record) {
        Some(book) => book.resolve(from, &record.entity_id)?,
        None => None,
    };
    let resolved = resolved.filter(|resolved| !resolved.entity.disabled).ok_or_else(Error::denied)?;
    let identity_policies = if record.no_identity_policies { Vec::new() } else { resolved.policies() };
    let policies = united(&record.policies, &identity_policies);
    let entity = Some(resolved.caller(&own.namespace.path));
    Ok(Bearer { entity, policies, identity_policies, ..own })
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
