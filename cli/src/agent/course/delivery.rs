//! Making the service take a pair, and looking whether it shows it.

use std::time::Duration;

use serde_json::Value;

use super::Course;
use crate::{
    agent::{
        log::Level,
        pair,
        record::{Held, Seen},
        world::{Cause, Trouble, World},
    },
    call::Call,
};

/// After a reload the port is looked at until it shows the new certificate, this often.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// A service that does not take its certificate is told twice before the old one comes back.
const DELIVERIES: u32 = 2;
/// How often the service is looked at without a reason.
const WATCH_EVERY: Duration = Duration::from_secs(15 * 60);
/// A service that is not well when the agent starts may be starting too, and is looked at again after this.
const STARTING: Duration = Duration::from_secs(60);

impl Course {
    /// Shows the newest pair, makes the service take it, and looks whether it did. If not, the old pair comes back.
    pub(super) async fn deliver(&mut self, world: &impl World) -> Result<(), Trouble> {
        let Some(held) = self.record.held.clone() else { return Ok(()) };
        self.show(held.number)?;
        let mut why = Trouble::new(Cause::Service, "");
        for _ in 0..DELIVERIES {
            match self.attempt(world, &held).await {
                Ok(()) => {
                    self.record.delivered = true;
                    self.starting = false;
                    self.record.watch_at = world.now().plus(WATCH_EVERY);
                    self.record.report_at = world.now();
                    self.tidy();
                    return Ok(());
                }
                Err(trouble) => why = trouble,
            }
        }
        let state = match self.returnable(world).await {
            Err(state) => state.to_owned(),
            Ok(earlier) => {
                self.show(earlier.number)?;
                match self.attempt(world, &earlier).await {
                    Ok(()) => "the old one is served again".to_owned(),
                    Err(trouble) => format!("the old one is on the disk again, but: {}", trouble.text),
                }
            }
        };
        Err(why.during(&format!("the service does not take the new certificate; {state}")))
    }

    /// The pair to go back to: one that is whole, has not ended, and that the CA stands by.
    async fn returnable(&self, world: &impl World) -> Result<Held, &'static str> {
        let earlier = self.record.earlier.clone().ok_or("there is no other")?;
        if earlier.not_after <= world.now() {
            return Err("the old one has ended");
        }
        if self.shelf.flaw(earlier.number).is_some() {
            return Err("the files of the old one are gone");
        }
        match self.is_revoked(world, &earlier).await {
            Some(true) => Err("the old one is revoked, and does not come back"),
            None if earlier.unwanted => Err("the old one is to be revoked, and does not come back"),
            Some(false) | None => Ok(earlier),
        }
    }

    /// Whether the CA has revoked it, if it says so.
    async fn is_revoked(&self, world: &impl World, held: &Held) -> Option<bool> {
        if world.now() < self.quiet_until {
            return None;
        }
        let path = format!("{}/cert/{}", self.plan.mount, held.serial);
        let reply = world.ask(Call::get(path)).await.ok()?;
        let parsed: Value = serde_json::from_slice(&reply.body).ok()?;
        Some(parsed.pointer("/data/revocation_time")?.as_i64()? > 0)
    }

    pub(super) fn show(&self, number: u64) -> Result<(), Trouble> {
        if self.shelf.shown() == Some(number) {
            return Ok(());
        }
        self.shelf.show(number).map_err(|e| Trouble::disk("the link `current` cannot be moved", &e))
    }

    /// One reload, and looks at every place until all show the pair.
    async fn attempt(&mut self, world: &impl World, held: &Held) -> Result<(), Trouble> {
        let service = |why: String| Trouble::new(Cause::Service, why);
        for how in &self.plan.reloads {
            let done = world.reload(how).await;
            self.ledger.hooked(&self.plan.name, if done.is_ok() { "ok" } else { "failed" });
            done.map_err(service)?;
        }
        if self.plan.places.is_empty() {
            return Ok(());
        }
        let until = world.now().plus(self.plan.patience);
        let mut last = self.look(world, held).await;
        while last.is_err() && world.now() < until {
            world.pause(BETWEEN_LOOKS).await;
            last = self.look(world, held).await;
        }
        self.ledger.verified(&self.plan.name, if last.is_ok() { "ok" } else { "failed" });
        last.map_err(service)
    }

    /// Whether every place shows the pair; what is seen is written down either way.
    async fn look(&mut self, world: &impl World, held: &Held) -> Result<(), String> {
        let wanted = self.shelf.file(held.number, "cert.pem")?;
        let wanted = pair::leaf_bytes(&wanted).ok_or("the own certificate cannot be read")?;
        for place in &self.plan.places {
            let shown = world.served(place).await?;
            let serial = pair::serial(&shown);
            let seen = Seen { address: place.address.clone(), serial: serial.clone(), at: world.now() };
            self.record.served.retain(|old| old.address != place.address);
            self.record.served.push(seen);
            if shown != wanted {
                return Err(format!("{} shows {serial}, not {}", place.address, held.serial));
            }
        }
        Ok(())
    }

    /// Looks whether the service still shows the pair; if not, it is delivered again at the next turn.
    pub(super) async fn watch(&mut self, world: &impl World, held: &Held) -> Result<(), Trouble> {
        self.record.watch_at = world.now().plus(WATCH_EVERY);
        let seen = self.look(world, held).await;
        self.ledger.verified(&self.plan.name, if seen.is_ok() { "ok" } else { "failed" });
        let starting = std::mem::take(&mut self.starting);
        match seen {
            Ok(()) => {}
            Err(why) if starting => {
                self.record.watch_at = world.now().plus(STARTING);
                let line = format!("{}: {why}; it may be starting: it is looked at again", self.plan.name);
                world.log(Level::Warn, &line);
            }
            Err(why) => {
                world.log(Level::Warn, &format!("{}: {why}; it is reloaded", self.plan.name));
                self.record.delivered = false;
            }
        }
        Ok(())
    }
}
