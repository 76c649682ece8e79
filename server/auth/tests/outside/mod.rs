//! Issuers of tokens and what lies outside, for tests of the methods that ask there.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PSS_SHA512, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Call, Error, Fault, PodFile, Result, Secret, Soon, Time, Told, World};
use serde_json::{Value, json};

/// The first of January 2026, when every bench begins.
pub(crate) const NOW: i64 = 1_767_225_600;

/// Someone who signs tokens.
pub(crate) enum Issuer {
    P256(EcdsaKeyPair),
    P521(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Issuer {
    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn p521() -> Self {
        Self::P521(EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap())
    }

    fn alg(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::P521(_) => "ES512",
            Self::Ed25519(_) => "EdDSA",
            Self::Rsa(_) => "RS256",
        }
    }

    /// Its public key in PEM.
    pub(crate) fn pem(&self) -> String {
        use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
        let der: PublicKeyX509Der<'_> = match self {
            Self::P256(key) | Self::P521(key) => key.public_key().as_der().unwrap(),
            Self::Ed25519(key) => key.public_key().as_der().unwrap(),
            Self::Rsa(key) => key.public_key().as_der().unwrap(),
        };
        x509::pem::encode("PUBLIC KEY", der.as_ref())
    }

    /// Its public key as sets of keys have it.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let point = |key: &EcdsaKeyPair, curve: &str| {
            let point = key.public_key().as_ref()[1..].to_vec();
            let (x, y) = point.split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "kid": id, "x": base64(x), "y": base64(y)})
        };
        match self {
            Self::P256(key) => point(key, "P-256"),
            Self::P521(key) => point(key, "P-521"),
            Self::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": base64(key.public_key().as_ref())})
            }
            Self::Rsa(key) => {
                let key = key.public_key();
                let (n, e) = (key.modulus().big_endian_without_leading_zero().to_vec(), key.exponent());
                let e = e.big_endian_without_leading_zero();
                json!({"kty": "RSA", "kid": id, "use": "sig", "n": base64(&n), "e": base64(e)})
            }
        }
    }

    /// A token that says this.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.alg(), "typ": "JWT"}), &claims.to_string())
    }

    /// The same, naming its key.
    pub(crate) fn token_by(&self, id: &str, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.alg(), "kid": id}), &claims.to_string())
    }

    /// The same with any header.
    pub(crate) fn token_with(&self, header: &Value, payload: &str) -> String {
        let text = format!("{}.{}", base64(header.to_string().as_bytes()), base64(payload.as_bytes()));
        let (random, message) = (SystemRandom::new(), text.as_bytes());
        let signature = match self {
            Self::P256(key) | Self::P521(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let pss = header["alg"] == "PS512";
                let padding: &dyn aws_lc_rs::signature::RsaEncoding =
                    if pss { &RSA_PSS_SHA512 } else { &RSA_PKCS1_SHA256 };
                key.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
        };
        format!("{text}.{}", base64(&signature))
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What lies outside: answers by URL.
#[derive(Default)]
pub(crate) struct Sites(Mutex<Inside>);

/// A URL, a body, and headers.
type Asked = (String, String, Vec<(String, String)>);

#[derive(Default)]
struct Inside {
    answers: BTreeMap<String, (u16, String)>,
    calls: Vec<Asked>,
    waited: u64,
    pod: Option<String>,
}

impl Sites {
    /// Puts an answer there.
    pub(crate) fn put(&self, url: &str, body: &Value) {
        self.put_raw(url, 200, &body.to_string());
    }

    pub(crate) fn put_raw(&self, url: &str, status: u16, body: &str) {
        self.0.lock().unwrap().answers.insert(url.to_owned(), (status, body.to_owned()));
    }

    /// Nobody answers there any more.
    pub(crate) fn take(&self, url: &str) {
        self.0.lock().unwrap().answers.remove(url);
    }

    /// Lets time pass there.
    pub(crate) fn wait(&self, seconds: u64) {
        self.0.lock().unwrap().waited += seconds;
    }

    /// Puts files into the pod.
    pub(crate) fn pod(&self, text: &str) {
        self.0.lock().unwrap().pod = Some(text.to_owned());
    }

    /// What was asked: URLs and bodies.
    pub(crate) fn calls(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().calls.iter().map(|(url, body, _)| (url.clone(), body.clone())).collect()
    }

    /// A header of the last call.
    pub(crate) fn last_header(&self, name: &str) -> String {
        let inside = self.0.lock().unwrap();
        let headers = &inside.calls.last().unwrap().2;
        headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

impl World for Sites {
    fn now(&self) -> Time {
        Time::from_seconds(NOW as u64 + self.0.lock().unwrap().waited)
    }

    fn pause(&self, _: Duration) -> Soon<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn fetch(&self, call: Call) -> Soon<'_, Result<Told>> {
        let mut inside = self.0.lock().unwrap();
        let headers =
            call.headers.iter().map(|(name, value)| (name.to_string(), value.expose().clone())).collect();
        inside.calls.push((call.url.clone(), String::from_utf8(call.body).unwrap(), headers));
        let told = match inside.answers.get(&call.url) {
            Some((status, body)) => Ok(Told {
                status: *status,
                kind: "application/json".to_owned(),
                body: body.clone().into_bytes(),
                ..Told::default()
            }),
            None => Err(Error::new(Fault::Upstream, format!("no answer from {}: refused", call.url))),
        };
        Box::pin(std::future::ready(told))
    }

    fn dial<'a>(&'a self, _: &'a str, _: u16) -> Soon<'a, Result<TcpStream>> {
        Box::pin(std::future::ready(Err(Error::new(Fault::Upstream, "nobody is there"))))
    }

    fn pod(&self, file: PodFile) -> Soon<'_, Option<Secret<String>>> {
        let pod = self.0.lock().unwrap().pod.clone();
        Box::pin(std::future::ready(pod.map(|text| Secret::new(format!("{text}-{file:?}")))))
    }
}
