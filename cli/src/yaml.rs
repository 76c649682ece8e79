//! JSON values as YAML 1.1, quoted where another reader would take a string for something else.

use serde_json::Value;

/// Writes one document without a final newline.
pub(crate) fn write(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    out.trim_end_matches('\n').to_owned()
}

fn block(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (at, (key, value)) in map.iter().enumerate() {
                if at > 0 || !out.ends_with("- ") {
                    indent(out, depth);
                }
                out.push_str(&scalar(key, depth));
                out.push(':');
                entry(out, value, depth);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (at, value) in list.iter().enumerate() {
                if at > 0 || !out.ends_with("- ") {
                    indent(out, depth);
                }
                out.push_str("- ");
                block(out, value, depth + 1);
            }
        }
        other => {
            out.push_str(&leaf(other, depth));
            out.push('\n');
        }
    }
}

/// What follows `key:`: a leaf on the same line, lists at the same depth, maps one deeper.
fn entry(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(out, value, depth + 1);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            block(out, value, depth);
        }
        other => {
            out.push(' ');
            out.push_str(&leaf(other, depth + 1));
            out.push('\n');
        }
    }
}

fn indent(out: &mut String, depth: usize) {
    out.push_str(&"  ".repeat(depth));
}

fn leaf(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => number(&n.to_string()),
        Value::String(s) => scalar(s, depth),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

/// `1.50` is the float 1.5; an integer stays as it is, however long.
fn number(text: &str) -> String {
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        return text.to_owned();
    }
    text.parse::<f64>().map_or_else(|_| text.to_owned(), |float| float.to_string())
}

fn scalar(text: &str, depth: usize) -> String {
    let multiline = text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    if multiline {
        return literal(text, depth);
    }
    if text.chars().any(|c| c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}')) {
        return serde_json::to_string(text).expect("a string always serializes");
    }
    if reads_as_something_else(text) {
        return format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    if needs_quotes(text) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    text.to_owned()
}

/// A block literal, which keeps certificates readable.
fn literal(text: &str, depth: usize) -> String {
    let chomp = match (text.ends_with("\n\n") || text == "\n", text.ends_with('\n')) {
        (true, _) => "+",
        (false, true) => "",
        (false, false) => "-",
    };
    let mut out = format!("|{chomp}");
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.push_str(&"  ".repeat(depth.max(1)));
            out.push_str(line);
        }
    }
    out
}

/// Whether a plain `text` would come back as a number, a truth value, a date or nothing.
fn reads_as_something_else(text: &str) -> bool {
    const WORDS: [&str; 22] = [
        "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", "y", "Y", "n",
        "N", "yes", "no", "on", "off", "<<", "=", ".nan",
    ];
    let lower = text.to_lowercase();
    if WORDS.contains(&text) || ["yes", "no", "on", "off", ".inf", "-.inf", "+.inf"].contains(&lower.as_str())
    {
        return true;
    }
    let bare = text.replace('_', "");
    let radix = |prefix: &str, base: u32| {
        bare.trim_start_matches(['-', '+'])
            .strip_prefix(prefix)
            .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_digit(base)))
    };
    let numeric = bare.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && bare.parse::<f64>().is_ok()
        && bare.contains(|c: char| c.is_ascii_digit());
    numeric || radix("0x", 16) || radix("0o", 8) || radix("0b", 2) || is_date(text) || is_base_60(text)
}

fn is_date(text: &str) -> bool {
    let shape: String = text.chars().take(10).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00"
        && (text.len() == 10 || text.as_bytes().get(10).is_some_and(|b| matches!(b, b'T' | b't' | b' ')))
}

/// YAML 1.1 reads `190:20:30` as one number.
fn is_base_60(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    let mut parts = digits.split(':');
    let leads = parts.next().is_some_and(|first| {
        first.starts_with(|c: char| ('1'..='9').contains(&c)) && first.bytes().all(|b| b.is_ascii_digit())
    });
    let rest: Vec<&str> = parts.collect();
    leads
        && !rest.is_empty()
        && rest.iter().all(|part| matches!(part.len(), 1 | 2) && part.parse::<u8>().is_ok_and(|n| n < 60))
}

fn needs_quotes(text: &str) -> bool {
    let first = text.chars().next();
    let indicator = first.is_some_and(|c| "!&*{}[]|>@`\"'#%,".contains(c))
        || matches!(text, "-" | "?" | ":")
        || ["- ", "? ", ": "].iter().any(|start| text.starts_with(start))
        || text.starts_with("---")
        || text.starts_with("...");
    indicator
        || text.starts_with(' ')
        || text.ends_with(' ')
        || text.ends_with(':')
        || text.contains(": ")
        || text.contains(" #")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(value: Value, expect: &str) {
        assert_eq!(write(&value), expect);
    }

    #[test]
    fn nesting_is_indented_as_other_tools_do() {
        check(
            json!({"a": [1, {"x": 1, "y": [2]}], "b": {}, "c": [], "d": {"e": null}}),
            "a:\n- 1\n- x: 1\n  \"y\":\n  - 2\nb: {}\nc: []\nd:\n  e: null",
        );
        check(json!(["x", "y", ["a"]]), "- x\n- \"y\"\n- - a");
    }

    #[test]
    fn strings_that_read_as_something_else_are_quoted() {
        check(
            json!(["1", "1.5", "true", "", "null", "2026-11-26T15:32:27Z", "0x1f", "1:30", "~"]),
            "- \"1\"\n- \"1.5\"\n- \"true\"\n- \"\"\n- \"null\"\n- \"2026-11-26T15:32:27Z\"\n- \"0x1f\"\n- \"1:30\"\n- \"~\"",
        );
        check(
            json!(["2.7.2", "a b", "a: b", "#x", "<a>&", "v1"]),
            "- 2.7.2\n- a b\n- 'a: b'\n- '#x'\n- <a>&\n- v1",
        );
        check(
            json!({"pem": "one\ntwo\n", "x": {"y": "a\nb"}}),
            "pem: |\n  one\n  two\nx:\n  \"y\": |-\n    a\n    b",
        );
    }
}
