//! The doors: addresses that are free, certificates that will be believed.

use std::net::{IpAddr, TcpListener, ToSocketAddrs as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::outputs::writable;
use super::seal::private;
use super::tree::Check;
use crate::config::{Config, Listener, Place, Tls};
use crate::http::listener::ANOTHER_ADDRESS;
use crate::http::tls::{self, Certificates};

/// A certificate that ends within this time wants somebody to look.
const EXPIRY_NEAR: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) fn check(config: &Config) -> Check {
    let mut check = Check::new("Start Listeners");
    if config.listeners.is_empty() {
        check.fails("There is no listener: nobody could ask this server anything.");
        check.advises("Add listener \"tcp\" { address = \"127.0.0.1:8200\" … }.");
    }
    for listener in &config.listeners {
        let name = match &listener.place {
            Place::Tcp(address) => address.clone(),
            Place::Unix { path, .. } => path.display().to_string(),
        };
        let door = check.add(Check::new(format!("Check Listener {name}")));
        door.add(encryption(listener, config));
        door.add(free(&listener.place));
    }
    check
}

fn encryption(listener: &Listener, config: &Config) -> Check {
    let mut check = Check::new("Check Listener TLS");
    let Some(wanted) = &listener.tls else {
        match &listener.place {
            Place::Unix { .. } => check.says("A socket of this machine needs no TLS."),
            Place::Tcp(address) => {
                check.warns("TLS is disabled in a listener config stanza.");
                if !is_loopback(address) {
                    check.advises("Everybody on the way reads every secret: set tls_cert_file and tls_key_file, unless a proxy that you trust ends TLS in front of it.");
                }
            }
        }
        return check;
    };
    if let Err(error) = Certificates::read(wanted) {
        check.fails(error.to_string());
        return check;
    }
    private(&mut check, &wanted.source.key);
    for (at, der) in tls::chain(&wanted.source.certificate).unwrap_or_default().iter().enumerate() {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { continue };
        lifetime(&mut check, &certificate, wanted);
        if at == 0 {
            covered(&mut check, &certificate, config);
        }
    }
    check
}

fn lifetime(check: &mut Check, certificate: &X509Certificate<'_>, wanted: &Tls) {
    let now = i64::try_from(crate::world::now().seconds()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    let (start, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let file = wanted.source.certificate.display();
    let subject = certificate.subject();
    let near = i64::try_from(EXPIRY_NEAR.as_secs()).unwrap_or(i64::MAX);
    if now >= end {
        check.fails(format!("{file}: the certificate of {subject} has expired at {}", validity.not_after));
    } else if now < start {
        check.fails(format!("{file}: the certificate of {subject} begins only at {}", validity.not_before));
    } else if end - now < near {
        check.warns(format!("{file}: the certificate of {subject} expires at {}", validity.not_after));
        check.advises("Renew it in time; the server reads the new file by itself.");
    }
}

/// Whether clients that go by `api_addr` will believe this certificate.
fn covered(check: &mut Check, certificate: &X509Certificate<'_>, config: &Config) {
    let Some(host) = config.api_addr.as_deref().and_then(host) else { return };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        check.warns("The certificate has no subject alternative names: clients believe no other.");
        return;
    };
    let ip: Option<IpAddr> = host.parse().ok();
    let covers = names.value.general_names.iter().any(|name| match (name, ip) {
        (GeneralName::DNSName(name), None) => goes_for(name, host),
        (GeneralName::IPAddress(bytes), Some(IpAddr::V4(ip))) => *bytes == ip.octets(),
        (GeneralName::IPAddress(bytes), Some(IpAddr::V6(ip))) => *bytes == ip.octets(),
        _ => false,
    });
    if !covers {
        check.warns(format!("The certificate is not for {host}, which api_addr names."));
    }
}

/// Whether the name of a certificate goes for a host; a star stands for one label.
fn goes_for(name: &str, host: &str) -> bool {
    let (name, host) = (name.to_ascii_lowercase(), host.to_ascii_lowercase());
    match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, parent)| parent == rest),
        None => name == host,
    }
}

/// Whether the address can be taken.
fn free(place: &Place) -> Check {
    let mut check = Check::new("Create Listener");
    match place {
        Place::Tcp(address) => match TcpListener::bind(address.as_str()) {
            Ok(_taken) => check.says(format!("{address} is free.")),
            Err(error) => {
                check.fails(format!("{address} cannot be taken: {error}"));
                if error.kind() == std::io::ErrorKind::AddrInUse {
                    check.advises(format!("Another program listens there. {ANOTHER_ADDRESS}; if it is the server itself, look with -skip=listener."));
                }
            }
        },
        Place::Unix { path, .. } => socket(&mut check, path),
    }
    check
}

fn socket(check: &mut Check, path: &Path) {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            check.fails(format!("{} is there already and is no socket", path.display()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            check.fails(format!("{} is taken: another program listens there", path.display()));
            check
                .advises(format!("{ANOTHER_ADDRESS}; if it is the server itself, look with -skip=listener."));
        }
        _ => {
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            match writable(folder) {
                Ok(()) => check.says(format!("{} is free.", path.display())),
                Err(why) => check.fails(why),
            }
        }
    }
}

/// What clients are told about where this server is.
pub(super) fn addresses(config: &Config) -> Check {
    let mut check = Check::new("Check Addresses");
    let Some(address) = &config.api_addr else {
        check.warns("api_addr is not set: URLs in answers are guessed from the first listener.");
        check.advises("Set api_addr to the URL that clients use.");
        return check;
    };
    check.says(format!("Clients are told {address}."));
    let encrypted = config.listeners.iter().any(|listener| listener.tls.is_some());
    if address.starts_with("http://") && encrypted {
        check.warns(format!(
            "api_addr is {address}, and a listener speaks TLS: clients that go by it are refused."
        ));
    }
    let beyond =
        |listener: &Listener| matches!(&listener.place, Place::Tcp(address) if !is_loopback(address));
    if host(address).is_some_and(is_loopback_host) && config.listeners.iter().any(beyond) {
        check.warns(format!("api_addr is {address}, which leads clients of other machines to themselves."));
    }
    check
}

/// The host of a URL, without port and brackets.
fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1.split('/').next()?;
    let bracketed = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    bracketed.map(|(host, _)| host).or_else(|| rest.split(':').next()).filter(|host| !host.is_empty())
}

fn is_loopback_host(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_loopback(address: &str) -> bool {
    address.to_socket_addrs().is_ok_and(|mut all| all.all(|address| address.ip().is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_names() {
        assert_eq!(host("https://vault.example.com:8200/x"), Some("vault.example.com"));
        assert_eq!(host("https://[::1]:8200"), Some("::1"));
        assert_eq!(host("https://"), None);
        assert!(goes_for("*.example.com", "a.Example.com") && !goes_for("*.example.com", "a.b.example.com"));
        assert!(goes_for("a.example.com", "a.example.com") && !goes_for("*.example.com", "example.com"));
        assert!(is_loopback("127.0.0.1:8200") && is_loopback("[::1]:1") && !is_loopback("0.0.0.0:8200"));
    }
}
