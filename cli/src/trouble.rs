//! Why no answer came, in the words that users of the Go client search for, and what can be done about it.

use std::{io, net::IpAddr};

use rustls::{AlertDescription, CertificateError, pki_types::ServerName};

/// So many names of a certificate are told.
const NAMES_TOLD: usize = 10;

/// Why no answer came.
#[derive(Debug)]
pub(crate) enum Trouble {
    NotFound(String),
    Refused(String),
    Unreachable(String),
    Untrusted(String),
    /// The certificate is for another name.
    Misnamed(String),
    NotTls,
    WantsCertificate,
    /// The server does not take the client's certificate, or says so where it misses one.
    RefusedCertificate(String),
    /// What answers speaks no HTTP: TLS, for one.
    NotHttp,
    Tls(String),
    Proxy(String),
    TimedOut,
    Broken(String),
}

impl Trouble {
    /// What happened.
    pub(crate) fn text(&self) -> String {
        match self {
            Trouble::NotFound(text)
            | Trouble::Refused(text)
            | Trouble::Unreachable(text)
            | Trouble::RefusedCertificate(text)
            | Trouble::Tls(text)
            | Trouble::Proxy(text)
            | Trouble::Broken(text) => text.clone(),
            Trouble::Untrusted(text) | Trouble::Misnamed(text) => {
                format!("tls: failed to verify certificate: x509: {text}")
            }
            Trouble::WantsCertificate => "remote error: tls: certificate required".to_owned(),
            Trouble::NotTls => "http: server gave HTTP response to HTTPS client".to_owned(),
            Trouble::NotHttp => "malformed HTTP response".to_owned(),
            Trouble::TimedOut => "context deadline exceeded".to_owned(),
        }
    }

    /// What the user can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Trouble::NotFound(_) => "No such host: is the address right? Set it with -address or KEEP_ADDR.",
            Trouble::Refused(_) => {
                "Nothing listens there: start the server, or set the address with -address or KEEP_ADDR."
            }
            Trouble::Unreachable(_) => "The address cannot be reached from here: check network and -address.",
            Trouble::Misnamed(_) => {
                "The certificate is for another name: use that name in -address, or give -tls-server-name."
            }
            Trouble::Untrusted(_) => "Trust the server's CA with -ca-cert=FILE or KEEP_CACERT.",
            Trouble::WantsCertificate => {
                "The server lets in only who shows a certificate: give -client-cert and -client-key."
            }
            Trouble::RefusedCertificate(_) => {
                "The server wants a certificate of a CA that it trusts: look at -client-cert and -client-key."
            }
            Trouble::NotTls => "The server speaks plain HTTP: write the address with http://.",
            Trouble::NotHttp => "What answers there does not speak HTTP in clear: does it want https://?",
            Trouble::Proxy(_) => {
                "Check KEEP_PROXY_ADDR, or HTTPS_PROXY and HTTP_PROXY, from which NO_PROXY excepts hosts."
            }
            Trouble::TimedOut => {
                "The server did not answer in time; KEEP_CLIENT_TIMEOUT sets how long to wait."
            }
            Trouble::Tls(_) => {
                "The TLS handshake failed: is this the API's address, does it speak TLS 1.2 or 1.3, does it want -client-cert?"
            }
            Trouble::Broken(_) => return None,
        })
    }

    /// Why a connection that stood has ended.
    pub(crate) fn of_connection(error: &hyper::Error) -> Trouble {
        if let Some(trouble) = said_by_tls(error) {
            return trouble;
        }
        if error.is_parse() {
            return Trouble::NotHttp;
        }
        if error.is_incomplete_message() || error.is_canceled() {
            return Trouble::Broken("EOF".to_owned());
        }
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        Trouble::Broken(format!("{error}{}", cause.unwrap_or_default()))
    }

    /// Why TLS did not come about, or came to an end.
    pub(crate) fn of_tls(error: &io::Error) -> Trouble {
        let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return Trouble::Tls(match error.kind() {
                io::ErrorKind::UnexpectedEof => "tls: the connection ended in the handshake: EOF".to_owned(),
                _ => format!("tls: {error}"),
            });
        };
        match cause {
            rustls::Error::InvalidMessage(_) => Trouble::NotTls,
            rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                expected,
                presented,
            }) => Trouble::Misnamed(misnamed(expected, presented)),
            rustls::Error::InvalidCertificate(why) => Trouble::Untrusted(untrusted(why)),
            rustls::Error::AlertReceived(alert) => alerted(*alert),
            other => Trouble::Tls(format!("tls: {other}")),
        }
    }
}

