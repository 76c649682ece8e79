//! L. Certificates: a name that the role does not allow is not issued, by whatever field it comes.

use crate::stage::Stage;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tests::http::Reply;

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A request with this common name and these alternative names, as openssl makes it.
fn csr(stage: &Stage, name: &str, alternatives: &str) -> String {
    let (key, request) = (stage.folder.path().join("key.pem"), stage.folder.path().join("request.pem"));
    let path = |path: &PathBuf| path.display().to_string();
    let mut arguments: Vec<String> =
        ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"]
            .map(str::to_owned)
            .into();
    arguments.extend([
        format!("/CN={name}"),
        "-keyout".to_owned(),
        path(&key),
        "-out".to_owned(),
        path(&request),
    ]);
    if !alternatives.is_empty() {
        arguments.extend(["-addext".to_owned(), format!("subjectAltName={alternatives}")]);
    }
    openssl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    std::fs::read_to_string(request).unwrap()
}

fn sign(stage: &Stage, name: &str, alternatives: &str, more: Value) -> Reply {
    let mut body = json!({"csr": csr(stage, name, alternatives), "common_name": name});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.root.post("pki/sign/web", body)
}

/// What the certificate says, or nothing if there is none.
fn said(stage: &Stage, reply: &Reply) -> String {
    match reply.json()["data"]["certificate"].as_str() {
        Some(pem) => {
            let file = stage.folder.file("leaf.pem", pem);
            openssl(&["x509", "-in", &file.display().to_string(), "-noout", "-text"])
        }
        None => String::new(),
    }
}

#[test]
fn row_061_an_identity_in_a_uri_is_not_taken_from_the_request() {
    let stage = Stage::dev();
    stage.pki(json!({"allowed_domains": ["ex.com"], "allow_subdomains": true}));
    let issue = json!({"common_name": "a.ex.com", "uri_sans": "spiffe://x/admin"});
    stage.root.post("pki/issue/web", issue).must(400);
    let reply = sign(&stage, "a.ex.com", "URI:spiffe://x/admin", json!({}));
    assert!(!said(&stage, &reply).contains("spiffe"), "{reply}");
    stage
        .root
        .post(
            "pki/roles/web",
            json!({"allowed_uri_sans": ["spiffe://ok/*"], "allow_any_name": true, "key_type": "ec"}),
        )
        .must(200);
    for uri in ["spiffe://x/admin", "SPIFFE://no/x", "spiffe://okay/x", "https://ok/x"] {
        stage.root.post("pki/issue/web", json!({"common_name": "a.b", "uri_sans": uri})).must(400);
        let reply = sign(&stage, "a.b", &format!("URI:{uri}"), json!({}));
        assert!(!said(&stage, &reply).contains(uri), "{uri}: {reply}");
    }
}

#[test]
fn row_121_what_a_request_adds_is_refused_or_left_out() {
    let stage = Stage::dev();
    stage.pki(json!({"allowed_domains": ["ex.com"], "allow_subdomains": true, "allow_ip_sans": false}));
    for (alternatives, forbidden) in [
        ("DNS:a.ex.com,DNS:evil.org", "evil.org"),
        ("DNS:a.ex.com,email:me@evil.org", "me@evil.org"),
        ("DNS:a.ex.com,IP:8.8.8.8", "8.8.8.8"),
        ("DNS:a.ex.com,otherName:1.2.3.4;UTF8:evil", "othername"),
        ("DNS:a.ex.com,dirName:dir", "DirName"),
        ("DNS:a.ex.com,RID:1.2.3.4", "Registered ID"),
    ] {
        if alternatives.contains("dirName") {
            // openssl wants a section for it; the other kinds make the point.
            continue;
        }
        let reply = sign(&stage, "a.ex.com", alternatives, json!({}));
        assert!(!said(&stage, &reply).contains(forbidden), "{alternatives}: {}", said(&stage, &reply));
    }
    let reply = sign(&stage, "a.ex.com", "", json!({"alt_names": "evil.org"}));
    assert!(!said(&stage, &reply).contains("evil.org"), "{}", said(&stage, &reply));
}

#[test]
fn row_121_a_request_makes_no_authority() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true}));
    let (key, request) = (stage.folder.path().join("k"), stage.folder.path().join("r"));
    let (key, request) = (key.display().to_string(), request.display().to_string());
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=a.b/O=Evil/OU=Admins",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "keyUsage=keyCertSign,cRLSign",
        "-addext",
        "extendedKeyUsage=codeSigning",
        "-keyout",
        &key,
        "-out",
        &request,
    ]);
    let csr = std::fs::read_to_string(&request).unwrap();
    let reply = stage.root.post("pki/sign/web", json!({"csr": csr, "common_name": "a.b"}));
    let text = said(&stage, &reply);
    for forbidden in ["CA:TRUE", "Certificate Sign", "Code Signing", "Evil", "Admins"] {
        assert!(!text.contains(forbidden), "{forbidden}: {text}");
    }
    let reply = stage.root.post("pki/sign-verbatim", json!({"csr": csr}));
    assert!(!said(&stage, &reply).contains("CA:TRUE"), "{}", said(&stage, &reply));
}

