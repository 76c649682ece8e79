//! The name system, asked for those who must know what stands there now: nothing is remembered.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::{NetError, runtime::TokioRuntimeProvider};
use hickory_resolver::proto::rr::{RData, RecordType};
use kit::{Caa, Error, Fault, Result};

/// How long one question to one name server may take, and how often it is repeated.
const QUESTION_TIME: Duration = Duration::from_secs(3);
const QUESTIONS_MAX: usize = 2;

/// The addresses of a host: as the name server at `by` knows it, or as this machine does.
pub(crate) async fn addresses(host: &str, by: &str) -> Result<Vec<IpAddr>> {
    if by.is_empty() {
        // As every other program here would find it, files included.
        let found = tokio::net::lookup_host((host, 0)).await.map_err(|error| unanswered(host, &error))?;
        return Ok(found.map(|address| address.ip()).collect());
    }
    let found = resolver(by)?.lookup_ip(whole(host)).await.map_err(|error| nothing(host, &error))?;
    Ok(found.iter().collect())
}

/// The TXT records of a name, each in one piece.
pub(crate) async fn texts(name: &str, by: &str) -> Result<Vec<String>> {
    let found = resolver(by)?.txt_lookup(whole(name)).await.map_err(|error| nothing(name, &error))?;
    let text = |data: &RData| match data {
        RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
        _ => None,
    };
    Ok(found.answers().iter().filter_map(|record| text(&record.data)).collect())
}

/// The CAA records of a name. That there are none is an answer too; that nobody answers is not.
pub(crate) async fn caa(name: &str, by: &str) -> Result<Vec<Caa>> {
    let found = match resolver(by)?.lookup(whole(name), RecordType::CAA).await {
        Ok(found) => found,
        Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
        Err(error) => return Err(unanswered(name, &error)),
    };
    let record = |data: &RData| match data {
        RData::CAA(caa) => Some(Caa {
            critical: caa.issuer_critical,
            tag: caa.tag.clone(),
            value: String::from_utf8_lossy(&caa.value).into_owned(),
        }),
        _ => None,
    };
    Ok(found.answers().iter().filter_map(|one| record(&one.data)).collect())
}

/// With its dot at the end, no domain of this machine is tried behind it.
fn whole(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

fn resolver(by: &str) -> Result<TokioResolver> {
    let unusable = |error: &dyn std::fmt::Display| {
        Error::new(Fault::Upstream, format!("no name server can be asked: {error}"))
    };
    let mut builder = match by {
        "" => TokioResolver::builder_tokio().map_err(|error| unusable(&error))?,
        by => {
            let server: SocketAddr = by.parse().map_err(|_| {
                Error::new(Fault::Upstream, format!("{by} is no name server: it should be address:port"))
            })?;
            let mut ways = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            ways.iter_mut().for_each(|way| way.port = server.port());
            let server = NameServerConfig::new(server.ip(), true, ways);
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.timeout = QUESTION_TIME;
    options.attempts = QUESTIONS_MAX;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().map_err(|error| unusable(&error))
}

/// What the name server said of a name, in words.
fn nothing(name: &str, error: &NetError) -> Error {
    match error.is_no_records_found() {
        true => Error::new(Fault::Upstream, format!("the name server knows no such record of {name}")),
        false => unanswered(name, error),
    }
}

fn unanswered(name: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(Fault::Upstream, format!("no answer about {name}: {error}"))
}
