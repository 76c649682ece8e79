//! What lies in `corpus/` and everything near it: the parsers answer, and what they answer holds together.
//!
//! Seeds are fixed, so a run says the same every time; `PROPTEST_CASES` makes it longer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on must stop")]

use policy::{BadPath, Path, Policy, Subject, Unrendered, hcl, render};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use serde_json::json;

/// Cases of one property; a second or two together.
const CASES: u32 = 3_000;

fn config(seed: u64) -> ProptestConfig {
    let config = ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    };
    // The default number is 256, unless the environment says another.
    ProptestConfig { cases: if config.cases == 256 { CASES } else { config.cases }, ..config }
}

/// The files of a folder of the corpus, in the order of their names.
fn corpus(folder: &str) -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts: Vec<_> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    assert!(!texts.is_empty());
    texts
}

/// One change to a text.
#[derive(Clone, Debug)]
enum Edit {
    Cut(Index, usize),
    Double(Index, usize),
    Put(Index, &'static str),
    Flip(Index, u8),
}

const PIECES: [&str; 24] = [
    "\"", "{", "}", "[", "]", "\\", "\n", "\r", "\0", "${", "{{", "}}", "<<E\n", "/*", "#", "%2e%2E", "%2f",
    "%00", "..", "//", "+", "*", "\u{202e}", "\u{e9}",
];

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), 1_usize..20).prop_map(|(at, length)| Edit::Cut(at, length)),
        (any::<Index>(), 1_usize..20).prop_map(|(at, length)| Edit::Double(at, length)),
        (any::<Index>(), select(&PIECES[..])).prop_map(|(at, piece)| Edit::Put(at, piece)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Edit::Flip(at, bits)),
    ]
}

/// Something of the corpus, a little changed.
fn near(folder: &str) -> impl Strategy<Value = String> {
    (select(corpus(folder)), prop::collection::vec(edit(), 0..6)).prop_map(|(text, edits)| {
        let mut bytes = text.into_bytes();
        for edit in edits {
            let at = |index: Index| index.index(bytes.len() + 1);
            match edit {
                Edit::Cut(index, length) => {
                    let (from, end) = (at(index), bytes.len());
                    drop(bytes.drain(from..(from + length).min(end)));
                }
                Edit::Double(index, length) => {
                    let from = at(index);
                    let piece: Vec<u8> = bytes.iter().skip(from).take(length).copied().collect();
                    drop(bytes.splice(from..from, piece));
                }
                Edit::Put(index, piece) => {
                    let from = at(index);
                    drop(bytes.splice(from..from, piece.bytes()));
                }
                Edit::Flip(index, bits) => {
                    let from = at(index);
                    if let Some(byte) = bytes.get_mut(from) {
                        *byte ^= bits;
                    }
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Every byte as a URL may spell it.
fn encoded(path: &str) -> String {
    path.bytes().map(|byte| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02x}") }).collect()
}

proptest! {
    #![proptest_config(config(1))]

    #[test]
    fn canonical_twice_is_canonical_once(raw in near("paths")) {
        match Path::parse(&raw) {
            Ok(path) => {
                prop_assert_eq!(&Path::internal(path.as_str()).unwrap(), &path);
                prop_assert_eq!(&Path::parse(&encoded(path.as_str())).unwrap(), &path, "however it is spelt");
                prop_assert_eq!(path.as_folder().as_folder(), path.as_folder());
                prop_assert!(path.as_str().split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert!(!path.as_str().contains("//") && !path.as_str().chars().any(char::is_control));
            }
            Err(BadPath::NotCanonical { clean }) => prop_assert!(Path::internal(&clean).is_ok(), "{clean:?} is not clean"),
            Err(_) => {}
        }
    }

    #[test]
    fn a_policy_is_read_or_refused_at_a_line(text in near("policies")) {
        match Policy::parse("p", &text) {
            Ok(policy) => {
                let again = Policy::parse("p", &text).unwrap();
                prop_assert!(policy.rules().eq(again.rules()));
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        for parsed in [hcl::parse(&text), hcl::parse_json(&text), hcl::parse_any(&text)] {
            if let Err(error) = parsed {
                prop_assert!(error.line <= text.lines().count() + 1, "{error} in {} lines", text.lines().count());
            }
        }
    }

    #[test]
    fn what_is_printed_is_what_is_read(rules in rules()) {
        let hcl: String = rules
            .iter()
            .map(|(path, can)| format!("path {} {{\n  capabilities = {}\n}}\n", json!(path), json!(can)))
            .collect();
        let object: serde_json::Map<_, _> =
            rules.iter().map(|(path, can)| (path.clone(), json!({ "capabilities": can }))).collect();
        let (one, other) =
            (Policy::parse("p", &hcl).unwrap(), Policy::parse("p", &json!({ "path": object }).to_string()).unwrap());
        let read = |policy: &Policy| -> std::collections::BTreeMap<String, Vec<&'static str>> {
            policy.rules().map(|(path, _, can)| (path.to_owned(), can.words())).collect()
        };
        prop_assert_eq!(read(&one), read(&other));
        prop_assert_eq!(read(&one).len(), rules.len());
        for (path, can) in &rules {
            let mut words = read(&one)[path].clone();
            words.sort_unstable();
            prop_assert_eq!(&words, can);
        }
    }

    #[test]
    fn a_value_cannot_break_out_of_its_template(name in any::<String>(), before in "[a-z/]{0,8}", after in "[a-z/]{0,8}") {
        let subject = Subject { entity_id: "e".to_owned(), entity_name: name.clone(), ..Subject::default() };
        let text = format!("{before}{{{{identity.entity.name}}}}{after}");
        match render(&text, &subject, "", 0, &['/', '*', '+']) {
            Ok(rendered) => {
                prop_assert_eq!(rendered, format!("{before}{name}{after}"));
                prop_assert!(!name.contains(['/', '*', '+']) && !name.is_empty());
            }
            Err(Unrendered::Forbidden(char)) => prop_assert!(name.contains(char)),
            Err(error) => prop_assert!(name.is_empty(), "{name:?}: {error:?}"),
        }
    }
}

/// Rules of different paths, capabilities in the order of their names.
fn rules() -> impl Strategy<Value = std::collections::BTreeMap<String, Vec<&'static str>>> {
    let words = ["create", "delete", "list", "patch", "read", "sudo", "update"];
    let can = prop::sample::subsequence(words.to_vec(), 1..=words.len());
    prop::collection::btree_map("[a-z0-9_.\u{e9}-]{1,6}(/([a-z0-9]{1,4}|\\+)){0,3}(/|/\\*)?", can, 1..6)
}
