use serde_json::{Value, json};
use x509::{Certificate, ExtKeyUsage};

use super::{BASE, Client, der, open, refuses};
use crate::{Desk, EC};

#[test]
fn a_proved_name_is_certified_and_nothing_else() {
    let (bench, web) = open(json!({}));
    let desk = Desk::new("acme-whole");
    let client = Client::with_account(&bench, "acme/");
    let order = client.order(&["App.Example.com", "app.example.com"]).is(201);
    assert_eq!(order.data["status"], "pending");
    assert_eq!(order.data["identifiers"], json!([{"type": "dns", "value": "app.example.com"}]));
    assert_eq!(order.data["authorizations"].as_array().unwrap().len(), 1, "a name counts once");
    let place = client.rest(&json!(order.header("location").unwrap()));
    let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:app.example.com"));
    let early = client.post(&format!("{place}/finalize"), json!({"csr": der(&csr)}));
    refuses(&early, 403, "orderNotReady", "order is status pending");
    refuses(&client.look(&format!("{place}/cert")), 403, "orderNotReady", "");
    client.prove(&web, &order, "app.example.com");
    assert_eq!(client.look(&place).is(200).data["status"], "ready");
    let done = client.post(&format!("{place}/finalize"), json!({"csr": der(&csr)})).is(200);
    assert_eq!(client.rest(&done.data["certificate"]), format!("{place}/cert"));
    let chain = client.download(&place);
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2, "the leaf and the root");
    let leaf = Certificate::from_pem(&chain).unwrap();
    let names = leaf.alt_names().unwrap();
    assert_eq!((names.dns.as_slice(), names.len()), (["app.example.com".to_owned()].as_slice(), 1));
    assert_eq!(leaf.ext_key_usage().unwrap(), Some(vec![ExtKeyUsage::SERVER_AUTH]));
    desk.put("root.pem", bench.get("ca/pem").text).put("leaf.pem", chain);
    desk.openssl(&format!("verify -attime {} -CAfile root.pem leaf.pem", crate::NOW + 60));
    let again = client.post(&format!("{place}/finalize"), json!({"csr": der(&csr)}));
    refuses(&again, 403, "orderNotReady", "order is status valid");
    let orders = client.look("orders").is(200);
    assert_eq!(orders.data["orders"], json!([client.url(&place)]));
}

/// A replacement is not counted, so that who is called back is let in; but one that is given up again and again is.
#[test]
fn an_order_replaces_for_nothing_once() {
    let (bench, web) = open(json!({}));
    let desk = Desk::new("acme-replace");
    let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:a.example.com"));
    let client = Client::with_account(&bench, "acme/");
    let place = client.obtain(&web, "a.example.com", &csr);
    let own = crate::renewal_name(&client.download(&place));
    let many: Vec<_> = std::iter::once("a.example.com".to_owned())
        .chain((0..99).map(|n| format!("{n}.example.com")))
        .map(|name| json!({"type": "dns", "value": name}))
        .collect();
    let replace = || {
        let answer = client.post("new-order", json!({"identifiers": many, "replaces": own}));
        if answer.status == 201 {
            let authorization = client.rest(&answer.data["authorizations"][0]);
            client.post(&authorization, json!({"status": "deactivated"})).is(200);
        }
        answer
    };
    // The name of the first certificate was issued, and counts no more.
    let done = (0..60).take_while(|_| replace().status == 201).count();
    assert_eq!(done, 51);
    let answer = replace();
    refuses(&answer, 429, "rateLimited", "too many names");
    assert!(answer.header("retry-after").is_some());
}

/// What is ordered is kept for days, so names are counted, whoever orders them in how many orders and accounts.
#[test]
fn names_are_counted_until_they_are_issued() {
    let (bench, _) = open(json!({}));
    let names: Vec<String> = (0..100).map(|n| format!("{n}.example.com")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fill = |client: &Client<'_>| {
        (0..51).map(|_| client.order(&names)).take_while(|one| one.status == 201).count()
    };
    let first = Client::with_account(&bench, "acme/");
    assert_eq!(fill(&first), 50);
    let refused = first.order(&names);
    refuses(&refused, 429, "rateLimited", "by this account");
    assert_eq!(refused.header("retry-after"), Some("3001"));
    let others: usize = (0..4).map(|_| fill(&Client::with_account(&bench, "acme/"))).sum();
    assert_eq!(others, 150, "from one address");
    refuses(&Client::with_account(&bench, "acme/").order(&names), 429, "rateLimited", "from this address");
    // Whom somebody vouches for is not lumped together with strangers.
    let bound = Client::bound(&bench, "acme/", "");
    bound.order(&names).is(201);
}

