//! The server's address, parsed once into how to reach it and what to ask for.

use std::{net::IpAddr, path::PathBuf};

use rustls::pki_types::ServerName;

use crate::{settings::Settings, stop::Stop, transport::Route};

/// A parsed `-address`.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// As the user wrote it, without a trailing slash: the start of every URL in messages.
    pub(crate) base: String,
    /// The `Host` header.
    pub(crate) authority: String,
    /// A path before `/v1`, for servers behind a prefix.
    pub(crate) prefix: String,
    pub(crate) host: String,
    pub(crate) scheme: Scheme,
    socket: Option<PathBuf>,
    port: u16,
}

/// How the address says to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Address {
    /// Parses `https://host:port/prefix`, `http://…` or `unix:///path`.
    pub(crate) fn parse(text: &str) -> Result<Address, Stop> {
        let wrong = |why: &str| {
            Stop::local(format!("The address {text:?} cannot be used: {why}"))
                .hint("Write it like https://127.0.0.1:8200, or unix:///run/sealkeep.sock.")
        };
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Address {
                base: "http://localhost".to_owned(),
                authority: "localhost".to_owned(),
                prefix: String::new(),
                host: "localhost".to_owned(),
                scheme: Scheme::Http,
                socket: Some(PathBuf::from(path)),
                port: 80,
            });
        }
        let uri: http::Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            Some(_) | None => return Err(wrong("it must begin with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong("it must hold neither a user nor a query"));
        }
        let port = authority.port_u16().unwrap_or(match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        });
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        Ok(Address {
            base: text.trim_end_matches('/').to_owned(),
            authority: authority.to_string(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            host,
            scheme,
            socket: None,
            port,
        })
    }

    /// The way there, through a proxy if the surroundings name one for this host.
    pub(crate) fn route(&self, settings: &Settings) -> Result<Route, Stop> {
        if let Some(path) = &self.socket {
            return Ok(Route::Unix(path.clone()));
        }
        let of_all = match self.scheme {
            Scheme::Http => &settings.http_proxy,
            Scheme::Https => &settings.https_proxy,
        };
        let of_all = of_all.as_ref().filter(|_| !self.bypassed(settings.no_proxy.as_deref()));
        let Some(proxy) = settings.proxy.as_ref().or(of_all) else {
            return Ok(self.direct());
        };
        let text = if proxy.contains("://") { proxy.clone() } else { format!("http://{proxy}") };
        let proxy = Address::parse(&text)?;
        if proxy.scheme == Scheme::Https {
            return Err(Stop::local("The proxy must be reached over http://: it only tunnels TLS."));
        }
        Ok(Route::Proxy {
            proxy_host: proxy.host,
            proxy_port: proxy.port,
            host: self.host.clone(),
            port: self.port,
        })
    }

    /// The way there without a proxy.
    pub(crate) fn direct(&self) -> Route {
        Route::Tcp { host: self.host.clone(), port: self.port }
    }

    /// The name that the server's certificate must carry.
    pub(crate) fn server_name(&self) -> Result<ServerName<'static>, String> {
        ServerName::try_from(self.host.clone())
            .map_err(|_| format!("{:?} is no name that TLS can check", self.host))
    }

    /// Whether `redirected` speaks less safely than this address.
    pub(crate) fn downgraded_by(&self, redirected: &Address) -> bool {
        self.scheme == Scheme::Https && redirected.scheme == Scheme::Http
    }

    /// This machine is never asked for through a proxy that is meant for every program.
    fn bypassed(&self, no_proxy: Option<&str>) -> bool {
        let local = self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        local
            || no_proxy.unwrap_or_default().split(',').map(str::trim).any(|rule| {
                let name = rule.trim_start_matches('.');
                !name.is_empty()
                    && (rule == "*" || self.host == name || self.host.ends_with(&format!(".{name}")))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let address = Address::parse("https://vault.example:8200/team/").expect("an address");
        assert_eq!((address.host.as_str(), address.port), ("vault.example", 8200));
        assert_eq!(
            (address.prefix.as_str(), address.base.as_str()),
            ("/team", "https://vault.example:8200/team")
        );
        let six = Address::parse("http://[::1]:8200").expect("an address");
        assert_eq!((six.host.as_str(), six.authority.as_str()), ("::1", "[::1]:8200"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["foo", "127.0.0.1:8200", "ftp://x", "https://", "https://u:p@host", "https://h/?q=1"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_and_no_proxy_bypass_the_proxy() {
        let mut settings = Settings::read();
        settings.https_proxy = Some("proxy.example:3128".to_owned());
        settings.no_proxy = Some("internal.example".to_owned());
        settings.proxy = None;
        let route = |text: &str| Address::parse(text).expect("an address").route(&settings).expect("a route");
        assert!(matches!(route("https://127.0.0.1:8200"), Route::Tcp { .. }));
        assert!(matches!(route("https://a.internal.example"), Route::Tcp { .. }));
        assert!(matches!(route("https://vault.example"), Route::Proxy { proxy_port: 3128, .. }));
        settings.proxy = Some("own.example:8080".to_owned());
        let route = |text: &str| Address::parse(text).expect("an address").route(&settings).expect("a route");
        for address in ["http://127.0.0.1:8200", "https://127.0.0.1:8200", "https://a.internal.example"] {
            assert!(matches!(route(address), Route::Proxy { proxy_port: 8080, .. }), "{address}");
        }
    }
}
