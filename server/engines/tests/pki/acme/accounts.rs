use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Caller, Entity};
use serde_json::{Value, json};

use super::{Client, Header, der, open, refuses};
use crate::bench::Bench;
use crate::{Desk, EC, role};

#[test]
fn an_account_is_made_once_found_changed_and_ended() {
    let (bench, _) = open(json!({}));
    let mut client = Client::new(&bench, "acme/");
    let search = client.post("new-account", json!({"onlyReturnExisting": true}));
    refuses(&search, 400, "accountDoesNotExist", "does not exist");
    for (contact, kind) in [
        ("tel:+123", "unsupportedContact"),
        ("mailto:", "invalidContact"),
        ("mailto:a@example.org,b@example.org", "invalidContact"),
        ("mailto:a\n\"b@example.org", "invalidContact"),
        ("mailto:a@example.org?subject=x", "invalidContact"),
    ] {
        refuses(&client.post("new-account", json!({"contact": [contact]})), 400, kind, "");
    }
    let made = client.post("new-account", json!({"contact": ["mailto:me@example.org"]})).is(201);
    assert_eq!(made.data["status"], "valid");
    assert_eq!(made.header("link"), Some(format!("<{}>;rel=\"index\"", client.url("directory")).as_str()));
    let location = made.header("location").unwrap().to_owned();
    for again in [json!({}), json!({"onlyReturnExisting": true})] {
        let found = client.post("new-account", again).is(200);
        assert_eq!(found.header("location"), Some(location.as_str()));
        assert_eq!(found.data["contact"], json!(["mailto:me@example.org"]));
    }
    client.kid = Some(location.clone());
    let place = client.rest(&json!(location));
    refuses(&client.post("new-account", json!({})), 400, "malformed", "kid");
    let changed = client.post(&place, json!({"contact": []})).is(200);
    assert_eq!(changed.data["contact"], Value::Null);
    assert_eq!(client.look(&place).is(200).data["status"], "valid");
    refuses(&client.post(&place, json!({"status": "revoked"})), 400, "malformed", "deactivated");
    let order = client.order(&["a.example.com"]).is(201);
    assert_eq!(client.post(&place, json!({"status": "deactivated"})).is(200).data["status"], "deactivated");
    let order = client.rest(&json!(order.header("location").unwrap()));
    refuses(&client.look(&order), 401, "unauthorized", "deactivated");
    refuses(&client.look(&place), 401, "unauthorized", "deactivated");
    client.kid = None;
    refuses(&client.post("new-account", json!({})), 401, "unauthorized", "deactivated");
}

