//! The server of the simulation: it logs in, signs requests for real, and can be made to fail in the ways servers do.

use std::{collections::HashMap, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    agent::{moment::Moment, pair, schedule::Window},
    call::{Call, Verb},
    client::{Credential, Reply},
    refused::{Answer, Refused},
    trouble::Trouble,
};

/// What a server does with a request for a certificate, when it answers at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    /// Signs, but another key.
    OtherKey,
    /// Leaves the names out.
    NoNames,
    /// Gives what ended long ago.
    Ended,
    /// Answers with something else.
    Nonsense,
    /// Does not know the token.
    ForgetsTokens,
}

pub(super) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    anchor: String,
    /// The CAs that holders are to trust, whoever signs.
    pub(super) bundle: String,
    /// Whether it says when to renew and whom to trust, and keeps an inventory.
    pub(super) advises: bool,
    /// All signed before the first moment are to be replaced; they are revoked at the second.
    pub(super) reissue: Option<(Moment, Moment)>,
    /// What was reported to the inventory.
    pub(super) reports: Vec<Value>,
    /// When each certificate was signed, by its serial.
    born: HashMap<String, Moment>,
    pub(super) life: Duration,
    pub(super) up: bool,
    pub(super) mood: Mood,
    /// How many it signs in one second; the others are told to come later.
    pub(super) per_second: Option<u32>,
    pub(super) retry_after: Duration,
    pub(super) window: Option<Window>,
    /// When certificates were asked for, whatever came of it.
    pub(super) asked: Vec<Moment>,
    /// When they were signed, and for whom.
    pub(super) signed: Vec<(Moment, String)>,
    /// Who was pushed back last, and when.
    pub(super) pushed_back: HashMap<String, Moment>,
    /// Requests that came although the pause they were given was not over.
    pub(super) too_early: u32,
    pub(super) logins: u32,
    /// Every byte that came in.
    pub(super) heard: String,
    pub(super) listens: bool,
}

impl Authority {
    pub(super) fn new(life: Duration) -> Authority {
        let (issuer, anchor) = authority("Simulated CA");
        Authority {
            issuer,
            bundle: anchor.clone(),
            anchor,
            advises: false,
            reissue: None,
            reports: Vec::new(),
            born: HashMap::new(),
            life,
            up: true,
            mood: Mood::Good,
            per_second: None,
            retry_after: Duration::from_secs(30),
            window: None,
            asked: Vec::new(),
            signed: Vec::new(),
            pushed_back: HashMap::new(),
            too_early: 0,
            logins: 0,
            heard: String::new(),
            listens: false,
        }
    }

    pub(super) fn answer(&mut self, call: &Call, now: Moment) -> Result<Reply, Refused> {
        if self.listens {
            self.heard.push_str(&format!("{} {}\n", call.path, call.body.clone().unwrap_or_default()));
        }
        let body = call.body.clone().unwrap_or_default();
        if call.path == "pki/sign/web" {
            self.asked.push(now);
        }
        if !self.up {
            let trouble = Trouble::Refused("dial tcp: connection refused".to_owned());
            return Err(Refused::NoAnswer { verb: call.verb, url: call.path.clone(), trouble });
        }
        match call.path.as_str() {
            "auth/approle/login" if body["role_id"] == "role" && body["secret_id"] == "secret" => {
                self.logins += 1;
                let token = format!("s.{}", self.logins);
                good(json!({"auth": {"client_token": token, "lease_duration": 1200, "renewable": true}}))
            }
            "auth/token/renew-self" => {
                let token = call.token.as_ref().unwrap().as_str();
                good(json!({"auth": {"client_token": token, "lease_duration": 1200, "renewable": true}}))
            }
            "pki/sign/web" => self.sign(call, &body, now),
            path if path.starts_with("pki/renewal-info/") && self.advises => self.advise(path, now),
            path if path.starts_with("pki/bundle/") && self.advises => {
                let body = Bytes::from(self.bundle.clone());
                Ok(Reply { status: 200, body, date: None, retry_after: None })
            }
            path if path.starts_with("pki/cert/") && self.advises => {
                let revoked = self.is_revoked(path.trim_start_matches("pki/cert/"), now);
                good(json!({"data": {"revocation_time": if revoked { now.seconds() } else { 0 }}}))
            }
            "pki/inventory/report" if self.advises => {
                self.reports.push(body);
                good(Value::Null)
            }
            path if path.starts_with("pki/acme/renewal-info/") => match self.window {
                Some(window) => {
                    let moment = |at: Moment| at.to_string();
                    let window = json!({"start": moment(window.start), "end": moment(window.end)});
                    let reply = good(json!({ "suggestedWindow": window }))?;
                    Ok(Reply { retry_after: Some(Duration::from_secs(300)), ..reply })
                }
                None => refusal(404, None),
            },
            _ => refusal(404, None),
        }
    }

