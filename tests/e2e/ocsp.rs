//! The OCSP responder as others ask it: openssl, by POST and by GET, and pkilint over its answers.

use serde_json::json;
use std::path::Path;
use std::process::Command;
use tests::binary::Binary;
use tests::http::{Client, Request};
use tests::scratch::Scratch;
use tests::server::Server;

const QUESTION: &str = "application/ocsp-request";

struct Authority {
    server: Server,
    root: Client,
    folder: Scratch,
}

impl Authority {
    fn new(kind: &str, bits: u32) -> Self {
        let (server, folder) = (Server::dev(&Binary::sealkeep()), Scratch::new());
        let root = server.root();
        root.post("sys/mounts/pki", json!({"type": "pki", "config": {"max_lease_ttl": "87600h"}})).must(204);
        let body =
            json!({"common_name": "Example Root", "key_type": kind, "key_bits": bits, "ttl": "87600h"});
        let made = root.post("pki/root/generate/internal", body).must(200);
        folder.file("ca.pem", &made.at("/data/certificate"));
        let role = json!({"allowed_domains": ["example.com"], "allow_subdomains": true, "key_type": "ec", "ttl": "24h"});
        root.post("pki/roles/web", role).must(200);
        Self { server, root, folder }
    }

    /// A new leaf, in a file of this name; gives its serial number.
    fn leaf(&self, file: &str) -> String {
        let issued = self.root.post("pki/issue/web", json!({"common_name": "a.example.com"})).must(200);
        self.folder.file(file, &issued.at("/data/certificate"));
        issued.at("/data/serial_number")
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What openssl hears about a leaf, having checked who says so.
    fn openssl(&self, leaf: &str, more: &[&str]) -> String {
        let (ca, leaf) = (self.file("ca.pem"), self.file(leaf));
        let url = format!("{}/v1/pki/ocsp", self.server.url());
        let first =
            ["ocsp", "-issuer", &ca, "-cert", &leaf, "-url", &url, "-CAfile", &ca, "-verify_other", &ca];
        said("openssl", &[&first[..], more].concat())
    }

    /// A question about a leaf, as openssl writes it.
    fn question(&self, leaf: &str, more: &[&str]) -> Vec<u8> {
        let (ca, leaf, out) = (self.file("ca.pem"), self.file(leaf), self.file("question.der"));
        said("openssl", &[&["ocsp", "-issuer", &ca, "-cert", &leaf, "-reqout", &out][..], more].concat());
        std::fs::read(out).unwrap()
    }

    /// The answer to a question by POST, in a file, as openssl shows it.
    fn shown(&self, question: &[u8]) -> String {
        let reply = self.post(question, QUESTION);
        assert_eq!(reply.0, 200);
        let file = self.folder.path().join("answer.der");
        std::fs::write(&file, reply.1).unwrap();
        let (ca, file) = (self.file("ca.pem"), file.display().to_string());
        said("openssl", &["ocsp", "-respin", &file, "-CAfile", &ca, "-verify_other", &ca, "-text"])
    }

    fn post(&self, body: &[u8], kind: &str) -> (u16, Vec<u8>) {
        let request = Request::new("POST", "/v1/pki/ocsp").header("Content-Type", kind).body(body.to_vec());
        let reply = self.server.anonymous().send(&request);
        assert_eq!(reply.header("content-type"), Some("application/ocsp-response"));
        (reply.status, reply.body)
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it is installed");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {}: {text}", arguments.join(" "));
    text
}

fn openssl_is_answered(kind: &str, bits: u32) {
    let authority = Authority::new(kind, bits);
    let serial = authority.leaf("leaf.pem");
    let told = authority.openssl("leaf.pem", &[]);
    assert!(told.contains("Response verify OK") && told.contains("leaf.pem: good"), "{told}");
    assert!(!told.contains("WARNING"), "the nonce comes back: {told}");
    authority.root.post("pki/revoke", json!({"serial_number": serial})).must(200);
    for nonce in [&[][..], &["-no_nonce"]] {
        let told = authority.openssl("leaf.pem", nonce);
        assert!(told.contains("Response verify OK") && told.contains("leaf.pem: revoked"), "{told}");
    }
}

#[test]
fn openssl_is_answered_by_ec() {
    openssl_is_answered("ec", 256);
}

#[test]
fn openssl_is_answered_by_rsa() {
    openssl_is_answered("rsa", 2048);
}

#[test]
fn openssl_is_answered_by_ed25519() {
    openssl_is_answered("ed25519", 0);
}

#[test]
fn a_number_that_was_never_given_out_is_unknown() {
    let authority = Authority::new("ec", 256);
    let ca = authority.file("ca.pem");
    let url = format!("{}/v1/pki/ocsp", authority.server.url());
    for hash in ["-sha1", "-sha256", "-sha384", "-sha512"] {
        let told = said(
            "openssl",
            &[
                "ocsp",
                hash,
                "-issuer",
                &ca,
                "-serial",
                "0x1234",
                "-url",
                &url,
                "-CAfile",
                &ca,
                "-verify_other",
                &ca,
            ],
        );
        assert!(told.contains("Response verify OK") && told.contains("0x1234: unknown"), "{told}");
    }
}

#[test]
fn questions_come_in_the_path_too_however_they_are_written() {
    let authority = Authority::new("ec", 256);
    // Three bytes of ones are four slashes in base64, which the path of a URL must not have side by side.
    for serial in ["0x7fffffffffffffffffffffffffff", "0x7bffbefbefbefbefbefbefbefbef", "0x1234"] {
        let (ca, out) = (authority.file("ca.pem"), authority.file("question.der"));
        said("openssl", &["ocsp", "-issuer", &ca, "-serial", serial, "-no_nonce", "-reqout", &out]);
        let text = base64(&std::fs::read(out).unwrap());
        assert_eq!(text.contains("//"), serial.contains("ffff"), "{text}");
        let encoded = text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        for path in [&text, &encoded] {
            let reply =
                authority.server.anonymous().send(&Request::new("GET", &format!("/v1/pki/ocsp/{path}")));
            assert_eq!((reply.status, reply.body[0]), (200, 0x30), "{path}");
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn an_answer_is_the_same_for_all_until_something_changes() {
    let authority = Authority::new("ec", 256);
    let serial = authority.leaf("leaf.pem");
    let question = authority.question("leaf.pem", &["-no_nonce"]);
    let first = authority.post(&question, QUESTION);
    assert_eq!(first, authority.post(&question, QUESTION), "it is signed once");
    authority.root.post("pki/revoke", json!({"serial_number": serial})).must(200);
    assert!(authority.shown(&question).contains("Cert Status: revoked"), "a revocation shows at once");
    // The next question is another one, and so is its answer.
    let fresh = authority.question("leaf.pem", &["-nonce"]);
    assert_ne!(
        authority.post(&fresh, QUESTION),
        authority.post(&authority.question("leaf.pem", &["-nonce"]), QUESTION)
    );
}

#[test]
fn one_question_may_be_about_several() {
    let authority = Authority::new("ec", 256);
    let serial = authority.leaf("a.pem");
    authority.leaf("b.pem");
    authority.root.post("pki/revoke", json!({"serial_number": serial})).must(200);
    let other = authority.file("b.pem");
    let shown = authority.shown(&authority.question("a.pem", &["-cert", &other]));
    let statuses: Vec<&str> =
        shown.lines().filter_map(|line| line.trim().strip_prefix("Cert Status: ")).collect();
    assert_eq!(statuses, ["revoked", "good"], "{shown}");
}

#[test]
fn who_may_not_answer_says_so() {
    let authority = Authority::new("ec", 256);
    authority.leaf("leaf.pem");
    let question = authority.question("leaf.pem", &[]);
    for (body, kind) in [(&b"garbage"[..], QUESTION), (b"", QUESTION), (&vec![0x30; 20_000], QUESTION)] {
        assert_eq!(authority.post(body, kind), (400, vec![0x30, 3, 0x0a, 1, 1]));
    }
    let unauthorized = (401, vec![0x30, 3, 0x0a, 1, 6]);
    let root = &authority.root;
    let set = |value: bool| root.post("pki/config/crl", json!({"ocsp_disable": value})).must(200);
    set(true);
    assert_eq!(authority.post(&question, QUESTION), unauthorized);
    set(false);
    assert_eq!(authority.post(&question, QUESTION).0, 200);
    root.post("pki/issuer/default", json!({"usage": "issuing-certificates,crl-signing"})).must(200);
    assert_eq!(authority.post(&question, QUESTION), unauthorized, "its usage lacks ocsp-signing");
    let stranger = Authority::new("ec", 256);
    stranger.leaf("leaf.pem");
    assert_eq!(authority.post(&stranger.question("leaf.pem", &[]), QUESTION), unauthorized);
}

#[test]
fn pkilint_finds_no_error_in_answers() {
    let authority = Authority::new("ec", 256);
    let serial = authority.leaf("leaf.pem");
    let question = authority.question("leaf.pem", &["-no_nonce"]);
    let lint = || {
        let file = authority.folder.path().join("answer.der");
        std::fs::write(&file, authority.post(&question, QUESTION).1).unwrap();
        let told = said("lint_ocsp_response", &["lint", "-s", "ERROR", path(&file)]);
        assert!(told.trim().is_empty(), "{told}");
    };
    lint();
    authority.root.post("pki/revoke", json!({"serial_number": serial})).must(200);
    lint();
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

#[test]
fn the_real_server_says_the_same() {
    // Of what both know, and of what neither understands.
    let answers = [Binary::sealkeep(), Binary::bao()].map(|binary| {
        let server = Server::dev(&binary);
        let root = server.root();
        root.post("sys/mounts/pki", json!({"type": "pki"})).must(204);
        let ask = |body: &[u8]| {
            let request =
                Request::new("POST", "/v1/pki/ocsp").header("Content-Type", QUESTION).body(body.to_vec());
            let reply = server.anonymous().send(&request);
            (reply.status, reply.header("content-type").map(str::to_owned), reply.body)
        };
        let mut said = vec![ask(b"garbage"), ask(b"")];
        let get = server.anonymous().send(&Request::new("GET", "/v1/pki/ocsp/AAAA"));
        said.push((get.status, get.header("content-type").map(str::to_owned), get.body));
        said
    });
    assert_eq!(answers[0], answers[1]);
}
