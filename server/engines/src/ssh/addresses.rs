//! For which machines passwords are given: networks of roles, and roles for any address.

use std::net::IpAddr;

use kit::loose::{Text, Texts};
use kit::{Command, Error, Nothing, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Ssh;
use super::role::Role;
use super::store::{ROLES, any_address_roles, delete_any_address_roles, set_any_address_roles};

/// The networks of a list.
pub(super) struct Networks(Vec<(IpAddr, u32)>);

impl Networks {
    /// Reads `10.0.0.0/8, fd00::/8`. The error is the entry that is none.
    pub(super) fn parse(list: &str) -> Result<Self, &str> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(|entry| network(entry).ok_or(entry)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of them holds this address.
    pub(super) fn hold(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|(network, length)| match (number(*network), number(ip)) {
            ((one, width), (other, same)) if width == same => {
                let free = width - (*length).min(width);
                one.checked_shr(free) == other.checked_shr(free)
            }
            _ => false,
        })
    }
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/')?;
    let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse::<u32>().ok()?);
    (length <= number(address).1).then_some((address, length))
}

/// An address as a number, and how many bits it has.
fn number(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u32::from(ip).into(), 32),
        IpAddr::V6(ip) => (ip.into(), 128),
    }
}

/// Reads an address. One of version 4 in the clothes of version 6 is one of version 4.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Finds the roles that give passwords for an address.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Lookup {
    /// The address of the machine.
    ip: Option<Text>,
}

/// The roles for an address.
#[derive(JsonSchema, Serialize)]
pub(super) struct FoundRoles {
    /// Nothing if there is none.
    roles: Option<Vec<String>>,
}

impl Query<Ssh> for Lookup {
    const ROUTE: Route = Route::post("lookup");
    type Reply = FoundRoles;

    fn run(self, _: &Ssh, cx: &Reading<'_>) -> Result<Reply<FoundRoles>> {
        let asked = self.ip.unwrap_or_default().0;
        if asked.is_empty() {
            return Err(Error::invalid("Missing ip"));
        }
        let ip = parse_address(&asked).ok_or_else(|| Error::invalid(format!("Invalid IP {asked:?}")))?;
        let any = any_address_roles(cx)?.unwrap_or_default();
        let mut roles = Vec::new();
        for name in ROLES.list(cx, "")?.iter() {
            let Some(Role::Otp(role)) = ROLES.get(cx, name)? else { continue };
            if role.covers(ip) || any.contains(name) {
                roles.push(name.clone());
            }
        }
        Ok(Reply::Data(FoundRoles { roles: Some(roles).filter(|roles| !roles.is_empty()) }))
    }
}

/// The roles for any address.
#[derive(JsonSchema, Serialize)]
pub(super) struct AnyAddressRoles {
    roles: Vec<String>,
}

/// Shows the roles whose passwords are for any address.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadAnyAddress {}

impl Query<Ssh> for ReadAnyAddress {
    const ROUTE: Route = Route::get("config/zeroaddress");
    type Reply = AnyAddressRoles;

    fn run(self, _: &Ssh, cx: &Reading<'_>) -> Result<Reply<AnyAddressRoles>> {
        let roles = any_address_roles(cx)?.ok_or_else(Error::not_found)?;
        Ok(Reply::Data(AnyAddressRoles { roles }))
    }
}

/// Says which roles' passwords are for any address, whatever networks they have.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteAnyAddress {
    /// Names of roles.
    roles: Option<Texts>,
}

impl Command<Ssh> for WriteAnyAddress {
    const ROUTE: Route = Route::post("config/zeroaddress");
    type Reply = Nothing;

    fn run(self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let roles = self.roles.unwrap_or_default().0;
        if roles.is_empty() {
            return Err(Error::invalid("Missing roles"));
        }
        for name in &roles {
            if !ROLES.has(cx, name)? {
                return Err(Error::invalid(format!("Role {name:?} does not exist")));
            }
        }
        set_any_address_roles(cx, &roles)?;
        Ok(Reply::Nothing)
    }
}

/// Ends that any role's passwords are for any address.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteAnyAddress {}

impl Command<Ssh> for DeleteAnyAddress {
    const ROUTE: Route = Route::delete("config/zeroaddress");
    type Reply = Nothing;

    fn run(self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        delete_any_address_roles(cx)?;
        Ok(Reply::Nothing)
    }
}

/// Takes a role that is going off the list, so that a later one of its name does not inherit it.
pub(super) fn drop_from_any_address(cx: &mut Writing<'_>, name: &str) -> Result<()> {
    let Some(mut roles) = any_address_roles(cx)? else { return Ok(()) };
    roles.retain(|role| role != name);
    set_any_address_roles(cx, &roles)
}

/// Clears up after a kind of role that is long gone. There is nothing to clear up here; scripts still ask.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TidyDynamicKeys {}

/// What was cleared up.
#[derive(JsonSchema, Serialize)]
pub(super) struct Tidied {
    message: &'static str,
}

impl Command<Ssh> for TidyDynamicKeys {
    const ROUTE: Route = Route::delete("tidy/dynamic-keys");
    type Reply = Tidied;

    fn run(self, _: &Ssh, _: &mut Writing<'_>) -> Result<Reply<Tidied>> {
        Ok(Reply::Data(Tidied { message: "Removed 0 of 0 host keys." }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        for (list, ip, expect) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "fd00::1", false),
            ("::/0", "fd00::1", true),
            ("::/0", "1.2.3.4", false),
            ("1.2.3.4/32, fd00::/8", "fd12::1", true),
            ("1.2.3.4/32", "1.2.3.5", false),
            ("", "1.2.3.4", false),
        ] {
            let networks = Networks::parse(list).unwrap_or_else(|bad| panic!("{bad}"));
            assert_eq!(networks.hold(parse_address(ip).unwrap()), expect, "{list} {ip}");
        }
        for bad in ["x", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/8/8", "10.0.0.0/-1"] {
            assert_eq!(Networks::parse(bad).err(), Some(bad));
        }
    }
}
