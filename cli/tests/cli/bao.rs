//! A real server in development mode, and programs that talk to it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// A server that ends with the test.
pub(crate) struct Bao {
    child: Child,
    pub(crate) address: String,
    pub(crate) folder: Folder,
    pub(crate) unseal_key: String,
    token: String,
}

/// A folder of its own for each test, gone afterwards.
pub(crate) struct Folder(pub(crate) PathBuf);

/// What a program said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Bao {
    /// Starts a server on a free port, with further flags, and waits for the line that says it is ready.
    pub(crate) fn start(flags: &[&str]) -> Bao {
        let folder = Folder::new();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let tls = flags.contains(&"-dev-tls");
        let certs = folder.0.join("tls");
        fs::create_dir_all(&certs).unwrap();
        let mut child = Command::new("bao")
            .args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"])
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .args(flags)
            .args(tls.then(|| format!("-dev-tls-cert-dir={}", certs.display())))
            .env("HOME", &folder.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("bao is on the PATH");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let unseal_key =
            lines.find_map(|line| Some(line.strip_prefix("Unseal Key: ")?.to_owned())).expect("a key");
        lines.find(|line| line.starts_with("Root Token: ")).expect("the server is ready");
        // Somebody has to read on, or the server would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let scheme = if tls { "https" } else { "http" };
        Bao {
            child,
            address: format!("{scheme}://127.0.0.1:{port}"),
            folder,
            unseal_key,
            token: "root".to_owned(),
        }
    }

    /// Starts a server that nobody has set up yet.
    pub(crate) fn start_new() -> Bao {
        let folder = Folder::new();
        let [port, cluster] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, cluster] = [port, cluster].map(|listener| listener.local_addr().unwrap().port());
        let data = folder.0.join("data");
        fs::create_dir_all(&data).unwrap();
        let config = format!(
            "storage \"raft\" {{\n path = \"{}\"\n node_id = \"n\"\n}}\nlistener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = true\n}}\napi_addr = \"http://127.0.0.1:{port}\"\ncluster_addr = \"http://127.0.0.1:{cluster}\"\n",
            data.display()
        );
        let config = folder.write("server.hcl", &config);
        let mut child = Command::new("bao")
            .arg("server")
            .arg(format!("-config={}", config.display()))
            .env("HOME", &folder.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("bao is on the PATH");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        lines.find(|line| line.contains("server started!")).expect("the server is ready");
        std::thread::spawn(move || lines.for_each(drop));
        Bao {
            child,
            address: format!("http://127.0.0.1:{port}"),
            folder,
            unseal_key: String::new(),
            token: String::new(),
        }
    }

    /// The same server, for who has this token.
    pub(crate) fn with_token(mut self, token: &str) -> Bao {
        self.token = token.to_owned();
        self
    }

    /// Waits until it is the leader of its cluster, which it is a moment after it was unsealed.
    pub(crate) fn until_active(&self) {
        let tries = 300;
        let active = (0..tries).any(|_| self.bao("operator raft list-peers").out.contains("leader"));
        assert!(active, "the server becomes active");
    }

    /// Runs our program as root.
    pub(crate) fn keep(&self, line: &str) -> Said {
        self.keep_with(line, "")
    }

    /// Runs our program as root, with something to read.
    pub(crate) fn keep_with(&self, line: &str, input: &str) -> Said {
        run(self.command(env!("CARGO_BIN_EXE_keep"), line), input)
    }

    /// Runs the other program as root.
    pub(crate) fn bao(&self, line: &str) -> Said {
        run(self.command("bao", line), "")
    }

    /// A program with root's token and nothing else of our surroundings.
    pub(crate) fn command(&self, program: &str, line: &str) -> Command {
        let mut command = bare(program, &self.folder.0, line);
        command.env("BAO_ADDR", &self.address).env("BAO_TOKEN", &self.token);
        command
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("keep-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program in an empty environment, in `folder`. Single quotes in `line` keep words together.
pub(crate) fn bare(program: &str, folder: &Path, line: &str) -> Command {
    let mut command = Command::new(program);
    let words = line.split('\'').enumerate().flat_map(|(at, part)| {
        if at % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
    });
    command.args(words).env_clear().env("HOME", folder).current_dir(folder);
    for name in ["PATH", "PYENV_VERSION", "PYENV_ROOT"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs a program to its end.
pub(crate) fn run(mut command: Command, input: &str) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // A program that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
