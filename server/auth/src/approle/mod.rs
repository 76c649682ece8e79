//! Machines with a role and a secret.
//!
//! A role id says which role, a secret id proves it. Secret ids are stored as keyed hashes alone; each is one
//! record under its role's own key, so that a login reads one record, and a role that is created anew under an
//! old name shares nothing with the one before.

mod lookup;
mod parts;
mod role;
mod secret_id;
mod sign_in;
mod sweep;

use std::sync::Arc;

use aws_lc_rs::hmac;
use kit::{
    AuthMethod, Endpoint, Engine, Error, Fields, IdTable, LoginPoint, Reading, Reads, Renewal, Result, Table,
    Terms, Writing, command, login, query,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use role::Role;
use secret_id::SecretId;

/// Lets machines in by role id and secret id.
pub(crate) struct AppRole;

impl Engine for AppRole {
    const NAME: &'static str = "approle";
    const ABOUT: &'static str = "Lets machines in by role id and secret id.";
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        query::<Self, role::List>(),
        query::<Self, role::Read>(),
        command::<Self, role::Write>(),
        command::<Self, role::Delete>(),
        query::<Self, role::ReadRoleId>(),
        command::<Self, role::WriteRoleId>(),
        command::<Self, secret_id::Create>(),
        command::<Self, secret_id::CreateCustom>(),
        query::<Self, secret_id::List>(),
        query::<Self, lookup::Lookup>(),
        command::<Self, lookup::Destroy>(),
        command::<Self, lookup::DestroyToo>(),
        query::<Self, lookup::LookupAccessor>(),
        command::<Self, lookup::DestroyAccessor>(),
        command::<Self, lookup::DestroyAccessorToo>(),
        query::<Self, parts::bind_secret_id::Read>(),
        command::<Self, parts::bind_secret_id::Write>(),
        command::<Self, parts::bind_secret_id::Delete>(),
        query::<Self, parts::bound_cidr_list::Read>(),
        command::<Self, parts::bound_cidr_list::Write>(),
        command::<Self, parts::bound_cidr_list::Delete>(),
        query::<Self, parts::secret_id_bound_cidrs::Read>(),
        command::<Self, parts::secret_id_bound_cidrs::Write>(),
        command::<Self, parts::secret_id_bound_cidrs::Delete>(),
        query::<Self, parts::secret_id_num_uses::Read>(),
        command::<Self, parts::secret_id_num_uses::Write>(),
        command::<Self, parts::secret_id_num_uses::Delete>(),
        query::<Self, parts::secret_id_ttl::Read>(),
        command::<Self, parts::secret_id_ttl::Write>(),
        command::<Self, parts::secret_id_ttl::Delete>(),
        query::<Self, parts::token_bound_cidrs::Read>(),
        command::<Self, parts::token_bound_cidrs::Write>(),
        command::<Self, parts::token_bound_cidrs::Delete>(),
        query::<Self, parts::token_max_ttl::Read>(),
        command::<Self, parts::token_max_ttl::Write>(),
        command::<Self, parts::token_max_ttl::Delete>(),
        query::<Self, parts::token_num_uses::Read>(),
        command::<Self, parts::token_num_uses::Write>(),
        command::<Self, parts::token_num_uses::Delete>(),
        query::<Self, parts::token_ttl::Read>(),
        command::<Self, parts::token_ttl::Write>(),
        command::<Self, parts::token_ttl::Delete>(),
        query::<Self, parts::period::Read>(),
        command::<Self, parts::period::Write>(),
        command::<Self, parts::period::Delete>(),
        query::<Self, parts::policies::Read>(),
        command::<Self, parts::policies::Write>(),
        command::<Self, parts::policies::Delete>(),
        query::<Self, parts::ReadLocalSecretIds>(),
        command::<Self, sweep::Tidy>(),
        command::<Self, sweep::Sweep>(),
        command::<Self, sweep::Expire>(),
        command::<Self, sweep::Purge>(),
    ];

    fn open(_: &Value) -> Result<Self> {
        Ok(Self)
    }
}

impl AuthMethod for AppRole {
    const LOGINS: &'static [LoginPoint<Self>] = &[login::<Self, sign_in::SignIn>()];
    const HAS_ROLES: bool = true;

    fn role(&self, fields: &Fields<'_>, cx: &Reading<'_>) -> Result<Option<String>> {
        sign_in::role_named(fields, cx)
    }

    fn renew(&self, past: &Renewal<'_>, cx: &Reading<'_>) -> Result<Terms> {
        let name = past.internal.get("role_name").and_then(Value::as_str).unwrap_or_default();
        let role = if name.is_empty() { None } else { ROLES.get(cx, name)? };
        let role =
            role.ok_or_else(|| Error::server(format!("role {name:?} does not exist during renewal")))?;
        Ok(Terms { policies: past.policies.to_vec(), ..role.token.terms() })
    }
}

