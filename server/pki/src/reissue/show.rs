//! How far re-issues are, and who still holds what is to be replaced.

use std::ops::ControlFlow;

use kit::{Error, Query, Reading, Reply, Result, Route, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::Certificate;

use super::scope::{REISSUES, Reissue};
use crate::authorities::refused;
use crate::inventory::HOLDINGS;
use crate::store::{CERTIFICATES, Id};
use crate::{Pki, listing};

/// So many hosts are named; the others are counted.
const HOSTS_SHOWN_MAX: usize = 100;
/// So many holdings are looked at for one answer.
const HOLDINGS_MAX: usize = 20_000;

/// A re-issue, and how far it is.
#[derive(JsonSchema, Serialize)]
pub(crate) struct ShownReissue {
    /// Who began it.
    by: String,
    /// Whether it only counted.
    dry_run: bool,
    /// Whose certificates are replaced.
    entity_id: String,
    /// Certificates that could not be revoked.
    failed: u64,
    /// When it was done or aborted.
    finished: Option<String>,
    /// Whose certificates are replaced: the issuer.
    issuer_id: Option<String>,
    /// Whose certificates are replaced: the key.
    key_id: String,
    /// Certificates that it is about, as far as they are counted.
    matched: u64,
    /// Revocations in a second.
    per_second: u64,
    /// Why.
    reason: String,
    /// Those of the certificates that have been revoked.
    revoked: u64,
    /// When the old ones are revoked.
    revoke_at: Option<String>,
    /// Whose certificates are replaced: the role.
    role: String,
    /// When it began.
    started: String,
    /// `counting`, `waiting`, `revoking`, `done`, `aborted`.
    state: &'static str,
}

fn show(reissue: &Reissue) -> ShownReissue {
    let date = |at: Time| at.truncated().rfc3339();
    ShownReissue {
        by: reissue.by.clone(),
        dry_run: reissue.dry_run,
        entity_id: reissue.scope.owner.clone(),
        failed: reissue.failed,
        finished: reissue.finished.map(date),
        issuer_id: reissue.scope.issuer.map(|id| id.to_string()),
        key_id: reissue.scope.key.clone(),
        matched: reissue.matched,
        per_second: reissue.per_second,
        reason: reissue.reason.clone(),
        revoked: reissue.revoked,
        revoke_at: reissue.revoke_at.map(date),
        role: reissue.scope.role.clone(),
        started: date(reissue.started),
        state: reissue.state.word(),
    }
}

/// Lists the re-issues that go on, and the last ones that are over.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ListReissues {}

impl Query<Pki> for ListReissues {
    const ROUTE: Route = Route::list("reissue");
    type Reply = listing::Detailed<ShownReissue>;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let mut found = Vec::new();
        REISSUES.scan(cx, &[], |id, reissue| {
            found.push((reissue.started, Id::from_bytes(id)?.to_string(), show(&reissue)));
            Ok(ControlFlow::Continue(()))
        })?;
        found.sort_by_key(|(started, _, _)| *started);
        listing::detailed(found.into_iter().map(|(_, id, shown)| (id, shown)).collect())
    }
}

/// Shows how far a re-issue is.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ReadReissue {
    /// Its id.
    id: String,
}

/// A re-issue, how far it is, and who has not renewed.
#[derive(JsonSchema, Serialize)]
pub(crate) struct ReissueInFull {
    #[serde(flatten)]
    reissue: ShownReissue,
    /// Holders that report a certificate that is to be replaced.
    waiting_for: u64,
    /// The first hundred of them, as `host/name`.
    waiting_hosts: Vec<String>,
}

impl Query<Pki> for ReadReissue {
    const ROUTE: Route = Route::get("reissue/{id}");
    type Reply = ReissueInFull;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ReissueInFull>> {
        let id = Id::parse(&self.id).ok_or_else(Error::not_found)?;
        let reissue = REISSUES.get(cx, id.as_bytes())?.ok_or_else(Error::not_found)?;
        let (mut waiting_for, mut hosts, mut seen) = (0, Vec::new(), 0);
        HOLDINGS.scan(cx, &[], |_, holding| {
            seen += 1;
            let serial = holding.serial()?;
            if let Some(record) = CERTIFICATES.get(cx, serial.as_bytes())? {
                let certificate = Certificate::of_record(&record.der.0).map_err(refused)?;
                if reissue.covers(&record, &certificate) {
                    waiting_for += 1;
                    if hosts.len() < HOSTS_SHOWN_MAX {
                        hosts.push(format!("{}/{}", holding.host, holding.name));
                    }
                }
            }
            Ok(if seen < HOLDINGS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(Reply::Data(ReissueInFull { reissue: show(&reissue), waiting_for, waiting_hosts: hosts }))
    }
}
