//! Revocation lists in shards: each leaf names the shard that it would stand on, so that who checks one certificate
//! fetches a small part of what is revoked.
//!
//! The shard follows from the serial number, for good: a certificate needs no record to be found on the right list, and
//! a shard that was once named is answered whatever the settings become.

use std::fmt;

use kit::{Error, Reads, Result, Writing};
use x509::Serial;

use super::crl_config::CrlConfig;
use super::listed::{SLOTS, slot_of};
use super::store::{CLUSTER, CRL, Id, SHARD_URLS};
use super::urls::{ClusterConfig, fill_in, is_url};

/// What stands for the shard in a URL.
const HOLE: &str = "{{shard}}";
/// Where shards are, below a mount.
const BELOW: &str = "issuer/{{issuer_id}}/crl/shard/{{shard}}";
/// So many URLs that certificates were once given are kept in mind.
const URLS_MAX: usize = 16;

/// One shard of a number of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    number: u16,
    of: u16,
}

impl Shard {
    /// The shard of a certificate.
    fn of_serial(serial: &Serial, shards: u16) -> Self {
        Self { number: slot_of(serial) % shards, of: shards }
    }

    /// Reads `3-of-16`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let unknown = || Error::invalid(format!("there is no shard {text:?}; one is named like 3-of-16"));
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit()) && !part.starts_with("00");
        let (number, of) = text.split_once("-of-").ok_or_else(unknown)?;
        let read = |part: &str| part.parse::<u16>().ok().filter(|_| plain(part)).ok_or_else(unknown);
        let shard = Self { number: read(number)?, of: read(of)? };
        let known = shard.of.is_power_of_two() && shard.of <= SLOTS && shard.number < shard.of;
        if known && shard.to_string() == text { Ok(shard) } else { Err(unknown()) }
    }

    /// Whether what lies in a slot stands on it.
    pub(super) fn holds(self, slot: u16) -> bool {
        slot % self.of == self.number
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-of-{}", self.number, self.of)
    }
}

/// Reads the number of shards.
pub(super) fn count(shards: i64) -> Result<u64> {
    let known = u16::try_from(shards)
        .ok()
        .filter(|shards| *shards == 0 || (shards.is_power_of_two() && *shards <= SLOTS && *shards > 1));
    known.map(u64::from).ok_or_else(|| {
        Error::invalid(format!(
            "shards is {shards}; it is a power of two from 2 to {SLOTS}, or 0 for a list in one piece"
        ))
    })
}

/// Checks where shards are said to be, and keeps it in mind: certificates that name it live on when it changes.
pub(super) fn adopt(cx: &mut Writing<'_>, config: &CrlConfig) -> Result<()> {
    if config.shards == 0 {
        return Ok(());
    }
    let template = template(config, &CLUSTER.get(cx)?)?;
    let mut known = SHARD_URLS.get(cx)?;
    known.retain(|other| *other != template);
    known.insert(0, template);
    known.truncate(URLS_MAX);
    SHARD_URLS.put(cx, &known)
}

/// How leaves of a mount name their shards.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    shards: u16,
    template: String,
}

impl Naming {
    /// Where lists are in one piece, there is none.
    pub(super) fn read(cx: &impl Reads) -> Result<Option<Self>> {
        let shards = u16::try_from(CRL.get(cx)?.shards).ok().filter(|shards| *shards > 0);
        // What was settled with the shards: a list says under which URLs it was named, so they are known first.
        let template = SHARD_URLS.get(cx)?.into_iter().next();
        Ok(shards.zip(template).map(|(shards, template)| Self { shards, template }))
    }

    /// Where the shard of a certificate is.
    pub(super) fn url(&self, serial: &Serial, issuer: Id, cluster: &ClusterConfig) -> Result<String> {
        let shard = Shard::of_serial(serial, self.shards);
        fill_in(&self.template.replace(HOLE, &shard.to_string()), issuer, cluster)
    }
}

/// All URLs under which certificates of these issuers, which sign the same lists, name a shard.
pub(super) fn urls(cx: &impl Reads, issuers: &[Id], shard: Shard) -> Result<Vec<String>> {
    let (known, cluster) = (SHARD_URLS.get(cx)?, CLUSTER.get(cx)?);
    if known.is_empty() {
        return Err(Error::not_found());
    }
    let mut urls = Vec::with_capacity(known.len());
    for issuer in issuers {
        for url in &known {
            let url = fill_in(&url.replace(HOLE, &shard.to_string()), *issuer, &cluster)?;
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    Ok(urls)
}

/// The paths of `config/cluster` are filled in when it is set, so that a later change of them leaves old certificates right.
fn template(config: &CrlConfig, cluster: &ClusterConfig) -> Result<String> {
    let place = [&cluster.aia_path, &cluster.path].into_iter().find(|path| !path.is_empty());
    let template = match (config.shard_url.as_str(), place) {
        ("", None) => {
            return Err(Error::invalid(
                "leaves must say where their shard is: give shard_url, or set aia_path or path of config/cluster first",
            ));
        }
        ("", Some(place)) => format!("{}/{BELOW}", place.trim_end_matches('/')),
        (url, _) => url.to_owned(),
    };
    if !template.contains(HOLE) {
        return Err(Error::invalid(format!(
            "shard_url is {template}; it must hold {HOLE}, where each leaf's shard is put"
        )));
    }
    let plain = template.replace("{{cluster_path}}", &cluster.path);
    let plain = plain.replace("{{cluster_aia_path}}", &cluster.aia_path);
    match is_url(&plain.replace(HOLE, "0-of-2").replace("{{issuer_id}}", "0")) {
        true => Ok(plain),
        false => Err(Error::invalid(format!("shard_url is {template}, which is no URL"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_named_in_one_way() {
        for text in ["0-of-2", "15-of-16", "1023-of-1024"] {
            assert_eq!(Shard::parse(text).unwrap().to_string(), text);
        }
        for text in
            ["", "2-of-2", "0-of-3", "0-of-0", "0-of-2048", "00-of-2", "+1-of-2", "1-of-02", "1-of-2 ", "1"]
        {
            assert!(Shard::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_certificate_has_one_shard() {
        for last in [0_u8, 1, 7, 255] {
            let serial = Serial::from_magnitude(&[3, last, last]).unwrap();
            for of in [2_u16, 16, 1024] {
                let own = Shard::of_serial(&serial, of);
                let holding = (0..of).filter(|number| Shard { number: *number, of }.holds(slot_of(&serial)));
                assert_eq!(holding.collect::<Vec<_>>(), [own.number]);
            }
        }
    }
}
