use std::ops::ControlFlow;
use std::time::Duration;

use kit::{Doing, Due, Error, Grant, Name, Result, Time};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use storage::{Random, Snapshot, Txn};

use crate::agenda::{self, Item};
use crate::mounts::MountEntry;
use crate::namespaces::Ns;
use crate::quotas::What;
use crate::shelf::{OfNamespaces, SharedTable, Shelf, Shelves, Source};
use crate::tokens::{self, TokenHash};
use crate::ttl::Bounds;
use crate::{ids, quotas};

/// Leases by the path that made them and a name of their own, those of each namespace for themselves.
const LEASES: Shelves<Lease> = Shelves::new(6);
/// The leases that a token holds, in whatever namespace: token ‖ tag.
const HELD: Shelf<LeaseId, OfNamespaces> = Shelf::shared(SharedTable::Held);

/// The last name of a token's lease: an `h`, and the hash.
const TOKEN_NAME_SIZE: usize = 65;

/// After so many failures to end it a lease is irrevocable: kept, counted, and left to a person.
pub(crate) const ATTEMPTS_MAX: u32 = 6;
/// The first wait after such a failure; each next is twice as long.
const RETRY: Duration = Duration::from_secs(10);

/// A lease: the namespace that it belongs to, and its path there. What clients see of it ends in the id of the
/// namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LeaseId {
    pub(crate) ns: Ns,
    pub(crate) path: String,
}

impl LeaseId {
    pub(crate) fn new(ns: Ns, path: impl Into<String>) -> Self {
        Self { ns, path: path.into() }
    }
}

/// In the store: the path; in a namespace `/`, its id and `/` before it.
impl Serialize for LeaseId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.ns.is_root() {
            return serializer.serialize_str(&self.path);
        }
        serializer.serialize_str(&format!("/{}/{}", ids::uuid(self.ns.mount().0), self.path))
    }
}

impl<'de> Deserialize<'de> for LeaseId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Some(rest) = text.strip_prefix('/') else { return Ok(Self { ns: Ns::ROOT, path: text }) };
        let parts = rest.split_once('/').and_then(|(uuid, path)| Some((Ns::parse(uuid)?, path)));
        let (ns, path) = parts.ok_or_else(|| serde::de::Error::custom("the id of a lease is damaged"))?;
        Ok(Self { ns, path: path.to_owned() })
    }
}

/// Something that was granted for a while.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lease {
    /// A token that ends by itself; its dates stand in its own record.
    Token { hash: TokenHash },
    /// What an engine made.
    Thing(Thing),
}

/// A lease on what an engine made.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Thing {
    #[serde(with = "hex::serde")]
    pub(crate) tag: [u8; 16],
    /// The token that holds it; nothing for a batch token without a stored parent.
    pub(crate) token: Option<TokenHash>,
    /// The mount's id, never its path: a move does not break it.
    pub(crate) mount: String,
    pub(crate) issued: Time,
    pub(crate) expires: Time,
    pub(crate) renewed: Option<Time>,
    pub(crate) ttl_seconds: u64,
    pub(crate) max_ttl_seconds: u64,
    pub(crate) renewable: bool,
    /// What takes it back.
    pub(crate) end: Due,
    #[serde(default)]
    pub(crate) attempts: u32,
    /// Why it could not be taken back.
    #[serde(default)]
    pub(crate) error: Option<String>,
    /// It is being ended, and cannot be renewed any more.
    #[serde(default)]
    pub(crate) ending: bool,
}

impl Thing {
    /// What it stands for lies outside: only an effect's `undo` takes it back.
    pub(crate) fn outside(&self) -> bool {
        self.end.doing == Doing::Undo
    }

    /// It could not be taken back, and no more is tried.
    pub(crate) fn irrevocable(&self) -> bool {
        self.attempts >= ATTEMPTS_MAX
    }
}

