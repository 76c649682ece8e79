//! `key=value` arguments: `k=@file`, `k=-`, `@file.json`, `-` for a whole object from standard input.

use std::{collections::BTreeMap, fs};

use serde_json::{Map, Value};

use crate::{prompt, stop::Stop};

/// Reads arguments into an object. A key given twice becomes a list. `stdin` may be used once.
pub(crate) fn read(args: &[String], interactive: bool) -> Result<Map<String, Value>, Stop> {
    let mut source = Source { spent: false, open: interactive };
    let mut data = Map::new();
    for (at, arg) in args.iter().enumerate() {
        add(&mut data, arg, &mut source)
            .map_err(|why| Stop::local(format!("Failed to parse K=V data: {}", why.told(at, arg))))?;
    }
    Ok(data)
}

/// Reads arguments whose values must be text, as logins need them.
pub(crate) fn read_text(args: &[String], interactive: bool) -> Result<BTreeMap<String, String>, Stop> {
    let data = read(args, interactive)?;
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(data.into_iter().map(|(key, value)| (key, text(value))).collect())
}

struct Source {
    spent: bool,
    open: bool,
}

impl Source {
    fn take(&mut self) -> Result<String, String> {
        if std::mem::replace(&mut self.spent, true) {
            return Err("standard input was already read".to_owned());
        }
        if !self.open {
            return Ok(String::new());
        }
        Ok(prompt::piped()?.to_string())
    }
}

/// Why an argument is no data; what the user typed after `=` is never repeated.
enum Unread {
    NoPair,
    Value(String),
    Document(String),
}

impl Unread {
    fn told(self, at: usize, arg: &str) -> String {
        match self {
            Unread::NoPair => {
                format!("invalid key/value pair (argument {}): format must be key=value", at + 1)
            }
            Unread::Value(why) => {
                let key = arg.split('=').next().unwrap_or_default();
                format!("invalid key/value pair \"{key}\": {why}")
            }
            Unread::Document(why) => format!("invalid key/value pair \"{arg}\": {why}"),
        }
    }
}

fn add(data: &mut Map<String, Value>, arg: &str, source: &mut Source) -> Result<(), Unread> {
    if arg == "-" {
        return merge(data, &source.take().map_err(Unread::Document)?);
    }
    if let Some(file) = arg.strip_prefix('@') {
        return merge(data, &file_text(file).map_err(Unread::Document)?);
    }
    let (key, value) = arg.split_once('=').ok_or(Unread::NoPair)?;
    if key.is_empty() {
        return Err(Unread::NoPair);
    }
    let value = match value {
        "-" => source.take().map_err(Unread::Value)?,
        _ => match (value.strip_prefix('@'), value.strip_prefix("\\@")) {
            (Some(file), _) => {
                file_text(file).map_err(|why| Unread::Value(format!("error reading file: {why}")))?
            }
            (None, Some(rest)) => format!("@{rest}"),
            (None, None) => value.to_owned(),
        },
    };
    insert(data, key, Value::String(value));
    Ok(())
}

fn merge(data: &mut Map<String, Value>, json: &str) -> Result<(), Unread> {
    let object: Map<String, Value> = serde_json::from_str(json)
        .map_err(|e| Unread::Document(format!("it must hold a JSON object: {e}")))?;
    for (key, value) in object {
        insert(data, &key, value);
    }
    Ok(())
}

fn insert(data: &mut Map<String, Value>, key: &str, value: Value) {
    let merged = match data.remove(key) {
        None => value,
        Some(Value::Array(mut list)) => {
            list.push(value);
            Value::Array(list)
        }
        Some(first) => Value::Array(vec![first, value]),
    };
    data.insert(key.to_owned(), merged);
}

fn file_text(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!("open {path}: no such file or directory"),
        _ => format!("open {path}: {e}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data(args: &[&str]) -> Result<Value, String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        match read(&args, false) {
            Ok(map) => Ok(Value::Object(map)),
            Err(Stop::Failed { message, .. }) => Err(message),
            Err(Stop::Shown(_)) => unreachable!("nothing is shown here"),
        }
    }

    #[test]
    fn pairs_become_an_object() {
        assert_eq!(data(&["a=b", "c=d=e", "f=", "a=x"]), Ok(json!({"a": ["b", "x"], "c": "d=e", "f": ""})));
        assert_eq!(data(&["a=\\@b"]), Ok(json!({"a": "@b"})));
    }

    #[test]
    fn files_are_read_for_values_and_for_whole_objects() {
        let file = std::env::temp_dir().join(format!("keep-pairs-{}.json", std::process::id()));
        fs::write(&file, "{\"n\": 1.50}").unwrap();
        assert_eq!(
            data(&[&format!("@{}", file.display())]).map(|v| v.to_string()),
            Ok("{\"n\":1.50}".to_owned())
        );
        assert_eq!(data(&[&format!("v=@{}", file.display())]), Ok(json!({"v": "{\"n\": 1.50}"})));
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_mistake_never_repeats_the_value() {
        let told = data(&["hunter2"]).unwrap_err();
        assert!(!told.contains("hunter2"), "{told}");
        let told = data(&["password=@/nowhere"]).unwrap_err();
        assert_eq!(
            told,
            "Failed to parse K=V data: invalid key/value pair \"password\": error reading file: open /nowhere: no such file or directory"
        );
    }
}
