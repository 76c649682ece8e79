//! HTTP to the letter: what a server must refuse, what it must bear, and that who is refused hears it.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tests::binary::Binary;
use tests::http::{Reply, exchange};
use tests::scratch::Scratch;
use tests::server::{Config, DEV_TOKEN, Server, Storage};

/// What the server answers to this head, whose lines end in `|`.
fn ask(server: &Server, head: &str) -> Reply {
    let head = format!("{head}Connection: close||").replace('|', "\r\n");
    exchange(server.address(), head.as_bytes()).unwrap()
}

#[test]
fn a_request_is_for_one_host() {
    let server = Server::dev(&Binary::sealkeep());
    let refused = |head: &str, why: &str| {
        let reply = ask(&server, head).must(400);
        assert_eq!((reply.errors().as_str(), reply.header("connection")), (why, Some("close")), "{head}");
    };
    refused("GET /v1/sys/health HTTP/1.1|", "missing required Host header");
    refused("GET http://a/v1/sys/health HTTP/1.1|", "missing required Host header");
    refused("GET /robots.txt HTTP/1.1|", "missing required Host header");
    refused("GET /v1/sys/health HTTP/1.1|Host: a|Host: a|", "too many Host headers");
    refused("GET /v1/sys/health HTTP/1.0|Host: a|Host: b|", "too many Host headers");
    for host in ["a b", "a/b", "a@b", "a\\b", "ü"] {
        refused(&format!("GET /v1/sys/health HTTP/1.1|Host: {host}|"), "malformed Host header");
    }
    for host in ["a", "", "a:8200", "[::1]:8200", "a_b.example.com."] {
        ask(&server, &format!("GET /v1/sys/health HTTP/1.1|Host: {host}|")).must(200);
    }
    ask(&server, "GET /v1/sys/health HTTP/1.0|").must(200);
    ask(&server, "GET http://a/v1/sys/health HTTP/1.1|Host: b|").must(200);
}

#[test]
fn what_is_expected_is_known_or_refused() {
    let server = Server::dev(&Binary::sealkeep());
    let ask = |expected: &str| {
        let head = format!(
            "POST /v1/cubbyhole/a HTTP/1.1|Host: a|X-Vault-Token: {DEV_TOKEN}|Expect: {expected}|Content-Length: 7|"
        );
        let head = format!("{head}Connection: close||").replace('|', "\r\n");
        exchange(server.address(), format!("{head}{{\"a\":1}}").as_bytes()).unwrap()
    };
    for known in ["100-continue", "100-Continue", "", "a, 100-continue"] {
        ask(known).must(204);
    }
    for unknown in ["miracles", "100-continued", "200-ok"] {
        let reply = ask(unknown).must(417);
        assert!(reply.errors().contains("100-continue"), "{reply}");
    }
}

#[test]
fn who_waits_to_be_told_to_continue_is_told() {
    let server = Server::dev(&Binary::sealkeep());
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "POST /v1/cubbyhole/a HTTP/1.1\r\nHost: a\r\nX-Vault-Token: {DEV_TOKEN}\r\nExpect: 100-continue\r\nContent-Length: 7\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{\"a\":1}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}

/// A server that closes on what is still on its way breaks off the client, and many a client then reads no answer.
#[test]
fn who_is_refused_in_the_middle_may_say_all_and_hears_why() {
    const HEAD: usize = 4 << 20;
    const BODY: usize = 24 << 20;
    let server = Server::dev(&Binary::sealkeep());
    let hears = |all: &[u8], status: &str, why: &str| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(all).expect("the server reads on");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the connection ends well");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
        let said: serde_json::Value = serde_json::from_str(body).expect("why, in JSON");
        assert!(said["errors"][0].as_str().unwrap().contains(why), "{answer}");
    };
    let long = format!("GET /v1/sys/health HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "a".repeat(HEAD));
    hears(long.as_bytes(), "431", "the head of this request is too large");
    // The path is refused before a byte of the body is read.
    let head = format!("POST /v1/cubbyhole/a/ HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n");
    hears(&[head.into_bytes(), vec![b' '; BODY]].concat(), "400", "cannot write to a path ending in '/'");
}

/// Frames of HTTP/2 (RFC 9113): length, type, flags, stream.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let size = u8::try_from(payload.len()).unwrap();
    [&[0, 0, size, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// The type, flags and payload of the next frame; nothing at the end.
fn next(stream: &mut BufReader<TcpStream>) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let [_, high, low, kind, flags, ..] = head;
    let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    stream.read_exact(&mut payload).ok()?;
    Some((kind, flags, payload))
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

#[test]
fn pings_keep_no_connection() {
    let folder = Scratch::new();
    let config = Config::new(Storage::Inmem, folder.path()).listening_with("http_idle_timeout = \"1s\"");
    let server = Server::configured(&Binary::sealkeep(), &config);
    let mut writer = TcpStream::connect(server.address()).unwrap();
    writer.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut reader = BufReader::new(writer.try_clone().unwrap());
    // GET, http, /, a (RFC 7541, appendix A), which is the whole of a request.
    let request = frame(HEADERS, 0b101, 1, &[0x82, 0x86, 0x84, 0x41, 1, b'a']);
    let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[]), request].concat();
    writer.write_all(&hello).unwrap();
    let (mut answered, mut acknowledged, mut farewell) = (false, 0, None);
    writer.write_all(&frame(PING, 0, 0, &[1; 8])).unwrap();
    while let Some((kind, flags, payload)) = next(&mut reader) {
        match (kind, flags & ACK) {
            (HEADERS, _) => answered = true,
            // Another one, as long as they are answered.
            (PING, ACK) => {
                acknowledged += 1;
                let _ = writer.write_all(&frame(PING, 0, 0, &[1; 8]));
            }
            (PING, _) => drop(writer.write_all(&frame(PING, ACK, 0, &payload))),
            (GOAWAY, _) => farewell = payload.get(4..8).map(<[u8]>::to_vec),
            _ => {}
        }
    }
    assert!(answered && acknowledged > 0, "{acknowledged} pings");
    assert_eq!(farewell, Some(vec![0; 4]), "it is told which request was the last, and that all is well");
}
