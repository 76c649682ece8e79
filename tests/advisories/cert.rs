//! Certificates: who they let in, who renews with them, and who may change a role.

use serde_json::json;
use tests::authority::{Door, Holder, PAST, Wanted};
use tests::binary::Binary;
use tests::http::{Client, Reply};
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage, free_port};
use x509::{ExtKeyUsage, Validity};

use crate::stage::Stage;

struct Hall {
    _server: Server,
    root: Client,
    door: Door,
    folder: Scratch,
}

impl Hall {
    fn new() -> Self {
        let folder = Scratch::new();
        let door = Door::new(folder.path(), free_port());
        let config = Config::new(Storage::Inmem, folder.path()).with(&door.stanza());
        let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
        let root = server.anonymous().with(&keys.root);
        root.post("sys/auth/cert", json!({"type": "cert"})).must(204);
        Self { _server: server, root, door, folder }
    }

    fn role(&self, name: &str, trusted: &Holder) {
        self.root.post(&format!("auth/cert/certs/{name}"), json!({"certificate": trusted.pem()})).must(204);
    }

    fn ask(&self, holder: &Holder, above: &[&Holder], token: &str, path: &str) -> Reply {
        let files = holder.files(self.folder.path(), &holder.certificate.fingerprint(), above);
        self.door.post(Some(&files), token, path, &json!({}))
    }
}

#[test]
fn row_026_every_spelling_of_a_role_is_judged_as_the_role() {
    let stage = Stage::dev();
    stage.root.post("sys/auth/cert", json!({"type": "cert"})).must(204);
    let trusted = Wanted::ca("a").by_itself();
    stage.root.post("auth/cert/certs/admin", json!({"certificate": trusted.pem()})).must(204);
    let caller = stage.caller(
        r#"path "auth/cert/certs/*" { capabilities = ["create", "update", "read"] }
           path "auth/cert/certs/admin" { capabilities = ["deny"] }"#,
    );
    for name in ["AdMiN", "ADMIN", "%41dmin", "admin"] {
        let other = json!({"certificate": Wanted::ca("b").by_itself().pem()});
        let request = crate::stage::raw("POST", &format!("auth/cert/certs/{name}")).json(&other);
        caller.send(&request).must(403);
    }
    let shown = stage.root.get("auth/cert/certs/admin").must(200);
    assert_eq!(shown.at("/data/certificate"), trusted.pem());
}

#[test]
fn row_049_a_pinned_certificate_is_no_ca() {
    let hall = Hall::new();
    let pinned = Wanted::client("pinned").by_itself();
    hall.role("one", &pinned);
    hall.ask(&pinned, &[], "", "auth/cert/login").must(200);
    // Signed by its key; and made with its serial and key identifiers by someone else.
    for forged in [Wanted::client("pinned").by(&pinned), Wanted::client("pinned").by_itself()] {
        hall.ask(&forged, &[], "", "auth/cert/login").must(400);
        hall.ask(&forged, &[&pinned], "", "auth/cert/login").must(400);
    }
}

#[test]
fn row_050_a_sibling_does_not_renew() {
    let hall = Hall::new();
    let ca = Wanted::ca("Root").by_itself();
    hall.role("r", &ca);
    let (one, other) = (Wanted::client("a").by(&ca), Wanted { serial: 8, ..Wanted::client("a") }.by(&ca));
    let token = hall.ask(&one, &[], "", "auth/cert/login").must(200).at("/auth/client_token");
    hall.ask(&other, &[], &token, "auth/token/renew-self").must(400);
    hall.door.post(None, &token, "auth/token/renew-self", &json!({})).must(400);
    hall.ask(&one, &[], &token, "auth/token/renew-self").must(200);
}

#[test]
fn row_053_a_pinned_certificate_has_its_time_and_its_purpose() {
    let hall = Hall::new();
    let later = Validity { not_before: 2_208_988_800, not_after: 2_240_000_000 };
    for (name, validity) in [("past", PAST), ("later", later)] {
        let pinned = Wanted { validity, ..Wanted::client(name) }.by_itself();
        hall.role(name, &pinned);
        hall.ask(&pinned, &[], "", "auth/cert/login").must(400);
    }
    let server = Wanted { purposes: vec![ExtKeyUsage::SERVER_AUTH], ..Wanted::client("server") }.by_itself();
    hall.root.post("auth/cert/certs/server", json!({"certificate": server.pem()})).must(400);
    hall.ask(&server, &[], "", "auth/cert/login").must(400);
}

#[test]
fn row_111_a_crafted_bundle_is_read_in_no_time() {
    let stage = Stage::dev();
    stage.root.post("sys/auth/cert", json!({"type": "cert"})).must(204);
    for piece in ["-----BEGIN CERTIFICATE-----\n", "-----BEGIN A-----\nA: b\n", "-----", "-----BEGIN "] {
        let bundle = piece.repeat(900_000 / piece.len());
        for body in
            [json!({"certificate": bundle}), json!({"certificate": "x", "ocsp_ca_certificates": bundle})]
        {
            stage.root.post("auth/cert/certs/a", body).must(400);
        }
    }
    stage.lives();
}
