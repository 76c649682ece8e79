use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jws::{KEYS_MAX, PublicKey};
use kit::{Call, Error, Fault, Result, Secret, TOLD_MAX, Time, Told, Trust, World};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest set of keys that is kept.
const JWKS_SIZE_MAX: usize = 512 * 1024;
/// How long fetched keys are good, if the issuer does not say; and the bounds of what it may say.
const GOOD_USUALLY: Duration = Duration::from_secs(3600);
const GOOD_AT_LEAST: Duration = Duration::from_secs(300);
const GOOD_AT_MOST: Duration = Duration::from_secs(86_400);
/// What was fetched so recently is not fetched anew for a token by a key that is not in it.
const RECENT: Duration = Duration::from_secs(10);
/// Whoever began to fetch and has not ended by then has been cut off.
const FETCH_MAX: Duration = Duration::from_secs(65);
/// How often those look who wait for what another fetches.
const LOOK: Duration = Duration::from_millis(25);
/// How much of an answer that is no answer is shown.
const SHOWN_MAX: usize = 200;

/// Where an issuer publishes its keys.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// At a URL.
    Jwks { url: String, ca: String },
    /// At a URL that its discovery document names.
    Discovery { issuer: String, ca: String },
}

/// What an issuer publishes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Provider {
    /// From where it was fetched.
    pub(super) source: Source,
    /// When its keys must be fetched anew.
    pub(super) good_until: Time,
    /// Its keys, as they came.
    jwks: String,
    /// Where else it answers.
    pub(super) endpoints: Endpoints,
}

/// Where a provider of OpenID Connect answers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Endpoints {
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) userinfo_endpoint: String,
    pub(super) device_authorization_endpoint: String,
    /// How a client may prove itself; none: as usual.
    token_endpoint_auth_methods_supported: Vec<String>,
}

impl Endpoints {
    /// Whether a client proves itself in a header. Else in the form.
    pub(super) fn takes_basic(&self) -> bool {
        let ways = &self.token_endpoint_auth_methods_supported;
        ways.is_empty() || ways.iter().any(|way| way == "client_secret_basic")
    }
}

/// A discovery document (OpenID Connect Discovery 1.0, §3).
#[derive(Deserialize)]
struct Document {
    issuer: String,
    #[serde(default)]
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Jwks {
    #[serde(default)]
    keys: Vec<Value>,
}

impl Source {
    /// Whom to believe there.
    pub(super) fn trust(&self) -> Trust {
        let (Self::Jwks { ca, .. } | Self::Discovery { ca, .. }) = self;
        Trust { roots: Some(ca.clone()).filter(|ca| !ca.is_empty()), ..Trust::default() }
    }

    /// Fetches what is published there.
    ///
    /// # Errors
    /// If it does not answer, or with something else.
    pub(super) async fn fetch(&self, world: &dyn World) -> Result<Provider> {
        let (url, endpoints) = match self {
            Self::Jwks { url, .. } => (url.clone(), Endpoints::default()),
            Self::Discovery { issuer, .. } => {
                let (document, endpoints) = self.discover(issuer, world).await?;
                (document.jwks_uri, endpoints)
            }
        };
        let told = world.fetch(get(&url, self.trust())).await?;
        if told.status != 200 {
            let text = format!("get keys failed: {} {}", told.status, shown(&told.body));
            return Err(Error::new(Fault::Upstream, text));
        }
        let failed = |why: &str| Error::new(Fault::Upstream, format!("failed to decode keys: {why}"));
        if told.body.len() > JWKS_SIZE_MAX {
            return Err(failed(&format!("the set is longer than {JWKS_SIZE_MAX} bytes")));
        }
        let set: Jwks = json(&told).map_err(|why| failed(&why))?;
        if set.keys.len() > KEYS_MAX {
            return Err(failed(&format!("the set holds more than {KEYS_MAX} keys")));
        }
        let good = told.max_age_seconds.map_or(GOOD_USUALLY, Duration::from_secs);
        let good_until = world.now().plus(good.clamp(GOOD_AT_LEAST, GOOD_AT_MOST));
        let jwks = String::from_utf8(told.body).map_err(|_| failed("it is not text"))?;
        Ok(Provider { source: self.clone(), good_until, jwks, endpoints })
    }

