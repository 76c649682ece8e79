use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Caller, Error, Fault, Kept, Memo, Name, Remote, Result, Secret, Time, TokenKind};
use policy::{Acl, builtin};
use serde::{Deserialize, Serialize};
use storage::{Open, Random, Snapshot, Txn};

use crate::agenda::{self, Item};
use crate::cidr::Cidr;
use crate::identity::Bearer;
use crate::namespaces::{self, Namespace, Ns};
use crate::quotas::What;
use crate::shelf::{OfNamespaces, SharedTable, Shelf, Shelves, Source};
pub(crate) use crate::token_record::TokenRecord;
use crate::{identity, ids, leases, policies, quotas};

/// Tokens by the keyed hash of their id. The id itself is nowhere.
const TOKENS: Shelf<TokenRecord, OfNamespaces> = Shelf::shared(SharedTable::Tokens);
/// The hash of a token by its accessor, those of each namespace for themselves.
const ACCESSORS: Shelves<TokenHash> = Shelves::new(4);
/// Which tokens a token made: parent ‖ child.
const CHILDREN: Shelf<(), OfNamespaces> = Shelf::shared(SharedTable::Children);

/// How deep tokens may make tokens. Each request looks at the ancestors of its token, once.
const DEPTH_MAX: usize = 128;
/// How many children of a token that is ended alone are cut loose at once, and how large their records may be.
const LOOSE_MAX: usize = 256;
const LOOSE_SIZE_MAX: usize = 2 * 1024 * 1024;
/// How many identified tokens are kept at hand.
const KNOWN_MAX: usize = 16_384;
/// How many sets of compiled rules are kept at hand.
const ACLS_MAX: usize = 1024;
/// What the token of a sealed namespace is told.
pub(crate) const SEALED: &str = "error performing token check: failed to read entry: Vault is sealed";
/// What authenticates a batch token, beside its sealed record.
const BATCH: &[u8] = b"batch token 1";

/// Stands for a token in the store.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct TokenHash(#[serde(with = "hex::serde")] pub(crate) [u8; 32]);

/// A token that was found good, with the rules it carries.
pub(crate) struct Known {
    pub(crate) hash: TokenHash,
    pub(crate) record: TokenRecord,
    /// Where it belongs: it reaches that namespace and those beneath it.
    pub(crate) namespace: Namespace,
    pub(crate) caller: Caller,
    /// The policies of its entity and its groups.
    pub(crate) identity_policies: Vec<String>,
    rules: Rules,
    /// When it was made, as audit shows it.
    pub(crate) issued: String,
    /// No other that this process has known has it: what is worked out from this can be kept under it.
    pub(crate) number: u64,
    cidrs: Vec<Cidr>,
    /// When it or the first of its ancestors ends.
    ends: Option<Time>,
}

/// The rules that a token carries. A compiled set takes tens of kilobytes, so no token has one for itself.
enum Rules {
    /// Those of all tokens of the same policies.
    Shared(Arc<Acl>),
    /// There are templates in them, so they are those of one entity. Kept apart, under this name, for as long as they
    /// are used more than others.
    OfEntity((Ns, String)),
}

/// The compiled rules of some policies.
struct Compiled {
    acl: Arc<Acl>,
    /// For somebody with an entity they say something else.
    is_templated: bool,
}

/// A token that was just made. Its id is shown once.
pub(crate) struct Made {
    pub(crate) id: Secret<String>,
    /// Where it is stored. A batch token is nowhere.
    pub(crate) hash: Option<TokenHash>,
    pub(crate) record: TokenRecord,
}

impl Made {
    /// Where it is stored, as what belongs to it lies there too.
    pub(crate) fn place(&self) -> Result<TokenHash> {
        self.hash.ok_or_else(|| Error::internal("a batch token was taken for one that is stored"))
    }
}

/// Whether a token must have a use left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Uses {
    /// It must.
    Left,
    /// This request has spent one, perhaps the last.
    Spent,
}

/// Finds and keeps tokens.
pub(crate) struct Tokens {
    memo: Memo<TokenHash, Known>,
    /// Compiled rules by the policies they come from and the namespace of these, filled in for nobody.
    acls: Memo<(Ns, String), Compiled>,
    /// The same, filled in for an entity, by its name, too.
    entity_acls: Memo<(Ns, String), Arc<Acl>>,
    key: hmac::Key,
    /// How many have been identified, but for those that the memo knew.
    known: AtomicU64,
}

