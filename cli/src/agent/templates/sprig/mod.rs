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
mod urls;
mod versions;
mod zones;

pub(super) use versions::{METHODS, as_text};

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
const PLAIN: [&[(&str, Function)]; 9] = [
    &choices::ALL,
    &texts::ALL,
    &shapes::ALL,
    &lists::ALL,
    &maps::ALL,
    &numbers::ALL,
    &paths::ALL,
    &urls::ALL,
    &versions::ALL,
];

/// Those of the table that write JSON, by the names they have there.
const JSON: [(&str, &str); 6] = [
    ("toJson", "toJSON"),
    ("mustToJson", "toJSON"),
    ("toPrettyJson", "toJSONPretty"),
    ("mustToPrettyJson", "toJSONPretty"),
    ("toRawJson", "toUnescapedJSON"),
    ("mustToRawJson", "toUnescapedJSON"),
];

/// A text with what the variables in it are.
pub(super) const EXPAND: &str = "\u{1}expandenv";

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
    let own = JSON
        .iter()
        .chain(&[("env", "env"), ("expandenv", EXPAND)])
        .map(|&(name, same)| (name, Kind::Own(same)));
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
        "typeOf" | "typeIs" | "typeIsLike" => {
            "it asks for types of Go, which are not here: sprig_kindIs \"map\", \"slice\" and \"string\" are"
        }
        "getHostByName" => {
            "this agent asks no names while it renders: put the address into a variable and use env"
        }
        _ => "it is no function of sprig",
    }
}

/// How Go prints a value with `%v`.
fn shown(value: &Value) -> String {
    values::printed(value).unwrap_or_else(|| value.to_string())
}

/// All of these, with a space between two that are no texts.
pub(super) fn print(args: &[Value]) -> String {
    let mut out = String::new();
    let mut spaced = false;
    for arg in args {
        let is_text = matches!(arg, Value::String(_));
        if spaced && !is_text {
            out.push(' ');
        }
        out.push_str(&shown(arg));
        spaced = !is_text;
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What `TxtFuncMap` of sprig 3.2.3 has, which is what consul-template offers.
    const SPRIG: &str = "
        hello ago date date_in_zone date_modify dateInZone dateModify duration durationRound
        htmlDate htmlDateInZone must_date_modify mustDateModify mustToDate now toDate unixEpoch
        abbrev abbrevboth trunc trim upper lower title untitle substr repeat trimall trimAll
        trimSuffix trimPrefix nospace initials randAlphaNum randAlpha randAscii randNumeric swapcase
        shuffle snakecase camelcase kebabcase wrap wrapWith contains hasPrefix hasSuffix quote
        squote cat indent nindent replace plural sha1sum sha256sum adler32sum toString atoi int64
        int float64 seq toDecimal split splitList splitn toStrings until untilStep add1 add sub div
        mod mul randInt add1f addf subf divf mulf biggest max min maxf minf ceil floor round join
        sortAlpha default empty coalesce all any compact mustCompact fromJson toJson toPrettyJson
        toRawJson mustFromJson mustToJson mustToPrettyJson mustToRawJson ternary deepCopy
        mustDeepCopy typeOf typeIs typeIsLike kindOf kindIs deepEqual env expandenv getHostByName
        base dir clean ext isAbs osBase osClean osDir osExt osIsAbs b64enc b64dec b32enc b32dec
        tuple list dict get set unset hasKey pluck keys pick omit merge mergeOverwrite mustMerge
        mustMergeOverwrite values append push mustAppend mustPush prepend mustPrepend first
        mustFirst rest mustRest last mustLast initial mustInitial reverse mustReverse uniq mustUniq
        without mustWithout has mustHas slice mustSlice concat dig chunk mustChunk bcrypt htpasswd
        genPrivateKey derivePassword buildCustomCert genCA genCAWithKey genSelfSignedCert
        genSelfSignedCertWithKey genSignedCert genSignedCertWithKey encryptAES decryptAES randBytes
        uuidv4 semver semverCompare fail regexMatch mustRegexMatch regexFindAll mustRegexFindAll
        regexFind mustRegexFind regexReplaceAll mustRegexReplaceAll regexReplaceAllLiteral
        mustRegexReplaceAllLiteral regexSplit mustRegexSplit regexQuoteMeta urlParse urlJoin";

    #[test]
    fn each_function_of_sprig_is_there_or_has_its_reason() {
        for name in SPRIG.split_whitespace() {
            let name = format!("{PREFIX}{name}");
            assert!(has(&name) || advice(&name) != advice("nothing"), "{name}");
        }
    }
}
