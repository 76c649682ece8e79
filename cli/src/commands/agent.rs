use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::{Args, Subcommand};

use super::agent_config::GenerateConfig;
use crate::{
    agent::{
        config::Config,
        disk::{self, Machine},
        log::{Format, Level, LogPlan, Rotation},
        run::{self, Once},
        schedule,
        unit::{self, Order, Unit},
    },
    output::{raw, say, warn},
    session::Session,
    settings::Settings,
    span::Span,
    stop::{Outcome, Stop},
};

/// Keep certificates and secrets of this machine fresh, and lend programs the way to the server
///
/// Without a command below it runs until it is told to end. It renews certificates, reloads their services and looks
/// whether they show them; it renders templates, runs a program with secrets in its environment, and answers on sockets.
/// Its configuration is what `keep cert get` writes, or what Vault Agent has.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = false)]
pub(crate) struct Agent {
    #[command(flatten)]
    files: Files,
    /// End once every certificate is there and served, and every template rendered
    #[arg(long, alias = "exit-after-auth")]
    once: bool,
    #[command(flatten)]
    log: LogFlags,
    #[command(subcommand)]
    verb: Option<AgentVerb>,
}

/// What the agent reads.
#[derive(Args, Debug)]
pub(crate) struct Files {
    /// Configuration: a file, or a folder of files that end in .hcl or .json; repeatable [KEEP_AGENT_CONFIG; /etc/sealkeep/agent.d, or below ~/.config]
    #[arg(long, value_name = "PATH", global = true)]
    config: Vec<PathBuf>,
}

/// What the log looks like, and where it goes; all of it can stand in the configuration too.
#[derive(Args, Debug)]
struct LogFlags {
    /// What a line of the log looks like: standard or json; plain if left out [KEEP_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// What is written at least: trace, debug, info, warn or error [KEEP_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// File that gets every line too; in a folder, keep.log
    #[arg(long, value_name = "PATH")]
    log_file: Option<PathBuf>,
    /// Put that file aside when it holds so many bytes
    #[arg(long, value_name = "BYTES")]
    log_rotate_bytes: Option<u64>,
    /// Put it aside after this long; a day if left out
    #[arg(long, value_name = "DURATION")]
    log_rotate_duration: Option<Span>,
    /// Keep so many files that were put aside; 0 keeps all, -1 none
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    log_rotate_max_files: Option<i64>,
}

#[derive(Subcommand, Debug)]
enum AgentVerb {
    /// Say whether the configuration is right, and whether each certificate can live up to its outage budget
    Check,
    Install(Install),
    GenerateConfig(GenerateConfig),
}

/// Write a hardened unit of systemd that runs the agent, and start it
#[derive(Args, Debug)]
struct Install {
    /// Print the unit and change nothing
    #[arg(long)]
    print: bool,
    /// Write the unit, and do not start it
    #[arg(long)]
    no_start: bool,
    /// Where units lie
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    unit_dir: PathBuf,
}

impl Agent {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        // It makes a configuration, so it must not want one.
        if let Some(AgentVerb::GenerateConfig(verb)) = self.verb {
            return verb.run(session).await;
        }
        let paths = self.files.paths(&session.settings)?;
        let mut config = Config::load(&paths).map_err(Stop::local)?;
        config.log = self.log.plan(&session.settings)?.or(config.log);
        match self.verb {
            None => run::run(config, if self.once { Once::Yes } else { Once::No }).await,
            Some(AgentVerb::Check) => check(&config),
            Some(AgentVerb::Install(install)) => install.run(&paths, &config, &session.settings),
            Some(AgentVerb::GenerateConfig(verb)) => verb.run(session).await,
        }
    }
}

impl LogFlags {
    fn plan(&self, settings: &Settings) -> Result<LogPlan, Stop> {
        let format = self.log_format.as_ref().or(settings.log_format.as_ref());
        let level = self.log_level.as_ref().or(settings.log_level.as_ref());
        let after = self.log_rotate_duration.map(|span| u64::try_from(span.seconds()).unwrap_or(0));
        let rotation = Rotation {
            bytes: self.log_rotate_bytes,
            after: after.filter(|seconds| *seconds > 0).map(Duration::from_secs),
            kept: self.log_rotate_max_files,
        };
        Ok(LogPlan {
            format: format.map(|text| Format::parse(text)).transpose().map_err(Stop::local)?,
            level: level.map(|text| Level::parse(text)).transpose().map_err(Stop::local)?,
            file: self.log_file.clone(),
            rotation,
        })
    }
}

