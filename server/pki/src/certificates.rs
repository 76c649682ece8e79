//! Reading what this mount has issued, and the certificates of its issuers.

use std::ops::ControlFlow;

use kit::loose::{Number, Text};
use kit::{Error, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, Serial, pem};

use super::authorities::{DEFAULT, Issuer, authorities};
use super::crl::{self, Extent};
use super::modified::Shown;
use super::store::{CERTIFICATES, CertificateRecord, REVOKED, behind};
use super::{Pki, dates, listing};

/// The content type of one certificate in DER, and of chains, as Vault has it.
pub(super) const DER: &str = "application/pkix-cert";
/// The content type of certificates in PEM.
pub(super) const PEM: &str = "application/pem-certificate-chain";

/// A certificate or a list, with what is known of its revocation.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownCertificate {
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_chain: Option<String>,
    certificate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_id: Option<String>,
    revocation_time: u64,
    revocation_time_rfc3339: String,
}

impl ShownCertificate {
    fn unrevoked(certificate: String) -> Self {
        Self {
            ca_chain: None,
            certificate,
            issuer_id: None,
            revocation_time: 0,
            revocation_time_rfc3339: String::new(),
        }
    }
}

/// Shows a certificate by its serial number.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadCertificate {
    /// The serial number, in hex with colons or hyphens.
    serial: String,
}

impl Query<Pki> for ReadCertificate {
    const ROUTE: Route = Route::get("cert/{serial:any}").unauthenticated();
    type Reply = ShownCertificate;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ShownCertificate>> {
        let (serial, record) = find(cx, &self.serial)?.ok_or_else(Error::not_found)?;
        let mut shown = ShownCertificate::unrevoked(pem::encode(pem::CERTIFICATE, &record.der.0));
        if let Some(revoked) = REVOKED.get(cx, serial.as_bytes())? {
            shown.issuer_id = revoked.issuer.map(|id| id.to_string());
            shown.revocation_time = revoked.at.seconds();
            shown.revocation_time_rfc3339 = revoked.at.rfc3339();
        }
        Ok(Reply::Data(shown))
    }
}

fn find(cx: &impl Reads, serial: &str) -> Result<Option<(Serial, CertificateRecord)>> {
    let unsupported = |_| Error::new(kit::Fault::NotFound, "unsupported path");
    let serial = Serial::parse(serial).map_err(unsupported)?;
    Ok(CERTIFICATES.get(cx, serial.as_bytes())?.map(|record| (serial, record)))
}

/// A certificate by its serial number, or the default issuer's by the word `ca`, as bare bytes.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RawCertificate<const AT: usize> {
    /// The serial number, in hex with colons or hyphens.
    serial: String,
}

const RAW_ROUTES: [Route; 2] = [
    Route::get("cert/{serial:any}/raw").unauthenticated(),
    Route::get("cert/{serial:any}/raw/pem").unauthenticated(),
];
/// The place of the route that answers in PEM, here and in the lists below.
const IN_PEM: usize = 1;

impl<const AT: usize> Query<Pki> for RawCertificate<AT> {
    const ROUTE: Route = RAW_ROUTES[AT];
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<kit::Nothing>> {
        if self.serial == "ca" {
            let all = authorities(cx)?;
            let issuer = all.issuer(DEFAULT).ok_or_else(Error::not_found)?;
            return raw_issuer::<AT>(cx, issuer, DEFAULT, "");
        }
        let (_, record) = find(cx, &self.serial)?.ok_or_else(Error::not_found)?;
        Ok(match AT {
            IN_PEM => raw(PEM, pem::encode(pem::CERTIFICATE, &record.der.0).into_bytes()),
            _ => raw(DER, record.der.0),
        })
    }
}

fn raw(kind: &'static str, bytes: Vec<u8>) -> Reply<kit::Nothing> {
    Reply::Raw { status: if bytes.is_empty() { 204 } else { 200 }, kind, bytes }
}

/// The certificate of an issuer as bare bytes, unless the caller holds it. After PEM comes `end`.
fn raw_issuer<const AT: usize>(
    cx: &Reading<'_>,
    issuer: &Issuer,
    asked: &str,
    end: &str,
) -> Result<Reply<kit::Nothing>> {
    let reply = match AT {
        IN_PEM => raw(PEM, format!("{}{end}", issuer.pem).into_bytes()),
        _ => raw(DER, issuer.certificate.der().to_vec()),
    };
    Shown { issuer, asked, form: "certificate", stamp: "" }.unless_held(cx, reply)
}

