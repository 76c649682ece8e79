//! Finding out which mount a path belongs to and which version of the store it is.

use serde_json::Value;

use super::Mount;
use crate::{
    call::Call,
    client::{Client, Mode},
    paths,
    refused::Refused,
    stop::Stop,
};

/// A path in a store of known version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) version: Version,
    /// The mount's full path, with its final slash.
    mount: String,
    /// What the user wrote, clean; with `-mount`, the mount in front.
    given: String,
    /// The part below the mount, when `-mount` says so.
    below: Option<String>,
}

/// The two kinds of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

impl Mount {
    /// Asks the server where `path` lies.
    pub(crate) async fn find(&self, client: &Client, path: &str) -> Result<Place, Stop> {
        let path = paths::clean(path);
        let (asked, below) = match &self.mount {
            Some(mount) => (paths::clean(mount), Some(path.clone())),
            None => (path.clone(), None),
        };
        if asked.is_empty() {
            return Err(Stop::local("The path is empty").hint("Name a secret, for example secret/app."));
        }
        let (mount, version) = preflight(client, &asked).await?;
        let given = below.as_ref().map_or_else(|| path.clone(), |below| paths::join(&[&asked, below]));
        Ok(Place { version, mount, given, below })
    }
}

impl Place {
    /// The API path: in the second version behind `prefix`, in the first as written.
    pub(crate) fn api(&self, prefix: &str) -> String {
        if self.version == Version::One {
            return self.given.clone();
        }
        match &self.below {
            Some(below) => paths::join(&[&self.mount, prefix, below]),
            None => prefixed(&self.given, &self.mount, prefix),
        }
    }

    /// The same of a path that may be one of the API already, such as `secret/data/app`.
    pub(crate) fn api_of_either(&self, prefix: &str) -> String {
        if self.version == Version::One {
            return self.given.clone();
        }
        let (mount, below) = split(&self.given, &self.mount);
        let below = below
            .strip_prefix("data")
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
            .unwrap_or(below);
        paths::join(&[mount, prefix, below])
    }
}

async fn preflight(client: &Client, path: &str) -> Result<(String, Version), Stop> {
    let asked = client.read(Call::get(format!("sys/internal/ui/mounts/{path}")).preflight()).await;
    let secret = match asked {
        Ok(secret) => secret,
        Err(refused @ Refused::Answer(_)) if refused.status() == Some(403) && client.mode != Mode::Send => {
            return Err(Stop::from(refused).hint(
                "To show the request, the store's version must be known, and this token may not ask for it.",
            ));
        }
        Err(refused) => return Err(refused.into()),
    };
    // A server too old to be asked has only the first version.
    let Some(secret) = secret else { return Ok((String::new(), Version::One)) };
    let version = secret.field("options").and_then(|options| options.get("version"));
    let two = version.and_then(Value::as_str) == Some("2");
    let mount = secret.text("path").unwrap_or_default().to_owned();
    Ok((mount, if two { Version::Two } else { Version::One }))
}

/// Puts `prefix` behind the mount.
fn prefixed(path: &str, mount: &str, prefix: &str) -> String {
    let (mount, below) = split(path, mount);
    paths::join(&[mount, prefix, below])
}

/// The mount as the user wrote it, and what is below. In a namespace the mount's path begins with the namespace, which
/// the user's path lacks: then as much of its start is dropped as does not match.
fn split<'a>(path: &'a str, mount: &'a str) -> (&'a str, &'a str) {
    let mut rest = mount.trim_matches('/');
    loop {
        if path == rest {
            return (rest, "");
        }
        if let Some(below) = path.strip_prefix(rest).and_then(|below| below.strip_prefix('/')) {
            return (rest, below);
        }
        match rest.split_once('/') {
            Some((_, shorter)) => rest = shorter,
            None => return (rest, path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_goes_behind_the_mount() {
        assert_eq!(prefixed("secret/a/b", "secret/", "data"), "secret/data/a/b");
        assert_eq!(prefixed("secret", "secret/", "metadata"), "secret/metadata");
        assert_eq!(prefixed("team/kv/x", "team/kv/", "data"), "team/kv/data/x");
        assert_eq!(prefixed("kv/x", "ns1/kv/", "data"), "kv/data/x");
        assert_eq!(prefixed("secretive", "secret/", "data"), "secret/data/secretive");
        let place = |given: &str| Place {
            version: Version::Two,
            mount: "secret/".to_owned(),
            given: given.to_owned(),
            below: None,
        };
        assert_eq!(place("secret/data/app").api_of_either("data"), "secret/data/app");
        assert_eq!(place("secret/app").api_of_either("metadata"), "secret/metadata/app");
        assert_eq!(place("secret/database/a").api_of_either("data"), "secret/data/database/a");
    }
}
