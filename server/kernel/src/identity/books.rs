//! The books that hold for a namespace: its own, and those of all the namespaces that hold it. Who someone is stands in
//! one of them; what second factor they must show, in any.

use std::sync::Arc;

use kit::{Error, Result};

use super::book::Book;
use super::mfa::Method;
use crate::mounts::Mounted;
use crate::namespaces::{Namespace, Ns};
use crate::router::Router;
use crate::shelf::Source;

/// The books that hold for a namespace, its own first.
pub(crate) struct Books {
    /// That in which its people stand.
    pub(crate) own: Book,
    all: Vec<(Book, Arc<Namespace>)>,
}

impl Books {
    /// Those that hold for a namespace.
    ///
    /// # Errors
    /// If one of them is not there: what it says must not be passed over.
    pub(crate) fn of(router: &Router, ns: Ns) -> Result<Self> {
        let missing = || Error::internal("a namespace has no identity");
        let space = router.space(ns).ok_or_else(missing)?;
        let mut all = Vec::new();
        for space in router.upward(space) {
            let mounted = space.at(super::PATH).ok_or_else(missing)?;
            all.push((Book::of(mounted.info.id), Arc::clone(&space.namespace)));
        }
        let own = all.first().map(|(book, _)| *book).ok_or_else(missing)?;
        Ok(Self { own, all })
    }

    /// Those that hold for a login at an auth mount.
    ///
    /// # Errors
    /// If one of them is not there.
    pub(crate) fn at(router: &Router, mounted: &Mounted) -> Result<Self> {
        Self::of(router, mounted.namespace.ns)
    }

    /// Each with its namespace.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Book, &Arc<Namespace>)> {
        self.all.iter().map(|(book, namespace)| (*book, namespace))
    }

    /// The method of this id as the namespace of `from` sees it, with the book it stands in. What a namespace holds
    /// cannot stand in for what holds it.
    pub(crate) fn method_from(
        &self,
        from: Book,
        source: &impl Source,
        id: &str,
    ) -> Result<Option<(Book, &Arc<Namespace>, Method)>> {
        for (book, namespace) in self.iter().skip_while(|(book, _)| *book != from) {
            if let Some(method) = book.mfa_method(source, id)? {
                return Ok(Some((book, namespace, method)));
            }
        }
        Ok(None)
    }

    /// The method of this id as the namespace itself sees it.
    pub(crate) fn method(
        &self,
        source: &impl Source,
        id: &str,
    ) -> Result<Option<(Book, &Arc<Namespace>, Method)>> {
        self.method_from(self.own, source, id)
    }
}
