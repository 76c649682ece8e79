//! What an SSH mount keeps, and under which names.
//!
//! Issuers lie under random ids and passwords under their hashes, in clear: the server made both. Role names are the users'
//! and lie sealed.

pub(super) use kit::Uuid as Id;
use kit::{IdTable, Reads, Result, Secret, Table, Writing};
use serde::{Deserialize, Serialize};

use super::role::Role;

/// Issuers by id.
pub(super) const ISSUERS: IdTable<IssuerRecord> = IdTable::new(1);
/// Roles by name.
pub(super) const ROLES: Table<Role> = Table::new(2);
/// One-time passwords by hash.
pub(super) const PASSWORDS: IdTable<PasswordRecord> = IdTable::new(3);

const DEFAULTS: Table<Option<Id>> = Table::new(4);
const ANY_ADDRESS: Table<Vec<String>> = Table::new(4);
const DEFAULT_ISSUER: &str = "default-issuer";
const ANY_ADDRESS_ROLES: &str = "any-address-roles";

/// The issuer that `default` means.
pub(super) fn default_issuer(cx: &impl Reads) -> Result<Option<Id>> {
    Ok(DEFAULTS.get(cx, DEFAULT_ISSUER)?.flatten())
}

/// Says which issuer `default` means.
pub(super) fn set_default_issuer(cx: &mut Writing<'_>, id: Option<Id>) -> Result<()> {
    DEFAULTS.put(cx, DEFAULT_ISSUER, &id)
}

/// The roles whose passwords are for any address; nothing if that was never said.
pub(super) fn any_address_roles(cx: &impl Reads) -> Result<Option<Vec<String>>> {
    ANY_ADDRESS.get(cx, ANY_ADDRESS_ROLES)
}

/// Says which roles' passwords are for any address.
pub(super) fn set_any_address_roles(cx: &mut Writing<'_>, roles: &Vec<String>) -> Result<()> {
    ANY_ADDRESS.put(cx, ANY_ADDRESS_ROLES, roles)
}

/// Forgets which roles' passwords are for any address.
pub(super) fn delete_any_address_roles(cx: &mut Writing<'_>) -> Result<()> {
    ANY_ADDRESS.delete(cx, ANY_ADDRESS_ROLES)
}

/// An issuer.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct IssuerRecord {
    /// Empty, or a name that no other issuer has.
    pub(super) name: String,
    /// As it is shown.
    pub(super) public_key: String,
    /// PKCS#8, in base64.
    pub(super) pkcs8: Secret<String>,
}

/// A password that was given and not used yet. It is kept under its hash, never itself.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct PasswordRecord {
    pub(super) username: String,
    pub(super) ip: String,
    pub(super) role_name: String,
}