/// The certificate of the default issuer, or its chain, as bare bytes; nothing while there is none.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RawCa<const AT: usize> {}

const CA_ROUTES: [Route; 3] = [
    Route::get("ca").unauthenticated(),
    Route::get("ca/pem").unauthenticated(),
    Route::get("ca_chain").unauthenticated(),
];

impl<const AT: usize> Query<Pki> for RawCa<AT> {
    const ROUTE: Route = CA_ROUTES[AT];
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<kit::Nothing>> {
        let all = authorities(cx)?;
        let issuer = all.issuer(DEFAULT);
        if let Some(issuer) = issuer.filter(|_| AT <= IN_PEM) {
            return raw_issuer::<AT>(cx, issuer, DEFAULT, "");
        }
        let chain: Vec<_> = issuer
            .into_iter()
            .flat_map(|issuer| all.chain(issuer, cx.now()))
            .map(|above| above.pem.as_str())
            .collect();
        Ok(raw(if AT == IN_PEM { PEM } else { DER }, chain.join("\n").into_bytes()))
    }
}

/// The default issuer's certificate, chain or revocation list in an envelope.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ShowCa<const AT: usize> {}

const SHOW_ROUTES: [Route; 4] = [
    Route::get("cert/ca").unauthenticated(),
    Route::get("cert/ca_chain").unauthenticated(),
    Route::get("cert/crl").unauthenticated(),
    Route::get("cert/delta-crl").unauthenticated(),
];

impl<const AT: usize> Query<Pki> for ShowCa<AT> {
    const ROUTE: Route = SHOW_ROUTES[AT];
    type Reply = ShownCertificate;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ShownCertificate>> {
        let all = authorities(cx)?;
        let issuer =
            all.issuer(DEFAULT).ok_or_else(|| Error::invalid("no default issuer currently configured"))?;
        if AT == 1 {
            let chain = all.chain(issuer, cx.now());
            let chain: Vec<_> = chain.iter().map(|above| above.pem.as_str()).collect();
            let chain = chain.join("\n");
            let shown =
                ShownCertificate { ca_chain: Some(chain.clone()), ..ShownCertificate::unrevoked(chain) };
            return Ok(Reply::Data(shown));
        }
        if AT == 0 {
            let shown = ShownCertificate::unrevoked(issuer.pem.clone());
            let whole = Shown { issuer, asked: DEFAULT, form: "certificate", stamp: "" };
            return whole.unless_held(cx, Reply::Data(shown));
        }
        let extent = if AT == 2 { Extent::Complete } else { Extent::Delta };
        let list = crl::list(cx, issuer, extent)?;
        let shown = ShownCertificate::unrevoked(pem::encode(pem::CRL, &list.der));
        list.unless_held(cx, issuer, DEFAULT, Reply::Data(shown))
    }
}

/// The certificate of an issuer as bare bytes.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RawIssuer<const AT: usize> {
    /// A name, an id, or `default`.
    issuer_ref: String,
}

const ISSUER_ROUTES: [Route; 2] = [
    Route::get("issuer/{issuer_ref}/der").unauthenticated(),
    Route::get("issuer/{issuer_ref}/pem").unauthenticated(),
];

impl<const AT: usize> Query<Pki> for RawIssuer<AT> {
    const ROUTE: Route = ISSUER_ROUTES[AT];
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<kit::Nothing>> {
        let all = authorities(cx)?;
        let issuer = all.issuer_or_refuse(&self.issuer_ref)?;
        raw_issuer::<AT>(cx, issuer, &self.issuer_ref, "\n")
    }
}

/// The certificate of an issuer with its chain.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ShowIssuer {
    /// A name, an id, or `default`.
    issuer_ref: String,
}

/// An issuer as anyone may see it.
#[derive(JsonSchema, Serialize)]
pub(super) struct PublicIssuer {
    ca_chain: Vec<String>,
    certificate: String,
    issuer_id: String,
    issuer_name: String,
}

