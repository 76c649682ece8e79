use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::{
    output::{raw, say},
    root,
    stop::{Outcome, Stop},
};

/// Print the completion of commands and flags for a shell
///
/// For bash: `keep completion bash > ~/.local/share/bash-completion/completions/keep`.
#[derive(Args, Debug)]
pub(crate) struct Completion {
    /// Shell to complete in
    #[arg(value_name = "bash|zsh|fish")]
    shell: String,
}

impl Completion {
    pub(crate) fn run(&self) -> Outcome {
        let shell = match Shell::from_str(&self.shell, true) {
            Ok(shell @ (Shell::Bash | Shell::Zsh | Shell::Fish)) => shell,
            _ => return Err(Stop::local("Completion is there for bash, zsh and fish")),
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut root(), "keep", &mut script);
        raw(&String::from_utf8_lossy(&script));
        Ok(0)
    }
}

/// Write the manual pages, one for each command
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// Folder to write them to
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    pub(crate) fn run(&self) -> Outcome {
        let failed = |e: std::io::Error| {
            Stop::local(format!("The manual cannot be written to {}: {e}", self.folder.display()))
        };
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        clap_mangen::generate_to(root(), &self.folder).map_err(failed)?;
        say(format!("Success! Wrote the manual pages to: {}", self.folder.display()));
        Ok(0)
    }
}
