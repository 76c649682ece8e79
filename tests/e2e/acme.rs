//! ACME by clients that nobody here wrote: they register, prove, obtain, renew and revoke.
//!
//! Proofs are looked for on port 80, so each test has a loopback address of its own for it, and a name server that sends
//! names there.

use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tests::binary::Binary;
use tests::program::Program;
use tests::scratch::Scratch;
use tests::server::Server;

/// A name server that knows one address for every name it is told nothing else of.
pub(crate) struct Names {
    pub(crate) address: SocketAddr,
    pub(crate) known: Arc<Mutex<Known>>,
}

/// What it was told.
pub(crate) struct Known {
    host: Ipv4Addr,
    pub(crate) hosts: HashMap<String, Ipv4Addr>,
    pub(crate) texts: HashMap<String, String>,
    /// Who may certify a name: the value of its `issue`.
    pub(crate) issue: HashMap<String, String>,
    /// Of these it says nothing at all.
    pub(crate) silent: Vec<String>,
}

impl Names {
    pub(crate) fn start(host: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (hosts, texts, issue) = Default::default();
        let known = Arc::new(Mutex::new(Known { host, hosts, texts, issue, silent: Vec::new() }));
        let told = Arc::clone(&known);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, asker)) = socket.recv_from(&mut question) {
                if let Some(answer) = answer(&question[..length], &told.lock().unwrap()) {
                    let _ = socket.send_to(&answer, asker);
                }
            }
        });
        Self { address, known }
    }
}

/// One answer of the name system (RFC 1035, RFC 8659): an address, a text, who may certify, or that there is none.
fn answer(question: &[u8], known: &Known) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while *question.get(at)? != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8(question.get(at + 1..end)?.to_vec()).ok()?.to_lowercase());
        at = end;
    }
    let name = labels.join(".");
    if known.silent.contains(&name) {
        return None;
    }
    let kind = u16::from_be_bytes(question.get(at + 1..at + 3)?.try_into().ok()?);
    let data = match kind {
        1 => Some(known.hosts.get(&name).unwrap_or(&known.host).octets().to_vec()),
        16 => known.texts.get(&name).map(|text| [&[text.len() as u8], text.as_bytes()].concat()),
        257 => known.issue.get(&name).map(|value| [&[0, 5], &b"issue"[..], value.as_bytes()].concat()),
        _ => None,
    };
    let mut out = question[..2].to_vec();
    out.extend([0x85, 0x80, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]);
    out.extend(&question[12..at + 5]);
    if let Some(data) = data {
        out.extend([0xc0, 0x0c]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 1, 0, data.len() as u8]);
        out.extend(data);
    }
    Some(out)
}

/// A server that offers ACME, and a folder for a client.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) names: Names,
    pub(crate) folder: Scratch,
    pub(crate) host: Ipv4Addr,
}

impl Stage {
    pub(crate) fn new(number: u8) -> Self {
        let host = Ipv4Addr::new(127, 77, 0, number);
        let (server, names, folder) = (Server::dev(&Binary::sealkeep()), Names::start(host), Scratch::new());
        let root = server.root();
        root.post("sys/mounts/pki", json!({"type": "pki", "config": {"max_lease_ttl": "87600h"}})).must(204);
        let body = json!({"common_name": "Example Root", "key_type": "ec", "ttl": "87600h"});
        let anchor = root.post("pki/root/generate/internal", body).must(200).at("/data/certificate");
        folder.file("root.pem", &anchor);
        let path = format!("{}/v1/pki", server.url());
        root.post("pki/config/cluster", json!({"path": path})).must(200);
        let config = json!({
            "enabled": true, "dns_resolver": names.address.to_string(), "allowed_targets": "127.77.0.0/16",
        });
        root.post("pki/config/acme", config).must(200);
        Self { server, names, folder, host }
    }

    pub(crate) fn directory(&self) -> String {
        format!("{}/v1/pki/acme/directory", self.server.url())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs a client to its end.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        self.run_with(program, arguments, &[])
    }

