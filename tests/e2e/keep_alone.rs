//! One process at a time works in a certificate's folder, whatever is started beside it.

use crate::rotation::Site;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use tests::program::Program;
use tests::server::DEV_TOKEN;

/// The shell's way to say whether `current` has the key of its certificate.
const MATCHES: &str = "test \"$(openssl x509 -in tls/current/cert.pem -noout -pubkey)\" = \"$(openssl pkey -in tls/current/key.pem -pubout)\"";

fn get(site: &Site, flags: &str) -> String {
    format!("keep cert get -name=app.internal -role=web -dir={} {flags}", site.path("tls").display())
}

fn names(site: &Site) -> String {
    let output = site.shell("openssl x509 -in tls/current/cert.pem -noout -ext subjectAltName");
    String::from_utf8(output.stdout).unwrap()
}

fn current(site: &Site) -> String {
    std::fs::read_link(site.path("tls/current")).unwrap().display().to_string()
}

#[test]
fn a_certificate_that_an_agent_holds_is_left_alone_until_that_ends() {
    let site = Site::new();
    let root = site.authority("24h");
    site.shell(&get(&site, ""));
    let agent = site.agent(&[]);
    agent.until("it is at work", || agent.log().contains("the CA wants").then_some(()));
    let role = root.list("auth/approle/role/keep-app.internal/secret-id").must(200).at("/data/keys");
    let files = std::fs::read(site.path("agent.d/app.internal.hcl")).unwrap();
    for flags in ["-alt-names=new.internal", "-alt-names=new.internal -once"] {
        let output = site.shell(&format!("! {}", get(&site, flags)));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("Another `keep` is at work in") && said.contains("End it first"), "{said}");
    }
    assert_eq!((current(&site).as_str(), names(&site).contains("new")), ("pair-000001", false));
    assert_eq!(root.list("auth/approle/role/keep-app.internal/secret-id").must(200).at("/data/keys"), role);
    assert_eq!(std::fs::read(site.path("agent.d/app.internal.hcl")).unwrap(), files);
    // A single run by hand beside the service does nothing either, and says so.
    let mut once = site.agent(&["-once"]);
    assert_eq!(once.end().code(), Some(1), "{}", once.log());
    once.until("it says why", || once.log().contains("another `keep` is at work in").then_some(()));
    assert!(agent.stop().success());
    site.shell(&get(&site, "-alt-names=new.internal"));
    assert_eq!((current(&site).as_str(), names(&site).contains("new.internal")), ("pair-000002", true));
    let mut once = site.agent(&["-once"]);
    assert!(once.end().success(), "{}", once.log());
    assert_eq!((current(&site).as_str(), names(&site).contains("new.internal")), ("pair-000002", true));
    site.shell(MATCHES);
}

#[test]
fn the_second_of_two_agents_waits_and_takes_over() {
    let site = Site::new();
    site.authority("6s");
    site.shell(&get(&site, ""));
    let first = site.agent(&[]);
    let renewed = |agent: &Program, than: &str| {
        let before = than.to_owned();
        agent.until("a renewal", || Some(current(&site)).filter(|now| *now != before))
    };
    let mut seen = renewed(&first, "pair-000001");
    let second = site.agent(&[]);
    second.until("it waits", || second.log().contains("another `keep` is at work in").then_some(()));
    for _ in 0..2 {
        seen = renewed(&first, &seen);
        site.shell(MATCHES);
    }
    assert!(!second.log().contains("next renewal"), "it got none itself: {}", second.log());
    first.kill();
    second.until("it takes over", || second.log().contains("takes over").then_some(()));
    renewed(&second, &seen);
    site.shell(MATCHES);
    assert!(second.stop().success());
}

/// A way to the server on which requests for certificates come to nothing. Its port, and what tells of such a request.
fn swallowing(server: String) -> (u16, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (bell, rings) = channel();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (server, bell) = (TcpStream::connect(&server).unwrap(), bell.clone());
            let (mut back, mut out) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut back, &mut out));
            std::thread::spawn(move || pass_on(client, server, &bell));
        }
    });
    (port, rings)
}

fn pass_on(mut client: TcpStream, mut server: TcpStream, bell: &Sender<()>) {
    let mut chunk = [0; 8192];
    while let Ok(size) = client.read(&mut chunk) {
        let text = String::from_utf8_lossy(&chunk[..size]).into_owned();
        if text.contains("/v1/pki/sign/") {
            // The request waits for as long as the test runs.
            bell.send(()).unwrap();
            continue;
        }
        if size == 0 || server.write_all(&chunk[..size]).is_err() {
            return;
        }
    }
}

/// Ctrl-C while the CA does not answer: what was made by then goes again, here and on the server.
#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM] {
        let site = Site::new();
        let root = site.authority("24h");
        let address = site.server.url().replace("http://", "");
        let (port, rings) = swallowing(address);
        let tls = site.path("etc/tls").display().to_string();
        let mut keep = site.keep();
        keep.args(["cert", "get", "-name=app.internal", "-role=web", &format!("-dir={tls}")]);
        keep.env("KEEP_TOKEN", DEV_TOKEN).env("KEEP_ADDR", format!("http://127.0.0.1:{port}"));
        let mut run = Program::start(&keep);
        rings.recv().unwrap();
        root.get("auth/approle/role/keep-app.internal").must(200);
        run.signal(signal);
        assert_eq!(run.end().code(), Some(130), "{}", run.log());
        let line = "Taken away again: the approle role keep-app.internal.";
        run.until(line, || run.log().contains(line).then_some(()));
        root.get("sys/policies/acl/keep-app.internal").must(404);
        assert!(root.get("sys/auth").must(200).json()["data"]["approle/"].is_null());
        assert_eq!(std::fs::read_dir(site.path("agent.d")).unwrap().count(), 0);
        assert!(!site.path("etc").exists(), "not even the folder above stays");
    }
}
