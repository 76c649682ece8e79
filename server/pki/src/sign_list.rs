//! Revocation lists that are not of this mount's making: put together from others, or made of what the caller says.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::loose::{Json, Number, Slice, Span, Text};
use kit::{Error, Query, Reading, Reads, Reply, Result, Route, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use x509::{CrlTemplate, Extensions, ObjectIdentifier, RevocationList, RevokedEntry, Serial, pem};

use super::Pki;
use super::authorities::{Issuer, authorities, no_issuer, refused};
use super::fields::text;

/// How long such a list is good, where nothing is said.
const NEXT_UPDATE: &str = "72h";

/// Puts lists that this issuer signed elsewhere together into one, and signs that.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ResignLists {
    /// A name, an id, or `default`.
    issuer_ref: String,
    /// The number of the new list.
    crl_number: Option<Number>,
    /// The lists, each in PEM.
    crls: Option<Slice>,
    /// The number of the list that the new one adds to; -1 for a complete one.
    delta_crl_base_number: Option<Number>,
    /// `pem` or `der`.
    format: Option<Text>,
    /// How long the new list is good.
    next_update: Option<Text>,
}

/// Signs a list of what the caller says is revoked.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SignList {
    /// A name, an id, or `default`.
    issuer_ref: String,
    /// The number of the new list.
    crl_number: Option<Number>,
    /// The number of the list that the new one adds to; -1 for a complete one.
    delta_crl_base_number: Option<Number>,
    /// What the list says besides: each with `id`, `critical` and `value`, which is DER in Base64.
    extensions: Option<Json>,
    /// `pem` or `der`.
    format: Option<Text>,
    /// How long the new list is good.
    next_update: Option<Text>,
    /// Who is on it: each with `serial_number`, `revocation_time`, and maybe `extensions`.
    revoked_certs: Option<Json>,
}

/// A list that was signed.
#[derive(JsonSchema, Serialize)]
pub(super) struct SignedList {
    /// The list.
    crl: String,
}

impl Query<Pki> for ResignLists {
    const ROUTE: Route = Route::post("issuer/{issuer_ref}/resign-crls");
    type Reply = SignedList;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<SignedList>> {
        let wish =
            Wish::read(self.crl_number, self.delta_crl_base_number, text(self.format), self.next_update)?;
        let given = self.crls.unwrap_or_default().0;
        let lists = given.iter().enumerate().map(|(index, list)| decode(index, list));
        let lists = lists.collect::<Result<Vec<_>>>()?;
        let all = authorities(cx)?;
        let issuer = signer(all.issuer(&self.issuer_ref), &self.issuer_ref)?;
        let mut entries: BTreeMap<Serial, (u64, Vec<u8>)> = BTreeMap::new();
        for (index, der) in lists.iter().enumerate() {
            let list = RevocationList::from_der(der).map_err(refused)?;
            if list.verify(issuer.certificate.public_key()).is_err() {
                return Err(Error::invalid(format!("CRL index: {index} was not signed by requested issuer")));
            }
            for (serial, since, raw) in RevokedEntry::all_of(der).map_err(refused)? {
                let known = entries.get(&serial).map(|(since, _)| *since);
                if known.is_some_and(|known| known != since) {
                    cx.warn(format!(
                        "Duplicate serial {serial} with different revocation times detected, using oldest revocation time"
                    ));
                }
                if known.is_none_or(|known| since < known) {
                    entries.insert(serial, (since, raw));
                }
            }
        }
        let entries: Vec<&[u8]> = entries.values().map(|(_, raw)| raw.as_slice()).collect();
        wish.sign(issuer, cx.now(), &entries, Extensions::new())
    }
}

impl Query<Pki> for SignList {
    const ROUTE: Route = Route::post("issuer/{issuer_ref}/sign-revocation-list");
    type Reply = SignedList;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<SignedList>> {
        let wish =
            Wish::read(self.crl_number, self.delta_crl_base_number, text(self.format), self.next_update)?;
        let entries = revoked(&self.revoked_certs.unwrap_or_default().0)?;
        let extensions = extensions(&self.extensions.unwrap_or_default().0)?;
        let all = authorities(cx)?;
        let issuer = signer(all.issuer(&self.issuer_ref), &self.issuer_ref)?;
        let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        wish.sign(issuer, cx.now(), &entries, extensions)
    }
}

/// What both want of the new list.
struct Wish {
    number: u64,
    delta_of: Option<u64>,
    in_der: bool,
    life: Duration,
}

impl Wish {
    fn read(
        number: Option<Number>,
        base: Option<Number>,
        format: String,
        next: Option<Text>,
    ) -> Result<Self> {
        let in_der = match format.to_lowercase().as_str() {
            "" | "pem" => false,
            "der" => true,
            _ => return Err(Error::invalid(format!("unknown format value of {format}"))),
        };
        let next = next.map_or(NEXT_UPDATE.to_owned(), |text| text.0);
        let life = Span::read(&next)
            .map_err(|why| Error::invalid(format!("invalid value for next_update: {why}")))?;
        if life.0 <= 0 {
            return Err(Error::invalid("next_update parameter must be greater than 0"));
        }
        let number = u64::try_from(number.unwrap_or_default().0)
            .map_err(|_| Error::invalid("crl_number parameter must be 0 or greater"))?;
        let delta_of = match base.map_or(-1, |base| base.0) {
            -1 => None,
            base => Some(
                u64::try_from(base)
                    .map_err(|_| Error::invalid("delta_crl_base_number parameter must be -1 or greater"))?,
            ),
        };
        Ok(Self { number, delta_of, in_der, life: life.duration() })
    }

