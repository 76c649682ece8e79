//! What must be proved for a name: when it is ordered, or before anything is (RFC 8555 §7.4.1). What was proved beforehand
//! counts for each order of the account while it is good.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Command, Nothing, Reads, Reply, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::account::{count, count_names};
use super::authorization::shown;
use super::identifier::{Identifier, Name};
use super::limits::Limit;
use super::new_order::{caller, judge_all};
use super::problem::{Kind, Refused, Result};
use super::records::{
    AUTHORIZATIONS, AuthorizationRecord, AuthorizationStatus, BEFOREHAND, Binding, ChallengeKind,
    ChallengeRecord, ChallengeStatus,
};
use super::signed::{Asked, Owner, Said, signed_operation};
use crate::Pki;
use crate::store::Id;

/// How long a proof that was given beforehand counts.
const TIME: Duration = Duration::from_secs(7 * 86_400);

signed_operation! {
    /// Asks what must be proved for a name, before anything is ordered.
    NewAuthz at "new-authz", by Account {} |cx, asked| begin(cx, &asked)
}

#[derive(Deserialize)]
struct Wanted {
    identifier: Identifier,
}

fn begin(cx: &mut Writing<'_>, asked: &Asked<'_>) -> Result<Said> {
    let (directory, owner) = (asked.directory, asked.account()?);
    directory.check_signs()?;
    let wanted: Wanted = asked.json()?;
    let name = wanted.identifier.read()?;
    if matches!(name, Name::Wildcard(_)) {
        return Err(Refused::new(Kind::Malformed, "a wildcard is proved when it is ordered"));
    }
    let holder = caller(cx, owner)?;
    judge_all(cx, directory, &directory.rules()?, &holder, std::slice::from_ref(&name))?;
    let (id, status) = match found(cx, owner, &name)? {
        Some((id, _)) => (id, 200),
        None => {
            count(cx, Limit::Orders, owner.id.as_bytes())?;
            count_names(cx, owner, 1)?;
            let (id, _) = new_authorization(cx, owner, None, &name, cx.now().plus(TIME))?;
            BEFOREHAND.put(cx, &place(owner.id, &name), &id)?;
            cx.later::<Pki, _>(TIME, &ForgetAuthorization { authorization: id.to_string() })?;
            (id, 201)
        }
    };
    let location = directory.url(format_args!("authorization/{id}"));
    let record = AUTHORIZATIONS.get(cx, id.as_bytes())?;
    let record = record.ok_or_else(|| kit::Error::internal("an authorization that was just made is gone"))?;
    Ok(Said::json(status, &shown(cx, directory, id, &record))?.with("location", location))
}

/// The authorization by which an account has proved a name beforehand, if that still counts.
pub(super) fn proved_beforehand(cx: &impl Reads, owner: &Owner, name: &Name) -> Result<Option<Id>> {
    let proved = |status| status == AuthorizationStatus::Valid;
    Ok(found(cx, owner, name)?.filter(|(_, status)| proved(*status)).map(|(id, _)| id))
}

/// What there is of a name beforehand that is not over.
fn found(cx: &impl Reads, owner: &Owner, name: &Name) -> Result<Option<(Id, AuthorizationStatus)>> {
    let Some(id) = BEFOREHAND.get(cx, &place(owner.id, name))? else { return Ok(None) };
    let Some(record) = AUTHORIZATIONS.get(cx, id.as_bytes())? else { return Ok(None) };
    let status = record.status_at(cx.now());
    let open = matches!(status, AuthorizationStatus::Pending | AuthorizationStatus::Valid);
    Ok((open && record.account == owner.id && record.name == *name).then_some((id, status)))
}

fn place(account: Id, name: &Name) -> Vec<u8> {
    let name = digest::digest(&digest::SHA256, name.text().as_bytes());
    [account.as_bytes(), name.as_ref()].concat()
}

/// Writes down what must be proved for a name: nothing, if the account was given it.
pub(super) fn new_authorization(
    cx: &mut Writing<'_>,
    owner: &Owner,
    order: Option<Id>,
    name: &Name,
    expires: Time,
) -> Result<(Id, AuthorizationStatus)> {
    let given = |bound: &Binding| name.is_among(&bound.names);
    let given = owner.record.bound.as_ref().is_some_and(given);
    let kinds: &[ChallengeKind] = match name {
        _ if given => &[],
        Name::Host(_) => &[ChallengeKind::Http, ChallengeKind::Dns, ChallengeKind::TlsAlpn],
        Name::Wildcard(_) => &[ChallengeKind::Dns],
        Name::Address(_) => &[ChallengeKind::Http, ChallengeKind::TlsAlpn],
    };
    let challenge = |kind: &ChallengeKind| ChallengeRecord {
        kind: *kind,
        token: URL_SAFE_NO_PAD.encode(cx.random::<32>()),
        status: ChallengeStatus::Pending,
        validated: None,
        problem: None,
        looked_at: None,
    };
    let status = if given { AuthorizationStatus::Valid } else { AuthorizationStatus::Pending };
    let challenges = kinds.iter().map(challenge).collect();
    let record = AuthorizationRecord {
        account: owner.id,
        order,
        name: name.clone(),
        status,
        expires,
        caa_at: None,
        challenges,
    };
    let id = Id::new(cx);
    AUTHORIZATIONS.put(cx, id.as_bytes(), &record)?;
    Ok((id, status))
}

/// Clears an authorization away that hangs on no order, when it is over.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(crate) struct ForgetAuthorization {
    /// The authorization's id.
    authorization: String,
}

impl Command<Pki> for ForgetAuthorization {
    const ROUTE: Route = Route::internal("acme-forget-authorization").small();
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> kit::Result<Reply<Nothing>> {
        let Some(id) = Id::parse(&self.authorization) else { return Ok(Reply::Nothing) };
        let Some(record) = AUTHORIZATIONS.get(cx, id.as_bytes())? else { return Ok(Reply::Nothing) };
        let place = place(record.account, &record.name);
        // A newer one may stand there.
        if BEFOREHAND.get(cx, &place)? == Some(id) {
            BEFOREHAND.delete(cx, &place)?;
        }
        AUTHORIZATIONS.delete(cx, id.as_bytes())?;
        Ok(Reply::Nothing)
    }
}
