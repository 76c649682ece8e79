//! The issuers and keys of a mount, parsed once and kept until one of them changes.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::{Error, Reads, Result, Secret, Time};
use std::cmp::Reverse;
use std::ops::ControlFlow;
use x509::{Certificate, KeyEncoding, Padding, PrivateKey, Scheme, Validity};

use super::store::{DEFAULTS, Defaults, ISSUERS, Id, IssuerRecord, KEYS, KeyRecord, Usage};

/// All issuers and keys of a mount.
pub(super) struct Authorities {
    pub(super) issuers: Vec<Issuer>,
    pub(super) keys: Vec<Key>,
    pub(super) defaults: Defaults,
    /// Whether the certificate of any issuer narrows purposes or policies of what is below it; few do.
    pub(super) narrow: bool,
}

/// An issuer, ready to sign.
pub(super) struct Issuer {
    pub(super) id: Id,
    pub(super) record: IssuerRecord,
    pub(super) certificate: Certificate,
    /// PEM without a closing newline.
    pub(super) pem: String,
    pub(super) key: Option<Arc<PrivateKey>>,
    /// Whether it has signed itself, as a root has. One that has its issuer's name alone may be signed by the CA before it.
    pub(super) is_root: bool,
    /// All that have signed it, as places in the list of issuers: a CA that was renewed or cross-signed is there more than once.
    signed_by: Vec<usize>,
}

/// A key.
pub(super) struct Key {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) private: Arc<PrivateKey>,
}

/// What `default` is spelt as.
pub(super) const DEFAULT: &str = "default";

/// The issuers and keys as they were committed. A command that has just changed them uses [`Authorities::load`].
pub(super) fn authorities(cx: &impl Reads) -> Result<Arc<Authorities>> {
    cx.memo("authorities", |cx| Authorities::load(cx))
}

impl Authorities {
    /// Reads and parses them all.
    pub(super) fn load(cx: &impl Reads) -> Result<Self> {
        let mut keys = Vec::new();
        KEYS.scan(cx, &[], |id, record| {
            let private = Arc::new(record.parse()?);
            keys.push(Key { id: Id::from_bytes(id)?, name: record.name, private });
            Ok(ControlFlow::Continue(()))
        })?;
        let mut issuers = Vec::new();
        ISSUERS.scan(cx, &[], |id, mut record| {
            let certificate = Certificate::of_record(&record.certificate.0).map_err(damaged)?;
            // Older versions let an issuer do what its certificate does not.
            record.usage = record.usage.within(Usage::of(&certificate));
            let key = keys.iter().find(|key| Some(key.id) == record.key).map(|key| Arc::clone(&key.private));
            let pem = certificate.to_pem();
            let (id, is_root) = (Id::from_bytes(id)?, is_root(&certificate));
            issuers.push(Issuer { id, record, certificate, pem, key, is_root, signed_by: vec![] });
            Ok(ControlFlow::Continue(()))
        })?;
        let found: Vec<_> = issuers.iter().map(|issuer| signed_by(issuer, &issuers)).collect();
        for (issuer, signed_by) in issuers.iter_mut().zip(found) {
            issuer.signed_by = signed_by;
        }
        let narrow = issuers
            .iter()
            .any(|issuer| issuer.certificate.names_purposes() || issuer.certificate.wants_policies());
        Ok(Self { issuers, keys, defaults: DEFAULTS.get(cx)?, narrow })
    }

    /// The issuer that `default`, a name or an id stands for.
    pub(super) fn issuer(&self, reference: &str) -> Option<&Issuer> {
        match reference {
            DEFAULT => self.issuers.iter().find(|issuer| Some(issuer.id) == self.defaults.issuer),
            _ => {
                let id = Id::parse(reference);
                let named = |issuer: &&Issuer| !reference.is_empty() && issuer.record.name == reference;
                self.issuers
                    .iter()
                    .find(|issuer| Some(issuer.id) == id)
                    .or_else(|| self.issuers.iter().find(named))
            }
        }
    }

    /// The same, or the refusal that clients know.
    pub(super) fn issuer_or_refuse(&self, reference: &str) -> Result<&Issuer> {
        if reference == DEFAULT && self.defaults.issuer.is_none() {
            return Err(Error::server("no default issuer currently configured"));
        }
        self.issuer(reference).ok_or_else(|| Error::server(no_issuer(reference)))
    }

    /// The issuer that is to sign a certificate: one with a key, that may issue.
    pub(super) fn signer(&self, reference: &str) -> Result<(&Issuer, &PrivateKey)> {
        let fetch = |text: String| {
            Error::server(format!("could not fetch the CA certificate (was one set?): {text}"))
        };
        let issuer = match self.issuer(reference) {
            Some(issuer) => issuer,
            None if reference == DEFAULT && self.defaults.issuer.is_none() => {
                return Err(Error::server(
                    "could not fetch the CA certificate (was one set?): no default issuer currently configured; generate or import one with its key",
                ));
            }
            None => return Err(fetch(no_issuer(reference))),
        };
        if !issuer.record.usage.issuing {
            return Err(fetch(format!(
                "error while fetching issuer {reference}: its usage \"{}\" does not allow issuing-certificates",
                issuer.record.usage
            )));
        }
        match &issuer.key {
            Some(key) => Ok((issuer, key)),
            None => Err(fetch(format!(
                "the issuer {reference} has no private key in this mount; import its key, or sign with another issuer"
            ))),
        }
    }

