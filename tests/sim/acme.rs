//! A proof that a client says is in place is looked at, whenever the plug is pulled.

use std::net::{IpAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::sealed_namespaces::{seal, sealed, unseal};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kernel::Settings;
use kit::Verb::{Delete, Get, Post};
use kit::{Call, Error, Fault, Result, Soon, Time, Told, World};
use serde_json::{Value, json};
use storage::faulty::PowerCut;
use tests::acme::Signer;
use tests::desk::{Desk, Everything, Said, Surroundings};
use x509::{AltNames, Extensions, KeyShape, Padding, PrivateKey, RequestTemplate, Scheme};

/// A web of one page.
#[derive(Default)]
pub(super) struct Page(Mutex<String>);

impl World for Page {
    fn now(&self) -> Time {
        Time::from_seconds(0)
    }

    fn pause(&self, _: Duration) -> Soon<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn fetch(&self, _: Call) -> Soon<'_, Result<Told>> {
        let body = self.0.lock().unwrap().clone().into_bytes();
        Box::pin(std::future::ready(Ok(Told { status: 200, body, ..Told::default() })))
    }

    fn dial<'a>(&'a self, _: &'a str, _: u16) -> Soon<'a, Result<TcpStream>> {
        Box::pin(std::future::ready(Err(Error::new(Fault::Upstream, "nobody is there"))))
    }

    fn addresses<'a>(&'a self, _: &'a str, _: &'a str) -> Soon<'a, Result<Vec<IpAddr>>> {
        Box::pin(std::future::ready(Ok(vec![[10, 1, 1, 1].into()])))
    }
}

impl Page {
    /// Has the page say something.
    pub(super) fn says(&self, text: &str) {
        *self.0.lock().unwrap() = text.to_owned();
    }
}

/// Somebody with an account.
pub(super) struct Client {
    signer: Signer,
}

impl Client {
    fn nonce(desk: &Desk) -> String {
        let said = desk.ask_as("", Get, "pki/acme/new-nonce", "").expect(204);
        said.header("replay-nonce").to_owned()
    }

    /// Sends something that is signed. A null payload only looks.
    pub(super) fn post(&self, desk: &Desk, rest: &str, payload: &Value) -> Said {
        let body = self.signer.sign(rest, &Self::nonce(desk), payload);
        desk.ask_signed(&format!("pki/acme/{rest}"), &body.to_string())
    }
}

/// A request for a key of its own, in DER.
pub(super) fn csr(host: &str) -> Vec<u8> {
    let key = PrivateKey::generate(KeyShape::parse("ec", 256).unwrap()).unwrap();
    let names = AltNames { dns: vec![host.to_owned()], ..AltNames::default() };
    let extensions = Extensions::new().alt_names(&names, true).unwrap();
    let template = RequestTemplate { subject: &[0x30, 0], extensions: &extensions };
    let scheme = Scheme::choose(key.public().shape(), 0, Padding::Pkcs1).unwrap();
    template.sign(&key, scheme).unwrap()
}

