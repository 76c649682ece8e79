//! What a role lets through.

use serde_json::{Value, json};

use crate::{Desk, as_entity, below, ready, role, said, sign};

#[track_caller]
fn principals(answer: crate::Answer) -> Vec<String> {
    below(&said(&answer.is(200)), "Principals:")
}

#[test]
fn users_are_those_of_the_role() {
    let bench = ready(json!({}));
    assert_eq!(principals(sign(&bench, json!({"valid_principals": "ann"}))), ["ann"]);
    for bad in ["root", "ann,root", "ann.", "Ann", "*", "ann\u{0}"] {
        let refused = sign(&bench, json!({ "valid_principals": bad }));
        assert_eq!(refused.status, 400, "{bad}");
    }
    sign(&bench, json!({"valid_principals": "root"}))
        .refuses(400, "root is not a valid value for valid_principals");
    role(&bench, json!({"allowed_users": "", "default_user": "ann"}));
    sign(&bench, json!({"valid_principals": null}))
        .refuses(400, "role is not configured to allow any principals");
    role(&bench, json!({"allowed_users": "bob", "default_user": "ann"}));
    sign(&bench, json!({"valid_principals": null})).refuses(400, "ann is not a valid value");
    role(&bench, json!({"allowed_users": "*"}));
    assert_eq!(principals(sign(&bench, json!({"valid_principals": "any one,other"}))), ["any one", "other"]);
    // One asterisk among others is a name.
    role(&bench, json!({"allowed_users": "ann,*"}));
    sign(&bench, json!({"valid_principals": "root"})).refuses(400, "root is not a valid value");
}

/// Nobody named means everybody: CVE-2024-7594.
#[test]
fn a_certificate_for_everybody_must_be_allowed_expressly() {
    let bench = ready(json!({}));
    let globally = "refusing to issue unsafe, globally-valid certificate";
    for changes in [
        json!({}),
        json!({"allowed_users": "*"}),
        json!({"allowed_users": ""}),
        json!({"allow_host_certificates": true, "allowed_domains": "*"}),
    ] {
        role(&bench, changes);
        for kind in ["user", "host"] {
            for nobody in [json!(null), json!(""), json!(" , ,")] {
                let refused = sign(&bench, json!({"valid_principals": nobody, "cert_type": kind}));
                assert_eq!(refused.status, 400, "{refused:?}");
            }
        }
        sign(&bench, json!({"valid_principals": null})).refuses(400, globally);
    }
    role(&bench, json!({"allow_empty_principals": true}));
    let said = said(&sign(&bench, json!({"valid_principals": null})).is(200));
    assert!(said.contains(&"Principals: (none)".to_owned()), "{said:?}");
}

#[test]
fn small_rsa_keys_are_signed_where_the_role_names_their_size() {
    let bench = ready(json!({}));
    let desk = Desk::new();
    let public = |bits: &str| desk.pair(&["-t", "rsa", "-b", bits]).1;
    let (small, usual) = (public("1024"), public("2048"));
    sign(&bench, json!({"public_key": usual})).is(200);
    sign(&bench, json!({"public_key": small})).refuses(400, "an rsa key of 1024 bits can be broken");
    role(&bench, json!({"allowed_user_key_lengths": {"rsa": [1024, 2048]}}));
    sign(&bench, json!({"public_key": small})).is(200);
}

#[test]
fn hosts_lie_in_the_domains_of_the_role() {
    let bench = ready(json!({}));
    let host = |name: &str| sign(&bench, json!({"cert_type": "host", "valid_principals": name})).status;
    let rules = |bare: bool, below: bool| {
        role(
            &bench,
            json!({"allow_user_certificates": false, "allow_host_certificates": true, "allowed_domains": "example.com, a.org",
            "allow_bare_domains": bare, "allow_subdomains": below}),
        );
    };
    for (bare, below, name, status) in [
        (false, true, "x.example.com", 200),
        (false, true, "x.y.a.org", 200),
        (false, true, "x.example.com,y.a.org", 200),
        (false, true, "example.com", 400),
        (false, true, "xexample.com", 400),
        (false, true, ".example.com", 400),
        (false, true, "x.example.com.evil.org", 400),
        (true, false, "example.com", 200),
        (true, false, "x.example.com", 400),
        (false, false, "example.com", 400),
    ] {
        rules(bare, below);
        assert_eq!(host(name), status, "{name} bare {bare} below {below}");
    }
    sign(&bench, json!({})).refuses(400, "cert_type 'user' is not allowed by role");
    sign(&bench, json!({"cert_type": "robot"})).refuses(400, "cert_type must be either 'user' or 'host'");
    role(&bench, json!({}));
    sign(&bench, json!({"cert_type": "host"})).refuses(400, "cert_type 'host' is not allowed by role");
}

