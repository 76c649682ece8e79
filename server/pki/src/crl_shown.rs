//! Revocation lists as everyone may fetch them.

use kit::{Command, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::pem;

use super::authorities::{DEFAULT, Issuer, authorities};
use super::crl::{Extent, List, list};
use super::modified::Shown;
use super::shards::Shard;
use super::store::{CRL, CRL_ROTATED, Id};
use super::{Pki, signers};

/// The content type of a list in DER.
const DER: &str = "application/pkix-crl";
/// The content type of a list in PEM, as Vault has it.
const PEM: &str = "application/x-pem-file";

/// The revocation list of the default issuer as bare bytes; nothing while there is none.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RawList<const AT: usize> {}

const RAW_ROUTES: [Route; 4] = [
    Route::get("crl").unauthenticated(),
    Route::get("crl/pem").unauthenticated(),
    Route::get("crl/delta").unauthenticated(),
    Route::get("crl/delta/pem").unauthenticated(),
];

/// Extent and form of the routes, by their place.
const fn extent(at: usize) -> Extent {
    if at < 2 { Extent::Complete } else { Extent::Delta }
}

const fn in_pem(at: usize) -> bool {
    at % 2 == 1
}

/// A list as bare bytes, unless the caller holds it. After PEM comes `end`.
fn raw<const AT: usize>(
    cx: &Reading<'_>,
    issuer: &Issuer,
    asked: &str,
    extent: Extent,
    end: &str,
) -> Result<Reply<kit::Nothing>> {
    let list = list(cx, issuer, extent)?;
    let (kind, bytes) = match in_pem(AT) {
        true => (PEM, (pem::encode(pem::CRL, &list.der) + end).into_bytes()),
        false => (DER, list.der.clone()),
    };
    list.unless_held(cx, issuer, asked, Reply::Raw { status: 200, kind, bytes })
}

impl List {
    /// The answer that holds this list, or 304 to who has it.
    pub(super) fn unless_held<T>(
        &self,
        cx: &Reading<'_>,
        issuer: &Issuer,
        asked: &str,
        reply: Reply<T>,
    ) -> Result<Reply<T>> {
        let (form, stamp) = (self.extent.to_string(), self.made.0.to_string());
        Shown { issuer, asked, form: &form, stamp: &stamp }.unless_held(cx, reply)
    }
}

impl<const AT: usize> Query<Pki> for RawList<AT> {
    const ROUTE: Route = RAW_ROUTES[AT];
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<kit::Nothing>> {
        let all = authorities(cx)?;
        let Some(issuer) = all.issuer(DEFAULT) else {
            let kind = if in_pem(AT) { PEM } else { DER };
            return Ok(Reply::Raw { status: 204, kind, bytes: vec![] });
        };
        raw::<AT>(cx, issuer, DEFAULT, extent(AT), "")
    }
}

/// The revocation list of an issuer as bare bytes.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RawIssuerList<const AT: usize> {
    /// A name, an id, or `default`.
    issuer_ref: String,
}

const ISSUER_ROUTES: [Route; 4] = [
    Route::get("issuer/{issuer_ref}/crl/der").unauthenticated(),
    Route::get("issuer/{issuer_ref}/crl/pem").unauthenticated(),
    Route::get("issuer/{issuer_ref}/crl/delta/der").unauthenticated(),
    Route::get("issuer/{issuer_ref}/crl/delta/pem").unauthenticated(),
];

impl<const AT: usize> Query<Pki> for RawIssuerList<AT> {
    const ROUTE: Route = ISSUER_ROUTES[AT];
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<kit::Nothing>> {
        let all = authorities(cx)?;
        let issuer = all.issuer_or_refuse(&self.issuer_ref)?;
        raw::<AT>(cx, issuer, &self.issuer_ref, extent(AT), "\n")
    }
}

/// The shard of an issuer's revocation list that a certificate names, as bare bytes.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RawShard<const AT: usize> {
    /// A name, an id, or `default`.
    issuer_ref: String,
    /// Which shard of how many, as in `3-of-16`.
    shard: String,
}

const SHARD_ROUTES: [Route; 2] = [
    Route::get("issuer/{issuer_ref}/crl/shard/{shard}").unauthenticated(),
    Route::get("issuer/{issuer_ref}/crl/shard/{shard}/pem").unauthenticated(),
];

impl<const AT: usize> Query<Pki> for RawShard<AT> {
    const ROUTE: Route = SHARD_ROUTES[AT];
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<kit::Nothing>> {
        let all = authorities(cx)?;
        let shard = Shard::parse(&self.shard)?;
        let heir = match (all.issuer(&self.issuer_ref), Id::parse(&self.issuer_ref)) {
            (None, Some(gone)) => signers::heir(cx, &all, gone)?,
            _ => None,
        };
        let issuer = heir.map_or_else(|| all.issuer_or_refuse(&self.issuer_ref), Ok)?;
        raw::<AT>(cx, issuer, &self.issuer_ref, Extent::Shard(shard), "")
    }
}

/// The revocation list of an issuer in an envelope.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ShowIssuerList<const AT: usize> {
    /// A name, an id, or `default`.
    issuer_ref: String,
}

const SHOW_ROUTES: [Route; 2] = [
    Route::get("issuer/{issuer_ref}/crl").unauthenticated(),
    Route::get("issuer/{issuer_ref}/crl/delta").unauthenticated(),
];

/// A revocation list.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownList {
    crl: String,
}

impl<const AT: usize> Query<Pki> for ShowIssuerList<AT> {
    const ROUTE: Route = SHOW_ROUTES[AT];
    type Reply = ShownList;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ShownList>> {
        let all = authorities(cx)?;
        let extent = if AT == 0 { Extent::Complete } else { Extent::Delta };
        let issuer = all.issuer_or_refuse(&self.issuer_ref)?;
        let list = list(cx, issuer, extent)?;
        let shown = ShownList { crl: format!("{}\n", pem::encode(pem::CRL, &list.der)) };
        list.unless_held(cx, issuer, &self.issuer_ref, Reply::Data(shown))
    }
}

/// Makes all revocation lists anew.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Rotate<const AT: usize> {}

const ROTATE_ROUTES: [Route; 2] = [Route::get("crl/rotate"), Route::get("crl/rotate-delta")];
/// The place of the route for deltas.
const DELTAS: usize = 1;

/// Whether it was done.
#[derive(JsonSchema, Serialize)]
pub(super) struct Done {
    success: bool,
}

impl<const AT: usize> Command<Pki> for Rotate<AT> {
    const ROUTE: Route = ROTATE_ROUTES[AT];
    type Reply = Done;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Done>> {
        // A delta is made whenever it is asked for, so there is nothing to make anew.
        if AT == DELTAS {
            if !CRL.get(cx)?.enable_delta {
                cx.warn("requested rebuild of delta CRL when delta CRL is not enabled; this is a no-op");
            }
        } else {
            CRL_ROTATED.put(cx, &cx.now())?;
        }
        Ok(Reply::Data(Done { success: true }))
    }
}
