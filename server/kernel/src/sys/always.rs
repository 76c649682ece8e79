//! What a server answers in every phase, before there is a store to read (`server/src/phase` does). It is no operation of this engine, so for
//! those who ask what can be asked it is described here.
#![allow(dead_code, reason = "these structs are read as descriptions alone")]

use kit::{Kind, Listed, Route};
use schemars::{JsonSchema, Schema, schema_for};

/// Tells by its status whether this server is open, sealed or not initialised, as balancers of load ask it.
#[derive(JsonSchema)]
struct Health {
    /// The status of a server that is open.
    activecode: Option<u16>,
    /// The status of one that stands by.
    standbycode: Option<u16>,
    /// The status of one that is sealed.
    sealedcode: Option<u16>,
    /// The status of one that is not initialised.
    uninitcode: Option<u16>,
    /// One that stands by answers as one that is open.
    standbyok: Option<bool>,
}

#[derive(JsonSchema)]
struct HealthShown {
    initialized: bool,
    sealed: bool,
    standby: bool,
    performance_standby: bool,
    replication_performance_mode: String,
    replication_dr_mode: String,
    server_time_utc: u64,
    version: String,
    cluster_name: Option<String>,
    cluster_id: Option<String>,
}

/// Tells whether this server is initialised.
#[derive(JsonSchema)]
struct Initialised {}

#[derive(JsonSchema)]
struct InitialisedShown {
    initialized: bool,
}

/// Initialises a server that is new: makes its keys, and its first token.
#[derive(JsonSchema)]
struct Initialise {
    /// How many shares of the unseal key there are to be.
    secret_shares: Option<u64>,
    /// How many of them open the store.
    secret_threshold: Option<u64>,
    /// How many shares of the recovery key there are to be, where something else unseals.
    recovery_shares: Option<u64>,
    /// How many of them are wanted.
    recovery_threshold: Option<u64>,
    /// A PGP key for each share of the unseal key, in base64.
    pgp_keys: Option<Vec<String>>,
    /// A PGP key for each share of the recovery key, in base64.
    recovery_pgp_keys: Option<Vec<String>>,
    /// The PGP key that the first token is encrypted for, in base64.
    root_token_pgp_key: Option<String>,
}

#[derive(JsonSchema)]
struct Shares {
    keys: Vec<String>,
    keys_base64: Vec<String>,
    recovery_keys: Option<Vec<String>>,
    recovery_keys_base64: Option<Vec<String>>,
    root_token: String,
}

/// Tells who leads the cluster.
#[derive(JsonSchema)]
struct Leader {}

#[derive(JsonSchema)]
struct LeaderShown {
    ha_enabled: bool,
    is_self: bool,
    active_time: Option<String>,
    leader_address: String,
    leader_cluster_address: String,
    performance_standby: bool,
    performance_standby_last_remote_wal: u64,
}

/// Tells whether this server is sealed, and how far it is opened.
#[derive(JsonSchema)]
struct SealStatus {}

/// Takes a share of the unseal key. Once there are enough, the server opens.
#[derive(JsonSchema)]
struct Unseal {
    /// The share, in hexadecimal or base64. Left out only to start over.
    key: Option<String>,
    /// Forgets the shares that were given.
    reset: Option<bool>,
    /// Moves to another seal.
    migrate: Option<bool>,
}

#[derive(JsonSchema)]
struct SealStatusShown {
    r#type: String,
    initialized: bool,
    sealed: bool,
    t: u64,
    n: u64,
    progress: u64,
    nonce: String,
    recovery_seal: bool,
    version: String,
    commit_date: String,
    build_date: String,
    migration: bool,
    cluster_name: Option<String>,
    cluster_id: Option<String>,
    storage_type: String,
    recovery_seal_type: Option<String>,
}

/// All of them, as other operations are listed.
pub(crate) fn listed() -> Vec<Listed> {
    let of = |route: Route, fields: Schema, reply: Schema| Listed {
        route: route.unauthenticated(),
        kind: Kind::Query,
        creates: false,
        fields,
        reply: Some(reply),
    };
    vec![
        of(Route::get("health"), schema_for!(Health), schema_for!(HealthShown)),
        of(Route::get("init"), schema_for!(Initialised), schema_for!(InitialisedShown)),
        of(Route::post("init"), schema_for!(Initialise), schema_for!(Shares)),
        of(Route::get("leader"), schema_for!(Leader), schema_for!(LeaderShown)),
        of(Route::get("seal-status"), schema_for!(SealStatus), schema_for!(SealStatusShown)),
        of(Route::post("unseal"), schema_for!(Unseal), schema_for!(SealStatusShown)),
    ]
}
