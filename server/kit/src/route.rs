use std::ops::Range;
use std::time::Duration;

use policy::Capability;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::loose::NAME_SIZE_MAX;

/// Where and how an operation answers. Built in `const`, so a mount is a table of these.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// `None`: no way from outside. Leases and schedules run it.
    pub verb: Option<Verb>,
    /// Segments divided by slashes. `{name}` takes one segment of word characters, dots and dashes;
    /// `{name:at}` also `@`; `{name:any}` one segment of anything, `{name:any-long}` a long one too; `{name:lower}` and `{name:lower-at}` put
    /// it in lower case first; `{path*}` takes the rest, which may hold slashes and may be empty, `{path+}`
    /// the same if it is not empty. Plain segments may follow these two: `{path+}/tune`. `{path:lower+}` puts
    /// the rest in lower case first. `{path:long+}` is a rest that may be long: what stands in any other but `{path*}` is a
    /// name, and a thing is given none of more than [`NAME_SIZE_MAX`] bytes. `{name:called+}` is the rest as it is spelt, and the engine says by which
    /// spelling it is judged ([`crate::Engine::called`]).
    pub pattern: &'static str,
    /// Wants the `sudo` capability too.
    pub sudo: bool,
    /// Wants no token.
    pub open: bool,
    /// Costs many milliseconds of a core: runs in the bounded pool.
    pub heavy: bool,
    /// The fields of `data` stand at the top of the answer too, as old clients expect of some `sys/` routes.
    pub merged: bool,
    /// Its answer has shares of a key in it.
    pub keys: bool,
    /// Answers in the root namespace alone.
    pub root_only: bool,
    /// Runs by itself this often, on the leader.
    pub every: Option<Duration>,
    /// Clears away one thing, and nothing that others clear away depends on it: many are done by one commit.
    pub small: bool,
    /// Answers with a slash at the end as well, as all listings do.
    pub folder: bool,
    /// Changes what operators look after: the log says so each time.
    pub logged: bool,
}

/// Every way to reach an operation. The Vault API has these and no more.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// DELETE.
    Delete,
    /// GET.
    Get,
    /// LIST, or GET with `list=true`.
    List,
    /// SCAN, or GET with `scan=true`: a list of everything below.
    Scan,
    /// PATCH with a JSON merge patch.
    Patch,
    /// POST or PUT.
    Post,
}

/// How a path fits a route.
pub enum Match<'a> {
    /// It does, with these captures.
    Yes(Captures<'a>),
    /// It would if the bytes in this range were in lower case. Asked again like that, so that the policy judges
    /// the name that the engine will see: `ADMIN` does not walk around a rule about `admin`.
    Lower(Range<usize>),
    /// It does not.
    No,
}

impl Route {
    /// Reads.
    pub const fn get(pattern: &'static str) -> Self {
        Self::new(Some(Verb::Get), pattern)
    }

    /// Lists.
    pub const fn list(pattern: &'static str) -> Self {
        Self::new(Some(Verb::List), pattern)
    }

    /// Lists everything below.
    pub const fn scan(pattern: &'static str) -> Self {
        Self::new(Some(Verb::Scan), pattern)
    }

    /// Writes.
    pub const fn post(pattern: &'static str) -> Self {
        Self::new(Some(Verb::Post), pattern)
    }

    /// Changes parts.
    pub const fn patch(pattern: &'static str) -> Self {
        Self::new(Some(Verb::Patch), pattern)
    }

    /// Deletes.
    pub const fn delete(pattern: &'static str) -> Self {
        Self::new(Some(Verb::Delete), pattern)
    }

    /// Not from outside: leases and schedules run it under this name.
    pub const fn internal(name: &'static str) -> Self {
        Self::new(None, name)
    }

    /// Wants the `sudo` capability in addition.
    pub const fn sudo(self) -> Self {
        Self { sudo: true, ..self }
    }

    /// Wants no token.
    pub const fn unauthenticated(self) -> Self {
        Self { open: true, ..self }
    }

    /// Runs in the bounded pool for costly work.
    pub const fn heavy(self) -> Self {
        Self { heavy: true, ..self }
    }

    /// Repeats the fields of `data` at the top of the answer.
    pub const fn merged(self) -> Self {
        Self { merged: true, ..self }
    }

