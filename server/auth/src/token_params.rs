//! What every method lets operators say of the tokens it makes.

use std::collections::BTreeSet;
use std::time::Duration;

use kit::loose::{Flag, Names, Number, Span, Text, Texts};
use kit::{Error, Result, Terms};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cidr::Block;

/// The parameters as requests bring them, each under its name after `token_`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct TokenFields {
    /// Addresses from which the tokens may be used; empty: any.
    pub(crate) bound_cidrs: Option<Texts>,
    /// How long the tokens live with all renewals, whatever else changes.
    pub(crate) explicit_max_ttl: Option<Span>,
    /// How long the tokens live with all renewals.
    pub(crate) max_ttl: Option<Span>,
    /// Leaves the policy `default` out.
    pub(crate) no_default_policy: Option<Flag>,
    /// How many requests the tokens are good for; 0: any number.
    pub(crate) num_uses: Option<Number>,
    /// Makes tokens that can be renewed for ever, each time for this long.
    pub(crate) period: Option<Span>,
    /// What the tokens may do.
    pub(crate) policies: Option<Names>,
    /// Ties each token to the address that logged in.
    pub(crate) strictly_bind_ip: Option<Flag>,
    /// How long the tokens live at first.
    pub(crate) ttl: Option<Span>,
    /// `default`, `service` or `batch`.
    pub(crate) r#type: Option<Text>,
}

/// The parameters as they are stored and shown. Times are in seconds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(crate) struct TokenParams {
    /// Addresses from which the tokens may be used; empty: any.
    pub(crate) token_bound_cidrs: Vec<String>,
    /// How long the tokens live with all renewals, whatever else changes.
    pub(crate) token_explicit_max_ttl: u64,
    /// How long the tokens live with all renewals.
    pub(crate) token_max_ttl: u64,
    /// The policy `default` is left out.
    pub(crate) token_no_default_policy: bool,
    /// How many requests the tokens are good for; 0: any number.
    pub(crate) token_num_uses: u64,
    /// Each renewal is for this long, without end; 0: no such tokens.
    pub(crate) token_period: u64,
    /// What the tokens may do.
    pub(crate) token_policies: Vec<String>,
    /// Each token is tied to the address that logged in.
    pub(crate) token_strictly_bind_ip: bool,
    /// How long the tokens live at first.
    pub(crate) token_ttl: u64,
    /// `default`, `service` or `batch`.
    pub(crate) token_type: TokenType,
}

/// What kind of tokens a method makes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TokenType {
    /// As the mount says.
    #[default]
    Default,
    /// Stored and renewable.
    Service,
    /// Self-contained.
    Batch,
}

impl TokenType {
    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Service => "service",
            Self::Batch => "batch",
        }
    }
}

/// Parameters that have an older name too. Those in the set were last given under it, and are shown under it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct OldNames(BTreeSet<String>);

impl OldNames {
    /// Puts a value that came under the older name where the newer one is looked for. The newer one wins.
    pub(crate) fn settle<T>(&mut self, name: &str, new: &mut Option<T>, old: Option<T>) {
        match (&new, old) {
            (None, None) => {}
            (Some(_), None) => drop(self.0.remove(name)),
            (Some(_), Some(_)) => drop(self.0.insert(name.to_owned())),
            (None, Some(old)) => {
                self.0.insert(name.to_owned());
                *new = Some(old);
            }
        }
    }

    /// The value to show under the older name, if it was last given so and is not empty.
    pub(crate) fn shown<T: Clone + Default + PartialEq>(&self, name: &str, value: &T) -> Option<T> {
        Some(value).filter(|value| self.0.contains(name) && **value != T::default()).cloned()
    }

    /// All values to show under their older names.
    pub(crate) fn all(&self, token: &TokenParams) -> OldShown {
        OldShown {
            bound_cidrs: self.shown("bound_cidrs", &token.token_bound_cidrs),
            max_ttl: self.shown("max_ttl", &token.token_max_ttl),
            num_uses: self.shown("num_uses", &token.token_num_uses),
            period: self.shown("period", &token.token_period),
            policies: self.shown("policies", &token.token_policies),
            ttl: self.shown("ttl", &token.token_ttl),
        }
    }

    /// Forgets that a value was given under its older name.
    pub(crate) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// What a request gives under the names without `token_`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct OldFields {
    /// The old name of `token_policies`.
    policies: Option<Names>,
    /// The old name of `token_num_uses`.
    num_uses: Option<Number>,
    /// The old name of `token_ttl`.
    ttl: Option<Span>,
    /// The old name of `token_max_ttl`.
    max_ttl: Option<Span>,
    /// The old name of `token_period`.
    period: Option<Span>,
    /// The old name of `token_bound_cidrs`.
    bound_cidrs: Option<Texts>,
}

/// The names without `token_`: old, and shown while they are used.
#[derive(JsonSchema, Serialize)]
pub(crate) struct OldShown {
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_cidrs: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_uses: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
}

