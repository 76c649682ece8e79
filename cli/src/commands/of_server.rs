//! What the server's own program does about its configuration. This program links none of it, so it calls it.

use std::{
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Command, ExitStatus},
};

use clap::Args;

use crate::{
    session::Session,
    stop::{Outcome, Stop},
};

/// The server's program.
const PROGRAM: &str = "sealkeep";

/// Look for what would keep a server of this configuration from starting here
///
/// It looks at the machine, the configuration, the storage, seal, listeners with their certificates, and audit devices,
/// and starts nothing. Run it as the user that the server runs as. It is `sealkeep diagnose`, which must lie beside this
/// program or on the PATH. Exits with 0 if all is well, 2 if something is worth a look, 4 if a server would not start.
#[derive(Args, Debug)]
pub(crate) struct Diagnose {
    /// Configuration: a file, or a folder of files that end in .hcl or .json; repeatable [BAO_CONFIG_PATH]
    #[arg(long, value_name = "PATH")]
    config: Vec<PathBuf>,
    /// Leave something out: listener, storage or autounseal; repeatable
    #[arg(long, value_name = "WHAT")]
    skip: Vec<String>,
    /// Print all that is found, as is always done
    #[arg(long, hide = true)]
    debug: bool,
}

impl Diagnose {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let format = if session.output.is_table() { "table" } else { "json" };
        let mut words = paths(&self.config)?;
        words.extend(self.skip.iter().map(|what| format!("--skip={what}")));
        words.push(format!("--format={format}"));
        call("diagnose", &words)
    }
}

/// Say whether the configuration of a server is right
///
/// It is `sealkeep validate`, which must lie beside this program or on the PATH.
#[derive(Args, Debug)]
pub(crate) struct ValidateConfig {
    /// Configuration: a file, or a folder of files that end in .hcl or .json; repeatable
    #[arg(long, value_name = "PATH", required = true)]
    config: Vec<PathBuf>,
}

impl ValidateConfig {
    pub(crate) fn run(self) -> Outcome {
        call("validate", &paths(&self.config)?)
    }
}

fn paths(files: &[PathBuf]) -> Result<Vec<String>, Stop> {
    let word = |file: &PathBuf| {
        let text = file.to_str().ok_or_else(|| Stop::local("-config holds bytes that are not UTF-8"))?;
        Ok(format!("--config={text}"))
    };
    files.iter().map(word).collect()
}

fn call(verb: &str, words: &[String]) -> Outcome {
    // The one that was installed with this program goes before what the PATH finds.
    let beside =
        std::env::current_exe().ok().map(|own| own.with_file_name(PROGRAM)).filter(|file| file.exists());
    let program = beside.unwrap_or_else(|| PathBuf::from(PROGRAM));
    let ended = Command::new(&program).arg(verb).args(words).status().map_err(|e| {
        Stop::local(format!("{} cannot be run: {e}", program.display())).hint(format!(
            "This is done by the server's own program: run `{PROGRAM} {verb} {}` on the machine of the server.",
            words.join(" ").replace("--", "-")
        ))
    })?;
    Ok(code(ended))
}

/// Its exit code is ours.
fn code(ended: ExitStatus) -> u8 {
    let code = ended.code().or_else(|| Some(128 + ended.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(crate::stop::LOCAL)
}
