//! `auto_auth`: who the agent is, in Vault Agent's words.

use std::{path::PathBuf, time::Duration};

use super::Server;
use crate::{
    agent::login::{AfterReading, Method, SecretId},
    hcl::value::{Labelled, Stanza},
    paths,
};

/// Where a pod finds the statement that Kubernetes signed for it.
const KUBERNETES_TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const SINK_MODE_DEFAULT: u32 = 0o640;
/// Waits after failed logins.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_HIGHEST: Duration = Duration::from_secs(300);

/// An identity, and where its token goes.
#[derive(Debug)]
pub(crate) struct Auth {
    pub(crate) method: Method,
    pub(crate) mount: String,
    pub(crate) namespace: Option<String>,
    pub(crate) sinks: Vec<Sink>,
    pub(crate) pacing: Pacing,
    /// How the connection is made, where the method has a say in it.
    pub(crate) server: Server,
}

/// A file that holds the agent's token for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sink {
    pub(crate) path: PathBuf,
    pub(crate) mode: u32,
    /// It holds a token that opens it once, within this time, and not the token itself.
    pub(crate) wrap_ttl: Option<Duration>,
}

/// How logins that fail are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pacing {
    /// The ceiling of the first wait; it doubles.
    pub(crate) first: Duration,
    pub(crate) highest: Duration,
    pub(crate) exits: Exits,
}

/// Whether a login that fails ends the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exits {
    OnFailure,
    Never,
}

/// Reads the stanza, if there is one.
pub(super) fn read(all: &mut Stanza, server: &Server) -> Result<Option<Auth>, String> {
    let Some(mut found) = all.stanza("auto_auth")? else { return Ok(None) };
    let auto = &mut found.stanza;
    let method = auto.stanza("method")?.ok_or_else(|| format!("{}: method is missing", auto.place))?;
    let mut auth = read_method(method, server)?;
    for sink in auto.stanzas("sink")? {
        auth.sinks.push(read_sink(sink)?);
    }
    auto.flag("enable_reauth_on_new_credentials")?;
    found.stanza.finish()?;
    Ok(Some(auth))
}

fn read_method(found: Labelled, server: &Server) -> Result<Auth, String> {
    let Labelled { labels, mut stanza } = found;
    let place = stanza.place.clone();
    let kind = match labels.first() {
        Some(label) => label.clone(),
        None => stanza.needed("type")?,
    };
    let mount = stanza.text("mount_path")?;
    let mount = mount.map_or_else(
        || kind.replace("token_file", "token"),
        |path| {
            let path = paths::clean(&path);
            path.strip_prefix("auth/").map_or(path.clone(), str::to_owned)
        },
    );
    let namespace = stanza.text("namespace")?;
    let first = stanza.span("min_backoff")?.unwrap_or(BACKOFF_FIRST);
    let highest = stanza.span("max_backoff")?.unwrap_or(BACKOFF_HIGHEST).max(first);
    if stanza.text("wrap_ttl")?.is_some() {
        return Err(format!(
            "{place}: wrap_ttl: this agent uses its token itself and cannot have it wrapped"
        ));
    }
    let exits = match stanza.flag("exit_on_err")? {
        Some(true) => Exits::OnFailure,
        Some(false) | None => Exits::Never,
    };
    let pacing = Pacing { first, highest, exits };
    let mut config = match stanza.stanza("config")? {
        Some(found) => found.stanza,
        None => crate::hcl::value::read("", &place)?,
    };
    let mut server = server.clone();
    let method = read_config(&kind, &mut config, &mut server)
        .map_err(|why| if why.starts_with(&place) { why } else { format!("{place}: {why}") })?;
    config.finish()?;
    stanza.finish()?;
    Ok(Auth { method, mount, namespace, sinks: Vec::new(), pacing, server })
}

fn read_config(kind: &str, config: &mut Stanza, server: &mut Server) -> Result<Method, String> {
    let path = |text: String| PathBuf::from(text);
    Ok(match kind {
        "token_file" => Method::TokenFile { path: path(config.needed("token_file_path")?) },
        "approle" => {
            let role_id = path(config.needed("role_id_file_path")?);
            let wrapped_at = config.text("secret_id_response_wrapping_path")?;
            let remove = config.flag("remove_secret_id_file_after_reading")?.unwrap_or(true);
            let after_reading = if remove { AfterReading::Remove } else { AfterReading::Keep };
            let secret_id = config.text("secret_id_file_path")?;
            let secret_id = secret_id.map(|file| SecretId { path: path(file), wrapped_at, after_reading });
            Method::Approle { role_id, secret_id }
        }
        "jwt" => {
            refuse(config, "remove_jwt_after_reading")?;
            Method::Jwt { role: config.needed("role")?, path: path(config.needed("path")?) }
        }
        "kubernetes" => {
            let file = config.text("token_path")?.unwrap_or_else(|| KUBERNETES_TOKEN_FILE.to_owned());
            Method::Jwt { role: config.needed("role")?, path: path(file) }
        }
        "cert" => {
            server.ca_cert = config.text("ca_cert")?.or(server.ca_cert.take());
            server.client_cert = config.text("client_cert")?.or(server.client_cert.take());
            server.client_key = config.text("client_key")?.or(server.client_key.take());
            // Files are read anew for every connection, so there is nothing to switch on.
            config.flag("reload")?;
            Method::Cert { role: config.text("name")? }
        }
        "userpass" | "ldap" => {
            refuse(config, "remove_password_after_reading")?;
            Method::Password {
                user: config.needed("username")?,
                path: path(config.needed("password_file_path")?),
            }
        }
        other => {
            return Err(format!(
                "this agent cannot log in by {other:?}: it knows token_file, approle, cert, jwt, kubernetes, userpass and ldap"
            ));
        }
    })
}

/// A proof that is taken away after its first use is no identity for a program that must log in again after a restart.
fn refuse(config: &mut Stanza, key: &str) -> Result<(), String> {
    match config.flag(key)? {
        Some(true) => Err(format!("{key}: this agent needs the file again after a restart; set it to false")),
        Some(false) | None => Ok(()),
    }
}

fn read_sink(found: Labelled) -> Result<Sink, String> {
    let Labelled { labels, mut stanza } = found;
    let kind = match labels.first() {
        Some(label) => label.clone(),
        None => stanza.needed("type")?,
    };
    if kind != "file" {
        return Err(format!("{}: a sink is a file, not {kind:?}", stanza.place));
    }
    for refused in ["dh_type", "dh_path", "dh_priv", "aad", "aad_env_var", "derive_key"] {
        if stanza.has(refused) {
            return Err(format!(
                "{}: {refused}: the token is not encrypted here: write it for one user (mode 0600), or set wrap_ttl",
                stanza.place
            ));
        }
    }
    let wrap_ttl = stanza.span("wrap_ttl")?;
    let mut config =
        stanza.stanza("config")?.ok_or_else(|| format!("{}: config is missing", stanza.place))?.stanza;
    let sink = Sink {
        path: PathBuf::from(config.needed("path")?),
        mode: config.number("mode")?.unwrap_or(SINK_MODE_DEFAULT),
        wrap_ttl,
    };
    config.finish()?;
    stanza.finish()?;
    Ok(sink)
}
