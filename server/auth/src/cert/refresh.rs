use std::time::Duration;

use kit::{Ask, Nothing, Reads, Recording, Reply, Result, Route, World, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crls::{Source, fetch, put, read};
use super::{Cert, LISTS};

/// How often to look for lists that have run out.
const EVERY: Duration = Duration::from_secs(600);
/// How many lists are fetched in one go.
const FETCHES_MAX: usize = 16;
/// How long all fetches of one go may take. What is left is done in the next.
const FETCH_TIME: Duration = Duration::from_secs(40);

/// Fetches revocation lists that have run out again. What cannot be fetched stays as it was, and says so.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(super) struct Refresh {}

/// A list that has run out, and what came in its place.
pub(super) struct Fetched {
    name: String,
    url: String,
    came: std::result::Result<Vec<u8>, String>,
}

impl Ask<Cert> for Refresh {
    const ROUTE: Route = Route::internal("refresh-crls").every(EVERY);
    type Facts = Vec<(String, String)>;
    type Heard = Vec<Fetched>;
    type Reply = Nothing;

    fn facts(&self, _: &Cert, cx: &Recording<'_>) -> Result<Vec<(String, String)>> {
        let mut due = Vec::new();
        for name in LISTS.list(cx, "")?.iter() {
            let source = LISTS.get(cx, name)?.and_then(|list| list.source);
            if let Some(Source { url, .. }) = source.filter(|source| source.valid_until <= cx.now()) {
                due.push((name.clone(), url));
            }
        }
        due.truncate(FETCHES_MAX);
        Ok(due)
    }

    async fn ask(&self, due: &Vec<(String, String)>, world: &dyn World) -> Result<Vec<Fetched>> {
        let mut fetched = Vec::new();
        let end = world.now().plus(FETCH_TIME);
        for (name, url) in due {
            if world.now() > end {
                break;
            }
            let came = fetch(url, world).await.map_err(|error| error.to_string());
            fetched.push(Fetched { name: name.clone(), url: url.clone(), came });
        }
        Ok(fetched)
    }

    fn run(self, _: &Cert, fetched: &Vec<Fetched>, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        for Fetched { name, url, came } in fetched {
            // It may have been deleted or set anew meanwhile.
            let Some(mut list) = LISTS.get(cx, name)? else { continue };
            let Some(source) = list.source.as_mut().filter(|source| source.url == *url) else { continue };
            let kept = match came {
                Ok(bytes) => read(bytes).and_then(|new| match new.next_update {
                    Some(end) if end <= cx.now().seconds() => {
                        Err(kit::Error::invalid("the CRL that was fetched is past its next update"))
                    }
                    _ => put(cx, name, &new, Some(url.clone())),
                }),
                Err(trouble) => Err(kit::Error::invalid(trouble.clone())),
            };
            if let Err(error) = kept {
                source.trouble = Some(error.to_string());
                LISTS.put(cx, name, &list)?;
            }
        }
        Ok(Reply::Nothing)
    }
}
