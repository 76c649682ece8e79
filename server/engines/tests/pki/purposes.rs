//! What the certificates of a CA and of those above it say of purposes and policies binds what is issued below.

use serde_json::json;

use crate::bench::{Answer, Bench};
use crate::{Desk, EC, NOW, mount, role, text};

/// Has a CA signed whose request, made by openssl, asks for these extensions.
fn sign(bench: &Bench, desk: &Desk, by: &str, name: &str, extensions: &[&str]) -> Answer {
    let asked: String = extensions.iter().map(|one| format!(" -addext {one}")).collect();
    let csr = desk.csr(&format!("{EC} -subj /CN={name}{asked}"));
    let body = json!({"csr": csr, "ttl": "800h", "use_csr_values": true});
    bench.post(&format!("issuer/{by}/sign-intermediate"), body)
}

/// The same, brought into the mount by its name.
fn add(bench: &Bench, desk: &Desk, by: &str, name: &str, extensions: &[&str]) {
    let signed = sign(bench, desk, by, name, extensions).is(200);
    bench.post("keys/import", json!({"pem_bundle": desk.text("k.pem")})).is(200);
    let certificate = text(&signed, "certificate");
    desk.put(&format!("{name}.pem"), certificate);
    let set = bench.post("intermediate/set-signed", json!({ "certificate": certificate })).is(200);
    let id = set.data["imported_issuers"][0].as_str().unwrap().to_owned();
    bench.patch(&format!("issuer/{id}"), json!({"issuer_name": name})).is(200);
}

/// A mount with a root.
fn rooted(desk: &Desk) -> Bench {
    let bench = mount();
    let body = json!({"common_name": "Root", "key_type": "ec", "ttl": "900h", "issuer_name": "root"});
    let root = bench.post("root/generate/internal", body).is(200);
    desk.put("root.pem", text(&root, "certificate"));
    bench
}

fn issue(bench: &Bench, by: &str) -> Answer {
    bench.post(&format!("issuer/{by}/issue/r"), json!({"common_name": "a.example.com"}))
}

/// What openssl says of the purposes of a leaf that `int` issues.
fn purposes(bench: &Bench, desk: &Desk) -> String {
    desk.put("leaf.pem", text(&issue(bench, "int").is(200), "certificate"));
    desk.openssl("x509 -in leaf.pem -noout -ext extendedKeyUsage")
}

const SERVER: &str = "TLS Web Server Authentication";
const CLIENT: &str = "TLS Web Client Authentication";
const BEYOND: &str = "lies outside of what the extended key usage of the CA permits: ClientAuth (RFC 5280, section 4.2.1.12; issuer int)";

/// The usual role wants both purposes: it is given the one, and told. A role that wants the other alone is refused.
#[test]
fn a_ca_gives_no_purposes_beside_its_own() {
    let desk = Desk::new("purposes");
    let bench = rooted(&desk);
    add(&bench, &desk, "root", "int", &["extendedKeyUsage=clientAuth"]);
    role(&bench, json!({})).is(200);
    let issued = issue(&bench, "int").is(200);
    let told = "left out of the extended key usage: ServerAuth, which that of the CA does not permit (RFC 5280, section 4.2.1.12)";
    assert!(issued.warnings.iter().any(|text| text.starts_with(told)), "{:?}", issued.warnings);
    let said = purposes(&bench, &desk);
    assert!(said.contains(CLIENT) && !said.contains(SERVER), "{said}");
    desk.openssl(&format!(
        "verify -attime {NOW} -purpose sslclient -CAfile root.pem -untrusted int.pem leaf.pem"
    ));

    role(&bench, json!({"client_flag": false})).is(200);
    issue(&bench, "int").refuses(400, &format!("the purpose ServerAuth {BEYOND}"));
    issue(&bench, "root").is(200);
    let csr =
        desk.csr(&format!("{EC} -subj /CN=a.example.com -addext extendedKeyUsage=serverAuth,clientAuth"));
    let verbatim = bench.post("issuer/int/sign-verbatim", json!({ "csr": csr }));
    verbatim.refuses(400, &format!("the purpose ServerAuth {BEYOND}"));
    role(&bench, json!({"server_flag": false, "ext_key_usage": "ClientAuth"})).is(200);
    assert!(issue(&bench, "int").is(200).warnings.iter().all(|text| !text.starts_with("left out")));

    // What names no purpose is bound by those above; who answers for a CA is bound by no purpose of it.
    role(&bench, json!({"server_flag": false, "client_flag": false})).is(200);
    issue(&bench, "int").is(200);
    let answers = json!({"server_flag": false, "client_flag": false, "ext_key_usage": "OCSPSigning"});
    role(&bench, answers).is(200);
    assert!(purposes(&bench, &desk).contains("OCSP Signing"));
}

