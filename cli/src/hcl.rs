//! Lays out HCL as its own tools do: two spaces, one list of one line or one element per line, equal signs
//! of neighbouring lines below each other, comments kept. It changes layout and nothing else; whether the
//! text is a good policy only the server knows.

mod json;
mod parse;
mod tokens;
pub(crate) mod value;

use parse::{Body, Entry, Item, Value};

/// Nesting deeper than this is no policy.
const DEPTH_MAX: usize = 64;

/// The text in its usual layout, or why it is no HCL.
pub(crate) fn format(text: &str) -> Result<String, String> {
    let body = parse::parse(text)?;
    let mut out = String::new();
    write_body(&mut out, &body, 0);
    Ok(out)
}

fn write_body(out: &mut String, body: &Body, depth: usize) {
    let mut last: Option<&Entry> = None;
    let mut rest = body.entries.as_slice();
    while let Some(first) = rest.first() {
        if last.is_some_and(|last| apart(last, first)) {
            out.push('\n');
        }
        let count = aligned_run(rest);
        let (run, tail) = rest.split_at(count);
        if count > 1 {
            write_aligned(out, run, depth);
        } else {
            write_entry(out, first, depth);
        }
        last = run.last();
        rest = tail;
    }
}

/// Whether a blank line stands between two entries.
fn apart(before: &Entry, after: &Entry) -> bool {
    match (before, after) {
        (Entry::Comment { end, .. }, _) => after.start() > end + 1,
        (Entry::Item(_), Entry::Comment { .. }) => true,
        (Entry::Item(a), Entry::Item(b)) => !(a.is_one_line() && b.is_one_line() && b.start == a.end + 1),
    }
}

/// How many assignments from the start stand on neighbouring lines; at least one entry.
fn aligned_run(entries: &[Entry]) -> usize {
    let mut count = 0;
    let mut end = 0;
    for entry in entries {
        match entry {
            Entry::Item(item)
                if item.assigned && item.is_one_line() && (count == 0 || item.start == end + 1) =>
            {
                count += 1;
                end = item.end;
            }
            _ => break,
        }
    }
    count.max(1)
}

fn write_aligned(out: &mut String, run: &[Entry], depth: usize) {
    let items = || {
        run.iter().filter_map(|entry| match entry {
            Entry::Item(item) => Some(item),
            Entry::Comment { .. } => None,
        })
    };
    let key_width = items().map(|item| item.keys.join(" ").chars().count()).max().unwrap_or_default();
    let values: Vec<String> = items().map(|item| one_line(&item.value)).collect();
    let value_width = values.iter().map(|value| value.chars().count()).max().unwrap_or_default();
    for (item, value) in items().zip(&values) {
        indent(out, depth);
        out.push_str(&format!("{:key_width$} = ", item.keys.join(" ")));
        match &item.trailing {
            Some(comment) => out.push_str(&format!("{value:value_width$} {comment}")),
            None => out.push_str(value),
        }
        out.push('\n');
    }
}

fn write_entry(out: &mut String, entry: &Entry, depth: usize) {
    match entry {
        Entry::Comment { lines, .. } => write_comment(out, lines, depth),
        Entry::Item(item) => {
            indent(out, depth);
            write_item(out, item, depth);
            if let Some(comment) = &item.trailing {
                out.push(' ');
                out.push_str(comment);
            }
            out.push('\n');
        }
    }
}

fn write_comment(out: &mut String, lines: &[String], depth: usize) {
    for line in lines.iter().flat_map(|comment| comment.split('\n')) {
        if !line.trim().is_empty() {
            indent(out, depth);
        }
        out.push_str(line);
        out.push('\n');
    }
}

fn write_item(out: &mut String, item: &Item, depth: usize) {
    out.push_str(&item.keys.join(" "));
    out.push_str(if item.assigned { " = " } else { " " });
    write_value(out, &item.value, depth);
}

