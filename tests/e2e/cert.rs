//! Logging in by certificate: chains, rules, revocation, OCSP, renewal.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tests::authority::{Door, Holder, PAST, Wanted, revocation_list};
use tests::binary::Binary;
use tests::http::{Client, Reply};
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage, free_port};
use x509::{AltNames, ExtKeyUsage, ObjectIdentifier};

/// A server with a door that asks for certificates, and `auth/cert`.
struct Stage {
    server: Server,
    root: Client,
    door: Door,
    folder: Scratch,
}

impl Stage {
    fn new() -> Self {
        let folder = Scratch::new();
        let door = Door::new(folder.path(), free_port());
        let config = Config::new(Storage::Inmem, folder.path()).with(&door.stanza());
        let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
        let root = server.anonymous().with(&keys.root);
        root.post("sys/auth/cert", json!({"type": "cert"})).must(204);
        Self { server, root, door, folder }
    }

    fn role(&self, name: &str, trusted: &Holder, more: Value) {
        let mut body = json!({"certificate": trusted.pem(), "token_policies": "dev", "token_ttl": "1h"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.root.post(&format!("auth/cert/certs/{name}"), body).must(204);
    }

    fn files(&self, holder: &Holder, above: &[&Holder]) -> (PathBuf, PathBuf) {
        holder.files(self.folder.path(), &holder.certificate.fingerprint(), above)
    }

    fn log_in(&self, holder: &Holder, above: &[&Holder], body: Value) -> Reply {
        self.door.post(Some(&self.files(holder, above)), "", "auth/cert/login", &body)
    }
}

const STRANGER: &str = "invalid certificate or no client certificate supplied";
const UNFIT: &str = "no chain matching all constraints could be found for this login certificate";

#[test]
fn a_chain_to_a_trusted_ca_lets_in_and_nothing_else_does() {
    let stage = Stage::new();
    let ca = Wanted::ca("Root").by_itself();
    stage.role("web", &ca, json!({"display_name": "w"}));
    let client = Wanted::client("web.example.com").by(&ca);
    let said = stage.log_in(&client, &[], json!({})).must(200);
    assert_eq!(said.json()["auth"]["token_policies"], json!(["default", "dev"]));
    assert_eq!(said.at("/auth/lease_duration"), "3600");
    let metadata = &said.json()["auth"]["metadata"];
    assert_eq!(
        (&metadata["cert_name"], &metadata["common_name"]),
        (&json!("web"), &json!("web.example.com"))
    );
    assert_eq!(metadata["serial_number"], "40119652789475766382061936584368553480751089415");
    assert!(metadata["subject_key_id"].as_str().unwrap().len() == 59, "{metadata}");
    stage.log_in(&client, &[], json!({"name": "web"})).must(200);
    assert_eq!(stage.log_in(&client, &[], json!({"name": "other"})).must(400).errors(), STRANGER);
    // Through an intermediate that is shown along, or not at all.
    let between = Wanted::ca("Between").by(&ca);
    let below = Wanted::client("below").by(&between);
    stage.log_in(&below, &[&between], json!({})).must(200);
    assert_eq!(stage.log_in(&below, &[], json!({})).must(400).errors(), STRANGER);
    for refused in [
        Wanted::client("self").by_itself(),
        Wanted::client("web.example.com").by(&Wanted::ca("Root").by_itself()),
        Wanted { validity: PAST, ..Wanted::client("late") }.by(&ca),
        Wanted { purposes: vec![ExtKeyUsage::SERVER_AUTH], ..Wanted::client("server") }.by(&ca),
        Wanted::client("by a leaf").by(&client),
    ] {
        assert_eq!(
            stage.log_in(&refused, &[&client], json!({})).must(400).errors(),
            STRANGER,
            "{refused:?}",
            refused = refused.certificate
        );
    }
    let late = Wanted { validity: PAST, ..Wanted::ca("Late") }.by(&ca);
    let below = Wanted::client("below").by(&late);
    assert_eq!(stage.log_in(&below, &[&late], json!({})).must(400).errors(), STRANGER);
    let none = stage.door.post(None, "", "auth/cert/login", &json!({})).must(400);
    assert_eq!(none.errors(), "no client certificate found");
    let plain = stage.server.anonymous().post("auth/cert/login", json!({})).must(400);
    assert_eq!(plain.errors(), "no client certificate found");
}

#[test]
fn what_is_trusted_by_itself_is_let_in_and_makes_no_one_else_trusted() {
    let stage = Stage::new();
    let pinned = Wanted::client("pinned").by_itself();
    stage.role("one", &pinned, json!({}));
    stage.log_in(&pinned, &[], json!({})).must(200);
    let forged = Wanted::client("pinned").by(&pinned);
    assert_eq!(stage.log_in(&forged, &[&pinned], json!({})).must(400).errors(), STRANGER);
    let again = Wanted::client("pinned").by_itself();
    assert_eq!(stage.log_in(&again, &[], json!({})).must(400).errors(), STRANGER);
    // One that openssl makes by itself is a CA, and its own client.
    let own = Wanted { purposes: vec![], ..Wanted::ca("own") }.by_itself();
    stage.role("two", &own, json!({}));
    stage.log_in(&own, &[], json!({"name": "two"})).must(200);
    let late = Wanted { validity: PAST, ..Wanted::client("late") }.by_itself();
    stage.role("late", &late, json!({}));
    assert_eq!(stage.log_in(&late, &[], json!({"name": "late"})).must(400).errors(), STRANGER);
    let server = Wanted { purposes: vec![ExtKeyUsage::SERVER_AUTH], ..Wanted::client("s") }.by_itself();
    let said = stage.root.post("auth/cert/certs/s", json!({"certificate": server.pem()})).must(400);
    assert!(said.errors().starts_with("nonCA certificates should have"), "{said}");
}

#[test]
fn a_role_wants_what_it_says() {
    let stage = Stage::new();
    let ca = Wanted::ca("Root").by_itself();
    let oid = ObjectIdentifier::new("1.3.6.1.4.1.99.1").unwrap();
    let names = AltNames {
        dns: vec!["a.example.com".into()],
        email: vec!["a@example.com".into()],
        uri: vec!["spiffe://td/ns/a".into()],
        ..AltNames::default()
    };
    let mut wanted = Wanted { names, units: vec!["Dev".into()], ..Wanted::client("cn.example.com") };
    wanted.extensions = wanted.extensions.with(oid, false, vec![0x0c, 4, b't', b'e', b's', b't']);
    let client = wanted.by(&ca);
    for (field, fits, not) in [
        ("allowed_names", "x,a@*", "x"),
        ("allowed_common_names", "cn.*", "*.example.org"),
        ("allowed_dns_sans", "*.example.com", "cn.example.com"),
        ("allowed_email_sans", "a@example.com", "*@example.org"),
        ("allowed_uri_sans", "spiffe://td/*", "spiffe://other/*"),
        ("allowed_organizational_units", "Dev", "dev"),
        ("required_extensions", "1.3.6.1.4.1.99.1:te*", "1.3.6.1.4.1.99.1:no"),
    ] {
        stage.role("r", &ca, json!({field: fits}));
        stage.log_in(&client, &[], json!({})).must(200);
        stage.role("r", &ca, json!({field: not}));
        assert_eq!(stage.log_in(&client, &[], json!({})).must(400).errors(), UNFIT, "{field}");
        stage.role("r", &ca, json!({field: []}));
    }
    stage.role("r", &ca, json!({"required_extensions": "1.3.6.1.4.1.99.1:test,1.3.6.1.4.1.99.2:*"}));
    stage.log_in(&client, &[], json!({})).must(400);
    stage.role(
        "r",
        &ca,
        json!({"required_extensions": "", "allowed_metadata_extensions": "1.3.6.1.4.1.99.1"}),
    );
    stage.root.post("auth/cert/config", json!({"enable_identity_alias_metadata": true})).must(204);
    let said = stage.log_in(&client, &[], json!({})).must(200);
    assert_eq!(said.json()["auth"]["metadata"]["1-3-6-1-4-1-99-1"], "test");
    let entity = stage.root.get(&format!("identity/entity/id/{}", said.at("/auth/entity_id"))).must(200);
    assert_eq!(entity.json()["data"]["aliases"][0]["name"], "cn.example.com");
    assert_eq!(entity.json()["data"]["aliases"][0]["metadata"]["1-3-6-1-4-1-99-1"], "test");
    stage.role("r", &ca, json!({"token_bound_cidrs": "10.0.0.0/8"}));
    stage.log_in(&client, &[], json!({})).must(403);
}

#[test]
fn a_renewal_wants_the_same_client() {
    let stage = Stage::new();
    let ca = Wanted::ca("Root").by_itself();
    stage.role("r", &ca, json!({}));
    let (one, other) = (Wanted::client("a").by(&ca), Wanted { serial: 8, ..Wanted::client("a") }.by(&ca));
    let token = stage.log_in(&one, &[], json!({})).must(200).at("/auth/client_token");
    let renew = |shown: Option<&Holder>| {
        let files = shown.map(|holder| stage.files(holder, &[]));
        stage.door.post(files.as_ref(), &token, "auth/token/renew-self", &json!({}))
    };
    renew(Some(&one)).must(200);
    let said = renew(Some(&other)).must(400);
    assert!(said.errors().contains("not matching client identity used during login"), "{said}");
    assert_eq!(renew(None).must(400).errors(), "no client certificate found");
    stage.role("r", &ca, json!({"token_policies": "dev,more"}));
    let said = renew(Some(&one)).must(500);
    assert!(said.errors().contains("policies have changed, not renewing"), "{said}");
    stage.role("r", &ca, json!({"allowed_common_names": "b"}));
    renew(Some(&one)).must(400);
    stage.root.post("auth/cert/config", json!({"disable_binding": true})).must(204);
    renew(None).must(200);
    stage.root.delete("auth/cert/certs/r").must(204);
    renew(None).must(400);
}

#[test]
fn what_is_on_a_list_is_not_let_in() {
    let stage = Stage::new();
    let ca = Wanted::ca("Root").by_itself();
    stage.role("r", &ca, json!({}));
    let (good, bad) = (Wanted::client("a").by(&ca), Wanted { serial: 9, ..Wanted::client("b") }.by(&ca));
    let token = stage.log_in(&bad, &[], json!({})).must(200).at("/auth/client_token");
    stage.root.post("auth/cert/crls/ours", json!({"crl": revocation_list(&ca, &[9], 1)})).must(204);
    stage.log_in(&good, &[], json!({})).must(200);
    assert_eq!(stage.log_in(&bad, &[], json!({})).must(400).errors(), STRANGER);
    let files = stage.files(&bad, &[]);
    stage.door.post(Some(&files), &token, "auth/token/renew-self", &json!({})).must(400);
    let shown = stage.root.get("auth/cert/crls/ours").must(200);
    assert_eq!(shown.json()["data"]["serials"].as_object().unwrap().len(), 1, "{shown}");
    // Nobody on the way can make it up.
    let other = Wanted::ca("Root").by_itself();
    let said =
        stage.root.post("auth/cert/crls/ours", json!({"crl": revocation_list(&other, &[], 2)})).must(400);
    assert!(said.errors().contains("not signed by the CA"), "{said}");
    stage.log_in(&bad, &[], json!({})).must(400);
    stage.root.post("auth/cert/crls/ours", json!({"crl": revocation_list(&ca, &[], 2)})).must(204);
    stage.log_in(&bad, &[], json!({})).must(200);
    stage.root.delete("auth/cert/crls/ours").must(204);
    let said = stage.root.delete("auth/cert/crls/ours").must(400);
    assert_eq!(said.errors(), "no such CRL ours");
    // From a URL: nobody is there.
    let url = format!("http://127.0.0.1:{}/crl", free_port());
    stage.root.post("auth/cert/crls/far", json!({"url": url})).must(502);
    stage.root.get("auth/cert/crls/far").must(400);
}

#[test]
fn a_list_is_fetched_from_where_it_is_said_to_be() {
    let stage = Stage::new();
    let ca = Wanted::ca("Root").by_itself();
    stage.role("r", &ca, json!({}));
    let bad = Wanted { serial: 9, ..Wanted::client("b") }.by(&ca);
    std::fs::create_dir(stage.folder.path().join("www")).unwrap();
    stage.folder.file("www/crl.pem", &revocation_list(&ca, &[9], 1));
    let port = free_port();
    let arguments = ["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "-d", "www"];
    let _web = Running::start("python3", &arguments, &stage.folder, port);
    let body = json!({"url": format!("http://127.0.0.1:{port}/crl.pem")});
    stage.root.post("auth/cert/crls/far", body).must(204);
    let shown = stage.root.get("auth/cert/crls/far").must(200);
    assert_eq!(shown.at("/data/cdp/valid_until"), "2040-01-01T00:00:00Z");
    stage.log_in(&bad, &[], json!({})).must(400);
}

/// Something that runs for a test.
struct Running(Child);

impl Running {
    fn start(program: &str, arguments: &[&str], folder: &Scratch, port: u16) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let running = Self(child);
        for _ in 0..2_000 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return running;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        panic!("{program} does not listen");
    }
}

impl Running {
    /// openssl's responder takes whoever comes first for a client, so it is not knocked at but listened to.
    fn responder(arguments: &[&str], folder: &Scratch) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec openssl \"$@\" 2>&1", "openssl"])
            .args(arguments)
            .current_dir(folder.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines.any(|line| line.contains("waiting for OCSP client connections"));
        std::thread::spawn(move || lines.for_each(drop));
        let running = Self(child);
        assert!(ready, "openssl does not listen");
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// openssl's responder for `ca`, which says of serial 7 what `index` says, and signs as `signer`.
fn responder(stage: &Stage, ca: &Holder, signer: &Holder, letter: char) -> (Running, String) {
    let port = free_port();
    let ca_file = stage.files(ca, &[]).0;
    let (signer, key) = stage.files(signer, &[]);
    let serial = "07".repeat(20);
    let date = if letter == 'R' { "200101000000Z" } else { "" };
    let line = match letter {
        'U' => String::new(),
        letter => format!("{letter}\t400101000000Z\t{date}\t{serial}\tunknown\t/CN=a\n"),
    };
    let index = stage.folder.file(&format!("index-{port}.txt"), &line);
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let arguments = [
        "ocsp",
        "-port",
        &port.to_string(),
        "-index",
        &text(&index),
        "-CA",
        &text(&ca_file),
        "-rsigner",
        &text(&signer),
        "-rkey",
        &text(&key),
        "-ndays",
        "1",
    ];
    (Running::responder(&arguments, &stage.folder), format!("http://127.0.0.1:{port}"))
}

#[test]
fn ocsp_is_asked_and_only_a_true_answer_counts() {
    let stage = Stage::new();
    let ca = Wanted::ca("Root").by_itself();
    let stranger = Wanted::ca("Root").by_itself();
    let client = Wanted::client("a").by(&ca);
    let (_good, good) = responder(&stage, &ca, &ca, 'V');
    let (_revoked, revoked) = responder(&stage, &ca, &ca, 'R');
    let (_unknown, unknown) = responder(&stage, &ca, &ca, 'U');
    let (_liar, liar) = responder(&stage, &ca, &stranger, 'V');
    let appointed = ExtKeyUsage::from_oid("1.3.6.1.5.5.7.3.9").unwrap();
    let appointed = Wanted { purposes: vec![appointed], ..Wanted::client("ocsp") }.by(&ca);
    let (_appointed, by_appointed) = responder(&stage, &ca, &appointed, 'V');
    let (_usurper, usurper) = responder(&stage, &ca, &client, 'V');
    let gone = format!("http://127.0.0.1:{}", free_port());
    let check = |servers: &[&str], more: Value, expect: Option<&str>| {
        let mut body = json!({"ocsp_enabled": true, "ocsp_servers_override": servers, "ocsp_fail_open": false,
            "ocsp_query_all_servers": false});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stage.role("r", &ca, body);
        let said = stage.log_in(&client, &[], json!({}));
        match expect {
            None => assert_eq!(said.must(200).json()["auth"]["renewable"], false, "{servers:?}"),
            Some(why) => {
                let said = said.must(400);
                assert!(
                    said.errors().starts_with(UNFIT) && said.errors().contains(why),
                    "{servers:?} {said}"
                );
            }
        }
    };
    let (open, all) = (json!({"ocsp_fail_open": true}), json!({"ocsp_query_all_servers": true}));
    check(&[&good], json!({}), None);
    check(&[&by_appointed], json!({}), None);
    for more in [json!({}), open.clone(), all.clone()] {
        check(&[&revoked], more.clone(), Some("has been revoked"));
        check(&[&unknown], more.clone(), Some("does not know the certificate"));
        check(&[&liar], more.clone(), Some("signature"));
        check(&[&usurper], more, Some("signature"));
    }
    check(&[&gone], json!({}), Some("no answer"));
    check(&[&gone], open.clone(), None);
    check(&[], json!({}), Some("names a server"));
    check(&[], open.clone(), None);
    check(&[&gone, &good], json!({}), None);
    check(&[&liar, &gone], open, Some("signature"));
    check(&[&good, &revoked], all.clone(), Some("has been revoked"));
    check(&[&good, &unknown], all.clone(), Some("does not know"));
    check(&[&good, &gone], all.clone(), Some("no answer"));
    check(&[&good, &by_appointed], all, None);
}

#[test]
fn a_certificate_that_says_odd_things_keeps_nobody_from_asking() {
    let stage = Stage::new();
    let folder = stage.folder.path();
    let odd = "[odd]\n1.2.3.4.5=critical,DER:0500\n";
    std::fs::write(folder.join("odd.cnf"), odd).unwrap();
    for (key, options) in [("rsa:2048", &[][..]), ("ec", &["-pkeyopt", "ec_paramgen_curve:P-256"])] {
        for version in ["1", "odd"] {
            let name = |end: &str| folder.join(format!("{version}.{end}"));
            let openssl = |arguments: &[&str], more: &[&str]| {
                let made =
                    Command::new("openssl").args(arguments).args(more).current_dir(folder).output().unwrap();
                assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            };
            let (csr, key_file, pem) = (name("csr"), name("key"), name("pem"));
            let (csr, key_file) = (csr.to_str().unwrap(), key_file.to_str().unwrap());
            openssl(
                &["req", "-newkey", key, "-nodes", "-subj", "/CN=x", "-keyout", key_file, "-out", csr],
                options,
            );
            let extra: &[&str] =
                if version == "odd" { &["-extfile", "odd.cnf", "-extensions", "odd"] } else { &[] };
            let signed = [
                "x509",
                "-req",
                "-days",
                "2",
                "-in",
                csr,
                "-signkey",
                key_file,
                "-out",
                pem.to_str().unwrap(),
            ];
            openssl(&signed, extra);
            let shown = (pem, name("key"));
            let said = stage.door.post(Some(&shown), "", "sys/tools/hash", &json!({"input": "YQ=="}));
            assert_eq!(said.status, 403, "the request is answered: {key} {version}");
            let said = stage.door.post(Some(&shown), "", "auth/cert/login", &json!({}));
            assert_eq!(said.must(400).errors(), STRANGER, "and lets nobody in: {key} {version}");
        }
    }
}
