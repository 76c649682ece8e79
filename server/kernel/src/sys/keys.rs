use std::time::Duration;

use kit::loose::{Flag, Number, Span};
use kit::{Beyond, Command, Error, Name, Query, Reading, Reply, Result, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::{KeyStatus, MountId, RingId, Snapshot};

use super::Sys;
use crate::kernel::Kernel;
use crate::namespaces::Ns;
use crate::shelf::{KERNEL, Shelf, Source};

/// When a new term of a keyring begins by itself. One record, for the server and for each namespace with a seal.
const TABLE: u8 = 17;
const RECORD: Name<'static> = Name::Id(b"rotation");

/// A term ends at the latest after so many entries, whatever else was set.
const OPERATIONS_MAX: i64 = 3_865_470_566;
const OPERATIONS_MIN: i64 = 1_000_000;
const INTERVAL_MIN: Duration = Duration::from_secs(24 * 3600);

/// When a new term begins by itself.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Rotation {
    enabled: bool,
    interval_seconds: u64,
    operations_max: i64,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { enabled: true, interval_seconds: 0, operations_max: OPERATIONS_MAX }
    }
}

fn table(owner: MountId) -> Shelf<Rotation> {
    Shelf::within(owner, TABLE)
}

fn rotation(source: &impl Source, owner: MountId) -> Result<Rotation> {
    Ok(table(owner).get(source, RECORD)?.unwrap_or_default())
}

impl Rotation {
    /// Whether a term like this is to end.
    fn wants_another(&self, status: KeyStatus, now: Time) -> bool {
        let age = Time(status.installed).until(now).as_secs();
        let old = self.interval_seconds > 0 && age >= self.interval_seconds;
        let worn = i64::try_from(status.encryptions).is_ok_and(|count| count >= self.operations_max);
        self.enabled && (old || worn)
    }
}

/// Begins new terms where the operator's rules say so: of the server's keyring, and of those of namespaces that are
/// open. The leader looks at every tick.
///
/// # Errors
/// If the disk fails.
pub(crate) fn rotate_if_due(kernel: &Kernel, today: &Snapshot, now: Time) -> Result<()> {
    if rotation(today, KERNEL)?.wants_another(kernel.store.key_status(), now) {
        let status = kernel.store.rotate()?;
        tracing::info!(term = status.term, "a new term of the keyring has begun by itself");
    }
    for ring in today.open_rings() {
        match rotate_ring_if_due(kernel, today, ring, now) {
            // It was sealed a moment ago.
            Err(_) if kernel.store.snapshot().is_sealed(ring.owner()) => {}
            done => done?,
        }
    }
    Ok(())
}

fn rotate_ring_if_due(kernel: &Kernel, today: &Snapshot, ring: RingId, now: Time) -> Result<()> {
    if rotation(today, ring.owner())?.wants_another(kernel.store.ring_status(ring)?, now) {
        let status = kernel.store.rotate_ring(ring)?;
        tracing::info!(term = status.term, "a new term of a namespace's keyring has begun by itself");
    }
    Ok(())
}

#[derive(JsonSchema, Serialize)]
pub(super) struct StatusShown {
    encryptions: u64,
    install_time: String,
    term: u32,
}

/// Shows since when the active key of the keyring seals entries, and how many it has sealed.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Status {}

impl Query<Sys> for Status {
    const ROUTE: Route = Route::get("key-status").merged();
    type Reply = StatusShown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<StatusShown>> {
        let status = engine.kernel()?.seal_of(Ns::of(cx))?.status()?;
        let install_time = Time(status.installed).rfc3339();
        Ok(StatusShown { encryptions: status.encryptions, install_time, term: status.term }.into())
    }
}

/// Begins a new term: what is written from now on is sealed with a new key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Rotate {}

impl Command<Sys> for Rotate {
    const ROUTE: Route = Route::post("rotate").logged().sudo();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        rotate(engine, cx)
    }
}

/// Begins a new term: what is written from now on is sealed with a new key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RotateKeyring {}

impl Command<Sys> for RotateKeyring {
    const ROUTE: Route = Route::post("rotate/keyring").logged().sudo();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        rotate(engine, cx)
    }
}

