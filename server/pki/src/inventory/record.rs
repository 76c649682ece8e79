//! What is kept of a report, and how it is found again.

use std::ops::ControlFlow;

use aws_lc_rs::digest::{Context, SHA256};
use kit::{Error, IdTable, Reads, Result, Time, Writing};
use serde::{Deserialize, Serialize};
use x509::Serial;

use super::report::ForgetHolding;
use crate::Pki;
use crate::authorities::refused;

/// Holdings by their tag.
pub(crate) const HOLDINGS: IdTable<Holding> = IdTable::new(20);
/// Tags by the hash of the serial before them.
const BY_CERTIFICATE: IdTable<()> = IdTable::new(CERTIFICATE_INDEX);
/// Tags by the hash of the host before them.
const BY_HOST: IdTable<()> = IdTable::new(HOST_INDEX);
const CERTIFICATE_INDEX: u8 = 21;
const HOST_INDEX: u8 = 22;

/// So many holders one certificate has at most: a report cannot fill the store.
const HOLDERS_MAX: usize = 64;

/// A certificate in somebody's hands.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Holding {
    /// The serial number, with colons.
    pub(crate) serial: String,
    /// What the holder calls it; the next certificate in its place has the same name.
    pub(crate) name: String,
    pub(crate) host: String,
    /// Who reported it.
    pub(crate) owner: String,
    pub(crate) owner_name: String,
    pub(crate) role: String,
    /// When the certificate ends, in seconds since 1970.
    pub(crate) not_after: u64,
    pub(crate) served: Vec<Seen>,
    pub(crate) next_renewal: Option<Time>,
    /// What program reports.
    pub(crate) agent: String,
    /// The fingerprint of the CAs that the holder trusts; empty if it does not say.
    pub(crate) bundle: String,
    pub(crate) at: Time,
}

/// A place where a service was looked at.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Seen {
    pub(crate) address: String,
    /// The serial number of what was shown there.
    pub(crate) serial: String,
    pub(crate) at: Time,
}

/// By what a holding is known: its owner, host and name, hashed.
pub(crate) type Tag = [u8; 16];

impl Holding {
    /// Its tag.
    pub(super) fn tag(&self) -> Tag {
        hash(&[&self.owner, &self.host, &self.name])
    }

    /// Puts it in the place of what the holder had before under this name.
    pub(super) fn put(&self, cx: &mut Writing<'_>) -> Result<()> {
        let tag = self.tag();
        let before = HOLDINGS.get(cx, &tag)?;
        if before.as_ref().is_none_or(|before| before.serial != self.serial) {
            if let Some(before) = &before {
                BY_CERTIFICATE.delete(cx, &index(&before.serial, &tag))?;
            }
            if tags_of_certificate(cx, &self.serial)?.len() >= HOLDERS_MAX {
                return Err(Error::invalid(format!(
                    "the certificate {} has {HOLDERS_MAX} holders already, and no more are kept; give each host a certificate of its own",
                    self.serial
                )));
            }
            BY_CERTIFICATE.put(cx, &index(&self.serial, &tag), &())?;
            BY_HOST.put(cx, &index(&self.host, &tag), &())?;
            let wait = cx.now().until(Time::from_seconds(self.not_after));
            cx.later::<Pki, _>(wait, &ForgetHolding::new(&tag))?;
        }
        HOLDINGS.put(cx, &tag, self)
    }

    /// Takes it away.
    pub(super) fn delete(&self, cx: &mut Writing<'_>) -> Result<()> {
        let tag = self.tag();
        BY_CERTIFICATE.delete(cx, &index(&self.serial, &tag))?;
        BY_HOST.delete(cx, &index(&self.host, &tag))?;
        HOLDINGS.delete(cx, &tag)
    }

    /// The serial number as tables have it.
    pub(crate) fn serial(&self) -> Result<Serial> {
        Serial::parse(&self.serial).map_err(refused)
    }
}

/// The holdings of one certificate.
pub(super) fn tags_of_certificate(cx: &impl Reads, serial: &str) -> Result<Vec<Vec<u8>>> {
    tags(cx, CERTIFICATE_INDEX, hash(&[serial]))
}

/// The holdings of one host.
pub(super) fn tags_of_host(cx: &impl Reads, host: &str) -> Result<Vec<Vec<u8>>> {
    tags(cx, HOST_INDEX, hash(&[host]))
}

/// Confined to the one prefix, so that what others report is no conflict.
fn tags(cx: &impl Reads, index: u8, under: Tag) -> Result<Vec<Vec<u8>>> {
    let until = u128::from_be_bytes(under).checked_add(1).map(u128::to_be_bytes);
    let mut found = Vec::new();
    cx.scan(index, &under, until.as_ref().map(<[u8; 16]>::as_slice), &mut |id, _| {
        found.extend(id.strip_prefix(under.as_slice()).map(<[u8]>::to_vec));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

fn index(under: &str, tag: &Tag) -> Vec<u8> {
    [hash(&[under]), *tag].concat()
}

/// The first half of a SHA-256 over texts of known length.
fn hash(texts: &[&str]) -> Tag {
    let mut context = Context::new(&SHA256);
    for text in texts {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut tag = Tag::default();
    let digest = context.finish();
    for (to, from) in tag.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    tag
}
