//! Random policies and requests over a small world, so that rules meet.

use policy::Capability;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A policy, as its author means it.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) namespace: &'static str,
    pub(crate) as_json: bool,
    pub(crate) expiration: Option<u64>,
    pub(crate) rules: Vec<SpecRule>,
}

#[derive(Clone, Debug)]
pub(crate) struct SpecRule {
    pub(crate) path: String,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) allowed: BTreeMap<String, Vec<Value>>,
    pub(crate) denied: BTreeMap<String, Vec<Value>>,
    pub(crate) required: Vec<String>,
    pub(crate) wrapping_min: Option<u64>,
    pub(crate) wrapping_max: Option<u64>,
    pub(crate) pagination_limit: Option<u64>,
    /// Seconds since 1970.
    pub(crate) expiration: Option<u64>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) path: String,
    pub(crate) capability: Capability,
    pub(crate) needs_sudo: bool,
    pub(crate) parameters: Map<String, Value>,
    pub(crate) wrap_ttl: Option<Duration>,
    /// Nanoseconds since 1970.
    pub(crate) now: u64,
}

impl Spec {
    pub(crate) fn to_hcl(&self) -> String {
        self.rules.iter().map(|rule| format!("path {:?} {{\n{}}}\n", rule.path, rule.lines(" = "))).collect()
    }

    pub(crate) fn to_json(&self) -> String {
        let blocks = self.rules.iter().map(|rule| {
            let lines = rule.lines("\": ");
            let pairs: Vec<String> = lines.lines().map(|line| format!("\"{}", line.trim())).collect();
            format!("{{{:?}: {{{}}}}}", rule.path, pairs.join(", "))
        });
        format!("{{\"path\": [{}]}}", blocks.collect::<Vec<_>>().join(",\n"))
    }
}

impl SpecRule {
    /// One attribute on each line. JSON values are HCL values here, but for the sign between key and value.
    fn lines(&self, is: &str) -> String {
        let mut lines = String::new();
        let mut line = |key: &str, value: String| lines.push_str(&format!("  {key}{is}{value}\n"));
        let map = |map: &BTreeMap<String, Vec<Value>>| {
            let pairs = map.iter().map(|(key, values)| match is {
                " = " => format!("{key:?} = {}", json!(values)),
                _ => format!("{key:?}: {}", json!(values)),
            });
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        };
        line("capabilities", json!(self.capabilities).to_string());
        if !self.allowed.is_empty() {
            line("allowed_parameters", map(&self.allowed));
        }
        if !self.denied.is_empty() {
            line("denied_parameters", map(&self.denied));
        }
        if !self.required.is_empty() {
            line("required_parameters", json!(self.required).to_string());
        }
        for (key, value) in [
            ("min_wrapping_ttl", self.wrapping_min),
            ("max_wrapping_ttl", self.wrapping_max),
            ("pagination_limit", self.pagination_limit),
            ("expiration", self.expiration),
        ] {
            if let Some(value) = value {
                line(key, value.to_string());
            }
        }
        lines
    }
}

fn path() -> impl Strategy<Value = String> {
    let segment = select(vec!["a", "b", "ab", "+", "+"]);
    let end = select(vec!["", "", "", "/", "/*", "/*", "*"]);
    let usual = (prop::collection::vec(segment, 1..4), end).prop_map(|(segments, end)| {
        let path = format!("{}{end}", segments.join("/"));
        if path.ends_with("+*") { path.trim_end_matches('*').to_owned() } else { path }
    });
    let odd = select(vec!["*", "a*b", "a/+b", "a+/b", "/a/b", "+", "", "a//b"]).prop_map(str::to_owned);
    prop_oneof![12 => usual, 1 => odd]
}

fn capabilities() -> impl Strategy<Value = Vec<Capability>> {
    use Capability::{Create, Delete, Deny, List, Patch, Read, Scan, Sudo, Update};
    let some = subsequence(vec![Create, Delete, List, Patch, Read, Scan, Sudo, Update], 0..=8);
    prop_oneof![8 => some, 1 => Just(vec![Read, Deny, List])]
}

