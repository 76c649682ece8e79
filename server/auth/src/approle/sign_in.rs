use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use kit::loose::Text;
use kit::{Claim, Error, Fields, Login, Reading, Reads, Result, Route, Secret, Terms, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::role::Role;
use super::secret_id::{SecretId, check_within, forget};
use super::{AppRole, Hasher, ID_SIZE_MAX, ROLE_IDS, ROLES, SECRET_IDS};
use crate::cidr;

/// Logs in by role id and secret id.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SignIn {
    /// Which role.
    #[serde(default)]
    role_id: Option<Text>,
    /// The proof.
    #[serde(default)]
    secret_id: Option<Secret<String>>,
}

/// A role with its name, and what hashes its secret ids.
struct Named {
    name: String,
    role: Role,
    hasher: Arc<Hasher>,
}

impl SignIn {
    /// The role id, without the line's end that comes along from a file.
    fn role_id(&self) -> &str {
        self.role_id.as_ref().map_or("", |role_id| role_id.0.trim())
    }
}

/// The role that a role id belongs to.
pub(super) fn role_named(fields: &Fields<'_>, cx: &Reading<'_>) -> Result<Option<String>> {
    let asked = fields.parse::<SignIn>()?.0;
    let role_id = asked.role_id();
    let Some(hasher) = Hasher::of(cx)? else { return Ok(None) };
    if role_id.is_empty() || role_id.len() > ID_SIZE_MAX {
        return Ok(None);
    }
    ROLE_IDS.get(cx, &hasher.role_id(role_id))
}

/// What is wrong is not told.
const WRONG: &str = "invalid role or secret ID";

fn wrong() -> Error {
    Error::credentials(WRONG)
}

impl Login<AppRole> for SignIn {
    const ROUTE: Route = Route::post("login");

    fn who(&self) -> String {
        let role_id = self.role_id();
        if role_id.len() > ID_SIZE_MAX { String::new() } else { role_id.to_owned() }
    }

    fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Claim> {
        let role_id = self.role_id().to_owned();
        if role_id.is_empty() {
            return Err(Error::invalid("missing role_id"));
        }
        if role_id.len() > ID_SIZE_MAX {
            // No role can have it, so there is nobody to lock out.
            return Err(Error::invalid(WRONG));
        }
        let named = cx.memo(&role_id, |cx| {
            let hasher = Hasher::of(cx)?.ok_or_else(wrong)?;
            let name = ROLE_IDS.get(cx, &hasher.role_id(&role_id))?.ok_or_else(wrong)?;
            let role = ROLES.get(cx, &name)?.ok_or_else(wrong)?;
            Ok(Named { name, role, hasher })
        })?;
        let role = &named.role;
        let secret = match role.bind_secret_id {
            true => Some(prove(cx, &named, self.secret_id)?),
            false => None,
        };
        check_address(cx, &role.secret_id_bound_cidrs, "role")?;
        let (mut metadata, token_bound_cidrs) = match secret {
            Some(secret) => (secret.metadata.clone(), secret.token_bound_cidrs.clone()),
            None => (BTreeMap::new(), Vec::new()),
        };
        metadata.insert("role_name".to_owned(), named.name.clone());
        let terms = role.token.terms();
        let terms = match token_bound_cidrs.is_empty() {
            true => terms,
            false => Terms { bound_cidrs: token_bound_cidrs, ..terms },
        };
        Ok(Claim {
            called: None,
            alias: role_id,
            alias_metadata: metadata.clone(),
            metadata,
            terms,
            internal: json!({ "role_name": named.name }),
            ..Claim::default()
        })
    }
}

/// Looks at the secret id, and takes one of its uses.
fn prove(cx: &mut Writing<'_>, named: &Named, secret_id: Option<Secret<String>>) -> Result<Arc<SecretId>> {
    let given = secret_id.unwrap_or_default();
    let secret_id = given.expose().trim();
    if secret_id.is_empty() {
        return Err(Error::invalid("missing secret_id"));
    }
    if secret_id.len() > ID_SIZE_MAX {
        return Err(wrong());
    }
    // The record lies under a keyed hash: how far a guess is right cannot be told from the time it takes.
    let place = named.hasher.secret_id(named.role.key, secret_id);
    let lies = place.bytes();
    let secret =
        cx.memo(&STANDARD_NO_PAD.encode(&lies), |cx| SECRET_IDS.get(cx, &lies)?.ok_or_else(wrong))?;
    if secret.is_over(cx.now()) {
        return Err(wrong());
    }
    check_within(&secret.cidr_list, &named.role.secret_id_bound_cidrs)?;
    check_address(cx, &secret.cidr_list, "secret ID")?;
    match secret.uses_left {
        None => {}
        Some(uses) if uses > 1 => {
            let less = SecretId { uses_left: Some(uses - 1), updated: cx.now(), ..(*secret).clone() };
            SECRET_IDS.put(cx, &lies, &less)?;
        }
        Some(_) => forget(cx, place, &secret.accessor)?,
    }
    Ok(secret)
}

fn check_address(cx: &impl Reads, blocks: &[String], whose: &str) -> Result<()> {
    if blocks.is_empty() {
        return Ok(());
    }
    let address = cx.remote().address.map(|address: IpAddr| address.to_canonical());
    let address = address.ok_or_else(|| Error::invalid("failed to get connection information"))?;
    if cidr::any_holds(blocks, address) {
        return Ok(());
    }
    let text = format!("source address \"{address}\" unauthorized through CIDR restrictions on the {whose}");
    Err(Error::invalid(text))
}
