use serde_json::json;

use super::*;

const AUTH: Record = Record { name: "pb.Auth", fields: &["policies", "display_name", "alias"] };
const ALIAS: Record = Record { name: "logical.Alias", fields: &["name"] };

fn scope() -> Scope {
    Scope::new(&["claims", "now", "operation"], &[AUTH, ALIAS])
}

fn claims() -> Json {
    json!({"sub": "ann", "groups": ["dev", "ops"], "n": 5, "half": 0.5, "o": {"x": true}, "email": "a@b.c"})
}

fn evaluate(expression: &str) -> Result<Outcome, String> {
    let program = Program::of(expression);
    program.check(&scope())?;
    let claims = claims();
    let facts = [
        ("claims", Fact::Json(&claims)),
        ("now", Fact::Time(Time(1_700_000_000_000_000_000))),
        ("operation", Fact::Text("update")),
    ];
    program.evaluate(&scope(), &facts)
}

#[track_caller]
fn check(expression: &str, expect: Json) {
    assert_eq!(evaluate(expression), Ok(Outcome::Plain(expect)), "{expression}");
}

#[track_caller]
fn refused(expression: &str, expect: &str) {
    let text = evaluate(expression).unwrap_err();
    assert!(text.contains(expect), "{expression}: {text}");
}

#[test]
fn programs_say_what_the_language_says() {
    check("claims.sub == 'ann' && 'ops' in claims.groups", json!(true));
    check("claims.groups.exists(g, g.startsWith('o'))", json!(true));
    check("claims.groups.map(g, 'team-' + g)", json!(["team-dev", "team-ops"]));
    check("claims.groups.filter(g, g != 'dev').join(',')", json!("ops"));
    check("claims.n > 4 ? 'many' : false", json!("many"));
    check("[claims.n, claims.half, 7, 2u]", json!([5, 0.5, 7, 2]));
    check("now > timestamp('2020-01-01T00:00:00Z')", json!(true));
    check("[string(now), now]", json!(["2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z"]));
    check("duration('90m')", json!("5400s"));
    check("has(claims.sub) && !has(claims.nope)", json!(true));
    check("claims.?nope.orValue('none')", json!("none"));
    check("claims.email.matches('^[a-z]+@')", json!(true));
    check("[check_valid_email(claims.email), check_valid_email('no')]", json!([true, false]));
    check("decode_json(encode_json(claims)).o.x", json!(true));
    check("'%s is %d'.format([operation, 3])", json!("update is 3"));
    check("base64.encode(b'abc') + string(math.abs(-3))", json!("YWJj3"));
    check("type(claims.n) == double", json!(true));
    check("{'a': {'b': null}}", json!({"a": {"b": null}}));
}

#[test]
fn records_are_made_with_the_fields_that_were_set() {
    let made = evaluate("pb.Auth{policies: claims.groups, alias: logical.Alias{name: claims.sub}}").unwrap();
    let fields = json!({"policies": ["dev", "ops"], "alias": {"name": "ann"}});
    let Json::Object(fields) = fields else { panic!("it is an object") };
    assert_eq!(made, Outcome::Record { name: "pb.Auth".to_owned(), fields });
    refused("pb.Auth{nope: 1}", "undefined field 'nope'");
    refused("pb.Alias{name: 'x'}", "undeclared reference to 'pb.Alias' (in container '')");
}

#[test]
fn variables_see_those_before_them() {
    let program: Program = serde_json::from_value(json!({
        "variables": [{"name": "a", "expression": "claims.sub + '!'"}, {"name": "b", "expression": "a + a"}],
        "expression": "b"
    }))
    .unwrap();
    program.check(&scope()).unwrap();
    let claims = claims();
    let come = program.evaluate(&scope(), &[("claims", Fact::Json(&claims))]);
    assert_eq!(come, Ok(Outcome::Plain(json!("ann!ann!"))));
}