    /// Another CA takes its place; who holds a certificate of the old one keeps it.
    pub(super) fn sign_by(&mut self, next: (rcgen::Issuer<'static, rcgen::KeyPair>, String)) {
        (self.issuer, self.anchor) = next;
    }

    /// Whether a certificate is revoked at a moment.
    pub(super) fn is_revoked(&self, serial: &str, now: Moment) -> bool {
        self.reissue
            .is_some_and(|(begun, end)| now >= end && self.born.get(serial).is_some_and(|born| *born < begun))
    }

    fn advise(&self, path: &str, now: Moment) -> Result<Reply, Refused> {
        let serial = path.rsplit_once('.').unwrap().1;
        let serial = URL_SAFE_NO_PAD.decode(serial).unwrap();
        let serial: Vec<String> = serial.iter().map(|byte| format!("{byte:02x}")).collect();
        let Some(born) = self.born.get(&serial.join(":")) else { return refusal(404, None) };
        let (start, end) = match self.reissue {
            Some((begun, _)) if *born < begun => (now.minus(Duration::from_secs(3600)), now),
            _ => (born.plus(self.life.mul_f64(0.67)), born.plus(self.life.mul_f64(0.73))),
        };
        let window = json!({"start": start.to_string(), "end": end.to_string()});
        let reply = good(json!({"suggestedWindow": window, "bundle": pair::fingerprint(&self.bundle)}))?;
        Ok(Reply { retry_after: Some(Duration::from_secs(300)), ..reply })
    }

    fn sign(&mut self, call: &Call, body: &Value, now: Moment) -> Result<Reply, Refused> {
        let name = body["common_name"].as_str().unwrap().to_owned();
        if let Some(before) = self.pushed_back.remove(&name)
            && now < before.plus(self.retry_after)
        {
            self.too_early += 1;
        }
        if self.mood == Mood::ForgetsTokens {
            self.mood = Mood::Good;
            return refusal(403, None);
        }
        assert!(call.token.is_some(), "a request without a token");
        let this_second = |at: &Moment| at.seconds() == now.seconds();
        let signed = self.signed.iter().rev().take_while(|(at, _)| this_second(at)).count();
        if self.per_second.is_some_and(|most| signed >= most as usize) {
            self.pushed_back.insert(name, now);
            return refusal(429, Some(self.retry_after));
        }
        if self.mood == Mood::Nonsense {
            return good(json!({"data": {"certificate": "-----BEGIN NONSENSE-----"}}));
        }
        let csr = body["csr"].as_str().unwrap();
        let mut asked = rcgen::CertificateSigningRequestParams::from_pem(csr).unwrap();
        let date = |at: Moment| time::OffsetDateTime::from_unix_timestamp(at.seconds()).unwrap();
        asked.params.use_authority_key_identifier_extension = true;
        asked.params.not_before = date(now.minus(Duration::from_secs(30)));
        asked.params.not_after = date(now.plus(self.life));
        if self.mood == Mood::Ended {
            asked.params.not_after = date(now.minus(Duration::from_secs(1)));
        }
        if self.mood == Mood::NoNames {
            asked.params.subject_alt_names.clear();
        }
        let certificate = if self.mood == Mood::OtherKey {
            let other = rcgen::KeyPair::generate().unwrap();
            asked.params.signed_by(&other, &self.issuer).unwrap()
        } else {
            asked.signed_by(&self.issuer).unwrap()
        };
        self.born.insert(pair::serial(certificate.der()), now);
        self.signed.push((now, name));
        good(json!({"data": {
            "certificate": certificate.pem(), "issuing_ca": self.anchor, "ca_chain": [self.anchor],
        }}))
    }
}

/// A root with its key, and its certificate in PEM.
pub(super) fn authority(name: &str) -> (rcgen::Issuer<'static, rcgen::KeyPair>, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let anchor = params.self_signed(&key).unwrap().pem();
    (rcgen::Issuer::new(params, key), anchor)
}

fn good(body: Value) -> Result<Reply, Refused> {
    Ok(Reply { status: 200, body: Bytes::from(body.to_string()), date: None, retry_after: None })
}

fn refusal(status: u16, retry_after: Option<Duration>) -> Result<Reply, Refused> {
    let body = Bytes::from(json!({"errors": ["no"]}).to_string());
    let reply = Reply { status, body, date: None, retry_after };
    let answer = Answer::read(Verb::Post, "u".to_owned(), None, reply, Credential::Given);
    Err(Refused::Answer(Box::new(answer)))
}
