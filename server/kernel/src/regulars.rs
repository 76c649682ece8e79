//! Whom a login is of. Those who come again as they came before are not looked up again.

use kit::{Error, Memo, Result};
use storage::Txn;

use crate::identity::{self, Arrival, Books};
use crate::kernel::Kernel;
use crate::login::Door;

/// How many are remembered.
const REGULARS_MAX: usize = 4096;

/// Those who came before, by all that their entity follows from.
pub(crate) struct Regulars(Memo<String, Regular>);

/// Someone whose coming changes nothing.
struct Regular {
    entity_id: String,
    policies: Vec<String>,
    owes_nothing: bool,
}

/// Whom a login is of. Nobody, if the method does not say.
#[derive(Default)]
pub(crate) struct Whom {
    pub(crate) entity_id: String,
    pub(crate) identity: Option<String>,
    pub(crate) is_new: bool,
    /// The policies of the entity and its groups, where they are known already.
    pub(crate) policies: Option<Vec<String>>,
    /// It is known that no second factor is wanted.
    pub(crate) owes_nothing: bool,
}

/// Why someone is no regular.
enum Unlike {
    /// Something has to be written down about them.
    Changed,
    Failed(Error),
}

impl Regulars {
    pub(crate) fn new() -> Self {
        Self(Memo::new(REGULARS_MAX))
    }

    pub(crate) fn forget(&self) {
        self.0.forget();
    }
}

impl Kernel {
    /// Whom a claim is of, known or made known, in the groups that it names.
    ///
    /// # Errors
    /// Denied, if that entity is disabled.
    pub(crate) fn whom(&self, door: &Door<'_>, txn: &mut Txn, claim: &kit::Claim) -> Result<Whom> {
        let book = identity::book(door.router, door.mounted).filter(|_| !claim.alias.is_empty());
        let Some(book) = book else { return Ok(Whom::default()) };
        let accessor = &door.mounted.entry.accessor;
        let arrival = Arrival {
            accessor,
            name: &claim.alias,
            metadata: &claim.alias_metadata,
            random: &*self.env.random,
            now: door.now,
        };
        let uuid = book.uuid();
        let key =
            serde_json::to_string(&(&uuid, accessor, &claim.alias, &claim.alias_metadata, &claim.groups))?;
        let arrive = |txn: &mut Txn| {
            let known = book.arrive(txn, &arrival)?;
            book.refresh(txn, &known.entity.id, accessor, &claim.groups).map(|()| known)
        };
        let regular = self.regulars.0.get(&key, txn.snapshot(), |txn| {
            let known = arrive(txn)?;
            if !txn.is_empty() {
                return Err(Unlike::Changed);
            }
            let resolved = book.resolve(txn, &known.entity.id)?;
            let policies = resolved.map(|resolved| resolved.policies()).unwrap_or_default();
            let books = Books::at(door.router, door.mounted)?;
            let owes_nothing = books.owed(txn, door.mounted, &known.entity.id)?.is_empty();
            Ok(Regular { entity_id: known.entity.id, policies, owes_nothing })
        });
        match regular {
            Ok(kept) => {
                txn.join(kept.reads());
                let Regular { entity_id, policies, owes_nothing } = kept.value();
                Ok(Whom {
                    entity_id: entity_id.clone(),
                    identity: Some(uuid),
                    is_new: false,
                    policies: Some(policies.clone()),
                    owes_nothing: *owes_nothing,
                })
            }
            Err(Unlike::Failed(error)) => Err(error),
            Err(Unlike::Changed) => {
                let known = arrive(txn)?;
                let (entity_id, is_new) = (known.entity.id, known.is_new);
                Ok(Whom { entity_id, identity: Some(uuid), is_new, ..Whom::default() })
            }
        }
    }
}

impl From<Error> for Unlike {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
