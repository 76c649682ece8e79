//! A certificate authority: roots, intermediates, roles, leaves, revocation.
//!
//! `ca` makes issuers and `import` brings them in; `authorities` keeps them parsed. A role (`role`) is read once into
//! `rules`, which `names` and `lifetime` hold a request against. What will be signed is then linted, recorded and signed, in
//! one transaction (`certify`).
//! Revocation lists (`crl`) are worked out from revocations (`revoke`) when they are asked for. `acme` lets clients prove
//! names instead of showing a token. What many holders need is beside it: `inventory` of who holds what, `reissue` of many
//! at once, `roll` of a CA, and `advice`, which tells holders of the two.

mod above;
mod acme;
mod advice;
mod authorities;
mod blocked;
mod bridge;
mod ca;
mod cel;
mod certificates;
mod certify;
mod crl;
mod crl_config;
mod crl_shown;
mod csr_values;
mod dates;
mod fields;
mod gauges;
mod import;
mod inventory;
mod issued;
mod issuers;
mod key_mark;
mod keys;
mod leaf;
mod lifetime;
mod lint;
mod listed;
mod listing;
mod modified;
mod names;
mod ocsp;
mod reissue;
mod reply;
mod requests;
mod revoke;
mod role;
mod roll;
mod root;
mod rules;
mod search;
mod shards;
mod sign_list;
mod signers;
mod store;
mod survey;
mod tidy;
mod urls;

use kit::{Endpoint, Engine, Gauge, Reading, Result, ask, command, query};

/// One mount of the certificate authority.
pub struct Pki;

