//! A configuration of the agent, made from what stands in the store.

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::kv::{Mount, Version};
use crate::{
    agent::{
        config::quoted,
        disk::{self, Machine},
    },
    call::Call,
    output::{say, warn},
    secret::Secret,
    session::Session,
    stop::{Outcome, Stop},
};

/// Write a configuration that runs a program with secrets in its environment
///
/// Each field of each secret becomes a variable: a=b in secret/app/db becomes DB_A. A path that ends in /* takes all
/// secrets below. The token comes from the file of `keep login`, which is for trying things out: choose another
/// auto_auth method for production.
#[derive(Args, Debug)]
pub(crate) struct GenerateConfig {
    /// Kind of configuration; there is env-template
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Program to run, with its arguments
    #[arg(long, value_name = "COMMAND", default_value = "env")]
    exec: String,
    /// Secret of a key-value store, or a folder with /* behind it; repeatable
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// File to write
    #[arg(value_name = "FILE", default_value = "agent.hcl")]
    file: PathBuf,
}

/// A folder of secrets is not walked further than this.
const SECRETS_MAX: usize = 1000;

/// One variable and the template of its value.
struct Variable {
    name: String,
    contents: String,
}

impl GenerateConfig {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self.kind.as_deref() {
            Some("env-template") => {}
            None => {
                return Err(Stop::local(
                    "Please specify a -type flag; currently only -type=\"env-template\" is supported.",
                ));
            }
            Some(other) => {
                return Err(Stop::local(format!(
                    "{other:?} is not a supported configuration type; currently only -type=\"env-template\" is supported."
                )));
            }
        }
        let mut variables = Vec::new();
        for path in &self.path {
            secrets(session, path, &mut variables).await?;
        }
        let text = self.hcl(session, unique(variables))?;
        let failed =
            |e: std::io::Error| Stop::local(format!("{} cannot be written: {e}", self.file.display()));
        disk::replace(&Machine, &self.file, text.as_bytes(), 0o600).map_err(failed)?;
        say(format!("Successfully generated \"{}\" configuration file!", self.file.display()));
        warn(
            "Warning: the generated file uses 'token_file' authentication method, which is not suitable for production environments.",
        );
        Ok(0)
    }

    fn hcl(&self, session: &Session, variables: Vec<Variable>) -> Result<String, Stop> {
        let token = session.tokens.file().ok_or_else(|| {
            Stop::local("The token is kept in no file that the agent could read")
                .hint("Set HOME, or KEEP_TOKEN_PATH.")
        })?;
        let words = words(&self.exec).map_err(|why| Stop::local(format!("-exec {why}")))?;
        let mut all = format!(
            "auto_auth {{\nmethod {{\ntype = \"token_file\"\nconfig {{\ntoken_file_path = {}\n}}\n}}\n}}\n\n\
             template_config {{\nstatic_secret_render_interval = \"5m\"\nexit_on_retry_failure = true\n}}\n\n{}\n",
            quoted(&token.display().to_string()),
            session.server.hcl()
        );
        for variable in variables {
            all.push_str(&format!(
                "env_template {} {{\ncontents = {}\nerror_on_missing_key = true\n}}\n\n",
                quoted(&variable.name),
                quoted(&variable.contents)
            ));
        }
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        all.push_str(&format!(
            "exec {{\ncommand = [{}]\nrestart_on_secret_changes = \"always\"\nrestart_stop_signal = \"SIGTERM\"\n}}\n",
            words.join(", ")
        ));
        Ok(crate::hcl::format(&all).unwrap_or(all))
    }
}

