//! OCSP answers that caches may keep, and what they say of a revocation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::bench::Answer;
use crate::near::{Node, encode, parse};
use crate::{Desk, NOW, ready, text};

fn ask(desk: &Desk, bench: &crate::bench::Bench, nonce: &str) -> Answer {
    desk.openssl(&format!("ocsp -issuer ca.pem -cert l.pem {nonce} -reqout q.der"));
    let question = std::fs::read(desk.0.join("q.der")).unwrap();
    bench.get(&format!("ocsp/{}", STANDARD.encode(question))).is(200)
}

/// What another issuer of the mount has given out is no certificate of this one, whatever its number.
#[test]
fn a_number_of_another_issuer_is_unknown() {
    let (bench, desk) = (ready(), Desk::new("ocsp-other"));
    let other = bench
        .post("root/generate/internal", json!({"common_name": "Other", "key_type": "ec", "ttl": "700h"}));
    desk.put("other.pem", text(&other.is(200), "certificate")).put("ca.pem", bench.get("ca/pem").text);
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    desk.put("l.pem", text(&leaf, "certificate"));
    let serial = format!("0x{}", text(&leaf, "serial_number").replace(':', ""));
    let status = |issuer: &str| {
        desk.openssl(&format!("ocsp -issuer {issuer} -serial {serial} -no_nonce -reqout q.der"));
        let question = std::fs::read(desk.0.join("q.der")).unwrap();
        desk.put("a.der", &bench.get(&format!("ocsp/{}", STANDARD.encode(question))).is(200).bytes);
        desk.openssl(&format!(
            "ocsp -respin a.der -issuer {issuer} -serial {serial} -no_nonce -CAfile {issuer} -attime {}",
            NOW + 1
        ))
    };
    let expect = |issuer: &str, word: &str| {
        let said = status(issuer);
        assert!(said.contains(word), "{issuer}: {said}");
    };
    expect("ca.pem", "good");
    expect("other.pem", "unknown");
    bench.post("revoke", json!({"serial_number": leaf.data["serial_number"]})).is(200);
    expect("ca.pem", "revoked");
    expect("other.pem", "unknown");
}

#[test]
fn an_answer_to_a_get_may_be_kept_as_long_as_it_is_good() {
    let (mut bench, desk) = (ready(), Desk::new("ocsp-cache"));
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    desk.put("l.pem", text(&leaf, "certificate")).put("ca.pem", bench.get("ca/pem").text);
    bench.wait(600);
    let first = ask(&desk, &bench, "-no_nonce");
    let twelve_hours = 12 * 3600;
    let control = format!("max-age={}, public, no-transform, must-revalidate", twelve_hours - 600);
    assert_eq!(first.header("cache-control"), Some(control.as_str()));
    assert_eq!(first.header("last-modified"), Some("Thu, 01 Jan 2026 00:00:00 GMT"));
    assert_eq!(first.header("expires"), Some("Thu, 01 Jan 2026 12:00:00 GMT"));
    let again = ask(&desk, &bench, "-no_nonce");
    assert_eq!((again.header("etag"), &again.bytes), (first.header("etag"), &first.bytes));
    assert_eq!(
        ask(&desk, &bench, "-nonce").header("cache-control"),
        None,
        "it is for who sent the nonce alone"
    );

    let body = json!({"serial_number": text(&leaf, "serial_number"), "reason": "keyCompromise"});
    bench.post("revoke", body).is(200);
    let revoked = ask(&desk, &bench, "-no_nonce");
    assert_ne!(revoked.header("etag"), first.header("etag"));
    desk.put("a.der", &revoked.bytes);
    let check = format!(
        "ocsp -respin a.der -issuer ca.pem -cert l.pem -no_nonce -CAfile ca.pem -attime {}",
        NOW + 601
    );
    let said = desk.openssl(&check);
    assert!(said.contains("revoked") && said.contains("Reason: keyCompromise"), "{said}");
    bench.post("config/crl", json!({"ocsp_expiry": "0s"})).is(200);
    assert_eq!(ask(&desk, &bench, "-no_nonce").header("cache-control"), None, "it names no end");
}

/// What strangers write besides naming a certificate is neither repeated nor kept.
#[test]
fn a_question_names_a_certificate_and_nothing_else() {
    let (bench, desk) = (ready(), Desk::new("ocsp-junk"));
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    desk.put("l.pem", text(&leaf, "certificate")).put("ca.pem", bench.get("ca/pem").text);
    desk.openssl("ocsp -issuer ca.pem -cert l.pem -no_nonce -reqout q.der");
    let question = parse(&std::fs::read(desk.0.join("q.der")).unwrap()).unwrap();
    let ask = |change: fn(&mut Node)| {
        let mut nodes = question.clone();
        change_all(&mut nodes, change);
        bench.get(&format!("ocsp/{}", STANDARD.encode(encode(&nodes))))
    };
    ask(|_| {}).is(200);
    let wrong: [fn(&mut Node); 3] = [
        |node| {
            if matches!(node, Node::Leaf(5, _)) {
                *node = Node::Leaf(4, b"junk".repeat(3000));
            }
        },
        |node| match node {
            Node::Inner(0x30, _, children)
                if matches!(children[..], [Node::Leaf(6, _), Node::Leaf(5, _)]) =>
            {
                children.push(Node::Leaf(4, b"junk".to_vec()));
            }
            _ => {}
        },
        |node| match node {
            Node::Leaf(4, digest) if digest.len() == 20 => digest.push(0),
            _ => {}
        },
    ];
    for change in wrong {
        let answer = ask(change).is(400);
        assert_eq!(answer.bytes, [0x30, 3, 0x0a, 1, 1], "malformedRequest");
    }
}

fn change_all(nodes: &mut [Node], change: fn(&mut Node)) {
    for node in nodes {
        change(node);
        if let Node::Inner(_, _, children) = node {
            change_all(children, change);
        }
    }
}
