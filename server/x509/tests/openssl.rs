//! What this crate writes, judged by openssl, and what openssl writes, read by this crate.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may panic

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use x509::*;

const NOW: u64 = 1_800_000_000;
const YEAR: u64 = 365 * 86_400;
const SHAPES: [(&str, u64); 6] =
    [("rsa", 2048), ("rsa", 3072), ("ec", 256), ("ec", 384), ("ec", 521), ("ed25519", 0)];

/// A folder of its own for each test.
struct Desk(PathBuf);

impl Desk {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("x509-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Desk(path)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        fs::write(self.0.join(name), bytes).unwrap();
        self
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) -> String {
        let (good, text) = self.try_openssl(arguments);
        assert!(good, "openssl {arguments}: {text}");
        text
    }

    fn try_openssl(&self, arguments: &str) -> (bool, String) {
        let out = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.0).output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}

struct Ca {
    certificate: Certificate,
    key: PrivateKey,
    scheme: Scheme,
}

fn shape((key_type, bits): (&str, u64)) -> KeyShape {
    KeyShape::parse(key_type, bits).unwrap()
}

fn serial(n: u8) -> Serial {
    Serial::new(u64::from(n), [n; 14])
}

fn root(kind: (&str, u64), padding: Padding, signature_bits: u64) -> Ca {
    let key = PrivateKey::generate(shape(kind)).unwrap();
    let scheme = Scheme::choose(key.public().shape(), signature_bits, padding).unwrap();
    let subject =
        Subject { organization: vec!["Grün AG".into()], ..Subject::common_name("Root") }.to_der().unwrap();
    let id = key.public().key_id();
    let extensions = Extensions::new()
        .key_usage(KeyUsage::CA)
        .certificate_authority(None)
        .subject_key_id(&id)
        .authority_key_id(&id);
    let template = Template {
        serial: &serial(1),
        validity: Validity { not_before: NOW, not_after: NOW + 10 * YEAR },
        subject: &subject,
        public_key: key.public(),
        extensions: &extensions,
    };
    let der = template.sign(&subject, &key, scheme).unwrap();
    Ca { certificate: Certificate::from_der(&der).unwrap(), key, scheme }
}

fn intermediate(above: &Ca, request: &Request) -> Certificate {
    let domains = Subtrees { dns: vec!["example.com".to_owned()], ..Subtrees::default() };
    let extensions = Extensions::new()
        .key_usage(KeyUsage::CA)
        .certificate_authority(Some(0))
        .subject_key_id(&request.public_key().key_id())
        .authority_key_id(&above.certificate.subject_key_id().unwrap())
        .name_constraints(&domains, &Subtrees::default())
        .unwrap();
    let template = Template {
        serial: &serial(2),
        validity: Validity { not_before: NOW, not_after: NOW + 5 * YEAR },
        subject: request.subject_der(),
        public_key: request.public_key(),
        extensions: &extensions,
    };
    let der = template.sign(above.certificate.subject_der(), &above.key, above.scheme).unwrap();
    Certificate::from_der(&der).unwrap()
}

