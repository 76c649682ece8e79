//! Texts.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use gotmpl::{TemplateError, Value};

use super::{LENGTH_MAX, base32, list, numbers::whole, shown};
use crate::agent::templates::{
    functions::{
        Function, argument, hex, lowered, raised, replaced, string, trimmed, without_prefix, without_suffix,
        wrong,
    },
    language::Made,
    regex,
    values::{self, text},
};

pub(super) const ALL: [(&str, Function); 51] = [
    ("trim", |args| Ok(text(string(args, 0)?.trim()))),
    ("upper", |args| Ok(text(raised(string(args, 0)?)))),
    ("lower", |args| Ok(text(lowered(string(args, 0)?)))),
    ("trimAll", trimmed),
    ("trimall", trimmed),
    ("trimPrefix", without_prefix),
    ("trimSuffix", without_suffix),
    ("nospace", |args| Ok(text(string(args, 0)?.split_whitespace().collect::<String>()))),
    ("repeat", |args| {
        let (times, part) = (whole(argument(args, 0)?), string(args, 1)?);
        let times =
            usize::try_from(times).map_err(|_| wrong("repeat wants a number that is not negative"))?;
        if times.saturating_mul(part.len().max(1)) > LENGTH_MAX * 10 {
            return Err(wrong("repeat makes a text that is too long"));
        }
        Ok(text(part.repeat(times)))
    }),
    ("trunc", |args| trunc(whole(argument(args, 0)?), string(args, 1)?)),
    ("substr", |args| substr(whole(argument(args, 0)?), whole(argument(args, 1)?), string(args, 2)?)),
    ("abbrev", |args| abbreviated(0, whole(argument(args, 0)?), string(args, 1)?)),
    ("abbrevboth", |args| {
        abbreviated(whole(argument(args, 0)?), whole(argument(args, 1)?), string(args, 2)?)
    }),
    ("contains", |args| Ok(Value::Bool(string(args, 1)?.contains(string(args, 0)?)))),
    ("hasPrefix", |args| Ok(Value::Bool(string(args, 1)?.starts_with(string(args, 0)?)))),
    ("hasSuffix", |args| Ok(Value::Bool(string(args, 1)?.ends_with(string(args, 0)?)))),
    ("quote", |args| Ok(text(joined(args, |value| quoted(&shown(value)))))),
    ("squote", |args| Ok(text(joined(args, |value| format!("'{}'", shown(value)))))),
    ("cat", |args| Ok(text(joined(args, shown)))),
    ("indent", |args| indented("", args)),
    ("nindent", |args| indented("\n", args)),
    ("replace", replaced),
    ("plural", |args| {
        let one = whole(argument(args, 2)?) == 1;
        Ok(text(string(args, if one { 0 } else { 1 })?))
    }),
    ("toString", |args| Ok(text(shown(argument(args, 0)?)))),
    ("toStrings", |args| {
        strings(argument(args, 0)?).map(|texts| Value::List(texts.into_iter().map(text).collect()))
    }),
    ("join", |args| Ok(text(strings(argument(args, 1)?)?.join(string(args, 0)?)))),
    ("splitList", |args| list(parts(string(args, 0)?, string(args, 1)?, usize::MAX))),
    ("split", |args| Ok(numbered(parts(string(args, 0)?, string(args, 1)?, usize::MAX)))),
    ("splitn", |args| {
        let most = usize::try_from(whole(argument(args, 1)?)).unwrap_or(usize::MAX);
        Ok(numbered(parts(string(args, 0)?, string(args, 2)?, most)))
    }),
    ("sortAlpha", |args| {
        let mut texts = strings(argument(args, 0)?)?;
        texts.sort();
        Ok(Value::List(texts.into_iter().map(text).collect()))
    }),
    ("b64enc", |args| Ok(text(STANDARD.encode(string(args, 0)?)))),
    ("b64dec", |args| decoded(STANDARD.decode(string(args, 0)?).ok())),
    ("b32enc", |args| Ok(text(base32::encoded(string(args, 0)?.as_bytes())))),
    ("b32dec", |args| decoded(base32::decoded(string(args, 0)?))),
    ("sha1sum", |args| hashed(&digest::SHA1_FOR_LEGACY_USE_ONLY, args)),
    ("sha256sum", |args| hashed(&digest::SHA256, args)),
    ("sha512sum", |args| hashed(&digest::SHA512, args)),
    ("adler32sum", |args| Ok(text(adler32(string(args, 0)?.as_bytes()).to_string()))),
    ("regexMatch", |args| regex::found(string(args, 0)?, string(args, 1)?).map(Value::Bool)),
    ("mustRegexMatch", |args| regex::found(string(args, 0)?, string(args, 1)?).map(Value::Bool)),
    ("regexFind", find),
    ("mustRegexFind", find),
    ("regexFindAll", find_all),
    ("mustRegexFindAll", find_all),
    ("regexReplaceAll", replace_all),
    ("mustRegexReplaceAll", replace_all),
    ("regexReplaceAllLiteral", replace_literally),
    ("mustRegexReplaceAllLiteral", replace_literally),
    ("regexSplit", split_all),
    ("mustRegexSplit", split_all),
    ("regexQuoteMeta", |args| Ok(text(regex::quoted(string(args, 0)?)))),
];

/// Everything but nothing, with a space between.
fn joined(args: &[Value], show: fn(&Value) -> String) -> String {
    let texts: Vec<String> = args.iter().filter(|value| !matches!(value, Value::Nil)).map(show).collect();
    texts.join(" ")
}

