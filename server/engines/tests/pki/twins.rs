//! CAs that share something: one name and key, one serial number, one parent that was renewed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use x509::{
    Certificate, Extensions, KeyShape, KeyUsage, Padding, PrivateKey, RevocationList, Scheme, Serial,
    Subject, Template, Validity,
};

use crate::bench::Bench;
use crate::{Desk, NOW, mount, role, text};

const YEAR: u64 = 365 * 24 * 3600;
const LONG: (u64, u64) = (NOW - YEAR, NOW + 10 * YEAR);

/// A certificate that was made elsewhere.
pub(crate) struct Foreign<'a> {
    pub(crate) name: &'a str,
    pub(crate) key: &'a PrivateKey,
    pub(crate) above: (&'a str, &'a PrivateKey),
    pub(crate) number: u8,
    pub(crate) life: (u64, u64),
    /// Nothing for a leaf.
    pub(crate) usage: Option<KeyUsage>,
}

impl<'a> Foreign<'a> {
    pub(crate) fn root(name: &'a str, key: &'a PrivateKey, number: u8) -> Self {
        Self { name, key, above: (name, key), number, life: LONG, usage: Some(KeyUsage::CA) }
    }

    pub(crate) fn sign(&self) -> Certificate {
        let (above, signer) = self.above;
        let extensions = Extensions::new()
            .subject_key_id(&self.key.public().key_id())
            .authority_key_id(&signer.public().key_id());
        let extensions = match self.usage {
            Some(usage) => extensions.key_usage(usage).certificate_authority(None),
            None => extensions,
        };
        let subject = |name| Subject::common_name(name).to_der().unwrap();
        let template = Template {
            serial: &serial(self.number),
            validity: Validity { not_before: self.life.0, not_after: self.life.1 },
            subject: &subject(self.name),
            public_key: self.key.public(),
            extensions: &extensions,
        };
        let scheme = Scheme::choose(signer.public().shape(), 0, Padding::Pkcs1).unwrap();
        Certificate::from_der(&template.sign(&subject(above), signer, scheme).unwrap()).unwrap()
    }
}

pub(crate) fn serial(number: u8) -> Serial {
    Serial::new(number.into(), [number; 14])
}

pub(crate) fn key() -> PrivateKey {
    PrivateKey::generate(KeyShape::parse("ec", 256).unwrap()).unwrap()
}

pub(crate) fn pkcs8(key: &PrivateKey) -> String {
    key.to_pem(x509::KeyEncoding::Pkcs8).unwrap().to_string()
}

/// Imports a CA, with its key if that is given, and returns the id of its issuer.
pub(crate) fn import(bench: &Bench, ca: &Certificate, key: Option<&PrivateKey>) -> String {
    let bundle = format!("{}\n{}", ca.to_pem(), key.map(pkcs8).unwrap_or_default());
    let answer = bench.post("issuers/import/bundle", json!({"pem_bundle": bundle})).is(200);
    answer.data["imported_issuers"][0].as_str().unwrap().to_owned()
}

fn list(bench: &Bench, issuer: &str) -> RevocationList {
    RevocationList::from_der(&bench.get(&format!("issuer/{issuer}/crl/der")).is(200).bytes).unwrap()
}

fn issue(bench: &Bench) -> Serial {
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    Serial::parse(text(&leaf, "serial_number")).unwrap()
}

fn revoke(bench: &Bench, serial: &Serial) {
    bench.post("revoke", json!({"serial_number": serial.colons()})).is(200);
}

fn root(bench: &Bench) -> (String, String) {
    let made = json!({"common_name": "Root", "key_type": "ec", "ttl": "700h"});
    let root = bench.post("root/generate/internal", made).is(200);
    role(bench, json!({"issuer_ref": "default"})).is(200);
    (text(&root, "issuer_id").to_owned(), text(&root, "certificate").to_owned())
}

fn import_again(bench: &Bench, pem: &str) -> String {
    let answer = bench.post("issuers/import/cert", json!({"pem_bundle": pem})).is(200);
    let id = answer.data["imported_issuers"][0].as_str().unwrap().to_owned();
    bench.post("config/issuers", json!({"default": id})).is(200);
    id
}

