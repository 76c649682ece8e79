//! The unit of systemd under which the agent runs: it may write the folders of its certificates and little else.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    config::{Config, Receiver, Server},
    deliver::Reload,
    login::{AfterReading, Method},
};
use crate::settings::Settings;

/// Its name.
pub(crate) const NAME: &str = "keep-agent.service";

/// What a unit with this shield does not see.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

/// What the unit is made of.
pub(crate) struct Order<'a> {
    pub(crate) program: &'a Path,
    pub(crate) configuration: &'a [PathBuf],
    pub(crate) config: &'a Config,
    /// The folder in which relative paths of the configuration begin.
    pub(crate) base: &'a Path,
    /// Variables of whoever installs it, by which the server is found and trusted.
    pub(crate) environment: Vec<(String, String)>,
}

/// The text of a unit, and what its reader should know of it.
pub(crate) struct Unit {
    pub(crate) text: String,
    pub(crate) advice: Vec<String>,
}

/// What the agent must be able to write.
#[derive(Default)]
struct Writable {
    /// Folders that are for the agent and its owner alone.
    private: BTreeSet<PathBuf>,
    shared: BTreeSet<PathBuf>,
}

/// The variables by which an agent finds and trusts its servers, as far as its configuration leaves that to them.
pub(crate) fn environment(config: &Config, settings: &Settings) -> Vec<(String, String)> {
    let servers: Vec<&Server> =
        config.posts.iter().map(|post| &post.auth.server).chain(config.bare.iter().map(|(s, _)| s)).collect();
    let file = |path: &Option<String>| {
        path.as_ref().map(|path| {
            std::path::absolute(path).map_or_else(|_| path.clone(), |path| path.display().to_string())
        })
    };
    let lack = |lacks: fn(&Server) -> bool| servers.iter().any(|server| lacks(server));
    let all = [
        ("ADDR", settings.address.clone(), lack(|server| server.address.is_none())),
        ("CACERT", file(&settings.ca_cert), lack(|server| server.ca_cert.is_none())),
        ("CAPATH", file(&settings.ca_path), lack(|server| server.ca_path.is_none())),
        ("CLIENT_CERT", file(&settings.client_cert), lack(|server| server.client_cert.is_none())),
        ("CLIENT_KEY", file(&settings.client_key), lack(|server| server.client_key.is_none())),
        (
            "TLS_SERVER_NAME",
            settings.tls_server_name.clone(),
            lack(|server| server.tls_server_name.is_none()),
        ),
        ("SKIP_VERIFY", settings.skip_verify.clone(), lack(|server| !server.tls_skip_verify)),
        ("NAMESPACE", settings.namespace.clone(), lack(|server| server.namespace.is_none())),
    ];
    let taken = |(name, value, lacks): (&str, Option<String>, bool)| {
        value.filter(|_| lacks).map(|value| (format!("KEEP_{name}"), value))
    };
    all.into_iter().filter_map(taken).collect()
}

/// The unit for this configuration. The error names what keeps it from running.
pub(crate) fn unit(order: &Order<'_>) -> Result<Unit, String> {
    let config = order.config;
    let (mut writable, read) = (writable(config), read(config));
    let relative = writable.all().chain(&read).any(|path| path.is_relative());
    writable.begin_at(order.base);
    let read: Vec<PathBuf> = read.iter().map(|path| order.base.join(path)).collect();
    let named = order.environment.iter().map(|(_, value)| PathBuf::from(value));
    let named: Vec<PathBuf> = named.chain([order.program.to_owned()]).collect();
    let mut paths = writable.all().chain(&read).chain(&named).chain(order.configuration);
    if let Some(path) = paths.find(|path| HOMES.iter().any(|home| path.starts_with(home))) {
        return Err(format!(
            "{} lies in a home, and homes are hidden from the unit (ProtectHome): put it elsewhere, as below /etc/sealkeep or /var/lib",
            path.display()
        ));
    }
    let mut advice = Vec::new();
    let child = config.posts.iter().find_map(|post| post.secrets.child.as_ref());
    if let Some(child) = child {
        advice.push(format!(
            "{} runs inside the unit: what it writes and needs beyond the shields there must be added, with `systemctl edit {NAME}`.",
            child.words.first().map_or("exec", String::as_str)
        ));
    }
    let flags: Result<String, String> = order
        .configuration
        .iter()
        .map(|path| Ok(format!(" {}", word(&format!("-config={}", shown(path)?), "$")?)))
        .collect();
    let mut place = String::new();
    if relative {
        place = format!("WorkingDirectory={}\n", shown(order.base)?.replace('%', "%%"));
    }
    for (name, value) in &order.environment {
        place.push_str(&format!("Environment={}\n", word(&format!("{name}={value}"), "")?));
    }
    let text = UNIT
        .replace("@PROGRAM@", &word(shown(order.program)?, "$")?)
        .replace("@FLAGS@", &flags?)
        .replace("@PLACE@", &place)
        .replace("@FOLDERS@", &writable.made()?)
        .replace("@LIMITS@", if child.is_some() { LIMITS_OF_A_PROGRAM } else { LIMITS })
        .replace("@SHIELDS@", if child.is_some() { "" } else { SHIELDS })
        .replace("@WRITABLE@", &format!("{}{}", writable.lines()?, others(config)));
    Ok(Unit { text, advice })
}

