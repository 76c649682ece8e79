//! Keys that travel between OpenBao and Sealkeep, both ways: what one encrypts the other decrypts, what one signs the other
//! verifies, and openssl too.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tests::binary::Binary;
use tests::http::Client;
use tests::scratch::Scratch;
use tests::server::Server;

/// A server with transit mounted.
struct Side {
    server: Server,
    root: Client,
}

impl Side {
    fn start(binary: &Binary) -> Self {
        let server = Server::dev(binary);
        let root = server.root();
        root.post("sys/mounts/transit", json!({"type": "transit"})).must(204);
        Self { server, root }
    }

    #[track_caller]
    fn post(&self, path: &str, body: Value) -> Value {
        let reply = self.root.post(&format!("transit/{path}"), body).must_be_any(&[200, 204]);
        reply.json()["data"].clone()
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.root.get(&format!("transit/{path}")).must(200).json()["data"].clone()
    }

    /// Makes a key that may leave, with two versions.
    fn make(&self, name: &str, settings: &Value) {
        let mut body = json!({"exportable": true, "allow_plaintext_backup": true});
        body.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        self.post(&format!("keys/{name}"), body);
    }
}

/// "a secret", "a context", in base64.
const SECRET: &str = "YSBzZWNyZXQ=";
const CONTEXT: &str = "YSBjb250ZXh0";

fn sides() -> (Side, Side) {
    (Side::start(&Binary::bao()), Side::start(&Binary::sealkeep()))
}

/// Every kind of key, and settings that change what it does.
fn kinds() -> Vec<(&'static str, Value)> {
    vec![
        ("aes128", json!({"type": "aes128-gcm96"})),
        ("aes256", json!({"type": "aes256-gcm96"})),
        ("chacha", json!({"type": "chacha20-poly1305"})),
        ("xchacha", json!({"type": "xchacha20-poly1305"})),
        ("derived", json!({"type": "aes256-gcm96", "derived": true})),
        ("convergent", json!({"type": "aes128-gcm96", "derived": true, "convergent_encryption": true})),
        (
            "xconvergent",
            json!({"type": "xchacha20-poly1305", "derived": true, "convergent_encryption": true}),
        ),
        ("ed", json!({"type": "ed25519"})),
        ("edderived", json!({"type": "ed25519", "derived": true})),
        ("p256", json!({"type": "ecdsa-p256"})),
        ("p384", json!({"type": "ecdsa-p384"})),
        ("p521", json!({"type": "ecdsa-p521"})),
        ("rsa2048", json!({"type": "rsa-2048"})),
        ("rsa3072", json!({"type": "rsa-3072"})),
        ("hmac", json!({"type": "hmac", "key_size": 64})),
    ]
}

fn context(settings: &Value) -> Value {
    if settings["derived"] == true { json!(CONTEXT) } else { json!("") }
}

/// What `maker` makes with the key, `taker` takes.
fn check(what: &str, settings: &Value, maker: &Side, taker: &Side, name: &str) {
    let kind = settings["type"].as_str().unwrap();
    let context = context(settings);
    if kind.contains("poly1305") || kind.contains("gcm") || kind.starts_with("rsa") {
        let mut with = json!({"plaintext": SECRET, "context": context});
        if !kind.starts_with("rsa") {
            with["associated_data"] = json!(CONTEXT);
        }
        let made = maker.post(&format!("encrypt/{name}"), with.clone());
        with["ciphertext"] = made["ciphertext"].clone();
        with.as_object_mut().unwrap().remove("plaintext");
        let opened = taker.post(&format!("decrypt/{name}"), with);
        assert_eq!(opened["plaintext"], SECRET, "{what}: {name}");
    }
    if settings["convergent_encryption"] == true {
        let body = json!({"plaintext": SECRET, "context": context});
        let one = maker.post(&format!("encrypt/{name}"), body.clone());
        let other = taker.post(&format!("encrypt/{name}"), body);
        assert_eq!(one["ciphertext"], other["ciphertext"], "{what}: {name} converges");
    }
    if kind.starts_with("ed") || kind.starts_with("ecdsa") || kind.starts_with("rsa") {
        check_signatures(what, kind, &context, maker, taker, name);
    }
    let made = maker.post(&format!("hmac/{name}/sha3-256"), json!({"input": SECRET}));
    let body = json!({"input": SECRET, "hmac": made["hmac"]});
    assert_eq!(taker.post(&format!("verify/{name}/sha3-256"), body)["valid"], true, "{what}: {name} hmac");
}

