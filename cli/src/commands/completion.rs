use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::{
    catalog,
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
        raw(match shell {
            Shell::Bash => BASH_PATHS,
            Shell::Zsh => ZSH_PATHS,
            _ => FISH_PATHS,
        });
        Ok(0)
    }
}

/// After the script that knows commands and flags: the verbs that take a path of the API complete it.
const BASH_PATHS: &str = r#"
_keep_or_path() {
    case "${COMP_WORDS[1]}" in
    read | write | delete | list | scan | patch | path-help)
        if [[ $COMP_CWORD -gt 1 && "$2" != -* && "$2" != *=* ]]; then
            mapfile -t COMPREPLY < <(keep complete-paths "$2" 2>/dev/null)
            compopt -o nospace
            return
        fi
        ;;
    esac
    # Flags are written with one dash; the script knows them with two.
    local before="$3"
    if [[ "$before" == -??* && "$before" != --* ]]; then before="-$before"; fi
    if [[ "$2" == -* && "$2" != --* ]]; then
        _keep "$1" "-$2" "$before"
        COMPREPLY=("${COMPREPLY[@]#-}")
    else
        _keep "$1" "$2" "$before"
    fi
}
complete -F _keep_or_path -o bashdefault -o default keep
"#;
const ZSH_PATHS: &str = r#"
_keep_or_path() {
    case "${words[2]}" in
    read|write|delete|list|scan|patch|path-help)
        if [[ $CURRENT -gt 2 && "$PREFIX" != -* && "$PREFIX" != *=* ]]; then
            compadd -S '' -- ${(f)"$(keep complete-paths "$PREFIX" 2>/dev/null)"}
            return
        fi
        ;;
    esac
    _keep "$@"
}
compdef _keep_or_path keep
"#;
const FISH_PATHS: &str = r#"
complete -c keep -n '__fish_seen_subcommand_from read write delete list scan patch path-help' -f -a '(keep complete-paths (commandline -ct) 2>/dev/null)'
"#;

/// Print what a path of the API can become, for the completion of shells
#[derive(Args, Debug)]
pub(crate) struct CompletePaths {
    /// What was typed so far
    #[arg(default_value = "")]
    typed: String,
}

impl CompletePaths {
    pub(crate) fn run(&self) -> Outcome {
        catalog::completions(&self.typed).iter().for_each(say);
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