/// The folders that the agent itself writes.
fn writable(config: &Config) -> Writable {
    let mut writable = Writable::default();
    writable.private.extend(config.certificates().map(|plan| plan.folder.clone()));
    let files = config.metrics.text_file.iter().chain(&config.pid_file);
    writable.shared.extend(files.filter_map(|file| folder(file)));
    writable.shared.extend(config.log.folder());
    let secrets = config.posts.iter().map(|post| &post.secrets).chain(config.bare.iter().map(|(_, s)| s));
    for secrets in secrets {
        writable.shared.extend(secrets.folders());
        writable.private.extend(secrets.cache.iter().map(|plan| plan.folder.clone()));
        let outputs = secrets.child.iter().flat_map(|child| child.stdout.iter().chain(&child.stderr));
        writable.shared.extend(outputs.filter_map(|file| folder(file)));
    }
    for post in &config.posts {
        writable.shared.extend(post.auth.sinks.iter().filter_map(|sink| folder(&sink.path)));
        writable.shared.extend(proof_folders(&post.auth.method));
    }
    writable.shared = writable.shared.difference(&writable.private).cloned().collect();
    writable
}

/// The folders of proofs that are taken away, or replaced by what they open.
fn proof_folders(method: &Method) -> Vec<PathBuf> {
    let (proof, replaced) = match method {
        Method::Approle { secret_id: Some(secret_id), .. } => {
            (&secret_id.proof, secret_id.wrapped_at.is_some())
        }
        Method::Jwt { proof, .. } | Method::Password { proof, .. } => (proof, false),
        _ => return Vec::new(),
    };
    match proof.after_reading {
        AfterReading::Keep if !replaced => Vec::new(),
        AfterReading::Keep | AfterReading::Remove => folder(&proof.path).into_iter().collect(),
        AfterReading::RemoveTarget => {
            let real = proof.path.canonicalize().ok();
            [Some(proof.path.clone()), real].iter().flatten().filter_map(|path| folder(path)).collect()
        }
    }
}

/// What else of the configuration is a path.
fn read(config: &Config) -> Vec<PathBuf> {
    let of_server = |server: &Server| {
        [&server.ca_cert, &server.ca_path, &server.client_cert, &server.client_key]
            .into_iter()
            .flatten()
            .map(PathBuf::from)
            .collect::<Vec<_>>()
    };
    let mut paths: Vec<PathBuf> = config.bare.iter().flat_map(|(server, _)| of_server(server)).collect();
    for post in &config.posts {
        paths.extend(of_server(&post.auth.server));
        match &post.auth.method {
            Method::TokenFile { path } => paths.push(path.clone()),
            Method::Approle { role_id, secret_id } => {
                paths.push(role_id.clone());
                paths.extend(secret_id.iter().map(|secret_id| secret_id.proof.path.clone()));
            }
            Method::Jwt { proof, .. } | Method::Password { proof, .. } => paths.push(proof.path.clone()),
            Method::Given(_) | Method::Cert { .. } => {}
        }
    }
    paths
}

