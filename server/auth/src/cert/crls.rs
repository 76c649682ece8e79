use std::collections::BTreeMap;
use std::sync::Arc;

use kit::loose::{Number, Text};
use kit::{
    Ask, Call, Command, Error, Fault, Nothing, Query, Reading, Reads, Recording, Reply, Result, Route, Time,
    World, Writing,
};
use num_bigint::BigUint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{RevocationList, Serial};

use super::chain::{Revoked, certificates};
use super::{Cert, LISTS, ROLES, SERIALS};
use crate::listing::Keys;

/// How many serials lie in one record.
const PIECE: usize = 8_000;
/// How many serials a list may have: as many as one transaction takes.
const SERIALS_MAX: usize = 100_000;
/// How many lists a mount may have.
const LISTS_MAX: usize = 256;

/// A revocation list. Its serials lie in [`SERIALS`].
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct List {
    pub(super) source: Option<Source>,
    pieces: u64,
    /// What it is of, so that an older one does not take its place.
    #[serde(default)]
    age: Option<Age>,
}

/// How old a list is among those of its issuer.
#[derive(Clone, Deserialize, Serialize)]
struct Age {
    /// The issuer's name in DER, in hex.
    issuer: String,
    number: Option<u64>,
    made: u64,
}

impl Age {
    fn of(list: &RevocationList) -> Self {
        Self { issuer: hex::encode(&list.issuer_der), number: list.number, made: list.this_update }
    }

    /// Whether a list of the same issuer is older.
    fn outdates(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && (other.made < self.made || other.number.zip(self.number).is_some_and(|(new, old)| new < old))
    }
}

/// Where a list comes from.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Source {
    pub(super) url: String,
    pub(super) valid_until: Time,
    /// Why it could not be fetched again the last time.
    pub(super) trouble: Option<String>,
}

/// Every serial that is revoked by a list of this mount.
///
/// # Errors
/// If the store does not answer.
pub(super) fn revoked(cx: &impl Reads) -> Result<Arc<Revoked>> {
    cx.memo("revoked", |cx| {
        let mut all = Revoked::new();
        for name in LISTS.list(cx, "")?.iter() {
            all.extend(serials(cx, name)?);
        }
        Ok(all)
    })
}

fn serials(cx: &impl Reads, name: &str) -> Result<Vec<Vec<u8>>> {
    let pieces = LISTS.get(cx, name)?.map_or(0, |list| list.pieces);
    let mut all = Vec::new();
    for piece in 0..pieces {
        let piece =
            SERIALS.get(cx, name, piece)?.ok_or_else(|| Error::internal("a piece of a CRL is gone"))?;
        let wrong = |_| Error::internal("a serial of a CRL does not read");
        for serial in piece {
            all.push(hex::decode(serial).map_err(wrong)?);
        }
    }
    Ok(all)
}

/// Lists the revocation lists.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListLists {
    /// Begins after this name.
    #[serde(default)]
    after: Option<Text>,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

impl Query<Cert> for ListLists {
    const ROUTE: Route = Route::list("crls");
    type Reply = Keys;

    fn run(self, _: &Cert, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        Keys::page(&LISTS.list(cx, "")?, self.after.as_ref(), self.limit)
    }
}

/// Reads a revocation list.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadList {
    /// Which.
    name: String,
}

/// A revocation list.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    cdp: Option<ShownSource>,
    /// The serials on it, in decimal.
    serials: BTreeMap<String, Nothing>,
}

/// Where it comes from, and until when it holds.
#[derive(JsonSchema, Serialize)]
struct ShownSource {
    url: String,
    valid_until: String,
    /// Why it could not be fetched again the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

impl Query<Cert> for ReadList {
    const ROUTE: Route = Route::get("crls/{name:lower}");
    type Reply = Shown;

    fn run(self, _: &Cert, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let list = LISTS.get(cx, &self.name)?.ok_or_else(|| missing(&self.name))?;
        let cdp = list.source.map(|source| ShownSource {
            url: source.url,
            valid_until: source.valid_until.rfc3339(),
            trouble: source.trouble,
        });
        let serials = serials(cx, &self.name)?;
        let serials = serials.iter().map(|serial| (decimal(serial), Nothing {})).collect();
        Ok(Shown { cdp, serials }.into())
    }
}

/// A serial as people who count in tens write it.
pub(super) fn decimal(serial: &[u8]) -> String {
    BigUint::from_bytes_be(serial).to_string()
}

fn missing(name: &str) -> Error {
    Error::invalid(format!("no such CRL {name}"))
}

/// Sets a revocation list: what is on it lets nobody in. It is given, or fetched from a URL and then fetched again
/// whenever it has run out.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteList {
    /// Which.
    name: String,
    /// The list, in PEM.
    #[serde(default)]
    crl: Option<Text>,
    /// Where to fetch it, over http or https.
    #[serde(default)]
    url: Option<Text>,
}

impl Ask<Cert> for WriteList {
    const ROUTE: Route = Route::post("crls/{name:lower}");
    type Facts = Option<String>;
    type Heard = Option<Vec<u8>>;
    type Reply = Nothing;

