//! Revocation lists as everyone may fetch them.

use kit::{Command, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::pem;

use super::authorities::{DEFAULT, authorities};
use super::crl::{Extent, list};
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

impl<const AT: usize> Query<Pki> for RawList<AT> {
    const ROUTE: Route = RAW_ROUTES[AT];
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<kit::Nothing>> {
        let all = authorities(cx)?;
        let kind = if in_pem(AT) { PEM } else { DER };
        let Some(issuer) = all.issuer(DEFAULT) else {
            return Ok(Reply::Raw { status: 204, kind, bytes: vec![] });
        };
        let list = list(cx, issuer, extent(AT))?;
        let bytes = if in_pem(AT) { pem::encode(pem::CRL, &list).into_bytes() } else { list.to_vec() };
        Ok(Reply::Raw { status: 200, kind, bytes })
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
        let list = list(cx, all.issuer_or_refuse(&self.issuer_ref)?, extent(AT))?;
        Ok(match in_pem(AT) {
            true => {
                let text = format!("{}\n", pem::encode(pem::CRL, &list));
                Reply::Raw { status: 200, kind: PEM, bytes: text.into_bytes() }
            }
            false => Reply::Raw { status: 200, kind: DER, bytes: list.to_vec() },
        })
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
        let list = list(cx, issuer, Extent::Shard(shard))?;
        Ok(match in_pem(AT) {
            true => Reply::Raw { status: 200, kind: PEM, bytes: pem::encode(pem::CRL, &list).into_bytes() },
            false => Reply::Raw { status: 200, kind: DER, bytes: list.to_vec() },
        })
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
        let list = list(cx, all.issuer_or_refuse(&self.issuer_ref)?, extent)?;
        Ok(Reply::Data(ShownList { crl: format!("{}\n", pem::encode(pem::CRL, &list)) }))
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
