//! What this mount has issued, in the order in which it ends.
//!
//! Certificates of one issuer, role and owner are a class. Each certificate has one entry beside its record, below its
//! class and by its end: enough to find the next end of an issuer, a role or an owner in a few steps, and to go through
//! what ends within a window without reading anything else.

use std::ops::ControlFlow;

use kit::{Error, IdTable, Reads, Result, Table, Writing};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use x509::{AltNames, Certificate, Extensions, PublicKey, Serial, Subject};

use super::authorities::refused;
use super::key_mark::KeyMark;
use super::store::{CERTIFICATES, CertificateRecord, Id, behind};

/// The ids of classes, by what they are of.
const CLASS_IDS: Table<Id> = Table::new(16);
/// What classes are of, by id.
const CLASSES: IdTable<Class> = IdTable::new(17);
/// Certificates by class, end and serial number.
const BY_END: IdTable<Entered> = IdTable::new(18);

/// What some certificates have in common.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Class {
    /// Who issued them; nothing where that is another's doing.
    pub(super) issuer: Option<Id>,
    /// The role under which they were issued; empty where there was none.
    pub(super) role: String,
    /// The entity that asked for them; empty where none is known.
    pub(super) owner: String,
}

/// A certificate among those of its class.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Its end, in seconds since 1970.
    pub(super) not_after: u64,
    /// The bytes of its serial number.
    pub(super) serial: Vec<u8>,
    /// Its common name and its other names.
    pub(super) names: Vec<String>,
    /// What can be told of its key.
    pub(super) key: KeyMark,
}

/// What an entry holds. One that was made before there were marks is a bare list of names.
#[derive(Serialize)]
struct Entered {
    key: KeyMark,
    names: Vec<String>,
}

/// An entry as it is written now.
#[derive(Deserialize)]
struct Marked {
    key: KeyMark,
    names: Vec<String>,
}

impl<'de> Deserialize<'de> for Entered {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Either)
    }
}

/// Reads both forms of an entry.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Entered;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the names of a certificate, with a mark of its key")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entered, A::Error> {
        let Marked { key, names } = Marked::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Entered { key, names })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Entered, A::Error> {
        let names = Vec::deserialize(SeqAccessDeserializer::new(names))?;
        Ok(Entered { key: KeyMark::default(), names })
    }
}

impl Class {
    /// The class of a certificate.
    pub(super) fn of(record: &CertificateRecord) -> Self {
        // A token is nobody who holds certificates: the next one would have a class of its own.
        let owner = if record.owner.starts_with(TOKEN) { "" } else { &record.owner };
        Self { issuer: record.issuer, role: record.role.clone(), owner: owner.to_owned() }
    }

    fn path(&self) -> String {
        let issuer = self.issuer.map(|id| id.to_string()).unwrap_or_default();
        format!("i{issuer}/o{}/r{}", self.owner, self.role)
    }

    /// The id of this class, which is made if there is none.
    fn enter(self, cx: &mut Writing<'_>) -> Result<Id> {
        let path = self.path();
        let known = cx.memo(&format!("class/{path}"), |cx| CLASS_IDS.get(cx, &path))?;
        if let Some(id) = *known {
            return Ok(id);
        }
        if let Some(id) = CLASS_IDS.get(cx, &path)? {
            return Ok(id);
        }
        let id = Id::new(cx);
        CLASS_IDS.put(cx, &path, &id)?;
        CLASSES.put(cx, id.as_bytes(), &self)?;
        Ok(id)
    }
}

/// What the owner begins with who is known by a token alone.
pub(super) const TOKEN: &str = "token:";

/// Enters a certificate among those of its class, before it is signed. Its record follows.
pub(super) fn enter(
    cx: &mut Writing<'_>,
    serial: &Serial,
    record: &CertificateRecord,
    not_after: u64,
    names: Vec<String>,
    public_key: &PublicKey,
) -> Result<()> {
    let class = Class::of(record).enter(cx)?;
    let entered = Entered { key: KeyMark::of(public_key), names };
    BY_END.put(cx, &key(class, not_after, serial.as_bytes()), &entered)
}

/// Records a certificate that was signed elsewhere, or another time. Its number is that of no other here.
pub(super) fn keep_parsed(
    cx: &mut Writing<'_>,
    certificate: &Certificate,
    record: &CertificateRecord,
) -> Result<()> {
    let names = names(certificate.subject_der(), certificate.extensions())?;
    CERTIFICATES.put(cx, certificate.serial().as_bytes(), record)?;
    let (serial, end) = (certificate.serial(), certificate.validity().not_after);
    enter(cx, serial, record, end, names, certificate.public_key())
}

/// Forgets a certificate.
pub(super) fn forget(cx: &mut Writing<'_>, serial: &[u8]) -> Result<()> {
    let Some(record) = CERTIFICATES.get(cx, serial)? else { return Ok(()) };
    CERTIFICATES.delete(cx, serial)?;
    // What cannot be read has no entry.
    if let Ok(certificate) = Certificate::of_record(&record.der.0)
        && let Some(class) = CLASS_IDS.get(cx, &Class::of(&record).path())?
    {
        BY_END.delete(cx, &key(class, certificate.validity().not_after, serial))?;
    }
    Ok(())
}

/// The common name and the other names of a certificate, each once.
pub(super) fn names(subject: &[u8], extensions: &Extensions) -> Result<Vec<String>> {
    // A name that cannot be read is none to be found by.
    let others = extensions.names().unwrap_or_default();
    Ok(united(Subject::from_der(subject).map_err(refused)?.common_name, others))
}