/// A CA that is for every purpose, and those below a CA that is not.
#[test]
fn purposes_bind_all_the_way_down() {
    let desk = Desk::new("purposes-down");
    let bench = rooted(&desk);
    role(&bench, json!({"client_flag": false})).is(200);
    add(&bench, &desk, "root", "any", &["extendedKeyUsage=anyExtendedKeyUsage"]);
    issue(&bench, "any").is(200);
    add(&bench, &desk, "root", "int", &["extendedKeyUsage=clientAuth"]);
    sign(&bench, &desk, "int", "wide", &["extendedKeyUsage=serverAuth"]).refuses(400, BEYOND);
    sign(&bench, &desk, "int", "wide", &["extendedKeyUsage=anyExtendedKeyUsage"])
        .refuses(400, &format!("the purpose Any {BEYOND}"));
    add(&bench, &desk, "int", "silent", &[]);
    issue(&bench, "silent").refuses(400, BEYOND);
}

/// Of a CA that two have signed, one way up has to permit a purpose, and each purpose may have its own.
#[test]
fn one_way_up_is_enough_for_a_purpose() {
    let desk = Desk::new("purposes-ways");
    let bench = rooted(&desk);
    let body = json!({"common_name": "Mid", "key_type": "ec", "ttl": "900h", "issuer_name": "int", "ext_key_usage": "ClientAuth"});
    let first = bench.post("root/generate/internal", body).is(200);
    add(&bench, &desk, "int", "low", &[]);
    role(&bench, json!({"client_flag": false})).is(200);
    issue(&bench, "low").refuses(400, BEYOND);
    // The same CA and key once more, for the other purpose.
    let body = json!({"common_name": "Mid", "key_ref": first.data["key_id"], "ttl": "900h", "issuer_name": "more", "ext_key_usage": "ServerAuth"});
    bench.post("root/generate/existing", body).is(200);
    issue(&bench, "low").is(200);
    role(&bench, json!({})).is(200);
    assert!(issue(&bench, "low").is(200).warnings.iter().all(|text| !text.starts_with("left out")));
}

const EXPLICIT: &str = "policyConstraints=critical,requireExplicitPolicy:0";

#[test]
fn a_ca_that_wants_policies_signs_nothing_without_them() {
    let desk = Desk::new("policies");
    let bench = rooted(&desk);
    add(&bench, &desk, "root", "int", &[EXPLICIT, "certificatePolicies=1.2.3.4"]);
    let refusal = |what: &str| {
        format!(
            "the policy constraints of the CA want a certificate policy in what is signed below, and it would have none of 1.2.3.4 (RFC 5280, section 4.2.1.11); {what} (issuer int)"
        )
    };
    let name_it = refusal("name it among the policy_identifiers of the role");
    for policies in [json!(""), json!("1.2.3.5")] {
        role(&bench, json!({ "policy_identifiers": policies })).is(200);
        issue(&bench, "int").refuses(400, &name_it);
    }
    let verify = format!(
        "verify -attime {NOW} -policy_check -policy 1.2.3.4 -CAfile root.pem -untrusted int.pem leaf.pem"
    );
    role(&bench, json!({"policy_identifiers": "1.2.3.5,1.2.3.4"})).is(200);
    desk.put("leaf.pem", text(&issue(&bench, "int").is(200), "certificate"));
    desk.openssl(&verify);
    sign(&bench, &desk, "int", "low", &[])
        .refuses(400, &refusal("ask for it in the request, with use_csr_values"));
    add(&bench, &desk, "int", "low", &["certificatePolicies=1.2.3.4"]);
    issue(&bench, "low").is(200);
}

/// Nobody verifies what a root says of policies. It is obeyed here all the same.
#[test]
fn a_root_binds_itself() {
    let (desk, bench) = (Desk::new("policies-root"), mount());
    desk.openssl(&format!(
        "req -x509 -nodes -keyout k.pem -out root.pem {EC} -subj /CN=Root -days 30 -addext {EXPLICIT} -addext keyUsage=keyCertSign"
    ));
    let bundle = format!("{}{}", desk.text("root.pem"), desk.text("k.pem"));
    bench.post("config/ca", json!({ "pem_bundle": bundle })).is(200);
    role(&bench, json!({"ttl": "1h"})).is(200);
    issue(&bench, "default")
        .refuses(400, "want a certificate policy in what is signed below, and it would have none");
    role(&bench, json!({"policy_identifiers": "1.2.3.4"})).is(200);
    issue(&bench, "default").is(200);
}
