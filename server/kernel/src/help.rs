use std::fmt::Write as _;

use kit::{Body, Engine, Listed, Match};
use policy::Permit;
use serde_json::{Value, json};

use crate::envelope::Outcome;
use crate::mounts::Mounted;
use crate::openapi;
use crate::request::Request;
use crate::sys::{Sys, always};

/// What a path is for, if that is what was asked. Whoever is known may ask it.
pub(crate) fn asked(request: &Request, mounted: &Mounted, rest: &str, _: Permit) -> Option<Outcome> {
    if !request.help {
        return None;
    }
    let rest = rest.trim_end_matches('/');
    let listed = everything(mounted);
    let here: Vec<&Listed> = listed.iter().filter(|listed| answers(listed, rest)).collect();
    let text = match (rest, here.as_slice()) {
        ("", _) => overview(mounted, &listed),
        (_, []) => return None,
        (_, here) => details(mounted, here),
    };
    let body = json!({ "help": text, "openapi": Value::Null, "see_also": Value::Null });
    Some(Outcome::new(Body::Bare(body.to_string().into_bytes())))
}

/// Every operation of a mount that can be reached from outside, logins included.
pub(crate) fn everything(mounted: &Mounted) -> Vec<Listed> {
    let mut listed = mounted.engine.catalog();
    listed.extend(mounted.method.iter().flat_map(|method| method.logins()));
    listed.retain(|listed| listed.route.verb.is_some());
    if mounted.engine.name() == Sys::NAME {
        listed.extend(always::listed());
    }
    listed
}

/// The first sentence or more of an operation's documentation.
pub(crate) fn about(listed: &Listed) -> &str {
    listed.fields.get("description").and_then(Value::as_str).unwrap_or_default()
}

fn answers(listed: &Listed, rest: &str) -> bool {
    !matches!(listed.route.captures(rest), Match::No)
}

fn overview(mounted: &Mounted, listed: &[Listed]) -> String {
    let mut text = format!("## DESCRIPTION\n\n{}\n\n## PATHS\n\n", mounted.engine.about());
    text.push_str("The following paths are supported by this backend. To view help for\nany of the paths below, use the help command with any route matching\nthe path pattern.\n\n");
    let mut patterns: Vec<&str> = listed.iter().map(|listed| listed.route.pattern).collect();
    patterns.sort_unstable();
    patterns.dedup();
    for pattern in patterns {
        let lines = listed.iter().filter(|listed| listed.route.pattern == pattern);
        let about: Vec<String> =
            lines.map(|listed| format!("{:?}: {}", verb(listed), about(listed))).collect();
        // Writing to a String does not fail.
        let _ = write!(text, "    {pattern}\n        {}\n\n", about.join("\n        "));
    }
    text
}

fn details(mounted: &Mounted, here: &[&Listed]) -> String {
    let mut text = format!(
        "Request:        {}{}\n",
        mounted.entry.path,
        here.first().map_or("", |listed| listed.route.pattern)
    );
    for listed in here {
        let _ = write!(text, "\n## {:?}\n\n{}\n\n", verb(listed), about(listed));
        let (fields, _) =
            openapi::parameters(&openapi::plain(listed.fields.as_value(), listed.fields.as_value(), 0));
        if fields.is_empty() {
            continue;
        }
        text.push_str("## PARAMETERS\n\n");
        for (name, field) in fields {
            let kind = field.get("type").and_then(Value::as_str).unwrap_or("any");
            let about = field.get("description").and_then(Value::as_str).unwrap_or_default();
            let _ = write!(text, "    {name} ({kind})\n        {about}\n\n");
        }
    }
    text
}

fn verb(listed: &Listed) -> kit::Verb {
    listed.route.verb.unwrap_or(kit::Verb::Get)
}
