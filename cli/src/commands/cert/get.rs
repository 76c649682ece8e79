use std::{
    cell::RefCell,
    collections::HashSet,
    io::ErrorKind,
    net::IpAddr,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use clap::Args;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};

use crate::{
    agent::{
        clock::{Clock, Ticks},
        config::{self, Certificate, Server, quoted},
        course::Course,
        deliver::Reload,
        disk::{self, Disk, Machine, Owner},
        enrol::{self, Made},
        here::Here,
        ledger::Ledger,
        log::Log,
        login::{AfterReading, Identity, Method, Proof, SecretId},
        owner,
        pair::{KEY_KINDS, KeyKind, Names},
        probe::Place,
        record::Held,
        shelf::Shelf,
    },
    call::Call,
    commands::{
        agent,
        cert::{interrupt::Interrupt, litter::Litter},
    },
    output::{say, warn},
    paths,
    secret::Secret,
    session::Session,
    span::Span,
    stop::{Outcome, REMOTE, Stop},
};

pub(super) const CONFIG_MODE: u32 = 0o600;

/// Get a certificate that renews itself
///
/// The key is made here and never leaves; only a request for its certificate is sent. The first certificate is fetched at
/// once, and a configuration is written with which `keep agent` renews it, reloads its service, and looks on the wire
/// whether the new one is shown. Unless an identity is given, one is made with your own rights: a policy and a role of
/// approle that may ask this one role for certificates, and nothing else.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// Name of the certificate and first name in it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Role that signs it
    #[arg(long, value_name = "ROLE")]
    role: String,
    /// Where the pki engine is mounted
    #[arg(long, value_name = "PATH", default_value = "pki")]
    mount: String,
    /// Further host names, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    alt_names: Vec<String>,
    /// Addresses, separated by commas
    #[arg(long, alias = "ip-sans", value_name = "ADDRESSES", value_delimiter = ',')]
    ip: Vec<IpAddr>,
    /// URIs, separated by commas
    #[arg(long, value_name = "URIS", value_delimiter = ',')]
    uri_sans: Vec<String>,
    /// How long it lives; what the role says if left out
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Span>,
    /// Outage that it must survive: it is renewed so early that this much of its life is left
    #[arg(long, value_name = "DURATION")]
    survive: Option<Span>,
    /// Folder for it and its key [/etc/sealkeep/tls/NAME, or below ~/.config]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// User who owns the files
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Group that owns the files
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// How its service takes a new one: nginx, systemd:UNIT, signal:PIDFILE, command:LINE or a URL; repeatable
    #[arg(long, value_name = "HOW")]
    reload: Vec<String>,
    /// Where its service shows it, as HOST:PORT; repeatable
    #[arg(long, value_name = "HOST:PORT")]
    verify: Vec<String>,
    /// Kind of key: ec, ec-384, ed25519, rsa, rsa-3072, rsa-4096, ml-dsa-44, ml-dsa-65, ml-dsa-87; what the role wants if left out
    #[arg(long, value_name = "KIND")]
    key_type: Option<String>,
    /// Keep the key when renewing
    #[arg(long)]
    reuse_key: bool,
    /// Identity that is there: file with the role id of an approle
    #[arg(long, value_name = "FILE")]
    role_id_file: Option<PathBuf>,
    /// Identity that is there: file with the secret id
    #[arg(long, value_name = "FILE")]
    secret_id_file: Option<PathBuf>,
    /// Identity that is there: file with a token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Folder for the configuration [/etc/sealkeep/agent.d, or below ~/.config]
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// Fetch it once with your own token; make no identity and no configuration
    #[arg(long)]
    once: bool,
}