impl Files {
    /// What was named, or the usual folder.
    pub(crate) fn paths(&self, settings: &Settings) -> Result<Vec<PathBuf>, Stop> {
        if !self.config.is_empty() {
            let absolute = self.config.iter().map(std::path::absolute);
            return absolute.collect::<Result<_, _>>().map_err(|e| Stop::local(format!("-config: {e}")));
        }
        Ok(vec![usual_folder(settings)?])
    }
}

/// Where configurations lie unless somebody says otherwise: the machine's for root, the user's own for others.
pub(crate) fn usual_folder(settings: &Settings) -> Result<PathBuf, Stop> {
    if let Some(folder) = &settings.agent_config {
        return std::path::absolute(folder).map_err(|e| Stop::local(format!("KEEP_AGENT_CONFIG: {e}")));
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/etc/sealkeep/agent.d"));
    }
    let own = settings.config_dir.as_ref().map(|folder| folder.join("agent.d"));
    own.ok_or_else(|| Stop::local("There is no home folder to look for a configuration in; give -config"))
}

fn check(config: &Config) -> Outcome {
    for plan in config.certificates() {
        let budget = match plan.survive.as_secs() {
            0 => "no outage budget".to_owned(),
            seconds => {
                let needed = schedule::life_needed(plan.survive).as_secs();
                let text = |seconds: u64| Span::from_seconds(seconds as i64).human();
                format!("survives an outage of {} with a life of at least {}", text(seconds), text(needed))
            }
        };
        say(format!("{}: {}/{} into {}: {budget}", plan.name, plan.mount, plan.role, plan.folder.display()));
    }
    let secrets =
        config.posts.iter().map(|post| &post.secrets).chain(config.bare.iter().map(|(_, secrets)| secrets));
    let lines: Vec<String> = secrets.flat_map(|secrets| secrets.lines()).collect();
    lines.iter().for_each(say);
    let missing = config.missing();
    if !missing.is_empty() {
        missing.iter().for_each(warn);
        return Err(Stop::local("The configuration cannot work on this machine as it is"));
    }
    let count = config.certificates().count();
    say(format!("The configuration is right: {count} certificates, {} more things to do.", lines.len()));
    Ok(0)
}

impl Install {
    fn run(&self, paths: &[PathBuf], config: &Config, settings: &Settings) -> Outcome {
        let program =
            std::env::current_exe().map_err(|e| Stop::local(format!("This program has no path: {e}")))?;
        let base =
            std::env::current_dir().map_err(|e| Stop::local(format!("This folder has no path: {e}")))?;
        let order = Order {
            program: &program,
            configuration: paths,
            config,
            base: &base,
            environment: unit::environment(config, settings),
        };
        let Unit { text, advice } = unit::unit(&order).map_err(Stop::local)?;
        advice.iter().for_each(warn);
        if self.print {
            raw(&text);
            return Ok(0);
        }
        let file = self.unit_dir.join(unit::NAME);
        let failed = |e: std::io::Error| {
            Stop::local(format!("{} cannot be written: {e}", file.display()))
                .hint("Run it as root, or print the unit with -print.")
        };
        fs::create_dir_all(&self.unit_dir).map_err(failed)?;
        disk::replace(&Machine, &file, text.as_bytes(), 0o644).map_err(failed)?;
        say(format!("Success! The unit is {}.", file.display()));
        if self.no_start {
            return Ok(0);
        }
        if !Path::new("/run/systemd/system").exists() {
            let flags: Vec<String> = paths.iter().map(|path| format!("-config={}", path.display())).collect();
            warn(format!(
                "systemd does not run here: start the agent with `keep agent {}`.",
                flags.join(" ")
            ));
            return Ok(0);
        }
        for words in [&["daemon-reload"][..], &["enable", unit::NAME], &["restart", unit::NAME]] {
            let ended = Command::new("systemctl").args(words).status();
            if !ended.as_ref().is_ok_and(std::process::ExitStatus::success) {
                return Err(Stop::local(format!("`systemctl {}` failed", words.join(" "))));
            }
        }
        say(format!(
            "It runs: journalctl -u {} shows what it does, `keep cert status` where it stands.",
            unit::NAME
        ));
        Ok(0)
    }
}
