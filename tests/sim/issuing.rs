//! The disk fails, or the power goes, at each point at which something is written while a certificate is made or revoked.
//! What a client was given has its record, no serial number is there twice, and nothing is half done.

use std::collections::BTreeSet;
use std::sync::Arc;

use kit::Verb::{Get, List, Post};
use serde_json::{Value, json};
use storage::faulty::PowerCut;
use tests::desk::{Desk, Said};
use x509::{Certificate, RevocationList, pem};

use super::acme::{self, Client, Page};

/// No operation writes at more points than this.
const POINTS_MAX: u64 = 100;

/// How the disk fails.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// One operation fails, and the disk goes on.
    Once,
    /// Nothing works any more, and this is what is left of what was not synced.
    Power(PowerCut),
}

const FAILURES: [Failure; 4] = [
    Failure::Once,
    Failure::Power(PowerCut::Drop),
    Failure::Power(PowerCut::Tail),
    Failure::Power(PowerCut::Sectors),
];

/// A CA and its clients.
struct Office {
    desk: Desk,
    web: Arc<Page>,
    client: Client,
    /// The CSR of another CA.
    csr_of_ca: String,
    /// What clients were given, in PEM.
    held: Vec<String>,
    /// What they were told is revoked.
    revoked: BTreeSet<String>,
}

/// What there is, in numbers, by the lists that the server shows.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Stock {
    certificates: usize,
    issuers: usize,
    keys: usize,
    leases: usize,
    revoked: usize,
}

