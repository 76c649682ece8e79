//! `keep login`: through a browser, and by the other ways in.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::authority::{Door, Wanted};
use tests::binary::Binary;
use tests::http::Client;
use tests::program::Program;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage, free_port};

use crate::issuer::{Answer, FROM, Issuer, Site, UNTIL};

/// A server whose `auth/oidc` sends people to a provider, and the provider.
struct Stage {
    server: Server,
    root: Client,
    site: Site,
    issuer: Issuer,
}

/// A login that waits for its browser.
struct Waiting {
    keep: Program,
    url: String,
    port: u16,
}

impl Stage {
    fn new() -> Self {
        let server = Server::dev(&Binary::sealkeep());
        let root = server.root();
        let (site, issuer) = (Site::open(), Issuer::new());
        let at = |path: &str| format!("{}{path}", site.url);
        site.put(
            "/.well-known/openid-configuration",
            &json!({"issuer": site.url, "jwks_uri": at("/keys"), "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
                "device_authorization_endpoint": at("/device")}),
        );
        site.put("/keys", &json!({"keys": [issuer.jwk("k")]}));
        root.post("sys/auth/oidc", json!({"type": "oidc"})).must(204);
        let config = json!({
            "oidc_discovery_url": site.url, "oidc_client_id": "me", "oidc_client_secret": "hush",
            "jwt_supported_algs": "ES256", "default_role": "people",
        });
        root.post("auth/oidc/config", config).must(204);
        let stage = Self { server, root, site, issuer };
        let to = format!("{}/v1/auth/oidc/oidc/callback", stage.server.url());
        let uris = json!(["http://localhost:8250/oidc/callback", to]);
        for (role, mode) in [("people", "client"), ("direct", "direct"), ("device", "device")] {
            let body = json!({"user_claim": "sub", "allowed_redirect_uris": uris, "callback_mode": mode, "token_policies": "dev"});
            stage.root.post(&format!("auth/oidc/role/{role}"), body).must(204);
        }
        stage
    }

    /// Begins to log in.
    fn start(&self, settings: &[&str]) -> Waiting {
        let port = free_port();
        let mut keep = Command::new(Binary::keep().path());
        keep.args(["login", "-no-store", "-format=json", "-method=oidc", "skip_browser=true"]);
        keep.arg(format!("port={port}")).args(settings).env("KEEP_ADDR", self.server.url());
        let keep = Program::start(&keep);
        let url = keep.until("it says where to go", || {
            let log = keep.log();
            let (_, rest) = log.split_once("in your browser:\n\n    ")?;
            rest.split_once('\n').map(|(url, _)| url.to_owned())
        });
        Waiting { keep, url, port }
    }

    /// Begins to log in, and has the provider say yes to what was begun.
    fn begin(&self, settings: &[&str]) -> Waiting {
        let waiting = self.start(settings);
        self.vouch(json!({"nonce": waiting.field("nonce")}));
        waiting
    }

    /// Has the provider say yes, with an identity that says this, too.
    fn vouch(&self, mut identity: Value) {
        for (name, value) in [("iss", json!(self.site.url)), ("aud", json!("me")), ("sub", json!("ann"))] {
            identity[name] = value;
        }
        (identity["iat"], identity["exp"]) = (json!(FROM), json!(UNTIL));
        let token = self.issuer.token("k", &identity);
        self.site.put("/token", &json!({"id_token": token, "access_token": "at", "token_type": "Bearer"}));
    }

    /// Has the provider offer a code to a device, and begins to log in by it. It has been asked about it once.
    fn start_device(&self) -> Waiting {
        let page = format!("{}/activate", self.site.url);
        let offer = json!({"device_code": "d3v1ce", "user_code": "ABCD-EFGH", "verification_uri": page, "interval": 1});
        self.site.put("/device", &offer);
        self.site.does("/token", Answer::Say(400, json!({"error": "authorization_pending"}).to_string()));
        let waiting = self.start(&["role=device", "callbackmode=device"]);
        assert_eq!(waiting.url, page);
        let log = || waiting.keep.log().contains("enter code ABCD-EFGH").then_some(());
        waiting.keep.until("it shows the code", log);
        waiting.keep.until("it has asked", || {
            let asked = self.site.asked();
            asked
                .iter()
                .any(|(path, body)| path == "/token" && body.contains("device_code=d3v1ce"))
                .then_some(())
        });
        waiting
    }
}

