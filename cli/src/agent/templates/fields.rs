//! Fields as Go has them. A map without a key gives nothing, and nothing has no fields; a secret is no map: a field that
//! it has not is a mistake. The library takes all of these for nothing, and a file with `<no value>` for a password would
//! take the place of a good one.

use std::{collections::BTreeMap, sync::Arc};

use gotmpl::{
    MissingKey, TemplateError, Value,
    parse::{CommandNode, Expr, ListNode, Node, PipeNode},
};

use super::{
    functions::{argument, string, wrong},
    language::Made,
    values::SHOWN,
};

/// What a path of fields becomes: a function of the value and their names.
pub(super) const FIELD: &str = "\u{1}field";

/// What is no map in Go, by its fields.
const STRUCTURES: [(&str, &[&str]); 4] = [
    (
        "a secret",
        &["RequestID", "LeaseID", "LeaseDuration", "Renewable", "Data", "Warnings", "Auth", "WrapInfo"],
    ),
    (
        "Auth",
        &[
            "ClientToken",
            "Accessor",
            "Policies",
            "TokenPolicies",
            "IdentityPolicies",
            "Metadata",
            "Orphan",
            "EntityID",
            "LeaseDuration",
            "Renewable",
        ],
    ),
    ("WrapInfo", &["Token", "Accessor", "TTL", "CreationTime", "CreationPath", "WrappedAccessor"]),
    ("a certificate", &["Cert", "Key", "CA", "CAChain", "Data"]),
];

/// Where a path stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Outside of all: there the dot is nothing, and in Go every field of it is nothing too.
    Top,
    /// In a `with` or `range` of the text itself, where `$` still is that nothing.
    Inside,
    /// In a template that another one executes.
    Defined,
}

/// Puts the function in the place of every path of fields.
pub(super) fn replace(list: &mut ListNode, at: Place) {
    let inside = if at == Place::Top { Place::Inside } else { at };
    for node in &mut list.nodes {
        match node {
            Node::List(list) => replace(list, at),
            Node::Action(action) => pipe(&mut action.pipe, at),
            Node::If(branch) => {
                pipe(&mut branch.pipe, at);
                replace(&mut branch.body, at);
                branch.else_body.iter_mut().for_each(|body| replace(body, at));
            }
            Node::Range(branch) | Node::With(branch) => {
                pipe(&mut branch.pipe, at);
                replace(&mut branch.body, inside);
                branch.else_body.iter_mut().for_each(|body| replace(body, at));
            }
            Node::Template(template) => template.pipe.iter_mut().for_each(|inner| pipe(inner, at)),
            Node::Define(define) => replace(&mut define.body, Place::Defined),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }
}

fn pipe(pipe: &mut PipeNode, at: Place) {
    for command in &mut pipe.commands {
        // A function at the beginning takes what follows; its fields come after that.
        let calls = |(first, arg): &(usize, &mut Expr)| {
            *first == 0 && matches!(arg, Expr::Chain(_, inner, _) if matches!(**inner, Expr::Identifier(..)))
        };
        let args = command.args.iter_mut().enumerate().filter(|arg| !calls(arg));
        args.for_each(|(_, arg)| expression(arg, at));
    }
}

fn expression(arg: &mut Expr, at: Place) {
    let pos = arg.pos();
    let (base, fields) = match arg {
        Expr::Pipe(_, inner) => return pipe(inner, at),
        Expr::Field(..) if at == Place::Top => return,
        Expr::Variable(_, name, _) if at != Place::Defined && *name == "$" => return,
        Expr::Field(_, fields) => (Expr::Dot(pos), std::mem::take(fields)),
        Expr::Variable(_, name, fields) if !fields.is_empty() => {
            (Expr::Variable(pos, name.clone(), Vec::new()), std::mem::take(fields))
        }
        Expr::Chain(_, inner, fields) => {
            expression(inner, at);
            (std::mem::replace(&mut **inner, Expr::Nil(pos)), std::mem::take(fields))
        }
        _ => return,
    };
    let names = fields.iter().map(|name| Expr::String(pos, name.as_str().into()));
    let args = [Expr::Identifier(pos, FIELD.into()), base].into_iter().chain(names).collect();
    let commands = vec![CommandNode { pos, args }];
    *arg = Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands, is_assign: false });
}

