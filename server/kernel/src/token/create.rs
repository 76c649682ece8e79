use std::sync::Arc;
use std::time::Duration;

use kit::loose::{Flag, NAME_SIZE_MAX, Name, Number, Pairs, Slice, Span, Text};
use kit::{Beyond, Command, Error, Nothing, Reads, Reply, Result, Route, Secret, Time, TokenKind, Writing};
use policy::builtin;
use schemars::JsonSchema;
use serde::Deserialize;
use storage::Txn;

use super::roles::{self, Role};
use super::{Token, stored};
use crate::envelope::Attached;
use crate::envelope::Auth;
use crate::identity::{self, Arrival};
use crate::kernel::Kernel;
use crate::namespaces::{Namespace, Ns};
use crate::raze::Razed;
use crate::tokens::{self, TokenHash, TokenRecord, Tokens};
use crate::ttl::{Bounds, whole};
use crate::{policies, quotas};

/// What a new token is to be.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Wish {
    /// An id of the caller's choice, which needs sudo.
    id: Option<Secret<String>>,
    /// Policies; those of the parent, if left out.
    policies: Option<Slice>,
    /// What the token carries and audit shows.
    meta: Option<Pairs>,
    /// The token has no parent, which needs sudo.
    no_parent: Option<Flag>,
    /// The token is not given `default`.
    no_default_policy: Option<Flag>,
    /// The token can be renewed.
    renewable: Option<Flag>,
    /// How long.
    ttl: Option<Text>,
    /// Deprecated: `ttl`.
    lease: Option<Text>,
    /// How long at most, whatever else changes.
    explicit_max_ttl: Option<Text>,
    /// How audit calls its owner.
    display_name: Option<Name>,
    /// How often it can be used; 0: any number of times.
    num_uses: Option<Number>,
    /// Renewals begin anew each time, for this long. Needs sudo.
    period: Option<Text>,
    /// `service` or `batch`.
    #[serde(rename = "type")]
    kind: Option<Text>,
    /// An alias of an entity, by a role that allows it.
    entity_alias: Option<Text>,
}

/// Makes a child of the token that asks.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Create {
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Token> for Create {
    const ROUTE: Route = Route::post("create");
    type Reply = Nothing;

    fn run(self, token: &Token, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        create(token, cx, self.wish, None, "auth/token/create".to_owned(), Parent::Caller)
    }
}

/// Makes a token without a parent.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct CreateOrphan {
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Token> for CreateOrphan {
    const ROUTE: Route = Route::post("create-orphan");
    type Reply = Nothing;

    fn run(self, token: &Token, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        create(token, cx, self.wish, None, "auth/token/create-orphan".to_owned(), Parent::None)
    }
}

/// Makes a token as a role says.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct CreateByRole {
    /// Name of the role.
    role_name: String,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Token> for CreateByRole {
    const ROUTE: Route = Route::post("create/{role_name:at}");
    type Reply = Nothing;

    fn run(self, token: &Token, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let role = roles::find(cx.peek(&Beyond::for_the_kernel()), Ns::of(cx), &self.role_name)?;
        let role = role.ok_or_else(|| Error::invalid(format!("unknown role {}", self.role_name)))?;
        let mut path = format!("auth/token/create/{}", role.name);
        if !role.path_suffix.is_empty() {
            path = format!("{path}/{}", role.path_suffix);
        }
        let parent = if role.orphan { Parent::None } else { Parent::Caller };
        create(token, cx, self.wish, Some(role), path, parent)
    }
}

/// Whose child a new token is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Parent {
    Caller,
    None,
}

