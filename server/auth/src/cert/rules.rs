//! What a role wants of a certificate besides trust.

use std::collections::BTreeMap;

use der::asn1::AnyRef;
use der::{Decode, Tag, Tagged};
use x509::{AltNames, Certificate, ObjectIdentifier, Subject};

use super::role::Trust;

/// Whether a certificate is all that the role wants.
pub(super) fn allow(trust: &Trust, leaf: &Certificate) -> bool {
    let subject = leaf.subject().unwrap_or_else(|_| Subject::default());
    let names = leaf.alt_names().unwrap_or_else(|_| AltNames::default());
    let common = std::slice::from_ref(&subject.common_name);
    let any = [common, &names.dns, &names.email].concat();
    [
        (&trust.allowed_names, &any[..]),
        (&trust.allowed_common_names, common),
        (&trust.allowed_dns_sans, &names.dns),
        (&trust.allowed_email_sans, &names.email),
        (&trust.allowed_uri_sans, &names.uri),
        (&trust.allowed_organizational_units, &subject.organizational_unit),
    ]
    .into_iter()
    .all(|(patterns, names)| one_fits(patterns.as_deref().unwrap_or_default(), names))
        && trust.required_extensions.iter().flatten().all(|wanted| has(wanted, leaf))
}

/// The strings that the role makes metadata of, by their OID with dashes.
pub(super) fn metadata(trust: &Trust, leaf: &Certificate) -> BTreeMap<String, String> {
    let oids = trust.allowed_metadata_extensions.iter().flatten();
    let pair = |oid: &String| {
        let found = leaf.extensions().find(&ObjectIdentifier::new(oid).ok()?)?;
        Some((oid.replace('.', "-"), string(&found.value)))
    };
    oids.filter_map(pair).collect()
}

/// The two halves of `OID:value`.
pub(super) fn extension(wanted: &str) -> Option<(ObjectIdentifier, &str)> {
    let (oid, value) = wanted.split_once(':')?;
    Some((ObjectIdentifier::new(oid).ok()?, value))
}

fn has(wanted: &str, leaf: &Certificate) -> bool {
    extension(wanted).is_some_and(|(oid, pattern)| {
        leaf.extensions().find(&oid).is_some_and(|found| fits(pattern, &string(&found.value)))
    })
}

/// The string that an extension holds; nothing if it holds something else.
fn string(der: &[u8]) -> String {
    let Ok(any) = AnyRef::from_der(der) else { return String::new() };
    let is_text = matches!(
        any.tag(),
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::TeletexString
    );
    if is_text { String::from_utf8(any.value().to_vec()).unwrap_or_default() } else { String::new() }
}

/// Whether a pattern fits a name; no pattern at all: any name does, and none.
fn one_fits(patterns: &[String], names: &[String]) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| names.iter().any(|name| fits(pattern, name)))
}

/// Whether `name` is `pattern`, in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let mut pieces = rest.split('*').collect::<Vec<_>>();
    let tail = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match name.split_once(piece) {
            Some((_, after)) => name = after,
            None => return false,
        }
    }
    name.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, expect: bool) {
        assert_eq!(fits(pattern, name), expect, "{pattern} against {name}");
    }

    #[test]
    fn a_star_stands_for_anything_and_nothing_else_does() {
        check("web.example.com", "web.example.com", true);
        check("web.example.com", "WEB.example.com", false);
        check("*", "", true);
        check("*.example.com", "a.example.com", true);
        check("*.example.com", "example.com", false);
        check("*.example.com", "a.example.com.evil.org", false);
        check("a*b*c", "axxbyyc", true);
        check("a*b*c", "acb", false);
        check("a*a", "a", false);
        check("", "", true);
        check("", "a", false);
        check("w?b", "web", false);
        check("**", "x", true);
    }

    #[test]
    fn extensions_are_read_as_strings() {
        assert_eq!(string(&[0x0c, 2, b'h', b'i']), "hi");
        assert_eq!(string(&[0x04, 2, b'h', b'i']), "");
        assert_eq!(string(&[0x0c, 3, b'h', b'i']), "");
        assert!(extension("1.2.3.4:a:b").is_some_and(|(_, value)| value == "a:b"));
        assert!(extension("1.2.3.4").is_none() && extension("x:y").is_none());
    }
}
