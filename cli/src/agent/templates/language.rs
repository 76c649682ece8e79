//! Go's `text/template` with the functions of consul-template, as `template` and `env_template` have it.
//!
//! A run of a template does not wait: what it asks for is there, or the run ends with the question, and is made again
//! when the answer is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use gotmpl::{MissingKey, Template, TemplateError, Value};
use zeroize::Zeroizing;

use super::{
    fields::{self, FIELD},
    functions::{FUNCTIONS, MARK, argument, string, wrong},
    parse::{self, FLAT, METHOD, PRINT, PRINTED},
    query::Query,
    sandbox::Sandbox,
    sprig::{self, Kind},
    toml,
    values::{self, Numbers, text},
};
use crate::{agent::moment::Moment, settings, yaml};

pub(super) type Made = Result<Value, TemplateError>;

/// No text that is made is longer.
const TEXT_SIZE_MAX: usize = 16 * 1024 * 1024;
/// So often all loops of a template go round at most.
const ROUNDS_MAX: u64 = 1_000_000;
/// A template that executes itself without end stops here, and so does one that executes others too often.
const EXECUTED_DEPTH_MAX: u32 = 16;
const EXECUTED_MAX: u32 = 10_000;
/// The name under which the library keeps a template; it is never shown.
const NAME: &str = "\u{1}whole";

/// Functions that need more than their arguments.
pub(super) const HERE: [&str; 23] = [
    "env",
    "envOrDefault",
    "mustEnv",
    "file",
    "secret",
    "secrets",
    "pkiCert",
    "timestamp",
    "toJSON",
    "toJSONPretty",
    "toUnescapedJSON",
    "toUnescapedJSONPretty",
    "toYAML",
    "toTOML",
    "executeTemplate",
    "writeToFile",
    "scratch.Key",
    "scratch.Get",
    "scratch.Set",
    "scratch.SetX",
    "scratch.MapSet",
    "scratch.MapSetX",
    "scratch.MapValues",
];

/// A template that was read and has nothing unknown in it.
pub(crate) struct Program {
    text: Arc<str>,
    delimiters: (String, String),
    missing: MissingKey,
    /// What `file` may read; anything if nothing is said.
    sandbox: Option<Sandbox>,
}

/// How a template is written.
pub(crate) struct Writing {
    pub(crate) delimiters: (String, String),
    /// Whether a key that is not there ends the run.
    pub(crate) missing: MissingKey,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) denied: Vec<String>,
}

/// What is known when a template runs.
#[derive(Clone, Default)]
pub(crate) struct Known {
    pub(crate) answers: BTreeMap<Query, Value>,
    pub(crate) numbers: Numbers,
}

/// The end of a run.
pub(crate) enum Run {
    Done(Rendered),
    /// It needs this first.
    Wants(Query),
    Failed(String),
}

/// What a run made.
pub(crate) struct Rendered {
    pub(crate) text: Zeroizing<String>,
    /// What `writeToFile` was given.
    pub(crate) files: Vec<Piece>,
    pub(crate) used: BTreeSet<Query>,
}

/// A file that a template writes beside its destination.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) path: PathBuf,
    pub(crate) user: String,
    pub(crate) group: String,
    pub(crate) perms: String,
    pub(crate) appended: bool,
    pub(crate) text: Zeroizing<String>,
}

/// What the functions of one run share.
struct Table {
    known: Known,
    now: Moment,
    text: Arc<str>,
    sandbox: Option<Sandbox>,
    /// The templates that `executeTemplate` finds by name.
    whole: OnceLock<Weak<Template>>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// How deep it executes, and how often it has.
    executed: (u32, u32),
    wanted: Option<Query>,
    used: BTreeSet<Query>,
    files: Vec<Piece>,
    scratch: BTreeMap<String, Value>,
}

impl Program {
    /// Reads a template.
    pub(crate) fn read(text: String, writing: Writing) -> Result<Program, String> {
        let Writing { delimiters, missing, sandbox, denied } = writing;
        parse::parse(&text, (&delimiters.0, &delimiters.1), &denied)?;
        Ok(Program { text: text.into(), delimiters, missing, sandbox })
    }

