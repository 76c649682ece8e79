//! ACME, by a client and a web that are made for it: what is proved is issued, and nothing else.

mod accounts;
mod beforehand;
mod caa;
mod orders;
mod profiles;
mod proofs;
mod refusals;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Caa, Call, Error, Fault, Soon, Time, Told, Verb, World};
use serde_json::{Value, json};

use super::bench::{Answer, Bench};
use super::{mount, role};

/// Where the mount says that it is.
pub(super) const BASE: &str = "https://ca.test/v1/pki";

/// A mount with a root that offers ACME, with this configuration besides, and the web it looks at.
pub(super) fn open(changes: Value) -> (Bench, Arc<Web>) {
    let mut bench = mount();
    let body = json!({"common_name": "Root", "key_type": "ec", "ttl": "700h"});
    bench.post("root/generate/internal", body).is(200);
    bench.post("config/cluster", json!({"path": BASE})).is(200);
    role(&bench, json!({"key_type": "any", "require_cn": true})).is(200);
    let mut config = json!({"enabled": true});
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    bench.post("config/acme", config).is(200);
    // As every ACME client says.
    bench.remote.is_jose = true;
    let web = Arc::new(Web::default());
    bench.world = Arc::clone(&web) as Arc<dyn World>;
    (bench, web)
}

/// What the server finds outside.
#[derive(Default)]
pub(super) struct Web {
    /// By URL, or by address and URL where each says something else.
    pub(super) pages: Mutex<HashMap<String, Told>>,
    pub(super) hosts: Mutex<HashMap<String, Vec<IpAddr>>>,
    /// Where hosts are found once they have been looked up.
    pub(super) moved: Mutex<HashMap<String, Vec<IpAddr>>>,
    pub(super) records: Mutex<HashMap<String, Vec<String>>>,
    pub(super) certificates: Mutex<HashMap<String, Vec<u8>>>,
    /// Who may certify; of a name with nothing at all nobody answers.
    pub(super) caa: Mutex<HashMap<String, Option<Vec<Caa>>>>,
    /// Every name that was asked about who may certify it.
    pub(super) asked: Mutex<Vec<String>>,
    /// Every address that was connected to.
    pub(super) visited: Mutex<Vec<String>>,
}

fn nobody<T>(what: &str) -> kit::Result<T> {
    Err(Error::new(Fault::Upstream, format!("nobody knows {what}")))
}

impl Web {
    pub(super) fn host(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.hosts.lock().unwrap().insert(name.to_owned(), addresses);
    }

    /// Has a page send on.
    pub(super) fn sends_on(&self, url: &str, location: &str) {
        let told = Told { status: 302, location: location.to_owned(), ..Told::default() };
        self.pages.lock().unwrap().insert(url.to_owned(), told);
    }

    pub(super) fn page(&self, url: &str, status: u16, body: &str) {
        let told = Told { status, body: body.as_bytes().to_vec(), ..Told::default() };
        self.pages.lock().unwrap().insert(url.to_owned(), told);
    }

    pub(super) fn visited(&self) -> Vec<String> {
        std::mem::take(&mut *self.visited.lock().unwrap())
    }
}

impl World for Web {
    fn now(&self) -> Time {
        Time::from_seconds(0)
    }

