//! An intermediate authority in one go: key and request in one mount, signature in another, and back.

use serde_json::{Map, Value, json};

use crate::{
    call::Call,
    output::warn,
    pem,
    secret::Secret,
    session::Session,
    stop::{Outcome, Stop},
    table::plain,
};

/// What to make.
pub(super) struct Order {
    /// The issuer that signs, as `mount/issuer/reference`.
    pub(super) parent: String,
    /// The mount that gets the intermediate.
    pub(super) child: String,
    pub(super) name: Option<String>,
    pub(super) key_source: String,
    pub(super) data: Map<String, Value>,
}

/// Makes it. Where it stops half-way, the error says what is already there.
pub(super) async fn issue(session: &Session, order: Order) -> Outcome {
    let Order { parent, child, name, key_source, mut data } = order;
    let client = &session.client;
    let path = format!("{child}/intermediate/generate/{key_source}");
    let made = client
        .write(Call::put(&path, Value::Object(data.clone())))
        .await
        .map_err(|e| e.during(format!("Failed to Generate Intermediate CSR on {child}")).code(1))?
        .unwrap_or_default();
    let csr = text(&made, "csr", &path)?;
    let key = made.text("key_id").unwrap_or_default().to_owned();
    warn(format!("Made a key and its certificate request in {child}/ ({key})."));
    data.insert("csr".to_owned(), json!(csr));
    let path = format!("{parent}/sign-intermediate");
    let left = format!("The key {key} stays in {child}/: `keep delete {child}/key/{key}` removes it.");
    let signed = client
        .write(Call::put(&path, Value::Object(data)))
        .await
        .map_err(|e| e.during(format!("Error signing the request by {parent}")).code(1).hint(&left))?
        .unwrap_or_default();
    let certificate = text(&signed, "certificate", &path)?;
    let serial = signed.text("serial_number").unwrap_or_default().to_owned();
    warn(format!("Had it signed by {parent}: certificate {serial}."));
    let left = format!(
        "The certificate {serial} is signed and can be imported with `keep write {child}/issuers/import/cert pem_bundle=@FILE`."
    );
    let id = import(session, &child, &certificate).await.map_err(|stop| stop.hint(&left))?;
    if let Some(name) = &name {
        let call = Call::patch(format!("{child}/issuer/{id}"), json!({ "issuer_name": name }));
        client
            .write(call)
            .await
            .map_err(|e| e.during(format!("Error naming the new issuer {id}")).code(1))?;
    }
    let list = signed.field("ca_chain").and_then(Value::as_array).cloned().unwrap_or_default();
    let own = pem::certificate(&certificate);
    let above: Vec<String> = list.iter().map(plain).filter(|text| pem::certificate(text) != own).collect();
    if !above.is_empty() {
        import(session, &child, &above.join("\n"))
            .await
            .map_err(|stop| stop.hint("The intermediate itself is in place; only its chain is missing."))?;
    }
    let path = format!("{child}/issuer/{id}");
    let issuer =
        client.read(Call::get(&path)).await.map_err(|e| e.during(format!("Error reading {path}")).code(1))?;
    session.output.secret(&issuer.unwrap_or_default())
}

/// Imports certificates and returns the id of the first of them.
async fn import(session: &Session, mount: &str, bundle: &str) -> Result<String, Stop> {
    let path = format!("{mount}/issuers/import/cert");
    let call = Call::put(&path, json!({ "pem_bundle": bundle }));
    let answer = session
        .client
        .write(call)
        .await
        .map_err(|e| e.during(format!("Error importing the certificate into {mount}")).code(1))?
        .unwrap_or_default();
    let mapping = answer.field("mapping").and_then(Value::as_object);
    let id = mapping.and_then(|mapping| mapping.keys().next()).cloned();
    id.ok_or_else(|| Stop::local(format!("{path} did not say which issuer it made")))
}

fn text(secret: &Secret, key: &str, path: &str) -> Result<String, Stop> {
    let text = secret.text(key).map(str::to_owned);
    text.ok_or_else(|| Stop::local(format!("{path} returned no {key}: is this the mount of a PKI engine?")))
}
