//! What a call would be: the `curl` that sends it, the policy that allows it.

use crate::{
    call::{Call, Verb},
    client::Client,
};

/// Paths that need `sudo` in addition, as prefixes or, ending in `$`, whole.
const SUDO: [&str; 20] = [
    "auth/token/accessors",
    "auth/token/revoke-orphan$",
    "pki/root$",
    "pki/root/sign-self-issued$",
    "sys/audit",
    "sys/auth/",
    "sys/config/auditing/request-headers",
    "sys/config/cors$",
    "sys/config/ui/headers",
    "sys/internal/inspect/router/",
    "sys/leases/lookup/",
    "sys/leases/revoke-force/",
    "sys/leases/revoke-prefix/",
    "sys/plugins/catalog/",
    "sys/raw",
    "sys/remount$",
    "sys/rotate",
    "sys/seal$",
    "sys/step-down$",
    "sys/storage/raft/snapshot-auto",
];

/// The command line that sends `call`. It asks for the token when run, and never shows it.
pub(crate) fn curl(client: &Client, call: &Call) -> String {
    let mut line = "curl".to_owned();
    if call.verb != Verb::Get {
        line.push_str(&format!(" -X {}", call.verb.name()));
    }
    line.push_str(" -H \"X-Vault-Request: true\"");
    if call.verb == Verb::Patch {
        line.push_str(" -H \"Content-Type: application/merge-patch+json\"");
    }
    if let Some(namespace) = &client.namespace {
        line.push_str(&format!(" -H {}", quoted(&format!("X-Vault-Namespace: {namespace}"))));
    }
    if call.token.is_some() || client.token.is_some() {
        line.push_str(" -H \"X-Vault-Token: $(keep print token)\"");
    }
    if let Some(ttl) = client.wrapping(call) {
        line.push_str(&format!(" -H {}", quoted(&format!("X-Vault-Wrap-TTL: {ttl}"))));
    }
    for (name, value) in &client.headers {
        line.push_str(&format!(" -H {}", quoted(&format!("{name}: {}", value.to_str().unwrap_or_default()))));
    }
    if let Some(body) = &call.body {
        line.push_str(&format!(" -d '{}'", body.to_string().replace('\'', "'\"'\"'")));
    }
    if let Some(file) = &call.file {
        line.push_str(&format!(" --data-binary {}", quoted(&format!("@{}", file.name()))));
    }
    format!("{line} {}", quoted(&call.url(&client.address.base)))
}

/// The rule that a token needs for `call`.
pub(crate) fn policy(call: &Call) -> String {
    let lists = call.query.iter().any(|(name, _)| name == "list");
    let scans = call.query.iter().any(|(name, _)| name == "scan");
    let mut capabilities = match call.verb {
        Verb::Get if lists => vec!["list"],
        Verb::Get if scans => vec!["scan"],
        Verb::Get => vec!["read"],
        Verb::Put | Verb::Post => vec!["create", "update"],
        Verb::Patch => vec!["patch"],
        Verb::Delete => vec!["delete"],
    };
    let sudo = SUDO.iter().any(|rule| match rule.strip_suffix('$') {
        Some(whole) => call.path == whole,
        None => call.path.starts_with(rule),
    });
    if sudo {
        capabilities.push("sudo");
    }
    let capabilities: Vec<String> = capabilities.iter().map(|c| format!("\"{c}\"")).collect();
    let path = call.path.replace('\\', "\\\\").replace('"', "\\\"");
    format!("path \"{path}\" {{\n  capabilities = [{}]\n}}", capabilities.join(", "))
}

/// In double quotes, with what a shell would read in them escaped.
fn quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            out.push('\\');
        }
        out.push(c);
    }
    out + "\""
}