    /// Its answer has shares of a key in it: whoever writes it down wipes what they wrote it to.
    pub const fn with_keys(self) -> Self {
        Self { keys: true, ..self }
    }

    /// Answers in the root namespace alone: it is about the server as a whole.
    pub const fn root_only(self) -> Self {
        Self { root_only: true, ..self }
    }

    /// Runs by itself this often.
    pub const fn every(self, period: Duration) -> Self {
        Self { every: Some(period), ..self }
    }

    /// Clears away one thing that others of its kind do not depend on.
    pub const fn small(self) -> Self {
        Self { small: true, ..self }
    }

    /// Answers with a slash at the end as well.
    pub const fn or_folder(self) -> Self {
        Self { folder: true, ..self }
    }

    /// The log says each time that it was done.
    pub const fn logged(self) -> Self {
        Self { logged: true, ..self }
    }

    const fn new(verb: Option<Verb>, pattern: &'static str) -> Self {
        Self {
            verb,
            pattern,
            sudo: false,
            open: false,
            heavy: false,
            merged: false,
            keys: false,
            root_only: false,
            every: None,
            small: false,
            folder: matches!(verb, Some(Verb::List | Verb::Scan)),
            logged: false,
        }
    }

    /// Whether it answers in the same way with a slash at the end, and is no listing, which always does.
    pub fn answers_bare(&self) -> bool {
        let lists = matches!(self.verb, Some(Verb::List | Verb::Scan));
        !lists && (self.folder || self.pattern.ends_with("+}"))
    }

    /// Holds `path` against the pattern. With a slash at the end it is another path, which no rule about the one
    /// without is asked about: only where a folder may be meant does that fit too.
    pub fn captures<'a>(&self, path: &'a str) -> Match<'a> {
        let mut captures = Captures::default();
        let mut pattern = self.pattern;
        let mut at = 0;
        loop {
            let rest = path.get(at..).unwrap_or_default();
            let (want, more_pattern) = split(pattern);
            let hole = want.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
            if let Some(name) = hole.filter(|name| name.ends_with(['*', '+'])) {
                let tail = more_pattern.map(|tail| (tail, self.folder));
                let Some((mut captures, value)) = captures.rest(name, rest, tail) else {
                    return Match::No;
                };
                let bytes = at..at + value.len();
                if name.contains(":lower") {
                    if !is_lower(value) {
                        return Match::Lower(bytes);
                    }
                    captures.named(bytes, Judged::InLowerCase);
                } else if name.contains(":called") {
                    captures.named(bytes, Judged::AsTheEngineSays);
                }
                return Match::Yes(captures);
            }
            let (have, more_path) = split(rest);
            match hole {
                Some(hole) => {
                    let (name, kind) = hole.split_once(':').unwrap_or((hole, ""));
                    if !fits(kind, have) {
                        return Match::No;
                    }
                    if kind.starts_with("lower") {
                        if !is_lower(have) {
                            return Match::Lower(at..at + have.len());
                        }
                        captures.named(at..at + have.len(), Judged::InLowerCase);
                    }
                    captures.push(name, have);
                    if kind != "any-long" {
                        captures.bound(have);
                    }
                }
                None if want != have => return Match::No,
                None => {}
            }
            match (more_pattern, more_path) {
                (None, None) => return Match::Yes(captures),
                (None, Some("")) if self.folder => return Match::Yes(captures),
                (Some(more), Some(_)) => {
                    pattern = more;
                    at += have.len() + 1;
                }
                // `data/{path*}` fits `data` as well: the rest is empty.
                (Some(more), None) if more.ends_with("*}") && !more.contains('/') => {
                    pattern = more;
                    at = path.len();
                }
                _ => return Match::No,
            }
        }
    }
}

/// Whether putting it in lower case would change nothing, in any script.
fn is_lower(text: &str) -> bool {
    match text.is_ascii() {
        true => !text.bytes().any(|byte| byte.is_ascii_uppercase()),
        false => text.to_lowercase() == text,
    }
}

/// What Vault calls a generic name: word characters of ASCII at both ends, dots and dashes within.
fn fits(kind: &str, name: &str) -> bool {
    let at = kind.ends_with("at");
    let word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let inner = |char: char| word(char) || char == '-' || char == '.' || (at && char == '@');
    match kind {
        "any" | "any-long" => !name.is_empty(),
        _ => name.starts_with(word) && name.ends_with(word) && name.chars().all(inner),
    }
}

