use kit::{Beyond, Error, Result, Writing};

use crate::kernel::Kernel;
use crate::mounts::Mounted;
use crate::quotas::{self, Kind, Limit, QuotaRecord};
use crate::router::Router;

/// What a limit is to be for, as a request says it.
pub(super) struct Target<'a> {
    pub(super) path: &'a str,
    pub(super) role: &'a str,
    /// Whether namespaces below are meant too; nothing: as is usual for such a path.
    pub(super) inheritable: Option<bool>,
}

/// Stores a limit, whose name it takes the place of.
pub(super) fn store(
    kernel: &Kernel,
    cx: &mut Writing<'_>,
    kind: Kind,
    name: &str,
    target: &Target<'_>,
    limit: Limit,
) -> Result<()> {
    let beyond = Beyond::for_the_kernel();
    let stamp = u64::from_be_bytes(cx.random());
    let txn = cx.beyond(&beyond);
    let router = kernel.router(txn.snapshot())?;
    txn.join(router.reads());
    let mut record = target.record(router.value(), limit)?;
    record.stamp = stamp;
    for other in quotas::names(txn, kind)? {
        let Some(known) = quotas::find(txn, kind, &other)? else { continue };
        if known.path(router.value()).is_none() {
            // Its mount is gone, and nobody sees it any more.
            quotas::delete(txn, kind, &other)?;
        } else if other != name && known.is_like(&record) {
            let text = format!("quota rule with similar properties exists under the name {other:?}");
            return Err(Error::invalid(text));
        }
    }
    quotas::put(txn, kind, name, &record)
}

impl Target<'_> {
    fn record(&self, router: &Router, limit: Limit) -> Result<QuotaRecord> {
        let path = self.path.trim_matches('/');
        let role = self.role.to_owned();
        let plain = QuotaRecord {
            mount: None,
            namespace: None,
            suffix: String::new(),
            role,
            inheritable: self.inheritable.unwrap_or(path.is_empty()),
            limit,
            stamp: 0,
        };
        if path.is_empty() {
            if !self.role.is_empty() {
                return Err(Error::invalid("a role is one of an auth method: give its mount in path"));
            }
            if !plain.inheritable {
                return Err(Error::invalid("all global quotas must be inheritable"));
            }
            return Ok(plain);
        }
        let folder = format!("{path}/");
        let (space, local) = router.locate(&folder);
        if local.is_empty() {
            if !self.role.is_empty() {
                return Err(Error::invalid("a role is one of an auth method: give its mount in path"));
            }
            return Ok(QuotaRecord { namespace: Some(space.namespace.ns), ..plain });
        }
        let (mounted, rest) =
            space.nearest(local).ok_or_else(|| Error::invalid(format!("invalid mount path {folder:?}")))?;
        let suffix = rest.trim_end_matches('/').to_owned();
        self.check_role(mounted, &suffix)?;
        Ok(QuotaRecord { mount: Some(mounted.entry.uuid.clone()), suffix, ..plain })
    }

    fn check_role(&self, mounted: &Mounted, suffix: &str) -> Result<()> {
        if self.role.is_empty() {
            return Ok(());
        }
        let path = &mounted.entry.path;
        if !suffix.is_empty() {
            return Err(Error::invalid(
                "Quotas cannot contain both a path suffix and a role. If a role is provided, path must be a valid auth mount with a concept of roles",
            ));
        }
        let Some(method) = &mounted.method else {
            let text = format!(
                "Mount path {path:?} is not a valid auth method and therefore unsuitable for use with role-based quotas"
            );
            return Err(Error::invalid(text));
        };
        if !method.has_roles() {
            let text = format!("Mount path {path:?} does not support use with role-based quotas");
            return Err(Error::invalid(text));
        }
        Ok(())
    }
}
