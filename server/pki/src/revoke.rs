//! Revoking certificates.
//!
//! A revocation is one small record. Revocation lists are worked out from these records when they are asked for, so a
//! revocation stands on the list at once, whatever else goes on.

use kit::loose::Text;
use kit::{Command, Error, Nothing, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, PrivateKey, Reason, Serial, pem};

use super::authorities::{Authorities, authorities, refused};
use super::fields::text;
use super::signers::{self, are_twins};
use super::store::{CERTIFICATES, CRL, CertificateRecord, Id, REVOKED, RevokedRecord};
use super::{Pki, blocked, issued, listed};

/// A PEM text shorter than this holds nothing; it is rather the path of a file.
const PEM_SIZE_MIN: usize = 75;

/// Revokes a certificate by its serial number, or by itself where it was not stored.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Revoke {
    /// The certificate, in PEM.
    certificate: Option<Text>,
    /// Why: `keyCompromise`, `superseded`, or another reason of RFC 5280, by name or number. Lists and OCSP answers say it.
    reason: Option<Text>,
    /// Its serial number, in hex with colons or hyphens.
    serial_number: Option<Text>,
}

/// Since when a certificate is revoked.
#[derive(JsonSchema, Serialize)]
pub(super) struct Revoked {
    revocation_time: u64,
    revocation_time_rfc3339: String,
    state: &'static str,
}

impl Command<Pki> for Revoke {
    const ROUTE: Route = Route::post("revoke");
    type Reply = Option<Revoked>;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Option<Revoked>>> {
        let reason = Reason::parse(&text(self.reason)).map_err(refused)?;
        let found = find(cx, text(self.serial_number), text(self.certificate))?;
        revoke(cx, &found, reason)
    }
}

/// Revokes a certificate on the word of who holds its key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RevokeWithKey {
    /// The certificate, in PEM.
    certificate: Option<Text>,
    /// Its private key, in PEM.
    private_key: Option<Text>,
    /// Why: `keyCompromise`, `superseded`, or another reason of RFC 5280, by name or number. Lists and OCSP answers say it.
    reason: Option<Text>,
    /// Its serial number, in hex with colons or hyphens.
    serial_number: Option<Text>,
}

impl Command<Pki> for RevokeWithKey {
    const ROUTE: Route = Route::post("revoke-with-key");
    type Reply = Option<Revoked>;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Option<Revoked>>> {
        let (serial, pem) = (text(self.serial_number), text(self.certificate));
        one_of(&serial, &pem)?;
        let key = zeroize::Zeroizing::new(text(self.private_key));
        if key.is_empty() {
            return Err(Error::invalid("Must have private key to revoke via the /revoke-with-key path."));
        }
        if key.len() < PEM_SIZE_MIN {
            return Err(Error::invalid(
                "Provided data for private_key was too short; perhaps a path was passed to the API rather than the contents of a PEM file?",
            ));
        }
        let key = PrivateKey::from_pem(&key).map_err(refused)?;
        let reason = Reason::parse(&text(self.reason)).map_err(refused)?;
        let found = find(cx, serial, pem)?;
        if key.public() != found.certificate.public_key() {
            return Err(Error::invalid("provided private key doesn't match the certificate's public key"));
        }
        revoke(cx, &found, reason)
    }
}

/// Revokes a certificate whose lease has ended.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(super) struct RevokeLeased {
    /// Its serial number.
    pub(super) serial_number: String,
}

impl Command<Pki> for RevokeLeased {
    const ROUTE: Route = Route::internal("revoke-leased");
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let serial = Serial::parse(&self.serial_number).map_err(refused)?;
        if let Some(record) = CERTIFICATES.get(cx, serial.as_bytes())? {
            let certificate = Certificate::of_record(&record.der.0).map_err(refused)?;
            revoke(cx, &Found { certificate, issuer: record.issuer, stored: true }, None)?;
        }
        Ok(Reply::Nothing)
    }
}

/// A certificate that is to be revoked.
pub(super) struct Found {
    certificate: Certificate,
    issuer: Option<Id>,
    stored: bool,
}

