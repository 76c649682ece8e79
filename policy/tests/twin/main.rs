//! The compiled `Acl` against a twin that is too simple to be wrong: random policies, random requests, one answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on must stop")]

mod generator;
mod naive;

use generator::{Ask, Spec};
use policy::{Acl, Path, Policy, Question, Subject, Verdict, explain};
use proptest::prelude::*;

fn question<'a>(ask: &'a Ask, path: &'a Path) -> Question<'a> {
    Question {
        path,
        any_case: None,
        or_bare: false,
        capability: ask.capability,
        needs_sudo: ask.needs_sudo,
        parameters: &ask.parameters,
        wrap_ttl: ask.wrap_ttl,
        now: ask.now,
    }
}

fn parse(specs: &[Spec]) -> Vec<Policy> {
    let parse = |(index, spec): (usize, &Spec)| {
        let text = if spec.as_json { spec.to_json() } else { spec.to_hcl() };
        let mut policy =
            Policy::parse(&format!("p{index}"), &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        policy.expiration = spec.expiration;
        policy
    };
    specs.iter().enumerate().map(parse).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_rules_decide_as_the_twin_does(
        specs in generator::policies(),
        asks in prop::collection::vec(generator::ask(), 24),
    ) {
        let policies = parse(&specs);
        let pairs: Vec<(&str, &Policy)> =
            specs.iter().zip(&policies).map(|(spec, policy)| (spec.namespace, policy)).collect();
        let acl = Acl::compile(&pairs, &Subject::default(), 0);
        for ask in &asks {
            let path = Path::internal(&ask.path).unwrap();
            let question = question(ask, &path);
            let ours = acl.permit(&question);
            let twin = naive::decide(&specs, ask);
            prop_assert_eq!(ours.is_ok(), twin.is_some(), "{:?}: ours {:?}, twin {:?}\n{:#?}", ask, ours, twin, specs);
            if let (Ok(permit), Some(twin)) = (&ours, &twin) {
                prop_assert_eq!(permit.sudo(), twin.sudo);
                prop_assert_eq!(permit.list_limit(), twin.list_limit);
                let names: Vec<_> = permit.granting_policies().map(|one| one.policy.to_string()).collect();
                prop_assert_eq!(&names, &twin.granting);
            }
            let words = acl.capabilities(path.as_str(), ask.now);
            prop_assert_eq!(words, naive::capabilities(&specs, path.as_str(), ask.now));
        }
    }

    #[test]
    fn explanations_agree_with_decisions(specs in generator::policies(), ask in generator::ask()) {
        let policies = parse(&specs);
        let pairs: Vec<(&str, &Policy)> =
            specs.iter().zip(&policies).map(|(spec, policy)| (spec.namespace, policy)).collect();
        let path = Path::internal(&ask.path).unwrap();
        let question = question(&ask, &path);
        let allowed = Acl::compile(&pairs, &Subject::default(), 0).permit(&question).is_ok();
        let explanation = explain(&pairs, &Subject::default(), &question);
        prop_assert_eq!(explanation.verdict == Verdict::Allowed, allowed);
        prop_assert_eq!(explanation.rule.is_some(), !explanation.decided_by.is_empty());
        prop_assert!(!explanation.reason.is_empty());
    }

    #[test]
    fn the_order_of_policies_does_not_matter(specs in generator::policies(), ask in generator::ask()) {
        let policies = parse(&specs);
        let mut pairs: Vec<(&str, &Policy)> =
            specs.iter().zip(&policies).map(|(spec, policy)| (spec.namespace, policy)).collect();
        let path = Path::internal(&ask.path).unwrap();
        let question = question(&ask, &path);
        let before = Acl::compile(&pairs, &Subject::default(), 0).permit(&question).map(|permit| permit.list_limit());
        pairs.reverse();
        let after = Acl::compile(&pairs, &Subject::default(), 0).permit(&question).map(|permit| permit.list_limit());
        prop_assert_eq!(before.ok(), after.ok());
    }

    #[test]
    fn who_is_allowed_something_below_a_folder_may_know_the_folder(
        specs in generator::policies(),
        ask in generator::ask(),
    ) {
        let policies = parse(&specs);
        let pairs: Vec<(&str, &Policy)> =
            specs.iter().zip(&policies).map(|(spec, policy)| (spec.namespace, policy)).collect();
        let acl = Acl::compile(&pairs, &Subject::default(), 0);
        let path = Path::internal(&ask.path).unwrap();
        if let (Ok(_), Some((folder, _))) = (acl.permit(&question(&ask, &path)), ask.path.split_once('/')) {
            prop_assert!(acl.allowed_anything_under(&format!("{folder}/"), ask.now), "{ask:?} {specs:#?}");
        }
    }
}
