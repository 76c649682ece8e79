use std::{fs, path::PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use super::authority;
use crate::{
    call::Call,
    commands::Field,
    output::say,
    pairs, paths,
    secret::Secret,
    session::Session,
    stop::{Outcome, Stop},
    table::plain,
    token_store::write_private,
};

/// Issue a certificate with a new key
///
/// `keep pki issue pki web common_name=a.example` asks the role `web` of the mount `pki`. With -out=a, the
/// files a.crt (with its chain), a.key (readable by you alone) and a-ca.crt are written, and the key is not
/// printed.
///
/// `keep pki issue PARENT CHILD_MOUNT key=value…` with a PARENT such as pki/issuer/default makes an
/// intermediate authority in CHILD_MOUNT, signed by PARENT, as Vault's command of this name does.
#[derive(Args, Debug)]
pub(crate) struct Issue {
    #[command(flatten)]
    field: Field,
    /// Write files of this name in place of printing
    #[arg(long, value_name = "NAME")]
    out: Option<PathBuf>,
    /// Where an intermediate's key is: internal, existing or kms
    #[arg(long = "type", value_name = "TYPE", default_value = "internal")]
    key_source: String,
    /// Name of the new intermediate
    #[arg(long = "issuer_name", alias = "issuer-name", value_name = "NAME")]
    issuer_name: Option<String>,
    /// Mount, or the issuer that signs an intermediate
    #[arg(value_name = "MOUNT|PARENT")]
    mount: String,
    /// Role, or the mount of the intermediate
    #[arg(value_name = "ROLE|CHILD_MOUNT")]
    role: String,
    /// What the certificate shall say, as key=value
    #[arg(value_name = "K=V")]
    data: Vec<String>,
}

impl Issue {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let data = pairs::read(&self.data, session.interactive)?;
        let mount = paths::clean(&self.mount);
        let role = paths::clean(&self.role);
        if mount.contains("/issuer/") {
            if data.is_empty() {
                return Err(Stop::local(
                    "Not enough arguments expected parent issuer and child-mount location and some key_value argument",
                ));
            }
            let order = authority::Order {
                parent: mount,
                child: role,
                name: self.issuer_name,
                key_source: self.key_source,
                data,
            };
            return authority::issue(session, order).await;
        }
        let path = format!("{mount}/issue/{role}");
        let secret = session
            .client
            .write(Call::put(&path, Value::Object(data)))
            .await
            .map_err(|e| e.during(format!("Error issuing from {path}")))?;
        let secret = secret.ok_or_else(|| Stop::remote(format!("{path} returned no certificate")))?;
        deliver(session, &secret, self.out, self.field.field.as_deref())
    }
}

/// Have a certificate request signed
///
/// `keep pki sign pki web csr=@a.csr` asks the role `web` of the mount `pki`. The key never leaves this
/// machine.
#[derive(Args, Debug)]
pub(crate) struct Sign {
    #[command(flatten)]
    field: Field,
    /// Write files of this name in place of printing
    #[arg(long, value_name = "NAME")]
    out: Option<PathBuf>,
    /// Mount
    mount: String,
    /// Role
    role: String,
    /// The request as csr=@FILE, and what else the certificate shall say, as key=value
    #[arg(value_name = "K=V")]
    data: Vec<String>,
}

impl Sign {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let data = pairs::read(&self.data, session.interactive)?;
        if !data.contains_key("csr") {
            return Err(Stop::local("The certificate request is missing").hint("Give it as csr=@FILE."));
        }
        let path = format!("{}/sign/{}", paths::clean(&self.mount), paths::clean(&self.role));
        let secret = session
            .client
            .write(Call::put(&path, Value::Object(data)))
            .await
            .map_err(|e| e.during(format!("Error signing at {path}")))?;
        let secret = secret.ok_or_else(|| Stop::remote(format!("{path} returned no certificate")))?;
        deliver(session, &secret, self.out, self.field.field.as_deref())
    }
}

/// Prints the certificate, or writes it and says where.
fn deliver(session: &Session, secret: &Secret, out: Option<PathBuf>, field: Option<&str>) -> Outcome {
    let Some(out) = out.filter(|_| secret.wrap_info.is_none()) else {
        return session.output.secret_or_field(secret, field);
    };
    session.output.warnings(secret);
    let name = |end: &str| {
        let mut name = out.clone().into_os_string();
        name.push(end);
        PathBuf::from(name)
    };
    let failed =
        |file: &PathBuf, e: std::io::Error| Stop::local(format!("Error writing {}: {e}", file.display()));
    let chain = chain(secret);
    let mut files = Map::new();
    // The key first: a certificate without its key would be of no use, and cannot be had again.
    if let Some(key) = secret.text("private_key") {
        let file = name(".key");
        write_private(&file, with_newline(key).as_bytes()).map_err(|e| failed(&file, e))?;
        files.insert("private_key".to_owned(), json!(file.display().to_string()));
    }
    let leaf = secret.text("certificate").ok_or_else(|| Stop::remote("The answer holds no certificate"))?;
    let whole: String =
        std::iter::once(leaf).chain(chain.iter().map(String::as_str)).map(with_newline).collect();
    let file = name(".crt");
    fs::write(&file, whole).map_err(|e| failed(&file, e))?;
    files.insert("certificate".to_owned(), json!(file.display().to_string()));
    if let Some(issuer) = secret.text("issuing_ca") {
        let file = name("-ca.crt");
        fs::write(&file, with_newline(issuer)).map_err(|e| failed(&file, e))?;
        files.insert("issuing_ca".to_owned(), json!(file.display().to_string()));
    }
    for key in ["serial_number", "expiration"] {
        if let Some(value) = secret.field(key) {
            files.insert(key.to_owned(), value.clone());
        }
    }
    if session.output.is_table() {
        say(format!("Success! Wrote the certificate with name: {}", out.display()));
        say("");
    }
    session.output.object(&files)
}

/// The certificates above the leaf that a server should send: all but a root, which its clients have.
fn chain(secret: &Secret) -> Vec<String> {
    let list = secret.field("ca_chain").and_then(Value::as_array).cloned().unwrap_or_default();
    let texts = list.iter().map(plain);
    texts.filter(|text| crate::pem::certificate(text).is_none_or(|cert| !cert.is_root)).collect()
}

fn with_newline(text: &str) -> String {
    format!("{}\n", text.trim_end())
}
