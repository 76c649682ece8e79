//! The rules of matching, merging and judging as the reference tells them, word by word, without any cleverness.

use crate::generator::{Ask, Spec, SpecRule};
use policy::{Capability, ListLimit};
use serde_json::Value;

/// What the twin says to a request that it allows.
#[derive(Debug)]
pub(crate) struct Allowed {
    pub(crate) sudo: bool,
    pub(crate) list_limit: ListLimit,
    pub(crate) granting: Vec<String>,
}

/// A live rule with its full path and its policy's number.
struct Live<'a> {
    path: String,
    policy: usize,
    rule: &'a SpecRule,
}

pub(crate) fn decide(specs: &[Spec], ask: &Ask) -> Option<Allowed> {
    let live = live(specs, ask.now);
    let path = select(&live, &ask.path, ask.capability)?;
    let rules: Vec<&Live> = live.iter().filter(|one| one.path == path).collect();
    judge(&rules, ask)
}

pub(crate) fn capabilities(specs: &[Spec], path: &str, now: u64) -> Vec<&'static str> {
    let live = live(specs, now);
    let Some(selected) = select(&live, path, Capability::List) else { return vec!["deny"] };
    let mut words: Vec<&'static str> = Vec::new();
    for one in live.iter().filter(|one| one.path == selected) {
        words.extend(one.rule.capabilities.iter().map(|capability| capability.as_str()));
    }
    words.sort_unstable();
    words.dedup();
    if words.is_empty() || words.contains(&"deny") { vec!["deny"] } else { words }
}

fn live(specs: &[Spec], now: u64) -> Vec<Live<'_>> {
    let mut live = Vec::new();
    for (policy, spec) in specs.iter().enumerate() {
        for rule in &spec.rules {
            let rule_ends = rule.expiration.map(|seconds| seconds * 1_000_000_000);
            if [spec.expiration, rule_ends].into_iter().flatten().all(|end| now <= end) {
                let path = format!("{}{}", spec.namespace, rule.path.strip_prefix('/').unwrap_or(&rule.path));
                live.push(Live { path, policy, rule });
            }
        }
    }
    live
}

/// (1) exact; (2) for listings, exact without the slash; (3) the best with wildcards; (4) for listings, (3) again
/// without the slash.
fn select(live: &[Live], path: &str, capability: Capability) -> Option<String> {
    let bare = match capability {
        Capability::List | Capability::Scan => path.strip_suffix('/'),
        _ => None,
    };
    let exact =
        |path: &str| live.iter().map(|one| &one.path).find(|rule| !is_wild(rule) && *rule == path).cloned();
    exact(path).or_else(|| exact(bare?)).or_else(|| best(live, path)).or_else(|| best(live, bare?))
}

fn has_plus(rule: &str) -> bool {
    rule == "+" || rule.contains("/+") || rule.starts_with("+/")
}

fn is_wild(rule: &str) -> bool {
    rule.ends_with('*') || has_plus(rule)
}

/// Later position of the first wildcard; no star at the end; fewer `+`; longer; lexicographically greater.
fn best(live: &[Live], path: &str) -> Option<String> {
    let matching = live.iter().map(|one| &one.path).filter(|rule| is_wild(rule) && matches(rule, path));
    let rank = |rule: &&String| {
        let text = rule.strip_suffix('*').unwrap_or(rule);
        let is_glob = rule.ends_with('*');
        let first = if has_plus(rule) { text.find('+').unwrap() } else { text.len() };
        let pluses =
            if has_plus(rule) { text.split('/').filter(|segment| *segment == "+").count() } else { 0 };
        (first, !is_glob, usize::MAX - pluses, text.len(), text.to_owned())
    };
    matching.max_by_key(rank).cloned()
}

fn matches(rule: &str, path: &str) -> bool {
    let text = rule.strip_suffix('*').unwrap_or(rule);
    if !has_plus(rule) {
        return path.starts_with(text);
    }
    let (rule_segments, segments): (Vec<&str>, Vec<&str>) =
        (text.split('/').collect(), path.split('/').collect());
    let is_glob = rule.ends_with('*');
    if segments.len() < rule_segments.len() || !is_glob && segments.len() != rule_segments.len() {
        return false;
    }
    let last = rule_segments.len() - 1;
    (0..=last).all(|at| {
        let (rule, segment) = (rule_segments[at], segments[at]);
        rule == "+" || rule == segment || is_glob && at == last && segment.starts_with(rule)
    })
}