/// What such a path leads to.
pub(super) fn field(missing: MissingKey, args: &[Value]) -> Made {
    let mut value = argument(args, 0)?.clone();
    for at in 1..args.len() {
        value = below(&value, string(args, at)?, missing)?;
    }
    Ok(value)
}

fn below(value: &Value, name: &str, missing: MissingKey) -> Made {
    match value {
        Value::Map(fields) => match (fields.get(name), structure(fields), missing) {
            (Some(found), _, _) => Ok(found.clone()),
            (None, Some((what, known)), _) => {
                Err(wrong(format!("{what} has no field .{name}: it has {}", known.join(", "))))
            }
            (None, None, MissingKey::Error) => Err(TemplateError::MissingKey { key: name.to_owned() }),
            (None, None, _) => Ok(Value::Nil),
        },
        Value::Nil => Err(wrong(format!(
            "what .{name} is to be taken of is not there; is it the right secret, and does it need .Data.data?"
        ))),
        _ => Err(wrong(format!("what .{name} is to be taken of has no fields"))),
    }
}

fn structure(fields: &BTreeMap<Arc<str>, Value>) -> Option<(&'static str, &'static [&'static str])> {
    if fields.contains_key(SHOWN) {
        return Some(("a version", &["Major", "Minor", "Patch", "Prerelease", "Metadata", "Original"]));
    }
    let is =
        |known: &[&str]| known.len() == fields.len() && known.iter().all(|name| fields.contains_key(*name));
    STRUCTURES.into_iter().find(|(_, known)| is(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{
        moment::Moment,
        templates::{
            language::{Known, Program, Run, Writing},
            query::Query,
        },
    };

    /// As bao agent has it, whether a missing key ends the run or not.
    #[test]
    fn a_wrong_path_is_no_value_only_where_go_has_one() {
        let run = |text: &str, missing: MissingKey| {
            let delimiters = ("{{".to_owned(), "}}".to_owned());
            let writing = Writing { delimiters, missing, sandbox: None, denied: Vec::new() };
            let mut known = Known::default();
            let json = r#"{"RequestID": "", "LeaseID": "", "LeaseDuration": 0, "Renewable": false, "Warnings": null, "Auth": null,
                "WrapInfo": null, "Data": {"data": {"a": "x", "n": null}}}"#;
            let value = known.numbers.read(&serde_json::from_str(json).unwrap());
            known.answers.insert(Query::Read("k".to_owned()), value);
            let whole = format!("{{{{ with secret \"k\" }}}}{text}{{{{ end }}}}");
            match Program::read(whole, writing).unwrap().run(&known, Moment::default()) {
                Run::Done(done) => done.text.to_string(),
                Run::Failed(why) => format!("! {why}"),
                Run::Wants(query) => panic!("{text} wants {query}"),
            }
        };
        for (text, expect) in [
            ("{{ .Data.data.a }}", "x"),
            ("{{ .Data.data.nope }}", "<no value>"),
            ("{{ $d := .Data.data }}{{ $d.nope }}{{ $d.a }}", "<no value>x"),
            ("{{ if .Data.data.nope }}a{{ else }}b{{ end }}", "b"),
            ("{{ with .Data.data }}{{ .a }}{{ end }}{{ (index .Data \"data\").a }}", "xx"),
        ] {
            assert_eq!(run(text, MissingKey::Invalid), expect, "{text}");
        }
        for (text, words) in [
            ("{{ .data.data.a }}", "a secret has no field .data: it has RequestID, LeaseID"),
            ("{{ .Nope.x }}", "a secret has no field .Nope"),
            ("{{ .Data.data.nope.x }}", "what .x is to be taken of is not there"),
            ("{{ if .Data.data.nope.x }}a{{ else }}b{{ end }}", "what .x is to be taken of is not there"),
            ("{{ $d := .Data.data.n }}{{ $d.x }}", "what .x is to be taken of is not there"),
            ("{{ (index .Data.data \"n\").x }}", "what .x is to be taken of is not there"),
            ("{{ .Auth.ClientToken }}", "what .ClientToken is to be taken of is not there"),
            ("{{ .Data.data.a.x }}", "what .x is to be taken of has no fields"),
        ] {
            for missing in [MissingKey::Invalid, MissingKey::Error] {
                let made = run(text, missing);
                assert!(
                    made.starts_with("! ") && (made.contains(words) || missing == MissingKey::Error),
                    "{text}: {made}"
                );
            }
        }
    }
}
