//! The verbs. One file or folder for each group, each a clap declaration and what it does.

mod agent;
mod agent_config;
mod audit;
mod auth;
mod cert;
mod completion;
mod debug;
mod generate_root;
mod kv;
mod lease;
mod logical;
mod login;
mod monitor;
mod mounts;
mod namespace;
mod namespace_seals;
mod of_server;
mod operator;
mod path_help;
mod pki;
mod plugin;
mod policy;
mod print;
mod raft;
mod rekey;
mod secrets;
mod ssh;
mod status;
mod token;
mod totp;
mod transit;
mod unwrap;
mod version_history;

use clap::{Args, Subcommand};

use crate::{
    output::{Format, say},
    session::Session,
    stop::Outcome,
};

/// All verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    Read(logical::Read),
    Write(logical::Write),
    Delete(logical::Delete),
    List(logical::List),
    Scan(logical::Scan),
    Patch(logical::Patch),
    Login(login::Login),
    Status(status::Status),
    Unwrap(unwrap::Unwrap),
    Agent(agent::Agent),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Auth(auth::Auth),
    #[command(subcommand)]
    Cert(cert::Cert),
    Debug(debug::Debug),
    #[command(subcommand)]
    Kv(kv::Kv),
    #[command(subcommand)]
    Lease(lease::Lease),
    Monitor(monitor::Monitor),
    #[command(subcommand)]
    Namespace(namespace::Namespace),
    #[command(subcommand)]
    Operator(operator::Operator),
    PathHelp(path_help::PathHelp),
    #[command(subcommand)]
    Pki(pki::Pki),
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    #[command(subcommand)]
    Policy(policy::Policy),
    #[command(subcommand)]
    Print(print::Print),
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    Ssh(ssh::Ssh),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Totp(totp::Totp),
    #[command(subcommand)]
    Transit(transit::Transit),
    VersionHistory(version_history::VersionHistory),
    Completion(completion::Completion),
    #[command(hide = true)]
    CompletePaths(completion::CompletePaths),
    Man(completion::Man),
    /// Print the version of this program
    Version,
}

/// `-field`, for the commands whose answer has fields.
#[derive(Args, Debug)]
pub(crate) struct Field {
    /// Print only this field of the answer, without a final newline into a pipe
    #[arg(long, value_name = "NAME", help_heading = "Output Options")]
    pub(crate) field: Option<String>,
}

impl Verb {
    /// Runs what needs neither a server nor settings.
    pub(crate) fn local(&self) -> Option<Outcome> {
        match self {
            Verb::Version => Some(version()),
            Verb::Completion(verb) => Some(verb.run()),
            Verb::CompletePaths(verb) => Some(verb.run()),
            Verb::Man(verb) => Some(verb.run()),
            Verb::Policy(policy::Policy::Fmt(verb)) => Some(verb.run()),
            _ => None,
        }
    }

    /// Runs the verb.
    pub(crate) async fn run(self, session: &mut Session) -> Outcome {
        if !matches!(self, Verb::Read(_)) && session.output.format == Format::Raw {
            session.output.refuse_raw()?;
        }
        session.load_token()?;
        match self {
            Verb::Read(verb) => verb.run(session).await,
            Verb::Write(verb) => verb.run(session).await,
            Verb::Delete(verb) => verb.run(session).await,
            Verb::List(verb) => verb.run(session).await,
            Verb::Scan(verb) => verb.run(session).await,
            Verb::Patch(verb) => verb.run(session).await,
            Verb::Login(verb) => verb.run(session).await,
            Verb::Status(verb) => verb.run(session).await,
            Verb::Unwrap(verb) => verb.run(session).await,
            Verb::Agent(verb) => verb.run(session).await,
            Verb::Audit(verb) => verb.run(session).await,
            Verb::Auth(verb) => verb.run(session).await,
            Verb::Cert(verb) => verb.run(session).await,
            Verb::Debug(verb) => verb.run(session).await,
            Verb::Kv(verb) => verb.run(session).await,
            Verb::Lease(verb) => verb.run(session).await,
            Verb::Monitor(verb) => verb.run(session).await,
            Verb::Namespace(verb) => verb.run(session).await,
            Verb::Operator(verb) => verb.run(session).await,
            Verb::PathHelp(verb) => verb.run(session).await,
            Verb::Pki(verb) => verb.run(session).await,
            Verb::Plugin(verb) => verb.run(session).await,
            Verb::Policy(verb) => verb.run(session).await,
            Verb::Print(verb) => verb.run(session),
            Verb::Secrets(verb) => verb.run(session).await,
            Verb::Ssh(verb) => verb.run(session).await,
            Verb::Token(verb) => verb.run(session).await,
            Verb::Totp(verb) => verb.run(session).await,
            Verb::Transit(verb) => verb.run(session).await,
            Verb::VersionHistory(verb) => verb.run(session).await,
            Verb::Completion(verb) => verb.run(),
            Verb::CompletePaths(verb) => verb.run(),
            Verb::Man(verb) => verb.run(),
            Verb::Version => version(),
        }
    }
}

/// Prints the version.
pub(crate) fn version() -> Outcome {
    say(format!("Sealkeep keep v{}", env!("CARGO_PKG_VERSION")));
    Ok(0)
}
