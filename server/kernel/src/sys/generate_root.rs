//! A root token for those who hold the shares: `sys/generate-root-token`, and `sys/generate-root` as it was before.

use std::marker::PhantomData;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, STANDARD_NO_PAD};
use kit::{
    Beyond, Command, Error, Fault, Query, Reading, Reads, Reply, Result, Route, Secret, Time, Writing,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::Random;
use storage::seal::shamir::Share;
use zeroize::Zeroizing;

use super::{Sys, door};
use crate::ceremonies::{self, Added, Cover, Generation, Shown};
use crate::envelope::Attached;
use crate::ids;
use crate::kernel::{Kernel, root_record};
use crate::namespaces::{self, Ns};
use crate::openpgp::PgpKey;
use crate::seals::SealOf;

/// Through which door the owners come.
pub(super) trait Door: Send + Sync + 'static {
    const STATUS: Route;
    const BEGIN: Route;
    const CANCEL: Route;
    const UPDATE: Route;

    /// Whether this door is open at all.
    fn enter(kernel: &Kernel) -> Result<()>;

    /// The reply in the form that clients of this door know.
    fn reply(attempt: Attempt) -> Reply<Attempt>;
}

/// With a token: `sys/generate-root-token`.
pub(super) struct WithToken;
/// For whoever holds shares, if a listener lets strangers in: `sys/generate-root`.
pub(super) struct Open;

impl Door for WithToken {
    const STATUS: Route = Route::get("generate-root-token/attempt");
    const BEGIN: Route = Route::post("generate-root-token/attempt");
    const CANCEL: Route = Route::delete("generate-root-token/attempt");
    const UPDATE: Route = Route::post("generate-root-token/update");

    fn enter(_: &Kernel) -> Result<()> {
        Ok(())
    }

    fn reply(attempt: Attempt) -> Reply<Attempt> {
        Reply::Data(Attempt { encoded_root_token: None, ..attempt })
    }
}

impl Door for Open {
    const STATUS: Route = Route::get("generate-root/attempt").unauthenticated();
    const BEGIN: Route = Route::post("generate-root/attempt").unauthenticated();
    const CANCEL: Route = Route::delete("generate-root/attempt").unauthenticated();
    const UPDATE: Route = Route::post("generate-root/update").unauthenticated();

    fn enter(kernel: &Kernel) -> Result<()> {
        match kernel.env.settings.open_generate_root {
            true => Ok(()),
            false => Err(Error::new(Fault::Verb, "unsupported operation")),
        }
    }

    fn reply(attempt: Attempt) -> Reply<Attempt> {
        let encoded = attempt.encoded_token.unwrap_or_default();
        Reply::Bare(Attempt {
            nonce: Some(attempt.nonce.unwrap_or_default()),
            encoded_root_token: Some(encoded.clone()),
            encoded_token: Some(encoded),
            pgp_fingerprint: Some(attempt.pgp_fingerprint.unwrap_or_default()),
            otp: Some(attempt.otp.unwrap_or_default()),
            otp_length: Some(attempt.otp_length.unwrap_or_default()),
            ..attempt
        })
    }
}

/// How long the one-time password is: as long as a token, which outside the root says its namespace.
fn otp_length(ns: Ns) -> usize {
    match ns.is_root() {
        true => ids::TOKEN_LENGTH,
        false => ids::TOKEN_LENGTH + 1 + namespaces::ID_LENGTH,
    }
}

/// How far it is.
#[derive(Clone, Default, JsonSchema, Serialize)]
pub(super) struct Attempt {
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    started: bool,
    progress: usize,
    required: u8,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoded_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoded_root_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pgp_fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    otp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    otp_length: Option<usize>,
}

impl Attempt {
    /// As `attempt` shows it.
    fn of(generation: Option<&Generation>, required: u8, otp_length: usize) -> Self {
        Self {
            nonce: generation.map(|generation| generation.nonce.clone()),
            started: generation.is_some(),
            progress: generation.map_or(0, |generation| generation.shown.count()),
            required,
            pgp_fingerprint: generation.map(|generation| generation.cover.fingerprint()),
            otp: Some(String::new()),
            otp_length: Some(otp_length),
            ..Self::default()
        }
    }
}

/// Shows how far the making of a root token is.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(super) struct Status<D> {
    #[serde(skip)]
    door: PhantomData<D>,
}

impl<D: Door> Query<Sys> for Status<D> {
    const ROUTE: Route = D::STATUS;
    type Reply = Attempt;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Attempt>> {
        let kernel = engine.kernel()?;
        D::enter(&kernel)?;
        let seal = kernel.seal_of(Ns::of(cx))?;
        let (required, length) = (seal.required()?.unwrap_or(0), otp_length(seal.ns));
        let gathering = kernel.ceremonies.of(seal.ns);
        Ok(D::reply(Attempt::of(gathering.generation().as_ref(), required, length)))
    }
}

