//! Where certificates say that their issuer, its revocation lists and its OCSP servers are.

use std::sync::Arc;

use kit::loose::{Flag, Text, Texts};
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Extensions, Serial};

use super::Pki;
use super::authorities::{Issuer, refused};
use super::shards::Naming;
use super::store::{CLUSTER, Id, URLS};

/// The URLs of a mount or of one issuer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct Urls {
    /// Where the issuer's certificate is.
    pub(super) issuing_certificates: Vec<String>,
    /// Where its revocation list is.
    pub(super) crl_distribution_points: Vec<String>,
    /// Where the delta of its revocation list is.
    pub(super) delta_crl_distribution_points: Vec<String>,
    /// Where to ask about a certificate.
    pub(super) ocsp_servers: Vec<String>,
    /// Whether `{{issuer_id}}`, `{{cluster_path}}` and `{{cluster_aia_path}}` are filled in.
    pub(super) enable_templating: bool,
}

/// Where this mount is reached from outside, for templates.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(super) struct ClusterConfig {
    /// The mount, as this server's clients reach it.
    pub(super) path: String,
    /// The mount, as those who check certificates reach it.
    pub(super) aia_path: String,
}

/// The URLs and where the mount is, as they were committed.
struct Places {
    urls: Urls,
    cluster: ClusterConfig,
    shards: Option<Naming>,
}

fn places(cx: &impl Reads) -> Result<Arc<Places>> {
    cx.memo("urls", |cx| {
        Ok(Places { urls: URLS.get(cx)?, cluster: CLUSTER.get(cx)?, shards: Naming::read(cx)? })
    })
}

/// The URLs that a leaf of an issuer bears: where lists are in shards, its own shard in place of the whole list.
pub(super) fn urls_of_leaf(issuer: &Issuer, serial: &Serial, cx: &impl Reads) -> Result<Urls> {
    let mut urls = urls_of(issuer, cx)?;
    let places = places(cx)?;
    if let Some(shards) = &places.shards {
        urls.crl_distribution_points = vec![shards.url(serial, issuer.id, &places.cluster)?];
        urls.delta_crl_distribution_points = vec![];
    }
    Ok(urls)
}

/// The URLs that certificates of an issuer bear: its own, or else the mount's.
pub(super) fn urls_of(issuer: &Issuer, cx: &impl Reads) -> Result<Urls> {
    filled(issuer.record.urls.as_ref(), issuer.id, cx)
}

/// The same for an issuer that is being made.
pub(super) fn urls_of_new(id: Id, cx: &impl Reads) -> Result<Urls> {
    filled(None, id, cx)
}

fn filled(own: Option<&Urls>, id: Id, cx: &impl Reads) -> Result<Urls> {
    let places = places(cx)?;
    let urls = own.unwrap_or(&places.urls);
    if !urls.enable_templating {
        return Ok(urls.clone());
    }
    let fill =
        |list: &Vec<String>| list.iter().map(|url| fill_in(url, id, &places.cluster)).collect::<Result<_>>();
    Ok(Urls {
        issuing_certificates: fill(&urls.issuing_certificates)?,
        crl_distribution_points: fill(&urls.crl_distribution_points)?,
        delta_crl_distribution_points: fill(&urls.delta_crl_distribution_points)?,
        ocsp_servers: fill(&urls.ocsp_servers)?,
        enable_templating: false,
    })
}

/// Fills in what a template leaves open.
pub(super) fn fill_in(url: &str, id: Id, cluster: &ClusterConfig) -> Result<String> {
    for (template, value) in
        [("{{cluster_path}}", &cluster.path), ("{{cluster_aia_path}}", &cluster.aia_path)]
    {
        if url.contains(template) && value.is_empty() {
            return Err(Error::invalid(format!(
                "the URL {url} uses {template}, which config/cluster does not set; write it there first"
            )));
        }
    }
    let url = url.replace("{{issuer_id}}", &id.to_string());
    let url =
        url.replace("{{cluster_path}}", &cluster.path).replace("{{cluster_aia_path}}", &cluster.aia_path);
    match is_url(&url) {
        true => Ok(url),
        false => {
            Err(Error::invalid(format!("invalid URL found in Authority Information Access (AIA): {url}")))
        }
    }
}

impl Urls {
    /// Whether no URL is set, so that verifiers find neither issuer nor list.
    pub(super) fn is_empty(&self) -> bool {
        self.issuing_certificates.is_empty()
            && self.crl_distribution_points.is_empty()
            && self.ocsp_servers.is_empty()
    }

