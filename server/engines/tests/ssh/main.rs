//! SSH certificates and one-time passwords, asked for as a client does, and read by OpenSSH's own `ssh-keygen`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod authorities;
#[allow(dead_code, reason = "not every test needs every part of it")]
#[path = "../bench/mod.rs"]
mod bench;
mod passwords;
mod rules;
mod signing;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use bench::{Answer, Bench};
use kit::Entity;
use serde_json::{Value, json};

/// The public key of a user.
const USER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICnO36VFhAs5/BQfkW/3qHrWry6yzPRYwsmKDz4+KnMY ann@host";

fn mount() -> Bench {
    Bench::new(engines::open("ssh", &json!({})).unwrap(), None)
}

/// A mount with an issuer of Ed25519 and the role `r` for the users `ann` and `bob`.
fn ready(changes: Value) -> Bench {
    let bench = mount();
    bench.post("config/ca", json!({"key_type": "ed25519"})).is(200);
    role(&bench, changes);
    bench
}

fn role(bench: &Bench, changes: Value) {
    let mut body = json!({"key_type": "ca", "allow_user_certificates": true, "allowed_users": "ann,bob"});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    bench.post("roles/r", body).is(204);
}

/// Asks the role `r` to sign the user's key.
fn sign(bench: &Bench, changes: Value) -> Answer {
    let mut body = json!({"public_key": USER_KEY, "valid_principals": "ann"});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    bench.post("sign/r", body)
}

/// What `ssh-keygen -L` says of a certificate, in lines without their indentation. It refuses a bad signature.
#[track_caller]
fn said(answer: &Answer) -> Vec<String> {
    let desk = Desk::new();
    desk.put("c-cert.pub", answer.data["signed_key"].as_str().unwrap());
    let text = desk.keygen(&["-L", "-f", "c-cert.pub"]);
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// The lines below a heading, up to the next one.
fn below(said: &[String], heading: &str) -> Vec<String> {
    let from = said.iter().skip_while(|line| !line.starts_with(heading)).skip(1);
    from.take_while(|line| !line.ends_with(':') && !line.ends_with("(none)")).cloned().collect()
}

/// The caller as somebody whom the identity store knows.
fn as_entity(bench: &mut Bench, metadata: &[(&str, &str)]) {
    let metadata: BTreeMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let entity = Entity { id: "e1".to_owned(), name: "ann".to_owned(), metadata, ..Entity::default() };
    bench.caller.entity = Some(entity);
}

/// A folder for ssh-keygen.
struct Desk(PathBuf);

impl Desk {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ssh-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Desk(path)
    }

    fn put(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    #[track_caller]
    fn keygen(&self, arguments: &[&str]) -> String {
        let out = Command::new("ssh-keygen").args(arguments).current_dir(&self.0).output().unwrap();
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success(), "ssh-keygen {}: {text}", arguments.join(" "));
        text
    }

    /// A new pair of keys: the private one and the public line.
    fn pair(&self, arguments: &[&str]) -> (String, String) {
        let _ = fs::remove_file(self.0.join("k"));
        let all = [&["-q", "-N", "", "-C", "c", "-f", "k"], arguments].concat();
        self.keygen(&all);
        (self.text("k"), self.text("k.pub"))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
