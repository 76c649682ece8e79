//! One POST to somebody's URL: a webhook, a service that reloads over HTTP.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    address::{Address, Scheme},
    tls,
    transport::Transport,
    upload::whole,
};

/// A receiver that answers later than this is not there.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Sends it; anything but a 2xx is a failure. The URL may be secret (webhooks are), so only its host is told.
pub(crate) async fn post(url: &str, content_type: &str, body: String) -> Result<(), String> {
    let (uri, origin, address) = read(url)?;
    let told = |why: String| format!("{origin}: {why}");
    let tls = match address.scheme {
        Scheme::Http => None,
        Scheme::Https => {
            let config = tls::client_config(&tls::Trust::default()).map_err(|_| told("no TLS".to_owned()))?;
            Some((Arc::new(config), address.server_name().map_err(told)?))
        }
    };
    let target = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = http::Request::post(target)
        .header("Host", address.authority.as_str())
        .header("User-Agent", concat!("keep/", env!("CARGO_PKG_VERSION")))
        .header("Content-Type", content_type)
        .body(whole(Bytes::from(body)))
        .map_err(|e| told(e.to_string()))?;
    let transport = Transport { route: address.direct(), tls };
    let exchange = async {
        let mut sender = transport.connect().await.map_err(|trouble| trouble.text())?;
        sender.send(request).await.map_err(|lost| lost.trouble.text())
    };
    let answer = tokio::time::timeout(ANSWER_TIME_MAX, exchange).await;
    let answer = answer.map_err(|_| told("no answer in 10 s".to_owned()))?.map_err(told)?;
    if answer.status().is_success() { Ok(()) } else { Err(told(format!("it answered {}", answer.status()))) }
}

/// Whether there can be somebody at a URL.
pub(crate) fn check(url: &str) -> Result<(), String> {
    read(url).map(drop)
}

fn read(url: &str) -> Result<(http::Uri, String, Address), String> {
    let uri: http::Uri = url.parse().map_err(|_| "the URL cannot be read".to_owned())?;
    let origin = match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(authority)) => format!("{scheme}://{authority}"),
        (Some("http" | "https") | None, _) => {
            return Err("the URL names no host: write https://HOST/PATH".to_owned());
        }
        (Some(scheme), _) => return Err(format!("{scheme}:// is no way to post: write https:// or http://")),
    };
    let address = Address::parse(&origin).map_err(|_| "the host of the URL cannot be used".to_owned())?;
    Ok((uri, origin, address))
}
