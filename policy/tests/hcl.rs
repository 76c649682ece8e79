//! The grammar that policies and configuration are written in.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on must stop")]

use policy::hcl::{self, Body, Value};

#[track_caller]
fn attribute(text: &str) -> Value {
    hcl::parse(&format!("a = {text}")).unwrap().attribute("a").unwrap().clone()
}

#[test]
fn values() {
    let text = |text: &str| Value::String(text.to_owned());
    assert_eq!(attribute(r#""a\tb\"\\\u00e9\x41\101""#), text("a\tb\"\\éAA"));
    assert_eq!(attribute(r#""${x("y")} z""#), text("${x(\"y\")} z"));
    assert_eq!(attribute("<<EOF\none\n  two\nEOF\n"), text("one\n  two\n"));
    assert_eq!(attribute("<<-EOF\n    one\n      two\n    EOF\n"), text("one\n  two\n"));
    assert_eq!(attribute("<<-EOF\n  one\n two\n    EOF\n"), text("  one\n two\n"));
    assert_eq!(attribute("<<EOF\r\none\r\nEOF\r\n"), text("one\r\n"));
    assert_eq!(attribute("0x1F").as_i64(), Some(31));
    assert_eq!(attribute("017").as_i64(), Some(15));
    assert_eq!(attribute("-9223372036854775808").as_i64(), Some(i64::MIN));
    assert_eq!(attribute("1.5e3").as_f64(), Some(1500.0));
    assert_eq!(attribute("\"0x10\"").as_i64(), Some(16));
    assert_eq!(attribute("true").as_bool(), Some(true));
    assert_eq!(attribute("\"false\"").as_bool(), Some(false));
    assert_eq!(attribute("[1, [\"b\",], { c = 1 },]").as_list().unwrap().len(), 3);
    assert_eq!(attribute("[]").as_list(), Some(&[][..]));
}

#[test]
fn configuration_reads_the_same_in_every_spelling() {
    let spellings = [
        "ui = true, storage \"raft\" { path = \"/d\" node_id = \"n\" } listener \"tcp\" { address = \"a:1\" } listener \"tcp\" { address = \"a:2\" }",
        "\"ui\" = true # c\n\"storage\" \"raft\" {\n path = \"/d\", node_id = \"n\"\n}\nlistener tcp { address = \"a:1\" } /* c */ listener { tcp { address = \"a:2\" } }",
        "{\"ui\": true, \"storage\": {\"raft\": {\"path\": \"/d\", \"node_id\": \"n\"}}, \"listener\": [{\"tcp\": {\"address\": \"a:1\"}}, {\"tcp\": {\"address\": \"a:2\"}}]}",
        "{\"ui\": true, \"storage\": [{\"raft\": [{\"path\": \"/d\", \"node_id\": \"n\",}]}], \"listener\": {\"tcp\": [{\"address\": \"a:1\"}, {\"address\": \"a:2\"}]}}",
    ];
    for text in spellings {
        let body = hcl::parse_any(text).unwrap();
        assert_eq!(body.attribute("ui"), Some(&Value::Bool(true)), "{text}");
        let storage = body.blocks("storage", 1).unwrap();
        assert_eq!((storage.len(), storage[0].labels[0]), (1, "raft"), "{text}");
        assert_eq!(storage[0].body.attribute("node_id").and_then(Value::as_str), Some("n"));
        let addresses: Vec<_> = body
            .blocks("listener", 1)
            .unwrap()
            .iter()
            .map(|block| block.body.attribute("address").unwrap().as_str().unwrap().to_owned())
            .collect();
        assert_eq!(addresses, ["a:1", "a:2"], "{text}");
    }
}

#[test]
fn repeated_keys_are_kept_and_found() {
    let body = hcl::parse("a = 1\nb { }\nb { }\na = 2\nc = 3").unwrap();
    assert_eq!(body.all("a").count(), 2);
    assert_eq!(body.attribute("a").and_then(Value::as_i64), Some(2));
    assert_eq!(body.repeated().map(|item| (item.key(), item.line)), Some(("a", 4)));
    assert_eq!(Body::default().repeated(), None);
}

#[test]
fn errors_say_where() {
    for (text, expect) in [
        ("a = 1\nb = [1 2]", "At 2:8: error parsing list, expected comma or list end, got: NUMBER"),
        ("a {\n b = 1\n", "At 3:1: object expected closing RBRACE got: EOF"),
        ("a = \"x", "At 1:6: literal not terminated"),
        ("a b = 1", "At 1:5: nested object expected: LBRACE got: ASSIGN"),
        ("a = 1 ] ", "At 1:7: expected: IDENT | STRING | ASSIGN | LBRACE got: RBRACK"),
    ] {
        assert_eq!(hcl::parse(text).unwrap_err().to_string(), expect);
    }
    for (text, expect) in [
        ("{\"a\": }", "At 1:6: expected a value, got '}'"),
        ("{\n\"a\" 1}", "At 2:5: expected ':', got '1'"),
        ("{\"a\": 01}", "At 1:8: \"01\" is not a number"),
        ("{\"a\": [null]}", "At 1:11: unexpected token while parsing list: NULL"),
        ("{} x", "At 1:3: expected the end of the text after the object, got 'x'"),
        ("{\"a\": 1", "At 1:7: expected ',' or '}', got the end of the text"),
    ] {
        assert_eq!(hcl::parse_json(text).unwrap_err().to_string(), expect);
    }
    let body = hcl::parse("listener \"tcp\" \"x\" { }\nstorage = 1").unwrap();
    assert!(body.blocks("listener", 1).unwrap_err().message.contains("remove \"x\""));
    assert_eq!(
        body.blocks("storage", 1).unwrap_err().to_string(),
        "At 2:11: \"storage\" must be a block in braces, not a number"
    );
}
