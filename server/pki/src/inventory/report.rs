//! Reports of those who hold certificates.

use kit::loose::{Json, Moment, Text};
use kit::{Command, Error, Fault, Nothing, Reads, Reply, Result, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, Serial};

use super::record::{HOLDINGS, Holding, Seen, Tag};
use crate::Pki;
use crate::authorities::refused;
use crate::fields::text;
use crate::store::{CERTIFICATES, CertificateRecord, owner};

/// What a report may say at most.
const TEXT_SIZE_MAX: usize = 255;
const PLACES_MAX: usize = 32;

/// Reports who holds a certificate and where it is served.
///
/// It is taken from whoever the certificate was issued to; of a role's certificates also from whoever may write the path
/// that names the role. The next report of the same host under the same name replaces it.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Report<const AT: usize> {
    /// The role whose certificates the caller speaks for, where the path names it.
    role: Option<Text>,
    /// The serial number of the certificate held.
    serial_number: Option<Text>,
    /// The machine that holds it.
    host: Option<Text>,
    /// What the holder calls it, whatever certificate is in its place.
    name: Option<Text>,
    /// Where it was looked for: a list of `{"address", "serial_number", "at"}`, with what was shown there.
    served: Option<Json>,
    /// When the holder will renew it.
    next_renewal: Option<Moment>,
    /// What program reports, and its version.
    agent: Option<Text>,
    /// SHA-256 of the bundle of CAs that the holder trusts, in hex.
    bundle: Option<Text>,
}

const ROUTES: [Route; 2] = [Route::post("inventory/report"), Route::post("inventory/report/{role}")];
/// The place of the route that names a role.
const BY_ROLE: usize = 1;

/// One place of a report.
#[derive(Deserialize)]
struct Place {
    address: String,
    serial_number: String,
    at: Option<Moment>,
}

impl<const AT: usize> Command<Pki> for Report<AT> {
    const ROUTE: Route = ROUTES[AT];
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let serial = Serial::parse(&text(self.serial_number)).map_err(refused)?;
        let unknown = || {
            Error::invalid(format!(
                "there is no certificate {} here; those of a role with no_store are not kept, and cannot be reported",
                serial.colons()
            ))
        };
        let record = CERTIFICATES.get(cx, serial.as_bytes())?.ok_or_else(unknown)?;
        match AT {
            BY_ROLE => check_role(&record, &text(self.role))?,
            _ => check_owner(&record, &owner(cx.caller()))?,
        }
        let not_after = Certificate::of_record(&record.der.0).map_err(refused)?.validity().not_after;
        if not_after <= cx.now().seconds() {
            return Err(Error::invalid(format!("the certificate {} has ended", serial.colons())));
        }
        let holding = Holding {
            serial: serial.colons(),
            name: plain("name", self.name)?,
            host: plain("host", self.host)?,
            owner: owner(cx.caller()),
            owner_name: cx.caller().display_name.clone(),
            role: record.role,
            not_after,
            served: places(self.served, cx.now())?,
            next_renewal: self.next_renewal.map(|moment| moment.0),
            agent: short("agent", text(self.agent))?,
            bundle: short("bundle", text(self.bundle))?,
            at: cx.now(),
        };
        holding.put(cx)?;
        Ok(Reply::Nothing)
    }
}

fn check_owner(record: &CertificateRecord, caller: &str) -> Result<()> {
    match !caller.is_empty() && record.owner == caller {
        true => Ok(()),
        false => Err(Error::new(
            Fault::Denied,
            "the certificate was not issued to you; to speak for all of a role, have a policy that lets you update inventory/report/<role>",
        )),
    }
}

fn check_role(record: &CertificateRecord, role: &str) -> Result<()> {
    match !role.is_empty() && record.role == role {
        true => Ok(()),
        false => {
            Err(Error::new(Fault::Denied, format!("the certificate was not issued under the role {role:?}")))
        }
    }
}

fn plain(field: &str, given: Option<Text>) -> Result<String> {
    let given = text(given);
    match given.is_empty() {
        true => {
            Err(Error::invalid(format!("{field} is missing: a report names the certificate and its host")))
        }
        false => short(field, given),
    }
}

/// What is shown on terminals later holds nothing that moves their cursor.
fn short(field: &str, given: String) -> Result<String> {
    if given.len() > TEXT_SIZE_MAX || given.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "{field} is longer than {TEXT_SIZE_MAX} bytes, or holds control characters"
        )));
    }
    Ok(given)
}

fn places(given: Option<Json>, now: Time) -> Result<Vec<Seen>> {
    let Some(Json(given)) = given else { return Ok(Vec::new()) };
    let places: Vec<Place> = serde_json::from_value(given).map_err(|_| {
        Error::invalid(
            "served must be a list like [{\"address\": \"10.0.0.7:443\", \"serial_number\": \"3a:5f\"}]",
        )
    })?;
    if places.len() > PLACES_MAX {
        return Err(Error::invalid(format!("served holds {}; {PLACES_MAX} are allowed", places.len())));
    }
    let seen = |place: Place| {
        Ok(Seen {
            address: short("address", place.address)?,
            serial: short("serial_number", place.serial_number)?,
            at: place.at.map_or(now, |moment| moment.0.min(now)),
        })
    };
    places.into_iter().map(seen).collect()
}

/// Forgets what was reported of a certificate that has ended.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(crate) struct ForgetHolding {
    tag: String,
}

impl ForgetHolding {
    /// Of the holding with this tag.
    pub(super) fn new(tag: &Tag) -> Self {
        Self { tag: hex::encode(tag) }
    }
}

impl Command<Pki> for ForgetHolding {
    const ROUTE: Route = Route::internal("forget-holding").small();
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let tag = hex::decode(&self.tag).map_err(|_| Error::internal("the tag of a holding is not hex"))?;
        // A certificate that came in its place has a date of its own.
        if let Some(holding) = HOLDINGS.get(cx, &tag)?
            && holding.not_after <= cx.now().seconds()
        {
            holding.delete(cx)?;
        }
        Ok(Reply::Nothing)
    }
}
