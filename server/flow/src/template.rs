use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gotmpl::parse::{Expr, ListNode, Node, Parser, PipeNode};
use gotmpl::{MissingKey, Template as Go, TemplateError, Value};
use kit::Time;
use serde_json::Value as Json;

/// A text with holes, in the language of Go's `text/template`.
///
/// What a template can do is bounded: no template calls another, loops go round no more than `ROUNDS_MAX` times, and
/// functions are given no more than `GIVEN_MAX` bytes in all.
#[derive(Clone, Debug)]
pub struct Template(String);

/// What a template has beside its data.
#[derive(Clone)]
pub struct Chance {
    /// The time.
    pub now: Time,
    /// Randomness.
    pub fill: Fill,
}

/// Fills bytes with randomness.
pub type Fill = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// No template is longer.
const TEMPLATE_SIZE_MAX: usize = 16 * 1024;
/// No text that is made is longer.
const TEXT_SIZE_MAX: usize = 256 * 1024;
/// So often all loops of a template go round at most.
const ROUNDS_MAX: u64 = 1_000;
/// So many bytes all functions of a template are given at most.
const GIVEN_MAX: usize = 1 << 20;
/// No field of a format is wider.
const WIDTH_DIGITS_MAX: usize = 3;
/// No random text is longer.
const RANDOM_MAX: usize = 1_024;
/// What an argument counts beside its text.
const ARGUMENT_WEIGHT: usize = 16;

/// Functions of the language whose results grow with what they are given, or that look at all of it.
const BUILT_IN: [&str; 14] = [
    "eq", "ge", "gt", "html", "index", "js", "le", "lt", "ne", "print", "printf", "println", "slice",
    "urlquery",
];

/// Those that cost nothing.
const FREE: [&str; 4] = ["and", "len", "not", "or"];
/// Those that give time and randomness.
const CHANCE: [&str; 4] = ["random", "unix_time", "unix_time_millis", "uuid"];

type Made = Result<Value, TemplateError>;

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("missing template".to_owned());
        }
        if text.len() > TEMPLATE_SIZE_MAX {
            return Err(format!("a template has no more than {TEMPLATE_SIZE_MAX} bytes"));
        }
        let wrong = |error: TemplateError| format!("unable to parse template: {error}");
        let (list, defined) = Parser::new(text, "{{", "}}").map_err(wrong)?.parse().map_err(wrong)?;
        if !defined.is_empty() || calls(&list) {
            return Err(
                "a template here neither defines nor calls another: write it out, or use a CEL expression"
                    .to_owned(),
            );
        }
        if !is_whole(text) {
            return Err("unable to parse template: an end or else belongs to nothing".to_owned());
        }
        let mut named = Vec::new();
        functions(&list, &mut named);
        if let Some(unknown) = named.iter().find(|name| !is_function(name)) {
            return Err(format!("unable to parse template: function {unknown:?} not defined"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text with this in its holes.
    ///
    /// # Errors
    /// If something that it names is not there, or it would be too much work. The text says why without showing a value.
    pub(crate) fn fill(&self, data: &Json, chance: &Chance) -> Result<String, String> {
        let failed = |error: TemplateError| format!("unable to apply template: {}", words(&error));
        let template = prepared(chance).parse(&self.0).map_err(failed)?;
        let mut text = Bounded(String::new());
        template.execute_fmt(&mut text, &value(data)).map_err(failed)?;
        Ok(text.0)
    }
}

/// Why a template cannot be filled. The library's own words can show values.
fn words(error: &TemplateError) -> &'static str {
    match error {
        TemplateError::MissingKey { .. } => "something that it names is not there",
        TemplateError::RangeIterLimit => "its loops go round too often",
        TemplateError::Write => "the text becomes too long",
        _ => "it cannot make anything of what it is given, or it is given too much",
    }
}

/// A text that does not become too long.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if self.0.len() + piece.len() > TEXT_SIZE_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(piece);
        Ok(())
    }
}

/// Whether all of a text is read: the parser stops without a word at an end that belongs to nothing.
fn is_whole(text: &str) -> bool {
    let wrapped = format!("{{{{if true}}}}{text}{{{{end}}}}.");
    let parsed = Parser::new(&wrapped, "{{", "}}").and_then(Parser::parse);
    parsed.is_ok_and(|(list, _)| match list.nodes.as_slice() {
        [Node::If(branch), Node::Text(rest)] => branch.else_body.is_none() && &*rest.text == ".",
        _ => false,
    })
}

