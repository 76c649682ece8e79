//! What is said of another certificate, at another time, or in two ways, is not believed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use x509::{
    Certificate, ExtKeyUsage, Extensions, KeyShape, KeyUsage, OcspAnswer, OcspQuestion, OcspRefusal, Padding,
    PrivateKey, Reason, Scheme, Serial, Standing, Status, StatusOf, Subject, Template, Validity,
    ocsp_request, read_ocsp,
};

const NOW: u64 = 1_767_225_600;
const HOUR: u64 = 3600;

struct Holder {
    key: PrivateKey,
    certificate: Certificate,
}

fn certificate(name: &str, serial: u8, issuer: Option<&Holder>) -> Holder {
    let key = PrivateKey::generate(KeyShape::parse("ec", 256).unwrap()).unwrap();
    let subject = Subject::common_name(name.to_owned()).to_der().unwrap();
    let extensions = match issuer {
        None => Extensions::new().certificate_authority(None).key_usage(KeyUsage::CA),
        Some(_) => Extensions::new().not_an_authority().ext_key_usage(&[ExtKeyUsage::SERVER_AUTH]),
    };
    let template = Template {
        serial: &Serial::from_magnitude(&[serial; 20]).unwrap(),
        validity: Validity { not_before: NOW - HOUR, not_after: NOW + 1000 * HOUR },
        subject: &subject,
        public_key: key.public(),
        extensions: &extensions,
    };
    let scheme = Scheme::choose(key.public().shape(), 0, Padding::Pkcs1).unwrap();
    let (name, signer) =
        issuer.map_or((&subject[..], &key), |issuer| (issuer.certificate.subject_der(), &issuer.key));
    let certificate = Certificate::from_der(&template.sign(name, signer, scheme).unwrap()).unwrap();
    Holder { key, certificate }
}

/// What a CA says of the certificate that was asked about, in an answer of these times.
fn answer(ca: &Holder, asked: &Holder, status: Status, from: u64, until: Option<u64>) -> Vec<u8> {
    let question = OcspQuestion::from_der(&ocsp_request(&asked.certificate, &ca.certificate)).unwrap();
    let statuses = [StatusOf { id: &question.asked[0], status }];
    let answer = OcspAnswer {
        produced_at: from,
        this_update: from,
        next_update: until,
        statuses: &statuses,
        nonce: None,
    };
    let scheme = Scheme::choose(ca.key.public().shape(), 0, Padding::Pkcs1).unwrap();
    answer.sign(&ca.certificate, &ca.key, scheme).unwrap()
}

#[test]
fn an_answer_is_about_this_certificate_and_of_this_time() {
    let ca = certificate("ca", 1, None);
    let (one, other) = (certificate("one", 2, Some(&ca)), certificate("other", 3, Some(&ca)));
    let of =
        |answer: &[u8], who: &Holder, now: u64| read_ocsp(answer, &who.certificate, &ca.certificate, now);
    let (from, until) = (NOW, Some(NOW + HOUR));
    let good = answer(&ca, &one, Status::Good, from, until);
    assert!(matches!(of(&good, &one, NOW), Ok(Standing::Good)));
    assert!(of(&good, &other, NOW).unwrap_err().to_string().contains("about another certificate"));
    let revoked = Status::Revoked { at: NOW, reason: Some(Reason::KeyCompromise) };
    assert!(matches!(of(&answer(&ca, &one, revoked, from, until), &one, NOW), Ok(Standing::Revoked)));
    assert!(matches!(of(&answer(&ca, &one, Status::Unknown, from, until), &one, NOW), Ok(Standing::Unknown)));
    // Neither an old answer nor one that does not count yet, and one without an end does not count for ever.
    let endless = answer(&ca, &one, Status::Good, from, None);
    assert!(matches!(of(&endless, &one, NOW), Ok(Standing::Good)));
    for (told, now) in [(&good, NOW + 2 * HOUR), (&good, NOW - 2 * HOUR), (&endless, NOW + 10_000 * HOUR)] {
        assert!(of(told, &one, now).unwrap_err().to_string().contains("not of this time"), "{now}");
    }
    let stranger = certificate("ca", 1, None);
    let forged = answer(&Holder { key: stranger.key, ..ca_of(&ca) }, &one, Status::Good, from, until);
    assert!(of(&forged, &one, NOW).is_err());
    for refusal in [OcspRefusal::TryLater, OcspRefusal::Unauthorized] {
        let said = of(&refusal.to_der(), &one, NOW).unwrap_err().to_string();
        assert!(said.contains("did not answer the question"), "{said}");
    }
}

fn ca_of(ca: &Holder) -> Holder {
    let key = PrivateKey::generate(KeyShape::parse("ec", 256).unwrap()).unwrap();
    Holder { key, certificate: ca.certificate.clone() }
}

/// The name of the algorithm that is signed and the one beside the signature must be the same (RFC 5280, 4.1.1.2).
#[test]
fn a_certificate_names_one_algorithm() {
    let der = certificate("ca", 1, None).certificate.der().to_vec();
    let sha256 = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let places: Vec<usize> =
        (0..der.len() - sha256.len()).filter(|at| der[*at..].starts_with(&sha256)).collect();
    assert_eq!(places.len(), 2);
    for place in places {
        let mut der = der.clone();
        der[place + sha256.len() - 1] = 0x03;
        let why = Certificate::from_der(&der).unwrap_err().to_string();
        assert!(why.contains("twice, and not the same"), "{why}");
    }
}
