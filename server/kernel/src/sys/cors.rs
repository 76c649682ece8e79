use kit::loose::{Flag, Texts};
use kit::{Beyond, Command, Error, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sys;
use crate::web::{self, Cors};

/// Headers that every client of the API may send.
const HEADERS: [&str; 10] = [
    "Content-Type",
    "Authorization",
    "X-Vault-Token",
    "X-Vault-MFA",
    "X-Vault-No-Request-Forwarding",
    "X-Vault-Wrap-Format",
    "X-Vault-Wrap-TTL",
    "X-Requested-With",
    "X-Vault-AWS-IAM-Server-ID",
    "X-Vault-Policy-Override",
];

#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_credentials: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_headers: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_origins: Option<Vec<String>>,
}

/// Shows which web pages of other origins may ask.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {}

impl Query<Sys> for Get {
    const ROUTE: Route = Route::get("config/cors").sudo().merged().root_only();
    type Reply = Shown;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let shown = match web::cors(cx.beyond(&Beyond::for_the_kernel()))? {
            None => Shown {
                enabled: false,
                allow_credentials: None,
                allowed_headers: None,
                allowed_origins: None,
            },
            Some(cors) => {
                let usual = HEADERS.map(str::to_owned).into_iter();
                Shown {
                    enabled: true,
                    allow_credentials: Some(cors.credentials),
                    allowed_headers: Some(usual.chain(cors.headers).collect()),
                    allowed_origins: Some(cors.origins),
                }
            }
        };
        Ok(shown.into())
    }
}

/// Says which web pages of other origins may ask. A listener that says so itself is left as it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Put {
    /// Their origins, such as `https://app.example.com`; `*` for every one.
    #[serde(default)]
    allowed_origins: Texts,
    /// Headers that they may send beside those of every client.
    #[serde(default)]
    allowed_headers: Texts,
    /// Whether they may send what the browser keeps for this server.
    #[serde(default)]
    allow_credentials: Flag,
    /// Of no account: what is set is on, and deleting it turns it off.
    #[serde(rename = "enable")]
    _enable: Option<Flag>,
}

impl Command<Sys> for Put {
    const ROUTE: Route = Route::post("config/cors").logged().sudo().root_only();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let origins: Vec<String> =
            self.allowed_origins.0.into_iter().filter(|text| !text.is_empty()).collect();
        if origins.is_empty() {
            return Err(Error::listed("at least one origin or the wildcard must be provided"));
        }
        let wild = origins.iter().any(|origin| origin == "*");
        if wild && self.allow_credentials.0 {
            return Err(Error::invalid(
                "allow_credentials with every origin lets any page act: name the origins",
            ));
        }
        let headers: Vec<String> =
            self.allowed_headers.0.into_iter().filter(|text| !text.is_empty()).collect();
        if let Some(bad) =
            origins.iter().chain(&headers).find(|text| !text.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(Error::invalid(format!("{bad:?} is neither an origin nor the name of a header")));
        }
        let cors = Cors { origins, headers, credentials: self.allow_credentials.0 };
        web::put_cors(cx.beyond(&Beyond::for_the_kernel()), &cors)?;
        Ok(Reply::Nothing)
    }
}

/// Lets no web page of another origin ask.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {}

impl Command<Sys> for Delete {
    const ROUTE: Route = Route::delete("config/cors").logged().sudo().root_only();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        web::delete_cors(cx.beyond(&Beyond::for_the_kernel()))?;
        Ok(Reply::Nothing)
    }
}
