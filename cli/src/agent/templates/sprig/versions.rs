//! Versions, as Masterminds' semver reads and compares them: `v1.2` is one too, and constraints are `^1.2`, `~1.2.x`,
//! `>= 1.2, < 2 || 3.x` and `1.2 - 1.4`.

use std::{cmp::Ordering, collections::BTreeMap, sync::LazyLock};

use gotmpl::{TemplateError, Value};
use regex::{Captures, Regex};

use crate::agent::templates::{
    functions::{Function, argument, string, wrong},
    language::Made,
    values::{self, SHOWN, text},
};

pub(super) const ALL: [(&str, Function); 2] = [
    ("semver", |args| Ok(Version::read(string(args, 0)?)?.value())),
    ("semverCompare", |args| {
        let constraint = Constraint::read(string(args, 0)?)?;
        Ok(Value::Bool(constraint.admits(&Version::read(string(args, 1)?)?)))
    }),
];

/// What a version can be asked with another one.
pub(crate) const METHODS: [(&str, Function); 6] = [
    ("Compare", |args| {
        between(args, |order| {
            Value::Int(match order {
                Ordering::Less => -1,
                Ordering::Equal => 0,
                Ordering::Greater => 1,
            })
        })
    }),
    ("Equal", |args| between(args, |order| Value::Bool(order.is_eq()))),
    ("LessThan", |args| between(args, |order| Value::Bool(order.is_lt()))),
    ("LessThanEqual", |args| between(args, |order| Value::Bool(order.is_le()))),
    ("GreaterThan", |args| between(args, |order| Value::Bool(order.is_gt()))),
    ("GreaterThanEqual", |args| between(args, |order| Value::Bool(order.is_ge()))),
];

const PARTS: &str = r"(-([0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*))?(\+([0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*))?";

static VERSION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!(r"^v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?{PARTS}$")).ok());

struct Version {
    numbers: [u64; 3],
    pre: String,
    metadata: String,
    original: String,
}

impl Version {
    fn read(original: &str) -> Result<Version, TemplateError> {
        let no = || wrong("a version is read from something that is none, like 1.2.3 or v1.2");
        let found = VERSION.as_ref().and_then(|form| form.captures(original)).ok_or_else(no)?;
        let number = |at: usize| found.get(at).map_or(Ok(0), |digits| digits.as_str().parse());
        let numbers =
            [number(1), number(2), number(3)].map(|number: Result<u64, _>| number.map_err(|_| no()));
        let [major, minor, patch] = numbers;
        let part = |at: usize| found.get(at).map_or("", |part| part.as_str()).to_owned();
        let (pre, metadata) = (part(5), part(7));
        // Numbers of a version that is not released do not begin with zero.
        let zeroed =
            |part: &str| part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit());
        if pre.split('.').any(zeroed) {
            return Err(no());
        }
        Ok(Version { numbers: [major?, minor?, patch?], pre, metadata, original: original.to_owned() })
    }

    fn shown(&self) -> String {
        let [major, minor, patch] = self.numbers;
        let part =
            |sign: &str, part: &str| if part.is_empty() { String::new() } else { format!("{sign}{part}") };
        format!("{major}.{minor}.{patch}{}{}", part("-", &self.pre), part("+", &self.metadata))
    }

    /// What a template has of it.
    fn value(&self) -> Value {
        let [major, minor, patch] = self.numbers.map(Value::Uint);
        let shown = self.shown();
        values::map(
            [
                (SHOWN, text(shown.as_str())),
                ("Major", major),
                ("Minor", minor),
                ("Patch", patch),
                ("Prerelease", text(self.pre.as_str())),
                ("Metadata", text(self.metadata.as_str())),
                ("Original", text(self.original.as_str())),
                ("String", text(shown.as_str())),
            ]
            .into_iter(),
        )
    }

    /// What is built does not count.
    fn order(&self, other: &Version) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.as_str(), other.pre.as_str()) {
            ("", "") => Ordering::Equal,
            ("", _) => Ordering::Greater,
            (_, "") => Ordering::Less,
            (ours, theirs) => earlier(ours, theirs),
        })
    }
}

