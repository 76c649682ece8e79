//! What lies outside of the agent's decisions: clock, dice, server, service, people. The simulation has its own.

use std::time::Duration;

use super::{deliver::Reload, log::Level, moment::Moment, probe::Place};
use crate::{
    call::Call,
    client::Reply,
    refused::{Answer, Refused},
    trouble,
};

/// The surroundings of an agent.
pub(crate) trait World {
    /// The time, as the server has it if that is known.
    fn now(&self) -> Moment;
    /// A number in [0, 1), by chance.
    fn chance(&self) -> f64;
    /// Asks the server.
    async fn ask(&self, call: Call) -> Result<Reply, Refused>;
    /// Makes the service take its new certificate.
    async fn reload(&self, how: &Reload) -> Result<(), String>;
    /// The certificate that is shown at a place, in DER.
    async fn served(&self, place: &Place) -> Result<Vec<u8>, String>;
    /// Lets a short time pass.
    async fn pause(&self, span: Duration);
    /// Tells people.
    fn alert(&self, alert: Alert);
    /// What this machine is called.
    fn host(&self) -> String;
    /// Writes one line for whoever reads the log.
    fn log(&self, level: Level, line: &str);
}

/// Something that a person must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alert {
    pub(crate) event: Event,
    pub(crate) certificate: String,
    pub(crate) message: String,
    pub(crate) not_after: Option<Moment>,
    pub(crate) at: Moment,
}

/// The kinds of alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The certificate could not be renewed several times in a row.
    RenewalFailed,
    /// The disk takes nothing.
    DiskFailed,
    /// The service does not take the new certificate; it has the old one.
    DeliveryFailed,
    /// The certificate lives too short for the outage budget.
    BudgetShort,
    /// What was wrong is right again.
    Recovered,
}

impl Event {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Event::RenewalFailed => "renewal_failed",
            Event::DiskFailed => "disk_failed",
            Event::DeliveryFailed => "delivery_failed",
            Event::BudgetShort => "budget_short",
            Event::Recovered => "recovered",
        }
    }
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) cause: Cause,
    pub(crate) step: Step,
    pub(crate) text: String,
    /// How long the server asks to be left alone.
    pub(crate) pause: Option<Duration>,
}

/// What was being done when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Proving who the agent is.
    Login,
    /// Anything else.
    Work,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No answer came.
    Unreachable,
    /// Somebody answers, and does not prove to be the server.
    Untrusted,
    /// Somebody answers, and TLS does not come about.
    Handshake,
    /// The server says no, with this status.
    Refused(u16),
    /// There is nothing to log in with, so the server was not asked.
    Unproven,
    /// The server said something that cannot be used.
    Wrong,
    /// The file system.
    Disk,
    /// The service does not take or show what it got.
    Service,
}

impl Cause {
    /// The word for metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Cause::Unreachable => "unreachable",
            Cause::Untrusted => "untrusted",
            Cause::Handshake => "handshake",
            Cause::Refused(429) => "limited",
            Cause::Refused(_) => "refused",
            Cause::Unproven => "no_credentials",
            Cause::Wrong => "wrong_answer",
            Cause::Disk => "disk",
            Cause::Service => "service",
        }
    }
}

impl Trouble {
    pub(crate) fn new(cause: Cause, text: impl Into<String>) -> Trouble {
        Trouble { cause, step: Step::Work, text: text.into(), pause: None }
    }

    pub(crate) fn disk(what: &str, error: &std::io::Error) -> Trouble {
        Trouble::new(Cause::Disk, format!("{what}: {error}"))
    }

    /// Whether the server does not accept the token.
    pub(crate) fn denied(&self) -> bool {
        matches!(self.cause, Cause::Refused(401 | 403))
    }

    /// Whether no answer of the server came.
    pub(crate) fn unanswered(&self) -> bool {
        matches!(self.cause, Cause::Unreachable | Cause::Untrusted | Cause::Handshake)
    }

    /// Whether the server is not there, or cannot answer anybody.
    pub(crate) fn lost(&self) -> bool {
        self.unanswered() || matches!(self.cause, Cause::Refused(500..))
    }

