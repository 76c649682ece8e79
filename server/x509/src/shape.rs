//! Whether extensions that somebody else wrote have the shape that their numbers promise. A certificate with one that has not
//! is read by nobody.

use crate::extensions::{
    ALT_NAMES, AUTHORITY_ACCESS, AUTHORITY_KEY_ID, BASIC_CONSTRAINTS, CRL_POINTS, EXT_KEY_USAGE, Extension,
    FRESHEST_CRL, INHIBIT_ANY, ISSUER_ALT_NAMES, KEY_USAGE, NAME_CONSTRAINTS, POLICIES, POLICY_CONSTRAINTS,
    POLICY_MAPPINGS, SUBJECT_ACCESS, SUBJECT_KEY_ID,
};
use crate::ocsp::{Member, context, members_of};
use crate::{Error, ObjectIdentifier, Result, alt_names};
use der::asn1::{AnyRef, BitStringRef, OctetStringRef};
use der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::constraints::name::NameConstraints;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints};

const WHAT: &str = "extension";

impl Extension {
    /// Refuses a value that its number does not go with. Of numbers that are not known here nothing is known.
    ///
    /// # Errors
    /// With the number.
    pub fn check_shape(&self) -> Result<()> {
        let value = self.value.as_slice();
        let good = match self.oid {
            KEY_USAGE => BitStringRef::from_der(value).is_ok_and(|bits| {
                let unused = (1_u16 << bits.unused_bits()) - 1;
                let last = bits.raw_bytes().last().copied().unwrap_or_default();
                u16::from(last) & unused == 0 && bits.raw_bytes().iter().any(|byte| *byte != 0)
            }),
            SUBJECT_KEY_ID => <&OctetStringRef>::from_der(value).is_ok(),
            AUTHORITY_KEY_ID => AuthorityKeyIdentifier::from_der(value).is_ok(),
            EXT_KEY_USAGE => list(value).is_some_and(|purposes| purposes.iter().all(is_oid)),
            ALT_NAMES | ISSUER_ALT_NAMES => alt_names::are_names(value),
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
            POLICY_MAPPINGS => list(value).is_some_and(|pairs| pairs.iter().all(is_mapping)),
            POLICY_CONSTRAINTS => list(value).is_some_and(|parts| parts.iter().all(is_count)),
            INHIBIT_ANY => u32::from_der(value).is_ok(),
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
        Some(0) if part.tag == context(0, true) => members_of(part.value, WHAT)
            .is_ok_and(|inner| matches!(inner.as_slice(), [one] if is_place_name(one))),
        Some(1 | 2) => true,
        _ => false,
    };
    parts.iter().all(named)
}

/// Where a list is: names, or what to put behind the issuer's name.
fn is_place_name(place: &Member<'_>) -> bool {
    let inner = members_of(place.value, WHAT).unwrap_or_default();
    let is_name = |name: &Member<'_>| number_of(name).is_some();
    match number_of(place) {
        Some(0) => !inner.is_empty() && inner.iter().all(is_name),
        Some(1) => !inner.is_empty(),
        _ => false,
    }
}

/// Two policies of which one stands for the other.
fn is_mapping(pair: &Member<'_>) -> bool {
    matches!(list(pair.raw).as_deref(), Some([one, other]) if is_oid(one) && is_oid(other))
}

/// How many certificates something is put off for.
fn is_count(part: &Member<'_>) -> bool {
    let is_number = match part.value {
        [first] => *first < 0x80,
        [0, second, ..] => *second >= 0x80 && part.value.len() <= 4,
        [first, ..] => *first < 0x80 && part.value.len() <= 4,
        [] => false,
    };
    is_number && number_of(part).is_some_and(|number| number < 2)
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
    fn what_go_does_not_read_is_refused() {
        let urls = tlv::implicit_of(0, &[tlv::implicit_of(0, &[vec![0x86, 0x18, b'x']])]);
        for (oid, value) in [
            (KEY_USAGE, vec![3, 2, 5, 0xa1]),
            (CRL_POINTS, tlv::sequence(&[tlv::sequence(&[urls])])),
            (POLICY_CONSTRAINTS, tlv::sequence(&[tlv::implicit(0, &[])])),
            (POLICY_CONSTRAINTS, tlv::sequence(&[tlv::implicit(0, &[0, 1])])),
            (POLICY_CONSTRAINTS, tlv::sequence(&[tlv::implicit(2, &[1])])),
            (POLICY_MAPPINGS, tlv::sequence(&[tlv::sequence(&[tlv::oid(&POLICIES)])])),
            (INHIBIT_ANY, vec![2, 1, 0xff]),
        ] {
            let extension = Extension { oid, critical: false, value };
            assert!(extension.check_shape().is_err(), "{extension:?}");
        }
        let pair = [tlv::oid(&POLICIES), tlv::oid(&POLICIES)];
        for (oid, value) in [
            (KEY_USAGE, vec![3, 2, 5, 0xa0]),
            (POLICY_CONSTRAINTS, tlv::sequence(&[tlv::implicit(0, &[0]), tlv::implicit(1, &[0, 0x80])])),
            (POLICY_MAPPINGS, tlv::sequence(&[tlv::sequence(&pair)])),
            (INHIBIT_ANY, vec![2, 1, 0]),
        ] {
            let extension = Extension { oid, critical: false, value };
            assert_eq!(extension.check_shape(), Ok(()));
        }
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
            POLICY_MAPPINGS,
            INHIBIT_ANY,
            SUBJECT_KEY_ID,
            AUTHORITY_KEY_ID,
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
