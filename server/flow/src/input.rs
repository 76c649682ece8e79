use kit::loose::Span;
use policy::hcl::{Block, Body, Value as Hcl};
use serde_json::{Map, Value};

use crate::expression::{Expression, Kind};
use crate::read::{Dialect, Failure, unknown};

/// Something that the caller gives.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    kind: FieldKind,
    default: Option<Value>,
    required: bool,
    allowed: Vec<Value>,
}

/// What a field is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FieldKind {
    /// True or false.
    Bool,
    /// A number.
    Float,
    /// A map whose values are texts or lists of texts.
    Header,
    /// A whole number.
    Int,
    /// A map.
    Map,
    /// A list.
    List,
    /// A name.
    Name,
    /// Seconds, or a text such as `1h`.
    Span,
    /// The same, which may be negative.
    SignedSpan,
    /// A text.
    Text,
    /// A list of texts, or one text with commas.
    Texts,
    /// A moment in RFC 3339.
    Time,
    /// A list of whole numbers, or a text of them with commas.
    Ints,
}

/// What a caller has given.
#[derive(Debug)]
pub struct Input {
    /// As it came. Expressions see this.
    pub given: Map<String, Value>,
    /// Each field as the type that it is to be, or its default.
    pub settled: Map<String, Value>,
}

/// A workflow takes no more.
const FIELDS_MAX: usize = 100;

/// The fields of an `input`.
pub(crate) fn fields(body: &Body) -> Result<Vec<Field>, Failure> {
    let failed = |why: String| {
        vec![format!("failed to parse input configuration block: input: error parsing 'field': {why}")]
    };
    let wrong = unknown(body, &["field"]);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut fields: Vec<Field> = Vec::new();
    for item in body.all("field") {
        let labels: Vec<&str> = item.keys.iter().skip(1).map(String::as_str).collect();
        let blocks = body_blocks(&item.value, labels, item.line);
        for block in blocks {
            let index = fields.len();
            let field = field(&block).map_err(|why| failed(format!("field.{index}: {why}")))??;
            if field.name == "path" {
                return Err(failed(format!(
                    "field.{index}: \"path\" names the workflow itself; choose another name"
                )));
            }
            if fields.iter().any(|known| known.name == field.name) {
                return Err(failed(format!("field.{index}: two fields are named {:?}", field.name)));
            }
            fields.push(field);
        }
    }
    if fields.len() > FIELDS_MAX {
        return Err(failed(format!("there are no more than {FIELDS_MAX} fields")));
    }
    Ok(fields)
}

/// A field is written with both its labels, with one, or with none: what a label does not say, a key does.
fn body_blocks<'a>(value: &'a Hcl, labels: Vec<&'a str>, line: usize) -> Vec<Block<'a>> {
    match value {
        Hcl::Object(body) => vec![Block { labels, body, line }],
        Hcl::List(items) => items.iter().flat_map(|item| body_blocks(item, labels.clone(), line)).collect(),
        _ => Vec::new(),
    }
}

fn field(block: &Block<'_>) -> Result<Result<Field, Failure>, String> {
    let key = |name: &str| block.body.attribute(name).and_then(Hcl::as_str).filter(|text| !text.is_empty());
    let (kind, name) = match (key("type"), key("name"), block.labels.as_slice()) {
        (Some(kind), Some(name), _) => (kind, name),
        (Some(kind), None, [name]) => (kind, *name),
        (None, Some(name), [kind]) => (*kind, name),
        (None, None, [kind, name]) => (*kind, *name),
        _ => {
            return Err("field type and name must be specified either as keys or block parameters".to_owned());
        }
    };
    let known =
        ["type", "name", "default", "description", "required", "deprecated", "query", "allowed_values"];
    let wrong = unknown(block.body, &known);
    if !wrong.is_empty() {
        return Ok(Err(wrong));
    }
    let kind = FieldKind::named(kind).ok_or_else(|| format!("unknown field type: {kind:?}"))?;
    let literal = |value: &Hcl| match Expression::read(value, &Dialect::Initialize)? {
        Expression::Literal(value) => Ok(value),
        Expression::List(items) => literals(items),
        Expression::Map(_) | Expression::Taken(..) => Err("a default is a value as it stands".to_owned()),
    };
    let default = block.body.attribute("default").map(literal).transpose()?;
    let default = match default {
        Some(value) => Some(kind.settle(value).map_err(|why| format!("the default of {name:?}: {why}"))?),
        None => None,
    };
    let allowed = match block.body.attribute("allowed_values") {
        Some(Hcl::List(values)) => values.iter().map(literal).collect::<Result<_, _>>()?,
        _ => Vec::new(),
    };
    let required = block.body.attribute("required").and_then(Hcl::as_bool).unwrap_or(false);
    Ok(Ok(Field { name: name.to_owned(), kind, default, required, allowed }))
}

