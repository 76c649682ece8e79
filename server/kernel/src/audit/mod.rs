//! Who asked what, and what came of it, on at least one device before the answer leaves.

mod device;
mod line;
mod redact;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use kit::{Error, Kept, Memo, Name, Result, Time};
use serde::{Deserialize, Serialize};
use storage::{Open, Snapshot, Txn};

use crate::settings::AuditSpec;
use crate::shelf::{Shelf, Source};

pub(crate) use device::{Device, Options};
pub(crate) use line::{Record, Response, line, operation};

/// Audit devices by path, those of the configuration aside.
const AUDITS: Shelf<AuditEntry> = Shelf::new(9);
/// Headers that audit shows, by name.
const HEADERS: Shelf<HeaderRule> = Shelf::new(16);

/// An audit device as it is stored.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct AuditEntry {
    /// With its trailing slash.
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) description: String,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) local: bool,
    /// Makes the hashes of this device its own.
    pub(crate) salt: String,
}

/// A header of requests that audit shows.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct HeaderRule {
    /// In lower case.
    pub(crate) name: String,
    /// Its values are hashed.
    pub(crate) hmac: bool,
}

/// Where lines go, and what they show beside what they always show.
pub(crate) struct Trail {
    pub(crate) devices: Vec<Arc<Device>>,
    pub(crate) headers: Vec<HeaderRule>,
}

/// Proof that a value was written to the audit log. HTTP takes nothing else.
///
/// ```compile_fail,E0423
/// // Its field is private, so no answer leaves without its line.
/// let answer = kernel::Audited("200 OK");
/// ```
#[derive(Debug)]
pub struct Audited<T>(T);

impl<T> Audited<T> {
    /// The value, to be sent.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// All devices, and whether they take what is written.
pub(crate) struct Audits {
    memo: Memo<(), Trail>,
    /// Devices by path and salt, so that a change of one leaves the others open.
    opened: Mutex<HashMap<String, Arc<Device>>>,
    declared: Vec<AuditEntry>,
    allow_prefix: bool,
}

/// Says that a record is on a device, or that there is none.
pub(crate) struct Written(());

impl Audits {
    pub(crate) fn new(declared: &[AuditSpec], allow_prefix: bool) -> Self {
        let declared = declared.iter().map(|spec| AuditEntry {
            path: format!("{}/", spec.path.trim_matches('/')),
            kind: spec.kind.clone(),
            description: spec.description.clone(),
            options: spec.options.clone(),
            local: false,
            salt: "declared".to_owned(),
        });
        Self { memo: Memo::new(1), opened: Mutex::default(), declared: declared.collect(), allow_prefix }
    }

    /// The devices as of `today`, and the headers that they are shown.
    pub(crate) fn trail(&self, today: &Snapshot, store: &Open) -> Result<Arc<Kept<Trail>>> {
        self.memo.get(&(), today, |txn| {
            let entries = self.entries(txn)?;
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            let mut kept = HashMap::new();
            let mut devices = Vec::with_capacity(entries.len());
            for entry in entries {
                let name = format!("{}{}{:?}", entry.path, entry.salt, entry.options);
                let device = match opened.remove(&name) {
                    Some(device) => device,
                    None => Arc::new(self.open(&entry, store)?),
                };
                kept.insert(name, Arc::clone(&device));
                devices.push(device);
            }
            *opened = kept;
            Ok(Trail { devices, headers: headers(txn)? })
        })
    }

    /// Opens the device of an entry.
    pub(crate) fn open(&self, entry: &AuditEntry, store: &Open) -> Result<Device> {
        if entry.kind != "file" {
            return Err(Error::invalid(format!(
                "unknown backend type: {:?}; this server has the audit device \"file\"",
                entry.kind
            )));
        }
        let options = Options::parse(&entry.options, self.allow_prefix)?;
        let key = store.derive(format!("audit {} {}", entry.path, entry.salt).as_bytes());
        Ok(Device::open(&entry.path, &*key, options))
    }

    /// The entries of the configuration, then those of the store.
    pub(crate) fn entries(&self, source: &impl Source) -> Result<Vec<AuditEntry>> {
        let mut entries = self.declared.clone();
        for name in AUDITS.list(source, "")?.iter() {
            entries.extend(AUDITS.get(source, Name::Path(name))?);
        }
        Ok(entries)
    }

    /// Writes a record to every device.
    ///
    /// # Errors
    /// If there are devices and none of them took it.
    pub(crate) fn write(&self, trail: &Trail, record: &Record<'_>) -> Result<Written> {
        let mut taken = trail.devices.is_empty();
        for device in &trail.devices {
            match device.write(&line(record, &trail.headers, device), record.now) {
                Ok(()) => taken = true,
                Err(error) => tracing::error!(device = device.path, %error, "an audit device refused a line"),
            }
        }
        match taken {
            true => Ok(Written(())),
            false => Err(Error::internal("no audit device took the record, so the request was refused")),
        }
    }

    /// Wraps what has been written down.
    pub(crate) fn audited<T>(_: Written, value: T) -> Audited<T> {
        Audited(value)
    }

    /// For what stands in no log by design: an answer that says only that audit failed.
    pub(crate) fn refused<T>(value: T) -> Audited<T> {
        Audited(value)
    }

    /// Opens all files anew.
    pub(crate) fn reopen(&self) {
        self.opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .for_each(|device| device.reopen());
    }
}

pub(crate) fn put(txn: &mut Txn, entry: &AuditEntry) -> Result<()> {
    AUDITS.put(txn, Name::Path(entry.path.trim_matches('/')), entry)
}

pub(crate) fn delete(txn: &mut Txn, path: &str) -> Result<()> {
    AUDITS.delete(txn, Name::Path(path.trim_matches('/')))
}

/// The headers that audit shows, in the order of their names.
pub(crate) fn headers(source: &impl Source) -> Result<Vec<HeaderRule>> {
    let mut rules = Vec::new();
    for name in HEADERS.list(source, "")?.iter() {
        rules.extend(HEADERS.get(source, Name::Path(name))?);
    }
    Ok(rules)
}

pub(crate) fn put_header(txn: &mut Txn, rule: &HeaderRule) -> Result<()> {
    HEADERS.put(txn, Name::Path(&rule.name), rule)
}

pub(crate) fn delete_header(txn: &mut Txn, name: &str) -> Result<()> {
    HEADERS.delete(txn, Name::Path(name))
}

/// The record that a device is tried with before it is enabled.
pub(crate) fn test_line(now: Time, id: &str) -> Vec<u8> {
    let line = serde_json::json!({
        "time": now.rfc3339(), "type": "request",
        "request": { "id": id, "operation": "update", "path": "sys/audit/test", "namespace": { "id": "root" } },
    });
    format!("{line}\n").into_bytes()
}
