//! Certificates as others judge them: openssl, and pkilint.

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use tests::binary::Binary;
use tests::http::Client;
use tests::scratch::Scratch;
use tests::server::Server;

/// A root, an intermediate signed by it and a role on the intermediate, of this key type.
fn authority(root: &Client, kind: &str, bits: u32) -> String {
    let key = json!({"key_type": kind, "key_bits": bits});
    let with = |more: Value| {
        let mut body = key.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for mount in ["ca", "int"] {
        root.post(
            &format!("sys/mounts/{mount}"),
            json!({"type": "pki", "config": {"max_lease_ttl": "87600h"}}),
        )
        .must(204);
        let url = |what: &str| format!("http://pki.example.com/v1/{mount}/{what}");
        root.post(
            &format!("{mount}/config/urls"),
            json!({"issuing_certificates": [url("ca")], "crl_distribution_points": [url("crl")], "ocsp_servers": [url("ocsp")]}),
        )
        .must(200);
    }
    let body = with(
        json!({"common_name": "Example Root", "organization": "Example", "country": "DE", "ttl": "87600h"}),
    );
    let anchor = root.post("ca/root/generate/internal", body).must(200).at("/data/certificate");
    let body =
        with(json!({"common_name": "Example Intermediate", "organization": "Example", "country": "DE"}));
    let csr = root.post("int/intermediate/generate/internal", body).must(200).at("/data/csr");
    let body = json!({"csr": csr, "use_csr_values": true, "ttl": "43800h", "max_path_length": 0});
    let signed = root.post("ca/root/sign-intermediate", body).must(200).at("/data/certificate");
    root.post("int/intermediate/set-signed", json!({"certificate": format!("{signed}\n{anchor}")})).must(200);
    let body = with(
        json!({"allowed_domains": ["example.com"], "allow_subdomains": true, "ttl": "24h", "max_ttl": "720h",
        "key_usage": ["DigitalSignature"], "client_flag": false}),
    );
    root.post("int/roles/web", body).must(200);
    anchor
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "openssl {}: {text}", arguments.join(" "));
    text
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

fn chain_verifies(kind: &str, bits: u32) {
    let (server, folder) = (Server::dev(&Binary::sealkeep()), Scratch::new());
    let root = server.root();
    let anchor = folder.file("root.pem", &authority(&root, kind, bits));
    let body = json!({"common_name": "a.example.com", "alt_names": "b.example.com", "ip_sans": "127.0.0.1"});
    let issued = root.post("int/issue/web", body).must(200);
    let leaf = folder.file("leaf.pem", &issued.at("/data/certificate"));
    let chain = folder.file("chain.pem", &issued.at("/data/issuing_ca"));
    let key = folder.file("key.pem", &issued.at("/data/private_key"));
    let verify = [
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        path(&anchor),
        "-untrusted",
        path(&chain),
    ];
    openssl(&[&verify[..], &["-verify_hostname", "b.example.com", path(&leaf)]].concat());
    openssl(&[&verify[..], &["-verify_ip", "127.0.0.1", path(&leaf)]].concat());
    let public = openssl(&["pkey", "-in", path(&key), "-pubout"]);
    assert_eq!(
        public,
        openssl(&["x509", "-in", path(&leaf), "-noout", "-pubkey"]),
        "the key is the certificate's"
    );

    let crl = |name: &str| folder.file(name, &root.get("int/crl/pem").must(200).text());
    let of_root = folder.file("root.crl", &root.get("ca/crl/pem").must(200).text());
    let both = |ours: &Path| {
        let text = format!(
            "{}\n{}",
            std::fs::read_to_string(ours).unwrap(),
            std::fs::read_to_string(&of_root).unwrap()
        );
        folder.file("both.crl", &text)
    };
    openssl(
        &[&verify[..], &["-crl_check_all", "-CRLfile", path(&both(&crl("before.crl"))), path(&leaf)]]
            .concat(),
    );
    root.post("int/revoke", json!({"serial_number": issued.at("/data/serial_number")})).must(200);
    let after = both(&crl("after.crl"));
    let check = [&verify[..], &["-crl_check_all", "-CRLfile", path(&after), path(&leaf)]].concat();
    let output = Command::new("openssl").args(check).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("certificate revoked"), "{output:?}");
}

#[test]
fn ec_p256_chain_verifies() {
    chain_verifies("ec", 256);
}

#[test]
fn ec_p384_chain_verifies() {
    chain_verifies("ec", 384);
}

#[test]
fn ec_p521_chain_verifies() {
    chain_verifies("ec", 521);
}

#[test]
fn ed25519_chain_verifies() {
    chain_verifies("ed25519", 0);
}

#[test]
fn rsa_chain_verifies() {
    chain_verifies("rsa", 2048);
}

