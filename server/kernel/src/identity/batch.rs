//! Many entities at once.

use std::collections::BTreeSet;

use kit::loose::Texts;
use kit::{Beyond, Command, Error, Nothing, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Identity, own};

/// How many entities one request may delete: all of them or none, so they must fit in one transaction.
const BATCH_MAX: usize = 5000;

/// Deletes several entities, all of them or none.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Their ids. Those that are not there are left out.
    #[serde(default)]
    entity_ids: Texts,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::post("entity/batch-delete");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let Texts(ids) = self.entity_ids;
        if ids.is_empty() {
            return Err(Error::invalid("missing entity ids to delete"));
        }
        if ids.len() > BATCH_MAX {
            return Err(Error::invalid(format!("entity_ids are more than {BATCH_MAX}; send them in pieces")));
        }
        let book = own(cx);
        let txn = cx.beyond(&Beyond::for_the_kernel());
        for id in ids.into_iter().collect::<BTreeSet<_>>() {
            if let Some(entity) = book.entity(txn, &id)? {
                book.remove_entity(txn, &entity)?;
            }
        }
        Ok(Reply::Nothing)
    }
}
