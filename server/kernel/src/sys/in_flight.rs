use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::{Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sys;
use crate::flights::Flight;

#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    start_time: String,
    client_remote_address: String,
    request_path: String,
    request_method: &'static str,
    client_id: String,
}

impl Shown {
    fn of(flight: Flight) -> Self {
        Self {
            start_time: flight.since.rfc3339(),
            client_remote_address: flight.address,
            request_path: format!("/v1/{}", flight.path),
            request_method: flight.method,
            client_id: anonymous(&flight.client),
        }
    }
}

/// Tells clients apart. With the accessor itself whoever may look here could end their tokens.
fn anonymous(accessor: &str) -> String {
    match accessor {
        "" => String::new(),
        accessor => STANDARD.encode(digest(&SHA256, accessor.as_bytes())),
    }
}

/// Shows the requests that are being answered, by their ids.
#[derive(Deserialize, JsonSchema)]
pub(super) struct InFlight {}

impl Query<Sys> for InFlight {
    const ROUTE: Route = Route::get("in-flight-req");
    type Reply = BTreeMap<String, Shown>;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        let mut shown: BTreeMap<String, Shown> =
            kernel.flights.all().into_iter().map(|(id, flight)| (id, Shown::of(flight))).collect();
        let remote = cx.remote();
        let address =
            remote.address.map(|address| std::net::SocketAddr::new(address, remote.port).to_string());
        let own = Flight {
            since: cx.now(),
            address: address.unwrap_or_default(),
            path: "sys/in-flight-req".to_owned(),
            method: "GET",
            client: cx.caller().accessor.clone(),
        };
        shown.insert(remote.request_id.clone(), Shown::of(own));
        Ok(Reply::Bare(shown))
    }
}
