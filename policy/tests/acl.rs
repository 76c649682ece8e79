//! The rules as a whole: ranking, merging, sudo, wrapping, expiry, templates, namespaces, and what is told of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on must stop")]

use policy::{
    Acl, Alias, AnyCase, Capability, Denied, Group, ListLimit, NoParameters, Parameters, Path, Permit,
    Policy, Question, Subject, Unreadable, Verdict, explain,
};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::time::Duration;

use Capability::{Create, Delete, List, Read, Scan, Sudo, Update};

const SECOND: u64 = 1_000_000_000;

fn acl(texts: &[&str]) -> Acl {
    acl_of(texts, &Subject::default())
}

fn acl_of(texts: &[&str], subject: &Subject) -> Acl {
    let policies: Vec<Policy> =
        texts.iter().enumerate().map(|(at, text)| Policy::parse(&format!("p{at}"), text).unwrap()).collect();
    let pairs: Vec<(&str, &Policy)> = policies.iter().map(|policy| ("", policy)).collect();
    Acl::compile(&pairs, subject, 0)
}

struct Asked<'a>(Question<'a>);

fn ask(path: &Path, capability: Capability) -> Asked<'_> {
    Asked(Question {
        path,
        any_case: None,
        or_bare: false,
        capability,
        needs_sudo: false,
        parameters: &NoParameters,
        wrap_ttl: None,
        now: 0,
    })
}

impl<'a> Asked<'a> {
    fn with(self, parameters: &'a dyn Parameters) -> Self {
        Self(Question { parameters, ..self.0 })
    }

    fn wrapped(self, seconds: u64) -> Self {
        Self(Question { wrap_ttl: Some(Duration::from_secs(seconds)), ..self.0 })
    }

    fn protected(self) -> Self {
        Self(Question { needs_sudo: true, ..self.0 })
    }

    fn of(self, acl: &Acl) -> Result<Permit, Denied> {
        acl.permit(&self.0)
    }
}