fn calls(list: &ListNode) -> bool {
    list.nodes.iter().any(|node| match node {
        Node::Template(_) | Node::Define(_) => true,
        Node::List(list) => calls(list),
        Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
            calls(&branch.body) || branch.else_body.as_ref().is_some_and(calls)
        }
        Node::Text(_) | Node::Action(_) | Node::Break(_) | Node::Continue(_) => false,
    })
}

/// The functions that a template names.
fn functions(list: &ListNode, named: &mut Vec<String>) {
    for node in &list.nodes {
        match node {
            Node::Action(action) => piped(&action.pipe, named),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                piped(&branch.pipe, named);
                functions(&branch.body, named);
                branch.else_body.iter().for_each(|body| functions(body, named));
            }
            Node::List(list) => functions(list, named),
            _ => {}
        }
    }
}

fn piped(pipe: &PipeNode, named: &mut Vec<String>) {
    pipe.commands.iter().flat_map(|command| &command.args).for_each(|arg| called(arg, named));
}

fn called(arg: &Expr, named: &mut Vec<String>) {
    match arg {
        Expr::Identifier(_, name) => named.push(name.to_string()),
        Expr::Pipe(_, pipe) => piped(pipe, named),
        Expr::Chain(_, inner, _) => called(inner, named),
        _ => {}
    }
}

fn is_function(name: &str) -> bool {
    BUILT_IN.contains(&name)
        || FREE.contains(&name)
        || CHANCE.contains(&name)
        || own().iter().any(|(known, _)| *known == name)
}

/// The language with its functions, each of which is given a bounded amount.
fn prepared(chance: &Chance) -> Go {
    let left = Arc::new(AtomicUsize::new(GIVEN_MAX));
    let mut template = Go::new("template").missing_key(MissingKey::Error).max_range_iters(ROUNDS_MAX);
    for name in BUILT_IN {
        let left = Arc::clone(&left);
        template = template.func(name, move |args| {
            spend(&left, args)?;
            if name == "printf" {
                check_format(args)?;
            }
            built_in(name, args)
        });
    }
    for (name, function) in own() {
        let left = Arc::clone(&left);
        template = template.func(name, move |args| {
            spend(&left, args)?;
            function(args)
        });
    }
    let Chance { now, fill } = chance.clone();
    let seconds = i64::try_from(now.0 / 1_000_000_000).unwrap_or(i64::MAX);
    let millis = i64::try_from(now.0 / 1_000_000).unwrap_or(i64::MAX);
    let luck = Arc::clone(&fill);
    template
        .func("unix_time", move |_| Ok(Value::Int(seconds)))
        .func("unix_time_millis", move |_| Ok(Value::Int(millis)))
        .func("uuid", move |_| Ok(Value::from_text(uuid(&*luck))))
        .func("random", move |args| random(args, &*fill))
}

/// Takes what a function is given from what is left.
fn spend(left: &AtomicUsize, args: &[Value]) -> Result<(), TemplateError> {
    let given =
        args.iter().map(|arg| size(arg).saturating_add(ARGUMENT_WEIGHT)).fold(0, usize::saturating_add);
    let taken = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(given));
    taken.map(drop).map_err(|_| refusal("its functions are given too much"))
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::List(items) => {
            items.iter().map(|item| size(item) + ARGUMENT_WEIGHT).fold(0, usize::saturating_add)
        }
        Value::Map(fields) => {
            let each = fields.iter().map(|(key, field)| key.len() + size(field) + ARGUMENT_WEIGHT);
            each.fold(0, usize::saturating_add)
        }
        _ => ARGUMENT_WEIGHT,
    }
}

/// What the language's own function of this name makes of its arguments.
fn built_in(name: &str, args: &[Value]) -> Made {
    let held = Arc::new(std::sync::Mutex::new(Value::Nil));
    let keep = Arc::clone(&held);
    let mut call = format!("{{{{keep ({name}");
    for index in 0..args.len() {
        call.push_str(&format!(" (index . {index})"));
    }
    call.push_str(")}}");
    let template = Go::new("call").func("keep", move |made| {
        if let (Ok(mut held), Some(made)) = (keep.lock(), made.first()) {
            *held = made.clone();
        }
        Ok(Value::from_text(String::new()))
    });
    let data = Value::List(args.to_vec().into());
    template.parse(&call)?.execute_to_string(&data)?;
    let held = held.lock().map_err(|_| refusal("a function failed"))?;
    Ok(held.clone())
}