    /// The same with more in its environment.
    #[track_caller]
    pub(crate) fn run_with(&self, program: &str, arguments: &[&str], more: &[(&str, &str)]) -> String {
        let mut command = Command::new("timeout");
        command.args(["180", program]).args(arguments).env("HOME", self.folder.path());
        command.envs(more.iter().copied());
        let out = command.current_dir(self.folder.path()).output().expect("timeout is installed");
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success(), "{program} {arguments:?}:\n{text}\nthe server:\n{}", self.server.log());
        text
    }

    /// Serves a folder on port 80 of this test's address.
    fn web(&self) -> Program {
        let root = self.folder.path().join("www");
        fs::create_dir_all(root.join(".well-known/acme-challenge")).unwrap();
        let mut command = Command::new("python3");
        command
            .args(["-u", "-m", "http.server", "80", "--bind", &self.host.to_string(), "--directory"])
            .arg(root);
        let program = Program::start(&command);
        program.until("it serves", || std::net::TcpStream::connect((self.host, 80)).ok());
        program
    }

    /// The serial of a certificate that openssl finds to be of this authority and for this name.
    #[track_caller]
    pub(crate) fn check(&self, certificate: &Path, name: &str) -> String {
        let (anchor, certificate) = (self.path("root.pem"), certificate.display().to_string());
        self.run(
            "openssl",
            &["verify", "-x509_strict", "-verify_hostname", name, "-CAfile", &anchor, &certificate],
        );
        self.run("openssl", &["x509", "-in", &certificate, "-noout", "-serial"])
    }

    /// How many certificates are revoked.
    fn revoked(&self) -> usize {
        let listed = self.server.root().list("pki/certs/revoked");
        listed.json()["data"]["keys"].as_array().map_or(0, Vec::len)
    }
}

#[test]
fn certbot_obtains_renews_and_revokes() {
    let stage = Stage::new(1);
    let (directory, host) = (stage.directory(), stage.host.to_string());
    let folders = ["--config-dir", "cb", "--work-dir", "cb", "--logs-dir", "cb", "--non-interactive"];
    let server = ["--server", directory.as_str()];
    let certbot = |words: &[&str]| stage.run("certbot", &[words, &server, &folders].concat());
    certbot(&[
        "certonly",
        "--standalone",
        "--http-01-address",
        &host,
        "--agree-tos",
        "--email",
        "me@example.org",
        "--no-eff-email",
        "-d",
        "app.acme.test",
        "-d",
        "www.acme.test",
    ]);
    let live = stage.folder.path().join("cb/live/app.acme.test/cert.pem");
    let first = stage.check(&live, "www.acme.test");
    certbot(&["renew", "--force-renewal", "--no-random-sleep-on-renew"]);
    assert_ne!(stage.check(&live, "app.acme.test"), first);
    certbot(&["update_account", "--email", "you@example.org", "--no-eff-email"]);
    let live = live.display().to_string();
    certbot(&["revoke", "--cert-path", &live, "--reason", "superseded", "--no-delete-after-revoke"]);
    assert_eq!(stage.revoked(), 1);
    certbot(&["unregister"]);
}

#[test]
fn lego_obtains_renews_and_revokes_with_a_binding() {
    let stage = Stage::new(2);
    let root = stage.server.root();
    root.post("pki/config/acme", json!({"eab_policy": "always-required"})).must(200);
    let made = root.post("pki/acme/new-eab", json!({})).must(200);
    let (id, key, directory) = (made.at("/data/id"), made.at("/data/key"), stage.directory());
    let port = format!("{}:80", stage.host);
    let common = [
        "--server",
        &directory,
        "--accept-tos",
        "--email",
        "me@example.org",
        "--domains",
        "lego.acme.test",
        "--http",
        "--http.port",
        &port,
        "--path",
        "lego",
        "--eab",
        "--kid",
        &id,
        "--hmac",
        &key,
    ];
    let lego = |words: &[&str]| stage.run("lego", &[&common[..], words].concat());
    lego(&["run"]);
    let place = stage.folder.path().join("lego/certificates/lego.acme.test.crt");
    let first = stage.check(&place, "lego.acme.test");
    lego(&["renew", "--days", "3650", "--no-random-sleep"]);
    assert_ne!(stage.check(&place, "lego.acme.test"), first);
    lego(&["revoke"]);
    assert_eq!(stage.revoked(), 1);
    assert_eq!(root.list("pki/eab").status, 404, "the binding is used up");
}

#[test]
fn dehydrated_obtains_renews_and_revokes() {
    let stage = Stage::new(3);
    let web = stage.web();
    let config = format!(
        "CA=\"{}\"\nBASEDIR=\"{}\"\nWELLKNOWN=\"{}\"\nKEY_ALGO=secp384r1\nCONTACT_EMAIL=me@example.org\n",
        stage.directory(),
        stage.path("dehydrated"),
        stage.path("www/.well-known/acme-challenge"),
    );
    fs::create_dir_all(stage.path("dehydrated")).unwrap();
    let config = stage.folder.file("config", &config).display().to_string();
    stage.run("dehydrated", &["--config", &config, "--register", "--accept-terms"]);
    stage.run("dehydrated", &["--config", &config, "--cron", "--domain", "dehydrated.acme.test"]);
    let place = stage.folder.path().join("dehydrated/certs/dehydrated.acme.test/cert.pem");
    let first = stage.check(&place, "dehydrated.acme.test");
    stage.run("dehydrated", &["--config", &config, "--cron", "--force", "--domain", "dehydrated.acme.test"]);
    assert_ne!(stage.check(&place, "dehydrated.acme.test"), first);
    let certificate = fs::canonicalize(&place).unwrap().display().to_string();
    stage.run("dehydrated", &["--config", &config, "--revoke", &certificate]);
    assert_eq!(stage.revoked(), 1);
    web.kill();
}

