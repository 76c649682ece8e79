use std::time::Duration;

use kit::loose::{Seconds, Text};
use kit::{
    Beyond, Caller, Command, Error, Fault, Nothing, Reading, Reads, Remote, Renewal, Reply, Result, Right,
};
use kit::{Route, Secret, Terms, Time, TokenKind, Writing};
use policy::Capability;
use schemars::JsonSchema;
use serde::Deserialize;
use storage::Txn;

use super::{Deed, Token, named, own_hash, stored};
use crate::envelope::Attached;
use crate::envelope::Auth;
use crate::identity::{self, Book};
use crate::kernel::Kernel;
use crate::mounts::Mounted;
use crate::namespaces::Ns;
use crate::router::Router;
use crate::tokens::{self, TokenHash, TokenRecord};
use crate::ttl::Bounds;

/// Lets the token that asks live longer.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct RenewOwn {
    /// How long from now; if left out, as the method or the mount says, or as long as the last time.
    increment: Option<Seconds>,
    /// Of no account; older clients send it.
    #[serde(rename = "token")]
    _token: Option<Secret<String>>,
}

impl Command<Token> for RenewOwn {
    const ROUTE: Route = Route::post("renew-self");
    type Reply = Nothing;

    fn run(self, token: &Token, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if cx.caller().kind == TokenKind::Batch {
            return Err(Error::invalid("batch tokens cannot be renewed"));
        }
        let shown = cx.remote().token.token(&Beyond::for_the_kernel()).map(|id| id.expose().clone());
        let hash = own_hash(cx)?;
        go(token, cx, hash, self.increment, shown.unwrap_or_default())
    }
}

/// Lets a token live longer.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct RenewOther {
    /// The token.
    token: Option<Secret<String>>,
    /// How long from now; if left out, as the method or the mount says, or as long as the last time.
    increment: Option<Seconds>,
}

impl Command<Token> for RenewOther {
    const ROUTE: Route = Route::post("renew");
    type Reply = Nothing;

    fn run(self, token: &Token, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let id = self
            .token
            .filter(|id| !id.expose().is_empty())
            .ok_or_else(|| Error::invalid("missing token ID"))?;
        let (kernel, beyond) = (token.kernel()?, Beyond::for_the_kernel());
        let txn = cx.peek(&beyond);
        // The id of a token of the root namespace does not say so: the request stays where it was asked.
        let of_root = |(_, record): &(TokenHash, TokenRecord)| record.namespace.is_root() && !record.batch;
        if !Ns::of(cx).is_root() && stored(&kernel, txn, id.expose())?.as_ref().is_some_and(of_root) {
            return Err(Error::invalid("cannot renew a token across namespaces").wrapped());
        }
        let deed = Deed { path: "auth/token/renew", capability: Capability::Update, needs_sudo: false };
        let found = named(&kernel, cx, txn, txn.snapshot(), id.expose(), &deed)?;
        if found.as_ref().is_some_and(|(_, record)| record.batch) {
            return Err(Error::invalid("batch tokens cannot be renewed"));
        }
        go(token, cx, kernel.tokens.hash(id.expose()), self.increment, id.expose().clone())
    }
}

/// Lets the token that an accessor stands for live longer.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct RenewByAccessor {
    /// The accessor.
    accessor: Option<Text>,
    /// How long from now; if left out, as the method or the mount says, or as long as the last time.
    increment: Option<Seconds>,
}

impl Command<Token> for RenewByAccessor {
    const ROUTE: Route = Route::post("renew-accessor");
    type Reply = Nothing;

    fn run(self, token: &Token, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let accessor = self.accessor.unwrap_or_default().0;
        if accessor.is_empty() {
            return Err(Error::invalid("missing accessor").wrapped());
        }
        let beyond = Beyond::for_the_kernel();
        let router = token.kernel()?.router(cx.peek(&beyond).snapshot())?;
        let found = tokens::find_accessor(cx.peek(&beyond), &router.value().here(cx)?.namespace, &accessor)?;
        let (hash, _) = found.ok_or_else(|| Error::invalid("invalid accessor").wrapped())?;
        go(token, cx, hash, self.increment, String::new())
    }
}

fn go(
    token: &Token,
    cx: &mut Writing<'_>,
    hash: TokenHash,
    increment: Option<Seconds>,
    id: String,
) -> Result<Reply<Nothing>> {
    let kernel = token.kernel()?;
    let beyond = Beyond::for_the_kernel();
    let (now, remote) = (cx.now(), cx.remote().clone());
    let increment = Duration::from_secs(increment.map_or(0, |increment| increment.0));
    let (auth, warnings) = renew(&kernel, cx.beyond(&beyond), hash, increment, now, &remote)?;
    warnings.into_iter().for_each(|warning| cx.warn(warning));
    let auth = Auth { client_token: id, ..auth };
    cx.notes().attach(&beyond, Box::new(Attached::Auth(auth, None)));
    Ok(Reply::Nothing)
}