/// Begins to make a root token. Whoever begins it has a one-time password, without which the token cannot be read.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(super) struct Begin<D> {
    /// The one-time password; without one, the server makes it up and shows it once.
    #[serde(default)]
    otp: Secret<String>,
    /// The public key of whoever is to have the token, in base64, in place of a one-time password.
    #[serde(default)]
    pgp_key: String,
    #[serde(skip)]
    door: PhantomData<D>,
}

impl<D: Door> Command<Sys> for Begin<D> {
    const ROUTE: Route = D::BEGIN;
    type Reply = Attempt;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Attempt>> {
        let kernel = engine.kernel()?;
        D::enter(&kernel)?;
        let seal = kernel.seal_of(Ns::of(cx))?;
        let nonce = ids::new_uuid(cx.randomness());
        let fresh = Zeroizing::new(ids::base62(cx.randomness(), otp_length(seal.ns)));
        let now = cx.now();
        let attempt = cx.once(|| self.begin(&seal, nonce, fresh, now))?;
        Ok(D::reply(attempt))
    }
}

impl<D: Door> Begin<D> {
    fn begin(
        &self,
        seal: &SealOf<'_>,
        nonce: String,
        fresh: Zeroizing<String>,
        now: Time,
    ) -> Result<Attempt> {
        let own = self.otp.expose();
        if !own.is_empty() && own.len() != fresh.len() {
            return Err(Error::invalid("OTP string has incorrect length"));
        }
        if !own.is_empty() && !self.pgp_key.is_empty() {
            return Err(Error::invalid("give otp or pgp_key, not both: the token is hidden by one of them"));
        }
        let gathering = seal.kernel.ceremonies.of(seal.ns);
        let mut slot = gathering.generation();
        if slot.is_some() {
            return Err(Error::invalid("root generation already in progress for this namespace"));
        }
        let required = seal.required()?.ok_or_else(|| {
            Error::invalid("this server has no recovery key, so nobody can prove to own it: make one with sys/rotate/recovery/init")
        })?;
        let (cover, shown) = match (own.as_str(), self.pgp_key.as_str()) {
            ("", "") => (Cover::Otp(fresh.clone()), fresh.to_string()),
            ("", key) => {
                let key = PgpKey::parse(key, now)
                    .map_err(|why| Error::invalid(format!("error parsing PGP key: {why}")))?;
                (Cover::Pgp(Box::new(key)), String::new())
            }
            (own, _) => (Cover::Otp(Zeroizing::new(own.to_owned())), String::new()),
        };
        let generation = Generation { nonce, cover, shown: Shown::default() };
        let attempt = Attempt::of(Some(&generation), required, fresh.len());
        let attempt = Attempt { otp: Some(shown), ..attempt };
        *slot = Some(generation);
        Ok(attempt)
    }
}

/// Gives the making of a root token up.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(super) struct Cancel<D> {
    /// Its nonce, for those who show no token that may do this.
    #[serde(default)]
    nonce: String,
    #[serde(skip)]
    door: PhantomData<D>,
}

impl<D: Door> Command<Sys> for Cancel<D> {
    const ROUTE: Route = D::CANCEL;
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        D::enter(&kernel)?;
        let gathering = kernel.ceremonies.of(Ns::of(cx));
        let mut slot = gathering.generation();
        if let Some(generation) = &*slot
            && D::CANCEL.open
            && !ceremonies::same(&self.nonce, &generation.nonce)
        {
            door::check(&kernel, cx, "sys/generate-root-token/attempt")?;
        }
        *slot = None;
        Ok(Reply::Nothing)
    }
}

/// Shows one share. With enough of them a root token is made, encoded with the one-time password.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(super) struct Update<D> {
    /// The share, in hex or base64.
    #[serde(default)]
    key: Secret<String>,
    /// The nonce of what was begun.
    #[serde(default)]
    nonce: String,
    #[serde(skip)]
    door: PhantomData<D>,
}

/// What a share came to; kept while the token's transaction is run again.
#[derive(Clone)]
enum Turn {
    Going(Attempt),
    Done { nonce: String, cover: Cover, required: u8 },
}

