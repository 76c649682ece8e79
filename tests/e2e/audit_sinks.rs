//! Audit devices that are not files: real sockets, a daemon and a web server, alive, slow and dead.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use tests::binary::Binary;
use tests::http::{Client, Reply, Request};
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage, free_port};

const SECRET: &str = "hunter2-hunter2";

fn opened() -> (Scratch, Server, Client) {
    let folder = Scratch::new();
    let config = Config::new(Storage::Inmem, folder.path())
        .with("unsafe_allow_api_audit_creation = true\nallow_audit_log_prefixing = true");
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    root.post("sys/mounts/kv", json!({"type": "kv"})).must(204);
    (folder, server, root)
}

fn enable(root: &Client, name: &str, kind: &str, options: &Value) {
    root.post(&format!("sys/audit/{name}"), json!({"type": kind, "options": options})).must(204);
}

/// Lines that come in over TCP, whoever connects.
fn collect(listener: TcpListener) -> Receiver<String> {
    let (send, lines) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let send = send.clone();
            thread::spawn(move || {
                BufReader::new(stream).lines().map_while(Result::ok).all(|line| send.send(line).is_ok())
            });
        }
    });
    lines
}

/// Reads until a line is about this path.
fn line_about(lines: &Receiver<String>, path: &str, kind: &str) -> Value {
    loop {
        let line = lines.recv().expect("lines come");
        let json: Value = serde_json::from_str(line.trim_start_matches("PFX ")).expect("a line is JSON");
        if json["request"]["path"] == path && json["type"] == kind {
            return json;
        }
    }
}

#[test]
fn a_socket_gets_every_line_and_no_secret() {
    let (_folder, _server, root) = opened();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let lines = collect(listener);
    enable(&root, "net", "socket", &json!({"address": address, "prefix": "PFX "}));
    assert!(lines.recv().unwrap().starts_with("PFX {"));
    root.post("kv/a", json!({"password": SECRET})).must(204);
    let asked = line_about(&lines, "kv/a", "request");
    let hash = root.post("sys/audit-hash/net", json!({"input": SECRET})).must(200).at("/data/hash");
    assert_eq!(asked["request"]["data"]["password"], hash);
    line_about(&lines, "kv/a", "response");
}

#[test]
fn a_dead_socket_refuses_alone_and_is_forgiven_beside_a_file() {
    let (folder, _server, root) = opened();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let first = thread::spawn(move || listener.accept().unwrap().0);
    enable(&root, "net", "socket", &json!({"address": address.to_string()}));
    drop(first.join().unwrap());
    // Nobody listens any more, and no other device takes the line.
    root.get("kv/a").must(500);
    root.post("kv/a", json!({"password": SECRET})).must(500);
    root.get("sys/health").must(200);
    // Somebody does again.
    let lines = collect(TcpListener::bind(address).unwrap());
    root.post("kv/a", json!({"password": SECRET})).must(204);
    line_about(&lines, "kv/a", "response");
    // With a file beside it, what the socket does is no concern of a request.
    let file = folder.path().join("audit.log").display().to_string();
    enable(&root, "file", "file", &json!({"file_path": file}));
    enable(&root, "blocked", "socket", &json!({"address": silent(), "write_timeout": "60s"}));
    for _ in 0..20 {
        root.post("kv/a", json!({"password": SECRET})).must(204);
    }
    let metrics = root.get("sys/metrics?format=prometheus").must(200).text();
    for about in ["lost_lines_total", "waiting_lines"] {
        assert!(metrics.contains(&format!("sealkeep_audit_{about}{{path=\"blocked/\"}} ")), "{metrics}");
    }
}

/// The address of somebody who takes connections and reads nothing from them.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let taken: Vec<_> = listener
            .incoming()
            .flatten()
            .map(|mut stream| {
                // The line that tries it out, and no more.
                let mut start = [0_u8; 16];
                stream.read_exact(&mut start).map(|()| stream)
            })
            .collect();
        drop(taken);
    });
    address
}

#[test]
fn lines_wait_for_a_socket_that_comes_back() {
    let (folder, server, root) = opened();
    let file = folder.path().join("audit.log").display().to_string();
    enable(&root, "file", "file", &json!({"file_path": file}));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let first = thread::spawn(move || listener.accept().unwrap().0);
    enable(&root, "net", "socket", &json!({"address": address.to_string()}));
    drop(first.join().unwrap());
    root.get("kv/while-away").must(404);
    server.until("the log tells of it", |_| server.log().contains("an audit device takes no lines"));
    let lines = collect(TcpListener::bind(address).unwrap());
    line_about(&lines, "kv/while-away", "request");
    line_about(&lines, "kv/while-away", "response");
}

