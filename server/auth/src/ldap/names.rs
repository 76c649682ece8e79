//! Names as a directory compares them, and as filters and distinguished names spell them.

use icu_normalizer::ComposingNormalizerBorrowed;
use ldap3::{dn_escape, ldap_escape};

/// The longest name of a user or group, in bytes.
pub(super) const NAME_SIZE_MAX: usize = 512;

/// Whether `Bob` and `bob` are one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Case {
    /// They are two.
    Exact,
    /// They are one.
    Ignored,
}

/// A user's name, in the one spelling of all those that a directory takes for the same (RFC 4518): compatibility forms are
/// mapped, spaces are trimmed and joined. Nothing, for a name that holds what nobody can see, or is too long.
pub(super) fn canonical(name: &str, case: Case) -> Option<String> {
    if name.len() > NAME_SIZE_MAX || name.chars().any(is_invisible) {
        return None;
    }
    let mapped = ComposingNormalizerBorrowed::new_nfkc().normalize(name);
    let joined = mapped.split_whitespace().collect::<Vec<_>>().join(" ");
    let folded = fold(&joined, case);
    (!folded.is_empty() && folded.len() <= NAME_SIZE_MAX).then_some(folded)
}

/// A name in lower case, letter by letter as directories do it, unless case counts.
fn fold(name: &str, case: Case) -> String {
    match case {
        Case::Exact => name.to_owned(),
        Case::Ignored => {
            let lower: String = name.chars().flat_map(char::to_lowercase).collect();
            ComposingNormalizerBorrowed::new_nfkc().normalize(&lower).into_owned()
        }
    }
}

/// What directories leave out when they compare, or what no name holds.
fn is_invisible(char: char) -> bool {
    char.is_control()
        || matches!(u32::from(char),
            0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x1806 | 0x180b..=0x180f
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff
            | 0xffa0 | 0xfff0..=0xfffc | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
}

/// The name of a record: a slash in it makes no folder.
pub(super) fn key(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2f")
}

/// The name that a record is of.
pub(super) fn of_key(key: &str) -> String {
    key.replace("%2f", "/").replace("%25", "%")
}

/// A template of a filter with its holes filled: `{{.Username}}`. The values are escaped here.
///
/// # Errors
/// With what is no such template.
pub(super) fn render(template: &str, values: &[(&str, &str)]) -> Result<String, String> {
    let mut rendered = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (hole, after) = after.split_once("}}").ok_or("a {{ has no }}")?;
        let name = hole.strip_prefix('-').unwrap_or(hole);
        let name = name.strip_suffix('-').unwrap_or(name).trim();
        let known = name.strip_prefix('.').and_then(|name| values.iter().find(|(known, _)| *known == name));
        let (_, value) = known.ok_or_else(|| {
            let all: Vec<_> = values.iter().map(|(name, _)| format!("{{{{.{name}}}}}")).collect();
            format!("{{{{{hole}}}}} is none of {}", all.join(", "))
        })?;
        rendered.push_str(before);
        rendered.push_str(&ldap_escape(*value));
        rest = after;
    }
    rendered.push_str(rest);
    Ok(rendered)
}

/// The attributes that a filter compares with a hole: `uid` in `(uid={{.Username}})`.
pub(super) fn compared<'a>(template: &'a str, hole: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { break };
        let name = name.trim_matches('-').trim();
        let is_name = |char: char| char.is_ascii_alphanumeric() || "-;.".contains(char);
        if name.strip_prefix('.') == Some(hole)
            && let Some(start) = before.strip_suffix('=')
        {
            let (_, attribute) = start.split_at(start.trim_end_matches(is_name).len());
            if !attribute.is_empty() {
                found.push(attribute);
            }
        }
        rest = after;
    }
    found
}

/// `attribute=name,base`, the name escaped.
pub(super) fn below(attribute: &str, name: &str, base: &str) -> String {
    format!("{attribute}={},{base}", dn_escape(name))
}

/// The first common name in a distinguished name; all of it, if it has none.
pub(super) fn common_name(dn: &str, is_cn: impl Fn(&str) -> bool) -> String {
    let pairs = pairs(dn);
    let found = pairs.into_iter().flatten().find(|(kind, _)| is_cn(kind));
    found.map_or_else(|| dn.to_owned(), |(_, value)| value)
}

/// The attributes of a distinguished name with their values; nothing if it does not read.
fn pairs(dn: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = dn;
    loop {
        let (kind, after) = rest.split_once('=')?;
        let (value, after) = value(after)?;
        pairs.push((kind.trim().to_owned(), value));
        match after {
            None => return Some(pairs),
            Some(after) => rest = after,
        }
    }
}

