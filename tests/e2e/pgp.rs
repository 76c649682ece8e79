//! Shares and root tokens that are handed out encrypted: asked for with the real `bao`, read with the real `gpg`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tests::binary::Binary;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage};

/// Somebody with a key.
struct Owner {
    home: Scratch,
    /// Where their public key lies.
    public: PathBuf,
}

impl Owner {
    fn new(kind: &str) -> Self {
        let home = Scratch::new();
        let public = home.path().join("public.gpg");
        let owner = Self { home, public };
        let parameters = format!("%no-protection\n{kind}\nName-Email: owner@example.com\n%commit\n");
        owner.gpg(&["--gen-key"], parameters.as_bytes());
        std::fs::write(&owner.public, owner.gpg(&["--export"], b"")).unwrap();
        owner
    }

    #[track_caller]
    fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut gpg = Command::new("gpg")
            .env("GNUPGHOME", self.home.path())
            .args([
                "--batch",
                "--quiet",
                "--no-permission-warning",
                "--pinentry-mode=loopback",
                "--passphrase=",
            ])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("gpg is installed");
        gpg.stdin.take().unwrap().write_all(input).unwrap();
        let output = gpg.wait_with_output().unwrap();
        assert!(output.status.success(), "gpg {arguments:?}");
        output.stdout
    }

    /// What was encrypted to them, in base64.
    #[track_caller]
    fn read(&self, sealed: &Value) -> String {
        let sealed = STANDARD.decode(sealed.as_str().unwrap_or_default()).expect("base64");
        String::from_utf8(self.gpg(&["--decrypt"], &sealed)).unwrap()
    }

    fn file(&self) -> &str {
        self.public.to_str().unwrap()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(Command::new("gpgconf").env("GNUPGHOME", self.home.path()).args(["--kill", "all"]).status());
    }
}

#[track_caller]
fn bao(server: &Server, token: &str, line: &[&str]) -> Value {
    let home = Scratch::new();
    let output = Command::new(Binary::bao().path())
        .args(line)
        .env("BAO_ADDR", server.url())
        .env("BAO_TOKEN", token)
        .env("HOME", home.path())
        .env("BAO_FORMAT", "json")
        .env("BAO_MAX_RETRIES", "0")
        .output()
        .expect("bao can be started");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "bao {}: {out}{error}", line.join(" "));
    serde_json::from_str(&out).unwrap_or_else(|_| Value::String(out.trim().to_owned()))
}

const RSA: &str = "Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign\nSubkey-Type: RSA\nSubkey-Length: 2048\nSubkey-Usage: encrypt";
const CURVE: &str = "Key-Type: EDDSA\nKey-Curve: ed25519\nKey-Usage: sign\nSubkey-Type: ECDH\nSubkey-Curve: cv25519\nSubkey-Usage: encrypt";

#[test]
fn owners_read_their_shares_with_gpg_and_nobody_else_does() {
    let owners = [Owner::new(RSA), Owner::new(CURVE)];
    let folder = Scratch::new();
    let server = Server::configured(&Binary::sealkeep(), &Config::new(Storage::Raft, folder.path()));
    let keys = format!("-pgp-keys={},{}", owners[0].file(), owners[1].file());
    let root_key = format!("-root-token-pgp-key={}", owners[1].file());
    let made = bao(&server, "", &["operator", "init", "-key-shares=2", "-key-threshold=2", &keys, &root_key]);
    let read = |at: usize| owners[at].read(&made["unseal_keys_b64"][at]);
    let shares = [read(0), read(1)];
    let root = owners[1].read(&made["root_token"]);
    shares.iter().for_each(|share| drop(bao(&server, "", &["operator", "unseal", share])));
    bao(&server, &root, &["token", "lookup"]);
    // New shares, which the server keeps, encrypted, until it is told to forget them.
    let begun = bao(
        &server,
        &root,
        &["operator", "rotate-keys", "-init", "-key-shares=2", "-key-threshold=2", &keys, "-backup"],
    );
    assert_eq!(begun["pgp_fingerprints"].as_array().map(Vec::len), Some(2), "{begun}");
    let nonce = format!("-nonce={}", begun["nonce"].as_str().unwrap());
    bao(&server, &root, &["operator", "rotate-keys", &nonce, &shares[0]]);
    let done = bao(&server, &root, &["operator", "rotate-keys", &nonce, &shares[1]]);
    assert_eq!(done["pgp_fingerprints"], begun["pgp_fingerprints"]);
    let new = [owners[0].read(&done["keys_base64"][0]), owners[1].read(&done["keys_base64"][1])];
    let kept = bao(&server, &root, &["operator", "rotate-keys", "-backup-retrieve"]);
    for (at, owner) in owners.iter().enumerate() {
        let fingerprint = begun["pgp_fingerprints"][at].as_str().unwrap();
        let kept = kept["data"]["keys_base64"][fingerprint].as_array().unwrap_or_else(|| panic!("{kept}"));
        assert_eq!(owner.read(&kept[0]), new[at]);
    }
    bao(&server, &root, &["operator", "rotate-keys", "-backup-delete"]);
    bao(&server, &root, &["operator", "seal"]);
    new.iter().for_each(|share| drop(bao(&server, "", &["operator", "unseal", share])));
    // A root token for one of them alone.
    let begun = bao(
        &server,
        &root,
        &["operator", "generate-root", "-init", &format!("-pgp-key={}", owners[0].file())],
    );
    let nonce = format!("-nonce={}", begun["nonce"].as_str().unwrap());
    bao(&server, &root, &["operator", "generate-root", &nonce, &new[0]]);
    let done = bao(&server, &root, &["operator", "generate-root", &nonce, &new[1]]);
    bao(&server, &owners[0].read(&done["encoded_token"]), &["token", "lookup"]);
}

#[test]
fn a_key_that_cannot_be_encrypted_to_leaves_nothing_made() {
    let folder = Scratch::new();
    let server = Server::configured(&Binary::sealkeep(), &Config::new(Storage::Raft, folder.path()));
    let signs = Owner::new("Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign");
    let key = STANDARD.encode(std::fs::read(&signs.public).unwrap());
    let client = server.anonymous();
    let body = |keys: Value| serde_json::json!({"secret_shares": 1, "secret_threshold": 1, "pgp_keys": keys});
    for keys in [serde_json::json!([key]), serde_json::json!(["keybase:somebody"]), serde_json::json!(["!!"])]
    {
        client.post("sys/init", body(keys)).must(400);
    }
    assert_eq!(client.get("sys/init").must(200).json()["initialized"], false);
}
