use std::collections::BTreeSet;

use policy::hcl::{Block, Body, Value};

use crate::expression::Expression;
use crate::step::{Group, STEPS_MAX, Step};

/// Where requests are written down, which says what they may take values from.
#[derive(Clone, Debug)]
pub enum Dialect {
    /// In the configuration of a server: they may look at the environment and at files.
    Initialize,
    /// In a workflow, whose caller gives these.
    Workflow {
        /// The names of what the caller gives; nothing, if there is no `input`.
        inputs: Option<Vec<String>>,
    },
}

/// What is wrong with a text, one sentence each.
pub type Failure = Vec<String>;

impl Dialect {
    /// What groups are called.
    pub(crate) fn outer(&self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Workflow { .. } => "flow",
        }
    }

    pub(crate) fn looks_outside(&self) -> bool {
        matches!(self, Self::Initialize)
    }

    pub(crate) fn inputs(&self) -> Option<&[String]> {
        match self {
            Self::Initialize => None,
            Self::Workflow { inputs } => inputs.as_deref(),
        }
    }

    pub(crate) fn sources(&self) -> &'static str {
        match self {
            Self::Initialize => "env, file, request, response, cel or template",
            Self::Workflow { .. } => "request, response, cel, template or input",
        }
    }
}

/// What a request may say of itself.
const STEP_KEYS: [&str; 7] = ["operation", "path", "token", "data", "headers", "when", "allow_failure"];

/// The groups of requests in a text.
///
/// # Errors
/// With everything that is wrong.
pub fn groups(body: &Body, dialect: &Dialect) -> Result<Vec<Group>, Failure> {
    let outer = dialect.outer();
    let nameless = |error: policy::hcl::ParseError| {
        vec![format!(
            "failed to parse workflow: {outer}.0: {outer} type must be specified: {}",
            error.message
        )]
    };
    let blocks = body.blocks(outer, 1).map_err(nameless)?;
    if body.all(outer).any(|item| item.keys.len() < 2 && !names_below(&item.value)) {
        return Err(vec![format!("failed to parse workflow: {outer}.0: {outer} type must be specified")]);
    }
    let (mut groups, mut wrong): (Vec<Group>, Failure) = (Vec::new(), Vec::new());
    for (index, block) in blocks.iter().enumerate() {
        let name = label(block);
        if let Some(first) = groups.iter().position(|group| group.name == name) {
            wrong.push(format!("duplicate outer block name '{name}' found at indices {first} and {index}"));
        }
        if let Err(why) = check_name("outer block", &name) {
            wrong.push(why);
        }
        match group(block, name, dialect) {
            Ok(group) => groups.push(group),
            Err(more) => wrong.extend(more),
        }
    }
    if groups.iter().map(|group| group.steps.len()).sum::<usize>() > STEPS_MAX {
        wrong.push(format!("a workflow has no more than {STEPS_MAX} requests"));
    }
    if wrong.is_empty() { Ok(groups) } else { Err(wrong) }
}

/// In JSON the name is a key below.
fn names_below(value: &Value) -> bool {
    match value {
        Value::Object(body) => {
            body.items.iter().all(|item| item.keys.len() == 1 && item.value.as_body().is_some())
                && !body.items.iter().any(|item| item.key() == "request")
        }
        Value::List(items) => items.iter().all(names_below),
        _ => false,
    }
}

fn label(block: &Block<'_>) -> String {
    block.labels.first().copied().unwrap_or_default().to_owned()
}

/// A name begins with a letter, so that expressions can say it.
fn check_name(kind: &str, name: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if first && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        return Ok(());
    }
    Err(format!(
        "{kind} name '{name}' is invalid: must start with a letter or underscore and contain only letters, digits"
    ))
}

fn group(block: &Block<'_>, name: String, dialect: &Dialect) -> Result<Group, Failure> {
    let mut wrong = unknown(block.body, &["request", "when"]);
    let when = match expression(block.body, "when", dialect) {
        Ok(when) => when,
        Err(why) => {
            wrong.push(format!("{}.[{name}]: when: {why}", dialect.outer()));
            None
        }
    };
    let requests = block.body.blocks("request", 1);
    let requests = requests.map_err(|error| vec![format!("failed to parse workflow: {}", error.message)])?;
    let (mut steps, mut names) = (Vec::new(), BTreeSet::new());
    for (index, request) in requests.iter().enumerate() {
        let step_name = label(request);
        if !names.insert(step_name.clone()) {
            let first = steps.iter().position(|step: &Step| step.name == step_name).unwrap_or(0);
            wrong.push(format!(
                "duplicate request name '{step_name}' in outer block '{name}' at indices {first} and {index}"
            ));
        }
        if let Err(why) = check_name(&format!("request in block '{name}'"), &step_name) {
            wrong.push(why);
        }
        match step(request.body, step_name, dialect) {
            Ok(step) => steps.push(step),
            Err(more) => wrong.extend(more),
        }
    }
    if wrong.is_empty() { Ok(Group { name, when, steps }) } else { Err(wrong) }
}

fn step(body: &Body, name: String, dialect: &Dialect) -> Result<Step, Failure> {
    let mut wrong = unknown(body, &STEP_KEYS);
    let mut read = |key: &str| match expression(body, key, dialect) {
        Ok(value) => value,
        Err(why) => {
            wrong.push(format!("request.[{name}]: failed to evaluate {key}: {why}"));
            None
        }
    };
    let empty = || Expression::text("");
    let step = Step {
        operation: read("operation").unwrap_or_else(empty),
        path: read("path").unwrap_or_else(empty),
        token: read("token"),
        data: read("data"),
        headers: read("headers"),
        when: read("when"),
        allow_failure: read("allow_failure"),
        name: name.clone(),
    };
    if wrong.is_empty() { Ok(step) } else { Err(wrong) }
}

fn expression(body: &Body, key: &str, dialect: &Dialect) -> Result<Option<Expression>, String> {
    body.attribute(key).map(|value| Expression::read(value, dialect)).transpose()
}

/// A sentence for each key that is not known.
pub(crate) fn unknown(body: &Body, known: &[&str]) -> Failure {
    let unknown = body.items.iter().filter(|item| !known.contains(&item.key()));
    let sentence = |item: &policy::hcl::Item| {
        let (key, line, column) = (item.key(), item.line, item.column);
        format!("unknown or unsupported field {key} found in configuration at workflow:{line}:{column}")
    };
    unknown.map(sentence).collect()
}