#[test]
fn datagrams_hold_a_line_each() {
    let (_folder, _server, root) = opened();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    enable(&root, "net", "socket", &json!({"address": address, "socket_type": "udp"}));
    root.get("kv/datagram").must(404);
    let mut seen = Vec::new();
    let mut buffer = vec![0_u8; 65_536];
    while !seen.iter().any(|line: &Value| line["request"]["path"] == "kv/datagram") {
        let count = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[count - 1], b'\n');
        seen.push(serde_json::from_slice(&buffer[..count]).expect("one datagram is one line"));
    }
    // A line that no datagram can hold is no line that was written: the request is refused, and the next is not.
    let large = "x".repeat(80_000);
    root.post(&format!("kv/{large}"), json!({"a": "b"}));
    root.get("kv/datagram").must(404);
}

#[test]
fn a_daemon_reads_syslog() {
    let (folder, _server, root) = opened();
    let place = folder.path().join("log");
    let daemon = UnixDatagram::bind(&place).unwrap();
    let options = json!({"address": place.display().to_string(), "facility": "local3", "tag": "keep"});
    enable(&root, "sys", "syslog", &options);
    let mut buffer = vec![0_u8; 65_536];
    let count = daemon.recv(&mut buffer).unwrap();
    let text = std::str::from_utf8(&buffer[..count]).unwrap();
    // local3 is 19, informational 6: 19 × 8 + 6.
    assert!(text.starts_with("<158>"), "{text}");
    let (head, line) = text.split_once("]: ").unwrap();
    assert!(head.contains(" keep["), "{head}");
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["request"]["path"], "sys/audit/test");
    // It is started anew: its socket is another.
    drop(daemon);
    std::fs::remove_file(&place).unwrap();
    let daemon = UnixDatagram::bind(&place).unwrap();
    root.get("kv/syslog").must(404);
    let count = daemon.recv(&mut buffer).unwrap();
    assert!(std::str::from_utf8(&buffer[..count]).unwrap().contains("kv/syslog"));
}

#[test]
fn a_web_server_takes_a_line_with_each_post() {
    let (_folder, _server, root) = opened();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/audit", listener.local_addr().unwrap());
    let (send, posts) = channel();
    let status = Arc::new(Mutex::new("200 OK"));
    let says = Arc::clone(&status);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (send, says) = (send.clone(), Arc::clone(&says));
            thread::spawn(move || serve(&stream, &says, |post| send.send(post).is_ok()));
        }
    });
    let options = json!({"uri": uri, "headers": "{\"X-Key\": [\"opens-the-collector\"]}"});
    enable(&root, "web", "http", &options);
    let (head, body) = posts.recv().unwrap();
    assert!(head.starts_with("POST /audit HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("x-key: opens-the-collector"), "{head}");
    assert_eq!(body["request"]["path"], "sys/audit/test");
    root.get("kv/web").must(404);
    // Nothing but 2xx takes a line, and a redirect least of all.
    for refusal in ["500 Internal Server Error", "302 Found\r\nLocation: /elsewhere", "413 Content Too Large"]
    {
        *status.lock().unwrap() = refusal;
        root.get("kv/web").must(500);
    }
    *status.lock().unwrap() = "204 No Content";
    root.get("kv/web").must(404);
    for wrong in ["::", "ftp://127.0.0.1/x", ""] {
        let body = json!({"type": "http", "options": {"uri": wrong}});
        root.post("sys/audit/wrong", body).must(400);
    }
    let body = json!({"type": "http", "options": {"uri": uri, "headers": "{\"X-Key\": \"opens-what\"}"}});
    let refusal = root.post("sys/audit/wrong", body).must(400).errors();
    assert!(refusal.contains("headers") && !refusal.contains("opens-what"), "{refusal}");
}

/// A collector that takes every line but that of the answer to this path.
fn losing_answers_to(paths: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/audit", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let status = Mutex::new("200 OK");
                serve(&stream, &status, |(_, line)| {
                    let path = line["request"]["path"].as_str().unwrap_or_default();
                    let lost = line["type"] == "response" && paths.contains(&path);
                    *status.lock().unwrap() = if lost { "500 Internal Server Error" } else { "200 OK" };
                    true
                });
            });
        }
    });
    uri
}

