//! Whatever a user types stays a value: in a filter, in the name of an entry, in the name of a record.

use ldap3::parse_filter;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(3),
        ..ProptestConfig::default()
    }
}

/// What means something to directories, among letters.
fn typed() -> impl Strategy<Value = String> {
    prop_oneof!["[ab \\\\*()&|!=,+;<>#\"/%\u{0}\u{e9}\u{1f512}\n-]{0,12}", any::<String>()]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_name_in_a_filter_is_one_value(name in typed()) {
        let filter = render("(&(uid={{.Username}})(a=b))", &[("Username", &name)]).unwrap();
        prop_assert!(parse_filter(&filter).is_ok(), "{filter}");
        // Nothing of the name opens, closes or widens anything.
        let value = filter.strip_prefix("(&(uid=").and_then(|rest| rest.strip_suffix(")(a=b))")).unwrap();
        prop_assert!(!value.contains(['(', ')', '*', '\0']), "{filter}");
        prop_assert_eq!(undone(value), name.into_bytes());
    }

    #[test]
    fn a_name_in_an_entry_is_one_value(name in typed()) {
        let dn = below("uid", &name, "ou=people,dc=example,dc=org");
        let found = pairs(&dn).unwrap();
        prop_assert_eq!(found.len(), 4, "{}", dn);
        prop_assert_eq!(&found[0], &("uid".to_owned(), name));
    }

    #[test]
    fn any_entry_is_read_or_not(dn in "[ab,+;=\\\\ 0-9c\u{e9}]{0,24}") {
        let _ = common_name(&dn, |kind| kind == "a");
    }

    #[test]
    fn canonical_twice_is_canonical_once(name in typed()) {
        for case in [Case::Exact, Case::Ignored] {
            if let Some(once) = canonical(&name, case) {
                prop_assert_eq!(canonical(&once, case), Some(once.clone()));
                prop_assert!(!once.starts_with(' ') && !once.ends_with(' ') && !once.contains("  "));
            }
        }
    }

    #[test]
    fn a_record_has_the_name_that_it_was_given(name in typed()) {
        prop_assert!(!key(&name).contains('/'));
        prop_assert_eq!(of_key(&key(&name)), name);
    }
}

/// A value of a filter with its escapes undone (RFC 4515).
fn undone(value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next().unwrap(), rest.next().unwrap()];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
    }
    bytes
}
