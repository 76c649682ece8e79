//! Whom a program lets in.

use std::collections::BTreeMap;
use std::time::Duration;

use flow::cel::{Fact, Outcome};
use kit::loose::Span;
use kit::{Claim, Error, Reading, Renewal, Result, Terms, Time};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::CEL_ROLES;
use super::cel_role::{AUTH, CelRole, SCOPE};
use crate::cidr::Block;
use crate::claims::Claims;

/// Whom the program of a role makes of the claims.
///
/// # Errors
/// If it lets nobody in, or says what it may not.
pub(super) fn decide(role: &CelRole, claims: &Claims, now: Time) -> Result<Claim> {
    let failed = |why: String| Error::invalid(format!("error executing cel program: {why}"));
    let json = Value::Object(claims.0.clone());
    let facts =
        [("claims", Fact::Json(&json)), ("now", Fact::Time(now)), ("operation", Fact::Text("update"))];
    let outcome = role.cel_program.evaluate(&SCOPE, &facts);
    let name = &role.name;
    let unexpected =
        |kind: &str| Err(failed(format!("CEL program '{name}' returned unexpected type: {kind}")));
    match outcome.map_err(|why| failed(format!("CEL auth program failed: {why}")))? {
        Outcome::Record { name: kind, fields } if kind == AUTH.name => claim(name, &fields),
        Outcome::Record { name: kind, .. } => unexpected(&kind),
        Outcome::Plain(Value::Object(fields)) => {
            if let Some(unknown) = fields.keys().find(|key| !AUTH.fields.contains(&key.as_str())) {
                return Err(failed(format!("CEL program '{name}': {} has no field {unknown:?}", AUTH.name)));
            }
            claim(name, &fields)
        }
        Outcome::Plain(Value::Bool(false)) => {
            Err(failed(format!("CEL role '{name}' blocked authorization with boolean false return")))
        }
        Outcome::Plain(Value::String(text)) => {
            Err(failed(format!("CEL role '{name}' blocked authorization with message: {text}")))
        }
        Outcome::Plain(Value::Bool(true)) => unexpected("types.Bool"),
        Outcome::Plain(Value::Null) => unexpected("types.Null"),
        Outcome::Plain(Value::Array(_)) => unexpected("*types.baseList"),
        Outcome::Plain(Value::Number(number)) if number.is_f64() => unexpected("types.Double"),
        Outcome::Plain(Value::Number(_)) => unexpected("types.Int"),
    }
}

/// Reads the fields of a `pb.Auth`.
fn claim(role: &str, fields: &Map<String, Value>) -> Result<Claim> {
    let it = Fields { kind: "pb.Auth", fields };
    if !it.text("entity_id")?.is_empty() {
        let text = "a program does not choose an entity: name an alias, and identity finds its entity";
        return Err(refused(text));
    }
    let alias = it.record("alias", "logical.Alias")?;
    let lease = it.record("lease_options", "pb.LeaseOptions")?;
    let mut groups = Vec::new();
    for group in it.list("group_aliases")? {
        let group = group.as_object().ok_or_else(|| it.wrong("group_aliases"))?;
        groups.push(Fields { kind: "logical.Alias", fields: group }.text("name")?);
    }
    let alias = alias.as_ref();
    let lease = lease.as_ref();
    let terms = Terms {
        policies: it.texts("policies")?,
        ttl: lease.map(|lease| lease.span("TTL")).transpose()?.unwrap_or_default(),
        max_ttl: lease.map(|lease| lease.span("MaxTTL")).transpose()?.unwrap_or_default(),
        explicit_max_ttl: it.span("explicit_max_ttl")?,
        period: it.span("period")?,
        num_uses: it.number("num_uses")?.try_into().map_err(|_| it.wrong("num_uses"))?,
        no_default_policy: it.flag("no_default_policy")?,
        bound_cidrs: cidrs(&it)?,
        token_type: token_type(it.number("token_type")?)?,
        not_renewable: !lease.map(|lease| lease.flag("renewable")).transpose()?.unwrap_or(false),
        ..Terms::default()
    };
    let name = alias.map(|alias| alias.text("name")).transpose()?;
    if name.as_ref().is_some_and(String::is_empty) {
        return Err(Error::invalid("missing name in alias"));
    }
    Ok(Claim {
        called: None,
        alias: name.unwrap_or_default(),
        alias_metadata: alias.map(|alias| alias.pairs("metadata")).transpose()?.unwrap_or_default(),
        groups: groups.into_iter().filter(|group| !group.is_empty()).collect(),
        display_name: it.text("display_name")?,
        metadata: it.pairs("metadata")?,
        internal: json!({ "role": role, "role_type": "cel", "terms": &terms }),
        terms,
    })
}