/// Roles by name.
const ROLES: Table<Role> = Table::new(1);
/// Names of roles by the hash of their role id.
const ROLE_IDS: IdTable<String> = IdTable::new(2);
/// The key of all hashes of this mount.
const SALT: Table<Salt> = Table::new(3);
/// Secret ids by the key of their role and their own hash.
const SECRET_IDS: IdTable<SecretId> = IdTable::new(4);
/// Where the secret id of an accessor lies.
const ACCESSORS: IdTable<Place> = IdTable::new(5);

/// The only record of [`SALT`].
const HASH_KEY: &str = "hash-key";
/// The longest role id or secret id, in bytes.
const ID_SIZE_MAX: usize = 4096;

/// Names all secret ids of a role. Random, and never used again.
type RoleKey = [u8; 16];

/// Where a secret id lies: the key of its role, and its hash.
#[derive(Clone, Copy, Deserialize, Eq, PartialEq, Serialize)]
struct Place {
    role: RoleKey,
    hash: [u8; 32],
}

impl Place {
    fn bytes(&self) -> Vec<u8> {
        [&self.role[..], &self.hash[..]].concat()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (role, hash) = bytes.split_first_chunk()?;
        Some(Self { role: *role, hash: hash.try_into().ok()? })
    }
}

#[derive(Deserialize, Serialize)]
struct Salt([u8; 32]);

/// Hashes ids with the key of the mount.
struct Hasher(hmac::Key);

impl Hasher {
    fn new(salt: &Salt) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &salt.0))
    }

    /// The hasher of this mount; none before its first role.
    fn of(cx: &impl Reads) -> Result<Option<Arc<Self>>> {
        let hasher =
            cx.memo(HASH_KEY, |cx| Ok(SALT.get(cx, HASH_KEY)?.map(|salt| Arc::new(Self::new(&salt)))))?;
        Ok(Option::clone(&hasher))
    }

    /// The hasher of this mount, made if it has none yet.
    fn make(cx: &mut Writing<'_>) -> Result<Arc<Self>> {
        if let Some(hasher) = Self::of(cx)? {
            return Ok(hasher);
        }
        let salt = Salt(cx.random());
        SALT.put(cx, HASH_KEY, &salt)?;
        Ok(Arc::new(Self::new(&salt)))
    }

    fn hash(&self, parts: [&[u8]; 3]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        parts.iter().for_each(|part| context.update(part));
        context.sign().as_ref().try_into().expect("SHA-256 makes 32 bytes")
    }

    fn role_id(&self, role_id: &str) -> [u8; 32] {
        self.hash([b"role-id", &[0], role_id.as_bytes()])
    }

    fn secret_id(&self, role: RoleKey, secret_id: &str) -> Place {
        Place { role, hash: self.hash([b"secret-id", &role, secret_id.as_bytes()]) }
    }
}

/// A random UUID, version 4.
fn uuid(cx: &Writing<'_>) -> String {
    let mut bytes: [u8; 16] = cx.random();
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0f) | 0x40;
    *variant = (*variant & 0x3f) | 0x80;
    spell(bytes)
}

fn spell(bytes: [u8; 16]) -> String {
    use std::fmt::Write as _;
    bytes.iter().enumerate().fold(String::with_capacity(36), |mut out, (at, byte)| {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        write!(out, "{byte:02x}").expect("a string takes all that is written");
        out
    })
}

/// The bytes of a UUID, in the spelling that [`uuid`] gives it and no other.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.split('-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    let number = u128::from_str_radix(&digits, 16).ok()?;
    let bytes = number.to_be_bytes();
    (spell(bytes) == text).then_some(bytes)
}

/// The role of this name.
fn role(cx: &impl Reads, name: &str, missing: impl FnOnce(String) -> Error) -> Result<Role> {
    ROLES.get(cx, name)?.ok_or_else(|| missing(format!("role {name:?} does not exist")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_read_back_in_one_spelling_only() {
        let text = "082a2eb2-9c1e-4f5a-8b1c-0123456789ab";
        assert_eq!(parse_uuid(text).map(spell).as_deref(), Some(text));
        let upper = text.to_uppercase();
        for wrong in
            ["", "nope", &text[1..], &format!("{text}0"), &upper, "+82a2eb2-9c1e-4f5a-8b1c-0123456789ab"]
        {
            assert_eq!(parse_uuid(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn equal_secrets_of_two_roles_lie_apart() {
        let hasher = Hasher::new(&Salt([7; 32]));
        let (one, other) = (hasher.secret_id([1; 16], "mine"), hasher.secret_id([2; 16], "mine"));
        assert!(one.hash != other.hash);
        assert!(Place::parse(&one.bytes()) == Some(one));
        assert!(Hasher::new(&Salt([8; 32])).secret_id([1; 16], "mine").hash != one.hash);
    }
}
