//! Bringing certificates and keys that were made elsewhere into a mount.

use std::collections::BTreeMap;

use kit::loose::Text;
use kit::{Command, Error, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, PrivateKey, pem};
use zeroize::Zeroizing;

use super::authorities::{Authorities, Issuer, refused};
use super::fields::text;
use super::issuers::{NewIssuer, add_issuer};
use super::keys::{add_key, check_key_name};
use super::store::{CERTIFICATES, CertificateRecord, DEFAULTS, ISSUERS, Id, IssuerRecord, REVOKED, Usage};
use super::{Pki, issued, roll};

/// A PEM text shorter than this holds nothing; it is rather the path of a file.
const PEM_SIZE_MIN: usize = 75;

/// Imports the certificates and keys of a PEM text. What is here already is found again, not doubled.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ImportBundle<const AT: usize> {
    /// Certificates and private keys, in PEM.
    pem_bundle: Option<Text>,
    /// The same, by the name that `intermediate/set-signed` uses.
    certificate: Option<Text>,
}

const IMPORT_ROUTES: [Route; 4] = [
    Route::post("config/ca").logged(),
    Route::post("issuers/import/bundle").logged(),
    Route::post("issuers/import/cert").logged(),
    Route::post("intermediate/set-signed").logged(),
];
/// The places of the routes that take no private keys.
const WITHOUT_KEYS: [usize; 2] = [2, 3];

/// What came of an import.
#[derive(Default, JsonSchema, Serialize)]
pub(super) struct Imported {
    existing_issuers: Option<Vec<String>>,
    existing_keys: Option<Vec<String>>,
    imported_issuers: Option<Vec<String>>,
    imported_keys: Option<Vec<String>>,
    /// Which key belongs to which of these issuers; empty where it is not here.
    mapping: BTreeMap<String, String>,
}

impl<const AT: usize> Command<Pki> for ImportBundle<AT> {
    const ROUTE: Route = IMPORT_ROUTES[AT];
    type Reply = Imported;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Imported>> {
        let bundle = Zeroizing::new(text(self.certificate.or(self.pem_bundle)));
        let parts = Parts::read(&bundle)?;
        if WITHOUT_KEYS.contains(&AT) && !parts.keys.is_empty() {
            return Err(Error::invalid(
                "private keys found in the PEM bundle but not allowed by the path; use /issuers/import/bundle",
            ));
        }
        let mut imported = Imported::default();
        for key in &parts.keys {
            let Brought { id, is_known, .. } = bring_key(cx, String::new(), key)?;
            let list = if is_known { &mut imported.existing_keys } else { &mut imported.imported_keys };
            list.get_or_insert_default().push(id.to_string());
        }
        for certificate in &parts.certificates {
            import_certificate(cx, certificate, &mut imported)?;
        }
        let without = |id: &String| imported.mapping.get(id).is_some_and(String::is_empty);
        if imported.imported_issuers.iter().flatten().all(without) && imported.imported_issuers.is_some() {
            cx.warn("Unable to import any issuer with its private key: none of the imported certificates has its key in this mount.");
        }
        Ok(Reply::Data(imported))
    }
}

struct Parts {
    certificates: Vec<Certificate>,
    keys: Vec<PrivateKey>,
}

impl Parts {
    fn read(bundle: &str) -> Result<Self> {
        if bundle.is_empty() {
            return Err(Error::invalid("'pem_bundle' and 'certificate' parameters were empty"));
        }
        if bundle.len() < PEM_SIZE_MIN {
            return Err(Error::invalid(
                "provided data for import was too short; perhaps a path was passed to the API rather than the contents of a PEM file",
            ));
        }
        let mut parts = Parts { certificates: vec![], keys: vec![] };
        for block in pem::blocks(bundle).map_err(refused)? {
            match block.label {
                pem::CERTIFICATE | "TRUSTED CERTIFICATE" => {
                    let certificate = Certificate::from_der(&block.der).map_err(refused)?;
                    if !certificate.is_ca() {
                        return Err(Error::invalid(format!(
                            "the certificate {} is not a CA's, so it cannot be an issuer; leave it out of the bundle",
                            certificate.serial()
                        )));
                    }
                    parts.certificates.push(certificate);
                }
                label if label.ends_with("PRIVATE KEY") => {
                    let key = PrivateKey::from_der(&block.der).map_err(refused)?;
                    key.public().check_strength().map_err(refused)?;
                    parts.keys.push(key);
                }
                "EC PARAMETERS" => {}
                other => {
                    return Err(Error::invalid(format!(
                        "the PEM bundle holds a block {other}; only certificates and private keys can be imported"
                    )));
                }
            }
        }
        if parts.certificates.is_empty() && parts.keys.is_empty() {
            return Err(Error::invalid("the PEM bundle holds no certificate and no private key"));
        }
        Ok(parts)
    }
}

/// A key that was brought along.
struct Brought {
    id: Id,
    name: String,
    /// Whether it was here already.
    is_known: bool,
}

