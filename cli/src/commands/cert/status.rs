use std::{rc::Rc, time::Duration};

use clap::Args;
use serde_json::json;

use crate::{
    agent::{
        config::{Certificate, Config},
        course::astray,
        disk::Machine,
        moment::Moment,
        record::{Held, Record},
        shelf::Shelf,
    },
    commands::agent::Files,
    output::{say, warn},
    session::Session,
    settings,
    stop::{Outcome, REMOTE, Stop},
    table::table,
};

/// Show the certificates of this machine: what is held, where it is served, when it is renewed, what went wrong
///
/// It reads what the agent wrote down, looks whether its files are there, and asks nobody. The exit code is 2 if one is
/// missing, ended, damaged (files or the link are not as they were written), to be replaced (the CA says so, as it is or
/// will be revoked), not served, failing, or overdue: its renewal should have been, and nobody has written down why it was not.
#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    files: Files,
}

impl Status {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let paths = self.files.paths(&session.settings)?;
        let config = Config::load(&paths).map_err(Stop::local)?;
        let now = settings::now();
        let found: Vec<Found> = config.certificates().map(Found::look).collect();
        if session.output.is_table() {
            let rows = found.iter().map(|found| row(found, now)).collect();
            say(table(&["Name", "State", "Serial", "Not after", "Next renewal", "Served at"], rows));
            for Found { record, flaw } in &found {
                if let Some(flaw) = flaw {
                    warn(format!("{}: {flaw}", record.name));
                }
                if let Some(mistake) = &record.last_error {
                    warn(format!("{}: {} ({})", record.name, mistake.text, mistake.at));
                }
            }
        } else {
            let list: Vec<serde_json::Value> = found
                .iter()
                .map(|found| {
                    json!({
                        "name": found.record.name, "state": found.state(now),
                        "damage": found.flaw, "record": found.record,
                    })
                })
                .collect();
            session.output.doc(&json!(list).into())?;
        }
        let good = found.iter().all(|found| matches!(found.state(now), "held" | "served"));
        Ok(if good { 0 } else { REMOTE })
    }
}

/// What the agent wrote down of one certificate, and what of its files is not as it says.
struct Found {
    record: Record,
    flaw: Option<String>,
}

impl Found {
    fn look(plan: &Certificate) -> Found {
        let shelf = Shelf::new(Rc::new(Machine), plan.folder.clone(), plan.owner);
        let load = || Record::load(&Machine, &plan.folder, &plan.name);
        let before = load();
        let flaw = astray(&shelf, &before);
        // An agent that is at work may have moved on between the two.
        let record = load();
        let flaw = if record == before { flaw } else { astray(&shelf, &record) };
        Found { record, flaw }
    }

    fn state(&self, now: Moment) -> &'static str {
        let record = &self.record;
        match &record.held {
            None => "missing",
            Some(held) if held.not_after <= now => "ended",
            Some(_) if self.flaw.is_some() => "damaged",
            Some(_) if record.wanted => "to be replaced",
            Some(_) if !record.delivered => "not delivered",
            Some(_) if record.last_error.is_some() => "failing",
            Some(held) if now > record.renew_at.plus(patience(held)) => "overdue",
            Some(_) if record.served.is_empty() => "held",
            Some(_) => "served",
        }
    }
}

/// How long after its moment a renewal is still under way.
fn patience(held: &Held) -> Duration {
    (held.life().length() / 20).clamp(Duration::from_secs(30), Duration::from_secs(15 * 60))
}

fn row(found: &Found, now: Moment) -> Vec<String> {
    let record = &found.record;
    let held = |text: fn(&Held) -> String| record.held.as_ref().map(text).unwrap_or_default();
    let served: Vec<&str> = record.served.iter().map(|seen| seen.address.as_str()).collect();
    vec![
        record.name.clone(),
        found.state(now).to_owned(),
        held(|held| held.serial.clone()),
        held(|held| held.not_after.to_string()),
        record.held.as_ref().map(|_| record.renew_at.to_string()).unwrap_or_default(),
        served.join(", "),
    ]
}
