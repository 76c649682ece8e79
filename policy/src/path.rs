//! The path of a request, in the one spelling that everybody below HTTP reads.
//!
//! Router, rules, quotas, lockout and audit all take a [`Path`], so no two of them can read one request
//! differently. Input that is not canonical is refused here, never repaired: HTTP may answer with a redirect.

use std::fmt;

/// Longest path that is looked at. Longer ones are refused before anything is decided about them.
pub const PATH_BYTES_MAX: usize = 4096;

/// A canonical path: decoded, printable, no leading slash, no `.` or `..` segment, no doubled slash.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Path(Box<str>);

/// Why a text is not a [`Path`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadPath {
    /// Spelled with doubled slashes or dot segments; HTTP answers with a redirect to `clean`.
    #[error("path is not canonical: ask for \"{clean}\" instead")]
    NotCanonical {
        /// The canonical spelling, decoded.
        clean: String,
    },
    /// A `.` or `..` segment that was hidden by encoding or that leaves the root.
    #[error("relative paths not supported")]
    Relative,
    /// A control, format, private or unassigned character, or a space other than U+0020.
    #[error("path contains a character that is not printable")]
    NotPrintable,
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("path is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// A broken percent escape, or bytes that are not UTF-8.
    #[error("path is not correctly encoded")]
    BadEncoding,
}

impl Path {
    /// Reads the path of a URL: what stands after `/v1/`, still percent-encoded, without the query.
    pub fn parse(raw: &str) -> Result<Self, BadPath> {
        // Each escape takes three bytes, so nothing that decodes to a legal path is longer than this.
        if raw.len() > PATH_BYTES_MAX * 3 {
            return Err(BadPath::TooLong);
        }
        let decoded = decode(raw)?;
        // A dot segment in clear is a sloppy client and gets a redirect; one in disguise is an attack.
        if decoded.split('/').any(is_dots) && !raw.split('/').any(is_dots) {
            return Err(BadPath::Relative);
        }
        Self::canonical(decoded)
    }

    /// Takes a path that the server made itself; the same rules, but `%` means itself.
    pub fn internal(text: &str) -> Result<Self, BadPath> {
        Self::canonical(text.to_owned())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path names a folder: it ends in a slash.
    pub fn is_folder(&self) -> bool {
        self.0.ends_with('/')
    }

    /// The path with a slash at the end, as LIST and SCAN read it.
    pub fn as_folder(&self) -> Self {
        if self.0.is_empty() || self.is_folder() { self.clone() } else { Self(format!("{}/", self.0).into()) }
    }

    /// The path without a slash at the end.
    #[must_use]
    pub fn without_slash(&self) -> Self {
        match self.0.strip_suffix('/') {
            Some(bare) => Self(bare.into()),
            None => self.clone(),
        }
    }

    /// The path seen from outside a namespace or mount whose own path is `prefix` (empty, or ending in a slash).
    pub fn within(&self, prefix: &str) -> Result<Self, BadPath> {
        if prefix.is_empty() {
            return Ok(self.clone());
        }
        if !prefix.ends_with('/') {
            return Err(BadPath::NotCanonical { clean: format!("{prefix}/{self}") });
        }
        Self::canonical(format!("{prefix}{self}"))
    }

    fn canonical(text: String) -> Result<Self, BadPath> {
        if text.len() > PATH_BYTES_MAX {
            return Err(BadPath::TooLong);
        }
        if !text.is_ascii() && !text.chars().all(is_printable) || text.bytes().any(|b| b.is_ascii_control()) {
            return Err(BadPath::NotPrintable);
        }
        if text.split('/').any(is_disguised_dots) {
            return Err(BadPath::Relative);
        }
        if is_clean(&text) {
            return Ok(Self(text.into()));
        }
        Err(BadPath::NotCanonical { clean: clean(&text).ok_or(BadPath::Relative)? })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for Path {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for Path {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

fn decode(raw: &str) -> Result<String, BadPath> {
    if !raw.contains('%') {
        return Ok(raw.to_owned());
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (rest.next().and_then(hex), rest.next().and_then(hex)) else {
            return Err(BadPath::BadEncoding);
        };
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).map_err(|_| BadPath::BadEncoding)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// Whether decoding it once more, however often, would make a dot segment of it: no reader further down may be
/// tempted.
fn is_disguised_dots(segment: &str) -> bool {
    if !segment.contains('%') {
        return false;
    }
    let mut text = segment.to_ascii_lowercase();
    while text.contains("%25") {
        text = text.replace("%25", "%");
    }
    is_dots(&text.replace("%2e", "."))
}

fn is_clean(text: &str) -> bool {
    !text.starts_with('/') && !text.contains("//") && !text.split('/').any(is_dots)
}

/// Resolves dot segments and doubled slashes; `None` if the path leaves the root.
fn clean(text: &str) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop()?;
            }
            name => kept.push(name),
        }
    }
    let mut clean = kept.join("/");
    let ends_in_folder = text.ends_with('/') || text.ends_with("/.") || text.ends_with("/..");
    if ends_in_folder && !clean.is_empty() {
        clean.push('/');
    }
    Some(clean)
}

/// What a person could see: the standard library's own table, which Debug uses to decide what to escape.
pub fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // A combining mark is escaped only at the start of a text, hence the letter before it.
    let mut text = String::from("a");
    text.push(c);
    text.escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, expect: Result<&str, BadPath>) {
        assert_eq!(Path::parse(raw).map(|path| path.to_string()), expect.map(str::to_owned), "{raw}");
    }

