//! The Sealkeep server: reads its configuration, introduces the engines to the kernel, and lets clients in.

mod anyone;
mod args;
mod authority;
mod backup;
mod config;
mod dev;
mod diagnose;
mod first_run;
mod http;
mod inside;
mod log;
mod names;
mod outside;
mod phase;
mod registry;
mod run;
mod self_init;
mod store;
mod world;

use std::process::ExitCode;

use args::{Cli, Command, Files, Server};
use config::{Config, Environment, Finding, Weight};
use dev::Dev;
use log::Logs;
use run::{Failure, Plan};

/// Without huge pages (`no_thp`): one that holds a small thing is 2 MiB resident, five times the memory in all, for no
/// speed that can be measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The version that clients read: features of the API are gated on its first part.
pub(crate) const VERSION_ON_THE_WIRE: &str = concat!("2.7.2+sealkeep.", env!("CARGO_PKG_VERSION"));
/// When this version was made.
pub(crate) const COMMIT_DATE: &str = "2026-11-26T00:00:00Z";

fn main() -> ExitCode {
    world::uptime();
    let cli = match args::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for, and go to standard output with 0; the rest is wrong usage.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    // Everything this process writes is for its owner alone, whatever its parent thought.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    match start(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("sealkeep: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// Tells what the process ends with.
fn start(cli: Cli) -> Result<u8, Failure> {
    let environment = Environment::of_process();
    match cli.command {
        Some(Command::Version) => {
            println!("Sealkeep v{VERSION} (API {VERSION_ON_THE_WIRE})");
            Ok(0)
        }
        Some(Command::Validate(files)) => validate(&files, &environment).map(|()| 0),
        Some(Command::Diagnose(wanted)) => diagnose::run(&wanted, &environment),
        Some(Command::Server(flags)) => {
            hide_memory();
            server(&flags, environment).map(|()| 0)
        }
        None => {
            hide_memory();
            first_run::run(environment).map(|()| 0)
        }
    }
}

/// Nothing may end up in a core dump.
fn hide_memory() {
    if let Err(error) = locked::forbid_core_dumps() {
        eprintln!(
            "sealkeep: core dumps cannot be forbidden ({error}): forbid them from outside, with ulimit -c 0"
        );
    }
}

fn validate(files: &Files, environment: &Environment) -> Result<(), Failure> {
    match config::load(&files.config, environment) {
        Ok((config, warnings)) => {
            shown(&warnings);
            for lack in lacking(&config, environment) {
                println!("warning: on this machine the server would not start: {lack}");
            }
            println!("The configuration is right.");
            Ok(())
        }
        Err(findings) => Err(wrong(&findings)),
    }
}

/// What the configuration names and this machine does not have. It may be checked elsewhere than it is used, so that
/// is no error.
fn lacking(config: &Config, environment: &Environment) -> Vec<String> {
    let tls = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let tls =
        tls.filter_map(|tls| crate::http::tls::Certificates::read(tls).err()).map(|error| error.to_string());
    tls.chain(store::keys(&config.seal, environment).err().map(|failure| failure.text)).collect()
}

fn server(flags: &Server, environment: Environment) -> Result<(), Failure> {
    let development = flags.dev || flags.development.dev_tls;
    let mut files = flags.config.clone();
    if files.is_empty()
        && let Some(path) = environment.setting("CONFIG_PATH")
    {
        files.push(path.into());
    }
    if files.is_empty() && !development {
        let text = "say which configuration to run: sealkeep server -config=FILE, or sealkeep server -dev to try things out";
        return Err(Failure::usage(text));
    }
    let loaded = match development {
        true => config::load_partial(&files, &environment),
        false => config::load(&files, &environment),
    };
    let (mut config, warnings) = loaded.map_err(|findings| wrong(&findings))?;
    override_log(&mut config, flags)?;
    let dev = development.then(|| Dev::begin(&flags.development, &mut config, &environment)).transpose()?;
    let logs = Logs::begin(&config.log)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    if flags.log_rotate_bytes.is_some()
        || flags.log_rotate_duration.is_some()
        || flags.log_rotate_max_files.is_some()
    {
        tracing::warn!("-log-rotate-* has no effect: use logrotate, and send SIGHUP after it");
    }
    let stanzas = std::mem::take(&mut config.initialize);
    let own = environment.clone();
    let plan = Plan { config, files, environment, logs };
    run::run(plan, |running| match dev {
        Some(dev) => dev.prepare(running),
        None => self_init::run(running, &stanzas, &own),
    })
}

fn override_log(config: &mut Config, flags: &Server) -> Result<(), Failure> {
    if let Some(level) = &flags.log_level {
        config.log.level = level.parse().map_err(Failure::usage)?;
    }
    if let Some(format) = &flags.log_format {
        config.log.format = format.parse().map_err(Failure::usage)?;
    }
    if let Some(file) = &flags.log_file {
        config.log.file = Some(file.clone());
    }
    Ok(())
}

fn shown(findings: &[Finding]) {
    for finding in findings.iter().filter(|finding| finding.weight == Weight::Warning) {
        println!("warning: {finding}");
    }
}

fn wrong(findings: &[Finding]) -> Failure {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Failure::usage(format!("the configuration is wrong, and nothing was started:\n{}", lines.join("\n")))
}