fn check_signatures(what: &str, kind: &str, context: &Value, maker: &Side, taker: &Side, name: &str) {
    let mut manners =
        vec![json!({}), json!({"marshaling_algorithm": "jws"}), json!({"hash_algorithm": "sha2-512"})];
    if kind.starts_with("rsa") {
        for salt in ["hash", "17"] {
            manners.push(json!({"salt_length": salt, "hash_algorithm": "sha2-384"}));
        }
        manners.push(json!({"signature_algorithm": "pkcs1v15"}));
    }
    if kind.starts_with("ecdsa") {
        for hash in ["sha1", "sha2-224", "sha3-256", "sha3-512"] {
            manners.push(json!({"hash_algorithm": hash}));
        }
    }
    for manner in manners {
        let mut body = manner.clone();
        body["input"] = json!(SECRET);
        body["context"] = context.clone();
        let made = maker.post(&format!("sign/{name}"), body.clone());
        body["signature"] = made["signature"].clone();
        let said = taker.post(&format!("verify/{name}"), body.clone());
        assert_eq!(said["valid"], true, "{what}: {name} {manner}");
        body["input"] = json!("b3RoZXI=");
        let said = taker.post(&format!("verify/{name}"), body);
        assert_eq!(said["valid"], false, "{what}: {name} {manner} of something else");
    }
}

#[test]
fn a_backup_of_one_is_restored_by_the_other() {
    let (bao, own) = sides();
    for (name, settings) in kinds() {
        for (what, from, to) in [("bao to sealkeep", &bao, &own), ("sealkeep to bao", &own, &bao)] {
            from.make(name, &settings);
            from.post(&format!("keys/{name}/rotate"), json!({}));
            let backup = from.get(&format!("backup/{name}"));
            let there = format!("from-{}-{name}", what.split(' ').next().unwrap());
            to.post(&format!("restore/{there}"), json!({"backup": backup["backup"]}));
            let (shown, restored) = (from.get(&format!("keys/{name}")), to.get(&format!("keys/{there}")));
            for field in ["keys", "latest_version", "derived", "type", "exportable", "min_decryption_version"]
            {
                assert_eq!(shown[field], restored[field], "{what}: {name} {field}");
            }
            // The name differs on purpose: the ciphertext does not hold it. So both are asked under their own.
            let renamed = Renamed { from, to, name, there: &there };
            renamed.check(what, &settings);
        }
        bao.root.post(&format!("transit/keys/{name}/config"), json!({"deletion_allowed": true})).must(200);
        bao.root.delete(&format!("transit/keys/{name}")).must(204);
        own.root.post(&format!("transit/keys/{name}/config"), json!({"deletion_allowed": true})).must(200);
        own.root.delete(&format!("transit/keys/{name}")).must(204);
    }
}

/// The same key under another name on each side.
struct Renamed<'a> {
    from: &'a Side,
    to: &'a Side,
    name: &'a str,
    there: &'a str,
}

impl Renamed<'_> {
    fn check(&self, what: &str, settings: &Value) {
        // A second copy under the first name would do for both, but the key is already there: so restore it once more.
        let backup = self.from.get(&format!("backup/{}", self.name));
        let body = json!({"backup": backup["backup"], "force": true});
        self.to.post(&format!("restore/{}", self.name), body);
        check(what, settings, self.from, self.to, self.name);
        check(what, settings, self.to, self.from, self.name);
        self.to.get(&format!("keys/{}", self.there));
    }
}

#[test]
fn a_key_that_one_wraps_the_other_imports() {
    let (bao, own) = sides();
    for (name, settings) in kinds() {
        // What converges has no way in, on either side; nor has what is derived from half a pair.
        if settings["convergent_encryption"] == true {
            continue;
        }
        for (what, from, to) in [("bao to sealkeep", &bao, &own), ("sealkeep to bao", &own, &bao)] {
            let door = to.get("wrapping_key");
            let gate = format!("gate-{name}");
            let body = json!({"type": "rsa-4096", "public_key": door["public_key"]});
            from.post(&format!("keys/{gate}/import"), body);
            let here = format!("{name}-{}", what.split(' ').next().unwrap());
            from.make(&here, &settings);
            for hash in ["SHA1", "SHA256", "SHA384", "SHA512"] {
                let wrapped = from.get(&format!("byok-export/{gate}/{here}?hash={hash}"));
                let there = format!("{here}-{hash}");
                let mut body = settings.clone();
                body.as_object_mut().unwrap().remove("key_size");
                body["ciphertext"] = wrapped["keys"]["1"].clone();
                body["hash_function"] = json!(hash);
                body["exportable"] = json!(true);
                to.post(&format!("keys/{there}/import"), body);
                let what_is = if name.starts_with("ed") || name.starts_with('p') {
                    "signing-key"
                } else {
                    "encryption-key"
                };
                let what_is = if name == "hmac" { "hmac-key" } else { what_is };
                // A derived Ed25519 key is 64 bytes of which PKCS#8 carries the seed, and the rest follows from it.
                let (one, other) = (
                    from.get(&format!("export/{what_is}/{here}")),
                    to.get(&format!("export/{what_is}/{there}")),
                );
                assert_eq!(one["keys"], other["keys"], "{what}: {name} {hash}");
            }
        }
    }
}

