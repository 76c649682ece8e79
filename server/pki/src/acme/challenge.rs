//! Challenges: a client says that its proof is in place, and the server goes and looks, outside of any transaction.
//!
//! That it is to look is on the agenda in the same commit that says so to the client. So a crash loses no proof, and what
//! is found is decided in one transaction with the authorization and its order.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Ask, Awaited, Nothing, Reads, Recording, Reply, Route, World, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::account::count;
use super::authorization::{fail_order, found};
use super::caa;
use super::config::{self, AcmeConfig};
use super::limits::Limit;
use super::place::Directory;
use super::problem::{Document, Kind, Problem, Refused, Result};
use super::prove::{self, Proof};
use super::records::{
    ACCOUNTS, AUTHORIZATIONS, AccountRecord, AccountStatus, AuthorizationRecord, AuthorizationStatus,
    ChallengeKind, ChallengeRecord, ChallengeStatus, ORDERS, OrderStatus,
};
use super::shares::{self, Place, Shares};
use super::signed::{Asked, Said, public_key, signed_operation};
use crate::Pki;
use crate::store::{CLUSTER, Id};

/// How long the server waits before it looks again, and how often it does.
const WAITS: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];

signed_operation! {
    /// Says that a proof is in place, or asks what came of it.
    Challenge at "challenge/{auth_id}/{challenge_type}", by Account {
        /// The authorization's id.
        auth_id,
        /// The kind of proof: `http-01`, `dns-01` or `tls-alpn-01`.
        challenge_type,
    } |cx, asked| answer(cx, &asked, &auth_id, &challenge_type)
}

/// A challenge as clients see it.
#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Document>,
    status: ChallengeStatus,
    token: String,
    r#type: ChallengeKind,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    validated: Option<String>,
}

impl Shown {
    /// A challenge, with where it is.
    pub(super) fn of(directory: &Directory, authorization: Id, record: &ChallengeRecord) -> Self {
        Self {
            error: record.problem.as_ref().map(Problem::document),
            status: record.status,
            token: record.token.clone(),
            r#type: record.kind,
            url: directory.url(format_args!("challenge/{authorization}/{}", record.kind.text())),
            validated: record.validated.map(|time| time.truncated().rfc3339()),
        }
    }
}

fn answer(cx: &mut Writing<'_>, asked: &Asked<'_>, auth_id: &str, kind: &str) -> Result<Said> {
    let (id, mut record) = found(cx, asked, auth_id)?;
    let (pending, name) = (record.status_at(cx.now()) == AuthorizationStatus::Pending, record.name.text());
    let unknown =
        || Refused::new(Kind::Malformed, "the authorization has no such challenge").with_status(404);
    let at = record.challenges.iter().position(|one| one.kind.text() == kind).ok_or_else(unknown)?;
    let challenge = record.challenges.get_mut(at).ok_or_else(unknown)?;
    let begins = !asked.looks() && challenge.status == ChallengeStatus::Pending;
    if begins {
        let _: serde_json::Map<String, serde_json::Value> = asked.json()?;
        if !pending {
            return Err(Refused::new(Kind::Malformed, "the authorization is not pending any more"));
        }
        count(cx, Limit::Proofs, format!("{} {name}", asked.account()?.id).as_bytes())?;
        challenge.status = ChallengeStatus::Processing;
        let ask = Validate { attempt: 0, authorization: id.to_string(), kind: kind.to_owned() };
        cx.ask_later::<Pki, _>(Duration::ZERO, &ask)?;
    }
    let shown = Shown::of(asked.directory, id, challenge);
    let soon = challenge.asked_again(cx.now());
    if begins {
        AUTHORIZATIONS.put(cx, id.as_bytes(), &record)?;
    }
    let up = asked.directory.url(format_args!("authorization/{id}"));
    let said = Said::json(200, &shown)?.with("link", format!("<{up}>;rel=\"up\""));
    Ok(match soon {
        Some(seconds) => said.with("retry-after", seconds.to_string()),
        None => said,
    })
}

/// Looks whether a proof is in place.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(crate) struct Validate {
    /// How often it was looked at before.
    attempt: usize,
    /// The authorization's id.
    authorization: String,
    /// The kind of proof.
    kind: String,
}

/// What there is to be done for a proof.
pub(crate) enum Wanted {
    /// Nobody waits for it any more.
    Nothing,
    /// To wait until others of its account are done.
    APlace,
    /// To look for it.
    Proof(Box<Proof>, Place),
}

impl Ask<Pki> for Validate {
    const ROUTE: Route = Route::internal("acme-validate");
    type Facts = Wanted;
    type Heard = Result<(), Problem>;
    type Reply = Nothing;

    fn facts(&self, _: &Pki, cx: &Recording<'_>) -> kit::Result<Wanted> {
        let Some((_, record)) = self.waiting(cx)? else { return Ok(Wanted::Nothing) };
        let Some(challenge) = self.challenge(&record) else { return Ok(Wanted::Nothing) };
        let Some(account) = ACCOUNTS.get(cx, record.account.as_bytes())? else { return Ok(Wanted::Nothing) };
        let config = config::config(cx)?;
        if account.status != AccountStatus::Valid || !config.enabled {
            return Ok(Wanted::Nothing);
        }
        let shares = Shares::of(cx);
        let Some(place) = shares.of_account(record.account) else { return Ok(Wanted::APlace) };
        let key = public_key(&account.key).ok().and_then(|key| key.thumbprint()).unwrap_or_default();
        let proof = Proof {
            kind: challenge.kind,
            name: record.name.clone(),
            token: challenge.token.clone(),
            answer: format!("{}.{}", challenge.token, URL_SAFE_NO_PAD.encode(key)),
            resolver: config.dns_resolver.clone(),
            targets: config.targets()?,
            caa: asks(cx, &config, &account, record.account)?,
            shares,
        };
        Ok(Wanted::Proof(Box::new(proof), place))
    }

