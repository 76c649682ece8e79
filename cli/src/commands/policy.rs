use std::{fs, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::{
    call::Call,
    client::Found,
    doc::Doc,
    hcl,
    output::{say, warn},
    pairs, paths, prompt,
    refused::Refused,
    secret::Secret,
    session::Session,
    stop::{Outcome, Stop},
    table::{columns, plain, table},
    token_store::write_private,
};

/// Work with policies
#[derive(Subcommand, Debug)]
pub(crate) enum Policy {
    /// List the policies
    List,
    Read(Read),
    Write(Write),
    Delete(Delete),
    Fmt(Fmt),
    Explain(Explain),
}

impl Policy {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Policy::List => list(session).await,
            Policy::Read(verb) => verb.run(session).await,
            Policy::Write(verb) => verb.run(session).await,
            Policy::Delete(verb) => verb.run(session).await,
            Policy::Fmt(verb) => verb.run(),
            Policy::Explain(verb) => verb.run(session).await,
        }
    }
}

async fn list(session: &Session) -> Outcome {
    let secret = session
        .client
        .standing(Call::list("sys/policies/acl"))
        .await
        .map_err(|e| e.during("Error listing policies"))?;
    let names = secret.keys().cloned().unwrap_or_default();
    if !session.output.is_table() {
        return session.output.doc(&Doc::Value(Value::Array(names)));
    }
    for name in &names {
        say(plain(name));
    }
    Ok(0)
}

/// Print a policy
#[derive(Args, Debug)]
pub(crate) struct Read {
    /// Name of the policy
    name: String,
}

impl Read {
    async fn run(self, session: &Session) -> Outcome {
        let name = self.name.trim().to_lowercase();
        let secret = session
            .client
            .read(Call::get(format!("sys/policies/acl/{name}")))
            .await
            .map_err(|e| e.during(format!("Error reading policy named {name}")))?;
        let rules = secret.as_ref().and_then(|secret| secret.text("policy"));
        let rules = rules.ok_or_else(|| Stop::remote(format!("No policy named: {name}")))?;
        if session.output.is_table() {
            say(rules.trim());
            return Ok(0);
        }
        session.output.doc(&Doc::map(vec![("policy", json!(rules).into())]))
    }
}

/// Upload a policy, in place of what is there
#[derive(Args, Debug)]
pub(crate) struct Write {
    /// Name of the policy
    name: String,
    /// File to upload; `-` reads from a pipe
    #[arg(value_name = "FILE")]
    file: String,
}

impl Write {
    async fn run(self, session: &Session) -> Outcome {
        let name = self.name.trim().to_lowercase();
        let rules = match self.file.as_str() {
            "-" => prompt::piped().map_err(Stop::local)?.to_string(),
            file => fs::read_to_string(file).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => {
                    Stop::remote(format!("Error opening policy file: open {file}: no such file or directory"))
                }
                _ => Stop::remote(format!("Error reading policy: {file}: {e}")),
            })?,
        };
        let body = json!({ "policy": rules });
        let secret = session
            .client
            .write(Call::put(format!("sys/policies/acl/{name}"), body))
            .await
            .map_err(|e| e.during("Error uploading policy"))?;
        if let Some(secret) = secret {
            session.output.warnings(&secret);
        }
        if name != self.name {
            warn(format!("Policy name was converted from {:?} to {name:?}", self.name));
        }
        say(format!("Success! Uploaded policy: {name}"));
        Ok(0)
    }
}

/// Delete a policy; tokens that carry it lose what it allowed
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Name of the policy
    name: String,
}

impl Delete {
    async fn run(self, session: &Session) -> Outcome {
        let name = self.name.trim().to_lowercase();
        session
            .client
            .send(Call::delete(format!("sys/policies/acl/{name}")))
            .await
            .map_err(|e| e.during(format!("Error deleting {name}")))?;
        say(format!("Success! Deleted policy: {name}"));
        Ok(0)
    }
}

/// Format a policy file in place
#[derive(Args, Debug)]
pub(crate) struct Fmt {
    /// File to format
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Fmt {
    /// Needs no server: layout is not meaning.
    pub(crate) fn run(&self) -> Outcome {
        let name = self.file.display().to_string();
        let text = fs::read_to_string(&self.file)
            .map_err(|e| Stop::local(format!("Error reading source file {name}: {e}")))?;
        let formatted = hcl::format(&text).map_err(|e| Stop::local(format!("Error parsing {name}: {e}")))?;
        if formatted != text {
            let permissions = fs::metadata(&self.file).map(|meta| meta.permissions());
            write_private(&self.file, formatted.as_bytes())
                .and_then(|()| fs::set_permissions(&self.file, permissions?))
                .map_err(|e| Stop::local(format!("Error writing result to {name}: {e}")))?;
        }
        say(format!("Success! Formatted policy: {name}"));
        Ok(0)
    }
}

/// Explain which rule of which policy decides a request
///
/// For example: `keep policy explain secret/data/app read`. Without -token and -policy it is about your own
/// token. This is a question that only Sealkeep answers.
#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// Token whose policies count
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Policy that counts, in place of a token's; repeatable
    #[arg(long, value_name = "NAME")]
    policy: Vec<String>,
    /// Path of the request
    path: String,
    /// What is to be done: read, list, create, update, patch, delete or scan
    #[arg(value_name = "OPERATION")]
    operation: String,
    /// Parameters of the request, as key=value
    #[arg(value_name = "K=V")]
    parameters: Vec<String>,
}

