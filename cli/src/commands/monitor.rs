use clap::Args;

use crate::{call::Call, output::raw, session::Session, stop::Outcome};

/// Print the log of the server as it is written, until interrupted
#[derive(Args, Debug)]
pub(crate) struct Monitor {
    /// Least level to print: trace, debug, info, warn or error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// Form of the lines: standard or json
    #[arg(long, value_name = "FORMAT", default_value = "standard")]
    log_format: String,
}

impl Monitor {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let call =
            Call::get("sys/monitor").query("log_level", self.log_level).query("log_format", self.log_format);
        let print = |piece: &[u8]| raw(&String::from_utf8_lossy(piece));
        session.client.stream(call, print).await.map_err(|e| e.during("Error starting monitor"))?;
        Ok(0)
    }
}
