//! When to renew (RFC 9773): the server says so, and can say "now".

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::loose::Text;
use kit::{Query, Reading, Reads, Reply, Route, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, Serial, Validity};

use super::directory::opened;
use super::place::{Place, routes};
use super::problem::{Kind, Refused};
use crate::authorities::{authorities, refused};
use crate::store::{CERTIFICATES, CertificateRecord, REVOKED};
use crate::{Pki, reissue};

/// How long a client may go by one answer: six hours.
const ASK_AGAIN_SECONDS: &str = "21600";
/// A certificate is renewed when two thirds of its life are over, at some time within the next part of so many.
const WINDOW_PARTS: u64 = 15;

/// How renewal names a certificate: by its issuer's key and its serial.
pub(crate) struct CertificateName {
    authority: Vec<u8>,
    /// The serial.
    pub(super) serial: Serial,
}

impl CertificateName {
    /// The certificate of this name, if it is here.
    pub(crate) fn find(cx: &impl Reads, name: &str) -> kit::Result<Option<(CertificateRecord, Certificate)>> {
        let Some(name) = Self::parse(name) else { return Ok(None) };
        let Some(record) = CERTIFICATES.get(cx, name.serial.as_bytes())? else { return Ok(None) };
        let certificate = Certificate::of_record(&record.der.0).map_err(refused)?;
        let same = certificate.authority_key_id().as_deref() == Some(&name.authority);
        Ok(same.then_some((record, certificate)))
    }

    /// Reads the two parts.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (authority, serial) = text.split_once('.')?;
        let serial = URL_SAFE_NO_PAD.decode(serial).ok().filter(|serial| !serial.is_empty())?;
        Some(Self {
            authority: URL_SAFE_NO_PAD.decode(authority).ok()?,
            serial: Serial::from_magnitude(&serial).ok()?,
        })
    }
}

/// Says when a certificate should be renewed.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct RenewalInfo<const AT: usize> {
    /// The identifier of the authority's key and the serial, both in base64url, with a dot between.
    certificate: String,
    /// Who issues, where the path says so: a name, an id, or `default`.
    issuer_ref: Option<Text>,
    /// Under which role, where the path says so.
    role: Option<Text>,
}

/// When to renew.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Advice {
    suggested_window: Window,
}

#[derive(JsonSchema, Serialize)]
struct Window {
    start: String,
    end: String,
}

const ROUTES: [Route; 4] = routes!(get "renewal-info/{certificate:any}".unauthenticated);

impl<const AT: usize> Query<Pki> for RenewalInfo<AT> {
    const ROUTE: Route = ROUTES[AT];
    type Reply = Advice;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> kit::Result<Reply<Advice>> {
        advise(cx, &Place::of(AT, self.role, self.issuer_ref), &self.certificate)
    }
}

fn advise(cx: &Reading<'_>, place: &Place, name: &str) -> kit::Result<Reply<Advice>> {
    let directory = opened(cx, place)?;
    let unknown = || {
        let refused = Refused::new(Kind::Malformed, "there is no such certificate here").with_status(404);
        refused.into_error(vec![directory.index()])
    };
    let (record, certificate) = CertificateName::find(cx, name)?.ok_or_else(unknown)?;
    let (start, end) = suggested(cx, &record, &certificate)?;
    cx.notes().header("retry-after", ASK_AGAIN_SECONDS);
    let (header, index) = directory.index();
    cx.notes().header(header, index);
    let window = Window { start: start.truncated().rfc3339(), end: end.truncated().rfc3339() };
    Ok(Reply::Bare(Advice { suggested_window: window }))
}

/// When a certificate should be renewed: in the past, if it is revoked, its issuer is, or it is to be replaced.
pub(crate) fn suggested(
    cx: &impl Reads,
    record: &CertificateRecord,
    certificate: &Certificate,
) -> kit::Result<(Time, Time)> {
    let all = authorities(cx)?;
    let issuer = all.issuers.iter().find(|issuer| Some(issuer.id) == record.issuer);
    let issuer_ends = issuer.is_some_and(|issuer| issuer.record.revoked_at.is_some());
    let over = issuer_ends
        || REVOKED.get(cx, certificate.serial().as_bytes())?.is_some()
        || reissue::is_wanted(cx, record, certificate)?;
    Ok(match over {
        true => (cx.now().minus(std::time::Duration::from_secs(3600)), cx.now()),
        false => window(since_issue(certificate)),
    })
}

/// The life of a certificate from when it was issued: `notBefore` lies earlier, for clocks that are slow, and of a short
/// life that can be most.
fn since_issue(certificate: &Certificate) -> Validity {
    let Validity { not_before, not_after } = certificate.validity();
    let issued = certificate.serial().time().map(|time| Time(time).seconds());
    let issued = issued.filter(|issued| (not_before..not_after).contains(issued));
    Validity { not_before: issued.unwrap_or(not_before), not_after }
}

/// From two thirds of a certificate's life on, a little while.
fn window(validity: Validity) -> (Time, Time) {
    let life = validity.not_after.saturating_sub(validity.not_before);
    let start = validity.not_before + life / 3 * 2;
    (Time::from_seconds(start), Time::from_seconds(start + (life / WINDOW_PARTS).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 9773, section 4.1.
    #[test]
    fn certificates_are_named() {
        let name = CertificateName::parse("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE").unwrap();
        assert_eq!(name.serial.colons(), "87:65:43:21");
        assert_eq!(hex::encode(&name.authority), "69885b6b87464041e1b37b847ba0ae2cde01c8d4");
        for wrong in ["", ".", "aYhb", "aYhb.", "aYhb.*", "*.AIdl"] {
            assert!(CertificateName::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_last_third_of_a_life_is_for_renewal() {
        let day = 86_400;
        let (start, end) = window(Validity { not_before: 0, not_after: 90 * day });
        assert_eq!((start.seconds(), end.seconds()), (60 * day, 66 * day));
        let (start, end) = window(Validity { not_before: 100, not_after: 103 });
        assert!(start < end && end.seconds() <= 103);
    }
}
