//! The issuers of a mount, parsed once and kept until one of them changes.

use std::ops::ControlFlow;
use std::sync::Arc;

use kit::{Error, Reads, Result};

use super::key::Key;
use super::store::{ISSUERS, Id, IssuerRecord, default_issuer};

/// What the default issuer is spelt as.
pub(super) const DEFAULT: &str = "default";

/// All issuers of a mount.
pub(super) struct Authorities {
    pub(super) issuers: Vec<Issuer>,
    pub(super) default: Option<Id>,
}

/// An issuer, ready to sign.
pub(super) struct Issuer {
    pub(super) id: Id,
    pub(super) record: IssuerRecord,
    pub(super) key: Key,
}

/// The issuers as they were committed.
pub(super) fn authorities(cx: &impl Reads) -> Result<Arc<Authorities>> {
    cx.memo("authorities", |cx| Authorities::load(cx))
}

impl Authorities {
    fn load(cx: &impl Reads) -> Result<Self> {
        let mut issuers = Vec::new();
        ISSUERS.scan(cx, &[], |id, record| {
            let key = Key::from_record(&record.pkcs8)?;
            issuers.push(Issuer { id: Id::from_bytes(id)?, record, key });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Self { issuers, default: default_issuer(cx)? })
    }

    /// The issuer that `default`, an id or a name stands for, or the refusal that clients know.
    pub(super) fn issuer(&self, reference: &str) -> Result<&Issuer> {
        let reference = reference.trim();
        if reference.eq_ignore_ascii_case(DEFAULT) {
            return self
                .issuers
                .iter()
                .find(|issuer| Some(issuer.id) == self.default)
                .ok_or_else(|| Error::invalid("no default issuer currently configured"));
        }
        let id = Id::parse(reference);
        let named = |issuer: &&Issuer| !reference.is_empty() && issuer.record.name == reference;
        self.issuers
            .iter()
            .find(|issuer| Some(issuer.id) == id)
            .or_else(|| self.issuers.iter().find(named))
            .ok_or_else(|| Error::invalid(format!("unable to find issuer for reference: {reference}")))
    }

    /// Refuses a name that another issuer has, that is reserved, or that a path could not hold.
    pub(super) fn check_name(&self, name: &str, own: Option<Id>) -> Result<()> {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let plain = name.starts_with(word)
            && name.ends_with(word)
            && name.chars().all(|c| word(c) || c == '-' || c == '.');
        if name.is_empty() {
            Err(Error::invalid("expected non-empty issuer name"))
        } else if name.eq_ignore_ascii_case(DEFAULT) {
            Err(Error::invalid("reserved keyword 'default' can not be used as issuer name"))
        } else if !plain || name.len() > NAME_SIZE_MAX {
            Err(Error::invalid("issuer name contained invalid characters"))
        } else if self.issuers.iter().any(|issuer| issuer.record.name == name && Some(issuer.id) != own) {
            Err(Error::invalid("issuer name already in use"))
        } else {
            Ok(())
        }
    }
}

const NAME_SIZE_MAX: usize = 512;