fn path(text: &str) -> Path {
    Path::internal(text).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[track_caller]
fn wins(asked: &str, winner: &str, loser: &str) {
    for texts in [[winner, loser], [loser, winner]] {
        let rules = texts.map(|rule| {
            let grants = if rule == winner { "read" } else { "deny" };
            format!("path \"{rule}\" {{ capabilities = [\"{grants}\"] }}")
        });
        let acl = acl(&[&rules.concat()]);
        assert!(acl.allows(asked, Read, 0), "for {asked}, {winner} beats {loser}");
    }
}

#[test]
fn the_closest_rule_decides() {
    wins("a/b/c", "a/b/c", "a/b/c*");
    wins("a/b/c", "a/b/c", "a/+/c");
    wins("a/b/c", "a/b/*", "a/+/c");
    wins("a/b/c", "a/+/c", "a/+/*");
    wins("a/b/c", "a/+/c", "a/*");
    wins("a/b/c", "a/b/+", "a/b/*");
    wins("a/b/c", "a/b/*", "a/b*");
    wins("a/b/c", "a/+/+", "a/+/c*");
    wins("a/b/c", "a/*", "+/b/c");
    wins("a/b/c", "a/*", "a/+/*");
    wins("a/b/c", "a/+/c", "a/+/+");
    wins("a/b/c", "a/+/c*", "a/+/*");
    wins("a/b/c", "a/b*", "a/*");
    wins("a/b/c", "a/b/c*", "a/b/c*x*");
}

#[test]
fn a_listing_is_tried_without_its_slash_last() {
    let denied = "path \"kv/m/*\" { capabilities = [\"list\", \"scan\"] }";
    for (narrower, expect) in [
        ("kv/m/r/*", false),
        ("kv/m/r", false),
        ("kv/m/r/", false),
        ("kv/m/+/", false),
        ("kv/m/r/+", false),
        ("kv/m/+", true),
        ("kv/m/r/x", true),
        ("kv/m/*/", true),
    ] {
        let acl = acl(&[denied, &format!("path \"{narrower}\" {{ capabilities = [\"deny\"] }}")]);
        for capability in [List, Scan] {
            assert_eq!(acl.allows("kv/m/r/", capability, 0), expect, "{capability} with deny on {narrower}");
        }
        // The empty segment after the last slash is a segment, so `+` stands for it too.
        assert_eq!(acl.allows("kv/m/", List, 0), narrower != "kv/m/+", "deny on {narrower}");
    }
    let acl = acl(&[
        "path \"kv/m\" { capabilities = [\"list\", \"read\"] } path \"k\" { capabilities = [\"scan\"] }",
    ]);
    assert!(acl.allows("kv/m/", List, 0));
    assert!(!acl.allows("kv/m/", Read, 0), "only listings are tried without the slash");
    assert!(acl.allows("k/", Scan, 0));
}

#[test]
fn rules_of_several_policies_for_one_path_are_merged() {
    let all = acl(&[
        "path \"a\" { capabilities = [\"read\"] min_wrapping_ttl = 20 max_wrapping_ttl = 90 pagination_limit = 9 }",
        "path \"a\" { capabilities = [\"update\", \"list\"] min_wrapping_ttl = 10 max_wrapping_ttl = \"2m\" }",
        "path \"/a\" { policy = \"read\" pagination_limit = 5 mfa_methods = [\"m1\", \"m2\"] }",
        "path \"a\" { capabilities = [\"sudo\"] mfa_methods = [\"m2\", \"m3\"] }",
        "path \"b\" { capabilities = [\"delete\"] }",
    ]);
    assert_eq!(all.capabilities("a", 0), ["list", "read", "sudo", "update"]);
    let path = path("a");
    assert!(ask(&path, Read).wrapped(9).of(&all).is_err());
    assert!(ask(&path, Read).wrapped(91).of(&all).is_err());
    assert!(ask(&path, Read).of(&all).is_err());
    let permit = ask(&path, Read).wrapped(10).of(&all).unwrap();
    assert!(permit.sudo() && !permit.root_policy());
    assert_eq!(permit.mfa_methods(), ["m1", "m2", "m3"]);
    let granting: Vec<_> = permit.granting_policies().map(|one| &*one.policy).collect();
    assert_eq!(granting, ["p0", "p2"]);
    assert_eq!(ask(&path, List).wrapped(50).of(&all).unwrap().list_limit(), ListLimit::Set(5));
    assert!(ask(&path, Delete).wrapped(50).of(&all).is_err());
}

#[test]
fn deny_stands_above_everything_on_its_path() {
    for texts in [
        [
            "path \"a\" { capabilities = [\"read\", \"sudo\"] }",
            "path \"a\" { capabilities = [\"deny\", \"read\"] }",
        ],
        ["path \"a\" { policy = \"deny\" }", "path \"a\" { capabilities = [\"read\"] }"],
    ] {
        let acl = acl(&texts);
        assert_eq!(acl.capabilities("a", 0), ["deny"]);
        assert_eq!(ask(&path("a"), Read).of(&acl).unwrap_err(), Denied::Deny { rule: "a".into() });
        assert!(!acl.has_sudo("a", 0));
    }
}

#[test]
fn protected_paths_need_sudo_in_addition() {
    let acl = acl(&[
        "path \"sys/raw/*\" { capabilities = [\"read\"] } path \"sys/s\" { capabilities = [\"sudo\"] }",
    ]);
    let raw = path("sys/raw/x");
    assert!(ask(&raw, Read).of(&acl).is_ok());
    assert_eq!(
        ask(&raw, Read).protected().of(&acl).unwrap_err(),
        Denied::NotGranted { rule: "sys/raw/*".into(), capability: Sudo }
    );
    assert!(ask(&path("sys/s"), Read).protected().of(&acl).is_err());
    assert!(ask(&raw, Read).protected().of(&Acl::root()).is_ok());
}

#[test]
fn root_is_decided_by_a_type_and_stops_at_its_namespace() {
    let root = Acl::root();
    assert_eq!(root.capabilities("any/thing", 0), ["root"]);
    assert!(root.allows("any/thing", Delete, 0) && root.is_root() && root.resultant(0).root);
    let tenant = Acl::root_below("team-a/");
    assert!(tenant.allows("team-a/sys/mounts", Create, 0) && tenant.allows("team-a/b/sys", Create, 0));
    assert!(!tenant.allows("team-b/sys/mounts", Read, 0) && !tenant.allows("sys/mounts", Read, 0));
    assert_eq!(tenant.capabilities("sys/mounts", 0), ["deny"]);
    assert!(
        tenant.allowed_anything_under("team-a/kv/", 0) && !tenant.allowed_anything_under("team-b/kv/", 0)
    );
    let named = Policy::parse("root", "").unwrap();
    let impostor = Acl::compile(&[("", &named)], &Subject::default(), 0);
    assert!(!impostor.is_root() && !impostor.allows("a", Read, 0));
    assert!(Policy::parse("p", "path \"*\" { capabilities = [\"root\"] }").is_err());
}

#[test]
fn what_is_expired_is_not_there() {
    let text = "path \"a/b\" { capabilities = [\"deny\"] expiration = 10 } path \"a/*\" { capabilities = [\"read\"] } \
                path \"a/b\" { capabilities = [\"update\"] expiration = 20 }";
    let acl = acl(&[text]);
    for (seconds, expect) in
        [(10, vec!["deny"]), (11, vec!["update"]), (20, vec!["update"]), (21, vec!["read"])]
    {
        assert_eq!(acl.capabilities("a/b", seconds * SECOND), expect, "after {seconds} s");
    }
    assert_eq!(acl.capabilities("a/b", 10 * SECOND + 1), ["update"]);
    let mut policy = Policy::parse("p", "path \"a\" { capabilities = [\"read\"] }").unwrap();
    policy.expiration = Some(5 * SECOND);
    let acl = Acl::compile(&[("", &policy)], &Subject::default(), 0);
    assert!(acl.allows("a", Read, 5 * SECOND) && !acl.allows("a", Read, 5 * SECOND + 1));
    assert!(!acl.allowed_anything_under("", 6 * SECOND));
}

#[test]
fn parameters_are_asked_only_when_a_rule_depends_on_them() {
    struct Broken;
    impl Parameters for Broken {
        fn parameters(&self) -> Result<Cow<'_, Map<String, Value>>, Unreadable> {
            Err(Unreadable("unexpected EOF".into()))
        }
    }
    let acl = acl(&[
        "path \"free\" { capabilities = [\"update\", \"list\"] }",
        "path \"bound\" { capabilities = [\"update\", \"delete\"] allowed_parameters = { x = [] } }",
        "path \"paged\" { capabilities = [\"list\"] pagination_limit = 3 }",
    ]);
    assert!(ask(&path("free"), Update).with(&Broken).of(&acl).is_ok());
    assert!(ask(&path("free"), List).with(&Broken).of(&acl).is_ok());
    assert!(ask(&path("bound"), Delete).with(&Broken).of(&acl).is_ok());
    for (text, capability) in [("bound", Update), ("paged", List)] {
        let denied = ask(&path(text), capability).with(&Broken).of(&acl).unwrap_err();
        assert!(matches!(denied, Denied::Unreadable { .. }), "{denied:?}");
    }
}

