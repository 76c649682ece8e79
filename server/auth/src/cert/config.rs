use kit::loose::{Flag, Number};
use kit::{Command, Error, Nothing, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CONFIG, Cert};

/// The only record of [`CONFIG`].
pub(super) const KEY: &str = "config";
/// The least and the most that `ocsp_cache_size` takes.
const CACHE_SIZES: std::ops::RangeInclusive<i64> = 2..=100_000;

/// The settings of the mount.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(super) struct Config {
    /// A token may be renewed without its certificate.
    pub(super) disable_binding: bool,
    /// What the certificate says is written down with the alias, too.
    pub(super) enable_identity_alias_metadata: bool,
    /// Kept and shown for clients: every login asks anew.
    ocsp_cache_size: i64,
}

/// Reads the settings.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadConfig {}

impl Query<Cert> for ReadConfig {
    const ROUTE: Route = Route::get("config");
    type Reply = Config;

    fn run(self, _: &Cert, cx: &Reading<'_>) -> Result<Reply<Config>> {
        Ok(CONFIG.get(cx, KEY)?.unwrap_or_default().into())
    }
}

/// Changes the settings. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteConfig {
    /// Lets a token be renewed without the certificate that it was given for.
    #[serde(default)]
    disable_binding: Option<Flag>,
    /// Writes down with the alias what the certificate says, so that policies can be templates of it.
    #[serde(default)]
    enable_identity_alias_metadata: Option<Flag>,
    /// How many answers of OCSP servers to keep. Of no account here: every login asks anew.
    #[serde(default)]
    ocsp_cache_size: Option<Number>,
}

impl Command<Cert> for WriteConfig {
    const ROUTE: Route = Route::post("config");
    type Reply = Nothing;

    fn run(self, _: &Cert, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let mut config = CONFIG.get(cx, KEY)?.unwrap_or_default();
        if let Some(Flag(flag)) = self.disable_binding {
            config.disable_binding = flag;
        }
        if let Some(Flag(flag)) = self.enable_identity_alias_metadata {
            config.enable_identity_alias_metadata = flag;
        }
        if let Some(Number(size)) = self.ocsp_cache_size {
            if !CACHE_SIZES.contains(&size) {
                let (least, most) = (CACHE_SIZES.start(), CACHE_SIZES.end());
                let text = format!("invalid cache size, must be >= {least} and <= {most}");
                return Err(Error::invalid(text));
            }
            config.ocsp_cache_size = size;
        }
        CONFIG.put(cx, KEY, &config)?;
        Ok(Reply::Nothing)
    }
}