    /// Runs it with what is known.
    pub(crate) fn run(&self, known: &Known, now: Moment) -> Run {
        let table = Arc::new(Table {
            known: known.clone(),
            now,
            text: Arc::clone(&self.text),
            sandbox: self.sandbox.clone(),
            whole: OnceLock::new(),
            notes: Mutex::default(),
        });
        let mut out = Bounded(Zeroizing::new(String::new()));
        let made = self.prepared(&table).and_then(|template| {
            let template = table.owned(template);
            template.execute_template_fmt(&mut out, NAME, &Value::Nil).map_err(|error| words(&error))
        });
        let mut notes = table.notes();
        if let Some(query) = notes.wanted.take() {
            return Run::Wants(query);
        }
        match made {
            Err(why) => Run::Failed(why),
            Ok(()) => Run::Done(Rendered {
                text: out.0,
                files: std::mem::take(&mut notes.files),
                used: std::mem::take(&mut notes.used),
            }),
        }
    }

    fn prepared(&self, table: &Arc<Table>) -> Result<Template, String> {
        let parsed = parse::parse(&self.text, (&self.delimiters.0, &self.delimiters.1), &[])?;
        let mut template = Template::new(NAME).missing_key(self.missing).max_range_iters(ROUNDS_MAX);
        for (name, function) in FUNCTIONS {
            template = template.func(name, function);
        }
        for name in HERE {
            let table = Arc::clone(table);
            template = template.func(name, move |args| table.call(name, args));
        }
        for (bare, kind) in sprig::all() {
            let name = format!("{}{bare}", sprig::PREFIX);
            template = match kind {
                Kind::Plain(function) => template.func(&name, function),
                Kind::Dated(function) => {
                    let now = table.now;
                    template.func(&name, move |args| function(now, args))
                }
                Kind::Own(same) => {
                    let table = Arc::clone(table);
                    template.func(&name, move |args| table.call(same, args))
                }
            };
        }
        for (name, function) in sprig::METHODS {
            template = template.func(&format!("{METHOD}{name}"), function);
        }
        let missing = self.missing;
        template = template.func(FIELD, move |args| fields::field(missing, args));
        template = template.func(PRINT, |args| Ok(text(sprig::print(args))));
        template = template.func(FLAT, |args| {
            let value = argument(args, 0)?;
            Ok(match value {
                Value::Map(fields) => sprig::as_text(fields).map_or_else(|| value.clone(), text),
                _ => value.clone(),
            })
        });
        template = template.func(PRINTED, |args| {
            let value = argument(args, 0)?;
            Ok(values::printed(value).map_or_else(|| value.clone(), text))
        });
        template = template.add_parse_tree(NAME, parsed.body);
        for define in parsed.defines {
            template = template.add_parse_tree(&define.name, define.body);
        }
        Ok(template)
    }
}

