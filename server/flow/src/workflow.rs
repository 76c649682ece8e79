use policy::hcl::{self, Value as Hcl};
use serde_json::{Map, Value};

use crate::expression::{Expression, Within};
use crate::input::{Field, fields};
use crate::read::{Dialect, Failure, groups, unknown};
use crate::step::Group;

/// Requests that are made in the name of whoever asks for it, and what comes of them.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// What the caller gives; nothing, if nothing is asked for.
    pub input: Option<Vec<Field>>,
    /// The requests.
    pub groups: Vec<Group>,
    /// What the caller is told; nothing, if nothing is.
    pub output: Option<Output>,
}

/// What the caller is told.
#[derive(Clone, Debug)]
pub struct Output {
    data: Option<Expression>,
}

/// No workflow is longer.
const TEXT_SIZE_MAX: usize = 256 * 1024;

impl Workflow {
    /// Reads a workflow, in HCL or JSON.
    ///
    /// # Errors
    /// With everything that is wrong with it, one sentence a line.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|wrong| wrong.join("\n"))
    }

    fn read(text: &str) -> Result<Self, Failure> {
        if text.len() > TEXT_SIZE_MAX {
            return Err(vec![format!("a workflow has no more than {TEXT_SIZE_MAX} bytes")]);
        }
        let body = hcl::parse_any(text).map_err(|error| {
            vec![format!("failed during HCL parsing: At {}:{}: {}", error.line, error.column, error.message)]
        })?;
        let input = only(&body, "input")?.map(fields).transpose()?;
        let inputs = input.as_ref().map(|fields| fields.iter().map(|field| field.name.clone()).collect());
        let dialect = Dialect::Workflow { inputs };
        let groups = groups(&body, &dialect)?;
        if groups.is_empty() {
            return Err(vec!["workflow must have at least one \"flow\" block".to_owned()]);
        }
        let output = only(&body, "output")?.map(|body| Output::read(body, &dialect)).transpose()?;
        Ok(Self { input, groups, output })
    }
}

/// The block of this type, of which there may be one.
fn only<'a>(body: &'a hcl::Body, kind: &str) -> Result<Option<&'a hcl::Body>, Failure> {
    let failed = |why: &str| vec![format!("failed to parse {kind} configuration block: {why}")];
    let mut items = body.all(kind);
    let Some(item) = items.next() else { return Ok(None) };
    if items.next().is_some() {
        return Err(failed(&format!("only a single '{kind}' block is allowed")));
    }
    if item.keys.len() > 1 {
        return Err(failed(&format!("{kind}: type must not be specified in the block definition")));
    }
    let body = match &item.value {
        Hcl::Object(body) => Some(body),
        Hcl::List(items) => match items.as_slice() {
            [Hcl::Object(body)] => Some(body),
            _ => None,
        },
        _ => None,
    };
    body.map(Some).ok_or_else(|| failed(&format!("{kind}: it is no block")))
}

impl Output {
    fn read(body: &hcl::Body, dialect: &Dialect) -> Result<Self, Failure> {
        let mut wrong = unknown(body, &["data", "headers"]);
        let mut read = |value: &Hcl| match Expression::read(value, dialect) {
            Ok(value) => Some(value),
            Err(why) => {
                wrong.push(format!("failed to parse output configuration block: {why}"));
                None
            }
        };
        let data = body.attribute("data").and_then(&mut read);
        if body.attribute("headers").is_some() {
            wrong.push(
                "failed to parse output configuration block: headers are not sent here: leave them out"
                    .to_owned(),
            );
        }
        if wrong.is_empty() { Ok(Self { data }) } else { Err(wrong) }
    }

    /// What the caller is told.
    ///
    /// # Errors
    /// If something is not there.
    pub fn data(&self, within: &Within<'_>) -> Result<Option<Map<String, Value>>, String> {
        let Some(data) = &self.data else { return Ok(None) };
        let failed = |why| format!("failed to evaluate output data: {why}");
        match data.evaluate(within).map_err(failed)? {
            Value::Object(data) => Ok(Some(data)),
            Value::Null => Ok(None),
            _ => Err(failed("'' expected type 'map[string]interface {}'".to_owned())),
        }
    }
}
