use aws_lc_rs::{
    key_wrap::{AES_256, AesKek, KeyWrapPadded as _},
    rsa::{
        OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
        OaepAlgorithm,
    },
    rsa::{OaepPublicEncryptingKey, PublicEncryptingKey},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::Field;
use crate::{
    call::Call,
    output::{raw, say},
    pairs, paths, pem, prompt,
    secret::Secret,
    session::Session,
    stop::{Outcome, Stop},
};

/// Encrypt and decrypt with keys that never leave the server, and bring keys in
#[derive(Subcommand, Debug)]
pub(crate) enum Transit {
    Encrypt(Encrypt),
    Decrypt(Decrypt),
    Import(Import),
    ImportVersion(ImportVersion),
}

impl Transit {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Transit::Encrypt(verb) => verb.run(session).await,
            Transit::Decrypt(verb) => verb.run(session).await,
            Transit::Import(Import { path, key, options }) => {
                let path = Place::parse(&path)?;
                import(session, &path, &format!("{}/keys/{}/import", path.mount, path.name), &key, &options)
                    .await
            }
            Transit::ImportVersion(ImportVersion { path, key, options }) => {
                let path = Place::parse(&path)?;
                let to = format!("{}/keys/{}/import_version", path.mount, path.name);
                import(session, &path, &to, &key, &options).await
            }
        }
    }
}

/// Encrypt a text or a file
///
/// The base64 that the API wants is added by itself: `keep transit encrypt orders @order.json`.
#[derive(Args, Debug)]
pub(crate) struct Encrypt {
    #[command(flatten)]
    field: Field,
    /// Where the engine is mounted
    #[arg(long, value_name = "PATH", default_value = "transit")]
    mount: String,
    /// Name of the key
    name: String,
    /// Text, @file, or `-` to read it from a pipe
    plaintext: String,
    /// Further parameters, as key=value
    #[arg(value_name = "K=V")]
    data: Vec<String>,
}

impl Encrypt {
    async fn run(self, session: &Session) -> Outcome {
        let plain = bytes(&self.plaintext)?;
        let mut body = pairs::read(&self.data, session.interactive)?;
        body.insert("plaintext".to_owned(), json!(STANDARD.encode(&*plain)));
        let path = format!("{}/encrypt/{}", paths::clean(&self.mount), paths::clean(&self.name));
        let call = Call::put(&path, Value::Object(body));
        let secret = session
            .client
            .write(call)
            .await
            .map_err(|e| e.during(format!("Error writing data to {path}")))?;
        session.output.secret_or_field(&secret.unwrap_or_default(), self.field.field.as_deref())
    }
}

/// Decrypt what was encrypted, and print it as it was
#[derive(Args, Debug)]
pub(crate) struct Decrypt {
    /// Where the engine is mounted
    #[arg(long, value_name = "PATH", default_value = "transit")]
    mount: String,
    /// Name of the key
    name: String,
    /// Ciphertext, @file, or `-` to read it from a pipe
    ciphertext: String,
    /// Further parameters, as key=value
    #[arg(value_name = "K=V")]
    data: Vec<String>,
}

impl Decrypt {
    async fn run(self, session: &Session) -> Outcome {
        let cipher = bytes(&self.ciphertext)?;
        let mut body = pairs::read(&self.data, session.interactive)?;
        body.insert("ciphertext".to_owned(), json!(String::from_utf8_lossy(&cipher).trim()));
        let path = format!("{}/decrypt/{}", paths::clean(&self.mount), paths::clean(&self.name));
        let call = Call::put(&path, Value::Object(body));
        let secret = session
            .client
            .write(call)
            .await
            .map_err(|e| e.during(format!("Error writing data to {path}")))?;
        let secret = secret.unwrap_or_default();
        if !session.output.is_table() {
            return session.output.secret(&secret);
        }
        let plain = secret.text("plaintext").and_then(|text| STANDARD.decode(text).ok());
        let plain = Zeroizing::new(plain.ok_or_else(|| Stop::remote("The server returned no plaintext"))?);
        match std::str::from_utf8(&plain) {
            Ok(text) => raw(text),
            Err(_) => {
                return Err(Stop::local("The plaintext is no text")
                    .hint("Use -format=json, which shows it as base64."));
            }
        }
        Ok(0)
    }
}

/// Bring a key in, wrapped on the way
///
/// KEY is base64 of the key's bytes (symmetric) or of its PKCS#8, or PEM; @file reads it. `type=` is needed.
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// Path of the new key, as transit/keys/NAME
    path: String,
    /// Key
    key: String,
    /// Parameters of the key, as key=value
    #[arg(value_name = "K=V")]
    options: Vec<String>,
}

/// Bring a new version of a key in, wrapped on the way
#[derive(Args, Debug)]
pub(crate) struct ImportVersion {
    /// Path of the key, as transit/keys/NAME
    path: String,
    /// Key
    key: String,
    /// Further parameters, as key=value
    #[arg(value_name = "K=V")]
    options: Vec<String>,
}

/// `transit/keys/name` taken apart.
struct Place {
    mount: String,
    name: String,
}

impl Place {
    fn parse(path: &str) -> Result<Place, Stop> {
        let clean = paths::clean(path);
        let parts =
            clean.rsplit_once("/keys/").filter(|(mount, name)| !mount.is_empty() && !name.contains('/'));
        let (mount, name) = parts.ok_or_else(|| {
            Stop::local(format!("{path} is no path of a key")).hint("It looks like transit/keys/NAME.")
        })?;
        Ok(Place { mount: mount.to_owned(), name: name.to_owned() })
    }
}

