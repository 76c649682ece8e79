use serde::de::IgnoredAny;
use serde_json::Value;

use crate::audit::device::Hasher;

/// Copies a JSON value with every string replaced by its keyed hash. Keys, numbers, booleans and nulls stay,
/// and so do the values of the keys in `keep`.
///
/// It works on bytes, because a request pays for it twice for every device. What comes out is JSON, whatever goes in: of
/// what is no JSON, the hash of the whole.
pub(crate) fn redact(json: &[u8], keep: &[String], hasher: &Hasher<'_>, out: &mut Vec<u8>) {
    let before = out.len();
    let mut walk = Walk { json, at: 0, keep, hasher, reads: true };
    walk.value(out, false);
    if !walk.reads || walk.peek().is_some() {
        out.truncate(before);
        hasher.text(&String::from_utf8_lossy(json), out);
    }
}

/// A text with every value of the request's body that it repeats replaced by its keyed hash: refusals quote what was
/// wrong to whoever sent it, and the log must not.
pub(crate) fn unsaid(text: &str, body: &[u8], hasher: &Hasher<'_>) -> String {
    let mut text = text.to_owned();
    // Every body was looked through at the door; one that does not read all the same is not what a refusal quotes.
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return text };
    let mut said = Vec::new();
    gather(&body, &mut said);
    // The longest first: one value may be a part of another.
    said.sort_unstable_by_key(|value| std::cmp::Reverse(value.len()));
    said.dedup();
    for value in said {
        let escaped = format!("{value:?}");
        let escaped = escaped.trim_matches('"');
        for form in [value, escaped] {
            if form.len() >= QUOTED_MIN && text.contains(form) {
                text = text.replace(form, &hasher.plain(value));
            }
        }
    }
    text
}

/// Shorter values are words like `kv` or `5m`, without which a refusal does not read.
const QUOTED_MIN: usize = 6;

fn gather<'a>(value: &'a Value, said: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => said.push(text),
        Value::Array(items) => items.iter().for_each(|item| gather(item, said)),
        Value::Object(fields) => fields.values().for_each(|value| gather(value, said)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

struct Walk<'a> {
    json: &'a [u8],
    at: usize,
    keep: &'a [String],
    hasher: &'a Hasher<'a>,
    /// Whether all was JSON so far.
    reads: bool,
}

