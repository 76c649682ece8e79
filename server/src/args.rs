//! The command line. Long flags may have one dash, as those of Vault and OpenBao do.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The Sealkeep server: keeps secrets, issues certificates, speaks the Vault API.
///
/// Without a command it runs a server of your own: HTTPS on 127.0.0.1:8200 (or $SEALKEEP_ADDRESS), its data in
/// $SEALKEEP_DATA or $XDG_DATA_HOME/sealkeep.
#[derive(Debug, Parser)]
#[command(name = "sealkeep", version = crate::VERSION, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server from configuration files, or for development.
    Server(Box<Server>),
    /// Check configuration files without starting anything.
    Validate(Files),
    /// Look for what would keep a server of this configuration from starting here, without starting it.
    ///
    /// Ends with 0 if all is well, 2 if something is worth a look, 4 if the server would not start, 3 without a configuration.
    Diagnose(Diagnose),
    /// Print the version.
    Version,
}

#[derive(Args, Debug)]
pub(crate) struct Files {
    /// A file, or a folder with files that end in .hcl or .json. Can be given several times.
    #[arg(long = "config", value_name = "PATH", required = true)]
    pub(crate) config: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Diagnose {
    /// A file, or a folder with files that end in .hcl or .json. Can be given several times. Also BAO_CONFIG_PATH.
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Vec<PathBuf>,

    /// How to print what is found.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    pub(crate) format: String,

    /// Leave something out, such as the listener of a server that runs. Can be given several times.
    #[arg(long, value_name = "WHAT", value_parser = ["listener", "storage", "autounseal"])]
    pub(crate) skip: Vec<String>,

    /// Accepted for compatibility: everything that is found is printed.
    #[arg(long, hide = true)]
    pub(crate) debug: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Server {
    /// A file, or a folder with files that end in .hcl or .json. Can be given several times.
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Vec<PathBuf>,

    /// How much to log: trace, debug, info, warn, error.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,

    /// How to log: standard or json.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,

    /// Log to this file.
    #[arg(long, value_name = "PATH")]
    pub(crate) log_file: Option<PathBuf>,

    /// For development: in memory, unsealed at once, with a root token. Nothing survives the end.
    #[arg(long)]
    pub(crate) dev: bool,

    #[command(flatten)]
    pub(crate) development: Development,

    /// Accepted for compatibility, with a warning: as the key `log_rotate_bytes` of a file.
    #[arg(long, value_name = "BYTES", hide = true)]
    pub(crate) log_rotate_bytes: Option<i64>,

    /// Accepted for compatibility, with a warning: as the key `log_rotate_duration` of a file.
    #[arg(long, value_name = "TIME", hide = true)]
    pub(crate) log_rotate_duration: Option<String>,

    /// Accepted for compatibility, with a warning: as the key `log_rotate_max_files` of a file.
    #[arg(long, value_name = "COUNT", hide = true, allow_negative_numbers = true)]
    pub(crate) log_rotate_max_files: Option<i64>,

    /// Accepted for compatibility: the server always ends when it cannot go on.
    #[arg(long, hide = true)]
    pub(crate) exit_on_core_shutdown: bool,
}

#[derive(Args, Debug, Default)]
pub(crate) struct Development {
    /// The root token of a development server. Also BAO_DEV_ROOT_TOKEN_ID.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) dev_root_token_id: Option<String>,

    /// Where a development server listens. Also BAO_DEV_LISTEN_ADDRESS.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) dev_listen_address: Option<String>,

    /// A development server with TLS, with a certificate of its own making.
    #[arg(long)]
    pub(crate) dev_tls: bool,

    /// Where that certificate and its CA are written.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dev_tls_cert_dir: Option<PathBuf>,

    /// One more name or address in that certificate.
    #[arg(long, value_name = "NAME")]
    pub(crate) dev_tls_san: Vec<String>,

    /// Leave the root token out of ~/.vault-token.
    #[arg(long)]
    pub(crate) dev_no_store_token: bool,

    /// Leave secret/ unmounted.
    #[arg(long)]
    pub(crate) dev_no_kv: bool,

    /// Accepted for compatibility: there is one kind of memory.
    #[arg(long, hide = true)]
    pub(crate) dev_transactional: bool,

    /// Accepted for compatibility.
    #[arg(long, hide = true)]
    pub(crate) dev_ha: bool,
}

/// Reads the command line of this process.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(arguments.into_iter().map(two_dashes))
}

/// `-config=x` becomes `--config=x`; `-h`, `-` and what has two dashes stay.
fn two_dashes(argument: OsString) -> OsString {
    let Some(text) = argument.to_str() else { return argument };
    match text.strip_prefix('-') {
        Some(flag) if flag.len() > 1 && !flag.starts_with('-') => format!("-{text}").into(),
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        read(line.split(' ').map(OsString::from))
    }

    #[test]
    fn one_dash_is_enough() {
        let cli = parsed("sealkeep server -config=/a -config /b -log-level=debug").unwrap();
        let Some(Command::Server(server)) = cli.command else { panic!("{cli:?}") };
        assert_eq!(server.config, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(server.log_level.as_deref(), Some("debug"));
        let cli =
            parsed("sealkeep server -dev -dev-root-token-id=root -dev-listen-address 127.0.0.1:1").unwrap();
        let Some(Command::Server(server)) = cli.command else { panic!("{cli:?}") };
        assert!(server.dev && !server.development.dev_tls);
        assert_eq!(server.development.dev_root_token_id.as_deref(), Some("root"));
    }

    #[test]
    fn nothing_is_the_first_run_and_nonsense_is_refused() {
        assert!(parsed("sealkeep").unwrap().command.is_none());
        assert!(parsed("sealkeep serve").is_err());
        assert!(parsed("sealkeep server -cfg=/a").is_err());
        assert!(parsed("sealkeep validate").is_err());
    }

    #[test]
    fn the_declaration_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