/// A format could ask for a field of any width.
fn check_format(args: &[Value]) -> Result<(), TemplateError> {
    let Some(Value::String(format)) = args.first() else { return Ok(()) };
    let digits = format.split(|char: char| !char.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    if digits > WIDTH_DIGITS_MAX || format.contains('*') {
        return Err(refusal("a format has no field that is wider than three digits say"));
    }
    Ok(())
}

fn refusal(text: &str) -> TemplateError {
    TemplateError::Exec(text.to_owned())
}

/// A function of the language.
type Function = fn(&[Value]) -> Made;

/// What this server adds to the language. The last argument is what a pipe hands on.
fn own() -> [(&'static str, Function); 11] {
    [
        ("uppercase", |args| text_of(args, 0, |text| Ok(text.to_uppercase()))),
        ("lowercase", |args| text_of(args, 0, |text| Ok(text.to_lowercase()))),
        ("sha256", |args| text_of(args, 0, |text| Ok(sha256(text)))),
        ("base64", |args| text_of(args, 0, |text| Ok(STANDARD.encode(text)))),
        ("decode_base64", |args| text_of(args, 0, |text| utf8(STANDARD.decode(text).ok()))),
        ("hex", |args| text_of(args, 0, |text| Ok(hex::encode(text)))),
        ("decode_hex", |args| text_of(args, 0, |text| utf8(hex::decode(text).ok()))),
        ("truncate", |args| text_of(args, 1, |text| Ok(begin(text, length(args)?).to_owned()))),
        ("truncate_sha256", |args| text_of(args, 1, |text| truncated(text, length(args)?))),
        ("replace", replace),
        ("glob", glob),
    ]
}

fn argument(args: &[Value], index: usize) -> Result<&str, TemplateError> {
    match args.get(index) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(refusal("a function wants a text")),
    }
}

fn text_of(args: &[Value], index: usize, work: impl FnOnce(&str) -> Result<String, TemplateError>) -> Made {
    work(argument(args, index)?).map(Value::from_text)
}

fn length(args: &[Value]) -> Result<usize, TemplateError> {
    let number = args.first().and_then(Value::as_int).and_then(|number| usize::try_from(number).ok());
    number.filter(|number| *number > 0).ok_or_else(|| refusal("max length must be > 0 but was not"))
}

/// The first bytes of a text, as many as are whole characters.
fn begin(text: &str, length: usize) -> &str {
    let end = (0..=length.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

fn truncated(text: &str, length: usize) -> Result<String, TemplateError> {
    const HASH: usize = 8;
    if length <= HASH {
        return Err(refusal("max length must be > 8 but was not"));
    }
    if text.len() <= length {
        return Ok(text.to_owned());
    }
    let head = begin(text, length - HASH);
    let rest = text.get(head.len()..).unwrap_or_default();
    Ok(format!("{head}{}", begin(&sha256(rest), HASH)))
}

fn sha256(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

fn utf8(bytes: Option<Vec<u8>>) -> Result<String, TemplateError> {
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| refusal("what it is given does not decode to a text"))
}

fn replace(args: &[Value]) -> Made {
    let (find, with, text) = (argument(args, 0)?, argument(args, 1)?, argument(args, 2)?);
    let grown = text.len().saturating_add((text.len() + 1).saturating_mul(with.len()));
    if grown > GIVEN_MAX {
        return Err(refusal("the text becomes too long"));
    }
    Ok(Value::from_text(text.replace(find, with)))
}

fn glob(args: &[Value]) -> Made {
    Ok(Value::Bool(kit::glob::fits(argument(args, 0)?, argument(args, 1)?)))
}

fn uuid(fill: &dyn Fn(&mut [u8])) -> String {
    let mut bytes = [0; 16];
    fill(&mut bytes);
    let [a, b, c, d, e, f, version, h, variant, j, k, l, m, n, o, p] = bytes;
    let bytes = [a, b, c, d, e, f, version & 0x0f | 0x40, h, variant & 0x3f | 0x80, j, k, l, m, n, o, p];
    let mut text = hex::encode(bytes);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

/// Random letters and digits, without bias.
fn random(args: &[Value], fill: &dyn Fn(&mut [u8])) -> Made {
    const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let length = args.first().and_then(Value::as_int).and_then(|number| usize::try_from(number).ok());
    let length = length
        .filter(|length| *length <= RANDOM_MAX)
        .ok_or_else(|| refusal("random wants a length of no more than 1024"))?;
    let (mut text, mut bytes) = (String::with_capacity(length), [0_u8; 64]);
    while text.len() < length {
        fill(&mut bytes);
        // 248 is the largest multiple of 62 in a byte; what lies above would make some characters likelier.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let chars = fair.filter_map(|byte| BASE62.get(usize::from(byte % 62)));
        text.extend(chars.take(length - text.len()).map(|byte| char::from(*byte)));
        if bytes.iter().all(|byte| *byte == 0) {
            break;
        }
    }
    Ok(Value::from_text(text))
}

/// JSON as a value.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(float)) => Value::Float(float),
            (None, None) => Value::Nil,
        },
        Json::String(text) => Value::from_text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(value).collect()),
        Json::Object(fields) => Value::Map(Arc::new(
            fields.iter().map(|(key, field)| (key.as_str().into(), value(field))).collect(),
        )),
    }
}