#[test]
fn a_denial_says_nothing_on_the_wire() {
    let acl =
        acl(&["path \"a\" { capabilities = [\"update\"] denied_parameters = { password = [\"hunter2\"] } }"]);
    let given = object(json!({"password": "hunter2"}));
    let denied = ask(&path("a"), Update).with(&given).of(&acl).unwrap_err();
    assert_eq!(denied.to_string(), "permission denied");
    assert_eq!(denied.reason(), "the rule \"a\" does not allow this value of the parameter \"password\"");
    assert!(!format!("{denied:?}").contains("hunter2"));
}

#[test]
fn the_limit_of_a_listing_is_put_where_the_engine_reads_it() {
    for (limit, given, expect) in [
        (ListLimit::Set(3), json!({"after": "a"}), json!({"after": "a", "limit": 3})),
        (ListLimit::Set(3), json!({"limit": "max"}), json!({"limit": 3})),
        (ListLimit::AsAsked, json!({"limit": "max"}), json!({"limit": 0})),
        (ListLimit::AsAsked, json!({"limit": "7"}), json!({"limit": "7"})),
        (ListLimit::AsAsked, json!({}), json!({})),
    ] {
        let mut given = object(given);
        limit.apply(&mut given);
        assert_eq!(Value::Object(given), expect);
    }
}