#[test]
fn the_command_line_imports_a_key() {
    let own = Side::start(&Binary::sealkeep());
    let home = Scratch::new();
    let bao = |line: &[&str]| {
        let mut command = Command::new(Binary::bao().path());
        command.args(line).env("BAO_ADDR", own.server.url()).env("BAO_TOKEN", tests::server::DEV_TOKEN);
        let output = command.env("HOME", home.path()).output().unwrap();
        assert!(output.status.success(), "bao {line:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    // 32 bytes in base64.
    let (one, other) =
        ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "HxECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    bao(&["transit", "import", "transit/keys/mine", one, "type=aes256-gcm96", "exportable=true"]);
    bao(&["transit", "import-version", "transit/keys/mine", other]);
    let keys = own.get("export/encryption-key/mine")["keys"].clone();
    assert_eq!(keys, json!({"1": one, "2": other}));
}

struct OpenSsl {
    folder: Scratch,
}

impl OpenSsl {
    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn decode(&self, base64: &str) -> Vec<u8> {
        let file = self.file("base64", base64.as_bytes());
        let out = Command::new("openssl").args(["base64", "-d", "-A", "-in"]).arg(file).output().unwrap();
        assert!(out.status.success());
        out.stdout
    }

    fn verifies(&self, pem: &str, signature: &[u8], options: &[&str]) -> bool {
        let key = self.file("key.pem", pem.as_bytes());
        let message = self.file("message", b"a secret");
        let signature = self.file("signature", signature);
        let mut openssl = Command::new("openssl");
        match options.first() {
            Some(&"raw") => {
                openssl.args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"]).arg(key);
                openssl.arg("-in").arg(message).arg("-sigfile").arg(signature);
            }
            _ => {
                openssl.arg("dgst").args(options).arg("-verify").arg(key);
                openssl.arg("-signature").arg(signature).arg(message);
            }
        }
        openssl.output().unwrap().status.success()
    }
}

#[test]
fn openssl_verifies_what_is_signed_here() {
    let own = Side::start(&Binary::sealkeep());
    let openssl = OpenSsl { folder: Scratch::new() };
    let pss = ["-sha256", "-sigopt", "rsa_padding_mode:pss"];
    let cases: [(&str, &str, Value, &[&str]); 7] = [
        ("ed", "ed25519", json!({}), &["raw"]),
        ("p256", "ecdsa-p256", json!({}), &["-sha256"]),
        ("p384", "ecdsa-p384", json!({"hash_algorithm": "sha3-384"}), &["-sha3-384"]),
        ("p521", "ecdsa-p521", json!({"hash_algorithm": "sha2-512"}), &["-sha512"]),
        ("rsa", "rsa-2048", json!({}), &pss),
        ("rsa", "rsa-2048", json!({"salt_length": "hash"}), &pss),
        ("rsa", "rsa-2048", json!({"signature_algorithm": "pkcs1v15"}), &["-sha256"]),
    ];
    for (name, kind, mut body, options) in cases {
        own.make(name, &json!({"type": kind}));
        let pem = own.get(&format!("export/public-key/{name}?format=pem"));
        let pem = pem["keys"]["1"].as_str().unwrap().to_owned();
        body["input"] = json!(SECRET);
        let signed = own.post(&format!("sign/{name}"), body.clone());
        let signature = signed["signature"].as_str().unwrap().strip_prefix("vault:v1:").unwrap();
        let mut signature = openssl.decode(signature);
        assert!(openssl.verifies(&pem, &signature, options), "{kind} {body}");
        let last = signature.len() - 1;
        signature[last] ^= 1;
        assert!(!openssl.verifies(&pem, &signature, options), "{kind} {body}, touched");
    }
}

#[test]
fn one_key_is_used_by_many_at_once_and_rotated_meanwhile() {
    let own = Side::start(&Binary::sealkeep());
    own.make("k", &json!({}));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let made = own.post("encrypt/k", json!({"plaintext": SECRET}));
                    let opened = own.post("decrypt/k", json!({"ciphertext": made["ciphertext"]}));
                    assert_eq!(opened["plaintext"], SECRET);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..20 {
                own.post("keys/k/rotate", json!({}));
            }
        });
    });
    assert_eq!(own.get("keys/k")["latest_version"], 21, "no rotation is lost");
}
