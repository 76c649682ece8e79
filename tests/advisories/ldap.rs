//! P, A. LDAP: what is typed stays a name, and a refusal tells nothing. The rest is in tests/e2e/ldap.rs.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::stage::{Stage, raw};

/// A directory that writes down what it is asked, says yes to every bind and finds nobody.
fn recorder() -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                // LDAPMessage: 30 length 02 01 id, then the operation.
                let (id, operation) = (bytes[4], bytes[5]);
                let kind = if operation == 0x63 { 0x65 } else { 0x61 };
                let _ = tell.send(bytes[..count].to_vec());
                if operation == 0x42
                    || stream.write_all(&[0x30, 0x0c, 2, 1, id, kind, 7, 0x0a, 1, 0, 4, 0, 4, 0]).is_err()
                {
                    break;
                }
            }
        }
    });
    (url, told)
}

fn stage(url: &str, more: Value) -> Stage {
    let stage = Stage::dev();
    stage.root.post("sys/auth/ldap", json!({"type": "ldap"})).must(204);
    let off = json!({"user_lockout_config": {"lockout_disable": true}});
    stage.root.post("sys/auth/ldap/tune", off).must(204);
    let mut config = json!({"url": url, "userdn": "dc=x", "userattr": "uid"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.root.post("auth/ldap/config", config).must(204);
    stage
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn row_159_a_name_is_a_name_in_filters_and_in_names_of_entries() {
    let (url, told) = recorder();
    let searching = stage(&url, json!({"discoverdn": true}));
    for (typed, name) in [("*%29%28uid=*", "*)(uid=*"), ("%5C2a", "\\2a"), ("x,ou=admins", "x,ou=admins")] {
        while told.try_recv().is_ok() {}
        let request = raw("POST", &format!("auth/ldap/login/{typed}")).json(&json!({"password": "pw"}));
        searching.anonymous().send(&request).must(400);
        let search = told.iter().find(|bytes| bytes[5] == 0x63).unwrap();
        // equalityMatch [3] of the attribute and the bytes as they were typed: no star, no parenthesis of it is syntax.
        let length = u8::try_from(name.len()).unwrap();
        let wanted = [&[0xa3, length + 7, 4, 3][..], b"uid", &[4, length], name.as_bytes()].concat();
        assert!(holds(&search, &wanted), "{name}: {search:02x?}");
    }
    let binding = stage(&url, json!({}));
    for (typed, dn) in [
        ("x,ou=admins", r"uid=x\2cou\3dadmins,dc=x"),
        ("%5C2a", r"uid=\5c2a,dc=x"),
        ("%23a", r"uid=\23a,dc=x"),
    ] {
        while told.try_recv().is_ok() {}
        // This directory says yes to everything, so this is a login: as whom is what counts.
        let request = raw("POST", &format!("auth/ldap/login/{typed}")).json(&json!({"password": "pw"}));
        binding.anonymous().send(&request).must(200);
        let bind = told.iter().find(|bytes| bytes[5] == 0x60).unwrap();
        assert!(holds(&bind, dn.as_bytes()), "{dn}: {bind:02x?}");
    }
    // What nobody can see is not sent at all.
    while told.try_recv().is_ok() {}
    let hidden = raw("POST", "auth/ldap/login/a%C2%ADb").json(&json!({"password": "pw"}));
    binding.anonymous().send(&hidden).must(400);
    assert!(told.try_recv().is_err());
}

#[test]
fn row_071_a_refusal_does_not_say_who_exists() {
    let (url, _told) = recorder();
    let stage = stage(&url, json!({"discoverdn": true}));
    let bodies: Vec<String> = ["nobody", "*", "a%5C00"]
        .iter()
        .map(|name| {
            let request = raw("POST", &format!("auth/ldap/login/{name}")).json(&json!({"password": "pw"}));
            stage.anonymous().send(&request).must(400).errors()
        })
        .collect();
    assert!(bodies.iter().all(|body| *body == "ldap operation failed: failed to bind as user"), "{bodies:?}");
}
