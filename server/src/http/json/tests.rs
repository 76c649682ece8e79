use super::*;
use crate::config::Listener;

fn limits() -> Limits {
    Listener::default().limits
}

#[track_caller]
fn check_text(body: impl AsRef<[u8]>, expect: Result<Whole, &str>) {
    let body = body.as_ref();
    let found = check(body, &limits()).map_err(|refused| refused.to_string());
    let shown = String::from_utf8_lossy(body.get(..60.min(body.len())).unwrap()).into_owned();
    assert_eq!(found.as_ref().map_err(String::as_str), expect.as_ref().map_err(|text| *text), "{shown}");
}

/// Bodies with the answers of OpenBao 2.7.2 to them.
#[test]
fn says_what_go_says() {
    for (body, text) in [
        ("{", "unexpected EOF"),
        ("{\"a\"", "unexpected EOF"),
        ("{\"a\":", "unexpected EOF"),
        ("{\"a\":1", "unexpected EOF"),
        ("{\"a\":1,", "unexpected EOF"),
        ("[", "unexpected EOF"),
        ("{\"a\":\"", "unexpected EOF"),
        ("{\"a\":nul", "unexpected EOF"),
        ("-", "unexpected EOF"),
        ("{\"a\":1,}", "invalid character ',' looking for beginning of value"),
        ("{\"a\":[1,]}", "invalid character ',' looking for beginning of value"),
        ("{a:1}", "invalid character 'a' looking for beginning of value"),
        ("{'a':1}", "invalid character '\\'' looking for beginning of value"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("}", "invalid character '}' looking for beginning of value"),
        ("{\"a\":.5}", "invalid character '.' looking for beginning of value"),
        ("{\"a\":+1}", "invalid character '+' looking for beginning of value"),
        ("{\"a\":1}x", "invalid character 'x' looking for beginning of value"),
        ("{\"a\":1}]", "invalid character ']' looking for beginning of value"),
        ("{\"a\":tru}", "invalid character '}' in literal true (expecting 'e')"),
        ("{\"a\":nulx}", "invalid character 'x' in literal null (expecting 'l')"),
        ("{\"a\":01}", "invalid character '1' after object key:value pair"),
        ("{\"a\":1 \"b\":2}", "invalid character '\"' after object key:value pair"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\":[1 2]}", "invalid character '2' after array element"),
        ("{\"a\":-}", "invalid character '}' in numeric literal"),
        ("{\"a\":1.}", "invalid character '}' in numeric literal"),
        ("{\"a\":1e}", "invalid character '}' in numeric literal"),
        ("{\"a\":--1}", "invalid character '-' in numeric literal"),
        ("{\"a\":\"\\u12\"}", "invalid escape sequence `\\u12\"}` in string"),
        ("{\"a\":\"\\x\"}", "invalid escape sequence `\\x` in string"),
        ("{\"a\":\"\u{1}\"}", "invalid character '\\x01' in string"),
        ("{\"a\":1e999}", "json: cannot unmarshal number 1e999 into Go value of type float64"),
    ] {
        check_text(body, Err(&format!("failed to decode JSON input: {text}")));
    }
}

#[test]
fn takes_what_is_right() {
    for body in [
        "{}",
        " {\"a\" : [ 1 , -0.5e+3 , true , false , null , \"\\u00e9\\ud83d\\ude00\\n\" , [] , {} ] } \n",
        "{\"a\":{\"b\":{\"c\":[[[]]]}},\"d\":0}",
        "{\"a\":123456789012345678901234567890}",
    ] {
        check_text(body, Ok(Whole::Object));
    }
    check_text("", Ok(Whole::Nothing));
    check_text(" \n\t", Ok(Whole::Nothing));
    check_text("null", Ok(Whole::Null));
    check_text("[1]", Ok(Whole::Array));
    check_text("\"a\"", Ok(Whole::String));
    check_text("12", Ok(Whole::Number));
    check_text("true", Ok(Whole::Bool));
}

/// Stricter than Go: what it would quietly change, we refuse.
#[test]
fn refuses_what_would_be_changed_in_passing() {
    let prefix = "failed to decode JSON input: ";
    check_text(b"{\"a\":\"\xff\"}", Err(&format!("{prefix}invalid UTF-8")));
    check_text("{\"a\":\"\\ud800\"}", Err(&format!("{prefix}invalid escape sequence `\\ud800` in string")));
    check_text("{\"a\":1} {\"b\":2}", Err(&format!("{prefix}invalid character '{{' after top-level value")));
}

#[test]
fn counts_strings_and_bytes() {
    let too_many = "refused JSON input due to high complexity: exceeded maximum number of strings";
    let too_large = "refused JSON input due to high complexity: exceeded maximum estimated memory limits";
    let list = |count: usize| format!("{{\"a\":[{}]}}", vec!["\"s\""; count].join(","));
    check_text(list(999), Ok(Whole::Object));
    check_text(list(1000), Err(too_many));
    let small = Limits { json_memory_max: Some(16 + 72 + 17 + 8), ..limits() };
    assert_eq!(check(b"{\"a\":1}", &small), Ok(Whole::Object));
    let error = check(b"{\"ab\":1}", &small).unwrap_err();
    assert_eq!(error.to_string(), too_large);
    let free = Limits { json_memory_max: None, json_strings_max: None, ..limits() };
    assert_eq!(check(list(100_000).as_bytes(), &free), Ok(Whole::Object));
}

#[test]
fn stops_at_a_depth() {
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    check_text(deep(119), Ok(Whole::Object));
    check_text(deep(120), Err("failed to decode JSON input: exceeded max depth"));
    check_text("[".repeat(1 << 20), Err("failed to decode JSON input: exceeded max depth"));
}

/// The parser that reads the body later must agree with the scan about what is JSON.
#[test]
fn agrees_with_the_parser_behind_it() {
    let seeds = [
        "{\"a\":[1,-0.5e+3,true,false,null,\"\\u00e9\",[],{}],\"b\":{\"c\":\"d\"}}",
        "{\"k\":\"\\ud83d\\ude00\",\"n\":-12.25E-2}",
        "[{},[[]],\"\\\\\\\"\"]",
    ];
    let alphabet = b"{}[]\",:\\untrfalse0123456789.eE+- \n\x01x";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut dice = move |sides: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(sides).unwrap()).unwrap()
    };
    for round in 0..60_000 {
        let mut text = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..=dice(3) {
            let at = dice(text.len());
            let byte = alphabet[dice(alphabet.len())];
            match dice(3) {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
        }
        let parsed = serde_json::from_slice::<serde_json::Value>(&text);
        let ours = check(&text, &limits());
        let shown = String::from_utf8_lossy(&text);
        match (&parsed, &ours) {
            (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
            // An empty body is no JSON to the parser, and a number may be too large for us alone.
            (Err(_), Ok(Whole::Nothing)) => {}
            (Ok(_), Err(Refused::Syntax(text))) if text.contains("float64") => {}
            _ => panic!("{shown}: the parser says {parsed:?}, we say {ours:?}"),
        }
    }
}
