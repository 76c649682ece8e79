//! `template`, `template_config`, `env_template`, `exec`, `cache`: what is done with secrets, in Vault Agent's words.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use gotmpl::MissingKey;

use crate::{
    agent::{
        cache::{CachePlan, Needed},
        child::{ChildPlan, Restart},
        deliver::{self, RELOAD_TIME_DEFAULT, Reload},
        disk::Owner,
        owner,
        proxy::{Connections, Door, Lending, Manners, Place, Remembers},
        templates::{Backup, FilePlan, Folders, Habit, Pace, Program, Sandbox, Target, Template, Writing},
    },
    hcl::value::{Labelled, Stanza},
};

use super::{Server, listener};

/// How often is tried before `exit_on_retry_failure` ends the agent.
const TRIES_DEFAULT: u32 = 12;
/// How old an answer of the cache may be.
const STALE_MAX_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// What consul-template has for programs that it keeps running, and what to do instead.
const NOT_OF_A_COMMAND: [(&str, &str); 5] = [
    ("env", "the command has the agent's environment: set more with command = [\"env\", \"NAME=value\", …]"),
    ("kill_signal", "the command of a template ends by itself, or is killed after timeout: leave it out"),
    ("kill_timeout", "the command of a template ends by itself, or is killed after timeout: leave it out"),
    ("reload_signal", "the command of a template is run anew for each change: leave it out"),
    ("splay", "agents come back at different moments by themselves: leave it out"),
];

/// What one file says of secrets.
#[derive(Default)]
pub(crate) struct Secrets {
    pub(crate) templates: Vec<Template>,
    pub(crate) pace: Pace,
    pub(crate) child: Option<ChildPlan>,
    pub(crate) doors: Vec<Door>,
    pub(crate) manners: Manners,
    pub(crate) cache: Option<CachePlan>,
}

impl Secrets {
    /// The folders that it writes.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let files = self.templates.iter().filter_map(|template| match &template.target {
            Target::File(plan) => plan.path.parent(),
            Target::Variable(_) => None,
        });
        let sockets = self.doors.iter().filter_map(|door| match &door.at {
            Place::Unix { path, .. } => path.parent(),
            Place::Tcp(_) => None,
        });
        let cache = self.cache.iter().map(|plan| plan.folder.as_path());
        files.chain(sockets).chain(cache).map(Path::to_owned).collect()
    }

    /// Whether it runs programs of others.
    pub(crate) fn runs_programs(&self) -> bool {
        self.child.is_some() || self.templates.iter().any(|template| template.command.is_some())
    }

    /// What it does, in lines for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let templates = self.templates.iter().map(|template| match &template.target {
            Target::File(plan) => format!("a template into {}", plan.path.display()),
            Target::Variable(name) => format!("a template into the variable {name}"),
        });
        let child = self.child.iter().map(|plan| format!("runs {}", plan.words.join(" ")));
        let doors = self.doors.iter().map(|door| match &door.at {
            Place::Tcp(address) => format!("listens on {address}"),
            Place::Unix { path, .. } => format!("listens on {}", path.display()),
        });
        templates.chain(child).chain(doors).collect()
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.templates.is_empty() && self.doors.is_empty()
    }
}

