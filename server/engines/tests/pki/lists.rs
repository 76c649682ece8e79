//! What revocation lists say, what they cost, and lists in shards.

use kit::Secret;
use serde_json::json;
use x509::{RevocationList, Serial};

use crate::bench::{Bench, soak};
use crate::{Desk, EC, NOW, ready, role, text};

fn issued(bench: &Bench) -> String {
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    text(&leaf, "serial_number").to_owned()
}

fn list(bench: &Bench, path: &str) -> RevocationList {
    RevocationList::from_der(&bench.get(path).is(200).bytes).unwrap()
}

#[test]
fn a_list_says_why_if_somebody_said_so() {
    let (bench, desk) = (ready(), Desk::new("reasons"));
    for (reason, shown) in [
        (json!("keyCompromise"), "Key Compromise"),
        (json!("cessation_of_operation"), "Cessation Of Operation"),
        (json!("Superseded"), "Superseded"),
        (json!(3), "Affiliation Changed"),
        (json!("9"), "Privilege Withdrawn"),
    ] {
        let body = json!({"serial_number": issued(&bench), "reason": reason});
        bench.post("revoke", body).is(200);
        desk.put("crl.pem", bench.get("crl/pem").text).put("ca.pem", bench.get("ca/pem").text);
        let list = desk.openssl("crl -in crl.pem -noout -text -CAfile ca.pem");
        assert!(list.contains("verify OK") && list.contains(shown), "{shown}: {list}");
    }
    let serial = issued(&bench);
    for reason in ["certificateHold", "because", "10"] {
        let body = json!({"serial_number": &serial, "reason": reason});
        bench.post("revoke", body).refuses(400, "unknown revocation reason");
    }
    assert_eq!(bench.get(&format!("cert/{serial}")).data["revocation_time"], 0, "and nothing is revoked");
    bench.post("revoke", json!({"serial_number": &serial, "reason": "unspecified"})).is(200);
    assert_eq!(list(&bench, "crl").revoked.len(), 6);
}

/// What one more revocation reads and writes, and what the list with it on reads.
#[derive(Debug)]
struct Cost {
    reads: u64,
    bytes_written: u64,
    reads_of_list: u64,
}

fn cost_after(revoked: usize) -> Cost {
    let (bench, disk) = Bench::counting(engines::open("pki", &json!({})).unwrap());
    bench
        .post("root/generate/internal", json!({"common_name": "R", "key_type": "ec", "ttl": "700h"}))
        .is(200);
    role(&bench, json!({}));
    let csr = Desk::new(&format!("cost-{revoked}")).csr(&format!("{EC} -subj /CN=a.example.com"));
    let sign = || text(&bench.post("sign/r", json!({"csr": &csr})).is(200), "serial_number").to_owned();
    for _ in 0..revoked {
        bench.post("revoke", json!({"serial_number": sign()})).is(200);
    }
    assert_eq!(list(&bench, "crl").revoked.len(), revoked);
    let serial = sign();
    let (reads, bytes) = (disk.reads(), disk.bytes_written());
    bench.post("revoke", json!({"serial_number": &serial})).is(200);
    let (between, bytes_written) = (disk.reads(), disk.bytes_written() - bytes);
    let list = list(&bench, "crl");
    assert!(list.revoked_at(&Serial::parse(&serial).unwrap()).is_some());
    Cost { reads: between - reads, bytes_written, reads_of_list: disk.reads() - between }
}

/// Two thousand in a moment, or as many as `SOAK_REVOKED` says: with 100,000 it takes some minutes.
#[test]
fn one_more_revocation_costs_what_the_first_did() {
    let many = soak("SOAK_REVOKED", 2_000);
    let (few, later) = (cost_after(10), cost_after(many));
    let told = format!("{few:?} after 10, {later:?} after {many}");
    assert!(few.reads > 0 && few.bytes_written > 0 && few.reads_of_list > 0, "the disk counts: {few:?}");
    assert!(later.reads <= few.reads + 2 && later.reads_of_list <= few.reads_of_list + 20, "{told}");
    // The revocation rewrites its slot, which holds one in 1,024 of those that are there, at some seventy bytes.
    let slot = (many as u64).div_ceil(1024) * 70;
    assert!(later.bytes_written <= few.bytes_written + 3 * slot, "{told}");
    assert!(later.bytes_written < 32 * 1024, "{told}");
}

#[test]
fn issuers_of_one_name_and_key_sign_one_list() {
    let bench = ready();
    let serial = issued(&bench);
    let again = json!({"common_name": "Root", "ttl": "900h", "key_ref": "default"});
    let again = bench.post("issuers/generate/root/existing", again).is(200);
    bench.post("revoke", json!({"serial_number": &serial})).is(200);
    let other = format!("issuer/{}/crl/der", text(&again, "issuer_id"));
    assert!(list(&bench, &other).revoked_at(&Serial::parse(&serial).unwrap()).is_some());
}