impl Table {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, name: &str, args: &[Value]) -> Made {
        match name {
            "secret" => self.secret(args, Query::Read, Query::Write),
            "pkiCert" => {
                self.secret(args, |path| Query::Certificate(path, BTreeMap::new()), Query::Certificate)
            }
            "secrets" => self.ask(Query::List(string(args, 0)?.to_owned())),
            "file" => self.file(string(args, 0)?),
            sprig::EXPAND => Ok(text(expanded(string(args, 0)?))),
            "env" => Ok(text(settings::variable(string(args, 0)?).unwrap_or_default())),
            "envOrDefault" => match settings::variable(string(args, 0)?) {
                Some(value) => Ok(text(value)),
                None => Ok(argument(args, 1)?.clone()),
            },
            "mustEnv" => {
                let name = string(args, 0)?;
                let value = settings::variable(name);
                value.map(text).ok_or_else(|| wrong(format!("the variable {} is not set", self.named(name))))
            }
            "timestamp" => super::layout::timestamp(self.now, args),
            "toJSON" => self.json(args).map(|json| text(escaped(json.to_string()))),
            "toJSONPretty" => self.json(args).map(|json| text(escaped(format!("{json:#}")))),
            "toUnescapedJSON" => self.json(args).map(|json| text(json.to_string())),
            "toUnescapedJSONPretty" => self.json(args).map(|json| text(format!("{json:#}"))),
            "toYAML" => self.json(args).map(|json| text(yaml::write(&json).trim())),
            "toTOML" => toml::write(argument(args, 0)?, &self.known.numbers).map(text),
            "executeTemplate" => self.execute(args),
            "writeToFile" => self.write(args),
            other => self.scratch(other, args),
        }
    }

    /// Lets functions find the templates that they belong to, without keeping them for ever.
    fn owned(&self, template: Template) -> Arc<Template> {
        let template = Arc::new(template);
        self.whole.get_or_init(|| Arc::downgrade(&template));
        template
    }

    /// What a template of this text makes of a value.
    fn execute(&self, args: &[Value]) -> Made {
        let name = string(args, 0)?;
        let (depth, times) = self.notes().executed;
        if depth >= EXECUTED_DEPTH_MAX || times >= EXECUTED_MAX {
            return Err(wrong("executeTemplate goes round and round"));
        }
        let whole = self.whole.get().and_then(Weak::upgrade);
        let whole = whole.filter(|whole| name != NAME && whole.lookup(name).is_some());
        let whole = whole
            .ok_or_else(|| wrong(format!("executeTemplate: there is no template {}", self.named(name))))?;
        self.notes().executed = (depth + 1, times + 1);
        let mut out = Bounded(Zeroizing::new(String::new()));
        let made = whole.execute_template_fmt(&mut out, name, args.get(1).unwrap_or(&Value::Nil));
        self.notes().executed.0 = depth;
        made.map(|()| text(out.0.as_str()))
    }

    fn json(&self, args: &[Value]) -> Result<serde_json::Value, TemplateError> {
        self.known.numbers.json(argument(args, 0)?).map_err(wrong)
    }

    fn secret(
        &self,
        args: &[Value],
        read: impl Fn(String) -> Query,
        write: impl Fn(String, BTreeMap<String, String>) -> Query,
    ) -> Made {
        let path = string(args, 0)?.to_owned();
        if args.len() < 2 {
            return self.ask(read(path));
        }
        let mut body = BTreeMap::new();
        for at in 1..args.len() {
            let pair = string(args, at)?;
            let pieces = pair.split_once('=');
            let (key, value) =
                pieces.ok_or_else(|| wrong("what is written must be pairs like \"ttl=24h\""))?;
            body.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        self.ask(write(path, body))
    }

    /// The answer, or the end of this run.
    fn ask(&self, query: Query) -> Made {
        let answer = self.known.answers.get(&query).cloned();
        let mut notes = self.notes();
        match answer {
            Some(answer) => {
                notes.used.insert(query);
                Ok(answer)
            }
            None => {
                notes.wanted.get_or_insert(query);
                Err(wrong("an answer is not there yet"))
            }
        }
    }

    fn file(&self, path: &str) -> Made {
        let path = PathBuf::from(path);
        if self.sandbox.as_ref().is_some_and(|sandbox| !sandbox.holds(&path)) {
            return Err(wrong(format!("file {} lies outside of sandbox_path", path.display())));
        }
        self.ask(Query::File(path, self.sandbox.clone()))
    }

    /// A name as a message may show it: if it stands in the template. One that was worked out may be a secret.
    fn named(&self, name: &str) -> String {
        if self.text.contains(name) {
            format!("{name:?}")
        } else {
            "of a name that was worked out".to_owned()
        }
    }

    /// `writeToFile path user group perms [flags] text`
    fn write(&self, args: &[Value]) -> Made {
        let flags = if args.len() > 5 { string(args, 4)? } else { "" };
        let has = |flag: &str| flags.split(',').any(|given| given.trim() == flag);
        let mut content = Zeroizing::new(string(args, args.len().saturating_sub(1))?.to_owned());
        if has("newline") {
            content.push('\n');
        }
        let word = |at: usize| argument(args, at).map(ToString::to_string);
        let piece = Piece {
            path: PathBuf::from(string(args, 0)?),
            user: word(1)?,
            group: word(2)?,
            perms: word(3)?,
            appended: has("append"),
            text: content,
        };
        self.notes().files.push(piece);
        Ok(text(""))
    }

    fn scratch(&self, name: &str, args: &[Value]) -> Made {
        let mut notes = self.notes();
        let key = string(args, 0)?.to_owned();
        let keeps = name.ends_with('X');
        match name {
            "scratch.Key" => return Ok(Value::Bool(notes.scratch.contains_key(&key))),
            "scratch.Get" => return Ok(notes.scratch.get(&key).cloned().unwrap_or(Value::Nil)),
            "scratch.MapValues" => {
                return match notes.scratch.get(&key) {
                    Some(Value::Map(fields)) => Ok(Value::List(fields.values().cloned().collect())),
                    _ => Err(wrong("scratch.MapValues wants what scratch.MapSet has set")),
                };
            }
            "scratch.Set" | "scratch.SetX" => {
                if !(keeps && notes.scratch.contains_key(&key)) {
                    notes.scratch.insert(key, argument(args, 1)?.clone());
                }
            }
            _ => {
                let field = string(args, 1)?;
                let mut fields: BTreeMap<Arc<str>, Value> = match notes.scratch.get(&key) {
                    Some(Value::Map(fields)) => (**fields).clone(),
                    _ => BTreeMap::new(),
                };
                if !(keeps && fields.contains_key(field)) {
                    fields.insert(field.into(), argument(args, 2)?.clone());
                }
                notes.scratch.insert(key, Value::Map(Arc::new(fields)));
            }
        }
        Ok(text(""))
    }
}

