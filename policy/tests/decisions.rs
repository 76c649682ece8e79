//! What OpenBao 2.7.2 decided: the same policies and requests must be decided the same way.
//!
//! `golden/decisions.jsonl` was recorded from a real server: random policies, a token that has them, requests to a
//! kv mount, and whether the answer was 403; and what `sys/capabilities` said.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on must stop")]

use policy::{Acl, Capability, Path, Policy, Question, Subject};
use serde_json::Value;
use std::time::Duration;

#[test]
fn requests_are_decided_as_openbao_decides_them() {
    let (mut asked, mut allowed) = (0, 0);
    let mut wrong = Vec::new();
    for line in include_str!("golden/decisions.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let texts = case["policies"].as_array().unwrap();
        let policies: Vec<Policy> =
            texts.iter().map(|text| Policy::parse("p", text.as_str().unwrap()).unwrap()).collect();
        let policies: Vec<(&str, &Policy)> = policies.iter().map(|policy| ("", policy)).collect();
        let acl = Acl::compile(&policies, &Subject::default(), 0);
        for ask in case["asks"].as_array().unwrap() {
            let capability: Capability = ask[0].as_str().unwrap().parse().unwrap();
            let question = Question {
                path: &Path::internal(ask[1].as_str().unwrap()).unwrap(),
                any_case: None,
                or_bare: false,
                capability,
                needs_sudo: false,
                parameters: ask[2].as_object().unwrap(),
                wrap_ttl: ask[3].as_u64().map(Duration::from_secs),
                now: 0,
            };
            let ours = acl.permit(&question);
            asked += 1;
            allowed += usize::from(ours.is_ok());
            if ours.is_ok() != ask[4].as_bool().unwrap() {
                wrong.push(format!(
                    "{ask}: ours {ours:?}\n{}",
                    texts.iter().map(|t| t.as_str().unwrap()).collect::<String>()
                ));
            }
        }
        for (path, words) in case["capabilities"].as_object().unwrap() {
            if serde_json::to_value(acl.capabilities(path, 0)).unwrap() != *words {
                wrong.push(format!(
                    "capabilities of {path}: theirs {words}, ours {:?}",
                    acl.capabilities(path, 0)
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {asked} differ, the first ones:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
    // A recording of refusals alone would prove nothing.
    assert!(asked > 4_000 && allowed > asked / 8 && allowed < asked * 7 / 8, "{allowed} of {asked}");
}
