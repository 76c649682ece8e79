use flow::cel::Program;
use kit::loose::{Json, Number, Text};
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Table, Writing, page};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::issue::KIND;
use super::scope::SIGNING;
use crate::{Pki, listing};

/// Roles whose program decides, by name.
pub(super) const CEL_ROLES: Table<Program> = Table::new(19);

/// Whether there is such a role under the name that records have for it.
pub(crate) fn is_role(cx: &impl Reads, recorded: &str) -> Result<bool> {
    let name = recorded.strip_prefix(KIND);
    Ok(name.map(|name| CEL_ROLES.get(cx, name)).transpose()?.flatten().is_some())
}

/// A role as it is shown.
#[derive(JsonSchema, Serialize)]
pub(crate) struct ShownRole {
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    cel_program: Program,
    name: String,
}

/// Creates or replaces a role whose program decides what is issued. PATCH changes one.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct WriteCelRole<const VERB: usize> {
    /// Name of the role.
    name: String,
    /// The program: `variables`, each with `name` and `expression`, in their order, and `expression`, what it comes to.
    cel_program: Option<Json>,
}

const WRITE_ROUTES: [Route; 2] = [Route::post("cel/roles/{name}"), Route::patch("cel/roles/{name}")];
/// The place of the route that changes.
const PATCH: usize = 1;

impl<const VERB: usize> Command<Pki> for WriteCelRole<VERB> {
    const ROUTE: Route = WRITE_ROUTES[VERB];
    type Reply = ShownRole;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<ShownRole>> {
        let old = CEL_ROLES.get(cx, &self.name)?;
        if VERB == PATCH && old.is_none() {
            return Err(Error::invalid("Unable to fetch cel role entry to patch"));
        }
        let cel_program = match (self.cel_program, old) {
            (Some(Json(given)), Some(old)) if VERB == PATCH => read(Json(merged(&old, given)?))?,
            (Some(program), _) => read(program)?,
            (None, Some(old)) if VERB == PATCH => old,
            (None, _) => return Err(Error::invalid("missing required field 'cel_program'")),
        };
        // A program of a role sees a CSR where there is one; a name that is not there is told when it runs.
        cel_program.check(&SIGNING).map_err(Error::invalid)?;
        CEL_ROLES.put(cx, &self.name, &cel_program)?;
        Ok(Reply::Data(ShownRole { cel_program, name: self.name }))
    }
}

/// A program with what is given in the place of what it had. What is null goes.
fn merged(old: &Program, given: Value) -> Result<Value> {
    let (Value::Object(mut program), Value::Object(given)) = (serde_json::to_value(old)?, given.clone())
    else {
        return Ok(given);
    };
    program.extend(given);
    program.retain(|_, part| !part.is_null());
    Ok(Value::Object(program))
}

fn read(program: Json) -> Result<Program> {
    let wrong = || {
        Error::invalid(
            "failed to decode 'cel_program': it has an expression, and variables, each with a name and an expression",
        )
    };
    let program: Program = match program.0 {
        Value::String(text) => serde_json::from_str(&text).map_err(|_| wrong())?,
        value => serde_json::from_value(value).map_err(|_| wrong())?,
    };
    match program.expression.is_empty() {
        true => Err(Error::invalid("cel_program.expression cannot be empty")),
        false => Ok(program),
    }
}

/// Shows a role whose program decides.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ReadCelRole {
    /// Name of the role.
    name: String,
}

impl Query<Pki> for ReadCelRole {
    const ROUTE: Route = Route::get("cel/roles/{name}");
    type Reply = ShownRole;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ShownRole>> {
        let cel_program = CEL_ROLES.get(cx, &self.name)?.ok_or_else(Error::not_found)?;
        Ok(Reply::Data(ShownRole { cel_program, name: self.name }))
    }
}

/// Lists the roles whose programs decide.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ListCelRoles {
    /// The name after which to begin.
    after: Option<Text>,
    /// How many names to show at most; all if it is not positive.
    limit: Option<Number>,
}

impl Query<Pki> for ListCelRoles {
    const ROUTE: Route = Route::list("cel/roles");
    type Reply = listing::Keys;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<listing::Keys>> {
        let names = CEL_ROLES.list(cx, "")?;
        listing::keys(page(&names, &self.after.unwrap_or_default().0, self.limit.unwrap_or_default().0))
    }
}

/// Deletes a role whose program decides. What was issued under it stays valid.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct DeleteCelRole {
    /// Name of the role.
    name: String,
}

impl Command<Pki> for DeleteCelRole {
    const ROUTE: Route = Route::delete("cel/roles/{name}");
    type Reply = Option<kit::Nothing>;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        CEL_ROLES.delete(cx, &self.name)?;
        Ok(Reply::Data(None))
    }
}
