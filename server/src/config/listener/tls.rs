use std::path::PathBuf;
use std::time::Duration;

use crate::config::section::Section;

/// How a listener speaks TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Tls {
    pub(crate) source: Source,
    pub(crate) min: TlsVersion,
    pub(crate) max: TlsVersion,
    /// Names of cipher suites as Go spells them; empty for the usual ones.
    pub(crate) cipher_suites: Vec<String>,
    pub(crate) client: ClientCertificate,
    /// How often the files are looked at for a change.
    pub(crate) look_every: Duration,
}

/// Where the server's certificate is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Source {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A version of TLS. Older ones are not spoken.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum TlsVersion {
    Tls12,
    Tls13,
}

/// What is asked of a client. What a certificate is worth is for auth methods to decide.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ClientCertificate {
    /// It is not asked for one.
    Never,
    /// It is asked, and may have none.
    Optional,
    /// It must have one that these authorities vouch for.
    Required {
        /// Certificates of the authorities.
        authorities: PathBuf,
    },
}

const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The keys `tls_…` of a listener; `None` if TLS is switched off.
pub(super) fn read(stanza: &Section<'_>) -> Option<Tls> {
    let disabled = stanza.flag("tls_disable").unwrap_or(false);
    let file = |key| stanza.text(key).filter(|file| !file.is_empty()).map(PathBuf::from);
    let (certificate, key) = (file("tls_cert_file"), file("tls_key_file"));
    let client = client(stanza, file("tls_client_ca_file"));
    let min = version(stanza, "tls_min_version").unwrap_or(TlsVersion::Tls12);
    let max = version(stanza, "tls_max_version").unwrap_or(TlsVersion::Tls13);
    if min > max {
        stanza.error("tls_min_version", "\"tls_min_version\" must not be above \"tls_max_version\"");
    }
    let cipher_suites = stanza.texts("tls_cipher_suites").unwrap_or_default();
    if let Some(unknown) = cipher_suites.iter().find(|name| crate::http::tls::suite(name).is_none()) {
        stanza.error(
            "tls_cipher_suites",
            &format!("the cipher suite \"{unknown}\" is unknown or unsafe: leave it out"),
        );
    }
    let look_every =
        stanza.span("tls_auto_reload_interval").filter(|span| !span.is_zero()).unwrap_or(LOOK_EVERY);
    if stanza.flag("tls_auto_reload") == Some(false) {
        stanza.warning("tls_auto_reload", "certificates are always read again when their files change");
    }
    without_effect(stanza);
    if disabled {
        return None;
    }
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let source = Source { certificate, key };
            Some(Tls { source, min, max, cipher_suites, client, look_every })
        }
        (None, None) => {
            let text = "TLS needs a certificate: set tls_cert_file and tls_key_file, or tls_disable = true behind a proxy";
            stanza.error("tls_cert_file", text);
            None
        }
        _ => {
            stanza.error("tls_cert_file", "\"tls_cert_file\" and \"tls_key_file\" go together: set both");
            None
        }
    }
}

/// A socket in the file system speaks no TLS; file modes guard it.
pub(super) fn none(stanza: &Section<'_>) -> Option<Tls> {
    stanza.ignore(
        &["tls_disable", "tls_cert_file", "tls_key_file", "tls_min_version", "tls_client_ca_file"],
        "a unix listener speaks no TLS",
    );
    None
}

fn client(stanza: &Section<'_>, authorities: Option<PathBuf>) -> ClientCertificate {
    let required = stanza.flag("tls_require_and_verify_client_cert").unwrap_or(false);
    let never = stanza.flag("tls_disable_client_certs").unwrap_or(false);
    match (required, never, authorities) {
        (true, true, _) => {
            stanza.error(
                "tls_disable_client_certs",
                "client certificates cannot be both required and switched off",
            );
            ClientCertificate::Never
        }
        (true, false, Some(authorities)) => ClientCertificate::Required { authorities },
        (true, false, None) => {
            stanza.error(
                "tls_require_and_verify_client_cert",
                "say whom to trust: tls_client_ca_file = \"/etc/sealkeep/clients.pem\"",
            );
            ClientCertificate::Optional
        }
        (false, true, _) => ClientCertificate::Never,
        // As in OpenBao: authorities alone require nothing, and a certificate is judged where it is used.
        (false, false, _) => ClientCertificate::Optional,
    }
}

fn version(stanza: &Section<'_>, key: &'static str) -> Option<TlsVersion> {
    match stanza.text(key)?.as_str() {
        "tls12" => Some(TlsVersion::Tls12),
        "tls13" => Some(TlsVersion::Tls13),
        "tls10" | "tls11" => {
            stanza
                .error(key, &format!("\"{key}\" must be \"tls12\" or \"tls13\": older versions are broken"));
            None
        }
        _ => {
            stanza.error(key, &format!("\"{key}\" must be \"tls12\" or \"tls13\""));
            None
        }
    }
}

fn without_effect(stanza: &Section<'_>) {
    let order = "the server's own order is used, X25519MLKEM768 first";
    stanza.ignore(&["tls_prefer_server_cipher_suites", "tls_key_exchange_preferences"], order);
    stanza.refuse(
        &[
            "tls_acme_ca_directory",
            "tls_acme_test_ca_directory",
            "tls_acme_cache_path",
            "tls_acme_ca_root",
            "tls_acme_eab_key_id",
            "tls_acme_eab_mac_key",
            "tls_acme_key_type",
            "tls_acme_email",
            "tls_acme_domains",
            "tls_acme_disable_http_challenge",
            "tls_acme_disable_alpn_challenge",
        ],
        "let an ACME client write tls_cert_file and tls_key_file; they are read again when they change",
    );
}