    fn pause(&self, _: Duration) -> Soon<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn fetch(&self, call: Call) -> Soon<'_, kit::Result<Told>> {
        let at = call.at.expect("an address was chosen");
        let here = format!("{at} {}", call.url);
        let pages = self.pages.lock().unwrap();
        let told = pages.get(&here).or_else(|| pages.get(&call.url)).cloned();
        assert!(call.size_max.is_some_and(|max| max < 10_000), "little is read");
        self.visited.lock().unwrap().push(here);
        Box::pin(std::future::ready(told.map_or_else(|| nobody(&call.url), Ok)))
    }

    fn dial<'a>(&'a self, host: &'a str, _: u16) -> Soon<'a, kit::Result<TcpStream>> {
        Box::pin(std::future::ready(nobody(host)))
    }

    fn addresses<'a>(&'a self, host: &'a str, _: &'a str) -> Soon<'a, kit::Result<Vec<IpAddr>>> {
        let found = self.hosts.lock().unwrap().get(host).cloned();
        if let Some(moved) = self.moved.lock().unwrap().remove(host) {
            self.hosts.lock().unwrap().insert(host.to_owned(), moved);
        }
        Box::pin(std::future::ready(found.map_or_else(|| nobody(host), Ok)))
    }

    fn texts<'a>(&'a self, name: &'a str, _: &'a str) -> Soon<'a, kit::Result<Vec<String>>> {
        let found = self.records.lock().unwrap().get(name).cloned();
        Box::pin(std::future::ready(found.map_or_else(|| nobody(name), Ok)))
    }

    fn caa<'a>(&'a self, name: &'a str, _: &'a str) -> Soon<'a, kit::Result<Vec<Caa>>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let found = self.caa.lock().unwrap().get(name).cloned().unwrap_or_else(|| Some(Vec::new()));
        Box::pin(std::future::ready(found.map_or_else(|| nobody(name), Ok)))
    }

    fn certificate<'a>(
        &'a self,
        at: SocketAddr,
        name: &'a str,
        protocol: &'static str,
    ) -> Soon<'a, kit::Result<Vec<u8>>> {
        assert_eq!((at.port(), protocol), (443, "acme-tls/1"));
        self.visited.lock().unwrap().push(at.to_string());
        let found = self.certificates.lock().unwrap().get(name).cloned();
        Box::pin(std::future::ready(found.map_or_else(|| nobody(name), Ok)))
    }
}

/// A client with a key, at a directory.
pub(super) struct Client<'a> {
    pub(super) bench: &'a Bench,
    pub(super) key: EcdsaKeyPair,
    pub(super) directory: &'static str,
    /// The account's URL.
    pub(super) kid: Option<String>,
}

/// What a client puts into the header of a request.
pub(super) struct Header {
    pub(super) alg: &'static str,
    pub(super) url: String,
    pub(super) nonce: Option<String>,
    pub(super) jwk: Option<Value>,
    pub(super) kid: Option<String>,
}

impl<'a> Client<'a> {
    /// One without an account.
    pub(super) fn new(bench: &'a Bench, directory: &'static str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { bench, key, directory, kid: None }
    }

    /// One with an account.
    pub(super) fn with_account(bench: &'a Bench, directory: &'static str) -> Self {
        let mut client = Self::new(bench, directory);
        let answer = client.post("new-account", json!({"termsOfServiceAgreed": true})).is(201);
        client.kid = answer.header("location").map(str::to_owned);
        client
    }

    /// One with an account that need not prove these names.
    pub(super) fn bound(bench: &'a Bench, directory: &'static str, names: &str) -> Self {
        let made =
            bench.post(&format!("{directory}new-eab"), json!({"authorized_names": names})).is(200).data;
        let mut client = Self::new(bench, directory);
        let bound = accounts::bind(bench, &client, &made, |_| {}).is(201);
        client.kid = bound.header("location").map(str::to_owned);
        client
    }

    pub(super) fn url(&self, rest: &str) -> String {
        format!("{BASE}/{}{rest}", self.directory)
    }

    pub(super) fn nonce(&self) -> String {
        let answer = self.bench.get(&format!("{}new-nonce", self.directory)).is(204);
        answer.header("replay-nonce").unwrap().to_owned()
    }

