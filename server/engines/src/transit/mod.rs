//! Encryption as a service: keys that stay here, and what they encrypt, sign and authenticate for others.
//!
//! A key (`record`) is read once into a `version`, which `cipher`, `signing` and `hmac` use; `aead`, `rsa` and `ecdsa` are
//! the algorithms. Using a key writes nothing, so it is answered from the snapshot, like a query.

mod aead;
mod agree;
mod backup;
mod certificates;
mod cipher;
mod config;
mod create;
mod decrypt;
mod ecdsa;
mod encrypt;
mod entry;
mod export;
mod hash;
mod hmac;
mod import;
mod input;
mod key;
mod keys;
mod kind;
mod record;
mod refusal;
mod rewrap;
mod rsa;
mod shown;
mod sign;
mod signing;
mod sums;
mod text;
mod verify;
mod version;

use kit::{Endpoint, Engine, Result, command, query};

/// One mount of keys.
pub(crate) struct Transit;

impl Engine for Transit {
    const NAME: &'static str = "transit";
    const ABOUT: &'static str =
        "Encrypts, signs and authenticates data of others with keys that never leave it.";

    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        command::<Transit, encrypt::Encrypt>(),
        command::<Transit, decrypt::Decrypt>(),
        command::<Transit, sign::Sign<0>>(),
        command::<Transit, sign::Sign<1>>(),
        command::<Transit, verify::Verify<0>>(),
        command::<Transit, verify::Verify<1>>(),
        query::<Transit, hmac::Hmac<0>>(),
        query::<Transit, hmac::Hmac<1>>(),
        command::<Transit, rewrap::Rewrap>(),
        command::<Transit, rewrap::DataKey>(),
        query::<Transit, sums::HashInput<0>>(),
        query::<Transit, sums::HashInput<1>>(),
        command::<Transit, sums::RandomBytes<0>>(),
        command::<Transit, sums::RandomBytes<1>>(),
        command::<Transit, sums::RandomBytes<2>>(),
        query::<Transit, keys::ListKeys>(),
        query::<Transit, keys::ReadKey>(),
        command::<Transit, keys::CreateKey>(),
        command::<Transit, keys::DeleteKey>(),
        command::<Transit, keys::SetAside>(),
        command::<Transit, keys::TakeBack>(),
        command::<Transit, config::ConfigureKey>(),
        command::<Transit, config::RotateKey>(),
        command::<Transit, config::TrimKey>(),
        query::<Transit, config::ReadKeysConfig>(),
        command::<Transit, config::WriteKeysConfig>(),
        query::<Transit, config::ReadCache>(),
        command::<Transit, config::WriteCache>(),
        query::<Transit, export::Export<0>>(),
        query::<Transit, export::Export<1>>(),
        command::<Transit, backup::BackUp>(),
        command::<Transit, backup::Restore<0>>(),
        command::<Transit, backup::Restore<1>>(),
        command::<Transit, import::WrappingKey>(),
        command::<Transit, import::Import>(),
        command::<Transit, import::ImportVersion>(),
        command::<Transit, import::ExportWrapped<0>>(),
        command::<Transit, import::ExportWrapped<1>>(),
        command::<Transit, agree::DeriveKey>(),
        query::<Transit, certificates::RequestCertificate>(),
        command::<Transit, certificates::SetCertificate>(),
        command::<Transit, create::RotateDue>(),
    ];

    fn open(_: &serde_json::Value) -> Result<Self> {
        Ok(Self)
    }
}
