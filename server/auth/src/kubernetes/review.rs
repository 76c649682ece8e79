use std::collections::BTreeMap;

use kit::{Call, Error, Fault, PodFile, Redirects, Result, Secret, Told, Trust, World};
use serde::Deserialize;
use serde_json::json;

use super::account::Account;
use super::config::Config;
use super::selector::Selector;

/// The API of a cluster, and how it is spoken to.
pub(super) struct Cluster {
    host: String,
    trust: Trust,
    /// With what it is asked; nothing: with what is to be reviewed.
    reviewer: Option<Secret<String>>,
}

/// What a cluster says of a token (`authentication.k8s.io/v1`).
#[derive(Deserialize)]
struct Review {
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    error: String,
    user: User,
    audiences: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    uid: String,
}

#[derive(Deserialize)]
struct Namespace {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Cluster {
    /// The cluster that a mount is set up for, with what the pod has where nothing is configured.
    ///
    /// # Errors
    /// If there are no certificates to know it by.
    pub(super) async fn of(config: &Config, world: &dyn World) -> Result<Self> {
        let mut roots = Some(config.kubernetes_ca_cert.clone()).filter(|pem| !pem.is_empty());
        let own = config.token_reviewer_jwt.expose();
        let mut reviewer = Some(own).filter(|jwt| !jwt.is_empty()).map(|jwt| Secret::new(jwt.clone()));
        if !config.disable_local_ca_jwt {
            if reviewer.is_none() {
                let token = world.pod(PodFile::Token).await;
                reviewer = token.map(|token| Secret::new(token.expose().trim().to_owned()));
            }
            if roots.is_none() {
                roots = world.pod(PodFile::Ca).await.map(|pem| pem.expose().clone());
            }
        }
        if roots.is_none() {
            let text = "there are no certificates to know the cluster by: set kubernetes_ca_cert";
            return Err(Error::new(Fault::Upstream, text));
        }
        Ok(Self { host: base(&config.kubernetes_host), trust: Trust { roots, ..Trust::default() }, reviewer })
    }

    /// Has the cluster say whether a token is good, and of this account.
    ///
    /// # Errors
    /// If it is not, or the cluster does not say so.
    pub(super) async fn review(
        &self,
        jwt: &str,
        account: &Account,
        audience: &str,
        world: &dyn World,
    ) -> Result<()> {
        let audiences = match audience {
            "" => account.audiences.clone(),
            audience => vec![audience.to_owned()],
        };
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": { "token": jwt, "audiences": audiences },
        });
        let bearer = self.reviewer.as_ref().map_or(jwt, |reviewer| reviewer.expose());
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let told = world.fetch(self.call("POST", path, bearer, body.to_string().into_bytes())).await?;
        let review: Review = read(&told)?;
        let refused = |why: &str| Error::new(Fault::Denied, format!("lookup failed: {why}"));
        let Status { authenticated, error, user, audiences: met } = review.status;
        if !error.is_empty() || !authenticated {
            return Err(refused("service account jwt not valid"));
        }
        // A cluster that says nothing of audiences has judged the token for itself, not for those that were asked for.
        if !audiences.is_empty() && !met.iter().any(|one| audiences.contains(one)) {
            return Err(refused("the token is for others"));
        }
        let named = format!("system:serviceaccount:{}:{}", account.namespace, account.name);
        if user.username != named || user.uid != account.uid || account.uid.is_empty() {
            return Err(refused("the cluster knows the token as another's"));
        }
        Ok(())
    }

    /// Whether the labels of a namespace are as the selector wants them.
    ///
    /// # Errors
    /// If the cluster does not say.
    pub(super) async fn selects(&self, selector: &str, namespace: &str, world: &dyn World) -> Result<bool> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if namespace.is_empty() || !namespace.bytes().all(plain) {
            return Ok(false);
        }
        let Some(reviewer) = &self.reviewer else {
            let text = "namespace lookup failed: TokenReviewer JWT needs to be configured to use namespace selectors";
            return Err(Error::new(Fault::Denied, text));
        };
        let path = format!("/api/v1/namespaces/{namespace}");
        let told = world.fetch(self.call("GET", &path, reviewer.expose(), Vec::new())).await?;
        let namespace: Namespace = read(&told)?;
        Ok(Selector::parse(selector).is_some_and(|selector| selector.selects(&namespace.metadata.labels)))
    }

    fn call(&self, method: &'static str, path: &str, bearer: &str, body: Vec<u8>) -> Call {
        let headers = vec![
            ("authorization".into(), Secret::new(format!("Bearer {bearer}"))),
            ("content-type".into(), Secret::new("application/json".to_owned())),
            ("accept".into(), Secret::new("application/json".to_owned())),
        ];
        // Whoever is sent elsewhere would take the token along.
        let redirects = Redirects::Shown;
        Call {
            method,
            url: format!("{}{path}", self.host),
            headers,
            body,
            trust: self.trust.clone(),
            redirects,
            ..Call::default()
        }
    }
}

/// The URL of an API by what operators write: a URL, a host, or a host and a port.
fn base(host: &str) -> String {
    let host = host.trim_end_matches('/');
    if host.contains("://") { host.to_owned() } else { format!("https://{host}") }
}

fn read<T: for<'de> Deserialize<'de>>(told: &Told) -> Result<T> {
    if !(200..300).contains(&told.status) {
        return Err(Error::new(Fault::Upstream, format!("the cluster answered {}", told.status)));
    }
    serde_json::from_slice(&told.body)
        .map_err(|error| Error::new(Fault::Upstream, format!("the cluster's answer does not read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::base;

    #[test]
    fn hosts_are_urls_over_https() {
        assert_eq!(base("https://k8s:6443/"), "https://k8s:6443");
        assert_eq!(base("k8s:6443"), "https://k8s:6443");
        assert_eq!(base("http://127.0.0.1:1"), "http://127.0.0.1:1");
    }
}