/// A text with what the variables in it are, as Go's `os.ExpandEnv` has it.
fn expanded(whole: &str) -> String {
    let (mut out, mut rest) = (String::new(), whole);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let special = |c: char| "*#$@!?-0123456789".contains(c);
        let (name, behind) = if let Some(inner) = after.strip_prefix('{') {
            match inner.chars().next() {
                Some(c) if special(c) && inner.get(1..).is_some_and(|end| end.starts_with('}')) => {
                    inner.split_at(1)
                }
                _ => inner.split_at(inner.find('}').unwrap_or(0)),
            }
        } else if after.starts_with(special) {
            after.split_at(1)
        } else {
            after.split_at(after.find(|c| !plain(c)).unwrap_or(after.len()))
        };
        match (name.is_empty(), after.strip_prefix('{')) {
            (false, _) => out.push_str(&settings::variable(name).unwrap_or_default()),
            // A dollar that names nothing stays; a brace that does is swallowed with it.
            (true, None) => out.push('$'),
            (true, Some(_)) => {}
        }
        rest = if after.starts_with('{') { behind.strip_prefix('}').unwrap_or(behind) } else { behind };
    }
    out.push_str(rest);
    out
}

/// What Go's JSON never writes as it is.
fn escaped(json: String) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Why a run failed. The library's own words can show values.
fn words(error: &TemplateError) -> String {
    match error {
        TemplateError::Exec(text) => match text.strip_prefix(MARK) {
            Some(own) => own.to_owned(),
            None => "it cannot make anything of what it is given".to_owned(),
        },
        TemplateError::MissingKey { key, .. } => {
            format!("the data has no key {key:?}; is it the right secret, and does it need .Data.data?")
        }
        TemplateError::IndexOutOfRange { .. } => "an index is beyond what it looks into".to_owned(),
        TemplateError::Write => "the text becomes longer than 16 MiB".to_owned(),
        TemplateError::FuncPanic { name, .. } => format!("the function {name} failed"),
        other => other.to_string(),
    }
}

/// A text that does not become too long.
struct Bounded(Zeroizing<String>);