impl Tokens {
    pub(crate) fn new(store: &Open) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*store.derive(b"token"));
        let (memo, acls, entity_acls) = (Memo::new(KNOWN_MAX), Memo::new(ACLS_MAX), Memo::new(ACLS_MAX));
        Self { memo, acls, entity_acls, key, known: AtomicU64::new(0) }
    }

    /// What a token lies under in the store: a hash, which begins with the time if the token does. So does whatever else
    /// is kept under the hash, and what is made together lies together.
    pub(crate) fn hash(&self, id: &str) -> TokenHash {
        let tag = hmac::sign(&self.key, id.as_bytes());
        let mut hash = [0; 32];
        hash.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        if let Some(made) = ids::made(id) {
            let [_, _, time @ ..] = made.to_be_bytes();
            hash.iter_mut().zip(time).for_each(|(to, from)| *to = from);
        }
        TokenHash(hash)
    }

    /// Who shows this token, with the rules that bind them.
    ///
    /// # Errors
    /// Denied, whatever the reason: unknown, revoked, ended, used up, or from an address it is not bound to.
    pub(crate) fn identify(
        &self,
        id: &str,
        store: &Open,
        today: &Snapshot,
        now: Time,
        remote: &Remote,
        uses: Uses,
    ) -> Result<Arc<Kept<Known>>> {
        let hash = self.hash(id);
        let kept = self.memo.get(&hash, today, |txn| {
            let whose = |error: Error| match error.fault() {
                Fault::Unavailable => Error::new(Fault::Unavailable, SEALED),
                _ => error,
            };
            let (record, kind) = if id.starts_with("b.") {
                (self.open_batch(store, id), TokenKind::Batch)
            } else {
                (find(txn, hash).map_err(whose)?, TokenKind::Service)
            };
            let record = record.ok_or_else(Error::denied)?;
            let namespace = namespaces::living(txn, record.namespace)?.ok_or_else(Error::denied)?;
            if namespaces::suffix(id) != namespace.suffix() {
                return Err(Error::denied());
            }
            self.know(hash, record, kind, txn, now)
        })?;
        let known = kept.value();
        let used_up = uses == Uses::Left && known.record.uses_left == Some(0);
        if used_up || known.ends.is_some_and(|ends| ends <= now) || !known.allows(remote) {
            return Err(Error::denied());
        }
        Ok(kept)
    }

    /// Where a token of a chosen id will stand. Of those that are made at random there is no second.
    ///
    /// # Errors
    /// If there is one.
    pub(crate) fn free(&self, source: &impl Source, chosen: &str) -> Result<TokenHash> {
        let hash = self.hash(chosen);
        match at(source, hash)? {
            Some(_) => Err(Error::invalid("cannot create a token with a duplicate ID")),
            None => Ok(hash),
        }
    }

    /// Makes a token of a namespace. Nothing of it is visible before the transaction is committed. An id that was chosen
    /// must be free.
    ///
    /// # Errors
    /// If the disk fails, or the transaction is full.
    pub(crate) fn make(
        &self,
        txn: &mut Txn,
        random: &dyn Random,
        namespace: &Namespace,
        chosen: Option<String>,
        record: TokenRecord,
    ) -> Result<Made> {
        let id = Secret::new(chosen.unwrap_or_else(|| namespace.mark(ids::token(random, record.created))));
        let hash = self.hash(id.expose());
        let accessor = namespace.mark(ids::accessor(random, record.created));
        let record = TokenRecord { accessor, namespace: namespace.ns, ..record };
        let owner = record.namespace.mount();
        TOKENS.put(txn, owner, Name::Id(&hash.0), &record)?;
        ACCESSORS.of(record.namespace).put(txn, Name::Id(record.accessor.as_bytes()), &hash)?;
        if let Some(parent) = record.parent {
            CHILDREN.put(txn, owner, Name::Id(&child_key(parent, hash)), &())?;
        }
        if let Some(expires) = record.expires {
            leases::enter_token(txn, record.namespace, &record.path, hash)?;
            txn.count(quotas::label(record.namespace, &record.path, &record.login_role, What::Token), 1);
            agenda::enter(txn, expires, hash.tag(), &Item::Token { hash, namespace: record.namespace })?;
        } else {
            txn.count(quotas::label(record.namespace, "", "", What::Endless), 1);
        }
        Ok(Made { id, hash: Some(hash), record })
    }

    /// Makes a token of a namespace that carries everything in itself. Nothing is stored.
    ///
    /// # Errors
    /// If it cannot be sealed.
    pub(crate) fn make_batch(store: &Open, namespace: &Namespace, record: TokenRecord) -> Result<Made> {
        let (accessor, namespace_id) = (String::new(), namespace.ns);
        let record =
            TokenRecord { batch: true, accessor, namespace: namespace_id, renewable: false, ..record };
        let sealed = store.seal_blob(BATCH, &serde_json::to_vec(&record)?)?;
        let id = Secret::new(namespace.mark(format!("b.{}", URL_SAFE_NO_PAD.encode(sealed))));
        Ok(Made { id, hash: None, record })
    }
}

