//! Secret ids looked up and destroyed, by themselves or by their accessors, always within the role of the path.

use std::collections::BTreeMap;

use kit::loose::Text;
use kit::{
    Command, Error, Fault, Nothing, Query, Reading, Reads, Reply, Result, Route, Secret, Time, Writing,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secret_id::{SecretId, forget};
use super::{ACCESSORS, AppRole, Hasher, ID_SIZE_MAX, Place, SECRET_IDS, parse_uuid, role};

/// What is known of a secret id.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    cidr_list: Vec<String>,
    creation_time: String,
    /// When it ends; the year 1 if it does not.
    expiration_time: String,
    last_updated_time: String,
    metadata: BTreeMap<String, String>,
    secret_id_accessor: String,
    secret_id_num_uses: u64,
    secret_id_ttl: u64,
    token_bound_cidrs: Vec<String>,
}

impl From<SecretId> for Shown {
    fn from(secret: SecretId) -> Self {
        let never = Time(0);
        Self {
            cidr_list: secret.cidr_list,
            creation_time: secret.created.rfc3339(),
            expiration_time: match secret.expires {
                expires if expires == never => "0001-01-01T00:00:00Z".to_owned(),
                expires => expires.rfc3339(),
            },
            last_updated_time: secret.updated.rfc3339(),
            metadata: secret.metadata,
            secret_id_accessor: secret.accessor,
            secret_id_num_uses: secret.uses_left.unwrap_or(0),
            secret_id_ttl: secret.ttl_seconds,
            token_bound_cidrs: secret.token_bound_cidrs,
        }
    }
}

/// Where the secret id of a request lies, if it can be one.
fn find(cx: &impl Reads, name: &str, secret_id: Option<&Secret<String>>) -> Result<Option<Place>> {
    let given = secret_id.filter(|secret_id| !secret_id.expose().is_empty());
    let secret_id = given.ok_or_else(|| Error::invalid("missing secret_id"))?.expose();
    let role = role(cx, name, Error::listed)?;
    if secret_id.len() > ID_SIZE_MAX {
        return Err(Error::invalid(format!("secret_id is longer than {ID_SIZE_MAX} bytes")));
    }
    let hasher = Hasher::of(cx)?;
    Ok(hasher.map(|hasher| hasher.secret_id(role.key, secret_id)))
}

/// Shows what is known of a secret id.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Lookup {
    /// Which role.
    role_name: String,
    /// The secret id.
    #[serde(default)]
    secret_id: Option<Secret<String>>,
}

impl Query<AppRole> for Lookup {
    const ROUTE: Route = Route::post("role/{role_name:lower}/secret-id/lookup");
    type Reply = Shown;

    fn run(self, _: &AppRole, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let place = find(cx, &self.role_name, self.secret_id.as_ref())?;
        let found = place.map_or(Ok(None), |place| SECRET_IDS.get(cx, &place.bytes()))?;
        let found = found.filter(|secret| !secret.is_over(cx.now()));
        Ok(found.map_or(Reply::Nothing, |secret| Shown::from(secret).into()))
    }
}

/// Destroys a secret id.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Destroy {
    /// Which role.
    role_name: String,
    /// The secret id.
    #[serde(default)]
    secret_id: Option<Secret<String>>,
}

impl Command<AppRole> for Destroy {
    const ROUTE: Route = Route::post("role/{role_name:lower}/secret-id/destroy");
    type Reply = Nothing;

    fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if let Some(place) = find(cx, &self.role_name, self.secret_id.as_ref())?
            && let Some(secret) = SECRET_IDS.get(cx, &place.bytes())?
        {
            forget(cx, place, &secret.accessor)?;
        }
        Ok(Reply::Nothing)
    }
}

/// Destroys a secret id.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct DestroyToo(Destroy);

impl Command<AppRole> for DestroyToo {
    const ROUTE: Route = Route::delete(Destroy::ROUTE.pattern).or_folder();
    type Reply = Nothing;

    fn run(self, engine: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        self.0.run(engine, cx)
    }
}

/// An accessor as a request brings it: as text, and as the id it stands for.
fn given(accessor: Option<Text>) -> Result<(String, Option<[u8; 16]>)> {
    let accessor = accessor.map(|text| text.0).filter(|text| !text.is_empty());
    let accessor = accessor.ok_or_else(|| Error::invalid("missing secret_id_accessor"))?;
    let id = parse_uuid(&accessor);
    Ok((accessor, id))
}

fn by_accessor(cx: &impl Reads, id: Option<[u8; 16]>) -> Result<Option<Place>> {
    id.map_or(Ok(None), |id| ACCESSORS.get(cx, &id))
}

fn unknown(accessor: &str) -> String {
    format!("failed to find accessor entry for secret_id_accessor: {accessor:?}")
}

/// Shows what is known of the secret id of an accessor.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LookupAccessor {
    /// Which role.
    role_name: String,
    /// The accessor.
    #[serde(default)]
    secret_id_accessor: Option<Text>,
}

/// What is known of a secret id, or why it is not.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum ShownByAccessor {
    /// It is known.
    Known(Box<Shown>),
    /// It is not.
    Unknown {
        /// Why.
        error: String,
    },
}

impl Query<AppRole> for LookupAccessor {
    const ROUTE: Route = Route::post("role/{role_name:lower}/secret-id-accessor/lookup");
    type Reply = ShownByAccessor;

    fn run(self, _: &AppRole, cx: &Reading<'_>) -> Result<Reply<ShownByAccessor>> {
        let (accessor, id) = given(self.secret_id_accessor)?;
        let role = role(cx, &self.role_name, Error::listed)?;
        let Some(place) = by_accessor(cx, id)? else {
            return Ok(Reply::Gone(ShownByAccessor::Unknown { error: unknown(&accessor) }));
        };
        if place.role != role.key {
            return Ok(Reply::Nothing);
        }
        let found = SECRET_IDS.get(cx, &place.bytes())?.filter(|secret| !secret.is_over(cx.now()));
        Ok(found.map_or(Reply::Nothing, |secret| ShownByAccessor::Known(Box::new(secret.into())).into()))
    }
}

/// Destroys the secret id of an accessor.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DestroyAccessor {
    /// Which role.
    role_name: String,
    /// The accessor.
    #[serde(default)]
    secret_id_accessor: Option<Text>,
}

impl Command<AppRole> for DestroyAccessor {
    const ROUTE: Route = Route::post("role/{role_name:lower}/secret-id-accessor/destroy");
    type Reply = Nothing;

    fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let (accessor, id) = given(self.secret_id_accessor)?;
        let role = role(cx, &self.role_name, Error::listed)?;
        let place = by_accessor(cx, id)?.ok_or_else(|| Error::listed(unknown(&accessor)))?;
        if place.role != role.key {
            return Err(Error::new(Fault::Denied, "invalid secret id accessor"));
        }
        forget(cx, place, &accessor)?;
        Ok(Reply::Nothing)
    }
}

/// Destroys the secret id of an accessor.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct DestroyAccessorToo(DestroyAccessor);

impl Command<AppRole> for DestroyAccessorToo {
    const ROUTE: Route = Route::delete(DestroyAccessor::ROUTE.pattern).or_folder();
    type Reply = Nothing;

    fn run(self, engine: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        self.0.run(engine, cx)
    }
}