#[test]
fn uacme_obtains_by_page_and_changes_its_key() {
    let stage = Stage::new(4);
    let web = stage.web();
    let hook = "#!/bin/sh\n[ \"$2\" = http-01 ] || exit 1\n\
        [ \"$1\" = begin ] && printf %s \"$5\" > \"www/.well-known/acme-challenge/$4\"\nexit 0\n";
    let hook = stage.folder.file("hook.sh", hook);
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let (hook, directory) = (hook.display().to_string(), stage.directory());
    let common = ["-v", "-y", "-c", "uacme", "-a", &directory, "-h", &hook];
    let uacme = |words: &[&str]| stage.run("uacme", &[&common[..], words].concat());
    uacme(&["new", "me@example.org"]);
    uacme(&["issue", "uacme.acme.test"]);
    let place = stage.folder.path().join("uacme/uacme.acme.test/cert.pem");
    let first = stage.check(&place, "uacme.acme.test");
    uacme(&["newkey"]);
    uacme(&["-f", "issue", "uacme.acme.test"]);
    assert_ne!(stage.check(&place, "uacme.acme.test"), first);
    uacme(&["revoke", &place.display().to_string()]);
    assert_eq!(stage.revoked(), 1);
    uacme(&["deactivate"]);
    web.kill();
}

/// certbot has a hook put the record up; this one has the test's name server do it, and waits until it has.
#[test]
fn certbot_proves_a_wildcard_by_a_record() {
    let stage = Stage::new(5);
    let hook =
        "#!/bin/sh\nprintf %s \"$CERTBOT_VALIDATION\" > \"$HOME/wanted\"\ncat \"$HOME/there\" > /dev/null\n";
    let hook = stage.folder.file("hook.sh", hook);
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let (wanted, there) = (stage.path("wanted"), stage.path("there"));
    stage.run("mkfifo", &[&wanted, &there]);
    let (directory, hook, known) =
        (stage.directory(), hook.display().to_string(), Arc::clone(&stage.names.known));
    let listener = std::thread::spawn(move || {
        let text = fs::read_to_string(wanted).unwrap();
        known.lock().unwrap().texts.insert("_acme-challenge.acme.test".to_owned(), text);
        fs::write(there, "").unwrap();
    });
    stage.run(
        "certbot",
        &[
            "certonly",
            "--manual",
            "--preferred-challenges",
            "dns",
            "--manual-auth-hook",
            &hook,
            "--server",
            &directory,
            "--config-dir",
            "cb",
            "--work-dir",
            "cb",
            "--logs-dir",
            "cb",
            "--non-interactive",
            "--agree-tos",
            "--register-unsafely-without-email",
            "-d",
            "*.acme.test",
        ],
    );
    listener.join().unwrap();
    stage.check(&stage.folder.path().join("cb/live/acme.test/cert.pem"), "any.acme.test");
}

/// A client that is neither patient nor kind: HEAD for a nonce, nonsense in every part of a request.
#[test]
fn nonces_come_by_head_and_nonsense_is_answered_as_a_problem() {
    let stage = Stage::new(6);
    let head =
        tests::http::Request::new("HEAD", "/v1/pki/acme/new-nonce").send(stage.server.address()).unwrap();
    assert_eq!((head.status, head.header("cache-control")), (200, Some("no-store")));
    assert!(head.header("replay-nonce").is_some_and(|nonce| nonce.len() == 32), "{head:?}");
    let get = stage.server.anonymous().get("pki/acme/new-nonce");
    assert_eq!((get.status, get.header("replay-nonce") == head.header("replay-nonce")), (204, false));
    for path in ["new-account", "new-order", "orders", "revoke-cert", "key-change", "order/x/finalize"] {
        let said = stage.server.anonymous().post(&format!("pki/acme/{path}"), json!({}));
        assert_eq!(
            (said.status, said.header("content-type")),
            (400, Some("application/problem+json")),
            "{path}: {said}"
        );
        assert_eq!(said.at("/type"), "urn:ietf:params:acme:error:malformed");
        assert!(said.header("replay-nonce").is_some() && said.header("link").is_some(), "{path}: {said:?}");
    }
}
