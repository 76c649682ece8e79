//! What is about to be signed, held against the rules that those who verify it go by. It is signed, stored and answered
//! in one transaction: what does not pass here is none of the three.

use kit::{Error, Result};
use x509::{NameConstraints, Subject, Template};

use super::authorities::{Authorities, Issuer, refused};

/// A subject without any part, in DER.
const NOBODY: &[u8] = &[0x30, 0];

/// Refuses what nobody would accept from this issuer.
pub(super) fn lint(template: &Template<'_>, all: &Authorities, issuer: &Issuer) -> Result<()> {
    if template.subject == NOBODY && template.extensions.names().map_err(refused)?.is_empty() {
        return Err(Error::invalid(
            "the certificate would name nobody: give a common_name, or an alternative name (RFC 5280, section 4.1.2.6)",
        ));
    }
    // Those above the issuer may constrain it too, as far as they are known here.
    all.chain(issuer).try_for_each(|above| constrain(template, above))
}

fn constrain(template: &Template<'_>, above: &Issuer) -> Result<()> {
    let Some(constraints) = NameConstraints::of(&above.certificate).map_err(refused)? else { return Ok(()) };
    let names = template.extensions.names().map_err(refused)?;
    let common_name = Subject::from_der(template.subject).map_err(refused)?.common_name;
    constraints.check(&names, template.subject, &common_name).map_err(|why| {
        let name = &above.record.name;
        let ca = if name.is_empty() { above.id.to_string() } else { name.clone() };
        Error::invalid(format!("{why} (issuer {ca})"))
    })
}
