//! What OpenBao 2.7.2 said to policies: what it accepts we accept, what it refuses we refuse, in its words where
//! clients could know them.
//!
//! `golden/grammar.jsonl` was recorded by writing each text with `bao policy write`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on must stop")]

use policy::Policy;

/// Where we mean to differ, and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("path \"a\" { capabilities = [\"subscribe\"] }", "a policy written for Vault is accepted"),
    ("path { capabilities = [\"read\"] }", "there, it becomes a rule for a path called \"path\""),
    ("path \"a\" \"b\" { capabilities = [\"read\"] }", "there, the second label is ignored"),
    ("{", "there, broken JSON is an empty policy"),
    ("{\"path\":", "there, broken JSON is an empty policy"),
    (
        "{\"path\":{\"a\":[{\"capabilities\":[\"read\"]}]}}",
        "a list of objects is a repeated block everywhere",
    ),
    ("{\"path\":{\"a\":{\"capabilities\":null}}}", "null is absence"),
    ("{\"path\":{\"a\":{\"allowed_parameters\":{\"x\":[]}}}}", "JSON nests as deep as HCL"),
];

/// The words that must be the same: those that say what is wrong with a policy, not with its text.
const WORDS: &[&str] = &[
    "invalid capability",
    "invalid policy",
    "invalid use of wildcards",
    "max_wrapping_ttl cannot be less",
    "error parsing m",
    "invalid expiration time",
    "unbalanced templating",
    "needs to be used on a path with the list capability",
    "error handling control_group: 1 error occurred:\n\t* factor",
    "requires at least one factor",
    "illegal char",
    "literal not terminated",
    "comment not terminated",
    "expected comma or list end",
    "nested object expected",
    "expected start of object",
    "illegal octal number",
    "null character",
];

#[test]
fn policies_are_accepted_and_refused_as_openbao_does() {
    let mut wrong = Vec::new();
    for line in include_str!("golden/grammar.jsonl").lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let (text, ok) = (case["text"].as_str().unwrap(), case["ok"].as_bool().unwrap());
        let result = Policy::parse("t", text);
        if DIFFERENT.iter().any(|(different, _)| *different == text) {
            assert_ne!(result.is_ok(), ok, "no longer different: {text}");
            continue;
        }
        if result.is_ok() != ok {
            wrong.push(format!("{text:?}: theirs {}, ours {result:?}", case["error"]));
            continue;
        }
        let theirs = case["error"].as_str().unwrap();
        if let Err(error) = result
            && WORDS.iter().any(|words| theirs.contains(words))
            && without_place(&error.to_string()) != without_place(theirs)
        {
            wrong.push(format!("{text:?}:\n  theirs {theirs:?}\n  ours   {:?}", error.to_string()));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// The words alone: where exactly a text breaks off is told one column earlier or later.
fn without_place(error: &str) -> String {
    let (before, after) = error.trim_end().split_once("At ").unwrap_or(("", error.trim_end()));
    let after = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':' || c == ' ');
    format!("{before}{after}")
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    for (text, expect) in [
        (
            "bogus = 1\n\nfoo \"x\" {}",
            "failed to parse policy: 2 errors occurred:\n\t* invalid key \"bogus\" on line 1\n\t* invalid key \"foo\" on line 3\n\n",
        ),
        (
            "# why\npath \"a\" {\n  capability = [\"read\"]\n}",
            "failed to parse policy: path \"a\": 1 error occurred:\n\t* invalid key \"capability\" on line 3\n\n",
        ),
        (
            "{\n\"path\": {\n\"a\": {\n\"x\": 1}}}",
            "failed to parse policy: path \"a\": 1 error occurred:\n\t* invalid key \"x\" on line 4\n\n",
        ),
    ] {
        assert_eq!(Policy::parse("t", text).unwrap_err().to_string(), expect);
    }
}