#[test]
fn revocations_stay_when_an_issuer_is_deleted_and_comes_again() {
    let mut bench = mount();
    let (first, pem) = root(&bench);
    let (before, after) = (issue(&bench), issue(&bench));
    revoke(&bench, &before);
    let shown = list(&bench, &first);
    bench.delete(&format!("issuer/{first}")).is(200);
    let warned = bench.post("revoke", json!({"serial_number": after.colons()})).is(200).warnings;
    assert!(warned[0].contains("stands on no revocation list"), "{warned:?}");
    let again = import_again(&bench, &pem);
    let listed = list(&bench, &again);
    assert!(listed.revoked_at(&before).is_some(), "revoked before it was deleted");
    assert!(listed.revoked_at(&after).is_some(), "revoked while it was gone");
    assert!(listed.number > shown.number && listed.this_update >= shown.this_update);

    // And once more, with all issuers and keys.
    bench.wait(60);
    bench.delete("root").is(200);
    let third = import_again(&bench, &pem);
    let Value::Null = bench.get(&format!("issuer/{third}")).data["key"] else { panic!("no key is left") };
    bench.get(&format!("issuer/{third}/crl/der")).refuses(500, "its key is not in this mount");
}

#[test]
fn the_list_of_a_twin_loses_nothing_and_never_goes_back() {
    let mut bench = mount();
    let (older, _) = root(&bench);
    bench.wait(10);
    let body = json!({"common_name": "Root", "ttl": "900h", "key_ref": "default"});
    let twin = bench.post("issuers/generate/root/existing", body).is(200);
    let younger = text(&twin, "issuer_id").to_owned();
    assert_eq!(list(&bench, &older).number, list(&bench, &younger).number, "one list, one number");
    bench.wait(10);
    let revoked: Vec<_> = (0..3).map(|_| issue(&bench)).collect();
    revoked.iter().for_each(|serial| revoke(&bench, serial));
    let before = list(&bench, &younger);
    bench.wait(1);
    bench.delete(&format!("issuer/{older}")).is(200);
    let after = list(&bench, &younger);
    assert!(revoked.iter().all(|serial| after.revoked_at(serial).is_some()), "{after:?}");
    assert!(after.number > before.number && after.this_update >= before.this_update);

    // An ended issuer that is tidied away leaves its revocations, too.
    bench.wait(701 * 3600);
    let body = json!({"common_name": "Root", "ttl": "700h", "key_ref": "default"});
    let third = text(&bench.post("issuers/generate/root/existing", body).is(200), "issuer_id").to_owned();
    bench.post("config/issuers", json!({"default": third})).is(200);
    bench.wait(300 * 3600);
    let before = list(&bench, &third);
    bench.post("tidy", json!({"tidy_expired_issuers": true, "issuer_safety_buffer": "1h"})).is(202);
    bench.tick();
    bench.get(&format!("issuer/{younger}")).refuses(500, "unable to find PKI issuer");
    let after = list(&bench, &third);
    assert_eq!(after.revoked.len(), 3);
    assert!(after.number > before.number);
}

#[test]
fn tidy_puts_revocations_of_issuers_that_are_gone_on_the_list() {
    let bench = mount();
    let (first, pem) = root(&bench);
    let leaf = issue(&bench);
    revoke(&bench, &leaf);
    bench.delete(&format!("issuer/{first}")).is(200);
    let again = import_again(&bench, &pem);
    let named = || bench.get(&format!("cert/{}", leaf.colons())).data["issuer_id"].clone();
    assert_eq!(named(), first.as_str());
    bench.post("tidy", json!({"tidy_revoked_cert_issuer_associations": true})).is(202);
    bench.tick();
    assert_eq!(named(), again.as_str());
    assert_eq!(bench.get("tidy-status").data["missing_issuer_cert_count"], 0);
    let listed = list(&bench, &again);
    assert_eq!(listed.revoked.len(), 1, "once, not twice");
}

#[test]
fn a_revoked_ca_that_is_imported_again_stays_revoked() {
    let bench = mount();
    let (parent, child) = (key(), key());
    let above = import(&bench, &Foreign::root("Root", &parent, 1).sign(), Some(&parent));
    let below = Foreign { above: ("Root", &parent), ..Foreign::root("Below", &child, 2) }.sign();
    let id = import(&bench, &below, Some(&child));
    bench.post(&format!("issuer/{id}/revoke"), json!({})).is(200);
    bench.delete(&format!("issuer/{id}")).is(200);
    let id = import(&bench, &below, None);
    let shown = bench.get(&format!("issuer/{id}")).is(200).data;
    assert_eq!(
        (&shown["revoked"], &shown["usage"]),
        (&json!(true), &json!("crl-signing,ocsp-signing,read-only"))
    );
    assert!(list(&bench, &above).revoked_at(&serial(2)).is_some());
}

