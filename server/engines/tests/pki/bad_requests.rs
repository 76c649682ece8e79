//! Requests that no careful authority signs: each is refused, with the rule that refused it.

use serde_json::json;
use x509::pem;

use crate::acme::{Client, open, refuses};
use crate::bench::Bench;
use crate::near::{Node, encode, parse, request_of};
use crate::{Desk, ready, role};

fn sequence(parts: Vec<Node>) -> Node {
    Node::Inner(0x30, vec![], parts)
}

fn oid(text: &[u8]) -> Node {
    Node::Leaf(6, text.to_vec())
}

/// A name of these values: common names, each with the tag of its string.
fn subject(names: &[(u8, &[u8])]) -> Node {
    let name = |(tag, value): &(u8, &[u8])| {
        let pair = sequence(vec![oid(&[85, 4, 3]), Node::Leaf(*tag, value.to_vec())]);
        Node::Inner(0x31, vec![], vec![pair])
    };
    sequence(names.iter().map(name).collect())
}

/// An extension of RFC 5280 by its last number.
fn extension(number: u8, value: Node) -> Node {
    sequence(vec![oid(&[85, 29, number]), Node::Leaf(4, encode(&[value]))])
}

/// What X.500 numbers, by a number with a byte that adds nothing.
fn longer(group: u8, number: u8, value: Node) -> Node {
    let value = if group == 29 { Node::Leaf(4, encode(&[value])) } else { value };
    sequence(vec![oid(&[85, group, 0x80, number]), value])
}

fn organization(kind: u8, value: &[u8]) -> Node {
    sequence(vec![oid(&[85, 4, 10]), Node::Leaf(kind, value.to_vec())])
}

/// Alternative names, each with the tag of its kind.
fn names(names: &[(u8, &[u8])]) -> Node {
    extension(17, sequence(names.iter().map(|(tag, value)| Node::Leaf(*tag, value.to_vec())).collect()))
}

/// An attribute that asks for these extensions.
fn wish(extensions: Vec<Node>) -> Node {
    let asks = oid(&[42, 134, 72, 134, 247, 13, 1, 9, 14]);
    sequence(vec![asks, Node::Inner(0x31, vec![], vec![sequence(extensions)])])
}

/// A request in DER, with a signature that holds.
fn request(subject: Node, attributes: Vec<Node>) -> Vec<u8> {
    let attributes = match attributes.is_empty() {
        true => Node::Leaf(0xa0, vec![]),
        false => Node::Inner(0xa0, vec![], attributes),
    };
    let key = Node::Leaf(5, vec![]);
    request_of(vec![sequence(vec![Node::Leaf(2, vec![0]), subject, key, attributes])])
}

const CN: (u8, &[u8]) = (0x0c, b"a.example.com");
const DNS: u8 = 0x82;

fn plain() -> Vec<u8> {
    request(subject(&[CN]), vec![wish(vec![names(&[(DNS, CN.1)])])])
}

/// A request of one common name that asks for this.
fn asking(attributes: Vec<Node>) -> Vec<u8> {
    request(subject(&[CN]), attributes)
}

fn named(kind: u8, value: &[u8]) -> Vec<u8> {
    asking(vec![wish(vec![names(&[(DNS, CN.1), (kind, value)])])])
}

fn to_pem(der: &[u8]) -> String {
    pem::encode(pem::REQUEST, der)
}

/// Numbers of things that are longer than they need be: others read another number there, or none.
fn long_numbers() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    vec![
        (
            "a number of an extension that is longer than it need be",
            asking(vec![wish(vec![names(&[(DNS, CN.1)]), longer(29, 19, Node::Leaf(5, vec![]))])]),
            "551d8013 is not in its shortest form",
        ),
        (
            "a number within an extension",
            asking(vec![wish(vec![extension(37, sequence(vec![oid(&[0x80, 43, 6, 1])]))])]),
            "802b0601 is not in its shortest form",
        ),
        (
            "a number in the subject",
            request(
                sequence(vec![Node::Inner(
                    0x31,
                    vec![],
                    vec![longer(4, 3, Node::Leaf(0x0c, b"x".to_vec()))],
                )]),
                vec![],
            ),
            "55048003 is not in its shortest form",
        ),
        (
            "a number of an attribute",
            asking(vec![sequence(vec![oid(&[42, 0x80, 3]), Node::Leaf(0x31, vec![])])]),
            "2a8003 is not in its shortest form",
        ),
    ]
}

