//! `initialize "NAME" { request "NAME" { … } }`: what a new server asks of itself, once, before anyone else does.

use std::collections::BTreeSet;

use flow::{Dialect, Expression, Group, Step};

use super::section::{Labelled, Section};

/// No server asks more of itself.
const REQUESTS_MAX: usize = 1_000;

/// All stanzas, in the order of the files.
pub(super) fn read_all(section: &Section<'_>) -> Vec<Group> {
    let mut stanzas: Vec<Group> = Vec::new();
    for block in section.blocks("initialize", 1) {
        let Some(stanza) = stanza(block) else { continue };
        if stanzas.iter().any(|known| known.name == stanza.name) {
            section.error(
                "initialize",
                &format!("two stanzas are named \"{}\": give each its own name", stanza.name),
            );
        }
        stanzas.push(stanza);
    }
    if stanzas.iter().map(|stanza| stanza.steps.len()).sum::<usize>() > REQUESTS_MAX {
        section.error("initialize", &format!("more than {REQUESTS_MAX} requests: make the others later"));
    }
    stanzas
}

fn stanza(block: Labelled<'_>) -> Option<Group> {
    let name = named(&block)?;
    let section = block.section;
    let steps: Vec<Step> = section.blocks("request", 1).into_iter().filter_map(step).collect();
    let when = expression(&section, "when");
    let mut names = BTreeSet::new();
    if steps.iter().any(|step| !names.insert(step.name.as_str())) {
        section.error("request", "two requests have the same name: give each its own");
    }
    if steps.is_empty() {
        section.error("request", "say what to do: request \"NAME\" { operation = \"update\"  path = … }");
    }
    section.close();
    Some(Group { name, when, steps })
}

fn step(block: Labelled<'_>) -> Option<Step> {
    let name = named(&block)?;
    let section = block.section;
    let operation = operation(&section);
    let path = expression(&section, "path");
    if path.is_none() {
        section.error("path", "say where: path = \"sys/mounts/secret\"");
    }
    let token = expression(&section, "token");
    let data = expression(&section, "data");
    let headers = expression(&section, "headers");
    let when = expression(&section, "when");
    let allow_failure = expression(&section, "allow_failure");
    section.close();
    Some(Step { name, operation: operation?, path: path?, token, data, headers, when, allow_failure })
}

fn expression(section: &Section<'_>, key: &'static str) -> Option<Expression> {
    let value = section.value(key)?;
    let read = Expression::read(value, &Dialect::Initialize);
    read.map_err(|why| section.error(key, &format!("\"{key}\": {why}"))).ok()
}

fn named(block: &Labelled<'_>) -> Option<String> {
    let name = block.labels.first().copied().unwrap_or_default();
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|char| char.is_ascii_alphabetic() || char == '_');
    if first && chars.all(|char| char.is_ascii_alphanumeric() || char == '_' || char == '-') {
        return Some(name.to_owned());
    }
    block
        .section
        .error("name", "a name begins with a letter and has letters, digits, dashes and underscores");
    None
}

fn operation(section: &Section<'_>) -> Option<Expression> {
    let operation = expression(section, "operation");
    let known = match &operation {
        Some(Expression::Literal(word)) => word.as_str().is_some_and(|word| flow::verb(word).is_some()),
        Some(Expression::Taken(..)) => true,
        _ => false,
    };
    if !known {
        section.error("operation", "\"operation\" is create, update, read, delete, list, scan or patch");
        return None;
    }
    operation
}