fn status(bench: &Bench, desk: &Desk, issuer: &Certificate, number: &str) -> String {
    desk.put("i.pem", issuer.to_pem());
    desk.openssl(&format!("ocsp -issuer i.pem -serial 0x{number} -no_nonce -reqout q.der"));
    let question = STANDARD.encode(std::fs::read(desk.0.join("q.der")).unwrap());
    desk.put("a.der", bench.get(&format!("ocsp/{question}")).is(200).bytes);
    let said = desk.openssl(&format!(
        "ocsp -respin a.der -issuer i.pem -serial 0x{number} -no_nonce -CAfile i.pem -attime {}",
        NOW + 1
    ));
    let words = ["good", "revoked", "unknown"].into_iter();
    words.filter(|word| said.lines().any(|line| line.ends_with(word))).collect()
}

#[test]
fn one_number_under_two_issuers_is_no_reason_to_leave_one_unrevoked() {
    let (bench, desk) = (mount(), Desk::new("numbers"));
    let (a, b, holder) = (key(), key(), key());
    let (ca_a, ca_b) = (Foreign::root("A", &a, 1).sign(), Foreign::root("B", &b, 2).sign());
    let (id_a, id_b) = (import(&bench, &ca_a, Some(&a)), import(&bench, &ca_b, Some(&b)));
    let leaf = |above| Foreign { above, usage: None, ..Foreign::root("leaf", &holder, 9) }.sign().to_pem();
    let revoke = |pem: String| bench.post("revoke", json!({"certificate": pem}));
    revoke(leaf(("A", &a))).is(200);
    let refused = "certificate with same serial but unequal value already present";
    revoke(leaf(("B", &b))).refuses(500, refused);
    assert_eq!(list(&bench, &id_a).revoked.len(), 1);
    assert!(list(&bench, &id_b).revoked.is_empty());
    let number = hex::encode(serial(9).as_bytes()).to_uppercase();
    assert_eq!(status(&bench, &desk, &ca_a, &number), "revoked");
    assert_eq!(status(&bench, &desk, &ca_b, &number), "unknown");
}

#[test]
fn an_imported_ca_takes_no_ones_number() {
    let (bench, desk) = (mount(), Desk::new("collision"));
    let (parent, child, holder) = (key(), key(), key());
    let root = Foreign::root("Root", &parent, 1).sign();
    let root_id = import(&bench, &root, Some(&parent));
    // A leaf of another issuer has the number that the CA below the root will have.
    let other = Foreign::root("Other", &child, 2).sign();
    let other_id = import(&bench, &other, Some(&child));
    let leaf = Foreign { above: ("Other", &child), usage: None, ..Foreign::root("leaf", &holder, 9) }.sign();
    bench.post("revoke", json!({"certificate": leaf.to_pem()})).is(200);
    let ca = Foreign { above: ("Root", &parent), ..Foreign::root("Below", &holder, 9) }.sign();
    let answer = bench.post("issuers/import/cert", json!({"pem_bundle": ca.to_pem()})).is(200);
    assert!(answer.warnings[0].contains("goes on to mean that one"), "{:?}", answer.warnings);
    let id = answer.data["imported_issuers"][0].as_str().unwrap().to_owned();
    let shown = bench.get(&format!("cert/{}", serial(9).colons())).is(200);
    assert_eq!(text(&shown, "certificate").trim(), leaf.to_pem().trim());
    let number = hex::encode(serial(9).as_bytes()).to_uppercase();
    assert_eq!(status(&bench, &desk, &other, &number), "revoked");
    assert_eq!(status(&bench, &desk, &root, &number), "good");
    // It can be revoked as its own self.
    bench.post(&format!("issuer/{id}/revoke"), json!({})).is(200);
    assert!(list(&bench, &root_id).revoked_at(&serial(9)).is_some());
    assert_eq!(status(&bench, &desk, &root, &number), "revoked");
    assert_eq!(list(&bench, &other_id).revoked.len(), 1);
}

