//! Finding certificates: by name, issuer, role, owner, key, and by when they end.
//!
//! The classes that a question is about are found first; their entries lie in the order of their ends, and are gone
//! through together. So a question costs what its answer and its window cost, not what is stored.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use kit::loose::{Flag, Moment, Number, Text};
use kit::{Error, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, Serial};

use super::authorities::{authorities, refused};
use super::fields::{Seconds, text};
use super::issued::{self, Class, Entry};
use super::store::{CERTIFICATES, Id, REVOKED};
use super::{Pki, dates, key_mark};

/// So many are shown, unless fewer are asked for.
const SHOWN_MAX: usize = 1000;
/// So many entries one answer looks at, at most. Where they hold too little, the answer says where to go on.
const LOOKED_AT_MAX: usize = 20_000;
/// So many entries of a class are read at a time.
const CHUNK: usize = 64;

/// Finds certificates by name, issuer, role, owner, key or serial number, or by when they end: those that end first, first.
/// What is left out does not matter.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Search {
    /// The `next` of an earlier answer: begins after it.
    after: Option<Text>,
    /// Ends at this moment or later; if it is left out, now, so that what has ended is not shown.
    ends_after: Option<Moment>,
    /// Ends before this moment.
    ends_before: Option<Moment>,
    /// Ends within this span from now, such as `30d`.
    ends_within: Option<Seconds>,
    /// The issuer: a name, an id, or `default`.
    issuer: Option<Text>,
    /// The key, in hex: its identifier (SHA-1) or the SHA-256 of its SPKI.
    key_id: Option<Text>,
    /// How many to show at most.
    limit: Option<Number>,
    /// Its common name or one of its other names, in any case; `*` stands for any text.
    name: Option<Text>,
    /// The id of the entity that asked for it.
    owner: Option<Text>,
    /// Whether it is revoked.
    revoked: Option<Flag>,
    /// The role under which it was issued.
    role: Option<Text>,
    /// Its serial number, in hex with colons or hyphens.
    serial_number: Option<Text>,
}

/// What was found.
#[derive(JsonSchema, Serialize)]
pub(super) struct Found {
    /// Their serial numbers, those that end first, first.
    keys: Vec<String>,
    /// What is known of each.
    key_info: BTreeMap<String, FoundCertificate>,
    /// Where to go on, if there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Found {
    fn of(certificates: impl IntoIterator<Item = FoundCertificate>, next: Option<String>) -> Self {
        let certificates: Vec<_> = certificates.into_iter().collect();
        let keys = certificates.iter().map(|found| found.serial_number.clone()).collect();
        let key_info = certificates.into_iter().map(|found| (found.serial_number.clone(), found)).collect();
        Self { keys, key_info, next }
    }
}

/// One that was found.
#[derive(JsonSchema, Serialize)]
pub(super) struct FoundCertificate {
    common_name: String,
    /// The id of the issuer; empty where it is none of this mount.
    issuer_id: String,
    issuer_name: String,
    key_bits: u32,
    /// The identifier of its key.
    key_id: String,
    key_type: &'static str,
    /// Its common name and its other names.
    names: Vec<String>,
    not_after: String,
    not_before: String,
    /// The id of the entity that asked for it.
    owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_time: Option<String>,
    role: String,
    serial_number: String,
}

impl Query<Pki> for Search {
    const ROUTE: Route = Route::list("certs/search");
    type Reply = Found;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Found>> {
        let question = Question::of(self, cx)?;
        if let Some(serial) = &question.serial {
            let shown = show(cx, serial.as_bytes(), &question.key)?
                .filter(|(class, shown)| question.fits(class, shown));
            return Ok(Reply::Data(Found::of(shown.into_iter().map(|(_, shown)| shown), None)));
        }
        let mut sources = Sources::open(cx, &question)?;
        let (mut certificates, mut looked_at, mut last) = (Vec::new(), 0, None);
        let full = loop {
            let Some(entry) = sources.next(cx)? else { break false };
            looked_at += 1;
            last = Some((entry.not_after, entry.serial.clone()));
            if question.name_fits(&entry.names)
                && (question.key.is_empty() || entry.key.may_be(&question.key))
                && question
                    .revoked
                    .is_none_or(|wanted| is_revoked(cx, &entry.serial).is_ok_and(|is| is == wanted))
                && let Some((_, shown)) = show(cx, &entry.serial, &question.key)?
            {
                certificates.push(shown);
            }
            if certificates.len() >= question.limit || looked_at >= LOOKED_AT_MAX {
                break true;
            }
        };
        let next = last.filter(|_| full).map(|(end, serial)| format!("{end}.{}", hex::encode(serial)));
        Ok(Reply::Data(Found::of(certificates, next)))
    }
}

fn is_revoked(cx: &impl Reads, serial: &[u8]) -> Result<bool> {
    Ok(REVOKED.get(cx, serial)?.is_some())
}

/// What is asked, read.
struct Question {
    after: (u64, Vec<u8>),
    until: u64,
    issuer: Option<Id>,
    key: String,
    limit: usize,
    name: String,
    owner: Option<String>,
    revoked: Option<bool>,
    role: Option<String>,
    serial: Option<Serial>,
}

