//! A proxy in front: it passes on certificates and addresses, if it is one that is believed. Nobody else can.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::authority::{Door, Holder, Wanted};
use tests::binary::Binary;
use tests::http::Client;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage, free_port};

/// The proxy that is believed, and somebody who is none. All of 127.0.0.0/8 is this machine.
const PROXY: &str = "127.0.0.2";
const STRANGER: &str = "127.0.0.3";

struct Stage {
    _server: Server,
    root: Client,
    port: u16,
    folder: Scratch,
}

impl Stage {
    /// A server with one door more, which has these lines besides.
    fn new(lines: &str) -> Self {
        let (folder, port) = (Scratch::new(), free_port());
        let door = format!(
            "listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = true\n{lines}\n}}"
        );
        Self::with(folder, port, &door)
    }

    fn with(folder: Scratch, port: u16, door: &str) -> Self {
        let config = Config::new(Storage::Inmem, folder.path()).with(door);
        let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
        let root = server.anonymous().with(&keys.root);
        root.post("sys/auth/userpass", json!({"type": "userpass"})).must(204);
        root.post("auth/userpass/users/any", json!({"password": "pw"})).must(204);
        // Whoever is bound comes in from this address only.
        let bound = json!({"password": "pw", "token_bound_cidrs": "203.0.113.7"});
        root.post("auth/userpass/users/bound", bound).must(204);
        Self { _server: server, root, port, folder }
    }

    /// Asks from an address of this machine, with headers besides.
    fn post(&self, from: &str, path: &str, headers: &[&str]) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "60", "-w", "\n%{http_code}", "--interface", from, "-X", "POST"]);
        curl.args(["--data", r#"{"password":"pw"}"#]);
        curl.args(headers.iter().flat_map(|header| ["-H", header]));
        let output = curl.arg(format!("http://127.0.0.1:{}/v1/{path}", self.port)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    /// The status of the answer to these bytes, sent on a connection of their own; 0 if there is none.
    fn raw(&self, head: &[u8], user: &str) -> u16 {
        let body = r#"{"password":"pw"}"#;
        let request = format!(
            "POST /v1/auth/userpass/login/{user} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // Whoever is not let in may have been cut off before all is written.
        let _ = stream.write_all(&[head, request.as_bytes()].concat());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        text.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
    }
}

fn binary(command: u8, source: [u8; 4], extra: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11]);
    header.extend(u16::try_from(12 + extra.len()).unwrap().to_be_bytes());
    header.extend(source);
    header.extend([127, 0, 0, 1, 0x12, 0x34, 0x20, 0x08]);
    header.extend(extra);
    header
}

const NAMED: &[u8] = b"PROXY TCP4 203.0.113.7 127.0.0.1 56324 8200\r\n";
const OTHER: &[u8] = b"PROXY TCP4 203.0.113.8 127.0.0.1 56324 8200\r\n";

#[test]
fn whom_a_proxy_passes_on_by_the_proxy_protocol() {
    let stage = Stage::new("  proxy_protocol_behavior = \"use_always\"");
    assert_eq!(stage.raw(b"", "any"), 200, "a header is no duty");
    assert_eq!(stage.raw(b"", "bound"), 403);
    assert_eq!(stage.raw(NAMED, "bound"), 200);
    assert_eq!(stage.raw(OTHER, "bound"), 403);
    assert_eq!(stage.raw(&binary(1, [203, 0, 113, 7], b""), "bound"), 200);
    assert_eq!(
        stage.raw(&binary(1, [203, 0, 113, 7], &[4; 300]), "bound"),
        200,
        "what is added is passed over"
    );
    assert_eq!(stage.raw(&binary(1, [203, 0, 113, 8], b""), "bound"), 403);
    assert_eq!(stage.raw(&binary(0, [203, 0, 113, 7], b""), "bound"), 403, "the proxy itself");
    assert_eq!(stage.raw(b"PROXY UNKNOWN\r\n", "any"), 200);
    // What is no header, or too much of one, gets no answer; and the next one does.
    for bad in [
        b"PROXY TCP4 203.0.113.7\r\n".to_vec(),
        b"PROXY TCP4 nonsense 127.0.0.1 1 2\r\n".to_vec(),
        [b"PROXY ".as_slice(), &[b'x'; 200]].concat(),
        binary(1, [203, 0, 113, 7], &[0; 5000]),
        binary(2, [203, 0, 113, 7], b""),
        [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[0x21, 0x11, 0, 3, 1, 2, 3]].concat(),
    ] {
        assert_eq!(stage.raw(&bad, "any"), 0, "{:?}", String::from_utf8_lossy(&bad));
        assert_eq!(stage.raw(NAMED, "bound"), 200);
    }
    assert_eq!(stage.raw(b"\r\n\r\n", "any"), 200, "empty lines before a request are no header");
}

#[test]
fn whom_strangers_name_does_not_count() {
    let lines = format!("  proxy_protocol_authorized_addrs = \"{PROXY}\"\n");
    let allow = Stage::new(&format!("{lines}  proxy_protocol_behavior = \"allow_authorized\""));
    assert_eq!(allow.raw(NAMED, "bound"), 403);
    assert_eq!(allow.raw(NAMED, "any"), 200);
    assert_eq!(allow.raw(b"", "any"), 200);
    let deny = Stage::new(&format!("{lines}  proxy_protocol_behavior = \"deny_unauthorized\""));
    for head in [NAMED, b"", &binary(1, [203, 0, 113, 7], b"")] {
        assert_eq!(deny.raw(head, "any"), 0);
    }
    assert_eq!(deny.post(PROXY, "auth/userpass/login/any", &[]).0, 200);
    let own = Stage::new(
        "  proxy_protocol_authorized_addrs = [\"10.0.0.0/8\", \"127.0.0.1\"]\n  proxy_protocol_behavior = \"deny_unauthorized\"",
    );
    assert_eq!(own.raw(NAMED, "bound"), 200);
    assert_eq!(own.post(STRANGER, "auth/userpass/login/any", &[]).0, 0);
}

#[test]
fn tls_begins_after_the_header() {
    let (folder, port) = (Scratch::new(), free_port());
    let door = Door::new(folder.path(), port);
    let stanza = door.stanza();
    let stanza = stanza.strip_suffix('}').unwrap();
    let stage = Stage::with(folder, port, &format!("{stanza}  proxy_protocol_behavior = \"use_always\"\n}}"));
    let ask = |arguments: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "60", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]);
        curl.arg(stage.folder.path().join("door-ca.pem")).args(arguments);
        let output = curl.arg(format!("https://127.0.0.1:{port}/v1/sys/health")).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(ask(&[]), "200");
    assert_eq!(ask(&["--haproxy-protocol"]), "200");
}

