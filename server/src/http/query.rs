//! Query strings and forms: `a=1&b=x%20y`.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The pairs of a query string. As in Go, a pair that does not decode, or that holds a semicolon, is left out.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?.into_owned(), decoded(value)?.into_owned()))
    })
}

/// A form as a JSON object; a repeated name becomes one text with commas. `None` if it does not decode.
pub(crate) fn form(body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name)?.into_owned(), decoded(value)?);
        match fields.get_mut(&name) {
            Some(field) => {
                field.push(',');
                field.push_str(&value);
            }
            None => drop(fields.insert(name, value.into_owned())),
        }
    }
    serde_json::to_vec(&fields).ok()
}

/// What `true`, `1` and so on mean to Go; `None` if it is neither yes nor no. Empty is no.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if text.contains(';') {
        return None;
    }
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let value = digit()? << 4 | digit()?;
                bytes.push(u8::try_from(value).ok()?);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_go_reads_them() {
        let read =
            |query: &str| pairs(query).map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>();
        assert_eq!(read("a=1&b=x%20y+z&c&&d="), ["a:1", "b:x y z", "c:", "d:"]);
        assert_eq!(read("x=1;y=2&x=%zz&%41=%42"), ["A:B"]);
        assert_eq!(read(""), Vec::<String>::new());
    }

    #[test]
    fn forms_become_objects() {
        let read = |body: &str| form(body.as_bytes()).map(|json| String::from_utf8(json).unwrap());
        assert_eq!(read("a=1&b=x%20y&b=z&c").as_deref(), Some(r#"{"a":"1","b":"x y,z","c":""}"#));
        assert_eq!(read("a=%22%5C").as_deref(), Some(r#"{"a":"\"\\"}"#));
        assert_eq!(read("%zz=1"), None);
        assert_eq!(read("a;b=1"), None);
        assert_eq!(form(b"a=\xff"), None);
    }
}
