//! Doors that are configured or knocked at wrongly, and what is said about it: by the server, by `validate`, by `keep`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};
use std::time::Duration;

use tests::authority::{Door, Wanted};
use tests::binary::Binary;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage, free_port};

fn sealkeep(arguments: &[&str]) -> Output {
    Command::new(Binary::sealkeep().path()).args(arguments).env_remove("BAO_CONFIG_PATH").output().unwrap()
}

/// What `keep` says of an address, and its exit code.
fn status(folder: &Scratch, address: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut keep = Command::new(Binary::keep().path());
    keep.arg("status").args(more).env_clear().env("HOME", folder.path()).env("KEEP_ADDR", address);
    let ca = folder.path().join("door-ca.pem");
    if ca.exists() {
        keep.env("KEEP_CACERT", ca);
    }
    let output = keep.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn who_speaks_http_where_tls_is_spoken_is_told_so() {
    let folder = Scratch::new();
    let door = Door::new(folder.path(), free_port());
    let config = Config::new(Storage::Inmem, folder.path()).with(&door.stanza());
    let _server = Server::configured(&Binary::sealkeep(), &config);
    let address = door.url().replace("https://", "");
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"GET /v1/sys/health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 400 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"), "{answer}");
    let (code, said) = status(&folder, &format!("http://{address}"), &[]);
    assert!(code == Some(1) && said.contains("write the address with https://"), "{said}");
    assert_eq!(status(&folder, &door.url(), &[]).0, Some(2), "it is not initialised, and says so over TLS");
}