/// Reads all of it.
pub(super) fn read(all: &mut Stanza, server: &Server) -> Result<Secrets, String> {
    let place = all.place.clone();
    let pace = pace(all, server)?;
    let mut templates = Vec::new();
    for found in all.stanzas("template")? {
        templates.push(file_template(found)?);
    }
    let files = templates.len();
    for found in all.stanzas("env_template")? {
        templates.push(variable_template(found)?);
    }
    check_targets(&templates, &place)?;
    let child = match all.stanza("exec")? {
        None => None,
        Some(found) => Some(exec(found.stanza)?),
    };
    if child.is_some() != (templates.len() > files) {
        return Err(format!("{place}: exec and env_template belong together: one of them is missing"));
    }
    let mut manners = Manners { connections: connections(all)?, ..Manners::default() };
    let (from_cache, cache) = match all.stanza("cache")? {
        None => (None, None),
        Some(found) => read_cache(found.stanza, &mut manners)?,
    };
    let doors = listener::doors(all)?;
    let lending = match all.stanza("api_proxy")? {
        None => from_cache,
        Some(mut found) => {
            let lending = listener::lending(&mut found.stanza)?;
            manners.namespaces = listener::namespaces(&mut found.stanza)?;
            found.stanza.finish()?;
            lending.or(from_cache)
        }
    };
    manners.lending = lending.unwrap_or_default();
    if manners.lending != Lending::Never && doors.is_empty() {
        return Err(format!("{place}: use_auto_auth_token is set, and there is no listener to use it"));
    }
    listener::check(&doors, manners.lending, &place)?;
    Ok(Secrets { templates, pace, child, doors, manners, cache })
}

/// No two templates go to the same place.
fn check_targets(templates: &[Template], place: &str) -> Result<(), String> {
    let mut names: Vec<String> = Vec::new();
    for template in templates {
        let name = match &template.target {
            Target::File(plan) => format!("templates have the destination {}", plan.path.display()),
            Target::Variable(name) => format!("env_templates are for the variable {name}"),
        };
        if names.contains(&name) {
            return Err(format!("{place}: two {name}: each would undo the other"));
        }
        names.push(name);
    }
    Ok(())
}

/// Which connections do not wait for a next request. All but the proxy's are made anew each time anyway.
fn connections(all: &mut Stanza) -> Result<Connections, String> {
    let mut connections = Connections::Kept;
    for key in ["disable_idle_connections", "disable_keep_alives"] {
        for part in all.list(key)? {
            match part.as_str() {
                "caching" | "proxying" => connections = Connections::Closed,
                "auto-auth" | "templating" | "" => {}
                other => {
                    return Err(format!(
                        "{}: {key}: {other:?} is no part of the agent: auto-auth, caching, proxying or templating",
                        all.place
                    ));
                }
            }
        }
    }
    Ok(connections)
}

fn pace(all: &mut Stanza, server: &Server) -> Result<Pace, String> {
    let Some(mut found) = all.stanza("template_config")? else { return Ok(Pace::default()) };
    let stanza = &mut found.stanza;
    let exits = stanza.flag("exit_on_retry_failure")?.unwrap_or(false);
    let mut habit = Habit::default();
    habit.interval = stanza.span("static_secret_render_interval")?.unwrap_or(habit.interval);
    if let Some(text) = stanza.text("lease_renewal_threshold")? {
        let share = text.parse().ok().filter(|share| (0.1..1.0).contains(share));
        habit.lease_share = share.ok_or_else(|| {
            format!(
                "{}: lease_renewal_threshold must be a share of a lease, from 0.1 to 0.99, not {text:?}",
                stanza.place
            )
        })?;
    }
    // How many connections stay open is no setting here.
    stanza.number("max_connections_per_host")?;
    found.stanza.finish()?;
    Ok(Pace { habit, tries_max: exits.then(|| server.tries.unwrap_or(TRIES_DEFAULT)) })
}

fn file_template(found: Labelled) -> Result<Template, String> {
    let mut stanza = found.stanza;
    let path = PathBuf::from(stanza.needed("destination")?);
    stanza.place = format!("{} {:?}", stanza.place, path.display());
    let (program, fatal) = program(&mut stanza)?;
    let mode = stanza.number("perms")?;
    let folders = match stanza.flag("create_dest_dirs")? {
        Some(false) => Folders::Required,
        Some(true) | None => Folders::Made,
    };
    let backup = match stanza.flag("backup")? {
        Some(true) => Backup::Kept,
        Some(false) | None => Backup::Dropped,
    };
    let owner = Owner {
        user: named(&mut stanza, ["user", "uid"], owner::user)?,
        group: named(&mut stanza, ["group", "gid"], owner::group)?,
    };
    let command = command(&mut stanza)?;
    // All templates of a file are rendered together, so there is nothing to wait for.
    if let Some(mut wait) = stanza.stanza_if_block("wait")? {
        for key in ["min", "max", "enabled"] {
            wait.stanza.text(key)?;
        }
        wait.stanza.finish()?;
    } else {
        stanza.text("wait")?;
    }
    stanza.finish()?;
    let target = Target::File(FilePlan { path, mode, owner, folders, backup });
    Ok(Template { program, target, command, fatal })
}

