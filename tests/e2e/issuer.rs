//! Someone who signs tokens, and a site of theirs that answers over HTTP as it is told.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The first of January 2026, and of 2100: between them tokens are good.
pub(crate) const FROM: i64 = 1_767_225_600;
pub(crate) const UNTIL: i64 = 4_102_444_800;

/// A key pair.
pub(crate) struct Issuer(EcdsaKeyPair);

impl Issuer {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// Its public key as sets of keys have it.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let point = self.0.public_key().as_ref().to_vec();
        let (x, y) = point[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "kid": id, "x": base64(x), "y": base64(y)})
    }

    /// A token that says this, by this key.
    pub(crate) fn token(&self, id: &str, claims: &Value) -> String {
        self.signed(&json!({"alg": "ES256", "kid": id}), &claims.to_string())
    }

    /// The same with any header.
    pub(crate) fn signed(&self, header: &Value, payload: &str) -> String {
        let text = format!("{}.{}", base64(header.to_string().as_bytes()), base64(payload.as_bytes()));
        let signature = self.0.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", base64(signature.as_ref()))
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What a site does when it is asked.
#[derive(Clone)]
pub(crate) enum Answer {
    /// This status and body.
    Say(u16, String),
    /// That it is somewhere else.
    LeadTo(String),
    /// Nothing at all, while the connection stays open.
    Hang,
    /// Something that is no HTTP.
    Babble,
}

/// A web server on a port of this machine.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) url: String,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Site {
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let site = Self { url, answers: Arc::default(), asked: Arc::default() };
        let own = site.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                thread::spawn(move || own.answer(stream));
            }
        });
        site
    }

    pub(crate) fn put(&self, path: &str, body: &Value) {
        self.does(path, Answer::Say(200, body.to_string()));
    }

    pub(crate) fn does(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// The same, whatever path it is asked for.
    pub(crate) fn does_always(&self, answer: Answer) {
        self.does("", answer);
    }

    /// What it was asked: paths and bodies.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim().to_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        self.asked.lock().unwrap().push((path.clone(), String::from_utf8_lossy(&body).into_owned()));
        let answers = self.answers.lock().unwrap();
        let answer = answers.get(&path).or_else(|| answers.get("")).cloned();
        drop(answers);
        let (status, location, body) = match answer.unwrap_or(Answer::Say(404, "nothing here".to_owned())) {
            Answer::Say(status, body) => (status, String::new(), body),
            Answer::LeadTo(url) => (302, format!("location: {url}\r\n"), String::new()),
            Answer::Babble => return stream.write_all(b"what is this\r\n\r\n").ok(),
            Answer::Hang => {
                // Until the other side gives up.
                let _ = reader.read(&mut [0]);
                return None;
            }
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\n{location}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).ok()
    }
}