#[test]
fn each_leaf_names_its_shard_and_stands_on_it_alone() {
    let (bench, desk) = (ready(), Desk::new("shards"));
    let before = issued(&bench);
    bench.post("config/crl", json!({"shards": 3})).refuses(400, "a power of two");
    bench.post("config/crl", json!({"shards": 4})).refuses(400, "shard_url");
    bench.post("config/crl", json!({"shards": 4, "shard_url": "http://v/crl"})).refuses(400, "{{shard}}");
    bench.post("config/cluster", json!({"path": "http://v/v1/pki"})).is(200);
    bench.post("config/crl", json!({"shards": 4})).is(200);
    let id = bench.get("issuer/default").data["issuer_id"].as_str().unwrap().to_owned();
    let mut shards = Vec::new();
    for _ in 0..12 {
        let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
        desk.put("l.pem", text(&leaf, "certificate"));
        let shown = desk.openssl("x509 -in l.pem -noout -ext crlDistributionPoints");
        let (_, shard) = shown.split_once(&format!("http://v/v1/pki/issuer/{id}/crl/shard/")).unwrap();
        let shard = shard.split_whitespace().next().unwrap().to_owned();
        assert!(shard.ends_with("-of-4"), "{shard}");
        let serial = Serial::parse(text(&leaf, "serial_number")).unwrap();
        bench.post("revoke", json!({"serial_number": serial.colons()})).is(200);
        shards.push((shard, serial));
    }
    bench.post("revoke", json!({"serial_number": before})).is(200);
    assert_eq!(list(&bench, "crl").revoked.len(), 13, "the whole list has them all");
    let of = |shard: &str| list(&bench, &format!("issuer/default/crl/shard/{shard}"));
    let listed: usize = (0..4).map(|number| of(&format!("{number}-of-4")).revoked.len()).sum();
    assert_eq!(listed, 13);
    for (shard, serial) in &shards {
        assert!(of(shard).revoked_at(serial).is_some(), "{shard}");
    }
    desk.put("crl.der", bench.get("issuer/default/crl/shard/1-of-4").bytes)
        .put("ca.pem", bench.get("ca/pem").text);
    let shown = desk.openssl("crl -inform DER -in crl.der -noout -text -CAfile ca.pem");
    let point = format!("URI:http://v/v1/pki/issuer/{id}/crl/shard/1-of-4");
    assert!(shown.contains("Issuing Distribution Point: critical") && shown.contains(&point), "{shown}");

    // Certificates that name the old shards live on.
    bench.post("config/crl", json!({"shards": 16, "shard_url": "http://w/{{issuer_id}}/{{shard}}"})).is(200);
    let (shard, serial) = &shards[0];
    assert!(of(shard).revoked_at(serial).is_some());
    let pem = bench.get(&format!("issuer/default/crl/shard/{shard}/pem")).is(200).text;
    desk.put("crl.pem", pem);
    let shown = desk.openssl("crl -in crl.pem -noout -text");
    assert!(shown.contains("URI:http://v/v1/pki") && shown.contains("URI:http://w/"), "{shown}");
    bench.post("config/crl", json!({"shards": 0})).is(200);
    assert!(bench.get("config/crl").data.get("shards").is_none());
    bench.get("issuer/default/crl/shard/4-of-4").refuses(400, "3-of-16");
}

/// An issuer that comes and goes leaves its id behind only while something hangs on that: a certificate or a revocation.
#[test]
fn issuers_that_are_gone_leave_no_addresses_behind() {
    let (mut bench, desk) = (ready(), Desk::new("gone"));
    bench.post("config/cluster", json!({"path": "http://v/v1/pki"})).is(200);
    bench.post("config/crl", json!({"shards": 2})).is(200);
    let pem = bench.get("ca/pem").is(200).text;
    let urls = |bench: &Bench| {
        desk.put("crl.pem", bench.get("issuer/default/crl/shard/1-of-2/pem").is(200).text);
        desk.openssl("crl -in crl.pem -noout -text").matches("URI:http").count()
    };
    let again = |bench: &Bench| {
        bench.delete("issuer/default");
        let new = bench.post("issuers/import/cert", json!({"pem_bundle": &pem})).is(200);
        bench.post("config/issuers", json!({"default": new.data["imported_issuers"][0]})).is(200);
    };
    again(&bench);
    assert_eq!(urls(&bench), 2, "the root's own certificate was issued under the first id");
    let serial = issued(&bench);
    again(&bench);
    assert_eq!(urls(&bench), 3, "a leaf names the old address");
    (0..5).for_each(|_| again(&bench));
    assert_eq!(urls(&bench), 3, "nobody has named those between");
    bench
        .post("roles/quick", json!({"allow_any_name": true, "key_type": "ed25519", "no_store": true}))
        .is(200);
    bench.post("issue/quick", json!({"common_name": "b.example.com"})).is(200);
    (0..3).for_each(|_| again(&bench));
    assert_eq!(urls(&bench), 4, "what has no record may name it, too");
    bench.post("revoke", json!({"serial_number": serial})).is(200);
    let tidy = json!({"tidy_cert_store": true, "tidy_revoked_certs": true, "safety_buffer": "1s"});
    bench.wait(100 * 3600);
    assert!(bench.post("tidy", tidy).is(202).errors.is_empty());
    bench.tick();
    assert_eq!(urls(&bench), 3, "the leaf has ended, and all that is known of it");
}

