//! The limits that the load bench shows beside each figure: what this machine can do with nothing in between.
//!
//! `bare http PORT BYTES` answers every request with that many bytes of JSON, by axum; `bare fsync FOLDER SECONDS`
//! appends 4 KiB and syncs it, again and again; `bare WORK SECONDS` makes keys, signatures and the like.
#![allow(clippy::disallowed_methods, reason = "this program measures time: it is the only thing it does")]

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    UnparsedPublicKey,
};
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::serve::ListenerExt;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["http", port, bytes] => http(port.parse()?, bytes.parse()?),
        ["fsync", folder, seconds] => fsync(Path::new(folder), Duration::from_secs(seconds.parse()?)),
        [work, seconds] => primitive(work, Duration::from_secs(seconds.parse()?)),
        _ => Err("usage: bare http PORT BYTES | bare fsync FOLDER SECONDS | bare WORK SECONDS".into()),
    }
}

fn http(port: u16, bytes: usize) -> Outcome {
    // One thread: the bench gives the server one core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let filler = bytes.saturating_sub(r#"{"data":""}"#.len());
        let body = Bytes::from(format!(r#"{{"data":"{}"}}"#, "x".repeat(filler)));
        let answer = move || {
            let body = body.clone();
            async move { ([(CONTENT_TYPE, "application/json")], body) }
        };
        let app = axum::Router::new().fallback(answer);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        let listener = listener.tap_io(|stream| {
            // The answers are small: waiting to fill a packet would measure the wait. A socket that refuses still serves.
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, app).await?)
    })
}

fn fsync(folder: &Path, length: Duration) -> Outcome {
    let path = folder.join("bare-fsync");
    let mut file = std::fs::File::create(&path)?;
    let block = [7_u8; 4096];
    let mut micros = Vec::new();
    let start = Instant::now();
    while start.elapsed() < length {
        let one = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        micros.push(one.elapsed().as_micros());
    }
    report(start.elapsed(), micros);
    Ok(std::fs::remove_file(path)?)
}

/// The work that cannot be left out of a request, with nothing around it.
fn primitive(work: &str, length: Duration) -> Outcome {
    let random = SystemRandom::new();
    let message = [7_u8; 512];
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
    let ed25519 = Ed25519KeyPair::generate()?;
    let signature = p256.sign(&random, &message)?;
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, p256.public_key());
    let sealing = RandomizedNonceKey::new(&AES_256_GCM, &[7; 32])?;
    match work {
        "p256-key" => repeat(length, || {
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
            Ok(())
        }),
        "p256-sign" => repeat(length, || {
            p256.sign(&random, &message)?;
            Ok(())
        }),
        "p256-verify" => repeat(length, || Ok(public.verify(&message, signature.as_ref())?)),
        "ed25519-sign" => repeat(length, || {
            std::hint::black_box(ed25519.sign(&message));
            Ok(())
        }),
        "aes-256-gcm" => repeat(length, || {
            let mut text = message.to_vec();
            sealing.seal_in_place_append_tag(Aad::empty(), &mut text)?;
            Ok(())
        }),
        _ => Err(format!("unknown work {work}").into()),
    }
}

fn repeat(length: Duration, mut work: impl FnMut() -> Outcome) -> Outcome {
    let mut micros = Vec::new();
    let start = Instant::now();
    while start.elapsed() < length {
        let one = Instant::now();
        work()?;
        micros.push(one.elapsed().as_micros());
    }
    report(start.elapsed(), micros);
    Ok(())
}

fn report(length: Duration, mut micros: Vec<u128>) {
    micros.sort_unstable();
    let at = |share: usize| micros.get(micros.len() * share / 100).copied().unwrap_or_default();
    let per_second = micros.len() as f64 / length.as_secs_f64();
    println!("{{\"per_second\": {per_second:.0}, \"p50_micros\": {}, \"p99_micros\": {}}}", at(50), at(99));
}