/// A certificate as nginx passes it on.
fn escaped(holder: &Holder) -> String {
    holder.pem().bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn certificates_that_a_believed_proxy_passes_on() {
    let stage = Stage::new(&format!(
        "  x_forwarded_for_authorized_addrs = \"{PROXY}\"\n  x_forwarded_for_reject_not_authorized = false\n  \
         x_forwarded_for_reject_not_present = false\n  x_forwarded_for_client_cert_header = \"Client-Cert\"\n  \
         x_forwarded_for_client_cert_decoders = [\"URL\", \"PEM\"]"
    ));
    let ca = Wanted::ca("Root").by_itself();
    stage.root.post("sys/auth/cert", json!({"type": "cert"})).must(204);
    let role = json!({"certificate": ca.pem(), "token_policies": "dev", "token_bound_cidrs": "203.0.113.7"});
    stage.root.post("auth/cert/certs/web", role).must(204);
    let ann = Wanted::client("ann").by(&ca);
    let (shown, other) = (
        format!("Client-Cert: {}", escaped(&ann)),
        format!("Client-Cert: {}", escaped(&Wanted::client("ann").by_itself())),
    );
    let log_in = |from: &str, headers: &[&str]| stage.post(from, "auth/cert/login", headers);
    let spoken = "X-Forwarded-For: 203.0.113.7";
    let (status, body) = log_in(PROXY, &[spoken, &shown]);
    assert_eq!((status, &body["auth"]["metadata"]["common_name"]), (200, &json!("ann")), "{body}");
    // Nobody else can say that, nor the proxy where it speaks for itself.
    for (from, headers) in [
        (STRANGER, vec![spoken, shown.as_str()]),
        (STRANGER, vec![shown.as_str()]),
        ("127.0.0.1", vec![spoken, shown.as_str()]),
        (PROXY, vec![shown.as_str()]),
        (PROXY, vec![spoken]),
        (PROXY, vec![spoken, other.as_str()]),
        (PROXY, vec![spoken, shown.as_str(), shown.as_str()]),
        (PROXY, vec![spoken, "Client-Cert: nonsense"]),
    ] {
        let (status, body) = log_in(from, &headers);
        assert!(status == 400 && body["auth"].is_null(), "{from} {status} {body}");
    }
    // The address is the client's, too.
    assert_eq!(log_in(PROXY, &["X-Forwarded-For: 203.0.113.8", &shown]).0, 403);
}

#[test]
fn a_proxy_with_a_certificate_of_its_own_lends_it_to_nobody() {
    let (folder, port) = (Scratch::new(), free_port());
    let door = Door::new(folder.path(), port);
    let stanza = door.stanza();
    let lines = "  x_forwarded_for_authorized_addrs = \"127.0.0.0/8\"\n  x_forwarded_for_client_cert_header = \"Client-Cert\"\n";
    let stanza = format!(
        "{}{lines}  x_forwarded_for_client_cert_header_decoders = \"BASE64\"\n}}",
        stanza.strip_suffix('}').unwrap()
    );
    let stage = Stage::with(folder, port, &stanza);
    let ca = Wanted::ca("Root").by_itself();
    stage.root.post("sys/auth/cert", json!({"type": "cert"})).must(204);
    stage
        .root
        .post("auth/cert/certs/web", json!({"certificate": ca.pem(), "token_policies": "dev"}))
        .must(204);
    let files = Wanted::client("proxy").by(&ca).files(stage.folder.path(), "proxy", &[]);
    let ask = |header: &str| {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--max-time",
            "60",
            "-w",
            "\n%{http_code}",
            "-X",
            "POST",
            "-H",
            header,
            "--cacert",
        ]);
        curl.arg(stage.folder.path().join("door-ca.pem"));
        curl.arg("--cert")
            .arg(&files.0)
            .arg("--key")
            .arg(&files.1)
            .args(["-H", "X-Forwarded-For: 203.0.113.7"]);
        let output = curl.arg(format!("https://127.0.0.1:{port}/v1/auth/cert/login")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        (status.to_owned(), body["auth"]["metadata"]["common_name"].clone())
    };
    assert_eq!(ask("X-Nothing: here"), ("400".to_owned(), Value::Null));
    let ann = Wanted::client("ann").by(&ca);
    let header = format!("Client-Cert: {}", STANDARD.encode(ann.certificate.der()));
    assert_eq!(ask(&header), ("200".to_owned(), json!("ann")));
}