    async fn discover(&self, issuer: &str, world: &dyn World) -> Result<(Document, Endpoints)> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let told = world.fetch(get(&url, self.trust())).await?;
        let failed = |why: String| Error::new(Fault::Upstream, why);
        if told.status != 200 {
            return Err(failed(format!("{}: {}", told.status, shown(&told.body))));
        }
        let document: Document =
            json(&told).map_err(|why| failed(format!("failed to decode OIDC discovery document: {why}")))?;
        if document.issuer != issuer {
            return Err(failed(format!(
                "issuer did not match the returned issuer, expected {issuer:?} got {:?}",
                document.issuer.chars().take(SHOWN_MAX).collect::<String>()
            )));
        }
        let endpoints = json(&told).map_err(failed)?;
        Ok((document, endpoints))
    }
}

impl Provider {
    /// Whether it need not be asked again yet. What is good for longer than anything was fetched before the clock was set back.
    pub(super) fn is_good(&self, now: Time) -> bool {
        now < self.good_until && self.good_until <= now.plus(GOOD_AT_MOST)
    }

    /// Its keys, as far as they are of a kind that signs tokens.
    pub(super) fn public_keys(&self) -> Vec<PublicKey> {
        let set: Jwks = serde_json::from_str(&self.jwks).unwrap_or(Jwks { keys: Vec::new() });
        set.keys.iter().filter_map(PublicKey::from_jwk).collect()
    }
}

/// The keys that a token may be signed by: those it names, or any if it names none.
pub(super) fn named<'k>(keys: &'k [PublicKey], id: &str) -> impl Iterator<Item = &'k PublicKey> {
    keys.iter().filter(move |key| id.is_empty() || key.id == id)
}

/// What was fetched of late. However many wait for the same, one fetches.
#[derive(Default)]
pub(super) struct Recent(Mutex<Option<Fetch>>);

struct Fetch {
    source: Source,
    /// No other has it that this mount has begun.
    number: u64,
    began: Time,
    /// Nothing yet: it is under way.
    came: Option<Result<Arc<Provider>>>,
}

enum Turn {
    Came(Result<Arc<Provider>>),
    /// For this one.
    Wait(u64),
    Mine(u64),
}

impl Recent {
    /// What the source publishes: as it was fetched a moment ago, or else fetched now. A failure is told to all who waited for
    /// it, so that they do not try one after another.
    ///
    /// # Errors
    /// Those of fetching.
    pub(super) async fn fetch(&self, source: &Source, world: &dyn World) -> Result<Arc<Provider>> {
        let mut waited = None;
        let number = loop {
            match self.turn(source, world.now(), waited) {
                Turn::Came(came) => return came,
                Turn::Wait(number) => waited = Some(number),
                Turn::Mine(number) => break number,
            }
            world.pause(LOOK).await;
        };
        let came = source.fetch(world).await.map(Arc::new);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(Fetch { source: source.clone(), number, began: world.now(), came: Some(came.clone()) });
        came
    }

    fn turn(&self, source: &Source, now: Time, waited: Option<u64>) -> Turn {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = last.as_ref().map_or(0, |fetch| fetch.number + 1);
        // What was begun later than now was begun before the clock was set back.
        if let Some(fetch) = last.as_ref().filter(|fetch| fetch.source == *source && fetch.began <= now) {
            match &fetch.came {
                Some(Ok(provider)) if now < fetch.began.plus(RECENT) => {
                    return Turn::Came(Ok(Arc::clone(provider)));
                }
                Some(Err(error)) if waited == Some(fetch.number) => return Turn::Came(Err(error.clone())),
                None if now < fetch.began.plus(FETCH_MAX) => return Turn::Wait(fetch.number),
                _ => {}
            }
        }
        *last = Some(Fetch { source: source.clone(), number, began: now, came: None });
        Turn::Mine(number)
    }
}

/// A question for JSON.
pub(super) fn get(url: &str, trust: Trust) -> Call {
    let accept = ("accept".into(), Secret::new("application/json".to_owned()));
    Call { method: "GET", url: url.to_owned(), headers: vec![accept], trust, ..Call::default() }
}

/// What was told, as JSON.
///
/// # Errors
/// Why it is not that.
pub(super) fn json<T: DeserializeOwned>(told: &Told) -> Result<T, String> {
    let body = told.body.get(..TOLD_MAX.min(told.body.len())).unwrap_or_default();
    // An object, before it is anything: what else an answer may hold is no use here.
    let object: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| match told.kind.as_str() {
            "application/json" => {
                format!("got Content-Type = application/json, but could not unmarshal as JSON: {error}")
            }
            kind => format!("expected Content-Type = application/json, got {kind:?}: {error}"),
        })?;
    T::deserialize(Value::Object(object)).map_err(|error| error.to_string())
}

/// The beginning of an answer, for an error.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().filter(|char| !char.is_control()).take(SHOWN_MAX).collect()
}