fn ann() -> Subject {
    let map =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Subject {
        entity_id: "e-1".into(),
        entity_name: "ann".into(),
        metadata: map(&[("team", "red"), ("scope", "a/b"), ("star", "x*"), ("plus", "+"), ("empty", "")]),
        aliases: [("acc".to_owned(), Alias { name: "ann@corp".into(), ..Alias::default() })].into(),
        groups: vec![Group {
            id: "g".into(),
            name: "ops".into(),
            namespace: "t/".into(),
            ..Group::default()
        }],
    }
}

#[test]
fn templates_are_filled_for_the_caller() {
    let text = "path \"kv/{{identity.entity.metadata.team}}/*\" { capabilities = [\"read\"] } \
                path \"u/{{identity.entity.aliases.acc.name}}\" { capabilities = [\"read\"] } \
                path \"m/{{identity.entity.metadata.other}}\" { capabilities = [\"read\"] } \
                path \"w\" { capabilities = [\"update\"] allowed_parameters = { owner = [\"{{identity.entity.name}}\"] } }";
    let acl = acl_of(&[text], &ann());
    assert!(acl.allows("kv/red/x", Read, 0) && !acl.allows("kv/blue/x", Read, 0));
    assert!(acl.allows("u/ann@corp", Read, 0) && !acl.allows("m/", Read, 0));
    let (own, other) = (object(json!({"owner": "ann"})), object(json!({"owner": "bob"})));
    assert!(ask(&path("w"), Update).with(&own).of(&acl).is_ok());
    assert!(ask(&path("w"), Update).with(&other).of(&acl).is_err());
    let nobody = acl_of(&[text], &Subject::default());
    assert!(!nobody.allowed_anything_under("", 0), "without an entity no templated rule applies");
}

#[test]
fn an_empty_value_does_not_widen_a_rule() {
    let acl =
        acl_of(&["path \"kv/{{identity.entity.metadata.empty}}*\" { capabilities = [\"read\"] }"], &ann());
    assert!(!acl.allows("kv/anything", Read, 0));
}

#[test]
fn a_value_that_reaches_further_denies_everything() {
    let grant = "path \"kv/*\" { capabilities = [\"read\"] }";
    for (key, path) in [("scope", "kv/a/b/p"), ("star", "kv/x*/p"), ("plus", "kv/q/p")] {
        let deny =
            format!("path \"kv/{{{{identity.entity.metadata.{key}}}}}/p\" {{ capabilities = [\"deny\"] }}");
        let acl = acl_of(&[grant, &deny], &ann());
        assert_eq!(acl.capabilities("kv/anything", 0), ["deny"], "{key}");
        let denied = ask(&Path::internal("kv/anything").unwrap(), Read).of(&acl).unwrap_err();
        assert!(matches!(&denied, Denied::Refused { reason } if reason.contains("line 1")), "{denied:?}");

        let mut policy = Policy::parse("p", &deny.replace("deny", "read")).unwrap();
        policy.allow_slashes_in_identity_templates = true;
        policy.allow_wildcards_in_identity_templates = true;
        assert!(Acl::compile(&[("", &policy)], &ann(), 0).allows(path, Read, 0), "{key} allowed");
    }
    let mut policy =
        Policy::parse("p", "path \"kv/{{identity.entity.metadata.plus}}*\" { capabilities = [\"read\"] }")
            .unwrap();
    policy.allow_wildcards_in_identity_templates = true;
    assert_eq!(Acl::compile(&[("", &policy)], &ann(), 0).capabilities("kv/a", 0), ["deny"]);
}

#[test]
fn rules_hold_in_their_namespace() {
    let policy = Policy::parse("p", "path \"+/x\" { capabilities = [\"read\"] } path \"kv/{{identity.groups.names.ops.id}}\" { capabilities = [\"read\"] }").unwrap();
    let acl = Acl::compile(&[("t/", &policy)], &ann(), 0);
    assert!(acl.allows("t/a/x", Read, 0) && acl.allows("t/kv/g", Read, 0));
    assert!(!acl.allows("a/x", Read, 0) && !acl.allows("u/a/x", Read, 0));
    let outside = Acl::compile(&[("", &policy)], &ann(), 0);
    assert!(!outside.allows("kv/g", Read, 0), "a group's name counts in its own namespace only");
    assert!(
        !outside.allows("t/a/x", Read, 0),
        "a rule of the root namespace does not reach into a deeper one"
    );
}