impl Office {
    fn open(seed: u64) -> Self {
        let (desk, web) = acme::desk(seed);
        let role = r#"{"allow_any_name":true,"enforce_hostnames":false,"key_type":"ec","ttl":"1h"}"#;
        desk.ask(Post, "pki/roles/r", role).expect(200);
        let leased = role.replace('{', r#"{"generate_lease":true,"#);
        desk.ask(Post, "pki/roles/leased", &leased).expect(200);
        let asked = r#"{"common_name":"Intermediate","key_type":"ec"}"#;
        let csr = desk.ask(Post, "pki/intermediate/generate/internal", asked).expect(200);
        let client = Client::new(&desk);
        let csr_of_ca = csr.json["data"]["csr"].as_str().unwrap().to_owned();
        Self { desk, web, client, csr_of_ca, held: vec![], revoked: BTreeSet::new() }
    }

    /// Does it, with a failure at each point at which it writes, and looks what came of it after a restart.
    fn torn(
        mut self,
        change: &Stock,
        prepare: impl Fn(&mut Self) -> String,
        act: impl Fn(&Self, &str) -> Said,
        after: impl Fn(&mut Self, &str, bool),
    ) {
        let mut outcomes = [0, 0];
        for failure in FAILURES {
            let mut points = 0..POINTS_MAX;
            loop {
                let point = points.next().expect("it comes to its end");
                let given = prepare(&mut self);
                let (before, fired) = (self.stock(), self.desk.disk.fired());
                let at = self.desk.disk.changes() + point;
                let cut = match failure {
                    Failure::Once => {
                        self.desk.disk.fail_at(at);
                        PowerCut::Drop
                    }
                    Failure::Power(cut) => {
                        self.desk.disk.cut_at(at);
                        cut
                    }
                };
                let said = act(&self, &given);
                let struck = self.desk.disk.fired() > fired;
                self.desk = self.desk.crash(cut);
                let found = self.stock();
                let done = found == before.and(change);
                let what = format!("{failure:?} at point {point}: {said:?}, {before:?}, {found:?}");
                assert!(done || found == before, "half done: {what}");
                assert!(done || said.status >= 500, "acknowledged and lost: {what}");
                assert!(struck || said.status == 200, "refused without a cause: {what}");
                if let Some(pem) = said.json["data"]["certificate"].as_str() {
                    self.held.push(pem.to_owned());
                }
                after(&mut self, &given, done);
                outcomes[usize::from(done)] += 1;
                if !struck {
                    break;
                }
            }
        }
        self.audit();
        assert!(outcomes[0] > 5 && outcomes[1] > 3, "each outcome was seen: {outcomes:?}");
    }

    fn list(&self, path: &str) -> Vec<String> {
        let listed = self.desk.ask(List, path, "");
        let keys = listed.json["data"]["keys"].as_array().cloned().unwrap_or_default();
        keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
    }

    /// Counts what there is. What is told in two ways must agree.
    fn stock(&self) -> Stock {
        let certificates = self.list("pki/certs");
        let plain = |serial: &String| serial.replace('-', ":");
        let numbers: BTreeSet<String> = certificates.iter().map(plain).collect();
        assert_eq!(numbers.len(), certificates.len(), "a number is there twice");
        let indexed: BTreeSet<String> = self.list("pki/certs/search").iter().map(plain).collect();
        assert_eq!(indexed, numbers, "the index and the records differ");
        let revoked = self.list("pki/certs/revoked").iter().map(plain).collect::<BTreeSet<_>>();
        let list = RevocationList::from_der(&self.desk.ask(Get, "pki/crl", "").expect(200).raw).unwrap();
        let on_list = list.revoked.iter().map(|(serial, _)| serial.colons()).collect();
        assert_eq!(revoked, on_list, "the list and the records differ");
        assert!(self.revoked.is_subset(&revoked), "a revocation was lost");
        for pem in &self.held {
            let serial = Certificate::from_pem(pem).unwrap().serial().colons();
            assert!(numbers.contains(&serial), "somebody holds {serial}, which has no record");
        }
        Stock {
            certificates: certificates.len(),
            issuers: self.list("pki/issuers").len(),
            keys: self.list("pki/keys").len(),
            leases: self.list("sys/leases/lookup/pki/issue/leased").len(),
            revoked: revoked.len(),
        }
    }

    /// Reads everything back.
    fn audit(&self) {
        for serial in self.list("pki/certs") {
            let shown = self.desk.ask(Get, &format!("pki/cert/{serial}"), "").expect(200);
            let certificate =
                Certificate::from_pem(shown.json["data"]["certificate"].as_str().unwrap()).unwrap();
            assert_eq!(certificate.serial().colons(), serial.replace('-', ":"));
        }
        for pem in &self.held {
            let serial = Certificate::from_pem(pem).unwrap().serial().colons();
            let shown = self.desk.ask(Get, &format!("pki/cert/{serial}"), "").expect(200);
            assert_eq!(shown.json["data"]["certificate"].as_str().unwrap().trim(), pem.trim());
        }
        for id in self.list("pki/issuers") {
            let issuer = self.desk.ask(Get, &format!("pki/issuer/{id}"), "").expect(200);
            let key = issuer.json["data"]["key_id"].as_str().unwrap();
            self.desk.ask(Get, &format!("pki/key/{key}"), "").expect(200);
        }
    }

    fn post(&self, path: &str, body: &Value) -> Said {
        self.desk.ask(Post, path, &body.to_string())
    }
}

impl Stock {
    /// Nothing.
    const NONE: Self = Self { certificates: 0, issuers: 0, keys: 0, leases: 0, revoked: 0 };
    /// One certificate and nothing else.
    const CERTIFICATE: Self = Self { certificates: 1, ..Self::NONE };

