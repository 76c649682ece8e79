//! Making the next CA: one like the old one, with a key of its own.

use kit::{Command, Error, Reads, Reply, Result, Writing};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use x509::{Certificate, Extension, KeyUsage, NameConstraints, ObjectIdentifier};

use super::record::Awaited;
use crate::Pki;
use crate::authorities::{Authorities, Issuer, refused};
use crate::ca::{GenerateIntermediate, GenerateRoot, SignIntermediate};
use crate::dates;
use crate::issuers::{NewIssuer, add_issuer};
use crate::store::{DEFAULTS, ISSUERS, Id, IssuerRecord};

/// The way of a CA that says more than can be asked for here.
const CSR_WAY: &str = "issuers/generate/intermediate, issuer/:ref/sign-intermediate, issuers/import/cert";

/// The common name of a CA may be this long.
const NAME_LENGTH_MAX: usize = x509::COMMON_NAME_MAX;

/// What is wanted of the next CA.
pub(super) struct Wish {
    /// Empty for that of the old one with a number.
    pub(super) common_name: String,
    pub(super) issuer_name: String,
    pub(super) key_bits: u64,
    pub(super) key_type: String,
    /// The size of an ML-DSA key.
    pub(super) parameter_set: String,
    /// Its life, in seconds.
    pub(super) ttl: u64,
}

/// What came of it.
pub(super) enum Next {
    /// It is an issuer of this mount.
    Here(Id),
    /// Its certificate is signed elsewhere.
    Requested(Awaited),
}

impl Wish {
    /// Makes it: a root signs itself, another CA is signed by the one above the old one, where that is here.
    pub(super) fn make(
        self,
        engine: &Pki,
        cx: &mut Writing<'_>,
        old: &Issuer,
        all: &Authorities,
    ) -> Result<Next> {
        check_bounds(old)?;
        // A mount that follows the latest issuer must not follow this one yet.
        let defaults = DEFAULTS.get(cx)?;
        let may_sign = |above: &&Issuer| above.key.is_some() && above.record.usage.issuing;
        let parent = all.above(old, cx.now()).into_iter().find(may_sign);
        let next = match parent {
            _ if old.is_root => Next::Here(self.root(engine, cx, old)?),
            Some(parent) => Next::Here(self.intermediate(engine, cx, old, parent)?),
            None => {
                // What cannot be asked for is said before a key is made.
                sign_with(old, self.ttl)?;
                let (key, csr) = self.request(engine, cx, old)?;
                let (issuer_name, ttl) = (self.issuer_name, self.ttl);
                return Ok(Next::Requested(Awaited { key, csr, issuer_name, ttl }));
            }
        };
        DEFAULTS.put(cx, &defaults)?;
        if let Next::Here(id) = &next
            && let Some(record) = ISSUERS.get(cx, id.as_bytes())?
        {
            ISSUERS.put(cx, id.as_bytes(), &like(&old.record, record))?;
        }
        Ok(next)
    }

    fn root(&self, engine: &Pki, cx: &mut Writing<'_>, old: &Issuer) -> Result<Id> {
        let mut asked = self.subject(old)?;
        asked.extend(constraints(old, "root/rotate")?);
        asked.insert("ttl".to_owned(), json!(self.ttl));
        asked.insert("issuer_name".to_owned(), json!(self.issuer_name));
        asked.insert("max_path_length".to_owned(), path_length(old));
        asked.extend(uses(old)?);
        let made = answer(parse::<GenerateRoot<1>>(asked)?.run(engine, cx)?)?;
        id(&made.issuer_id)
    }

    fn intermediate(&self, engine: &Pki, cx: &mut Writing<'_>, old: &Issuer, parent: &Issuer) -> Result<Id> {
        let (parent_ends, old_ends) =
            (parent.certificate.validity().not_after, old.certificate.validity().not_after);
        if parent_ends <= old_ends {
            return Err(Error::invalid(format!(
                "the CA above, {}, ends at {}, so the next CA could not outlive the old one: roll the CA above first",
                parent.id,
                dates::shown(parent_ends)
            )));
        }
        let (key, csr) = self.request(engine, cx, old)?;
        let mut asked = sign_with(old, self.ttl)?;
        asked.insert("issuer_ref".to_owned(), json!(parent.id.to_string()));
        asked.insert("csr".to_owned(), json!(csr));
        let signed = answer(parse::<SignIntermediate<1>>(asked)?.run(engine, cx)?)?;
        let certificate = Certificate::from_pem(signed.certificate.expose()).map_err(refused)?;
        let id = Id::new(cx);
        let name = self.issuer_name.clone();
        add_issuer(cx, NewIssuer { id, name, key: Some(key), certificate: &certificate })?;
        Ok(id)
    }

    /// A key, and a request for it.
    fn request(&self, engine: &Pki, cx: &mut Writing<'_>, old: &Issuer) -> Result<(Id, String)> {
        let asked = self.subject(old)?;
        let made = answer(parse::<GenerateIntermediate<1>>(asked)?.run(engine, cx)?)?;
        Ok((id(&made.key_id)?, made.csr.expose().clone()))
    }

    fn subject(&self, old: &Issuer) -> Result<Map<String, Value>> {
        let subject = old.certificate.subject().map_err(refused)?;
        let common_name = match self.common_name.as_str() {
            "" => successor(&subject.common_name),
            given => given.to_owned(),
        };
        Ok(serde_json::from_value(json!({
            "exported": "internal", "common_name": common_name, "key_type": self.key_type, "key_bits": self.key_bits,
            "parameter_set": self.parameter_set,
            "country": subject.country, "organization": subject.organization, "ou": subject.organizational_unit,
            "locality": subject.locality, "province": subject.province,
            "street_address": subject.street_address, "postal_code": subject.postal_code,
        }))?)
    }
}

