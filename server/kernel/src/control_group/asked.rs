use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use kit::{Error, Remote, Result, Secret, Verb};
use policy::Path;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::lineage::Lineage;
use crate::quotas::Meter;
use crate::request::{Request, WrapFormat};

/// A request as it was made, without its token.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Asked {
    /// The id under which it stands in the audit log; what it comes to stands there under the same.
    pub(crate) id: String,
    /// What audit calls it.
    pub(crate) operation: String,
    /// The path in its namespace.
    pub(crate) local: String,
    verb: Verb,
    path: String,
    namespace: String,
    query: Vec<(String, String)>,
    body: String,
    wrap_seconds: Option<u64>,
    #[serde(default)]
    wrap_format: WrapFormat,
    address: Option<IpAddr>,
    port: u16,
    /// The client's certificates, in hex.
    certificates: Vec<String>,
    is_bearer: bool,
    /// Those that the mount asks for.
    headers: Vec<(String, String)>,
}

impl Asked {
    pub(crate) fn new(
        request: &Request,
        headers: &[(String, Secret<String>)],
        id: &str,
        operation: &str,
        local: &str,
    ) -> Result<Self> {
        let body = String::from_utf8(request.body.clone()).map_err(|_| {
            Error::invalid("the body of this request is not UTF-8, so it cannot wait for approval")
        })?;
        let remote = &request.remote;
        Ok(Self {
            id: id.to_owned(),
            operation: operation.to_owned(),
            local: local.to_owned(),
            verb: request.verb,
            path: request.path.as_str().to_owned(),
            namespace: request.namespace.clone(),
            query: request.query.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            body,
            wrap_seconds: request.wrap_ttl.map(|ttl| ttl.as_secs()).filter(|seconds| *seconds > 0),
            wrap_format: request.wrap_format,
            address: remote.address,
            port: remote.port,
            certificates: remote.certificates.iter().map(hex::encode).collect(),
            is_bearer: remote.is_bearer,
            headers: headers.iter().map(|(name, value)| (name.clone(), value.expose().clone())).collect(),
        })
    }

    /// The same request again, in the name of who made it.
    pub(crate) fn again(self, token: String) -> Result<Request> {
        let damaged = || Error::internal("a request that waits is damaged");
        let certificates = self.certificates.iter().map(hex::decode).collect::<Result<Vec<_>, _>>();
        Ok(Request {
            verb: self.verb,
            path: Path::internal(&self.path).map_err(|_| damaged())?,
            token: Some(Secret::new(token)),
            query: self.query.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            body: self.body.into_bytes(),
            namespace: self.namespace,
            wrap_ttl: self.wrap_seconds.map(Duration::from_secs),
            wrap_format: self.wrap_format,
            remote: Remote {
                address: self.address,
                port: self.port,
                certificates: Arc::from(certificates.map_err(|_| damaged())?),
                is_bearer: self.is_bearer,
                ..Remote::default()
            },
            headers: self.headers,
            help: false,
            meter: Meter::default(),
            lineage: Lineage::default(),
            hidden: false,
        })
    }

    /// Its parameters, for those who are to consent.
    pub(crate) fn data(&self) -> Option<Map<String, Value>> {
        let mut data: Map<String, Value> = serde_json::from_str(&self.body).unwrap_or_default();
        for (name, value) in &self.query {
            data.entry(name).or_insert_with(|| value.as_str().into());
        }
        Some(data).filter(|data| !data.is_empty())
    }
}
