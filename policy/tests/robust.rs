//! Whatever is thrown at the parsers, they answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on must stop")]

use policy::{BadPath, Path, Policy, hcl};
use proptest::prelude::*;
use proptest::sample::select;

/// Texts that look like policies for a while.
fn soup() -> impl Strategy<Value = String> {
    let pieces = vec![
        "path",
        "\"a/+/*\"",
        "{",
        "}",
        "[",
        "]",
        "=",
        ",",
        "\"",
        "\\",
        "\n",
        " ",
        "${",
        "<<EOF\n",
        "<<-E",
        "EOF",
        "#",
        "/*",
        "*/",
        "//",
        "capabilities",
        "[\"read\"]",
        "true",
        "0x",
        "09",
        "1.5e",
        "-",
        ".",
        ":",
        "null",
        "\"x\": 1",
        "allowed_parameters",
        "control_group",
        "factor",
        "{{",
        "}}",
        "identity.entity.id",
        "list",
        "\u{0}",
        "é",
        "\r",
        "list_scan_response_keys_filter_path",
        "\"{{ .key | printf \\\"%s\\\" }}\"",
        "expiration",
        "min_wrapping_ttl",
    ];
    prop::collection::vec(select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = (hcl::parse(&text), hcl::parse_json(&text), Policy::parse("p", &text));
        let _ = Path::parse(&text);
    }

    #[test]
    fn any_soup_is_answered(text in soup()) {
        let _ = Policy::parse("p", &text);
        let _ = hcl::parse_json(&format!("{{{text}"));
        if let Err(error) = hcl::parse(&text) {
            prop_assert!(error.line >= 1 && error.line <= text.matches('\n').count() + 1);
        }
    }

    #[test]
    fn any_template_is_answered(text in soup()) {
        let text = text.replace(['"', '\\', '\n', '\r', '\0'], "'");
        let text = format!(
            "path \"{text}\" {{ capabilities = [\"list\"] list_scan_response_keys_filter_path = \"{{{{.key}}}}{text}\" \
             expiration = \"{text}\" min_wrapping_ttl = \"{text}\" }}"
        );
        let _ = Policy::parse("p", &text);
    }

    #[test]
    fn a_path_is_canonical_or_refused(raw in "[a%./ 25eEfF\u{e9}+*-]{0,24}") {
        match Path::parse(&raw) {
            Ok(path) => {
                prop_assert_eq!(&Path::internal(path.as_str()).unwrap(), &path);
                prop_assert!(!path.as_str().contains("//") && !path.as_str().starts_with('/'));
                prop_assert!(path.as_str().split('/').all(|segment| segment != "." && segment != ".."));
            }
            Err(BadPath::NotCanonical { clean }) => {
                prop_assert!(Path::internal(&clean).is_ok(), "{} is not clean", clean);
            }
            Err(_) => {}
        }
    }
}

#[test]
fn absurd_depth_and_size_are_refused() {
    let deep = format!("a = {}1{}", "{ x = ".repeat(100_000), "}".repeat(100_000));
    assert!(hcl::parse(&deep).unwrap_err().message.contains("nested deeper"));
    assert!(
        hcl::parse(&format!("a = {}", "[".repeat(100_000))).unwrap_err().message.contains("nested deeper")
    );
    assert!(hcl::parse_json(&"{\"a\":".repeat(100_000)).unwrap_err().message.contains("nested deeper"));
    let long = "#".repeat(hcl::TEXT_BYTES_MAX + 1);
    assert!(hcl::parse_any(&long).unwrap_err().message.contains("longer than"));
}
