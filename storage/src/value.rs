use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use zeroize::Zeroizing;

/// An opened entry. Wiped when its last clone is dropped, and never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct Value(Arc<Zeroizing<Vec<u8>>>);

impl Value {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.0.len())
    }
}
