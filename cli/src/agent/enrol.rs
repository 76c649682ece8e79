//! Giving a machine an identity that may do one thing: have certificates of one role signed.
//!
//! What a run makes on the server is written down as it is made, so that a run that leads to nothing can take it away again.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{call::Call, client::Client, refused::Refused, stop::Stop};

/// A token of the agent is needed for seconds.
const TOKEN_TTL: &str = "20m";
/// What is set of a role, and put back if the role was there before.
const ROLE_FIELDS: [&str; 3] = ["token_policies", "token_ttl", "token_max_ttl"];

/// An identity by approle.
pub(crate) struct Enrolled {
    /// The name of its policy and its role.
    pub(crate) name: String,
    pub(crate) role_id: Zeroizing<String>,
    pub(crate) secret_id: Zeroizing<String>,
}

/// What a run has made on the server so far, the oldest first.
#[derive(Default)]
pub(crate) struct Made(Vec<Step>);

enum Step {
    /// approle was enabled.
    Method,
    Policy(String, Before),
    Role(String, Before),
    /// A secret id of this role, by its accessor.
    SecretId(String, String),
}

/// What stood in its place.
enum Before {
    Nothing,
    Something(Value),
    /// Whoever may not look does not know what to put back.
    Unknown,
}

/// The policy of an agent that asks one role of one mount for certificates, and reports where they are.
pub(crate) fn policy(mount: &str, role: &str) -> String {
    let paths = [format!("{mount}/sign/{role}"), format!("{mount}/inventory/report")];
    paths.map(|path| format!("path \"{path}\" {{\n  capabilities = [\"update\"]\n}}\n")).concat()
}

/// Makes the policy, the role and a secret id, with the rights of whoever is logged in.
pub(crate) async fn enrol(
    client: &Client,
    certificate: &str,
    (mount, role): (&str, &str),
    made: &mut Made,
) -> Result<Enrolled, Stop> {
    let name = format!("keep-{certificate}");
    let failed = |what: &'static str| {
        move |refused: Refused| {
            refused.during(format!("Error giving this machine an identity: {what}")).hint(
                "Log in as somebody who may write policies and approle roles, or give -role-id-file and -secret-id-file of an identity that is there.",
            )
        }
    };
    if enable(client).await.map_err(failed("enabling approle"))? {
        made.0.push(Step::Method);
    }
    let path = policy_path(&name);
    let before = before(client, &path).await;
    let text = policy(mount, role);
    if let Before::Something(old) = &before
        && let Some(old) = old.get("policy").and_then(Value::as_str)
        && !old.contains(&format!("\"{mount}/sign/{role}\""))
    {
        let why =
            format!("the policy {name} is there already, and is for something else than {mount}/sign/{role}");
        let hint = format!(
            "Another machine may live by it. Give -role-id-file and -secret-id-file of an identity that is there; or, if no machine uses it any more, `keep policy delete {name}` first."
        );
        return Err(Stop::remote(why).hint(hint));
    }
    let body = json!({ "policy": text });
    client.write(Call::put(path, body)).await.map_err(failed("its policy"))?;
    made.0.push(Step::Policy(name.clone(), before));
    let path = role_path(&name);
    let before = self::before(client, &path).await;
    let body = json!({ "token_policies": [name], "token_ttl": TOKEN_TTL, "token_max_ttl": TOKEN_TTL });
    client.write(Call::put(&path, body)).await.map_err(failed("its role"))?;
    made.0.push(Step::Role(name.clone(), before));
    let id = client.read(Call::get(format!("{path}/role-id"))).await.map_err(failed("its role id"))?;
    let secret = client.write(Call::put(format!("{path}/secret-id"), json!({}))).await;
    let secret = secret.map_err(failed("its secret id"))?;
    let text = |answer: &Option<crate::secret::Secret>, key: &str| {
        let found = answer.as_ref().and_then(|secret| secret.text(key)).map(str::to_owned);
        found.map(Zeroizing::new).ok_or_else(|| Stop::remote(format!("The server returned no {key}")))
    };
    if let Ok(accessor) = text(&secret, "secret_id_accessor") {
        made.0.push(Step::SecretId(name.clone(), accessor.to_string()));
    }
    Ok(Enrolled { role_id: text(&id, "role_id")?, secret_id: text(&secret, "secret_id")?, name })
}