/// Makes a lease of a grant, in the transaction of what was granted. `path` is that of the request in its namespace.
pub(crate) fn enter(
    txn: &mut Txn,
    random: &dyn Random,
    path: &str,
    mount: &kit::Mount,
    holder: Option<TokenHash>,
    grant: Grant,
    now: Time,
) -> Result<(LeaseId, Thing, Vec<String>)> {
    let bounds = Bounds {
        ttl: grant.ttl,
        max_ttl: grant.max_ttl.unwrap_or_default(),
        mount_ttl: mount.default_ttl,
        mount_max_ttl: mount.max_ttl,
        ..Bounds::default()
    };
    let granted = bounds.grant(now, now)?;
    let mut tag = [0; 16];
    random.fill(&mut tag);
    let path = format!("{}/{}", path.trim_end_matches('/'), ids::accessor(random, now));
    let id = LeaseId::new(Ns::under(mount), path);
    let thing = Thing {
        tag,
        token: holder,
        mount: ids::uuid(mount.id.0),
        issued: now,
        expires: now.plus(granted.ttl),
        renewed: None,
        ttl_seconds: granted.ttl.as_secs(),
        max_ttl_seconds: grant.max_ttl.unwrap_or_default().as_secs(),
        renewable: grant.renewable,
        end: grant.end,
        attempts: 0,
        error: None,
        ending: false,
    };
    put(txn, &id, &Lease::Thing(thing.clone()))?;
    txn.count(quotas::label(id.ns, maker(&id.path), "", What::Thing), 1);
    if let Some(token) = holder {
        HELD.put(txn, id.ns.mount(), Name::Id(&held_key(token, tag)), &id)?;
    }
    agenda::enter(txn, thing.expires, tag, &Item::Lease { id: id.clone() })?;
    Ok((id, thing, granted.warnings))
}

/// The same grant, but for no longer than this.
///
/// # Errors
/// If that is less than a second: too short to lend anything for, and zero would mean no bound.
pub(crate) fn within(grant: Grant, left: Duration) -> Result<Grant> {
    if left.is_zero() {
        return Err(Error::denied());
    }
    let max_ttl = grant.max_ttl.filter(|max| !max.is_zero()).map_or(left, |max| max.min(left));
    Ok(Grant { max_ttl: Some(max_ttl), ..grant })
}

/// The lease under which a token can be found by the path that made it.
pub(crate) fn enter_token(txn: &mut Txn, ns: Ns, path: &str, hash: TokenHash) -> Result<()> {
    put(txn, &token_lease(ns, path, hash), &Lease::Token { hash })
}

pub(crate) fn forget_token(txn: &mut Txn, ns: Ns, path: &str, hash: TokenHash) -> Result<()> {
    forget_by_id(txn, &token_lease(ns, path, hash))
}

/// The id of a token's lease.
fn token_lease(ns: Ns, path: &str, hash: TokenHash) -> LeaseId {
    LeaseId::new(ns, format!("{}/h{}", path.trim_end_matches('/'), hex::encode(hash.0)))
}

pub(crate) fn find(source: &impl Source, id: &LeaseId) -> Result<Option<Lease>> {
    let path = id.path.trim_matches('/');
    // An id with a doubled slash or over-long names no lease, and the store would refuse to look.
    if path.split('/').any(str::is_empty) || path.len() > storage::NAME_SIZE_MAX {
        return Ok(None);
    }
    let Some(name) = name(path) else { return Ok(None) };
    LEASES.of(id.ns).get(source, name)
}

fn put(txn: &mut Txn, id: &LeaseId, lease: &Lease) -> Result<()> {
    LEASES.of(id.ns).put(txn, name(&id.path).ok_or_else(nowhere)?, lease)
}

/// What a lease is stored under: its last name is made by the server and lies in clear, so that those that were made
/// together lie together.
fn name(path: &str) -> Option<Name<'_>> {
    path.rsplit_once('/').map(|(maker, own)| Name::PathThen(maker, own.as_bytes()))
}

fn nowhere() -> Error {
    Error::internal("a lease without the path that made it")
}

