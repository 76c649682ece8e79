//! What clears away secret ids that are over, in pieces, so that nothing waits long.

use std::ops::ControlFlow;
use std::time::Duration;

use kit::{Command, Nothing, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secret_id::{SecretId, each, forget};
use super::{ACCESSORS, AppRole, Place, RoleKey, SECRET_IDS};

/// How many records one piece looks at.
const PIECE: usize = 256;

/// Clears away secret ids that are over. That happens by itself too.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Tidy {}

impl Command<AppRole> for Tidy {
    const ROUTE: Route = Route::post("tidy/secret-id");
    type Reply = ();

    fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<()>> {
        cx.later(Duration::ZERO, &Sweep { from: Vec::new(), table: Swept::SecretIds })?;
        cx.warn(
            "Tidy operation successfully started. Any information from the operation will be printed to OpenBao's \
             server logs.",
        );
        Ok(Reply::Accepted(()))
    }
}

/// What a sweep goes through.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(super) enum Swept {
    /// Secret ids that are over.
    SecretIds,
    /// Accessors whose secret id is gone.
    Accessors,
}

/// Clears away one piece of what is over, and goes on behind it.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(super) struct Sweep {
    /// Where to go on.
    from: Vec<u8>,
    /// In which table.
    table: Swept,
}

impl Command<AppRole> for Sweep {
    const ROUTE: Route = Route::internal("sweep");
    type Reply = Nothing;

    fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let next = match self.table {
            Swept::SecretIds => {
                secret_ids(cx, &self.from)?.map(|from| Self { from, table: Swept::SecretIds })
            }
            Swept::Accessors => accessors(cx, &self.from)?.map(|from| Self { from, table: Swept::Accessors }),
        };
        let next = next.or(match self.table {
            Swept::SecretIds => Some(Self { from: Vec::new(), table: Swept::Accessors }),
            Swept::Accessors => None,
        });
        next.map_or(Ok(()), |next| cx.later(Duration::ZERO, &next))?;
        Ok(Reply::Nothing)
    }
}

/// The key right behind `id`, where a sweep goes on.
fn behind(id: &[u8]) -> Vec<u8> {
    [id, &[0]].concat()
}

fn secret_ids(cx: &mut Writing<'_>, from: &[u8]) -> Result<Option<Vec<u8>>> {
    let now = cx.now();
    let (mut over, mut seen, mut next) = (Vec::new(), 0, None);
    SECRET_IDS.scan(cx, from, |id, secret: SecretId| {
        if secret.is_over(now) {
            over.extend(Place::parse(id).map(|place| (place, secret.accessor)));
        }
        seen += 1;
        if seen < PIECE {
            return Ok(ControlFlow::Continue(()));
        }
        next = Some(behind(id));
        Ok(ControlFlow::Break(()))
    })?;
    over.iter().try_for_each(|(place, accessor)| forget(cx, *place, accessor))?;
    Ok(next)
}

fn accessors(cx: &mut Writing<'_>, from: &[u8]) -> Result<Option<Vec<u8>>> {
    let (mut piece, mut next) = (Vec::new(), None);
    ACCESSORS.scan(cx, from, |id, place: Place| {
        piece.push((id.to_vec(), place));
        if piece.len() < PIECE {
            return Ok(ControlFlow::Continue(()));
        }
        next = Some(behind(id));
        Ok(ControlFlow::Break(()))
    })?;
    for (id, place) in piece {
        if SECRET_IDS.get(cx, &place.bytes())?.is_none() {
            ACCESSORS.delete(cx, &id)?;
        }
    }
    Ok(next)
}

/// Clears away one secret id once it is over.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(super) struct Expire {
    /// Where it lies.
    #[schemars(skip)]
    pub(super) place: Place,
}

impl Command<AppRole> for Expire {
    const ROUTE: Route = Route::internal("expire-secret-id").small();
    type Reply = Nothing;

    fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        // It may be gone, or be another by now.
        if let Some(secret) =
            SECRET_IDS.get(cx, &self.place.bytes())?.filter(|secret| secret.is_over(cx.now()))
        {
            forget(cx, self.place, &secret.accessor)?;
        }
        Ok(Reply::Nothing)
    }
}

/// Clears away the secret ids of a role that is gone.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(super) struct Purge {
    /// The key of the role.
    pub(super) role: RoleKey,
}

impl Command<AppRole> for Purge {
    const ROUTE: Route = Route::internal("purge-role");
    type Reply = Nothing;

    fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let mut piece = Vec::new();
        each(cx, self.role, |place, secret| {
            piece.push((place, secret.accessor));
            Ok(if piece.len() < PIECE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        piece.iter().try_for_each(|(place, accessor)| forget(cx, *place, accessor))?;
        if piece.len() == PIECE {
            cx.later(Duration::ZERO, &self)?;
        }
        Ok(Reply::Nothing)
    }
}
