//! `listener` and `api_proxy`: where programs of this machine reach the server through the agent.

use std::{net::IpAddr, path::PathBuf};

use crate::{
    agent::{
        disk::Owner,
        owner,
        proxy::{Clients, Door, Header, Lending, Namespaces, Place, Quit, Role, Seal, Versions},
    },
    hcl::value::{Labelled, Stanza},
};

/// The mode of a socket unless somebody says otherwise: whoever opens it acts with the agent's token.
const SOCKET_MODE_DEFAULT: u32 = 0o600;

/// What a server's listener has and a door of the agent has not, and what to do instead.
const NOT_HERE: [(&str, &str); 4] = [
    (
        "tls_cipher_suites",
        "what is safe is chosen by itself: leave it out, or set tls_min_version = \"tls13\"",
    ),
    (
        "proxy_protocol_behavior",
        "the agent stands beside the programs it serves, with no balancer between: leave it out",
    ),
    ("custom_response_headers", "the agent hands on the server's headers: set them there"),
    ("x_forwarded_for_authorized_addrs", "the agent asks nobody who is behind a caller: leave it out"),
];
/// What changes nothing here: limits are the server's, and ciphers are chosen by itself.
const OF_NO_MATTER: [&str; 9] = [
    "cluster_address",
    "http_idle_timeout",
    "http_read_header_timeout",
    "http_read_timeout",
    "http_write_timeout",
    "max_request_duration",
    "max_request_size",
    "tls_disable_client_certs",
    "tls_prefer_server_cipher_suites",
];

pub(super) fn doors(all: &mut Stanza) -> Result<Vec<Door>, String> {
    all.stanzas("listener")?.into_iter().map(door).collect()
}

fn door(found: Labelled) -> Result<Door, String> {
    let Labelled { labels, mut stanza } = found;
    let place = stanza.place.clone();
    let kind = match labels.first() {
        Some(label) => label.clone(),
        None => stanza.needed("type")?,
    };
    let address = stanza.needed("address")?;
    for (key, advice) in NOT_HERE {
        stanza.refuse(key, advice)?;
    }
    for key in OF_NO_MATTER {
        stanza.text(key)?;
    }
    let tls = seal(&mut stanza)?;
    let disabled = stanza.flag("tls_disable")?.unwrap_or(false);
    let at = match kind.as_str() {
        "tcp" => Place::Tcp(address),
        "unix" => unix(&mut stanza, address)?,
        other => return Err(format!("{place}: a listener is \"tcp\" or \"unix\", not {other:?}")),
    };
    let tls = match (tls, disabled, &at) {
        (_, true, _) | (None, false, Place::Unix { .. }) => None,
        (Some(seal), false, _) => Some(seal),
        (None, false, Place::Tcp(_)) => {
            return Err(format!(
                "{place}: tls_cert_file and tls_key_file are missing, or tls_disable = true"
            ));
        }
    };
    let header = match stanza.flag("require_request_header")? {
        Some(true) => Header::Required,
        Some(false) | None => Header::Free,
    };
    let role = match stanza.text("role")?.as_deref() {
        None | Some("" | "default") => Role::All,
        Some("metrics_only") => Role::Metrics,
        Some(other) => return Err(format!("{place}: role must be default or metrics_only, not {other:?}")),
    };
    let mut quit = Quit::Refused;
    for key in ["agent_api", "proxy_api"] {
        if let Some(mut api) = stanza.stanza(key)? {
            if api.stanza.flag("enable_quit")?.unwrap_or(false) {
                quit = Quit::Allowed;
            }
            api.stanza.finish()?;
        }
    }
    stanza.finish()?;
    Ok(Door { at, tls, header, role, quit })
}