/// What every door refuses, whoever may do what.
fn unsigned() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = plain();
    let mut touched = good.clone();
    let middle = touched.len() / 2;
    touched[middle] ^= 1;
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let many = |count: u32| {
        (0..count).map(|n| extension((n % 60) as u8 + 60, Node::Leaf(5, vec![]))).collect::<Vec<_>>()
    };
    let list: Vec<_> = (0..6_000).map(|n| format!("n{n}.example.com")).collect();
    let list: Vec<(u8, &[u8])> = list.iter().map(|name| (DNS, name.as_bytes())).collect();
    let indefinite = [&[0x30, 0x80], &good[4..], &[0, 0]].concat();
    let padded = [&[0x30, 0x84, 0, 0], &good[2..]].concat();
    vec![
        ("a part of one", good[..good.len() - 9].to_vec(), "cannot be read"),
        ("one with something behind it", [good.as_slice(), &[0]].concat(), "cannot be read"),
        ("a body that was touched", touched, ""),
        ("a signature that was touched", forged, "signature of the certificate request does not verify"),
        ("a length that ends nowhere", indefinite, "cannot be read"),
        ("a length that is longer than it need be", padded, "cannot be read"),
        (
            "two common names",
            request(subject(&[CN, (0x0c, b"b.example.com")]), vec![]),
            "more than one common name",
        ),
        (
            "a name that is no UTF-8",
            request(subject(&[(0x0c, b"a\xff.example.com")]), vec![]),
            "cannot be read",
        ),
        ("a name beyond ASCII", named(DNS, "b\u{fc}cher.example.com".as_bytes()), "cannot be read"),
        ("an address of five bytes", named(0x87, &[1, 2, 3, 4, 5]), "iPAddress"),
        (
            "an address in another's clothes",
            named(0x87, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]),
            "an IPv4 address in the form of an IPv6 address",
        ),
        (
            "an extension twice",
            asking(vec![wish(vec![names(&[(DNS, CN.1)]), names(&[(DNS, b"x.example.com")])])]),
            "the extension 2.5.29.17 twice",
        ),
        (
            "two wishes",
            asking(vec![wish(vec![names(&[(DNS, CN.1)])]), wish(vec![names(&[(DNS, b"x.example.com")])])]),
            "more than one attribute",
        ),
        (
            "a printable text with what none holds",
            request(sequence(vec![Node::Inner(0x31, vec![], vec![organization(0x13, b"a_b")])]), vec![]),
            "a value that is not what its type says",
        ),
        (
            "a date that is none in the subject",
            request(sequence(vec![Node::Inner(0x31, vec![], vec![organization(0x17, b"Org")])]), vec![]),
            "a value that is not what its type says",
        ),
        ("a hundred extensions", asking(vec![wish(many(100))]), "100 extensions; 64 are allowed"),
        ("names without end", asking(vec![wish(vec![names(&list)])]), "longer than 65536 bytes"),
    ]
}

#[track_caller]
fn all_refuse(bench: &Bench, doors: &[&str], what: &str, csr: &str, why: &str) {
    for door in doors {
        let answer = bench.post(door, json!({"csr": csr, "common_name": "a.example.com"}));
        let text = answer.errors.first().cloned().unwrap_or_default();
        assert_eq!(answer.status, 400, "{what} at {door}: {text}");
        assert!(text.contains(why), "{what} at {door}: {text:?} lacks {why:?}");
    }
}