#[test]
fn what_is_not_there_is_refused_before_anything_runs() {
    refused("foo", "undeclared reference to 'foo' (in container '')");
    refused("foo(1)", "undeclared reference to 'foo' (in container '')");
    refused("claims.sub.foo()", "undeclared reference to 'foo' (in container '')");
    refused("lists.range(1000000000)", "undeclared reference to 'lists.range'");
    refused("1 +", "invalid CEL syntax for main expression");
    refused("", "invalid CEL syntax for main expression");
    refused("claims.groups.map(g, x)", "undeclared reference to 'x'");
}

#[test]
fn no_value_stands_in_what_is_said_about_a_failure() {
    refused("claims.nope", "no such key: nope");
    for expression in [
        "int(claims.sub)",
        "claims.o[claims.sub]",
        "claims.sub + 1",
        "claims.sub < 1",
        "duration(claims.sub)",
        "timestamp(claims.email)",
        "claims.groups[9]",
        "decode_json(claims.sub)",
        "'a'.matches(claims.sub + '(')",
        "-claims.sub == 1",
        "{claims.sub: 1, 'ann': 2}",
    ] {
        let text = evaluate(expression).expect_err(expression).replace(expression, "");
        assert!(
            !text.contains("ann") && !text.contains("a@b") && !text.contains("ops"),
            "{expression}: {text}"
        );
    }
}

#[test]
fn too_much_work_is_refused_before_it_begins() {
    let many: Vec<Json> = (0..200).map(|number| json!(format!("group-{number}"))).collect();
    let claims = json!({ "groups": many, "text": "x".repeat(10_000) });
    let run = |program: &Program| program.evaluate(&scope(), &[("claims", Fact::Json(&claims))]);
    let fine = "claims.groups.all(g, g.matches('^group-[0-9]+$')) && claims.groups.exists(a, claims.groups.exists(b, a == b))";
    assert_eq!(run(&Program::of(fine)), Ok(Outcome::Plain(json!(true))));
    for costly in [
        "claims.groups.map(a, claims.groups.map(b, claims.groups.map(c, a + b + c)))",
        "claims.groups.map(a, claims.groups.map(b, claims.groups.map(c, claims.groups)))",
        "claims.text.replace('', claims.text).replace('', claims.text)",
        "claims.text.split('').map(a, claims.text.split('').map(b, a + b))",
        "claims.text.split('').all(a, a.matches(claims.text))",
        "[claims.text.indexOf(claims.text.substring(1)), claims.text.indexOf(claims.text)]",
    ] {
        let text = run(&Program::of(costly)).expect_err(costly);
        assert!(text.contains("too much"), "{costly}: {text}");
    }
    let doubling = Program {
        variables: (0..60)
            .map(|number| Variable {
                name: format!("v{number}"),
                expression: if number == 0 {
                    "claims.text".to_owned()
                } else {
                    format!("v{0} + v{0}", number - 1)
                },
            })
            .collect(),
        expression: "size(v59)".to_owned(),
    };
    let text = run(&doubling).unwrap_err();
    assert!(text.contains("too much"), "{text}");
}

/// Deep and long programs are refused with a sentence, on a small stack.
#[test]
fn hostile_texts_are_refused_on_a_small_stack() {
    let hostile = [
        "(".repeat(4_000),
        "[".repeat(4_000),
        "1".to_owned() + &"+1".repeat(2_000),
        "claims".to_owned() + &".a".repeat(2_000),
        "claims".to_owned() + &"[0]".repeat(1_300),
        "true".to_owned() + &"?true:true".repeat(400),
        "claims.map(x, ".repeat(200) + "1" + &")".repeat(200),
        "x".repeat(5_000),
        "'\u{0}\\u{D800}'".to_owned(),
        "\"\"\"".to_owned(),
    ];
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        for text in hostile {
            assert!(evaluate(&text).is_err(), "{text:.40}");
        }
        check(&format!("1{}", "+1".repeat(90)), json!(91));
        // An even number of these is none.
        check(&("!".repeat(4_000) + "true"), json!(true));
        check(&("-".repeat(4_000) + "1"), json!(1));
    });
    thread.unwrap().join().unwrap();
}