impl fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if self.0.len() + piece.len() > TEXT_SIZE_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(piece);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Program, String> {
        let writing = Writing {
            delimiters: ("{{".to_owned(), "}}".to_owned()),
            missing: MissingKey::Error,
            sandbox: None,
            denied: vec!["env".to_owned()],
        };
        Program::read(text.to_owned(), writing)
    }

    fn known() -> Known {
        let mut known = Known::default();
        let secret = r#"{"Data": {"port": 5432, "text": "<a>", "rate": 1.50}}"#;
        let value = known.numbers.read(&serde_json::from_str(secret).unwrap());
        known.answers.insert(Query::Read("s".to_owned()), value);
        known
    }

    #[track_caller]
    fn check(text: &str, expect: &str) {
        match read(text).unwrap().run(&known(), Moment::from_seconds(1_700_000_000)) {
            Run::Done(done) => assert_eq!(*done.text, expect),
            Run::Failed(why) => panic!("{text}: {why}"),
            Run::Wants(query) => panic!("{text} wants {query}"),
        }
    }

    #[test]
    fn numbers_of_secrets_are_texts_until_they_are_written_as_json() {
        check(
            r#"{{ with secret "s" }}{{ printf "%s" .Data.port }}{{ eq .Data.port "5432" }}{{ end }}"#,
            "5432true",
        );
        check(
            r#"{{ with secret "s" }}{{ .Data | toJSON }}{{ end }}"#,
            "{\"port\":5432,\"rate\":1.50,\"text\":\"\\u003ca\\u003e\"}",
        );
        check(r#"{{ scratch.Set "a" 1 }}{{ scratch.SetX "a" 2 }}{{ scratch.Get "a" }}"#, "1");
        check(
            "{{ 1e6 }} {{ 123456.5 }} {{ 0.00001 }} {{ -2.0 }} {{ parseJSON \"[1,1e20]\" }}",
            "1e+06 123456.5 1e-05 -2 [1 1e+20]",
        );
        check(r#"{{ define "d" }}<{{ . }}>{{ end }}{{ template "d" "q" }}"#, "<q>");
        check(r#"{{ define "d" }}<{{ . }}>{{ end }}{{ executeTemplate "d" "q" }}"#, "<q>");
        check(
            "{{ sprig_dateInZone \"2006-01-02\" sprig_now \"UTC\" }} {{ sprig_ago 1699999900 }}",
            "2023-11-14 1m40s",
        );
        check(
            r#"{{ $d := sprig_dict }}{{ $_ := sprig_set $d "a" 1 }}{{ sprig_set $d "b" 2 }}{{ $d.a }}"#,
            "map[a:1 b:2]1",
        );
        check("{{ timestamp }} {{ timestamp \"2006-01-02\" }}", "2023-11-14T22:13:20Z 2023-11-14");
    }

    #[test]
    fn a_run_ends_with_what_it_wants_and_with_what_it_lacks() {
        let wants =
            read("{{ with secret \"t\" }}{{ .Data.x }}{{ end }}").unwrap().run(&known(), Moment::default());
        assert!(matches!(wants, Run::Wants(Query::Read(path)) if path == "t"));
        let lacks =
            read("{{ with secret \"s\" }}{{ .Data.x }}{{ end }}").unwrap().run(&known(), Moment::default());
        assert!(matches!(lacks, Run::Failed(why) if why.contains("x")));
        let wants = read(r#"{{ define "d" }}{{ secret "t" }}{{ end }}{{ executeTemplate "d" }}"#)
            .unwrap()
            .run(&known(), Moment::default());
        assert!(matches!(wants, Run::Wants(Query::Read(path)) if path == "t"));
        for (text, words) in [
            (r#"{{ executeTemplate "d" }}"#, "there is no template \"d\""),
            (
                r#"{{ define "d" }}{{ executeTemplate "d" }}{{ end }}{{ executeTemplate "d" }}"#,
                "round and round",
            ),
        ] {
            let failed = read(text).unwrap().run(&known(), Moment::default());
            assert!(matches!(failed, Run::Failed(why) if why.contains(words)), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_by_name_and_line() {
        for (text, words) in [
            ("a\n{{ key \"x\" }}", "line 2: the function \"key\": it asks Consul"),
            (
                "{{ if true }}\n\n{{ sprig_uuidv4 }}{{ end }}",
                "line 3: the function \"sprig_uuidv4\": it is something else",
            ),
            ("{{ sprig_nothing }}", "\"sprig_nothing\": it is no function of sprig"),
            ("{{ with (secret \"x\") | nothing }}{{ end }}", "\"nothing\": it is not known"),
            ("{{ env \"x\" }}", "function_denylist"),
            ("{{ scratch.Wipe }}", "scratch.Wipe"),
            ("{{ .x", "line 1"),
            ("{{ end }}", "belongs to nothing"),
        ] {
            let why = read(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