const DOORS: [&str; 3] = ["sign/r", "sign-verbatim", "root/sign-intermediate"];

#[test]
fn what_does_not_read_or_hold_is_refused() {
    let bench = ready();
    bench.post("sign/r", json!({"csr": to_pem(&plain())})).is(200);
    for (what, der, why) in unsigned().into_iter().chain(long_numbers()) {
        all_refuse(&bench, &DOORS, what, &to_pem(&der), why);
    }
    for (csr, why) in [
        ("", "\"csr\" is empty"),
        ("hello", "csr contains no data"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no CERTIFICATE REQUEST block"),
        ("-----BEGIN CERTIFICATE REQUEST-----\n*\n-----END CERTIFICATE REQUEST-----", "not base64"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA", "no END line"),
    ] {
        all_refuse(&bench, &DOORS, csr, csr, why);
    }
}

#[test]
fn keys_that_can_be_broken_are_refused() {
    let bench = ready();
    role(&bench, json!({"key_type": "any"})).is(200);
    let desk = Desk::new("weak-keys");
    let made = |arguments: &str| desk.csr(&format!("{arguments} -subj /CN=a.example.com"));
    let rsa = made("-newkey rsa:2048");
    for (csr, why) in [
        (made("-newkey rsa:1024"), "RSA keys < 2048 bits are unsafe"),
        (made("-newkey rsa:2047"), "RSA keys < 2048 bits are unsafe"),
        (with_exponent(&rsa, 1), "public exponent"),
        (with_exponent(&rsa, 4), "public exponent"),
        (include_str!("weak/roca.csr.pem").to_owned(), "the RSA key is weak: it was made by a chip"),
        (include_str!("weak/close-primes.csr.pem").to_owned(), "the RSA key is weak: its two primes"),
        (made("-newkey ec -pkeyopt ec_paramgen_curve:secp256k1"), "the curve 1.3.132.0.10 is not accepted"),
        (made("-newkey ec -pkeyopt ec_paramgen_curve:P-224"), "is not accepted; use P-256"),
        (made("-newkey ed448"), "keys of the algorithm 1.3.101.113 are not accepted"),
        (
            made("-newkey rsa:2048 -sha1"),
            "1.2.840.113549.1.1.5 is not accepted; sign with RSA, ECDSA or Ed25519 over SHA-256",
        ),
    ] {
        all_refuse(&bench, &DOORS, why, &csr, why);
    }
    desk.openssl("ecparam -name prime256v1 -genkey -noout -out c.pem");
    desk.openssl("ec -in c.pem -conv_form compressed -out c.pem");
    desk.openssl("req -new -key c.pem -subj /CN=a.example.com -out c.csr");
    all_refuse(&bench, &DOORS, "compressed", &desk.text("c.csr"), "not an uncompressed point");
    let import = bench.post("keys/import", json!({"pem_bundle": include_str!("weak/roca.key.pem")}));
    import.refuses(400, "the RSA key is weak: it was made by a chip");
}

/// The same request with another public exponent. Its signature does not hold any more, but that is seen later.
fn with_exponent(csr: &str, exponent: u8) -> String {
    let der = pem::blocks(csr).unwrap().remove(0).der.to_vec();
    // 65537 as the last number of the key.
    let at = der.windows(5).position(|window| window == [2, 3, 1, 0, 1]).unwrap();
    let mut nodes = parse(&der).unwrap();
    assert!(replace(&mut nodes, &der[at..at + 5], exponent), "an RSA key holds its exponent");
    to_pem(&encode(&nodes))
}

fn replace(nodes: &mut [Node], whole: &[u8], exponent: u8) -> bool {
    nodes.iter_mut().any(|node| {
        if encode(std::slice::from_ref(node)) == whole {
            *node = Node::Leaf(2, vec![exponent]);
            return true;
        }
        match node {
            Node::Inner(_, _, children) => replace(children, whole, exponent),
            Node::Leaf(..) => false,
        }
    })
}

#[test]
fn what_a_role_does_not_allow_is_refused() {
    let bench = ready();
    let strict = json!({
        "allow_ip_sans": true, "allowed_ip_sans_cidr": "10.0.0.0/8", "allowed_uri_sans": "spiffe://x/*", "key_type": "ec",
    });
    role(&bench, strict).is(200);
    let other = [0x06, 3, 42, 3, 4, 0xa0, 3, 0x0c, 1, b'x'];
    let constraints = |value: Vec<Node>| asking(vec![wish(vec![extension(19, sequence(value))])]);
    for (what, der, why) in [
        (
            "another domain",
            named(DNS, b"a.example.org"),
            "subject alternate name a.example.org not allowed by this role",
        ),
        ("a wildcard above", named(DNS, b"*.org"), "not allowed by this role"),
        ("a NUL", named(DNS, b"a.example.com\0.evil.org"), "not allowed by this role"),
        ("a line of its own", named(DNS, b"a.example.com\nb"), "not allowed by this role"),
        ("a space", named(DNS, b"a .example.com"), "not allowed by this role"),
        ("no name at all", named(DNS, b""), "not allowed by this role"),
        ("a dot too many", named(DNS, b"a..example.com"), "not allowed by this role"),
        (
            "a label that is too long",
            named(DNS, &[[b'a'; 64].as_slice(), b".example.com"].concat()),
            "not allowed by this role",
        ),
        (
            "mail elsewhere",
            named(0x81, b"me@example.org"),
            "email address me@example.org not allowed by this role",
        ),
        ("an address elsewhere", named(0x87, &[192, 168, 0, 1]), "allowed_ip_sans_cidr [10.0.0.0/8]"),
        (
            "a URI elsewhere",
            named(0x86, b"spiffe://y/admin"),
            "URI Subject Alternative Names were provided via CSR",
        ),
        ("another kind of name", named(0xa0, &other), "allowed_other_sans"),
        ("a kind that no role judges", named(0x88, &[42, 3, 4]), "of the kind registeredID"),
        (
            "a common name elsewhere",
            request(subject(&[(0x0c, b"evil.org")]), vec![]),
            "common name evil.org not allowed",
        ),
        (
            "a common name of UTF-16",
            request(subject(&[(0x1e, b"\0e\0v\0i\0l")]), vec![]),
            "common name evil not allowed",
        ),
        ("a CA", constraints(vec![Node::Leaf(1, vec![0xff])]), "asks to become a CA"),
        (
            "a CA without end",
            constraints(vec![Node::Leaf(1, vec![0xff]), Node::Leaf(2, vec![9])]),
            "asks to become a CA",
        ),
    ] {
        all_refuse(&bench, &["sign/r"], what, &to_pem(&der), why);
    }
    let ca = constraints(vec![Node::Leaf(1, vec![0xff])]);
    all_refuse(&bench, &["sign-verbatim"], "a CA", &to_pem(&ca), "asks to become a CA");
    role(&bench, json!({"allow_any_name": true, "key_type": "any"})).is(200);
    let list: Vec<_> = (0..2_100).map(|n| format!("n{n}.example.com")).collect();
    let list: Vec<(u8, &[u8])> = list.iter().map(|name| (DNS, name.as_bytes())).collect();
    let many = asking(vec![wish(vec![names(&list)])]);
    all_refuse(&bench, &["sign/r"], "a list", &to_pem(&many), "there are more than 2048");
}

/// Whoever may have anything signed gets nothing that nobody could read, and nothing that a CA alone may have.
#[test]
fn what_no_certificate_may_say_is_refused_verbatim() {
    let bench = ready();
    let verbatim = |extensions: Vec<Node>| {
        let csr = to_pem(&asking(vec![wish(extensions)]));
        bench.post("sign-verbatim", json!({"csr": csr, "ttl": "1h"}))
    };
    let nothing = || Node::Leaf(5, vec![]);
    for number in [15, 17, 18, 30, 31, 32, 33, 36, 37, 46, 54] {
        // Alternative names are looked at wherever they are asked for.
        let answer = verbatim(vec![extension(number, nothing())]);
        let why = if number == 17 { "cannot be read" } else { "is not what it should be" };
        answer.refuses(400, why);
    }
    for number in [17, 31, 32, 37] {
        verbatim(vec![extension(number, sequence(vec![]))]).refuses(400, "is not what it should be");
    }
    let usage = |bits: &[u8]| extension(15, Node::Leaf(3, bits.to_vec()));
    verbatim(vec![usage(&[2, 4])]).refuses(400, "no CA's, and have the key usage to sign certificates");
    verbatim(vec![usage(&[7, 0])]).refuses(400, "is not what it should be");
    verbatim(vec![usage(&[5, 0xa1])]).refuses(400, "is not what it should be");
    let domain = sequence(vec![Node::Leaf(DNS, b"example.org".to_vec())]);
    let constraints = sequence(vec![Node::Inner(0xa0, vec![], vec![domain])]);
    verbatim(vec![extension(30, constraints)]).refuses(400, "no CA's, and have name constraints");
    verbatim(vec![usage(&[7, 0x80]), extension(99, nothing())]).is(200);
    assert_eq!(
        bench.list("certs").data["keys"].as_array().map(Vec::len),
        Some(2),
        "the root, and the last one"
    );
    role(&bench, json!({"key_usage": ["CertSign"]})).is(200);
    bench.post("issue/r", json!({"common_name": "a.example.com"})).refuses(400, "no CA's");
}

/// Certificates that come in are read by the same rule as requests; what was revoked before can be revoked again.
#[test]
fn a_certificate_with_a_number_in_a_longer_form_does_not_come_in() {
    let bench = ready();
    let root = bench.get("cert/ca").is(200);
    let der = pem::blocks(root.data["certificate"].as_str().unwrap()).unwrap().remove(0).der.to_vec();
    let mut nodes = parse(&der).unwrap();
    assert!(stretch(&mut nodes, &[85, 29, 19]), "a root has basic constraints");
    let strange = pem::encode(pem::CERTIFICATE, &encode(&nodes));
    for (door, field) in [
        ("issuers/import/bundle", "pem_bundle"),
        ("intermediate/set-signed", "certificate"),
        ("root/sign-self-issued", "certificate"),
    ] {
        bench.post(door, json!({field: strange})).refuses(400, "551d8013 is not in its shortest form");
    }
    bench.post("revoke", json!({"certificate": strange})).refuses(400, "not signed by any issuer");
}

/// Puts a byte that adds nothing into a number; tells whether it was there.
fn stretch(nodes: &mut [Node], number: &[u8]) -> bool {
    nodes.iter_mut().any(|node| match node {
        Node::Leaf(6, bytes) if bytes == number => {
            bytes.insert(number.len() - 1, 0x80);
            true
        }
        Node::Inner(_, _, children) => stretch(children, number),
        Node::Leaf(..) => false,
    })
}

/// A name is judged by the kind that it claims, and not by its look.
#[test]
fn names_that_are_not_of_their_kind_are_refused() {
    let bench = ready();
    let any = json!({"allow_any_name": true, "enforce_hostnames": false, "allowed_uri_sans": "*"});
    role(&bench, any).is(200);
    let good = named(DNS, b"my_host.example.com");
    for door in ["sign/r", "sign-verbatim"] {
        bench.post(door, json!({"csr": to_pem(&good), "ttl": "1h"})).is(200);
    }
    for (what, der) in [
        ("a mail address among the hosts", named(DNS, b"admin@x.example.com")),
        ("an address among the hosts", named(DNS, b"10.0.0.1")),
        ("a star alone", named(DNS, b"*")),
        ("spaces", named(DNS, b"-bad_.x y")),
        ("a last dot", named(DNS, b"a.example.com.")),
        ("a host among the mail addresses", named(0x81, b"x.example.com")),
        ("a mailbox that is none", named(0x81, b"a b<c>;\"@example.com")),
    ] {
        all_refuse(
            &bench,
            &["sign/r", "sign-verbatim"],
            what,
            &to_pem(&der),
            "in the alternative names is none",
        );
    }
    let stars = named(DNS, b"-bad_.*..x y");
    all_refuse(&bench, &["sign/r", "sign-verbatim"], "a star in the middle", &to_pem(&stars), "");
    let uri = named(0x86, b"no scheme");
    all_refuse(&bench, &["sign/r", "sign-verbatim"], "no URI", &to_pem(&uri), "is not a valid URI");
}

/// A key that others have is not certified again, by whatever door it comes.
#[test]
fn a_blocked_key_is_certified_no_more() {
    let bench = ready();
    role(&bench, json!({"key_type": "any", "allow_any_name": true})).is(200);
    let desk = Desk::new("blocked");
    let csr = desk.csr("-newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=a.example.com");
    let sign =
        |door: &str| bench.post(door, json!({"csr": csr, "common_name": "a.example.com", "ttl": "1h"}));
    let first = sign("sign/r").is(200);
    bench.list("blocked-keys").is(404);
    let body = json!({"serial_number": first.data["serial_number"], "reason": "superseded"});
    bench.post("revoke", body).is(200);
    let second = sign("sign/r").is(200);
    let body = json!({"serial_number": second.data["serial_number"], "reason": "keyCompromise"});
    bench.post("revoke", body).is(200);
    let keys = bench.list("blocked-keys").is(200).data["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 1);
    all_refuse(&bench, &DOORS, "a leaked key", &csr, "was revoked for keyCompromise; make a new one");
    role(&bench, json!({"key_type": "any", "allow_any_name": true, "no_store": true})).is(200);
    all_refuse(
        &bench,
        &["sign/r"],
        "without a record",
        &csr,
        "the key is blocked since 2026-01-01T00:00:00Z",
    );
    bench.post("issue/r", json!({"common_name": "a.example.com", "key_type": "ec"})).is(200);

    bench.delete(&format!("blocked-keys/{}", keys[0].as_str().unwrap())).is(204);
    sign("sign/r").is(200);
    // By its key alone, and why is told.
    desk.openssl("pkey -in k.pem -pubout -out p.pem");
    let body = json!({"certificate": desk.text("p.pem"), "reason": "on a list of leaked keys"});
    assert_eq!(bench.post("blocked-keys", body).is(200).data["key_id"], keys[0]);
    all_refuse(&bench, &DOORS, "a listed key", &csr, "on a list of leaked keys; make");
    bench.post("blocked-keys", json!({"key_id": "ab"})).refuses(400, "SHA-256 of the key's SPKI");
    bench.post("blocked-keys", json!({})).refuses(400, "give certificate or key_id");
    bench
        .post("blocked-keys", json!({"certificate": csr}))
        .refuses(400, "neither a certificate nor a public key");
}

/// What comes in by ACME is refused by the same rules, as a problem.
#[test]
fn acme_refuses_the_same() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let (bench, _) = open(json!({}));
    let client = Client::bound(&bench, "acme/", "a.example.com");
    let order = client.order(&["a.example.com"]).is(201);
    let finalize = format!("{}/finalize", client.rest(&json!(order.header("location").unwrap())));
    let weak = [include_str!("weak/roca.csr.pem"), include_str!("weak/close-primes.csr.pem")];
    let weak = weak
        .map(|text| ("a weak key", pem::blocks(text).unwrap().remove(0).der.to_vec(), "the RSA key is weak"));
    for (what, der, why) in unsigned().into_iter().chain(long_numbers()).chain(weak) {
        let answer = client.post(&finalize, json!({"csr": URL_SAFE_NO_PAD.encode(der)}));
        refuses(&answer, 400, "badCSR", why);
        assert!(!what.is_empty());
    }
    client.post(&finalize, json!({"csr": URL_SAFE_NO_PAD.encode(plain())})).is(200);
}
