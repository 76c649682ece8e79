//! Groups of entities and of groups.

use kit::loose::{Pairs, Text, Texts};
use kit::{Beyond, Command, Error, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::membership::Sweep;
use super::record::{Group, GroupKind};
use super::shown::{self, GroupListed, GroupShown, Listed, Made, Show};
use super::{Identity, names, own};

/// What can be said of a group.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Wish {
    /// `internal`: operators say who is in it; `external`: an auth method does. It cannot be changed.
    #[serde(rename = "type")]
    kind: Option<Text>,
    /// What is known about it; in place of what was.
    metadata: Option<Pairs>,
    /// What those in it may do.
    policies: Option<Texts>,
    /// The groups in it; in place of those that were.
    member_group_ids: Option<Texts>,
    /// The entities in it; in place of those that were.
    member_entity_ids: Option<Texts>,
}

/// Makes a group, or changes the one of this id or name.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Register {
    /// The id of the group to change.
    id: Option<Text>,
    /// Its name; made up, if a new one is given none.
    name: Option<Text>,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for Register {
    const ROUTE: Route = Route::post("group");
    type Reply = Made;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Made>> {
        // Who names a group must name it; who does not is given a name.
        if self.id.is_none() && self.name.as_ref().is_some_and(|name| name.0.is_empty()) {
            return Err(Error::invalid("empty group name"));
        }
        let name = self.name.unwrap_or_default().0;
        match self.id {
            Some(Text(id)) => change(cx, &id, &name, self.wish),
            None => change_named(cx, &name, self.wish),
        }
    }
}

/// Changes a group.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Put {
    /// Its id.
    id: String,
    /// Its new name.
    #[serde(default)]
    name: Text,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("group/id/{id}");
    type Reply = Made;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Made>> {
        change(cx, &self.id, &self.name.0, self.wish)
    }
}

/// Makes or changes the group of a name.
#[derive(Deserialize, JsonSchema)]
pub(super) struct PutNamed {
    /// Its name.
    name: String,
    /// Of no account: the name says which.
    #[serde(rename = "id")]
    _id: Option<Text>,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for PutNamed {
    const ROUTE: Route = Route::post("group/name/{name:called+}");
    type Reply = Made;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Made>> {
        change_named(cx, &self.name, self.wish)
    }
}

fn change(cx: &mut Writing<'_>, id: &str, name: &str, wish: Wish) -> Result<Reply<Made>> {
    if id.is_empty() {
        return Err(Error::invalid("empty group ID"));
    }
    let old = own(cx).group(cx.peek(&Beyond::for_the_kernel()), id)?;
    write(cx, Some(old.ok_or_else(|| Error::invalid("invalid group ID"))?), name, wish)
}

fn change_named(cx: &mut Writing<'_>, name: &str, wish: Wish) -> Result<Reply<Made>> {
    let old = match name {
        "" => None,
        name => {
            names::check("name", name)?;
            own(cx).group_named(cx.peek(&Beyond::for_the_kernel()), name)?
        }
    };
    write(cx, old, name, wish)
}

/// The order of the checks is that of the API: clients see the first that fails.
fn write(cx: &mut Writing<'_>, old: Option<Group>, name: &str, wish: Wish) -> Result<Reply<Made>> {
    let (book, now, random) = (own(cx), cx.now(), cx.randomness());
    let txn = cx.beyond(&Beyond::for_the_kernel());
    let mut group = old.clone().unwrap_or_else(|| book.new_group(GroupKind::Internal, random, now));
    if let Some(Texts(policies)) = wish.policies {
        group.policies = names::policies(&policies)?;
    }
    if let Some(Text(word)) = wish.kind {
        group.kind = kind(&word, old.as_ref())?;
    }
    if !name.is_empty() {
        names::check("name", name)?;
        if book.group_named(txn, name)?.is_some_and(|named| named.id != group.id) {
            return Err(Error::invalid("group name is already in use"));
        }
        name.clone_into(&mut group.name);
    }
    if group.kind == GroupKind::External {
        if wish.member_entity_ids.is_some() {
            return Err(Error::invalid("member entities can't be set manually for external groups"));
        }
        if wish.member_group_ids.is_some() {
            return Err(Error::invalid("member groups can't be set for external groups"));
        }
    }
    if let Some(Pairs(metadata)) = wish.metadata {
        names::check_metadata("group", &metadata)?;
        group.metadata = Some(metadata);
    }
    group.updated = now;
    group.modify_index += 1;
    if let Some(Texts(members)) = wish.member_entity_ids {
        book.set_members(txn, &group.id, &members)?;
    }
    if let Some(Texts(members)) = wish.member_group_ids {
        book.set_member_groups(txn, &group, &members)?;
    }
    book.put_group(txn, old.as_ref(), &group)?;
    Ok(match old {
        Some(_) => Reply::Nothing,
        None => Made { id: group.id, name: group.name }.into(),
    })
}

fn kind(word: &str, old: Option<&Group>) -> Result<GroupKind> {
    if old.is_some_and(|old| old.kind.word() != word) {
        return Err(Error::invalid("group type cannot be changed"));
    }
    match word {
        "" | "internal" => Ok(GroupKind::Internal),
        "external" => Ok(GroupKind::External),
        other => Err(Error::invalid(format!("invalid group type {other:?}"))),
    }
}

/// Shows a group, its alias and its members.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    /// Its id.
    id: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("group/id/{id}");
    type Reply = GroupShown;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<GroupShown>> {
        let group = own(cx).group(cx.beyond(&Beyond::for_the_kernel()), &self.id)?;
        Ok(Show::new(identity, cx)?.group(group.ok_or_else(Error::not_found)?)?.into())
    }
}

