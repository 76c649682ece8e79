use std::borrow::Cow;
use std::fmt;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::route::Captures;

/// The parameters of one request: captured from the path, in the query, or in the body. The path wins, then
/// the body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    /// Captured from the path.
    pub path: Captures<'a>,
    /// From the query string, decoded; a name may come more than once.
    pub query: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// A JSON object, or nothing.
    pub body: &'a [u8],
}

/// Names in a request that came to nothing, of which the caller is warned.
#[derive(Debug, Default)]
pub struct Ignored {
    /// The operation has no such field.
    pub unknown: Vec<String>,
    /// The path already says it.
    pub replaced: Vec<String>,
}

impl<'a> Fields<'a> {
    /// Parses them into the struct of an operation.
    ///
    /// Three names of fields are special. `*` takes the whole body as one map; `x_*` takes every parameter
    /// that begins with `x_`, as the fields of a struct of its own; `x?` is `x`, and a null is a value of it
    /// (see [`Given`](crate::loose::Given)), where for other fields a null counts as left out.
    ///
    /// # Errors
    /// With a sentence that names the field.
    pub fn parse<P: DeserializeOwned>(&self) -> Result<(P, Ignored)> {
        let mut entries = self.entries()?;
        let parameters = Parameters { entries: &mut entries, prefix: "" };
        let value = P::deserialize(parameters).map_err(|error| error.0)?;
        Ok((value, self.ignored(entries)))
    }

    /// All that came, each name once. There is one `parse` per operation, so what does not depend on it is apart.
    fn entries(&self) -> Result<Vec<Entry<'a>>> {
        let mut entries = Vec::with_capacity(self.path.pairs().len() + self.query.len() + 4);
        entries.extend(self.path.pairs().iter().map(|(name, text)| Entry::new(name, Source::Text(text))));
        let captured = entries.len();
        if !self.body.is_empty() {
            let body: RawMap<'_> = serde_json::from_slice(self.body).map_err(|error| not_json(&error))?;
            for (name, raw) in body.0 {
                let captured = entries.get(..captured).unwrap_or_default();
                let replaced = captured.iter().any(|entry| entry.name == name);
                entries.push(Entry { name, source: Source::Json(raw), used: false, replaced });
            }
        }
        for (name, texts) in self.queried() {
            if entries.iter().all(|entry| entry.name != name) {
                let source = match *texts {
                    [text] => Source::Text(text),
                    _ => Source::Texts(texts),
                };
                entries.push(Entry { name, source, used: false, replaced: false });
            }
        }
        Ok(entries)
    }

    /// What the query says, each name once with all it says of it.
    fn queried(&self) -> Vec<(Cow<'a, str>, Vec<&'a str>)> {
        let mut queried: Vec<(Cow<'a, str>, Vec<&'a str>)> = Vec::new();
        for (name, text) in self.query {
            match queried.iter_mut().find(|(known, _)| known == name) {
                Some((_, texts)) => texts.push(text),
                None => queried.push((name.clone(), vec![text])),
            }
        }
        queried
    }

    /// What no field took, other than from the path.
    fn ignored(&self, entries: Vec<Entry<'a>>) -> Ignored {
        let mut ignored = Ignored::default();
        for entry in entries.into_iter().skip(self.path.pairs().len()).filter(|entry| !entry.used) {
            let names = if entry.replaced { &mut ignored.replaced } else { &mut ignored.unknown };
            names.push(entry.name.into_owned());
        }
        ignored.unknown.sort();
        ignored
    }

    /// The same parameters as a JSON object, for a policy that limits them: what the query says several times is a list.
    ///
    /// # Errors
    /// If the body is not a JSON object.
    pub fn as_map(&self) -> Result<serde_json::Map<String, serde_json::Value>> {
        let mut map = match self.body {
            [] => serde_json::Map::new(),
            body => serde_json::from_slice(body).map_err(|error| not_json(&error))?,
        };
        for (name, texts) in self.queried() {
            if !map.contains_key(&*name) {
                let value = match *texts {
                    [text] => text.into(),
                    _ => texts.into(),
                };
                map.insert(name.into_owned(), value);
            }
        }
        Ok(map)
    }
}