/// GHSA-x8fg-h69x-p28f and its kin: a request may not bring along what nobody proved.
#[test]
fn what_a_csr_says_beside_its_names_is_refused_or_counts_for_nothing() {
    let (bench, web) = open(json!({}));
    let desk = Desk::new("acme-csr");
    let client = Client::with_account(&bench, "acme/");
    let order = client.order(&["a.example.com"]).is(201);
    client.prove(&web, &order, "a.example.com");
    let place = client.rest(&json!(order.header("location").unwrap()));
    let finalize = |arguments: &str| {
        let csr = desk.csr(&format!("{EC} {arguments}"));
        client.post(&format!("{place}/finalize"), json!({"csr": der(&csr)}))
    };
    let san = "-addext subjectAltName=DNS:a.example.com";
    for (more, why) in [
        (",URI:spiffe://x/admin", "URIs"),
        (",email:root@example.com", "e-mail"),
        (",otherName:1.2.3.4;UTF8:root", "other names"),
        (",RID:1.2.3.4", "other names"),
        (",IP:10.0.0.1", "10.0.0.1"),
        (",DNS:b.example.com", "b.example.com"),
        (",DNS:*.example.com", "*.example.com"),
    ] {
        refuses(&finalize(&format!("-subj / {san}{more}")), 400, "badCSR", why);
    }
    refuses(&finalize(&format!("-subj /CN=b.example.com {san}")), 400, "badCSR", "b.example.com");
    refuses(&finalize("-subj /CN=admin"), 400, "badCSR", "admin");
    refuses(&finalize("-subj /"), 400, "badCSR", "does not ask for a.example.com");
    let ca = format!("-subj / {san} -addext basicConstraints=critical,CA:true");
    refuses(&finalize(&ca), 400, "badCSR", "CA");
    let weak = desk.csr(&format!("-newkey rsa:1024 -subj / {san}"));
    refuses(&client.post(&format!("{place}/finalize"), json!({"csr": der(&weak)})), 400, "badCSR", "");
    for csr in ["", "AAAA", "*", &der(&weak)[..100]] {
        refuses(&client.post(&format!("{place}/finalize"), json!({"csr": csr})), 400, "badCSR", "");
    }
    let rest = "-addext extendedKeyUsage=clientAuth,codeSigning -addext keyUsage=keyCertSign";
    finalize(&format!("-subj /O=Evil/OU=Root/CN=a.example.com {san} {rest}")).is(200);
    let leaf = Certificate::from_pem(&client.download(&place)).unwrap();
    let subject = leaf.subject().unwrap();
    assert_eq!((subject.common_name.as_str(), subject.organization.len()), ("a.example.com", 0));
    assert_eq!(leaf.ext_key_usage().unwrap(), Some(vec![ExtKeyUsage::SERVER_AUTH]));
    assert!(!leaf.is_ca() && !leaf.key_usage().unwrap().unwrap().cert_sign());
}

#[test]
fn the_key_of_an_account_is_no_key_of_a_certificate() {
    let (bench, web) = open(json!({}));
    let client = Client::with_account(&bench, "acme/");
    let order = client.order(&["a.example.com"]).is(201);
    client.prove(&web, &order, "a.example.com");
    let place = client.rest(&json!(order.header("location").unwrap()));
    let desk = Desk::new("acme-own-key");
    let pkcs8 = client.key.to_pkcs8v1().unwrap();
    desk.put("own.der", pkcs8.as_ref());
    desk.openssl(
        "req -new -key own.der -keyform DER -subj / -addext subjectAltName=DNS:a.example.com -out r.pem",
    );
    let answer = client.post(&format!("{place}/finalize"), json!({"csr": der(&desk.text("r.pem"))}));
    refuses(&answer, 400, "badCSR", "account");
}

