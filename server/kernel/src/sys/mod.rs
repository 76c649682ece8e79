//! `sys/`: the engine through which the server itself is operated.

pub(crate) mod always;
mod audit;
mod audit_headers;
mod capabilities;
mod class;
mod control_group;
mod cors;
mod door;
mod explain;
mod filter;
mod generate_root;
mod host;
mod in_flight;
mod inspect;
mod keys;
mod leases;
mod lockouts;
mod loggers;
mod metrics;
mod mfa;
mod monitor;
mod mounting;
mod mounts;
mod namespace_locks;
mod namespace_seals;
mod namespaces;
mod node;
mod password_policies;
mod plugins;
mod policies;
mod pprof;
mod profile;
mod quotas;
mod raw;
mod rekey;
mod remount;
mod shown;
mod snapshot;
mod specs;
mod tools;
mod tune;
mod ui;
mod ui_headers;
mod workflows;
mod wrapping;

use std::sync::{Arc, Weak};

use kit::{Endpoint, Engine, Error, Result, ask, command, query};

use self::class::{Methods, Secrets};
use crate::kernel::Kernel;

pub(crate) use filter::filter_keys;
pub(crate) use keys::rotate_if_due;
pub(crate) use metrics::PATH as METRICS;
pub(crate) use node::note_version;
pub(crate) use rekey::Installing;
pub(crate) use wrapping::{check_wish as check_wrapping_wish, verify as verify_wrapping};

/// The server's own engine. It sees beyond its mount.
pub(crate) struct Sys {
    kernel: Weak<Kernel>,
}

impl Sys {
    pub(crate) fn new(kernel: Weak<Kernel>) -> Self {
        Self { kernel }
    }

    /// The kernel, while there is one: it is gone once the server is sealed.
    fn kernel(&self) -> Result<Arc<Kernel>> {
        self.kernel.upgrade().ok_or_else(|| Error::new(kit::Fault::Unavailable, "Vault is sealed"))
    }
}

