mod browser;

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Field;
use crate::{
    call::Call,
    output::{folded, say, warn},
    pairs, paths,
    secret::Secret,
    session::Session,
    stop::{Outcome, REMOTE, Stop},
};

/// A wrapped login inside a wrapped login is somebody's joke.
const WRAPPINGS_MAX: u8 = 3;

/// Log in and keep the token for the next commands
///
/// The token is kept in ~/.vault-token, readable by you alone, where other clients of this API find it too.
#[derive(Args, Debug)]
pub(crate) struct Login {
    #[command(flatten)]
    field: Field,
    /// How to log in: token, userpass, ldap, radius, approle, cert, jwt, oidc or kubernetes [default: token]
    #[arg(long, value_name = "TYPE")]
    method: Option<String>,
    /// Where the method is mounted; its type if left out
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Do not keep the token
    #[arg(long)]
    no_store: bool,
    /// Do not print the token
    #[arg(long)]
    no_print: bool,
    /// Print only the token, and do not keep it
    #[arg(long)]
    token_only: bool,
    /// What the method asks for, as key=value; for the method `token`, the token, or `-` to read it from a pipe
    #[arg(value_name = "AUTH K=V")]
    data: Vec<String>,
}

/// The methods that this program can log in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Token,
    /// A name in the path and a password: userpass, ldap, radius.
    Password(&'static str),
    Approle,
    Cert,
    /// A role and a signed statement: jwt, kubernetes.
    Jwt(&'static str),
    /// A browser, and a provider that asks there who someone is.
    Oidc,
}

/// Where a pod finds the statement that Kubernetes signed for it.
const KUBERNETES_TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl Method {
    pub(crate) fn named(name: &str) -> Option<Method> {
        Some(match name {
            "token" => Method::Token,
            "userpass" => Method::Password("userpass"),
            "ldap" => Method::Password("ldap"),
            "radius" => Method::Password("radius"),
            "approle" => Method::Approle,
            "cert" => Method::Cert,
            "jwt" => Method::Jwt("jwt"),
            "kubernetes" => Method::Jwt("kubernetes"),
            "oidc" => Method::Oidc,
            _ => return None,
        })
    }

    /// How to use the method.
    pub(crate) fn help(self) -> String {
        let (usage, about, settings) = match self {
            Method::Token => (
                "keep login [TOKEN]".to_owned(),
                "Uses a token that you already have. `keep login -` reads it from a pipe.",
                "  token=<string>\n      The token; asked for if left out.\n\n  lookup=<bool>\n      Whether to look the token up first [true].",
            ),
            Method::Password(name) => (
                format!("keep login -method={name} username=NAME"),
                "Uses a name and a password. The password is asked for without showing it.",
                "  username=<string>\n      Your name; that of your account here if left out.\n\n  password=<string>\n      The password; asked for if left out. `password=-` reads it from a pipe.",
            ),
            Method::Approle => (
                "keep login -method=approle role_id=ID".to_owned(),
                "Uses the role and secret that an administrator gave to a machine.",
                "  role_id=<string>\n      The role.\n\n  secret_id=<string>\n      The secret; asked for if left out. `secret_id=@file` reads it from a file.",
            ),
            Method::Cert => (
                "keep login -method=cert -client-cert=FILE -client-key=FILE".to_owned(),
                "Uses the client certificate of the connection.",
                "  name=<string>\n      The role to use; any that fits if left out.",
            ),
            Method::Jwt(name) => (
                format!("keep login -method={name} role=ROLE jwt=@FILE"),
                "Uses a signed statement of an identity provider.",
                "  role=<string>\n      The role to use.\n\n  jwt=<string>\n      The statement; for kubernetes, that of the pod if left out.",
            ),
            Method::Oidc => (
                "keep login -method=oidc [role=ROLE]".to_owned(),
                "Opens a browser, in which an identity provider asks who you are.",
                browser::SETTINGS,
            ),
        };
        format!("Usage: {usage}\n\n  {about}\n\nConfiguration:\n\n{settings}")
    }
}

impl Login {
    pub(crate) async fn run(self, session: &mut Session) -> Outcome {
        if self.no_store && self.no_print {
            return Err(Stop::local("-no-store and -no-print cannot be used together"));
        }
        let name = paths::clean(self.method.as_deref().unwrap_or("token"));
        let Some(method) = Method::named(&name) else {
            return Err(Stop::local(folded(
                &format!(
                    "Unknown auth method: {name}. Use \"keep auth list\" to see the complete list of auth \
                     methods. Additionally, some auth methods are only available via the HTTP API."
                ),
                0,
            ))
            .hint(format!(
                "Log in with `keep write auth/{name}/login …` and give its token to `keep login`."
            )));
        };
        let mut data = self.data.clone();
        if let (Method::Token, Some(first)) = (method, data.first_mut())
            && !first.contains('=')
        {
            *first = format!("token={first}");
        }
        let given = pairs::read_text(&data, session.interactive)?;
        let mount =
            paths::clean(self.path.as_deref().or(given.get("mount").map(String::as_str)).unwrap_or(&name));
        session.client.token = None;
        let secret = authenticate(session, method, &mount, &given).await?;
        let Some(secret) = self.unwrapped(session, secret).await? else { return Ok(0) };
        self.finish(session, &secret)
    }

    /// Opens a wrapped answer, unless it is to be printed as it is.
    async fn unwrapped(&self, session: &mut Session, mut secret: Secret) -> Result<Option<Secret>, Stop> {
        session.client.wrap_ttl = None;
        for _ in 0..WRAPPINGS_MAX {
            let Some(wrap) = &secret.wrap_info else { return Ok(Some(secret)) };
            if wrap.wrapped_accessor.is_empty() {
                return Err(Stop::remote(
                    "Error extracting token: wrapped response does not contain a token",
                ));
            }
            if self.token_only {
                session.output.secret_or_field(&secret, Some("wrapping_token"))?;
                return Ok(None);
            }
            if self.no_store {
                session.output.secret(&secret)?;
                return Ok(None);
            }
            let call = Call::put("sys/wrapping/unwrap", json!({})).with_token(wrap.token.clone().into());
            let inner = session.client.write(call).await.map_err(|e| e.during("Error extracting token"))?;
            secret = inner.ok_or_else(|| Stop::remote("The server returned an empty answer"))?;
        }
        Err(Stop::remote("Error extracting token: the answer is wrapped too often"))
    }

    fn finish(&self, session: &Session, secret: &Secret) -> Outcome {
        let output = session.output;
        let Some(auth) = &secret.auth else {
            return Err(Stop::remote(
                "The server returned an answer without a token. Is this the path of an auth method?",
            ));
        };
        if auth.mfa_requirement.as_ref().is_some_and(|value| !value.is_null()) {
            warn(folded(
                "A login request was issued that is subject to MFA validation. Please make sure to validate the \
                 login by sending another request to sys/mfa/validate endpoint.",
                0,
            ));
            return output.secret(secret);
        }
        if self.no_store || self.token_only {
            if !self.token_only {
                warn(
                    folded(
                        "The token was not stored in token helper. Set the KEEP_TOKEN environment variable or pass \
                         the token below with each request to the server.",
                        0,
                    ) + "\n",
                );
            }
        } else if let Err(failed) = session.tokens.store(&auth.client_token) {
            output.secret(secret)?;
            return Err(failed
                .hint("The login was successful, but the token could not be kept; it is printed above.")
                .code(REMOTE));
        } else if session.settings.token.is_some() {
            warn(
                folded(
                    "WARNING! The KEEP_TOKEN (or BAO_TOKEN, VAULT_TOKEN) environment variable is set! Its value \
                     takes precedence over the stored token; unset it if that is not what you want.",
                    0,
                ) + "\n",
            );
        }
        if self.no_print {
            return Ok(0);
        }
        let field = if self.token_only { Some("token") } else { self.field.field.as_deref() };
        if field.is_none() && output.is_table() {
            let kept = if self.no_store {
                "Success! You are now authenticated. The token information is displayed below."
            } else {
                "Success! You are now authenticated. The token information displayed below is already stored in the \
                 token helper. You do NOT need to run \"keep login\" again. Future requests will automatically use \
                 this token."
            };
            say(folded(kept, 0) + "\n");
        }
        output.secret_or_field(secret, field)
    }
}

async fn authenticate(
    session: &mut Session,
    method: Method,
    mount: &str,
    given: &BTreeMap<String, String>,
) -> Result<Secret, Stop> {
    let call = match method {
        Method::Token => return token(session, given).await,
        Method::Oidc => return browser::log_in(session, mount, given).await,
        Method::Password(_) => {
            let user = given.get("username").cloned().or_else(|| session.settings.user.clone());
            let user = user.ok_or_else(|| wrong("'username' must be specified"))?;
            let password = secret_part(session, given, "password", "Password (will be hidden): ")?;
            Call::put(format!("auth/{mount}/login/{user}"), json!({ "password": password.as_str() }))
        }
        Method::Approle => {
            let role = given.get("role_id").ok_or_else(|| wrong("'role_id' must be specified"))?;
            let secret = secret_part(session, given, "secret_id", "Secret ID (will be hidden): ")?;
            let mut body = json!({ "role_id": role });
            if let Some(body) = body.as_object_mut()
                && !secret.is_empty()
            {
                body.insert("secret_id".to_owned(), json!(secret.trim()));
            }
            Call::put(format!("auth/{mount}/login"), body)
        }
        Method::Cert => Call::put(format!("auth/{mount}/login"), json!({ "name": given.get("name") })),
        Method::Jwt(name) => {
            let jwt = match given.get("jwt") {
                Some(jwt) => jwt.clone(),
                None if name == "kubernetes" => {
                    std::fs::read_to_string(KUBERNETES_TOKEN_FILE).map_err(|e| {
                        wrong(format!("'jwt' is not given and {KUBERNETES_TOKEN_FILE} cannot be read: {e}"))
                    })?
                }
                None => return Err(wrong("'jwt' must be specified")),
            };
            Call::put(format!("auth/{mount}/login"), json!({ "role": given.get("role"), "jwt": jwt.trim() }))
        }
    };
    let secret = session.client.write(call).await.map_err(|e| e.during("Error authenticating"))?;
    secret.ok_or_else(|| wrong("empty response from credential provider"))
}

/// A token is checked by looking it up; the answer is put into the shape of a login's.
async fn token(session: &mut Session, given: &BTreeMap<String, String>) -> Result<Secret, Stop> {
    let token = secret_part(session, given, "token", "Token (will be hidden): ")?;
    let token = Zeroizing::new(token.trim().to_owned());
    if token.is_empty() {
        return Err(wrong("a token must be passed to auth, please view the help for more information"));
    }
    session.client.token = Some(token.clone());
    if given.get("lookup").is_some_and(|text| crate::argv::go_bool(text) == Some(false)) {
        let auth = crate::secret::Auth { client_token: token.to_string(), ..Default::default() };
        return Ok(Secret { auth: Some(auth), ..Secret::default() });
    }
    let looked_up = session
        .client
        .standing(Call::get("auth/token/lookup-self"))
        .await
        .map_err(|e| e.during("Error authenticating: error looking up token"))?;
    if looked_up.wrap_info.is_some() {
        return Ok(looked_up);
    }
    let text = |name: &str| looked_up.text(name).unwrap_or_default().to_owned();
    let list = |name: &str| -> Option<Vec<String>> {
        let list = looked_up.field(name)?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    let token_policies = list("policies");
    let identity_policies = list("identity_policies");
    let mut policies: Vec<String> =
        token_policies.iter().flatten().chain(identity_policies.iter().flatten()).cloned().collect();
    policies.sort();
    policies.dedup();
    let auth = crate::secret::Auth {
        client_token: token.to_string(),
        accessor: text("accessor"),
        policies: Some(policies),
        token_policies,
        identity_policies,
        metadata: looked_up.field("meta").and_then(Value::as_object).cloned(),
        orphan: looked_up.field("orphan").and_then(Value::as_bool).unwrap_or_default(),
        entity_id: text("entity_id"),
        lease_duration: looked_up.field("ttl").and_then(Value::as_i64).unwrap_or_default(),
        renewable: looked_up.field("renewable").and_then(Value::as_bool).unwrap_or_default(),
        mfa_requirement: None,
    };
    let warnings = looked_up.warnings.clone();
    Ok(Secret { request_id: looked_up.request_id, warnings, auth: Some(auth), ..Secret::default() })
}

fn secret_part(
    session: &Session,
    given: &BTreeMap<String, String>,
    name: &str,
    prompt: &str,
) -> Result<Zeroizing<String>, Stop> {
    match given.get(name) {
        Some(value) => Ok(Zeroizing::new(value.trim_end_matches(['\r', '\n']).to_owned())),
        None => session.ask_hidden(prompt, name).map_err(|stop| match stop {
            Stop::Failed { message, hint, .. } => {
                Stop::Failed { code: REMOTE, message: format!("Error authenticating: {message}"), hint }
            }
            shown => shown,
        }),
    }
}

/// A setting that is true or false, and false if left out.
fn yes(given: &BTreeMap<String, String>, name: &str) -> Result<bool, Stop> {
    let read = |text: &String| {
        crate::argv::go_bool(text).ok_or_else(|| wrong(format!("{name} must be true or false")))
    };
    given.get(name).map_or(Ok(false), read)
}

fn wrong(why: impl std::fmt::Display) -> Stop {
    Stop::remote(format!("Error authenticating: {why}"))
}
