//! Tidying without being told to.

use std::time::Duration;

use kit::{Command, Error, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AutoTidy, State, WriteAutoTidy, start};
use crate::Pki;
use crate::store::{AUTO_TIDY, TIDY};

/// Shows what is tidied by itself, and how often.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ReadAutoTidy {}

impl Query<Pki> for ReadAutoTidy {
    const ROUTE: Route = Route::get("config/auto-tidy");
    type Reply = AutoTidy;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<AutoTidy>> {
        Ok(Reply::Data(AUTO_TIDY.get(cx)?.shown()))
    }
}

impl Command<Pki> for WriteAutoTidy {
    const ROUTE: Route = Route::post("config/auto-tidy");
    type Reply = AutoTidy;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<AutoTidy>> {
        let mut auto = AUTO_TIDY.get(cx)?;
        self.apply(&mut auto);
        auto.options.check(true)?;
        if auto.interval_duration == 0 {
            return Err(Error::invalid("given interval_duration must be greater than zero seconds"));
        }
        if auto.enabled && auto.options.is_idle() {
            return Err(Error::invalid(
                "Auto-tidy enabled but no tidy operations were requested. Enable at least one tidy operation to be run (tidy_cert_store / tidy_revoked_certs / tidy_invalid_certs / tidy_revoked_cert_issuer_associations / tidy_expired_issuers / tidy_move_legacy_ca_bundle / tidy_acme).",
            ));
        }
        AUTO_TIDY.put(cx, &auto)?;
        Ok(Reply::Data(auto.shown()))
    }
}

/// Begins a tidy by itself when it is time.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(crate) struct AutoTidyDue {}

impl Command<Pki> for AutoTidyDue {
    const ROUTE: Route = Route::internal("auto-tidy").every(Duration::from_secs(60));
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let auto = AUTO_TIDY.get(cx)?;
        let last = TIDY.get(cx)?;
        let due = last.auto_started.plus(Duration::from_secs(auto.interval_duration)) <= cx.now();
        if auto.enabled && due && !matches!(last.state, State::Running | State::Cancelling) {
            let now = cx.now();
            start(cx, auto.options, now)?;
        }
        Ok(Reply::Nothing)
    }
}
