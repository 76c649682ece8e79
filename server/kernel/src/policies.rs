use kit::{Error, Name, Result, Time};
use policy::{Policy, builtin};
use serde::{Deserialize, Serialize};
use storage::Txn;

use crate::namespaces::Ns;
use crate::shelf::{Shelves, Source};

/// Policies by name, those of each namespace for themselves.
const POLICIES: Shelves<StoredPolicy> = Shelves::new(2);

/// A policy as it was written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct StoredPolicy {
    /// HCL or JSON.
    pub text: String,
    /// Counts its writes.
    pub version: u64,
    /// When it was last written.
    pub modified: Time,
    /// A write must name the version that it replaces.
    pub cas_required: bool,
    /// When it ceases to grant anything.
    pub expiration: Option<Time>,
    /// Values of templates may hold slashes.
    pub allow_slashes_in_identity_templates: bool,
    /// Values of templates may hold `*` and `+`.
    pub allow_wildcards_in_identity_templates: bool,
}

/// A policy of this name as the server knows it, built-in ones included.
pub(crate) fn find(source: &impl Source, ns: Ns, name: &str) -> Result<Option<StoredPolicy>> {
    match name {
        // A token may carry any name. One that could not be stored names nothing.
        _ if name.split('/').any(str::is_empty) || name.len() > storage::NAME_SIZE_MAX => Ok(None),
        builtin::ROOT | builtin::RESPONSE_WRAPPING | builtin::CONTROL_GROUP => {
            Ok(builtin::text(name).map(written))
        }
        _ => POLICIES.of(ns).get(source, Name::Path(name)),
    }
}

fn written(text: &str) -> StoredPolicy {
    StoredPolicy { text: text.to_owned(), ..StoredPolicy::default() }
}

/// The names of all policies below a folder, in full, sorted; in the root namespace `root`, which is stored nowhere,
/// at the end. Those that no one can be given are left out.
pub(crate) fn names(source: &impl Source, ns: Ns, folder: &str) -> Result<Vec<String>> {
    let mut names = POLICIES.of(ns).walk(source, folder)?;
    if folder.is_empty() && ns.is_root() {
        names.push(builtin::ROOT.to_owned());
    }
    Ok(names)
}

pub(crate) fn put(txn: &mut Txn, ns: Ns, name: &str, policy: &StoredPolicy) -> Result<()> {
    POLICIES.of(ns).put(txn, Name::Path(name), policy)
}

pub(crate) fn delete(txn: &mut Txn, ns: Ns, name: &str) -> Result<()> {
    POLICIES.of(ns).delete(txn, Name::Path(name))
}

/// What every namespace has from the start.
pub(crate) fn first_policies(txn: &mut Txn, ns: Ns, now: Time) -> Result<()> {
    let text = builtin::text(builtin::DEFAULT).unwrap_or_default();
    put(txn, ns, builtin::DEFAULT, &StoredPolicy { version: 1, modified: now, ..written(text) })
}

/// The parsed policies of these names in a namespace; those that do not exist grant nothing.
pub(crate) fn parsed(source: &impl Source, ns: Ns, names: &[String]) -> Result<Vec<Policy>> {
    let mut policies = Vec::with_capacity(names.len());
    for name in names {
        let Some(stored) = find(source, ns, name)? else { continue };
        let mut parsed = Policy::parse(name, &stored.text)
            .map_err(|error| Error::internal(format!("the stored policy {name:?} does not read: {error}")))?;
        parsed.expiration = stored.expiration.map(|time| time.0);
        parsed.allow_slashes_in_identity_templates = stored.allow_slashes_in_identity_templates;
        parsed.allow_wildcards_in_identity_templates = stored.allow_wildcards_in_identity_templates;
        policies.push(parsed);
    }
    Ok(policies)
}
