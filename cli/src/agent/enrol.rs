//! Giving a machine an identity that may do one thing: have certificates of one role signed.

use serde_json::json;
use zeroize::Zeroizing;

use crate::{call::Call, client::Client, stop::Stop};

/// A token of the agent is needed for seconds.
const TOKEN_TTL: &str = "20m";

/// An identity by approle.
pub(crate) struct Enrolled {
    /// The name of its policy and its role.
    pub(crate) name: String,
    pub(crate) role_id: Zeroizing<String>,
    pub(crate) secret_id: Zeroizing<String>,
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
    mount: &str,
    role: &str,
) -> Result<Enrolled, Stop> {
    let name = format!("keep-{certificate}");
    let failed = |what: &'static str| {
        move |refused: crate::refused::Refused| {
            refused.during(format!("Error giving this machine an identity: {what}")).hint(
                "Log in as somebody who may write policies and approle roles, or give -role-id-file and -secret-id-file of an identity that is there.",
            )
        }
    };
    enable(client).await.map_err(failed("enabling approle"))?;
    let body = json!({ "policy": policy(mount, role) });
    client.write(Call::put(format!("sys/policies/acl/{name}"), body)).await.map_err(failed("its policy"))?;
    let path = format!("auth/approle/role/{name}");
    let body = json!({ "token_policies": [name], "token_ttl": TOKEN_TTL, "token_max_ttl": TOKEN_TTL });
    client.write(Call::put(&path, body)).await.map_err(failed("its role"))?;
    let id = client.read(Call::get(format!("{path}/role-id"))).await.map_err(failed("its role id"))?;
    let secret = client.write(Call::put(format!("{path}/secret-id"), json!({}))).await;
    let secret = secret.map_err(failed("its secret id"))?;
    let text = |answer: &Option<crate::secret::Secret>, key: &str| {
        let found = answer.as_ref().and_then(|secret| secret.text(key)).map(str::to_owned);
        found.map(Zeroizing::new).ok_or_else(|| Stop::remote(format!("The server returned no {key}")))
    };
    Ok(Enrolled { role_id: text(&id, "role_id")?, secret_id: text(&secret, "secret_id")?, name })
}

async fn enable(client: &Client) -> Result<(), crate::refused::Refused> {
    let mounts = client.read(Call::get("sys/auth")).await?;
    if mounts.is_some_and(|mounts| mounts.field("approle/").is_some()) {
        return Ok(());
    }
    client.write(Call::post("sys/auth/approle", json!({ "type": "approle" }))).await.map(drop)
}