/// Makes new shares; the answer with them.
fn rotate(root: &Client, form: &str, share: &str) -> Reply {
    let body = json!({"secret_shares": 1, "secret_threshold": 1});
    let begun = root.post(&format!("sys/{form}/init"), body).must(200).json();
    let nonce = begun.pointer("/data/nonce").or_else(|| begun.get("nonce")).unwrap().clone();
    root.post(&format!("sys/{form}/update"), json!({"key": share, "nonce": nonce}))
}

#[test]
fn shares_whose_answer_is_lost_lock_nobody_out() {
    let folder = Scratch::new();
    let config = Config::new(Storage::Inmem, folder.path()).with("unsafe_allow_api_audit_creation = true");
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    let uri = losing_answers_to(&["sys/rotate/root/update"]);
    enable(&root, "web", "http", &json!({"uri": uri}));
    let old = keys.shares[0].clone();
    assert!(!rotate(&root, "rotate/root", &old).must(500).text().contains("keys"));
    let sealed = |share: &str| {
        root.post("sys/seal", json!({})).must(204);
        server.anonymous().post("sys/unseal", json!({"key": share})).at("/sealed")
    };
    assert_eq!(sealed(&old), "false", "the old share no longer opens the store, and nobody has the new one");
    // Where the answer arrives, the new share opens it, and the old one does not.
    root.delete("sys/audit/web").must(204);
    let new = rotate(&root, "rotate/root", &old).must(200).at("/data/keys/0");
    assert_eq!(sealed(&new), "false");
    root.post("sys/seal", json!({})).must(204);
    server.anonymous().post("sys/unseal", json!({"key": old})).must(400);
}

/// Makes new shares and tells them.
const RENEW: &str = r#"
input { field "string" "share" { required = true } }
flow "keys" {
  request "begin" {
    operation = "update"
    path = "sys/rotate/root/init"
    data = { secret_shares = 1 secret_threshold = 1 }
  }
  request "end" {
    operation = "update"
    path = "sys/rotate/root/update"
    data = {
      key = { eval_source = "input" eval_type = "string" field_name = "share" }
      nonce = { eval_source = "response" eval_type = "string" flow_name = "keys" response_name = "begin" field_selector = ["data", "nonce"] }
    }
  }
}
output {
  data = { share = { eval_source = "cel" eval_type = "string" expression = "responses.keys.end.data.keys[0]" } }
}"#;

#[test]
fn shares_that_a_workflow_asked_for_lock_nobody_out_either() {
    let folder = Scratch::new();
    let config = Config::new(Storage::Inmem, folder.path()).with("unsafe_allow_api_audit_creation = true");
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    root.post("sys/workflows/manage/renew", json!({"workflow": RENEW})).must_be_any(&[200, 204]);
    let old = keys.shares[0].clone();
    let renew = || root.post("sys/workflows/execute/renew", json!({"share": old}));
    let opens = |share: &str| {
        root.post("sys/seal", json!({})).must(204);
        server.anonymous().post("sys/unseal", json!({"key": share})).at("/sealed")
    };
    enable(&root, "web", "http", &json!({"uri": losing_answers_to(&["sys/workflows/execute/renew"])}));
    renew().must(500);
    assert_eq!(opens(&old), "false", "the answer was lost, and the shares in it");
    root.delete("sys/audit/web").must(204);
    let new = renew().must(200).at("/data/share");
    assert_eq!(opens(&new), "false");
    root.post("sys/seal", json!({})).must(204);
    server.anonymous().post("sys/unseal", json!({"key": old})).must(400);
}

#[test]
fn a_wrapped_answer_that_is_lost_leaves_no_token() {
    let (_folder, _server, root) = opened();
    let uri = losing_answers_to(&["auth/token/create"]);
    enable(&root, "web", "http", &json!({"uri": uri}));
    let accessors = || root.list("auth/token/accessors").must(200).json()["data"]["keys"].clone();
    let before = accessors();
    let request = Request::new("POST", "/v1/auth/token/create").header("X-Vault-Wrap-TTL", "60s");
    root.send(&request.json(&json!({"ttl": "1h"}))).must(500);
    assert_eq!(accessors(), before);
}

