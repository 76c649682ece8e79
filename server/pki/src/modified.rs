//! `If-Modified-Since`: what a client holds already is not sent again. A mount shows that header to this engine only where
//! its `passthrough_request_headers` name it.

use std::time::Duration;

use kit::{Reading, Reads, Reply, Result, Time};

use super::authorities::{DEFAULT, Issuer};

const ASKED: &str = "if-modified-since";
const TOLD: &str = "last-modified";

/// An answer that shows an issuer or what it signs.
pub(super) struct Shown<'a> {
    pub(super) issuer: &'a Issuer,
    /// How the caller named it. To whom a name or `default` leads may change, and then the answer is another though neither of
    /// the two has changed.
    pub(super) asked: &'a str,
    /// Which of its answers this is.
    pub(super) form: &'a str,
    /// What stands in it, or whatever is another where that is another.
    pub(super) stamp: &'a str,
}

impl Shown<'_> {
    /// Since when this server has had nothing else to show here. It remembers that, and does not store it: what it has
    /// forgotten counts as new, and is sent once more.
    fn since(&self, cx: &Reading<'_>) -> Result<Time> {
        let id = self.issuer.id.to_string();
        // An id has many spellings, and each would be remembered.
        let is_name = self.asked == DEFAULT || self.asked == self.issuer.record.name;
        let key = format!("since/{}/{}", self.form, if is_name { self.asked } else { &id });
        Ok(*cx.memo_stamped(&key, &format!("{id} {}", self.stamp), || Ok(cx.now()))?)
    }

    /// The answer, or 304 to who has asked for it since it came to be as it is.
    ///
    /// Dates of HTTP are whole seconds, and in one second there may be two changes. So a date counts only if it is later than
    /// the second of the change, and the date that is told is the first that does.
    pub(super) fn unless_held<T>(&self, cx: &Reading<'_>, reply: Reply<T>) -> Result<Reply<T>> {
        let since = self.since(cx)?;
        let Some(asked) = cx.remote().header(ASKED) else { return Ok(reply) };
        let settled = since.truncated().plus(Duration::from_secs(1));
        if settled <= cx.now() {
            cx.notes().header(TOLD, settled.http());
        }
        // A date that is none is to be overlooked (RFC 9110 §13.1.3).
        let is_held = Time::parse_http(asked.expose()).is_some_and(|held| held >= settled);
        Ok(if is_held { Reply::Raw { status: 304, kind: "", bytes: vec![] } } else { reply })
    }
}