impl Tokens {
    /// Forgets whom tokens are of and what they may do, until they are shown again.
    pub(crate) fn forget(&self) {
        self.memo.forget();
        self.acls.forget();
        self.entity_acls.forget();
    }

    /// The rules that a known token carries.
    pub(crate) fn acl(&self, known: &Known, today: &Snapshot, now: Time) -> Result<Arc<Acl>> {
        let name = match &known.rules {
            Rules::Shared(acl) => return Ok(Arc::clone(acl)),
            Rules::OfEntity(name) => name,
        };
        let kept = self.entity_acls.get(name, today, |txn| {
            compile(txn, &identity::bearer(txn, &known.record)?, now).map(Arc::new)
        })?;
        Ok(Arc::clone(kept.value()))
    }

    /// The rules of whoever carries these policies, compiled once for all tokens that do.
    fn rules(&self, txn: &mut Txn, record: &TokenRecord, bearer: &Bearer, now: Time) -> Result<Rules> {
        // A token may carry any text as the name of a policy, so the parts are told apart by quoting alone.
        let name = serde_json::to_string(&(bearer.root, &bearer.policies, &bearer.inline))?;
        let nobody = Bearer { entity: None, ..bearer.clone() };
        let name = (record.namespace, name);
        let kept = self.acls.get(&name, txn.snapshot(), |txn| {
            let parsed = parsed(txn, &nobody)?;
            let is_templated = parsed.iter().any(policy::Policy::is_templated);
            Ok::<_, Error>(Compiled { acl: Arc::new(compile(txn, &nobody, now)?), is_templated })
        })?;
        txn.join(kept.reads());
        if kept.value().is_templated && !bearer.root && bearer.entity.is_some() {
            let identity = record.identity.as_deref().unwrap_or_default();
            let (ns, name) = name;
            let name = serde_json::to_string(&(name, identity, &record.entity_id))?;
            return Ok(Rules::OfEntity((ns, name)));
        }
        Ok(Rules::Shared(Arc::clone(&kept.value().acl)))
    }

    /// A token with all that follows from it: what it may do, and until when.
    fn know(
        &self,
        hash: TokenHash,
        record: TokenRecord,
        kind: TokenKind,
        txn: &mut Txn,
        now: Time,
    ) -> Result<Known> {
        let ends = soonest(record.expires, ancestors_end(txn, record.parent)?);
        // A token dies with the auth mount that it came by.
        if let Some(mount) = &record.mount
            && !crate::mounts::lives(txn, mount)?
        {
            return Err(Error::denied());
        }
        let bearer = identity::bearer(txn, &record)?;
        let rules = self.rules(txn, &record, &bearer, now)?;
        let cidrs = record.bound_cidrs.iter().filter_map(|text| Cidr::parse(text)).collect();
        let caller = Caller {
            accessor: record.accessor.clone(),
            display_name: record.display_name.clone(),
            entity: bearer.entity,
            policies: bearer.policies,
            kind,
            drawer: hash.drawer(),
            expires: record.expires,
            root: bearer.root,
        };
        let issued = record.created.rfc3339();
        let identity_policies = bearer.identity_policies;
        let namespace = bearer.namespace;
        let number = self.known.fetch_add(1, Ordering::Relaxed);
        Ok(Known { hash, record, namespace, caller, identity_policies, rules, issued, number, cidrs, ends })
    }

