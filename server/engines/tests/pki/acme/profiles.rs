use serde_json::json;
use x509::Certificate;

use super::{Client, der, open, refuses};
use crate::bench::Bench;
use crate::{Desk, EC, NOW};

fn offer(bench: &Bench) {
    let short = json!({"allowed_domains": "example.com", "allow_subdomains": true, "key_type": "any", "max_ttl": "30m", "ttl": "30m"});
    bench.post("roles/short", short).is(200);
    bench.post("config/acme", json!({"profiles": ["web=r", "short=short"]})).is(200);
}

#[test]
fn a_client_chooses_a_profile_and_has_what_its_role_allows() {
    let (bench, web) = open(json!({}));
    offer(&bench);
    let shown = bench.get("acme/directory").is(200).data;
    assert_eq!(shown["meta"]["profiles"]["short"], "as the role short allows, for 30m0s at most");
    assert_eq!(shown["meta"]["profiles"]["web"], "as the role r allows, for 72h0m0s at most");
    let client = Client::with_account(&bench, "acme/");
    let order = |name: &str, profile: &str| {
        let identifiers = json!([{"type": "dns", "value": name}]);
        client.post("new-order", json!({"identifiers": identifiers, "profile": profile}))
    };
    refuses(&order("a.example.com", "gold"), 400, "invalidProfile", "offers [short, web]");
    refuses(&order("a.example.org", "short"), 400, "rejectedIdentifier", "role (short)");
    let made = order("a.example.com", "short").is(201);
    assert_eq!(made.data["profile"], "short");
    client.prove(&web, &made, "a.example.com");
    let place = client.rest(&json!(made.header("location").unwrap()));
    assert_eq!(client.look(&place).is(200).data["profile"], "short");
    let desk = Desk::new("acme-profile");
    let csr =
        json!({"csr": der(&desk.csr(&format!("{EC} -subj / -addext subjectAltName=DNS:a.example.com")))});
    // What is offered when the certificate is issued counts.
    bench.post("config/acme", json!({"profiles": "web=r"})).is(200);
    refuses(&client.post(&format!("{place}/finalize"), csr.clone()), 400, "invalidProfile", "offers [web]");
    offer(&bench);
    client.post(&format!("{place}/finalize"), csr).is(200);
    let leaf = Certificate::from_pem(&client.download(&place)).unwrap();
    assert_eq!(leaf.validity().not_after - NOW, 1_800);
    // Who asks for none has what the directory has without.
    let none = order("a.example.org", "").is(201);
    assert!(none.data["profile"].is_null());
}

#[test]
fn where_the_path_names_a_role_there_is_nothing_to_choose() {
    let (bench, _) = open(json!({}));
    offer(&bench);
    for place in ["roles/r/acme", "issuer/default/roles/r/acme"] {
        assert!(bench.get(&format!("{place}/directory")).is(200).data["meta"]["profiles"].is_null());
    }
    assert!(bench.get("issuer/default/acme/directory").is(200).data["meta"]["profiles"].is_object());
    let client = Client::with_account(&bench, "roles/r/acme/");
    let identifiers = json!([{"type": "dns", "value": "a.example.com"}]);
    let refused = client.post("new-order", json!({"identifiers": identifiers, "profile": "short"}));
    refuses(&refused, 400, "invalidProfile", "offers []");
}

#[test]
fn profiles_name_roles_that_acme_may_use() {
    let (bench, _) = open(json!({}));
    for (profiles, why) in [
        (json!("web=none"), "role does not exist"),
        (json!({"a b": "r"}), "letters, digits"),
        (json!({"": "r"}), "letters, digits"),
        (json!((0..33).map(|n| format!("p{n}=r")).collect::<Vec<_>>()), "33; 32 are allowed"),
    ] {
        bench.post("config/acme", json!({"profiles": profiles})).refuses(400, why);
    }
    bench.post("roles/other", json!({"allow_any_name": true})).is(200);
    let closed = json!({"allowed_roles": "other", "profiles": "web=r"});
    bench.post("config/acme", closed).refuses(400, "add it to allowed_roles");
    assert!(bench.get("config/acme").data["profiles"].is_null(), "nothing of it was kept");
}
