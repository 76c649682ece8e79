//! The certificate of a next CA, from a CA in another mount: its request is taken there and the certificate is brought back,
//! both by whoever runs this, so no mount is given rights over another.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    call::Call,
    output::warn,
    paths,
    pem::{self, Certificate},
    secret::Secret,
    session::Session,
    stop::Stop,
};

/// Where the CA above is.
#[derive(Args, Debug)]
pub(super) struct Above {
    /// Mount of the CA above, if it is another one: has the next CA signed there, by your token
    #[arg(long, value_name = "MOUNT", required = false)]
    pub(super) parent_mount: String,
    /// CA above, in its mount: a name or an id [its default issuer]
    #[arg(long, value_name = "ISSUER", requires = "parent_mount")]
    pub(super) parent_issuer: Option<String>,
}

/// The CA above.
pub(super) struct Parent {
    /// Its path: `mount/issuer/reference`.
    path: String,
    certificate: Certificate,
}

impl Parent {
    /// Looks whether a CA can sign the one after `old`, an issuer of `mount`, before anything is begun. The default issuer of its
    /// mount must have signed the old one; one that is named may be another, as after a roll of its own.
    pub(super) async fn find(
        session: &Session,
        above: &Above,
        mount: &str,
        old: &str,
    ) -> Result<Parent, Stop> {
        let reference = above.parent_issuer.as_deref().unwrap_or("default");
        let path = format!("{}/issuer/{reference}", paths::clean(&above.parent_mount));
        let below = certificate(session, &format!("{mount}/issuer/{old}")).await?;
        let certificate = certificate(session, &path).await?;
        if above.parent_issuer.is_none() && certificate.subject != below.issuer {
            return Err(Stop::local(format!(
                "{path} ({}) did not sign {} in {mount}",
                certificate.common_name, below.common_name
            ))
            .hint("Name the CA that shall sign the next one with -parent-issuer."));
        }
        if certificate.not_after <= below.not_after {
            return Err(Stop::local(format!(
                "{path} ({}) ends on {}, so the next CA could not outlive the old one, which ends on {}: roll {path} first",
                certificate.common_name,
                pem::day(certificate.not_after),
                pem::day(below.not_after)
            )));
        }
        Ok(Parent { path, certificate })
    }

    /// Has the request of a roll signed, and brings the certificate. How the roll stands then.
    pub(super) async fn sign(&self, session: &Session, mount: &str, roll: &Secret) -> Result<Secret, Stop> {
        let csr = roll.text("csr").ok_or_else(|| {
            let state = roll.text("state").unwrap_or_default();
            Stop::remote(format!("The roll in {mount} waits for no certificate: it is {state}"))
        })?;
        let mut asked = roll.field("sign_with").and_then(Value::as_object).cloned().unwrap_or_default();
        asked.insert("csr".to_owned(), json!(csr));
        let again = format!(
            "The roll waits: `keep pki roll sign` tries again, `keep pki roll abort {mount}` gives it up."
        );
        let signed = self.ask(session, asked).await.inspect_err(|_| warn(&again))?;
        session.output.warnings(&signed);
        let text = signed.text("certificate").unwrap_or_default();
        let made = pem::certificate(text)
            .ok_or_else(|| Stop::remote(format!("{} returned no certificate", self.path)).hint(&again))?;
        if old_end(roll).is_some_and(|old| made.not_after < old) {
            return Err(Stop::remote(format!(
                "{} signed a CA that ends on {}, before the old one: raise max_lease_ttl of its mount (`keep secrets tune`)",
                self.path,
                pem::day(made.not_after)
            ))
            .hint(again));
        }
        let serial = signed.text("serial_number").unwrap_or_default();
        warn(format!("{} ({}) signed the next CA: {serial}", self.path, self.certificate.common_name));
        let path = format!("{mount}/intermediate/set-signed");
        let set = session.client.write(Call::post(&path, json!({ "certificate": text }))).await;
        let set = set
            .map_err(|e| e.during(format!("Error writing {path}")))
            .map_err(|stop| stop.hint(format!("The certificate {serial} is signed. {again}")))?;
        session.output.warnings(&set.unwrap_or_default());
        let path = format!("{mount}/roll");
        let read =
            session.client.read(Call::get(&path)).await.map_err(|e| e.during("Error reading the roll"))?;
        read.ok_or_else(|| Stop::remote(format!("{path} shows no roll")))
    }

    async fn ask(&self, session: &Session, asked: Map<String, Value>) -> Result<Secret, Stop> {
        let path = format!("{}/sign-intermediate", self.path);
        let signed = session.client.write(Call::post(&path, Value::Object(asked))).await;
        let signed = signed.map_err(|e| e.during(format!("Error having the request signed at {path}")))?;
        signed.ok_or_else(|| Stop::remote(format!("{path} returned no certificate")))
    }
}

/// When the CA that is replaced ends.
fn old_end(roll: &Secret) -> Option<i64> {
    let text = roll.field("old")?.get("not_after")?.as_str()?;
    let format = &time::format_description::well_known::Rfc3339;
    Some(time::OffsetDateTime::parse(text, format).ok()?.unix_timestamp())
}

async fn certificate(session: &Session, issuer: &str) -> Result<Certificate, Stop> {
    let path = format!("{issuer}/json");
    let read = session.client.read(Call::get(&path).preflight()).await;
    let found = read.map_err(|e| e.during(format!("Error reading {path}")))?;
    let found = found.as_ref().and_then(|secret| pem::certificate(secret.text("certificate")?));
    found.ok_or_else(|| Stop::remote(format!("There is no issuer {issuer}")))
}
