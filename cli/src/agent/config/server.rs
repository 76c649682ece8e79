//! `vault { … }`: how the server is reached. It is read and written here.

use super::quoted;
use crate::hcl::value::Stanza;

/// How the server is reached; what is missing comes from the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: Option<String>,
    pub(crate) ca_cert: Option<String>,
    pub(crate) ca_path: Option<String>,
    pub(crate) client_cert: Option<String>,
    pub(crate) client_key: Option<String>,
    pub(crate) tls_server_name: Option<String>,
    pub(crate) tls_skip_verify: bool,
    pub(crate) namespace: Option<String>,
    /// How often something is tried, where the agent gives up at all.
    pub(crate) tries: Option<u32>,
}

impl Server {
    /// The stanza as HCL.
    pub(crate) fn hcl(&self) -> String {
        let skip = self.tls_skip_verify.then(|| "true".to_owned());
        let namespace = self.namespace.as_ref().map(|text| text.trim_matches('/').to_owned());
        let lines: String = [
            ("address", &self.address),
            ("ca_cert", &self.ca_cert),
            ("ca_path", &self.ca_path),
            ("client_cert", &self.client_cert),
            ("client_key", &self.client_key),
            ("tls_server_name", &self.tls_server_name),
            ("tls_skip_verify", &skip),
            ("namespace", &namespace),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some(format!("  {key} = {}\n", quoted(value.as_deref()?))))
        .collect();
        format!("vault {{\n{lines}}}\n")
    }
}

/// Reads the stanza, if there is one.
pub(super) fn read(all: &mut Stanza) -> Result<Server, String> {
    let Some(mut found) = all.stanza("vault")? else { return Ok(Server::default()) };
    let vault = &mut found.stanza;
    let mut server = Server {
        address: vault.text("address")?,
        ca_cert: vault.text("ca_cert")?,
        ca_path: vault.text("ca_path")?,
        client_cert: vault.text("client_cert")?,
        client_key: vault.text("client_key")?,
        tls_server_name: vault.text("tls_server_name")?,
        tls_skip_verify: vault.flag("tls_skip_verify")?.unwrap_or(false),
        namespace: vault.text("namespace")?,
        tries: None,
    };
    // The agent never gives up, and paces itself, unless exit_on_retry_failure says otherwise.
    if let Some(mut retry) = vault.stanza("retry")? {
        server.tries = tries(&mut retry.stanza)?;
        retry.stanza.finish()?;
    }
    found.stanza.finish()?;
    Ok(server)
}

/// `num_retries`: 0 means the usual number, -1 none.
fn tries(stanza: &mut Stanza) -> Result<Option<u32>, String> {
    let Some(text) = stanza.text("num_retries")? else { return Ok(None) };
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(-1) => Ok(Some(0)),
        Ok(number) if number > 0_i64 => Ok(Some(u32::try_from(number).unwrap_or(u32::MAX))),
        _ => Err(format!("{}: num_retries must be a whole number, not {text:?}", stanza.place)),
    }
}