impl Verb {
    /// What a caller needs to use it. A write to what is not there yet needs `create` instead.
    pub fn capability(self) -> Capability {
        match self {
            Self::Delete => Capability::Delete,
            Self::Get => Capability::Read,
            Self::List => Capability::List,
            Self::Scan => Capability::Scan,
            Self::Patch => Capability::Patch,
            Self::Post => Capability::Update,
        }
    }
}

/// Up to four named pieces of a path. No heap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Captures<'a> {
    pairs: [(&'static str, &'a str); MAX],
    count: u8,
    name: Option<NameAt>,
    /// One of them is too long for a name.
    overlong: bool,
}

/// A name in a path that may be spelt in several ways: its bytes, and in which of them it is judged.
#[derive(Clone, Copy, Debug)]
pub struct NameAt {
    /// Its first byte.
    pub start: usize,
    /// The byte behind its last.
    pub end: usize,
    /// How it is judged.
    pub judged: Judged,
}

/// In which spelling a name is judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Judged {
    /// In lower case, which it is in.
    InLowerCase,
    /// In the one that [`crate::Engine::called`] says.
    AsTheEngineSays,
}

/// How an engine calls what a path names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Called {
    /// Like this, and no other spelling of it in the same case.
    InThisCase(String),
    /// Like this, in lower case, and the same in any case.
    InAnyCase(String),
}

const MAX: usize = 4;

impl<'a> Captures<'a> {
    fn named(&mut self, bytes: Range<usize>, judged: Judged) {
        self.name = Some(NameAt { start: bytes.start, end: bytes.end, judged });
    }

    /// The name among them that may be spelt in several ways.
    pub fn name(&self) -> Option<NameAt> {
        self.name
    }

    fn push(&mut self, name: &'static str, value: &'a str) {
        if let Some(pair) = self.pairs.get_mut(usize::from(self.count)) {
            *pair = (name, value);
            self.count += 1;
        }
    }

    fn bound(&mut self, value: &str) {
        self.overlong |= value.len() > NAME_SIZE_MAX;
    }

    /// Refuses a name that is too long to be given to a thing.
    ///
    /// # Errors
    /// If there is one; it says which.
    pub fn check_names(&self) -> Result<()> {
        let long = || self.pairs().iter().find(|(_, value)| value.len() > NAME_SIZE_MAX);
        match self.overlong.then(long).flatten() {
            None => Ok(()),
            Some((name, _)) => {
                let text = format!("{name} is longer than {NAME_SIZE_MAX} bytes; choose a shorter one");
                Err(Error::invalid(text))
            }
        }
    }

    /// The rest of a path, up to the fixed segments that end the pattern, which may be those of a folder.
    fn rest(
        mut self,
        hole: &'static str,
        rest: &'a str,
        tail: Option<(&str, bool)>,
    ) -> Option<(Self, &'a str)> {
        let value = match tail {
            None => rest,
            Some((tail, folder)) => {
                let path = rest.strip_suffix('/').filter(|_| folder).unwrap_or(rest);
                match path.strip_suffix(tail).and_then(|path| path.strip_suffix('/')) {
                    Some(value) => value,
                    None if path == tail => "",
                    None => return None,
                }
            }
        };
        if hole.ends_with('+') && value.trim_matches('/').is_empty() {
            return None;
        }
        let (name, kind) = hole.split_once(':').unwrap_or((hole.trim_end_matches(['*', '+']), ""));
        self.push(name, value);
        if hole.ends_with('+') && kind != "long+" {
            self.bound(value);
        }
        Some((self, value))
    }

