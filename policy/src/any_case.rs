//! Names whose case does not count.

use std::ops::Range;

/// The segments of a path that hold a name whose case does not count; the path has them in lower case. Rules hold there
/// in whatever case they are written, so that a name is under the same rules in every spelling.
#[derive(Clone, Copy, Debug)]
pub struct AnyCase {
    first: usize,
    last: usize,
}

impl AnyCase {
    /// Those that these bytes of a path lie in.
    pub fn of(path: &str, bytes: Range<usize>) -> Self {
        let slashes = |text: Option<&str>| text.unwrap_or_default().matches('/').count();
        let first = slashes(path.get(..bytes.start));
        let last = if bytes.end < path.len() { first + slashes(path.get(bytes)) } else { usize::MAX };
        Self { first, last }
    }

    /// A path or the text of a pattern with these segments in lower case.
    pub(crate) fn lowered(self, text: &str) -> String {
        let segments =
            text.split('/').enumerate().map(|(at, segment)| match (self.first..=self.last).contains(&at) {
                true => segment.to_lowercase(),
                false => segment.to_owned(),
            });
        segments.collect::<Vec<_>>().join("/")
    }
}