fn leaf(above: &Ca, key: &PrivateKey, n: u8) -> Certificate {
    let urls = |path: &str| vec![format!("http://pki.example.com/{path}")];
    let names = AltNames {
        dns: vec!["a.example.com".into(), "*.b.example.com".into()],
        ip: vec!["10.0.0.1".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        email: vec!["a@example.com".into()],
        uri: vec!["spiffe://td/a".into()],
        other: vec![OtherName::parse("1.3.6.1.4.1.311.20.2.3;UTF8:a@example.com").unwrap()],
        unreadable: vec![],
    };
    let extensions = Extensions::new()
        .key_usage(KeyUsage::parse(&["DigitalSignature", "KeyAgreement"]).unwrap())
        .ext_key_usage(&[ExtKeyUsage::SERVER_AUTH, ExtKeyUsage::CLIENT_AUTH])
        .subject_key_id(&key.public().key_id())
        .authority_key_id(&above.certificate.subject_key_id().unwrap())
        .authority_access(&urls("ocsp"), &urls("ca"))
        .unwrap()
        .alt_names(&names, false)
        .unwrap()
        .policies(&[Policy {
            oid: ObjectIdentifier::new_unwrap("1.3.6.1.4.1.1.1"),
            cps: Some("http://pki.example.com/cps".into()),
            notice: Some("as is".into()),
        }])
        .unwrap()
        .crl_points(&urls("crl"))
        .unwrap();
    let subject = Subject {
        country: vec!["DE".into()],
        organizational_unit: vec!["one".into(), "two".into()],
        ..Subject::common_name("a.example.com")
    };
    let template = Template {
        serial: &serial(n),
        validity: Validity { not_before: NOW, not_after: NOW + YEAR },
        subject: &subject.to_der().unwrap(),
        public_key: key.public(),
        extensions: &extensions,
    };
    let der = template.sign(above.certificate.subject_der(), &above.key, above.scheme).unwrap();
    Certificate::from_der(&der).unwrap()
}

#[test]
fn chains_of_every_kind_verify() {
    for kind in SHAPES {
        let desk = Desk::new(&format!("chain-{}{}", kind.0, kind.1));
        let root = root(kind, Padding::Pkcs1, 0);
        let key = PrivateKey::generate(shape(("ec", 256))).unwrap();
        let scheme = Scheme::choose(key.public().shape(), 0, Padding::Pkcs1).unwrap();
        let subject = Subject::common_name("Intermediate").to_der().unwrap();
        let request = RequestTemplate { subject: &subject, extensions: &Extensions::new() };
        let request = Request::from_der(&request.sign(&key, scheme).unwrap()).unwrap();
        let middle = Ca { certificate: intermediate(&root, &request), key, scheme };
        let holder = PrivateKey::generate(shape(("ed25519", 0))).unwrap();
        let leaf = leaf(&middle, &holder, 3);
        desk.put("root.pem", root.certificate.to_pem())
            .put("middle.pem", middle.certificate.to_pem())
            .put("leaf.pem", leaf.to_pem());
        desk.openssl(&format!(
            "verify -x509_strict -purpose sslserver -attime {} -CAfile root.pem -untrusted middle.pem leaf.pem",
            NOW + 60
        ));
        let pool = [root.certificate.clone(), middle.certificate.clone()];
        assert_eq!(chain_of(&leaf, &pool), [&middle.certificate, &root.certificate]);
        assert!(root.certificate.is_self_signed() && !middle.certificate.is_self_signed());
        assert!(leaf.verify_issued_by(&root.certificate).is_err());
        assert_eq!((middle.certificate.is_ca(), middle.certificate.path_length()), (true, Some(0)));
    }
}

#[test]
fn rsa_signs_as_it_is_told() {
    for (padding, bits, name) in [
        (Padding::Pkcs1, 384, "sha384WithRSAEncryption"),
        (Padding::Pkcs1, 512, "sha512WithRSAEncryption"),
        (Padding::Pss, 256, "rsassaPss"),
        (Padding::Pss, 512, "rsassaPss"),
    ] {
        let desk = Desk::new(&format!("rsa-{padding:?}-{bits}"));
        let root = root(("rsa", 2048), padding, bits);
        desk.put("root.pem", root.certificate.to_pem());
        assert!(desk.openssl("x509 -in root.pem -noout -text").contains(name));
        desk.openssl(&format!("verify -check_ss_sig -attime {} -CAfile root.pem root.pem", NOW + 60));
    }
}

#[test]
fn a_leaf_says_what_it_was_told_to_say() {
    let desk = Desk::new("leaf");
    let root = root(("ec", 256), Padding::Pkcs1, 0);
    let key = PrivateKey::generate(shape(("ec", 256))).unwrap();
    let leaf = leaf(&root, &key, 9);
    let text = desk
        .put("leaf.pem", leaf.to_pem())
        .openssl("x509 -in leaf.pem -noout -text -nameopt RFC2253,-esc_msb");
    for expected in [
        "DNS:a.example.com, DNS:*.b.example.com, email:a@example.com, URI:spiffe://td/a, IP Address:10.0.0.1, \
         IP Address:2001:DB8:0:0:0:0:0:7, othername: UPN::a@example.com",
        "X509v3 Key Usage: critical\n                Digital Signature, Key Agreement",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "OCSP - URI:http://pki.example.com/ocsp",
        "CA Issuers - URI:http://pki.example.com/ca",
        "URI:http://pki.example.com/crl",
        "Policy: 1.3.6.1.4.1.1.1",
        "Explicit Text: as is",
        "CN=a.example.com,OU=two,OU=one,C=DE",
        "Issuer: CN=Root,O=Grün AG",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let serial = desk.openssl("x509 -in leaf.pem -noout -serial");
    assert_eq!(serial.trim().to_lowercase(), format!("serial={}", leaf.serial().colons().replace(':', "")));
    let read = leaf.alt_names().unwrap();
    assert_eq!((read.len(), leaf.validity().not_after), (7, NOW + YEAR));
    assert_eq!(leaf.subject().unwrap().organizational_unit, ["one", "two"]);
    assert!(
        desk.openssl("x509 -in leaf.pem -noout -ext subjectKeyIdentifier")
            .replace(':', "")
            .to_lowercase()
            .contains(&hex(&key.public().key_id()))
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn openssl_reads_our_keys_and_we_read_its() {
    for kind in SHAPES {
        let desk = Desk::new(&format!("keys-{}{}", kind.0, kind.1));
        let key = PrivateKey::generate(shape(kind)).unwrap();
        for encoding in [KeyEncoding::Traditional, KeyEncoding::Pkcs8] {
            desk.put("key.pem", key.to_pem(encoding).unwrap().as_bytes());
            desk.openssl("pkey -in key.pem -check -noout");
            desk.openssl("pkey -in key.pem -out other.pem");
            assert_eq!(PrivateKey::from_pem(&desk.text("other.pem")).unwrap().public(), key.public());
        }
    }
    let desk = Desk::new("keys-traditional");
    desk.openssl("ecparam -name secp384r1 -genkey -noout -out ec.pem");
    desk.openssl("genrsa -traditional -out rsa.pem 2048");
    assert_eq!(PrivateKey::from_pem(&desk.text("ec.pem")).unwrap().public().shape().bits, 384);
    assert_eq!(PrivateKey::from_pem(&desk.text("rsa.pem")).unwrap().public().shape().family, Family::Rsa);
}

#[test]
fn requests_travel_both_ways() {
    let desk = Desk::new("request");
    let key = PrivateKey::generate(shape(("ec", 384))).unwrap();
    let scheme = Scheme::choose(key.public().shape(), 0, Padding::Pkcs1).unwrap();
    let names = AltNames { dns: vec!["x.example.com".into()], ..AltNames::default() };
    let extensions = Extensions::new().certificate_authority(Some(1)).alt_names(&names, false).unwrap();
    let subject = Subject::common_name("x.example.com").to_der().unwrap();
    let der = RequestTemplate { subject: &subject, extensions: &extensions }.sign(&key, scheme).unwrap();
    desk.put("ours.pem", pem::encode(pem::REQUEST, &der));
    let text = desk.openssl("req -in ours.pem -verify -noout -text");
    assert!(text.contains("DNS:x.example.com") && text.contains("CA:TRUE, pathlen:1"), "{text}");

    desk.openssl(
        "req -new -newkey rsa:2048 -nodes -keyout k.pem -out theirs.pem -subj /C=DE/O=A/O=B/CN=y.example.com -addext subjectAltName=DNS:y.example.com,IP:10.0.0.1,email:y@example.com,URI:urn:x,otherName:1.2.3;UTF8:z -addext keyUsage=digitalSignature",
    );
    let read = Request::from_pem(&desk.text("theirs.pem")).unwrap();
    assert_eq!(read.subject().organization, ["A", "B"]);
    assert_eq!(read.alt_names().len(), 5);
    assert_eq!(read.key_usage().unwrap().unwrap().names(), ["DigitalSignature"]);
    assert!(!read.wants_ca());
}

#[test]
fn requests_that_prove_nothing_are_refused() {
    let desk = Desk::new("bad-request");
    let new = "req -new -nodes -keyout k.pem -out r.pem -subj /CN=a -newkey";
    desk.openssl(&format!("{new} rsa:1024"));
    let weak = Request::from_pem(&desk.text("r.pem")).unwrap_err().to_string();
    assert!(weak.contains("RSA keys < 2048 bits"), "{weak}");
    desk.openssl(&format!("{new} rsa:2048 -sha1"));
    let sha1 = Request::from_pem(&desk.text("r.pem")).unwrap_err().to_string();
    assert!(sha1.contains("1.2.840.113549.1.1.5"), "{sha1}");
    desk.openssl("req -new -nodes -keyout k.pem -out r.pem -subj /CN=a/CN=b -newkey rsa:2048");
    let twice = Request::from_pem(&desk.text("r.pem")).unwrap_err().to_string();
    assert!(twice.contains("more than one common name"), "{twice}");
    desk.openssl(&format!("{new} ec -pkeyopt ec_paramgen_curve:secp256k1"));
    assert!(Request::from_pem(&desk.text("r.pem")).unwrap_err().to_string().contains("curve"));

    desk.openssl(&format!("{new} rsa:2048 -outform DER"));
    let good = fs::read(desk.0.join("r.pem")).unwrap();
    assert!(Request::from_der(&good).is_ok());
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(Request::from_der(&bad).is_err(), "byte {at}");
    }
    for length in 0..good.len() {
        assert!(Request::from_der(&good[..length]).is_err());
    }
}

#[test]
fn a_revoked_leaf_is_found_on_the_list() {
    for kind in SHAPES {
        let desk = Desk::new(&format!("crl-{}{}", kind.0, kind.1));
        let root = root(kind, Padding::Pkcs1, 0);
        let key = PrivateKey::generate(shape(("ec", 256))).unwrap();
        let (good, bad) = (leaf(&root, &key, 4), leaf(&root, &key, 5));
        let entry = RevokedEntry {
            serial: bad.serial().clone(),
            revoked_at: NOW + 10,
            reason: Some(Reason::KeyCompromise),
            invalid_since: Some(NOW + 5),
        };
        let template = CrlTemplate {
            this_update: NOW + 20,
            next_update: NOW + 20 + YEAR,
            number: 300,
            delta_of: None,
            authority_key_id: &root.certificate.subject_key_id().unwrap(),
            revoked: &[&entry.to_der().unwrap()],
            extensions: Extensions::new(),
        };
        let der = template.sign(root.certificate.subject_der(), &root.key, root.scheme).unwrap();
        let pem = pem::encode(pem::CRL, &der);
        desk.put("root.pem", root.certificate.to_pem())
            .put("crl.pem", &pem)
            .put("good.pem", good.to_pem())
            .put("bad.pem", bad.to_pem());
        let text = desk.openssl("crl -in crl.pem -noout -text -CAfile root.pem");
        for expected in
            ["verify OK", "Key Compromise", "Invalidity Date", "X509v3 CRL Number: \n                300"]
        {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let check = format!("verify -crl_check -attime {} -CAfile root.pem -CRLfile crl.pem", NOW + 60);
        desk.openssl(&format!("{check} good.pem"));
        let (good_verdict, verdict) = desk.try_openssl(&format!("{check} bad.pem"));
        assert!(!good_verdict && verdict.contains("certificate revoked"), "{verdict}");

        let read = RevocationList::from_pem(&pem).unwrap();
        read.verify(root.key.public()).unwrap();
        assert!(read.verify(key.public()).is_err());
        assert_eq!((read.number, read.next_update), (Some(300), Some(NOW + 20 + YEAR)));
        assert_eq!(read.revoked_at(bad.serial()), Some(NOW + 10));
        assert_eq!(read.revoked_at(good.serial()), None);
    }
}

#[test]
fn an_empty_list_and_a_delta_are_lists() {
    let desk = Desk::new("empty-crl");
    let root = root(("ec", 256), Padding::Pkcs1, 0);
    for delta_of in [None, Some(1)] {
        let template = CrlTemplate {
            this_update: NOW,
            next_update: NOW + YEAR,
            number: 2,
            delta_of,
            authority_key_id: &root.certificate.subject_key_id().unwrap(),
            revoked: &[],
            extensions: Extensions::new(),
        };
        let der = template.sign(root.certificate.subject_der(), &root.key, root.scheme).unwrap();
        desk.put("root.pem", root.certificate.to_pem()).put("crl.pem", pem::encode(pem::CRL, &der));
        let text = desk.openssl("crl -in crl.pem -noout -text -CAfile root.pem");
        assert!(text.contains("No Revoked Certificates"), "{text}");
        assert_eq!(text.contains("Delta CRL Indicator"), delta_of.is_some());
        assert_eq!(RevocationList::from_der(&der).unwrap().delta_of, delta_of);
    }
}

#[test]
fn certificates_of_others_are_read_and_damaged_ones_refused() {
    let desk = Desk::new("foreign");
    desk.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -out c.pem -subj /CN=foreign -days 10 -outform DER");
    let good = fs::read(desk.0.join("c.pem")).unwrap();
    let read = Certificate::from_der(&good).unwrap();
    assert!(read.is_self_signed() && read.is_ca());
    assert_eq!(read.subject().unwrap().common_name, "foreign");
    assert_eq!(read.der(), good);
    for length in 0..good.len() {
        assert!(Certificate::from_der(&good[..length]).is_err());
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        if let Ok(certificate) = Certificate::from_der(&bad) {
            assert!(!certificate.is_self_signed(), "byte {at}");
        }
    }
}
