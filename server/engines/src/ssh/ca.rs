//! Issuers come into being: made here, or brought.

use std::sync::Arc;

use kit::loose::{Flag, Number, Text};
use kit::{Command, Error, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use x509::Family;
use zeroize::{Zeroize, Zeroizing};

use super::Ssh;
use super::authorities::{DEFAULT, authorities};
use super::issuers::ShownIssuer;
use super::key::{Key, shape};
use super::store::{ISSUERS, Id, IssuerRecord, set_default_issuer};
use super::{openssh, subject};

/// More issuers than this in one mount is a mistake, and each would be parsed whenever one changes.
const ISSUERS_MAX: usize = 1000;

/// Shows the default issuer.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadCa {}

impl Query<Ssh> for ReadCa {
    const ROUTE: Route = Route::get("config/ca");
    type Reply = ShownIssuer;

    fn run(self, _: &Ssh, cx: &Reading<'_>) -> Result<Reply<ShownIssuer>> {
        Ok(Reply::Data(ShownIssuer::of(authorities(cx)?.issuer(DEFAULT)?)))
    }
}

/// Deletes all issuers for good. What they signed stays valid until it ends.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteCa {}

impl Command<Ssh> for DeleteCa {
    const ROUTE: Route = Route::delete("config/ca");
    type Reply = kit::Nothing;

    fn run(self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<kit::Nothing>> {
        let all = authorities(cx)?;
        for issuer in &all.issuers {
            ISSUERS.delete(cx, issuer.id.as_bytes())?;
        }
        set_default_issuer(cx, None)?;
        if !all.issuers.is_empty() {
            kit::Reads::notes(cx).warn(format!(
                "Deleted {} issuers, including default issuer if configured.",
                all.issuers.len()
            ));
        }
        Ok(Reply::Nothing)
    }
}

macro_rules! submit_operation {
    ($(#[doc = $doc:literal])* $name:ident $(<const $at:ident: usize>)? { $($own:tt)* }) => {
        $(#[doc = $doc])*
        #[derive(Deserialize, JsonSchema)]
        pub(super) struct $name$(<const $at: usize>)? {
            $($own)*
            /// Whether the key is made here. Left out, it is if no key is brought.
            generate_signing_key: Option<Flag>,
            /// Name of the issuer.
            issuer_name: Option<Text>,
            /// The size of the key; 0 for the usual one of its type.
            key_bits: Option<Number>,
            /// The type of the key that is made: `ssh-rsa`, `ssh-ed25519`, `ecdsa-sha2-nistp256`, `-nistp384`, `-nistp521`.
            key_type: Option<Text>,
            /// The private key that is brought, in PEM.
            private_key: Option<Text>,
            /// Its public half.
            public_key: Option<Text>,
        }

        impl$(<const $at: usize>)? Drop for $name$(<$at>)? {
            fn drop(&mut self) {
                if let Some(key) = &mut self.private_key {
                    key.0.zeroize();
                }
            }
        }

        impl$(<const $at: usize>)? $name$(<$at>)? {
            fn take_submitted(&mut self) -> Submitted {
                Submitted {
                    generate: self.generate_signing_key.map(|flag| flag.0),
                    name: self.issuer_name.take().map(|text| text.0.trim().to_owned()),
                    key_bits: u64::try_from(self.key_bits.unwrap_or_default().0).unwrap_or(1),
                    key_type: self.key_type.take().map_or("ssh-rsa".to_owned(), |text| text.0),
                    private_key: Zeroizing::new(self.private_key.take().unwrap_or_default().0),
                    public_key: self.public_key.take().unwrap_or_default().0,
                }
            }
        }
    };
}

submit_operation! {
    /// Makes an issuer, or takes one in, and makes it the default.
    WriteCa {}
}

submit_operation! {
    /// Makes a further issuer, or takes one in.
    ImportIssuer<const AT: usize> {
        /// Whether it becomes the default.
        set_default: Option<Flag>,
    }
}

impl Command<Ssh> for WriteCa {
    const ROUTE: Route = Route::post("config/ca");
    type Reply = ShownIssuer;

    fn run(mut self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<ShownIssuer>> {
        let (id, shown) = add(cx, &self.take_submitted())?;
        set_default_issuer(cx, Some(id))?;
        Ok(Reply::Data(shown))
    }
}

const IMPORT_ROUTES: [Route; 2] =
    [Route::post("issuers/import"), Route::post("issuers/import/{issuer_name}")];

impl<const AT: usize> Command<Ssh> for ImportIssuer<AT> {
    const ROUTE: Route = IMPORT_ROUTES[AT];
    type Reply = ShownIssuer;

    fn run(mut self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<ShownIssuer>> {
        let (id, shown) = add(cx, &self.take_submitted())?;
        if self.set_default.unwrap_or_default().0 {
            set_default_issuer(cx, Some(id))?;
        }
        Ok(Reply::Data(shown))
    }
}

/// What a request says of a new issuer.
struct Submitted {
    generate: Option<bool>,
    name: Option<String>,
    key_bits: u64,
    key_type: String,
    private_key: Zeroizing<String>,
    public_key: String,
}

fn add(cx: &mut Writing<'_>, submitted: &Submitted) -> Result<(Id, ShownIssuer)> {
    let all = authorities(cx)?;
    if let Some(name) = &submitted.name {
        all.check_name(name, None)?;
    }
    if all.issuers.len() >= ISSUERS_MAX {
        return Err(Error::invalid(format!(
            "this mount has {ISSUERS_MAX} issuers already; delete some, or use another mount"
        )));
    }
    let (key, public_key) = submitted.key(cx)?;
    let id = Id::new(cx);
    let name = submitted.name.clone().unwrap_or_default();
    let record = IssuerRecord { name, public_key, pkcs8: key.to_record()? };
    ISSUERS.put(cx, id.as_bytes(), &record)?;
    Ok((id, ShownIssuer::of_record(id, &record)))
}

impl Submitted {
    /// The key, and its public half as it will be shown.
    fn key(&self, cx: &mut Writing<'_>) -> Result<(Arc<Key>, String)> {
        match (self.generate, self.public_key.is_empty(), self.private_key.is_empty()) {
            (Some(true), true, true) | (None, true, true) => self.made(cx),
            (Some(true), ..) => Err(Error::invalid(
                "public_key and private_key must not be set when generate_signing_key is set to true",
            )),
            (Some(false), true, true) => Err(Error::invalid("missing public_key")),
            (_, false, false) => self.brought(),
            _ => Err(Error::invalid(
                "only one of public_key and private_key set; both must be set to use, or both must be blank to auto-generate",
            )),
        }
    }

    fn made(&self, cx: &mut Writing<'_>) -> Result<(Arc<Key>, String)> {
        let shape = shape(&self.key_type, self.key_bits)?;
        if shape.family == Family::Rsa {
            cx.costly()?;
        }
        let key = cx.once(|| Key::generate(shape).map(Arc::new))?;
        let line = key.public_line()?;
        Ok((key, line))
    }

    fn brought(&self) -> Result<(Arc<Key>, String)> {
        let public = subject::read(&self.public_key)
            .map_err(|why| Error::invalid(format!("could not parse public_key provided value: {why}")))?;
        let key = openssh::read(&self.private_key)?;
        if *key.public() != public {
            return Err(Error::invalid(
                "public_key is not the public half of private_key; ssh-keygen -y -f FILE shows the one that is",
            ));
        }
        Ok((Arc::new(key), self.public_key.clone()))
    }
}
