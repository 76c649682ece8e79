//! The OCSP responder (RFC 6960, RFC 5019): what this mount says of a certificate, to everybody who asks.
//!
//! An answer begins at the revocation or a whole number of steps after its issuer came here, and is signed once for all
//! who ask meanwhile; one with a nonce is signed for the one who sent it.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};
use kit::{Query, Reading, Reads, Reply, Result, Route, Time};
use schemars::JsonSchema;
use serde::Deserialize;
use x509::{CertId, Certificate, OcspAnswer, OcspQuestion, OcspRefusal, Status, StatusOf};

use super::Pki;
use super::authorities::{Authorities, Issuer, authorities, refused};
use super::crl::begin;
use super::crl_config::CrlConfig;
use super::store::{CERTIFICATES, CRL, CertificateRecord, REVOKED};

/// The content type of an answer.
const ANSWER: &str = "application/ocsp-response";
/// Answers are signed no more often than this, however short they live.
const STEP_MIN: Duration = Duration::from_secs(30);

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// Says whether certificates of this mount still hold (OCSP, RFC 6960).
#[derive(Deserialize, JsonSchema)]
pub(super) struct Ask<const AT: usize> {
    /// The question: DER, in base64. A body of type `application/ocsp-request` is taken as it is.
    #[serde(default)]
    req: String,
}

/// The place of the route whose answers may be cached.
const BY_GET: usize = 1;
const ROUTES: [Route; 2] =
    [Route::post("ocsp").unauthenticated(), Route::get("ocsp/{req*}").unauthenticated()];

impl<const AT: usize> Query<Pki> for Ask<AT> {
    const ROUTE: Route = ROUTES[AT];
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<kit::Nothing>> {
        // In a path the slash is better written as an underscore, and some clients do.
        let text = self.req.trim().replace('-', "+").replace('_', "/");
        let Some(question) = STANDARD.decode(text).ok().and_then(|der| OcspQuestion::from_der(&der).ok())
        else {
            return Ok(refusal(400, OcspRefusal::Malformed));
        };
        let (all, config) = (authorities(cx)?, CRL.get(cx)?);
        let Some(issuer) = responder(&all, &question).filter(|_| !config.ocsp_disable) else {
            return Ok(refusal(401, OcspRefusal::Unauthorized));
        };
        if let ([id], None) = (question.asked.as_slice(), &question.nonce) {
            let status = known(cx, issuer, id)?;
            // Strangers may make up any number; of what was never given out nothing is kept.
            if status != Status::Unknown {
                let (bytes, begins) = standing(cx, issuer, id, status, &config)?;
                if AT == BY_GET {
                    let life = begins.plus(config.ocsp_expiry());
                    let life = (!config.ocsp_expiry().is_zero()).then_some(life);
                    if cached(cx, &bytes, begins, life) == Held::Already {
                        return Ok(Reply::Raw { status: 304, kind: "", bytes: Vec::new() });
                    }
                }
                return Ok(Reply::Raw { status: 200, kind: ANSWER, bytes: bytes.to_vec() });
            }
        }
        let bytes = sign(cx, issuer, &question.asked, question.nonce.as_deref(), cx.now(), &config)?;
        Ok(Reply::Raw { status: 200, kind: ANSWER, bytes })
    }
}

fn refusal(status: u16, why: OcspRefusal) -> Reply<kit::Nothing> {
    Reply::Raw { status, kind: ANSWER, bytes: why.to_der() }
}

/// The issuer that all certificates in question are of, if it may answer.
fn responder<'a>(all: &'a Authorities, question: &OcspQuestion) -> Option<&'a Issuer> {
    let meant = |issuer: &&Issuer| question.asked.iter().all(|id| id.is_of(&issuer.certificate));
    let may = |issuer: &&Issuer| issuer.key.is_some() && issuer.record.usage.ocsp;
    all.issuers.iter().filter(meant).find(may)
}

/// The answer to a question about one certificate, kept until it would come out differently. It counts since the
/// certificate was revoked, or a whole number of steps after.
fn standing(
    cx: &Reading<'_>,
    issuer: &Issuer,
    id: &CertId,
    status: Status,
    config: &CrlConfig,
) -> Result<(Arc<Vec<u8>>, Time)> {
    let revoked = match status {
        Status::Revoked { at, .. } => Time::from_seconds(at),
        Status::Good | Status::Unknown => Time::default(),
    };
    let step = (config.ocsp_expiry() / 4).max(STEP_MIN);
    let start = begin(issuer.record.created_at.max(revoked), step, cx.now());
    let key = format!("ocsp/{}/{}/{}", issuer.id, hex::encode(id.der()), start.0);
    let bytes = cx.memo(&key, |cx| {
        let (all, config) = (authorities(cx)?, CRL.get(cx)?);
        let issuer = all.issuer_or_refuse(&issuer.id.to_string())?;
        sign(cx, issuer, std::slice::from_ref(id), None, start, &config)
    })?;
    Ok((bytes, start))
}