/// A server whose CA speaks ACME, in a web of one page.
pub(super) fn desk(seed: u64) -> (Desk, Arc<Page>) {
    let web = Arc::new(Page::default());
    let surroundings =
        Surroundings { registry: Arc::new(Everything), world: Arc::clone(&web) as Arc<dyn World> };
    let desk = Desk::within(seed, Settings::default(), surroundings);
    desk.ask(Post, "sys/mounts/pki", r#"{"type":"pki"}"#).expect(204);
    desk.ask(Post, "pki/root/generate/internal", r#"{"common_name":"Root","key_type":"ec"}"#).expect(200);
    desk.ask(Post, "pki/config/cluster", r#"{"path":"https://ca.test/v1/pki"}"#).expect(200);
    desk.ask(Post, "pki/config/acme", r#"{"enabled":true}"#).expect(200);
    (desk, web)
}

impl Client {
    /// A client with an account.
    pub(super) fn new(desk: &Desk) -> Self {
        let mut client = Self { signer: Signer::new("https://ca.test/v1/pki/acme/") };
        let made = client.post(desk, "new-account", &json!({})).expect(201);
        client.signer.kid = Some(made.header("location").to_owned());
        client
    }

    /// Orders a name and says that the proof is in place. Returns where the order is.
    pub(super) fn order(&self, desk: &Desk, web: &Page, host: &str) -> String {
        let identifiers = json!({"identifiers": [{"type": "dns", "value": host}]});
        let order = self.post(desk, "new-order", &identifiers).expect(201);
        let authorization = self.signer.rest(&order.json["authorizations"][0]);
        let shown = self.post(desk, &authorization, &Value::Null).expect(200);
        let challenges = shown.json["challenges"].as_array().unwrap();
        let challenge = challenges.iter().find(|one| one["type"] == "http-01").unwrap();
        web.says(&self.signer.answer(challenge["token"].as_str().unwrap()));
        let begun = self.post(desk, &self.signer.rest(&challenge["url"]), &json!({})).expect(200);
        assert_eq!(begun.json["status"], "processing");
        self.signer.rest(&json!(order.header("location")))
    }

    /// Has the order at this place finished.
    pub(super) fn finalize(&self, desk: &Desk, place: &str, csr: &[u8]) -> Said {
        self.post(desk, &format!("{place}/finalize"), &json!({"csr": URL_SAFE_NO_PAD.encode(csr)}))
    }
}

#[test]
fn a_proof_outlives_a_crash_and_a_nonce_does_not() {
    let (desk, web) = desk(71);
    let client = Client::new(&desk);
    let place = client.order(&desk, &web, "a.example.com");
    let old = client.signer.sign(&place, &Client::nonce(&desk), &Value::Null);

    let desk = desk.crash(PowerCut::Drop);
    let refused = desk.ask_signed(&format!("pki/acme/{place}"), &old.to_string()).expect(400);
    assert_eq!(refused.json["type"], "urn:ietf:params:acme:error:badNonce");
    desk.tick();
    assert_eq!(client.post(&desk, &place, &Value::Null).expect(200).json["status"], "ready");

    let desk = desk.crash(PowerCut::Drop);
    let csr = csr("a.example.com");
    client.finalize(&desk, &place, &csr).expect(200);
    let desk = desk.crash(PowerCut::Drop);
    let again = client.finalize(&desk, &place, &csr).expect(403);
    assert_eq!(again.json["type"], "urn:ietf:params:acme:error:orderNotReady", "it is issued once");
    let chain = client.post(&desk, &format!("{place}/cert"), &Value::Null).expect(200);
    let leaf = x509::Certificate::from_pem(&String::from_utf8(chain.raw).unwrap()).unwrap();
    assert_eq!(leaf.alt_names().unwrap().dns, ["a.example.com"]);
}

/// What ann may have is what identity says of her now, and when she is gone her account has nothing.
#[test]
fn an_account_goes_the_way_of_whoever_vouches_for_it() {
    let (desk, _) = desk(72);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    let policy = json!({"policy": r#"path "pki/acme/new-eab" { capabilities = ["create", "update"] }"#});
    desk.ask(Post, "sys/policies/acl/eab", &policy.to_string()).expect(204);
    desk.ask(Post, "auth/userpass/users/ann", r#"{"password":"pw","policies":"eab"}"#).expect(204);
    let ann = desk.ask_as("", Post, "auth/userpass/login/ann", r#"{"password":"pw"}"#).expect(200);
    let entity = format!("identity/entity/id/{}", ann.json["auth"]["entity_id"].as_str().unwrap());
    let is = |body: Value| drop(desk.ask(Post, &entity, &body.to_string()).expect(204));
    is(json!({"metadata": {"team": "red"}}));
    let role = json!({
        "allowed_domains": "{{identity.entity.metadata.team}}.example.com", "allowed_domains_template": true,
        "allow_bare_domains": true, "key_type": "any",
    });
    desk.ask(Post, "pki/roles/teams", &role.to_string()).expect(200);
    desk.ask(Post, "pki/config/acme", r#"{"default_directory_policy":"role:teams"}"#).expect(200);
    let names = r#"{"authorized_names":"*.example.com"}"#;
    let made = desk.ask_as(&ann.token(), Post, "pki/acme/new-eab", names).expect(200);
    let mut client = Client { signer: Signer::new("https://ca.test/v1/pki/acme/") };
    let binding = json!({"externalAccountBinding": client.signer.bind(&made.json["data"])});
    let account = client.post(&desk, "new-account", &binding).expect(201);
    client.signer.kid = Some(account.header("location").to_owned());

    let order = |host: &str| {
        client.post(&desk, "new-order", &json!({"identifiers": [{"type": "dns", "value": host}]}))
    };
    #[track_caller]
    fn refuses(said: Said, status: u16, kind: &str) {
        assert_eq!(said.expect(status).json["type"], format!("urn:ietf:params:acme:error:{kind}"));
    }
    let begun = order("red.example.com").expect(201);
    let place = client.signer.rest(&json!(begun.header("location")));
    let csr = csr("red.example.com");
    is(json!({"metadata": {"team": "blue"}}));
    refuses(order("red.example.com"), 400, "rejectedIdentifier");
    refuses(client.finalize(&desk, &place, &csr), 400, "badCSR");
    order("blue.example.com").expect(201);
    is(json!({"disabled": true}));
    refuses(order("blue.example.com"), 401, "unauthorized");
    refuses(client.finalize(&desk, &place, &csr), 401, "unauthorized");
    is(json!({"disabled": false, "metadata": {"team": "red"}}));
    client.finalize(&desk, &place, &csr).expect(200);
    desk.ask(Delete, &entity, "").expect(204);
    refuses(order("red.example.com"), 401, "unauthorized");
}

#[test]
fn the_seal_of_a_namespace_forgets_nothing_of_the_mounts_outside_of_it() {
    let (desk, _) = desk(73);
    let client = Client::new(&desk);
    let unused = client.signer.sign("orders", &Client::nonce(&desk), &Value::Null);
    let shares = sealed(&desk, "", "team");
    unseal(&desk, "", "team", &shares);
    seal(&desk, "", "team");
    let said = desk.ask_signed("pki/acme/orders", &unused.to_string());
    assert_ne!(said.json["type"], "urn:ietf:params:acme:error:badNonce", "{said:?}");
    let used = desk.ask_signed("pki/acme/orders", &unused.to_string());
    assert_eq!(used.json["type"], "urn:ietf:params:acme:error:badNonce", "{used:?}");
}

/// An issuer that is revoked signs no more; what it has signed is still seen to, and its holders are told to come at once.
#[test]
fn a_directory_outlives_its_issuers_right_to_sign() {
    let (desk, web) = desk(74);
    let client = Client::new(&desk);
    let place = client.order(&desk, &web, "a.example.com");
    desk.tick();
    let order = client.post(&desk, &place, &Value::Null).expect(200);
    let proved = client.signer.rest(&order.json["authorizations"][0]);
    let shown = client.post(&desk, &proved, &Value::Null).expect(200);
    let ways: Vec<&Value> = shown.json["challenges"].as_array().unwrap().iter().collect();
    assert!(ways.len() == 1 && ways[0]["status"] == "valid", "the way by which it was proved: {shown:?}");
    client.finalize(&desk, &place, &csr("a.example.com")).expect(200);
    let waiting = client.order(&desk, &web, "b.example.com");
    desk.tick();
    let late = json!({
        "identifiers": [{"type": "dns", "value": "c.example.com"}], "notAfter": "2001-01-01T00:00:00Z",
    });
    let refused = client.post(&desk, "new-order", &late).expect(400);
    assert!(refused.json["detail"].as_str().unwrap().contains("which is over"), "{refused:?}");

    desk.ask(Post, "pki/issuer/default/revoke", "").expect(200);
    desk.ask_as("", Get, "pki/acme/directory", "").expect(200);
    let chain = client.post(&desk, &format!("{place}/cert"), &Value::Null).expect(200);
    let leaf = x509::Certificate::from_pem(&String::from_utf8(chain.raw).unwrap()).unwrap();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let name = format!("{}.{}", text(&leaf.authority_key_id().unwrap()), text(leaf.serial().as_bytes()));
    let advice = desk.ask_as("", Get, &format!("pki/acme/renewal-info/{name}"), "").expect(200);
    let end = Time::parse(advice.json["suggestedWindow"]["end"].as_str().unwrap()).unwrap();
    assert!(end.seconds() <= desk.seconds(), "now: {advice:?}");
    let wanted = json!({"identifiers": [{"type": "dns", "value": "c.example.com"}]});
    for refused in [
        client.post(&desk, "new-order", &wanted),
        client.post(&desk, "new-authz", &json!({"identifier": {"type": "dns", "value": "c.example.com"}})),
        client.finalize(&desk, &waiting, &csr("b.example.com")),
    ] {
        assert_eq!(refused.expect(503).json["type"], "urn:ietf:params:acme:error:serverInternal");
    }
    client.post(&desk, "revoke-cert", &json!({"certificate": text(leaf.der())})).expect(200);
}