    pub(super) fn jwk(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let text = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"crv": "P-256", "kty": "EC", "x": text(1..33), "y": text(33..65)})
    }

    /// The header of an honest request.
    pub(super) fn header(&self, rest: &str) -> Header {
        let (url, nonce) = (self.url(rest), Some(self.nonce()));
        let jwk = self.kid.is_none().then(|| self.jwk());
        Header { alg: "ES256", url, nonce, jwk, kid: self.kid.clone() }
    }

    pub(super) fn sign(&self, header: &Header, payload: &str) -> Value {
        let mut protected = json!({"alg": header.alg, "url": header.url});
        for (name, value) in [
            ("nonce", header.nonce.clone().map(Value::from)),
            ("jwk", header.jwk.clone()),
            ("kid", header.kid.clone().map(Value::from)),
        ] {
            if let Some(value) = value {
                protected[name] = value;
            }
        }
        let protected = URL_SAFE_NO_PAD.encode(protected.to_string());
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let message = format!("{protected}.{payload}");
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        json!({"protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(signature)})
    }

    pub(super) fn send(&self, rest: &str, body: &Value) -> Answer {
        self.bench.send(Verb::Post, &format!("{}{rest}", self.directory), &body.to_string())
    }

    /// An honest request.
    pub(super) fn post(&self, rest: &str, payload: Value) -> Answer {
        let payload = if payload.is_null() { String::new() } else { payload.to_string() };
        let answer = self.send(rest, &self.sign(&self.header(rest), &payload));
        assert!(answer.header("replay-nonce").is_some(), "every answer has a nonce: {answer:?}");
        answer
    }

    /// POST-as-GET.
    pub(super) fn look(&self, rest: &str) -> Answer {
        self.post(rest, Value::Null)
    }

    /// What lies behind a URL of this directory.
    pub(super) fn rest(&self, url: &Value) -> String {
        let base = self.url("");
        let url = url.as_str().unwrap_or_else(|| panic!("no URL: {url}"));
        url.strip_prefix(&base).unwrap_or_else(|| panic!("{url} is not below {base}")).to_owned()
    }

    pub(super) fn thumbprint(&self) -> String {
        let jwk = self.jwk().to_string();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, jwk.as_bytes());
        URL_SAFE_NO_PAD.encode(digest)
    }

    /// Orders these names, of type dns.
    pub(super) fn order(&self, names: &[&str]) -> Answer {
        let identifiers: Vec<_> = names.iter().map(|name| json!({"type": "dns", "value": name})).collect();
        self.post("new-order", json!({"identifiers": identifiers}))
    }

    /// The path of a challenge of the first authorization of an order, and its token.
    pub(super) fn challenge(&self, order: &Answer, kind: &str) -> (String, String) {
        let authorization = self.look(&self.rest(&order.data["authorizations"][0])).is(200);
        let challenges = authorization.data["challenges"].as_array().unwrap();
        let found = challenges.iter().find(|one| one["type"] == kind).unwrap_or_else(|| panic!("no {kind}"));
        (self.rest(&found["url"]), found["token"].as_str().unwrap().to_owned())
    }

    /// Puts a page up for the first name of an order, and has the server look.
    pub(super) fn prove(&self, web: &Web, order: &Answer, host: &str) {
        web.host(host, &["10.1.2.3"]);
        let (challenge, token) = self.challenge(order, "http-01");
        let page = format!("http://{host}/.well-known/acme-challenge/{token}");
        web.page(&page, 200, &format!("{token}.{}\n", self.thumbprint()));
        let begun = self.post(&challenge, json!({})).is(200);
        assert_eq!(begun.data["status"], "processing");
        self.bench.tick();
        assert_eq!(self.look(&challenge).is(200).data["status"], "valid");
    }

    /// Proves and finalizes an order of one name, and gives the path of the order.
    pub(super) fn obtain(&self, web: &Web, host: &str, csr: &str) -> String {
        let order = self.order(&[host]).is(201);
        self.prove(web, &order, host);
        let place = self.rest(&json!(order.header("location").unwrap()));
        let done = self.post(&format!("{place}/finalize"), json!({"csr": der(csr)})).is(200);
        assert_eq!(done.data["status"], "valid", "{done:?}");
        place
    }

    /// The certificate of an order.
    pub(super) fn download(&self, order: &str) -> String {
        String::from_utf8(self.look(&format!("{order}/cert")).is(200).bytes).unwrap()
    }
}

/// The DER of the first block of a PEM text, in base64url.
pub(super) fn der(pem: &str) -> String {
    URL_SAFE_NO_PAD.encode(&x509::pem::blocks(pem).unwrap()[0].der)
}

/// The type of a problem, without what all types begin with.
pub(super) fn problem(answer: &Answer) -> &str {
    answer.data["type"]
        .as_str()
        .and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:"))
        .unwrap_or("none")
}

#[track_caller]
pub(super) fn refuses(answer: &Answer, status: u16, kind: &str, why: &str) {
    assert_eq!((answer.status, problem(answer)), (status, kind), "{answer:?}");
    let detail = answer.data["detail"].as_str().unwrap();
    assert!(detail.contains(why), "{detail:?} lacks {why:?}");
    assert_eq!(answer.data["status"], status);
}