    fn sign(
        &self,
        issuer: &Issuer,
        now: Time,
        entries: &[&[u8]],
        extensions: Extensions,
    ) -> Result<Reply<SignedList>> {
        let key =
            issuer.key.as_ref().ok_or_else(|| Error::internal("an issuer without its key signs a list"))?;
        let own = issuer.certificate.subject_key_id().unwrap_or_else(|| key.public().key_id());
        let template = CrlTemplate {
            this_update: now.seconds(),
            next_update: now.plus(self.life).seconds(),
            number: self.number,
            delta_of: self.delta_of,
            authority_key_id: &own,
            revoked: entries,
            extensions,
        };
        let scheme = issuer.revocation_scheme()?;
        let der = template.sign(issuer.certificate.subject_der(), key, scheme).map_err(refused)?;
        let crl = match self.in_der {
            true => STANDARD.encode(der),
            false => format!("{}\n", pem::encode(pem::CRL, &der)),
        };
        Ok(Reply::Data(SignedList { crl }))
    }
}

fn signer<'a>(found: Option<&'a Issuer>, reference: &str) -> Result<&'a Issuer> {
    let issuer = found.ok_or_else(|| {
        Error::invalid(format!("failed to resolve issuer issuer_ref: {}", no_issuer(reference)))
    })?;
    match issuer.key.is_some() && issuer.record.usage.crl {
        true => Ok(issuer),
        false => Err(Error::invalid(format!(
            "the issuer {reference} signs no revocation list: its key is not in this mount, or its usage lacks crl-signing"
        ))),
    }
}

fn decode(index: usize, list: &str) -> Result<Vec<u8>> {
    let wrong =
        || Error::invalid(format!("failed decoding crl {index}: invalid crl; should be one PEM block only"));
    let blocks = pem::blocks(list).map_err(|_| wrong())?;
    match <[_; 1]>::try_from(blocks) {
        Ok([block]) if block.label == pem::CRL => Ok(block.der.to_vec()),
        _ => Err(wrong()),
    }
}

fn revoked(given: &Value) -> Result<Vec<Vec<u8>>> {
    let mut seen = BTreeMap::new();
    let mut entries = Vec::new();
    for (index, entry) in items(given, "revoked_certs")?.iter().enumerate() {
        let of = |field: &str, why: String| {
            Error::invalid(format!("failed parsing {field} from entry {index}: {why}"))
        };
        let Some(entry) = entry.as_object() else {
            return Err(Error::invalid(format!("revoked_certs entry {index} not a map")));
        };
        let serial = entry
            .get("serial_number")
            .ok_or_else(|| of("serial_number", "missing 'serial_number' field".to_owned()))?;
        let serial = serial.as_str().unwrap_or_default().replace(['.', ' '], ":");
        let serial = Serial::parse(&serial).map_err(|error| of("serial_number", error.to_string()))?;
        if let Some(first) = seen.insert(serial.clone(), index) {
            return Err(Error::invalid(format!(
                "duplicate serial number: {serial}, original entry {first} and {index}"
            )));
        }
        let at = entry
            .get("revocation_time")
            .ok_or_else(|| of("revocation_time", "missing 'revocation_time' field".to_owned()))?;
        let shown = at.as_str().map_or_else(|| at.to_string(), str::to_owned);
        let at = Time::parse(&shown).ok_or_else(|| {
            of(
                "revocation_time",
                format!("failed parsing time {shown}: could not parse string as date and time"),
            )
        })?;
        let extensions = entry.get("extensions").map_or(Ok(Extensions::new()), extensions);
        let extensions = extensions.map_err(|error| of("extensions", error.to_string()))?;
        entries.push(RevokedEntry::with(&serial, at.seconds(), &extensions).map_err(refused)?);
    }
    Ok(entries)
}

fn extensions(given: &Value) -> Result<Extensions> {
    let mut extensions = Extensions::new();
    for (index, entry) in items(given, "extensions")?.iter().enumerate() {
        let entry =
            entry.as_object().ok_or_else(|| Error::invalid(format!("extension entry {index} not a map")))?;
        let of = |why: String| Error::invalid(format!("failed parsing extension entry {index}: {why}"));
        let id = entry.get("id").ok_or_else(|| of("missing id field".to_owned()))?;
        let id = match id.as_str().unwrap_or_default() {
            "" => return Err(of("zero length object identifier".to_owned())),
            id => ObjectIdentifier::new(id).map_err(|_| of(format!("{id} is no object identifier")))?,
        };
        if CrlTemplate::makes(&id) {
            return Err(of(format!("{} ({id}) is reserved", reserved(&id))));
        }
        let value = entry.get("value").ok_or_else(|| of("missing 'value' field".to_owned()))?;
        let value = STANDARD.decode(value.as_str().unwrap_or_default());
        let value = value.map_err(|error| of(format!("failed base64 decoding 'value' field: {error}")))?;
        let critical = match entry.get("critical") {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(Value::String(text)) if text.is_empty() || text == "false" => false,
            Some(Value::String(text)) if text == "true" => true,
            Some(_) => {
                return Err(of("critical field value failed to be parsed: it is true or false".to_owned()));
            }
        };
        if extensions.find(&id).is_some() {
            return Err(Error::invalid(format!("duplicate extension id: {id}")));
        }
        extensions = extensions.with(id, critical, value);
    }
    Ok(extensions)
}

fn reserved(id: &ObjectIdentifier) -> &'static str {
    match id.to_string().as_str() {
        "2.5.29.20" => "crl number object identifier",
        "2.5.29.27" => "delta crl object identifier",
        _ => "authority key object identifier",
    }
}

fn items<'a>(given: &'a Value, field: &str) -> Result<&'a [Value]> {
    match given {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        Value::String(text) if text.is_empty() => Ok(&[]),
        _ => Err(Error::invalid(format!("'{field}' field did not contain a slice"))),
    }
}
