//! Reading from the person or the pipe at standard input.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::stop::Stop;

/// What comes through a pipe must fit into one request.
const STDIN_SIZE_MAX: u64 = 32 * 1024 * 1024;

/// Asks at the terminal and reads one line without echo.
pub(crate) fn hidden(prompt: &str) -> Result<Zeroizing<String>, Stop> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Stop::local(format!(
            "{} cannot be asked for: standard input is not a terminal",
            prompt.split([':', '(']).next().unwrap_or_default().trim_end()
        ))
        .hint("Give it as an argument that is just `-` (or name=-) to read it from a pipe."));
    }
    let failed =
        |e: rustix::io::Errno| Stop::local(format!("The terminal cannot be switched to hidden input: {e}"));
    eprint!("{prompt}");
    // Without a flush the prompt may stay in the buffer; a terminal that is gone will fail the read below.
    let _ = io::stderr().flush();
    let shown = tcgetattr(&stdin).map_err(failed)?;
    let mut quiet = shown.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &quiet).map_err(failed)?;
    let mut line = Zeroizing::new(String::new());
    let read = stdin.lock().read_line(&mut line);
    let restored = tcsetattr(&stdin, OptionalActions::Now, &shown);
    eprintln!();
    read.map_err(|e| Stop::local(format!("The terminal cannot be read: {e}")))?;
    restored.map_err(failed)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Everything that comes through standard input, as text.
pub(crate) fn piped() -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::new());
    let read = io::stdin().lock().take(STDIN_SIZE_MAX + 1).read_to_string(&mut text);
    match read {
        Ok(size) if size as u64 > STDIN_SIZE_MAX => Err("standard input is larger than 32 MiB".to_owned()),
        Ok(_) => Ok(text),
        Err(e) => Err(format!("standard input cannot be read: {e}")),
    }
}