#[test]
fn the_clock_in_templates_is_told() {
    assert!(acl_of(&["path \"a/{{time.now}}\" { capabilities = [\"read\"] }"], &ann()).reads_clock());
    assert!(
        !acl_of(&["path \"a/{{identity.entity.id}}\" { capabilities = [\"read\"] }"], &ann()).reads_clock()
    );
}

#[test]
fn who_may_do_something_below_a_mount() {
    for (text, folder, expect) in [
        ("path \"kv/a\" { capabilities = [\"read\"] }", "kv/", true),
        ("path \"kv/a\" { capabilities = [\"deny\"] }", "kv/", false),
        ("path \"kv/a\" {}", "kv/", false),
        ("path \"*\" { capabilities = [\"read\"] }", "kv/", true),
        (
            "path \"*\" { capabilities = [\"read\"] } path \"kv/*\" { capabilities = [\"deny\"] }",
            "kv/",
            false,
        ),
        (
            "path \"kv/*\" { capabilities = [\"deny\"] } path \"kv/a/*\" { capabilities = [\"list\"] }",
            "kv/",
            true,
        ),
        ("path \"+/a/b\" { capabilities = [\"read\"] }", "kv/", true),
        ("path \"other/+\" { capabilities = [\"read\"] }", "kv/", false),
        ("path \"kv\" { capabilities = [\"list\"] }", "kv/", true),
        ("path \"k\" { capabilities = [\"list\"] }", "kv/", false),
        ("path \"*\" { policy = \"read\" } path \"+/+\" { policy = \"deny\" }", "kv/", true),
        ("path \"*\" { policy = \"read\" } path \"kv*\" { policy = \"deny\" }", "kv/", false),
    ] {
        assert_eq!(acl(&[text]).allowed_anything_under(folder, 0), expect, "{text}");
    }
}

#[test]
fn the_resultant_rules_are_shown() {
    let acl = acl(&["path \"kv/a\" { capabilities = [\"read\"] allowed_parameters = { x = [] } } \
                     path \"kv/*\" { capabilities = [\"update\", \"list\"] min_wrapping_ttl = \"1m\" } path \"n\" {} \
                     path \"kv/+/x\" { capabilities = [\"read\"] } path \"old\" { expiration = 1 policy = \"read\" }"]);
    assert_eq!(
        serde_json::to_value(acl.resultant(2 * SECOND)).unwrap(),
        json!({
            "root": false,
            "exact_paths": {
                "kv/a": {"capabilities": ["read"], "allowed_parameters": {"x": []}},
                "n": {"capabilities": ["deny"]},
            },
            "glob_paths": {"kv/": {"capabilities": ["list", "update"], "min_wrapping_ttl": 60}},
        })
    );
    assert_eq!(serde_json::to_value(Acl::root().resultant(0)).unwrap(), json!({"root": true}));
}

#[test]
fn control_groups_and_list_filters_travel_with_the_permit() {
    let group = |name: &str, ttl: &str, own: bool| {
        format!(
            "path \"kv/*\" {{ capabilities = [\"read\", \"list\"] \
             list_scan_response_keys_filter_path = \"{{{{ .path }}}}{{{{ .key }}}}\" \
             control_group {{ ttl = \"{ttl}\" self_auth_allowed = {own} factor \"{name}\" {{ \
             controlled_capabilities = [\"read\"] identity {{ group_names = [\"{name}\"] approvals = 2 }} }} }} }}"
        )
    };
    let acl = acl(&[&group("ops", "4h", true), &group("sec", "1h", false)]);
    let permit = ask(&path("kv/a"), Read).of(&acl).unwrap();
    let merged = permit.control_group().unwrap();
    assert_eq!((merged.ttl, merged.self_auth_allowed), (Some(Duration::from_secs(3600)), false));
    let names: Vec<_> =
        merged.factors.iter().map(|factor| (factor.name.as_str(), factor.approvals)).collect();
    assert_eq!(names, [("ops", 2), ("sec", 2)]);
    assert!(permit.list_scan_response_keys_filter_path().is_none());
    let folder = path("kv/a/");
    let permit = ask(&folder, List).of(&acl).unwrap();
    assert!(permit.control_group().is_none(), "only what is controlled needs approval");
    let filter = permit.list_scan_response_keys_filter_path().unwrap();
    assert_eq!(filter.path_of("kv/a/", "b").unwrap(), "kv/a/b");
}