/// A value up to the next comma, plus or semicolon, its escapes undone, and what follows.
fn value(text: &str) -> Option<(String, Option<&str>)> {
    let mut bytes = Vec::new();
    let mut kept = 0;
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            ',' | '+' | ';' => {
                let value = finish(bytes, kept)?;
                return Some((value, text.get(at + 1..)));
            }
            '\\' => {
                let (_, first) = chars.next()?;
                match first.to_digit(16) {
                    Some(high) => {
                        let (_, second) = chars.next()?;
                        bytes.push(u8::try_from(high * 16 + second.to_digit(16)?).ok()?);
                    }
                    None => bytes.extend(first.encode_utf8(&mut [0; 4]).bytes()),
                }
                kept = bytes.len();
            }
            ' ' if bytes.is_empty() => {}
            _ => bytes.extend(char.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Some((finish(bytes, kept)?, None))
}

/// Without the spaces at its end that were not escaped.
fn finish(mut bytes: Vec<u8>, kept: usize) -> Option<String> {
    while bytes.len() > kept && bytes.last() == Some(&b' ') {
        bytes.pop();
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expect: Option<&str>) {
        assert_eq!(canonical(name, Case::Ignored).as_deref(), expect, "{name:?}");
    }

    #[test]
    fn every_spelling_of_a_name_is_one_name() {
        for same in ["bob", "BOB", " bob", "bob ", "\u{a0}Bob\u{3000}", "\u{ff42}\u{ff4f}\u{ff42}", "ⓑob"] {
            check(same, Some("bob"));
        }
        check("Ann  \u{2003} Lee", Some("ann lee"));
        check("\u{212a}im", Some("kim"));
        check("ΟΔΟΣ", Some("οδοσ"));
        check("e\u{301}", Some("é"));
        for refused in ["", " ", "a\0", "\0", "a\nb", "a\u{ad}b", "a\u{200b}b", "a\u{feff}", "\u{7f}"] {
            check(refused, None);
        }
        check(&"a".repeat(NAME_SIZE_MAX + 1), None);
        assert_eq!(canonical(" Bob ", Case::Exact).as_deref(), Some("Bob"));
    }

    #[test]
    fn filters_are_filled_and_escaped() {
        let values = [("UserAttr", "uid"), ("Username", "*)(uid=\\\0")];
        let filled = render("(&({{.UserAttr}}={{ .Username }})(a=b))", &values).unwrap();
        assert_eq!(filled, r"(&(uid=\2a\29\28uid=\5c\00)(a=b))");
        for (wrong, why) in [
            ("{{.Other}}", "{{.Other}} is none of {{.UserAttr}}, {{.Username}}"),
            ("{{printf \"%s\" .Username}}", "is none of"),
            ("{{.Username", "a {{ has no }}"),
        ] {
            let error = render(wrong, &values).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_a_filter_compares_a_name_with_is_read_from_it() {
        let filter = "(&(objectClass=x)(|({{.UserAttr}}={{.Username}})(mail={{- .Username -}})(a;b-c={{ .Username }})\
                      (cn=x{{.Username}})(d~={{.Username}})(e={{.UserAttr}})))";
        assert_eq!(compared(filter, "Username"), ["mail", "a;b-c"]);
        assert!(compared("={{.Username}}", "Username").is_empty());
        assert!(compared("(uid={{.Username", "Username").is_empty());
    }

    #[test]
    fn names_of_entries_are_escaped_and_read() {
        assert_eq!(below("uid", "x,ou=admins", "dc=a"), r"uid=x\2cou\3dadmins,dc=a");
        assert_eq!(below("cn", " #a\0", "dc=a"), r"cn=\20#a\00,dc=a");
        let cn = |dn: &str| common_name(dn, |kind| kind.eq_ignore_ascii_case("cn"));
        assert_eq!(cn("cn=admins,ou=groups"), "admins");
        assert_eq!(cn(r"ou=x + CN=a\, b\2c\C3\A9 ,dc=y"), "a, b,é");
        assert_eq!(cn(r"cn= a\20 ,dc=y"), "a ");
        assert_eq!(cn("ou=groups,dc=y"), "ou=groups,dc=y");
        assert_eq!(cn("plain"), "plain");
        assert_eq!(cn(r"cn=a\"), r"cn=a\");
    }

    #[test]
    fn a_slash_makes_no_folder() {
        for name in ["a/b", "a%2fb", "//", "%"] {
            assert!(!key(name).contains('/'));
            assert_eq!(of_key(&key(name)), name);
        }
    }
}
