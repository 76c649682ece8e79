//! Alerts as letters, which the machine's own mail program takes (`sendmail`, as postfix, exim, msmtp and others have it).

use std::{fmt::Write, path::PathBuf};

use super::world::Alert;

/// Where mail programs put it.
pub(crate) const SENDMAIL: &str = "/usr/sbin/sendmail";

/// Who gets letters, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) to: Vec<String>,
    /// The sender; nothing: the mail program's idea of it.
    pub(crate) from: Option<String>,
    pub(crate) program: PathBuf,
}

impl Mail {
    /// What the program is called with. `-i`: a line with a dot does not end the letter.
    pub(crate) fn words(&self) -> Vec<String> {
        let sender = self.from.iter().flat_map(|from| ["-f".to_owned(), from.clone()]);
        let start = ["-i".to_owned()].into_iter().chain(sender).chain(["--".to_owned()]);
        start.chain(self.to.iter().cloned()).collect()
    }

    /// The letter. What comes from elsewhere stands on one line each, so that nobody writes headers with it.
    pub(crate) fn letter(&self, alert: &Alert, host: &str) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &str| {
            let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{key}: {value}");
        };
        if let Some(from) = &self.from {
            line("From", from);
        }
        line("To", &self.to.join(", "));
        let event = alert.event.name();
        line("Subject", &format!("[keep agent] {event}: {} on {host}", alert.certificate));
        line("Auto-Submitted", "auto-generated");
        line("MIME-Version", "1.0");
        line("Content-Type", "text/plain; charset=utf-8");
        line("Content-Transfer-Encoding", "8bit");
        text.push('\n');
        let ends = alert.not_after.map(|at| at.to_string()).unwrap_or_default();
        let at = alert.at.to_string();
        for (key, value) in [
            ("Event", event),
            ("Certificate", alert.certificate.as_str()),
            ("Host", host),
            ("At", at.as_str()),
            ("The certificate held ends at", ends.as_str()),
        ] {
            let _ = writeln!(text, "{key}: {}", value.replace(['\r', '\n'], " "));
        }
        let _ = write!(text, "\n{}\n", alert.message);
        text
    }
}

/// Whether a text can stand as an address among a program's words and in a header.
pub(crate) fn is_address(text: &str) -> bool {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, ',' | ';' | '<' | '>' | '"');
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{moment::Moment, world::Event};

    #[test]
    fn a_letter_says_what_and_where_and_takes_no_headers_from_outside() {
        let mail = Mail {
            to: vec!["ops@example.internal".to_owned(), "root".to_owned()],
            from: Some("keep@h".to_owned()),
            program: SENDMAIL.into(),
        };
        let alert = Alert {
            event: Event::DeliveryFailed,
            certificate: "app\nBcc: all@example.com".to_owned(),
            message: "nginx does not reload\n.\nat all".to_owned(),
            not_after: Some(Moment::from_seconds(1_800_000_000)),
            at: Moment::from_seconds(1_799_990_000),
        };
        assert_eq!(mail.words(), ["-i", "-f", "keep@h", "--", "ops@example.internal", "root"]);
        let letter = mail.letter(&alert, "web-1");
        let (head, body) = letter.split_once("\n\n").expect("a head");
        assert_eq!(head.lines().count(), 7, "{head}");
        assert!(head.contains("Subject: [keep agent] delivery_failed: app Bcc: all@example.com on web-1"));
        assert!(!letter.lines().any(|line| line.starts_with("Bcc")), "{letter}");
        assert!(
            body.contains("nginx does not reload\n.\nat all") && body.contains("2027-01-15T08:00:00Z"),
            "{body}"
        );
        assert!(["ops@example.internal", "root"].into_iter().all(is_address));
        assert!(["", "-oQ/tmp", "a b", "a\nb", "a,b"].into_iter().all(|text| !is_address(text)));
    }
}
