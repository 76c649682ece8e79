//! `listener` and `api_proxy`: where programs of this machine reach the server through the agent.

use std::{net::IpAddr, path::PathBuf};

use super::Stanza;
use crate::{
    agent::{
        disk::Owner,
        owner,
        proxy::{Door, Header, Lending, Place, Quit, Role},
    },
    hcl::value::Labelled,
};

/// The mode of a socket unless somebody says otherwise: whoever opens it acts with the agent's token.
const SOCKET_MODE_DEFAULT: u32 = 0o600;

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
    let files = [stanza.text("tls_cert_file")?, stanza.text("tls_key_file")?];
    let disabled = stanza.flag("tls_disable")?.unwrap_or(false);
    let wanted = "the agent asks no certificate of its clients: leave this out, and use a unix socket";
    for key in ["tls_require_and_verify_client_cert", "tls_client_ca_file"] {
        stanza.refuse(key, wanted)?;
    }
    // TLS 1.2 is the least that is spoken, as it is by default there.
    stanza.text("tls_min_version")?;
    let at = match kind.as_str() {
        "tcp" => Place::Tcp(address),
        "unix" => unix(&mut stanza, address)?,
        other => return Err(format!("{place}: a listener is \"tcp\" or \"unix\", not {other:?}")),
    };
    let tls = match (files, disabled, &at) {
        (_, true, _) | ([None, None], false, Place::Unix { .. }) => None,
        ([Some(cert), Some(key)], false, _) => Some((PathBuf::from(cert), PathBuf::from(key))),
        _ => {
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