fn named(
    stanza: &mut Stanza,
    keys: [&str; 2],
    find: fn(&str) -> Result<u32, String>,
) -> Result<Option<u32>, String> {
    let mut found = None;
    for key in keys {
        if let Some(name) = stanza.text(key)?.filter(|name| !name.is_empty()) {
            found = Some(find(&name).map_err(|why| format!("{}: {key}: {why}", stanza.place))?);
        }
    }
    Ok(found)
}

fn command(stanza: &mut Stanza) -> Result<Option<Reload>, String> {
    let words = stanza.list("command")?;
    let time = stanza.span("command_timeout")?;
    let (words, time) = match stanza.stanza_if_block("exec")? {
        None => (words, time),
        Some(_) if !words.is_empty() => {
            return Err(format!("{}: command and exec say the same: leave out one of them", stanza.place));
        }
        Some(mut found) => {
            for (key, advice) in NOT_OF_A_COMMAND {
                found.stanza.refuse(key, advice)?;
            }
            let words = found.stanza.list("command")?;
            let time = found.stanza.span("timeout")?;
            let enabled = found.stanza.flag("enabled")?.unwrap_or(true);
            found.stanza.finish()?;
            (if enabled { words } else { Vec::new() }, time)
        }
    };
    let time_max = time.unwrap_or(RELOAD_TIME_DEFAULT);
    Ok(match words.as_slice() {
        [] => None,
        [line] if line.is_empty() => None,
        [line] => {
            let words = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
            Some(Reload::Command { words, time_max })
        }
        _ => Some(Reload::Command { words, time_max }),
    })
}

fn variable_template(found: Labelled) -> Result<Template, String> {
    let Labelled { labels, mut stanza } = found;
    let name = labels.first().cloned().unwrap_or_default();
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("{}: it needs the name of a variable, as env_template \"NAME\"", stanza.place));
    }
    let advice = "a variable has no file: leave it out";
    for key in [
        "destination",
        "command",
        "command_timeout",
        "exec",
        "perms",
        "backup",
        "create_dest_dirs",
        "user",
        "uid",
        "group",
        "gid",
        "wait",
    ] {
        stanza.refuse(key, advice)?;
    }
    let (program, fatal) = program(&mut stanza)?;
    stanza.finish()?;
    Ok(Template { program, target: Target::Variable(name), command: None, fatal })
}

fn program(stanza: &mut Stanza) -> Result<(Program, bool), String> {
    let place = stanza.place.clone();
    let (source, contents) = (stanza.text("source")?, stanza.text("contents")?);
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (text, from) = match (filled(source), filled(contents)) {
        (Some(source), None) => {
            let text = std::fs::read_to_string(&source);
            (text.map_err(|e| format!("{place}: source: {source} cannot be read: {e}"))?, source)
        }
        (None, Some(contents)) => (contents, "contents".to_owned()),
        (Some(_), Some(_)) => return Err(format!("{place}: source and contents: one of them, not both")),
        (None, None) => return Err(format!("{place}: source or contents is missing")),
    };
    let mut delimiter = |key: &str, usual: &str| -> Result<String, String> {
        Ok(stanza.text(key)?.filter(|text| !text.is_empty()).unwrap_or_else(|| usual.to_owned()))
    };
    let delimiters = (delimiter("left_delimiter", "{{")?, delimiter("right_delimiter", "}}")?);
    let missing = match stanza.flag("error_on_missing_key")? {
        Some(true) => MissingKey::Error,
        Some(false) | None => MissingKey::Invalid,
    };
    let sandbox = stanza.text("sandbox_path")?.filter(|path| !path.is_empty());
    let sandbox = sandbox.map(|folder| Sandbox::at(folder.into()));
    let denied = [stanza.list("function_denylist")?, stanza.list("function_blacklist")?].concat();
    let fatal = stanza.flag("error_fatal")?.unwrap_or(true);
    let writing = Writing { delimiters, missing, sandbox, denied };
    let program = Program::read(text, writing).map_err(|why| format!("{place}: {from}: {why}"))?;
    Ok((program, fatal))
}