async fn import(session: &Session, path: &Place, to: &str, key: &str, options: &[String]) -> Outcome {
    let key = material(&bytes(key)?)?;
    let mut body = pairs::read(options, session.interactive)?;
    let hash = body.get("hash_function").and_then(Value::as_str).unwrap_or("SHA256").to_owned();
    let call = Call::get(format!("{}/wrapping_key", path.mount)).preflight();
    let wrapping: Secret = session
        .client
        .read(call)
        .await
        .map_err(|e| e.during("Error fetching the wrapping key"))?
        .unwrap_or_default();
    let public = wrapping.text("public_key").ok_or_else(|| Stop::remote("The server has no wrapping key"))?;
    let wrapped = wrap(public, &key, oaep(&hash)?)?;
    body.insert("ciphertext".to_owned(), json!(STANDARD.encode(wrapped)));
    body.insert("hash_function".to_owned(), json!(hash));
    done(session, to, body).await
}

async fn done(session: &Session, to: &str, body: Map<String, Value>) -> Outcome {
    let call = Call::put(to, Value::Object(body));
    session.client.send(call).await.map_err(|e| e.during(format!("Error importing to {to}")))?;
    say("Success!");
    Ok(0)
}

/// A fresh AES key under the server's RSA key, and the key to import under that one (RFC 5649).
fn wrap(public: &str, key: &[u8], oaep: &'static OaepAlgorithm) -> Result<Vec<u8>, Stop> {
    let unusable = |_| Stop::remote("The server's wrapping key is not usable");
    let der = pem::blocks(public)
        .into_iter()
        .next()
        .ok_or_else(|| Stop::remote("The server's wrapping key is no PEM"))?;
    let public = PublicEncryptingKey::from_der(&der).map_err(|_| unusable(()))?;
    let public = OaepPublicEncryptingKey::new(public).map_err(|_| unusable(()))?;
    let mut ephemeral = Zeroizing::new([0_u8; 32]);
    aws_lc_rs::rand::fill(&mut *ephemeral).map_err(|_| Stop::local("The system gives no randomness"))?;
    let mut under_rsa = vec![0; public.ciphertext_size()];
    let size = public.encrypt(oaep, &*ephemeral, &mut under_rsa, None).map_err(|_| unusable(()))?.len();
    under_rsa.truncate(size);
    let kek = AesKek::new(&AES_256, &*ephemeral).map_err(|_| unusable(()))?;
    let mut under_aes = vec![0; key.len() + 16];
    let size = kek
        .wrap_with_padding(key, &mut under_aes)
        .map_err(|_| Stop::local("The key cannot be wrapped; it is empty or too long"))?
        .len();
    under_aes.truncate(size);
    under_rsa.extend_from_slice(&under_aes);
    Ok(under_rsa)
}

fn oaep(hash: &str) -> Result<&'static OaepAlgorithm, Stop> {
    match hash.to_uppercase().as_str() {
        "SHA1" => Ok(&OAEP_SHA1_MGF1SHA1),
        "SHA256" => Ok(&OAEP_SHA256_MGF1SHA256),
        "SHA384" => Ok(&OAEP_SHA384_MGF1SHA384),
        "SHA512" => Ok(&OAEP_SHA512_MGF1SHA512),
        other => Err(Stop::local(format!("Unknown hash_function: {other}"))
            .hint("It is SHA1, SHA256, SHA384 or SHA512.")),
    }
}

/// The bytes of a key, from PEM or base64.
fn material(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Stop> {
    let text = Zeroizing::new(String::from_utf8_lossy(text).into_owned());
    if text.contains("-----BEGIN") {
        let block = pem::blocks(&text).into_iter().next();
        return block
            .map(Zeroizing::new)
            .ok_or_else(|| Stop::local("The key looks like PEM and does not read"));
    }
    let compact = Zeroizing::new(text.split_whitespace().collect::<String>());
    let decoded = STANDARD.decode(compact.as_bytes()).map_err(|_| {
        Stop::local("The key is neither PEM nor base64").hint("For a file of raw bytes: base64 -w0 FILE.")
    })?;
    Ok(Zeroizing::new(decoded))
}

/// What an argument stands for: itself, a file, or what is piped in.
fn bytes(argument: &str) -> Result<Zeroizing<Vec<u8>>, Stop> {
    if argument == "-" {
        return Ok(Zeroizing::new(prompt::piped().map_err(Stop::local)?.as_bytes().to_vec()));
    }
    match argument.strip_prefix('@') {
        Some(file) => std::fs::read(file)
            .map(Zeroizing::new)
            .map_err(|e| Stop::local(format!("Error reading {file}: {e}"))),
        None => Ok(Zeroizing::new(argument.as_bytes().to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_mount_and_key() {
        let place = Place::parse("/team/transit/keys/orders/").unwrap();
        assert_eq!((place.mount.as_str(), place.name.as_str()), ("team/transit", "orders"));
        assert!(Place::parse("transit/orders").is_err());
        assert!(Place::parse("transit/keys/a/b").is_err());
    }

    #[test]
    fn a_key_is_pem_or_base64() {
        assert_eq!(*material(b"AQID\nBA==\n").unwrap(), [1, 2, 3, 4]);
        assert_eq!(
            *material(b"-----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----\n").unwrap(),
            [1, 2, 3]
        );
        assert!(material(b"{}").is_err());
    }
}
