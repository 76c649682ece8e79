//! What the certificates of an issuer and of those above it, as far as they are in the mount, let it issue: names, purposes, policies.
//!
//! Whoever verifies a certificate may take any way up to a root: of a CA that several have signed, one way has to permit it.

use std::borrow::Cow;
use std::slice;

use kit::{Error, Reads, Result, Time};
use x509::{AltNames, ExtKeyUsage, Extensions, NameConstraints, PolicyPath};

use super::authorities::{Authorities, Issuer, refused};

/// More ways up, whole or not, are not gone where policies or purposes are narrowed.
const WAYS_MAX: usize = 512;

/// What a certificate would say that those above it may forbid.
pub(super) struct Said<'a> {
    pub(super) names: &'a AltNames,
    /// In DER.
    pub(super) subject: &'a [u8],
    pub(super) common_name: &'a str,
    pub(super) extensions: &'a Extensions,
}

/// Refuses what no way up permits.
pub(super) fn check(said: &Said<'_>, all: &Authorities, issuer: &Issuer, now: Time) -> Result<()> {
    if !all.narrow {
        return upwards(all, issuer, now, |above| said.names_within(above));
    }
    let purposes = said.extensions.purposes().map_err(refused)?.unwrap_or_default();
    let by = |purposes: &[ExtKeyUsage]| {
        let permits =
            |above: &Issuer| said.names_within(above).and_then(|()| check_purposes(purposes, above));
        ways(all, issuer, now, permits, |way| check_policies(said.extensions, way))
    };
    // Each purpose may have a way of its own.
    by(&purposes).or_else(|why| match purposes.as_slice() {
        [] | [_] => Err(why),
        each => each.iter().try_for_each(|one| by(slice::from_ref(one))),
    })
}

/// Those of a role's purposes that the issuer may give. If there are none, all of them: that is for [`check`] to refuse.
pub(super) fn purposes<'a>(
    wanted: &'a [ExtKeyUsage],
    all: &Authorities,
    issuer: &Issuer,
    now: Time,
) -> Cow<'a, [ExtKeyUsage]> {
    if !all.narrow {
        return Cow::Borrowed(wanted);
    }
    let may = |one: &ExtKeyUsage| {
        upwards(all, issuer, now, |above| check_purposes(slice::from_ref(one), above)).is_ok()
    };
    let given: Vec<_> = wanted.iter().copied().filter(may).collect();
    match given.is_empty() || given.len() == wanted.len() {
        true => Cow::Borrowed(wanted),
        false => Cow::Owned(given),
    }
}

/// Tells which purposes of a role were left out.
pub(super) fn tell(wanted: &[ExtKeyUsage], given: &[ExtKeyUsage], cx: &impl Reads) {
    let left: Vec<_> = wanted.iter().filter(|one| !given.contains(one)).collect();
    if !left.is_empty() {
        cx.warn(format!(
            "left out of the extended key usage: {}, which that of the CA does not permit (RFC 5280, section 4.2.1.12); a role without it (server_flag, client_flag, ext_key_usage) is told nothing",
            listed(&left)
        ));
    }
}

/// Looks at an issuer and at those above it, each once, until a way up permits it all.
fn upwards(
    all: &Authorities,
    issuer: &Issuer,
    now: Time,
    permits: impl Fn(&Issuer) -> Result<()>,
) -> Result<()> {
    let (mut waiting, mut seen, mut refusal) = (vec![issuer], vec![issuer.id], None);
    while let Some(one) = waiting.pop() {
        if let Err(why) = permits(one) {
            refusal.get_or_insert(why);
            continue;
        }
        let ways = all.ways_up(one, now);
        if ways.is_empty() {
            return Ok(());
        }
        for way in ways.into_iter().rev().filter(|way| !seen.contains(&way.id)).collect::<Vec<_>>() {
            seen.push(way.id);
            waiting.push(way);
        }
    }
    refusal.map_or(Ok(()), Err)
}