#[test]
fn a_role_says_which_names_there_are_and_how_long_they_last() {
    let (bench, web) = open(json!({"default_directory_policy": "role:r"}));
    let client = Client::with_account(&bench, "acme/");
    refuses(
        &client.order(&["bad.org"]),
        400,
        "rejectedIdentifier",
        "the server will not issue certificates for the identifier: role (r) will not issue certificate for name bad.org",
    );
    let two = client.order(&["bad.org", "a.example.com", "worse.org"]);
    assert_eq!(two.data["subproblems"].as_array().unwrap().len(), 2, "{two:?}");
    let wrong = |identifiers: Value| client.post("new-order", json!({"identifiers": identifiers}));
    refuses(&wrong(json!([])), 400, "malformed", "0 identifiers");
    let uri = wrong(json!([{"type": "uri", "value": "spiffe://x"}]));
    refuses(&uri, 400, "unsupportedIdentifier", "uri");
    let many: Vec<_> =
        (0..101).map(|n| json!({"type": "dns", "value": format!("{n}.example.com")})).collect();
    refuses(&wrong(json!(many)), 400, "malformed", "101 identifiers");
    let desk = Desk::new("acme-role");
    let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:a.example.com"));
    let leaf = Certificate::from_pem(&client.download(&client.obtain(&web, "a.example.com", &csr))).unwrap();
    let validity = leaf.validity();
    assert_eq!(validity.not_after - crate::NOW, 3600, "the role's ttl");
    assert_eq!(leaf.subject().unwrap().common_name, "a.example.com", "the role wants a common name");
    let order = |after: &str| {
        let identifiers = json!([{"type": "dns", "value": "a.example.com"}]);
        client.post("new-order", json!({"identifiers": identifiers, "notAfter": after}))
    };
    refuses(&order("2027-01-01T00:00:00Z"), 400, "malformed", "notAfter");
    refuses(&order("tomorrow"), 400, "malformed", "notAfter");
    let asked = order("2026-01-01T05:00:00Z").is(201);
    assert_eq!(asked.data["notAfter"], "2026-01-01T05:00:00Z");
}