/// What the method says of it, in the words around it that clients know.
fn failed(error: Error) -> Error {
    match error.fault() {
        Fault::Internal if error.cause().is_none() => {
            Error::server(format!("failed to renew entry: {error}"))
        }
        _ => error,
    }
}

/// Lets a token live longer, if it and the method that it came by allow it.
///
/// # Errors
/// If they do not.
pub(crate) fn renew(
    kernel: &Kernel,
    txn: &mut Txn,
    hash: TokenHash,
    increment: Duration,
    now: Time,
    remote: &Remote,
) -> Result<(Auth, Vec<String>)> {
    let record = tokens::find(txn, hash)?.ok_or_else(|| Error::invalid("token not found"))?;
    if record.expires.is_none() {
        // Clients know both: what the initialisation made has no lease, a root token that was asked for has one.
        let first = record.path == crate::token_record::ROOT_PATH;
        return Err(Error::invalid(if first { "invalid lease ID" } else { "lease is not renewable" }));
    }
    if record.expires.is_some_and(|expires| expires <= now) {
        return Err(Error::invalid("token not found"));
    }
    if !record.renewable {
        return Err(Error::invalid("lease is not renewable"));
    }
    let router = kernel.router(txn.snapshot())?;
    txn.join(router.reads());
    let mounted = match record.mount_id() {
        Some(id) => router.value().by_id(&id),
        None => router.value().space(record.namespace).and_then(|space| space.at("auth/token/")),
    };
    let mounted = mounted.ok_or_else(|| Error::invalid("the auth mount of this token is gone"))?;
    let seconds = Duration::from_secs;
    let terms = terms(txn, router.value(), mounted, &record, remote, now).map_err(failed)?;
    let bounds = Bounds {
        increment,
        // What a login gives is the method's to say, or the mount's.
        ttl: if record.mount.is_some() { terms.ttl } else { last_granted(&record) },
        max_ttl: terms.max_ttl,
        period: terms.period,
        explicit_max_ttl: match &mounted.method {
            Some(_) => seconds(record.explicit_max_ttl_seconds),
            None => terms.explicit_max_ttl,
        },
        mount_ttl: mounted.info.default_ttl,
        mount_max_ttl: mounted.info.max_ttl,
    };
    let granted = bounds.grant(record.created, now)?;
    let mut renewed =
        TokenRecord { expires: Some(now.plus(granted.ttl)), renewed: Some(now), ..record.clone() };
    if let Some(groups) = terms.groups {
        renewed.groups = groups;
    }
    if mounted.method.is_some() {
        refresh_groups(txn, &mounted.entry.accessor, &renewed)?;
    }
    tokens::update(txn, hash, &record, &renewed)?;
    let auth = Auth { lease_duration: granted.ttl.as_secs(), ..Auth::of_record(&renewed) };
    Ok((auth.with_identity(identity::shown_policies(txn, &renewed)?), granted.warnings))
}

/// For how long a token lived from its last renewal on, or from its beginning.
fn last_granted(record: &TokenRecord) -> Duration {
    let from = record.renewed.unwrap_or(record.created);
    record.expires.map_or(Duration::ZERO, |until| from.until(until))
}

/// What the method or role that a token came by says of it now.
fn terms(
    txn: &Txn,
    router: &Router,
    mounted: &Mounted,
    record: &TokenRecord,
    remote: &Remote,
    now: Time,
) -> Result<Terms> {
    let seconds = Duration::from_secs;
    match &mounted.method {
        Some(method) => {
            let snapshot = txn.snapshot().clone();
            let nobody = Caller::nobody();
            let cx = Reading::new(&Right::Due, &snapshot, &mounted.info, &nobody, remote, now);
            let empty = std::collections::BTreeMap::new();
            let past = Renewal {
                internal: &record.internal,
                policies: &record.login_policies,
                metadata: record.meta.as_ref().unwrap_or(&empty),
            };
            method.renew(&past, &cx)
        }
        None => {
            let role = super::roles::renewed(txn, router, record)?;
            Ok(role.unwrap_or_else(|| Terms {
                period: seconds(record.period_seconds),
                explicit_max_ttl: seconds(record.explicit_max_ttl_seconds),
                ..Terms::default()
            }))
        }
    }
}

/// Asks again who is in an external group, as at login.
fn refresh_groups(txn: &mut Txn, accessor: &str, record: &TokenRecord) -> Result<()> {
    let Some(book) = Book::of_token(record) else { return Ok(()) };
    match book.resolve(txn, &record.entity_id)? {
        Some(resolved) => book.refresh(txn, &resolved.entity.id, accessor, &record.groups),
        None => Ok(()),
    }
}
