//! A server for development: in memory, unsealed at once, with `secret/` and a root token.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::Kernel;
use kit::Verb;
use storage::seal::Split;

use crate::args::Development;
use crate::authority::{self, Authority};
use crate::config::{
    ClientCertificate, Config, Environment, Listener, Place, Seal, Source, Storage, Tls, TlsVersion,
};
use crate::inside;
use crate::run::{Failure, Running};

/// What a development server was asked to be.
pub(crate) struct Dev {
    root_token: Option<String>,
    store_token: bool,
    mount_kv: bool,
    home: Option<PathBuf>,
    ca: Option<PathBuf>,
    tls: bool,
}

const ADDRESS: &str = "127.0.0.1:8200";
const ONE: Split = Split { shares: 1, threshold: 1 };

impl Dev {
    /// Changes a configuration into one for development.
    pub(crate) fn begin(
        flags: &Development,
        config: &mut Config,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let given = |flag: &Option<String>, name| {
            let flag = flag.clone().filter(|value| !value.is_empty());
            flag.or_else(|| environment.setting(name).map(str::to_owned))
        };
        let address =
            given(&flags.dev_listen_address, "DEV_LISTEN_ADDRESS").unwrap_or_else(|| ADDRESS.to_owned());
        check_address("-dev-listen-address", &address)?;
        let home = environment.plain("HOME").map(PathBuf::from);
        let (tls, ca) = match flags.dev_tls {
            false => (None, None),
            true => {
                let (tls, ca) = tls(flags)?;
                (Some(tls), Some(ca))
            }
        };
        config.storage = Storage::Memory;
        config.seal = Seal::Shamir;
        config.ui = true;
        config.raw_storage_endpoint = true;
        config.introspection_endpoint = true;
        config.allow_audit_api = true;
        config.listeners.insert(0, Listener { place: Place::Tcp(address), tls, ..Listener::default() });
        Ok(Self {
            root_token: given(&flags.dev_root_token_id, "DEV_ROOT_TOKEN_ID"),
            store_token: !flags.dev_no_store_token,
            mount_kv: !flags.dev_no_kv,
            home,
            ca,
            tls: flags.dev_tls,
        })
    }

    /// Makes the store, the root token and `secret/`, and says how to use them.
    pub(crate) fn prepare(&self, running: &Running) -> Result<(), Failure> {
        let failed =
            |text: String| Failure::start(format!("the development server cannot be set up: {text}"));
        let shares = running
            .state
            .init_open(ONE, self.root_token.clone())
            .map_err(|stuck| failed(stuck.to_string()))?;
        let kernel = running.state.kernel().ok_or_else(|| failed("it is sealed".to_owned()))?;
        let token = shares.root_token.to_string();
        if self.mount_kv {
            mount_secret(&kernel, &token).map_err(&failed)?;
        }
        let stored = self.store_token && self.keep(&token);
        let key = shares.keys.first().map_or(String::new(), |share| STANDARD.encode(share.as_bytes()));
        let address = running.addresses.first().map_or("", String::as_str);
        self.tell(address, &key, &token, stored);
        Ok(())
    }

    fn tell(&self, address: &str, key: &str, token: &str, stored: bool) {
        println!("WARNING! dev mode is enabled! In this mode, Sealkeep runs entirely in memory");
        println!("and starts unsealed with a single unseal key. Nothing survives its end.");
        if stored {
            println!("The root token is in ~/.vault-token, so keep, bao and vault are logged in.");
        }
        println!("\nYou may need to set the following environment variables:\n");
        println!("    $ export BAO_ADDR='{address}'");
        println!("    $ export VAULT_ADDR='{address}'");
        println!("    $ export KEEP_ADDR='{address}'");
        if let (true, Some(ca)) = (self.tls, &self.ca) {
            println!("    $ export BAO_CACERT='{}'", ca.display());
            println!("    $ export VAULT_CACERT='{}'", ca.display());
            println!("    $ export KEEP_CACERT='{}'", ca.display());
        }
        println!("\nUnseal Key: {key}\nRoot Token: {token}\n");
        println!("Development mode should NOT be used in production installations!\n");
    }

    fn keep(&self, token: &str) -> bool {
        let Some(home) = &self.home else { return false };
        match authority::write(&home.join(".vault-token"), token.as_bytes()) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "the root token could not be written to ~/.vault-token");
                false
            }
        }
    }
}

/// An address that was given must have both parts, or the system says only that it is invalid.
pub(crate) fn check_address(whose: &str, address: &str) -> Result<(), Failure> {
    let good = address.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        !host.is_empty() && (bare.is_some() || !host.contains(':')) && port.parse::<u16>().is_ok()
    });
    match good {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "{whose} must be HOST:PORT, as 127.0.0.1:8300 or [::1]:8300, not {address:?}"
        ))),
    }
}

fn tls(flags: &Development) -> Result<(Tls, PathBuf), Failure> {
    let folder = match &flags.dev_tls_cert_dir {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("sealkeep-tls-{}", std::process::id())),
    };
    let failed = |error: std::io::Error| {
        Failure::start(format!("no certificate can be made in {}: {error}", folder.display()))
    };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let mut names = authority::local_names();
    names.extend(flags.dev_tls_san.iter().cloned());
    let authority = Authority::for_development(&folder, names);
    let source = authority.certificate().map_err(failed)?;
    Ok((served(source), authority.ca))
}

/// The usual TLS with a certificate of our own.
pub(crate) fn served(source: Source) -> Tls {
    Tls {
        source,
        min: TlsVersion::Tls12,
        max: TlsVersion::Tls13,
        cipher_suites: Vec::new(),
        client: ClientCertificate::Optional,
        look_every: std::time::Duration::from_secs(30),
    }
}

/// Mounts `secret/` as kv version 2, through the front door.
pub(crate) fn mount_secret(kernel: &std::sync::Arc<Kernel>, token: &str) -> Result<(), String> {
    let body = br#"{"type":"kv","options":{"version":"2"},"description":"key/value secret storage"}"#;
    let answer = inside::ask(kernel, token, Verb::Post, "sys/mounts/secret", body.to_vec())?;
    match inside::refusal(&answer) {
        None => Ok(()),
        Some(text) => Err(format!("secret/ cannot be mounted: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As from `-dev-root-token-id="$UNSET"`.
    #[test]
    fn an_empty_flag_is_as_good_as_none() {
        let empty = || Some(String::new());
        let flags =
            Development { dev_root_token_id: empty(), dev_listen_address: empty(), ..Development::default() };
        let mut config = Config::bare(Storage::Memory);
        let dev = Dev::begin(&flags, &mut config, &Environment::default()).unwrap();
        assert_eq!(dev.root_token, None);
        assert_eq!(config.listeners[0].place, Place::Tcp(ADDRESS.to_owned()));
        let set = Environment::from([("BAO_DEV_ROOT_TOKEN_ID", "chosen")]);
        assert_eq!(Dev::begin(&flags, &mut config, &set).unwrap().root_token.as_deref(), Some("chosen"));
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["127.0.0.1:8200", "[::1]:0", "localhost:8300", "0.0.0.0:65535"] {
            assert!(check_address("x", good).is_ok(), "{good}");
        }
        for bad in ["", "foo", "127.0.0.1", ":8200", "::1:8200", "host:65536", "host:"] {
            let failure = check_address("-x", bad).unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(failure.text.starts_with("-x must be HOST:PORT"), "{}", failure.text);
        }
    }
}