/// The variables of a secret, or of all secrets below a folder.
async fn secrets(session: &Session, path: &str, variables: &mut Vec<Variable>) -> Result<(), Stop> {
    let failed = |stop: Stop| stop.before("Error: could not generate templates");
    let (path, folder) = path.strip_suffix("/*").map_or((path, false), |path| (path, true));
    let place = Mount::within_path().find(&session.client, path).await.map_err(failed)?;
    let two = place.version == Version::Two;
    let data = place.api_of_either("data");
    if !folder {
        return one(session, path, &data, two, variables).await.map_err(failed);
    }
    let metadata = place.api_of_either("metadata");
    let mut folders = vec![String::new()];
    let mut seen = 0;
    while let Some(below) = folders.pop() {
        let call = Call::list(format!("{metadata}/{below}"));
        let listed = session.client.read(call).await.map_err(|e| failed(e.into()))?;
        for key in listed.as_ref().and_then(Secret::keys).into_iter().flatten().filter_map(Value::as_str) {
            seen += 1;
            if seen > SECRETS_MAX {
                return Err(Stop::local(format!("There are more than {SECRETS_MAX} secrets below {path}"))
                    .hint("Name a smaller folder with -path."));
            }
            if key.ends_with('/') {
                folders.push(format!("{below}{key}"));
            } else {
                one(
                    session,
                    &format!("{path}/{below}{key}"),
                    &format!("{data}/{below}{key}"),
                    two,
                    variables,
                )
                .await
                .map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// The variables of one secret, which the user calls `given`.
async fn one(
    session: &Session,
    given: &str,
    path: &str,
    two: bool,
    variables: &mut Vec<Variable>,
) -> Result<(), Stop> {
    let secret = session.client.read(Call::get(path)).await?;
    let outer = secret.as_ref().and_then(Secret::data);
    let inner = if two { outer.and_then(|data| data.get("data")).and_then(Value::as_object) } else { outer };
    let missing = || Stop::remote(format!("could not read secret at {given:?}: secret not found"));
    let inner: &Map<String, Value> = inner.ok_or_else(missing)?;
    let start = path.rsplit('/').next().unwrap_or_default();
    let dot = if two { ".Data.data" } else { ".Data" };
    for key in inner.keys() {
        let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !key.starts_with(|c: char| c.is_ascii_digit());
        // A template's dot takes names of variables only; any other key is looked up.
        let field = if plain { format!("{dot}.{key}") } else { format!("index {dot} {key:?}") };
        variables.push(Variable {
            name: name(&format!("{start}_{key}")),
            contents: format!("{{{{ with secret {path:?} }}}}{{{{ {field} }}}}{{{{ end }}}}"),
        });
    }
    Ok(())
}

/// As variables are written.
fn name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// Each secret once, and each variable: the second of a name gets a number.
fn unique(variables: Vec<Variable>) -> Vec<Variable> {
    let (mut names, mut contents) = (BTreeSet::new(), BTreeSet::new());
    let mut kept = Vec::new();
    for mut variable in variables {
        if !contents.insert(variable.contents.clone()) {
            continue;
        }
        let name = variable.name.clone();
        let mut count = 1;
        while !names.insert(variable.name.clone()) {
            count += 1;
            variable.name = format!("{name}_{count}");
        }
        kept.push(variable);
    }
    kept
}

/// The words of a command, with quotes as a shell has them.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("has a quote that does not end");
    }
    words.extend(word);
    if words.is_empty() { Err("names no program") } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_a_shell_splits_them() {
        assert_eq!(words("./app  'a b' \"\" c\"d e\"f").unwrap(), ["./app", "a b", "", "cd ef"]);
        assert!(words("app 'a").is_err() && words("  ").is_err());
    }

    #[test]
    fn no_variable_hides_another() {
        let variable =
            |name: &str, contents: &str| Variable { name: name.to_owned(), contents: contents.to_owned() };
        let kept =
            unique(vec![variable("A", "1"), variable("A", "2"), variable("A", "1"), variable("A", "3")]);
        let names: Vec<&str> = kept.iter().map(|variable| variable.name.as_str()).collect();
        assert_eq!(names, ["A", "A_2", "A_3"]);
        assert_eq!(name("db-prod_user.name"), "DB_PROD_USER_NAME");
    }
}