/// What the programs of others write.
fn others(config: &Config) -> String {
    let mut lines = String::new();
    let runs_commands = config
        .certificates()
        .flat_map(|plan| &plan.reloads)
        .any(|reload| matches!(reload, Reload::Command { .. }))
        || config.posts.iter().any(|post| post.secrets.runs_programs());
    if runs_commands {
        lines.push_str("# A command that reloads its service runs in here too: what it writes must be named.\nReadWritePaths=-/var/log -/run\n");
    }
    let writes_mail =
        config.receivers.iter().any(|receiver| matches!(receiver, Receiver::Mail(_) | Receiver::Command(_)));
    if writes_mail {
        lines.push_str("# Alerts leave by a mail program, which puts letters here until they are sent.\nReadWritePaths=-/var/spool -/var/mail\n");
    }
    lines
}

impl Writable {
    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.private.iter().chain(&self.shared)
    }

    fn begin_at(&mut self, base: &Path) {
        for folders in [&mut self.private, &mut self.shared] {
            *folders = folders.iter().map(|folder| plain(&base.join(folder))).collect();
        }
    }

    fn lines(&self) -> Result<String, String> {
        let mut folders: Vec<&PathBuf> = self.all().collect();
        folders.sort();
        let line =
            |path: &PathBuf| Ok(format!("ReadWritePaths={}\n", word(&format!("-{}", shown(path)?), "")?));
        folders.into_iter().map(line).collect()
    }

    /// What makes the folders: a folder that is not there, as all below /run after a boot, cannot be made writable.
    fn made(&self) -> Result<String, String> {
        let above = |folder: &PathBuf| -> Vec<PathBuf> {
            folder
                .ancestors()
                .skip(1)
                .filter(|above| above.components().count() > 2)
                .map(Path::to_owned)
                .collect()
        };
        let mut open: BTreeSet<PathBuf> = self.all().flat_map(above).collect();
        open.extend(self.shared.iter().cloned());
        let mut lines = String::new();
        for (mode, folders) in [("0755", &open), ("0700", &self.private)] {
            let words: Result<String, String> =
                folders.iter().map(|path| Ok(format!(" {}", word(shown(path)?, "$")?))).collect();
            if !folders.is_empty() {
                lines.push_str(&format!("ExecStartPre=+mkdir -p -m {mode} --{}\n", words?));
            }
        }
        Ok(lines)
    }
}

/// The folder of a file.
fn folder(file: &Path) -> Option<PathBuf> {
    file.parent().map(Path::to_owned)
}

/// A path without `.` and without a slash at its end.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

fn shown(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} cannot be written into a unit: it is no UTF-8", path.display()))
}

/// One word of a line, as systemd reads it. `doubled` is what else means something there.
fn word(text: &str, doubled: &str) -> Result<String, String> {
    if text.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
        return Err(format!(
            "{text:?} cannot be written into a unit: choose a path without quotes and backslashes"
        ));
    }
    let mut out = text.replace('%', "%%");
    for sign in doubled.chars() {
        out = out.replace(sign, &format!("{sign}{sign}"));
    }
    let plain = !out.contains([' ', '\'', ';', '#']);
    Ok(if plain { out } else { format!("\"{out}\"") })
}

const LIMITS: &str = "MemorySwapMax=0\nMemoryMax=128M\nTasksMax=64\n";
const LIMITS_OF_A_PROGRAM: &str = "# The program of exec runs in here: how much memory and how many tasks it needs is for you to say.\nMemorySwapMax=0\n";
const SHIELDS: &str = "MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=@chown
SystemCallErrorNumber=EPERM
";

const UNIT: &str = "\
# Written by `keep agent install`. Run that again after a certificate was added: its folder must be writable below.

[Unit]
Description=Certificates that renew themselves (keep agent)
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
@PLACE@@FOLDERS@ExecStartPre=@PROGRAM@ agent check@FLAGS@
ExecStart=@PROGRAM@ agent@FLAGS@
KillSignal=SIGTERM
TimeoutStopSec=30
Restart=always
RestartSec=5