fn not_json(error: &serde_json::Error) -> Error {
    Error::invalid(format!("failed to decode JSON input: {error}"))
}

struct Entry<'a> {
    name: Cow<'a, str>,
    source: Source<'a>,
    used: bool,
    /// The path captures the same name. Only a free body, which has no such names, still takes it.
    replaced: bool,
}

enum Source<'a> {
    Text(&'a str),
    Texts(Vec<&'a str>),
    Json(&'a RawValue),
}

impl<'a> Entry<'a> {
    fn new(name: &'a str, source: Source<'a>) -> Self {
        Self { name: Cow::Borrowed(name), source, used: false, replaced: false }
    }

    fn is_null(&self) -> bool {
        matches!(&self.source, Source::Json(raw) if raw.get() == "null")
    }
}

/// A JSON object, its values not yet looked into. The last of equal names counts, as in Go.
struct RawMap<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> de::Deserialize<'de> for RawMap<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawMap<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    let value = map.next_value()?;
                    match entries.iter_mut().find(|(known, _)| *known == name) {
                        Some(known) => known.1 = value,
                        None => entries.push((name, value)),
                    }
                }
                Ok(RawMap(entries))
            }
        }
        from.deserialize_map(Entries)
    }
}

/// A key of an object, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The parameters as serde sees them: a struct whose fields may lie in several places.
struct Parameters<'s, 'a> {
    entries: &'s mut Vec<Entry<'a>>,
    prefix: &'static str,
}

/// An error of serde, kept as one of ours so that it can name the field.
#[derive(Debug)]
struct Refused(Error);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(Error::invalid(text.to_string()))
    }

    fn missing_field(field: &'static str) -> Self {
        Self(Error::invalid(format!("missing {field}")))
    }
}

impl<'de> Deserializer<'de> for Parameters<'_, 'de> {
    type Error = Refused;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_map(Walk {
            fields: fields.iter(),
            field: "",
            entries: self.entries,
            prefix: self.prefix,
        })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_struct("", &["*"], visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Goes through the fields of a struct and finds for each what the request says.
struct Walk<'s, 'a> {
    fields: std::slice::Iter<'static, &'static str>,
    field: &'static str,
    entries: &'s mut Vec<Entry<'a>>,
    prefix: &'static str,
}

impl<'a> Walk<'_, 'a> {
    /// Goes on to the next field that is there.
    fn advance(&mut self) -> Option<&'static str> {
        for field in self.fields.by_ref() {
            let null = field.ends_with('?');
            let there = field.ends_with('*')
                || self
                    .entries
                    .iter()
                    .any(|entry| is(entry, self.prefix, field) && (null || !entry.is_null()));
            if there {
                self.field = field;
                return Some(field);
            }
            // A null counts as left out, and is not unknown.
            self.entries
                .iter_mut()
                .filter(|entry| is(entry, self.prefix, field))
                .for_each(|entry| entry.used = true);
        }
        None
    }

    /// What was said for the field that it stands at.
    fn take(&mut self) -> Result<&Entry<'a>, Refused> {
        let (field, prefix) = (self.field, self.prefix);
        let Some(entry) = self.entries.iter_mut().find(|entry| is(entry, prefix, field)) else {
            return Err(de::Error::missing_field(field));
        };
        entry.used = true;
        Ok(entry)
    }
}

impl<'de> MapAccess<'de> for Walk<'_, 'de> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        match self.advance() {
            Some(field) => seed.deserialize(StrDeserializer::new(field)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        if self.field == "*" {
            return seed.deserialize(Rest { entries: self.entries });
        }
        if let Some(prefix) = self.field.strip_suffix('*') {
            let prefix = prefix.trim_end_matches('*');
            return seed.deserialize(Parameters { entries: self.entries, prefix });
        }
        let entry = self.take()?;
        let read = match &entry.source {
            Source::Text(text) => seed.deserialize(There(StrDeserializer::<serde_json::Error>::new(text))),
            Source::Texts(texts) => seed.deserialize(There(SeqDeserializer::new(texts.iter().copied()))),
            Source::Json(raw) => seed.deserialize(&mut serde_json::Deserializer::from_str(raw.get())),
        };
        read.map_err(|error| not_converted(entry, &error))
    }
}

