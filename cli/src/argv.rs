//! Vault's command line, made readable for clap: `-field=x`, `-field x`, flags before or after arguments,
//! `-force=false`, values that begin with a dash; and Vault's words when something is missing.

use clap::{Arg, ArgAction, Command};

use crate::stop::{LOCAL, UNKNOWN};

/// No command has a longer name.
const NAME_SIZE_MAX: usize = 20;

/// What the command line turned out to be.
#[derive(Debug, PartialEq)]
pub(crate) enum Line {
    /// Arguments that clap understands.
    Run(Vec<String>),
    /// The help of a command was asked for: its names from the root.
    Help(Vec<String>),
    /// The version was asked for.
    Version,
    /// A group without its command, or a command that does not exist: its help, the exit code, and the word that is none.
    Lost(Vec<String>, u8, Option<String>),
    /// A mistake, told in Vault's words.
    Wrong(String),
}

/// Reads the arguments after the program's name against a built `root`.
pub(crate) fn read(root: &Command, args: &[String]) -> Line {
    match args.first().map(String::as_str) {
        Some("-v" | "-version" | "--version") if args.len() == 1 => return Line::Version,
        Some("help") => return help_of(root, args.get(1..).unwrap_or_default()),
        _ => {}
    }
    let mut reader = Reader { command: root, names: Vec::new(), flags: Vec::new(), operands: Vec::new() };
    match reader.read(args) {
        Ok(Ending::Help) => Line::Help(reader.names),
        Ok(Ending::Run) => reader.finish(),
        Err(line) => line,
    }
}

struct Reader<'a> {
    command: &'a Command,
    names: Vec<String>,
    flags: Vec<String>,
    operands: Vec<String>,
}

enum Ending {
    Run,
    Help,
}

impl<'a> Reader<'a> {
    fn read(&mut self, args: &[String]) -> Result<Ending, Line> {
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if arg == "--" {
                self.operands.extend(rest.cloned());
                break;
            }
            if matches!(arg.as_str(), "-h" | "-help" | "--help") {
                return Ok(Ending::Help);
            }
            match arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).filter(|name| !name.is_empty()) {
                Some(flag) => self.flag(flag, &mut rest)?,
                None => self.operand(arg)?,
            }
        }
        Ok(Ending::Run)
    }

    fn operand(&mut self, arg: &str) -> Result<(), Line> {
        if !self.command.has_subcommands() {
            self.operands.push(arg.to_owned());
            return Ok(());
        }
        match self.command.find_subcommand(arg) {
            Some(found) => {
                self.command = found;
                self.names.push(found.get_name().to_owned());
                Ok(())
            }
            None => Err(self.lost(Some(arg))),
        }
    }

    fn flag(&mut self, flag: &str, rest: &mut std::slice::Iter<'_, String>) -> Result<(), Line> {
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        // Only the name is repeated: the value may be a secret.
        let unknown = || Line::Wrong(format!("flag provided but not defined: -{name}"));
        let arg = long_flag(self.command, name).ok_or_else(unknown)?;
        let long = arg.get_long().ok_or_else(unknown)?;
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            return match value.as_deref().map(go_bool) {
                None | Some(Some(true)) => {
                    self.flags.push(format!("--{long}"));
                    Ok(())
                }
                Some(Some(false)) => Ok(()),
                Some(None) => {
                    Err(Line::Wrong(format!("invalid boolean value for -{name}: use true or false")))
                }
            };
        }
        let optional = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
        let value = match value {
            Some(value) => value,
            None if optional => "true".to_owned(),
            None => match rest.next() {
                Some(next) => next.clone(),
                None => return Err(Line::Wrong(format!("flag needs an argument: -{name}"))),
            },
        };
        self.flags.push(format!("--{long}={value}"));
        Ok(())
    }

    fn lost(&self, word: Option<&str>) -> Line {
        let code = if self.names.is_empty() { UNKNOWN } else { LOCAL };
        Line::Lost(self.names.clone(), code, word.and_then(shown))
    }

    fn finish(self) -> Line {
        if self.command.has_subcommands() && self.command.is_subcommand_required_set() {
            return self.lost(None);
        }
        if let Some(wrong) = miscounted(self.command, self.operands.len()) {
            return Line::Wrong(wrong);
        }
        let mut out = self.names;
        out.extend(self.flags);
        out.push("--".to_owned());
        out.extend(self.operands);
        Line::Run(out)
    }
}

