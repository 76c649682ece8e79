//! `auto_auth`: who the agent is, in Vault Agent's words.

use std::{path::PathBuf, time::Duration};

use super::Server;
use crate::{
    agent::login::{AfterReading, Method, Proof, SecretId},
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
    /// The answer to a login is wrapped for this long, and goes to the one sink as it is.
    pub(crate) wrap_ttl: Option<Duration>,
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
    let mut sinks = auto.stanzas("sink")?;
    for mut found in auto.stanzas("sinks")? {
        sinks.extend(found.stanza.stanzas("sink")?);
        found.stanza.finish()?;
    }
    for sink in sinks {
        auth.sinks.push(read_sink(sink)?);
    }
    check_wrapping(&auth).map_err(|why| format!("{}: wrap_ttl: {why}", auto.place))?;
    auto.flag("enable_reauth_on_new_credentials")?;
    found.stanza.finish()?;
    Ok(Some(auth))
}

/// What is wrapped goes to one place, and is wrapped once.
fn check_wrapping(auth: &Auth) -> Result<(), String> {
    if auth.wrap_ttl.is_none() {
        return Ok(());
    }
    if matches!(auth.method, Method::TokenFile { .. }) {
        return Err(
            "a token from a file is not made by a login: write wrap_ttl into the sink instead".to_owned()
        );
    }
    match auth.sinks.as_slice() {
        [Sink { wrap_ttl: None, .. }] => Ok(()),
        [_] => Err("it stands in the method and in its sink: leave one of them out".to_owned()),
        sinks => Err(format!(
            "what opens the token goes to one sink, and there are {}: name one, or write wrap_ttl into the sinks instead of the method",
            sinks.len()
        )),
    }
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
    let wrap_ttl = stanza.span_if_any("wrap_ttl")?;
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
    Ok(Auth { method, mount, namespace, sinks: Vec::new(), wrap_ttl, pacing, server })
}

fn read_config(kind: &str, config: &mut Stanza, server: &mut Server) -> Result<Method, String> {
    let path = |text: String| PathBuf::from(text);
    Ok(match kind {
        "token_file" => Method::TokenFile { path: path(config.needed("token_file_path")?) },
        "approle" => {
            let role_id = path(config.needed("role_id_file_path")?);
            let wrapped_at = config.text("secret_id_response_wrapping_path")?;
            let after_reading = after_reading(config, "remove_secret_id_file_after_reading", None)?;
            let secret_id = config.text("secret_id_file_path")?;
            let secret_id = secret_id.map(|file| {
                let proof = Proof { path: path(file), after_reading };
                SecretId { proof, wrapped_at }
            });
            Method::Approle { role_id, secret_id }
        }
        "jwt" => {
            // Every login reads the file, and one that is missed is taken within a second: there is no period to set.
            config.text("jwt_read_period")?;
            let follows = Some("remove_jwt_follows_symlinks");
            let after_reading = after_reading(config, "remove_jwt_after_reading", follows)?;
            let proof = Proof { path: path(config.needed("path")?), after_reading };
            Method::Jwt { role: config.needed("role")?, proof }
        }
        "kubernetes" => {
            let file = config.text("token_path")?.unwrap_or_else(|| KUBERNETES_TOKEN_FILE.to_owned());
            // The kubelet puts a new one there in time.
            let proof = Proof { path: path(file), after_reading: AfterReading::Keep };
            Method::Jwt { role: config.needed("role")?, proof }
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
            let follows = Some("remove_password_follows_symlinks");
            let after_reading = after_reading(config, "remove_password_after_reading", follows)?;
            let proof = Proof { path: path(config.needed("password_file_path")?), after_reading };
            Method::Password { user: config.needed("username")?, proof }
        }
        other => {
            return Err(format!(
                "this agent cannot log in by {other:?}: it knows token_file, approle, cert, jwt, kubernetes, userpass and ldap; \
                 another program can log in and leave its token in a file, for token_file"
            ));
        }
    })
}

/// What happens to a file with a proof after its use: it goes, unless somebody says that it stays.
fn after_reading(
    config: &mut Stanza,
    goes: &str,
    follows_links: Option<&str>,
) -> Result<AfterReading, String> {
    let goes = config.flag(goes)?.unwrap_or(true);
    let follows = match follows_links {
        Some(key) => config.flag(key)?.unwrap_or(false),
        None => false,
    };
    Ok(match (goes, follows) {
        (false, _) => AfterReading::Keep,
        (true, false) => AfterReading::Remove,
        (true, true) => AfterReading::RemoveTarget,
    })
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
    let wrap_ttl = stanza.span_if_any("wrap_ttl")?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hcl::value;

    fn read_all(text: &str) -> Result<Auth, String> {
        let mut all = value::read(&format!("auto_auth {{ {text} }}"), "f").expect("HCL");
        read(&mut all, &Server::default()).map(|auth| auth.expect("an identity"))
    }

    #[track_caller]
    fn check(kind: &str, config: &str, after_reading: AfterReading) {
        let auth = read_all(&format!("method \"{kind}\" {{ config = {{ {config} }} }}")).expect(config);
        let (Method::Jwt { proof, .. }
        | Method::Password { proof, .. }
        | Method::Approle { secret_id: Some(SecretId { proof, .. }), .. }) = auth.method
        else {
            panic!("{kind} has a file with a proof")
        };
        assert_eq!(proof.after_reading, after_reading, "{config}");
    }

    #[test]
    fn a_file_with_a_proof_goes_unless_it_is_said_to_stay() {
        let jwt = "path = \"/j\"\n role = \"r\"\n jwt_read_period = \"0.5s\"";
        check("jwt", jwt, AfterReading::Remove);
        check("jwt", &format!("{jwt}\n remove_jwt_after_reading = false"), AfterReading::Keep);
        check("jwt", &format!("{jwt}\n remove_jwt_follows_symlinks = \"true\""), AfterReading::RemoveTarget);
        check("kubernetes", "role = \"r\"", AfterReading::Keep);
        let password = "username = \"u\"\n password_file_path = \"/p\"";
        check("ldap", password, AfterReading::Remove);
        check("userpass", &format!("{password}\n remove_password_after_reading = false"), AfterReading::Keep);
        let approle = "role_id_file_path = \"/r\"\n secret_id_file_path = \"/s\"";
        check("approle", approle, AfterReading::Remove);
    }

    #[test]
    fn sinks_may_stand_in_sinks() {
        let method = "method \"token_file\" { config = { token_file_path = \"/t\" } }";
        let sink = |path: &str| format!("sink \"file\" {{ config = {{ path = \"{path}\" }} }}");
        let auth =
            read_all(&format!("{method}\n{}\nsinks {{\n{}\n{}\n}}", sink("/a"), sink("/b"), sink("/c")));
        let paths: Vec<_> = auth.expect("sinks").sinks.into_iter().map(|sink| sink.path).collect();
        assert_eq!(paths, ["/a", "/b", "/c"].map(PathBuf::from));
        let wrapped = method.replace("config", "wrap_ttl = \"5m\"\n config");
        let wrapped = read_all(&format!("{wrapped}\n{}", sink("/a"))).unwrap_err();
        assert!(wrapped.contains("not made by a login"), "{wrapped}");
        let unknown = read_all("method \"aws\" { config = { role = \"r\" } }").unwrap_err();
        assert!(unknown.contains("token_file"), "{unknown}");
    }
}