impl Query<Pki> for ShowIssuer {
    const ROUTE: Route = Route::get("issuer/{issuer_ref}/json").unauthenticated();
    type Reply = PublicIssuer;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<PublicIssuer>> {
        let all = authorities(cx)?;
        let issuer = all.issuer_or_refuse(&self.issuer_ref)?;
        let line = |issuer: &Issuer| format!("{}\n", issuer.pem);
        let shown = PublicIssuer {
            ca_chain: all.chain(issuer, cx.now()).into_iter().map(line).collect(),
            certificate: line(issuer),
            issuer_id: issuer.id.to_string(),
            issuer_name: issuer.record.name.clone(),
        };
        let stamp = format!("{} {}", shown.issuer_name, shown.ca_chain.concat());
        let whole = Shown { issuer, asked: &self.issuer_ref, form: "json", stamp: &stamp };
        whole.unless_held(cx, Reply::Data(shown))
    }
}

/// Lists the serial numbers of all certificates, or of those revoked.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListCertificates<const AT: usize> {
    /// The serial number after which to begin.
    after: Option<Text>,
    /// How many to show at most; all if it is not positive.
    limit: Option<Number>,
}

const LIST_ROUTES: [Route; 2] = [Route::list("certs"), Route::list("certs/revoked")];

impl<const AT: usize> Query<Pki> for ListCertificates<AT> {
    const ROUTE: Route = LIST_ROUTES[AT];
    type Reply = listing::Keys;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<listing::Keys>> {
        let mut page = Page::of(self.after, self.limit)?;
        let from = page.from.clone();
        match AT {
            0 => CERTIFICATES.ids(cx, &from, |id| page.take(id))?,
            _ => REVOKED.ids(cx, &from, |id| page.take(id))?,
        }
        listing::keys(page.serials.iter().map(Serial::colons).collect())
    }
}

/// A part of a list in the order of serials.
struct Page {
    from: Vec<u8>,
    limit: usize,
    serials: Vec<Serial>,
}

impl Page {
    fn of(after: Option<Text>, limit: Option<Number>) -> Result<Self> {
        let from = match after.unwrap_or_default().0.as_str() {
            "" => vec![],
            text => {
                behind(Serial::parse(text).map_err(|e| Error::invalid(e.to_string()))?.as_bytes().to_vec())
            }
        };
        let limit = usize::try_from(limit.unwrap_or_default().0).ok().filter(|limit| *limit > 0);
        Ok(Self { from, limit: limit.unwrap_or(usize::MAX), serials: vec![] })
    }

    fn take(&mut self, id: &[u8]) -> ControlFlow<()> {
        self.serials.extend(Serial::from_magnitude(id));
        if self.serials.len() < self.limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Lists all certificates with what they say.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListDetailed {
    /// The serial number after which to begin.
    after: Option<Text>,
    /// How many to show at most; all if it is not positive.
    limit: Option<Number>,
}

/// One certificate of a detailed list.
#[derive(JsonSchema, Serialize)]
pub(super) struct ListedCertificate {
    common_name: String,
    dns_names: Option<Vec<String>>,
    issuer: String,
    key_bits: u32,
    key_type: &'static str,
    not_after: String,
    not_before: String,
}

impl Query<Pki> for ListDetailed {
    const ROUTE: Route = Route::list("certs/detailed");
    type Reply = listing::Detailed<ListedCertificate>;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let mut page = Page::of(self.after, self.limit)?;
        let mut entries = Vec::new();
        CERTIFICATES.scan(cx, &page.from.clone(), |id, record| {
            if let Ok(certificate) = Certificate::of_record(&record.der.0) {
                entries.push((certificate.serial().colons(), detail(&certificate)));
            }
            Ok(page.take(id))
        })?;
        listing::detailed(entries)
    }
}

fn detail(certificate: &Certificate) -> ListedCertificate {
    let names = certificate.alt_names().unwrap_or_default().dns;
    let shape = certificate.public_key().shape();
    ListedCertificate {
        common_name: certificate.subject().unwrap_or_default().common_name,
        dns_names: (!names.is_empty()).then_some(names),
        issuer: certificate.issuer().unwrap_or_default().to_string(),
        key_bits: shape.bits,
        key_type: shape.family.name(),
        not_after: dates::shown(certificate.validity().not_after),
        not_before: dates::shown(certificate.validity().not_before),
    }
}
