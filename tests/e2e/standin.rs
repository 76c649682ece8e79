//! Someone's public API, played on a port of this machine: over TLS, by code that sees all of a request.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tests::authority::{ALWAYS, Holder, Wanted};
use x509::{AltNames, ExtKeyUsage, Validity};

use crate::issuer::Answer;

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    /// A header by its name in lower case; empty, if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// What answers.
pub(crate) type Play = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

/// The site, which lives as long as the test.
pub(crate) struct StandIn {
    /// Where it listens.
    pub(crate) port: u16,
    /// The certificate that signs its own, for whoever is to believe it.
    pub(crate) ca: PathBuf,
}

impl StandIn {
    pub(crate) fn open(folder: &Path, play: Play) -> Self {
        Self::open_as(folder, &Wanted::ca("Outside").by_itself(), ALWAYS, play)
    }

    /// The same, with a certificate by this CA that is good for as long.
    pub(crate) fn open_as(folder: &Path, root: &Holder, validity: Validity, play: Play) -> Self {
        let names = AltNames { ip: vec!["127.0.0.1".parse().unwrap()], ..AltNames::default() };
        let own =
            Wanted { names, purposes: vec![ExtKeyUsage::SERVER_AUTH], validity, ..Wanted::client("outside") };
        Self::showing(folder, &own.by(root), root, play)
    }

    /// The same, with this certificate.
    pub(crate) fn showing(folder: &Path, own: &Holder, root: &Holder, play: Play) -> Self {
        let (certificate, key) = own.files(folder, "outside", &[]);
        let ca = folder.join("outside-ca.pem");
        std::fs::write(&ca, root.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let config = builder.unwrap().with_no_client_auth();
        let config = config.with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, play) = (Arc::clone(&config), Arc::clone(&play));
                thread::spawn(move || answer(config, stream, &play));
            }
        });
        Self { port, ca }
    }
}

fn answer(config: Arc<ServerConfig>, stream: TcpStream, play: &Play) -> Option<()> {
    let stream = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let asked = Asked { method, path, headers, body: String::from_utf8(body).ok()? };
    let (status, location, body) = match play(&asked) {
        Answer::Say(status, body) => (status, String::new(), body),
        Answer::LeadTo(url) => (302, format!("location: {url}\r\n"), String::new()),
        Answer::Babble => return reader.get_mut().write_all(b"what is this\r\n\r\n").ok(),
        Answer::Hang => {
            // Until the other side gives up.
            let _ = reader.read(&mut [0]);
            return None;
        }
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let stream = reader.get_mut();
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}
