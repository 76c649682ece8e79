use std::path::PathBuf;

use super::environment::Environment;
use super::section::Section;

/// What protects the root key while the server is down.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Seal {
    /// Shares in the hands of people.
    #[default]
    Shamir,
    /// A key that the machine has: the server unseals itself.
    Static {
        /// The key that seals.
        current: StaticKey,
        /// The key before, while it is being replaced.
        previous: Option<StaticKey>,
    },
}

/// A key with the name by which stored data remembers it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StaticKey {
    pub(crate) id: String,
    pub(crate) source: KeySource,
}

/// Where a static key comes from. Its bytes are read when the server starts, not before.
#[derive(Clone, Eq, PartialEq)]
pub(crate) enum KeySource {
    /// A file that holds it in hex, in base64, or as 32 raw bytes.
    File(PathBuf),
    /// A variable that holds it in hex or base64.
    Variable(String),
    /// It stands in the configuration itself.
    Here(String),
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Variable(name) => write!(f, "env://{name}"),
            Self::Here(_) => f.write_str("in the configuration"),
        }
    }
}

const ELSEWHERE: [&str; 7] = ["transit", "pkcs11", "awskms", "azurekeyvault", "gcpckms", "ocikms", "kmip"];

/// `seal "static" { … }`; without a seal, shares.
pub(super) fn read(section: &Section<'_>, environment: &Environment) -> Seal {
    let mut seal = None;
    for block in section.blocks("seal", 1) {
        let kind = block.labels.first().copied().unwrap_or_default();
        let stanza = block.section;
        let found = match kind {
            "static" => read_static(&stanza, environment),
            "shamir" => Some(Seal::Shamir),
            known if ELSEWHERE.contains(&known) => {
                stanza.error("type", &format!("the seal \"{known}\" is not there yet: take \"static\", or leave seals out for key shares"));
                continue;
            }
            other => {
                stanza.error(
                    "type",
                    &format!(
                        "there is no seal \"{other}\": take \"static\", or leave seals out for key shares"
                    ),
                );
                continue;
            }
        };
        let disabled = stanza.flag("disabled").unwrap_or(false);
        stanza.ignore(
            &[
                "health_check_enabled",
                "health_check_timeout",
                "health_check_interval",
                "health_check_interval_unhealthy",
            ],
            "the key is in the memory of this server and cannot be out of reach",
        );
        if disabled {
            stanza.error("disabled", "a store keeps the kind of seal that it was made with: remove this line if that is the static one, and the stanza if it is not");
        } else if seal.is_some() {
            stanza.error("type", "there is a seal already: keep one of the two");
        }
        stanza.close();
        seal = seal.or(found);
    }
    if let (Some(kind), None) = (environment.setting("SEAL_TYPE"), &seal)
        && kind != "shamir"
    {
        section.error(
            "seal",
            &format!("SEAL_TYPE asks for the seal \"{kind}\": add a stanza seal \"{kind}\" {{ … }}"),
        );
    }
    seal.unwrap_or_default()
}

fn read_static(stanza: &Section<'_>, environment: &Environment) -> Option<Seal> {
    let setting = |key, variable| stanza.setting(key, environment, &[variable]);
    let current_id = setting("current_key_id", "STATIC_SEAL_CURRENT_KEY_ID");
    let current = setting("current_key", "STATIC_SEAL_CURRENT_KEY");
    let previous_id = setting("previous_key_id", "STATIC_SEAL_PREVIOUS_KEY_ID");
    let previous = setting("previous_key", "STATIC_SEAL_PREVIOUS_KEY");
    let Some(source) = current else {
        stanza
            .error("current_key", "say where the key is: current_key = \"file:///etc/sealkeep/unseal.key\"");
        return None;
    };
    let Some(id) = current_id else {
        stanza.error("current_key_id", "give the key a name: current_key_id = \"2026-01\"");
        return None;
    };
    let previous = match (previous_id, previous) {
        (Some(id), Some(source)) => Some(StaticKey { id, source: KeySource::parse(&source) }),
        (None, None) => None,
        _ => {
            stanza.error(
                "previous_key",
                "\"previous_key\" and \"previous_key_id\" go together: set both or neither",
            );
            None
        }
    };
    if previous.as_ref().is_some_and(|previous| previous.id == id) {
        stanza.error("previous_key_id", "the previous key must have another name than the current one");
    }
    let current = StaticKey { id, source: KeySource::parse(&source) };
    if matches!(current.source, KeySource::Here(_)) {
        stanza.warning(
            "current_key",
            "the key stands in the configuration: move it to a file with mode 0600 and write current_key = \"file:///…\"",
        );
    }
    Some(Seal::Static { current, previous })
}

impl KeySource {
    fn parse(text: &str) -> Self {
        match (text.strip_prefix("file://"), text.strip_prefix("env://")) {
            (Some(path), _) => Self::File(PathBuf::from(path)),
            (_, Some(name)) => Self::Variable(name.to_owned()),
            _ => Self::Here(text.to_owned()),
        }
    }
}
