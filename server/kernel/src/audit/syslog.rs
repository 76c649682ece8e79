use std::io::{self, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use kit::{Error, Result, Time};

use crate::audit::options::Given;
use crate::audit::queue::{Carrier, Failure};
use crate::audit::socket::{datagrams, too_long};

/// How long one line may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// Where daemons listen, on this system or that.
const PLACES: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// Severity: informational.
const INFO: u8 = 6;

/// The facilities, in the order of their numbers.
const FACILITIES: [&str; 24] = [
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP",
    "NTP", "AUDIT", "ALERT", "CLOCK", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6",
    "LOCAL7",
];

/// How a device of type `syslog` speaks.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    priority: u8,
    tag: String,
    /// Where the daemon listens, if not in one of the usual places. Ours; OpenBao knows only those.
    address: Option<String>,
}

impl Voice {
    /// Reads the options of a syslog device.
    pub(crate) fn read(given: &Given<'_>) -> Result<Self> {
        let facility = Some(given.text("facility")).filter(|name| !name.is_empty()).unwrap_or("AUTH");
        let number = FACILITIES.iter().zip(0_u8..).find(|(name, _)| name.eq_ignore_ascii_case(facility));
        let Some((_, number)) = number else {
            let text = format!("invalid syslog facility: {facility}; it is one of {}", FACILITIES.join(", "));
            return Err(Error::invalid(text));
        };
        let tag = Some(given.text("tag")).filter(|tag| !tag.is_empty()).unwrap_or("vault");
        if tag.chars().any(char::is_control) {
            return Err(Error::invalid(
                "the audit option \"tag\" holds a control character; take a plain word",
            ));
        }
        let address = Some(given.text("address")).filter(|address| !address.is_empty());
        Ok(Self { priority: number << 3 | INFO, tag: tag.to_owned(), address: address.map(str::to_owned) })
    }

    /// A line as daemons of this machine read it: RFC 3164 without the host's name.
    fn frame(&self, line: &[u8], now: Time) -> Vec<u8> {
        let mut out =
            format!("<{}>{} {}[{}]: ", self.priority, stamp(now), self.tag, std::process::id()).into_bytes();
        out.extend_from_slice(line);
        out
    }
}

/// `Nov  6 18:47:11`, in UTC.
fn stamp(now: Time) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = now.truncated().rfc3339();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let month = part(5, 7).parse().ok().and_then(|number: usize| MONTHS.get(number.checked_sub(1)?));
    let day: u8 = part(8, 10).parse().unwrap_or(0);
    format!("{} {day:>2} {}", month.copied().unwrap_or("Jan"), part(11, 19))
}

/// A connection to the daemon, made when it is needed.
pub(crate) struct Syslog {
    voice: Voice,
    daemon: Option<Daemon>,
}

enum Daemon {
    Datagrams(UnixDatagram),
    Stream(UnixStream),
}

impl Syslog {
    pub(crate) fn new(voice: Voice) -> Self {
        Self { voice, daemon: None }
    }

    fn dial(&self) -> io::Result<Daemon> {
        let own = self.voice.address.as_deref();
        let places = own.into_iter().chain(PLACES.into_iter().filter(|_| own.is_none()));
        for place in places {
            if let Ok(socket) = datagrams(place, TIMEOUT) {
                return Ok(Daemon::Datagrams(socket));
            }
            if let Ok(stream) = UnixStream::connect(place) {
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(Daemon::Stream(stream));
            }
        }
        Err(io::Error::other("Unix syslog delivery error"))
    }

    fn try_carry(&mut self, framed: &[u8]) -> io::Result<()> {
        let daemon = match self.daemon.take() {
            Some(daemon) => daemon,
            None => self.dial()?,
        };
        match &daemon {
            Daemon::Datagrams(socket) => socket.send(framed).map(drop)?,
            Daemon::Stream(stream) => (&*stream).write_all(framed)?,
        }
        self.daemon = Some(daemon);
        Ok(())
    }
}

impl Carrier for Syslog {
    fn carry(&mut self, line: &[u8], now: Time) -> Result<(), Failure> {
        let framed = self.voice.frame(line, now);
        let kept = self.daemon.is_some();
        let carried = match self.try_carry(&framed) {
            // A daemon that was started anew listens on a new socket.
            Err(error) if kept && !too_long(&error) => self.try_carry(&framed),
            carried => carried,
        };
        carried.map_err(|error| match too_long(&error) {
            true => Failure::Line(error),
            false => Failure::Carrier(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_framed_as_daemons_read_it() {
        let voice = Voice { priority: 19 << 3 | INFO, tag: "mytag".to_owned(), address: None };
        let framed = voice.frame(b"{}\n", Time::from_seconds(1_794_055_631));
        let expect = format!("<158>Nov  7 12:47:11 mytag[{}]: {{}}\n", std::process::id());
        assert_eq!(String::from_utf8(framed).unwrap(), expect);
    }
}