#[test]
fn options_and_extensions_are_those_of_the_role() {
    let bench = ready(
        json!({"default_extensions": {"permit-pty": ""}, "default_critical_options": {"force-command": "/bin/true"}}),
    );
    let options = |answer: crate::Answer| {
        let said = said(&answer.is(200));
        (below(&said, "Critical Options"), below(&said, "Extensions"))
    };
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        options(sign(&bench, json!({}))),
        (strings(&["force-command /bin/true"]), strings(&["permit-pty"]))
    );
    sign(&bench, json!({"extensions": {"permit-x": "", "permit-a": ""}}))
        .refuses(400, "extensions [permit-a permit-x] are not on allowed list");
    // An empty list of critical options allows all: each only takes something away.
    let asked = json!({"critical_options": {"source-address": "10.0.0.0/8"}});
    assert_eq!(options(sign(&bench, asked.clone())).0, strings(&["source-address 10.0.0.0/8"]));
    role(
        &bench,
        json!({"allowed_critical_options": "force-command, verify-required", "allowed_extensions": "permit-pty,permit-user-rc"}),
    );
    sign(&bench, asked).refuses(400, "critical options not on allowed list: [source-address]");
    let asked = json!({"critical_options": {"force-command": "id"}, "extensions": {"permit-user-rc": ""}});
    assert_eq!(options(sign(&bench, asked)), (strings(&["force-command id"]), strings(&["permit-user-rc"])));
    role(&bench, json!({"allowed_extensions": "*"}));
    assert_eq!(options(sign(&bench, json!({"extensions": {"permit-x11-forwarding": ""}}))).1.len(), 1);
    for bad in
        [json!("permit-pty"), json!(["permit-pty"]), json!({"a": {}}), json!({"": ""}), json!({"a\n": ""})]
    {
        sign(&bench, json!({ "extensions": bad })).refuses(400, "field \"extensions\"");
    }
}

#[test]
fn lifetimes_end_where_the_role_ends_them() {
    let bench = ready(json!({"ttl": "1h", "max_ttl": "2h"}));
    sign(&bench, json!({"ttl": "3h"})).refuses(400, "ttl is larger than maximum allowed 7200");
    sign(&bench, json!({"ttl": "-5"})).refuses(400, "cannot provide negative value '-5'");
    sign(&bench, json!({"ttl": "soon"})).refuses(400, "field \"ttl\"");
    let end = |answer: crate::Answer| {
        let said = said(&answer.is(200));
        said.iter().find(|line| line.starts_with("Valid:")).unwrap().rsplit_once(" to ").unwrap().1.to_owned()
    };
    assert_ne!(end(sign(&bench, json!({}))), end(sign(&bench, json!({"ttl": "2h"}))));
    role(&bench, json!({"ttl": "0", "max_ttl": "2h"}));
    // The mount's default is longer than the role's maximum, which then counts.
    assert_eq!(end(sign(&bench, json!({}))), end(sign(&bench, json!({"ttl": 7200}))));
    let longer = json!({"key_type": "ca", "allow_user_certificates": true, "ttl": "2h", "max_ttl": "1h"});
    bench.post("roles/x", longer).refuses(400, "\"ttl\" value must be less than \"max_ttl\"");
}

#[test]
fn keys_are_those_of_the_role() {
    let (bench, desk) =
        (ready(json!({"allowed_user_key_lengths": {"rsa": [2048, 3072], "ec": 256}})), Desk::new());
    sign(&bench, json!({})).refuses(400, "key requirements: key of type ed25519 is not allowed");
    let (_, p521) = desk.pair(&["-t", "ecdsa", "-b", "521"]);
    sign(&bench, json!({ "public_key": p521 }))
        .refuses(400, "key requirements: key is of an invalid size: 521");
    let (_, p256) = desk.pair(&["-t", "ecdsa", "-b", "256"]);
    sign(&bench, json!({ "public_key": p256 })).is(200);
    let issue = |body: Value| bench.post("issue/r", body);
    issue(json!({"key_type": "ed25519"}))
        .refuses(400, "provided key_type value not in allowed_user_key_types");
    issue(json!({"key_type": "ec", "key_bits": 384}))
        .refuses(400, "provided key_bits value not in list of role's allowed_user_key_types");
    issue(json!({"key_type": "ec", "valid_principals": "ann"})).is(200);
    let bad =
        json!({"key_type": "ca", "allow_user_certificates": true, "allowed_user_key_lengths": {"rsa": "x"}});
    bench.post("roles/x", bad).refuses(400, "field \"allowed_user_key_lengths\"");
}