/// The order of the checks is that of the API: clients see the first that fails.
fn create(
    token: &Token,
    cx: &mut Writing<'_>,
    wish: Wish,
    role: Option<Role>,
    path: String,
    parent: Parent,
) -> Result<Reply<Nothing>> {
    let kernel = token.kernel()?;
    let (hash, own) = caller(&kernel, cx)?;
    check_maker(cx, &own)?;
    // A role alone says whether its tokens outlive the token that asked.
    let no_parent = role.is_none() && wish.no_parent.unwrap_or_default().0;
    let orphan = parent == Parent::None || no_parent;
    if orphan && parent == Parent::Caller && !cx.sudo() {
        return Err(Error::invalid("root or sudo privileges required to create orphan token"));
    }
    if own.namespace != Ns::of(cx) && !cx.sudo() {
        return Err(Error::invalid(
            "root or sudo privileges required to directly generate a token in a child namespace",
        ));
    }
    if role.is_none() && wish.entity_alias.as_ref().is_some_and(|alias| !alias.0.is_empty()) {
        return Err(Error::invalid("'entity_alias' is only allowed in combination with token role"));
    }
    let batch = wish.is_batch(role.as_ref())?;
    let uses = wish.uses(role.as_ref())?;
    let chosen = wish.chosen(cx)?;
    let policies = wish.policies(cx, &own, role.as_ref())?;
    refuse_root_abroad(cx, &policies)?;
    if batch && policies.iter().any(|policy| policy == "root") {
        return Err(Error::invalid("batch tokens cannot be root tokens"));
    }
    let now = cx.now();
    let whom = wish.whom(&kernel, cx, &own, role.as_ref(), orphan)?;
    let parent = if orphan { None } else { Some(hash) };
    tokens::check_depth(cx.peek(&Beyond::for_the_kernel()), parent)?;
    let record = TokenRecord {
        policies,
        path,
        meta: wish.meta.as_ref().map(|meta| meta.0.clone()),
        display_name: wish.display_name(),
        parent,
        created: now,
        // Nobody counts the uses of what is stored nowhere: the number of a role is for its other tokens.
        uses_left: (uses > 0 && !batch).then_some(uses),
        entity_id: whom.entity_id,
        identity: whom.identity,
        bound_cidrs: match &role {
            Some(role) if !role.bound_cidrs.is_empty() => role.bound_cidrs.clone(),
            _ if orphan => Vec::new(),
            // A role that binds nothing does not set a bound token's child free.
            _ => own.bound_cidrs.clone(),
        },
        role: role.as_ref().map(|role| role.name.clone()).unwrap_or_default(),
        renewable: wish.renewable.is_none_or(|flag| flag.0)
            && role.as_ref().is_none_or(|role| role.renewable),
        batch,
        no_default_policy: wish.no_default_policy.unwrap_or_default().0,
        ..TokenRecord::default()
    };
    let record = wish.lives(cx, record, &own, role.as_ref())?;
    if record.expires.is_some() && !quotas::is_root(&own) {
        take_place(&kernel, cx, &record)?;
    }
    finish(&kernel, cx, record, chosen)
}

/// Refuses those that make no tokens, whatever they may do else.
fn check_maker(cx: &Writing<'_>, own: &TokenRecord) -> Result<()> {
    if cx.caller().kind == TokenKind::Batch {
        return Err(Error::invalid("batch tokens cannot create more tokens"));
    }
    match own.uses_left {
        Some(_) => Err(Error::invalid("restricted use token cannot generate child tokens")),
        None => Ok(()),
    }
}

/// Takes the place of a lease that a token that ends counts as.
fn take_place(kernel: &Arc<Kernel>, cx: &mut Writing<'_>, record: &TokenRecord) -> Result<()> {
    let today = cx.peek(&Beyond::for_the_kernel()).snapshot().clone();
    let path = format!("{}{}", cx.mount().namespace, record.path);
    cx.once(|| Ok(kernel.place_for_lease(&today, &path, None)?.map(Arc::new)))?;
    Ok(())
}

/// No namespace but the root has tokens that may do everything.
fn refuse_root_abroad(cx: &Writing<'_>, policies: &[String]) -> Result<()> {
    if !Ns::of(cx).is_root() && policies.iter().any(|policy| policy == builtin::ROOT) {
        return Err(Error::invalid("root tokens may not be created from a parent namespace"));
    }
    Ok(())
}

/// Whom a token stands for; by default nobody.
#[derive(Default)]
struct Whom {
    entity_id: String,
    identity: Option<String>,
}