    fn redirect(clean: &str) -> Result<&str, BadPath> {
        Err(BadPath::NotCanonical { clean: clean.to_owned() })
    }

    #[test]
    fn a_canonical_path_is_taken_as_it_is() {
        check("secret/data/app", Ok("secret/data/app"));
        check("secret/metadata/", Ok("secret/metadata/"));
        check("", Ok(""));
        check("a/b%20c", Ok("a/b c"));
        check("a%2Fb", Ok("a/b"));
        check("a/%C3%A9t%C3%A9", Ok("a/été"));
        check("a/e%CC%81", Ok("a/e\u{301}"));
        check("a/...", Ok("a/..."));
        check("a/.b/..c", Ok("a/.b/..c"));
        check("a/50%25", Ok("a/50%"));
        check("a/%2541", Ok("a/%41"));
    }

    #[test]
    fn a_sloppy_path_is_redirected() {
        check("a//b", redirect("a/b"));
        check("/a/b", redirect("a/b"));
        check("a/./b/", redirect("a/b/"));
        check("a/x/../b", redirect("a/b"));
        check("a/b/..", redirect("a/"));
        check("a%2F%2Fb", redirect("a/b"));
        check("//", redirect(""));
    }

    #[test]
    fn a_path_in_disguise_is_refused() {
        for raw in [
            "a/%2e%2e/b",
            "a/..%2fb",
            "a/%2E%2E%2Fb",
            "a/.%2e/b",
            "a/%252e%252e/b",
            "a/%25252e./b",
            "a/%2e/b",
            "../a",
            "a/../../b",
        ] {
            check(raw, Err(BadPath::Relative));
        }
    }

    #[test]
    fn what_cannot_be_seen_is_refused() {
        for raw in ["a%00", "a%0ab", "a%7f", "a%E2%80%8Bb", "a%C2%A0b", "%EF%BB%BFa", "a%EE%80%80", "a%09"] {
            check(raw, Err(BadPath::NotPrintable));
        }
        for raw in ["a%", "a%2", "a%zz", "a%FF", "a%C3", "a%+1"] {
            check(raw, Err(BadPath::BadEncoding));
        }
        check(&"a".repeat(PATH_BYTES_MAX + 1), Err(BadPath::TooLong));
        check(&"%61".repeat(PATH_BYTES_MAX), Ok(&"a".repeat(PATH_BYTES_MAX)));
    }

    #[test]
    fn folders_and_prefixes() {
        let path = |text| Path::internal(text).unwrap();
        assert!(path("a/").is_folder() && !path("a").is_folder());
        assert_eq!(path("a").as_folder(), path("a/"));
        assert_eq!(path("a/").as_folder(), path("a/"));
        assert_eq!(path("").as_folder(), path(""));
        assert_eq!(path("a/b").within("team/").unwrap(), path("team/a/b"));
        assert_eq!(path("a/b").within("").unwrap(), path("a/b"));
        assert!(path("a").within("team").is_err());
        assert_eq!(path("a%b").as_str(), "a%b");
    }
}
