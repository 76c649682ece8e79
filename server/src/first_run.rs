//! `sealkeep` without a command: a durable server of one's own, with nothing to set up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernel::AuditSpec;
use kit::Verb;
use storage::seal::Split;
use zeroize::Zeroizing;

use crate::authority::{self, Authority, RENEW_EVERY};
use crate::config::{Config, Environment, KeySource, Listener, Place, Seal, StaticKey, Storage};
use crate::dev;
use crate::http::listener::ANOTHER_ADDRESS;
use crate::inside;
use crate::log::Logs;
use crate::phase::Phase;
use crate::run::{self, Failure, Plan, Running};

/// Where everything lies.
struct Folders {
    data: PathBuf,
    config: PathBuf,
}

const ADDRESS: &str = "127.0.0.1:8200";
const KEY_FILE: &str = "unseal.key";
const TOKEN_FILE: &str = "root-token";
/// Lies there from before the store is made until the first token is written down and `secret/` is mounted.
const UNFINISHED_FILE: &str = "unfinished";
const KEY_ID: &str = "first-run";
const ONE: Split = Split { shares: 1, threshold: 1 };

/// Runs it.
pub(crate) fn run(environment: Environment) -> Result<(), Failure> {
    let folders = Folders::find(&environment)?;
    folders.make()?;
    let mut config = Config::bare(Storage::Embedded { called: "file", folder: folders.data.clone() });
    config.log = crate::config::Log::of(&environment)?;
    let logs = Logs::begin(&config.log)?;
    let key_file = folders.config.join(KEY_FILE);
    make_key(&key_file, &folders.data)?;
    let source = KeySource::File(key_file);
    config.seal = Seal::Static { current: StaticKey { id: KEY_ID.to_owned(), source }, previous: None };
    let address = environment.plain("SEALKEEP_ADDRESS").unwrap_or(ADDRESS).to_owned();
    dev::check_address("SEALKEEP_ADDRESS", &address)?;
    let authority = Authority::in_folder(&folders.config, names(&address));
    let certificate = authority.certificate().map_err(|error| folders.unwritable(&folders.config, &error))?;
    let tls = Some(dev::served(certificate));
    config.listeners = vec![Listener { place: Place::Tcp(address), tls, ..Listener::default() }];
    config.audits = vec![audit(&folders.data)];
    let ca = authority.ca.clone();
    let prepare = move |running: &Running| {
        let first = folders.prepare(running)?;
        folders.tell(running, &ca, first);
        tokio::spawn(renew(Arc::new(authority)));
        Ok(())
    };
    run::run(Plan { config, files: Vec::new(), environment, logs }, prepare).map_err(elsewhere)
}

/// Here it is a variable that says where to listen.
fn elsewhere(failure: Failure) -> Failure {
    match failure.text.ends_with(ANOTHER_ADDRESS) {
        true => {
            Failure { text: format!("{}: SEALKEEP_ADDRESS=127.0.0.1:8300 sealkeep", failure.text), ..failure }
        }
        false => failure,
    }
}

/// Every request is written down, from the first one on: what was not recorded cannot be looked up later.
fn audit(data: &Path) -> AuditSpec {
    let options = BTreeMap::from([("file_path".to_owned(), data.join("audit.log").display().to_string())]);
    let description = "every request, values hashed".to_owned();
    AuditSpec { kind: "file".to_owned(), path: "file/".to_owned(), description, options }
}

/// Whether the store was made just now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Start {
    First,
    Again,
}