impl<'a> Walk<'a> {
    /// Copies one value; strings as they are if `plain`.
    fn value(&mut self, out: &mut Vec<u8>, plain: bool) {
        match self.peek() {
            Some(b'{') => self.object(out, plain),
            Some(b'[') => self.array(out, plain),
            Some(b'"') => {
                let text = self.string();
                match (plain, text) {
                    (true, text) => out.extend_from_slice(text),
                    (false, text) => self.hasher.hash_json_string(text, out),
                }
            }
            _ => {
                let rest = self.json.get(self.at..).unwrap_or_default();
                let length =
                    rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']')).unwrap_or(rest.len());
                let word = rest.get(..length).unwrap_or_default().trim_ascii();
                self.reads &= serde_json::from_slice::<IgnoredAny>(word).is_ok();
                out.extend_from_slice(word);
                self.at += length;
            }
        }
    }

    fn object(&mut self, out: &mut Vec<u8>, plain: bool) {
        out.push(b'{');
        self.at += 1;
        let mut first = true;
        while let Some(byte) = self.peek() {
            match byte {
                b'}' => break,
                b',' => self.at += 1,
                b'"' => {
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    let key = self.string();
                    out.extend_from_slice(key);
                    out.push(b':');
                    let kept = plain || self.keeps(key);
                    match self.peek() {
                        Some(b':') => self.at += 1,
                        _ => self.reads = false,
                    }
                    self.peek();
                    self.value(out, kept);
                }
                _ => self.stop(),
            }
        }
        self.reads &= self.at < self.json.len();
        self.at += 1;
        out.push(b'}');
    }

    fn array(&mut self, out: &mut Vec<u8>, plain: bool) {
        out.push(b'[');
        self.at += 1;
        let mut first = true;
        while let Some(byte) = self.peek() {
            match byte {
                b']' => break,
                b',' => self.at += 1,
                _ => {
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    let before = self.at;
                    self.value(out, plain);
                    if self.at == before {
                        self.stop();
                    }
                }
            }
        }
        self.reads &= self.at < self.json.len();
        self.at += 1;
        out.push(b']');
    }

    /// Not JSON after all: nothing more is copied.
    fn stop(&mut self) {
        self.reads = false;
        self.at = self.json.len();
    }

    fn keeps(&self, key: &[u8]) -> bool {
        let name = key.get(1..key.len().saturating_sub(1)).unwrap_or_default();
        self.keep.iter().any(|keep| keep.as_bytes() == name)
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.json.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// The string that begins here, with its quotes.
    fn string(&mut self) -> &'a [u8] {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let mut escaped = false;
        let end = rest.iter().skip(1).position(|byte| match byte {
            _ if std::mem::take(&mut escaped) => false,
            b'\\' => {
                escaped = true;
                false
            }
            byte => *byte == b'"',
        });
        let length = end.map_or(rest.len(), |end| end + 2);
        self.at += length;
        let text = rest.get(..length).unwrap_or_default();
        let plain = end.is_some() && text.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\');
        let reads = |text: &[u8]| {
            std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
        };
        self.reads &= plain || reads(text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, keep: &[&str], expect: &str) {
        let keep: Vec<String> = keep.iter().map(|&key| key.to_owned()).collect();
        let mut out = Vec::new();
        redact(json.as_bytes(), &keep, &Hasher::Fixed("#"), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn every_string_is_hashed_and_nothing_else() {
        check(
            r#"{"a":"x","b":[1, "y", true, null],"c":{"d":"z"}}"#,
            &[],
            r##"{"a":"#","b":[1,"#",true,null],"c":{"d":"#"}}"##,
        );
        check(r#" { "a" : "x\"y" , "n" : -1.5e3 } "#, &[], r##"{"a":"#","n":-1.5e3}"##);
        check(r#"{"a":"x","b":{"c":"y"}}"#, &["b"], r##"{"a":"#","b":{"c":"y"}}"##);
        check("{}", &[], "{}");
        check("[]", &[], "[]");
        check(r#""x""#, &[], r##""#""##);
    }

    #[track_caller]
    fn check_unsaid(text: &str, body: &str, expect: &str) {
        assert_eq!(unsaid(text, body.as_bytes(), &Hasher::Fixed("#")), expect, "{text} after {body}");
    }

    #[test]
    fn a_refusal_does_not_repeat_what_was_sent() {
        check_unsaid("bad address \"hunter2\"", r#"{"a":"hunter2"}"#, "bad address \"#\"");
        check_unsaid(
            "bad 'hunter2' and 'hunter2b'",
            r#"{"a":["hunter2",{"b":"hunter2b"}]}"#,
            "bad '#' and '#'",
        );
        check_unsaid(r#"bad "new\nline""#, r#"{"a":"new\nline"}"#, "bad \"#\"");
        check_unsaid("unknown type kv", r#"{"type":"kv"}"#, "unknown type kv");
        check_unsaid("permission denied", "", "permission denied");
        check_unsaid("permission denied", "{", "permission denied");
    }

    #[test]
    fn of_what_is_no_json_the_whole_is_hashed() {
        for json in [
            "{",
            "[",
            "\"",
            "{\"a\"",
            "{\"a\":",
            "[}",
            "{]",
            "[,",
            "{x}",
            "hunter2",
            "1 2",
            "{} {}",
            "[1",
            "{\"a\":hunter2}",
            "{\"a\" \"b\"}",
            "{\"a\":\"x\\q\"}",
            "{\"a\":\"new\nline\"}",
            "{\"new\nline\":1}",
            "{\"a\":1}\n{\"type\":\"response\"}",
        ] {
            check(json, &["a"], "\"#\"");
        }
        let mut out = Vec::new();
        redact(b"{\"\xff\":1}", &[], &Hasher::Fixed("#"), &mut out);
        assert_eq!(out, b"\"#\"");
    }
}