    /// What went wrong and what to do about it, on one line.
    pub(crate) fn advised(&self) -> String {
        let advice = match (self.cause, self.step) {
            (Cause::Untrusted, _) => {
                "; is ca_cert in vault { } the CA of this server, and are its certificate and this machine's clock good?"
            }
            (Cause::Handshake, _) => {
                "; do both speak TLS (https:// in vault { }), and does the server want a client certificate (client_cert, client_key)?"
            }
            (Cause::Unreachable, _) => "; does the server run, and is the address in vault { } right?",
            (Cause::Refused(400 | 403), Step::Login) => {
                "; are these the credentials of a role of this server, at this mount_path, and still good?"
            }
            (Cause::Refused(404), Step::Login) => {
                "; is there an auth method at this mount_path, in this namespace?"
            }
            (Cause::Refused(403), _) => {
                "; is the token of the agent still good, and do its policies allow this path?"
            }
            (Cause::Refused(429), _) => "; the agent comes back later",
            (Cause::Refused(500..), _) => "; is the server unsealed, and well?",
            (Cause::Disk, _) => "; is there room, and may the agent's user write there?",
            (Cause::Service, _) => {
                "; does it run, with the files below current/, is it the one at the address in verify { }, and may the agent reload it?"
            }
            (Cause::Refused(_) | Cause::Unproven | Cause::Wrong, _) => "",
        };
        format!("{}{advice}", self.text)
    }

    /// The same, as a login that failed.
    pub(crate) fn at_login(mut self) -> Trouble {
        self.step = Step::Login;
        self.during("logging in")
    }

    /// What went wrong, with what was tried before it.
    pub(crate) fn during(mut self, what: &str) -> Trouble {
        self.text = format!("{what}: {}", self.text);
        self
    }
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Trouble {
        match refused {
            Refused::Answer(answer) => Trouble {
                cause: Cause::Refused(answer.status),
                step: Step::Work,
                text: short(&answer),
                pause: answer.retry_after,
            },
            Refused::NoAnswer { ref trouble, .. } => {
                let cause = match trouble {
                    trouble::Trouble::Untrusted(_) | trouble::Trouble::Misnamed(_) => Cause::Untrusted,
                    trouble::Trouble::Tls(_)
                    | trouble::Trouble::NotTls
                    | trouble::Trouble::NotHttp
                    | trouble::Trouble::WantsCertificate
                    | trouble::Trouble::RefusedCertificate(_) => Cause::Handshake,
                    _ => Cause::Unreachable,
                };
                Trouble::new(cause, refused.to_string().replace('\n', " "))
            }
            other @ (Refused::Shown(_) | Refused::Local(_)) => Trouble::new(Cause::Wrong, other.to_string()),
        }
    }
}

/// A refusal on one line.
fn short(answer: &Answer) -> String {
    let errors = answer.errors.join("; ");
    // Go counts its errors and makes a list of them.
    let lines = errors.lines().map(|line| line.trim().trim_start_matches("* "));
    let lines: Vec<&str> = lines
        .filter(|line| {
            !line.is_empty() && !line.ends_with("error occurred:") && !line.ends_with("errors occurred:")
        })
        .collect();
    let errors = lines.join("; ");
    format!("{} {} answered {}: {errors}", answer.verb.name(), answer.url, answer.status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Verb;

    #[track_caller]
    fn check(trouble: trouble::Trouble, cause: Cause, advice: &str) {
        let refused = Refused::NoAnswer { verb: Verb::Get, url: "https://s".to_owned(), trouble };
        let trouble = Trouble::from(refused);
        assert_eq!(trouble.cause, cause);
        assert!(trouble.unanswered() && trouble.lost());
        assert!(trouble.advised().contains(advice), "{}", trouble.advised());
    }

    #[test]
    fn advice_follows_what_happened_and_not_how_it_is_worded() {
        check(trouble::Trouble::Untrusted("anything".to_owned()), Cause::Untrusted, "ca_cert");
        check(trouble::Trouble::Misnamed("anything".to_owned()), Cause::Untrusted, "ca_cert");
        check(trouble::Trouble::Tls("anything".to_owned()), Cause::Handshake, "client_cert");
        check(trouble::Trouble::NotTls, Cause::Handshake, "https://");
        check(trouble::Trouble::NotHttp, Cause::Handshake, "https://");
        check(
            trouble::Trouble::Refused("x509: logging in".to_owned()),
            Cause::Unreachable,
            "does the server run",
        );
        let refused =
            |step: fn(Trouble) -> Trouble| step(Trouble::new(Cause::Refused(403), "logging in")).advised();
        assert!(refused(Trouble::at_login).contains("credentials"));
        assert!(refused(|trouble| trouble).contains("policies"));
        assert!(refused(|trouble| trouble.at_login().during("reading a secret")).contains("credentials"));
    }
}
