//! Who asked what, and what came of it, on at least one device before the answer leaves.

mod device;
mod file;
mod http;
mod line;
mod options;
mod output;
mod queue;
mod redact;
mod socket;
mod syslog;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kit::{Error, Kept, Memo, Name, Result, Time, World};
use serde::{Deserialize, Serialize};
use storage::{Open, Snapshot, Txn};
use tokio::runtime::{Handle, RuntimeFlavor};
use zeroize::Zeroizing;

use crate::settings::{AuditSpec, Settings};
use crate::shelf::{Shelf, Source};

pub(crate) use device::{Device, Took};
pub(crate) use line::{Record, Response, line, operation};
pub(crate) use options::read as check;
use queue::Receipt;

/// Audit devices by path, those of the configuration aside.
const AUDITS: Shelf<AuditEntry> = Shelf::new(9);
/// Headers that audit shows, by name.
const HEADERS: Shelf<HeaderRule> = Shelf::new(16);

/// What stands in place of the salt of a device that the configuration declares.
const DECLARED: &str = "declared";

/// An audit device as it is stored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
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
    /// The same answer with something set on it that is not of its substance.
    pub(crate) fn with(mut self, dress: impl FnOnce(&mut T)) -> Self {
        dress(&mut self.0);
        self
    }

    /// The value, to be sent.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// All devices, and whether they take what is written.
pub(crate) struct Audits {
    /// By the generation of what is declared.
    memo: Memo<u64, Trail>,
    /// Devices by path and salt, so that a change of one leaves the others open.
    opened: Mutex<HashMap<String, Arc<Device>>>,
    /// Those of the configuration that were opened and have not been tried yet.
    untried: Mutex<Vec<Arc<Device>>>,
    declared: Mutex<Declared>,
    generation: AtomicU64,
    allow_prefix: bool,
    /// The version of what is mounted, as lines show it.
    pub(crate) running: String,
    world: Arc<dyn World>,
}

/// What the configuration declares. SIGHUP may change it.
type Declared = Arc<[AuditEntry]>;

/// Says that a record is on a device, or that there is none.
pub(crate) struct Written(());

impl Audits {
    pub(crate) fn new(settings: &Settings, world: Arc<dyn World>) -> Self {
        Self {
            memo: Memo::new(1),
            opened: Mutex::default(),
            untried: Mutex::default(),
            declared: Mutex::new(settings.declared_audits.iter().map(AuditEntry::declared).collect()),
            generation: AtomicU64::new(0),
            allow_prefix: settings.allow_audit_prefix,
            running: settings.running_version(),
            world,
        }
    }

    /// Takes what the configuration declares now. Devices that are in both stay open.
    pub(crate) fn declare(&self, specs: &[AuditSpec]) {
        let new: Declared = specs.iter().map(AuditEntry::declared).collect();
        let old = std::mem::replace(&mut *lock(&self.declared), Arc::clone(&new));
        if old != new {
            self.generation.fetch_add(1, Relaxed);
            let paths =
                |entries: &[AuditEntry]| entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>();
            tracing::info!(before = ?paths(&old), now = ?paths(&new), "the declared audit devices have changed");
        }
    }

    /// Whether the configuration declares a device of this path.
    pub(crate) fn is_declared(&self, path: &str) -> bool {
        lock(&self.declared).iter().any(|entry| entry.path == path)
    }

    /// The devices as of `today`, and the headers that they are shown.
    pub(crate) fn trail(&self, today: &Snapshot, store: &Open) -> Result<Arc<Kept<Trail>>> {
        self.memo.get(&self.generation.load(Relaxed), today, |txn| {
            let entries = self.entries(txn)?;
            let mut opened = lock(&self.opened);
            let mut kept = HashMap::new();
            let mut devices = Vec::with_capacity(entries.len());
            for entry in entries {
                let name = entry.identity();
                let was_open = opened.contains_key(&name);
                let device = match opened.remove(&name) {
                    Some(device) => device,
                    None => Arc::new(self.open(&entry, store).unwrap_or_else(|error| {
                        let (path, why) = (entry.path.as_str(), error.texts().concat());
                        tracing::error!(device = path, why, "an audit device cannot be opened, and refuses every line; mend its configuration, or delete it");
                        Device::broken(path, &*self.key(&entry, store), why)
                    })),
                };
                if entry.salt == DECLARED && !was_open {
                    lock(&self.untried).push(Arc::clone(&device));
                }
                kept.insert(name, Arc::clone(&device));
                devices.push(device);
            }
            *opened = kept;
            Ok(Trail { devices, headers: headers(txn)? })
        })
    }

    /// Opens the device of an entry.
    pub(crate) fn open(&self, entry: &AuditEntry, store: &Open) -> Result<Device> {
        Device::open(entry, &*self.key(entry, store), self.allow_prefix, &self.world)
    }

    /// The key that a device hashes with.
    fn key(&self, entry: &AuditEntry, store: &Open) -> Zeroizing<[u8; 32]> {
        store.derive(format!("audit {} {}", entry.path, entry.salt).as_bytes())
    }

    /// Keeps a device that is open already for when its entry is durable.
    pub(crate) fn adopt(&self, entry: &AuditEntry, device: Device) {
        lock(&self.opened).insert(entry.identity(), Arc::new(device));
    }