impl Explain {
    async fn run(self, session: &Session) -> Outcome {
        let mut body = Map::new();
        body.insert("path".to_owned(), json!(paths::clean(&self.path)));
        body.insert("operation".to_owned(), json!(self.operation.to_lowercase()));
        if let Some(token) = &self.token {
            body.insert("token".to_owned(), json!(token));
        }
        if !self.policy.is_empty() {
            body.insert("policies".to_owned(), json!(self.policy));
        }
        if !self.parameters.is_empty() {
            let parameters = pairs::read(&self.parameters, session.interactive)?;
            body.insert("parameters".to_owned(), Value::Object(parameters));
        }
        let asked = session.client.write(Call::post("sys/policies/explain", Value::Object(body))).await;
        let secret = asked.map_err(|refused| match &refused {
            Refused::Answer(answer) if unknown_endpoint(answer) => Stop::remote(format!(
                "The server at {} cannot explain policies: it has no such endpoint (sys/policies/explain).",
                session.client.address.base
            ))
            .hint("Only Sealkeep answers this. Elsewhere, `keep token capabilities` says what is allowed, not why."),
            _ => refused.during("Error explaining the policy"),
        })?;
        let secret = secret.ok_or_else(|| Stop::remote("The server explained nothing"))?;
        let warned = Secret { warnings: self.unknown(session, &secret).await, ..Secret::default() };
        session.output.warnings(&warned);
        match secret.data().filter(|_| session.output.is_table() && secret.text("verdict").is_some()) {
            Some(data) => {
                session.output.warnings(&secret);
                say(told(data));
                Ok(0)
            }
            None => session.output.secret(&secret),
        }
    }
}

impl Explain {
    /// The policies asked about that are none: where nothing stands nothing is allowed, and the verdict does not show why.
    async fn unknown(&self, session: &Session, explained: &Secret) -> Option<Vec<String>> {
        let mut unknown = Vec::new();
        for name in &self.policy {
            let text = format!("Policy {name:?} does not exist");
            let known = explained.warnings.iter().flatten().any(|warning| warning.contains(&text));
            let path = format!("sys/policies/acl/{}", name.trim().to_lowercase());
            // Who may not read policies may still ask what they do.
            if !known && matches!(session.client.find(Call::get(path)).await, Ok(Found::Nothing { .. })) {
                unknown.push(text);
            }
        }
        Some(unknown)
    }
}

/// The verdict, where it comes from, and what came close.
fn told(data: &Map<String, Value>) -> String {
    let text =
        |value: &Value, key: &str| value.get(key).filter(|v| !v.is_null()).map(plain).unwrap_or_default();
    let list =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let whole = Value::Object(data.clone());
    let mut rows = vec![vec!["Verdict".to_owned(), text(&whole, "verdict")]];
    for (title, key) in
        [("Path", "path"), ("Capability", "capability"), ("Rule", "rule"), ("Reason", "reason")]
    {
        if !text(&whole, key).is_empty() {
            rows.push(vec![title.to_owned(), text(&whole, key)]);
        }
    }
    let place = |origin: &Value| {
        let namespace = text(origin, "namespace");
        format!("{namespace}{}:{}", text(origin, "policy"), text(origin, "line"))
    };
    let mut out = columns(&rows);
    let origins = list(&whole, "decided_by");
    if !origins.is_empty() {
        let rows = origins.iter().map(|origin| vec![place(origin), text(origin, "capabilities")]).collect();
        out = format!("{out}\n\n{}", table(&["Decided by", "Capabilities"], rows));
    }
    let misses = list(&whole, "near_misses");
    if !misses.is_empty() {
        let places = |miss: &Value| list(miss, "origins").iter().map(place).collect::<Vec<_>>().join(", ");
        let rows =
            misses.iter().map(|miss| vec![text(miss, "rule"), places(miss), text(miss, "why")]).collect();
        out = format!("{out}\n\n{}", table(&["Near miss", "Policy", "Why not"], rows));
    }
    out
}

fn unknown_endpoint(answer: &crate::refused::Answer) -> bool {
    match answer.status {
        404 => true,
        400 | 405 => answer.says("unsupported"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_is_told_with_its_lines() {
        let data = json!({
            "verdict": "denied", "path": "secret/data/a", "capability": "update", "rule": "secret/*",
            "reason": "the rule does not grant update", "decided_by": [{"policy": "app", "line": 3, "capabilities": ["read"]}],
            "near_misses": [{"rule": "secret/+/b", "origins": [{"policy": "ops", "line": 9}], "why": "another name"}],
        });
        let expect = "Verdict       denied\nPath          secret/data/a\nCapability    update\nRule          secret/*\n\
                      Reason        the rule does not grant update\n\nDecided by    Capabilities\n----------    ------------\n\
                      app:3         [read]\n\nNear miss     Policy    Why not\n---------     ------    -------\n\
                      secret/+/b    ops:9     another name";
        assert_eq!(told(data.as_object().unwrap()), expect);
    }
}
