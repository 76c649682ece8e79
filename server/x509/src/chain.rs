//! From a certificate to its root.

use crate::Certificate;

/// No real chain is longer.
const DEPTH_MAX: usize = 16;

/// The certificates above `certificate`, nearest first, as far as `pool` holds them: each verified to have signed
/// the one before. A root is the last. With several candidates (a cross-signed CA) the first in the pool is taken.
pub fn chain_of<'a>(certificate: &'a Certificate, pool: &'a [Certificate]) -> Vec<&'a Certificate> {
    let mut chain: Vec<&Certificate> = Vec::new();
    let mut last = certificate;
    while chain.len() < DEPTH_MAX && !last.is_self_issued() {
        let above = pool.iter().find(|candidate| {
            candidate.is_ca()
                && *candidate != certificate
                && !chain.contains(candidate)
                && last.verify_issued_by(candidate).is_ok()
        });
        let Some(above) = above else { break };
        chain.push(above);
        last = above;
    }
    chain
}