/// What a refusal of a field begins with.
const VALIDATION: &str = "Field validation failed: ";

/// Where OpenBao asks first whether a thing is there, that stumbles over a wrong field, and says so without that beginning.
pub(crate) fn unprefixed(error: Error) -> Error {
    match error.texts().as_slice() {
        [text] => text.strip_prefix(VALIDATION).map(|text| Error::invalid(text.to_owned())).unwrap_or(error),
        _ => error,
    }
}

fn not_converted(entry: &Entry<'_>, error: &serde_json::Error) -> Refused {
    let why = said_without_value(&error.to_string());
    let text = format!("{VALIDATION}error converting input for field {:?}: {why}", entry.name);
    Refused(Error::invalid(text))
}

/// What serde says is wrong, without the value, which may be a secret, and without the line and column, which are those of
/// this field alone.
fn said_without_value(text: &str) -> String {
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    match text.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") || found.starts_with("unknown ") => {
            // What it is called in here says nothing to a client.
            let expected = if expected.starts_with("struct ") { "an object" } else { expected };
            format!("expected {expected}")
        }
        _ => text.to_owned(),
    }
}

/// What a path or a query says. A field may be optional; this one is there.
struct There<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for There<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

fn is(entry: &Entry<'_>, prefix: &str, field: &str) -> bool {
    let (name, field) = (&*entry.name, field.strip_suffix('?').unwrap_or(field));
    // Of the fields of an operation few are given, and most others differ in length already.
    name.len() == prefix.len() + field.len() && name.ends_with(field) && name.starts_with(prefix)
}

/// Everything that came in body and query and has not been taken, as one map.
struct Rest<'s, 'a> {
    entries: &'s mut Vec<Entry<'a>>,
}