/// A text as a value.
trait FromText {
    fn from_text(text: String) -> Self;
}

impl FromText for Value {
    fn from_text(text: String) -> Self {
        Self::String(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(text: &str) -> Result<String, String> {
        let data = json!({"input": {"who": "Ann", "n": 5, "list": ["a", "b"], "big": "x".repeat(10_000)}});
        let chance = Chance { now: Time(1_700_000_000_000_000_000), fill: Arc::new(|bytes| bytes.fill(61)) };
        Template::new(text)?.fill(&data, &chance)
    }

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(filled(text).as_deref(), Ok(expect), "{text}");
    }

    #[test]
    fn holes_are_filled() {
        check("secret/data/{{ .input.who }}", "secret/data/Ann");
        check("{{ .input.who | lowercase }}-{{ .input.n }}", "ann-5");
        check("{{ range .input.list }}[{{ . }}]{{ end }}", "[a][b]");
        check("{{ if eq .input.n 5 }}five{{ else }}other{{ end }}", "five");
        check("{{ printf \"%s/%03d\" .input.who .input.n }}", "Ann/005");
        check("{{ $x := .input.who }}{{ $x }}{{ len .input.list }}{{ index .input.list 1 }}", "Ann2b");
        check("{{ .input.who | replace \"n\" \"m\" | base64 }}", "QW1t");
        check("{{ \"QW1t\" | decode_base64 | hex }}{{ unix_time }}", "416d6d1700000000");
        check("{{ random 4 }} {{ uuid }}", "zzzz 3d3d3d3d-3d3d-4d3d-bd3d-3d3d3d3d3d3d");
        check("{{ truncate 2 .input.who }} {{ if glob \"A*\" .input.who }}yes{{ end }}", "An yes");
        check("{{ \"a<b\" | html | print }}", "a&lt;b");
    }

    #[test]
    fn what_is_not_there_is_an_error_and_no_text() {
        for text in ["{{ .input.nope }}", "{{ .nope.x }}"] {
            assert!(filled(text).unwrap_err().contains("not there"), "{text}");
        }
        for text in ["", "{{", "{{ nope 1 }}", "{{ env \"HOME\" }}", "{{ end }}"] {
            assert!(Template::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hostile_templates_end_soon() {
        let doubling = "{{ with .input.big }}".to_owned()
            + &"{{ with printf \"%s%s\" . . }}".repeat(60)
            + "x"
            + &"{{ end }}".repeat(61);
        let assigning = "{{ $x := .input.big }}".to_owned() + &"{{ $x = print $x $x }}".repeat(60);
        for text in [
            "{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}".to_owned(),
            "{{ template \"template\" }}".to_owned(),
            "{{ range 1000000000 }}{{ end }}".to_owned(),
            "{{ range 900 }}{{ range 900 }}x{{ end }}{{ end }}".to_owned(),
            "{{ printf \"%1000000000d\" 1 }}".to_owned(),
            "{{ printf \"%*d\" 1000000000 1 }}".to_owned(),
            "{{ replace \"\" .input.big .input.big }}".to_owned(),
            "{{ range 900 }}{{ html $.input.big }}{{ end }}".to_owned(),
            "{{ random 100000000 }}".to_owned(),
            doubling,
            assigning,
        ] {
            assert!(filled(&text).is_err(), "{text:.60}");
        }
    }

    #[test]
    fn no_value_stands_in_what_is_said_about_a_failure() {
        for text in ["{{ .input.who.x }}", "{{ index .input.who .input.who }}", "{{ truncate .input.who 2 }}"]
        {
            let said = filled(text).expect_err(text);
            assert!(!said.contains("Ann"), "{text}: {said}");
        }
    }
}
