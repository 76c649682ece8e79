//! J. Denial of service: limits before parsing and before asking who it is; nothing grows without a bound.

use crate::stage::{Stage, raw};
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::binary::setting;
use tests::dice::Dice;
use tests::http::{Reply, Request, exchange};

/// Twice what a server may use beside the bodies it holds.
const GROWTH_MAX_KIB: u64 = 400 * 1024;

pub(crate) fn resident_kib(stage: &Stage) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", stage.server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Bodies within the size limit that cost far more than their size to whoever parses them whole.
fn costly() -> Vec<(&'static str, String)> {
    let many = |item: &str, count: usize| vec![item; count].join(",");
    vec![
        ("10,000 deep arrays", format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000))),
        ("10,000 deep objects", format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000))),
        ("a million deep and open", "{\"a\":".repeat(1_000_000)),
        ("2 M empty strings", format!("{{\"a\":[{}]}}", many("\"\"", 2_000_000))),
        ("3 M empty objects", format!("{{\"a\":[{}]}}", many("{}", 3_000_000))),
        (
            "400,000 keys",
            format!("{{{}}}", (0..400_000).map(|n| format!("\"k{n}\":1")).collect::<Vec<_>>().join(",")),
        ),
        ("one key again and again", format!("{{{}}}", many("\"k\":\"v\"", 500_000))),
        ("a huge number", format!("{{\"a\":{}}}", "9".repeat(4_000_000))),
        ("a huge exponent", "{\"a\":1e999999999}".to_owned()),
    ]
}

#[test]
fn row_098_a_costly_body_costs_little() {
    let stage = Stage::dev();
    stage.anonymous().post("auth/token/lookup", json!({"a": "b"})).must(403);
    let before = resident_kib(&stage);
    for (what, body) in costly() {
        for path in ["kv/x", "auth/userpass/login/x", "sys/unseal", "nothing/x", "auth/token/create"] {
            let reply = stage.anonymous().send(&raw("POST", path).body(body.clone()));
            assert!((400..=413).contains(&reply.status), "{what} to {path}: {}", reply.status);
        }
        let grown = resident_kib(&stage).saturating_sub(before);
        assert!(grown < GROWTH_MAX_KIB, "{what}: {grown} KiB");
        stage.lives();
    }
}

#[test]
fn row_098_many_costly_bodies_at_once() {
    let stage = Stage::dev();
    let (_, body) = costly().swap_remove(3);
    let attackers: Vec<_> = (0..16)
        .map(|_| {
            let (client, body) = (stage.anonymous(), body.clone());
            std::thread::spawn(move || client.send(&raw("POST", "auth/userpass/login/x").body(body)).status)
        })
        .collect();
    stage.lives();
    for attacker in attackers {
        let status = attacker.join().unwrap();
        assert!((400..=429).contains(&status), "{status}");
    }
    stage.lives();
}

#[test]
fn also_a_body_over_the_limit_is_refused_by_its_length() {
    let stage = Stage::dev();
    let head =
        "POST /v1/kv/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 99999999999\r\n\r\n";
    let mut stream = TcpStream::connect(stage.server.address()).unwrap();
    // Refused before the body came, or once more has come than may: never waited for whole.
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = vec![b' '; 1 << 20];
    for _ in 0..40 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(
        text.is_empty() || text.contains(" 413 ") || text.contains(" 403 ") || text.contains(" 400 "),
        "{text}"
    );
    stage.lives();
}

#[test]
fn also_bodies_of_strangers_share_one_room() {
    let stage = Stage::dev();
    let head = "POST /v1/kv/x HTTP/1.1\r\nHost: x\r\nContent-Length: 33000000\r\n\r\n";
    let part = vec![b' '; 31 << 20];
    let send = || {
        let mut stream = TcpStream::connect(stage.server.address()).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        // Whoever is refused may be hung up on while it is sending.
        stream.write_all(&part).is_ok().then_some(stream)
    };
    let held: Vec<Option<TcpStream>> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..12).map(|_| scope.spawn(send)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let resident = resident_kib(&stage);
    assert!(resident < 300 * 1024, "{resident} KiB are held for strangers");
    // One address has half of the room, so four such bodies.
    let waits = |stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        (&*stream).read(&mut [0; 12]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    assert!(held.iter().flatten().filter(|stream| waits(stream)).count() <= 4);
    stage.lives();
    drop(held);
    stage.server.until("there is room again", |_| {
        stage.root.post("kv/large", json!({"v": "x".repeat(200_000)})).status == 204
    });
}

#[test]
fn row_101_strange_paths_and_tokens_leave_nothing_behind() {
    let stage = Stage::dev();
    let mut dice = Dice::new(101);
    let times =
        setting("SOAK_REQUESTS").map_or(6_000, |times| times.parse().expect("SOAK_REQUESTS is a number"));
    let mut ask = |times: usize| {
        for _ in 0..times {
            let (path, token) = (dice.word(30), dice.word(26));
            stage.root.get(&format!("kv/{path}")).must(404);
            stage.root.with(&format!("s.{token}")).get(&format!("kv/{path}")).must(403);
            stage.root.with(&token).get(&format!("{path}/{token}")).must(403);
        }
    };
    ask(times / 3);
    let before = resident_kib(&stage);
    ask(times * 2 / 3);
    let grown = resident_kib(&stage).saturating_sub(before);
    assert!(grown < 40 * 1024, "{grown} KiB for {times} rounds");
}

#[test]
fn also_names_that_fail_to_log_in_are_not_kept_whole() {
    let stage = Stage::dev();
    stage.approle("app", json!({}));
    let login = |role: String| {
        let body = json!({"role_id": role, "secret_id": "wrong"});
        stage.anonymous().post("auth/approle/login", body).must(400);
    };
    let fill = |number: usize, size: usize| format!("{number:08}{}", "r".repeat(size));
    (0..10).for_each(|number| login(fill(number, 900_000)));
    let before = resident_kib(&stage);
    (0..120).for_each(|number| login(fill(number, 900_000)));
    (0..2_000).for_each(|number| login(fill(number, 4_000)));
    let grown = resident_kib(&stage).saturating_sub(before);
    assert!(grown < 30 * 1024, "{grown} KiB");
}

#[test]
fn row_110_a_slow_or_broken_client_holds_nobody_up() {
    let stage = Stage::dev();
    let held: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut stream = TcpStream::connect(stage.server.address()).unwrap();
            let start = match number % 4 {
                0 => "GET /v1/sys/health HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_owned(),
                1 => "POST /v1/kv/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"a\"".to_owned(),
                2 => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
                _ => String::new(),
            };
            stream.write_all(start.as_bytes()).unwrap();
            stream
        })
        .collect();
    stage.lives();
    drop(held);
    stage.lives();
}