#[test]
fn openssl_finds_a_revoked_leaf_on_its_shard() {
    let (mut bench, desk) = (ready(), Desk::new("shard-verify"));
    bench.post("config/cluster", json!({"path": "http://v/v1/pki"})).is(200);
    bench.post("config/crl", json!({"shards": 2})).is(200);
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    desk.put("l.pem", text(&leaf, "certificate")).put("ca.pem", bench.get("ca/pem").text);
    let shown = desk.openssl("x509 -in l.pem -noout -ext crlDistributionPoints");
    let shard = if shown.contains("0-of-2") { "0-of-2" } else { "1-of-2" };
    let fetch = |bench: &Bench| bench.get(&format!("issuer/default/crl/shard/{shard}/pem")).is(200).text;
    let check =
        format!("verify -crl_check -extended_crl -attime {} -CAfile ca.pem -CRLfile crl.pem l.pem", NOW + 20);
    desk.put("crl.pem", fetch(&bench));
    desk.openssl(&check);
    bench.wait(10);
    bench.post("revoke", json!({"serial_number": text(&leaf, "serial_number")})).is(200);
    desk.put("crl.pem", fetch(&bench));
    let refused = std::process::Command::new("openssl").args(check.split(' ')).current_dir(&desk.0).output();
    let said = String::from_utf8_lossy(&refused.unwrap().stderr).into_owned();
    assert!(said.contains("certificate revoked"), "{said}");
}

#[test]
fn lists_of_others_are_put_together_and_signed() {
    let (mut bench, desk) = (ready(), Desk::new("resign"));
    let first = issued(&bench);
    bench.post("revoke", json!({"serial_number": &first, "reason": "superseded"})).is(200);
    let early = bench.get("crl/pem").is(200).text;
    bench.wait(5);
    bench.post("revoke", json!({"serial_number": issued(&bench)})).is(200);
    let late = bench.get("crl/pem").is(200).text;
    let both = bench
        .post(
            "issuer/default/resign-crls",
            json!({"crls": [early, late], "crl_number": 7, "next_update": "1h"}),
        )
        .is(200);
    let made = RevocationList::from_pem(text(&both, "crl")).unwrap();
    assert_eq!((made.number, made.revoked.len()), (Some(7), 2));
    assert_eq!(made.next_update, Some(NOW + 5 + 3600));
    desk.put("crl.pem", text(&both, "crl")).put("ca.pem", bench.get("ca/pem").text);
    let shown = desk.openssl("crl -in crl.pem -noout -text -CAfile ca.pem");
    assert!(shown.contains("verify OK") && shown.contains("Superseded"), "{shown}");
    let foreign = ready().get("crl/pem").text;
    bench
        .post("issuer/default/resign-crls", json!({"crls": [foreign]}))
        .refuses(400, "CRL index: 0 was not signed by requested issuer");

    let said = json!({"crl_number": 8, "delta_crl_base_number": 3, "format": "der", "revoked_certs": [
        {"serial_number": "aa:bb", "revocation_time": "2026-01-01T00:00:00Z",
            "extensions": [{"id": "2.5.29.21", "value": "CgEB"}]}],
        "extensions": [{"id": "1.2.3.4", "value": "BQA="}]});
    let made = bench.post("issuer/default/sign-revocation-list", said).is(200);
    let der = base64_of(text(&made, "crl"));
    let read = RevocationList::from_der(&der).unwrap();
    assert_eq!((read.number, read.delta_of), (Some(8), Some(3)));
    desk.put("crl.der", der);
    let shown = desk.openssl("crl -inform DER -in crl.der -noout -text -CAfile ca.pem");
    assert!(shown.contains("Key Compromise") && shown.contains("1.2.3.4"), "{shown}");
    let sign = |body| bench.post("issuer/default/sign-revocation-list", body);
    sign(json!({"extensions": [{"id": "2.5.29.20", "value": "AgEB"}]})).refuses(400, "is reserved");
    let twice = json!({"serial_number": "aa", "revocation_time": 1});
    sign(json!({"revoked_certs": [twice, twice]})).refuses(400, "duplicate serial number");
}

