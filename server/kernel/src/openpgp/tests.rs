use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use storage::SystemRandom;

use super::*;

/// A home of gpg that is gone when the test is.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Option<Self> {
        let home = std::env::temp_dir().join(format!("sealkeep-gpg-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let home = Self(home);
        let found = Command::new("gpg").arg("--version").stdout(Stdio::null()).status();
        found.is_ok_and(|status| status.success()).then_some(home)
    }

    fn gpg(&self, arguments: &[&str], input: &[u8]) -> (bool, Vec<u8>) {
        let mut gpg = Command::new("gpg")
            .env("GNUPGHOME", &self.0)
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
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        gpg.stdin.take().unwrap().write_all(input).unwrap();
        let output = gpg.wait_with_output().unwrap();
        (output.status.success(), output.stdout)
    }

    /// A new key of these parameters, exported.
    fn key(&self, parameters: &str) -> Vec<u8> {
        let text = format!("%no-protection\n{parameters}\nName-Email: a@b\n%commit\n");
        assert!(self.gpg(&["--gen-key"], text.as_bytes()).0, "{parameters}");
        let (done, key) = self.gpg(&["--export"], b"");
        assert!(done && !key.is_empty());
        key
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(Command::new("gpgconf").env("GNUPGHOME", &self.0).args(["--kill", "all"]).status());
        drop(std::fs::remove_dir_all(&self.0));
    }
}

const NOW: Time = Time::from_seconds(4_000_000_000);

#[track_caller]
fn check(name: &str, parameters: &str) {
    let Some(home) = Home::new(name) else { return };
    let key = home.key(parameters);
    let key = PgpKey::parse(&STANDARD.encode(key), NOW).unwrap();
    let (_, listed) = home.gpg(&["--list-keys", "--with-colons"], b"");
    let listed = String::from_utf8(listed).unwrap().to_lowercase();
    assert!(listed.contains(&format!(":{}:", key.fingerprint())), "{listed}");
    let secret = b"a share of something";
    let sealed = key.encrypt(secret, &SystemRandom).unwrap();
    let (done, opened) = home.gpg(&["--decrypt"], &sealed);
    assert!(done, "{name}: gpg does not read it");
    assert_eq!(opened, secret, "{name}");
    // What was changed is not read.
    let mut changed = sealed;
    let last = changed.len() - 30;
    changed[last] ^= 1;
    assert!(!home.gpg(&["--decrypt"], &changed).0, "{name}");
}

#[test]
fn gpg_reads_what_is_encrypted_to_an_rsa_key() {
    check(
        "rsa",
        "Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign\nSubkey-Type: RSA\nSubkey-Length: 3072\nSubkey-Usage: encrypt",
    );
}

#[test]
fn gpg_reads_what_is_encrypted_to_an_rsa_key_without_parts() {
    check("one", "Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign encrypt");
}

#[test]
fn gpg_reads_what_is_encrypted_to_curve25519() {
    check(
        "x25519",
        "Key-Type: EDDSA\nKey-Curve: ed25519\nKey-Usage: sign\nSubkey-Type: ECDH\nSubkey-Curve: cv25519\nSubkey-Usage: encrypt",
    );
}

#[test]
fn gpg_reads_what_is_encrypted_to_curves_of_nist() {
    for bits in [256, 521] {
        let parameters = format!(
            "Key-Type: ECDSA\nKey-Curve: nistp{bits}\nKey-Usage: sign\nSubkey-Type: ECDH\nSubkey-Curve: nistp{bits}\nSubkey-Usage: encrypt"
        );
        check(&format!("p{bits}"), &parameters);
    }
}

#[test]
fn what_cannot_or_must_not_be_encrypted_to_is_refused() {
    let Some(home) = Home::new("refused") else { return };
    let parameters = "Key-Type: EDDSA\nKey-Curve: ed25519\nKey-Usage: sign\nSubkey-Type: ECDH\nSubkey-Curve: cv25519\nSubkey-Usage: encrypt";
    let key = home.key(parameters);
    let refuse = |bytes: &[u8], part: &str| {
        let why = PgpKey::parse(&STANDARD.encode(bytes), NOW).err().expect(part);
        assert!(why.contains(part), "{why}");
    };
    refuse(b"", "empty");
    refuse(&key[..key.len() - 1], "middle");
    let (_, private) = home.gpg(&["--export-secret-keys"], b"");
    refuse(&private, "private key");
    let (_, armored) = home.gpg(&["--export", "--armor"], b"");
    refuse(&armored, "MSB");
    assert!(PgpKey::parse("keybase:somebody", NOW).err().unwrap().contains("keybase"));
    assert!(PgpKey::parse("!", NOW).err().unwrap().contains("base64"));
    // A part that another has put in is not signed by the key; nor is one whose signature says something else.
    let other = Home::new("other").unwrap().key(parameters);
    let subkey = |key: &[u8]| {
        let packets = packet::packets(key).unwrap();
        let at = packets.iter().position(|packet| packet.tag == 14).unwrap();
        let mut cut = (Vec::new(), Vec::new());
        packets[..at].iter().for_each(|packet| packet::put(&mut cut.0, packet.tag, packet.body));
        packets[at..].iter().for_each(|packet| packet::put(&mut cut.1, packet.tag, packet.body));
        cut
    };
    let (own, theirs) = (subkey(&key), subkey(&other));
    assert!(PgpKey::parse(&STANDARD.encode([&own.0[..], &own.1].concat()), NOW).is_ok());
    refuse(&[&own.0[..], &theirs.1].concat(), "nothing in it can be encrypted to");
    refuse(&own.0, "nothing in it can be encrypted to");
    // Nothing that is cut or changed makes it fall over.
    for at in 0..key.len() {
        let mut changed = key.clone();
        changed[at] ^= 0x55;
        drop(PgpKey::parse(&STANDARD.encode(&changed), NOW));
        drop(PgpKey::parse(&STANDARD.encode(&key[..at]), NOW));
    }
}
