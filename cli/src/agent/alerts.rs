//! Telling people: a queue of its own, so that a receiver that hangs keeps nothing else waiting.

use std::{process::Stdio, rc::Rc, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, sync::mpsc::UnboundedReceiver};

use super::{
    config::Receiver,
    here,
    ledger::Ledger,
    log::{Level, Log},
    post,
    world::Alert,
};

/// A receiver that does not take an alert is tried this often, with waits that grow.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(2);
const COMMAND_TIME_MAX: Duration = Duration::from_secs(30);

/// Sends what comes, until nothing can come any more.
pub(crate) async fn send_all(
    mut alerts: UnboundedReceiver<Alert>,
    receivers: Vec<Receiver>,
    (ledger, log): (Rc<Ledger>, Rc<Log>),
) {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    while let Some(alert) = alerts.recv().await {
        let body = here::alert_body(&alert, &host);
        for receiver in &receivers {
            let sent = insist(receiver, &alert, &host, &body).await;
            ledger.alerted(if sent.is_ok() { "ok" } else { "failed" });
            if let Err(why) = sent {
                let line = format!("the alert {} did not get through: {why}", alert.event.name());
                log.write(Level::Error, &line);
            }
        }
    }
}

async fn insist(receiver: &Receiver, alert: &Alert, host: &str, body: &str) -> Result<(), String> {
    let mut last = Ok(());
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(FIRST_WAIT * 2_u32.pow(attempt - 1)).await;
        }
        last = match receiver {
            Receiver::Webhook(url) => post::post(url, "application/json", body.to_owned()).await,
            Receiver::Command(line) => feed(Command::new("/bin/sh").args(["-c", line]), body).await,
            Receiver::Mail(mail) => {
                feed(Command::new(&mail.program).args(mail.words()), &mail.letter(alert, host)).await
            }
        };
        if last.is_ok() {
            break;
        }
    }
    last
}

async fn feed(command: &mut Command, body: &str) -> Result<(), String> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let mut running =
        command.kill_on_drop(true).spawn().map_err(|e| format!("the command cannot be started: {e}"))?;
    if let Some(mut input) = running.stdin.take() {
        // A command that does not read is judged by how it ends.
        let _ = input.write_all(body.as_bytes()).await;
    }
    match tokio::time::timeout(COMMAND_TIME_MAX, running.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("the command ended with {status}")),
        Ok(Err(e)) => Err(format!("the command cannot be awaited: {e}")),
        Err(_) => Err("the command did not end in 30 s".to_owned()),
    }
}