/// The bytes of a text from here to there, which must not cut a character.
fn piece(whole: &str, from: usize, to: usize) -> Result<&str, TemplateError> {
    whole.get(from..to).ok_or_else(|| wrong("a text is cut where it has no end, or within a character"))
}

fn trunc(most: i64, whole: &str) -> Made {
    let length = whole.len();
    let size = usize::try_from(most.unsigned_abs()).unwrap_or(usize::MAX);
    Ok(text(match most {
        _ if size >= length => whole,
        0.. => piece(whole, 0, size)?,
        _ => piece(whole, length - size, length)?,
    }))
}

fn substr(from: i64, to: i64, whole: &str) -> Made {
    let from = usize::try_from(from).unwrap_or(0);
    let to = usize::try_from(to).unwrap_or(usize::MAX).min(whole.len());
    Ok(text(piece(whole, from, to)?))
}

/// The middle of a text, with dots where something is left out.
fn abbreviated(left: i64, width: i64, whole: &str) -> Made {
    if width < 4 || (left > 0 && width < 7) {
        return Ok(text(whole));
    }
    let (width, length) = (usize::try_from(width).unwrap_or(usize::MAX), whole.len());
    if length <= width {
        return Ok(text(whole));
    }
    let mut offset = usize::try_from(left).unwrap_or(0).min(length);
    if length - offset < width - 3 {
        offset = length - (width - 3);
    }
    if offset <= 4 {
        return Ok(text(format!("{}...", piece(whole, 0, width - 3)?)));
    }
    if offset + width - 3 < length {
        let rest = piece(whole, offset, length)?;
        let shown = if width < 7 { "" } else { piece(rest, 0, width - 6)? };
        return Ok(text(format!("...{shown}...")));
    }
    Ok(text(format!("...{}", piece(whole, length - (width - 3), length)?)))
}

fn indented(before: &str, args: &[Value]) -> Made {
    let spaces = usize::try_from(whole(argument(args, 0)?)).ok().filter(|spaces| *spaces <= 1_000);
    let pad = " ".repeat(spaces.ok_or_else(|| wrong("indent wants a number from 0 to 1000"))?);
    Ok(text(format!("{before}{pad}{}", string(args, 1)?.replace('\n', &format!("\n{pad}")))))
}

/// A list as texts, nothing left out but nothing itself.
fn strings(value: &Value) -> Result<Vec<String>, TemplateError> {
    Ok(match value {
        Value::Nil => Vec::new(),
        Value::List(items) => items.iter().filter(|item| !matches!(item, Value::Nil)).map(shown).collect(),
        other => vec![shown(other)],
    })
}

fn parts(between: &str, whole: &str, most: usize) -> Vec<Value> {
    if between.is_empty() {
        // Go takes a text apart into its characters then.
        return whole.chars().map(|c| text(c.to_string())).collect();
    }
    match most {
        0 => Vec::new(),
        usize::MAX => whole.split(between).map(text).collect(),
        _ => whole.splitn(most, between).map(text).collect(),
    }
}

fn numbered(parts: Vec<Value>) -> Value {
    let names: Vec<String> = (0..parts.len()).map(|at| format!("_{at}")).collect();
    values::map(names.iter().map(String::as_str).zip(parts))
}

fn decoded(bytes: Option<Vec<u8>>) -> Made {
    let decoded = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.map(text).ok_or_else(|| wrong("what is given does not decode to a text"))
}

fn hashed(algorithm: &'static digest::Algorithm, args: &[Value]) -> Made {
    Ok(text(hex(digest::digest(algorithm, string(args, 0)?.as_bytes()).as_ref())))
}

fn adler32(bytes: &[u8]) -> u32 {
    const PRIME: u32 = 65_521;
    let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % PRIME;
        (a, (b + a) % PRIME)
    });
    (b << 16) | a
}

fn find(args: &[Value]) -> Made {
    let found = regex::all_found(string(args, 0)?, string(args, 1)?, 1)?;
    Ok(text(found.into_iter().next().unwrap_or_default()))
}

/// How many are wanted; all, if the number is negative.
fn most(args: &[Value]) -> Result<usize, TemplateError> {
    Ok(usize::try_from(whole(argument(args, 2)?)).unwrap_or(usize::MAX))
}

fn find_all(args: &[Value]) -> Made {
    let found = regex::all_found(string(args, 0)?, string(args, 1)?, most(args)?)?;
    list(found.into_iter().map(text).collect::<Vec<Value>>())
}

fn split_all(args: &[Value]) -> Made {
    let parts = regex::split(string(args, 0)?, string(args, 1)?, most(args)?)?;
    list(parts.into_iter().map(text).collect::<Vec<Value>>())
}

fn replace_all(args: &[Value]) -> Made {
    regex::replaced(string(args, 0)?, string(args, 2)?, string(args, 1)?).map(text)
}

fn replace_literally(args: &[Value]) -> Made {
    regex::replaced(string(args, 0)?, &string(args, 2)?.replace('$', "$$"), string(args, 1)?).map(text)
}

/// A text in double quotes, as Go writes it.
fn quoted(whole: &str) -> String {
    let mut out = String::from("\"");
    for c in whole.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\0'..='\u{1f}' | '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            // Spaces that are none, and what is not seen at all.
            '\u{80}'..='\u{a0}'
            | '\u{ad}'
            | '\u{1680}'
            | '\u{2000}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}'
            | '\u{205f}'..='\u{206f}'
            | '\u{3000}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}