/// Refuses where the next CA would be bound by less than the old one: to what of its extensions cannot be asked for.
fn check_bounds(old: &Issuer) -> Result<()> {
    // Name constraints and purposes are asked for by parameters.
    const ASKED_FOR: [ObjectIdentifier; 2] =
        [ObjectIdentifier::new_unwrap("2.5.29.30"), ObjectIdentifier::new_unwrap("2.5.29.37")];
    let is_lost = |one: &&Extension| {
        let binds = one.is_bound() || one.critical;
        binds && !one.is_the_signers() && !ASKED_FOR.contains(&one.oid)
    };
    match old.certificate.extensions().iter().find(is_lost) {
        None => Ok(()),
        Some(lost) => Err(Error::invalid(format!(
            "the CA has the extension {}, which the next one would lack: make the next one with what it shall have ({CSR_WAY}), and name it with next_ref",
            lost.oid
        ))),
    }
}

/// An issuer with what was set for another.
pub(super) fn like(old: &IssuerRecord, new: IssuerRecord) -> IssuerRecord {
    IssuerRecord { urls: old.urls.clone(), leaf_not_after: old.leaf_not_after, ..new }
}

/// What the CA above is asked for in `sign-intermediate`, beside the request, so that the next CA may do what the old one may.
pub(super) fn sign_with(old: &Issuer, ttl: u64) -> Result<Map<String, Value>> {
    let mut asked = constraints(old, CSR_WAY)?;
    asked.insert("use_csr_values".to_owned(), json!(true));
    asked.insert("ttl".to_owned(), json!(ttl));
    asked.insert("max_path_length".to_owned(), path_length(old));
    asked.extend(uses(old)?);
    Ok(asked)
}

/// What the key of a CA may be used for and with which purposes, beyond signing certificates and lists.
fn uses(old: &Issuer) -> Result<Map<String, Value>> {
    let purposes = old.certificate.ext_key_usage().map_err(refused)?.unwrap_or_default();
    let purposes: Vec<_> = purposes.iter().map(|purpose| purpose.0.to_string()).collect();
    let usage = old.certificate.key_usage().map_err(refused)?.unwrap_or_default();
    let usage = usage.without(KeyUsage::CA).names();
    let given = [("ext_key_usage_oids", json!(purposes)), ("key_usage", json!(usage))];
    let is_some = |value: &Value| value.as_array().is_some_and(|words| !words.is_empty());
    Ok(given
        .into_iter()
        .filter(|(_, value)| is_some(value))
        .map(|(key, value)| (key.to_owned(), value))
        .collect())
}

/// The name constraints of a CA as they are asked for. Some cannot be, and are left to people, who go this way.
fn constraints(old: &Issuer, way: &str) -> Result<Map<String, Value>> {
    let Some(own) = NameConstraints::of(&old.certificate).map_err(refused)? else { return Ok(Map::new()) };
    let (permitted, excluded) = own.subtrees().ok_or_else(|| {
        Error::invalid(format!(
            "the CA has name constraints of a kind that cannot be asked for here: make the next one with those that it shall have ({way}), and name it with next_ref"
        ))
    })?;
    let given = [("permitted", permitted), ("excluded", excluded)].into_iter().flat_map(|(what, names)| {
        [
            (format!("{what}_dns_domains"), names.dns),
            (format!("{what}_email_addresses"), names.email),
            (format!("{what}_uri_domains"), names.uri),
            (format!("{what}_ip_ranges"), names.ip),
        ]
    });
    Ok(given.filter(|(_, names)| !names.is_empty()).map(|(key, names)| (key, json!(names))).collect())
}

fn path_length(old: &Issuer) -> Value {
    json!(old.certificate.path_length().map_or(-1, i64::from))
}

fn parse<T: DeserializeOwned>(asked: Map<String, Value>) -> Result<T> {
    Ok(serde_json::from_value(Value::Object(asked))?)
}

fn answer<T>(reply: Reply<T>) -> Result<T> {
    match reply {
        Reply::Data(made) => Ok(made),
        _ => Err(Error::internal("a new CA answers without data")),
    }
}

fn id(text: &str) -> Result<Id> {
    Id::parse(text).ok_or_else(|| Error::internal("a new CA has no id"))
}

/// The name of the CA after this one: `Example CA`, `Example CA 2`, `Example CA 3`.
fn successor(name: &str) -> String {
    let numbered = name.rsplit_once(' ').and_then(|(stem, number)| {
        let number: u32 = number.parse().ok().filter(|number| *number >= 2)?;
        Some((stem, number.checked_add(1)?))
    });
    let (stem, number) = numbered.unwrap_or((name, 2));
    let end = format!(" {number}");
    let stem: String = stem.chars().take(NAME_LENGTH_MAX.saturating_sub(end.len())).collect();
    if stem.is_empty() { format!("CA{end}") } else { format!("{stem}{end}") }
}

#[cfg(test)]
mod tests {
    use super::successor;

    #[test]
    fn successors_are_numbered() {
        for (name, next) in [
            ("Example CA", "Example CA 2"),
            ("Example CA 2", "Example CA 3"),
            ("Root 2026", "Root 2027"),
            ("X1", "X1 2"),
            ("", "CA 2"),
        ] {
            assert_eq!(successor(name), next);
        }
        assert_eq!(successor(&"x".repeat(64)).len(), 64);
    }
}
