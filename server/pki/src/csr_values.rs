//! What the request for a CA binds that CA to, where it is made as the request says (`use_csr_values`).
//!
//! A bound that is left out widens what the new CA may do beyond what its holder asked for. So each is taken over or refused;
//! what is no bound is left out, and that is told.

use kit::{Error, Reads, Result, Writing};
use x509::{Extension, Extensions, KeyUsage, Request};

use super::authorities::refused;

/// What the key of the new CA may be used for: what the request says if it does, and what was asked for besides.
pub(super) fn key_usage(request: &Request, asked: KeyUsage) -> Result<KeyUsage> {
    match request.key_usage().map_err(refused)? {
        None => Ok(KeyUsage::CA.with(asked)),
        Some(usage) if usage.cert_sign() => Ok(usage.with(asked)),
        Some(usage) => Err(Error::invalid(format!(
            "the csr asks for the key usage {}, which lacks CertSign, so nobody would accept what the new CA signs; make a csr with it, or sign without use_csr_values",
            usage.names().join(", ")
        ))),
    }
}

/// The extensions of the new CA, and the bounds of its request.
pub(super) fn bind(cx: &mut Writing<'_>, made: Extensions, request: &Request) -> Result<Extensions> {
    let others = request.extensions().iter().filter(|asked| !asked.is_the_signers());
    let (bounds, others): (Vec<&Extension>, Vec<_>) = others.partition(|asked| asked.is_bound());
    if let Some(other) = others.iter().find(|other| other.critical) {
        return Err(Error::invalid(format!(
            "the csr asks for the critical extension {}, which is given to no CA here; make a csr without it, or sign without use_csr_values",
            other.oid
        )));
    }
    for other in others {
        cx.warn(format!("The extension {} of the csr was left out: it bounds nothing.", other.oid));
    }
    bounds.into_iter().try_fold(made, |made, bound| {
        bound.check_shape().map_err(refused)?;
        match made.find(&bound.oid) {
            Some(given) if given.value != bound.value => Err(Error::invalid(format!(
                "the csr asks for the extension {} otherwise than the parameters do; give it in one place: leave the parameters out, or make a csr without it",
                bound.oid
            ))),
            _ => Ok(made.with(bound.oid, bound.critical || bound.must_be_critical(), bound.value.clone())),
        }
    })
}
