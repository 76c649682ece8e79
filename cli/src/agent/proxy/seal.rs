//! TLS at a door: its certificate is read again when its file is another, as a certificate that renews itself needs it.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;

use crate::agent::log::{Level, Log};

/// What a door shows, and what it wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) versions: Versions,
    pub(crate) clients: Clients,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    Both,
    Only12,
    Only13,
}

/// Whether whoever comes shows a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    NotAsked,
    /// Those who show one must be signed by a CA of this file.
    Asked(PathBuf),
    /// All must show one that is.
    Required(PathBuf),
}

/// The same, ready for connections.
pub(super) struct Sealed {
    seal: Seal,
    log: Rc<Log>,
    made: RefCell<Made>,
}

struct Made {
    acceptor: TlsAcceptor,
    stamps: Vec<Stamp>,
}

/// By what a file is known to be the same.
type Stamp = Option<(SystemTime, u64)>;

impl Sealed {
    /// Reads the files.
    pub(super) fn open(seal: Seal, log: Rc<Log>) -> Result<Sealed, String> {
        let stamps = seal.stamps();
        let acceptor = seal.acceptor()?;
        Ok(Sealed { seal, log, made: RefCell::new(Made { acceptor, stamps }) })
    }

    /// For the next connection. Files that cannot be used leave what was there.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let stamps = self.seal.stamps();
        let mut made = self.made.borrow_mut();
        if made.stamps != stamps {
            match self.seal.acceptor() {
                Ok(acceptor) => made.acceptor = acceptor,
                Err(why) => {
                    let line = format!("the listener goes on with the certificate it has: {why}");
                    self.log.write(Level::Warn, &line);
                }
            }
            made.stamps = stamps;
        }
        made.acceptor.clone()
    }
}

impl Seal {
    fn stamps(&self) -> Vec<Stamp> {
        let ca = match &self.clients {
            Clients::NotAsked => None,
            Clients::Asked(ca) | Clients::Required(ca) => Some(ca),
        };
        let stamp = |file: &PathBuf| {
            let there = fs::metadata(file).ok()?;
            Some((there.modified().ok()?, there.len()))
        };
        [&self.cert, &self.key].into_iter().chain(ca).map(stamp).collect()
    }

    fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let wrong = |why: rustls::Error| unusable(&self.cert, &why.to_string());
        let private =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|e| unusable(&self.key, &e.to_string()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions: &[&SupportedProtocolVersion] = match self.versions {
            Versions::Both => &[&TLS13, &TLS12],
            Versions::Only12 => &[&TLS12],
            Versions::Only13 => &[&TLS13],
        };
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(wrong)?;
        let verifier = |ca: &Path| -> Result<_, String> {
            let mut roots = RootCertStore::empty();
            for cert in certificates(ca)? {
                roots.add(cert).map_err(|e| unusable(ca, &e.to_string()))?;
            }
            Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider))
        };
        let none = |e: rustls::server::VerifierBuilderError| format!("tls_client_ca_file: {e}");
        let builder = match &self.clients {
            Clients::NotAsked => builder.with_no_client_auth(),
            Clients::Asked(ca) => builder
                .with_client_cert_verifier(verifier(ca)?.allow_unauthenticated().build().map_err(none)?),
            Clients::Required(ca) => builder.with_client_cert_verifier(verifier(ca)?.build().map_err(none)?),
        };
        let config = builder.with_single_cert(certificates(&self.cert)?, private).map_err(wrong)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|e| unusable(file, &e.to_string()))
}

fn unusable(file: &Path, why: &str) -> String {
    format!("{} cannot be used: {why}", file.display())
}
