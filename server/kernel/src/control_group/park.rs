use std::time::Duration;

use aws_lc_rs::{aead, hmac};
use kit::{Body, Error, Result, Secret};
use policy::{Capability, ControlGroup};
use storage::Txn;

use super::{Asked, POLICY, Parked, Wanted, put};
use crate::envelope::{Outcome, Wrapped};
use crate::inline;
use crate::kernel::Kernel;
use crate::run::passed;
use crate::token_record::Purpose;
use crate::tokens::{Known, TokenRecord};
use crate::walk::{At, Ground, Step, Trip};

/// How long a request waits if its rule does not say.
const TTL: Duration = Duration::from_secs(24 * 3600);
/// What the key is for that seals the token of who asked.
const PURPOSE: &[u8] = b"control group 1";

impl Kernel {
    /// Has a request wait for the consent of others. It is not run: its answer is a token that it is known by.
    pub(crate) fn park(
        &self,
        ground: &Ground<'_>,
        trip: &Trip,
        at: &At<'_>,
        known: &kit::Kept<Known>,
        (group, capability): (&ControlGroup, Capability),
    ) -> Result<Step> {
        if trip.last_use {
            let text = "this request needs approval, and its token has no use left to have it done with afterwards; \
                        use a token with at least two uses left";
            return Err(Error::invalid(text));
        }
        if known.value().record.transient {
            return Err(inline::no_consent());
        }
        let mut txn = Txn::on(ground.today.clone());
        let wanted = Wanted::of(group, capability);
        let most = self.env.settings.max_lease_ttl;
        let ttl = Duration::from_secs(group.ttl.unwrap_or(TTL).min(most).as_secs().max(1));
        let wrapped = self.enter_parked(ground, trip, at, known.value(), &mut txn, wanted, ttl)?;
        let wrapper = Some(wrapped.hash);
        let mut outcome = Outcome { wrapped: Some(wrapped), wrapper, ..Outcome::new(Body::Nothing) };
        self.sign(ground, &mut outcome)?;
        Ok(Step::Commit(txn, Box::new(outcome)))
    }

    #[allow(clippy::too_many_arguments, reason = "a request is all of this")]
    fn enter_parked(
        &self,
        ground: &Ground<'_>,
        trip: &Trip,
        at: &At<'_>,
        known: &Known,
        txn: &mut Txn,
        wanted: Wanted,
        ttl: Duration,
    ) -> Result<Wrapped> {
        let local = ground.local(at.path);
        let record = TokenRecord {
            policies: vec![POLICY.to_owned()],
            path: local.to_owned(),
            display_name: known.record.display_name.clone(),
            created: trip.now,
            ttl_seconds: ttl.as_secs(),
            explicit_max_ttl_seconds: ttl.as_secs(),
            expires: Some(trip.now.plus(ttl)),
            uses_left: Some(1),
            purpose: Some(Purpose::Waiting),
            ..TokenRecord::default()
        };
        let token = trip.token(ground.request).ok_or_else(Error::denied)?;
        let made = self.tokens.make(txn, &*self.env.random, &ground.space.namespace, None, record)?;
        let headers = passed(ground.request, at.mounted);
        let home = ground.router.value().space(known.namespace.ns);
        let book = home.and_then(|home| home.at("identity/"));
        let parked = Parked {
            asked: Asked::new(ground.request, &headers, &trip.id, trip.operation, local)?,
            sealed: seal(token, &made.id)?,
            requester: known.caller.entity.as_ref().map(|entity| entity.id.clone()).unwrap_or_default(),
            book: book.ok_or_else(|| Error::internal("no identity"))?.entry.uuid.clone(),
            wanted,
            approvals: Vec::new(),
        };
        put(txn, ground.space.cubbyhole()?, made.place()?, &parked)?;
        Ok(Wrapped {
            token: made.id.expose().clone(),
            hash: made.place()?,
            accessor: made.record.accessor,
            ttl_seconds: ttl.as_secs(),
            created: trip.now,
            creation_path: local.to_owned(),
            wrapped_accessor: String::new(),
            signed: None,
        })
    }
}

/// Seals one token under another, which seals nothing else.
fn seal(token: &Secret<String>, under: &Secret<String>) -> Result<Vec<u8>> {
    let mut bytes = token.expose().clone().into_bytes();
    key(under.expose())?
        .seal_in_place_append_tag(nonce(), aead::Aad::empty(), &mut bytes)
        .map_err(|_| Error::internal("a token could not be sealed"))?;
    Ok(bytes)
}

/// Opens what was sealed under a token; nothing, if that is another.
pub(super) fn open(sealed: &[u8], under: &str) -> Option<String> {
    let mut bytes = sealed.to_vec();
    let token = key(under).ok()?.open_in_place(nonce(), aead::Aad::empty(), &mut bytes).ok()?;
    String::from_utf8(token.to_vec()).ok()
}

fn key(token: &str) -> Result<aead::LessSafeKey> {
    let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()), PURPOSE);
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, key.as_ref());
    key.map(aead::LessSafeKey::new).map_err(|_| Error::internal("a hash is no key"))
}

/// Each key seals once.
fn nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_of_the_request_opens_the_token_of_who_asked() {
        let under = Secret::new("s.one".to_owned());
        let sealed = seal(&Secret::new("s.asker".to_owned()), &under).unwrap();
        assert!(!sealed.windows(5).any(|part| part == b"asker"));
        assert_eq!(open(&sealed, "s.one").as_deref(), Some("s.asker"));
        assert_eq!(open(&sealed, "s.two"), None);
    }
}