    /// What a batch token carries, if this server made it.
    pub(crate) fn open_batch(&self, store: &Open, id: &str) -> Option<TokenRecord> {
        let body = id.strip_prefix("b.")?;
        let body = body.split_once('.').map_or(body, |(body, _)| body);
        let sealed = URL_SAFE_NO_PAD.decode(body).ok()?;
        serde_json::from_slice(&store.open_blob(BATCH, &sealed)?).ok()
    }
}

impl Known {
    fn allows(&self, remote: &Remote) -> bool {
        // A block that does not read holds nothing: it must not turn a bound token into an unbound one.
        self.record.bound_cidrs.is_empty()
            || remote.address.is_some_and(|address| self.cidrs.iter().any(|cidr| cidr.contains(address)))
    }
}

impl TokenHash {
    /// What its entry in the agenda is told apart by.
    pub(crate) fn tag(&self) -> [u8; 16] {
        let mut tag = [0; 16];
        tag.iter_mut().zip(self.0.into_iter().skip(16)).for_each(|(to, from)| *to = from);
        tag
    }

    /// The name of its drawer in the cubbyhole.
    pub(crate) fn drawer(&self) -> String {
        hex::encode(self.0)
    }

    /// The token that a drawer belongs to.
    pub(crate) fn of_drawer(drawer: &str) -> Option<Self> {
        let mut hash = [0; 32];
        hex::decode_to_slice(drawer, &mut hash).ok()?;
        Some(Self(hash))
    }
}

/// The stored token of this hash.
pub(crate) fn find(source: &impl Source, hash: TokenHash) -> Result<Option<TokenRecord>> {
    let Some(record) = at(source, hash)?.filter(|record| !record.ended) else { return Ok(None) };
    let parent = match record.parent {
        // One that was ended alone is the parent of nobody any more, whoever is still to be told.
        Some(parent) if at(source, parent)?.is_some_and(|parent| parent.ended) => None,
        parent => parent,
    };
    Ok(Some(TokenRecord { parent, ..record }))
}

/// What stands in a token's place, ended or not.
pub(crate) fn at(source: &impl Source, hash: TokenHash) -> Result<Option<TokenRecord>> {
    TOKENS.get(source, Name::Id(&hash.0))
}

/// Whether these policies may be given to somebody.
///
/// # Errors
/// If one of them is of those that the server gives itself.
pub(crate) fn check_assignable(policies: &[String]) -> Result<()> {
    match policies.iter().find(|policy| builtin::UNASSIGNABLE.contains(&policy.as_str())) {
        Some(policy) => Err(Error::invalid(format!("cannot assign policy {policy:?}"))),
        None => Ok(()),
    }
}

/// The token of a namespace that an accessor stands for.
///
/// # Errors
/// If the accessor says that it belongs to another namespace.
pub(crate) fn find_accessor(
    source: &impl Source,
    namespace: &Namespace,
    accessor: &str,
) -> Result<Option<(TokenHash, TokenRecord)>> {
    if accessor.is_empty() {
        return Ok(None);
    }
    if accessor.split_once('.').map(|(_, suffix)| suffix) != namespace.suffix() {
        return Err(Error::listed("cannot lookup token in different namespace"));
    }
    let Some(hash) = ACCESSORS.of(namespace.ns).get(source, Name::Id(accessor.as_bytes()))? else {
        return Ok(None);
    };
    Ok(find(source, hash)?.map(|record| (hash, record)))
}

/// Up to `limit` accessors of a namespace.
pub(crate) fn accessors(source: &impl Source, ns: Ns, limit: usize) -> Result<Vec<String>> {
    let rows = ACCESSORS.of(ns).below(source, &[], limit)?;
    Ok(rows.into_iter().map(|(id, _)| String::from_utf8_lossy(&id).into_owned()).collect())
}