impl Engine for Pki {
    const NAME: &'static str = "pki";
    const ABOUT: &'static str = "Issues X.509 certificates from roots and intermediates of its own, as roles allow, and revokes them.";

    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        command::<Pki, leaf::Issue<0>>(),
        command::<Pki, leaf::Issue<1>>(),
        command::<Pki, leaf::Sign<0>>(),
        command::<Pki, leaf::Sign<1>>(),
        command::<Pki, leaf::SignVerbatim<0>>(),
        command::<Pki, leaf::SignVerbatim<1>>(),
        command::<Pki, leaf::SignVerbatim<2>>(),
        command::<Pki, leaf::SignVerbatim<3>>(),
        query::<Pki, certificates::RawCa<0>>(),
        query::<Pki, certificates::RawCa<1>>(),
        query::<Pki, certificates::RawCa<2>>(),
        query::<Pki, certificates::ShowCa<0>>(),
        query::<Pki, certificates::ShowCa<1>>(),
        query::<Pki, certificates::ShowCa<2>>(),
        query::<Pki, certificates::ShowCa<3>>(),
        query::<Pki, certificates::ReadCertificate>(),
        query::<Pki, certificates::RawCertificate<0>>(),
        query::<Pki, certificates::RawCertificate<1>>(),
        query::<Pki, certificates::ListCertificates<0>>(),
        query::<Pki, certificates::ListCertificates<1>>(),
        query::<Pki, certificates::ListDetailed>(),
        query::<Pki, search::Search>(),
        query::<Pki, crl_shown::RawList<0>>(),
        query::<Pki, crl_shown::RawList<1>>(),
        query::<Pki, crl_shown::RawList<2>>(),
        query::<Pki, crl_shown::RawList<3>>(),
        query::<Pki, crl_shown::RawShard<0>>(),
        query::<Pki, crl_shown::RawShard<1>>(),
        query::<Pki, sign_list::ResignLists>(),
        query::<Pki, sign_list::SignList>(),
        command::<Pki, crl_shown::Rotate<0>>(),
        command::<Pki, crl_shown::Rotate<1>>(),
        query::<Pki, ocsp::Ask<0>>(),
        query::<Pki, ocsp::Ask<1>>(),
        query::<Pki, crl_config::ReadConfig>(),
        command::<Pki, crl_config::WriteConfig>(),
        command::<Pki, revoke::Revoke>(),
        command::<Pki, revoke::RevokeWithKey>(),
        command::<Pki, revoke::RevokeLeased>(),
        query::<Pki, blocked::ListBlocked>(),
        command::<Pki, blocked::BlockKey>(),
        command::<Pki, blocked::UnblockKey>(),
        query::<Pki, role::ListRoles>(),
        query::<Pki, role::ReadRole>(),
        command::<Pki, role::WriteRole<0>>(),
        command::<Pki, role::WriteRole<1>>(),
        command::<Pki, role::DeleteRole>(),
        command::<Pki, cel::CelIssue>(),
        command::<Pki, cel::CelSign>(),
        query::<Pki, cel::ListCelRoles>(),
        query::<Pki, cel::ReadCelRole>(),
        command::<Pki, cel::WriteCelRole<0>>(),
        command::<Pki, cel::WriteCelRole<1>>(),
        command::<Pki, cel::DeleteCelRole>(),
        command::<Pki, ca::GenerateRoot<0>>(),
        command::<Pki, ca::GenerateRoot<1>>(),
        command::<Pki, ca::GenerateRoot<2>>(),
        command::<Pki, ca::GenerateIntermediate<0>>(),
        command::<Pki, ca::GenerateIntermediate<1>>(),
        command::<Pki, ca::GenerateIntermediate<2>>(),
        command::<Pki, ca::SignIntermediate<0>>(),
        command::<Pki, ca::SignIntermediate<1>>(),
        command::<Pki, bridge::SignSelfIssued<0>>(),
        command::<Pki, bridge::SignSelfIssued<1>>(),
        command::<Pki, root::DeleteRoot>(),
        command::<Pki, import::ImportBundle<0>>(),
        command::<Pki, import::ImportBundle<1>>(),
        command::<Pki, import::ImportBundle<2>>(),
        command::<Pki, import::ImportBundle<3>>(),
        command::<Pki, import::ImportKey>(),
        query::<Pki, issuers::ListIssuers>(),
        query::<Pki, issuers::ReadIssuer>(),
        command::<Pki, issuers::WriteIssuer<0>>(),
        command::<Pki, issuers::WriteIssuer<1>>(),
        command::<Pki, issuers::DeleteIssuer>(),
        command::<Pki, issuers::RevokeIssuer>(),
        query::<Pki, issuers::ReadDefaultIssuer>(),
        command::<Pki, issuers::WriteDefaultIssuer<0>>(),
        command::<Pki, issuers::WriteDefaultIssuer<1>>(),
        query::<Pki, certificates::RawIssuer<0>>(),
        query::<Pki, certificates::RawIssuer<1>>(),
        query::<Pki, certificates::ShowIssuer>(),
        query::<Pki, crl_shown::ShowIssuerList<0>>(),
        query::<Pki, crl_shown::ShowIssuerList<1>>(),
        query::<Pki, crl_shown::RawIssuerList<0>>(),
        query::<Pki, crl_shown::RawIssuerList<1>>(),
        query::<Pki, crl_shown::RawIssuerList<2>>(),
        query::<Pki, crl_shown::RawIssuerList<3>>(),
        query::<Pki, keys::ListKeys>(),
        query::<Pki, keys::ReadKey>(),
        command::<Pki, keys::WriteKey>(),
        command::<Pki, keys::DeleteKey>(),
        command::<Pki, keys::GenerateKey<0>>(),
        command::<Pki, keys::GenerateKey<1>>(),
        query::<Pki, keys::ReadDefaultKey>(),
        command::<Pki, keys::WriteDefaultKey>(),
        query::<Pki, urls::ReadUrls>(),
        command::<Pki, urls::WriteUrls>(),
        query::<Pki, urls::ReadCluster>(),
        command::<Pki, urls::WriteCluster>(),
        query::<Pki, acme::ReadAcme>(),
        command::<Pki, acme::WriteAcme>(),
        query::<Pki, acme::ListEabs>(),
        command::<Pki, acme::DeleteEab>(),
        query::<Pki, acme::ShowDirectory<0>>(),
        query::<Pki, acme::ShowDirectory<1>>(),
        query::<Pki, acme::ShowDirectory<2>>(),
        query::<Pki, acme::ShowDirectory<3>>(),
        command::<Pki, acme::NewNonce<0>>(),
        command::<Pki, acme::NewNonce<1>>(),
        command::<Pki, acme::NewNonce<2>>(),
        command::<Pki, acme::NewNonce<3>>(),
        command::<Pki, acme::NewAccount<0>>(),
        command::<Pki, acme::NewAccount<1>>(),
        command::<Pki, acme::NewAccount<2>>(),
        command::<Pki, acme::NewAccount<3>>(),
        command::<Pki, acme::Account<0>>(),
        command::<Pki, acme::Account<1>>(),
        command::<Pki, acme::Account<2>>(),
        command::<Pki, acme::Account<3>>(),
        command::<Pki, acme::AccountOrders<0>>(),
        command::<Pki, acme::AccountOrders<1>>(),
        command::<Pki, acme::AccountOrders<2>>(),
        command::<Pki, acme::AccountOrders<3>>(),
        command::<Pki, acme::AccountOrdersAfter<0>>(),
        command::<Pki, acme::AccountOrdersAfter<1>>(),
        command::<Pki, acme::AccountOrdersAfter<2>>(),
        command::<Pki, acme::AccountOrdersAfter<3>>(),
        command::<Pki, acme::NewAuthz<0>>(),
        command::<Pki, acme::NewAuthz<1>>(),
        command::<Pki, acme::NewAuthz<2>>(),
        command::<Pki, acme::NewAuthz<3>>(),
        command::<Pki, acme::NewOrder<0>>(),
        command::<Pki, acme::NewOrder<1>>(),
        command::<Pki, acme::NewOrder<2>>(),
        command::<Pki, acme::NewOrder<3>>(),
        command::<Pki, acme::ShowOrder<0>>(),
        command::<Pki, acme::ShowOrder<1>>(),
        command::<Pki, acme::ShowOrder<2>>(),
        command::<Pki, acme::ShowOrder<3>>(),
        ask::<Pki, acme::Finalize<0>>(),
        ask::<Pki, acme::Finalize<1>>(),
        ask::<Pki, acme::Finalize<2>>(),
        ask::<Pki, acme::Finalize<3>>(),
        command::<Pki, acme::Certificate<0>>(),
        command::<Pki, acme::Certificate<1>>(),
        command::<Pki, acme::Certificate<2>>(),
        command::<Pki, acme::Certificate<3>>(),
        command::<Pki, acme::CertificateByChain<0>>(),
        command::<Pki, acme::CertificateByChain<1>>(),
        command::<Pki, acme::CertificateByChain<2>>(),
        command::<Pki, acme::CertificateByChain<3>>(),
        command::<Pki, acme::Authorization<0>>(),
        command::<Pki, acme::Authorization<1>>(),
        command::<Pki, acme::Authorization<2>>(),
        command::<Pki, acme::Authorization<3>>(),
        command::<Pki, acme::Challenge<0>>(),
        command::<Pki, acme::Challenge<1>>(),
        command::<Pki, acme::Challenge<2>>(),
        command::<Pki, acme::Challenge<3>>(),
        command::<Pki, acme::RevokeCert<0>>(),
        command::<Pki, acme::RevokeCert<1>>(),
        command::<Pki, acme::RevokeCert<2>>(),
        command::<Pki, acme::RevokeCert<3>>(),
        command::<Pki, acme::KeyChange<0>>(),
        command::<Pki, acme::KeyChange<1>>(),
        command::<Pki, acme::KeyChange<2>>(),
        command::<Pki, acme::KeyChange<3>>(),
        query::<Pki, acme::RenewalInfo<0>>(),
        query::<Pki, acme::RenewalInfo<1>>(),
        query::<Pki, acme::RenewalInfo<2>>(),
        query::<Pki, acme::RenewalInfo<3>>(),
        query::<Pki, acme::Refuse<0>>(),
        query::<Pki, acme::Refuse<1>>(),
        query::<Pki, acme::Refuse<2>>(),
        query::<Pki, acme::Refuse<3>>(),
        query::<Pki, acme::NotPosted<0>>(),
        query::<Pki, acme::NotPosted<1>>(),
        query::<Pki, acme::NotPosted<2>>(),
        query::<Pki, acme::NotPosted<3>>(),
        query::<Pki, acme::NotPosted<4>>(),
        query::<Pki, acme::NotPosted<5>>(),
        query::<Pki, acme::NotPosted<6>>(),
        query::<Pki, acme::NotPosted<7>>(),
        query::<Pki, acme::NotPosted<8>>(),
        query::<Pki, acme::NotPosted<9>>(),
        query::<Pki, acme::NotPosted<10>>(),
        query::<Pki, acme::NotPosted<11>>(),
        query::<Pki, acme::NotPosted<12>>(),
        query::<Pki, acme::NotPosted<13>>(),
        query::<Pki, acme::NotPosted<14>>(),
        query::<Pki, acme::NotPosted<15>>(),
        query::<Pki, acme::NotDeleted<0>>(),
        query::<Pki, acme::NotDeleted<1>>(),
        query::<Pki, acme::NotDeleted<2>>(),
        query::<Pki, acme::NotDeleted<3>>(),
        command::<Pki, acme::NewEab<0>>(),
        command::<Pki, acme::NewEab<1>>(),
        command::<Pki, acme::NewEab<2>>(),
        command::<Pki, acme::NewEab<3>>(),
        ask::<Pki, acme::Validate>(),
        command::<Pki, acme::ForgetOrder>(),
        command::<Pki, acme::ForgetAccount>(),
        command::<Pki, acme::ForgetAuthorization>(),
        command::<Pki, tidy::Tidy>(),
        command::<Pki, tidy::TidyStep>(),
        command::<Pki, tidy::CancelTidy>(),
        query::<Pki, tidy::TidyStatus>(),
        query::<Pki, tidy::ReadAutoTidy>(),
        command::<Pki, tidy::WriteAutoTidy>(),
        command::<Pki, tidy::AutoTidyDue>(),
        query::<Pki, advice::RenewalAdvice>(),
        query::<Pki, advice::RawBundle<0>>(),
        query::<Pki, advice::RawBundle<1>>(),
        command::<Pki, inventory::Report<0>>(),
        command::<Pki, inventory::Report<1>>(),
        command::<Pki, inventory::ForgetHolding>(),
        query::<Pki, inventory::ListHoldings>(),
        query::<Pki, inventory::HoldersOfCertificate>(),
        query::<Pki, inventory::HoldingsOfHost>(),
        command::<Pki, inventory::DeleteHolding>(),
        command::<Pki, reissue::Start>(),
        command::<Pki, reissue::Abort>(),
        command::<Pki, reissue::ReissueStep>(),
        query::<Pki, reissue::ListReissues>(),
        query::<Pki, reissue::ReadReissue>(),
        command::<Pki, roll::StartRoll>(),
        command::<Pki, roll::AbortRoll>(),
        command::<Pki, roll::SwitchRoll>(),
        command::<Pki, roll::RollStep>(),
        query::<Pki, roll::ReadRoll>(),
    ];

    fn open(_: &serde_json::Value) -> Result<Self> {
        Ok(Self)
    }

    fn gauges(&self, cx: &Reading<'_>) -> Result<Vec<Gauge>> {
        gauges::gauges(cx)
    }
}