fn base64_of(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// Certificates name the shards of the issuer that they are of, by its id: who has its name and key later answers for it.
#[test]
fn the_shards_of_an_issuer_outlive_its_id() {
    let (bench, desk) = (crate::mount(), Desk::new("shard-heir"));
    let body = json!({"common_name": "Root", "key_type": "ec", "ttl": "700h"});
    let root = bench.post("root/generate/exported", body).is(200);
    crate::role(&bench, json!({})).is(200);
    bench.post("config/cluster", json!({"path": "http://v/v1/pki"})).is(200);
    bench.post("config/crl", json!({"shards": 2})).is(200);
    let serial = issued(&bench);
    bench.post("revoke", json!({"serial_number": serial})).is(200);
    let old = text(&root, "issuer_id");
    bench.delete(&format!("issuer/{old}")).is(200);
    bench.get(&format!("issuer/{old}/crl/shard/0-of-2")).refuses(500, "unable to find PKI issuer");
    bench.post("issuers/import/cert", json!({"pem_bundle": text(&root, "certificate")})).is(200);
    let serial = Serial::parse(&serial).unwrap();
    let shards = ["0-of-2", "1-of-2"].map(|shard| format!("issuer/{old}/crl/shard/{shard}"));
    assert!(shards.iter().any(|shard| list(&bench, shard).revoked_at(&serial).is_some()));
    desk.put("crl.der", bench.get(&shards[0]).bytes);
    let shown = desk.openssl("crl -inform DER -in crl.der -noout -text");
    let new = bench.get("issuer/default").data["issuer_id"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    for id in [old, &new] {
        let point = format!("URI:http://v/v1/pki/issuer/{id}/crl/shard/0-of-2");
        assert!(shown.contains(&point), "{point} in {shown}");
    }
    bench.get("issuer/00000000-0000-0000-0000-000000000000/crl/shard/0-of-2").refuses(500, "unable to find");
}

/// Who has an answer already is not sent it again, and whatever changes it ends that: another list, another default, another name.
#[test]
fn what_a_client_holds_is_not_sent_again() {
    let mut bench = ready();
    let later = "Sat, 03 Jan 2026 00:00:00 GMT";
    let all =
        ["ca", "ca/pem", "cert/ca", "cert/ca/raw", "crl", "crl/delta/pem", "cert/crl", "issuer/default/json"];
    let ask = |bench: &mut Bench, path: &str, held: &str| {
        bench.remote.headers = [("if-modified-since".to_owned(), Secret::new(held.to_owned()))].into();
        bench.get(path)
    };
    for path in all {
        let first = ask(&mut bench, path, "Thu, 01 Jan 2026 00:00:00 GMT").is(200);
        assert_eq!(first.header("last-modified"), None, "{path}: this second is not over yet");
        let held = ask(&mut bench, path, later).is(304);
        assert!(held.bytes.is_empty(), "{path}");
    }
    bench.wait(60);
    let told = ask(&mut bench, "crl", "yesterday").is(200).header("last-modified").map(str::to_owned);
    assert_eq!(told.as_deref(), Some("Thu, 01 Jan 2026 00:00:01 GMT"), "the first date that counts");
    ask(&mut bench, "crl", "Thu, 01 Jan 2026 00:00:01 GMT").is(304);

    let serial = issued(&bench);
    bench.post("revoke", json!({"serial_number": serial})).is(200);
    for (path, status) in [("crl", 200), ("cert/crl", 304), ("crl", 200), ("ca", 304)] {
        let date = if path == "cert/crl" { later } else { "Thu, 01 Jan 2026 00:00:59 GMT" };
        ask(&mut bench, path, date).is(status);
    }
    bench.wait(60);
    ask(&mut bench, "crl", "Thu, 01 Jan 2026 00:01:01 GMT").is(304);
    bench.post("config/crl", json!({"disable": true})).is(200);
    ask(&mut bench, "crl", "Thu, 01 Jan 2026 00:01:30 GMT").is(200);

    let other = json!({"common_name": "Other", "key_type": "ec", "ttl": "700h", "issuer_name": "other"});
    bench.post("root/generate/internal", other).is(200);
    ask(&mut bench, "issuer/other/der", later).is(304);
    bench.wait(60);
    bench.post("config/issuers", json!({"default": "other"})).is(200);
    for path in ["ca", "cert/ca/raw/pem", "crl", "issuer/default/json"] {
        ask(&mut bench, path, "Thu, 01 Jan 2026 00:02:30 GMT").is(200);
    }
    let first = ask(&mut bench, "issuer/other/json", later).is(304);
    assert!(first.header("last-modified").is_none());
    bench.post("issuer/other", json!({"issuer_name": "another"})).is(200);
    ask(&mut bench, "issuer/another/json", "Thu, 01 Jan 2026 00:02:30 GMT").is(200);
}
