//! Asking an authority at a login whether it still stands by the certificate.

use std::time::Duration;

use kit::{Call, Error, Result, Secret, World};
use x509::{Certificate, Standing, ocsp_request, read_ocsp};

use super::chain::certificates;
use super::crls::is_web;
use super::role::Trust;

/// How long one server may take.
const ANSWER_TIME: Duration = Duration::from_secs(8);
/// How many servers are asked.
const SERVERS_MAX: usize = 4;

/// A question that is ready to be asked.
pub(super) struct Question {
    servers: Vec<String>,
    leaf: Certificate,
    issuer: Option<Certificate>,
    fail_open: bool,
    all_agree: bool,
}

/// What one server said.
enum Said {
    Good,
    Revoked,
    /// Something that proves nothing.
    Nonsense(String),
    /// Nothing.
    Silent(String),
}

impl Question {
    /// About the client's certificate, `chain` being those above it.
    pub(super) fn new(trust: &Trust, leaf: &Certificate, chain: &[Certificate]) -> Self {
        let servers = match trust.ocsp_servers_override.as_deref() {
            Some(servers @ [_, ..]) => servers.to_vec(),
            _ => leaf.ocsp_servers(),
        };
        let near = chain.first().cloned();
        let beside = || {
            let known = certificates(&trust.ocsp_ca_certificates).into_iter();
            known.chain(certificates(&trust.certificate)).find(|one| leaf.verify_issued_by(one).is_ok())
        };
        Self {
            servers: servers.into_iter().filter(|url| is_web(url)).take(SERVERS_MAX).collect(),
            leaf: leaf.clone(),
            issuer: near.or_else(beside),
            fail_open: trust.ocsp_fail_open,
            all_agree: trust.ocsp_query_all_servers,
        }
    }

    /// Asks. An answer that is wrong never lets in; no answer only does if the role says so.
    ///
    /// # Errors
    /// With why the certificate is not to be let in.
    pub(super) async fn ask(&self, world: &dyn World) -> Result<()> {
        let refused = |text: &str| Error::invalid(format!("OCSP: {text}"));
        let Some(issuer) = &self.issuer else {
            return Err(refused("the issuer of the certificate is not known: set ocsp_ca_certificates"));
        };
        let (mut good, mut nonsense, mut silent) = (false, None, None);
        for server in &self.servers {
            match self.ask_one(server, issuer, world).await {
                Said::Revoked => return Err(refused("the certificate has been revoked")),
                Said::Good if self.all_agree => good = true,
                Said::Good => return Ok(()),
                Said::Nonsense(text) => nonsense = Some(text),
                Said::Silent(text) => silent = Some(text),
            }
        }
        match (nonsense, silent) {
            (Some(text), _) => Err(refused(&text)),
            (None, Some(_)) if self.fail_open => Ok(()),
            (None, Some(text)) => Err(refused(&text)),
            (None, None) if good || self.fail_open => Ok(()),
            (None, None) => Err(refused("neither the certificate nor the role names a server to ask")),
        }
    }

    async fn ask_one(&self, server: &str, issuer: &Certificate, world: &dyn World) -> Said {
        let call = Call {
            method: "POST",
            url: server.to_owned(),
            headers: vec![("content-type".into(), Secret::new("application/ocsp-request".to_owned()))],
            body: ocsp_request(&self.leaf, issuer),
            ..Call::default()
        };
        let told = tokio::select! {
            biased;
            told = world.fetch(call) => told,
            () = world.pause(ANSWER_TIME) => return Said::Silent(format!("no answer from {server}")),
        };
        let told = match told {
            Ok(told) if told.status == 200 => told,
            Ok(told) => return Said::Silent(format!("{server} answered {}", told.status)),
            Err(error) => return Said::Silent(error.to_string()),
        };
        match read_ocsp(&told.body, &self.leaf, issuer, world.now().seconds()) {
            Ok(Standing::Good) => Said::Good,
            Ok(Standing::Revoked) => Said::Revoked,
            Ok(Standing::Unknown) => Said::Nonsense(format!("{server} does not know the certificate")),
            Err(error) => Said::Nonsense(format!("{server}: {error}")),
        }
    }
}
