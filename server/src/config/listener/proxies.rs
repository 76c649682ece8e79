//! Which proxies are believed, and in what: for whom they speak, what certificate they were shown, whom they pass on.

use http::HeaderName;

use super::super::section::Section;
use super::network::Network;

/// Which proxies are believed when they say for whom they speak.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Forwarded {
    pub(crate) believed: Vec<Network>,
    /// So many addresses at the end of the header are other proxies.
    pub(crate) hop_skips: usize,
    pub(crate) reject_not_believed: bool,
    pub(crate) reject_not_present: bool,
    /// They say, too, what certificate the client has shown them.
    pub(crate) certificate: Option<CertificateHeader>,
}

/// How a proxy passes on the certificate that a client has shown it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CertificateHeader {
    pub(crate) name: HeaderName,
    /// From the value of the header to a certificate; at the end it is base64 at least.
    pub(crate) decoders: Vec<Decoder>,
}

/// One step from the value of a header to a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Decoder {
    /// Percent-encoding is undone.
    Url,
    /// PEM becomes DER.
    Pem,
    /// Base64 becomes DER.
    Base64,
    /// Base64 between colons becomes DER, as RFC 9440 has it.
    Rfc9440,
    /// The `Cert` of Envoy's `X-Forwarded-Client-Cert` is taken out: PEM.
    Envoy,
}

/// What is done about a header of the PROXY protocol at the start of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ProxyProtocol {
    pub(crate) behavior: Behavior,
    pub(crate) believed: Vec<Network>,
}

/// Whose header counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Behavior {
    /// Everybody's.
    UseAlways,
    /// That of those who are believed; others have theirs passed over.
    AllowAuthorized,
    /// That of those who are believed; others do not come in.
    DenyUnauthorized,
}

impl Decoder {
    /// By its name; `DER` is what Vault calls `PEM`.
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "URL" => Self::Url,
            "PEM" | "DER" => Self::Pem,
            "BASE64" => Self::Base64,
            "RFC9440" => Self::Rfc9440,
            "ENVOY" => Self::Envoy,
            _ => return None,
        })
    }
}

pub(super) fn forwarded(stanza: &Section<'_>) -> Option<Forwarded> {
    let hop_skips = stanza.count("x_forwarded_for_hop_skips").unwrap_or(0);
    let reject_not_believed = stanza.flag("x_forwarded_for_reject_not_authorized").unwrap_or(true);
    let reject_not_present = stanza.flag("x_forwarded_for_reject_not_present").unwrap_or(true);
    let certificate = certificate(stanza);
    let Some(believed) = networks(stanza, "x_forwarded_for_authorized_addrs") else {
        if certificate.is_some() {
            let text = "\"x_forwarded_for_client_cert_header\" without \"x_forwarded_for_authorized_addrs\" lets anybody say which certificate they have: name the proxies that are believed";
            stanza.error("x_forwarded_for_client_cert_header", text);
        }
        return None;
    };
    let hop_skips = usize::try_from(hop_skips).unwrap_or(usize::MAX);
    Some(Forwarded { believed, hop_skips, reject_not_believed, reject_not_present, certificate })
}

fn certificate(stanza: &Section<'_>) -> Option<CertificateHeader> {
    const NAME: &str = "x_forwarded_for_client_cert_header";
    let own = stanza.texts("x_forwarded_for_client_cert_decoders");
    // As Vault spells it.
    let vault = stanza.texts("x_forwarded_for_client_cert_header_decoders");
    for key in
        ["x_forwarded_for_client_cert_keep_not_forwarded", "x_forwarded_for_client_cert_keep_unauthorized"]
    {
        if stanza.flag(key) == Some(true) {
            let text = format!(
                "\"{key}\" lets anybody say which certificate they have: leave it out, and name the proxy in x_forwarded_for_authorized_addrs"
            );
            stanza.error(key, &text);
        }
    }
    let mut decoders = Vec::new();
    for name in own.or(vault).unwrap_or_default() {
        match Decoder::named(&name) {
            Some(decoder) => decoders.push(decoder),
            None => stanza.error(
                "x_forwarded_for_client_cert_decoders",
                &format!("there is no decoder \"{name}\": take URL, PEM, BASE64, RFC9440 or Envoy"),
            ),
        }
    }
    let name = stanza.text(NAME).filter(|name| !name.is_empty())?;
    match name.parse() {
        Ok(name) => Some(CertificateHeader { name, decoders }),
        Err(_) => {
            stanza.error(
                NAME,
                "\"x_forwarded_for_client_cert_header\" must be the name of a header such as \"Client-Cert\"",
            );
            None
        }
    }
}

pub(super) fn proxy_protocol(stanza: &Section<'_>) -> Option<ProxyProtocol> {
    const KEY: &str = "proxy_protocol_behavior";
    let believed = networks(stanza, "proxy_protocol_authorized_addrs").unwrap_or_default();
    let behavior = match stanza.text(KEY).as_deref() {
        None | Some("") => {
            if !believed.is_empty() {
                let text = "\"proxy_protocol_authorized_addrs\" without \"proxy_protocol_behavior\" does nothing: set both";
                stanza.error("proxy_protocol_authorized_addrs", text);
            }
            return None;
        }
        Some("use_always") => Behavior::UseAlways,
        Some("allow_authorized") => Behavior::AllowAuthorized,
        Some("deny_unauthorized") => Behavior::DenyUnauthorized,
        Some(_) => {
            let text = "\"proxy_protocol_behavior\" must be \"use_always\", \"allow_authorized\" or \"deny_unauthorized\"";
            stanza.error(KEY, text);
            return None;
        }
    };
    if behavior != Behavior::UseAlways && believed.is_empty() {
        stanza
            .error(KEY, "say which proxies are believed: proxy_protocol_authorized_addrs = [\"10.0.0.0/8\"]");
    }
    Some(ProxyProtocol { behavior, believed })
}

/// Addresses and ranges.
fn networks(stanza: &Section<'_>, key: &'static str) -> Option<Vec<Network>> {
    let mut networks = Vec::new();
    for text in stanza.texts(key)? {
        match text.parse::<Network>() {
            Ok(network) => networks.push(network),
            Err(text) => stanza.error(key, &text),
        }
    }
    Some(networks)
}
