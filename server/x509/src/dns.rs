//! Host names: what may stand in a dNSName.

use crate::{Error, Result};

/// RFC 1035's limit on a whole name.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// The ASCII form of a host name: international labels as punycode, everything else untouched, as IDNA 2008 has it.
pub fn to_ascii(name: &str) -> Result<String> {
    if name.is_ascii() && !has_punycode(name) {
        return Ok(name.to_owned());
    }
    let (wildcard, rest) = match name.strip_prefix("*.") {
        Some(rest) => ("*.", rest),
        None => ("", name),
    };
    idna::domain_to_ascii_strict(rest)
        .map(|ascii| format!("{wildcard}{ascii}"))
        .map_err(|_| Error::refused(format!("{name} is no host name that IDNA allows")))
}

/// Whether it is a host name: labels of letters, digits and inner hyphens. A single closing dot is none.
pub fn is_hostname(name: &str) -> bool {
    name.len() <= NAME_MAX && !name.is_empty() && name.split('.').all(is_label)
}

/// Whether it is a host name, or one whose first label has a wildcard in it (`*.example.com`, `foo*.example.com`).
pub fn is_hostname_or_wildcard(name: &str) -> bool {
    match name.split_once('.') {
        Some((first, rest)) if first.contains('*') => {
            let letters = first.replacen('*', "", 1);
            let parts_are_labels =
                first.split('*').all(|part| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
            let edges = !first.starts_with('-') && !first.ends_with('-');
            !letters.contains('*')
                && parts_are_labels
                && edges
                && first.len() <= LABEL_MAX
                && is_hostname(rest)
        }
        _ => is_hostname(name),
    }
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=LABEL_MAX).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn has_punycode(name: &str) -> bool {
    name.split('.').any(|label| label.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("xn--")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn international_names_become_punycode() {
        assert_eq!(to_ascii("bücher.example").unwrap(), "xn--bcher-kva.example");
        assert_eq!(to_ascii("*.bücher.example").unwrap(), "*.xn--bcher-kva.example");
        assert_eq!(to_ascii("Plain.example").unwrap(), "Plain.example");
        assert!(to_ascii("xn--a.example").is_err());
    }

    #[test]
    fn host_names() {
        for good in ["a", "a.b", "xn--bcher-kva.example", "1.2", "a-b.c"] {
            assert!(is_hostname(good), "{good}");
        }
        for bad in
            ["", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "*.a", "a b", "a@b", "bü", &"a".repeat(64)]
        {
            assert!(!is_hostname(bad), "{bad}");
        }
    }

    #[test]
    fn wildcards_stand_in_the_first_label_alone() {
        for good in ["*.a", "foo*.a", "*foo.a.b", "f*o.a"] {
            assert!(is_hostname_or_wildcard(good), "{good}");
        }
        for bad in ["*", "a.*", "*.*.a", "**.a", "-*.a", "*a", "*.", "*..a"] {
            assert!(!is_hostname_or_wildcard(bad), "{bad}");
        }
    }
}
