use kit::loose::{Flag, Slice};
use kit::{Beyond, Command, Error, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sys;
use crate::web::{self, HEADERS_MAX};

#[derive(JsonSchema, Serialize)]
pub(super) struct Names {
    keys: Vec<String>,
}

/// Lists the headers that the pages of the web UI get.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {}

impl Query<Sys> for List {
    const ROUTE: Route = Route::list("config/ui/headers").sudo().root_only();
    type Reply = Names;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Names>> {
        let headers = web::headers(cx.beyond(&Beyond::for_the_kernel()))?;
        if headers.is_empty() {
            return Err(Error::not_found());
        }
        Ok(Names { keys: headers.into_iter().map(|(name, _)| name).collect() }.into())
    }
}

#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Shown {
    /// The first value.
    One { value: String },
    /// All of them.
    All { values: Vec<String> },
}

/// Shows a header that the pages of the web UI get.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    /// Its name.
    header: String,
    /// Shows all of its values.
    #[serde(default)]
    multivalue: Flag,
}

impl Query<Sys> for Get {
    const ROUTE: Route = Route::get("config/ui/headers/{header:any}").sudo().root_only();
    type Reply = Shown;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let found = web::header(cx.beyond(&Beyond::for_the_kernel()), &canonical(&self.header))?;
        let values = found.ok_or_else(Error::not_found)?;
        Ok(match self.multivalue.0 {
            true => Shown::All { values },
            false => Shown::One { value: values.into_iter().next().unwrap_or_default() },
        }
        .into())
    }
}

/// Gives the pages of the web UI a header.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Put {
    /// Its name.
    header: String,
    /// Its values. A comma divides nothing: one may have commas in it.
    #[serde(default)]
    values: Slice,
    /// Of no account: there may be several.
    #[serde(rename = "multivalue")]
    _multivalue: Option<Flag>,
}

impl Command<Sys> for Put {
    const ROUTE: Route = Route::post("config/ui/headers/{header:any}").logged().sudo().root_only();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let name = canonical(&self.header);
        if self.values.0.is_empty() {
            return Err(Error::invalid("header and values must be specified"));
        }
        if name.starts_with("X-Vault-") {
            return Err(Error::invalid("X-Vault headers cannot be set"));
        }
        if !is_name(&name) {
            return Err(Error::invalid(
                "header: the name of a header has letters, digits, dashes and underscores",
            ));
        }
        if !self.values.0.iter().all(|value| value.bytes().all(|byte| (b' '..=b'~').contains(&byte))) {
            return Err(Error::invalid("values: the value of a header is printable ASCII"));
        }
        let values: Vec<String> = self.values.0.iter().map(|value| value.trim().to_owned()).collect();
        let txn = cx.beyond(&Beyond::for_the_kernel());
        if web::headers(txn)?.len() >= HEADERS_MAX && web::header(txn, &name)?.is_none() {
            return Err(Error::invalid(format!(
                "there are {HEADERS_MAX} headers already: delete some first"
            )));
        }
        web::put_header(txn, &name, &values)?;
        if name == "Content-Security-Policy" {
            cx.warn(
                "overriding default Content-Security-Policy which is secure by default, proceed with caution",
            );
        }
        Ok(Reply::Written(b"null".to_vec()))
    }
}

/// Gives the pages of the web UI a header no more.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Its name.
    header: String,
}

impl Command<Sys> for Delete {
    const ROUTE: Route = Route::delete("config/ui/headers/{header:any}").logged().sudo().root_only();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        web::delete_header(cx.beyond(&Beyond::for_the_kernel()), &canonical(&self.header))?;
        Ok(Reply::Nothing)
    }
}

/// As Go writes the names of headers: `x-frame-options` is `X-Frame-Options`.
fn canonical(name: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        let first = chars.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(chars.map(|char| char.to_ascii_lowercase())).collect::<String>()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