impl Waiting {
    fn field(&self, name: &str) -> String {
        let (_, rest) = self.url.split_once(&format!("&{name}=")).unwrap();
        rest.split('&').next().unwrap().to_owned()
    }

    /// A browser comes: the answer it gets.
    fn visit(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, target: &str) -> String {
        self.visit(&format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
    }

    /// It ends well, and says with what token.
    fn token(mut self) -> String {
        let status = self.keep.end();
        assert!(status.success(), "{}", self.keep.log());
        self.keep.until("it says with what token", || {
            let log = self.keep.log();
            let (_, rest) = log.split_once("\"client_token\": \"")?;
            rest.split_once('"').map(|(token, _)| token.to_owned())
        })
    }
}

#[test]
fn through_a_browser_that_returns_here() {
    let stage = Stage::new();
    let waiting = stage.begin(&[]);
    assert!(waiting.url.starts_with(&format!("{}/authorize?", stage.site.url)), "{}", waiting.url);
    // Connections that say nothing, visits elsewhere and the ends of other logins change nothing.
    let idle = TcpStream::connect(("127.0.0.1", waiting.port)).unwrap();
    assert!(waiting.get("/").starts_with("HTTP/1.1 404"));
    let stranger = waiting.get("/oidc/callback?state=st_other&code=c0de");
    assert!(stranger.starts_with("HTTP/1.1 400") && stranger.contains("not the login"), "{stranger}");
    let page = waiting.get(&format!("/oidc/callback?state={}&code=c0de", waiting.field("state")));
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("You are logged in"), "{page}");
    assert!(page.contains("default-src 'none'"), "{page}");
    let token = waiting.token();
    drop(idle);
    let looked = stage.server.anonymous().with(&token).get("auth/token/lookup-self").must(200);
    assert_eq!(looked.json()["data"]["policies"], json!(["default", "dev"]));
    assert_eq!(looked.at("/data/display_name"), "oidc-ann");
}

