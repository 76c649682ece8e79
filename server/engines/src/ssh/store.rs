//! What an SSH mount keeps, and under which names.
//!
//! Issuers lie under random ids and passwords under their hashes, in clear: the server made both. Role names are the users'
//! and lie sealed.

use std::fmt;

use kit::{Error, IdTable, Reads, Result, Secret, Table, Writing};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// The id of an issuer: a random UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id([u8; 16]);

impl Id {
    /// A new one.
    pub(super) fn new(cx: &Writing<'_>) -> Self {
        let mut bytes = cx.random::<16>();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// Reads its text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let dashes_fit =
            text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
        let bytes = hex::decode(text.replace('-', "")).ok().filter(|_| dashes_fit)?;
        bytes.try_into().ok().map(Self)
    }

    /// As a table names it.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The id under which a table keeps a record.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| Error::internal("the id of an SSH issuer is not 16 bytes long"))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a UUID"))
    }
}
