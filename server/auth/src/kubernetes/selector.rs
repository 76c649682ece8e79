use std::collections::BTreeMap;

use serde::Deserialize;

/// Which labels a namespace must have: a label selector of Kubernetes, in JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Selector {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
    #[serde(default)]
    match_expressions: Vec<Expression>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expression {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Reads it. A selector that would select everything is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let selector: Self = serde_json::from_str(text).ok()?;
        let whole = |it: &Expression| {
            matches!(it.operator, Operator::In | Operator::NotIn) != it.values.is_empty()
                && !it.key.is_empty()
        };
        let empty = selector.match_labels.is_empty() && selector.match_expressions.is_empty();
        (!empty && selector.match_expressions.iter().all(whole)).then_some(selector)
    }

    /// Whether it selects what has these labels.
    pub(super) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let fits = |it: &Expression| match (it.operator, labels.get(&it.key)) {
            (Operator::In, value) => value.is_some_and(|value| it.values.contains(value)),
            (Operator::NotIn, value) => value.is_none_or(|value| !it.values.contains(value)),
            (Operator::Exists, value) => value.is_some(),
            (Operator::DoesNotExist, value) => value.is_none(),
        };
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(selector: &str, labels: &[(&str, &str)], expect: Option<bool>) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let came = Selector::parse(selector).map(|selector| selector.selects(&labels));
        assert_eq!(came, expect, "{selector}");
    }

    #[test]
    fn labels_are_selected() {
        let labels = [("env", "prod"), ("team", "a")];
        check(r#"{"matchLabels":{"env":"prod"}}"#, &labels, Some(true));
        check(r#"{"matchLabels":{"env":"prod","team":"b"}}"#, &labels, Some(false));
        let one = |operator: &str, key: &str, values: &str| {
            format!(r#"{{"matchExpressions":[{{"key":"{key}","operator":"{operator}","values":{values}}}]}}"#)
        };
        check(&one("In", "env", r#"["dev","prod"]"#), &labels, Some(true));
        check(&one("In", "none", r#"["dev"]"#), &labels, Some(false));
        check(&one("NotIn", "env", r#"["prod"]"#), &labels, Some(false));
        check(&one("NotIn", "none", r#"["prod"]"#), &labels, Some(true));
        check(&one("Exists", "team", "[]"), &labels, Some(true));
        check(&one("DoesNotExist", "team", "[]"), &labels, Some(false));
        for wrong in [
            "",
            "{}",
            "zz",
            "env: prod",
            r#"{"matchLabel":{}}"#,
            &one("In", "a", "[]"),
            &one("Is", "a", "[]"),
        ] {
            check(wrong, &labels, None);
        }
    }
}
