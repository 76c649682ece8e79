//! Telling the server who holds the certificate and where it is served, for its inventory.

use std::time::Duration;

use serde_json::{Value, json};

use super::Course;
use crate::agent::{
    log::Level,
    record::Held,
    schedule,
    world::{Cause, Trouble, World},
};

/// How often, if nothing changes; a little more or less, so that agents drift apart.
const REPORT_EVERY: Duration = Duration::from_secs(3600);
/// A server that never kept an inventory, or none for us, is asked again after this: it may cost a login.
const REPORT_REFUSED: Duration = Duration::from_secs(24 * 3600);
/// One that did not answer, after this.
const REPORT_LOST: Duration = Duration::from_secs(10 * 60);

impl Course {
    /// Reports how things stand. That nobody wants to know is no failure.
    pub(super) async fn report(&mut self, world: &impl World) {
        let Some(held) = self.in_use().cloned() else { return };
        let path = format!("{}/inventory/report", self.plan.mount);
        let told = self.ask_as_self(world, &path, self.report_body(world, &held)).await;
        let now = world.now();
        let pause = match &told {
            Ok(_) => REPORT_EVERY,
            Err(Trouble { cause: Cause::Refused(status), .. }) if *status < 500 && *status != 429 => {
                if self.record.last_report.is_some() { REPORT_EVERY } else { REPORT_REFUSED }
            }
            Err(trouble) => {
                let end = held.not_after.since(now);
                trouble.pause.map_or(REPORT_LOST, |asked| schedule::asked_pause(asked, end).max(REPORT_LOST))
            }
        };
        self.record.report_at = now.plus(pause.mul_f64(0.9 + 0.2 * world.chance()));
        self.ledger.reported(&self.plan.name, if told.is_ok() { "ok" } else { "failed" });
        match told {
            Ok(_) => {
                self.record.last_report = Some(now);
                self.unreported.over();
            }
            Err(trouble) => {
                if self.unreported.is_news(&trouble.text, now) {
                    let line = format!("{}: the inventory was not told: {}", self.plan.name, trouble.text);
                    world.log(Level::Warn, &line);
                }
            }
        }
    }

    /// The pair that a service finds: while it does not take the newest, that is the one before.
    fn in_use(&self) -> Option<&Held> {
        let shown = self.shelf.shown();
        let earlier = self.record.earlier.as_ref().filter(|earlier| shown == Some(earlier.number));
        earlier.or(self.record.held.as_ref())
    }

    fn report_body(&self, world: &impl World, held: &Held) -> Value {
        let served: Vec<Value> = self
            .record
            .served
            .iter()
            .map(|seen| json!({"address": seen.address, "serial_number": seen.serial, "at": seen.at.to_string()}))
            .collect();
        json!({
            "serial_number": held.serial,
            "host": world.host(),
            "name": self.plan.name,
            "served": served,
            "next_renewal": self.record.renew_at.to_string(),
            "agent": concat!("keep ", env!("CARGO_PKG_VERSION")),
            "bundle": held.bundle.clone().unwrap_or_default(),
        })
    }
}