fn write_value(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(body) if body.entries.is_empty() => out.push_str("{}"),
        Value::Object(body) => {
            out.push_str("{\n");
            write_body(out, body, depth + 1);
            indent(out, depth);
            out.push('}');
        }
        Value::List(list) if !value.is_one_line() => {
            out.push_str("[\n");
            for (at, element) in list.elements.iter().enumerate() {
                if at > 0 && !element.lead.is_empty() {
                    out.push('\n');
                }
                write_comment(out, &element.lead, depth + 1);
                indent(out, depth + 1);
                write_value(out, &element.value, depth + 1);
                out.push(',');
                if let Some(comment) = &element.trailing {
                    out.push(' ');
                    out.push_str(comment);
                }
                out.push('\n');
            }
            write_comment(out, &list.rest, depth + 1);
            indent(out, depth);
            out.push(']');
        }
        other => out.push_str(&one_line(other)),
    }
}

fn one_line(value: &Value) -> String {
    match value {
        Value::Literal(text) => text.clone(),
        Value::List(list) => {
            let parts: Vec<String> = list.elements.iter().map(|element| one_line(&element.value)).collect();
            format!("[{}]", parts.join(", "))
        }
        Value::Object(_) => "{}".to_owned(),
    }
}

fn indent(out: &mut String, depth: usize) {
    out.push_str(&"  ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expect: &str) {
        let once = format(input).expect("HCL");
        assert_eq!(once, expect);
        assert_eq!(format(&once).expect("HCL"), once, "formatting again changes nothing");
    }

    #[test]
    fn lists_objects_and_alignment() {
        check("path \"a/*\" { capabilities=[\"read\"] }", "path \"a/*\" {\n  capabilities = [\"read\"]\n}\n");
        check(
            "# top\npath \"s\" { capabilities = [\"create\",\n \"update\"] \n  # inner\n  min_wrapping_ttl=\"1s\"\n  max   = \"90s\" // t\n}\npath \"e\" {}\npath \"f\" {\n}\n",
            "# top\npath \"s\" {\n  capabilities = [\n    \"create\",\n    \"update\",\n  ]\n\n  # inner\n  min_wrapping_ttl = \"1s\"\n  max              = \"90s\" // t\n}\n\npath \"e\" {}\npath \"f\" {}\n",
        );
        check(
            "path \"a\" {\n  policy = \"read\"\n  allowed_parameters = { \"a\" = [\"x\", \"y\",]\n   \"*\" = [] }\n  denied_parameters = {}\n}",
            "path \"a\" {\n  policy = \"read\"\n\n  allowed_parameters = {\n    \"a\" = [\"x\", \"y\"]\n    \"*\" = []\n  }\n\n  denied_parameters = {}\n}\n",
        );
    }

    #[test]
    fn comments_and_heredocs_are_kept() {
        check(
            "path \"a\" { capabilities = [\n  \"read\", # why\n  # more\n  \"list\" ] }\n# last",
            "path \"a\" {\n  capabilities = [\n    \"read\", # why\n\n    # more\n    \"list\",\n  ]\n}\n\n# last\n",
        );
        check("a = <<EOF\nhello\n there\nEOF\nb = 1\n", "a = <<EOF\nhello\n there\nEOF\n\nb = 1\n");
        check(
            "p {\n/* block\n comment\n\n    end */\n x = 1 }\n  /* two\n   lines */\n",
            "p {\n  /* block\n   comment\n\n      end */\n  x = 1\n}\n\n/* two\n lines */\n",
        );
        check("p { a = 1, b = 2 }\n", "p {\n  a = 1\n\n  b = 2\n}\n");
        check("/* two\nlines */\nx = \"}#\\\"\"\n", "/* two\nlines */\nx = \"}#\\\"\"\n");
    }

    #[test]
    fn what_is_no_hcl_is_refused_with_its_line() {
        for (text, line) in [
            ("path \"a\" {\n", "line 2"),
            ("{}", "line 1"),
            ("a = [1", "line 1"),
            ("x \"", "line 1"),
            ("a =\n}", "line 2"),
            ("a = <<E\nx", "line 1"),
        ] {
            let why = format(text).expect_err(text);
            assert!(why.contains(line), "{text}: {why}");
        }
        let deep = "a {".repeat(1000);
        assert!(format(&deep).is_err());
    }
}