fn earlier(ours: &str, theirs: &str) -> Ordering {
    let (mut ours, mut theirs) = (ours.split('.'), theirs.split('.'));
    loop {
        let order = match (ours.next(), theirs.next()) {
            (None, None) => return Ordering::Equal,
            (None, _) => Ordering::Less,
            (_, None) => Ordering::Greater,
            (Some(ours), Some(theirs)) => match (ours.parse::<u64>(), theirs.parse::<u64>()) {
                (Ok(ours), Ok(theirs)) => ours.cmp(&theirs),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => ours.cmp(theirs),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// `$version.Compare $other`
fn between(args: &[Value], made: fn(Ordering) -> Value) -> Made {
    let version = |at: usize| match argument(args, at)? {
        Value::Map(fields) if fields.contains_key(SHOWN) => match fields.get("Original") {
            Some(Value::String(original)) => Version::read(original),
            _ => Err(wrong("a version is compared with something that is none")),
        },
        _ => Err(wrong("a version is compared with something that is none")),
    };
    Ok(made(version(0)?.order(&version(1)?)))
}

/// What a version must be.
struct Constraint {
    /// One of these must be met, each whole; and whether it speaks of versions that are not released.
    choices: Vec<(Vec<Term>, bool)>,
}

struct Term {
    sign: Sign,
    version: Version,
    /// Where it has an x, or ends early.
    open: Open,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Equal,
    NotEqual,
    Above,
    Below,
    AtLeast,
    AtMost,
    Tilde,
    Caret,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    No,
    Patch,
    Minor,
    Major,
}

struct Forms {
    range: Regex,
    whole: Regex,
    each: Regex,
    one: Regex,
}

static FORMS: LazyLock<Option<Forms>> = LazyLock::new(|| {
    let version = format!(r"v?([0-9|x|X|\*]+)(\.[0-9|x|X|\*]+)?(\.[0-9|x|X|\*]+)?{PARTS}");
    let signs = r"=||!=|>|<|>=|=>|<=|=<|~|~>|\^";
    let form = |pattern: String| Regex::new(&pattern).ok();
    Some(Forms {
        range: form(format!(r"\s*({version})\s+-\s+({version})\s*"))?,
        whole: form(format!(r"^(\s*({signs})\s*({version})\s*)((?:\s+|,\s*)({signs})\s*({version})\s*)*$"))?,
        each: form(format!("({signs})\\s*({version})"))?,
        one: form(format!(r"^\s*({signs})\s*({version})\s*$"))?,
    })
});

impl Constraint {
    fn read(given: &str) -> Result<Constraint, TemplateError> {
        let no = || {
            wrong("semverCompare is given something that is no constraint, like \"^1.2\" or \">= 1.2, < 2\"")
        };
        let forms = FORMS.as_ref().ok_or_else(no)?;
        let whole = forms.range.replace_all(given, |found: &Captures<'_>| {
            let part = |at: usize| found.get(at).map_or("", |part| part.as_str());
            format!(">= {}, <= {}", part(1), part(9))
        });
        let mut choices = Vec::new();
        for choice in whole.split("||") {
            if !forms.whole.is_match(choice) {
                return Err(no());
            }
            let terms: Result<Vec<Term>, TemplateError> =
                forms.each.find_iter(choice).map(|found| Term::read(forms, found.as_str())).collect();
            let terms = terms?;
            let unreleased = terms.iter().any(|term| !term.version.pre.is_empty());
            choices.push((terms, unreleased));
        }
        Ok(Constraint { choices })
    }

    fn admits(&self, version: &Version) -> bool {
        self.choices.iter().any(|(terms, unreleased)| {
            (version.pre.is_empty() || *unreleased) && terms.iter().all(|term| term.admits(version))
        })
    }
}

impl Term {
    fn read(forms: &Forms, given: &str) -> Result<Term, TemplateError> {
        let no = || wrong("semverCompare is given something that is no constraint");
        let found = forms.one.captures(given).ok_or_else(no)?;
        let part = |at: usize| found.get(at).map_or("", |part| part.as_str());
        let is_open =
            |at: usize| matches!(part(at).strip_prefix('.').unwrap_or(part(at)), "" | "x" | "X" | "*");
        let (major, minor, patch, pre) = (part(3), part(4), part(5), part(6));
        let (open, version) = if is_open(3) {
            (Open::Major, format!("0.0.0{pre}"))
        } else if is_open(4) {
            (Open::Minor, format!("{major}.0.0{pre}"))
        } else if is_open(5) {
            (Open::Patch, format!("{major}{minor}.0{pre}"))
        } else {
            (Open::No, format!("{major}{minor}{patch}{pre}{}", part(8)))
        };
        let sign = match part(1) {
            "!=" => Sign::NotEqual,
            ">" => Sign::Above,
            "<" => Sign::Below,
            ">=" | "=>" => Sign::AtLeast,
            "<=" | "=<" => Sign::AtMost,
            "~" | "~>" => Sign::Tilde,
            "^" => Sign::Caret,
            _ => Sign::Equal,
        };
        Ok(Term { sign, version: Version::read(&version)?, open })
    }

    fn admits(&self, version: &Version) -> bool {
        let order = version.order(&self.version);
        let ([major, minor, _], [own_major, own_minor, _]) = (version.numbers, self.version.numbers);
        match self.sign {
            Sign::Equal if self.open == Open::No => order.is_eq(),
            Sign::Equal | Sign::Tilde => self.about(version, order),
            Sign::NotEqual => match self.open {
                Open::No => order.is_ne(),
                // Nothing is other than everything; what they say of `!= x` follows the numbers all the same.
                Open::Major => order.is_ne(),
                Open::Minor => major != own_major,
                Open::Patch => {
                    (major, minor) != (own_major, own_minor)
                        || (!(version.pre.is_empty() && self.version.pre.is_empty())
                            && version.pre != self.version.pre)
                }
            },
            Sign::Above => match self.open {
                Open::No | Open::Major => order.is_gt(),
                Open::Minor => major > own_major,
                Open::Patch => (major, minor) > (own_major, own_minor),
            },
            Sign::Below => order.is_lt(),
            Sign::AtLeast => order.is_ge(),
            Sign::AtMost => match self.open {
                Open::No => order.is_le(),
                Open::Minor => major <= own_major,
                Open::Major | Open::Patch => (major, minor) <= (own_major, own_minor),
            },
            Sign::Caret => self.up_to(version, order),
        }
    }

    /// `~1.2`: the last number that is named may grow.
    fn about(&self, version: &Version, order: Ordering) -> bool {
        let ([major, minor, _], [own_major, own_minor, _]) = (version.numbers, self.version.numbers);
        let anything = self.version.numbers == [0, 0, 0] && matches!(self.open, Open::No | Open::Major);
        order.is_ge()
            && (anything || (major == own_major && (minor == own_minor || self.open == Open::Minor)))
    }

    /// `^1.2`: the first number that is not zero may not change.
    fn up_to(&self, version: &Version, order: Ordering) -> bool {
        let ([major, minor, patch], [own_major, own_minor, own_patch]) =
            (version.numbers, self.version.numbers);
        if order.is_lt() {
            return false;
        }
        if own_major > 0 || self.open == Open::Minor {
            return major == own_major;
        }
        if major > 0 {
            return false;
        }
        if own_minor > 0 || self.open == Open::Patch {
            return minor == own_minor;
        }
        minor == 0 && patch == own_patch
    }
}

/// A map that is a version is this text.
pub(crate) fn as_text(fields: &BTreeMap<std::sync::Arc<str>, Value>) -> Option<&str> {
    match fields.get(SHOWN) {
        Some(Value::String(shown)) => Some(shown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_version_and_no_constraint_is_refused() {
        for none in
            ["", "a", "1.2.3.4", "1.2.3-01", "1.2.3-", "1.2.3-a..b", " 1.2.3", "18446744073709551616.0.0"]
        {
            assert!(Version::read(none).is_err(), "{none:?}");
        }
        for none in ["", ">", "1x", "1..2", "||", "1 ||", "1.2.3,", "=> =1"] {
            assert!(Constraint::read(none).is_err(), "{none:?}");
        }
        let admits = |constraint: &str, version: &str| {
            Constraint::read(constraint).unwrap().admits(&Version::read(version).unwrap())
        };
        assert!(admits(">= 1.2, < 2 || 3.x", "v3.1") && !admits(">= 1.2, < 2 || 3.x", "2.0.0"));
        assert!(!admits("^1.2", "1.3.0-rc.1") && admits("^1.2-0", "1.3.0-rc.1"));
    }
}
