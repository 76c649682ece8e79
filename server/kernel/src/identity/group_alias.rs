//! Aliases of external groups: what they are called by those who say who is in them.

use kit::loose::Text;
use kit::{Beyond, Command, Error, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::alias::check_accessor;
use super::record::{Alias, Group, GroupKind};
use super::shown::{self, AliasListed, AliasShown, Listed, Show, Tied};
use super::{Identity, names, own};
use crate::ids;

/// What can be said of an alias.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Wish {
    /// What the group is called outside.
    name: Text,
    /// The accessor of the auth mount that calls it so.
    mount_accessor: Text,
    /// The id of the group; a new one, if a new alias is given none.
    canonical_id: Text,
}

/// Gives an external group its alias, or changes the alias of this id.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Register {
    /// The id of the alias to change.
    id: Option<Text>,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for Register {
    const ROUTE: Route = Route::post("group-alias");
    type Reply = Tied;

    fn run(self, identity: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Tied>> {
        match self.id {
            Some(Text(id)) => change(identity, cx, &id, self.wish),
            None => write(identity, cx, None, self.wish),
        }
    }
}

/// Changes the alias of an external group.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Put {
    /// Its id.
    id: String,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("group-alias/id/{id}");
    type Reply = Tied;

    fn run(self, identity: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Tied>> {
        change(identity, cx, &self.id, self.wish)
    }
}

fn change(identity: &Identity, cx: &mut Writing<'_>, id: &str, wish: Wish) -> Result<Reply<Tied>> {
    if id.is_empty() {
        return Err(Error::invalid("empty group alias ID"));
    }
    let group = own(cx).group_of_alias(cx.peek(&Beyond::for_the_kernel()), id)?;
    let found = group.and_then(|group| {
        let alias = group.alias.clone()?;
        Some((group, alias))
    });
    let found = found.ok_or_else(|| Error::invalid("invalid group alias ID"))?;
    write(identity, cx, Some(found), wish)
}

fn write(
    identity: &Identity,
    cx: &mut Writing<'_>,
    old: Option<(Group, Alias)>,
    wish: Wish,
) -> Result<Reply<Tied>> {
    let Wish { name: Text(name), mount_accessor: Text(accessor), canonical_id: Text(canonical) } = wish;
    if name.is_empty() {
        return Err(Error::invalid("missing alias name"));
    }
    names::check_alias(&name)?;
    if accessor.is_empty() {
        return Err(Error::invalid("missing mount_accessor"));
    }
    if let Some((group, alias)) = &old
        && alias.name == name
        && alias.accessor == accessor
        && (canonical.is_empty() || canonical == group.id)
    {
        return Ok(Reply::Nothing);
    }
    let book = own(cx);
    let target = match canonical.as_str() {
        "" => None,
        id => Some(external(book.group(cx.peek(&Beyond::for_the_kernel()), id)?)?),
    };
    check_accessor(identity, cx, &accessor)?;
    let (now, random) = (cx.now(), cx.randomness());
    let txn = cx.beyond(&Beyond::for_the_kernel());
    let named = book.group_called(txn, &accessor, &name)?.and_then(|group| group.alias);
    let own_id = old.as_ref().map(|(_, alias)| alias.id.as_str());
    if named.is_some_and(|named| Some(named.id.as_str()) != own_id) {
        return Err(Error::invalid("combination of mount and group alias name is already in use"));
    }
    let known = old.as_ref().map(|(_, alias)| alias.clone());
    let alias =
        known.unwrap_or_else(|| Alias { id: ids::new_uuid(random), created: now, ..Alias::default() });
    let alias = Alias { name, accessor, updated: now, ..alias };
    let holder = match (target, old) {
        (Some(target), Some((group, _))) if target.id != group.id => {
            let left = Group { alias: None, modify_index: group.modify_index + 1, ..group.clone() };
            book.put_group(txn, Some(&group), &left)?;
            Some(target)
        }
        (_, Some((group, _))) => Some(group),
        (target, None) => target,
    };
    let mut fresh = holder.clone().unwrap_or_else(|| book.new_group(GroupKind::External, random, now));
    let tied = Tied { id: alias.id.clone(), canonical_id: fresh.id.clone() };
    fresh.alias = Some(alias);
    fresh.updated = now;
    fresh.modify_index += 1;
    book.put_group(txn, holder.as_ref(), &fresh)?;
    Ok(tied.into())
}

fn external(group: Option<Group>) -> Result<Group> {
    let group = group.ok_or_else(|| Error::invalid("invalid group ID given in 'canonical_id'"))?;
    match group.kind {
        GroupKind::External => Ok(group),
        GroupKind::Internal => Err(Error::invalid("alias can't be set on an internal group")),
    }
}

/// Shows the alias of an external group.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    /// Its id.
    id: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("group-alias/id/{id}");
    type Reply = AliasShown;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<AliasShown>> {
        let group = own(cx).group_of_alias(cx.beyond(&Beyond::for_the_kernel()), &self.id)?;
        let group = group.ok_or_else(Error::not_found)?;
        let alias = group.alias.as_ref().ok_or_else(Error::not_found)?;
        Ok(Show::new(identity, cx)?.lone_alias(&group.id, alias).into())
    }
}

/// Deletes the alias of an external group.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Its id.
    id: String,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::delete("group-alias/id/{id}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let book = own(cx);
        let txn = cx.beyond(&Beyond::for_the_kernel());
        if let Some(old) = book.group_of_alias(txn, &self.id)? {
            let new = Group { alias: None, modify_index: old.modify_index + 1, ..old.clone() };
            book.put_group(txn, Some(&old), &new)?;
        }
        Ok(Reply::Nothing)
    }
}

/// Lists the ids of all aliases of groups.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("group-alias/id");
    type Reply = Listed<AliasListed>;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let show = Show::new(identity, cx)?;
        let mut rows = Vec::new();
        for group in own(cx).all_groups(cx.beyond(&Beyond::for_the_kernel()))? {
            let alias = group.alias.as_ref();
            rows.extend(alias.map(|alias| (alias.id.clone(), show.listed_alias(&group.id, alias))));
        }
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        shown::listed(rows)
    }
}
