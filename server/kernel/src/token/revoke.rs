use kit::loose::Text;
use kit::{Beyond, Command, Error, Nothing, Reads, Reply, Result, Route, Secret, TokenKind, Writing};
use policy::Capability;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Deed, Token, named, own_hash};
use crate::kernel::Kernel;
use crate::tokens::{self, TokenHash, TokenRecord};

/// Ends the token that asks, with all that it made.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct RevokeOwn {
    /// Of no account; older clients send it.
    #[serde(rename = "token")]
    _token: Option<Secret<String>>,
}

impl Command<Token> for RevokeOwn {
    const ROUTE: Route = Route::post("revoke-self");
    type Reply = Nothing;

    fn run(self, _: &Token, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if cx.caller().kind == TokenKind::Batch {
            return Err(Error::invalid("batch tokens cannot be revoked"));
        }
        let (hash, now) = (own_hash(cx)?, cx.now());
        tokens::revoke(cx.beyond(&Beyond::for_the_kernel()), hash, now)?;
        Ok(Reply::Nothing)
    }
}

/// Ends a token, with all that it made.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct RevokeOther {
    /// The token.
    token: Option<Secret<String>>,
}

impl Command<Token> for RevokeOther {
    const ROUTE: Route = Route::post("revoke");
    type Reply = Nothing;

    fn run(self, token: &Token, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let id = asked(self.token)?;
        let deed = Deed { path: "auth/token/revoke", capability: Capability::Update, needs_sudo: false };
        let (kernel, now) = (token.kernel()?, cx.now());
        let found = meant(&kernel, cx, &id, &deed)?;
        let hash = found.map_or_else(|| kernel.tokens.hash(id.expose()), |(hash, _)| hash);
        tokens::revoke(cx.beyond(&Beyond::for_the_kernel()), hash, now)?;
        Ok(Reply::Nothing)
    }
}

/// Ends the token that an accessor stands for, with all that it made.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct RevokeByAccessor {
    /// The accessor.
    accessor: Option<Text>,
}

impl Command<Token> for RevokeByAccessor {
    const ROUTE: Route = Route::post("revoke-accessor");
    type Reply = Nothing;

    fn run(self, token: &Token, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let accessor = self.accessor.unwrap_or_default().0;
        if accessor.is_empty() {
            return Err(Error::invalid("missing accessor").wrapped());
        }
        let (now, beyond) = (cx.now(), Beyond::for_the_kernel());
        let router = token.kernel()?.router(cx.peek(&beyond).snapshot())?;
        let here = std::sync::Arc::clone(&router.value().here(cx)?.namespace);
        let txn = cx.beyond(&beyond);
        match tokens::find_accessor(txn, &here, &accessor)? {
            Some((hash, _)) => tokens::revoke(txn, hash, now)?,
            None => cx.warn("No token found with this accessor"),
        }
        Ok(Reply::Nothing)
    }
}

/// Ends a token; those that it made live on without a parent.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct RevokeOrphan {
    /// The token.
    token: Option<Secret<String>>,
}

impl Command<Token> for RevokeOrphan {
    const ROUTE: Route = Route::post("revoke-orphan");
    type Reply = Nothing;

    fn run(self, token: &Token, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let id = asked(self.token)?;
        if !cx.sudo() {
            return Err(Error::invalid("root or sudo privileges required to revoke and orphan"));
        }
        let deed =
            Deed { path: "auth/token/revoke-orphan", capability: Capability::Update, needs_sudo: true };
        let (kernel, now) = (token.kernel()?, cx.now());
        let found = meant(&kernel, cx, &id, &deed)?;
        let (hash, _) = found.ok_or_else(|| Error::invalid("token to revoke not found"))?;
        tokens::revoke_and_orphan(cx.beyond(&Beyond::for_the_kernel()), hash, now)?;
        Ok(Reply::Nothing)
    }
}

/// The token that is to end. A batch token is stored nowhere.
fn meant(
    kernel: &Kernel,
    cx: &Writing<'_>,
    id: &Secret<String>,
    deed: &Deed,
) -> Result<Option<(TokenHash, TokenRecord)>> {
    let txn = cx.peek(&Beyond::for_the_kernel());
    let found = named(kernel, cx, txn, txn.snapshot(), id.expose(), deed)?;
    match id.expose().starts_with("b.") {
        true => Err(Error::invalid("batch tokens cannot be revoked")),
        false => Ok(found),
    }
}

fn asked(token: Option<Secret<String>>) -> Result<Secret<String>> {
    token.filter(|token| !token.expose().is_empty()).ok_or_else(|| Error::invalid("missing token ID"))
}

/// Looks for indexes that point nowhere. There are none by construction: a token, its accessor and its date are
/// written and deleted in one transaction. The path is there for clients that call it.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Tidy {}

impl Command<Token> for Tidy {
    const ROUTE: Route = Route::post("tidy");
    type Reply = Option<()>;

    fn run(self, _: &Token, cx: &mut Writing<'_>) -> Result<Reply<Option<()>>> {
        cx.warn("Tidy operation successfully started. Any information from the operation will be printed to OpenBao's server logs.");
        Ok(Reply::Accepted(None))
    }
}