/// The same of names that have been read.
pub(super) fn united(common_name: String, others: AltNames) -> Vec<String> {
    let mut names = vec![common_name];
    names.retain(|name| !name.is_empty());
    let addresses = others.ip.iter().map(std::net::IpAddr::to_string);
    for name in others.dns.into_iter().chain(others.email).chain(others.uri).chain(addresses) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// All classes.
pub(super) fn classes(cx: &impl Reads) -> Result<Vec<(Id, Class)>> {
    let mut found = Vec::new();
    CLASSES.scan(cx, &[], |id, class| {
        found.push((Id::from_bytes(id)?, class));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// Whether there is a class of a kind.
pub(super) fn has_class(cx: &impl Reads, is_it: impl Fn(&Class) -> bool) -> Result<bool> {
    let mut found = false;
    CLASSES.scan(cx, &[], |_, class| {
        found = is_it(&class);
        Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(found)
}

/// The first classes whose ids follow another's.
pub(super) fn classes_after(cx: &impl Reads, after: &[u8], limit: usize) -> Result<Vec<Id>> {
    let mut found = Vec::new();
    CLASSES.scan(cx, &behind(after.to_vec()), |id, _| {
        found.push(Id::from_bytes(id)?);
        Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

/// The certificates of a class that end after `after` (an end and a serial number) and before `until`, as many as are asked
/// for.
pub(super) fn ending(
    cx: &impl Reads,
    class: Id,
    after: (u64, &[u8]),
    until: u64,
    limit: usize,
) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut from = key(class, after.0, after.1);
    if !after.1.is_empty() {
        from.push(0);
    }
    BY_END.range(cx, &from, &key(class, until, &[]), |id, entered| {
        found.push(read(id, entered)?);
        Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

/// How far a walk through what was issued has come: nowhere yet, or to a certificate (its class, end and serial number), or to
/// the end of a class.
#[derive(Default)]
pub(super) struct Place(Vec<u8>);

impl Place {
    /// The place that was kept as this text. What an older version kept is none: the walk begins anew.
    pub(super) fn read(text: &str) -> Self {
        Self(hex::decode(text).ok().filter(|bytes| bytes.len() >= PLACE_SIZE_MIN).unwrap_or_default())
    }

    /// Whether the walk has begun.
    pub(super) fn is_start(&self) -> bool {
        self.0.is_empty()
    }

    /// What is kept of it.
    pub(super) fn text(&self) -> String {
        hex::encode(&self.0)
    }

    fn class(&self) -> &[u8] {
        self.0.get(..CLASS_SIZE).unwrap_or_default()
    }
}

/// A class has an id, an end is a number.
const CLASS_SIZE: usize = 16;
const PLACE_SIZE_MIN: usize = CLASS_SIZE + 8;
/// So many classes one piece of a walk looks at.
const CLASSES_MAX: usize = 1000;

/// Goes on with a walk through the certificates of some classes that have not ended, until it is told to stop, and tells
/// whether it has come to the end. It costs what these classes hold, and a little for each class.
pub(super) fn walk(
    cx: &impl Reads,
    place: &mut Place,
    wanted: impl Fn(&Class) -> bool,
    mut each: impl FnMut(&Entry, Id, &Class) -> Result<ControlFlow<()>>,
) -> Result<bool> {
    let (mut chosen, mut seen, mut last) = (Vec::new(), 0, Vec::new());
    CLASSES.scan(cx, place.class(), |id, class| {
        if wanted(&class) {
            chosen.push((Id::from_bytes(id)?, class));
        }
        seen += 1;
        last = id.to_vec();
        Ok(if seen < CLASSES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let living = cx.now().seconds().saturating_add(1);
    for (id, class) in chosen {
        let from = match place.class() == id.as_bytes() {
            true => behind(place.0.clone()),
            false => key(id, living, &[]),
        };
        let mut goes_on = ControlFlow::Continue(());
        BY_END.range(cx, &from, &key(id, u64::MAX, &[]), |at, entered| {
            place.0 = at.to_vec();
            goes_on = each(&read(at, entered)?, id, &class)?;
            Ok(goes_on)
        })?;
        if goes_on.is_break() {
            return Ok(false);
        }
    }
    if seen < CLASSES_MAX {
        return Ok(true);
    }
    place.0 = [last.as_slice(), &u64::MAX.to_be_bytes()].concat();
    Ok(false)
}

/// Forgets a class that has no certificates.
pub(super) fn forget_class(cx: &mut Writing<'_>, id: Id) -> Result<()> {
    if ending(cx, id, (0, &[]), u64::MAX, 1)?.is_empty()
        && let Some(class) = CLASSES.get(cx, id.as_bytes())?
    {
        CLASSES.delete(cx, id.as_bytes())?;
        CLASS_IDS.delete(cx, &class.path())?;
    }
    Ok(())
}

fn key(class: Id, not_after: u64, serial: &[u8]) -> Vec<u8> {
    [class.as_bytes(), &not_after.to_be_bytes(), serial].concat()
}

fn read(id: &[u8], Entered { key, names }: Entered) -> Result<Entry> {
    let damaged = || Error::internal("an entry of the index of certificates cannot be read");
    let end = id.get(16..24).and_then(|end| end.try_into().ok()).ok_or_else(damaged)?;
    let serial = id.get(24..).ok_or_else(damaged)?;
    Ok(Entry { not_after: u64::from_be_bytes(end), serial: serial.to_vec(), names, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_from_before_there_were_marks_are_read() {
        let old: Entered = serde_json::from_str(r#"["a.example"]"#).unwrap();
        assert!(old.names == ["a.example"] && old.key == KeyMark::default());
        let new = serde_json::to_string(&Entered { key: KeyMark::default(), names: old.names }).unwrap();
        assert_eq!(new, r#"{"key":"","names":["a.example"]}"#);
        assert_eq!(serde_json::from_str::<Entered>(&new).unwrap().names, ["a.example"]);
    }
}