impl Get {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        self.check_name()?;
        let role = self.look_at_role(session).await?;
        let plan = self.plan(session, role.as_ref())?;
        if self.once {
            let token =
                session.client.token.clone().ok_or_else(|| {
                    Stop::local("No token is set").hint("Run `keep login`, or set KEEP_TOKEN.")
                })?;
            let litter = Litter::watch([plan.folder.clone()]);
            let shelf = alone(&plan)?;
            let _lock = shelf.lock();
            let got =
                fetch(session, (plan.clone(), shelf), Method::Given(token), &session.server, Delivery::Now);
            return match Interrupt::heard()?.before(got).await {
                Ok(held) => self.done(&plan, &held, None),
                Err(stop) => Err(cleared(stop, &litter, session, Made::default()).await),
            };
        }
        let folder = match &self.config_dir {
            Some(folder) => absolute(folder)?,
            None => agent::usual_folder(&session.settings)?,
        };
        let ours =
            ["hcl", "ca.pem", "role-id", "secret-id"].map(|end| folder.join(format!("{}.{end}", self.name)));
        let litter = Litter::watch(ours.into_iter().chain([plan.folder.clone()]));
        let shelf = alone(&plan)?;
        // Until what led to nothing is taken away again, nobody else works in the folder.
        let _lock = shelf.lock();
        let mut made = Made::default();
        match self.set_up(session, (&plan, shelf), &folder, &mut made).await {
            Ok(held) => self.done(&plan, &held, Some(&folder)),
            Err(stop) => Err(cleared(stop, &litter, session, made).await),
        }
    }

    /// Makes identity and configuration, and fetches the first pair with them.
    async fn set_up(
        &self,
        session: &Session,
        (plan, shelf): (&Certificate, Shelf),
        folder: &Path,
        made: &mut Made,
    ) -> Result<Held, Stop> {
        let mut interrupt = Interrupt::heard()?;
        let server = self.server(session, folder)?;
        let (method, auth) = interrupt.after(self.identity(session, folder, made)).await?;
        let file = folder.join(format!("{}.hcl", self.name));
        write(&file, &self.hcl(plan, &server, &auth))?;
        // What was written is what will be read: a mistake in it must show now, not at the agent's start.
        config::Config::load(std::slice::from_ref(&file)).map_err(Stop::local)?;
        interrupt.before(fetch(session, (plan.clone(), shelf), method, &server, Delivery::ByAgent)).await
    }

    fn check_name(&self) -> Result<(), Stop> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(plain) {
            return Err(Stop::local(format!("{:?} cannot be the name of a certificate", self.name))
                .hint("Letters, digits, dots, dashes; a wildcard goes into -alt-names."));
        }
        Ok(())
    }

    /// What the role says, if the caller may see it.
    async fn look_at_role(&self, session: &Session) -> Result<Option<Secret>, Stop> {
        let path = format!("{}/roles/{}", paths::clean(&self.mount), self.role);
        match session.client.read(Call::get(&path)).await {
            Ok(Some(role)) => Ok(Some(role)),
            Ok(None) => Err(Stop::remote(format!("There is no role at {path}")).hint(format!(
                "Make one: `keep write {path} allowed_domains=example.internal allow_subdomains=true key_type=ec max_ttl=72h`; if there is no pki engine at {}/ either, -mount says where it is.",
                paths::clean(&self.mount)
            ))),
            Err(refused) if refused.status() == Some(403) => Ok(None),
            Err(refused) => Err(refused.during(format!("Error reading the role {path}"))),
        }
    }

    fn plan(&self, session: &Session, role: Option<&Secret>) -> Result<Certificate, Stop> {
        let reloads: Result<Vec<Reload>, String> =
            self.reload.iter().map(|text| Reload::parse(text)).collect();
        let places: Result<Vec<Place>, String> =
            self.verify.iter().map(|text| Place::parse(text, &self.name)).collect();
        let ids = Owner {
            user: self.owner.as_deref().map(owner::user).transpose().map_err(Stop::local)?,
            group: self.group.as_deref().map(owner::group).transpose().map_err(Stop::local)?,
        };
        let plan = Certificate {
            name: self.name.clone(),
            names: Names {
                common: self.name.clone(),
                hosts: self.alt_names.clone(),
                addresses: self.ip.clone(),
                uris: self.uri_sans.clone(),
            },
            mount: paths::clean(&self.mount),
            role: self.role.clone(),
            ttl: self.ttl(role)?,
            survive: span("-survive", self.survive)?.unwrap_or(Duration::ZERO),
            folder: self.folder(session)?,
            owner: ids,
            key: self.key(role)?,
            reuse_key: self.reuse_key,
            report: true,
            reloads: reloads.map_err(Stop::local)?,
            places: places.map_err(Stop::local)?,
            patience: config::PATIENCE_DEFAULT,
        };
        plan.check_budget().map_err(Stop::local)?;
        Ok(plan)
    }

    fn folder(&self, session: &Session) -> Result<PathBuf, Stop> {
        match &self.dir {
            Some(folder) => absolute(folder),
            None => {
                let usual = agent::usual_folder(&session.settings)?;
                Ok(usual.with_file_name("tls").join(&self.name))
            }
        }
    }

    /// The life to ask for: never more than the role gives, so that an outage budget is judged by what will come.
    fn ttl(&self, role: Option<&Secret>) -> Result<Option<Duration>, Stop> {
        let of_role = |key: &str| {
            let seconds = role?.field(key)?.as_u64()?;
            (seconds > 0).then(|| Duration::from_secs(seconds))
        };
        let asked = span("-ttl", self.ttl)?.or_else(|| of_role("ttl"));
        let most = of_role("max_ttl");
        Ok(match (asked, most) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (None, most) if self.survive.is_some() => most,
            (asked, _) => asked,
        })
    }

    fn key(&self, role: Option<&Secret>) -> Result<KeyKind, Stop> {
        let (kind, size) = match (&self.key_type, role) {
            (Some(text), _) => (text.clone(), 0),
            (None, Some(role)) => {
                let kind = role.text("key_type").unwrap_or("any").to_owned();
                let set = role.text("parameter_set").and_then(|set| set.parse().ok());
                let bits =
                    role.field("key_bits").and_then(Value::as_u64).and_then(|bits| u32::try_from(bits).ok());
                let size = if kind == "ml-dsa" { set } else { bits };
                (kind, size.unwrap_or(0))
            }
            (None, None) => ("ec".to_owned(), 0),
        };
        let (kind, size) = if kind == "any" { ("ec", 0) } else { (kind.as_str(), size) };
        KeyKind::parse(kind, size).ok_or_else(|| {
            let size = if size == 0 { String::new() } else { format!(" of size {size}") };
            Stop::local(format!("There is no way to make a key {kind:?}{size}"))
                .hint(format!("The agent makes {KEY_KINDS} keys; the role must allow one."))
        })
    }

    /// The way to the server for the agent. The CA lies beside its configuration: a home is not its place to read.
    fn server(&self, session: &Session, folder: &Path) -> Result<Server, Stop> {
        let mut server = session.server.clone();
        let text = match (&server.ca_cert, &session.settings.ca_cert_bytes) {
            (Some(file), _) => {
                Some(disk::read_text(&Machine, Path::new(file)).map_err(Stop::local)?.to_string())
            }
            (None, bytes) => bytes.clone(),
        };
        make_folder(folder)?;
        if let Some(text) = text {
            let file = folder.join(format!("{}.ca.pem", self.name));
            write(&file, &format!("{}\n", text.trim_end()))?;
            server.ca_cert = Some(file.display().to_string());
        }
        Ok(server)
    }

    /// Who the agent is, and the stanza that says so.
    async fn identity(
        &self,
        session: &Session,
        folder: &Path,
        made: &mut Made,
    ) -> Result<(Method, String), Stop> {
        if let Some(file) = &self.token_file {
            let path = absolute(file)?;
            let line = format!("token_file_path = {}", quoted(&path.display().to_string()));
            return Ok((Method::TokenFile { path }, stanza("token_file", &[line])));
        }
        let (role_id, secret_id) = match (&self.role_id_file, &self.secret_id_file) {
            (Some(role_id), secret_id) => {
                (absolute(role_id)?, secret_id.as_deref().map(absolute).transpose()?)
            }
            (None, Some(_)) => return Err(Stop::local("-secret-id-file needs -role-id-file")),
            (None, None) => {
                let mount = paths::clean(&self.mount);
                let enrolled = enrol::enrol(&session.client, &self.name, (&mount, &self.role), made).await?;
                let role_id = folder.join(format!("{}.role-id", self.name));
                let secret_id = folder.join(format!("{}.secret-id", self.name));
                write(&role_id, &enrolled.role_id)?;
                write(&secret_id, &enrolled.secret_id)?;
                say(format!(
                    "Identity:     policy and approle role {}, which may update {mount}/sign/{}",
                    enrolled.name, self.role
                ));
                (role_id, Some(secret_id))
            }
        };
        let path = |path: &Path| quoted(&path.display().to_string());
        let mut lines = vec![format!("role_id_file_path = {}", path(&role_id))];
        if let Some(secret_id) = &secret_id {
            lines.push(format!("secret_id_file_path = {}", path(secret_id)));
            lines.push("remove_secret_id_file_after_reading = false".to_owned());
        }
        let secret_id = secret_id.map(|path| SecretId {
            proof: Proof { path, after_reading: AfterReading::Keep },
            wrapped_at: None,
        });
        Ok((Method::Approle { role_id, secret_id }, stanza("approle", &lines)))
    }

    fn hcl(&self, plan: &Certificate, server: &Server, auth: &str) -> String {
        let owner: Vec<(&str, String)> = [("owner", &self.owner), ("group", &self.group)]
            .into_iter()
            .filter_map(|(key, name)| Some((key, name.clone()?)))
            .collect();
        let all = format!(
            "# Written by `keep cert get`. Change it as you like; `keep agent check` says whether it is right.\n\n{}\n{auth}\n{}",
            server.hcl(),
            plan.hcl(&owner)
        );
        // It was written here: it is HCL, and only its layout is to be made nice.
        crate::hcl::format(&all).unwrap_or(all)
    }

    fn done(&self, plan: &Certificate, held: &Held, folder: Option<&Path>) -> Outcome {
        let at = plan.folder.join("current");
        say(format!("Certificate:  {}", at.join("fullchain.pem").display()));
        say(format!("Key:          {}", at.join("key.pem").display()));
        say(format!("CA:           {}", at.join("ca.pem").display()));
        say(format!("Good until:   {}", held.not_after));
        let Some(folder) = folder else { return Ok(0) };
        say(format!("Agent:        {}", folder.join(format!("{}.hcl", self.name)).display()));
        if plan.reloads.is_empty() {
            warn("No -reload is given: whoever uses the certificate must notice a new one by itself.");
        } else if plan.places.is_empty() {
            warn("No -verify is given: nobody looks whether the service shows a new certificate.");
        }
        say("Next: point the service at these files, and run `keep agent install`, or `keep agent`.");
        Ok(0)
    }
}

