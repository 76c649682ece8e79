//! Looking at a port as a client does: which certificate is really shown there?

use std::{sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls;

/// A service that does not finish a handshake in this time is not serving.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);

/// Where a service shows its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `host:port`.
    pub(crate) address: String,
    /// The name that is asked for in the handshake.
    pub(crate) server_name: String,
}

impl Place {
    pub(crate) fn parse(address: &str, server_name: &str) -> Result<Place, String> {
        let port =
            address.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if port.is_none() {
            return Err(format!("{address:?} is no place to look at: write HOST:PORT, like 127.0.0.1:443"));
        }
        Ok(Place { address: address.to_owned(), server_name: server_name.to_owned() })
    }

    /// Opens the port and takes the certificate from the handshake, whoever signed it.
    pub(crate) async fn look(&self) -> Result<Vec<u8>, String> {
        let looked = tokio::time::timeout(HANDSHAKE_TIME_MAX, self.handshake()).await;
        let seen = looked.unwrap_or_else(|_| Err("no handshake in 5 s".to_owned()));
        seen.map_err(|why| format!("{}: {why}", self.address))
    }

    async fn handshake(&self) -> Result<Vec<u8>, String> {
        let trust = tls::Trust { verify: tls::Verify::Skip, ..tls::Trust::default() };
        let config = tls::client_config(&trust).map_err(|_| "TLS cannot be set up".to_owned())?;
        let name = ServerName::try_from(self.server_name.clone())
            .map_err(|_| format!("{:?} is no name for a handshake", self.server_name))?;
        let stream = TcpStream::connect(&self.address).await.map_err(|e| e.to_string())?;
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|e| e.to_string())?;
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(|chain| chain.first());
        leaf.map(|leaf| leaf.to_vec()).ok_or_else(|| "no certificate was shown".to_owned())
    }
}