impl TokenParams {
    /// Takes over what a request says under either kind of name. `late` is what is said if old names give a lifetime that is
    /// longer than the longest.
    ///
    /// # Errors
    /// With what does not fit together.
    pub(crate) fn take_over(
        &mut self,
        names: &mut OldNames,
        mut new: TokenFields,
        old: OldFields,
        late: &'static str,
    ) -> Result<()> {
        let lives = old.ttl.is_some() || old.max_ttl.is_some();
        names.settle("policies", &mut new.policies, old.policies);
        names.settle("num_uses", &mut new.num_uses, old.num_uses);
        names.settle("ttl", &mut new.ttl, old.ttl);
        names.settle("max_ttl", &mut new.max_ttl, old.max_ttl);
        names.settle("period", &mut new.period, old.period);
        names.settle("bound_cidrs", &mut new.bound_cidrs, old.bound_cidrs);
        self.apply(&new).map_err(|error| {
            let is_late = self.token_max_ttl != 0 && self.token_ttl > self.token_max_ttl;
            if lives && is_late { Error::invalid(late) } else { error }
        })
    }

    /// Takes over what a request says, and checks that it fits together.
    ///
    /// # Errors
    /// With what does not.
    pub(crate) fn apply(&mut self, fields: &TokenFields) -> Result<()> {
        if let Some(blocks) = &fields.bound_cidrs {
            self.token_bound_cidrs = addresses(blocks)?;
        }
        if let Some(Flag(flag)) = fields.no_default_policy {
            self.token_no_default_policy = flag;
        }
        if let Some(Flag(flag)) = fields.strictly_bind_ip {
            self.token_strictly_bind_ip = flag;
        }
        if let Some(names) = &fields.policies {
            self.token_policies = in_order(names);
        }
        for (field, span, place) in [
            ("token_explicit_max_ttl", fields.explicit_max_ttl, &mut self.token_explicit_max_ttl),
            ("token_max_ttl", fields.max_ttl, &mut self.token_max_ttl),
            ("token_period", fields.period, &mut self.token_period),
            ("token_ttl", fields.ttl, &mut self.token_ttl),
        ] {
            if let Some(span) = span {
                *place = seconds(field, span)?;
            }
        }
        if let Some(Text(name)) = &fields.r#type {
            self.token_type = match name.as_str() {
                "" | "default" => TokenType::Default,
                "service" => TokenType::Service,
                "batch" => TokenType::Batch,
                other => return Err(Error::invalid(format!("invalid 'token_type' value {other:?}"))),
            };
        }
        if let Some(Number(uses)) = fields.num_uses {
            let negative = |_| Error::invalid("'token_num_uses' cannot be negative");
            self.token_num_uses = u64::try_from(uses).map_err(negative)?;
        }
        self.check()
    }

    /// Refuses a period that is longer than the mount allows; `what` begins the refusal.
    ///
    /// # Errors
    /// If it is.
    pub(crate) fn check_period(&self, max: Duration, what: &str) -> Result<()> {
        let go = |seconds: u64| Span::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX)).go();
        if self.token_period <= max.as_secs() {
            return Ok(());
        }
        let (period, max) = (go(self.token_period), go(max.as_secs()));
        Err(Error::invalid(format!(
            "{what} of '\"{period}\"' is greater than the backend's maximum lease TTL of '\"{max}\"'"
        )))
    }

    fn check(&self) -> Result<()> {
        if self.token_strictly_bind_ip && !self.token_bound_cidrs.is_empty() {
            return Err(Error::invalid(
                "'token_strictly_bind_ip' conflicts with 'token_bound_cidrs'; set only one",
            ));
        }
        let batch = "'token_type' cannot be 'batch' or 'default_batch' when set to generate";
        if self.token_type == TokenType::Batch && self.token_period != 0 {
            return Err(Error::invalid(format!("{batch} periodic tokens")));
        }
        if self.token_type == TokenType::Batch && self.token_num_uses != 0 {
            return Err(Error::invalid(format!("{batch} tokens with limited use count")));
        }
        if self.token_max_ttl != 0 && self.token_ttl > self.token_max_ttl {
            return Err(Error::invalid("'token_ttl' cannot be greater than 'token_max_ttl'"));
        }
        Ok(())
    }

    /// The terms of a token.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            policies: self.token_policies.clone(),
            ttl: Duration::from_secs(self.token_ttl),
            max_ttl: Duration::from_secs(self.token_max_ttl),
            explicit_max_ttl: Duration::from_secs(self.token_explicit_max_ttl),
            period: Duration::from_secs(self.token_period),
            num_uses: self.token_num_uses,
            no_default_policy: self.token_no_default_policy,
            bound_cidrs: self.token_bound_cidrs.clone(),
            bind_ip: self.token_strictly_bind_ip,
            token_type: self.token_type.name().to_owned(),
            ..Terms::default()
        }
    }
}