    fn awaits(facts: &Wanted) -> Awaited {
        match facts {
            Wanted::Proof(..) => Awaited::Systems,
            Wanted::Nothing | Wanted::APlace => Awaited::Nobody,
        }
    }

    async fn ask(&self, facts: &Wanted, world: &dyn World) -> kit::Result<Result<(), Problem>> {
        match facts {
            Wanted::Proof(proof, _place) => Ok(prove::look(proof, world).await),
            Wanted::APlace => Ok(Err(shares::taken())),
            Wanted::Nothing => {
                Ok(Err(Problem::new(Kind::Unauthorized, "nobody waits for this proof any more")))
            }
        }
    }

    fn run(self, _: &Pki, heard: &Result<(), Problem>, cx: &mut Writing<'_>) -> kit::Result<Reply<Nothing>> {
        let Some((id, mut record)) = self.waiting(cx)? else { return Ok(Reply::Nothing) };
        let now = cx.now();
        if let Err(problem) = heard
            && problem.kind == Kind::RateLimited
        {
            // That was no look, so it counts as none.
            let wait = Shares::of(cx).put_off(record.account, now);
            cx.ask_later::<Pki, _>(wait, &self)?;
            return Ok(Reply::Nothing);
        }
        let Some(challenge) = record.challenges.iter_mut().find(|one| one.kind.text() == self.kind) else {
            return Ok(Reply::Nothing);
        };
        match (heard, WAITS.get(self.attempt)) {
            (Ok(()), _) => {
                challenge.status = ChallengeStatus::Valid;
                challenge.validated = Some(now);
                challenge.problem = None;
                record.status = AuthorizationStatus::Valid;
                record.caa_at = (!config::config(cx)?.caa_identities.is_empty()).then_some(now);
            }
            // Proofs take a while to spread; meanwhile the client may read what is wrong.
            (Err(problem), Some(wait)) if !matches!(problem.kind, Kind::Caa | Kind::Unauthorized) => {
                challenge.problem = Some(problem.clone());
                challenge.looked_at = Some(now.plus(*wait));
                cx.ask_later::<Pki, _>(*wait, &Self { attempt: self.attempt + 1, ..self })?;
            }
            (Err(problem), _) => {
                challenge.status = ChallengeStatus::Invalid;
                challenge.problem = Some(problem.clone());
                record.status = AuthorizationStatus::Invalid;
            }
        }
        AUTHORIZATIONS.put(cx, id.as_bytes(), &record)?;
        let settled = match (record.status, heard) {
            (AuthorizationStatus::Valid, _) => proceed(cx, record.order),
            (AuthorizationStatus::Invalid, Err(problem)) => fail_order(cx, record.order, problem.clone()),
            _ => Ok(()),
        };
        settled.map_err(|refused| refused.into_error(Vec::new()))?;
        Ok(Reply::Nothing)
    }
}

/// As whom this authority asks the owners of names to be let, if it does.
pub(super) fn asks(
    cx: &impl Reads,
    config: &AcmeConfig,
    account: &AccountRecord,
    id: Id,
) -> kit::Result<Option<caa::Asks>> {
    if config.caa_identities.is_empty() {
        return Ok(None);
    }
    let base = CLUSTER.get(cx)?.path;
    let account = format!("{}/{}account/{id}", base.trim_end_matches('/'), account.directory);
    Ok(Some(caa::Asks { identities: config.caa_identities.clone(), account }))
}

impl Validate {
    /// The authorization, if its challenge is still to be looked at.
    fn waiting(&self, cx: &impl Reads) -> kit::Result<Option<(Id, AuthorizationRecord)>> {
        let Some(id) = Id::parse(&self.authorization) else { return Ok(None) };
        let record = AUTHORIZATIONS.get(cx, id.as_bytes())?;
        let waits = |record: &AuthorizationRecord| {
            let challenge = self.challenge(record);
            record.status_at(cx.now()) == AuthorizationStatus::Pending
                && challenge.is_some_and(|one| one.status == ChallengeStatus::Processing)
        };
        Ok(record.filter(waits).map(|record| (id, record)))
    }

    fn challenge<'a>(&self, record: &'a AuthorizationRecord) -> Option<&'a ChallengeRecord> {
        record.challenges.iter().find(|one| one.kind.text() == self.kind)
    }
}

/// Makes the order of an authorization ready, if it has one, and its names are all proved.
fn proceed(cx: &mut Writing<'_>, id: Option<Id>) -> Result<()> {
    let Some(id) = id else { return Ok(()) };
    let Some(mut order) = ORDERS.get(cx, id.as_bytes())? else { return Ok(()) };
    if order.status != OrderStatus::Pending {
        return Ok(());
    }
    for authorization in &order.authorizations {
        let record = AUTHORIZATIONS.get(cx, authorization.as_bytes())?;
        if record.is_none_or(|record| record.status_at(cx.now()) != AuthorizationStatus::Valid) {
            return Ok(());
        }
    }
    order.status = OrderStatus::Ready;
    ORDERS.put(cx, id.as_bytes(), &order)?;
    Ok(())
}
