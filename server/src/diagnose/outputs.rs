//! What the server writes beside its store: audit devices, the log, the pid file.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use kernel::AuditSpec;

use super::tree::Check;
use crate::config::Config;

/// The file of an audit device, if it writes one.
pub(super) fn file_of(spec: &AuditSpec) -> Option<PathBuf> {
    let option = |key: &str| spec.options.get(key).filter(|text| !text.is_empty());
    let path = option("file_path").or_else(|| option("path")).filter(|_| spec.kind == "file")?;
    (!matches!(path.as_str(), "stdout" | "discard")).then(|| PathBuf::from(path))
}

pub(super) fn audits(config: &Config) -> Check {
    let mut check = Check::new("Check Audit Devices");
    if config.audits.is_empty() {
        check.warns("No audit device is configured: nobody will know who asked for what.");
        check.advises("Add audit \"file\" \"main\" { options { file_path = \"/var/log/sealkeep/audit.log\" } }, and a second one elsewhere.");
        return check;
    }
    for spec in &config.audits {
        let device = check.add(Check::new(format!("Check Audit Device {}", spec.path)));
        match file_of(spec) {
            None => device.says(format!(
                "It is of type {}; whether it takes lines shows when the server runs.",
                spec.kind
            )),
            Some(path) => appendable(device, &path),
        }
    }
    check
}

pub(super) fn files(config: &Config) -> Check {
    let mut check = Check::new("Check Log And Pid File");
    let known = [("Check Log File", &config.log.file), ("Check Pid File", &config.pid_file)];
    for (name, file) in known {
        if let Some(path) = file {
            appendable(check.add(Check::new(name)), path);
        }
    }
    check
}

/// Whether a file can be written on, or made.
fn appendable(check: &mut Check, path: &Path) {
    if path.exists() {
        match OpenOptions::new().append(true).open(path) {
            Ok(_file) => check.says(format!("{} can be written.", path.display())),
            Err(error) => check.fails(format!("{} cannot be written: {error}", path.display())),
        }
        return;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match writable(folder) {
        Ok(()) => check.says(format!("{} can be made.", path.display())),
        Err(why) => check.fails(why),
    }
}

/// Makes a file, makes it durable, and takes it away again.
pub(super) fn writable(folder: &Path) -> Result<(), String> {
    let file = folder.join(format!(".sealkeep-diagnose-{}", std::process::id()));
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)
        .and_then(|open| open.sync_all());
    let gone = fs::remove_file(&file);
    made.and(gone).map_err(|error| format!("{}: no file can be written there: {error}", folder.display()))
}
