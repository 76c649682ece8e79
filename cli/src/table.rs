//! Vault's table layout: columns four spaces apart, the first row underlined, `n/a` for what is empty.

use serde_json::{Map, Value};

use crate::span::Span;

const GLUE: &str = "    ";
const EMPTY: &str = "n/a";

/// Columns with the first row as underlined header.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let titles: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    let lines = header.iter().map(|title| "-".repeat(title.len())).collect();
    let mut all = vec![titles, lines];
    all.extend(rows);
    columns(&all)
}

/// Columns without a header.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    spaced(rows, GLUE)
}

/// Columns two spaces apart, as a few commands have always had them.
pub(crate) fn close_columns(rows: &[Vec<String>]) -> String {
    spaced(rows, "  ")
}

fn spaced(rows: &[Vec<String>], glue: &str) -> String {
    let rows: Vec<Vec<&str>> =
        rows.iter().map(|row| row.iter().map(|cell| cell_text(cell)).collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(at) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let line = |row: &Vec<&str>| {
        let last = row.len().saturating_sub(1);
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if at == last { (*cell).to_owned() } else { format!("{cell:width$}") }
        });
        cells.collect::<Vec<_>>().join(glue)
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// `Key  Value` rows of an object: sorted, with durations made readable. Empty if there is nothing.
pub(crate) fn entries(data: &Map<String, Value>) -> Vec<Vec<String>> {
    data.iter().map(|(key, value)| vec![key.clone(), entry(key, value)]).collect()
}

/// One value under its key, as tables show it.
pub(crate) fn entry(key: &str, value: &Value) -> String {
    match value.as_i64().filter(|_| looks_like_duration(key)) {
        Some(seconds) => Span::from_seconds(seconds).human(),
        None => plain(value),
    }
}

/// A value as Go prints it, which is what scripts over tables have learnt to read.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => s.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let parts: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
            format!("map[{}]", parts.join(" "))
        }
    }
}

/// Strings in a list, each quoted: `["default" "root"]`.
pub(crate) fn quoted(list: &[String]) -> String {
    let parts: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", parts.join(" "))
}

/// A title between equal signs, as wide as what stands below it.
pub(crate) fn banner(title: &str, width: usize) -> String {
    let signs = match width.saturating_sub(title.len() + 2) {
        0 => 4,
        odd if odd % 2 == 1 => odd + 1,
        even => even,
    };
    let side = "=".repeat(signs / 2);
    format!("{side} {title} {side}")
}

/// The title over a `Key  Value` table of `data`.
pub(crate) fn banner_over(title: &str, data: &Map<String, Value>) -> String {
    let widest = data.keys().map(String::len).max().unwrap_or_default();
    banner(title, widest + GLUE.len() + "Value".len())
}

fn looks_like_duration(key: &str) -> bool {
    matches!(key, "period" | "ttl" | "duration" | "lease_max" | "ttl_max")
        || ["_period", "_ttl", "_duration"].iter().any(|end| key.ends_with(end))
}

fn cell_text(cell: &str) -> &str {
    match cell.trim() {
        "" => EMPTY,
        text => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_layout_is_vaults() {
        let data = json!({"ttl": 3600, "a": null, "list": [1, {"k": "v"}], "empty": "", "user": "me"});
        let text = table(&["Key", "Value"], entries(data.as_object().unwrap()));
        let expect = "Key      Value\n---      -----\na        <nil>\nempty    n/a\nlist     [1 map[k:v]]\nttl      1h\nuser     me";
        assert_eq!(text, expect);
    }

    #[test]
    fn banners_are_padded_to_an_even_number_of_signs() {
        assert_eq!(banner("Secret Path", "secret/data/a/b".len()), "= Secret Path =");
        assert_eq!(banner("Secret Path", "secret/data/x".len()), "== Secret Path ==");
        assert_eq!(banner("Metadata", 24), "======= Metadata =======");
    }
}