#[test]
fn row_110_headers_are_bounded() {
    let stage = Stage::dev();
    let send = |request: Request| stage.root.try_send(&request).map(|reply: Reply| reply.status);
    let long = send(raw("GET", "kv/a").header("X-Long", &"x".repeat(4 << 20)));
    assert!(long.is_err() || long.is_ok_and(|status| (400..=431).contains(&status)));
    let mut many = raw("GET", "kv/a");
    for number in 0..50_000 {
        many = many.header(&format!("X-Many-{number}"), "x");
    }
    let many = send(many);
    assert!(many.is_err() || many.is_ok_and(|status| (400..=431).contains(&status)));
    let path = send(raw("GET", &format!("kv/{}", "a/".repeat(1 << 20))));
    assert!(path.is_err() || path.is_ok_and(|status| (400..=431).contains(&status)));
    stage.lives();
}

#[test]
fn row_111_a_pem_of_junk_is_refused_at_once() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true}));
    let headers: String = (0..40_000).map(|n| format!("X-Header-{n}: value\n")).collect();
    for pem in [
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{headers}\nAAAA\n-----END CERTIFICATE REQUEST-----\n"),
        "-----BEGIN CERTIFICATE REQUEST-----\n".repeat(20_000),
        format!("-----BEGIN {}", "-".repeat(900_000)),
        "\n".repeat(900_000),
    ] {
        let reply = stage.root.post("pki/sign/web", json!({"csr": pem, "common_name": "a.b"}));
        assert_eq!(reply.status, 400, "{:.200}", reply.text());
        let reply = stage.root.post("pki/issuers/import/cert", json!({"pem_bundle": pem}));
        let nothing = reply.status >= 400 || reply.json()["data"]["imported_issuers"].is_null();
        assert!(nothing, "{:.200}", reply.text());
    }
    stage.lives();
}

#[test]
fn row_113_a_mangled_request_is_refused_and_nothing_breaks() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true}));
    let folder = &stage.folder;
    let (key, file) = (folder.path().join("key.pem"), folder.path().join("request.der"));
    let extensions = folder.file(
        "openssl.cnf",
        "[req]\ndistinguished_name=dn\nreq_extensions=ext\n[dn]\n[ext]\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:a.b,IP:1.2.3.4\nbasicConstraints=CA:FALSE\n",
    );
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=a.b",
            "-outform",
            "DER",
        ])
        .arg("-config")
        .arg(extensions)
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(&file)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let good = std::fs::read(file).unwrap();
    let mut dice = Dice::new(113);
    for round in 0..400 {
        let mut der = good.clone();
        for _ in 0..=dice.below(3) {
            let at = dice.below(der.len());
            match dice.below(4) {
                0 => der.truncate(at.max(1)),
                1 => der[at] = 0,
                2 => der[at] = 0xff,
                _ => der[at] = u8::try_from(dice.below(256)).unwrap(),
            }
        }
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            base64(&der)
        );
        let reply = stage.root.post("pki/sign/web", json!({"csr": pem, "common_name": "a.b"}));
        let untouched = der == good;
        assert!(reply.status == 400 || (untouched && reply.status == 200), "round {round}: {reply}\n{pem}");
    }
    stage.lives();
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        let digit = |place: usize| char::from(ALPHABET[bits >> (18 - 6 * place) & 63]);
        let digits: String = (0..=chunk.len()).map(digit).collect();
        format!("{digits:=<4}")
    };
    bytes.chunks(3).map(encode).collect()
}

#[test]
fn row_099_over_a_limit_no_body_is_read() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    let quota = json!({"path": "auth/userpass", "rate": 1, "interval": "1h"});
    stage.root.post("sys/quotas/rate-limit/login", quota).must(204);
    let login = || json!({"password": "correct-password"});
    stage.anonymous().post("auth/userpass/login/bob", login()).must(200);
    // Thirty megabytes are announced and none of them is sent: the answer comes all the same.
    let head = "POST /v1/auth/userpass/login/bob HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n";
    let reply = exchange(stage.server.address(), head.as_bytes()).expect("an answer");
    reply.must(429);
    // Nor is one that costs too much looked into.
    let heavy = format!("{{\"password\":[{}1]}}", "1,".repeat(200_000));
    let request = Request::new("POST", "/v1/auth/userpass/login/bob").body(heavy);
    stage.anonymous().send(&request).must(429);
    stage.lives();
}