#[test]
fn a_browser_that_brings_a_no_or_a_form() {
    let stage = Stage::new();
    let mut waiting = stage.begin(&["role=people"]);
    let denied = format!(
        "/oidc/callback?state={}&error=access_denied&error_description=%3Cb%3E",
        waiting.field("state")
    );
    let page = waiting.get(&denied);
    assert!(
        page.starts_with("HTTP/1.1 400") && page.contains("did not work") && !page.contains("<b>"),
        "{page}"
    );
    let status = waiting.keep.end();
    assert_eq!(status.code(), Some(2), "{}", waiting.keep.log());
    let says = || waiting.keep.log().contains("Error authenticating: ").then_some(());
    waiting.keep.until("it says what was wrong", says);
    assert!(!waiting.keep.log().contains("client_nonce"), "{}", waiting.keep.log());
    let waiting = stage.begin(&["role=people"]);
    let form = format!("state={}&code=c0de", waiting.field("state"));
    let page = waiting.visit(&format!(
        "POST /oidc/callback HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    ));
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    waiting.token();
}

#[test]
fn a_browser_that_returns_to_the_server() {
    let stage = Stage::new();
    let waiting = stage.begin(&["role=direct", "callbackmode=direct"]);
    let back = format!("auth/oidc/oidc/callback?state={}&code=c0de&confirmation=yes", waiting.field("state"));
    stage.server.anonymous().get(&back).must(200);
    let token = waiting.token();
    stage.server.anonymous().with(&token).get("auth/token/lookup-self").must(200);
}

#[test]
fn by_a_code_that_is_typed_in_elsewhere() {
    let stage = Stage::new();
    let waiting = stage.start_device();
    // Nobody but the one who waits has a part in this: the identity holds no nonce.
    stage.vouch(json!({}));
    let token = waiting.token();
    let looked = stage.server.anonymous().with(&token).get("auth/token/lookup-self").must(200);
    assert_eq!(looked.at("/data/display_name"), "oidc-ann");
}

#[test]
fn a_code_that_the_person_denies() {
    let stage = Stage::new();
    let mut waiting = stage.start_device();
    stage.site.does("/token", Answer::Say(400, json!({"error": "access_denied"}).to_string()));
    assert_eq!(waiting.keep.end().code(), Some(2), "{}", waiting.keep.log());
    let says = || waiting.keep.log().contains("authorization failed: access_denied").then_some(());
    waiting.keep.until("it says what was wrong", says);
}

#[test]
fn what_does_not_fit_is_said_before_anybody_waits() {
    let stage = Stage::new();
    let fails = |settings: &[&str], why: &str| {
        let mut keep = Command::new(Binary::keep().path());
        keep.args(["login", "-no-store", "-method=oidc", "skip_browser=true"]).args(settings);
        let output = keep.env("KEEP_ADDR", stage.server.url()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(why), "{settings:?}: {text}");
    };
    let port = format!("port={}", free_port());
    fails(&[&port, "callbackhost=other.example"], "Unable to authorize role");
    fails(&[&port, "role=direct"], "callbackmode=direct");
    fails(&[&port, "callbackmode=direct"], "callbackmode=client");
    fails(&[&port, "callbackmode=other"], "callbackmode must be");
    fails(&[&port, "skip_browser=maybe"], "skip_browser must be true or false");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("port={}", taken.local_addr().unwrap().port());
    fails(&[&port], "listening on localhost:");
}

#[test]
fn by_the_other_ways_in() {
    let folder = Scratch::new();
    let door = Door::new(folder.path(), free_port());
    let config = Config::new(Storage::Inmem, folder.path()).with(&door.stanza());
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    let address = server.url();
    let log_in = |address: &str, arguments: &[&str]| {
        let mut keep = Command::new(Binary::keep().path());
        keep.args(["login", "-no-store", "-format=json"]).args(arguments);
        let output = keep.env("KEEP_ADDR", address).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let token = said["auth"]["client_token"].as_str().unwrap().to_owned();
        root.with(&token).get("auth/token/lookup-self").must(200).at("/data/path")
    };
    assert_eq!(log_in(&address, &[&keys.root]), "auth/token/root");
    root.post("sys/auth/people", json!({"type": "userpass"})).must(204);
    root.post("auth/people/users/ann", json!({"password": "pw"})).must(204);
    let path = log_in(&address, &["-method=userpass", "-path=people", "username=ann", "password=pw"]);
    assert_eq!(path, "auth/people/login/ann");
    root.post("sys/auth/approle", json!({"type": "approle"})).must(204);
    root.post("auth/approle/role/r", json!({"token_policies": "dev"})).must(204);
    let role = format!("role_id={}", root.get("auth/approle/role/r/role-id").must(200).at("/data/role_id"));
    let secret = root.post("auth/approle/role/r/secret-id", json!({})).must(200).at("/data/secret_id");
    let secret = format!("secret_id={secret}");
    assert_eq!(log_in(&address, &["-method=approle", &role, &secret]), "auth/approle/login");
    let issuer = Issuer::new();
    let site = Site::open();
    site.put("/keys", &json!({"keys": [issuer.jwk("k")]}));
    root.post("sys/auth/jwt", json!({"type": "jwt"})).must(204);
    root.post("auth/jwt/config", json!({"jwks_url": format!("{}/keys", site.url)})).must(204);
    let body = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": "a"});
    root.post("auth/jwt/role/r", body).must(204);
    let jwt = issuer.token("k", &json!({"sub": "ann", "aud": "a", "iat": FROM, "exp": UNTIL}));
    assert_eq!(log_in(&address, &["-method=jwt", "role=r", &format!("jwt={jwt}")]), "auth/jwt/login");
    let ca = Wanted::ca("Root").by_itself();
    root.post("sys/auth/cert", json!({"type": "cert"})).must(204);
    root.post("auth/cert/certs/web", json!({"certificate": ca.pem(), "token_policies": "dev"})).must(204);
    let (certificate, key) = Wanted::client("ann").by(&ca).files(folder.path(), "ann", &[]);
    let flags = [
        "-method=cert".to_owned(),
        format!("-client-cert={}", certificate.display()),
        format!("-client-key={}", key.display()),
        format!("-ca-cert={}", folder.path().join("door-ca.pem").display()),
        "name=web".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert_eq!(log_in(&door.url(), &flags), "auth/cert/login");
}