#[test]
fn help_is_for_everyone_who_is_known() {
    let permit = acl(&[]).permit_help();
    assert!(!permit.sudo() && !permit.root_policy() && permit.capability().is_none());
    assert_eq!(permit.granting_policies().count(), 0);
}

#[test]
fn an_explanation_names_the_line_and_the_near_misses() {
    let reader = Policy::parse(
        "reader",
        "path \"kv/*\" {\n  capabilities = [\"read\"]\n}\n\n# locked\npath \"kv/data/prod/*\" {\n  capabilities = [\"deny\"]\n}",
    )
    .unwrap();
    let old = Policy::parse(
        "old",
        "path \"kv/prod/db\" { capabilities = [\"read\"] }\npath \"kv/data/prod/db\" { policy = \"read\" expiration = 1 }\n\
         path \"x/{{identity.entity.id}}\" { policy = \"read\" }",
    )
    .unwrap();
    let path = path("kv/data/prod/db");
    let question = Question { now: 2 * SECOND, ..ask(&path, Read).0 };
    let explanation = explain(&[("", &reader), ("", &old)], &Subject::default(), &question);
    assert_eq!(explanation.verdict, Verdict::Denied);
    assert_eq!(explanation.rule.as_deref(), Some("kv/data/prod/*"));
    assert_eq!((explanation.decided_by[0].policy.as_str(), explanation.decided_by[0].line), ("reader", 6));
    for (rule, expect) in [
        ("kv/data/prod", "matches itself and nothing below: \"kv/data/prod/*\" would"),
        (
            "kv/*/prod/db",
            "a star that is not at the end is only a star: \"kv/+/prod/db\" has a \"+\" for one segment",
        ),
        (
            "*/data/*/*",
            "a star that is not at the end is only a star: \"+/data/+/*\" has a \"+\" for one segment",
        ),
    ] {
        let policy = Policy::parse("p", &format!("path \"{rule}\" {{ policy = \"read\" }}")).unwrap();
        let explanation = explain(&[("", &policy)], &Subject::default(), &question);
        let why: Vec<&str> = explanation.near_misses.iter().map(|miss| miss.why.as_str()).collect();
        assert_eq!(why, [expect], "{rule}");
    }
    let text = explanation.to_string();
    for expected in [
        "denied: read kv/data/prod/db",
        "the rule \"kv/data/prod/*\" denies everything on this path",
        "policy reader line 6 [deny]",
        "\"kv/*\": \"kv/data/prod/*\" is closer to the path",
        "\"kv/prod/db\": matches only without \"data/\"",
        "\"kv/data/prod/db\": expired",
        "\"x/{{identity.entity.id}}\": does not apply: nothing is known for {{identity.entity.id}}",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
    assert_eq!(serde_json::to_value(&explanation).unwrap()["verdict"], "denied");
}

#[test]
fn a_name_whose_case_does_not_count_is_under_every_rule_about_it() {
    let acl = acl(&[
        r#"path "id/name/*" { policy = "read" }
           path "id/name/Ann" { policy = "deny" }
           path "id/name/TEAM-*" { policy = "write" }
           path "id/name/Eve" { policy = "write" }
           path "ID/name/gil" { policy = "deny" }"#,
        r#"path "id/name/eVE" { policy = "deny" }"#,
    ]);
    let allows = |path: &str, capability, any_case| {
        let path = Path::internal(path).unwrap();
        acl.permit(&Question { any_case, ..ask(&path, capability).0 }).is_ok()
    };
    let named = |name: &str, capability| {
        let path = format!("id/name/{name}");
        allows(&path, capability, Some(AnyCase::of(&path, 8..path.len())))
    };
    for name in ["ann", "eve"] {
        assert!(!named(name, Read), "{name}");
        assert!(allows(&format!("id/name/{name}"), Read, None), "{name}, where case counts, is another");
    }
    assert!(named("gil", Read), "what stands before the name is as it is");
    assert!(named("team-a", Update) && !allows("id/name/team-a", Update, None));
    assert!(named("anna", Read) && !named("anna", Update));
    // The name in the middle, and something behind it that is as it is.
    let path = "id/name/ann/Keys";
    assert!(allows(path, Read, Some(AnyCase::of(path, 8..11))));
}
