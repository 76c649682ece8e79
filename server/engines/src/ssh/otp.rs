//! One-time passwords, for machines that ask here whether a password is good.

use aws_lc_rs::digest;
use kit::loose::Text;
use kit::{Command, Error, Nothing, Reads, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use super::Ssh;
use super::addresses::{Networks, parse_address};
use super::role::{OtpRole, Role};
use super::store::{Id, PASSWORDS, PasswordRecord, ROLES, any_address_roles};

/// What a machine asks to see whether it reaches the server.
const ECHO_REQUEST: &str = "verify-echo-request";
const ECHO_RESPONSE: &str = "verify-echo-response";
const USERNAME_SIZE_MAX: usize = 1024;

/// Makes a password for one login on one machine.
#[derive(Deserialize, JsonSchema)]
pub(super) struct MakePassword {
    /// Name of the role.
    role: String,
    /// The address of the machine.
    ip: Option<Text>,
    /// The user there; the role's default if left out.
    username: Option<Text>,
}

/// A password, and where it is for.
#[derive(JsonSchema, Serialize)]
pub(super) struct MadePassword {
    ip: String,
    /// The password.
    key: Secret<String>,
    key_type: &'static str,
    port: u64,
    username: String,
}

impl Command<Ssh> for MakePassword {
    const ROUTE: Route = Route::post("creds/{role:at}");
    type Reply = MadePassword;

    fn run(self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<MadePassword>> {
        let asked = self.ip.unwrap_or_default().0;
        if asked.is_empty() {
            return Err(Error::invalid("Missing ip"));
        }
        let role = match ROLES.get(cx, &self.role)? {
            Some(Role::Otp(role)) => role,
            Some(Role::Ca(_)) => {
                return Err(Error::invalid(format!(
                    "role {:?} is of key type ca, which gives no passwords; use sign/{0} or a role of key type otp",
                    self.role
                )));
            }
            None => return Err(Error::invalid(format!("Role {:?} not found", self.role))),
        };
        let username = username(self.username.unwrap_or_default().0, &role)?;
        let ip = parse_address(&asked).ok_or_else(|| Error::invalid(format!("Invalid IP {asked:?}")))?;
        check_address(ip, &self.role, &role, cx)?;
        let password = Secret::new(Id::new(cx).to_string());
        let hash = hash(password.expose());
        let ip = ip.to_string();
        let record =
            PasswordRecord { username: username.clone(), ip: ip.clone(), role_name: self.role.clone() };
        PASSWORDS.put(cx, &hash, &record)?;
        cx.lease::<Ssh, _>(cx.mount().default_ttl, None, &ForgetPassword { hash: hex::encode(&hash) })?;
        Ok(Reply::Data(MadePassword { ip, key: password, key_type: "otp", port: role.port, username }))
    }
}

fn username(asked: String, role: &OtpRole) -> Result<String> {
    if asked.is_empty() || asked == role.default_user {
        return Ok(role.default_user.clone());
    }
    if asked.len() > USERNAME_SIZE_MAX || asked.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "username must be at most {USERNAME_SIZE_MAX} bytes without control characters"
        )));
    }
    match role.allowed_users.as_str() {
        "" => Err(Error::invalid(
            "Username has to be either in allowed users list or has to be a default username",
        )),
        "*" => Ok(asked),
        list if list.split(',').any(|user| user.trim() == asked) => Ok(asked),
        _ => Err(Error::invalid("Username is not present is allowed users list")),
    }
}

fn check_address(ip: IpAddr, name: &str, role: &OtpRole, cx: &impl Reads) -> Result<()> {
    let any = any_address_roles(cx)?.is_some_and(|roles| roles.iter().any(|role| role == name));
    match any || role.covers(ip) {
        true => Ok(()),
        false => Err(Error::invalid("Error validating IP: IP does not belong to role")),
    }
}

impl OtpRole {
    /// Whether its networks hold this address.
    pub(super) fn covers(&self, ip: IpAddr) -> bool {
        let holds = |list: &str| Networks::parse(list).is_ok_and(|networks| networks.hold(ip));
        holds(&self.cidr_list) && !holds(&self.exclude_cidr_list)
    }
}

/// Takes a password, once, and says whom it lets in where. Machines ask this before they let somebody in.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CheckPassword {
    /// The password.
    otp: Option<Text>,
}

/// Whom a password lets in where.
#[derive(Default, JsonSchema, Serialize)]
pub(super) struct CheckedPassword {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    /// The answer to a mere try.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
}

impl Command<Ssh> for CheckPassword {
    const ROUTE: Route = Route::post("verify").unauthenticated();
    type Reply = CheckedPassword;

    fn run(self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<CheckedPassword>> {
        let password = Secret::new(self.otp.unwrap_or_default().0);
        if password.expose() == ECHO_REQUEST {
            return Ok(Reply::Data(CheckedPassword {
                message: Some(ECHO_RESPONSE),
                ..CheckedPassword::default()
            }));
        }
        let hash = hash(password.expose());
        let record = PASSWORDS.get(cx, &hash)?.ok_or_else(|| Error::invalid("OTP not found"))?;
        PASSWORDS.delete(cx, &hash)?;
        Ok(Reply::Data(CheckedPassword {
            ip: Some(record.ip),
            message: None,
            role_name: Some(record.role_name),
            username: Some(record.username),
        }))
    }
}

/// Forgets a password whose lease has ended.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(super) struct ForgetPassword {
    /// Its hash, in hexadecimal digits.
    hash: String,
}

impl Command<Ssh> for ForgetPassword {
    const ROUTE: Route = Route::internal("forget-password").small();
    type Reply = Nothing;

    fn run(self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let hash =
            hex::decode(&self.hash).map_err(|_| Error::internal("the hash of a password is no hex"))?;
        PASSWORDS.delete(cx, &hash)?;
        Ok(Reply::Nothing)
    }
}

/// A password has 122 random bits, so its hash tells nobody anything, and looking it up takes no secret time.
fn hash(password: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, password.as_bytes()).as_ref().to_vec()
}
