//! A certificate authority of the server's own, for the first run and for development.

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::Time;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;

use crate::config::Source;
use crate::world;

/// Where the files are.
pub(crate) struct Authority {
    /// What clients are told to trust.
    pub(crate) ca: PathBuf,
    ca_key: PathBuf,
    server: Source,
    names: Vec<String>,
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The authority ends in ten years.
const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// A server certificate lives 90 days and is made anew when a third of that is left.
const SERVER_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Clocks of clients may be behind.
const SLACK: Duration = Duration::from_secs(3600);

impl Authority {
    /// With the file names of a first run.
    pub(crate) fn in_folder(folder: &Path, names: Vec<String>) -> Self {
        Self::named(folder, names, ["ca.pem", "ca.key", "server.pem", "server.key"])
    }

    /// With the file names that OpenBao's development server uses.
    pub(crate) fn for_development(folder: &Path, names: Vec<String>) -> Self {
        Self::named(folder, names, ["vault-ca.pem", "vault-ca-key.pem", "vault-cert.pem", "vault-key.pem"])
    }

    fn named(folder: &Path, names: Vec<String>, files: [&str; 4]) -> Self {
        let [ca, ca_key, certificate, key] = files.map(|file| folder.join(file));
        Self { ca, ca_key, server: Source { certificate, key }, names }
    }

    /// The server's certificate and key; made, or made anew, if need be.
    pub(crate) fn certificate(&self) -> io::Result<Source> {
        if !self.ca.exists() || !self.ca_key.exists() {
            self.make_ca()?;
            self.make_server()?;
        } else if self.is_due() {
            self.make_server()?;
        }
        Ok(self.server.clone())
    }

    fn is_due(&self) -> bool {
        let pem = std::fs::read(&self.server.certificate).unwrap_or_default();
        let limit = world::now().plus(RENEW_BEFORE);
        !self.server.key.exists()
            || not_after(&pem).is_none_or(|ends| ends <= limit)
            || !has_names(&pem, &self.names)
    }

    fn make_ca(&self) -> io::Result<()> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = called("Sealkeep CA of this server");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        lasts(&mut params, CA_LIFE);
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        write(&self.ca_key, key.serialize_pem().as_bytes())?;
        write(&self.ca, certificate.pem().as_bytes())
    }

    fn make_server(&self) -> io::Result<()> {
        let ca_key = KeyPair::from_pem(&std::fs::read_to_string(&self.ca_key)?).map_err(io::Error::other)?;
        let ca = std::fs::read_to_string(&self.ca)?;
        let issuer = Issuer::from_ca_cert_pem(&ca, ca_key).map_err(io::Error::other)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(self.names.clone()).map_err(io::Error::other)?;
        params.distinguished_name = called("Sealkeep");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        lasts(&mut params, SERVER_LIFE);
        let certificate = params.signed_by(&key, &issuer).map_err(io::Error::other)?;
        write(&self.server.key, key.serialize_pem().as_bytes())?;
        write(&self.server.certificate, certificate.pem().as_bytes())
    }
}

/// The names under which a server on this machine is reached.
pub(crate) fn local_names() -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    if is_name && !host.is_empty() && host.parse::<IpAddr>().is_err() && !names.contains(&host) {
        names.push(host);
    }
    names
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // Left over from a start that was cut short.
    let _ = std::fs::remove_file(&new);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

fn lasts(params: &mut CertificateParams, life: Duration) {
    let now = world::now();
    params.not_before = date(now.minus(SLACK));
    params.not_after = date(now.plus(life));
}

fn date(time: Time) -> OffsetDateTime {
    let seconds = i64::try_from(time.seconds()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn not_after(pem: &[u8]) -> Option<Time> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let seconds = pem.parse_x509().ok()?.validity().not_after.timestamp();
    u64::try_from(seconds).ok().map(Time::from_seconds)
}

/// Whether a certificate is for all of these names and addresses.
fn has_names(pem: &[u8], wanted: &[String]) -> bool {
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(pem) else { return false };
    let Ok(certificate) = pem.parse_x509() else { return false };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    let has = |wanted: &String| {
        let ip = wanted.parse::<IpAddr>().map(|ip| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        });
        names.value.general_names.iter().any(|name| match (name, &ip) {
            (GeneralName::IPAddress(bytes), Ok(ip)) => bytes == ip,
            (GeneralName::DNSName(name), Err(_)) => name == wanted,
            _ => false,
        })
    };
    wanted.iter().all(has)
}

/// How often a running server looks whether its certificate is due.
pub(crate) const RENEW_EVERY: Duration = DAY;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_certificate_once_and_keeps_it() {
        let folder = std::env::temp_dir().join(format!("sealkeep-authority-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let authority = Authority::in_folder(&folder, local_names());
        let source = authority.certificate().unwrap();
        let first = std::fs::read(&source.certificate).unwrap();
        assert!(not_after(&first).unwrap() > world::now().plus(SERVER_LIFE - DAY));
        authority.certificate().unwrap();
        assert_eq!(std::fs::read(&source.certificate).unwrap(), first, "it was made anew without need");
        let ca = std::fs::read(&authority.ca).unwrap();
        std::fs::remove_file(&source.certificate).unwrap();
        authority.certificate().unwrap();
        assert_eq!(std::fs::read(&authority.ca).unwrap(), ca, "clients would have to trust a new one");
        let mut names = local_names();
        names.extend(["192.0.2.7", "2001:db8::7", "keep.example"].map(str::to_owned));
        let more = Authority::in_folder(&folder, names.clone());
        let of_this_machine = std::fs::read(&source.certificate).unwrap();
        more.certificate().unwrap();
        let of_more = std::fs::read(&source.certificate).unwrap();
        assert!(has_names(&of_more, &names) && !has_names(&of_this_machine, &names));
        authority.certificate().unwrap();
        assert_eq!(std::fs::read(&source.certificate).unwrap(), of_more, "a name too many is no harm");
        assert_eq!(std::fs::read(&authority.ca).unwrap(), ca, "clients would have to trust a new one");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