fn seal(stanza: &mut Stanza) -> Result<Option<Seal>, String> {
    let place = stanza.place.clone();
    let bound = |text: Option<String>, key: &str, usual: u8| match text.as_deref() {
        None | Some("") => Ok(usual),
        Some("tls12") => Ok(12),
        Some("tls13") => Ok(13),
        Some(other) => Err(format!("{place}: {key} must be \"tls12\" or \"tls13\", not {other:?}")),
    };
    let least = bound(stanza.text("tls_min_version")?, "tls_min_version", 12)?;
    let most = bound(stanza.text("tls_max_version")?, "tls_max_version", 13)?;
    let versions = match (least, most) {
        (12, 13) => Versions::Both,
        (12, _) => Versions::Only12,
        (_, 13) => Versions::Only13,
        _ => return Err(format!("{place}: tls_min_version is above tls_max_version")),
    };
    let required = stanza.flag("tls_require_and_verify_client_cert")?.unwrap_or(false);
    let clients = match (stanza.text("tls_client_ca_file")?.map(PathBuf::from), required) {
        (None, false) => Clients::NotAsked,
        (Some(ca), false) => Clients::Asked(ca),
        (Some(ca), true) => Clients::Required(ca),
        (None, true) => {
            return Err(format!(
                "{place}: tls_client_ca_file is missing: which CA signs the clients' certificates?"
            ));
        }
    };
    let files = [stanza.text("tls_cert_file")?, stanza.text("tls_key_file")?];
    match files {
        [Some(cert), Some(key)] => {
            Ok(Some(Seal { cert: PathBuf::from(cert), key: PathBuf::from(key), versions, clients }))
        }
        [None, None] => Ok(None),
        _ => Err(format!("{place}: tls_cert_file and tls_key_file belong together: one of them is missing")),
    }
}

fn unix(stanza: &mut Stanza, address: String) -> Result<Place, String> {
    let place = stanza.place.clone();
    let mode = stanza.number("socket_mode")?.unwrap_or(SOCKET_MODE_DEFAULT);
    let mut id = |key: &str, find: fn(&str) -> Result<u32, String>| -> Result<Option<u32>, String> {
        let name = stanza.text(key)?.filter(|name| !name.is_empty());
        name.map(|name| find(&name)).transpose().map_err(|why| format!("{place}: {key}: {why}"))
    };
    let owner = Owner { user: id("socket_user", owner::user)?, group: id("socket_group", owner::group)? };
    Ok(Place::Unix { path: PathBuf::from(address), mode, owner })
}

/// What a proxy says of namespaces.
pub(super) fn namespaces(stanza: &mut Stanza) -> Result<Namespaces, String> {
    // There is one server, which has seen every write: it is always as consistent as can be.
    for key in ["enforce_consistency", "when_inconsistent"] {
        stanza.text(key)?;
    }
    Ok(match stanza.flag("prepend_configured_namespace")? {
        Some(true) => Namespaces::Prepended,
        Some(false) | None => Namespaces::OfRequest,
    })
}

/// `use_auto_auth_token`, if it is set.
pub(super) fn lending(stanza: &mut Stanza) -> Result<Option<Lending>, String> {
    let Some(text) = stanza.text("use_auto_auth_token")? else { return Ok(None) };
    Ok(Some(match (text.to_lowercase().as_str(), crate::argv::go_bool(&text)) {
        ("force", _) => Lending::Always,
        (_, Some(true)) => Lending::Missing,
        (_, Some(false)) => Lending::Never,
        _ => {
            return Err(format!(
                "{}: use_auto_auth_token must be true, false or \"force\", not {text:?}",
                stanza.place
            ));
        }
    }))
}

/// A token that is lent to whoever asks is not lent to a network in clear.
pub(super) fn check(doors: &[Door], lending: Lending, place: &str) -> Result<(), String> {
    for door in doors {
        if let Place::Tcp(address) = &door.at
            && door.tls.is_none()
            && door.role == Role::All
            && lending != Lending::Never
            && !is_loopback(address)
        {
            return Err(format!(
                "{place}: listener {address:?} hands the agent's token to everybody who reaches it: listen on 127.0.0.1 or on a unix socket"
            ));
        }
    }
    Ok(())
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
