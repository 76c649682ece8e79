//! Where a token survives a restart, for a start at which there is nothing to log in with.

use std::rc::Rc;

use zeroize::Zeroizing;

use super::{Identity, exchange::look_up, held::Held, method::Method};
use crate::agent::{
    cache::Cache,
    log::Level,
    world::{Trouble, World},
};

/// The place, and the server at which a token from it is good.
pub(super) struct Drawer {
    cache: Rc<Cache>,
    server: String,
}

impl Identity {
    /// The same, with a place for its token to survive a restart in.
    pub(crate) fn with_drawer(mut self, cache: Rc<Cache>, server: &str) -> Identity {
        self.drawer = Some(Drawer { cache, server: server.to_owned() });
        self
    }

    /// The token of the last run, if the server still knows it.
    pub(super) async fn resumed(&mut self, world: &impl World) -> Result<Option<Zeroizing<String>>, Trouble> {
        let Some((cache, name)) = self.mark() else { return Ok(None) };
        let Some(kept) = cache.token(&name) else { return Ok(None) };
        match look_up(world, kept).await {
            Ok(held) => {
                world.log(Level::Info, "the agent goes on with the token of its last run");
                let text = held.text.clone();
                self.hold(held, world);
                Ok(Some(text))
            }
            Err(trouble) if trouble.denied() => {
                cache.drop_token(&name);
                Ok(None)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Puts a token there.
    pub(super) fn put_by(&self, held: &Held, world: &impl World) {
        if let Some((cache, name)) = self.mark()
            && let Err(why) = cache.keep_token(&name, &held.text, world.now())
        {
            world.log(Level::Warn, &format!("the token cannot be kept for the next start: {why}"));
        }
    }

    /// Where the token of exactly this identity is kept; who brings a token has none to keep.
    fn mark(&self) -> Option<(Rc<Cache>, String)> {
        let Drawer { cache, server } = self.drawer.as_ref()?;
        let role = match &self.method {
            Method::Given(_) | Method::TokenFile { .. } => return None,
            Method::Approle { role_id, .. } => self.proofs.look(role_id).ok()?,
            _ => Zeroizing::default(),
        };
        let name = format!("token {server} {} {:?} {}", self.mount, self.method, role.as_str());
        Some((Rc::clone(cache), name))
    }
}