    /// Adds them to a certificate.
    pub(super) fn into_extensions(self, extensions: Extensions) -> Result<Extensions> {
        extensions
            .authority_access(&self.ocsp_servers, &self.issuing_certificates)
            .and_then(|extensions| extensions.crl_points(&self.crl_distribution_points))
            .and_then(|extensions| extensions.freshest_crl(&self.delta_crl_distribution_points))
            .map_err(refused)
    }

    /// Refuses what is no URL. With templates, what they leave of it.
    pub(super) fn check(&self) -> Result<()> {
        for (field, urls) in [
            ("issuing_certificates", &self.issuing_certificates),
            ("crl_distribution_points", &self.crl_distribution_points),
            ("delta_crl_distribution_points", &self.delta_crl_distribution_points),
            ("ocsp_servers", &self.ocsp_servers),
        ] {
            let good = |url: &&String| is_url(url) || self.enable_templating && url.contains("{{");
            if let Some(bad) = urls.iter().find(|url| !good(url)) {
                return Err(Error::invalid(format!(
                    "invalid URL found in Authority Information Access (AIA) parameter {field}: {bad}"
                )));
            }
        }
        Ok(())
    }
}

/// A scheme, `://`, a host; plain ASCII.
pub(super) fn is_url(text: &str) -> bool {
    let parts = text.split_once("://");
    text.bytes().all(|b| b.is_ascii_graphic())
        && parts.is_some_and(|(scheme, rest)| {
            scheme.bytes().all(|b| b.is_ascii_alphanumeric())
                && !scheme.is_empty()
                && !rest.is_empty()
                && !rest.starts_with('/')
        })
}

/// Shows the URLs that certificates bear.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadUrls {}

impl Query<Pki> for ReadUrls {
    const ROUTE: Route = Route::get("config/urls");
    type Reply = Urls;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Urls>> {
        Ok(Reply::Data(URLS.get(cx)?))
    }
}

/// Sets the URLs that certificates bear from now on.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteUrls {
    /// Where the issuer's certificate is.
    issuing_certificates: Option<Texts>,
    /// Where its revocation list is.
    crl_distribution_points: Option<Texts>,
    /// Where the delta of its revocation list is.
    delta_crl_distribution_points: Option<Texts>,
    /// Where to ask about a certificate.
    ocsp_servers: Option<Texts>,
    /// Whether templates in the URLs are filled in.
    enable_templating: Option<Flag>,
}

impl Command<Pki> for WriteUrls {
    const ROUTE: Route = Route::post("config/urls");
    type Reply = Urls;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Urls>> {
        let mut urls = URLS.get(cx)?;
        for (field, given) in [
            (&mut urls.issuing_certificates, self.issuing_certificates),
            (&mut urls.crl_distribution_points, self.crl_distribution_points),
            (&mut urls.delta_crl_distribution_points, self.delta_crl_distribution_points),
            (&mut urls.ocsp_servers, self.ocsp_servers),
        ] {
            if let Some(given) = given {
                *field = given.0;
            }
        }
        urls.enable_templating = self.enable_templating.map_or(urls.enable_templating, |flag| flag.0);
        urls.check()?;
        URLS.put(cx, &urls)?;
        Ok(Reply::Data(urls))
    }
}

/// Shows where this mount is reached from outside.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadCluster {}

impl Query<Pki> for ReadCluster {
    const ROUTE: Route = Route::get("config/cluster");
    type Reply = ClusterConfig;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ClusterConfig>> {
        Ok(Reply::Data(CLUSTER.get(cx)?))
    }
}

/// Sets where this mount is reached from outside.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteCluster {
    /// The mount, as this server's clients reach it.
    path: Option<Text>,
    /// The mount, as those who check certificates reach it.
    aia_path: Option<Text>,
}

impl Command<Pki> for WriteCluster {
    const ROUTE: Route = Route::post("config/cluster");
    type Reply = ClusterConfig;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<ClusterConfig>> {
        let mut cluster = CLUSTER.get(cx)?;
        for (field, given) in [(&mut cluster.path, self.path), (&mut cluster.aia_path, self.aia_path)] {
            let Some(Text(url)) = given else { continue };
            if !url.is_empty() && !is_url(&url) {
                return Err(Error::invalid(format!("invalid, non-URL path given to cluster: {url}")));
            }
            *field = url;
        }
        CLUSTER.put(cx, &cluster)?;
        Ok(Reply::Data(cluster))
    }
}
