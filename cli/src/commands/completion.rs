use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{Args, Command, ValueEnum, builder::PossibleValuesParser};
use clap_complete::Shell;

use crate::{
    catalog, help,
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
        clap_complete::generate(shell, &mut with_values(root()), "keep", &mut script);
        raw(&String::from_utf8_lossy(&script));
        raw(match shell {
            Shell::Bash => BASH_PATHS,
            Shell::Zsh => ZSH_PATHS,
            _ => FISH_PATHS,
        });
        Ok(0)
    }
}

/// What can stand behind a flag, or as an argument, by the name that the command gives it. Scripts offer it; a command takes more,
/// such as any spelling.
const VALUES: [(&str, &[&str]); 3] = [
    ("shell", &["bash", "zsh", "fish"]),
    ("format", &["table", "json", "yaml", "raw"]),
    (
        "key_type",
        &["ec", "ec-384", "ed25519", "rsa", "rsa-3072", "rsa-4096", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"],
    ),
];

fn with_values(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        match VALUES.iter().find(|(name, _)| arg.get_id() == *name && arg.get_action().takes_values()) {
            Some((_, values)) => arg.value_parser(PossibleValuesParser::new(*values)),
            None => arg,
        }
    });
    command.mut_subcommands(with_values)
}

/// After the script that knows commands and flags: the verbs that take a path of the API complete it.
const BASH_PATHS: &str = r#"
_keep_or_path() {
    # Flags are written with one dash; the script knows them with two.
    local before="$3" typed="$2"
    if [[ "$before" == "=" ]]; then before="${COMP_WORDS[COMP_CWORD - 2]}"; fi
    if [[ "$typed" == "=" ]]; then typed=""; fi
    if [[ "$before" == -??* && "$before" != --* ]]; then before="-$before"; fi
    case "${COMP_WORDS[1]}" in
    read | write | delete | list | scan | patch | path-help)
        if [[ $COMP_CWORD -gt 1 && "$typed" != -* && "$typed" != *=* ]]; then
            COMPREPLY=()
            # Behind a flag its values come first.
            if [[ "$before" == --* ]]; then _keep "$1" "$typed" "$before"; fi
            if [[ ${#COMPREPLY[@]} -eq 0 ]]; then
                mapfile -t COMPREPLY < <(keep complete-paths "$typed" 2>/dev/null)
                compopt -o nospace
            fi
            return
        fi
        ;;
    esac
    if [[ "$typed" == -* && "$typed" != --* ]]; then
        _keep "$1" "-$typed" "$before"
        COMPREPLY=("${COMPREPLY[@]#-}")
    else
        _keep "$1" "$typed" "$before"
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
        let mut all = root().disable_help_subcommand(true);
        all.build();
        pages(&all, &self.folder).map_err(failed)?;
        say(format!("Success! Wrote the manual pages to: {}", self.folder.display()));
        Ok(0)
    }
}

/// Writes the page of a command and those of what is below it, with flags as the help has them.
fn pages(command: &Command, folder: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages(below, folder)?;
    }
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    let text = help::single_dashes_of_man(&String::from_utf8_lossy(&text));
    std::fs::write(folder.join(page.get_filename()), text)
}
