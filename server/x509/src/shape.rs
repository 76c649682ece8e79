//! Whether extensions that somebody else wrote have the shape that their numbers promise. A certificate with one that has not
//! is read by nobody.

use crate::extensions::{
    ALT_NAMES, AUTHORITY_ACCESS, BASIC_CONSTRAINTS, CRL_POINTS, EXT_KEY_USAGE, Extension, FRESHEST_CRL,
    ISSUER_ALT_NAMES, KEY_USAGE, NAME_CONSTRAINTS, POLICIES, POLICY_CONSTRAINTS, SUBJECT_ACCESS,
};
use crate::ocsp::{Member, context, members_of};
use crate::{Error, Result};
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier};
use der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::ext::pkix::constraints::name::NameConstraints;
use x509_cert::ext::pkix::name::GeneralNames;

const WHAT: &str = "extension";

impl Extension {
    /// Refuses a value that its number does not go with. Of numbers that are not known here nothing is known.
    ///
    /// # Errors
    /// With the number.
    pub fn check_shape(&self) -> Result<()> {
        let value = self.value.as_slice();
        let good = match self.oid {
            KEY_USAGE => {
                BitStringRef::from_der(value).is_ok_and(|bits| bits.raw_bytes().iter().any(|byte| *byte != 0))
            }
            EXT_KEY_USAGE => list(value).is_some_and(|purposes| purposes.iter().all(is_oid)),
            ALT_NAMES | ISSUER_ALT_NAMES => {
                GeneralNames::from_der(value).is_ok_and(|names| !names.is_empty())
            }
            BASIC_CONSTRAINTS => BasicConstraints::from_der(value).is_ok(),
            NAME_CONSTRAINTS => NameConstraints::from_der(value).is_ok(),
            POLICIES => list(value).is_some_and(|policies| {
                let mut seen = Vec::with_capacity(policies.len());
                policies.iter().all(|policy| is_policy(policy, &mut seen))
            }),
            CRL_POINTS | FRESHEST_CRL => list(value).is_some_and(|points| points.iter().all(is_point)),
            AUTHORITY_ACCESS | SUBJECT_ACCESS => {
                list(value).is_some_and(|places| places.iter().all(is_place))
            }
            POLICY_CONSTRAINTS => {
                list(value).is_some_and(|parts| parts.iter().all(|part| number_of(part).is_some()))
            }
            _ => true,
        };
        match good {
            true => Ok(()),
            false => {
                Err(Error::malformed(WHAT, format!("the value of {} is not what it should be", self.oid)))
            }
        }
    }
}

/// The members of a sequence that has any.
fn list(der: &[u8]) -> Option<Vec<Member<'_>>> {
    let whole = AnyRef::from_der(der).ok().filter(|whole| whole.tag() == Tag::Sequence)?;
    members_of(whole.value(), WHAT).ok().filter(|members| !members.is_empty())
}

fn is_oid(member: &Member<'_>) -> bool {
    let read: der::Result<ObjectIdentifier> = Decode::from_der(member.raw);
    read.is_ok()
}

/// The number of a context tag.
fn number_of(member: &Member<'_>) -> Option<u32> {
    match member.tag {
        Tag::ContextSpecific { number, .. } => Some(number.value()),
        _ => None,
    }
}

/// A number that was not seen before, and maybe what is said of it: each of that again a number and something.
fn is_policy<'a>(policy: &Member<'a>, seen: &mut Vec<&'a [u8]>) -> bool {
    let Some(parts) = list(policy.raw) else { return false };
    let number = parts.first().map_or(policy.raw, |oid| oid.raw);
    if seen.contains(&number) {
        return false;
    }
    seen.push(number);
    let is_qualifier = |one: &Member<'_>| matches!(list(one.raw).as_deref(), Some([oid, _]) if is_oid(oid));
    match parts.as_slice() {
        [oid] => is_oid(oid),
        [oid, said] => is_oid(oid) && list(said.raw).is_some_and(|said| said.iter().all(is_qualifier)),
        _ => false,
    }
}