/// The end of a run that led to nothing, once what it made is taken away again, here and on the server.
async fn cleared(stop: Stop, litter: &Litter, session: &Session, made: Made) -> Stop {
    let stop = match litter.clear() {
        Ok(false) => stop,
        Ok(true) => stop.also("What was written here is taken away again: set it right, and run this again."),
        // What it made on the server may be what the files here speak of.
        Err(path) => {
            let line = format!("{} cannot be put back as it was: look after it yourself.", path.display());
            return stop.also(line);
        }
    };
    made.undo(&session.client).await.into_iter().fold(stop, Stop::also)
}

/// The folder of the certificate, which nobody else works in until this run ends.
fn alone(plan: &Certificate) -> Result<Shelf, Stop> {
    let mut shelf = Shelf::new(Rc::new(Machine), plan.folder.clone(), plan.owner);
    let shown = plan.folder.display();
    match shelf.hold() {
        Ok(_) => Ok(shelf),
        // A file system without locks: as long as one program at a time works there, all is well.
        Err(e) if e.kind() == ErrorKind::Unsupported => Ok(shelf),
        Err(e) if e.kind() == ErrorKind::WouldBlock => {
            Err(Stop::local(format!("Another `keep` is at work in {shown}, and renews the certificate there"))
                .hint("End it first (`systemctl stop keep-agent`, or what started it), run this again, and start it again; or give another -dir."))
        }
        Err(e) => Err(Stop::local(format!("{shown} cannot be used for the certificate: {e}"))
            .hint("Run it as somebody who may write there, or give another -dir.")),
    }
}

