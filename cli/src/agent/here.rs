//! The real world of one post: its server over HTTP, this machine's clock, processes and ports.

use std::{
    cell::RefCell,
    collections::HashSet,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;

use super::{
    clock::{Clock, Ticks},
    config::Server,
    deliver::Reload,
    ledger::Ledger,
    log::{Level, Log},
    moment::Moment,
    probe::Place,
    world::{Alert, Event, World},
};
use crate::{
    address::{Address, Scheme},
    call::Call,
    client::{Client, Reply},
    refused::Refused,
    settings::{ADDRESS_DEFAULT, Settings},
    stop::Stop,
    tls::{self, Pem, Trust, Verify},
    transport::Transport,
};

/// A server that takes longer for one request is not there.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// One post in the real world.
pub(crate) struct Here {
    pub(crate) server: Server,
    pub(crate) namespace: Option<String>,
    pub(crate) clock: Rc<Clock<Ticks>>,
    pub(crate) ledger: Rc<Ledger>,
    pub(crate) alerts: UnboundedSender<Alert>,
    /// What was warned of once already.
    pub(crate) warned: RefCell<HashSet<&'static str>>,
    pub(crate) log: Rc<Log>,
    /// What the clients of all requests know of their server.
    pub(crate) is_set_up: Arc<AtomicBool>,
}

impl Here {
    /// The server and the namespace that this is about: a token is good nowhere else.
    pub(crate) fn whereabouts(&self) -> String {
        let settings = Settings::read();
        let address =
            self.server.address.as_deref().or(settings.address.as_deref()).unwrap_or(ADDRESS_DEFAULT);
        let own = self.namespace.as_deref().or(self.server.namespace.as_deref());
        let namespace = own.or(settings.namespace.as_deref()).unwrap_or_default();
        format!("{address} {}", namespace.trim_matches('/'))
    }
}

/// A client for what a configuration says, and the environment where it says nothing.
pub(crate) fn client(server: &Server, settings: &Settings) -> Result<Client, Stop> {
    let text = server.address.as_deref().or(settings.address.as_deref()).unwrap_or(ADDRESS_DEFAULT);
    let address = Address::parse(text)?;
    let route = address.route(settings)?;
    let tls = match address.scheme {
        Scheme::Http => None,
        Scheme::Https => {
            let first_run = settings.config_dir.as_ref().map(|folder| folder.join("ca.pem"));
            let own = server.ca_cert.is_some() || server.ca_path.is_some();
            let trust = Trust {
                ca_cert: server.ca_cert.as_deref().or(settings.ca_cert.as_deref().filter(|_| !own)),
                ca_cert_bytes: settings.ca_cert_bytes.as_deref().filter(|_| !own),
                ca_path: server.ca_path.as_deref().or(settings.ca_path.as_deref().filter(|_| !own)),
                first_run_ca: first_run.as_deref(),
                client_cert: server.client_cert.as_deref().or(settings.client_cert.as_deref()).map(Pem::File),
                client_key: server.client_key.as_deref().or(settings.client_key.as_deref()).map(Pem::File),
                verify: if server.tls_skip_verify { Verify::Skip } else { Verify::Strictly },
            };
            let name = match server.tls_server_name.as_ref().or(settings.tls_server_name.as_ref()) {
                None => address.server_name().map_err(Stop::local)?,
                Some(name) => rustls::pki_types::ServerName::try_from(name.clone())
                    .map_err(|_| Stop::local(format!("tls_server_name: {name:?} is no host name")))?,
            };
            Some((Arc::new(tls::client_config(&trust)?), name))
        }
    };
    let mut client = Client::new(address, Transport { route, tls }, settings);
    client.timeout = ANSWER_TIME_MAX;
    client.namespace = server.namespace.clone().or_else(|| settings.namespace.clone());
    Ok(client)
}

impl World for Here {
    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn chance(&self) -> f64 {
        chance()
    }

    /// Every request has a client of its own: requests are hours apart, and so a CA file, a client certificate or an
    /// address that changes meanwhile is the new one.
    async fn ask(&self, call: Call) -> Result<Reply, Refused> {
        let settings = Settings::read();
        let mut client = client(&self.server, &settings).map_err(|stop| match stop {
            Stop::Failed { message, .. } | Stop::Shown(message) => Refused::Local(message),
        })?;
        if let Some(namespace) = &self.namespace {
            client.namespace = Some(format!("{}/", namespace.trim_matches('/')));
        }
        client.is_set_up = Arc::clone(&self.is_set_up);
        let answer = client.send(call).await;
        let date = match &answer {
            Ok(reply) => reply.date,
            Err(Refused::Answer(answer)) => answer.date,
            Err(_) => None,
        };
        if let Some(date) = date {
            self.clock.heard(Moment::from_seconds(date));
            let (ahead, behind) = self.clock.offset();
            self.ledger.clock_offset(ahead, behind);
            if ahead.max(behind) > Duration::from_secs(60) && self.warned.borrow_mut().insert("clock") {
                let line = format!(
                    "the clock of this machine differs from the server's by {} s; the server's is used",
                    ahead.max(behind).as_secs()
                );
                self.log.write(Level::Warn, &line);
            }
        }
        answer
    }

    async fn reload(&self, how: &Reload) -> Result<(), String> {
        how.run().await
    }

    async fn served(&self, place: &Place) -> Result<Vec<u8>, String> {
        place.look().await
    }

    async fn pause(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    fn alert(&self, alert: Alert) {
        let level = if alert.event == Event::Recovered { Level::Info } else { Level::Error };
        let line = format!("ALERT {} {}: {}", alert.event.name(), alert.certificate, alert.message);
        self.log.write(level, &line);
        // Nobody receives any more only when the agent is ending.
        let _ = self.alerts.send(alert);
    }

    fn host(&self) -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    fn log(&self, level: Level, line: &str) {
        self.log.write(level, line);
    }
}

/// A number in [0, 1) from the system's generator.
pub(crate) fn chance() -> f64 {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        // 53 bits are what a float holds.
        Ok(()) => (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64,
        // Without chance there is no spread, which is worse than nothing but no reason to stop.
        Err(_) => 0.5,
    }
}

/// An alert as receivers get it.
pub(crate) fn alert_body(alert: &Alert, host: &str) -> String {
    json!({
        "event": alert.event.name(),
        "certificate": alert.certificate,
        "host": host,
        "message": alert.message,
        "not_after": alert.not_after.map(|at| at.to_string()),
        "at": alert.at.to_string(),
    })
    .to_string()
}
