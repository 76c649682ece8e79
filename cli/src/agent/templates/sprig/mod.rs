//! The functions of sprig, as consul-template has them: each with `sprig_` before its name.

mod base32;
mod choices;
mod dates;
mod decimal;
mod duration;
mod lists;
mod maps;
mod numbers;
mod paths;
mod shapes;
mod texts;
mod zones;

use gotmpl::Value;

use super::{
    functions::{Function, argument, wrong},
    language::Made,
    values,
};
use crate::agent::moment::Moment;

/// What stands before each name.
pub(super) const PREFIX: &str = "sprig_";

/// No list that is counted or repeated is longer.
const LENGTH_MAX: usize = 100_000;

/// Those that need nothing but their arguments.
const PLAIN: [&[(&str, Function)]; 7] =
    [&choices::ALL, &texts::ALL, &shapes::ALL, &lists::ALL, &maps::ALL, &numbers::ALL, &paths::ALL];

/// Those of the table that write JSON, by the names they have there.
const JSON: [(&str, &str); 6] = [
    ("toJson", "toJSON"),
    ("mustToJson", "toJSON"),
    ("toPrettyJson", "toJSONPretty"),
    ("mustToPrettyJson", "toJSONPretty"),
    ("toRawJson", "toUnescapedJSON"),
    ("mustToRawJson", "toUnescapedJSON"),
];

/// A function that needs to know what time it is.
pub(super) type Dated = fn(Moment, &[Value]) -> Made;

/// One function.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Plain(Function),
    Dated(Dated),
    /// One of the agent's own does the same.
    Own(&'static str),
}

/// All of them, without the prefix.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Kind)> {
    let plain = PLAIN.into_iter().flatten().map(|(name, function)| (*name, Kind::Plain(*function)));
    let dated = dates::ALL.iter().map(|(name, function)| (*name, Kind::Dated(*function)));
    let own = JSON.iter().chain(&[("env", "env")]).map(|&(name, same)| (name, Kind::Own(same)));
    plain.chain(dated).chain(own)
}

/// Whether a name is one of them.
pub(super) fn has(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|bare| all().any(|(known, _)| known == bare))
}

/// Those that change the map that they are given, as well as giving it back.
pub(super) fn changes_its_map(name: &str) -> bool {
    const CHANGING: [&str; 6] =
        ["set", "unset", "merge", "mustMerge", "mergeOverwrite", "mustMergeOverwrite"];
    name.strip_prefix(PREFIX).is_some_and(|bare| CHANGING.contains(&bare))
}

/// What to do without one that is not here.
pub(super) fn advice(name: &str) -> &'static str {
    let bare = name.strip_prefix(PREFIX).unwrap_or(name);
    match bare {
        _ if bare.starts_with("rand") || matches!(bare, "uuidv4" | "shuffle") => {
            "it is something else each time, and the file would be another at every look: let the server make it, and read it"
        }
        _ if bare.starts_with("gen") || bare == "buildCustomCert" => {
            "keys and certificates are not made while a template renders: use pkiCert, or a certificate stanza"
        }
        "bcrypt" | "htpasswd" | "derivePassword" | "encryptAES" | "decryptAES" => {
            "this agent hashes and encrypts nothing with passwords in templates: use transit of the server"
        }
        "typeOf" | "typeIs" | "typeIsLike" | "kindOf" | "kindIs" => {
            "it asks for types of Go, which are not here"
        }
        "getHostByName" => {
            "this agent asks no names while it renders: put the address into a variable and use env"
        }
        "semver" | "semverCompare" | "urlParse" | "urlJoin" | "expandenv" | "hello" => {
            "it is a function of sprig that is not here"
        }
        _ => "it is no function of sprig",
    }
}

/// How Go prints a value with `%v`.
fn shown(value: &Value) -> String {
    values::printed(value).unwrap_or_else(|| value.to_string())
}

fn items(args: &[Value], at: usize) -> Result<&[Value], gotmpl::TemplateError> {
    match argument(args, at)? {
        Value::List(items) => Ok(items),
        other => Err(wrong(format!("a function wants a list and is given {}", other.type_name()))),
    }
}

fn list(items: impl Into<std::sync::Arc<[Value]>>) -> Made {
    Ok(Value::List(items.into()))
}