impl Found {
    /// One that this mount has stored.
    pub(super) fn stored(certificate: Certificate, issuer: Option<Id>) -> Self {
        Self { certificate, issuer, stored: true }
    }
}

/// Refuses who names no certificate, or maybe two.
fn one_of(serial: &str, pem: &str) -> Result<()> {
    match (serial.is_empty(), pem.is_empty()) {
        (true, true) => Err(Error::invalid("The serial number or certificate to revoke must be provided.")),
        (false, false) => {
            Err(Error::invalid("Must provide either the certificate or the serial to revoke; not both."))
        }
        _ => Ok(()),
    }
}

fn find(cx: &Writing<'_>, serial: String, pem: String) -> Result<Found> {
    one_of(&serial, &pem)?;
    match serial.is_empty() {
        false => {
            let unknown = || Error::invalid(format!("certificate with serial {serial} not found."));
            let known = Serial::parse(&serial).map_err(|_| unknown())?;
            let record = CERTIFICATES.get(cx, known.as_bytes())?.ok_or_else(unknown)?;
            let certificate = Certificate::of_record(&record.der.0).map_err(refused)?;
            Ok(Found { certificate, issuer: record.issuer, stored: true })
        }
        true => by_certificate(cx, &pem),
    }
}

/// A certificate that was brought along: an issuer of this mount must have signed it.
pub(super) fn by_certificate(cx: &Writing<'_>, text: &str) -> Result<Found> {
    if text.len() < PEM_SIZE_MIN {
        return Err(Error::server(
            "provided certificate data was too short; perhaps a path was passed to the API rather than the contents of a PEM file",
        ));
    }
    let blocks = pem::blocks(text).map_err(refused)?;
    let block = blocks.iter().find(|block| block.label == pem::CERTIFICATE);
    let block = block.ok_or_else(|| Error::invalid("the certificate holds no CERTIFICATE block"))?;
    // What was signed here once is revoked, whatever is thought of it now.
    let certificate = Certificate::of_record(&block.der).map_err(refused)?;
    if let Some(record) = CERTIFICATES.get(cx, certificate.serial().as_bytes())?
        && record.der.0 == certificate.der()
    {
        return Ok(Found { certificate, issuer: record.issuer, stored: true });
    }
    let all = authorities(cx)?;
    let issuer = all.issuer_of(&certificate).ok_or_else(|| {
        Error::invalid("The provided certificate was not signed by any issuer of this mount, so it cannot be revoked here.")
    })?;
    Ok(Found { issuer: Some(issuer.id), certificate, stored: false })
}

/// Revokes it, on the word of who answers for its key: if others have that, it is certified no more.
pub(super) fn revoke(
    cx: &mut Writing<'_>,
    found: &Found,
    reason: Option<Reason>,
) -> Result<Reply<Option<Revoked>>> {
    if reason == Some(Reason::KeyCompromise) {
        let why = format!("the certificate {} was revoked for keyCompromise", found.certificate.serial());
        blocked::block(cx, found.certificate.public_key(), why)?;
    }
    take_back(cx, found, reason)
}