    /// The key that `default`, a name or an id stands for.
    pub(super) fn key(&self, reference: &str) -> Option<&Key> {
        match reference {
            DEFAULT => self.keys.iter().find(|key| Some(key.id) == self.defaults.key),
            _ => {
                let id = Id::parse(reference);
                let named = |key: &&Key| !reference.is_empty() && key.name == reference;
                self.keys.iter().find(|key| Some(key.id) == id).or_else(|| self.keys.iter().find(named))
            }
        }
    }

    /// The issuer itself and those above it, as they are best shown at this time. What binds an issuer is another matter, and
    /// no [`IssuerRecord::manual_chain`] changes that: see [`Authorities::ways_up`].
    pub(super) fn chain<'a>(&'a self, issuer: &'a Issuer, now: Time) -> Vec<&'a Issuer> {
        let manual = issuer.record.manual_chain.as_slice();
        if !manual.is_empty() {
            let named = |id: &Id| self.issuers.iter().find(|issuer| issuer.id == *id);
            return manual.iter().filter_map(named).collect();
        }
        let (mut chain, mut last) = (vec![issuer], issuer);
        while let Some(above) =
            self.above(last, now).into_iter().find(|above| !chain.iter().any(|one| one.id == above.id))
        {
            chain.push(above);
            last = above;
        }
        chain
    }

    /// Those that have signed an issuer, the best first: what is not revoked before what is, what is valid now before what is
    /// not, and of these what lives longest.
    pub(super) fn above(&self, issuer: &Issuer, now: Time) -> Vec<&Issuer> {
        let mut above: Vec<_> = issuer.signed_by.iter().filter_map(|at| self.issuers.get(*at)).collect();
        above.sort_by_key(|one| {
            let not_after = one.certificate.validity().not_after;
            Reverse((one.record.revoked_at.is_none(), one.is_valid(now), not_after))
        });
        above
    }

    /// Those by which the way from an issuer up to a root goes on, the best first. Through what is revoked or not valid now it
    /// goes only where there is no other.
    pub(super) fn ways_up(&self, issuer: &Issuer, now: Time) -> Vec<&Issuer> {
        let mut above = self.above(issuer, now);
        let good = above.iter().filter(|one| one.record.revoked_at.is_none() && one.is_valid(now)).count();
        if good > 0 {
            above.truncate(good);
        }
        above
    }

    /// The issuer that signed a certificate.
    pub(super) fn issuer_of(&self, certificate: &Certificate) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| certificate.verify_issued_by(&issuer.certificate).is_ok())
    }
}

impl Issuer {
    /// Whether its certificate has begun and has not ended.
    pub(super) fn is_valid(&self, now: Time) -> bool {
        let Validity { not_before, not_after } = self.certificate.validity();
        (not_before..=not_after).contains(&now.seconds())
    }

    /// How it signs certificates. `signature_bits` and `padding` are for RSA.
    pub(super) fn scheme(&self, signature_bits: u64, padding: Padding) -> Result<Scheme> {
        Scheme::choose(self.certificate.public_key().shape(), signature_bits, padding).map_err(refused)
    }

    /// How it signs what it says of revocations: lists and OCSP answers.
    pub(super) fn revocation_scheme(&self) -> Result<Scheme> {
        match self.record.revocation_signature_algorithm.as_str() {
            "" => self.scheme(0, Padding::Pkcs1),
            name => Scheme::named(name).map_err(refused),
        }
    }
}

impl KeyRecord {
    /// The record of a key.
    pub(super) fn of(name: String, key: &PrivateKey) -> Result<Self> {
        let pkcs8 = key.to_der(KeyEncoding::Pkcs8).map_err(refused)?;
        Ok(Self { name, pkcs8: Secret::new(STANDARD.encode(&*pkcs8)) })
    }

    /// The key of the record.
    pub(super) fn parse(&self) -> Result<PrivateKey> {
        let der = Secret::new(
            STANDARD
                .decode(self.pkcs8.expose())
                .map_err(|_| Error::internal("a stored key is not base64"))?,
        );
        PrivateKey::from_der(der.expose()).map_err(damaged)
    }
}

/// The text of a reference that leads nowhere.
pub(super) fn no_issuer(reference: &str) -> String {
    format!("unable to find PKI issuer for reference: {reference}")
}

/// A refusal of the certificate crate, as the caller's fault; a failure of the cryptographic library is ours.
pub(super) fn refused(error: x509::Error) -> Error {
    match error {
        x509::Error::Crypto(_) => Error::internal(error.to_string()),
        other => Error::invalid(other.to_string()),
    }
}

fn damaged(error: x509::Error) -> Error {
    Error::internal(format!("a stored certificate or key cannot be read: {error}"))
}

fn signed_by(issuer: &Issuer, all: &[Issuer]) -> Vec<usize> {
    let is_above = |above: &Issuer| {
        above.certificate.is_ca() && issuer.certificate.verify_issued_by(&above.certificate).is_ok()
    };
    let others = all.iter().enumerate().filter(|_| !issuer.is_root);
    others.filter(|(_, above)| is_above(above)).map(|(at, _)| at).collect()
}

/// Whether a certificate is a root's. Of one that is signed in a way that is not checked any more, such as with SHA-1, the key
/// identifiers tell it.
fn is_root(certificate: &Certificate) -> bool {
    let names_itself =
        || certificate.authority_key_id().is_none_or(|above| Some(above) == certificate.subject_key_id());
    let is_unchecked = || certificate.is_self_issued() && certificate.scheme().is_err();
    certificate.is_self_signed() || is_unchecked() && names_itself()
}
