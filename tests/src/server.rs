//! A real server process: started on a free port, awaited, asked, and gone when the test is.

use crate::binary::Binary;
use crate::http::{Client, Request};
use crate::program::{Program, QUESTIONS_MAX};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// The root token of every development server.
pub const DEV_TOKEN: &str = "root";

/// Another process may take the port between our look and the server's: then it is tried again on another.
const STARTS_MAX: usize = 5;

/// The `storage` stanza of a configured server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Lost with the process.
    Inmem,
    /// OpenBao's plain files; Sealkeep's durable store under its old name.
    File,
    /// The embedded durable store, one node.
    Raft,
    /// Sealkeep only.
    Sled,
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Config {
    storage: Storage,
    folder: PathBuf,
    top_level: String,
    listener: String,
    environment: Vec<(String, String)>,
}

impl Config {
    /// A server that keeps its data in this folder, over plain HTTP on loopback.
    pub fn new(storage: Storage, folder: &Path) -> Self {
        let (top_level, listener) = (String::new(), String::new());
        Self { storage, folder: folder.to_owned(), top_level, listener, environment: Vec::new() }
    }

    /// Sets a variable of the server's environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds lines at the top level of the configuration.
    #[must_use]
    pub fn with(mut self, lines: &str) -> Self {
        self.top_level.push_str(lines);
        self.top_level.push('\n');
        self
    }

    /// Adds lines to the listener.
    #[must_use]
    pub fn listening_with(mut self, lines: &str) -> Self {
        self.listener.push_str(lines);
        self.listener.push('\n');
        self
    }

    /// The configuration in HCL, for this port and the one after it.
    pub fn hcl(&self, port: u16) -> String {
        let data = self.folder.join("data");
        let data = data.display();
        let storage = match self.storage {
            Storage::Inmem => "storage \"inmem\" {}".to_owned(),
            Storage::File => format!("storage \"file\" {{\n  path = \"{data}\"\n}}"),
            Storage::Raft => format!("storage \"raft\" {{\n  path = \"{data}\"\n  node_id = \"one\"\n}}"),
            Storage::Sled => format!("storage \"sled\" {{\n  path = \"{data}\"\n}}"),
        };
        let next = port + 1;
        format!(
            "{storage}\nlistener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  cluster_address = \"127.0.0.1:{next}\"\n  \
             tls_disable = true\n  {}}}\napi_addr = \"http://127.0.0.1:{port}\"\n\
             cluster_addr = \"https://127.0.0.1:{next}\"\ndisable_mlock = true\n{}",
            self.listener, self.top_level
        )
    }
}

/// What init gave: the shares of the unseal key and the first token.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The shares in hex.
    pub shares: Vec<String>,
    /// How many of them open the store.
    pub threshold: usize,
    /// The root token.
    pub root: String,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    program: Program,
    address: SocketAddr,
}

impl Server {
    /// A development server: in memory, unsealed, `secret/` as kv version 2, [`DEV_TOKEN`].
    pub fn dev(binary: &Binary) -> Self {
        Self::dev_with(binary, &[])
    }

    /// A development server with more flags.
    pub fn dev_with(binary: &Binary, flags: &[&str]) -> Self {
        let server = Self::start(|port| {
            let mut command = Command::new(binary.path());
            command.args(["server", "-dev", "-dev-no-store-token"]).args(flags);
            command.arg(format!("-dev-root-token-id={DEV_TOKEN}"));
            command.arg(format!("-dev-listen-address=127.0.0.1:{port}"));
            command
        });
        server.until("it is unsealed and has secret/", |client| {
            client.with(DEV_TOKEN).get("secret/config").status == 200
        });
        server
    }

    /// A server with this configuration, as it comes up: it answers, and may be sealed or blank.
    pub fn configured(binary: &Binary, config: &Config) -> Self {
        let data = config.folder.join("data");
        std::fs::create_dir_all(&data).expect("the data folder can be made");
        Self::start(|port| {
            let file = config.folder.join("server.hcl");
            std::fs::write(&file, config.hcl(port)).expect("the configuration can be written");
            let mut command = Command::new(binary.path());
            command.arg("server").arg(format!("-config={}", file.display()));
            command.envs(config.environment.iter().map(|(name, value)| (name, value)));
            command
        })
    }

    /// A configured server, initialised with one share and unsealed.
    pub fn opened(binary: &Binary, config: &Config) -> (Self, Keys) {
        let server = Self::configured(binary, config);
        let keys = server.init(1, 1);
        server.unseal(&keys);
        (server, keys)
    }

    fn start(command: impl Fn(u16) -> Command) -> Self {
        let mut last = String::new();
        for _ in 0..STARTS_MAX {
            let port = free_port();
            match Self::spawn(&command(port), port) {
                Ok(server) => return server,
                Err(log) => last = log,
            }
        }
        panic!("the server did not start {STARTS_MAX} times; it said:\n{last}");
    }

    fn spawn(command: &Command, port: u16) -> Result<Self, String> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Self { program: Program::start(command), address };
        for _ in 0..QUESTIONS_MAX {
            if let Some(status) = server.program.ended() {
                return Err(format!("{status}\n{}", server.log()));
            }
            if Request::new("GET", "/v1/sys/health").send(address).is_ok() {
                return Ok(server);
            }
            server.program.wait_a_little();
        }
        panic!("the server answers nothing on {address}; it said:\n{}", server.log());
    }

    /// Asks until the answer is yes; panics with the server's log if it never is.
    #[track_caller]
    pub fn until(&self, what: &str, yes: impl Fn(&Client) -> bool) {
        let client = Client::anonymous(self.address);
        self.program.until(what, || yes(&client).then_some(()));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// All that it has printed.
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// A caller without a token.
    pub fn anonymous(&self) -> Client {
        Client::anonymous(self.address)
    }

    /// A caller with the development server's root token.
    pub fn root(&self) -> Client {
        self.anonymous().with(DEV_TOKEN)
    }

    /// Initialises a blank store.
    #[track_caller]
    pub fn init(&self, shares: usize, threshold: usize) -> Keys {
        let body = json!({"secret_shares": shares, "secret_threshold": threshold});
        let reply = self.anonymous().post("sys/init", body).must(200);
        let hex = reply.json()["keys"].as_array().cloned().unwrap_or_default();
        let shares = hex.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Keys { shares, threshold, root: reply.at("/root_token") }
    }

    /// Gives as many shares as are needed and waits until requests are served.
    #[track_caller]
    pub fn unseal(&self, keys: &Keys) {
        for share in keys.shares.iter().take(keys.threshold) {
            self.anonymous().post("sys/unseal", json!({"key": share})).must(200);
        }
        self.until("it is active", |client| client.get("sys/health").status == 200);
        let root = keys.root.clone();
        self.until("it serves", |client| client.with(&root).get("auth/token/lookup-self").status == 200);
    }

    /// Sends a signal, as SIGHUP.
    pub fn signal(&self, signal: rustix::process::Signal) {
        self.program.signal(signal);
    }

    /// Ends it with SIGKILL, as a power cut would.
    pub fn kill(self) {
        self.program.kill();
    }

    /// Asks it to end with SIGTERM and waits until it has.
    #[track_caller]
    pub fn stop(self) -> ExitStatus {
        self.program.stop()
    }

    /// True until the process has ended.
    pub fn is_alive(&mut self) -> bool {
        self.program.ended().is_none()
    }
}

/// A port that was free a moment ago, and the one after it too.
pub fn free_port() -> u16 {
    for _ in 0..1_000 {
        let socket = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports side by side");
}