#[test]
fn a_key_id_is_chosen_only_where_the_role_lets_it() {
    let mut bench = ready(json!({}));
    let id = |answer: crate::Answer| {
        let said = said(&answer.is(200));
        said.iter().find_map(|line| line.strip_prefix("Key ID: ")).unwrap().to_owned()
    };
    const HASH_SIZE: usize = 64;
    sign(&bench, json!({"key_id": "root"})).refuses(400, "setting key_id is not allowed by role");
    assert_eq!(id(sign(&bench, json!({}))).len(), "\"vault-\"".len() + HASH_SIZE);
    bench.caller.display_name = "userpass-ann".to_owned();
    assert!(id(sign(&bench, json!({}))).starts_with("\"vault-userpass-ann-"));
    role(&bench, json!({"key_id_format": "{{role_name}}/{{token_display_name}}/{{nope}}"}));
    assert_eq!(id(sign(&bench, json!({}))), "\"r/userpass-ann/{{nope}}\"");
    role(&bench, json!({"allow_user_key_ids": true}));
    assert_eq!(id(sign(&bench, json!({"key_id": "mine"}))), "\"mine\"");
    sign(&bench, json!({"key_id": "two\nlines"})).refuses(400, "without control characters");
    sign(&bench, json!({"key_id": "x".repeat(5000)})).refuses(400, "at most 4096 bytes");
}

#[test]
fn templates_speak_of_the_caller_and_of_nobody_else() {
    let mut bench = ready(
        json!({"allowed_users": "{{identity.entity.metadata.login}},bob", "allowed_users_template": true}),
    );
    // Somebody unknown: what stands there literally counts, the template grants nothing.
    assert_eq!(principals(sign(&bench, json!({"valid_principals": "bob"}))), ["bob"]);
    sign(&bench, json!({"valid_principals": "{{identity.entity.metadata.login}}"}))
        .refuses(400, "is not a valid value");
    as_entity(&mut bench, &[("login", "ann1")]);
    assert_eq!(principals(sign(&bench, json!({"valid_principals": "ann1"}))), ["ann1"]);
    sign(&bench, json!({"valid_principals": "ann"})).refuses(400, "ann is not a valid value");
    as_entity(&mut bench, &[]);
    sign(&bench, json!({"valid_principals": "bob"}))
        .refuses(400, "no value could be found for one of the template directives");
    for (value, character) in [("ann,root", ","), ("*", "*")] {
        as_entity(&mut bench, &[("login", value)]);
        sign(&bench, json!({"valid_principals": "root"}))
            .refuses(400, &format!("template substitution contains forbidden value: \"{character}\""));
    }
    let with = |more: Value| {
        let mut body =
            json!({"allowed_users": "{{identity.entity.metadata.login}}", "allowed_users_template": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    role(&bench, with(json!({"allow_wildcards_in_identity_templates": true})));
    // It is a name then, not anybody's.
    sign(&bench, json!({"valid_principals": "root"})).refuses(400, "root is not a valid value");
    as_entity(&mut bench, &[("login", "ann,root")]);
    role(&bench, with(json!({"allow_commas_in_identity_templates": true})));
    assert_eq!(principals(sign(&bench, json!({"valid_principals": "root"}))), ["root"]);
}

#[test]
fn defaults_are_filled_in_for_the_caller() {
    let mut bench = ready(json!({
        "allowed_users": "*", "default_user": "u-{{identity.entity.name}}", "default_user_template": true,
        "default_extensions": {"permit-pty": "", "login@example.com": "{{identity.entity.metadata.login}}"},
        "default_extensions_template": true,
    }));
    sign(&bench, json!({"valid_principals": null})).refuses(400, "could not be rendered");
    let unknown = sign(&bench, json!({})).is(200);
    assert!(unknown.warnings[0].contains("lacked identity entity information"));
    assert_eq!(below(&said(&unknown), "Extensions:"), ["permit-pty"]);
    as_entity(&mut bench, &[("login", "ann1")]);
    let known = sign(&bench, json!({"valid_principals": null})).is(200);
    assert_eq!(below(&said(&known), "Principals:"), ["u-ann"]);
    let extensions = below(&said(&known), "Extensions:");
    assert!(
        extensions[0].starts_with("login@example.com UNKNOWN OPTION: 00000004616e6e31"),
        "{extensions:?}"
    );
    as_entity(&mut bench, &[]);
    sign(&bench, json!({})).refuses(400, "no value could be found");
}