/// Whether who asks has the answer.
#[derive(PartialEq)]
enum Held {
    Already,
    Not,
}

/// Lets caches between here and who asks keep an answer as long as it is good (RFC 5019 §6.2, RFC 9111), and hears whether one who asks
/// has it already, where the mount shows that header to this engine (`passthrough_request_headers`). Whoever
/// cannot wait that long for a revocation sets a shorter `ocsp_expiry`, or asks with a nonce.
fn cached(cx: &Reading<'_>, bytes: &[u8], begins: Time, ends: Option<Time>) -> Held {
    let Some(ends) = ends else { return Held::Not };
    let age = cx.now().until(ends).as_secs();
    let tag = format!("\"{}\"", hex::encode(digest::digest(&digest::SHA256, bytes).as_ref()));
    let known = cx.remote().header("if-none-match").is_some_and(|known| {
        known
            .expose()
            .split(',')
            .any(|one| [tag.as_str(), "*"].contains(&one.trim().trim_start_matches("W/")))
    });
    let notes = cx.notes();
    notes.header("cache-control", format!("max-age={age}, public, no-transform, must-revalidate"));
    notes.header("etag", tag);
    notes.header("expires", ends.http());
    notes.header("last-modified", begins.http());
    if known { Held::Already } else { Held::Not }
}

fn sign(
    cx: &impl Reads,
    issuer: &Issuer,
    ids: &[CertId],
    nonce: Option<&[u8]>,
    at: Time,
    config: &CrlConfig,
) -> Result<Vec<u8>> {
    let missing = || kit::Error::internal("an issuer without a key was to answer");
    let key = issuer.key.as_ref().ok_or_else(missing)?;
    let expiry = config.ocsp_expiry();
    let statuses = ids.iter().map(|id| Ok(StatusOf { id, status: known(cx, issuer, id)? }));
    let statuses = statuses.collect::<Result<Vec<_>>>()?;
    let answer = OcspAnswer {
        produced_at: at.seconds(),
        this_update: at.seconds(),
        next_update: (!expiry.is_zero()).then(|| at.plus(expiry).seconds()),
        statuses: &statuses,
        nonce,
    };
    answer.sign(&issuer.certificate, key, issuer.revocation_scheme()?).map_err(refused)
}

/// What is known of a certificate of this issuer.
fn known(cx: &impl Reads, issuer: &Issuer, id: &CertId) -> Result<Status> {
    let serial = id.serial.as_bytes();
    let certificate = CERTIFICATES.get(cx, serial)?;
    // Who asks about a number that this issuer never gave out is told so: a forged certificate is not good.
    let is_own = |record: &CertificateRecord| record.issuer == Some(issuer.id) || is_of(issuer, record);
    if certificate.as_ref().is_some_and(|record| !is_own(record)) {
        return Ok(of_ca(&*authorities(cx)?, issuer, id));
    }
    if let Some(record) = REVOKED.get(cx, serial)? {
        return Ok(Status::Revoked { at: record.at.seconds(), reason: super::revoke::reason(record.reason) });
    }
    let is_known = certificate.is_some() || issuer.certificate.serial() == &id.serial;
    Ok(if is_known { Status::Good } else { Status::Unknown })
}

/// What is known of a CA below this issuer that has no record, since another certificate has its number.
fn of_ca(all: &Authorities, issuer: &Issuer, id: &CertId) -> Status {
    let is_it = |ca: &&Issuer| {
        ca.certificate.serial() == &id.serial && ca.certificate.verify_issued_by(&issuer.certificate).is_ok()
    };
    match all.issuers.iter().find(is_it).map(|ca| ca.record.revoked_at) {
        Some(Some(at)) => Status::Revoked { at: at.seconds(), reason: None },
        Some(None) => Status::Good,
        None => Status::Unknown,
    }
}

/// Whether a certificate that the record of this issuer does not say to be its own was signed by its key: several
/// issuers may have one, and certificates are brought from elsewhere.
fn is_of(issuer: &Issuer, record: &CertificateRecord) -> bool {
    Certificate::of_record(&record.der.0).is_ok_and(|it| it.verify_issued_by(&issuer.certificate).is_ok())
}
