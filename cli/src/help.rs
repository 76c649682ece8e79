//! Help and mistakes as clap writes them, with the single dash that this command line is used with.

use clap::Command;

/// The help of the command that `names` lead to.
pub(crate) fn text(root: &Command, names: &[String]) -> String {
    let mut command = root;
    for name in names {
        command = command.find_subcommand(name).unwrap_or(command);
    }
    let rendered = command.clone().render_long_help().to_string();
    single_dashes(rendered.trim_end())
}

/// A parse error in one line. Values of arguments do not reach it: they come after `--`.
pub(crate) fn mistake(error: &clap::Error) -> String {
    let rendered = error.to_string();
    let lines = rendered.lines().take_while(|line| !line.is_empty()).map(str::trim);
    single_dashes(lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: "))
}

/// The same in a manual page, in which a dash is escaped and a change of type stands before a flag.
pub(crate) fn single_dashes_of_man(page: &str) -> String {
    with_single(page, r"\-", |before| [r"\fB", r"\fI", r"\fR"].iter().any(|kind| before.ends_with(kind)))
}

/// `--flag` becomes `-flag`; a `--` that stands alone or inside a word stays.
fn single_dashes(text: &str) -> String {
    with_single(text, "-", |_| false)
}

fn with_single(text: &str, dash: &str, starts_behind: impl Fn(&str) -> bool) -> String {
    let both = dash.repeat(2);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(&both) {
        out.push_str(before);
        let starts = starts_behind(before) || !before.ends_with(|c: char| c.is_alphanumeric() || c == '-');
        let names = after.starts_with(|c: char| c.is_ascii_alphabetic());
        out.push_str(if starts && names { dash } else { &both });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flags_lose_a_dash() {
        assert_eq!(
            single_dashes("      --address <URL> a--b -- --- [--x]"),
            "      -address <URL> a--b -- --- [-x]"
        );
    }

    #[test]
    fn every_command_has_help_and_consistent_flags() {
        let root = crate::root();
        root.clone().debug_assert();
        let help = text(&root, &["kv".to_owned(), "get".to_owned()]);
        assert!(help.contains("-mount <MOUNT>") && !help.contains("--mount"), "{help}");
    }
}
