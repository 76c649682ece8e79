use std::borrow::Cow;

use kernel::Answer;
use serde::Serialize;

use super::status::written;
use super::{Phase, State};

/// What `sys/health` answers. The order of the fields is the one that clients print.
#[derive(Serialize)]
struct Health<'a> {
    initialized: bool,
    sealed: bool,
    standby: bool,
    performance_standby: bool,
    replication_performance_mode: &'static str,
    replication_dr_mode: &'static str,
    server_time_utc: u64,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<&'a str>,
}

type Pairs = [(Cow<'static, str>, Cow<'static, str>)];

/// The status of each state, each of which a load balancer may want otherwise. Those of replicas are read too:
/// a wrong number there is as wrong as here.
const CODES: [(&str, u16); 6] = [
    ("activecode", 200),
    ("standbycode", 429),
    ("sealedcode", 503),
    ("uninitcode", 501),
    ("drsecondarycode", 472),
    ("performancestandbycode", 473),
];

impl State {
    /// `GET sys/health`
    pub(super) fn health(&self, query: &Pairs) -> Answer {
        let mut codes = CODES;
        for (name, value) in query {
            // There is no standby, so the wish changes nothing; what is no wish is refused all the same.
            if name == "standbyok" && !is_flag(value) {
                return refused();
            }
            if let Some((_, code)) = codes.iter_mut().find(|(known, _)| known == name) {
                match code_of(value) {
                    Some(wanted) => *code = wanted,
                    None => return refused(),
                }
            }
        }
        let [(_, active), _, (_, sealed), (_, blank), ..] = codes;
        let phase = self.phase();
        let (status, kernel) = match &**phase {
            Phase::Blank => (blank, None),
            Phase::Sealed(_) => (sealed, None),
            Phase::Open { kernel, .. } => (active, Some(kernel)),
        };
        let modes = match (kernel, self.facts.clusters) {
            (None, _) => ("unknown", "unknown"),
            (Some(_), true) => ("primary", "disabled"),
            (Some(_), false) => ("disabled", "disabled"),
        };
        let health = Health {
            initialized: !matches!(&**phase, Phase::Blank),
            sealed: kernel.is_none(),
            standby: kernel.is_none(),
            performance_standby: false,
            replication_performance_mode: modes.0,
            replication_dr_mode: modes.1,
            server_time_utc: crate::world::now().seconds(),
            version: &self.facts.version,
            cluster_name: kernel.map(|kernel| kernel.cluster_name()),
            cluster_id: kernel.map(|kernel| kernel.cluster_id()),
        };
        written(status, &health)
    }
}

/// A question that cannot be meant.
fn refused() -> Answer {
    Answer::json(400, b"{\"errors\":[]}\n".to_vec())
}

/// The words for yes and no that clients know; none is yes.
fn is_flag(text: &str) -> bool {
    let words = ["", "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];
    words.contains(&text)
}

/// A status that can be sent: with one below 200 there would be no end of the answer.
fn code_of(text: &str) -> Option<u16> {
    text.parse().ok().filter(|code| (200..=599).contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_final_status() {
        assert_eq!(code_of("299"), Some(299));
        for bad in ["", "abc", "0", "99", "101", "600", "1000", "-200", "200.0"] {
            assert_eq!(code_of(bad), None, "{bad}");
        }
    }
}