    fn facts(&self, _: &Cert, _: &Recording<'_>) -> Result<Option<String>> {
        match (&self.crl, &self.url) {
            (Some(_), _) => Ok(None),
            (None, Some(Text(url))) if url.is_empty() => Err(Error::invalid("empty CRL url")),
            (None, Some(Text(url))) if !is_web(url) => {
                Err(Error::invalid("invalid CRL url: it must be an http or https URL"))
            }
            (None, Some(Text(url))) => Ok(Some(url.clone())),
            (None, None) => Err(Error::invalid("one of 'crl' or 'url' must be provided")),
        }
    }

    async fn ask(&self, url: &Option<String>, world: &dyn World) -> Result<Option<Vec<u8>>> {
        match url {
            Some(url) => fetch(url, world).await.map(Some),
            None => Ok(None),
        }
    }

    fn run(self, _: &Cert, fetched: &Option<Vec<u8>>, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let given = self.crl.unwrap_or_default().0;
        let (list, url) = match fetched {
            Some(bytes) => (read(bytes)?, self.url.map(|url| url.0)),
            None => (read(given.as_bytes())?, None),
        };
        if !LISTS.has(cx, &self.name)? && LISTS.list(cx, "")?.len() >= LISTS_MAX {
            return Err(Error::invalid(format!("there are {LISTS_MAX} CRLs already: delete one")));
        }
        put(cx, &self.name, &list, url)?;
        Ok(Reply::Nothing)
    }
}

/// Whether a URL is one that can be fetched.
pub(super) fn is_web(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && url.chars().all(|c| c.is_ascii_graphic())
    })
}

/// Fetches a list.
///
/// # Errors
/// If it did not come.
pub(super) async fn fetch(url: &str, world: &dyn World) -> Result<Vec<u8>> {
    let call = Call { method: "GET", url: url.to_owned(), ..Call::default() };
    let told = world.fetch(call).await?;
    match told.status {
        200 => Ok(told.body),
        status => {
            Err(Error::new(Fault::Upstream, format!("the CRL was not served: {url} answered {status}")))
        }
    }
}

/// Reads a list, in PEM or DER.
///
/// # Errors
/// If it does not read.
pub(super) fn read(bytes: &[u8]) -> Result<RevocationList> {
    let read = match std::str::from_utf8(bytes) {
        Ok(text) => RevocationList::from_pem(text),
        Err(_) => RevocationList::from_der(bytes),
    };
    let list = read.map_err(|error| Error::invalid(format!("failed to parse CRL: {error}")))?;
    if list.revoked.len() > SERIALS_MAX {
        return Err(Error::invalid(format!("the CRL has more than {SERIALS_MAX} serials: use OCSP instead")));
    }
    Ok(list)
}

/// Stores a list in the place of what was there.
///
/// # Errors
/// If a CA of this mount has the name of its issuer, and did not sign it; or if it is older than what is there: a list
/// that was true once is as good as made up.
pub(super) fn put(
    cx: &mut Writing<'_>,
    name: &str,
    list: &RevocationList,
    url: Option<String>,
) -> Result<()> {
    check_signature(cx, list)?;
    let age = Age::of(list);
    let before = LISTS.get(cx, name)?;
    if before.as_ref().and_then(|before| before.age.as_ref()).is_some_and(|before| before.outdates(&age)) {
        let text = format!(
            "the CRL is older than the one that {name:?} holds of the same issuer; delete that first if this is meant"
        );
        return Err(Error::invalid(text));
    }
    let before = before.map_or(0, |list| list.pieces);
    let hex = |(serial, _): &(Serial, u64)| hex::encode(serial.as_bytes());
    let pieces: Vec<Vec<String>> =
        list.revoked.chunks(PIECE).map(|piece| piece.iter().map(hex).collect()).collect();
    let mut count = 0;
    for piece in &pieces {
        SERIALS.put(cx, name, count, piece)?;
        count += 1;
    }
    for gone in count..before {
        SERIALS.delete(cx, name, gone)?;
    }
    let valid_until = list.next_update.map_or_else(|| cx.now(), Time::from_seconds);
    let source = url.map(|url| Source { url, valid_until, trouble: None });
    LISTS.put(cx, name, &List { source, pieces: count, age: Some(age) })
}

/// An empty list that someone on the way has made up must not take the place of a true one.
fn check_signature(cx: &impl Reads, list: &RevocationList) -> Result<()> {
    let mut known = false;
    for name in ROLES.list(cx, "")?.iter() {
        let role = ROLES.get(cx, name)?.unwrap_or_default();
        for issuer in certificates(&role.trust.certificate) {
            if issuer.is_ca() && issuer.subject_der() == list.issuer_der {
                if list.verify(issuer.public_key()).is_ok() {
                    return Ok(());
                }
                known = true;
            }
        }
    }
    match known {
        false => Ok(()),
        true => {
            Err(Error::invalid("the CRL is not signed by the CA of this mount that it names as its issuer"))
        }
    }
}

/// Deletes a revocation list.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteList {
    /// Which.
    name: String,
}

impl Command<Cert> for DeleteList {
    const ROUTE: Route = Route::delete("crls/{name:lower}");
    type Reply = Nothing;

    fn run(self, _: &Cert, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let list = LISTS.get(cx, &self.name)?.ok_or_else(|| missing(&self.name))?;
        for piece in 0..list.pieces {
            SERIALS.delete(cx, &self.name, piece)?;
        }
        LISTS.delete(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}