/// The caller's own record.
fn caller(kernel: &Kernel, cx: &Writing<'_>) -> Result<(TokenHash, TokenRecord)> {
    let beyond = Beyond::for_the_kernel();
    let id = cx.remote().token.token(&beyond).ok_or_else(Error::denied)?;
    stored(kernel, cx.peek(&beyond), id.expose())?.ok_or_else(Error::denied)
}

fn finish(
    kernel: &Kernel,
    cx: &mut Writing<'_>,
    record: TokenRecord,
    chosen: Option<String>,
) -> Result<Reply<Nothing>> {
    let beyond = Beyond::for_the_kernel();
    let router = kernel.router(cx.peek(&beyond).snapshot())?;
    let namespace = &router.value().here(cx)?.namespace;
    for policy in &record.policies {
        if policies::find(cx.peek(&beyond), namespace.ns, policy)?.is_none() {
            cx.warn(format!("Policy {policy:?} does not exist"));
        }
    }
    let random = cx.randomness();
    let made = if record.batch {
        Tokens::make_batch(&kernel.store, namespace, record)?
    } else {
        let txn = cx.beyond(&beyond);
        if let Some(id) = &chosen {
            let hash = kernel.tokens.free(txn, id)?;
            clear_last_of_id(kernel, txn, hash, namespace)?;
        }
        kernel.tokens.make(txn, random, namespace, chosen, record)?
    };
    let auth = Auth::of(&made).with_identity(identity::shown_policies(cx.peek(&beyond), &made.record)?);
    cx.notes().attach(&beyond, Box::new(Attached::Auth(auth, made.hash)));
    Ok(Reply::Nothing)
}

/// Has what an ended token of the same chosen id left behind cleared away first: nobody inherits it.
///
/// # Errors
/// If more is left than can be cleared away at once.
fn clear_last_of_id(kernel: &Kernel, txn: &mut Txn, hash: TokenHash, namespace: &Namespace) -> Result<()> {
    match kernel.bury(txn, hash, namespace.ns, false)? {
        Razed::Wholly => Ok(()),
        Razed::InPart | Razed::Waiting => Err(Error::invalid(
            "what the last token of this ID left behind is still being cleared away; try again, or choose another ID",
        )),
    }
}

impl Wish {
    /// Whether a batch token is wished for, and may be.
    fn is_batch(&self, role: Option<&Role>) -> Result<bool> {
        let asked = self.kind.as_ref().map_or("", |kind| kind.0.as_str());
        let kind = match (role.map(|role| role.token_type.as_str()), asked) {
            (Some("service"), _) => "service",
            (Some("batch"), _) => "batch",
            (Some("default-batch"), "") => "batch",
            (_, "") => "service",
            (_, asked) => asked,
        };
        let batch = match kind {
            "batch" => true,
            "service" => false,
            _ => return Err(Error::invalid("invalid 'token_type' value")),
        };
        if batch {
            // `0s`, which the command line sends where nothing was said, says nothing.
            let nothing = |text: &str| text.is_empty() || Span::parse(text).is_some_and(|span| span.0 == 0);
            let set = |text: &Option<Text>| text.as_ref().is_some_and(|text| !nothing(&text.0));
            for (name, is_set) in [
                ("explicit_max_ttl", set(&self.explicit_max_ttl)),
                ("num_uses", self.num_uses.is_some_and(|uses| uses.0 != 0)),
                ("period", set(&self.period)),
            ] {
                if is_set {
                    return Err(Error::invalid(format!("batch tokens cannot have {name:?} set")));
                }
            }
        }
        Ok(batch)
    }

    fn uses(&self, role: Option<&Role>) -> Result<u64> {
        let negative = |_| Error::invalid("number of uses cannot be negative");
        let own = u64::try_from(self.num_uses.unwrap_or_default().0).map_err(negative)?;
        Ok(lower(own, role.map_or(0, |role| role.num_uses)))
    }

