//! What the CA wants beside a renewal at the usual time: one that is earlier, and other CAs to trust.

use std::time::Duration;

use super::Course;
use crate::{
    agent::{
        ari,
        log::Level,
        pair,
        record::Held,
        shelf::Pair,
        world::{Cause, Trouble, World},
    },
    call::Call,
};

/// Questions are spread over this share of the pause between them, so that agents that began together drift apart.
const SPREAD_SHARE: f64 = 0.1;

impl Course {
    /// Asks the CA when it wants the renewal, and whom to trust. That it does not say so is its right. Another bundle is a
    /// pair to deliver.
    pub(super) async fn ask_advice(&mut self, world: &impl World, held: &Held) -> Result<(), Trouble> {
        let advice = ari::ask(world, &self.plan.mount, held, self.record.window).await;
        let now = world.now();
        self.record.ask_at = now.plus(advice.again.mul_f64(1.0 + SPREAD_SHARE * world.chance()));
        if let Some(window) = advice.window.filter(|window| Some(*window) != self.record.window) {
            let at = window.renewal(world.chance());
            // A window that ends later than this agent may wait leaves its own moment, or all would come back at the last one.
            let own = held.life().renewal(self.plan.survive, world.chance());
            // A first wish is followed at once, as what is held may be revoked soon. A CA that wishes again for what it gave
            // on a wish does not get its will without end.
            let earliest = if self.record.wished { held.life().earliest_wish() } else { held.obtained };
            self.record.wished &= window.start <= now;
            self.record.renew_at = at.min(own).max(earliest);
            if self.record.renew_at <= now {
                // What a service did not take does not keep the next from being fetched.
                self.record.try_at = self.record.try_at.min(now);
            }
            let line = format!("{}: the CA wants the renewal at {}", self.plan.name, self.record.renew_at);
            world.log(Level::Info, &line);
        }
        if advice.heard {
            self.record.wanted = advice.window.is_some_and(|window| window.end <= now);
        }
        self.record.window = advice.window;
        match advice.bundle.filter(|bundle| held.bundle.as_ref() != Some(bundle)) {
            Some(bundle) => self.trust(world, held, &bundle).await,
            None => Ok(()),
        }
    }

    /// The CAs that go with a certificate just obtained, whose chain ends in `anchors`.
    pub(super) async fn bundle(&self, world: &impl World, held: &Held, anchors: &str) -> String {
        let Some(id) = &held.ari_id else { return anchors.to_owned() };
        match world.ask(Call::get(format!("{}/bundle/{id}", self.plan.mount))).await {
            Ok(reply) => {
                let text = String::from_utf8_lossy(&reply.body).into_owned();
                if pair::holds(&text, anchors) { text } else { anchors.to_owned() }
            }
            Err(refused) if ari::is_absent(&refused) => anchors.to_owned(),
            // Nobody says that what was trusted is not to be trusted any more; the next question tells.
            Err(_) => match self.record.held.as_ref().map(|held| self.shelf.file(held.number, "ca.pem")) {
                Some(Ok(before)) => pair::union(anchors, &before),
                _ => anchors.to_owned(),
            },
        }
    }

    /// Puts another bundle beside the key and the certificate that are held: as a pair of its own, so that whoever reads
    /// sees one or the other.
    async fn trust(&mut self, world: &impl World, held: &Held, wanted: &str) -> Result<(), Trouble> {
        let disk = |why: String| Trouble::new(Cause::Disk, why);
        let (number, own) = (self.shelf.next(self.record.number), held.number);
        let Some(id) = &held.ari_id else { return Ok(()) };
        let Ok(reply) = world.ask(Call::get(format!("{}/bundle/{id}", self.plan.mount))).await else {
            self.soon(world);
            return Ok(());
        };
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let full = self.shelf.file(own, "fullchain.pem").map_err(disk)?;
        if pair::fingerprint(&text) != wanted || !pair::reaches(&full, &text) {
            self.soon(world);
            return Ok(());
        }
        let chain = self.shelf.file(own, "chain.pem").map_err(disk)?;
        let pair = Pair {
            key: self.shelf.file(own, "key.pem").map_err(disk)?,
            certificate: self.shelf.file(own, "cert.pem").map_err(disk)?.to_string(),
            chain: if chain.trim().is_empty() { String::new() } else { chain.to_string() },
            anchors: text,
        };
        let put = self.shelf.begin(number, &pair.key).and_then(|()| self.shelf.complete(number, &pair));
        if let Err(error) = put {
            self.shelf.abandon(number);
            return Err(self.unwritable("the new bundle", &error));
        }
        if self.record.delivered {
            self.record.earlier = self.record.held.take();
        }
        self.record.number = number;
        self.record.held = Some(Held { number, bundle: Some(wanted.to_owned()), ..held.clone() });
        self.record.delivered = false;
        world.log(Level::Info, &format!("{}: the CAs to trust have changed", self.plan.name));
        Ok(())
    }

    /// Has the next question come soon: what was answered did not fit together, or was lost on the way.
    fn soon(&mut self, world: &impl World) {
        let pause = Duration::from_secs(60).mul_f64(1.0 + world.chance());
        self.record.ask_at = world.now().plus(pause);
    }
}