/// The names right below a folder of leases.
pub(crate) fn list(snapshot: &Snapshot, ns: Ns, folder: &str) -> Result<Vec<String>> {
    let shelf = LEASES.of(ns);
    let makers = shelf.list(snapshot, folder)?;
    let mut names: Vec<String> =
        makers.iter().map(|maker| format!("{}/", maker.trim_end_matches('/'))).collect();
    if !folder.is_empty() {
        snapshot.scan_path(shelf.place(), folder, &[], None, &mut |own, _| {
            names.push(String::from_utf8_lossy(own).into_owned());
            Ok(ControlFlow::Continue(()))
        })?;
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Shows the leases of a namespace in a folder and beneath it, until told to stop.
fn each_in(
    source: &impl Source,
    ns: Ns,
    folder: &str,
    mut each: impl FnMut(LeaseId) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let (place, mut ended) = (LEASES.of(ns).place(), None);
    let mut show = |maker: &str, own: &[u8]| {
        let flow = each(LeaseId::new(ns, format!("{maker}/{}", String::from_utf8_lossy(own))));
        let go_on = matches!(flow, Ok(ControlFlow::Continue(())));
        if !go_on {
            ended = Some(flow.map(drop));
        }
        Ok(more(go_on))
    };
    let mut in_it = ControlFlow::Continue(());
    if !folder.is_empty() {
        source.suffixes(place, folder, &mut |own, _| {
            in_it = show(folder, own)?;
            Ok(in_it)
        })?;
    }
    if in_it.is_continue() {
        let above = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        source.paths(place, folder, &mut |maker, own| show(&format!("{above}{maker}"), own))?;
    }
    ended.unwrap_or(Ok(()))
}

/// Whether a namespace has leases beneath a mount's path, or at all where that is empty. What is sealed may have some.
pub(crate) fn any_beneath(source: &impl Source, ns: Ns, path: &str) -> Result<bool> {
    let mut any = source.is_sealed(ns.mount());
    if !any {
        each_in(source, ns, path.trim_end_matches('/'), |_| {
            any = true;
            Ok(ControlFlow::Break(()))
        })?;
    }
    Ok(any)
}

/// Up to `limit` leases of a namespace below a prefix, which need not end at a slash, that were issued until then.
pub(crate) fn below(txn: &Txn, ns: Ns, prefix: &str, until: Time, limit: usize) -> Result<Vec<LeaseId>> {
    below_if(txn, ns, prefix, limit, |id| Ok(issued(txn, id)?.is_none_or(|at| at <= until)))
}

/// The same, of those that nobody has begun to end. Others are tried by their own dates, or left to a person.
pub(crate) fn fresh_below(
    txn: &Txn,
    ns: Ns,
    prefix: &str,
    until: Time,
    limit: usize,
) -> Result<Vec<LeaseId>> {
    below_if(txn, ns, prefix, limit, |id| {
        Ok(!is_tried(txn, id)? && issued(txn, id)?.is_none_or(|at| at <= until))
    })
}

/// Whether somebody has begun to end a lease.
fn is_tried(source: &impl Source, id: &LeaseId) -> Result<bool> {
    Ok(matches!(find(source, id)?, Some(Lease::Thing(thing)) if thing.ending || thing.attempts > 0))
}

fn below_if(
    txn: &Txn,
    ns: Ns,
    prefix: &str,
    limit: usize,
    wanted: impl Fn(&LeaseId) -> Result<bool>,
) -> Result<Vec<LeaseId>> {
    let prefix = prefix.trim_start_matches('/');
    let (folder, _) = prefix.rsplit_once('/').unwrap_or(("", prefix));
    let mut ids = Vec::new();
    each_in(txn, ns, folder, |id| {
        if id.path.starts_with(prefix) && wanted(&id)? {
            ids.push(id);
        }
        Ok(more(ids.len() < limit))
    })?;
    Ok(ids)
}

/// To go on as long as there is more to do.
fn more(more: bool) -> ControlFlow<()> {
    if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// What a mount has lent.
pub(crate) struct Lent {
    /// Leases that nobody has begun to end.
    pub(crate) fresh: Vec<LeaseId>,
    /// There are others, which are tried by their own dates or could not be ended.
    pub(crate) tried: bool,
}

/// Up to `limit` leases of a mount, and tokens that came by it, that were issued until then.
pub(crate) fn of_mount(txn: &Txn, entry: &MountEntry, until: Time, limit: usize) -> Result<Lent> {
    let mut lent = Lent { fresh: Vec::new(), tried: false };
    let folder = entry.path.trim_end_matches('/');
    each_in(txn, entry.namespace, folder, |id| {
        match find(txn, &id)? {
            Some(Lease::Thing(thing)) if thing.mount != entry.uuid => {}
            Some(Lease::Thing(thing)) if thing.ending || thing.attempts > 0 => lent.tried = true,
            _ if issued(txn, &id)?.is_none_or(|at| at <= until) => lent.fresh.push(id),
            _ => {}
        }
        Ok(more(lent.fresh.len() < limit))
    })?;
    Ok(lent)
}

/// When a lease was issued; nothing, if it names a token that is gone.
fn issued(source: &impl Source, id: &LeaseId) -> Result<Option<Time>> {
    Ok(match find(source, id)? {
        Some(Lease::Thing(thing)) => Some(thing.issued),
        Some(Lease::Token { hash }) => tokens::find(source, hash)?.map(|token| token.created),
        None => None,
    })
}

/// Shows every lease of a namespace that could not be ended. It looks at all leases there.
pub(crate) fn irrevocable(snapshot: &Snapshot, ns: Ns, mut each: impl FnMut(&str, Thing)) -> Result<()> {
    each_in(snapshot, ns, "", |id| {
        match find(snapshot, &id)? {
            Some(Lease::Thing(thing)) if thing.irrevocable() => each(&id.path, thing),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Shows what is counted of each lease of a namespace. It looks at all leases there.
pub(crate) fn labels(snapshot: &Snapshot, ns: Ns, mut each: impl FnMut(&str)) -> Result<()> {
    each_in(snapshot, ns, "", |id| {
        let what = if is_token(&id) { What::Token } else { What::Thing };
        each(&quotas::label(ns, maker(&id.path), &role(snapshot, &id)?, what));
        Ok(ControlFlow::Continue(()))
    })
}

/// Shows what each lease of a namespace is; an irrevocable one twice, as the lease that it is too. It looks at all leases there.
pub(crate) fn each(snapshot: &Snapshot, ns: Ns, mut each: impl FnMut(What)) -> Result<()> {
    each_in(snapshot, ns, "", |id| {
        if is_token(&id) {
            each(What::Token);
            return Ok(ControlFlow::Continue(()));
        }
        each(What::Thing);
        if let Some(Lease::Thing(thing)) = find(snapshot, &id)?
            && thing.irrevocable()
        {
            each(What::Irrevocable);
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Whether a lease is a token's: its name tells.
fn is_token(id: &LeaseId) -> bool {
    id.path.rsplit_once('/').is_some_and(|(_, name)| name.len() == TOKEN_NAME_SIZE)
}

/// The role by which the token of a lease came in.
fn role(snapshot: &Snapshot, id: &LeaseId) -> Result<String> {
    if !is_token(id) {
        return Ok(String::new());
    }
    let Some(Lease::Token { hash }) = find(snapshot, id)? else { return Ok(String::new()) };
    Ok(tokens::find(snapshot, hash)?.map(|token| token.login_role).unwrap_or_default())
}

/// The path that made a lease.
fn maker(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(path, _)| path)
}

/// Up to `limit` of the leases that a token holds and nobody has begun to end.
pub(crate) fn held(source: &impl Source, token: TokenHash, limit: usize) -> Result<Vec<LeaseId>> {
    let rows = HELD.below_if(source, &token.0, limit, |id| Ok(!is_tried(source, id)?))?;
    Ok(rows.into_iter().map(|(_, id)| id).collect())
}

/// Whether a token holds leases in a namespace that is sealed.
pub(crate) fn held_hidden(source: &impl Source, token: TokenHash) -> Result<bool> {
    HELD.hides(source, &token.0)
}

/// Forgets a lease whose thing has been taken back.
pub(crate) fn forget(txn: &mut Txn, id: &LeaseId, thing: &Thing) -> Result<()> {
    forget_by_id(txn, id)?;
    txn.count(quotas::label(id.ns, maker(&id.path), "", What::Thing), -1);
    if thing.irrevocable() {
        txn.count(quotas::label(id.ns, "", "", What::Irrevocable), -1);
    }
    if let Some(token) = thing.token {
        HELD.delete(txn, Name::Id(&held_key(token, thing.tag)))?;
    }
    agenda::strike(txn, id.ns.mount(), thing.expires, thing.tag)
}

/// Whether somebody is ending a lease on something outside just now: it was taken up, and that has not failed yet.
pub(crate) fn is_taken_up(thing: &Thing, now: Time) -> bool {
    thing.ending && thing.attempts == 0 && thing.expires > now
}

/// Begins to end a lease on something outside: it is due at this date, and cannot be renewed.
pub(crate) fn end_at(txn: &mut Txn, id: &LeaseId, thing: Thing, at: Time) -> Result<()> {
    agenda::strike(txn, id.ns.mount(), thing.expires, thing.tag)?;
    let thing = Thing { expires: at, ending: true, ..thing };
    agenda::enter(txn, at, thing.tag, &Item::Lease { id: id.clone() })?;
    put(txn, id, &Lease::Thing(thing))
}

/// Notes that a thing could not be taken back, and when to try again.
pub(crate) fn postpone(txn: &mut Txn, id: &LeaseId, thing: Thing, why: &Error, now: Time) -> Result<()> {
    let attempts = thing.attempts + 1;
    agenda::strike(txn, id.ns.mount(), thing.expires, thing.tag)?;
    let wait = RETRY * 2_u32.saturating_pow(attempts - 1);
    let expires = now.plus(wait);
    let thing = Thing { attempts, error: Some(why.to_string()), expires, ..thing };
    if !thing.irrevocable() {
        agenda::enter(txn, expires, thing.tag, &Item::Lease { id: id.clone() })?;
    } else if attempts == ATTEMPTS_MAX {
        txn.count(quotas::label(id.ns, "", "", What::Irrevocable), 1);
    }
    put(txn, id, &Lease::Thing(thing))
}

/// Until when a lease may be renewed now, with warnings if that is less than was wished for.
pub(crate) fn prolonged(
    thing: &Thing,
    increment: Duration,
    mount: &kit::Mount,
    now: Time,
) -> Result<(Time, Vec<String>)> {
    if !thing.renewable {
        return Err(Error::invalid("lease is not renewable"));
    }
    if thing.ending {
        return Err(Error::invalid("lease is being revoked"));
    }
    let bounds = Bounds {
        increment,
        ttl: Duration::from_secs(thing.ttl_seconds),
        max_ttl: Duration::from_secs(thing.max_ttl_seconds),
        mount_ttl: mount.default_ttl,
        mount_max_ttl: mount.max_ttl,
        ..Bounds::default()
    };
    let granted = bounds.grant(thing.issued, now)?;
    Ok((now.plus(granted.ttl), granted.warnings))
}

/// Moves the date of a lease.
pub(crate) fn renew(
    txn: &mut Txn,
    id: &LeaseId,
    thing: Thing,
    increment: Duration,
    mount: &kit::Mount,
    now: Time,
) -> Result<(Thing, Vec<String>)> {
    let (expires, warnings) = prolonged(&thing, increment, mount, now)?;
    agenda::strike(txn, id.ns.mount(), thing.expires, thing.tag)?;
    let thing = Thing { expires, renewed: Some(now), ..thing };
    agenda::enter(txn, thing.expires, thing.tag, &Item::Lease { id: id.clone() })?;
    put(txn, id, &Lease::Thing(thing.clone()))?;
    Ok((thing, warnings))
}

/// Deletes a record that names no token any more.
pub(crate) fn forget_by_id(txn: &mut Txn, id: &LeaseId) -> Result<()> {
    LEASES.of(id.ns).delete(txn, name(&id.path).ok_or_else(nowhere)?)
}

fn held_key(token: TokenHash, tag: [u8; 16]) -> [u8; 48] {
    let mut key = [0; 48];
    key.iter_mut().zip(token.0.into_iter().chain(tag)).for_each(|(to, from)| *to = from);
    key
}