#[test]
fn who_shows_no_certificate_where_one_is_wanted_is_told_so() {
    let folder = Scratch::new();
    let ca = Wanted::ca("clients").by_itself();
    let (certificate, key) = Wanted::client("one").by(&ca).files(folder.path(), "one", &[]);
    let authorities = folder.file("clients.pem", &ca.pem());
    let door = Door::new(folder.path(), free_port());
    let lines = format!(
        "  tls_require_and_verify_client_cert = true\n  tls_client_ca_file = \"{}\"\n}}",
        authorities.display()
    );
    let stanza = format!("{}{lines}", door.stanza().trim_end_matches('}'));
    let config = Config::new(Storage::Inmem, folder.path()).with(&stanza);
    let _server = Server::configured(&Binary::sealkeep(), &config);
    // Whether the server's word or the request is first is up to the machine.
    for _ in 0..30 {
        let (code, said) = status(&folder, &door.url(), &[]);
        assert!(code == Some(1) && said.contains("certificate required\n"), "{said}");
        assert!(said.ends_with("give -client-cert and -client-key.\n"), "{said}");
    }
    let stranger = Wanted::ca("strangers").by_itself();
    let (other, its_key) = Wanted::client("two").by(&stranger).files(folder.path(), "two", &[]);
    let shown = [format!("-client-cert={}", other.display()), format!("-client-key={}", its_key.display())];
    let (code, said) = status(&folder, &door.url(), &[&shown[0], &shown[1]]);
    assert!(code == Some(1) && said.contains("remote error: tls: unknown certificate"), "{said}");
    assert!(said.contains("wants a certificate of a CA that it trusts"), "{said}");
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let shown = [format!("-client-cert={certificate}"), format!("-client-key={key}")];
    let (code, said) = status(&folder, &door.url(), &[&shown[0], &shown[1]]);
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn who_asks_for_another_name_is_told_which_names_there_are() {
    let folder = Scratch::new();
    let door = Door::new(folder.path(), free_port());
    let config = Config::new(Storage::Inmem, folder.path()).with(&door.stanza());
    let _server = Server::configured(&Binary::sealkeep(), &config);
    let (code, said) = status(&folder, &door.url(), &["-tls-server-name=other.internal"]);
    let told =
        "certificate is not valid for any names, but wanted to match other.internal; it is for 127.0.0.1\n";
    assert!(code == Some(1) && said.contains(told), "{said}");
    assert!(said.ends_with("or give -tls-server-name.\n"), "{said}");
    let (code, said) = status(&folder, &door.url(), &["-tls-server-name=192.0.2.7"]);
    assert!(
        code == Some(1) && said.contains("certificate is valid for 127.0.0.1, not 192.0.2.7\n"),
        "{said}"
    );
}

#[test]
fn a_unix_listener_replaces_an_old_socket_and_nothing_else() {
    let folder = Scratch::new();
    let place = folder.path().join("sealkeep.sock");
    let stanza =
        format!("listener \"unix\" {{\n  address = \"{}\"\n  socket_mode = \"600\"\n}}", place.display());
    let config = Config::new(Storage::Inmem, folder.path()).with(&stanza);
    // As a server that was killed leaves it.
    drop(UnixListener::bind(&place).unwrap());
    let server = Server::configured(&Binary::sealkeep(), &config);
    let (code, said) = status(&folder, &format!("unix://{}", place.display()), &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(server.stop().success());
    assert!(!place.exists(), "nobody is there any more");
    folder.file("sealkeep.sock", "what somebody wrote\n");
    folder.file("server.hcl", &config.hcl(free_port()));
    let started = sealkeep(&["server", &format!("-config={}", folder.path().join("server.hcl").display())]);
    let said = String::from_utf8_lossy(&started.stderr);
    assert!(started.status.code() == Some(1) && said.contains("is no socket"), "{said}");
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "what somebody wrote\n");
}

#[test]
fn validate_says_what_this_machine_does_not_have() {
    let folder = Scratch::new();
    let door = Door::new(folder.path(), free_port());
    let text = format!(
        "storage \"inmem\" {{}}\n{}\nseal \"static\" {{\n  current_key_id = \"a\"\n  current_key = \"file://{}/key\"\n}}\n",
        door.stanza(),
        folder.path().display()
    );
    let file = folder.file("c.hcl", &text);
    let validate = || {
        let output = sealkeep(&["validate", &format!("-config={}", file.display())]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = validate();
    assert!(code == Some(0) && said.contains("would not start: the static key \"a\""), "{said}");
    folder.file("key", &"00".repeat(32));
    assert_eq!(validate(), (Some(0), "The configuration is right.\n".to_owned()));
    folder.file("door.pem", "no certificate");
    let (code, said) = validate();
    assert!(code == Some(0) && said.contains("door.pem: holds no certificate in PEM"), "{said}");
}

/// `openssl req -x509` makes a certificate that is a CA too. Named with -ca-cert it is taken for what it is, and only it.
#[test]
fn a_certificate_that_is_its_own_ca_is_trusted_when_it_is_named() {
    let folder = Scratch::new();
    let make = |name: &str, more: &[&str]| {
        let (key, certificate) =
            (folder.path().join(format!("{name}.key")), folder.path().join(format!("{name}.pem")));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]);
        openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]).args(more);
        openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        let output = openssl.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (key, certificate)
    };
    let port = free_port();
    let (key, certificate) = make("own", &[]);
    let stanza = format!(
        "listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_cert_file = \"{}\"\n  tls_key_file = \"{}\"\n}}\n",
        certificate.display(),
        key.display()
    );
    let config = Config::new(Storage::Inmem, folder.path()).with(&stanza);
    let _server = Server::configured(&Binary::sealkeep(), &config);
    let named = |file: &std::path::Path, host: &str| {
        status(&folder, &format!("https://{host}:{port}"), &[&format!("-ca-cert={}", file.display())])
    };
    let (code, said) = named(&certificate, "127.0.0.1");
    assert_eq!(code, Some(2), "it is not initialised, and says so over TLS: {said}");
    let (code, said) = named(&certificate, "localhost");
    assert!(code == Some(1) && said.contains("not valid for any names"), "its name counts: {said}");
    let (_, other) = make("other", &[]);
    assert_eq!(named(&other, "127.0.0.1").0, Some(1), "another of the same name is another");
}
