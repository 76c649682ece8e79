//! J. Denial of service, by whoever has shown nothing yet: what they make the server hold is bounded and shared.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;
use tests::binary::Binary;
use tests::frames::{Frames, LATEST, head, kept};
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage};

use crate::load::resident_kib;
use crate::stage::{Stage, raw};

#[test]
fn also_a_head_that_is_repeated_is_held_once() {
    let stage = Stage::dev();
    let before = resident_kib(&stage);
    let open = || {
        let mut frames = Frames::connect(stage.server.address(), &[]).unwrap();
        let first =
            [head("POST", "/v1/sys/unseal", &[]), kept("a", &"v".repeat(3_900)), vec![LATEST; 6]].concat();
        frames.request(&first, true).unwrap();
        let again = [head("POST", "/v1/sys/unseal", &[]), vec![LATEST; 7]].concat();
        for _ in 0..120 {
            frames.request(&again, true).unwrap();
        }
        frames.settle();
        frames
    };
    let held: Vec<Frames> = (0..20).map(|_| open()).collect();
    let grown = resident_kib(&stage).saturating_sub(before);
    // A copy for each request would be 66,000 KiB.
    assert!(grown < 40 * 1024, "{grown} KiB");
    stage.lives();
    drop(held);
}

#[test]
fn also_a_head_is_small_over_http_2() {
    let stage = Stage::dev();
    let status = |more: Vec<u8>| {
        let mut frames = Frames::connect(stage.server.address(), &[]).unwrap();
        frames.request(&[head("GET", "/v1/sys/health", &[]), more].concat(), false).unwrap();
        frames.status().unwrap()
    };
    assert_eq!(status(Vec::new()), 200);
    assert_eq!(status([kept("a", "b"), vec![LATEST; 95]].concat()), 200);
    assert_eq!(status([kept("a", "b"), vec![LATEST; 100]].concat()), 431, "too many fields");
    assert_eq!(status([kept("a", &"v".repeat(3_900)), vec![LATEST; 6]].concat()), 200);
    assert_eq!(status([kept("a", &"v".repeat(3_900)), vec![LATEST; 8]].concat()), 431, "too long");
}

/// Connections of HTTP/2 that hold what they may: a hundred bodies of 64 KB each that do not end.
fn bodies(to: SocketAddr, connections: usize, headers: &[(&str, &str)]) -> Vec<Frames> {
    let (head, part) = (head("POST", "/v1/sys/unseal", headers), [b' '; 16_000]);
    let open = || {
        let mut frames = Frames::connect(to, &[]).unwrap();
        let streams: Vec<u32> = (0..100).map(|_| frames.request(&head, true).unwrap()).collect();
        let parts = streams.iter().flat_map(|stream| [stream; 4]);
        // What finds no room is refused in the end.
        let _ = parts.map(|stream| frames.data(*stream, &part, false)).find(Result::is_err);
        frames
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..connections).map(|_| scope.spawn(open)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn also_small_bodies_of_strangers_share_the_room() {
    let stage = Stage::dev();
    let before = resident_kib(&stage);
    let held = bodies(stage.server.address(), 50, &[]);
    let grown = resident_kib(&stage).saturating_sub(before);
    // All of them are 312,500 KiB and more, of which an address may hold 131,072.
    assert!(grown < 240 * 1024, "{grown} KiB");
    stage.lives();
    drop(held);
    stage.server.until("there is room again", |_| {
        stage.root.post("kv/large", json!({"v": "x".repeat(200_000)})).status == 204
    });
}

#[test]
fn also_one_address_does_not_take_the_room_of_others() {
    let (stage, _) = Stage::audited_and(
        "x_forwarded_for_authorized_addrs = \"127.0.0.1\"\n  x_forwarded_for_reject_not_present = false",
    );
    let _held = bodies(stage.server.address(), 50, &[("x-forwarded-for", "10.0.0.1")]);
    let write = |from: &str| {
        let large = raw("POST", "cubbyhole/large").token(stage.root.token()).header("X-Forwarded-For", from);
        large.json(&json!({"v": "x".repeat(500_000)})).send(stage.server.address()).unwrap()
    };
    write("10.0.0.2").must(204);
}

#[test]
fn also_a_body_that_does_not_come_on_is_ended() {
    let stage = Stage::dev();
    let mut stream = TcpStream::connect(stage.server.address()).unwrap();
    let head = "POST /v1/kv/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b' '; 900_000]).unwrap();
    // Long before the time for a whole body is over.
    stream.set_read_timeout(Some(Duration::from_secs(12))).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn also_an_answer_that_nobody_takes_ends_though_the_client_is_there() {
    let folder = Scratch::new();
    let config = Config::new(Storage::Inmem, folder.path()).listening_with("http_idle_timeout = \"1s\"");
    let server = Server::configured(&Binary::sealkeep(), &config);
    // No answer fits into this window (setting 4).
    let mut frames = Frames::connect(server.address(), &[(4, 0)]).unwrap();
    frames.request(&head("GET", "/v1/sys/seal-status", &[]), false).unwrap();
    assert_eq!(frames.status(), Some(200));
    // Whoever goes on asking what is answered without a body, and says that they are there, is not heard out either.
    let health = head("HEAD", "/v1/sys/health", &[]);
    let mut is_open = true;
    while is_open {
        let sent = frames.ping().and_then(|()| frames.request(&health, false));
        is_open = sent.is_ok_and(|stream| frames.answers(stream));
    }
}

#[test]
fn also_a_token_of_n_uses_lets_n_requests_be_done_at_once() {
    let stage = Stage::dev();
    stage.root.post("sys/mounts/pki", json!({"type": "pki"})).must(204);
    for _ in 0..4 {
        let caller = stage.token(json!({"policies": ["root"], "num_uses": 3, "ttl": "1h"}));
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let generate = || {
                let body = json!({"common_name": "x", "key_type": "rsa"});
                caller.post("pki/root/generate/internal", body).status
            };
            let all: Vec<_> = (0..3).map(|_| scope.spawn(generate)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        caller.get("auth/token/lookup-self").must(403);
    }
}