impl Question {
    fn of(asked: Search, cx: &Reading<'_>) -> Result<Self> {
        let given = |text: Option<Text>| text.map(|text| text.0).filter(|text| !text.is_empty());
        let seconds = |moment: Option<Moment>| moment.map(|moment| moment.0.seconds());
        let named =
            |reference: String| -> Result<Id> { Ok(authorities(cx)?.issuer_or_refuse(&reference)?.id) };
        let issuer = given(asked.issuer).map(named);
        let limit = usize::try_from(asked.limit.unwrap_or_default().0).ok().filter(|limit| *limit > 0);
        let serial = given(asked.serial_number).map(|serial| Serial::parse(&serial).map_err(refused));
        let within = asked.ends_within.map_or(u64::MAX, |span| cx.now().seconds().saturating_add(span.0));
        let begin = (seconds(asked.ends_after).unwrap_or_else(|| cx.now().seconds()), vec![]);
        Ok(Self {
            after: given(asked.after).map(|text| cursor(&text)).transpose()?.unwrap_or(begin),
            until: seconds(asked.ends_before).unwrap_or(u64::MAX).min(within),
            issuer: issuer.transpose()?,
            key: key_mark::named(&text(asked.key_id))?,
            limit: limit.unwrap_or(SHOWN_MAX).min(SHOWN_MAX),
            name: text(asked.name).to_lowercase(),
            owner: given(asked.owner),
            revoked: asked.revoked.map(|flag| flag.0),
            role: given(asked.role),
            serial: serial.transpose()?,
        })
    }

    fn class_fits(&self, class: &Class) -> bool {
        self.issuer.is_none_or(|issuer| class.issuer == Some(issuer))
            && self.role.as_ref().is_none_or(|role| class.role == *role)
            && self.owner.as_ref().is_none_or(|owner| class.owner == *owner)
    }

    fn name_fits(&self, names: &[String]) -> bool {
        let fits = |name: &String| kit::glob::fits(&self.name, &name.to_lowercase());
        self.name.is_empty() || names.iter().any(fits)
    }

    fn fits(&self, class: &Class, shown: &FoundCertificate) -> bool {
        self.class_fits(class)
            && self.name_fits(&shown.names)
            && self.revoked.is_none_or(|wanted| shown.revocation_time.is_some() == wanted)
    }
}

fn cursor(text: &str) -> Result<(u64, Vec<u8>)> {
    let parts = text.split_once('.');
    let read = parts.and_then(|(end, serial)| Some((end.parse().ok()?, hex::decode(serial).ok()?)));
    read.ok_or_else(|| Error::invalid("after is the next of an earlier answer, unchanged"))
}

/// The classes that a question is about, gone through together.
struct Sources {
    until: u64,
    /// The next entry of each class, with the place of the class and what else of it was read.
    heads: BinaryHeap<Reverse<(Entry, usize)>>,
    read: Vec<(Id, Vec<Entry>)>,
}

impl Sources {
    fn open(cx: &Reading<'_>, question: &Question) -> Result<Self> {
        let mut sources = Self { until: question.until, heads: BinaryHeap::new(), read: vec![] };
        for (id, class) in issued::classes(cx)? {
            if question.class_fits(&class) {
                let at = sources.read.len();
                sources.read.push((id, vec![]));
                sources.refill(cx, at, (question.after.0, &question.after.1))?;
            }
        }
        Ok(sources)
    }

    fn refill(&mut self, cx: &Reading<'_>, at: usize, after: (u64, &[u8])) -> Result<()> {
        let Some((id, entries)) = self.read.get_mut(at) else { return Ok(()) };
        *entries = issued::ending(cx, *id, after, self.until, CHUNK)?;
        entries.reverse();
        if let Some(entry) = entries.pop() {
            self.heads.push(Reverse((entry, at)));
        }
        Ok(())
    }

    fn next(&mut self, cx: &Reading<'_>) -> Result<Option<Entry>> {
        let Some(Reverse((entry, at))) = self.heads.pop() else { return Ok(None) };
        match self.read.get_mut(at).and_then(|(_, entries)| entries.pop()) {
            Some(next) => self.heads.push(Reverse((next, at))),
            None => self.refill(cx, at, (entry.not_after, &entry.serial))?,
        }
        Ok(Some(entry))
    }
}

/// What is known of a certificate, if it is there and has the key of this name; an empty one stands for any.
fn show(cx: &Reading<'_>, serial: &[u8], key: &str) -> Result<Option<(Class, FoundCertificate)>> {
    let Some(record) = CERTIFICATES.get(cx, serial)? else { return Ok(None) };
    let Ok(certificate) = Certificate::of_record(&record.der.0) else { return Ok(None) };
    if !key.is_empty() && !key_mark::is_named(certificate.public_key(), key) {
        return Ok(None);
    }
    let all = authorities(cx)?;
    let issuer = all.issuers.iter().find(|issuer| Some(issuer.id) == record.issuer);
    let revoked = REVOKED.get(cx, serial)?;
    let reason = revoked.and_then(|revoked| super::revoke::reason(revoked.reason));
    let shape = certificate.public_key().shape();
    let class = Class::of(&record);
    let shown = FoundCertificate {
        common_name: certificate.subject().unwrap_or_default().common_name,
        issuer_id: record.issuer.map(|id| id.to_string()).unwrap_or_default(),
        issuer_name: issuer.map(|issuer| issuer.record.name.clone()).unwrap_or_default(),
        key_bits: shape.bits,
        key_id: hex::encode(certificate.public_key().key_id()),
        key_type: shape.family.name(),
        names: issued::names(certificate.subject_der(), certificate.extensions()).unwrap_or_default(),
        not_after: dates::shown(certificate.validity().not_after),
        not_before: dates::shown(certificate.validity().not_before),
        owner: class.owner.clone(),
        revocation_reason: reason.map(x509::Reason::name),
        revocation_time: revoked.map(|revoked| revoked.at.rfc3339()),
        role: record.role,
        serial_number: certificate.serial().colons(),
    };
    Ok(Some((class, shown)))
}