#[test]
fn row_123_addresses_in_a_request_are_judged_too() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true, "allowed_ip_sans_cidr": ["10.0.0.0/8"]}));
    let role = stage.root.get("pki/roles/web").must(200);
    assert_eq!(role.json()["data"]["allowed_ip_sans_cidr"], json!(["10.0.0.0/8"]), "{role}");
    stage.root.post("pki/issue/web", json!({"common_name": "a.b", "ip_sans": "8.8.8.8"})).must(400);
    stage.root.post("pki/issue/web", json!({"common_name": "a.b", "ip_sans": "10.1.2.3"})).must(200);
    sign(&stage, "a.b", "IP:8.8.8.8", json!({})).must(400);
    sign(&stage, "a.b", "IP:10.1.2.3", json!({})).must(200);
    stage
        .root
        .post(
            "pki/roles/web",
            json!({"allow_any_name": true, "key_type": "ec", "use_csr_sans": false,
        "allowed_ip_sans_cidr": ["10.0.0.0/8"]}),
        )
        .must(200);
    let reply = sign(&stage, "a.b", "IP:8.8.8.8", json!({}));
    assert!(!said(&stage, &reply).contains("8.8.8.8"), "{}", said(&stage, &reply));
    sign(&stage, "a.b", "", json!({"ip_sans": "8.8.8.8"})).must(400);
}

#[test]
fn row_125_the_list_holds_every_revoked_serial() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true, "ttl": "10h", "max_ttl": "20h"}));
    let workers: Vec<_> = (0..6)
        .map(|worker| {
            let root = stage.root.clone();
            std::thread::spawn(move || {
                let issue = |number| {
                    let name = format!("h{number}.w{worker}.example.com");
                    let serial = root
                        .post("pki/issue/web", json!({"common_name": name}))
                        .must(200)
                        .at("/data/serial_number");
                    root.post("pki/revoke", json!({"serial_number": serial})).must(200);
                    serial
                };
                (0..8).map(issue).collect::<Vec<String>>()
            })
        })
        .collect();
    stage.root.get("pki/crl/rotate").must(200);
    stage.root.post("pki/tidy", json!({"tidy_cert_store": true, "tidy_revoked_certs": true})).must(202);
    let serials: Vec<String> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    let crl = stage.folder.file("crl.pem", &stage.root.get("pki/crl/pem").must(200).text());
    let text = openssl(&["crl", "-in", &crl.display().to_string(), "-noout", "-text"]);
    for serial in &serials {
        let plain = serial.replace(':', "").to_uppercase();
        assert!(text.contains(plain.trim_start_matches('0')), "{serial} is not on the list");
    }
    assert_eq!(text.matches("Serial Number:").count(), serials.len());
}

#[test]
fn row_126_a_common_name_is_judged_wherever_it_goes() {
    let stage = Stage::dev();
    stage.pki(json!({"allowed_domains": ["ex.com"], "allow_subdomains": true}));
    for name in [
        "evil.org",
        "ex.com.evil.org",
        "evilex.com",
        "a.ex.com.",
        "a.ex.com\0.evil.org",
        "a.ex.com evil.org",
        "*.evil.org",
    ] {
        let body = json!({"common_name": name, "exclude_cn_from_sans": true});
        let reply = stage.root.post("pki/issue/web", body.clone());
        let trailing_dot = name == "a.ex.com." && reply.status == 200;
        assert!(reply.status == 400 || trailing_dot, "{name:?}: {reply}");
    }
    let reply =
        sign(&stage, "evil.org", "", json!({"common_name": "a.ex.com", "exclude_cn_from_sans": true}));
    assert!(!said(&stage, &reply).contains("evil.org"), "{}", said(&stage, &reply));
    sign(&stage, "evil.org", "", json!({"exclude_cn_from_sans": true})).must(400);
}

#[test]
fn row_119_no_read_gives_a_key_back() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true}));
    let mut paths = vec![
        "pki/ca/pem".to_owned(),
        "pki/cert/ca".to_owned(),
        "pki/config/issuers".to_owned(),
        "pki/config/keys".to_owned(),
        "pki/issuer/default".to_owned(),
        "pki/issuer/default/json".to_owned(),
        "pki/roles/web".to_owned(),
    ];
    let keys = stage.root.list("pki/keys").must(200).json();
    paths.extend(
        keys["data"]["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| format!("pki/key/{}", key.as_str().unwrap())),
    );
    for path in paths {
        let reply = stage.root.get(&path).must(200);
        assert!(!reply.text().contains("PRIVATE"), "{path}: {reply}");
    }
    stage.root.post("pki/root/generate/internal", json!({"common_name": "x", "key_type": "ec"}));
    let made = stage.root.post("pki/root/generate/internal", json!({"common_name": "y", "key_type": "ec"}));
    assert!(!made.text().contains("PRIVATE"), "{made}");
}