/// Answers requests on one connection until it closes.
fn serve(stream: &TcpStream, status: &Mutex<&str>, mut each: impl FnMut((String, Value)) -> bool) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        if !each((head, serde_json::from_slice(&body).unwrap_or_default())) {
            return;
        }
        let answer = format!("HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n", status.lock().unwrap());
        let mut writer = stream;
        writer.write_all(answer.as_bytes()).unwrap();
    }
}

#[test]
fn hanging_up_reads_the_declared_devices_again() {
    let folder = Scratch::new();
    let log = |name: &str| folder.path().join(name);
    let declared = |name: &str| {
        format!("audit \"file\" \"{name}\" {{\n  options {{ file_path = \"{}\" }}\n}}\n", log(name).display())
    };
    let config = Config::new(Storage::Inmem, folder.path()).with(&declared("one"));
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    let names = || -> Vec<String> {
        let listed = root.get("sys/audit").must(200).json();
        listed["data"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(names(), ["one/"]);
    root.delete("sys/audit/one").must(400);
    reconfigure(folder.path(), |text| {
        text.replace(&declared("one"), &(declared("two") + &declared("three")))
    });
    server.signal(rustix::process::Signal::HUP);
    server.until("the others are there", |_| names() == ["three/", "two/"]);
    let before = std::fs::metadata(log("one")).unwrap().len();
    root.get("cubbyhole/a").must(404);
    assert_eq!(std::fs::metadata(log("one")).unwrap().len(), before);
    for name in ["two", "three"] {
        assert!(std::fs::read_to_string(log(name)).unwrap().contains("cubbyhole/a"));
    }
    // What is wrong changes nothing.
    reconfigure(folder.path(), |text| text.replace("audit \"file\" \"two\"", "audit \"pipe\" \"two\""));
    server.signal(rustix::process::Signal::HUP);
    server.until("it says so", |_| server.log().contains("there is no audit device"));
    assert_eq!(names(), ["three/", "two/"]);
    // Sealed and unsealed, it is as it was read last.
    root.post("sys/seal", json!({})).must(204);
    server.until("it is sealed", |client| client.get("sys/health").status == 503);
    server.unseal(&keys);
    assert_eq!(names(), ["three/", "two/"]);
}

fn reconfigure(folder: &Path, change: impl Fn(String) -> String) {
    let file = folder.join("server.hcl");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed);
    std::fs::File::create(&file).unwrap().write_all(changed.as_bytes()).unwrap();
}

#[test]
fn an_output_that_nobody_reads_holds_nobody_up() {
    let (folder, port) = (Scratch::new(), free_port());
    let audit = "audit \"file\" \"out\" {\n  options { file_path = \"stdout\" }\n}";
    let file = folder.file("server.hcl", &Config::new(Storage::Inmem, folder.path()).with(audit).hcl(port));
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(Binary::sealkeep().path());
    command.arg("server").arg(format!("-config={}", file.display()));
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = server.stdout.take().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while Request::new("GET", "/v1/sys/health").send(address).is_err() {
        assert!(server.try_wait().unwrap().is_none(), "it does not start");
        thread::yield_now();
    }
    let stranger = Client::anonymous(address);
    let made = stranger.post("sys/init", json!({"secret_shares": 1, "secret_threshold": 1})).must(200);
    stranger.post("sys/unseal", json!({"key": made.at("/keys/0")})).must(200);
    let root = stranger.with(&made.at("/root_token"));
    // A pipe holds 64 KiB, and each request writes a few of them.
    let refused = (0..200).map(|_| root.get("auth/token/lookup-self").status).find(|status| *status != 200);
    assert_eq!(refused, Some(500), "what cannot be audited is refused");
    for _ in 0..2 {
        stranger.get("sys/health").must(200);
        root.get("auth/token/lookup-self").must(500);
    }
    let reader = thread::spawn(move || {
        let mut all = String::new();
        output.read_to_string(&mut all).map(|_| all)
    });
    while root.get("auth/token/lookup-self").status != 200 {
        assert!(server.try_wait().unwrap().is_none(), "it has ended");
    }
    server.kill().unwrap();
    server.wait().unwrap();
    let all = reader.join().unwrap().unwrap();
    let whole = all.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    assert!(whole.clone().count() > 20);
    whole.for_each(|line| drop(serde_json::from_str::<Value>(line).expect("each line is whole")));
}
