use std::{
    fs,
    io::Write as _,
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;
use serde_json::json;

use crate::{
    call::Call,
    output::{say, warn},
    paths,
    secret::Secret,
    session::Session,
    stop::{Outcome, REMOTE, Stop},
};

/// Log in to a host with a certificate or a one-time password of the ssh engine
///
/// With -mode=ca the public key is signed and ssh is run with the certificate; with -mode=otp a password for this host
/// is made and printed, and ssh is run.
#[derive(Args, Debug)]
pub(crate) struct Ssh {
    /// How: ca or otp
    #[arg(long, value_name = "MODE")]
    mode: String,
    /// Role of the engine
    #[arg(long, value_name = "NAME")]
    role: String,
    /// Where the engine is mounted
    #[arg(long, value_name = "PATH", default_value = "ssh")]
    mount_point: String,
    /// Print the credential and do not connect
    #[arg(long)]
    no_exec: bool,
    /// Public key to have signed; the first of ~/.ssh/id_ed25519.pub, id_ecdsa.pub, id_rsa.pub if left out
    #[arg(long, value_name = "FILE")]
    public_key_path: Option<PathBuf>,
    /// Its private key; the same name without .pub if left out
    #[arg(long, value_name = "FILE")]
    private_key_path: Option<PathBuf>,
    /// Names for the certificate, separated by commas; the user if left out
    #[arg(long, value_name = "NAMES")]
    valid_principals: Option<String>,
    /// Engine that signs host keys; the host is then checked against its CA
    #[arg(long, value_name = "PATH")]
    host_key_mount_point: Option<String>,
    /// Hosts for which that CA counts
    #[arg(long, value_name = "NAMES", default_value = "*")]
    host_key_hostnames: String,
    /// Option StrictHostKeyChecking of ssh
    #[arg(long, value_name = "VALUE", default_value = "ask")]
    strict_host_key_checking: String,
    /// Option UserKnownHostsFile of ssh
    #[arg(long, value_name = "FILE")]
    user_known_hosts_file: Option<PathBuf>,
    /// Program to run
    #[arg(long, value_name = "FILE", default_value = "ssh")]
    ssh_executable: PathBuf,
    /// Whom and where: user@host, and after it further arguments of ssh
    #[arg(value_name = "USER@HOST", required = true)]
    target: Vec<String>,
}

impl Ssh {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let target = self.target.first().cloned().unwrap_or_default();
        let (user, host) = match target.split_once('@') {
            Some((user, host)) => (user.to_owned(), host.to_owned()),
            None => {
                let user = session.settings.user.clone();
                let user = user.ok_or_else(|| Stop::local("Who is to log in? Write user@host"))?;
                (user, target.clone())
            }
        };
        if user.is_empty() || host.is_empty() || host.starts_with('-') || user.starts_with('-') {
            return Err(Stop::local(format!("{target:?} is not user@host")));
        }
        match self.mode.as_str() {
            "ca" => self.with_certificate(session, &user, &host).await,
            "otp" => self.with_password(session, &user, &host).await,
            other => Err(Stop::local(format!("Unknown mode: {other}")).hint("It is ca or otp.")),
        }
    }

    async fn with_certificate(&self, session: &Session, user: &str, host: &str) -> Outcome {
        let public_path = self.public_key(session)?;
        let private = self.private_key_path.clone().unwrap_or_else(|| public_path.with_extension(""));
        let public = fs::read_to_string(&public_path).map_err(|e| {
            Stop::local(format!("The public key {} cannot be read: {e}", public_path.display()))
        })?;
        let path = format!("{}/sign/{}", paths::clean(&self.mount_point), paths::clean(&self.role));
        let body = json!({
            "public_key": public.trim(),
            "valid_principals": self.valid_principals.as_deref().unwrap_or(user),
            "cert_type": "user",
        });
        let signed = session.client.write(Call::put(&path, body)).await;
        let signed =
            signed.map_err(|e| e.during(format!("failed to sign public key {}", public_path.display())))?;
        let certificate = signed.as_ref().and_then(|secret| secret.text("signed_key")).map(str::trim);
        let certificate = certificate.ok_or_else(|| Stop::remote("The server returned no certificate"))?;
        if self.no_exec {
            return match (&signed, session.output.is_table()) {
                (Some(secret), false) => session.output.secret(secret),
                _ => {
                    say(certificate);
                    Ok(0)
                }
            };
        }
        let folder = Folder::new()?;
        let certificate = folder.put("cert.pub", &format!("{certificate}\n"))?;
        let mut ssh = Command::new(&self.ssh_executable);
        ssh.arg("-i").arg(&private).arg("-o").arg(format!("CertificateFile={}", certificate.display()));
        ssh.args(["-o", "IdentitiesOnly=yes"]);
        let known = self.known_hosts(session, &folder).await?;
        self.connect(ssh, known.as_deref(), user, host, Some(folder))
    }

    async fn with_password(&self, session: &Session, user: &str, host: &str) -> Outcome {
        let path = format!("{}/creds/{}", paths::clean(&self.mount_point), paths::clean(&self.role));
        let call = Call::put(&path, json!({ "username": user, "ip": address(host).await? }));
        let made = session.client.write(call).await.map_err(|e| e.during("failed to generate credential"))?;
        let secret: Secret = made.unwrap_or_default();
        let password = secret.text("key").ok_or_else(|| Stop::remote("The server returned no password"))?;
        if self.no_exec {
            if !session.output.is_table() {
                return session.output.secret(&secret);
            }
            say(format!("IP:    {}", secret.text("ip").unwrap_or_default()));
            say(format!("Username: {}", secret.text("username").unwrap_or_default()));
            say(format!("OTP:   {password}"));
            return Ok(0);
        }
        warn("Type this one-time password when ssh asks for it:");
        say(format!("OTP for the session is: {password}"));
        let ssh = Command::new(&self.ssh_executable);
        self.connect(ssh, None, user, host, None)
    }

    /// Becomes ssh, or runs it where files are to be removed after it.
    fn connect(
        &self,
        mut ssh: Command,
        known: Option<&Path>,
        user: &str,
        host: &str,
        folder: Option<Folder>,
    ) -> Outcome {
        match known {
            Some(known) => {
                ssh.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
                ssh.args(["-o", "StrictHostKeyChecking=yes"]);
            }
            None => {
                if let Some(file) = &self.user_known_hosts_file {
                    ssh.arg("-o").arg(format!("UserKnownHostsFile={}", file.display()));
                }
                ssh.arg("-o").arg(format!("StrictHostKeyChecking={}", self.strict_host_key_checking));
            }
        }
        ssh.arg("-l").arg(user).arg(host).args(self.target.iter().skip(1));
        let failed = |e: std::io::Error| {
            Stop::local(format!("{} cannot be run: {e}", self.ssh_executable.display()))
                .hint("Install an SSH client, or name one with -ssh-executable.")
        };
        if folder.is_none() {
            return Err(failed(ssh.exec()));
        }
        let status = ssh.status().map_err(failed)?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(REMOTE))
    }

    /// A list of known hosts that trusts the CA of an engine.
    async fn known_hosts(&self, session: &Session, folder: &Folder) -> Result<Option<PathBuf>, Stop> {
        let Some(mount) = &self.host_key_mount_point else { return Ok(None) };
        let path = format!("{}/config/ca", paths::clean(mount));
        let read = session
            .client
            .read(Call::get(&path))
            .await
            .map_err(|e| e.during("failed to get host signing key"))?;
        let key = read.as_ref().and_then(|secret| secret.text("public_key")).map(str::trim);
        let key = key.ok_or_else(|| Stop::remote(format!("There is no host signing key at {path}")))?;
        folder.put("known_hosts", &format!("@cert-authority {} {key}\n", self.host_key_hostnames)).map(Some)
    }

    fn public_key(&self, session: &Session) -> Result<PathBuf, Stop> {
        if let Some(path) = &self.public_key_path {
            return Ok(path.clone());
        }
        let home = session
            .settings
            .home
            .clone()
            .ok_or_else(|| Stop::local("There is no home folder; give -public-key-path"))?;
        let usual = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"].map(|name| home.join(".ssh").join(name));
        let found = usual.into_iter().find(|path| path.exists());
        found.ok_or_else(|| {
            Stop::local("There is no public key in ~/.ssh")
                .hint("Make one with ssh-keygen, or give -public-key-path.")
        })
    }
}

/// The address of a host, which a one-time password is bound to.
async fn address(host: &str) -> Result<String, Stop> {
    let failed = |e: std::io::Error| Stop::local(format!("The address of {host} is not known: {e}"));
    let mut found = tokio::net::lookup_host((host, 22)).await.map_err(failed)?;
    let first = found.next().ok_or_else(|| Stop::local(format!("The address of {host} is not known")))?;
    Ok(first.ip().to_string())
}

/// A folder that is gone afterwards. Its files are readable by the user alone.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, Stop> {
        let path = std::env::temp_dir().join(format!("keep-ssh-{}", std::process::id()));
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(|e| Stop::local(format!("{} cannot be made: {e}", path.display())))?;
        Ok(Folder(path))
    }

    fn put(&self, name: &str, text: &str) -> Result<PathBuf, Stop> {
        let path = self.0.join(name);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| Stop::local(format!("{} cannot be written: {e}", path.display())))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing in it is a secret: a certificate and a list of hosts.
        let _ = fs::remove_dir_all(&self.0);
    }
}
