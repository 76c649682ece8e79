use kit::Caa;
use serde_json::{Value, json};

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

/// What an owner said counts for eight hours: then they are asked again before anything is issued.
#[test]
fn an_owner_is_asked_again_when_much_later_something_is_issued() {
    let (mut bench, web) = open(known());
    let desk = Desk::new("acme-caa");
    let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:a.example.com"));
    let csr = json!({"csr": der(&csr)});
    let client = Client::with_account(&bench, "acme/");
    let place = |order: &crate::Answer, client: &Client<'_>| {
        format!("{}/finalize", client.rest(&json!(order.header("location").unwrap())))
    };
    let proved = |client: &Client<'_>| {
        let order = client.order(&["a.example.com"]).is(201);
        client.prove(&web, &order, "a.example.com");
        place(&order, client)
    };
    let asked = || std::mem::take(&mut *web.asked.lock().unwrap()).len();
    let (soon, late) = (proved(&client), proved(&client));
    assert_eq!(asked(), 6);
    at(&web, "a.example.com", &[("issue", "other.test")]);
    client.post(&soon, csr.clone()).is(200);
    assert_eq!(asked(), 0, "what was said a moment ago counts");
    let Client { key, kid, .. } = client;
    bench.wait(8 * 3600);
    let client = Client { bench: &bench, key, directory: "acme/", kid };
    let mut forged = client.sign(&client.header(&late), &csr.to_string());
    forged["signature"] = json!("AAAA");
    refuses(&client.send(&late, &forged), 400, "malformed", "signature");
    assert_eq!(asked(), 0, "nobody is asked for a stranger");
    refuses(&client.post(&late, csr.clone()), 403, "caa", "the CAA records of a.example.com");
    web.caa.lock().unwrap().insert("a.example.com".to_owned(), None);
    refuses(&client.post(&late, csr.clone()), 500, "dns", "nobody knows a.example.com");
    web.caa.lock().unwrap().clear();
    assert_eq!(asked(), 2);
    client.post(&late, csr.clone()).is(200);
    assert_eq!(asked(), 3);
}

/// Who has a name only since is asked for what was proved before; and one answer counts for all that is issued by it.
#[test]
fn what_was_proved_before_anybody_was_asked_is_asked_for_once() {
    let (bench, web) = open(json!({}));
    let desk = Desk::new("acme-caa-since");
    let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:a.example.com"));
    let csr = json!({"csr": der(&csr)});
    let client = Client::with_account(&bench, "acme/");
    let name = json!({"identifier": {"type": "dns", "value": "a.example.com"}});
    let authorization = client.post("new-authz", name).is(201);
    web.host("a.example.com", &["10.1.2.3"]);
    let challenge = &authorization.data["challenges"][0];
    let token = challenge["token"].as_str().unwrap();
    let page = format!("http://a.example.com/.well-known/acme-challenge/{token}");
    web.page(&page, 200, &format!("{token}.{}", client.thumbprint()));
    client.post(&client.rest(&challenge["url"]), json!({})).is(200);
    bench.tick();
    bench.post("config/acme", known()).is(200);
    for asks in [3, 0] {
        let order = client.order(&["a.example.com"]).is(201);
        assert_eq!(order.data["status"], "ready");
        let place = client.rest(&json!(order.header("location").unwrap()));
        client.post(&format!("{place}/finalize"), csr.clone()).is(200);
        assert_eq!(std::mem::take(&mut *web.asked.lock().unwrap()).len(), asks);
    }
}
