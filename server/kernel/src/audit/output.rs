//! The output of the server as an audit device. Whoever reads it may stop reading, and then writing to it waits for ever:
//! so it has a queue, and the thread of the queue waits in place of the requests.

use std::io::{self, Write};
use std::time::Duration;

use kit::Time;

use crate::audit::queue::{Carrier, Failure};

/// How long a request waits for it at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Carries lines to standard output.
pub(crate) struct Output;

impl Carrier for Output {
    fn carry(&mut self, line: &[u8], _: Time) -> Result<(), Failure> {
        io::stdout().lock().write_all(line).map_err(Failure::Carrier)
    }
}
