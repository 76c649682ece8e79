//! Patterns in which `*` stands for any text, as roles use them.

/// Whether `text` fits `pattern`. Linear in time for each star.
pub fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expect) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*a", "a", false),
            ("*.example.com", "x.y.example.com", true),
            ("*.example.com", "example.com", false),
            ("ftp*.example.com", "ftp12.example.com", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("*a*b*", "xaybz", true),
            ("*a*b*", "xbya", false),
        ] {
            assert_eq!(fits(pattern, text), expect, "{pattern} {text}");
        }
    }
}