/// Whole seconds of a span that must not be negative; a begun one counts.
///
/// # Errors
/// If it is.
pub(crate) fn seconds(field: &str, span: Span) -> Result<u64> {
    let seconds = span.seconds();
    let wrong = "cannot provide negative value";
    let refusal =
        |_| Error::invalid(format!("error converting input for field {field:?}: {wrong} '{seconds}'"));
    if span.0 < 0 { Err(refusal(())) } else { u64::try_from(span.begun_seconds()).map_err(|_| refusal(())) }
}

/// Names of policies, in lower case, each once, in the order in which they were said: clients compare what they read with that.
fn in_order(names: &Names) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let names = names.0.iter().map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty());
    names.filter(|name| seen.insert(name.clone())).collect()
}

/// Names of policies, in lower case, each once, sorted.
pub(crate) fn policies(names: &Names) -> Vec<String> {
    let names = names.0.iter().map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty());
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Addresses and blocks of them.
///
/// # Errors
/// With the first that is neither.
pub(crate) fn addresses(blocks: &Texts) -> Result<Vec<String>> {
    let blocks: Vec<String> = blocks.0.iter().filter(|text| !text.is_empty()).cloned().collect();
    match blocks.iter().find(|text| Block::parse_loosely(text).is_none()) {
        None => Ok(blocks.into_iter().map(shortened).collect()),
        Some(wrong) => Err(Error::invalid(format!(
            "error parsing address {wrong:?}: Unable to convert {wrong:?} to an IPv4 or IPv6 address, or a UNIX Socket"
        ))),
    }
}

/// A block of one address as that address, which is how it is shown.
fn shortened(block: String) -> String {
    match block.split_once('/') {
        Some((address, "32")) if !address.contains(':') => address.to_owned(),
        Some((address, "128")) if address.contains(':') => address.to_owned(),
        _ => block,
    }
}

/// Whether two lists name the same policies, `default` aside.
pub(crate) fn same_policies(one: &[String], other: &[String]) -> bool {
    let set =
        |names: &[String]| names.iter().filter(|name| *name != "default").cloned().collect::<BTreeSet<_>>();
    set(one) == set(other)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn apply(fields: Value) -> Result<TokenParams> {
        let mut params = TokenParams::default();
        params.apply(&serde_json::from_value(fields).unwrap())?;
        Ok(params)
    }

    #[track_caller]
    fn check_refused(fields: Value, expect: &str) {
        assert_eq!(apply(fields).unwrap_err().to_string(), expect);
    }

    #[test]
    fn parameters_are_read() {
        let fields = json!({"policies": "Dev, admin,dev,", "ttl": "1h", "max_ttl": 7200, "num_uses": "3",
            "bound_cidrs": ["10.1.2.3", "127.0.0.1/8", "::1"], "type": "service", "no_default_policy": "true"});
        let params = apply(fields).unwrap();
        assert_eq!(params.token_policies, ["dev", "admin"]);
        assert_eq!((params.token_ttl, params.token_max_ttl, params.token_num_uses), (3600, 7200, 3));
        assert_eq!(params.token_bound_cidrs, ["10.1.2.3", "127.0.0.1/8", "::1"]);
        let terms = params.terms();
        assert_eq!((terms.ttl, terms.token_type.as_str()), (Duration::from_secs(3600), "service"));
        assert!(terms.no_default_policy);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        check_refused(
            json!({"ttl": "2h", "max_ttl": "1h"}),
            "'token_ttl' cannot be greater than 'token_max_ttl'",
        );
        check_refused(json!({"num_uses": -1}), "'token_num_uses' cannot be negative");
        check_refused(json!({"type": "bogus"}), "invalid 'token_type' value \"bogus\"");
        let negative =
            "error converting input for field \"token_period\": cannot provide negative value '-1'";
        check_refused(json!({"period": "-1s"}), negative);
        let batch = "'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens";
        check_refused(json!({"type": "batch", "period": 3}), batch);
        let batch = "'token_type' cannot be 'batch' or 'default_batch' when set to generate tokens with limited use count";
        check_refused(json!({"type": "batch", "num_uses": 3}), batch);
        let address = "error parsing address \"bogus\": Unable to convert \"bogus\" to an IPv4 or IPv6 address, or a UNIX Socket";
        check_refused(json!({"bound_cidrs": "bogus"}), address);
    }

    #[test]
    fn older_names_are_echoed_while_they_are_used() {
        let mut names = OldNames::default();
        let mut settle = |new: Option<u64>, old: Option<u64>| {
            let mut value = new;
            names.settle("ttl", &mut value, old);
            (value, names.shown("ttl", &value.unwrap_or_default()))
        };
        assert_eq!(settle(None, Some(5)), (Some(5), Some(5)));
        assert_eq!(settle(Some(6), Some(5)), (Some(6), Some(6)));
        assert_eq!(settle(Some(7), None), (Some(7), None));
        assert_eq!(settle(None, Some(0)), (Some(0), None));
    }
}
