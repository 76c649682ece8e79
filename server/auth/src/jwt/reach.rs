use std::sync::Arc;

use kit::{Reads, Result, World};

use super::config::Config;
use super::provider::{Provider, Recent, Source};
use super::vouch::signed;
use super::{Published, recent};
use crate::claims::Claims;

/// The way to a provider: by what is known of it, as long as that is good.
pub(super) struct Reach {
    known: Option<Provider>,
    source: Source,
    recent: Arc<Recent>,
}

/// A provider, and whether it was fetched just now.
pub(super) struct Reached {
    pub(super) provider: Provider,
    pub(super) fetched: bool,
}

impl Reach {
    /// The way to where the mount is set up for.
    pub(super) fn of(cx: &impl Reads, source: Source) -> Result<Self> {
        let published = Published::of(cx)?;
        let known = published.as_ref().as_ref().map(|published| &published.provider);
        let known = known.filter(|known| known.source == source && known.is_good(cx.now()));
        Ok(Self { known: known.cloned(), source, recent: recent(cx) })
    }

    /// The provider.
    ///
    /// # Errors
    /// If it has to be asked and does not answer.
    pub(super) async fn provider(&self, world: &dyn World) -> Result<Reached> {
        match &self.known {
            Some(known) => Ok(Reached { provider: known.clone(), fetched: false }),
            None => self.fetch(world).await,
        }
    }

    /// The claims of an identity that the provider signed. If its keys have changed, they are fetched anew.
    ///
    /// # Errors
    /// If it did not sign it.
    pub(super) async fn claims(
        &self,
        config: &Config,
        id_token: &str,
        reached: &mut Reached,
        world: &dyn World,
    ) -> Result<Claims, String> {
        let first = signed(config, &reached.provider.public_keys(), id_token);
        if first.is_ok() || reached.fetched {
            return first;
        }
        *reached = self.fetch(world).await.map_err(|error| error.to_string())?;
        signed(config, &reached.provider.public_keys(), id_token)
    }

    async fn fetch(&self, world: &dyn World) -> Result<Reached> {
        let provider = self.recent.fetch(&self.source, world).await?;
        Ok(Reached { provider: Provider::clone(&provider), fetched: true })
    }
}
