use clap::Args;
use serde_json::Value;

use crate::{
    call::Call,
    doc::escape_for_pages,
    output::say,
    paths,
    session::Session,
    stop::{Outcome, Stop},
};

/// Print the server's help for a path
#[derive(Args, Debug)]
pub(crate) struct PathHelp {
    /// Path to explain
    path: String,
}

impl PathHelp {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let call = Call::get(&path).query("help", "1");
        let help = session.client.bare(call).await.map_err(|e| e.during("Error retrieving help"))?;
        if session.output.is_table() {
            let text = help.get("help").and_then(Value::as_str);
            let text = text.ok_or_else(|| Stop::remote(format!("The server has no help for {path}")))?;
            say(text.trim_end());
            return Ok(0);
        }
        // For programs the description itself, in one line.
        let described = help.get("openapi").unwrap_or(&Value::Null);
        match session.output.format {
            crate::output::Format::Json => say(escape_for_pages(&described.to_string())),
            _ => return session.output.doc(&described.clone().into()),
        }
        Ok(0)
    }
}