/// How many tokens a namespace has. It looks at all of them.
pub(crate) fn how_many(source: &impl Source, ns: Ns) -> Result<i64> {
    let mut count = 0;
    ACCESSORS.of(ns).scan(source, &[], None, |_, _| {
        count += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(count)
}

/// Up to `limit` tokens of a namespace.
pub(crate) fn of_namespace(source: &impl Source, ns: Ns, limit: usize) -> Result<Vec<TokenHash>> {
    Ok(ACCESSORS.of(ns).below(source, &[], limit)?.into_iter().map(|(_, hash)| hash).collect())
}

/// Writes a changed token back, and moves its date if that changed.
pub(crate) fn update(txn: &mut Txn, hash: TokenHash, old: &TokenRecord, new: &TokenRecord) -> Result<()> {
    let owner = new.namespace.mount();
    TOKENS.put(txn, owner, Name::Id(&hash.0), new)?;
    if old.expires != new.expires {
        if let Some(expires) = old.expires {
            agenda::strike(txn, owner, expires, hash.tag())?;
        }
        if let Some(expires) = new.expires {
            agenda::enter(txn, expires, hash.tag(), &Item::Token { hash, namespace: new.namespace })?;
        }
    }
    Ok(())
}

/// Spends one use of a token that has a number of them. True: it was the last.
///
/// # Errors
/// Denied, if it has none left.
pub(crate) fn spend(txn: &mut Txn, hash: TokenHash) -> Result<bool> {
    let record = find(txn, hash)?.ok_or_else(Error::denied)?;
    let left = record.uses_left.unwrap_or(0).checked_sub(1).ok_or_else(Error::denied)?;
    let owner = record.namespace.mount();
    TOKENS.put(txn, owner, Name::Id(&hash.0), &TokenRecord { uses_left: Some(left), ..record })?;
    Ok(left == 0)
}

/// Ends a token: at once, with all that it made. What it leaves behind is cleared away later, piece by piece.
pub(crate) fn revoke(txn: &mut Txn, hash: TokenHash, now: Time) -> Result<()> {
    let Some(record) = find(txn, hash)? else { return Ok(()) };
    TOKENS.delete(txn, Name::Id(&hash.0))?;
    end(txn, hash, &record, now, false)
}

/// Ends a token; those that it made live on without a parent. Some are cut loose at once. For the others the token is
/// kept as one that has ended, for a child whose parent is gone would be dead.
pub(crate) fn revoke_and_orphan(txn: &mut Txn, hash: TokenHash, now: Time) -> Result<()> {
    let Some(record) = find(txn, hash)? else { return Ok(()) };
    if cut_loose(txn, hash)? || children_hidden(txn, hash)? {
        let ended = TokenRecord { namespace: record.namespace, ended: true, ..TokenRecord::default() };
        TOKENS.put(txn, record.namespace.mount(), Name::Id(&hash.0), &ended)?;
    } else {
        TOKENS.delete(txn, Name::Id(&hash.0))?;
    }
    end(txn, hash, &record, now, true)
}

/// Cuts loose a piece of those that a token made. True: there may be more.
fn cut_loose(txn: &mut Txn, hash: TokenHash) -> Result<bool> {
    let children = CHILDREN.below(txn, &hash.0, LOOSE_MAX)?;
    let mut size = 0;
    for (key, ()) in &children {
        let child = child_of(key)?;
        if let Some(record) = find(txn, child)? {
            let (owner, loose) = (record.namespace.mount(), TokenRecord { parent: None, ..record });
            size += serde_json::to_vec(&loose)?.len();
            TOKENS.put(txn, owner, Name::Id(&child.0), &loose)?;
        }
        CHILDREN.delete(txn, Name::Id(key))?;
        if size > LOOSE_SIZE_MAX {
            return Ok(true);
        }
    }
    Ok(children.len() == LOOSE_MAX)
}

/// Cuts loose a piece of those whose parent has been ended alone, and forgets it with the last. True: there is more.
pub(crate) fn bury_alone(txn: &mut Txn, hash: TokenHash) -> Result<bool> {
    // All may have been cut loose when it ended.
    if !at(txn, hash)?.is_some_and(|record| record.ended) {
        return Ok(false);
    }
    let more = cut_loose(txn, hash)?;
    if !more && !children_hidden(txn, hash)? {
        TOKENS.delete(txn, Name::Id(&hash.0))?;
    }
    Ok(more)
}

/// Takes all but the token itself off the lists, and has what it leaves behind cleared away.
fn end(txn: &mut Txn, hash: TokenHash, record: &TokenRecord, now: Time, childless: bool) -> Result<()> {
    ACCESSORS.of(record.namespace).delete(txn, Name::Id(record.accessor.as_bytes()))?;
    if let Some(parent) = record.parent {
        CHILDREN.delete(txn, Name::Id(&child_key(parent, hash)))?;
    }
    if let Some(expires) = record.expires {
        agenda::strike(txn, record.namespace.mount(), expires, hash.tag())?;
        leases::forget_token(txn, record.namespace, &record.path, hash)?;
        txn.count(quotas::label(record.namespace, &record.path, &record.login_role, What::Token), -1);
    } else {
        txn.count(quotas::label(record.namespace, "", "", What::Endless), -1);
    }
    let namespace = record.namespace;
    agenda::enter(txn, now, hash.tag(), &Item::Bury { hash, namespace, childless })
}

/// Clears away a piece of what a dead token left behind. True: there is more.
pub(crate) fn bury(txn: &mut Txn, hash: TokenHash, now: Time, piece: usize) -> Result<bool> {
    let children = CHILDREN.below(txn, &hash.0, piece)?;
    for (key, ()) in &children {
        let child = child_of(key)?;
        CHILDREN.delete(txn, Name::Id(key))?;
        revoke(txn, child, now)?;
    }
    Ok(children.len() == piece)
}

/// Whether a token made others in a namespace that is sealed. They are dead with it, and cleared away later.
pub(crate) fn children_hidden(source: &impl Source, hash: TokenHash) -> Result<bool> {
    CHILDREN.hides(source, &hash.0)
}

/// The rules of a bearer, for paths from the root namespace on.
pub(crate) fn compile(source: &impl Source, bearer: &Bearer, now: Time) -> Result<Acl> {
    if bearer.root {
        return Ok(Acl::root_below(&bearer.namespace.path));
    }
    let policies = parsed(source, bearer)?;
    let placed: Vec<_> = policies.iter().map(|policy| (&*bearer.namespace.path, policy)).collect();
    let subject = bearer.entity.as_ref().map(kit::Entity::subject).unwrap_or_default();
    Ok(Acl::compile(&placed, &subject, now.0))
}

/// The policies of a bearer, with the one that has no name.
fn parsed(source: &impl Source, bearer: &Bearer) -> Result<Vec<policy::Policy>> {
    let mut policies = policies::parsed(source, bearer.namespace.ns, &bearer.policies)?;
    if !bearer.inline.is_empty() {
        let inline = policy::Policy::parse("inline", &bearer.inline);
        policies.push(
            inline.map_err(|error| Error::internal(format!("an inline policy does not read: {error}")))?,
        );
    }
    Ok(policies)
}

/// When the first of the ancestors ends. A missing one has ended already.
fn ancestors_end(txn: &Txn, mut parent: Option<TokenHash>) -> Result<Option<Time>> {
    let mut ends = None;
    for _ in 0..=DEPTH_MAX {
        let Some(hash) = parent else { return Ok(ends) };
        let record = find(txn, hash)?.ok_or_else(Error::denied)?;
        ends = soonest(ends, record.expires);
        parent = record.parent;
    }
    Err(Error::denied())
}

/// How many ancestors a child of this token would have.
///
/// # Errors
/// If that is too many.
pub(crate) fn check_depth(source: &impl Source, mut parent: Option<TokenHash>) -> Result<()> {
    for _ in 0..DEPTH_MAX {
        let Some(hash) = parent else { return Ok(()) };
        parent = find(source, hash)?.and_then(|record| record.parent);
    }
    Err(Error::invalid(format!(
        "tokens may not make tokens more than {DEPTH_MAX} deep; create an orphan token instead"
    )))
}

fn soonest(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn child_key(parent: TokenHash, child: TokenHash) -> [u8; 64] {
    let mut key = [0; 64];
    key.iter_mut().zip(parent.0.iter().chain(&child.0)).for_each(|(to, from)| *to = *from);
    key
}

fn child_of(key: &[u8]) -> Result<TokenHash> {
    key.last_chunk::<32>()
        .map(|hash| TokenHash(*hash))
        .ok_or_else(|| Error::internal("a child key has a wrong length"))
}
