//! What proofs are looked for at may be slow, endless, or mean: the authorization fails with a problem document, in time, and
//! the server goes nowhere it was not meant to.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::acme::Signer;
use tests::http::Reply;

use crate::acme::Stage;

/// What a target does with who asks it.
#[derive(Clone, Copy)]
enum Target {
    /// Takes the connection and says nothing.
    Silent,
    /// Says one byte of its answer now and then.
    Slow,
    /// Sends a page without end.
    EndlessPage,
    /// Sends headers without end.
    EndlessHeaders,
    /// Sends what is no HTTP.
    Nonsense,
    /// Hangs up.
    Rude,
    /// Sends on.
    SendsTo(&'static str),
}

/// A target on this port of an address of its own, and how often it was asked.
fn open(host: Ipv4Addr, port: u16, target: Target) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind((host, port)).unwrap();
    let (asked, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let told = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            told.fetch_add(1, Ordering::SeqCst);
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || drop(serve(stream, target, &counted)));
        }
    });
    asked
}

fn serve(mut stream: TcpStream, target: Target, sent: &AtomicUsize) -> std::io::Result<()> {
    let mut question = [0; 4096];
    let _ = stream.read(&mut question)?;
    let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    match target {
        Target::Silent => drop(stream.read(&mut question)?),
        Target::Slow => {
            // Nothing more comes to read: reading is how it waits.
            stream.set_read_timeout(Some(Duration::from_millis(300)))?;
            for byte in page.iter().cycle() {
                stream.write_all(&[*byte])?;
                if stream.read(&mut question).is_ok_and(|read| read == 0) {
                    break;
                }
            }
        }
        Target::EndlessPage => {
            stream.write_all(page)?;
            stream.write_all(b"\r\n")?;
            loop {
                stream.write_all(&[b'a'; 4096])?;
                sent.fetch_add(4096, Ordering::SeqCst);
                assert!(sent.load(Ordering::SeqCst) < 1 << 30, "a gigabyte was taken");
            }
        }
        Target::EndlessHeaders => {
            stream.write_all(page)?;
            loop {
                stream.write_all(b"X-More: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")?;
            }
        }
        Target::Nonsense => stream.write_all(b"\x16\x03\x01 hush, this is no answer\r\n\r\n")?,
        Target::Rude => {}
        Target::SendsTo(place) => {
            let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\nLocation:";
            stream.write_all(format!("{head} {place}\r\n\r\n").as_bytes())?;
        }
    }
    Ok(())
}

/// A client that signs for itself.
struct Client<'a> {
    stage: &'a Stage,
    signer: Signer,
}

impl<'a> Client<'a> {
    fn new(stage: &'a Stage) -> Self {
        let mut client = Self { stage, signer: Signer::new(&format!("{}/v1/pki/acme/", stage.server.url())) };
        let made = client.post("new-account", &json!({})).must(201);
        client.signer.kid = made.header("location").map(str::to_owned);
        client
    }

    fn post(&self, rest: &str, payload: &Value) -> Reply {
        let anonymous = self.stage.server.anonymous();
        let nonce = anonymous.get("pki/acme/new-nonce").must(204);
        let body = self.signer.sign(rest, nonce.header("replay-nonce").unwrap(), payload);
        anonymous.post_signed(&format!("pki/acme/{rest}"), &body)
    }

    /// Says that the proof of a name is in place. The path of its challenge.
    fn begin(&self, name: &str, kind: &str) -> String {
        let identifiers = json!({"identifiers": [{"type": "dns", "value": name}]});
        let order = self.post("new-order", &identifiers).must(201).json();
        let shown = self.post(&self.signer.rest(&order["authorizations"][0]), &Value::Null).must(200).json();
        let challenges = shown["challenges"].as_array().unwrap();
        let challenge = challenges.iter().find(|one| one["type"] == kind).unwrap();
        let path = self.signer.rest(&challenge["url"]);
        self.post(&path, &json!({})).must(200);
        path
    }

    /// What is wrong with a proof, once the server has looked.
    fn problem(&self, what: &str, path: &str) -> Value {
        let found = std::cell::RefCell::new(Value::Null);
        self.stage.server.until(what, |_| {
            let shown = self.post(path, &Value::Null).must(200).json();
            assert_ne!(shown["status"], "valid", "{what}");
            *found.borrow_mut() = shown["error"].clone();
            shown["error"].is_object()
        });
        found.into_inner()
    }
}