fn listed_value() -> impl Strategy<Value = Value> {
    select(vec![
        json!("a"),
        json!("a*"),
        json!("*b"),
        json!("*a*"),
        json!("*"),
        json!(1),
        json!(true),
        json!(["a"]),
    ])
}

fn value_lists() -> impl Strategy<Value = BTreeMap<String, Vec<Value>>> {
    let key = select(vec!["x", "y", "*"]).prop_map(str::to_owned);
    let lists = prop::collection::btree_map(key, prop::collection::vec(listed_value(), 0..3), 1..3);
    prop_oneof![3 => Just(BTreeMap::new()), 2 => lists]
}

fn sometimes<T: std::fmt::Debug + Clone>(
    values: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    prop_oneof![5 => Just(None), 1 => values.prop_map(Some)]
}

fn rule() -> impl Strategy<Value = SpecRule> {
    let required = subsequence(vec!["x".to_owned(), "Y".to_owned(), "limit".to_owned()], 0..=1);
    let required = prop_oneof![4 => Just(Vec::new()), 1 => required];
    let wrapping = (sometimes(1_u64..20), sometimes(20_u64..40));
    (
        path(),
        capabilities(),
        value_lists(),
        value_lists(),
        required,
        wrapping,
        sometimes(1_u64..6),
        sometimes(1_u64..4),
    )
        .prop_map(
            |(path, capabilities, allowed, denied, required, wrapping, pagination_limit, expiration)| {
                SpecRule {
                    path,
                    capabilities,
                    allowed,
                    denied,
                    required,
                    wrapping_min: wrapping.0,
                    wrapping_max: wrapping.1,
                    pagination_limit,
                    expiration,
                }
            },
        )
}

pub(crate) fn policies() -> impl Strategy<Value = Vec<Spec>> {
    let namespace = select(vec!["", "", "", "a/"]);
    let expiration = sometimes((1_u64..4).prop_map(|seconds| seconds * 1_000_000_000));
    let policy = (namespace, any::<bool>(), expiration, prop::collection::vec(rule(), 1..7));
    let policy = policy.prop_map(|(namespace, as_json, expiration, rules)| Spec {
        namespace,
        as_json,
        expiration,
        rules,
    });
    prop::collection::vec(policy, 1..4)
}

pub(crate) fn ask() -> impl Strategy<Value = Ask> {
    use Capability::{Create, Delete, List, Patch, Read, Scan, Update};
    let capability = select(vec![Create, Delete, List, List, Patch, Read, Scan, Update, Update]);
    let path = prop::collection::vec(select(vec!["a", "b", "ab", "c"]), 1..4);
    let limit = select(vec![
        json!("max"),
        json!(0),
        json!("0"),
        json!(3),
        json!("5"),
        json!(-1),
        json!("z"),
        json!([1]),
    ]);
    let value = select(vec![
        json!("a"),
        json!("ab"),
        json!("b"),
        json!(1),
        json!(1.0),
        json!(true),
        json!(["a"]),
        json!(null),
    ]);
    let key = select(vec!["x", "X", "y", "z"]).prop_map(str::to_owned);
    let parameters = (prop::collection::btree_map(key, value, 0..3), sometimes(limit));
    let wrap_ttl =
        prop_oneof![2 => Just(None), 1 => (1_u64..45).prop_map(|ttl| Some(Duration::from_secs(ttl)))];
    let now = (0_u64..5, 0_u64..2).prop_map(|(seconds, nanos)| seconds * 1_000_000_000 + nanos);
    let asked = (capability, path, any::<bool>(), prop::bool::weighted(0.1), parameters, wrap_ttl, now);
    asked.prop_map(|(capability, path, is_folder, needs_sudo, (parameters, limit), wrap_ttl, now)| {
        let mut path = path.join("/");
        if is_folder && matches!(capability, List | Scan | Read) {
            path.push('/');
        }
        let mut parameters: Map<String, Value> = parameters.into_iter().collect();
        if let Some(limit) = limit {
            parameters.insert("limit".to_owned(), limit);
        }
        Ask { path, capability, needs_sudo, parameters, wrap_ttl, now }
    })
}