#[test]
fn requests_that_nobody_may_believe_are_refused() {
    let (bench, _) = open(json!({}));
    let client = Client::with_account(&bench, "acme/");
    let payload = r#"{"identifiers":[{"type":"dns","value":"a.example.com"}]}"#;
    let send = |header: &Header| client.send("new-order", &client.sign(header, payload));
    let honest = || client.header("new-order");
    let nonce = client.nonce();
    let once = Header { nonce: Some(nonce.clone()), ..honest() };
    send(&once).is(201);
    refuses(&send(&once), 400, "badNonce", "reused nonce");
    for nonce in [None, Some(String::new()), Some("x".repeat(32)), Some(nonce.chars().rev().collect())] {
        refuses(&send(&Header { nonce, ..honest() }), 400, "badNonce", "reused nonce");
    }
    let elsewhere = Header { url: client.url("new-account"), ..honest() };
    refuses(&send(&elsewhere), 401, "unauthorized", "another URL");
    for alg in ["none", "HS256", "ES255", "PBES2-HS256+A128KW"] {
        let refused = send(&Header { alg, ..honest() });
        refuses(&refused, 400, "badSignatureAlgorithm", "");
        assert!(refused.data["algorithms"].as_array().unwrap().contains(&json!("ES256")));
    }
    refuses(&send(&Header { alg: "ES384", ..honest() }), 400, "malformed", "signature");
    refuses(&send(&Header { jwk: Some(client.jwk()), ..honest() }), 400, "malformed", "one of");
    refuses(&send(&Header { kid: None, ..honest() }), 400, "malformed", "one of");
    refuses(&send(&Header { kid: None, jwk: Some(client.jwk()), ..honest() }), 400, "malformed", "kid");
    let stranger = Client::with_account(&bench, "acme/");
    refuses(&send(&Header { kid: stranger.kid.clone(), ..honest() }), 400, "malformed", "signature");
    for kid in ["", "x", &client.url("account/00000000-0000-4000-8000-000000000000")] {
        let refused = send(&Header { kid: Some(kid.to_owned()), ..honest() });
        refuses(&refused, 400, "accountDoesNotExist", "");
    }
    let other = Client::with_account(&bench, "roles/r/acme/");
    refuses(&send(&Header { kid: other.kid.clone(), ..honest() }), 400, "accountDoesNotExist", "");
    let mut signed = client.sign(&honest(), payload);
    signed["payload"] = json!(URL_SAFE_NO_PAD.encode(payload.replace("a.ex", "b.ex")));
    refuses(&client.send("new-order", &signed), 400, "malformed", "signature");
    for part in ["protected", "payload", "signature"] {
        let mut signed = client.sign(&honest(), payload);
        signed.as_object_mut().unwrap().remove(part);
        let text = format!("missing required field '{part}': the request message was malformed");
        refuses(&client.send("new-order", &signed), 400, "malformed", &text);
        signed[part] = json!(".".repeat(100_000));
        refuses(&client.send("new-order", &signed), 400, "malformed", part);
    }
    for beside in [json!({"header": {"alg": "none"}}), json!({"signatures": []})] {
        let mut signed = client.sign(&honest(), payload);
        signed.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
        refuses(&client.send("new-order", &signed), 400, "malformed", "no 'header' and no 'signatures'");
    }
    for key in [
        json!({"kty": "oct", "k": "AAAA"}),
        json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
        json!("text"),
    ] {
        let header = Header { kid: None, jwk: Some(key), ..client.header("new-account") };
        let refused = client.send("new-account", &client.sign(&header, "{}"));
        refuses(&refused, 400, "badPublicKey", "");
        assert!(refused.header("replay-nonce").is_some());
    }
}

#[test]
fn what_is_no_signed_post_is_refused() {
    let (mut bench, _) = open(json!({}));
    let (key, kid) = {
        let client = Client::with_account(&bench, "acme/");
        let order = client.order(&["a.example.com"]).is(201);
        for rest in [
            client.rest(&json!(order.header("location").unwrap())),
            client.rest(&order.data["authorizations"][0]),
            client.rest(&order.data["finalize"]),
            client.challenge(&order, "http-01").0,
            "new-order".to_owned(),
        ] {
            for directory in ["acme", "roles/r/acme", "issuer/default/acme", "issuer/default/roles/r/acme"] {
                let looked = bench.get(&format!("{directory}/{rest}"));
                refuses(&looked, 405, "malformed", "signed POST");
                assert_eq!(looked.header("allow"), Some("POST"));
            }
        }
        refuses(&bench.get("acme/nowhere"), 404, "malformed", "nothing here");
        (client.key, client.kid)
    };
    bench.remote.is_jose = false;
    let client = Client { bench: &bench, key, directory: "acme/", kid };
    refuses(&client.order(&["a.example.com"]), 415, "malformed", "application/jose+json");
}

/// Whatever is asked wrongly below a directory is told by a problem document (RFC 8555 §6.7); what has another owner there is left alone.
#[test]
fn each_wrong_verb_is_told_as_a_problem() {
    let (mut bench, _) = open(json!({}));
    for directory in ["acme", "roles/r/acme", "issuer/default/acme", "issuer/default/roles/r/acme"] {
        for path in ["directory", "new-nonce", "renewal-info/AAAA.AAAA", "renewal-info"] {
            let posted = bench.post(&format!("{directory}/{path}"), json!({"payload": ""}));
            refuses(&posted, 405, "malformed", "looked at by a GET");
            let allowed = if path == "new-nonce" { "GET, HEAD" } else { "GET" };
            assert_eq!(posted.header("allow"), Some(allowed));
        }
        for path in ["directory", "new-order", "account/1", "order/1/finalize"] {
            let deleted = bench.delete(&format!("{directory}/{path}"));
            refuses(&deleted, 405, "malformed", "nothing is deleted here");
        }
        bench.remote.is_jose = false;
        bench.post(&format!("{directory}/new-eab"), json!({})).is(200);
        bench.remote.is_jose = true;
    }
}

