use std::any::Any;
use std::cell::RefCell;

use crate::context::Beyond;

/// What an operation says beside its reply.
#[derive(Debug, Default)]
pub struct Notes {
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    warnings: Vec<String>,
    advised_seconds: Option<u64>,
    wrapped_accessor: Option<String>,
    headers: Vec<(&'static str, String)>,
    attached: Option<Box<dyn Any + Send>>,
}

impl Notes {
    /// A sentence for the caller that is no error.
    pub fn warn(&self, text: impl Into<String>) {
        self.inner.borrow_mut().warnings.push(text.into());
    }

    /// Advises the caller to ask again after so many seconds; no lease stands behind it.
    pub fn advise(&self, seconds: u64) {
        self.inner.borrow_mut().advised_seconds = Some(seconds);
    }

    /// A header of the answer, its name in lower case.
    pub fn header(&self, name: &'static str, value: impl Into<String>) {
        self.inner.borrow_mut().headers.push((name, value.into()));
    }

    /// Takes the headers out.
    pub fn take_headers(&self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut self.inner.borrow_mut().headers)
    }

    /// The accessor that a wrapped answer shows of what it holds.
    pub fn wrapped_accessor(&self, accessor: impl Into<String>) {
        self.inner.borrow_mut().wrapped_accessor = Some(accessor.into());
    }

    /// What the kernel's own engines hand to the kernel: a token made, an answer unwrapped.
    pub fn attach(&self, _: &Beyond, what: Box<dyn Any + Send>) {
        self.inner.borrow_mut().attached = Some(what);
    }

    /// Whether anything stands beside the reply already.
    pub(crate) fn speak(&self) -> bool {
        let inner = self.inner.borrow();
        !inner.warnings.is_empty() || inner.attached.is_some()
    }

    /// Takes out what was attached.
    pub fn take_attached(&self) -> Option<Box<dyn Any + Send>> {
        self.inner.borrow_mut().attached.take()
    }

    /// Takes the warnings out.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.borrow_mut().warnings)
    }

    /// The advised seconds, if any.
    pub fn advised(&self) -> Option<u64> {
        self.inner.borrow().advised_seconds
    }

    /// The accessor to show, if any.
    pub fn take_wrapped_accessor(&self) -> Option<String> {
        self.inner.borrow_mut().wrapped_accessor.take()
    }
}
