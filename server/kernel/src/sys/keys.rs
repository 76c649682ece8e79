use std::time::Duration;

use kit::loose::{Flag, Number, Span};
use kit::{Beyond, Command, Error, Name, Query, Reading, Reply, Result, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::RingId;

use super::Sys;
use crate::kernel::Kernel;
use crate::namespaces::Ns;
use crate::shelf::{Shelf, Source};

/// When a new term of the keyring begins by itself. One record.
const ROTATION: Shelf<Rotation> = Shelf::new(17);
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

fn rotation(source: &impl Source) -> Result<Rotation> {
    Ok(ROTATION.get(source, RECORD)?.unwrap_or_default())
}

/// Begins a new term if the operator's rule says so. The leader looks at every tick.
///
/// # Errors
/// If the disk fails.
pub(crate) fn rotate_if_due(kernel: &Kernel, source: &impl Source, now: Time) -> Result<()> {
    let rule = rotation(source)?;
    let status = kernel.store.key_status();
    let age = Time(status.installed).until(now).as_secs();
    let old = rule.interval_seconds > 0 && age >= rule.interval_seconds;
    let worn = i64::try_from(status.encryptions).is_ok_and(|count| count >= rule.operations_max);
    if rule.enabled && (old || worn) {
        let status = kernel.store.rotate()?;
        tracing::info!(term = status.term, "a new term of the keyring has begun by itself");
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
        let (kernel, ns) = (engine.kernel()?, Ns::of(cx));
        let status = match ns.is_root() {
            true => kernel.store.key_status(),
            false => kernel.store.ring_status(RingId::of(ns.mount()))?,
        };
        let install_time = Time(status.installed).rfc3339();
        Ok(StatusShown { encryptions: status.encryptions, install_time, term: status.term }.into())
    }
}

/// Begins a new term: what is written from now on is sealed with a new key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Rotate {}

impl Command<Sys> for Rotate {
    const ROUTE: Route = Route::post("rotate").sudo();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        rotate(engine, cx)
    }
}

/// Begins a new term: what is written from now on is sealed with a new key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RotateKeyring {}

impl Command<Sys> for RotateKeyring {
    const ROUTE: Route = Route::post("rotate/keyring").sudo();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        rotate(engine, cx)
    }
}

fn rotate(engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<kit::Nothing>> {
    let kernel = engine.kernel()?;
    let ns = Ns::of(cx);
    cx.once(|| match ns.is_root() {
        true => Ok(kernel.store.rotate()?.term),
        false => Ok(kernel.store.rotate_ring(RingId::of(ns.mount()))?.term),
    })?;
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

fn set(cx: &mut Writing<'_>, wish: Wish) -> Result<Reply<kit::Nothing>> {
    let txn = cx.beyond(&Beyond::for_the_kernel());
    let mut rule = rotation(txn)?;
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
    ROTATION.put(txn, RECORD, &rule)?;
    Ok(Reply::Nothing)
}

/// Says when a new term begins by itself.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Config {}

impl Query<Sys> for Config {
    const ROUTE: Route = Route::get("rotate/config").root_only();
    type Reply = RotationShown;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<RotationShown>> {
        Ok(RotationShown::of(rotation(cx.beyond(&Beyond::for_the_kernel()))?).into())
    }
}

/// Says when a new term begins by itself.
#[derive(Deserialize, JsonSchema)]
pub(super) struct KeyringConfig {}

impl Query<Sys> for KeyringConfig {
    const ROUTE: Route = Route::get("rotate/keyring/config").root_only();
    type Reply = RotationShown;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<RotationShown>> {
        Ok(RotationShown::of(rotation(cx.beyond(&Beyond::for_the_kernel()))?).into())
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
    const ROUTE: Route = Route::post("rotate/config").root_only();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        set(cx, Wish { enabled: self.enabled, interval: self.interval, max_operations: self.max_operations })
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
    const ROUTE: Route = Route::post("rotate/keyring/config").root_only();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        set(cx, Wish { enabled: self.enabled, interval: self.interval, max_operations: self.max_operations })
    }
}