impl<D: Door> Command<Sys> for Update<D> {
    const ROUTE: Route = D::UPDATE;
    type Reply = Attempt;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Attempt>> {
        let kernel = engine.kernel()?;
        D::enter(&kernel)?;
        if D::UPDATE.open && self.key.expose().is_empty() {
            return Err(Error::invalid("'key' must be specified in request body as JSON"));
        }
        if !D::UPDATE.open && self.nonce.is_empty() {
            return Err(Error::invalid("nonce is required"));
        }
        let seal = kernel.seal_of(Ns::of(cx))?;
        let turn = cx.once(|| {
            let share = ceremonies::share(self.key.expose())?;
            self.update(&seal, share)
        })?;
        let (nonce, cover, required) = match turn {
            Turn::Going(attempt) => return Ok(D::reply(attempt)),
            Turn::Done { nonce, cover, required } => (nonce, cover, required),
        };
        let beyond = Beyond::for_the_kernel();
        let (now, random) = (cx.now(), cx.randomness());
        let router = kernel.router(cx.peek(&beyond).snapshot())?;
        let here = &router.value().here(cx)?.namespace;
        let made = kernel.tokens.make(cx.beyond(&beyond), random, here, None, root_record(now))?;
        let encoded = cover.hide(made.id.expose(), &*kernel.env.random)?;
        cx.notes().attach(&beyond, Box::new(Attached::Made(made.place()?)));
        tracing::info!(namespace = here.path, "a root token has been made by the owners of the key");
        Ok(D::reply(Attempt {
            nonce: Some(nonce),
            started: true,
            progress: usize::from(required),
            required,
            complete: true,
            encoded_token: Some(encoded),
            pgp_fingerprint: Some(cover.fingerprint()),
            ..Attempt::default()
        }))
    }
}

impl<D: Door> Update<D> {
    fn update(&self, seal: &SealOf<'_>, share: Share) -> Result<Turn> {
        let gathering = seal.kernel.ceremonies.of(seal.ns);
        let mut slot = gathering.generation();
        let generation = slot.as_mut().ok_or_else(|| Error::invalid("no root generation in progress"))?;
        if !ceremonies::same(&self.nonce, &generation.nonce) {
            return Err(Error::invalid(format!(
                "incorrect nonce supplied; nonce for this root generation operation is {:?}",
                generation.nonce
            )));
        }
        let required = seal.required()?.unwrap_or(1);
        let shares = match generation.shown.add(share, required) {
            Added::Again => {
                return Err(Error::invalid(
                    "given key has already been provided during this generation operation",
                ));
            }
            Added::Wanting => {
                let attempt = Attempt::of(Some(generation), required, 0);
                let attempt = Attempt { otp: None, otp_length: None, ..attempt };
                return Ok(Turn::Going(Attempt { encoded_token: Some(String::new()), ..attempt }));
            }
            Added::Enough(shares) => shares,
        };
        if !seal.prove(&shares)? {
            tracing::warn!("the shares that were shown to make a root token are not those of an owner");
            return Err(Error::invalid(
                "root generation aborted: unable to authenticate: the shares are not those of this seal. All of them are forgotten; begin again",
            ));
        }
        let nonce = generation.nonce.clone();
        let cover = generation.cover.clone();
        *slot = None;
        Ok(Turn::Done { nonce, cover, required })
    }
}

impl Cover {
    /// The fingerprint of the key, if it is one.
    fn fingerprint(&self) -> String {
        match self {
            Self::Otp(_) => String::new(),
            Self::Pgp(key) => key.fingerprint().to_owned(),
        }
    }

    /// A token, hidden.
    fn hide(&self, token: &str, random: &dyn Random) -> Result<String> {
        Ok(match self {
            Self::Otp(otp) => STANDARD_NO_PAD.encode(xored(token.as_bytes(), otp.as_bytes())),
            Self::Pgp(key) => STANDARD.encode(key.encrypt(token.as_bytes(), random)?),
        })
    }
}

fn xored(left: &[u8], right: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(left.iter().zip(right).map(|(left, right)| left ^ right).collect())
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Decoded {
    token: String,
}

/// Decodes a token that was encoded with a one-time password. Both are the caller's own.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Decode {
    /// The encoded token.
    #[serde(default)]
    encoded_token: Secret<String>,
    /// The one-time password.
    #[serde(default)]
    otp: Secret<String>,
}

/// With padding or without it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Query<Sys> for Decode {
    const ROUTE: Route = Route::post("decode-token").unauthenticated();
    type Reply = Decoded;

    fn run(self, _: &Sys, _: &Reading<'_>) -> Result<Reply<Decoded>> {
        let (encoded, otp) = (self.encoded_token.expose(), self.otp.expose());
        if encoded.is_empty() || otp.is_empty() {
            return Err(Error::invalid("provided 'encoded_token' or 'otp' is empty"));
        }
        let bytes = LENIENT
            .decode(encoded)
            .map(Zeroizing::new)
            .map_err(|_| Error::invalid("error decoding base64'd token: illegal base64 data"))?;
        if bytes.len() != otp.len() {
            return Err(Error::invalid(format!(
                "error xoring token: length of byte slices is not equivalent: {} != {}",
                bytes.len(),
                otp.len()
            )));
        }
        let token = std::str::from_utf8(&xored(&bytes, otp.as_bytes())).map(str::to_owned);
        let token = token.map_err(|_| {
            Error::invalid(
                "the token cannot be decoded: take the one-time password with which it was encoded",
            )
        })?;
        Ok(Decoded { token }.into())
    }
}