/// A key change that is signed by both keys.
fn change(client: &Client<'_>, new: &Client<'_>, spoil: impl FnOnce(&mut Value)) -> crate::Answer {
    let mut inner = json!({"account": client.kid, "oldKey": client.jwk()});
    spoil(&mut inner);
    let header = Header { nonce: None, ..new.header("key-change") };
    client.post("key-change", new.sign(&header, &inner.to_string()))
}

#[test]
fn an_account_gets_another_key() {
    let (bench, _) = open(json!({}));
    let mut client = Client::with_account(&bench, "acme/");
    let new = Client::new(&bench, "acme/");
    refuses(&change(&client, &new, |inner| inner["account"] = json!("x")), 400, "malformed", "account");
    refuses(&change(&client, &new, |inner| inner["oldKey"] = new.jwk()), 400, "malformed", "oldKey");
    let holder = Client::with_account(&bench, "acme/");
    let taken = Client { key: holder.key, kid: None, ..Client::new(&bench, "acme/") };
    let conflict = change(&client, &taken, |_| {});
    refuses(&conflict, 409, "malformed", "account already");
    assert_eq!(conflict.header("location"), holder.kid.as_deref());
    change(&client, &new, |_| {}).is(200);
    let old = client.order(&["a.example.com"]);
    refuses(&old, 400, "malformed", "signature");
    let kid = client.kid.take();
    client.key = new.key;
    let found = client.post("new-account", json!({"onlyReturnExisting": true})).is(200);
    assert_eq!(found.header("location"), kid.as_deref());
    client.kid = kid;
    client.order(&["a.example.com"]).is(201);
}

pub(super) fn bind(
    bench: &Bench,
    client: &Client<'_>,
    made: &Value,
    spoil: impl FnOnce(&mut Header),
) -> crate::Answer {
    bind_as(bench, client, &client.jwk(), made, spoil)
}

/// The same, where the binding names this key.
pub(super) fn bind_as(
    bench: &Bench,
    client: &Client<'_>,
    key: &Value,
    made: &Value,
    spoil: impl FnOnce(&mut Header),
) -> crate::Answer {
    let secret = URL_SAFE_NO_PAD.decode(made["key"].as_str().unwrap()).unwrap();
    let mut header = Header {
        alg: "HS256",
        url: client.url("new-account"),
        nonce: None,
        jwk: None,
        kid: Some(made["id"].as_str().unwrap().to_owned()),
    };
    spoil(&mut header);
    let mut binding = client.sign(&header, &key.to_string());
    let message =
        format!("{}.{}", binding["protected"].as_str().unwrap(), binding["payload"].as_str().unwrap());
    let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    binding["signature"] = json!(URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&hmac, message.as_bytes())));
    assert!(bench.index() > 0);
    client.post("new-account", json!({"externalAccountBinding": binding}))
}