impl Folders {
    fn find(environment: &Environment) -> Result<Self, Failure> {
        let home = environment.plain("HOME").map(PathBuf::from);
        let below = |variable: &str, usual: &str| {
            // The standard wants relative paths passed over.
            let set = environment.plain(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            set.or_else(|| home.as_ref().map(|home| home.join(usual))).map(|path| path.join("sealkeep"))
        };
        let data = environment
            .plain("SEALKEEP_DATA")
            .map(PathBuf::from)
            .or_else(|| below("XDG_DATA_HOME", ".local/share"));
        match (data, below("XDG_CONFIG_HOME", ".config")) {
            (Some(data), Some(config)) => Ok(Self { data, config }),
            _ => Err(Failure::start(
                "there is no home folder: set SEALKEEP_DATA and XDG_CONFIG_HOME, or run sealkeep server -config=FILE",
            )),
        }
    }

    fn make(&self) -> Result<(), Failure> {
        for folder in [&self.data, &self.config] {
            std::fs::create_dir_all(folder).map_err(|error| self.unwritable(folder, &error))?;
        }
        Ok(())
    }

    fn unwritable(&self, folder: &Path, error: &std::io::Error) -> Failure {
        Failure::start(format!("{} cannot be written: {error}", folder.display()))
    }

    /// Makes the store if there is none yet, and does what a start that was cut short has left undone.
    fn prepare(&self, running: &Running) -> Result<Start, Failure> {
        let unfinished = self.config.join(UNFINISHED_FILE);
        let blank = matches!(&**running.state.phase(), Phase::Blank);
        if !blank && !unfinished.exists() {
            return Ok(Start::Again);
        }
        let failed = |text: String| Failure::start(format!("the server cannot be set up: {text}"));
        let token = if blank {
            authority::write(&unfinished, b"").map_err(|error| self.unwritable(&unfinished, &error))?;
            running.state.init_open(ONE, None).map_err(|stuck| failed(stuck.to_string()))?.root_token
        } else {
            // If one was made at that start, nobody has been told it.
            let kernel = running.state.kernel().ok_or_else(|| failed("it is sealed".to_owned()))?;
            Zeroizing::new(kernel.root_token(None).map_err(|error| failed(error.to_string()))?)
        };
        let token_file = self.config.join(TOKEN_FILE);
        authority::write(&token_file, token.as_bytes())
            .map_err(|error| self.unwritable(&token_file, &error))?;
        let kernel = running.state.kernel().ok_or_else(|| failed("it is sealed".to_owned()))?;
        let mounted = inside::ask(&kernel, &token, Verb::Get, "sys/mounts/secret", Vec::new());
        if inside::refusal(&mounted.map_err(failed)?).is_some() {
            dev::mount_secret(&kernel, &token).map_err(failed)?;
        }
        std::fs::remove_file(&unfinished).map_err(|error| self.unwritable(&unfinished, &error))?;
        Ok(Start::First)
    }

    fn tell(&self, running: &Running, ca: &Path, start: Start) {
        let address = running.addresses.first().map_or(String::new(), |address| reachable(address));
        let config = |file: &str| self.config.join(file).display().to_string();
        let token = Some(config(TOKEN_FILE)).filter(|file| Path::new(file).exists());
        println!("{address}\n");
        match start {
            Start::First => println!("Sealkeep is set up and ready."),
            Start::Again => println!("Sealkeep is ready again, with its data of before."),
        }
        println!("  data         {}", self.data.display());
        match &token {
            Some(token) => println!("  first token  {token}"),
            None => {
                println!("  first token  taken away. For a new one: touch {}", config(UNFINISHED_FILE));
                println!("               and start sealkeep again");
            }
        }
        println!("  CA           {}", ca.display());
        println!("  unseal key   {}", config(KEY_FILE));
        println!(
            "\nThe unseal key lies on this disk, so that the server can start by itself: whoever can read it and"
        );
        println!(
            "the data can read every secret. Keep backups of the two apart, and write a configuration with"
        );
        println!("key shares for production (docs/guide/configuration.md).");
        println!("\nTrust its CA and take a token, then try three commands:\n");
        println!("  export KEEP_ADDR={address} KEEP_CACERT={}", quoted(&ca.display().to_string()));
        match &token {
            Some(token) => println!("  export KEEP_TOKEN=\"$(cat {})\"", quoted(token)),
            None => println!("  export KEEP_TOKEN=…"),
        }
        println!("  keep status");
        println!("  keep kv put secret/hello who=world");
        println!("  keep kv get secret/hello\n");
    }
}

/// The names of the server's certificate: those of this machine, and the one that it listens on.
fn names(address: &str) -> Vec<String> {
    let mut names = authority::local_names();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let everywhere = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    if !everywhere && !names.iter().any(|name| name == host) {
        names.push(host.to_owned());
    }
    names
}

/// Where a client on this machine reaches a server that listens on every address.
fn reachable(address: &str) -> String {
    address.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:")
}

fn quoted(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if path.bytes().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// Makes the static key once. With data but without its key, nothing new may be made in its place.
fn make_key(file: &Path, data: &Path) -> Result<(), Failure> {
    if file.exists() {
        return Ok(());
    }
    if data.join("sealkeep.redb").exists() {
        return Err(Failure::start(format!(
            "the data in {} is sealed, and its key {} is gone: restore that file, or move the data away to begin anew",
            data.display(),
            file.display()
        )));
    }
    let mut key = Zeroizing::new([0; 32]);
    storage::Random::fill(&storage::SystemRandom, &mut *key);
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(*key))));
    authority::write(file, text.as_bytes())
        .map_err(|error| Failure::start(format!("{} cannot be written: {error}", file.display())))
}

/// Makes the server's certificate anew before it ends. The listener notices the new file.
async fn renew(authority: Arc<Authority>) {
    let mut beat = tokio::time::interval(RENEW_EVERY);
    loop {
        beat.tick().await;
        let authority = Arc::clone(&authority);
        match tokio::task::spawn_blocking(move || authority.certificate().map(drop)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "the certificate could not be renewed; it is tried again tomorrow")
            }
            Err(error) => tracing::error!(%error, "renewing the certificate ended in a fault of ours"),
        }
    }
}
