//! A new server that sets itself up as its configuration says, once, and forgets the token that it did so with.

use std::path::Path;
use std::sync::Arc;

use flow::{Asked, Chance, Group, History, Outside, Step, Told, Within};
use kernel::{Kernel, Lineage};
use kit::Verb;
use serde_json::Value;
use storage::seal::Split;
use storage::{Random, SystemRandom};

use crate::config::Environment;
use crate::phase::Phase;
use crate::run::{Failure, Running};
use crate::{inside, world};

const ONE: Split = Split { shares: 1, threshold: 1 };
/// A file that is longer than this is no parameter.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// Makes the store and everything that the stanzas say, if there is no store yet.
pub(crate) fn run(running: &Running, stanzas: &[Group], environment: &Environment) -> Result<(), Failure> {
    if stanzas.is_empty() || !matches!(&**running.state.phase(), Phase::Blank) {
        return Ok(());
    }
    let failed = |text: String| {
        Failure::start(format!(
            "the server could not set itself up: {text}. Mend the configuration, move the storage away, and start again"
        ))
    };
    let shares = running.state.init_open(ONE, None).map_err(|stuck| failed(stuck.to_string()))?;
    let kernel = running.state.kernel().ok_or_else(|| failed("it is sealed".to_owned()))?;
    let setup = Setup { kernel: &kernel, root: &shares.root_token, outside: &Around(environment) };
    let done = setup.all(stanzas);
    // Whatever came of it, nobody is left with this token.
    let revoked = inside::ask(&kernel, &shares.root_token, Verb::Post, "auth/token/revoke-self", Vec::new());
    done.map_err(failed)?;
    match revoked.map(|answer| inside::refusal(&answer)) {
        Ok(None) => {}
        Ok(Some(text)) | Err(text) => return Err(failed(format!("its first token is not revoked: {text}"))),
    }
    tracing::info!("the server has set itself up as its configuration says");
    Ok(())
}

/// What lies around the server.
struct Around<'a>(&'a Environment);

impl Outside for Around<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.plain(name).map(str::to_owned)
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        let wrong = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
        let file = std::fs::File::open(path).map_err(wrong)?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_SIZE_MAX), &mut text)
            .map_err(wrong)?;
        Ok(text)
    }
}

/// Where a request stands among all.
struct Place<'a> {
    group: &'a Group,
    group_index: usize,
    step: &'a Step,
    step_index: usize,
}

impl Place<'_> {
    /// By what audit knows it.
    fn id(&self) -> String {
        let (group, step) = (&self.group.name, &self.step.name);
        format!("initialize[{}].{group}.request[{}].{step}", self.group_index, self.step_index)
    }
}

struct Setup<'a> {
    kernel: &'a Arc<Kernel>,
    root: &'a str,
    outside: &'a dyn Outside,
}

impl Setup<'_> {
    fn within<'a>(&'a self, history: &'a History) -> Within<'a> {
        Within {
            history,
            input: None,
            outside: Some(self.outside),
            chance: Chance { now: world::now(), fill: Arc::new(|bytes: &mut [u8]| SystemRandom.fill(bytes)) },
        }
    }

    fn all(&self, stanzas: &[Group]) -> Result<(), String> {
        let mut history = History::default();
        for (group_index, group) in stanzas.iter().enumerate() {
            let named = |why: String| format!("initialize \"{}\": {why}", group.name);
            if !group.is_made(&self.within(&history)).map_err(named)? {
                tracing::info!(stanza = group.name, "left out");
                continue;
            }
            for (step_index, step) in group.steps.iter().enumerate() {
                let named =
                    |why: String| format!("initialize \"{}\", request \"{}\": {why}", group.name, step.name);
                let place = Place { group, group_index, step, step_index };
                self.one(&place, &mut history).map_err(named)?;
            }
        }
        Ok(())
    }

    /// Makes one request.
    fn one(&self, place: &Place<'_>, history: &mut History) -> Result<(), String> {
        let (stanza, request) = (&place.group.name, &place.step.name);
        let asked = place.step.asked(&self.within(history))?;
        history.note_request(stanza, request, &place.id(), &asked)?;
        if !asked.made {
            tracing::info!(stanza, request, "left out");
            return Ok(());
        }
        let told = self.ask(&asked, place.id())?;
        match told.refusal() {
            None => tracing::info!(stanza, request, "done"),
            Some(text) if asked.may_fail => {
                tracing::warn!(stanza, request, text, "refused, which is allowed");
                return Ok(());
            }
            Some(text) => return Err(format!("{}: {text}", told.status())),
        }
        history.note_response(stanza, request, &told)
    }

    fn ask(&self, asked: &Asked, id: String) -> Result<Told, String> {
        let token = asked.token.as_deref().unwrap_or(self.root);
        let data = match asked.data.is_empty() {
            true => Vec::new(),
            false => Value::Object(asked.data.clone()).to_string().into_bytes(),
        };
        let mut request = inside::request(token, asked.verb, &asked.path, data)?;
        request.lineage = Lineage::named(id);
        for (name, values) in &asked.headers {
            for value in values {
                match name.as_str() {
                    "x-vault-namespace" => request.namespace = value.trim_matches('/').to_owned(),
                    _ => request.headers.push((name.clone(), value.clone())),
                }
            }
        }
        let answer = inside::send(self.kernel, &request);
        Ok(Told::new(answer.status, &answer.body))
    }
}