/// Adds a key if it is not here, and gives it to the issuers that wait for it.
fn bring_key(cx: &mut Writing<'_>, name: String, key: &PrivateKey) -> Result<Brought> {
    let all = Authorities::load(cx)?;
    let known = all.keys.iter().find(|known| known.private.public() == key.public());
    let brought = match known {
        Some(known) => Brought { id: known.id, name: known.name.clone(), is_known: true },
        None => {
            check_key_name(&name, None, &all)?;
            Brought { id: add_key(cx, &name, key, &all)?, name, is_known: false }
        }
    };
    let waits = |issuer: &&Issuer| issuer.key.is_none() && issuer.certificate.public_key() == key.public();
    for issuer in all.issuers.iter().filter(waits) {
        give_key(cx, issuer, brought.id)?;
    }
    Ok(brought)
}

/// Gives an issuer its key. Where there is no default, it is the first that can sign.
fn give_key(cx: &mut Writing<'_>, issuer: &Issuer, key: Id) -> Result<()> {
    let record = IssuerRecord { key: Some(key), ..issuer.record.clone() };
    ISSUERS.put(cx, issuer.id.as_bytes(), &record)?;
    let mut defaults = DEFAULTS.get(cx)?;
    if defaults.issuer.is_none() {
        defaults.issuer = Some(issuer.id);
        DEFAULTS.put(cx, &defaults)?;
    }
    Ok(())
}

fn import_certificate(
    cx: &mut Writing<'_>,
    certificate: &Certificate,
    imported: &mut Imported,
) -> Result<()> {
    let all = Authorities::load(cx)?;
    let key = all.keys.iter().find(|key| key.private.public() == certificate.public_key()).map(|key| key.id);
    let named = key.map(|id| id.to_string()).unwrap_or_default();
    if let Some(known) = all.issuers.iter().find(|known| known.certificate == *certificate) {
        imported.existing_issuers.get_or_insert_default().push(known.id.to_string());
        imported.mapping.insert(known.id.to_string(), named);
        return match key {
            Some(key) if known.key.is_none() => give_key(cx, known, key),
            _ => Ok(()),
        };
    }
    let awaited = key.map(|key| roll::awaited(cx, key)).transpose()?.flatten();
    let (id, name) = awaited.clone().unwrap_or_else(|| (Id::new(cx), String::new()));
    let defaults = DEFAULTS.get(cx)?;
    add_issuer(cx, NewIssuer { id, name, key, certificate })?;
    if awaited.is_some() {
        // The next CA of a roll is nobody's default yet.
        DEFAULTS.put(cx, &defaults)?;
        roll::arrived(cx, certificate)?;
    }
    if !Usage::of(certificate).issuing {
        cx.warn(format!(
            "The certificate of the imported issuer {id} lacks the CertSign KeyUsage value, so it issues nothing: nobody would accept that."
        ));
    }
    record(cx, id, certificate)?;
    imported.imported_issuers.get_or_insert_default().push(id.to_string());
    imported.mapping.insert(id.to_string(), named);
    Ok(())
}

/// Enters an imported CA among the certificates of the mount.
fn record(cx: &mut Writing<'_>, id: Id, certificate: &Certificate) -> Result<()> {
    let serial = certificate.serial();
    match CERTIFICATES.get(cx, serial.as_bytes())? {
        None => {
            let record = CertificateRecord::new(certificate.der().to_vec(), None);
            issued::keep_parsed(cx, certificate, &record)
        }
        // What was signed in this mount has a record that says by whom and for whom. It may have been revoked meanwhile.
        Some(known) if known.der.0 == certificate.der() => {
            let (revoked, issuer) = (REVOKED.get(cx, serial.as_bytes())?, ISSUERS.get(cx, id.as_bytes())?);
            let (Some(revoked), Some(mut issuer)) = (revoked, issuer) else { return Ok(()) };
            (issuer.revoked_at, issuer.usage.issuing) = (Some(revoked.at), false);
            cx.warn(format!(
                "The imported issuer {id} was revoked in this mount before, so it issues nothing."
            ));
            ISSUERS.put(cx, id.as_bytes(), &issuer)
        }
        Some(_) => {
            cx.warn(format!(
                "Another certificate has the serial number {serial} of the imported issuer {id}, too: cert/{serial} goes on to mean that one."
            ));
            Ok(())
        }
    }
}

/// Imports a private key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ImportKey {
    /// Its name.
    key_name: Option<Text>,
    /// The key, in PEM.
    pem_bundle: Option<Text>,
}

/// A key that was imported.
#[derive(JsonSchema, Serialize)]
pub(super) struct ImportedKey {
    key_id: String,
    key_name: String,
    key_type: &'static str,
}

impl Command<Pki> for ImportKey {
    const ROUTE: Route = Route::post("keys/import");
    type Reply = ImportedKey;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<ImportedKey>> {
        let name = text(self.key_name);
        let parts = Parts::read(&Zeroizing::new(text(self.pem_bundle)))?;
        let [key] = parts.keys.as_slice() else {
            return Err(Error::invalid(
                "only a single key can be present within the pem_bundle for importing",
            ));
        };
        if !parts.certificates.is_empty() {
            return Err(Error::invalid("importing keys takes no certificates; use /issuers/import/bundle"));
        }
        let Brought { id, name, .. } = bring_key(cx, name, key)?;
        Ok(Reply::Data(ImportedKey {
            key_id: id.to_string(),
            key_name: name,
            key_type: key.public().shape().family.name(),
        }))
    }
}
