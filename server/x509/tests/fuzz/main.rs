//! What lies in `corpus/` and everything near it: the readers answer, and what they answer holds together.
//!
//! Seeds are fixed, so a run says the same every time; `PROPTEST_CASES` makes it longer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on must stop")]

#[allow(dead_code, reason = "the tests of the engines use other parts of it")]
mod near;

use std::sync::LazyLock;

use near::{Node, config, ders, encode, near, near_text, near_values, parse, request_of, texts};
use proptest::prelude::*;
use x509::{
    Certificate, Error, NameConstraints, OcspQuestion, Padding, PrivateKey, Request, RevocationList, Scheme,
    Subject, pem, read_ocsp,
};

/// Two of the corpus: a root, and what it has issued.
static PAIR: LazyLock<(Certificate, Certificate)> = LazyLock::new(|| {
    let read = |at: usize| Certificate::from_pem(&texts("certificates")[at]).unwrap();
    (read(3), read(2))
});
static BODIES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| ders("requests").iter().map(|der| body(der)).collect());

/// A refusal says what is wrong in a sentence, and does not repeat what it was given.
#[track_caller]
fn says_why(error: &Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 500, "{text}");
}

/// What can be asked of a certificate can be asked of any.
fn look_at(certificate: &Certificate) {
    let again = Certificate::from_pem(&certificate.to_pem()).unwrap();
    assert_eq!((again.der(), again.serial()), (certificate.der(), certificate.serial()));
    for error in [
        certificate.subject().err(),
        certificate.issuer().err(),
        certificate.alt_names().err(),
        certificate.key_usage().err(),
        certificate.ext_key_usage().err(),
        certificate.scheme().err(),
        certificate.verify_issued_by(certificate).err(),
        NameConstraints::of(certificate).err(),
    ]
    .iter()
    .flatten()
    {
        says_why(error);
    }
    let _ = (certificate.ocsp_servers(), certificate.path_length(), certificate.subject_key_id());
    let _ = (certificate.authority_key_id(), certificate.is_self_signed(), certificate.fingerprint());
}

/// What is signed of a request.
fn body(der: &[u8]) -> Vec<u8> {
    match parse(der).unwrap().remove(0) {
        Node::Inner(_, _, parts) => encode(&parts[..1]),
        Node::Leaf(..) => panic!("a request has parts"),
    }
}

fn look_at_request(request: &Request) {
    request.public_key().check_strength().unwrap();
    let names = request.alt_names();
    assert!(names.dns.iter().chain(&names.email).chain(&names.uri).all(|name| name.is_ascii()));
    let _ = (request.wants_ca(), request.path_length(), request.key_usage());
    assert_eq!(Subject::from_der(request.subject_der()).unwrap(), *request.subject());
    let mut oids: Vec<_> = request.extensions().iter().map(|one| one.oid).collect();
    oids.sort();
    oids.dedup();
    assert_eq!(oids.len(), request.extensions().iter().count(), "each is there once");
}

proptest! {
    #![proptest_config(config(11, 2_000))]

    #[test]
    fn certificates_are_read_or_refused(der in near(ders("certificates"))) {
        match Certificate::from_der(&der) {
            Ok(certificate) => {
                prop_assert_eq!(certificate.der(), der.as_slice());
                look_at(&certificate);
            }
            Err(error) => says_why(&error),
        }
    }

    #[test]
    fn a_touched_request_is_none(der in near(ders("requests"))) {
        match Request::from_der(&der) {
            Ok(request) => {
                // How the algorithm is written down may differ, what was signed may not.
                prop_assert!(BODIES.contains(&body(&der)), "it was touched, and its signature holds");
                look_at_request(&request);
            }
            Err(error) => says_why(&error),
        }
    }

    #[test]
    fn whatever_is_asked_is_read_or_refused(body in near_values(BODIES.clone())) {
        match Request::from_der(&request_of(body)) {
            Ok(request) => look_at_request(&request),
            Err(error) => says_why(&error),
        }
    }

    #[test]
    fn lists_are_read_or_refused(der in near(ders("lists"))) {
        match RevocationList::from_der(&der) {
            Ok(list) => {
                prop_assert!(list.revoked.iter().all(|(serial, _)| list.revoked_at(serial).is_some()));
                prop_assert!(list.verify(PAIR.0.public_key()).is_err() || ders("lists").contains(&der.0));
            }
            Err(error) => says_why(&error),
        }
    }

    #[test]
    fn questions_are_read_or_refused(der in near(ders("questions"))) {
        match OcspQuestion::from_der(&der) {
            Ok(question) => {
                prop_assert!((1..=32).contains(&question.asked.len()));
                prop_assert!(question.nonce.is_none_or(|nonce| (1..=128).contains(&nonce.len())));
            }
            Err(error) => says_why(&error),
        }
    }

    #[test]
    fn a_touched_answer_says_nothing_else(der in near(ders("answers"))) {
        let (issuer, leaf) = &*PAIR;
        let now = leaf.validity().not_before + 3_600;
        match read_ocsp(&der, leaf, issuer, now) {
            Ok(standing) => prop_assert_eq!(standing, x509::Standing::Good),
            Err(error) => says_why(&error),
        }
    }

    #[test]
    fn text_is_read_or_refused(text in near_text([texts("certificates"), texts("requests"), texts("keys")].concat())) {
        match pem::blocks(&text) {
            Ok(blocks) => {
                for block in blocks {
                    let again = pem::encode(block.label, &block.der);
                    let again = pem::blocks(&again).unwrap();
                    prop_assert_eq!((again[0].label, &*again[0].der), (block.label, &*block.der));
                }
            }
            Err(error) => says_why(&error),
        }
        for error in [Certificate::from_pem(&text).err(), Request::from_pem(&text).err()].iter().flatten() {
            says_why(error);
        }
    }
}

