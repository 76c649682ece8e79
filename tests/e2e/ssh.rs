//! A real `sshd` that trusts Sealkeep's users, and a real `ssh` that trusts its hosts.

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tests::binary::Binary;
use tests::http::Client;
use tests::scratch::Scratch;
use tests::server::{Server, free_port};

const SSHD: &str = "/usr/sbin/sshd";

/// A machine with a certificate of its own that lets in whom the user CA certifies. It ends with the test.
struct Machine {
    child: Child,
    port: u16,
    folder: Scratch,
    user: String,
}

impl Machine {
    /// Asks Sealkeep for the host's certificate and the users' CA, as an operator does, and starts `sshd`.
    fn start(root: &Client) -> Self {
        let folder = Scratch::new();
        let path = |name: &str| folder.path().join(name).display().to_string();
        keygen(&["-q", "-t", "ed25519", "-N", "", "-f", &path("host")]);
        let public = fs::read_to_string(path("host.pub")).unwrap();
        let body = json!({"cert_type": "host", "public_key": public, "valid_principals": "localhost"});
        let certificate = root.post("hosts/sign/machines", body).must(200).at("/data/signed_key");
        folder.file("host-cert.pub", &certificate);
        folder.file("users.pub", &root.get("users/public_key").must(200).text());
        let ca = root.get("hosts/public_key").must(200).text();
        let user = user_here();
        // A server that root starts keeps an empty folder for its children.
        if user == "root" {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = free_port();
        folder.file("known", &format!("@cert-authority [localhost]:{port} {ca}"));
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {host}\nHostCertificate {certificate}\nTrustedUserCAKeys {users}\n\
             AuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPidFile none\n\
             PermitRootLogin prohibit-password\nStrictModes no\nPermitUserRC no\n",
            host = path("host"),
            certificate = path("host-cert.pub"),
            users = path("users.pub"),
        );
        let config = folder.file("sshd_config", &config);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", SSHD, "-D", "-e", "-f"]).arg(config);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssh-server is installed");
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(said.any(|line| line.starts_with("Server listening")), "sshd does not listen");
        // It says more later, and must have somewhere to say it.
        std::thread::spawn(move || said.for_each(drop));
        Self { child, port, folder, user }
    }

    /// Logs in with this key and certificate, and says what came of it.
    fn log_in(&self, key: &Path, command: &str) -> Output {
        let port = self.port.to_string();
        let known = format!("UserKnownHostsFile={}", self.folder.path().join("known").display());
        let certificate = format!("CertificateFile={}-cert.pub", key.display());
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-p", &port, "-o", &known, "-o", &certificate, "-i"]).arg(key);
        for option in [
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=none",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "ConnectTimeout=20",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg(format!("{}@localhost", self.user)).arg(command);
        ssh.stdin(Stdio::null()).output().expect("openssh-client is installed")
    }

    /// Puts down a key and a certificate for it.
    fn key(&self, name: &str, private: &str, certificate: &str) -> std::path::PathBuf {
        let path = self.folder.file(name, private);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.folder.file(&format!("{name}-cert.pub"), certificate);
        path
    }

    #[track_caller]
    fn lets_in(&self, key: &Path) {
        let output = self.log_in(key, "echo in as $LOGNAME");
        let (said, wrong) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(said, format!("in as {}\n", self.user), "{wrong}");
    }

    #[track_caller]
    fn keeps_out(&self, key: &Path, why: &str) {
        let output = self.log_in(key, "echo in");
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.stdout.is_empty() && wrong.contains(why), "{wrong}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keygen(arguments: &[&str]) {
    let output = Command::new("ssh-keygen").args(arguments).output().expect("openssh-client is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn user_here() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A CA for users and one for hosts, each with its role.
fn authorities(root: &Client, users: &Value) {
    for (mount, key) in [("users", users), ("hosts", &json!({"key_type": "ed25519"}))] {
        root.post(&format!("sys/mounts/{mount}"), json!({"type": "ssh"})).must(204);
        root.post(&format!("{mount}/config/ca"), key.clone()).must(200);
    }
    let people = json!({"key_type": "ca", "allow_user_certificates": true, "allowed_users": "*",
        "default_user": user_here(), "default_extensions": {"permit-pty": ""}, "ttl": "10m"});
    root.post("users/roles/people", people).must(204);
    let machines = json!({"key_type": "ca", "allow_host_certificates": true, "allowed_domains": "localhost",
        "allow_bare_domains": true, "ttl": "1h"});
    root.post("hosts/roles/machines", machines).must(204);
}

/// A key of this type from the server, with its certificate.
fn issued(root: &Client, machine: &Machine, body: Value) -> std::path::PathBuf {
    let reply = root.post("users/issue/people", body).must(200);
    machine.key("id", &reply.at("/data/private_key"), &reply.at("/data/signed_key"))
}

#[test]
fn users_and_hosts_trust_each_other_by_their_authorities() {
    let server = Server::dev(&Binary::sealkeep());
    let root = server.root();
    authorities(&root, &json!({"key_type": "ed25519"}));
    let machine = Machine::start(&root);
    for key in [
        json!({"key_type": "ed25519"}),
        json!({"key_type": "ec"}),
        json!({"key_type": "ec", "key_bits": 521}),
        json!({"key_type": "rsa", "key_bits": 2048}),
    ] {
        machine.lets_in(&issued(&root, &machine, key));
    }
    let denied = "Permission denied";
    let other = issued(&root, &machine, json!({"key_type": "ed25519", "valid_principals": "somebody-else"}));
    machine.keeps_out(&other, denied);
    let elsewhere = json!({"key_type": "ed25519", "critical_options": {"source-address": "192.0.2.1"}});
    machine.keeps_out(&issued(&root, &machine, elsewhere), denied);
    // What the certificate forces is run, whatever is asked for.
    let forced = json!({"key_type": "ed25519", "critical_options": {"force-command": "echo forced"}});
    let output = machine.log_in(&issued(&root, &machine, forced), "echo in");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "forced\n");
    // A user's certificate of the hosts' authority is nobody's here.
    let stranger = json!({"key_type": "ca", "allow_user_certificates": true, "allowed_users": "*"});
    root.post("hosts/roles/people", stranger).must(204);
    let body = json!({"key_type": "ed25519", "valid_principals": user_here()});
    let reply = root.post("hosts/issue/people", body).must(200);
    let key = machine.key("id", &reply.at("/data/private_key"), &reply.at("/data/signed_key"));
    machine.keeps_out(&key, denied);
    // A host that another authority certified is not the one that was meant.
    machine.folder.file(
        "known",
        &format!(
            "@cert-authority [localhost]:{} {}",
            machine.port,
            root.get("users/public_key").must(200).text()
        ),
    );
    machine
        .keeps_out(&issued(&root, &machine, json!({"key_type": "ed25519"})), "Host key verification failed");
}

#[track_caller]
fn check_issuer(key: &Value) {
    let server = Server::dev(&Binary::sealkeep());
    let root = server.root();
    authorities(&root, key);
    let machine = Machine::start(&root);
    machine.lets_in(&issued(&root, &machine, json!({"key_type": "ed25519"})));
}

#[test]
fn sshd_trusts_an_rsa_issuer() {
    check_issuer(&json!({"key_type": "ssh-rsa", "key_bits": 2048}));
}

#[test]
fn sshd_trusts_an_issuer_of_p256() {
    check_issuer(&json!({"key_type": "ecdsa-sha2-nistp256"}));
}

#[test]
fn sshd_trusts_an_issuer_of_p521() {
    check_issuer(&json!({"key_type": "ecdsa-sha2-nistp521"}));
}

/// A CA that `ssh-keygen` made goes on here, and the real client signs a key of the user's own.
#[test]
fn the_real_client_signs_with_a_ca_that_was_brought() {
    let server = Server::dev(&Binary::sealkeep());
    let root = server.root();
    let folder = Scratch::new();
    let ca = folder.path().join("ca").display().to_string();
    keygen(&["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", &ca]);
    let text = |path: &str| fs::read_to_string(path).unwrap();
    authorities(&root, &json!({"private_key": text(&ca), "public_key": text(&format!("{ca}.pub"))}));
    let machine = Machine::start(&root);
    let key = machine.folder.path().join("own");
    keygen(&["-q", "-t", "ed25519", "-N", "", "-f", &key.display().to_string()]);
    let output = Command::new(Binary::bao().path())
        .args(["write", "-field=signed_key", "users/sign/people"])
        .arg(format!("public_key=@{}.pub", key.display()))
        .env("BAO_ADDR", server.url())
        .env("BAO_TOKEN", root.token())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    machine.folder.file("own-cert.pub", &String::from_utf8(output.stdout).unwrap());
    machine.lets_in(&key);
}