fn rotate(engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<kit::Nothing>> {
    let kernel = engine.kernel()?;
    let ns = Ns::of(cx);
    cx.once(|| Ok(kernel.seal_of(ns)?.rotate()?.term))?;
    Ok(Reply::Nothing)
}

#[derive(JsonSchema, Serialize)]
pub(super) struct RotationShown {
    enabled: bool,
    /// A duration as text, or 0.
    interval: Value,
    max_operations: i64,
}

impl RotationShown {
    fn of(rule: Rotation) -> Self {
        let interval = match i64::try_from(rule.interval_seconds) {
            Ok(0) | Err(_) => 0.into(),
            Ok(seconds) => Span::from_seconds(seconds).go().into(),
        };
        Self { enabled: rule.enabled, interval, max_operations: rule.operations_max }
    }
}

/// What a request says of when a new term begins by itself.
struct Wish {
    enabled: Option<Flag>,
    interval: Option<Span>,
    max_operations: Option<Number>,
}

fn set(engine: &Sys, cx: &mut Writing<'_>, wish: Wish) -> Result<Reply<kit::Nothing>> {
    let owner = engine.kernel()?.seal_of(Ns::of(cx))?.owner();
    let txn = cx.beyond(&Beyond::for_the_kernel());
    let mut rule = rotation(txn, owner)?;
    if let Some(Number(count)) = wish.max_operations {
        if !(OPERATIONS_MIN..=OPERATIONS_MAX).contains(&count) {
            let text = format!("max_operations must be in the range [{OPERATIONS_MIN},{OPERATIONS_MAX}]");
            return Err(Error::invalid(text));
        }
        rule.operations_max = count;
    }
    if let Some(span) = wish.interval {
        if span.0 != 0 && span.duration() < INTERVAL_MIN {
            return Err(Error::invalid("interval must be greater or equal to 24h0m0s"));
        }
        rule.interval_seconds = span.duration().as_secs();
    }
    if let Some(Flag(flag)) = wish.enabled {
        rule.enabled = flag;
    }
    table(owner).put(txn, RECORD, &rule)?;
    Ok(Reply::Nothing)
}

fn shown(engine: &Sys, cx: &Reading<'_>) -> Result<Reply<RotationShown>> {
    let owner = engine.kernel()?.seal_of(Ns::of(cx))?.owner();
    Ok(RotationShown::of(rotation(cx.beyond(&Beyond::for_the_kernel()), owner)?).into())
}

/// Says when a new term begins by itself.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Config {}

impl Query<Sys> for Config {
    const ROUTE: Route = Route::get("rotate/config");
    type Reply = RotationShown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<RotationShown>> {
        shown(engine, cx)
    }
}

/// Says when a new term begins by itself.
#[derive(Deserialize, JsonSchema)]
pub(super) struct KeyringConfig {}

impl Query<Sys> for KeyringConfig {
    const ROUTE: Route = Route::get("rotate/keyring/config");
    type Reply = RotationShown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<RotationShown>> {
        shown(engine, cx)
    }
}

/// Sets when a new term begins by itself.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SetConfig {
    /// Whether it does.
    enabled: Option<Flag>,
    /// After this time; 0: whatever the time.
    interval: Option<Span>,
    /// After so many entries.
    max_operations: Option<Number>,
}

impl Command<Sys> for SetConfig {
    const ROUTE: Route = Route::post("rotate/config").logged();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        set(
            engine,
            cx,
            Wish { enabled: self.enabled, interval: self.interval, max_operations: self.max_operations },
        )
    }
}

/// Sets when a new term begins by itself.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SetKeyringConfig {
    /// Whether it does.
    enabled: Option<Flag>,
    /// After this time; 0: whatever the time.
    interval: Option<Span>,
    /// After so many entries.
    max_operations: Option<Number>,
}

impl Command<Sys> for SetKeyringConfig {
    const ROUTE: Route = Route::post("rotate/keyring/config").logged();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        set(
            engine,
            cx,
            Wish { enabled: self.enabled, interval: self.interval, max_operations: self.max_operations },
        )
    }
}