proptest! {
    // Reading a private key works out whether its parts belong together.
    #![proptest_config(config(12, 300))]

    #[test]
    fn keys_sign_or_are_refused(der in near(ders("keys"))) {
        match PrivateKey::from_der(&der) {
            Ok(key) => {
                let scheme = Scheme::choose(key.public().shape(), 0, Padding::Pkcs1).unwrap();
                let signature = key.sign(scheme, b"message").unwrap();
                key.public().verify(scheme, b"message", &signature, "a test").unwrap();
            }
            Err(error) => {
                says_why(&error);
            }
        }
    }
}

/// The corpus itself is good, or the properties above hold of nothing.
#[test]
fn the_corpus_is_read() {
    for der in ders("certificates") {
        look_at(&Certificate::from_der(&der).unwrap());
        assert_eq!(encode(&parse(&der).unwrap()), der, "it comes apart and together again");
    }
    for der in ders("requests") {
        look_at_request(&Request::from_der(&der).unwrap());
    }
    for body in BODIES.iter() {
        look_at_request(&Request::from_der(&request_of(parse(body).unwrap())).unwrap());
    }
    ders("keys").iter().for_each(|der| drop(PrivateKey::from_der(der).unwrap()));
    ders("lists").iter().for_each(|der| drop(RevocationList::from_der(der).unwrap()));
    ders("questions").iter().for_each(|der| drop(OcspQuestion::from_der(der).unwrap()));
}

/// What is large in a way of its own costs no more than its length: else this would take minutes.
#[test]
fn large_input_is_refused_at_once() {
    let deep = |tag: u8| (0..5_000).fold(vec![], |inner: Vec<u8>, _| encode(&[Node::Leaf(tag, inner)]));
    let many = |node: Node, times: usize| encode(&[Node::Inner(0x30, vec![], vec![node; times])]);
    let extension = Node::Inner(0x30, vec![], vec![Node::Leaf(6, vec![85, 29, 17]), Node::Leaf(4, vec![])]);
    let ders = [
        deep(0x30),
        deep(0xa0),
        deep(0x04),
        many(extension, 8_000),
        many(Node::Leaf(2, vec![1]), 20_000),
        many(Node::Leaf(6, vec![0x81; 50]), 1_000),
        vec![0x30; 60_000],
        vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        vec![0x30, 0x80],
        vec![0; 10_000_000],
    ];
    for der in ders {
        says_why(&Certificate::from_der(&der).unwrap_err());
        says_why(&Request::from_der(&der).unwrap_err());
        says_why(&RevocationList::from_der(&der).unwrap_err());
        says_why(&OcspQuestion::from_der(&der).unwrap_err());
        says_why(&PrivateKey::from_der(&der).unwrap_err());
    }
    let megabytes = |piece: &str| piece.repeat(4_000_000 / piece.len());
    let begin = "-----BEGIN CERTIFICATE-----\n";
    let ends = "-----BEGIN A-----\n-----END A-----\n";
    for text in [
        megabytes(begin),
        megabytes("-----"),
        megabytes("-----BEGIN "),
        megabytes(ends),
        megabytes("-----END A-----\n"),
        format!("{begin}{}", megabytes("A")),
        format!("{begin}{}", megabytes("Proc-Type: 4,ENCRYPTED\n")),
        format!("{begin}{}-----END CERTIFICATE-----", megabytes("\n")),
        format!("{begin}{}-----END CERTIFICATE-----", megabytes("AAAA\n")),
    ] {
        says_why(&Certificate::from_pem(&text).unwrap_err());
        says_why(&Request::from_pem(&text).unwrap_err());
    }
}