impl<'de> Deserializer<'de> for Rest<'_, 'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_map(RestWalk { entries: self.entries.iter_mut(), current: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct RestWalk<'s, 'a> {
    entries: std::slice::IterMut<'s, Entry<'a>>,
    current: Option<&'s mut Entry<'a>>,
}

impl<'de> MapAccess<'de> for RestWalk<'_, 'de> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        let Some(entry) =
            self.entries.by_ref().find(|entry| matches!(entry.source, Source::Json(_)) && !entry.used)
        else {
            return Ok(None);
        };
        let key = seed.deserialize(StrDeserializer::new(&entry.name)).map(Some);
        entry.used = true;
        self.current = Some(entry);
        key
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        match self.current.take() {
            Some(Entry { source: Source::Json(raw), .. }) => seed
                .deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
                .map_err(|error| Refused(not_json(&error))),
            _ => Err(de::Error::custom("a value without a key")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::loose::{Given, Number, Span, Text, Texts};
    use crate::route::{Match, Route};

    #[derive(Debug, Deserialize, PartialEq)]
    struct Put {
        name: String,
        #[serde(default)]
        count: Option<Number>,
        #[serde(rename = "token_*")]
        token: Token,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Token {
        ttl: Option<Span>,
        policies: Option<Texts>,
    }

    #[derive(Debug, Deserialize)]
    struct Free {
        path: String,
        #[serde(rename = "*")]
        data: BTreeMap<String, Value>,
    }

    fn parse<P: DeserializeOwned>(pattern: &'static str, path: &str, body: &str) -> Result<(P, Ignored)> {
        let Match::Yes(captures) = Route::post(pattern).captures(path) else { panic!("{path} does not fit") };
        Fields { path: captures, query: &[], body: body.as_bytes() }.parse()
    }

    #[test]
    fn fields_come_from_path_and_body() {
        let body = r#"{"count":"3","token_ttl":"1m","name":"other","odd":1,"token_policies":null}"#;
        let (put, ignored) = parse::<Put>("role/{name}", "role/app", body).unwrap();
        let token = Token { ttl: Some(Span::from_seconds(60)), policies: None };
        assert_eq!(put, Put { name: "app".into(), count: Some(Number(3)), token });
        assert_eq!(ignored.unknown, ["odd"]);
        assert_eq!(ignored.replaced, ["name"]);
    }

    #[test]
    fn a_free_body_is_taken_whole() {
        let (free, ignored) = parse::<Free>("{path*}", "a/b", r#"{"x":1.50,"y":null,"path":"z"}"#).unwrap();
        assert_eq!(free.path, "a/b");
        assert_eq!(serde_json::to_string(&free.data).unwrap(), r#"{"path":"z","x":1.50,"y":null}"#);
        assert!(ignored.unknown.is_empty() && ignored.replaced.is_empty());
    }

    #[derive(Debug, Deserialize)]
    struct Change {
        #[serde(rename = "name?", default)]
        name: Given<String>,
        #[serde(default)]
        count: Option<Number>,
    }

    #[test]
    fn a_null_may_be_a_value() {
        let change = |body| parse::<Change>("x", "x", body).unwrap();
        let (given, ignored) = change(r#"{"name":null,"count":null}"#);
        assert_eq!((given.name, given.count), (Given::Null, None));
        assert!(ignored.unknown.is_empty());
        assert_eq!(change(r#"{"name":"a"}"#).0.name, Given::Value("a".to_owned()));
        assert_eq!(change("{}").0.name, Given::Absent);
    }

    #[derive(Debug, Deserialize)]
    struct Page {
        #[serde(default)]
        after: Option<Text>,
        #[serde(default)]
        limit: Option<Number>,
        #[serde(default)]
        names: Option<Texts>,
    }

    #[test]
    fn optional_fields_come_from_the_query_too() {
        let query: Vec<(Cow<'_, str>, Cow<'_, str>)> =
            [("after", "a"), ("limit", "3"), ("names", "x"), ("names", "y")]
                .map(|(a, b)| (a.into(), b.into()))
                .into();
        let (page, _): (Page, _) = Fields { query: &query, ..Fields::default() }.parse().unwrap();
        assert_eq!((page.after, page.limit), (Some(Text("a".to_owned())), Some(Number(3))));
        assert_eq!(page.names, Some(Texts(vec!["x".to_owned(), "y".to_owned()])));
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "it is never read whole")]
    struct Plain {
        word: String,
    }

    #[test]
    fn refusals_do_not_repeat_what_was_given() {
        #[derive(Debug, Deserialize)]
        struct Kept {
            #[allow(dead_code, reason = "it is only refused")]
            settings: BTreeMap<String, Value>,
        }
        for given in [r#""s3cret""#, r#""s3cret, expected s3cret at line 3""#, "7353537", "[7353537]"] {
            let body = format!(r#"{{"settings":{given}}}"#);
            let told = parse::<Kept>("role", "role", &body).unwrap_err().to_string();
            assert!(told.ends_with("input for field \"settings\": expected a map"), "{told}");
        }
    }

    #[test]
    fn refusals_name_the_field() {
        let refusal = |body| parse::<Put>("role/{name}", "role/app", body).unwrap_err().to_string();
        assert!(refusal(r#"{"count":"x"}"#).contains("error converting input for field \"count\""));
        // And never what was given: it may be a secret.
        let nested = refusal(r#"{"token_ttl":{"hush":1}}"#);
        assert!(nested.ends_with("field \"token_ttl\": could not parse duration from input"), "{nested}");
        let typed = |body| parse::<Plain>("x", "x", body).unwrap_err().to_string();
        assert!(typed(r#"{"word":123456}"#).ends_with("field \"word\": expected a string"));
        assert!(typed(r#"{"word":["hush, expected"]}"#).ends_with("field \"word\": expected a string"));
        assert!(refusal("[]").contains("failed to decode JSON input"));
        assert!(refusal("{").contains("failed to decode JSON input"));
    }
}
