//! What the holder of a certificate asks now and then: when to renew it, and whom to trust.
//!
//! ACME's clients have `acme/renewal-info` for the first; this is there for all others, whether ACME is offered or not.

use aws_lc_rs::digest::{SHA256, digest};
use kit::{Error, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::pem;

use super::Pki;
use super::acme::{CertificateName, suggested};
use super::authorities::{Authorities, Issuer, authorities};
use super::certificates::PEM;
use super::roll::ROLL;

/// How long the holder of a certificate may go by one answer: five minutes, so that a mass re-issue reaches everybody soon.
const ASK_AGAIN_SECONDS: &str = "300";

/// Says when a certificate should be renewed, and the fingerprint of the CAs that its peers must trust.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RenewalAdvice {
    /// The identifier of the authority's key and the serial, both in base64url, with a dot between (RFC 9773).
    certificate: String,
}

/// When to renew, and whom to trust.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Advice {
    suggested_window: Window,
    /// SHA-256 of the bundle, in hex.
    bundle: String,
}

#[derive(JsonSchema, Serialize)]
struct Window {
    start: String,
    end: String,
}

impl Query<Pki> for RenewalAdvice {
    const ROUTE: Route = Route::get("renewal-info/{certificate:any}").unauthenticated();
    type Reply = Advice;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Advice>> {
        let (record, certificate) =
            CertificateName::find(cx, &self.certificate)?.ok_or_else(Error::not_found)?;
        let (start, end) = suggested(cx, &record, &certificate)?;
        let all = authorities(cx)?;
        let issuer = all.issuers.iter().find(|issuer| Some(issuer.id) == record.issuer);
        let bundle = issuer.map(|issuer| bundle(cx, &all, issuer)).transpose()?.unwrap_or_default();
        cx.notes().header("retry-after", ASK_AGAIN_SECONDS);
        Ok(Reply::Bare(Advice {
            suggested_window: Window { start: start.truncated().rfc3339(), end: end.truncated().rfc3339() },
            bundle: fingerprint(&bundle),
        }))
    }
}

/// The CAs that whoever talks with the holders of an issuer's certificates must trust, in PEM.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RawBundle<const AT: usize> {
    /// A certificate, by the identifier of its authority's key and its serial, where the path names one.
    certificate: Option<String>,
    /// An issuer, by name, id or `default`, where the path names one.
    issuer_ref: Option<String>,
}

const ROUTES: [Route; 2] = [
    Route::get("bundle/{certificate:any}").unauthenticated(),
    Route::get("issuer/{issuer_ref}/bundle").unauthenticated(),
];

impl<const AT: usize> Query<Pki> for RawBundle<AT> {
    const ROUTE: Route = ROUTES[AT];
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<kit::Nothing>> {
        let all = authorities(cx)?;
        let issuer = match AT {
            0 => {
                let name = self.certificate.unwrap_or_default();
                let found = CertificateName::find(cx, &name)?.and_then(|(record, _)| record.issuer);
                let issuer = all.issuers.iter().find(|issuer| Some(issuer.id) == found);
                issuer.ok_or_else(Error::not_found)?
            }
            _ => all.issuer_or_refuse(&self.issuer_ref.unwrap_or_default())?,
        };
        Ok(Reply::Raw { status: 200, kind: PEM, bytes: bundle(cx, &all, issuer)?.into_bytes() })
    }
}

/// The roots that go with an issuer: its own, and while it is rolled, that of the CA before or after it. The older comes
/// first, whoever asks, so that the bundle of one roll has one fingerprint.
pub(super) fn bundle(cx: &impl Reads, all: &Authorities, issuer: &Issuer) -> Result<String> {
    let roll = ROLL.get(cx)?.filter(|roll| roll.shares_trust() && roll.concerns(issuer.id));
    let ids = match roll {
        Some(roll) => vec![roll.old, roll.new],
        None => vec![issuer.id],
    };
    let mut anchors: Vec<&[u8]> = Vec::new();
    for id in ids {
        let found = all.issuers.iter().find(|issuer| issuer.id == id);
        let anchor = found.and_then(|issuer| all.chain(issuer, cx.now()).pop());
        if let Some(der) = anchor.map(|anchor| anchor.certificate.der()).filter(|der| !anchors.contains(der))
        {
            anchors.push(der);
        }
    }
    Ok(anchors.iter().map(|der| format!("{}\n", pem::encode(pem::CERTIFICATE, der).trim_end())).collect())
}

/// By what a holder knows a bundle again.
pub(super) fn fingerprint(bundle: &str) -> String {
    hex::encode(digest(&SHA256, bundle.as_bytes()))
}