/// A place by its names, reasons, and who signs there; each may be left out.
fn is_point(point: &Member<'_>) -> bool {
    let Some(parts) = list(point.raw) else { return false };
    let named = |part: &Member<'_>| match number_of(part) {
        Some(0) if part.tag == context(0, true) => members_of(part.value, WHAT).is_ok_and(
            |inner| matches!(inner.as_slice(), [one] if number_of(one).is_some_and(|number| number < 2)),
        ),
        Some(1 | 2) => true,
        _ => false,
    };
    parts.iter().all(named)
}

/// A way to ask, and a name.
fn is_place(place: &Member<'_>) -> bool {
    matches!(list(place.raw).as_deref(), Some([oid, name]) if is_oid(oid) && number_of(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AltNames, Extensions, KeyUsage, Policy, Subtrees, tlv};

    #[test]
    fn what_is_written_here_has_its_shape() {
        let urls = ["http://ca.example/x".to_owned()];
        let policy = |oid: &str, cps: Option<&str>, notice: Option<&str>| Policy {
            oid: ObjectIdentifier::new_unwrap(oid),
            cps: cps.map(str::to_owned),
            notice: notice.map(str::to_owned),
        };
        let names = AltNames { dns: vec!["a.example".into()], ..AltNames::default() };
        let domains = Subtrees { dns: vec!["example".into()], ..Subtrees::default() };
        let written = Extensions::new()
            .key_usage(KeyUsage::CA)
            .ext_key_usage(&[crate::ExtKeyUsage::SERVER_AUTH])
            .certificate_authority(Some(1))
            .alt_names(&names, false)
            .and_then(|it| it.authority_access(&urls, &urls))
            .and_then(|it| it.crl_points(&urls))
            .and_then(|it| it.freshest_crl(&urls))
            .and_then(|it| {
                it.policies(&[
                    policy("1.2.3", None, None),
                    policy("1.2.4", Some("http://x"), Some("read me")),
                ])
            })
            .and_then(|it| it.name_constraints(&domains, &domains))
            .unwrap();
        assert_eq!(written.iter().count(), 9);
        for extension in written.iter() {
            assert_eq!(extension.check_shape(), Ok(()));
        }
    }

    #[test]
    fn a_policy_stands_in_it_once() {
        let policy = |oid: &str| tlv::sequence(&[tlv::oid(&ObjectIdentifier::new_unwrap(oid))]);
        let shape = |value| Extension { oid: POLICIES, critical: false, value }.check_shape();
        assert_eq!(shape(tlv::sequence(&[policy("1.2.3"), policy("1.2.4")])), Ok(()));
        assert!(shape(tlv::sequence(&[policy("1.2.3"), policy("1.2.3")])).is_err());
    }

    #[test]
    fn nonsense_is_refused_where_the_number_is_known() {
        let known = [
            KEY_USAGE,
            EXT_KEY_USAGE,
            ALT_NAMES,
            NAME_CONSTRAINTS,
            POLICIES,
            CRL_POINTS,
            FRESHEST_CRL,
            AUTHORITY_ACCESS,
            POLICY_CONSTRAINTS,
        ];
        let nested = tlv::sequence(&[tlv::sequence(&[tlv::NULL])]);
        for value in [
            vec![],
            tlv::NULL.to_vec(),
            vec![0x30, 5, 1],
            nested,
            [tlv::sequence(&[tlv::NULL]), vec![0]].concat(),
        ] {
            for oid in known {
                let extension = Extension { oid, critical: false, value: value.clone() };
                assert!(extension.check_shape().is_err(), "{oid} {value:?}");
            }
            let oid = ObjectIdentifier::new_unwrap("1.2.3");
            assert_eq!(Extension { oid, critical: true, value }.check_shape(), Ok(()));
        }
        for oid in [EXT_KEY_USAGE, ALT_NAMES, POLICIES, CRL_POINTS] {
            let extension = Extension { oid, critical: false, value: vec![0x30, 0] };
            assert!(extension.check_shape().is_err(), "an empty {oid}");
        }
    }
}