/// The same, way by way, where something depends on all of a way: from the issuer up to the last above it.
fn ways(
    all: &Authorities,
    issuer: &Issuer,
    now: Time,
    permits: impl Fn(&Issuer) -> Result<()>,
    whole: impl Fn(&[&Issuer]) -> Result<()>,
) -> Result<()> {
    let (mut waiting, mut refusal, mut gone) = (vec![vec![issuer]], None, 0);
    while let Some((way, last)) = waiting.pop().and_then(|way| way.last().copied().map(|last| (way, last))) {
        gone += 1;
        if gone > WAYS_MAX {
            return Err(refusal.unwrap_or_else(|| too_many(issuer)));
        }
        let on = all.ways_up(last, now);
        let judged = permits(last).and_then(|()| if on.is_empty() { whole(&way) } else { Ok(()) });
        match judged {
            Err(why) => {
                refusal.get_or_insert(why);
            }
            Ok(()) if on.is_empty() => return Ok(()),
            Ok(()) => waiting.extend(
                on.iter()
                    .rev()
                    .filter(|next| !way.iter().any(|one| one.id == next.id))
                    .map(|next| [way.as_slice(), &[*next]].concat()),
            ),
        }
    }
    refusal.map_or(Ok(()), Err)
}

fn too_many(issuer: &Issuer) -> Error {
    Error::invalid(format!(
        "{WAYS_MAX} ways up from issuer {} were looked at, and none permits this certificate; delete the CAs above it that are not needed any more",
        shown(issuer)
    ))
}

impl Said<'_> {
    fn names_within(&self, above: &Issuer) -> Result<()> {
        let constraints = NameConstraints::of(&above.certificate).map_err(refused)?;
        let Some(constraints) = constraints else { return Ok(()) };
        let checked = constraints.check(self.names, self.subject, self.common_name);
        checked.map_err(|why| Error::invalid(format!("{why} (issuer {})", shown(above))))
    }
}

/// Holds purposes against those of a CA, where it names any. Who answers OCSP for a CA needs none of them: it is asked of nobody
/// above (RFC 6960, section 4.2.2.2).
fn check_purposes(wanted: &[ExtKeyUsage], above: &Issuer) -> Result<()> {
    let Some(own) = above.certificate.ext_key_usage().map_err(refused)? else { return Ok(()) };
    let may = |one: &ExtKeyUsage| *one == ExtKeyUsage::OCSP_SIGNING || own.contains(one);
    let beyond: Vec<_> = wanted.iter().filter(|one| !may(one)).collect();
    if beyond.is_empty() || own.contains(&ExtKeyUsage::ANY) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the purpose {} lies outside of what the extended key usage of the CA permits: {} (RFC 5280, section 4.2.1.12; issuer {}); leave it out, in a role by server_flag, client_flag and ext_key_usage, or let another CA issue it",
        listed(&beyond),
        listed(&own.iter().collect::<Vec<_>>()),
        shown(above)
    )))
}

/// Goes down a way, from its last to its first.
fn check_policies(end: &Extensions, way: &[&Issuer]) -> Result<()> {
    if !way.iter().any(|one| one.certificate.wants_policies()) {
        return Ok(());
    }
    let path = way.iter().rev().try_fold(PolicyPath::new(), |path, one| match one.is_root {
        true => path.from_root(&one.certificate),
        false => path.through(&one.certificate),
    });
    let checked = path.and_then(|path| path.check(end, end.are_of_ca()?));
    checked.map_err(|why| {
        let issuer = way.first().map_or_else(String::new, |issuer| shown(issuer));
        let how = match end.are_of_ca() {
            Ok(true) => "ask for it in the request, with use_csr_values",
            _ => "name it among the policy_identifiers of the role",
        };
        Error::invalid(format!("{why}; {how} (issuer {issuer})"))
    })
}

fn listed(purposes: &[&ExtKeyUsage]) -> String {
    purposes.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

fn shown(issuer: &Issuer) -> String {
    match issuer.record.name.as_str() {
        "" => issuer.id.to_string(),
        name => name.to_owned(),
    }
}