#[test]
fn a_signed_request_becomes_a_certificate_of_its_key() {
    let (server, folder) = (Server::dev(&Binary::sealkeep()), Scratch::new());
    let root = server.root();
    authority(&root, "ec", 256);
    let (key, request) = (folder.path().join("key.pem"), folder.path().join("request.pem"));
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=a.example.com/O=Ignored",
        "-keyout",
        path(&key),
        "-out",
        path(&request),
    ]);
    let csr = std::fs::read_to_string(&request).unwrap();
    let signed = root.post("int/sign/web", json!({"csr": csr, "common_name": "a.example.com"})).must(200);
    let leaf = folder.file("leaf.pem", &signed.at("/data/certificate"));
    assert_eq!(
        openssl(&["pkey", "-in", path(&key), "-pubout"]),
        openssl(&["x509", "-in", path(&leaf), "-noout", "-pubkey"])
    );
    assert!(!openssl(&["x509", "-in", path(&leaf), "-noout", "-subject"]).contains("Ignored"));
    // A request whose signature is not its key's own is refused.
    let der = openssl(&["req", "-in", path(&request), "-outform", "PEM"]);
    let mut lines: Vec<String> = der.lines().map(str::to_owned).collect();
    let last = lines.len() - 2;
    let swapped: String = lines[last].chars().rev().collect();
    lines[last] = swapped;
    root.post("int/sign/web", json!({"csr": lines.join("\n"), "common_name": "a.example.com"})).must(400);
}

#[test]
fn pkilint_finds_no_error() {
    let (server, folder) = (Server::dev(&Binary::sealkeep()), Scratch::new());
    let root = server.root();
    let anchor = folder.file("root.pem", &authority(&root, "ec", 256));
    let issued = root.post("int/issue/web", json!({"common_name": "a.example.com"})).must(200);
    let leaf = folder.file("leaf.pem", &issued.at("/data/certificate"));
    let middle = folder.file("int.pem", &issued.at("/data/issuing_ca"));
    for file in [&anchor, &middle, &leaf] {
        let lint = ["lint_pkix_cert", "lint", "-s", "ERROR", path(file)];
        let output = Command::new(lint[0]).args(&lint[1..]).output().expect("pkilint is installed");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.trim().is_empty(), "{}: {said}", file.display());
    }
}

#[test]
fn pkilint_finds_no_error_in_lists() {
    let (server, folder) = (Server::dev(&Binary::sealkeep()), Scratch::new());
    let root = server.root();
    authority(&root, "ec", 256);
    root.post("int/config/cluster", json!({"path": "http://pki.example.com/v1/int"})).must(200);
    root.post("int/config/crl", json!({"shards": 2})).must(200);
    for reason in ["keyCompromise", "superseded", "privilegeWithdrawn", ""] {
        let issued = root.post("int/issue/web", json!({"common_name": "a.example.com"})).must(200);
        let body = json!({"serial_number": issued.at("/data/serial_number"), "reason": reason});
        root.post("int/revoke", body).must(200);
    }
    root.post("int/config/crl", json!({"auto_rebuild": true, "enable_delta": true})).must(200);
    for list in [
        "crl/pem",
        "crl/delta/pem",
        "issuer/default/crl/shard/0-of-2/pem",
        "issuer/default/crl/shard/1-of-2/pem",
    ] {
        let text = root.get(&format!("int/{list}")).must(200).text();
        let file = folder.file("list.pem", &text);
        let lint = ["lint_crl", "lint", "-t", "CRL", "-p", "PKIX", "-s", "ERROR", path(&file)];
        let output = Command::new(lint[0]).args(&lint[1..]).output().expect("pkilint is installed");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.trim().is_empty(), "{list}: {said} {output:?}");
        let shown = openssl(&["crl", "-in", path(&file), "-noout", "-text"]);
        assert!(
            list.contains("delta") || list.contains("shard") || shown.contains("Privilege Withdrawn"),
            "{shown}"
        );
    }
}

/// The name of a company is no host name, whatever its letters.
#[test]
fn a_common_name_may_have_any_letters() {
    let server = Server::dev(&Binary::sealkeep());
    let root = server.root();
    root.post("sys/mounts/ca", json!({"type": "pki", "config": {"max_lease_ttl": "87600h"}})).must(204);
    let folder = Scratch::new();
    let subject = |certificate: &str| {
        let file = folder.path().join("one.pem");
        std::fs::write(&file, certificate).unwrap();
        let file = file.display().to_string();
        openssl(&["x509", "-in", &file, "-noout", "-text", "-nameopt", "utf8,-esc_msb"])
    };
    for name in ["Müller & Söhne CA", "Société Générale Root CA", "日本 CA"] {
        let body = json!({"common_name": name, "key_type": "ec"});
        let certificate = root.post("ca/root/generate/internal", body).must(200).at("/data/certificate");
        let shown = subject(&certificate);
        assert!(shown.contains(name) && !shown.contains("DNS:"), "{shown}");
    }
    let role = json!({"allow_any_name": true, "enforce_hostnames": false, "cn_validations": ["disabled"], "key_type": "ec"});
    root.post("ca/roles/people", role).must(200);
    let person = root.post("ca/issue/people", json!({"common_name": "Jürgen Groß", "ttl": "1h"})).must(200);
    let shown = subject(&person.at("/data/certificate"));
    assert!(shown.contains("Jürgen Groß") && !shown.contains("DNS:"), "{shown}");
    // What is meant as a host name must be one.
    root.post("ca/issue/people", json!({"common_name": "xn--a.example", "ttl": "1h"})).must(400);
}