/// On what terms a token lives longer: those of its login, for there is no token of the issuer to run the program on.
///
/// # Errors
/// If its role is gone.
pub(super) fn renewed(past: &Renewal<'_>, role: &str, cx: &Reading<'_>) -> Result<Terms> {
    if !CEL_ROLES.has(cx, role)? {
        return Err(Error::server(format!("CEL role {role} does not exist during renewal")));
    }
    let terms = past.internal.get("terms").map(Terms::deserialize).transpose()?.unwrap_or_default();
    Ok(Terms { policies: past.policies.to_vec(), ..terms })
}

fn refused(why: &str) -> Error {
    Error::invalid(format!("error converting proto auth: {why}"))
}

fn cidrs(it: &Fields<'_>) -> Result<Vec<String>> {
    let blocks = it.texts("bound_cidrs")?;
    if let Some(wrong) = blocks.iter().find(|block| Block::parse_loosely(block).is_none()) {
        return Err(refused(&format!(
            "error parsing address {wrong:?}: it is neither an address nor a block"
        )));
    }
    Ok(blocks)
}

/// The types of tokens, by the numbers that other servers give them.
fn token_type(number: i64) -> Result<String> {
    let name = match number {
        0 => "",
        1 => "service",
        2 => "batch",
        3 => "default-service",
        4 => "default-batch",
        _ => return Err(refused("token_type is 0 to 4")),
    };
    Ok(name.to_owned())
}

/// The fields of a record, one of which is wrong if its value is of another type.
struct Fields<'a> {
    kind: &'static str,
    fields: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn wrong(&self, name: &str) -> Error {
        let text = "CEL auth program failed: failed to evaluate expression: unsupported field type for";
        Error::invalid(format!("error executing cel program: {text} {}.{name}", self.kind))
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<String> {
        match self.value(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(self.wrong(name)),
        }
    }

    fn flag(&self, name: &str) -> Result<bool> {
        match self.value(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(name)),
        }
    }

    fn number(&self, name: &str) -> Result<i64> {
        match self.value(name) {
            None => Ok(0),
            Some(value) => value.as_i64().ok_or_else(|| self.wrong(name)),
        }
    }

    /// A span that is written in nanoseconds; a begun second counts.
    fn span(&self, name: &str) -> Result<Duration> {
        let seconds = Span(self.number(name)?).begun_seconds();
        u64::try_from(seconds).map(Duration::from_secs).map_err(|_| self.wrong(name))
    }

    fn list(&self, name: &str) -> Result<&'a [Value]> {
        match self.value(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(self.wrong(name)),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<String>> {
        let text = |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| self.wrong(name));
        self.list(name)?.iter().map(text).collect()
    }

    fn pairs(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let pair = |(key, value): (&String, &Value)| match value {
            Value::String(text) => Ok((key.clone(), text.clone())),
            _ => Err(self.wrong(name)),
        };
        match self.value(name) {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(fields)) => fields.iter().map(pair).collect(),
            Some(_) => Err(self.wrong(name)),
        }
    }

    fn record(&self, name: &str, kind: &'static str) -> Result<Option<Fields<'a>>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Fields { kind, fields })),
            Some(_) => Err(self.wrong(name)),
        }
    }
}