    /// The id that the caller has chosen, if they may.
    fn chosen(&self, cx: &Writing<'_>) -> Result<Option<String>> {
        let Some(id) = self.id.as_ref().map(Secret::expose).filter(|id| !id.is_empty()) else {
            return Ok(None);
        };
        if !cx.sudo() {
            return Err(Error::invalid("root or sudo privileges required to specify token id"));
        }
        if !Ns::of(cx).is_root() {
            return Err(Error::invalid("token IDs can only be manually specified in the root namespace"));
        }
        if id.starts_with("s.") || id.starts_with("b.") {
            return Err(Error::invalid("custom token ID cannot have the 's.' prefix"));
        }
        if id.contains('.') {
            return Err(Error::invalid("custom token ID cannot have a '.' in the value"));
        }
        if id.len() > NAME_SIZE_MAX {
            return Err(Error::invalid(format!(
                "id is longer than {NAME_SIZE_MAX} bytes; choose a shorter one"
            )));
        }
        if !id.bytes().all(|byte| (b' '..=b'~').contains(&byte)) || id.trim_matches(' ') != id {
            return Err(Error::invalid(
                "id: a token travels in a header, so its id is printable ASCII without spaces at its ends",
            ));
        }
        cx.warn("Supplying a custom ID for the token uses the weaker SHA1 hashing instead of the more secure SHA2-256 HMAC for token obfuscation. SHA1 hashed tokens on the wire leads to less secure lookups.");
        Ok(Some(id.clone()))
    }

    /// Whom the new token stands for: whom its parent does, or whom the role lets be named.
    fn whom(
        &self,
        kernel: &Kernel,
        cx: &mut Writing<'_>,
        own: &TokenRecord,
        role: Option<&Role>,
        orphan: bool,
    ) -> Result<Whom> {
        let named = self.entity_alias.as_ref().map_or("", |alias| alias.0.as_str());
        let Some(role) = role.filter(|_| !named.is_empty()) else {
            // An entity is known in its own namespace, and its policies mean something there alone.
            return Ok(match orphan || own.namespace != Ns::of(cx) {
                true => Whom::default(),
                false => Whom { entity_id: own.entity_id.clone(), identity: own.identity.clone() },
            });
        };
        let folded = named.to_lowercase();
        let allowed = role.allowed_entity_aliases.as_deref().unwrap_or_default();
        if !allowed.iter().any(|pattern| matches(&pattern.to_lowercase(), &folded)) {
            return Err(Error::invalid("invalid 'entity_alias' value"));
        }
        let beyond = Beyond::for_the_kernel();
        let router = kernel.router(cx.peek(&beyond).snapshot())?;
        let mounted = router.value().by_id(&cx.mount().id);
        let book = mounted.and_then(|mounted| identity::book(router.value(), mounted));
        let book = book.ok_or_else(|| Error::internal("there is no identity mount"))?;
        let (now, random, accessor) = (cx.now(), cx.randomness(), cx.mount().accessor.clone());
        let metadata = std::collections::BTreeMap::new();
        let arrival = Arrival { accessor: &accessor, name: named, metadata: &metadata, random, now };
        let known = book.arrive(cx.beyond(&beyond), &arrival).map_err(|error| match error.fault() {
            kit::Fault::Denied => Error::invalid("entity from given entity alias is disabled"),
            _ => error,
        })?;
        Ok(Whom { entity_id: known.entity.id, identity: Some(book.uuid()) })
    }

    fn display_name(&self) -> String {
        let Some(name) =
            self.display_name.as_ref().map(|name| name.0.as_str()).filter(|name| !name.is_empty())
        else {
            return "token".to_owned();
        };
        let mut shown = String::from("token-");
        for char in name.chars() {
            match char {
                'a'..='z' | 'A'..='Z' | '0'..='9' => shown.push(char),
                _ if shown.ends_with('-') => {}
                _ => shown.push('-'),
            }
        }
        shown.trim_end_matches('-').to_owned()
    }