/// Revokes it; once is enough. The first reason stands.
pub(super) fn take_back(
    cx: &mut Writing<'_>,
    found: &Found,
    reason: Option<Reason>,
) -> Result<Reply<Option<Revoked>>> {
    let serial = found.certificate.serial();
    let not_after = found.certificate.validity().not_after;
    let all = authorities(cx)?;
    if is_anothers(cx, &found.certificate)? {
        return Err(Error::server(ANOTHERS));
    }
    if let Some(known) = REVOKED.get(cx, serial.as_bytes())? {
        // The certificate may be forgotten, and that of another issuer have its number.
        let is_known = known.not_after == not_after && is_same_signer(&all, known.issuer, found.issuer);
        return if is_known { Ok(Reply::Data(Some(shown(known)))) } else { Err(Error::server(ANOTHERS)) };
    }
    if let Some(issuer) = all.issuers.iter().find(|issuer| issuer.certificate == found.certificate) {
        return Err(Error::invalid(format!(
            "adding issuer (id: {}) to its own CRL is not allowed; revoke it with issuer/{}/revoke",
            issuer.id, issuer.id
        )));
    }
    if not_after < cx.now().seconds() && !CRL.get(cx)?.allow_expired_cert_revocation {
        cx.warn(format!(
            "certificate with serial {serial} already expired; refusing to add to CRL. Set allow_expired_cert_revocation in config/crl to do so"
        ));
        return Ok(Reply::Data(None));
    }
    if !found.stored {
        let record = CertificateRecord::new(found.certificate.der().to_vec(), found.issuer);
        issued::keep_parsed(cx, &found.certificate, &record)?;
    }
    let known = found.issuer.filter(|id| all.issuers.iter().any(|issuer| issuer.id == *id));
    let issuer = known.or_else(|| all.issuer_of(&found.certificate).map(|issuer| issuer.id));
    let reason = reason.map(|reason| reason as u8);
    match issuer.and_then(|id| all.issuers.iter().find(|issuer| issuer.id == id)) {
        None => cx.warn(NO_LIST),
        Some(issuer) if !signers::lists(&all, issuer) => cx.warn(UNLISTED),
        Some(_) => {}
    }
    let record = RevokedRecord { at: cx.now(), issuer: issuer.or(found.issuer), not_after, reason };
    put(cx, serial, &record)?;
    Ok(Reply::Data(Some(shown(record))))
}

const ANOTHERS: &str = "certificate with same serial but unequal value already present in this cluster's storage; refusing to revoke";
const UNLISTED: &str = "The issuer of this certificate signs no revocation lists: its usage lacks crl-signing, or its key is not here. So no list of this mount says that it is revoked; OCSP does, if the issuer answers it.";
const NO_LIST: &str = "No issuer of this mount has signed this certificate, so it stands on no revocation list of this mount. If it was signed by one that is gone, import that again and run tidy with tidy_revoked_cert_issuer_associations; else revoke it where it was signed.";

/// Whether the number of this certificate is here that of another one.
fn is_anothers(cx: &impl Reads, certificate: &Certificate) -> Result<bool> {
    let known = CERTIFICATES.get(cx, certificate.serial().as_bytes())?;
    Ok(known.is_some_and(|known| known.der.0 != certificate.der()))
}

/// Whether two ids are of one name and key, as far as that can be told of issuers that may be gone.
fn is_same_signer(all: &Authorities, one: Option<Id>, other: Option<Id>) -> bool {
    let find = |id: Option<Id>| all.issuers.iter().find(|issuer| Some(issuer.id) == id);
    match (find(one), find(other)) {
        (Some(one), Some(other)) => are_twins(one, other),
        _ => true,
    }
}

/// Records the revocation of an issuer, below this one if there is any.
pub(super) fn put_issuer(cx: &mut Writing<'_>, certificate: &Certificate, above: Option<Id>) -> Result<()> {
    let not_after = certificate.validity().not_after;
    let (at, serial) = (cx.now(), certificate.serial());
    let revoked = RevokedRecord { at, issuer: above, not_after, reason: None };
    match is_anothers(cx, certificate)? {
        // The record of that number is of another certificate, which is not revoked. The list says who signed the one it means.
        true => listed::add(cx, serial, &revoked),
        false => put(cx, serial, &revoked),
    }
}

/// Records a revocation, and puts it on the lists.
pub(super) fn put(cx: &mut Writing<'_>, serial: &Serial, record: &RevokedRecord) -> Result<()> {
    REVOKED.put(cx, serial.as_bytes(), record)?;
    listed::add(cx, serial, record)
}

/// The reason of that number.
pub(super) fn reason(number: Option<u8>) -> Option<Reason> {
    number.and_then(|number| Reason::numbered(number.into()).ok().flatten())
}

fn shown(record: RevokedRecord) -> Revoked {
    Revoked {
        revocation_time: record.at.seconds(),
        revocation_time_rfc3339: record.at.rfc3339(),
        state: "revoked",
    }
}