/// Enables approle, unless it is there. Whether it was not.
async fn enable(client: &Client) -> Result<bool, Refused> {
    let mounts = client.read(Call::get("sys/auth")).await?;
    if mounts.is_some_and(|mounts| mounts.field("approle/").is_some()) {
        return Ok(false);
    }
    client.write(Call::post("sys/auth/approle", json!({ "type": "approle" }))).await.map(|_| true)
}

async fn before(client: &Client, path: &str) -> Before {
    match client.read(Call::get(path)).await {
        Ok(None) => Before::Nothing,
        Ok(Some(secret)) => secret.data.map_or(Before::Unknown, Before::Something),
        Err(refused) if refused.status() == Some(404) => Before::Nothing,
        Err(_) => Before::Unknown,
    }
}

impl Made {
    /// Takes away what was made, the newest first, and puts back what was changed. What came of it, in lines for people.
    pub(crate) async fn undo(self, client: &Client) -> Vec<String> {
        let mut lines = Vec::new();
        for step in self.0.iter().rev() {
            let what = step.what();
            match self.undo_step(client, step).await {
                Ok(Some(done)) => lines.push(format!("{done}: {what}.")),
                Ok(None) => {}
                Err(why) => lines.push(format!(
                    "Still on the server: {what}, as it cannot be taken away: {why}. Do that yourself: `{}`.",
                    step.by_hand()
                )),
            }
        }
        lines
    }

    async fn undo_step(&self, client: &Client, step: &Step) -> Result<Option<&'static str>, String> {
        const GONE: Option<&str> = Some("Taken away again");
        const BACK: Option<&str> = Some("Put back as it was");
        const UNKNOWN: &str = "what stood there before could not be read";
        let write = async |call: Call| client.write(call).await.map(drop).map_err(|refused| refused.reason());
        match step {
            Step::SecretId(role, accessor) => {
                // It goes with its role, if that was made too.
                if self.0.iter().any(|step| matches!(step, Step::Role(_, Before::Nothing))) {
                    return Ok(None);
                }
                let body = json!({ "secret_id_accessor": accessor });
                let path = format!("{}/secret-id-accessor/destroy", role_path(role));
                write(Call::post(path, body)).await.map(|()| GONE)
            }
            Step::Role(name, Before::Nothing) => write(Call::delete(role_path(name))).await.map(|()| GONE),
            Step::Role(name, Before::Something(old)) => {
                let field = |key: &str| Some((key.to_owned(), old.get(key)?.clone()));
                let fields: serde_json::Map<String, Value> =
                    ROLE_FIELDS.iter().filter_map(|key| field(key)).collect();
                write(Call::put(role_path(name), Value::Object(fields))).await.map(|()| BACK)
            }
            Step::Policy(name, Before::Nothing) => {
                write(Call::delete(policy_path(name))).await.map(|()| GONE)
            }
            Step::Policy(name, Before::Something(old)) => {
                let body = json!({ "policy": old.get("policy") });
                write(Call::put(policy_path(name), body)).await.map(|()| BACK)
            }
            Step::Role(_, Before::Unknown) | Step::Policy(_, Before::Unknown) => Err(UNKNOWN.to_owned()),
            Step::Method => match client.read(Call::list("auth/approle/role")).await {
                // Somebody else has come to use it meanwhile.
                Ok(Some(_)) => Ok(None),
                Ok(None) => write(Call::delete("sys/auth/approle")).await.map(|()| GONE),
                Err(refused) if refused.status() == Some(404) => {
                    write(Call::delete("sys/auth/approle")).await.map(|()| GONE)
                }
                Err(refused) => Err(refused.reason()),
            },
        }
    }
}

impl Step {
    fn what(&self) -> String {
        match self {
            Step::Method => "the auth method approle/".to_owned(),
            Step::Policy(name, _) => format!("the policy {name}"),
            Step::Role(name, _) => format!("the approle role {name}"),
            Step::SecretId(role, _) => format!("a secret id of {role}"),
        }
    }

    fn by_hand(&self) -> String {
        match self {
            Step::Method => "keep auth disable approle".to_owned(),
            Step::Policy(name, _) => format!("keep policy delete {name}"),
            Step::Role(name, _) => format!("keep delete {}", role_path(name)),
            Step::SecretId(role, accessor) => {
                format!(
                    "keep write {}/secret-id-accessor/destroy secret_id_accessor={accessor}",
                    role_path(role)
                )
            }
        }
    }
}

fn policy_path(name: &str) -> String {
    format!("sys/policies/acl/{name}")
}

fn role_path(name: &str) -> String {
    format!("auth/approle/role/{name}")
}
