//! Forgetting what has ended: certificates, revocations, issuers. In pieces, each a transaction of its own.

mod auto;

use std::ops::ControlFlow;
use std::time::Duration;

use kit::loose::{Flag, Number, Span, Text};
use kit::{Command, Error, Nothing, Query, Reading, Reads, Reply, Result, Route, Time, Uuid, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, Serial};

use super::authorities::{Authorities, authorities, refused};
use super::fields::Seconds;
use super::store::{CERTIFICATES, CRL_ROTATED, DEFAULTS, Id, REVOKED, RevokedRecord, TIDY, behind};
use super::{Pki, issued, listed, revoke, signers};
pub(super) use auto::{AutoTidyDue, ReadAutoTidy};

/// How many records one transaction looks at, at most and at least.
const PAGE_MAX: u64 = 1000;
const PAGE_MIN: u64 = 10;

macro_rules! tidy_fields {
    ($($(#[doc = $doc:literal])* $field:ident: $type:ty = $default:expr, $loose:ty, |$value:ident| $from:expr;)*) => {
        /// What to tidy, and how long after its end.
        #[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
        #[serde(default)]
        pub(super) struct Options {
            $($(#[doc = $doc])* $field: $type,)*
        }

        impl Default for Options {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        /// Begins a tidy. It goes on by itself; `tidy-status` tells how far it is.
        #[derive(Deserialize, JsonSchema)]
        pub(super) struct Tidy {
            /// The old name of `tidy_revoked_certs`.
            tidy_revocation_list: Option<Flag>,
            $($(#[doc = $doc])* $field: Option<$loose>,)*
        }

        impl Tidy {
            fn options(self) -> Options {
                let old = self.tidy_revocation_list.unwrap_or_default().0;
                let mut options = Options { tidy_revoked_certs: old, ..Options::default() };
                $(if let Some($value) = self.$field { options.$field = $from; })*
                options
            }
        }

        /// Sets what is tidied by itself, and how often.
        #[derive(Deserialize, JsonSchema)]
        pub(super) struct WriteAutoTidy {
            /// The old name of `tidy_revoked_certs`.
            tidy_revocation_list: Option<Flag>,
            /// Whether it is done at all.
            enabled: Option<Flag>,
            /// How long after the last tidy the next begins.
            interval_duration: Option<Seconds>,
            /// Whether certificates are counted.
            maintain_stored_certificate_counts: Option<Flag>,
            /// Whether the counts are published as metrics.
            publish_stored_certificate_count_metrics: Option<Flag>,
            $($(#[doc = $doc])* $field: Option<$loose>,)*
        }

        impl WriteAutoTidy {
            fn apply(self, auto: &mut AutoTidy) {
                if let Some(v) = self.enabled { auto.enabled = v.0; }
                if let Some(v) = self.tidy_revocation_list { auto.options.tidy_revoked_certs = v.0; }
                if let Some(v) = self.interval_duration { auto.interval_duration = v.0; }
                if let Some(v) = self.maintain_stored_certificate_counts { auto.maintain_stored_certificate_counts = v.0; }
                if let Some(v) = self.publish_stored_certificate_count_metrics {
                    auto.publish_stored_certificate_count_metrics = v.0;
                }
                $(if let Some($value) = self.$field { auto.options.$field = $from; })*
            }
        }
    };
}

tidy_fields! {
    /// How long an ACME account is kept after its last order, in seconds.
    acme_account_safety_buffer: u64 = 2_592_000, Seconds, |v| v.0;
    /// How long an issuer is kept after its end, in seconds.
    issuer_safety_buffer: u64 = 31_536_000, Seconds, |v| v.0;
    /// How many records one step looks at.
    page_size: u64 = PAGE_MAX, Number, |v| u64::try_from(v.0).unwrap_or(0);
    /// How long to wait between two steps.
    pause_duration: String = "0s".to_owned(), Text, |v| v.0;
    /// How long a revocation is kept after the certificate's end, in seconds; where it is not set, as a certificate.
    revoked_safety_buffer: Option<u64> = None, Seconds, |v| Some(v.0);
    /// How long a certificate is kept after its end, in seconds.
    safety_buffer: u64 = 259_200, Seconds, |v| v.0;
    /// Whether ACME accounts and orders are tidied.
    tidy_acme: bool = false, Flag, |v| v.0;
    /// Whether certificates that have ended are forgotten.
    tidy_cert_store: bool = false, Flag, |v| v.0;
    /// Whether issuers that have ended are forgotten. Their keys stay.
    tidy_expired_issuers: bool = false, Flag, |v| v.0;
    /// Whether certificates that cannot be read are forgotten.
    tidy_invalid_certs: bool = false, Flag, |v| v.0;
    /// Whether what old versions left behind is removed. There is none here.
    tidy_move_legacy_ca_bundle: bool = false, Flag, |v| v.0;
    /// Whether revocations without an issuer are given theirs.
    tidy_revoked_cert_issuer_associations: bool = false, Flag, |v| v.0;
    /// Whether revocations of certificates that have ended are forgotten.
    tidy_revoked_certs: bool = false, Flag, |v| v.0;
}

impl Options {
    fn is_idle(&self) -> bool {
        !(self.tidy_revoked_certs
            || self.tidy_cert_store
            || self.tidy_expired_issuers
            || self.tidy_invalid_certs
            || self.tidy_move_legacy_ca_bundle
            || self.tidy_revoked_cert_issuer_associations
            || self.tidy_acme)
    }

    fn revoked_buffer(&self) -> u64 {
        self.revoked_safety_buffer.unwrap_or(self.safety_buffer)
    }

    /// Refuses times that make no sense, and reads the pause. OpenBao says it otherwise for what tidies by itself.
    fn check(&self, by_itself: bool) -> Result<Duration> {
        for (name, seconds) in [
            ("safety_buffer", self.safety_buffer),
            ("issuer_safety_buffer", self.issuer_safety_buffer),
            ("acme_account_safety_buffer", self.acme_account_safety_buffer),
            ("revoked_safety_buffer", self.revoked_buffer()),
        ] {
            if seconds == 0 {
                return Err(Error::invalid(match by_itself {
                    true => format!("given {name} must be at least one second; got: 0"),
                    false => format!("{name} must be greater than zero"),
                }));
            }
        }
        let wrong = |why| Error::invalid(format!("Error parsing pause_duration: {why}"));
        match Span::read(&self.pause_duration).map_err(wrong)? {
            pause if pause.0 >= 0 => Ok(pause.duration()),
            _ => Err(Error::invalid("received invalid, negative pause_duration: give a time of 0 or more")),
        }
    }
}

/// What is tidied by itself, and how often.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(super) struct AutoTidy {
    enabled: bool,
    interval_duration: u64,
    maintain_stored_certificate_counts: bool,
    publish_stored_certificate_count_metrics: bool,
    #[serde(flatten)]
    options: Options,
}

impl AutoTidy {
    /// With the values that follow from others written out.
    fn shown(mut self) -> Self {
        self.options.revoked_safety_buffer = Some(self.options.revoked_buffer());
        self
    }
}

/// On from the start: what ended some days ago is of no use to anyone, and goes in small pieces.
impl Default for AutoTidy {
    fn default() -> Self {
        Self {
            enabled: true,
            interval_duration: 43_200,
            maintain_stored_certificate_counts: false,
            publish_stored_certificate_count_metrics: false,
            options: Options { tidy_cert_store: true, tidy_revoked_certs: true, ..Options::default() },
        }
    }
}

/// A tidy that runs or has run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct TidyRecord {
    state: State,
    options: Options,
    started: Time,
    finished: Option<Time>,
    step: Step,
    /// The serial after which the step goes on.
    after: String,
    certificates_deleted: u64,
    revocations_deleted: u64,
    issuers_missing: u64,
    /// When the last tidy that began by itself began.
    auto_started: Time,
    message: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
enum State {
    #[default]
    Inactive,
    Running,
    Cancelling,
    Cancelled,
    Finished,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
enum Step {
    #[default]
    Certificates,
    Revocations,
    Issuers,
    Done,
}

impl Command<Pki> for Tidy {
    const ROUTE: Route = Route::post("tidy");
    type Reply = Option<Nothing>;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let options = self.options();
        options.check(false)?;
        let running = TIDY.get(cx)?;
        if matches!(running.state, State::Running | State::Cancelling) {
            cx.warn("Tidy operation already in progress.");
            return Ok(Reply::Accepted(None));
        }
        if options.is_idle() {
            cx.warn("Manual tidy requested but no tidy operations were set. Enable at least one tidy operation to be run (tidy_cert_store / tidy_revoked_certs / tidy_invalid_certs / tidy_revoked_cert_issuer_associations / tidy_expired_issuers / tidy_move_legacy_ca_bundle / tidy_acme).");
        } else {
            cx.warn("Tidy operation successfully started. Any information from the operation will be printed to OpenBao's server logs.");
        }
        start(cx, options, running.auto_started)?;
        Ok(Reply::Accepted(None))
    }
}

fn start(cx: &mut Writing<'_>, options: Options, auto_started: Time) -> Result<()> {
    options.check(false)?;
    let record = TidyRecord {
        state: State::Running,
        options,
        started: cx.now(),
        auto_started,
        message: Some("Tidying certificate store".to_owned()),
        ..TidyRecord::default()
    };
    TIDY.put(cx, &record)?;
    cx.later::<Pki, _>(Duration::ZERO, &TidyStep {})
}

/// Does one piece of a tidy, and enters itself again until all is done.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(super) struct TidyStep {}

impl Command<Pki> for TidyStep {
    const ROUTE: Route = Route::internal("tidy-step");
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let mut record = TIDY.get(cx)?;
        match record.state {
            State::Running => {}
            State::Cancelling => return finish(cx, record, State::Cancelled),
            _ => return Ok(Reply::Nothing),
        }
        match record.step {
            Step::Certificates => certificates(cx, &mut record)?,
            Step::Revocations => revocations(cx, &mut record)?,
            Step::Issuers => issuers(cx, &mut record)?,
            Step::Done => return finish(cx, record, State::Finished),
        }
        let pause = record.options.check(false)?;
        TIDY.put(cx, &record)?;
        cx.later::<Pki, _>(pause, &TidyStep {})?;
        Ok(Reply::Nothing)
    }
}

fn finish(cx: &mut Writing<'_>, mut record: TidyRecord, state: State) -> Result<Reply<Nothing>> {
    (record.state, record.finished, record.message) = (state, Some(cx.now()), None);
    TIDY.put(cx, &record)?;
    Ok(Reply::Nothing)
}

impl TidyRecord {
    fn page(&self) -> usize {
        usize::try_from(self.options.page_size.clamp(PAGE_MIN, PAGE_MAX)).unwrap_or(usize::MAX)
    }

    fn from(&self) -> Result<Vec<u8>> {
        hex::decode(&self.after).map(behind).map_err(|_| Error::internal("a tidy's cursor is not hex"))
    }

    /// Goes on after the last id of a full page, else with the next step.
    fn advance(&mut self, seen: &[Vec<u8>], next: Step) {
        match seen.last() {
            Some(last) if seen.len() >= self.page() => self.after = hex::encode(last),
            _ => (self.step, self.after) = (next, String::new()),
        }
    }
}

fn ended(not_after: u64, buffer: u64, now: Time) -> bool {
    not_after.saturating_add(buffer) < now.seconds()
}

fn certificates(cx: &mut Writing<'_>, record: &mut TidyRecord) -> Result<()> {
    let options = &record.options;
    if !options.tidy_cert_store && !options.tidy_invalid_certs {
        record.step = Step::Revocations;
        return Ok(());
    }
    if !options.tidy_invalid_certs {
        return ended_certificates(cx, record);
    }
    let (now, page) = (cx.now(), record.page());
    let (mut seen, mut gone) = (Vec::new(), Vec::new());
    CERTIFICATES.scan(cx, &record.from()?, |id, stored| {
        seen.push(id.to_vec());
        let delete = match Certificate::of_record(&stored.der.0) {
            Ok(certificate) => {
                options.tidy_cert_store && ended(certificate.validity().not_after, options.safety_buffer, now)
            }
            Err(_) => options.tidy_invalid_certs,
        };
        if delete {
            gone.push(id.to_vec());
        }
        Ok(more(seen.len(), page))
    })?;
    for id in &gone {
        issued::forget(cx, id)?;
    }
    record.certificates_deleted += gone.len() as u64;
    record.advance(&seen, Step::Revocations);
    Ok(())
}

/// Forgets what has ended, class by class: it lies at the head of each, so nothing else is looked at.
fn ended_certificates(cx: &mut Writing<'_>, record: &mut TidyRecord) -> Result<()> {
    let after = hex::decode(&record.after).map_err(|_| Error::internal("a tidy's cursor is not hex"))?;
    let page = record.page();
    let until = cx.now().seconds().saturating_sub(record.options.safety_buffer);
    let mut left = page;
    for class in issued::classes_after(cx, &after, page)? {
        let gone = issued::ending(cx, class, (0, &[]), until, left)?;
        for entry in &gone {
            issued::forget(cx, &entry.serial)?;
        }
        record.certificates_deleted += gone.len() as u64;
        left -= gone.len();
        if left == 0 {
            // It may have more: the next step begins with it.
            return Ok(());
        }
        issued::forget_class(cx, class)?;
        // To look at a class is work, too.
        left -= 1;
        record.after = hex::encode(class.as_bytes());
        if left == 0 {
            return Ok(());
        }
    }
    (record.step, record.after) = (Step::Revocations, String::new());
    Ok(())
}

fn revocations(cx: &mut Writing<'_>, record: &mut TidyRecord) -> Result<()> {
    let options = &record.options;
    if !options.tidy_revoked_certs && !options.tidy_revoked_cert_issuer_associations {
        record.step = Step::Issuers;
        return Ok(());
    }
    let (now, page) = (cx.now(), record.page());
    let all = authorities(cx)?;
    let is_here = |id: Option<Id>| all.issuers.iter().any(|issuer| Some(issuer.id) == id);
    let (mut seen, mut gone, mut orphans) = (Vec::new(), Vec::new(), Vec::new());
    REVOKED.scan(cx, &record.from()?, |id, revoked| {
        seen.push(id.to_vec());
        if options.tidy_revoked_certs && ended(revoked.not_after, options.revoked_buffer(), now) {
            gone.push((id.to_vec(), revoked.issuer));
        } else if options.tidy_revoked_cert_issuer_associations && !is_here(revoked.issuer) {
            orphans.push((id.to_vec(), revoked));
        }
        Ok(more(seen.len(), page))
    })?;
    for (id, issuer) in &gone {
        REVOKED.delete(cx, id)?;
        listed::remove(cx, id, *issuer)?;
        issued::forget(cx, id)?;
    }
    if !gone.is_empty() {
        // The lists change without a revocation, so they need a number of their own.
        CRL_ROTATED.put(cx, &cx.now())?;
    }
    adopt(cx, &all, record, orphans)?;
    record.revocations_deleted += gone.len() as u64;
    record.advance(&seen, Step::Issuers);
    Ok(())
}

/// Puts revocations without an issuer, or with one that is gone, on the lists of whoever signed the certificates.
fn adopt(
    cx: &mut Writing<'_>,
    all: &Authorities,
    record: &mut TidyRecord,
    orphans: Vec<(Vec<u8>, RevokedRecord)>,
) -> Result<()> {
    for (id, revoked) in orphans {
        let stored = CERTIFICATES.get(cx, &id)?;
        let certificate = stored.and_then(|stored| Certificate::of_record(&stored.der.0).ok());
        let issuer = certificate.as_ref().and_then(|certificate| all.issuer_of(certificate));
        match issuer.filter(|issuer| Some(&issuer.certificate) != certificate.as_ref()) {
            Some(issuer) => {
                let at = cx.now();
                let serial = Serial::from_magnitude(&id).map_err(refused)?;
                listed::remove(cx, &id, revoked.issuer)?;
                revoke::put(cx, &serial, &RevokedRecord { issuer: Some(issuer.id), ..revoked })?;
                CRL_ROTATED.put(cx, &at)?;
            }
            None => record.issuers_missing += 1,
        }
    }
    Ok(())
}

fn issuers(cx: &mut Writing<'_>, record: &mut TidyRecord) -> Result<()> {
    record.step = Step::Done;
    if record.options.tidy_expired_issuers {
        expired_issuers(cx, record)?;
    }
    signers::forget(cx)
}

fn expired_issuers(cx: &mut Writing<'_>, record: &TidyRecord) -> Result<()> {
    let default = DEFAULTS.get(cx)?.issuer;
    for issuer in Authorities::load(cx)?.issuers {
        let not_after = issuer.certificate.validity().not_after;
        if Some(issuer.id) != default && ended(not_after, record.options.issuer_safety_buffer, cx.now()) {
            signers::delete(cx, &issuer)?;
        }
    }
    Ok(())
}

fn more(seen: usize, page: usize) -> ControlFlow<()> {
    if seen < page { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Ends the tidy that runs, after its present step.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CancelTidy {}

impl Command<Pki> for CancelTidy {
    const ROUTE: Route = Route::post("tidy-cancel");
    type Reply = Option<Status>;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let mut record = TIDY.get(cx)?;
        if record.state != State::Running {
            cx.warn("Tidy operation cannot be cancelled as none is currently running.");
            return Ok(Reply::Data(None));
        }
        record.state = State::Cancelling;
        TIDY.put(cx, &record)?;
        Ok(Reply::Data(Some(status(&record, cx.mount()))))
    }
}

/// Tells how far the tidy is, or what the last one did.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TidyStatus {}

impl Query<Pki> for TidyStatus {
    const ROUTE: Route = Route::get("tidy-status");
    type Reply = Status;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Status>> {
        Ok(Reply::Data(status(&TIDY.get(cx)?, cx.mount())))
    }
}

/// What a tidy was told and what it did. Nothing stands for what never began.
#[derive(JsonSchema, Serialize)]
pub(super) struct Status {
    acme_account_deleted_count: Option<u64>,
    acme_account_revoked_count: Option<u64>,
    acme_account_safety_buffer: Option<u64>,
    acme_orders_deleted_count: Option<u64>,
    cert_store_deleted_count: Option<u64>,
    current_cert_store_count: Option<u64>,
    current_revoked_cert_count: Option<u64>,
    error: Option<String>,
    internal_backend_uuid: String,
    issuer_safety_buffer: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_auto_tidy_finished: Option<String>,
    message: Option<String>,
    missing_issuer_cert_count: Option<u64>,
    page_size: Option<u64>,
    pause_duration: Option<String>,
    revoked_cert_deleted_count: Option<u64>,
    revoked_safety_buffer: Option<u64>,
    safety_buffer: Option<u64>,
    state: State,
    tidy_acme: Option<bool>,
    tidy_cert_store: Option<bool>,
    tidy_expired_issuers: Option<bool>,
    tidy_invalid_certs: Option<bool>,
    tidy_move_legacy_ca_bundle: Option<bool>,
    tidy_revoked_cert_issuer_associations: Option<bool>,
    tidy_revoked_certs: Option<bool>,
    time_finished: Option<String>,
    time_started: Option<String>,
    total_acme_account_count: Option<u64>,
}

impl JsonSchema for State {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

fn status(record: &TidyRecord, mount: &kit::Mount) -> Status {
    let began = record.state != State::Inactive;
    let options = began.then_some(&record.options);
    let flag = |of: fn(&Options) -> bool| options.map(of);
    let auto = Some(record.auto_started).filter(|time| *time > Time::default());
    Status {
        acme_account_deleted_count: began.then_some(0),
        acme_account_revoked_count: began.then_some(0),
        acme_account_safety_buffer: options.map(|options| options.acme_account_safety_buffer),
        acme_orders_deleted_count: began.then_some(0),
        cert_store_deleted_count: began.then_some(record.certificates_deleted),
        current_cert_store_count: None,
        current_revoked_cert_count: None,
        error: None,
        internal_backend_uuid: Uuid::from_bytes(&mount.id.0).map(|uuid| uuid.to_string()).unwrap_or_default(),
        issuer_safety_buffer: options.map(|options| options.issuer_safety_buffer),
        // As in OpenBao: one that was asked for counts, too.
        last_auto_tidy_finished: record.finished.or(auto).map(Time::rfc3339),
        message: record.message.clone(),
        missing_issuer_cert_count: began.then_some(record.issuers_missing),
        page_size: options.map(|options| options.page_size),
        pause_duration: options.map(|options| options.pause_duration.clone()),
        revoked_cert_deleted_count: began.then_some(record.revocations_deleted),
        revoked_safety_buffer: options.map(Options::revoked_buffer),
        safety_buffer: options.map(|options| options.safety_buffer),
        state: record.state,
        tidy_acme: flag(|options| options.tidy_acme),
        tidy_cert_store: flag(|options| options.tidy_cert_store),
        tidy_expired_issuers: flag(|options| options.tidy_expired_issuers),
        tidy_invalid_certs: flag(|options| options.tidy_invalid_certs),
        tidy_move_legacy_ca_bundle: flag(|options| options.tidy_move_legacy_ca_bundle),
        tidy_revoked_cert_issuer_associations: flag(|options| options.tidy_revoked_cert_issuer_associations),
        tidy_revoked_certs: flag(|options| options.tidy_revoked_certs),
        time_finished: record.finished.map(Time::rfc3339),
        time_started: began.then(|| record.started.rfc3339()),
        total_acme_account_count: began.then_some(0),
    }
}
