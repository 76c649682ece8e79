//! Certificates for keys that sign: requests for them, and the chains that come back.

use kit::loose::{Number, Text};
use kit::{Command, Error, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, Extensions, Padding, PrivateKey, Request, RequestTemplate, Scheme, pem};

use super::Transit;
use super::export::pkcs8;
use super::input::word;
use super::record::{Hidden, KeyRecord, VERSIONS, VersionRecord, load};

/// Asks for a certificate for a key: makes a PKCS#10 request that the key signs.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RequestCertificate {
    /// The key.
    name: String,
    /// A request in PEM whose subject and extensions the new one takes over.
    csr: Option<Text>,
    /// The version; the latest if there is none.
    version: Option<Number>,
}

/// A request.
#[derive(JsonSchema, Serialize)]
pub(super) struct MadeRequest {
    csr: String,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Query<Transit> for RequestCertificate {
    const ROUTE: Route = Route::post("keys/{name}/csr").heavy();
    type Reply = MadeRequest;

    fn run(self, _: &Transit, cx: &Reading<'_>) -> Result<Reply<MadeRequest>> {
        let record = signing_key(cx, &self.name)?;
        let refused = |why: &str| Error::invalid(format!("could not create the csr: {why}"));
        let template = match word(self.csr.as_ref()) {
            "" => None,
            text if !text.contains("-----BEGIN ") => return Err(Error::invalid("could not decode PEM CSR")),
            text => Some(Request::from_pem(text).map_err(|error| Error::invalid(error.to_string()))?),
        };
        let (_, version) =
            version(cx, &self.name, &record, self.version)?.ok_or_else(|| refused("no such key version"))?;
        let der = pkcs8(record.kind, &version);
        let der = der.ok_or_else(|| refused("private key not imported for key version selected"))?;
        let key = PrivateKey::from_der(&der).map_err(|_| Error::internal("a stored key does not read"))?;
        let none = Extensions::default();
        let request = RequestTemplate {
            subject: template.as_ref().map_or(EMPTY_NAME, Request::subject_der),
            extensions: template.as_ref().map_or(&none, Request::extensions),
        };
        let scheme = Scheme::choose(key.public().shape(), 0, Padding::Pkcs1);
        let made = scheme.and_then(|scheme| request.sign(&key, scheme));
        let made = made.map_err(|error| Error::server(format!("could not create the csr: {error}")))?;
        let csr = format!("{}\n", pem::encode(pem::REQUEST, &made));
        Ok(Reply::Data(MadeRequest { csr, name: self.name, kind: record.kind.name() }))
    }
}

/// The DER of a name that says nothing.
const EMPTY_NAME: &[u8] = &[0x30, 0x00];

fn signing_key(cx: &impl Reads, name: &str) -> Result<KeyRecord> {
    let unknown = || Error::invalid(format!("key with provided name '{name}' not found"));
    let record = load(cx, name)?.ok_or_else(unknown)?;
    if !record.kind.signs() {
        return Err(Error::invalid(format!("key type '{}' does not support signing", record.kind.name())));
    }
    if record.derived {
        return Err(Error::invalid("operation not supported for keys with derivation enabled"));
    }
    record.usable()?;
    Ok(record)
}

fn version(
    cx: &impl Reads,
    name: &str,
    record: &KeyRecord,
    asked: Option<Number>,
) -> Result<Option<(u64, VersionRecord)>> {
    let number = asked.map_or(record.latest, |asked| u64::try_from(asked.0).unwrap_or(0));
    match record.versions().contains(&number) {
        true => Ok(VERSIONS.get(cx, name, number)?.map(|version| (number, version))),
        false => Ok(None),
    }
}

/// Keeps the certificate of a key, with the chain above it.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SetCertificate {
    /// The key.
    name: String,
    /// Certificates in PEM, that of the key first.
    certificate_chain: Option<Text>,
    /// The version; the latest if there is none.
    version: Option<Number>,
}

impl Command<Transit> for SetCertificate {
    const ROUTE: Route = Route::post("keys/{name}/set-certificate");
    type Reply = Nothing;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let record = signing_key(cx, &self.name)?;
        let chain = read(word(self.certificate_chain.as_ref()))?;
        let found = version(cx, &self.name, &record, self.version)?;
        let (number, mut version) = found.ok_or_else(|| Error::invalid("no such key version"))?;
        check(&chain, &record, &version)?;
        version.chain = chain.iter().map(|certificate| Hidden::new(certificate.der())).collect();
        VERSIONS.put(cx, &self.name, number, &version)?;
        Ok(Reply::Nothing)
    }
}

fn read(text: &str) -> Result<Vec<Certificate>> {
    if text.trim().is_empty() {
        return Err(Error::invalid(
            "provided certificate chain did not contain any valid PEM encoded certificate",
        ));
    }
    let blocks = pem::blocks(text).ok().filter(|blocks| !blocks.is_empty());
    let blocks =
        blocks.ok_or_else(|| Error::invalid("could not decode a PEM block in the certificate chain"))?;
    let read = |block: &pem::Block<'_>| {
        Certificate::from_der(&block.der).map_err(|error| {
            Error::invalid(format!("failed to parse certificate in certificate chain: {error}"))
        })
    };
    blocks.iter().map(read).collect()
}

/// Refuses a chain that is not one for this key.
fn check(chain: &[Certificate], record: &KeyRecord, version: &VersionRecord) -> Result<()> {
    let [leaf, above @ ..] = chain else {
        return Err(Error::invalid("expected at least one certificate in the certificate chain"));
    };
    if leaf.is_ca() {
        return Err(Error::invalid("certificate in the first element is not a valid leaf certificate"));
    }
    if above.last().is_some_and(|last| !last.is_ca()) {
        return Err(Error::invalid("certificate in the last element is not a valid CA certificate"));
    }
    if above.iter().any(|certificate| !certificate.is_ca()) {
        return Err(Error::invalid(
            "could not validate if there is only one leaf certificate in the provided chain",
        ));
    }
    if record.kind.shape().is_some_and(|shape| shape.family != leaf.public_key().shape().family) {
        return Err(Error::invalid(format!(
            "could not validate key match between leaf certificate key and key entry in transit: provided leaf certificate public key algorithm '{}' does not match the transit key type '{}'",
            leaf.public_key().shape(),
            record.kind.name()
        )));
    }
    match version.public.as_ref().is_some_and(|public| *public.0 == leaf.public_key().spki()) {
        true => Ok(()),
        false => Err(Error::listed("leaf certificate public key does not match the selected key version")),
    }
}
