//! Certificate signing requests as callers send them.

use kit::loose::Text;
use kit::{Error, Reads, Result};
use x509::{AltNames, Request};

use super::authorities::refused;
use super::fields::Asked;

/// Reads the parameter `csr`, and checks that its sender holds the key.
pub(super) fn read(csr: Option<Text>) -> Result<Request> {
    let text = csr.unwrap_or_default().0;
    if text.is_empty() {
        return Err(Error::invalid("\"csr\" is empty"));
    }
    if !text.contains("-----BEGIN ") {
        return Err(Error::invalid("csr contains no data"));
    }
    Request::from_pem(&text).map_err(refused)
}

/// The same for a certificate that is to be no CA's.
pub(super) fn leaf(csr: Option<Text>) -> Result<Request> {
    let request = read(csr)?;
    match request.wants_ca() {
        true => Err(Error::invalid(
            "the CSR asks to become a CA, and only leaves are signed here; use root/sign-intermediate for a CA",
        )),
        false => Ok(request),
    }
}

/// The alternative names of a request. Kinds that a role cannot judge are refused, not dropped in silence.
pub(super) fn names(request: &Request, asked: &Asked, cx: &impl Reads) -> Result<AltNames> {
    for (field, given) in [
        ("alt_names", !asked.names.alt_names.is_empty()),
        ("ip_sans", asked.names.ip_sans.iter().any(|ip| !ip.is_empty())),
        ("uri_sans", asked.names.uri_sans.iter().any(|uri| !uri.is_empty())),
        ("other_sans", asked.names.other_sans.iter().any(|other| !other.is_empty())),
    ] {
        if given {
            cx.warn(format!(
                "the {field} field was provided but the role is set with \"use_csr_sans\" set to true"
            ));
        }
    }
    let names = request.alt_names();
    match names.unreadable.first() {
        None => Ok(names.clone()),
        Some(kind) => Err(Error::invalid(format!(
            "the CSR asks for an alternative name of the kind {kind}, which no role can allow; leave it out, or set use_csr_sans=false"
        ))),
    }
}