    /// The policies of the new token. None may be had that the caller could not give.
    fn policies(&self, cx: &Writing<'_>, own: &TokenRecord, role: Option<&Role>) -> Result<Vec<String>> {
        // A list of nothing but empty names is a list: it must not stand for all that the parent may do.
        let named = self.policies.as_ref().map(|policies| &policies.0).filter(|names| !names.is_empty());
        if named
            .is_some_and(|names| !names.iter().flat_map(|name| name.trim().chars()).all(policy::is_printable))
        {
            return Err(Error::invalid(
                "policies: a name holds a character that nobody can see; leave it out",
            ));
        }
        let asked = named.map(|names| TokenRecord::sanitised(names, false));
        let no_default = self.no_default_policy.unwrap_or_default().0;
        let restricting = role.filter(|role| {
            let lists = [
                &role.allowed_policies,
                &role.allowed_policies_glob,
                &role.disallowed_policies,
                &role.disallowed_policies_glob,
            ];
            lists.iter().any(|list| !list.is_empty())
        });
        let policies = match (restricting, asked) {
            (Some(role), asked) => by_role(role, asked, own, no_default)?,
            // Names of policies mean something else in another namespace.
            (None, None) if own.namespace != Ns::of(cx) => TokenRecord::sanitised(&[], !no_default),
            (None, None) => own.policies.clone(),
            (None, Some(asked)) if cx.sudo() => TokenRecord::sanitised(&asked, !no_default),
            (None, Some(asked)) => {
                let has = |policy: &String| own.policies.contains(policy);
                if !own.policies.iter().any(|policy| policy == "root") && !asked.iter().all(has) {
                    return Err(Error::invalid("child policies must be subset of parent"));
                }
                let default = own.policies.iter().any(|policy| policy == "default");
                TokenRecord::sanitised(&asked, default && !no_default)
            }
        };
        let no_default = no_default || role.is_some_and(|role| role.no_default_policy);
        let policies: Vec<String> =
            policies.into_iter().filter(|policy| !(no_default && policy == "default")).collect();
        if Ns::of(cx).is_root()
            && policies.iter().any(|policy| policy == "root")
            && !own.policies.iter().any(|policy| policy == "root")
        {
            return Err(Error::invalid("root tokens may not be created without parent token being root"));
        }
        tokens::check_assignable(&policies)?;
        // What says all needs nothing beside it.
        Ok(match policies.iter().any(|policy| policy == builtin::ROOT) {
            true => vec![builtin::ROOT.to_owned()],
            false => policies,
        })
    }

    /// How long the new token lives.
    fn lives(
        &self,
        cx: &Writing<'_>,
        record: TokenRecord,
        own: &TokenRecord,
        role: Option<&Role>,
    ) -> Result<TokenRecord> {
        let ttl = match self.ttl.as_ref().filter(|ttl| !ttl.0.is_empty()) {
            Some(ttl) => span(Some(ttl), "ttl must be positive")?,
            None => span(self.lease.as_ref(), "lease must be positive")?,
        };
        let explicit = span(self.explicit_max_ttl.as_ref(), "explicit_max_ttl must be positive")?;
        let period = span(self.period.as_ref(), "period must be positive")?;
        if !period.is_zero() && !cx.sudo() {
            return Err(Error::invalid("root or sudo privileges required to create periodic token"));
        }
        // What the role says is not kept here: it is asked again at each renewal.
        let record = TokenRecord {
            period_seconds: period.as_secs(),
            explicit_max_ttl_seconds: explicit.as_secs(),
            ..record
        };
        let (explicit, period) = match role {
            Some(role) => (
                bounded(cx, "Explicit max TTL", explicit, role.explicit_max_ttl_seconds),
                bounded(cx, "Period", period, role.period_seconds),
            ),
            None => (explicit, period),
        };
        let root = record.policies.iter().any(|policy| policy == "root");
        if root && ttl.is_zero() && period.is_zero() && explicit.is_zero() {
            if own.expires.is_some() {
                return Err(Error::invalid("expiring root tokens cannot create non-expiring root tokens"));
            }
            return Ok(TokenRecord { renewable: false, ..record });
        }
        if root && ttl.is_zero() && period.is_zero() {
            // Nothing bounds a root token but what it was given itself.
            let expires = Some(cx.now().plus(explicit));
            return Ok(TokenRecord { ttl_seconds: explicit.as_secs(), expires, ..record });
        }
        let mount = cx.mount();
        let bounds = Bounds {
            increment: ttl,
            period,
            explicit_max_ttl: explicit,
            mount_ttl: mount.default_ttl,
            mount_max_ttl: mount.max_ttl,
            ..Bounds::default()
        };
        let now: Time = cx.now();
        let granted = bounds.grant(now, now)?;
        granted.warnings.into_iter().for_each(|warning| cx.warn(warning));
        let expires = Some(now.plus(granted.ttl));
        Ok(TokenRecord { ttl_seconds: granted.ttl.as_secs(), expires, ..record })
    }
}