    /// The pieces with their names.
    pub fn pairs(&self) -> &[(&'static str, &'a str)] {
        self.pairs.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// One piece; empty if the pattern has none of this name.
    pub fn get(&self, name: &str) -> &'a str {
        self.pairs().iter().find(|(known, _)| *known == name).map_or("", |(_, value)| *value)
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((head, rest)) => (head, Some(rest)),
        None => (path, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &'static str, path: &str, expect: Option<&[(&str, &str)]>) {
        check_route(Route::get(pattern), path, expect);
    }

    #[track_caller]
    fn check_route(route: Route, path: &str, expect: Option<&[(&str, &str)]>) {
        let found = match route.captures(path) {
            Match::Yes(captures) => Some(captures.pairs().to_vec()),
            Match::Lower(range) => Some(vec![("lower", path.get(range).unwrap_or_default())]),
            Match::No => None,
        };
        assert_eq!(found.as_deref(), expect, "{} against {path}", route.pattern);
    }

    #[test]
    fn patterns_take_paths() {
        check("keys/{name}", "keys/app", Some(&[("name", "app")]));
        check("keys/{name}", "keys/app/", None);
        check("keys/{name}", "keys/", None);
        check("keys/{name}", "keys/-app", None);
        check("keys/{name}", "keys/a@b", None);
        check("keys/{name:at}", "keys/a@b", Some(&[("name", "a@b")]));
        check("keys/{name}", "keys", None);
        check("keys/{name}", "keys/a/b", None);
        check("users/{name:lower}", "users/Ann", Some(&[("lower", "Ann")]));
        // The sign of Kelvin is another way to write a k, and an e with an accent can be written in two ways.
        check("users/{name:lower}", "users/\u{212a}im", None);
        check("users/{name}", "users/ren\u{e9}", None);
        check("acl/{name:lower+}", "acl/\u{212a}im", Some(&[("lower", "\u{212a}im")]));
        check("acl/{name:lower+}", "acl/a/Ann", Some(&[("lower", "a/Ann")]));
        check("acl/{name:lower+}", "acl/a/ann", Some(&[("name", "a/ann")]));
        check("acl/{name:lower+}", "acl/", None);
        check("data/{path*}", "data/a/b/", Some(&[("path", "a/b/")]));
        check("data/{path*}", "data", Some(&[("path", "")]));
        check("{path*}", "", Some(&[("path", "")]));
        check("mounts/{path+}", "mounts/a/b", Some(&[("path", "a/b")]));
        check("mounts/{path+}", "mounts", None);
        check("mounts/{path+}", "mounts/", None);
        check("mounts/{path+}/tune", "mounts/a/b/tune", Some(&[("path", "a/b")]));
        check("mounts/{path+}/tune", "mounts/a/tune/", None);
        check("mounts/{path+}/tune", "mounts/tune", None);
        check("mounts/{path+}/tune", "mounts/atune", None);
        check("mounts/{path+}/tune", "mounts/tune/tune", Some(&[("path", "tune")]));
        check("{path*}/tune", "tune", Some(&[("path", "")]));
        check("role/{name}/secret-id", "role/app/secret-id", Some(&[("name", "app")]));
        check("config", "config/", None);
        check("config", "configs", None);
    }

    #[test]
    fn names_are_bounded_and_paths_are_not() {
        let long = "n".repeat(NAME_SIZE_MAX + 1);
        for (pattern, bounded) in [
            ("keys/{name}", true),
            ("mounts/{path+}/tune", true),
            ("acl/{name:lower+}", true),
            ("data/{path*}", false),
            ("raw/{path:long+}", false),
            ("unlock/{name:any-long}", false),
        ] {
            let refused = |name: &str| match Route::post(pattern).captures(&pattern_with(pattern, name)) {
                Match::Yes(captures) => captures.check_names().is_err(),
                _ => panic!("{pattern} does not fit"),
            };
            assert_eq!(refused(&long), bounded, "{pattern}");
            assert!(!refused(&long[1..]), "{pattern}");
        }
    }

    fn pattern_with(pattern: &str, name: &str) -> String {
        let filled = pattern.split('/').map(|piece| if piece.starts_with('{') { name } else { piece });
        filled.collect::<Vec<_>>().join("/")
    }

    #[test]
    fn folders_end_in_a_slash_or_not() {
        check_route(Route::list("keys"), "keys/", Some(&[]));
        check_route(Route::list("keys"), "keys", Some(&[]));
        check_route(Route::scan("keys"), "keys/", Some(&[]));
        check_route(Route::list("role/{name}/secret-id"), "role/a/secret-id/", Some(&[("name", "a")]));
        check_route(Route::list("keys"), "keys/a/", None);
        check_route(Route::get("host-info").or_folder(), "host-info/", Some(&[]));
        let tune = Route::get("mounts/{path+}/tune").or_folder();
        check_route(tune, "mounts/a/tune/", Some(&[("path", "a")]));
    }
}
