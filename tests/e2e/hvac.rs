//! hvac, the Python client that most scripts use.

use tests::binary::Binary;
use tests::scratch::Scratch;
use tests::server::{Config, DEV_TOKEN, Server, Storage};

use crate::script::python;

#[test]
fn hvac_does_the_main_job() {
    let folder = Scratch::new();
    let config = Config::new(Storage::Raft, folder.path()).with("unsafe_allow_api_audit_creation = true");
    let server = Server::configured(&Binary::sealkeep(), &config);
    python("hvac_client.py", &server, &folder.path().display().to_string());
}

/// transit, identity, a second factor, signed tokens, ssh, totp, namespaces and wrapping.
#[test]
fn hvac_uses_every_engine() {
    let server = Server::dev(&Binary::sealkeep());
    python("hvac_engines.py", &server, DEV_TOKEN);
}

#[test]
fn a_service_takes_its_settings_from_its_secrets() {
    let server = Server::dev(&Binary::sealkeep());
    python("settings_client.py", &server, DEV_TOKEN);
}