/// The policies of a token that a role with lists makes.
fn by_role(
    role: &Role,
    asked: Option<Vec<String>>,
    own: &TokenRecord,
    no_default: bool,
) -> Result<Vec<String>> {
    let allows = !role.allowed_policies.is_empty() || !role.allowed_policies_glob.is_empty();
    let glob = |globs: &[String], policy: &str| globs.iter().any(|pattern| matches(pattern, policy));
    let forbids = |policy: &str| {
        role.disallowed_policies.iter().any(|other| other == policy)
            || glob(&role.disallowed_policies_glob, policy)
    };
    let adds_default = !no_default && !role.no_default_policy && !forbids("default");
    let asked = TokenRecord::sanitised(asked.as_deref().unwrap_or_default(), adds_default && asked.is_some());
    let allowed = TokenRecord::sanitised(&role.allowed_policies, adds_default);
    let policies = match (asked.is_empty(), allows) {
        (true, true) => allowed,
        // Only a role that says nothing of what is allowed leaves that to the parent.
        (true, false) => TokenRecord::sanitised(&own.policies, adds_default),
        (false, true) => {
            let fits = |policy| allowed.contains(policy) || glob(&role.allowed_policies_glob, policy);
            if !asked.iter().all(fits) {
                return Err(Error::invalid(format!(
                    "token policies ({}) must be subset of the role's allowed policies ({}) or glob policies ({})",
                    go_list(asked.iter()),
                    go_list(allowed.iter()),
                    go_list(role.allowed_policies_glob.iter())
                )));
            }
            asked
        }
        (false, false) => asked,
    };
    match policies.iter().find(|policy| forbids(policy)) {
        Some(policy) => Err(Error::invalid(format!("token policy {policy:?} is disallowed by this role"))),
        None => Ok(policies),
    }
}

/// A list as Go prints it with `%q`.
fn go_list<'a>(items: impl Iterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = items.map(|item| format!("{item:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// A star at either end stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(rest), Some(_)) => text.contains(rest.trim_end_matches('*')),
        (Some(suffix), None) => text.ends_with(suffix),
        (None, Some(prefix)) => text.starts_with(prefix),
        (None, None) => pattern == text,
    }
}

fn span(text: Option<&Text>, negative: &str) -> Result<Duration> {
    let Some(Text(text)) = text else { return Ok(Duration::ZERO) };
    let span = Span::read(text).map_err(Error::invalid)?;
    if span.0 < 0 {
        return Err(Error::invalid(negative));
    }
    Ok(whole(span.duration()))
}

/// The lower of what was asked and what the role says; a role that says nothing bounds nothing.
fn bounded(cx: &Writing<'_>, name: &str, asked: Duration, role_seconds: u64) -> Duration {
    let role = Duration::from_secs(role_seconds);
    if asked.is_zero() || role.is_zero() {
        return asked.max(role);
    }
    let lesser = asked.min(role).as_secs();
    cx.warn(format!(
        "{name} specified both during creation call and in role; using the lesser value of {lesser} seconds"
    ));
    asked.min(role)
}

/// The lower of two limits, of which zero is none.
pub(super) fn lower(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, other) => other,
        (one, 0) => one,
        (one, other) => one.min(other),
    }
}