/// Shows the group of a name, its alias and its members.
#[derive(Deserialize, JsonSchema)]
pub(super) struct GetNamed {
    /// Its name.
    name: String,
}

impl Query<Identity> for GetNamed {
    const ROUTE: Route = Route::get("group/name/{name:called+}");
    type Reply = GroupShown;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<GroupShown>> {
        let group = own(cx).group_named(cx.beyond(&Beyond::for_the_kernel()), &self.name)?;
        Ok(Show::new(identity, cx)?.group(group.ok_or_else(Error::not_found)?)?.into())
    }
}

/// Deletes a group. Those in it lose what it gave them.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Its id.
    id: String,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::delete("group/id/{id}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let group = own(cx).group(cx.peek(&Beyond::for_the_kernel()), &self.id)?;
        delete(cx, group)
    }
}

/// Deletes the group of a name. Those in it lose what it gave them.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteNamed {
    /// Its name.
    name: String,
}

impl Command<Identity> for DeleteNamed {
    const ROUTE: Route = Route::delete("group/name/{name:called+}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let group = own(cx).group_named(cx.peek(&Beyond::for_the_kernel()), &self.name)?;
        delete(cx, group)
    }
}

fn delete(cx: &mut Writing<'_>, group: Option<Group>) -> Result<Reply<Nothing>> {
    let Some(group) = group else { return Ok(Reply::Nothing) };
    own(cx).remove_group(cx.beyond(&Beyond::for_the_kernel()), &group)?;
    cx.later::<Identity, _>(Sweep::AFTER, &Sweep { group: group.id })?;
    Ok(Reply::Nothing)
}

/// Lists the ids of all groups.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("group/id");
    type Reply = Listed<GroupListed>;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let show = Show::new(identity, cx)?;
        let groups = own(cx).all_groups(cx.beyond(&Beyond::for_the_kernel()))?.into_iter();
        let rows: Result<_> = groups.map(|group| Ok((group.id.clone(), show.listed_group(group)?))).collect();
        shown::listed(rows?)
    }
}

/// Lists the names of all groups.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Names {}

impl Query<Identity> for Names {
    const ROUTE: Route = Route::list("group/name");
    type Reply = shown::Names;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<shown::Names>> {
        let groups = own(cx).all_groups(cx.beyond(&Beyond::for_the_kernel()))?;
        shown::named(groups.into_iter().map(|group| group.name).collect())
    }
}