# It gives keys to the users of services and reloads them, which takes root; of root's power it keeps just that.
User=root
UMask=0077
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL
NoNewPrivileges=yes

LimitCORE=0
@LIMITS@
ProtectSystem=strict
@WRITABLE@ProtectHome=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateTmp=yes
PrivateDevices=yes
RemoveIPC=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
LockPersonality=yes
@SHIELDS@
[Install]
WantedBy=multi-user.target
";

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, text: &str, environment: Vec<(String, String)>) -> Result<Unit, String> {
        let folder = std::env::temp_dir().join(format!("keep-unit-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("app.hcl"), text).unwrap();
        let config = Config::load(std::slice::from_ref(&folder)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        unit(&Order {
            program: Path::new("/usr/local/bin/keep"),
            configuration: &[PathBuf::from("/etc/sealkeep/agent.d")],
            config: &config,
            base: Path::new("/srv/my app"),
            environment,
        })
    }

    const TOKEN: &str = "auto_auth { method \"token_file\" { config = { token_file_path = \"/t\" } } }\n";

    /// deploy/ has the unit as it is written for the first certificate of the guide.
    #[test]
    fn the_unit_in_deploy_is_the_one_that_is_written() {
        let text = format!(
            "{TOKEN}certificate \"app.internal\" {{\n role = \"web\"\n folder = \"/etc/nginx/tls\"\n reload {{ systemd = \"nginx\" }}\n}}\n"
        );
        let written = written("deploy", &text, Vec::new()).unwrap();
        assert_eq!(written.text, include_str!("../../../deploy/systemd/keep-agent.service"));
        assert!(written.advice.is_empty());
    }

    #[test]
    fn all_that_the_agent_writes_is_made_and_writable_wherever_it_lies() {
        let text = "auto_auth {\n method \"approle\" { config = { role_id_file_path = \"role-id\", secret_id_file_path = \"/etc/app/secret-id\" } }\n\
            sink \"file\" { config = { path = \"/var/lib/app/token\" } } }\n\
            env_template \"A\" { contents = \"a\" }\n\
            exec { command = [\"/usr/bin/app\"]\n child_process_stdout = \"/var/lib/out/log\" }\n\
            template { contents = \"a\"\n destination = \"run/app.conf\" }\n\
            template { contents = \"a\"\n destination = \"/srv/100% sure/x\" }\n\
            listener \"unix\" { address = \"/run/app/keep.sock\" }\n\
            cache { persist \"file\" { path = \"kept\" } }\n";
        let address = ("KEEP_ADDR".to_owned(), "https://vault.internal:8200".to_owned());
        let Unit { text, advice } = written("writes", text, vec![address]).unwrap();
        for line in [
            "WorkingDirectory=/srv/my app",
            "Environment=KEEP_ADDR=https://vault.internal:8200",
            "ReadWritePaths=-/etc/app",
            "ReadWritePaths=-/var/lib/app",
            "ReadWritePaths=-/var/lib/out",
            "ReadWritePaths=\"-/srv/my app/run\"",
            "ReadWritePaths=\"-/srv/my app/kept\"",
            "ReadWritePaths=\"-/srv/100%% sure\"",
            "ReadWritePaths=-/run/app",
            "ExecStartPre=+mkdir -p -m 0700 -- \"/srv/my app/kept\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains(" /run/app ") && text.find("mkdir") < text.find("agent check"), "{text}");
        assert!(
            !text.contains("MemoryMax") && !text.contains("SystemCallFilter"),
            "exec runs others' programs"
        );
        assert!(advice.iter().any(|line| line.contains("/usr/bin/app runs inside the unit")), "{advice:?}");
    }

    #[test]
    fn what_the_unit_could_not_see_or_say_is_refused() {
        let at = |path: &str| {
            let text = format!("{TOKEN}template {{ contents = \"a\"\n destination = {path:?} }}\n");
            written("refused", &text, Vec::new()).err().unwrap_or_default()
        };
        assert!(
            at("/home/ann/app.conf").contains("/home/ann lies in a home"),
            "{}",
            at("/home/ann/app.conf")
        );
        assert!(at("/srv/a\"b/app.conf").contains("without quotes"), "{}", at("/srv/a\"b/app.conf"));
    }
}