/// A word as an error may repeat it: what does not look like the name of a command may be a secret.
fn shown(word: &str) -> Option<String> {
    let like_a_name =
        word.len() <= NAME_SIZE_MAX && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    like_a_name.then(|| word.to_owned())
}

/// Vault's sentence about too few or too many arguments.
fn miscounted(command: &Command, got: usize) -> Option<String> {
    let mut least = 0;
    let mut most = Some(0_usize);
    for arg in command.get_positionals() {
        least += usize::from(arg.is_required_set());
        let many = arg.get_num_args().is_some_and(|range| range.max_values() > 1)
            || matches!(arg.get_action(), ArgAction::Append);
        most = if many { None } else { most.map(|n| n + 1) };
    }
    let expected = match most {
        Some(most) if most == least => least.to_string(),
        Some(most) => format!("{least}-{most}"),
        None => format!("at least {least}"),
    };
    if got < least {
        return Some(format!("Not enough arguments (expected {expected}, got {got})"));
    }
    most.filter(|most| got > *most).map(|_| format!("Too many arguments (expected {expected}, got {got})"))
}

fn long_flag<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional()).find(|arg| {
        arg.get_long() == Some(name)
            || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
            || arg.get_short().is_some_and(|short| name.len() == 1 && name.starts_with(short))
    })
}

fn help_of(root: &Command, names: &[String]) -> Line {
    let mut command = root;
    let mut found = Vec::new();
    for name in names {
        match command.find_subcommand(name) {
            Some(next) => {
                command = next;
                found.push(next.get_name().to_owned());
            }
            None => return Line::Lost(found, UNKNOWN, shown(name)),
        }
    }
    Line::Help(found)
}

/// The spellings that Go takes for a truth value.
pub(crate) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root;

    #[track_caller]
    fn check(line: &str, expect: Line) {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(read(&root(), &args), expect, "{line}");
    }

    fn run(line: &str) -> Line {
        Line::Run(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn single_dashes_become_double() {
        check("kv get -field=x secret/a", run("kv get --field=x -- secret/a"));
        check("kv get -field x secret/a", run("kv get --field=x -- secret/a"));
        check("kv get secret/a -format json", run("kv get --format=json -- secret/a"));
        check(
            "-address=http://x kv get --mount secret a",
            run("kv get --address=http://x --mount=secret -- a"),
        );
        check("kv put -cas -1 secret/a k=-", run("kv put --cas=-1 -- secret/a k=-"));
        check("write secret/a -", run("write -- secret/a -"));
        check("write -- secret/a -k=v", run("write -- secret/a -k=v"));
        check("kv get -ns=a/b secret/a", run("kv get --namespace=a/b -- secret/a"));
    }

    #[test]
    fn truth_values_are_gos() {
        check("write -f secret/a", run("write --force -- secret/a"));
        check("write -force=false secret/a", run("write -- secret/a"));
        check("token create -renewable=false", run("token create --renewable=false --"));
        check("token create -renewable -ttl=1h", run("token create --renewable=true --ttl=1h --"));
        check(
            "write -force=maybe a",
            Line::Wrong("invalid boolean value for -force: use true or false".to_owned()),
        );
    }

    #[test]
    fn mistakes_are_told_in_vaults_words_and_without_values() {
        let wrong = |text: &str| Line::Wrong(text.to_owned());
        check("kv get -bogus=hunter2 secret/a", wrong("flag provided but not defined: -bogus"));
        check("kv get", wrong("Not enough arguments (expected 1, got 0)"));
        check("kv get a b", wrong("Too many arguments (expected 1, got 2)"));
        check("token lookup a b", wrong("Too many arguments (expected 0-1, got 2)"));
        check("policy write x", wrong("Not enough arguments (expected 2, got 1)"));
        check("kv get -field", wrong("flag needs an argument: -field"));
        check("nope", Line::Lost(vec![], UNKNOWN, Some("nope".to_owned())));
        check("s.hunter2", Line::Lost(vec![], UNKNOWN, None));
        check("help nope", Line::Lost(vec![], UNKNOWN, Some("nope".to_owned())));
        check("", Line::Lost(vec![], UNKNOWN, None));
        check("kv nope", Line::Lost(vec!["kv".to_owned()], LOCAL, Some("nope".to_owned())));
        check("kv", Line::Lost(vec!["kv".to_owned()], LOCAL, None));
        check("kv get -help", Line::Help(vec!["kv".to_owned(), "get".to_owned()]));
        check("help kv", Line::Help(vec!["kv".to_owned()]));
        check("-version", Line::Version);
    }
}
