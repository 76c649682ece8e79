use std::sync::LazyLock;

use flow::cel::{Program, Record, Scope};
use kit::loose::{Json, Number, Span, Text, Texts};
use kit::{Command, Error, Nothing, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CEL_ROLES, Signed, Title};
use crate::claims::{LEEWAY_SECONDS, Leeways, SKEW_SECONDS};
use crate::listing::Keys;

/// What a program can say of who it lets in. Some of it is known and has no effect: the kernel decides it.
pub(super) const AUTH: Record = Record {
    name: "pb.Auth",
    fields: &[
        "accessor",
        "alias",
        "bound_cidrs",
        "client_token",
        "display_name",
        "entity_id",
        "explicit_max_ttl",
        "group_aliases",
        "identity_policies",
        "internal_data",
        "lease_options",
        "metadata",
        "no_default_policy",
        "num_uses",
        "period",
        "policies",
        "token_policies",
        "token_type",
    ],
};
const LEASE_OPTIONS: Record =
    Record { name: "pb.LeaseOptions", fields: &["MaxTTL", "TTL", "increment", "issue_time", "renewable"] };
const ALIAS: Record =
    Record { name: "logical.Alias", fields: &["local", "metadata", "mount_accessor", "mount_type", "name"] };

/// What programs of roles see.
pub(super) static SCOPE: LazyLock<Scope> =
    LazyLock::new(|| Scope::new(&["claims", "now", "operation"], &[AUTH, LEASE_OPTIONS, ALIAS]));

/// A role whose program decides, as it is stored and shown.
#[derive(Clone, Deserialize, JsonSchema, Serialize)]
pub(super) struct CelRole {
    pub(super) bound_audiences: Vec<String>,
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub(super) cel_program: Program,
    pub(super) clock_skew_leeway: i64,
    pub(super) expiration_leeway: i64,
    pub(super) message: String,
    pub(super) name: String,
    pub(super) not_before_leeway: i64,
}

impl CelRole {
    fn new(name: &str) -> Self {
        Self {
            bound_audiences: Vec::new(),
            cel_program: Program::default(),
            clock_skew_leeway: SKEW_SECONDS,
            expiration_leeway: LEEWAY_SECONDS,
            message: String::new(),
            name: name.to_owned(),
            not_before_leeway: LEEWAY_SECONDS,
        }
    }

    /// How clocks may differ.
    pub(super) fn leeways(&self) -> Leeways {
        Leeways {
            expiration: self.expiration_leeway,
            not_before: self.not_before_leeway,
            clock_skew: self.clock_skew_leeway,
        }
    }

    fn settle<const AT: usize>(&mut self, wish: Write<AT>) -> Result<()> {
        if let Some(program) = wish.cel_program {
            self.cel_program = read(program)?;
        }
        if let Some(Text(message)) = wish.message {
            self.message = message;
        }
        if let Some(Texts(audiences)) = wish.bound_audiences {
            self.bound_audiences = audiences.into_iter().filter(|audience| !audience.is_empty()).collect();
        }
        for (span, place) in [
            (wish.expiration_leeway, &mut self.expiration_leeway),
            (wish.not_before_leeway, &mut self.not_before_leeway),
            (wish.clock_skew_leeway, &mut self.clock_skew_leeway),
        ] {
            if let Some(span) = span {
                *place = span.seconds();
            }
        }
        self.cel_program.check(&SCOPE).map_err(Error::listed)
    }
}

fn read(program: Json) -> Result<Program> {
    if !program.0.is_object() {
        let text = "Field validation failed: error converting input for field \"cel_program\": '' expected type 'map[string]interface {}'";
        return Err(Error::invalid(text));
    }
    let wrong = |_| {
        Error::invalid(
            "failed to decode 'cel_program': it has an expression, and variables, each with a name and an expression",
        )
    };
    let program: Program = serde_json::from_value(program.0).map_err(wrong)?;
    if program.expression.is_empty() {
        return Err(Error::invalid("cel_program.expression cannot be empty"));
    }
    Ok(program)
}

/// Lists the roles whose programs decide.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {
    /// Begins after this name.
    #[serde(default)]
    after: Option<Text>,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

impl<T: Title> Query<Signed<T>> for List {
    const ROUTE: Route = Route::list("cel/role");
    type Reply = Keys;

    fn run(self, _: &Signed<T>, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        Keys::page(&CEL_ROLES.list(cx, "")?, self.after.as_ref(), self.limit)
    }
}

/// Reads a role whose program decides.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Read {
    /// Which role.
    name: String,
}

impl<T: Title> Query<Signed<T>> for Read {
    const ROUTE: Route = Route::get("cel/role/{name:lower}");
    type Reply = CelRole;

    fn run(self, _: &Signed<T>, cx: &Reading<'_>) -> Result<Reply<CelRole>> {
        CEL_ROLES.get(cx, &self.name)?.map(Reply::Data).ok_or_else(Error::not_found)
    }
}

/// Creates or replaces a role whose program decides. PATCH changes one: what is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Write<const AT: usize> {
    /// Which role.
    name: String,
    /// The program: `variables`, each with `name` and `expression`, in their order, and `expression`, what it comes to.
    #[serde(default)]
    cel_program: Option<Json>,
    /// Words for those who are refused.
    #[serde(default)]
    message: Option<Text>,
    /// For whom tokens must be: one of these must be among their audiences.
    #[serde(default)]
    bound_audiences: Option<Texts>,
    /// By how much an end of tokens may be past that do not say theirs; 0: 150 seconds, below: none.
    #[serde(default)]
    expiration_leeway: Option<Span>,
    /// The same for a beginning.
    #[serde(default)]
    not_before_leeway: Option<Span>,
    /// By how much clocks may differ; 0: 60 seconds, below: none.
    #[serde(default)]
    clock_skew_leeway: Option<Span>,
}

const WRITE_ROUTES: [Route; 2] =
    [Route::post("cel/role/{name:lower}"), Route::patch("cel/role/{name:lower}")];
/// The place of the route that changes.
const PATCH: usize = 1;

impl<T: Title, const AT: usize> Command<Signed<T>> for Write<AT> {
    const ROUTE: Route = WRITE_ROUTES[AT];
    type Reply = CelRole;

    fn run(self, _: &Signed<T>, cx: &mut Writing<'_>) -> Result<Reply<CelRole>> {
        let name = self.name.clone();
        let mut role = if AT == PATCH {
            let missing = || Error::invalid("Unable to fetch cel role entry to patch");
            CEL_ROLES.get(cx, &name)?.ok_or_else(missing)?
        } else if self.cel_program.is_none() {
            return Err(Error::invalid("missing required field 'cel_program'"));
        } else {
            CelRole::new(&name)
        };
        role.settle(self)?;
        CEL_ROLES.put(cx, &name, &role)?;
        Ok(role.into())
    }
}

/// Deletes a role whose program decides.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Which role.
    name: String,
}

impl<T: Title> Command<Signed<T>> for Delete {
    const ROUTE: Route = Route::delete("cel/role/{name:lower}");
    type Reply = Nothing;

    fn run(self, _: &Signed<T>, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        CEL_ROLES.delete(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}