/// An order asks for less than its role and the issuer allow, never for more.
#[test]
fn an_order_has_no_say_over_the_longest_life() {
    let (mut bench, web) = open(json!({}));
    bench.post(
        "roles/short",
        json!({"allow_any_name": true, "key_type": "any", "ttl": "1h", "max_ttl": "1h"}),
    );
    let client = Client::with_account(&bench, "roles/short/acme/");
    let order = |more: Value| {
        let mut body = json!({"identifiers": [{"type": "dns", "value": "a.example.com"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.post("new-order", body)
    };
    // It is midnight, and the issuer lasts 700 hours.
    refuses(
        &order(json!({"notAfter": "2026-01-01T01:00:01Z"})),
        400,
        "malformed",
        "2026-01-01T01:00:00Z at most",
    );
    refuses(&order(json!({"notAfter": "2026-03-30T00:00:00Z"})), 400, "malformed", "notAfter");
    refuses(&order(json!({"notBefore": "2000-01-01T00:00:00Z"})), 400, "malformed", "notBefore");
    refuses(
        &order(json!({"notBefore": "2025-12-31T23:59:29Z"})),
        400,
        "malformed",
        "23:59:30Z at the earliest",
    );
    order(json!({"notBefore": "2025-12-31T23:59:30Z"})).is(201);
    let ends = json!({"allow_any_name": true, "key_type": "any", "not_after": "2026-01-01T00:30:00Z"});
    bench.post("roles/short", ends).is(200);
    order(json!({})).is(201);
    refuses(
        &order(json!({"notAfter": "2026-01-01T01:00:00Z"})),
        400,
        "malformed",
        "2026-01-01T00:30:00Z at most",
    );
    bench.post("roles/short", json!({"allow_any_name": true, "key_type": "any", "max_ttl": "2000h"}));
    refuses(&order(json!({"notAfter": "2026-01-30T05:00:00Z"})), 400, "malformed", "notAfter is");
    // What is ordered in time is issued as it was ordered, but begins no sooner than any other.
    let span = json!({"notBefore": "2026-01-01T00:00:00Z", "notAfter": "2026-01-01T00:50:00Z"});
    let made = order(span).is(201);
    client.prove(&web, &made, "a.example.com");
    let place = client.rest(&json!(made.header("location").unwrap()));
    let (key, kid) = (client.key, client.kid);
    bench.wait(600);
    let client = Client { bench: &bench, key, directory: "roles/short/acme/", kid };
    let desk = Desk::new("acme-span");
    let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:a.example.com"));
    client.post(&format!("{place}/finalize"), json!({"csr": der(&csr)})).is(200);
    let validity = Certificate::from_pem(&client.download(&place)).unwrap().validity();
    assert_eq!((validity.not_before, validity.not_after), (crate::NOW + 570, crate::NOW + 3000));
}

#[test]
fn directories_are_of_a_mount_a_role_an_issuer_and_both() {
    let (bench, _) = open(json!({}));
    for place in ["acme", "roles/r/acme", "issuer/default/acme", "issuer/default/roles/r/acme"] {
        let shown = bench.get(&format!("{place}/directory")).is(200);
        for (field, end) in [
            ("newNonce", "new-nonce"),
            ("newAccount", "new-account"),
            ("newOrder", "new-order"),
            ("revokeCert", "revoke-cert"),
            ("keyChange", "key-change"),
            ("renewalInfo", "renewal-info"),
        ] {
            assert_eq!(shown.data[field], format!("{BASE}/{place}/{end}"));
        }
        assert_eq!(shown.data["meta"], json!({"externalAccountRequired": false}));
    }
    refuses(&bench.get("roles/none/acme/directory"), 400, "malformed", "role does not exist");
    refuses(&bench.get("issuer/none/acme/directory"), 400, "malformed", "issuer does not exist");
    bench.post("config/acme", json!({"allowed_roles": "r", "default_directory_policy": "forbid"})).is(200);
    bench.post("roles/other", json!({"allow_any_name": true})).is(200);
    refuses(&bench.get("acme/directory"), 500, "serverInternal", "default directory not allowed");
    refuses(&bench.get("roles/other/acme/directory"), 500, "serverInternal", "specified role not allowed");
    bench.get("roles/r/acme/directory").is(200);
    bench.post("config/acme", json!({"enabled": false})).is(200);
    bench.get("roles/r/acme/directory").is(404);
    // A body does not choose the directory: the path does.
    bench.post("config/acme", json!({"enabled": true})).is(200);
    let body = json!({"role": "r", "protected": "e30", "payload": "", "signature": ""}).to_string();
    let answer = bench.send(kit::Verb::Post, "acme/new-order", &body);
    refuses(&answer, 500, "serverInternal", "default directory not allowed");
}

#[test]
fn what_is_anothers_does_not_exist() {
    let (bench, _) = open(json!({}));
    let (one, other) = (Client::with_account(&bench, "acme/"), Client::with_account(&bench, "acme/"));
    let order = one.order(&["a.example.com"]).is(201);
    let place = one.rest(&json!(order.header("location").unwrap()));
    let authorization = one.rest(&order.data["authorizations"][0]);
    let (challenge, _) = one.challenge(&order, "http-01");
    for path in [place.as_str(), &authorization, &challenge, &format!("{place}/cert")] {
        refuses(&other.look(path), 404, "malformed", "no such");
    }
    refuses(&other.post(&challenge, json!({})), 404, "malformed", "no such");
    refuses(&other.post(&authorization, json!({"status": "deactivated"})), 404, "malformed", "no such");
    refuses(&other.post(&format!("{place}/finalize"), json!({"csr": ""})), 404, "malformed", "no such");
    let own = one.kid.clone().unwrap();
    refuses(&other.look(&one.rest(&json!(own))), 401, "unauthorized", "not the account");
    assert_eq!(bench.tick(), 0, "nothing was begun");
}

#[test]
fn a_name_that_was_given_up_is_not_issued() {
    let (bench, web) = open(json!({}));
    let client = Client::with_account(&bench, "acme/");
    let order = client.order(&["a.example.com"]).is(201);
    client.prove(&web, &order, "a.example.com");
    let authorization = client.rest(&order.data["authorizations"][0]);
    let given_up = client.post(&authorization, json!({"status": "deactivated"})).is(200);
    assert_eq!(given_up.data["status"], "deactivated");
    let place = client.rest(&json!(order.header("location").unwrap()));
    let shown = client.look(&place).is(200);
    assert_eq!((&shown.data["status"], shown.data["error"].is_object()), (&json!("invalid"), true));
    refuses(&client.post(&format!("{place}/finalize"), json!({"csr": ""})), 403, "orderNotReady", "invalid");
}

#[test]
fn orders_end_in_time_and_are_cleared_away() {
    let (mut bench, web) = open(json!({"max_ttl": "72h"}));
    let desk = Desk::new("acme-end");
    let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:b.example.com"));
    let key = {
        let client = Client::with_account(&bench, "acme/");
        client.order(&["a.example.com"]).is(201);
        client.obtain(&web, "b.example.com", &csr);
        (client.key, client.kid)
    };
    let tables = [9, 10, 11, 13];
    assert_eq!(tables.map(|table| bench.ids(table).0), [2, 2, 2, 1]);
    bench.wait(25 * 3600);
    bench.tick();
    {
        let client = Client { bench: &bench, key: key.0, directory: "acme/", kid: key.1 };
        let orders = client.look("orders").is(200).data["orders"].as_array().unwrap().len();
        assert_eq!(orders, 1, "one has not been done in time");
    }
    bench.wait(24 * 3600);
    bench.tick();
    assert_eq!(
        tables.map(|table| bench.ids(table).0),
        [1, 1, 1, 1],
        "one is kept as long as its certificate"
    );
    bench.wait(48 * 3600);
    bench.tick();
    assert_eq!(tables.map(|table| bench.ids(table).0), [0, 0, 0, 0]);
}

#[test]
fn renewal_is_advised_and_counts_once() {
    let (bench, web) = open(json!({}));
    let desk = Desk::new("acme-ari");
    let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:a.example.com"));
    let client = Client::with_account(&bench, "acme/");
    let place = client.obtain(&web, "a.example.com", &csr);
    let leaf = Certificate::from_pem(&client.download(&place)).unwrap();
    let name = |serial: &[u8]| {
        use base64::Engine as _;
        let text = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        format!("{}.{}", text(&leaf.authority_key_id().unwrap()), text(serial))
    };
    let own = name(leaf.serial().as_bytes());
    let advice = bench.get(&format!("acme/renewal-info/{own}")).is(200);
    assert_eq!(advice.header("retry-after"), Some("21600"));
    let window = &advice.data["suggestedWindow"];
    assert!(window["start"].as_str().unwrap() > bench.now().as_str(), "{window}");
    assert!(window["start"].as_str() < window["end"].as_str());
    refuses(&bench.get(&format!("acme/renewal-info/{}", name(&[1, 2, 3]))), 404, "malformed", "no such");
    refuses(&bench.get("acme/renewal-info/nonsense"), 404, "malformed", "no such");
    let replace = |client: &Client<'_>, host: &str, replaces: &str| {
        let identifiers = json!([{"type": "dns", "value": host}]);
        client.post("new-order", json!({"identifiers": identifiers, "replaces": replaces}))
    };
    refuses(&replace(&client, "b.example.com", &own), 400, "malformed", "in common");
    refuses(&replace(&client, "a.example.com", "x.y"), 400, "malformed", "replaces");
    let stranger = Client::with_account(&bench, "acme/");
    refuses(&replace(&stranger, "a.example.com", &own), 400, "malformed", "replaces");
    let other = format!("AAAA.{}", own.split_once('.').unwrap().1);
    refuses(&replace(&client, "a.example.com", &other), 400, "malformed", "names no certificate");
    assert_eq!(replace(&client, "a.example.com", &own).is(201).data["replaces"], own);
    refuses(&replace(&client, "a.example.com", &own), 409, "alreadyReplaced", "");
    let revoked = json!({"certificate": der(&client.download(&place))});
    client.post("revoke-cert", revoked).is(200);
    let advice = bench.get(&format!("acme/renewal-info/{own}")).is(200);
    let end = advice.data["suggestedWindow"]["end"].as_str().unwrap().to_owned();
    assert!(end.as_str() <= bench.now().as_str(), "what is revoked is renewed at once: {end}");
}