#[test]
fn a_binding_is_good_for_one_account_of_its_directory() {
    let (bench, _) = open(json!({"eab_policy": "always-required"}));
    let directory = bench.get("acme/directory").is(200);
    assert_eq!(directory.data["meta"]["externalAccountRequired"], true);
    let client = Client::new(&bench, "acme/");
    refuses(&client.post("new-account", json!({})), 401, "externalAccountRequired", "new-eab");
    bench.list("eab").is(404);
    let made = bench.post("acme/new-eab", json!({})).is(200).data;
    assert!(made["key"].as_str().unwrap().starts_with("vault-eab-0-"));
    assert_eq!((&made["acme_directory"], &made["key_type"]), (&json!("acme/directory"), &json!("hs")));
    let listed = bench.list("eab").is(200).data;
    assert_eq!(listed["keys"], json!([made["id"]]));
    assert_eq!(
        listed["key_info"][made["id"].as_str().unwrap()]["key"],
        Value::Null,
        "secrets are shown once"
    );
    let other = bench.post("roles/r/acme/new-eab", json!({})).is(200).data;
    refuses(&bind(&bench, &client, &other, |_| {}), 401, "unauthorized", "unknown");
    let mut forged = made.clone();
    forged["key"] = json!("vault-eab-0-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    refuses(&bind(&bench, &client, &forged, |_| {}), 401, "unauthorized", "unknown");
    let elsewhere = |header: &mut Header| header.url = "https://elsewhere.test/".to_owned();
    refuses(&bind(&bench, &client, &made, elsewhere), 400, "malformed", "url");
    refuses(&bind(&bench, &client, &made, |header| header.alg = "none"), 401, "unauthorized", "unknown");
    let bound = bind(&bench, &client, &made, |_| {}).is(201);
    assert!(bound.data["externalAccountBinding"].is_object());
    let second = Client::new(&bench, "acme/");
    refuses(&bind(&bench, &second, &made, |_| {}), 401, "unauthorized", "used");
    bench.delete(&format!("eab/{}", other["id"].as_str().unwrap())).is(200);
    let gone = bench.delete(&format!("eab/{}", other["id"].as_str().unwrap())).is(200);
    assert!(gone.warnings[0].starts_with("No key id found with id: "), "{gone:?}");
    bench.list("eab").is(404);
}

#[test]
fn accounts_that_nobody_vouches_for_can_be_shut_out_later() {
    let (bench, _) = open(json!({}));
    let client = Client::with_account(&bench, "acme/");
    bench.post("config/acme", json!({"eab_policy": "new-account-required"})).is(200);
    client.order(&["a.example.com"]).is(201);
    bench.post("config/acme", json!({"eab_policy": "always-required"})).is(200);
    refuses(&client.order(&["a.example.com"]), 401, "unauthorized", "bound to nobody");
}

/// A binding carries who made it, so that a role's templates speak of them, and names that need no proof.
#[test]
fn a_binding_says_whose_account_it_is() {
    let (mut bench, web) = open(json!({"default_directory_policy": "role:r"}));
    let domains = json!({
        "allowed_domains": "{{identity.entity.name}}.example.com", "allowed_domains_template": true,
        "allow_bare_domains": true, "key_type": "any",
    });
    role(&bench, domains).is(200);
    let nobody = Client::with_account(&bench, "acme/");
    refuses(&nobody.order(&["ann.example.com"]), 400, "rejectedIdentifier", "");
    let ann = Entity { id: "1".into(), book: "2".into(), name: "ann".into(), ..Entity::default() };
    bench.knows(ann.clone());
    bench.caller =
        Caller { display_name: "userpass-ann".into(), entity: Some(ann.clone()), ..Caller::default() };
    let made = bench.post("acme/new-eab", json!({"authorized_names": "*.ann.example.com"})).is(200).data;
    let unused = bench.post("acme/new-eab", json!({})).is(200).data;
    bench.caller = Caller::nobody();
    let mut client = Client::new(&bench, "acme/");
    client.kid = bind(&bench, &client, &made, |_| {}).is(201).header("location").map(str::to_owned);
    refuses(&client.order(&["bob.example.com"]), 400, "rejectedIdentifier", "");
    let given = client.order(&["db.ann.example.com"]).is(201);
    assert_eq!(given.data["status"], "ready", "it needs no proof");
    assert_eq!(client.order(&["ann.example.com"]).is(201).data["status"], "pending", "this one does");
    let desk = Desk::new("acme-given");
    let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:db.ann.example.com"));
    let finalize = |order: &crate::Answer| {
        let place = client.rest(&json!(order.header("location").unwrap()));
        client.post(&format!("{place}/finalize"), json!({"csr": der(&csr)}))
    };
    finalize(&given).is(200);
    assert!(web.visited().is_empty());
    // Who they are now counts, in orders that have begun too.
    let begun = client.order(&["db.ann.example.com"]).is(201);
    bench.knows(Entity { name: "eve".into(), ..ann.clone() });
    refuses(&client.order(&["db.ann.example.com"]), 400, "rejectedIdentifier", "");
    refuses(&finalize(&begun), 400, "badCSR", "db.ann.example.com");
    bench.forgets("1");
    refuses(&client.order(&["eve.example.com"]), 401, "unauthorized", "gone or disabled");
    refuses(&finalize(&begun), 401, "unauthorized", "gone or disabled");
    let early = json!({"identifier": {"type": "dns", "value": "eve.example.com"}});
    refuses(&client.post("new-authz", early), 401, "unauthorized", "gone or disabled");
    refuses(&bind(&bench, &Client::new(&bench, "acme/"), &unused, |_| {}), 401, "unauthorized", "gone");
    bench.knows(ann);
    finalize(&begun).is(200);
}

/// A certificate that a role made, and no account asked for.
pub(super) fn certificate_beside(bench: &Bench, names: &Value) -> String {
    let issued = bench.post("issue/r", names.clone()).is(200);
    issued.data["certificate"].as_str().unwrap().to_owned()
}

#[test]
fn certificates_are_revoked_by_those_who_may() {
    let (bench, web) = open(json!({}));
    let desk = Desk::new("acme-revoke");
    let client = Client::with_account(&bench, "acme/");
    let obtain = |host: &str| {
        let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:{host}"));
        client.download(&client.obtain(&web, host, &csr))
    };
    let (first, second, third) = (obtain("a.example.com"), obtain("b.example.com"), obtain("c.example.com"));
    let stranger = Client::with_account(&bench, "acme/");
    let revoke = |who: &Client<'_>, pem: &str| who.post("revoke-cert", json!({"certificate": der(pem)}));
    refuses(&revoke(&stranger, &first), 403, "unauthorized", "not this account's");
    let keyless = Client::new(&bench, "acme/");
    refuses(&revoke(&keyless, &first), 403, "unauthorized", "not this account's");
    for reason in [2, 6, 7, 10, 99] {
        let body = json!({"certificate": der(&first), "reason": reason});
        refuses(&client.post("revoke-cert", body), 400, "badRevocationReason", "");
    }
    refuses(&client.post("revoke-cert", json!({"certificate": "AAAA"})), 400, "malformed", "failed to parse");
    let body = json!({"certificate": der(&first), "reason": 1});
    assert!(client.post("revoke-cert", body).is(200).bytes.is_empty());
    refuses(&revoke(&client, &first), 400, "alreadyRevoked", "");
    let serial = x509::Certificate::from_pem(&first).unwrap().serial().colons();
    assert!(bench.get(&format!("cert/{serial}")).data["revocation_time"].as_u64().unwrap() > 0);
    // Who has proved the name may, too.
    let order = stranger.order(&["b.example.com"]).is(201);
    stranger.prove(&web, &order, "b.example.com");
    revoke(&stranger, &second).is(200);
    // And so may who holds the key. The last one made is still on the desk.
    desk.openssl("pkcs8 -topk8 -nocrypt -in k.pem -outform DER -out k.der");
    let pkcs8 = std::fs::read(desk.0.join("k.der")).unwrap();
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let key = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8).unwrap();
    let holder = Client { key, ..Client::new(&bench, "acme/") };
    revoke(&holder, &third).is(200);
}

/// Anybody can make an account, so those that come to nothing are cleared away. Those that somebody vouches for stay.
#[test]
fn accounts_that_come_to_nothing_end_in_time() {
    let (mut bench, _) = open(json!({}));
    {
        let ordered = Client::with_account(&bench, "acme/");
        ordered.order(&["a.example.com"]).is(201);
        Client::with_account(&bench, "acme/");
        let made = bench.post("acme/new-eab", json!({})).is(200).data;
        bind(&bench, &Client::new(&bench, "acme/"), &made, |_| {}).is(201);
    }
    bench.wait(89 * 86_400);
    bench.tick();
    assert_eq!((bench.ids(7).0, bench.ids(8).0, bench.ids(9).0), (3, 3, 0));
    bench.wait(86_400 + 1);
    bench.tick();
    assert_eq!((bench.ids(7).0, bench.ids(8).0), (1, 1), "the one that is bound");
}
