//! What a configuration needs of the machine: it can be right, and there be no room for it.

use std::path::Path;

use super::{Config, Receiver};
use crate::agent::deliver::Reload;

impl Config {
    /// What is not there, or is in the way, one line each.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for plan in self.certificates() {
            let name = &plan.name;
            if let Some(file) = obstacle(&plan.folder) {
                missing.push(format!(
                    "{name}: folder: {} cannot be made, as {file} is no folder",
                    plan.folder.display()
                ));
            }
            for reload in &plan.reloads {
                if let Reload::Command { words, .. } = reload
                    && let Some(program) = words.first().filter(|word| is_absent(word))
                {
                    missing.push(format!("{name}: reload: there is no program {program}"));
                }
            }
        }
        let folder = self.metrics.text_file.as_deref().and_then(Path::parent);
        if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty())
            && !folder.is_dir()
        {
            missing.push(format!("telemetry: text_file: there is no folder {}", folder.display()));
        }
        for receiver in &self.receivers {
            if let Receiver::Mail(mail) = receiver
                && !mail.program.is_file()
            {
                missing.push(format!(
                    "alert: mail: there is no program {}: install a mail program, or name one with sendmail",
                    mail.program.display()
                ));
            }
        }
        missing
    }
}

/// What is there in the way of a folder and is none.
fn obstacle(folder: &Path) -> Option<String> {
    let there = folder.ancestors().find(|path| path.exists())?;
    (!there.is_dir()).then(|| there.display().to_string())
}

/// Whether a program is named by its whole path, and is not there.
fn is_absent(program: &str) -> bool {
    let path = Path::new(program);
    path.is_absolute() && !path.exists()
}
