use kit::Caa;
use serde_json::{Value, json};

use super::beforehand::{ask, prove};
use super::{Client, Web, der, open, refuses};
use crate::{Desk, EC};

fn records(records: &[(&str, &str)]) -> Vec<Caa> {
    let record = |(tag, value): &(&str, &str)| Caa {
        critical: false,
        tag: (*tag).to_owned(),
        value: (*value).to_owned(),
    };
    records.iter().map(record).collect()
}

/// What comes of a page that proves `a.b.example.com`, with the web prepared like this.
fn attempt(config: Value, prepare: impl FnOnce(&Web, &str)) -> (Value, Vec<String>) {
    let (bench, web) = open(config);
    let client = Client::with_account(&bench, "acme/");
    prepare(&web, client.kid.as_deref().unwrap());
    let order = client.order(&["a.b.example.com"]).is(201);
    web.host("a.b.example.com", &["10.1.2.3"]);
    let (challenge, token) = client.challenge(&order, "http-01");
    let page = format!("http://a.b.example.com/.well-known/acme-challenge/{token}");
    web.page(&page, 200, &format!("{token}.{}", client.thumbprint()));
    client.post(&challenge, json!({})).is(200);
    bench.tick();
    let asked = std::mem::take(&mut *web.asked.lock().unwrap());
    (client.look(&challenge).is(200).data, asked)
}

fn known() -> Value {
    json!({"caa_identities": ["ca.test"]})
}

#[track_caller]
fn allows(prepare: impl FnOnce(&Web, &str)) {
    let (challenge, _) = attempt(known(), prepare);
    assert_eq!(challenge["status"], "valid", "{challenge}");
}

#[track_caller]
fn forbids(prepare: impl FnOnce(&Web, &str)) {
    let (challenge, _) = attempt(known(), prepare);
    let error = &challenge["error"];
    assert_eq!((&challenge["status"], &error["status"]), (&json!("invalid"), &json!(403)), "{challenge}");
    assert_eq!(error["type"], "urn:ietf:params:acme:error:caa");
    assert!(error["detail"].as_str().unwrap().contains("the CAA records of"), "{error}");
}

fn at(web: &Web, name: &str, said: &[(&str, &str)]) {
    web.caa.lock().unwrap().insert(name.to_owned(), Some(records(said)));
}

#[test]
fn an_authority_without_a_name_asks_nobody() {
    let (challenge, asked) = attempt(json!({}), |web, _| at(web, "a.b.example.com", &[("issue", ";")]));
    assert_eq!((&challenge["status"], asked.len()), (&json!("valid"), 0));
    let (challenge, asked) = attempt(known(), |_, _| {});
    assert_eq!(challenge["status"], "valid", "no record forbids nothing");
    assert_eq!(asked, ["a.b.example.com", "b.example.com", "example.com", "com"]);
    let (bench, _) = open(known());
    assert_eq!(bench.get("acme/directory").data["meta"]["caaIdentities"], json!(["ca.test"]));
    bench.post("config/acme", json!({"caa_identities": "no name"})).refuses(400, "host names like");
}

#[test]
fn the_closest_name_decides() {
    allows(|web, _| at(web, "example.com", &[("issue", "ca.test")]));
    forbids(|web, _| at(web, "example.com", &[("issue", "other.test")]));
    forbids(|web, _| at(web, "com", &[("issue", ";")]));
    allows(|web, _| {
        at(web, "example.com", &[("issue", "other.test")]);
        at(web, "b.example.com", &[("issue", "ca.test")]);
    });
    forbids(|web, _| {
        at(web, "example.com", &[("issue", "ca.test")]);
        at(web, "a.b.example.com", &[("issue", "other.test")]);
    });
}

#[test]
fn an_owner_names_the_account_and_the_proof() {
    allows(|web, account| at(web, "example.com", &[("issue", &format!("ca.test; accounturi={account}"))]));
    forbids(|web, account| at(web, "example.com", &[("issue", &format!("ca.test; accounturi={account}x"))]));
    allows(|web, _| at(web, "example.com", &[("issue", "ca.test; validationmethods=http-01")]));
    forbids(|web, _| at(web, "example.com", &[("issue", "ca.test; validationmethods=dns-01")]));
}

/// No answer is not the answer that there is no record.
#[test]
fn an_owner_who_cannot_be_heard_is_asked_again() {
    let (challenge, _) =
        attempt(known(), |web, _| drop(web.caa.lock().unwrap().insert("b.example.com".to_owned(), None)));
    assert_eq!(challenge["status"], "processing");
    assert_eq!(challenge["error"]["type"], "urn:ietf:params:acme:error:dns");
}

/// What was heard of an owner counts for hours, while a proof of a name counts for days.
#[test]
fn an_owner_is_heard_again_after_some_hours() {
    let (mut bench, web) = open(known());
    let desk = Desk::new("acme-heard");
    let csr = |host: &str| der(&desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:{host}")));
    let (key, kid, places) = {
        let client = Client::with_account(&bench, "acme/");
        let places = ["a.example.com", "b.example.com"].map(|host| {
            let order = client.order(&[host]).is(201);
            client.prove(&web, &order, host);
            client.rest(&json!(order.header("location").unwrap()))
        });
        let asked = ask(&client, "c.example.com").is(201);
        prove(&client, &web, &asked, "c.example.com");
        (client.key, client.kid, places)
    };
    bench.wait(7 * 3600);
    let (key, kid) = {
        let client = Client { bench: &bench, key, directory: "acme/", kid };
        client.post(&format!("{}/finalize", places[0]), json!({"csr": csr("a.example.com")})).is(200);
        assert_eq!(client.order(&["c.example.com"]).is(201).data["status"], "ready");
        (client.key, client.kid)
    };
    bench.wait(3600);
    at(&web, "b.example.com", &[("issue", "other.test")]);
    let client = Client { bench: &bench, key, directory: "acme/", kid };
    let late = client.post(&format!("{}/finalize", places[1]), json!({"csr": csr("b.example.com")}));
    refuses(&late, 403, "caa", "b.example.com was heard too long ago");
    let asked = ask(&client, "c.example.com").is(201);
    assert_eq!(client.order(&["c.example.com"]).is(201).data["status"], "pending");
    // Every name of an order is asked about, not one of them several times.
    web.asked.lock().unwrap().clear();
    prove(&client, &web, &asked, "c.example.com");
    assert!(web.asked.lock().unwrap().contains(&"c.example.com".to_owned()));
    assert_eq!(client.order(&["c.example.com"]).is(201).data["status"], "ready");
    // Where nobody is to be asked, a proof counts as long as it does.
    bench.post("config/acme", json!({"caa_identities": ""})).is(200);
    client.post(&format!("{}/finalize", places[1]), json!({"csr": csr("b.example.com")})).is(200);
}