/// What TLS has said after the handshake, if that is why a request broke off: in its version 1.3 a server looks at the
/// client's certificate only then.
fn said_by_tls(error: &hyper::Error) -> Option<Trouble> {
    // A request that was not begun is "canceled", and what ended the connection is the cause of that.
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let by_tls = |cause: &&io::Error| cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).find(by_tls).map(Trouble::of_tls)
}

fn alerted(alert: AlertDescription) -> Trouble {
    let (refused, words) = match alert {
        AlertDescription::CertificateRequired => return Trouble::WantsCertificate,
        AlertDescription::BadCertificate => (true, "bad certificate"),
        AlertDescription::UnsupportedCertificate => (true, "unsupported certificate"),
        AlertDescription::CertificateRevoked => (true, "revoked certificate"),
        AlertDescription::CertificateExpired => (true, "expired certificate"),
        AlertDescription::CertificateUnknown => (true, "unknown certificate"),
        AlertDescription::UnknownCA => (true, "unknown certificate authority"),
        AlertDescription::AccessDenied => (true, "access denied"),
        AlertDescription::DecryptError => (true, "error decrypting message"),
        AlertDescription::HandshakeFailure => (false, "handshake failure"),
        AlertDescription::ProtocolVersion => (false, "protocol version not supported"),
        AlertDescription::InsufficientSecurity => (false, "insufficient security level"),
        AlertDescription::UnrecognisedName => (false, "unrecognized name"),
        AlertDescription::InternalError => (false, "internal error"),
        other => return Trouble::Tls(format!("remote error: tls: {other:?}")),
    };
    let text = format!("remote error: tls: {words}");
    if refused { Trouble::RefusedCertificate(text) } else { Trouble::Tls(text) }
}

fn untrusted(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        other => other.to_string(),
    }
}

/// Which names a certificate has, and that the one asked for is not among them.
fn misnamed(expected: &ServerName<'_>, presented: &[String]) -> String {
    let wanted = expected.to_str();
    let numbers: Vec<String> = presented.iter().filter_map(|name| inside(name, "IpAddress")).collect();
    let hosts: Vec<String> = presented.iter().filter_map(|name| inside(name, "DnsName")).collect();
    let numeric = matches!(expected, ServerName::IpAddress(_));
    let (right, other) = if numeric { (&numbers, &hosts) } else { (&hosts, &numbers) };
    match right.len() {
        0 => {
            let else_for =
                if other.is_empty() { String::new() } else { format!("; it is for {}", few(other)) };
            if numeric {
                format!(
                    "cannot validate certificate for {wanted} because it doesn't contain any IP SANs{else_for}"
                )
            } else {
                format!("certificate is not valid for any names, but wanted to match {wanted}{else_for}")
            }
        }
        _ => format!("certificate is valid for {}, not {wanted}", few(right)),
    }
}

/// Names as they come: `DnsName("a.b")` and `IpAddress(0000:…:0001)`.
fn inside(name: &str, kind: &str) -> Option<String> {
    let inside = name.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')')?.trim_matches('"');
    let number = inside.parse::<IpAddr>().ok().map(|number| number.to_string());
    // What a certificate says may be anything, and goes to a terminal.
    Some(number.unwrap_or_else(|| inside.escape_debug().to_string()))
}

fn few(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_TOLD).map(String::as_str).collect();
    let rest = names.len() - shown.len();
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    shown.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &str, presented: &[&str], told: &str) {
        let presented: Vec<String> = presented.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(misnamed(&ServerName::try_from(wanted).unwrap(), &presented), told);
    }

    #[test]
    fn the_names_of_another_certificate_are_told() {
        let both = ["DnsName(\"localhost\")", "IpAddress(127.0.0.1)", "IpAddress(0:0:0:0:0:0:0:1)"];
        check("127.0.0.5", &both, "certificate is valid for 127.0.0.1, ::1, not 127.0.0.5");
        check("other", &both, "certificate is valid for localhost, not other");
        check("other", &[], "certificate is not valid for any names, but wanted to match other");
        let one = ["DnsName(\"a.b\")"];
        let told =
            "cannot validate certificate for ::1 because it doesn't contain any IP SANs; it is for a.b";
        check("::1", &one, told);
        let many: Vec<String> = (0..14).map(|at| format!("DnsName(\"h{at}\")")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        check(
            "x",
            &many,
            "certificate is valid for h0, h1, h2, h3, h4, h5, h6, h7, h8, h9 and 4 more, not x",
        );
    }
}
