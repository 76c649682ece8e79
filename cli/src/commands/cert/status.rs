use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::{
    agent::{
        config::Config,
        disk::Machine,
        moment::Moment,
        record::{Held, Record},
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
/// It reads what the agent wrote down and asks nobody. The exit code is 2 if one is missing, ended, not served, failing, or
/// overdue: its renewal should have been, and nobody has written down why it was not.
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
        let records: Vec<Record> =
            config.certificates().map(|plan| Record::load(&Machine, &plan.folder, &plan.name)).collect();
        if session.output.is_table() {
            let rows = records.iter().map(|record| row(record, now)).collect();
            say(table(&["Name", "State", "Serial", "Not after", "Next renewal", "Served at"], rows));
            for record in &records {
                if let Some(mistake) = &record.last_error {
                    warn(format!("{}: {} ({})", record.name, mistake.text, mistake.at));
                }
            }
        } else {
            let list: Vec<serde_json::Value> = records
                .iter()
                .map(|record| json!({ "name": record.name, "state": state(record, now), "record": record }))
                .collect();
            session.output.doc(&json!(list).into())?;
        }
        let good = records.iter().all(|record| matches!(state(record, now), "held" | "served"));
        Ok(if good { 0 } else { REMOTE })
    }
}

fn state(record: &Record, now: Moment) -> &'static str {
    match &record.held {
        None => "missing",
        Some(held) if held.not_after <= now => "ended",
        Some(_) if !record.delivered => "not delivered",
        Some(_) if record.last_error.is_some() => "failing",
        Some(held) if now > record.renew_at.plus(patience(held)) => "overdue",
        Some(_) if record.served.is_empty() => "held",
        Some(_) => "served",
    }
}

/// How long after its moment a renewal is still under way.
fn patience(held: &Held) -> Duration {
    (held.life().length() / 20).clamp(Duration::from_secs(30), Duration::from_secs(15 * 60))
}

fn row(record: &Record, now: Moment) -> Vec<String> {
    let held = |text: fn(&Held) -> String| record.held.as_ref().map(text).unwrap_or_default();
    let served: Vec<&str> = record.served.iter().map(|seen| seen.address.as_str()).collect();
    vec![
        record.name.clone(),
        state(record, now).to_owned(),
        held(|held| held.serial.clone()),
        held(|held| held.not_after.to_string()),
        record.held.as_ref().map(|_| record.renew_at.to_string()).unwrap_or_default(),
        served.join(", "),
    ]
}
