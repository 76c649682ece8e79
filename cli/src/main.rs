//! `keep`: the command line of Sealkeep. It speaks the HTTP API and nothing else, so it works with every
//! server that does.
#![allow(rustdoc::broken_intra_doc_links, reason = "help is doc comments, and names variables in brackets")]

mod address;
mod agent;
mod argv;
mod call;
mod catalog;
mod client;
mod commands;
mod doc;
mod flags;
mod hcl;
mod help;
mod limit;
mod output;
mod pairs;
mod paths;
mod pem;
mod preview;
mod prompt;
mod refused;
mod secret;
mod session;
mod settings;
mod span;
mod stop;
mod table;
mod tls;
mod token_store;
mod transport;
mod trouble;
mod upload;
mod yaml;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::{
    argv::Line,
    commands::Verb,
    flags::Globals,
    output::{say, warn},
    settings::Settings,
    stop::{Outcome, Stop},
};

/// The command line of Sealkeep, a server for secrets and certificates.
///
/// It speaks Vault's HTTP API with Vault's verbs, so it also works with OpenBao and Vault. Flags may be
/// written with one dash or two, before or after the arguments. Every variable KEEP_X may also be called
/// BAO_X or VAULT_X.
#[derive(Parser, Debug)]
#[command(name = "keep", version, disable_help_subcommand = true, disable_version_flag = true)]
struct Keep {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

fn main() -> ExitCode {
    let args: Result<Vec<String>, _> = std::env::args_os().skip(1).map(|arg| arg.into_string()).collect();
    let outcome = match args {
        Ok(args) => run(&args),
        Err(_) => Err(Stop::local("The command line holds bytes that are not UTF-8")
            .hint("Put such a value into a file and give it as key=@file.")),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(Stop::Shown(text)) => {
            say(text);
            ExitCode::SUCCESS
        }
        Err(Stop::Failed { code, message, hint }) => {
            warn(message);
            if let Some(hint) = hint {
                warn(hint);
            }
            ExitCode::from(code)
        }
    }
}

/// The whole command line as data: what parsing, help, man pages and completion read.
pub(crate) fn root() -> clap::Command {
    let mut root = Keep::command();
    root.build();
    root
}

fn run(args: &[String]) -> Outcome {
    let root = root();
    match argv::read(&root, args) {
        Line::Version => commands::version(),
        Line::Help(names) => {
            say(help::text(&root, &names));
            Ok(0)
        }
        Line::Lost(names, code, word) => {
            warn(help::text(&root, &names));
            if let Some(word) = word {
                let group: String = names.iter().map(|name| format!("{name} ")).collect();
                match elsewhere(&group, &word) {
                    Some(advice) => warn(format!("There is no command \"keep {group}{word}\": {advice}.")),
                    None => warn(format!(
                        "There is no command \"keep {group}{word}\": those there are stand above."
                    )),
                }
            }
            Ok(code)
        }
        Line::Wrong(message) => Err(Stop::local(message)),
        Line::Run(args) => {
            let whole = std::iter::once("keep".to_owned()).chain(args);
            let keep = Keep::try_parse_from(whole).map_err(|e| Stop::local(help::mistake(&e)))?;
            perform(keep)
        }
    }
}

/// Where something is that other command lines have and this one calls otherwise.
fn elsewhere(group: &str, word: &str) -> Option<&'static str> {
    Some(match (group, word) {
        ("", "server") => "the server is a program of its own, `sealkeep server`",
        ("", "proxy") => "the agent is a proxy too, `keep agent` with a listener in its configuration",
        ("operator ", "migrate") => {
            "a store stays in the format of its storage; copy what you need through the API"
        }
        _ => return None,
    })
}

fn perform(keep: Keep) -> Outcome {
    if let Some(outcome) = keep.verb.local() {
        return outcome;
    }
    let mut session = keep.globals.session(Settings::read())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Stop::local(format!("The system gives no event loop: {e}")))?;
    runtime.block_on(keep.verb.run(&mut session))
}