/// A root, a CA that was renewed, and one below it that issues.
fn renewed(bench: &Bench, ends: u64) -> (Certificate, String) {
    let (r, i, s) = (key(), key(), key());
    let root = Foreign::root("R", &r, 1).sign();
    let middle = |number, life| Foreign { above: ("R", &r), life, ..Foreign::root("I", &i, number) }.sign();
    import(bench, &root, None);
    import(bench, &middle(2, (NOW - 2 * YEAR, ends)), Some(&i));
    import(bench, &middle(3, (NOW - YEAR, NOW + 9 * YEAR)), None);
    let signing =
        Foreign { above: ("I", &i), life: (NOW - YEAR, NOW + 3 * YEAR), ..Foreign::root("S", &s, 4) };
    let id = import(bench, &signing.sign(), Some(&s));
    role(bench, json!({"issuer_ref": id})).is(200);
    (root, id)
}

/// Random ids decide which of two comes first, so some mounts are tried.
#[test]
fn a_renewed_ca_is_shown_with_what_is_valid() {
    for round in 0..6 {
        let (bench, desk) = (mount(), Desk::new(&format!("renewed-{round}")));
        let (root, id) = renewed(&bench, NOW - 1);
        let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
        let chain: Vec<_> =
            leaf.data["ca_chain"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        assert_eq!(chain.len(), 3);
        desk.put("root.pem", root.to_pem())
            .put("chain.pem", chain[..2].join("\n"))
            .put("l.pem", text(&leaf, "certificate"));
        desk.openssl(&format!("verify -attime {} -CAfile root.pem -untrusted chain.pem l.pem", NOW + 60));
        // The next CA is signed by what is valid, too, and outlives the old one.
        let roll = bench.post("roll", json!({"issuer_ref": id, "ttl": "30000h"})).is(200);
        assert_eq!(roll.data["state"], "published");
    }
}

#[test]
fn what_is_shown_above_a_ca_changes_as_time_passes() {
    for _ in 0..4 {
        let mut bench = mount();
        // The renewed one ends later, so it is shown from the start; when it is revoked the old one is, while it lives.
        let (_, id) = renewed(&bench, NOW + 100);
        let ends = |bench: &Bench| {
            let chain = bench.get(&format!("issuer/{id}")).is(200).data["ca_chain"].clone();
            Certificate::from_pem(chain[1].as_str().unwrap()).unwrap().validity().not_after
        };
        assert_eq!(ends(&bench), NOW + 9 * YEAR);
        let issuers = bench.list("issuers").is(200).data["key_info"].clone();
        let renewed = serial(3).colons();
        let (renewed, _) =
            issuers.as_object().unwrap().iter().find(|(_, it)| it["serial_number"] == renewed).unwrap();
        bench.post(&format!("issuer/{renewed}/revoke"), json!({})).is(200);
        assert_eq!(ends(&bench), NOW + 100);
        bench.wait(200);
        assert_eq!(ends(&bench), NOW + 100, "a revoked one is the worst");
    }
    for _ in 0..4 {
        let mut bench = mount();
        let (r, i, s) = (key(), key(), key());
        let middle = |number, life| Foreign { above: ("R", &r), life, ..Foreign::root("I", &i, number) };
        import(&bench, &middle(2, (NOW - YEAR, NOW + 100)).sign(), None);
        import(&bench, &middle(3, (NOW + 50, NOW + 9 * YEAR)).sign(), None);
        let id = import(&bench, &Foreign { above: ("I", &i), ..Foreign::root("S", &s, 4) }.sign(), None);
        let shown = |bench: &Bench| {
            let chain = bench.get(&format!("issuer/{id}")).is(200).data["ca_chain"].clone();
            Certificate::from_pem(chain[1].as_str().unwrap()).unwrap().serial().clone()
        };
        assert_eq!(shown(&bench), serial(2), "the other one has not begun");
        bench.wait(60);
        assert_eq!(shown(&bench), serial(3));
    }
}

#[test]
fn a_ca_that_is_signed_by_the_one_before_it_is_no_root() {
    let (bench, desk) = (mount(), Desk::new("rollover"));
    let (old, new) = (key(), key());
    let root = Foreign::root("R", &old, 1).sign();
    let root_id = import(&bench, &root, Some(&old));
    let cross = Foreign { above: ("R", &old), ..Foreign::root("R", &new, 2) }.sign();
    let id = import(&bench, &cross, Some(&new));
    role(&bench, json!({"issuer_ref": id})).is(200);
    let issue = |without: bool| {
        let body = json!({"common_name": "a.example.com", "remove_roots_from_chain": without});
        bench.post("issue/r", body).is(200)
    };
    assert_eq!(issue(false).data["ca_chain"].as_array().unwrap().len(), 2);
    let leaf = issue(true);
    let chain = leaf.data["ca_chain"].as_array().unwrap();
    assert_eq!(chain.len(), 1);
    desk.put("root.pem", root.to_pem())
        .put("chain.pem", chain[0].as_str().unwrap())
        .put("l.pem", text(&leaf, "certificate"));
    desk.openssl(&format!("verify -attime {} -CAfile root.pem -untrusted chain.pem l.pem", NOW + 60));
    let revoked = bench.post(&format!("issuer/{id}/revoke"), json!({})).is(200);
    assert!(revoked.warnings.is_empty(), "it stands on the list of the old root: {:?}", revoked.warnings);
    assert!(list(&bench, &root_id).revoked_at(&serial(2)).is_some());
}

/// A published roll in a mount with a root and a role.
fn published(bench: &Bench) -> (String, String) {
    root(bench);
    let begun = bench.post("roll", json!({"publish_for": "1h"})).is(200).data;
    let id = |which: &str| begun[which]["issuer_id"].as_str().unwrap().to_owned();
    (id("old"), id("next"))
}

#[test]
fn a_revoked_ca_is_nobodys_successor() {
    let mut bench = mount();
    let (old, next) = published(&bench);
    bench.post(&format!("issuer/{next}/revoke"), json!({})).is(200);
    bench.post("roll/switch", json!({})).refuses(400, "was revoked: roll/abort gives this roll up");
    bench.wait(3600);
    bench.tick();
    let roll = bench.get("roll").is(200).data;
    assert_eq!(roll["state"], "aborted");
    assert!(roll["given_up"].as_str().unwrap().contains(&next), "{roll}");
    let shown = bench.get(&format!("issuer/{next}")).is(200).data;
    assert_eq!(shown["usage"], "crl-signing,ocsp-signing,read-only");
    assert_eq!(bench.get("config/issuers").data["default"], old.as_str());
    issue(&bench);
}

#[test]
fn giving_a_roll_up_gives_a_revoked_ca_nothing_back() {
    let bench = mount();
    root(&bench);
    let made = json!({"common_name": "Next", "key_type": "ec", "ttl": "900h"});
    let next = bench.post("issuers/generate/root/internal", made).is(200);
    let next = text(&next, "issuer_id");
    bench.post("roll", json!({"next_ref": next})).is(200);
    bench.post(&format!("issuer/{next}/revoke"), json!({})).is(200);
    bench.post("roll/abort", json!({})).is(200);
    let shown = bench.get(&format!("issuer/{next}")).is(200).data;
    assert_eq!(shown["usage"], "crl-signing,ocsp-signing,read-only");
}

#[test]
fn a_roll_ends_when_one_of_the_two_is_gone() {
    for which in ["old", "next"] {
        let mut bench = mount();
        let (old, next) = published(&bench);
        let gone = if which == "old" { &old } else { &next };
        bench.delete(&format!("issuer/{gone}")).is(200);
        bench.post("roll/switch", json!({})).refuses(400, "is not in this mount any more: roll/abort");
        bench.wait(3600);
        bench.tick();
        assert_eq!(bench.get("roll").is(200).data["state"], "aborted", "{which}");
        let shown = bench.get(&format!("issuer/{}", if which == "old" { &next } else { &old })).is(200);
        assert_eq!(shown.data["revoked"], false);
    }
}

#[test]
fn a_revoked_ca_can_be_replaced() {
    let bench = mount();
    let (old, _) = root(&bench);
    bench.post(&format!("issuer/{old}/revoke"), json!({})).is(200);
    bench.post("issue/r", json!({"common_name": "a.example.com"})).refuses(500, "does not allow issuing");
    let begun = bench.post("roll", json!({})).is(200);
    assert!(begun.warnings.iter().any(|it| it.contains("was revoked")), "{:?}", begun.warnings);
    bench.post("roll/switch", json!({})).is(200);
    issue(&bench);
    let shown = bench.get(&format!("issuer/{old}")).is(200).data;
    assert_eq!(shown["usage"], "crl-signing,ocsp-signing,read-only");
}

#[test]
fn the_next_root_may_do_what_the_old_one_may() {
    let (bench, desk) = (mount(), Desk::new("roll-usage"));
    let made = json!({
        "common_name": "Root", "key_type": "ec", "ttl": "700h", "ext_key_usage": "ServerAuth",
        "key_usage": "DigitalSignature",
    });
    let old = bench.post("root/generate/internal", made).is(200);
    let begun = bench.post("roll", json!({})).is(200).data;
    let next = bench.get(&format!("issuer/{}", begun["next"]["issuer_id"].as_str().unwrap())).is(200);
    let said = |pem: &str| {
        desk.put("c.pem", pem);
        desk.openssl("x509 -in c.pem -noout -ext extendedKeyUsage,keyUsage,basicConstraints")
    };
    let (old, next) = (said(text(&old, "certificate")), said(text(&next, "certificate")));
    assert!(old.contains("Digital Signature") && old.contains("TLS Web Server Authentication"), "{old}");
    assert_eq!(old, next);
}

#[test]
fn a_ca_is_used_for_what_its_certificate_says_alone() {
    let bench = mount();
    let a = key();
    let lists = Some(KeyUsage::parse(&["CRLSign"]).unwrap());
    let signs = Some(KeyUsage::parse(&["CertSign"]).unwrap());
    let without_lists = Foreign { usage: signs, ..Foreign::root("A", &a, 1) }.sign();
    let id = import(&bench, &without_lists, Some(&a));
    let post = |id: &str, body: Value| bench.post(&format!("issuer/{id}"), body);
    let shown = |id: &str| bench.get(&format!("issuer/{id}")).is(200).data["usage"].clone();
    assert_eq!(shown(&id), "issuing-certificates,ocsp-signing,read-only");
    let lacks = "This issuer's underlying certificate lacks the CRLSign KeyUsage value";
    post(&id, json!({"usage": "read-only,issuing-certificates,crl-signing"})).refuses(400, lacks);
    post(&id, json!({})).refuses(400, lacks);
    post(&id, json!({"usage": "issuing-certificates"})).is(200);
    bench.patch(&format!("issuer/{id}"), json!({"usage": "crl-signing"})).refuses(400, lacks);
    bench.get(&format!("issuer/{id}/crl/der")).refuses(500, "its usage lacks crl-signing");

    let b = key();
    let without_leaves = Foreign { usage: lists, ..Foreign::root("B", &b, 2) }.sign();
    let bundle = format!("{}\n{}", without_leaves.to_pem(), pkcs8(&b));
    let answer = bench.post("issuers/import/bundle", json!({"pem_bundle": bundle})).is(200);
    assert!(answer.warnings[0].contains("lacks the CertSign KeyUsage value"), "{:?}", answer.warnings);
    let id = answer.data["imported_issuers"][0].as_str().unwrap().to_owned();
    post(&id, json!({"usage": "issuing-certificates"})).refuses(400, "lacks the CertSign KeyUsage value");
    assert_eq!(post(&id, json!({})).is(200).data["usage"], "crl-signing,ocsp-signing,read-only");
    role(&bench, json!({"issuer_ref": id})).is(200);
    bench.post("issue/r", json!({"common_name": "a.example.com"})).refuses(500, "does not allow issuing");
}

#[test]
fn a_delta_follows_the_list_that_it_adds_to() {
    let mut bench = mount();
    root(&bench);
    let body = json!({"auto_rebuild": true, "enable_delta": true, "expiry": "72h"});
    bench.post("config/crl", body).is(200);
    let both = |bench: &Bench| {
        let read = |path| RevocationList::from_der(&bench.get(path).is(200).bytes).unwrap();
        (read("crl"), read("crl/delta"))
    };
    let (base, delta) = both(&bench);
    assert!(delta.delta_of == base.number && delta.number > base.number);
    bench.wait(10);
    let leaf = issue(&bench);
    revoke(&bench, &leaf);
    let (same, later) = both(&bench);
    assert!(same == base && later.number > delta.number && later.revoked_at(&leaf).is_some());
    bench.wait(10);
    bench.get("crl/rotate").is(200);
    let (next, _) = both(&bench);
    assert!(next.number > later.number);
}

#[test]
fn what_is_not_stored_names_no_responder() {
    let (bench, desk) = (mount(), Desk::new("unstored"));
    root(&bench);
    let urls = json!({"ocsp_servers": "http://v/ocsp", "crl_distribution_points": "http://v/crl"});
    bench.post("config/urls", urls).is(200);
    for stored in [true, false] {
        role(&bench, json!({"no_store": !stored})).is(200);
        let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
        desk.put("l.pem", text(&leaf, "certificate"));
        let said = desk.openssl("x509 -in l.pem -noout -text");
        assert_eq!(said.contains("http://v/ocsp"), stored, "{said}");
        assert!(said.contains("http://v/crl"));
    }
}