impl Engine for Sys {
    const NAME: &'static str = "system";
    const ABOUT: &'static str = "Operates the server: mounts, policies, leases, audit, keys.";
    /// The first that fits answers, so a longer pattern stands before one that takes everything.
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        query::<_, mounts::All<Secrets>>(),
        query::<_, tune::Tuned<Secrets>>(),
        command::<_, tune::Tune<Secrets>>(),
        query::<_, mounts::One<Secrets>>(),
        command::<_, mounts::Enable<Secrets>>(),
        command::<_, mounts::Disable<Secrets>>(),
        query::<_, mounts::All<Methods>>(),
        query::<_, tune::Tuned<Methods>>(),
        command::<_, tune::Tune<Methods>>(),
        query::<_, mounts::One<Methods>>(),
        command::<_, mounts::Enable<Methods>>(),
        command::<_, mounts::Disable<Methods>>(),
        command::<_, remount::Remount>(),
        query::<_, remount::Status>(),
        query::<_, policies::Get>(),
        query::<_, policies::List>(),
        query::<_, policies::ListDetailed>(),
        command::<_, policies::Put>(),
        command::<_, policies::Patch>(),
        command::<_, policies::Delete>(),
        query::<_, policies::LegacyAll>(),
        query::<_, policies::LegacyGet>(),
        query::<_, policies::LegacyList>(),
        command::<_, policies::LegacyPut>(),
        command::<_, policies::LegacyDelete>(),
        query::<_, password_policies::Generate>(),
        query::<_, password_policies::Get>(),
        query::<_, password_policies::List>(),
        command::<_, password_policies::Put>(),
        command::<_, password_policies::Delete>(),
        query::<_, explain::Explain>(),
        query::<_, capabilities::Own>(),
        query::<_, capabilities::OfToken>(),
        query::<_, capabilities::OfAccessor>(),
        query::<_, leases::Irrevocable>(),
        query::<_, leases::Count>(),
        query::<_, leases::Lookup>(),
        query::<_, leases::List>(),
        ask::<_, mfa::Validate>(),
        ask::<_, leases::Renew>(),
        ask::<_, leases::LegacyRenew>(),
        command::<_, leases::Revoke>(),
        command::<_, leases::LegacyRevoke>(),
        command::<_, leases::RevokePrefix>(),
        command::<_, leases::LegacyRevokePrefix>(),
        command::<_, leases::RevokeForce>(),
        command::<_, leases::LegacyRevokeForce>(),
        command::<_, leases::Tidy>(),
        query::<_, wrapping::Wrap>(),
        query::<_, wrapping::Lookup>(),
        query::<_, wrapping::LookupOwn>(),
        command::<_, wrapping::Unwrap>(),
        command::<_, wrapping::Rewrap>(),
        command::<_, control_group::Authorize>(),
        query::<_, control_group::Show>(),
        query::<_, audit::List>(),
        command::<_, audit::Enable>(),
        command::<_, audit::Disable>(),
        query::<_, snapshot::Save>(),
        command::<_, snapshot::Restore<0>>(),
        command::<_, snapshot::Restore<1>>(),
        query::<_, audit::Hash>(),
        query::<_, audit_headers::List>(),
        query::<_, audit_headers::Get>(),
        command::<_, audit_headers::Put>(),
        command::<_, audit_headers::Delete>(),
        query::<_, tools::Hash>(),
        query::<_, tools::HashBy>(),
        query::<_, tools::Random>(),
        query::<_, tools::RandomFrom>(),
        query::<_, tools::RandomBy>(),
        query::<_, keys::Status>(),
        command::<_, keys::Rotate>(),
        command::<_, keys::RotateKeyring>(),
        query::<_, keys::Config>(),
        query::<_, keys::KeyringConfig>(),
        command::<_, keys::SetConfig>(),
        command::<_, keys::SetKeyringConfig>(),
        query::<_, rekey::Status<rekey::RekeyRoot>>(),
        command::<_, rekey::Begin<rekey::RekeyRoot>>(),
        command::<_, rekey::Cancel<rekey::RekeyRoot>>(),
        command::<_, rekey::Update<rekey::RekeyRoot>>(),
        query::<_, rekey::Progress<rekey::RekeyRoot>>(),
        command::<_, rekey::Verify<rekey::RekeyRoot>>(),
        command::<_, rekey::Restart<rekey::RekeyRoot>>(),
        query::<_, rekey::Backup<rekey::RekeyRoot>>(),
        command::<_, rekey::ForgetBackup<rekey::RekeyRoot>>(),
        query::<_, rekey::Status<rekey::RekeyRecovery>>(),
        command::<_, rekey::Begin<rekey::RekeyRecovery>>(),
        command::<_, rekey::Cancel<rekey::RekeyRecovery>>(),
        command::<_, rekey::Update<rekey::RekeyRecovery>>(),
        query::<_, rekey::Progress<rekey::RekeyRecovery>>(),
        command::<_, rekey::Verify<rekey::RekeyRecovery>>(),
        command::<_, rekey::Restart<rekey::RekeyRecovery>>(),
        query::<_, rekey::Backup<rekey::RekeyRecovery>>(),
        command::<_, rekey::ForgetBackup<rekey::RekeyRecovery>>(),
        query::<_, rekey::Status<rekey::RotationOfRoot>>(),
        command::<_, rekey::Begin<rekey::RotationOfRoot>>(),
        command::<_, rekey::Cancel<rekey::RotationOfRoot>>(),
        command::<_, rekey::Update<rekey::RotationOfRoot>>(),
        query::<_, rekey::Progress<rekey::RotationOfRoot>>(),
        command::<_, rekey::Verify<rekey::RotationOfRoot>>(),
        command::<_, rekey::Restart<rekey::RotationOfRoot>>(),
        query::<_, rekey::Backup<rekey::RotationOfRoot>>(),
        command::<_, rekey::ForgetBackup<rekey::RotationOfRoot>>(),
        query::<_, rekey::Status<rekey::RotationOfRecovery>>(),
        command::<_, rekey::Begin<rekey::RotationOfRecovery>>(),
        command::<_, rekey::Cancel<rekey::RotationOfRecovery>>(),
        command::<_, rekey::Update<rekey::RotationOfRecovery>>(),
        query::<_, rekey::Progress<rekey::RotationOfRecovery>>(),
        command::<_, rekey::Verify<rekey::RotationOfRecovery>>(),
        command::<_, rekey::Restart<rekey::RotationOfRecovery>>(),
        query::<_, rekey::Backup<rekey::RotationOfRecovery>>(),
        command::<_, rekey::ForgetBackup<rekey::RotationOfRecovery>>(),
        command::<_, rekey::RotateRoot>(),
        query::<_, generate_root::Status<generate_root::WithToken>>(),
        command::<_, generate_root::Begin<generate_root::WithToken>>(),
        command::<_, generate_root::Cancel<generate_root::WithToken>>(),
        command::<_, generate_root::Update<generate_root::WithToken>>(),
        query::<_, generate_root::Status<generate_root::Open>>(),
        command::<_, generate_root::Begin<generate_root::Open>>(),
        command::<_, generate_root::Cancel<generate_root::Open>>(),
        command::<_, generate_root::Update<generate_root::Open>>(),
        query::<_, generate_root::Decode>(),
        query::<_, quotas::Config>(),
        command::<_, quotas::SetConfig>(),
        query::<_, quotas::ListOf<quotas::Rates>>(),
        query::<_, quotas::rate::Get>(),
        command::<_, quotas::rate::Put>(),
        command::<_, quotas::Delete<quotas::Rates>>(),
        query::<_, quotas::ListOf<quotas::Leases>>(),
        query::<_, quotas::lease::Get>(),
        command::<_, quotas::lease::Put>(),
        command::<_, quotas::Delete<quotas::Leases>>(),
        query::<_, cors::Get>(),
        command::<_, cors::Put>(),
        command::<_, cors::Delete>(),
        query::<_, ui_headers::List>(),
        query::<_, ui_headers::Get>(),
        command::<_, ui_headers::Put>(),
        command::<_, ui_headers::Delete>(),
        query::<_, in_flight::InFlight>(),
        query::<_, loggers::All>(),
        query::<_, loggers::One>(),
        command::<_, loggers::SetAll>(),
        command::<_, loggers::SetOne>(),
        command::<_, loggers::ResetAll>(),
        command::<_, loggers::ResetOne>(),
        query::<_, monitor::Monitor>(),
        query::<_, inspect::Router>(),
        ask::<_, pprof::Pprof>(),
        query::<_, raw::List>(),
        query::<_, raw::Get>(),
        command::<_, raw::Put>(),
        command::<_, raw::Delete>(),
        query::<_, lockouts::List>(),
        command::<_, lockouts::Unlock>(),
        query::<_, node::VersionHistory>(),
        query::<_, plugins::Catalog>(),
        query::<_, plugins::OfType>(),
        query::<_, plugins::One>(),
        query::<_, node::HaStatus>(),
        query::<_, node::ReplicationStatus>(),
        query::<_, node::Sanitized>(),
        command::<_, node::Seal>(),
        command::<_, node::StepDown>(),
        command::<_, node::Reload>(),
        query::<_, node::CountEntities>(),
        query::<_, node::CountTokens>(),
        query::<_, node::CountRequests>(),
        query::<_, host::HostInfo>(),
        query::<_, metrics::Metrics>(),
        query::<_, ui::All>(),
        query::<_, ui::One>(),
        query::<_, ui::ResultantAcl>(),
        query::<_, namespaces::Usable>(),
        query::<_, namespaces::List>(),
        query::<_, namespaces::Scan>(),
        command::<_, namespace_locks::LockHere>(),
        command::<_, namespace_locks::LockOther>(),
        command::<_, namespace_locks::UnlockHere>(),
        command::<_, namespace_locks::UnlockOther>(),
        query::<_, namespace_seals::SealStatus>(),
        command::<_, namespace_seals::Seal>(),
        command::<_, namespace_seals::Unseal>(),
        command::<_, namespace_seals::DeleteSealed>(),
        query::<_, namespaces::Get>(),
        command::<_, namespaces::Put>(),
        command::<_, namespaces::Patch>(),
        command::<_, namespaces::Delete>(),
        query::<_, workflows::List>(),
        query::<_, workflows::Scan>(),
        query::<_, workflows::ListBelow>(),
        query::<_, workflows::ScanBelow>(),
        query::<_, workflows::Get>(),
        command::<_, workflows::Put>(),
        command::<_, workflows::Delete>(),
        query::<_, workflows::Execute>(),
        query::<_, workflows::Trace>(),
        query::<_, workflows::ExecuteOpenly>(),
        query::<_, specs::Read>(),
        query::<_, specs::Posted>(),
    ];

    fn open(_: &serde_json::Value) -> Result<Self> {
        Err(Error::internal("sys/ is made by the kernel"))
    }
}
