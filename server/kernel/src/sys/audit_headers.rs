use std::collections::BTreeMap;

use kit::loose::Flag;
use kit::{Beyond, Command, Error, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sys;
use crate::audit::{self, HeaderRule};

#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    hmac: bool,
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Headers {
    headers: BTreeMap<String, Shown>,
}

/// Lists the headers of requests that audit shows.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {}

impl Query<Sys> for List {
    const ROUTE: Route = Route::get("config/auditing/request-headers").sudo().merged().root_only();
    type Reply = Headers;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Headers>> {
        let rules = audit::headers(cx.beyond(&Beyond::for_the_kernel()))?;
        let headers = rules.into_iter().map(|rule| (rule.name, Shown { hmac: rule.hmac })).collect();
        Ok(Headers { headers }.into())
    }
}

/// Shows whether audit shows a header of requests, and how.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    /// The name of the header.
    header: String,
}

impl Query<Sys> for Get {
    const ROUTE: Route = Route::get("config/auditing/request-headers/{header}").sudo().merged().root_only();
    type Reply = BTreeMap<String, Shown>;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let rules = audit::headers(cx.beyond(&Beyond::for_the_kernel()))?;
        let found = rules.into_iter().find(|rule| rule.name.eq_ignore_ascii_case(&self.header));
        let rule = found.ok_or_else(|| Error::invalid("Could not find header in config"))?;
        // Under the name it was asked for by.
        Ok(BTreeMap::from([(self.header, Shown { hmac: rule.hmac })]).into())
    }
}

/// Has audit show a header of requests.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Put {
    /// The name of the header.
    header: String,
    /// Whether its values are hashed.
    #[serde(default)]
    hmac: Flag,
}

impl Command<Sys> for Put {
    const ROUTE: Route =
        Route::post("config/auditing/request-headers/{header:lower}").logged().sudo().root_only();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        // A token in the log would be a key in the log.
        if matches!(self.header.as_str(), "x-vault-token" | "authorization" | "cookie") && !self.hmac.0 {
            let text = format!(
                "the header {:?} carries secrets and is shown hashed or not at all; set hmac to true",
                self.header
            );
            return Err(Error::invalid(text));
        }
        let rule = HeaderRule { name: self.header, hmac: self.hmac.0 };
        audit::put_header(cx.beyond(&Beyond::for_the_kernel()), &rule)?;
        Ok(Reply::Nothing)
    }
}

/// Has audit show a header of requests no more.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// The name of the header.
    header: String,
}

impl Command<Sys> for Delete {
    const ROUTE: Route =
        Route::delete("config/auditing/request-headers/{header:lower}").logged().sudo().root_only();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        audit::delete_header(cx.beyond(&Beyond::for_the_kernel()), &self.header)?;
        Ok(Reply::Nothing)
    }
}