    fn and(&self, more: &Self) -> Self {
        Self {
            certificates: self.certificates + more.certificates,
            issuers: self.issuers + more.issuers,
            keys: self.keys + more.keys,
            leases: self.leases + more.leases,
            revoked: self.revoked + more.revoked,
        }
    }
}

fn nothing(_: &mut Office) -> String {
    String::new()
}

fn no_more(_: &mut Office, _: &str, _: bool) {}

#[test]
fn an_issued_certificate_has_its_record_and_its_lease() {
    let body = json!({"common_name": "a.example.com"});
    let change = Stock { leases: 1, ..Stock::CERTIFICATE };
    Office::open(81).torn(&change, nothing, |office, _| office.post("pki/issue/leased", &body), no_more);
}

#[test]
fn a_signed_request_has_its_record() {
    let body = json!({"csr": pem::encode(pem::REQUEST, &acme::csr("a.example.com")), "common_name": "a.example.com"});
    Office::open(82).torn(
        &Stock::CERTIFICATE,
        nothing,
        |office, _| office.post("pki/sign/r", &body),
        no_more,
    );
    Office::open(83).torn(
        &Stock::CERTIFICATE,
        nothing,
        |office, _| office.post("pki/sign-verbatim", &body),
        no_more,
    );
}

#[test]
fn a_root_is_there_with_its_key_and_its_record_or_not_at_all() {
    let change = Stock { issuers: 1, keys: 1, ..Stock::CERTIFICATE };
    let body = json!({"common_name": "Another", "key_type": "ec"});
    Office::open(84).torn(
        &change,
        nothing,
        |office, _| office.post("pki/issuers/generate/root/internal", &body),
        no_more,
    );
}

#[test]
fn a_ca_that_was_signed_has_its_record() {
    let sign = |office: &Office, _: &str| {
        office.post("pki/root/sign-intermediate", &json!({"csr": office.csr_of_ca, "ttl": "10h"}))
    };
    Office::open(85).torn(&Stock::CERTIFICATE, nothing, sign, no_more);
    let root = |office: &mut Office| {
        String::from_utf8(office.desk.ask(Get, "pki/ca/pem", "").expect(200).raw).unwrap()
    };
    let bridge =
        |office: &Office, root: &str| office.post("pki/root/sign-self-issued", &json!({"certificate": root}));
    Office::open(86).torn(&Stock::CERTIFICATE, root, bridge, no_more);
}

#[test]
fn an_order_is_finished_once_whenever_the_power_goes() {
    let host = "a.example.com";
    let order = |office: &mut Office| {
        let place = office.client.order(&office.desk, &office.web, host);
        office.desk.tick();
        place
    };
    let finalize =
        |office: &Office, place: &str| office.client.finalize(&office.desk, place, &acme::csr(host));
    let fetch = |office: &mut Office, place: &str, done: bool| {
        let shown = office.client.post(&office.desk, place, &Value::Null).expect(200);
        assert_eq!(shown.json["status"], if done { "valid" } else { "ready" });
        let again = office.client.finalize(&office.desk, place, &acme::csr(host));
        assert_eq!(again.status, if done { 403 } else { 200 }, "what was not done is done now, and once");
        let chain = office.client.post(&office.desk, &format!("{place}/cert"), &Value::Null).expect(200);
        let leaf = Certificate::from_pem(&String::from_utf8(chain.raw).unwrap()).unwrap();
        office.held.push(leaf.to_pem());
    };
    Office::open(87).torn(&Stock::CERTIFICATE, order, finalize, fetch);
}

#[test]
fn a_revocation_is_in_the_record_and_on_the_list_or_in_neither() {
    let leaf = |office: &mut Office| {
        let leaf = office.post("pki/issue/r", &json!({"common_name": "a.example.com"})).expect(200);
        leaf.json["data"]["serial_number"].as_str().unwrap().to_owned()
    };
    let revoke = |office: &Office, serial: &str| office.post("pki/revoke", &json!({"serial_number": serial}));
    let told = |office: &mut Office, serial: &str, done: bool| {
        let shown = office.desk.ask(Get, &format!("pki/cert/{serial}"), "").expect(200);
        assert_eq!(shown.json["data"]["revocation_time"] != 0, done);
        if done {
            office.revoked.insert(serial.to_owned());
        }
    };
    Office::open(88).torn(&Stock { revoked: 1, ..Stock::NONE }, leaf, revoke, told);
}