#[test]
fn targets_that_are_slow_endless_or_mean_fail_in_time() {
    let stage = Stage::new(20);
    let client = Client::new(&stage);
    let cases = [
        (Target::Silent, "connection", "no whole answer within 20 seconds"),
        (Target::Slow, "connection", "no whole answer within 20 seconds"),
        (Target::EndlessPage, "connection", "longer than 4096 bytes"),
        (Target::EndlessHeaders, "connection", ""),
        (Target::Nonsense, "connection", ""),
        (Target::Rude, "connection", ""),
        (Target::SendsTo("/again"), "incorrectResponse", "more than 10 redirects"),
        (Target::SendsTo("http://10.255.255.1/"), "unauthorized", "does not go to"),
        (Target::SendsTo("http://169.254.169.254/latest/meta-data"), "unauthorized", "does not go to"),
        (Target::SendsTo("http://127.0.0.1/"), "unauthorized", "does not go to"),
        (Target::SendsTo("http://inside.acme.test/"), "unauthorized", "does not go to"),
        (Target::SendsTo("http://n0.acme.test:8200/v1/sys/health"), "unauthorized", "port 80"),
        (Target::SendsTo("file:///etc/passwd"), "unauthorized", "port 80"),
        (Target::SendsTo("http://me:hush@n0.acme.test/"), "unauthorized", "port 80"),
    ];
    stage.names.known.lock().unwrap().hosts.insert("inside.acme.test".to_owned(), Ipv4Addr::new(10, 0, 0, 1));
    let begun: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(number, (target, kind, why))| {
            let host = Ipv4Addr::new(127, 77, 20, 1 + number as u8);
            let asked = open(host, 80, *target);
            let name = format!("n{number}.acme.test");
            stage.names.known.lock().unwrap().hosts.insert(name.clone(), host);
            (client.begin(&name, "http-01"), name, asked, *kind, *why)
        })
        .collect();
    for (path, name, asked, kind, why) in begun {
        let problem = client.problem(&name, &path);
        assert_eq!(problem["type"], format!("urn:ietf:params:acme:error:{kind}"), "{name}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(why) && !detail.contains("hush"), "{name}: {detail:?} lacks {why:?}");
        assert!((1..=44).contains(&asked.load(Ordering::SeqCst)), "{name} was asked {asked:?} times");
    }
}

#[test]
fn handshakes_and_names_that_lead_nowhere_fail_in_time() {
    let stage = Stage::new(21);
    let client = Client::new(&stage);
    let mut begun = Vec::new();
    for (number, target) in
        [Target::Silent, Target::Nonsense, Target::Rude, Target::EndlessPage].into_iter().enumerate()
    {
        let host = Ipv4Addr::new(127, 77, 21, 1 + number as u8);
        open(host, 443, target);
        let name = format!("t{number}.acme.test");
        stage.names.known.lock().unwrap().hosts.insert(name.clone(), host);
        begun.push((client.begin(&name, "tls-alpn-01"), name, "tls"));
    }
    {
        let mut known = stage.names.known.lock().unwrap();
        known.silent.extend(["silent.acme.test".to_owned(), "_acme-challenge.silent.acme.test".to_owned()]);
        known.hosts.insert("closed.acme.test".to_owned(), Ipv4Addr::new(127, 77, 21, 99));
        known.hosts.insert("loop.acme.test".to_owned(), Ipv4Addr::LOCALHOST);
    }
    for (name, kind, problem) in [
        ("closed.acme.test", "http-01", "connection"),
        ("silent.acme.test", "http-01", "dns"),
        ("silent.acme.test", "dns-01", "dns"),
        ("loop.acme.test", "tls-alpn-01", "unauthorized"),
    ] {
        begun.push((client.begin(name, kind), name.to_owned(), problem));
    }
    for (path, name, kind) in begun {
        let problem = client.problem(&name, &path);
        assert_eq!(problem["type"], format!("urn:ietf:params:acme:error:{kind}"), "{name}: {problem}");
    }
}

/// A real name server says who may certify.
#[test]
fn the_owner_of_a_name_says_who_certifies_it() {
    let stage = Stage::new(22);
    stage.server.root().post("pki/config/acme", json!({"caa_identities": "ca.acme.test"})).must(200);
    let client = Client::new(&stage);
    {
        let mut known = stage.names.known.lock().unwrap();
        known.issue.insert("acme.test".to_owned(), "other.test".to_owned());
        known.issue.insert("ours.acme.test".to_owned(), "ca.acme.test; validationmethods=dns-01".to_owned());
        known.silent.push("mute.acme.test".to_owned());
    }
    let proved = |name: &str| {
        let path = client.begin(name, "dns-01");
        let token = client.post(&path, &Value::Null).must(200).at("/token");
        let digest = client.signer.digest(&token);
        stage.names.known.lock().unwrap().texts.insert(format!("_acme-challenge.{name}"), digest);
        path
    };
    let forbidden = proved("www.acme.test");
    let (silent, ours) = (proved("x.mute.acme.test"), proved("a.ours.acme.test"));
    stage
        .server
        .until("it is proved", |_| client.post(&ours, &Value::Null).must(200).json()["status"] == "valid");
    for (path, kind) in [(forbidden, "caa"), (silent, "dns")] {
        let found = std::cell::RefCell::new(Value::Null);
        stage.server.until("it fails for that", |_| {
            let shown = client.post(&path, &Value::Null).must(200).json();
            *found.borrow_mut() = shown["error"].clone();
            shown["error"]["type"] == format!("urn:ietf:params:acme:error:{kind}")
        });
        assert_ne!(found.into_inner()["detail"], "");
    }
}