fn literals(items: Vec<Expression>) -> Result<Value, String> {
    let one = |item| match item {
        Expression::Literal(value) => Ok(value),
        _ => Err("a default is a value as it stands".to_owned()),
    };
    items.into_iter().map(one).collect::<Result<_, _>>().map(Value::Array)
}

impl Input {
    /// What a caller gives to these fields.
    ///
    /// # Errors
    /// If something is missing, or of another type. The text shows no value.
    pub fn settle(fields: &[Field], given: Map<String, Value>) -> Result<Self, String> {
        let mut settled = Map::new();
        for field in fields {
            let value = match given.get(&field.name).filter(|value| !value.is_null()) {
                Some(value) => field.settle(value.clone())?,
                None if field.required => {
                    let text = "failed input validation: missing required field";
                    return Err(format!("{text} {:?}", field.name));
                }
                None => field.default.clone().unwrap_or_else(|| field.kind.zero()),
            };
            settled.insert(field.name.clone(), value);
        }
        Ok(Self { given, settled })
    }
}

impl Field {
    fn settle(&self, value: Value) -> Result<Value, String> {
        let name = &self.name;
        let value = self.kind.settle(value).map_err(|why| {
            format!("failed input schema validation: error converting input for field {name:?}: {why}")
        })?;
        if self.allowed.is_empty() || self.allowed.contains(&value) {
            return Ok(value);
        }
        Err(format!("failed input validation: field {name:?} has none of its allowed values"))
    }
}

impl FieldKind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "bool" => Self::Bool,
            "float" => Self::Float,
            "header" => Self::Header,
            "int" | "int64" => Self::Int,
            "map" => Self::Map,
            "slice" => Self::List,
            "name_string" => Self::Name,
            "duration_second" => Self::Span,
            "signed_duration_second" => Self::SignedSpan,
            "string" => Self::Text,
            "string_slice" | "comma_string_slice" => Self::Texts,
            "time" => Self::Time,
            "comma_int_slice" => Self::Ints,
            _ => return None,
        })
    }

    /// What a field is that was not given.
    fn zero(self) -> Value {
        match self {
            Self::Bool => false.into(),
            Self::Float | Self::Int | Self::Span | Self::SignedSpan => 0.into(),
            Self::Header | Self::Map => Value::Object(Map::new()),
            Self::List | Self::Texts | Self::Ints => Value::Array(Vec::new()),
            Self::Name | Self::Text => "".into(),
            Self::Time => Value::Null,
        }
    }

    fn settle(self, value: Value) -> Result<Value, String> {
        match self {
            Self::Bool => Kind::Bool.cast(value),
            Self::Float => Kind::Float.cast(value),
            Self::Int => match value {
                Value::Bool(_) => Err("expected a whole number".to_owned()),
                value => Kind::Int.cast(value),
            },
            Self::Map | Self::Header => match value {
                Value::Object(_) => Ok(value),
                _ => Err("expected a map".to_owned()),
            },
            Self::List => match value {
                Value::Array(_) => Ok(value),
                one => Ok(Value::Array(vec![one])),
            },
            Self::Name => match Kind::Text.cast(value)? {
                Value::String(name) if is_name(&name) => Ok(name.into()),
                _ => Err("field validation failed: name must match '^\\w(([\\w-.]+)?\\w)?$'".to_owned()),
            },
            Self::Span | Self::SignedSpan => self.span(value),
            Self::Text => match value {
                Value::Array(_) | Value::Object(_) => Err("expected a text".to_owned()),
                value => Kind::Text.cast(value),
            },
            Self::Texts => Kind::Texts.cast(value),
            Self::Time => Kind::Text.cast(value),
            Self::Ints => {
                let Value::Array(items) = Kind::Texts.cast(value)? else { return Ok(self.zero()) };
                items.into_iter().map(|item| Kind::Int.cast(item)).collect::<Result<_, _>>().map(Value::Array)
            }
        }
    }

    fn span(self, value: Value) -> Result<Value, String> {
        let text = Kind::Text.cast(value)?;
        let span = text.as_str().and_then(Span::parse).ok_or("expected a span of time, such as \"1h\"")?;
        let seconds = span.seconds();
        if self == Self::Span && seconds < 0 {
            return Err("cannot provide negative value".to_owned());
        }
        Ok(seconds.into())
    }
}

fn is_name(name: &str) -> bool {
    let word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    name.starts_with(word)
        && name.ends_with(word)
        && name.chars().all(|char| word(char) || char == '-' || char == '.')
}