fn judge(rules: &[&Live], ask: &Ask) -> Option<Allowed> {
    let has = |wanted: Capability| rules.iter().any(|one| one.rule.capabilities.contains(&wanted));
    if has(Capability::Deny) || !has(ask.capability) || ask.needs_sudo && !has(Capability::Sudo) {
        return None;
    }
    if let Some(min) = rules.iter().filter_map(|one| one.rule.wrapping_min).min() {
        ask.wrap_ttl.filter(|ttl| ttl.as_secs() >= min)?;
    }
    if let Some(max) = rules.iter().filter_map(|one| one.rule.wrapping_max).min() {
        ask.wrap_ttl.filter(|ttl| ttl.as_secs() <= max)?;
    }
    let required: Vec<String> =
        rules.iter().flat_map(|one| &one.rule.required).map(|parameter| parameter.to_lowercase()).collect();
    let mut list_limit = ListLimit::AsAsked;
    match ask.capability {
        Capability::List | Capability::Scan => {
            let cap = rules.iter().filter_map(|one| one.rule.pagination_limit).min();
            if let Some(cap) = cap {
                list_limit = limit(cap, ask.parameters.get("limit"), required.contains(&"limit".to_owned()))?;
            }
        }
        Capability::Delete => {}
        _ => parameters(rules, &required, ask)?,
    }
    let granting = rules.iter().filter(|one| one.rule.capabilities.contains(&ask.capability));
    Some(Allowed {
        sudo: has(Capability::Sudo),
        list_limit,
        granting: granting.map(|one| format!("p{}", one.policy)).collect(),
    })
}

fn limit(cap: u64, asked: Option<&Value>, is_required: bool) -> Option<ListLimit> {
    let asked = match asked {
        None if is_required => return None,
        None => return Some(ListLimit::Set(cap)),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    match asked.as_str() {
        "max" | "0" => Some(ListLimit::Set(cap)),
        number => number.parse().ok().filter(|number: &u64| *number <= cap).map(|_| ListLimit::AsAsked),
    }
}

fn parameters(rules: &[&Live], required: &[String], ask: &Ask) -> Option<()> {
    let given = &ask.parameters;
    if !required.iter().all(|parameter| given.contains_key(parameter)) {
        return None;
    }
    // All values that the rules list for a parameter; an empty list among them stands for every value.
    let listed = |map: fn(&SpecRule) -> &std::collections::BTreeMap<String, Vec<Value>>, key: &str| {
        let lists: Vec<&Vec<Value>> = rules.iter().filter_map(|one| map(one.rule).get(key)).collect();
        let any = lists.iter().any(|list| list.is_empty());
        (!lists.is_empty()).then(|| (any, lists.into_iter().flatten().cloned().collect::<Vec<Value>>()))
    };
    for (key, value) in given {
        let key = key.to_lowercase();
        if listed(|rule| &rule.denied, "*").is_some() {
            return None;
        }
        if let Some((any, values)) = listed(|rule| &rule.denied, &key)
            && (any || values.iter().any(|one| fits(one, value)))
        {
            return None;
        }
    }
    if rules.iter().all(|one| one.rule.allowed.is_empty() || one.rule.allowed.keys().eq(["*"])) {
        return Some(());
    }
    for (key, value) in given {
        match listed(|rule| &rule.allowed, &key.to_lowercase()) {
            Some((any, values)) => {
                if !any && !values.iter().any(|one| fits(one, value)) {
                    return None;
                }
            }
            None => {
                listed(|rule| &rule.allowed, "*")?;
            }
        }
    }
    Some(())
}

fn fits(listed: &Value, value: &Value) -> bool {
    match (listed, value) {
        (Value::String(listed), Value::String(value)) => {
            let stars =
                (listed.len() > 1 && listed.starts_with('*'), listed.len() > 1 && listed.ends_with('*'));
            match stars {
                (true, true) => value.contains(&listed[1..listed.len() - 1]),
                (true, false) => value.ends_with(&listed[1..]),
                (false, true) => value.starts_with(&listed[..listed.len() - 1]),
                (false, false) => value == listed,
            }
        }
        (Value::Number(_), Value::Number(_)) => listed.as_f64() == value.as_f64(),
        _ => listed == value,
    }
}
