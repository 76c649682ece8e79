use crate::audit::device::Hasher;

/// Copies a JSON value with every string replaced by its keyed hash. Keys, numbers, booleans and nulls stay,
/// and so do the values of the keys in `keep`.
///
/// It works on bytes, because a request pays for it twice for every device.
pub(crate) fn redact(json: &[u8], keep: &[String], hasher: &Hasher<'_>, out: &mut Vec<u8>) {
    let mut walk = Walk { json, at: 0, keep, hasher };
    walk.value(out, false);
}

struct Walk<'a> {
    json: &'a [u8],
    at: usize,
    keep: &'a [String],
    hasher: &'a Hasher<'a>,
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
                out.extend_from_slice(rest.get(..length).unwrap_or_default().trim_ascii());
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
                    if self.peek() == Some(b':') {
                        self.at += 1;
                    }
                    self.peek();
                    self.value(out, kept);
                }
                // Not JSON after all: nothing more is copied.
                _ => self.at = self.json.len(),
            }
        }
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
                        self.at = self.json.len();
                    }
                }
            }
        }
        self.at += 1;
        out.push(b']');
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
        rest.get(..length).unwrap_or_default()
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

    #[test]
    fn what_is_no_json_comes_to_an_end() {
        for json in ["{", "[", "\"", "{\"a\"", "{\"a\":", "[}", "{]", "[,", "{x}"] {
            let mut out = Vec::new();
            redact(json.as_bytes(), &[], &Hasher::Fixed("#"), &mut out);
        }
    }
}
