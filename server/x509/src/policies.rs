//! Which certificate policies a path leads to, as who verifies it finds out (RFC 5280, section 6.1).
//!
//! Nobody here asks for policies of his own, so of the tree in that section only the leaves are kept: what counts is whether any is left.

use crate::ObjectIdentifier;
use crate::certificate::value;
use crate::error::While;
use crate::extensions::{INHIBIT_ANY, POLICIES, POLICY_CONSTRAINTS, POLICY_MAPPINGS};
use crate::{Certificate, Error, Extensions, Result};
use der::asn1::AnyRef;
use x509_cert::ext::pkix::constraints::PolicyConstraints;

/// The policy that stands for all (RFC 5280, section 4.2.1.4).
const ANY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32.0");

/// The CAs of a path so far, from the root down.
#[derive(Clone, Debug)]
pub struct PolicyPath {
    valid: Valid,
    /// How many certificates may follow until a policy is wanted, no policy stands for another, and none for all.
    until_explicit: u32,
    until_unmapped: u32,
    until_any_is_none: u32,
}

/// The policies that the next certificate may have.
#[derive(Clone, Debug)]
struct Valid {
    any: bool,
    named: Vec<ObjectIdentifier>,
}

impl Certificate {
    /// Whether it says that certificates below it need policies.
    pub fn wants_policies(&self) -> bool {
        self.extensions().find(&POLICY_CONSTRAINTS).is_some()
    }
}

impl PolicyPath {
    /// A path from nowhere.
    pub fn new() -> Self {
        let valid = Valid { any: true, named: Vec::new() };
        Self { valid, until_explicit: u32::MAX, until_unmapped: u32::MAX, until_any_is_none: u32::MAX }
    }

    /// Goes on from a root: what it wants of those below counts, while its own policies are nobody's concern.
    ///
    /// # Errors
    /// If what it says cannot be read.
    pub fn from_root(mut self, root: &Certificate) -> Result<Self> {
        self.narrow(root.extensions())?;
        Ok(self)
    }

    /// Goes on through a CA below.
    ///
    /// # Errors
    /// If it has none of the policies that it needs, or what it says cannot be read.
    pub fn through(mut self, ca: &Certificate) -> Result<Self> {
        self.enter(ca.extensions(), ca.is_self_issued())?;
        self.map(ca.extensions())?;
        if !ca.is_self_issued() {
            for count in [&mut self.until_explicit, &mut self.until_unmapped, &mut self.until_any_is_none] {
                *count = count.saturating_sub(u32::from(*count != u32::MAX));
            }
        }
        self.narrow(ca.extensions())?;
        Ok(self)
    }

    /// Refuses a certificate at the end of it that has none of the policies that it needs. One of a CA needs them a step later.
    ///
    /// # Errors
    /// With those that would do, or if what it says cannot be read.
    pub fn check(mut self, end: &Extensions, is_ca: bool) -> Result<()> {
        if !is_ca && self.until_explicit != u32::MAX {
            self.until_explicit = self.until_explicit.saturating_sub(1);
        }
        self.enter(end, false)
    }

    /// Takes up the policies of a certificate.
    fn enter(&mut self, extensions: &Extensions, is_self_issued: bool) -> Result<()> {
        let before = self.valid.clone();
        let own = policies_of(extensions)?;
        let any = own.contains(&ANY) && (self.until_any_is_none > 0 || is_self_issued);
        let named = own.into_iter().filter(|one| *one != ANY && (before.any || before.named.contains(one)));
        let mut named: Vec<_> = named.collect();
        if any {
            named.extend(before.named.iter().filter(|one| !named.contains(one)).copied().collect::<Vec<_>>());
        }
        self.valid = Valid { any: any && before.any, named };
        if self.until_explicit > 0 || self.valid.any || !self.valid.named.is_empty() {
            return Ok(());
        }
        let shown: Vec<_> = before.named.iter().map(ObjectIdentifier::to_string).collect();
        let those = match (before.any, shown.as_slice()) {
            (true, _) => "it would have none".to_owned(),
            (false, []) => "a CA on the way to it has none to give".to_owned(),
            (false, _) => format!("it would have none of {}", shown.join(", ")),
        };
        Err(Error::refused(format!(
            "the policy constraints of the CA want a certificate policy in what is signed below, and {those} (RFC 5280, section 4.2.1.11)"
        )))
    }

    /// From here on policies of those above stand for others.
    fn map(&mut self, extensions: &Extensions) -> Result<()> {
        let pairs: Option<Vec<Vec<ObjectIdentifier>>> = value(extensions, POLICY_MAPPINGS)?;
        let pairs = pairs.unwrap_or_default();
        let pairs = || pairs.iter().filter_map(|pair| pair.first().zip(pair.get(1)));
        let Valid { any, named } = &self.valid;
        let stands = |(from, _): &(&ObjectIdentifier, &ObjectIdentifier)| {
            self.until_unmapped > 0 && (*any || named.contains(from))
        };
        let others: Vec<_> = pairs().filter(stands).map(|(_, to)| *to).collect();
        self.valid.named.retain(|one| !pairs().any(|(from, _)| from == one));
        self.valid.named.extend(others);
        Ok(())
    }

    /// Takes up what a CA wants of those below it.
    fn narrow(&mut self, extensions: &Extensions) -> Result<()> {
        let constraints: Option<PolicyConstraints> = value(extensions, POLICY_CONSTRAINTS)?;
        let inhibited: Option<u32> = value(extensions, INHIBIT_ANY)?;
        let (explicit, unmapped) =
            constraints.map_or((None, None), |one| (one.require_explicit_policy, one.inhibit_policy_mapping));
        for (count, said) in [
            (&mut self.until_explicit, explicit),
            (&mut self.until_unmapped, unmapped),
            (&mut self.until_any_is_none, inhibited),
        ] {
            *count = said.map_or(*count, |said| said.min(*count));
        }
        Ok(())
    }
}

fn policies_of(extensions: &Extensions) -> Result<Vec<ObjectIdentifier>> {
    let policies: Option<Vec<Vec<AnyRef<'_>>>> = value(extensions, POLICIES)?;
    let numbers = policies.iter().flatten().filter_map(|policy| policy.first());
    numbers.map(|number| number.decode_as()).collect::<der::Result<_>>().reading("certificate policies")
}

impl Default for PolicyPath {
    fn default() -> Self {
        Self::new()
    }
}