fn exec(mut stanza: Stanza) -> Result<ChildPlan, String> {
    let place = stanza.place.clone();
    let words = stanza.list("command")?;
    if words.iter().all(String::is_empty) {
        return Err(format!("{place}: command is missing"));
    }
    let restart = match stanza.text("restart_on_secret_changes")?.as_deref() {
        None | Some("always") => Restart::Always,
        Some("never") => Restart::Never,
        Some(other) => {
            return Err(format!(
                "{place}: restart_on_secret_changes must be \"always\" or \"never\", not {other:?}"
            ));
        }
    };
    let name = stanza.text("restart_stop_signal")?.unwrap_or_else(|| "TERM".to_owned());
    let stop_signal = deliver::number(&name).map_err(|why| format!("{place}: restart_stop_signal: {why}"))?;
    let mut file =
        |key: &str| Ok::<_, String>(stanza.text(key)?.filter(|path| !path.is_empty()).map(PathBuf::from));
    let (stdout, stderr) = (file("child_process_stdout")?, file("child_process_stderr")?);
    stanza.finish()?;
    Ok(ChildPlan { words, restart, stop_signal, stdout, stderr })
}

fn read_cache(
    mut stanza: Stanza,
    manners: &mut Manners,
) -> Result<(Option<Lending>, Option<CachePlan>), String> {
    let lending = listener::lending(&mut stanza)?;
    manners.namespaces = listener::namespaces(&mut stanza)?;
    manners.memory = match stanza.flag("disable_caching_dynamic_secrets")? {
        Some(true) => Remembers::Nothing,
        Some(false) | None => Remembers::Leases,
    };
    let place = stanza.place.clone();
    if stanza.flag("cache_static_secrets")? == Some(true) {
        return Err(format!(
            "{place}: cache_static_secrets: no server tells this agent when a secret changes, so it would hand out old ones: \
             leave it out; a template has its secret in a file, also while the server is away"
        ));
    }
    // How often rights to such secrets are looked at: there are none here.
    for key in
        ["static_secret_token_capability_refresh_interval", "static_secret_token_capability_refresh_behavior"]
    {
        stanza.text(key)?;
    }
    let cache = match stanza.stanza("persist")? {
        None => None,
        Some(found) => Some(persist(found)?),
    };
    stanza.finish()?;
    Ok((lending, cache))
}

fn persist(found: Labelled) -> Result<CachePlan, String> {
    let Labelled { labels, mut stanza } = found;
    let place = stanza.place.clone();
    let kind = match labels.first() {
        Some(label) => label.clone(),
        None => stanza.needed("type")?,
    };
    if !matches!(kind.as_str(), "file" | "kubernetes") {
        return Err(format!(
            "{place}: a cache is kept in a \"file\" (or \"kubernetes\", the same here), not {kind:?}"
        ));
    }
    stanza.refuse(
        "service_account_token_file",
        "the cache is sealed by a key of its own, in its folder: leave this out, and see docs/guide/agent.md for what it protects against",
    )?;
    let folder = PathBuf::from(stanza.needed("path")?);
    // The cache is always kept after it was read.
    stanza.flag("keep_after_import")?;
    let needed = match stanza.flag("exit_on_err")? {
        Some(true) => Needed::Yes,
        Some(false) | None => Needed::No,
    };
    let stale_max = stanza.span("max_stale")?.unwrap_or(STALE_MAX_DEFAULT);
    stanza.finish()?;
    Ok(CachePlan { folder, stale_max, needed })
}
