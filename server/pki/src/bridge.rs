//! Signing a root again, so that those who trust another one trust it too.

use kit::loose::{Flag, Text};
use kit::{Command, Error, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, Template, pem};

use super::Pki;
use super::authorities::{DEFAULT, authorities, refused};
use super::ca::NO_CA_BELOW;
use super::certify::{Decided, Signer};
use super::fields::{flag, text};
use super::store::{new_serial, owner};
use super::urls::urls_of;

/// Signs a self-issued certificate again with an issuer of this mount, to bridge two roots.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SignSelfIssued<const AT: usize> {
    /// The certificate, in PEM.
    certificate: Option<Text>,
    /// Who signs: a name, an id, or `default`.
    issuer_ref: Option<Text>,
    /// Whether a certificate with a key of another kind than the issuer's is refused.
    require_matching_certificate_algorithms: Option<Flag>,
}

const SELF_ISSUED_ROUTES: [Route; 2] = [
    Route::post("root/sign-self-issued").logged().sudo(),
    Route::post("issuer/{issuer_ref}/sign-self-issued").logged().sudo(),
];

/// A certificate and who signed it.
#[derive(JsonSchema, Serialize)]
pub(super) struct Bridged {
    /// The certificate.
    certificate: String,
    /// Who signed it.
    issuing_ca: String,
}

impl<const AT: usize> Command<Pki> for SignSelfIssued<AT> {
    const ROUTE: Route = SELF_ISSUED_ROUTES[AT];
    type Reply = Bridged;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Bridged>> {
        let pem = text(self.certificate);
        if pem.is_empty() {
            return Err(Error::invalid("no certificate was provided in \"certificate\""));
        }
        if !pem.contains("-----BEGIN ") {
            return Err(Error::invalid("certificate could not be PEM-decoded"));
        }
        let given = Certificate::from_pem(&pem).map_err(refused)?;
        if !given.is_ca() {
            return Err(Error::invalid("given certificate is not a CA certificate"));
        }
        if !given.is_self_issued() {
            return Err(Error::invalid("given certificate is not self-issued"));
        }
        given.verify_issued_by(&given).map_err(|why| {
            Error::invalid(format!("given certificate is not signed by its own key: {why}"))
        })?;
        let reference = self.issuer_ref.map_or(DEFAULT.to_owned(), |text| text.0);
        let all = authorities(cx)?;
        let (issuer, key) = all.signer(&reference)?;
        // Of one that bears the issuer's own name no path takes count.
        if issuer.certificate.path_length() == Some(0)
            && given.subject_der() != issuer.certificate.subject_der()
        {
            return Err(Error::invalid(NO_CA_BELOW));
        }
        let (theirs, ours) = (given.public_key().shape().family, key.public().shape().family);
        if flag(self.require_matching_certificate_algorithms) && theirs != ours {
            return Err(Error::invalid(format!(
                "signing certificate has keys of type {}, the given one of type {}; require_matching_certificate_algorithms refuses that",
                ours.name(),
                theirs.name()
            )));
        }
        let extensions = given.extensions().clone();
        let authority = issuer.certificate.subject_key_id().unwrap_or_else(|| key.public().key_id());
        let extensions = extensions.authority_key_id(&authority);
        let extensions = urls_of(issuer, cx)?.into_extensions(extensions)?;
        given.public_key().check_strength().map_err(refused)?;
        let serial = new_serial(cx);
        let template = Template {
            // A number of its own: that of the given one may be that of a certificate of this very issuer.
            serial: &serial,
            validity: given.validity(),
            subject: given.subject_der(),
            public_key: given.public_key(),
            extensions: &extensions,
        };
        let scheme = issuer.scheme(0, x509::Padding::Pkcs1)?;
        let signer = Signer::Issuer(&all, issuer, key);
        let der = Decided { template, signer, scheme }.issue(cx, "", owner(cx.caller()))?;
        let certificate = pem::encode(pem::CERTIFICATE, &der);
        Ok(Reply::Data(Bridged { certificate, issuing_ca: issuer.pem.clone() }))
    }
}