/// Who brings the first pair to its service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Now,
    /// The service cannot be pointed at files that are not there yet; the agent reloads it when it starts.
    ByAgent,
}

/// Gets the first pair with the agent's own identity, which so is proven too.
async fn fetch(
    session: &Session,
    (plan, shelf): (Certificate, Shelf),
    method: Method,
    server: &Server,
    delivery: Delivery,
) -> Result<Held, Stop> {
    let ledger = Rc::new(Ledger::default());
    let (alerts, _nobody) = mpsc::unbounded_channel();
    let world = Here {
        server: server.clone(),
        namespace: session.client.namespace.clone(),
        clock: Rc::new(Clock::new(Ticks)),
        ledger: Rc::clone(&ledger),
        alerts,
        warned: RefCell::new(HashSet::new()),
        log: Rc::new(Log::silent()),
        is_set_up: Default::default(),
    };
    let mount = if matches!(method, Method::Approle { .. }) { "approle" } else { "token" };
    let identity = Rc::new(Mutex::new(Identity::new(method, mount.to_owned(), Rc::new(Machine))));
    let mut first = plan.clone();
    if delivery == Delivery::ByAgent {
        first.reloads.clear();
        first.places.clear();
    }
    let mut course = Course::open(first, shelf, identity, ledger);
    course.begin_now();
    course.turn(&world).await;
    if let Some(mistake) = course.record.last_error.take() {
        return Err(Stop::remote(format!("Error getting the certificate: {}", mistake.text)).code(REMOTE));
    }
    if delivery == Delivery::ByAgent && !(plan.reloads.is_empty() && plan.places.is_empty()) {
        course.record.delivered = false;
        let saved = course.record.save(&Machine, &plan.folder);
        saved.map_err(|e| Stop::local(format!("The state cannot be written: {e}")))?;
    }
    course.record.held.take().ok_or_else(|| Stop::local("There is no certificate"))
}

fn stanza(kind: &str, lines: &[String]) -> String {
    format!("auto_auth {{\n  method {} {{\n    config = {{\n{}\n}}\n}}\n}}\n", quoted(kind), lines.join("\n"))
}

fn span(flag: &str, span: Option<Span>) -> Result<Option<Duration>, Stop> {
    let Some(span) = span else { return Ok(None) };
    match u64::try_from(span.seconds()) {
        Ok(seconds) if seconds > 0 => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(Stop::local(format!("{flag} must be at least one second"))),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Stop> {
    std::path::absolute(path).map_err(|e| Stop::local(format!("{} is no path: {e}", path.display())))
}

fn make_folder(folder: &Path) -> Result<(), Stop> {
    let made = Machine.make_folder(folder, 0o700);
    made.map_err(|e| {
        Stop::local(format!("{} cannot be made: {e}", folder.display()))
            .hint("Run it as root, or give -config-dir.")
    })
}

fn write(file: &Path, text: &str) -> Result<(), Stop> {
    disk::replace(&Machine, file, text.as_bytes(), CONFIG_MODE)
        .map_err(|e| Stop::local(format!("{} cannot be written: {e}", file.display())))
}