    /// The entries of the configuration, then those of the store.
    pub(crate) fn entries(&self, source: &impl Source) -> Result<Vec<AuditEntry>> {
        let mut entries = lock(&self.declared).to_vec();
        for name in &AUDITS.walk(source, "")? {
            // A device that the configuration declares since then has taken the place of a stored one.
            let stored = AUDITS.get(source, Name::Path(name))?;
            entries.extend(stored.filter(|stored| !self.is_declared(&stored.path)));
        }
        Ok(entries)
    }

    /// Writes the records of one request to every device; those that are there go to a file in one piece.
    ///
    /// # Errors
    /// If there are devices and none of them took all.
    pub(crate) fn write(&self, trail: &Trail, records: &[Record<'_>]) -> Result<Written> {
        let mut taken = trail.devices.is_empty();
        let mut why = None;
        let now = records.first().map_or(Time(0), |record| record.now);
        for device in trail.devices.iter().filter(|device| device.patience().is_none()) {
            let lines = records.iter().map(|record| device.prefixed(line(record, &trail.headers, device)));
            let text = lines.reduce(|first, next| [first, next].concat()).unwrap_or_default();
            taken |= device.take(text, now, None).is_ok();
        }
        let slow = || trail.devices.iter().filter(|device| device.patience().is_some());
        for record in records {
            if taken {
                // Theirs is one more copy, and nobody waits for it. A device says itself what it refuses.
                slow().for_each(|device| {
                    let line = device.prefixed(line(record, &trail.headers, device));
                    drop(device.take(line, record.now, None));
                });
            } else if slow().next().is_some() {
                why = wait_for_one(trail, record, slow()).err();
                if why.is_some() {
                    break;
                }
            }
        }
        taken |= why.is_none() && slow().next().is_some();
        match taken {
            true => Ok(Written(())),
            false => Err(Error::internal(format!(
                "no audit device took the record, so the request was refused{}",
                why.map(|why| format!(": {why}")).unwrap_or_default()
            ))),
        }
    }

    /// Tries whether a device takes a record, and says what it said if not.
    pub(crate) fn probe(&self, device: &Device, now: Time, id: &str) -> Result<(), String> {
        let receipt = Arc::new(Receipt::default());
        match device.take(device.prefixed(test_line(now, id)), now, Some(&receipt)) {
            Err(error) => Err(error.to_string()),
            Ok(Took::Written) => Ok(()),
            Ok(Took::Queued) => aside(|| receipt.wait(device.patience().unwrap_or_default())),
        }
    }

    /// Writes to each device of the configuration that was opened since the last time what one of the API is tried with.
    pub(crate) fn try_new(&self, now: Time, random: &dyn storage::Random) {
        for device in std::mem::take(&mut *lock(&self.untried)) {
            let line = device.prefixed(test_line(now, &crate::ids::new_uuid(random)));
            // A device says itself what it refuses.
            drop(device.take(line, now, None));
        }
    }

    /// What each device has lost and what waits in its queue, by path.
    pub(crate) fn losses(&self) -> Vec<(String, u64, usize)> {
        let opened = lock(&self.opened);
        let each = opened.values().map(|device| (device.path.clone(), device.lost(), device.waiting()));
        let mut losses: Vec<_> = each.collect();
        losses.sort_unstable();
        losses
    }

    /// Wraps what has been written down.
    pub(crate) fn audited<T>(_: Written, value: T) -> Audited<T> {
        Audited(value)
    }

    /// For what stands in no log by design: an answer that says only that audit failed.
    pub(crate) fn refused<T>(value: T) -> Audited<T> {
        Audited(value)
    }

    /// For what the operator does not want to see: a request over its limit, of which there may be thousands.
    pub(crate) fn unlogged<T>(value: T) -> Audited<T> {
        Audited(value)
    }

    /// Opens all files anew.
    pub(crate) fn reopen(&self) {
        lock(&self.opened).values().for_each(|device| device.reopen());
    }
}

impl AuditEntry {
    /// The entry of a device that the configuration declares.
    fn declared(spec: &AuditSpec) -> Self {
        Self {
            path: format!("{}/", spec.path.trim_matches('/')),
            kind: spec.kind.clone(),
            description: spec.description.clone(),
            options: spec.options.clone(),
            local: false,
            salt: DECLARED.to_owned(),
        }
    }
}

/// Writes a record to devices with queues, of which one must have carried it away before the request goes on.
fn wait_for_one<'a>(
    trail: &Trail,
    record: &Record<'_>,
    slow: impl Iterator<Item = &'a Arc<Device>>,
) -> Result<(), String> {
    let receipt = Arc::new(Receipt::default());
    let mut patience = Duration::ZERO;
    for device in slow {
        patience = patience.max(device.patience().unwrap_or_default());
        let line = device.prefixed(line(record, &trail.headers, device));
        drop(device.take(line, record.now, Some(&receipt)));
    }
    aside(|| receipt.wait(patience))
}

impl AuditEntry {
    /// What tells its device apart from all others, and from the one that it was before a change.
    fn identity(&self) -> String {
        format!("{}{}{}{:?}", self.path, self.kind, self.salt, self.options)
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits without holding up the other requests of this thread.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
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
        "time": now.rfc3339(), "type": "request", "auth": { "token_type": "default" },
        "request": { "id": id, "operation": "update", "path": "sys/audit/test", "namespace": { "id": "root" } },
    });
    format!("{line}\n").into_bytes()
}
