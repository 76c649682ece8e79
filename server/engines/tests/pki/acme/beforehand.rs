use serde_json::json;

use super::{Client, Web, der, open, refuses};
use crate::bench::Answer;
use crate::{Desk, EC};

fn ask(client: &Client<'_>, name: &str) -> Answer {
    client.post("new-authz", json!({"identifier": {"type": "dns", "value": name}}))
}

/// Proves what an authorization asks for.
fn prove(client: &Client<'_>, web: &Web, asked: &Answer, host: &str) {
    web.host(host, &["10.1.2.3"]);
    let challenge = &asked.data["challenges"][0];
    let token = challenge["token"].as_str().unwrap();
    let page = format!("http://{host}/.well-known/acme-challenge/{token}");
    web.page(&page, 200, &format!("{token}.{}", client.thumbprint()));
    client.post(&client.rest(&challenge["url"]), json!({})).is(200);
    client.bench.tick();
}

#[test]
fn what_was_proved_beforehand_counts_for_every_order() {
    let (mut bench, web) = open(json!({}));
    let shown = bench.get("acme/directory").is(200);
    assert_eq!(shown.data["newAuthz"], format!("{}/acme/new-authz", super::BASE));
    let (key, kid) = {
        let client = Client::with_account(&bench, "acme/");
        let asked = ask(&client, "A.example.com").is(201);
        let place = client.rest(&json!(asked.header("location").unwrap()));
        assert_eq!(client.look(&place).is(200).data["status"], "pending");
        assert_eq!(ask(&client, "a.example.com").is(200).header("location"), asked.header("location"));
        assert_eq!(client.order(&["a.example.com"]).is(201).data["status"], "pending", "not proved yet");
        prove(&client, &web, &asked, "a.example.com");
        let order = client.order(&["a.example.com"]).is(201);
        assert_eq!(
            (&order.data["status"], &order.data["authorizations"][0]),
            (&json!("ready"), &json!(asked.header("location").unwrap()))
        );
        let mixed = client.order(&["a.example.com", "b.example.com"]).is(201);
        assert_eq!(mixed.data["status"], "pending");
        assert_eq!(
            client.order(&["*.a.example.com"]).is(201).data["status"],
            "pending",
            "it is no other name"
        );
        let stranger = Client::with_account(&bench, "acme/");
        assert_eq!(
            stranger.order(&["a.example.com"]).is(201).data["status"],
            "pending",
            "nor of another account"
        );
        let desk = Desk::new("acme-beforehand");
        let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:a.example.com"));
        let finalize = format!("{}/finalize", client.rest(&json!(order.header("location").unwrap())));
        client.post(&finalize, json!({"csr": der(&csr)})).is(200);
        // Given up, it is given up for orders that are ready too.
        let ready = client.order(&["a.example.com"]).is(201);
        client.post(&place, json!({"status": "deactivated"})).is(200);
        let ready = client.rest(&json!(ready.header("location").unwrap()));
        let shown = client.look(&ready).is(200);
        assert_eq!(shown.data["status"], "invalid");
        assert_eq!(shown.data["error"]["type"], "urn:ietf:params:acme:error:unauthorized");
        let finalized = client.post(&format!("{ready}/finalize"), json!({"csr": der(&csr)}));
        refuses(&finalized, 403, "orderNotReady", "order is status invalid");
        assert_eq!(client.order(&["a.example.com"]).is(201).data["status"], "pending");
        let again = ask(&client, "a.example.com").is(201);
        prove(&client, &web, &again, "a.example.com");
        (client.key, client.kid)
    };
    // Orders come and go; the proof stays for a week.
    bench.wait(3 * 86_400);
    bench.tick();
    {
        let client = Client { bench: &bench, key, directory: "acme/", kid };
        assert_eq!(client.order(&["a.example.com"]).is(201).data["status"], "ready");
    }
    bench.wait(5 * 86_400);
    bench.tick();
    assert_eq!(bench.ids(14).0, 0, "then it is cleared away");
}

#[test]
fn what_is_never_certified_is_not_proved_beforehand() {
    let (bench, _) = open(json!({"default_directory_policy": "role:r"}));
    let client = Client::with_account(&bench, "acme/");
    refuses(&ask(&client, "*.example.com"), 400, "malformed", "a wildcard is proved when it is ordered");
    refuses(&ask(&client, "a.example.org"), 400, "rejectedIdentifier", "role (r)");
    refuses(&ask(&client, "a b"), 400, "malformed", "no host name");
    refuses(&client.post("new-authz", json!({})), 400, "malformed", "identifier");
    let given = Client::bound(&bench, "acme/", "*.example.com");
    let asked = ask(&given, "x.example.com").is(201);
    assert_eq!((&asked.data["status"], &asked.data["challenges"]), (&json!("valid"), &json!([])));
}
