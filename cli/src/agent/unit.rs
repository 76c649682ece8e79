//! The unit of systemd under which the agent runs: it may write the folders of its certificates and little else.

use std::path::{Path, PathBuf};

use super::{
    config::{Config, Receiver},
    deliver::Reload,
};

/// Its name.
pub(crate) const NAME: &str = "keep-agent.service";

/// The text of the unit for this configuration.
pub(crate) fn text(program: &Path, configuration: &[PathBuf], config: &Config) -> String {
    let flags: String = configuration.iter().map(|path| format!(" -config={}", path.display())).collect();
    let mut writable: Vec<PathBuf> = config.certificates().map(|plan| plan.folder.clone()).collect();
    let files = config.metrics.text_file.iter().chain(&config.pid_file);
    writable.extend(files.filter_map(|file| Some(file.parent()?.to_owned())));
    writable.extend(config.log.folder());
    writable.extend(config.posts.iter().flat_map(|post| post.secrets.folders()));
    writable.extend(config.bare.iter().flat_map(|(_, secrets)| secrets.folders()));
    writable.sort();
    writable.dedup();
    let writable: String =
        writable.iter().map(|path| format!("ReadWritePaths=-{}\n", path.display())).collect();
    let runs_commands = config
        .certificates()
        .flat_map(|plan| &plan.reloads)
        .any(|reload| matches!(reload, Reload::Command { .. }))
        || config.posts.iter().any(|post| post.secrets.runs_programs());
    let commands = if runs_commands {
        "# A command that reloads its service runs in here too: what it writes must be named.\nReadWritePaths=-/var/log -/run\n"
    } else {
        ""
    };
    let writes_mail =
        config.receivers.iter().any(|receiver| matches!(receiver, Receiver::Mail(_) | Receiver::Command(_)));
    let mail = if writes_mail {
        "# Alerts leave by a mail program, which puts letters here until they are sent.\nReadWritePaths=-/var/spool -/var/mail\n"
    } else {
        ""
    };
    UNIT.replace("@PROGRAM@", &program.display().to_string())
        .replace("@FLAGS@", &flags)
        .replace("@WRITABLE@", &format!("{writable}{commands}{mail}"))
}

const UNIT: &str = "\
# Written by `keep agent install`. Run that again after a certificate was added: its folder must be writable below.

[Unit]
Description=Certificates that renew themselves (keep agent)
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStartPre=@PROGRAM@ agent check@FLAGS@
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
MemorySwapMax=0
MemoryMax=128M
TasksMax=64

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
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=@chown
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
";

#[cfg(test)]
mod tests {
    use super::*;

    /// deploy/ has the unit as it is written for the first certificate of the guide.
    #[test]
    fn the_unit_in_deploy_is_the_one_that_is_written() {
        let text = "auto_auth { method \"token_file\" { config = { token_file_path = \"/t\" } } }\n\
                    certificate \"app.internal\" {\n role = \"web\"\n folder = \"/etc/nginx/tls\"\n reload { systemd = \"nginx\" }\n}\n";
        let folder = std::env::temp_dir().join(format!("keep-unit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("app.hcl"), text).unwrap();
        let config = Config::load(std::slice::from_ref(&folder)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let configuration = [PathBuf::from("/etc/sealkeep/agent.d")];
        let written = super::text(Path::new("/usr/local/bin/keep"), &configuration, &config);
        assert_eq!(written, include_str!("../../../deploy/systemd/keep-agent.service"));
    }
}
