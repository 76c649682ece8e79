//! ACME clients that ask when to renew (RFC 9773), and choose profiles. Neither says what it replaces: that is held by the
//! tests of the engine.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tests::binary::setting;
use tests::program::Program;
use x509::Certificate;

use crate::acme::Stage;

/// Where tests/run puts these clients: `ACME_FOLDER`, or `acme` in the target folder.
pub(crate) fn installed() -> PathBuf {
    let beside = || {
        let test = std::env::current_exe().unwrap();
        // …/target/debug/deps/e2e-0123 → …/target/acme
        test.ancestors().nth(3).unwrap().join("acme")
    };
    let folder = setting("ACME_FOLDER").map_or_else(beside, PathBuf::from);
    assert!(folder.join("bin/caddy").exists(), "{} is not there: tests/run installs it", folder.display());
    folder
}

/// A role for names of these tests, of which certificates live this long.
fn role(stage: &Stage, name: &str, ttl: &str) {
    let body = json!({"allowed_domains": "acme.test", "allow_subdomains": true, "key_type": "any", "ttl": ttl, "max_ttl": ttl});
    stage.server.root().post(&format!("pki/roles/{name}"), body).must(200);
}

fn read(file: &Path) -> Certificate {
    Certificate::from_pem(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// certbot renews what the server calls back, and nothing else, in the profile that was chosen.
#[test]
fn certbot_renews_when_the_server_says_so() {
    let stage = Stage::new(23);
    let folder = installed();
    let (script, library) = (folder.join("bin/certbot").display().to_string(), folder.display().to_string());
    role(&stage, "short", "8h");
    role(&stage, "long", "700h");
    let root = stage.server.root();
    root.post("pki/config/acme", json!({"profiles": {"short": "short", "long": "long"}})).must(200);
    let (directory, host) = (stage.directory(), stage.host.to_string());
    let common =
        [script.as_str(), "--config-dir", "cb", "--work-dir", "cb", "--logs-dir", "cb", "--non-interactive"];
    let certbot =
        |words: &[&str]| stage.run_with("python3", &[&common, words].concat(), &[("PYTHONPATH", &library)]);
    for (name, profile) in [("called.acme.test", "short"), ("other.acme.test", "long")] {
        certbot(&[
            "certonly",
            "--standalone",
            "--server",
            &directory,
            "--http-01-address",
            &host,
            "--agree-tos",
            "--register-unsafely-without-email",
            "--required-profile",
            profile,
            "-d",
            name,
        ]);
    }
    let live = |name: &str| stage.folder.path().join("cb/live").join(name).join("cert.pem");
    let (called, other) = (live("called.acme.test"), live("other.acme.test"));
    let (first, kept) = (read(&called), read(&other));
    let life = first.validity().not_after - first.validity().not_before;
    assert!(life < 9 * 3600, "it has the profile that was asked for");
    root.post("pki/revoke", json!({"serial_number": first.serial().colons()})).must(200);
    let said = certbot(&["renew", "--no-random-sleep-on-renew"]);
    let second = read(&called);
    assert_ne!(second.serial(), first.serial(), "{said}");
    assert_eq!(read(&other).serial(), kept.serial(), "{said}");
    let life = second.validity().not_after - second.validity().not_before;
    assert!(life < 9 * 3600, "and keeps it");
}

/// Caddy renews within the window that the server tells it, long before it would by itself.
#[test]
fn caddy_renews_in_the_window_that_the_server_tells_it() {
    let stage = Stage::new(24);
    // From thirty seconds ago: two thirds of its life are over in less than twenty.
    role(&stage, "brief", "40s");
    let root = stage.server.root();
    root.post("pki/config/acme", json!({"default_directory_policy": "role:brief"})).must(200);
    let config = format!(
        "{{\n admin off\n acme_ca {}\n email me@example.org\n storage file_system {}\n default_bind {}\n \
         renew_interval 1s\n renewal_window_ratio 0.01\n ocsp_stapling off\n log {{\n level INFO\n }}\n}}\n\
         caddy.acme.test {{\n respond hello\n}}\n",
        stage.directory(),
        stage.path("caddy"),
        stage.host,
    );
    let config = stage.folder.file("Caddyfile", &config);
    let mut command = Command::new(installed().join("bin/caddy"));
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config).current_dir(stage.folder.path());
    let caddy = Program::start(&command);
    let first = caddy.until("the first certificate is served", || served(&stage));
    caddy.until("another is served", || {
        served(&stage).filter(|certificate| certificate.serial() != first.serial())
    });
    assert!(caddy.log().contains("certificate needs renewal based on ARI window"), "{}", caddy.log());
    caddy.stop();
}

/// The certificate that is shown on port 443.
fn served(stage: &Stage) -> Option<Certificate> {
    let line = format!(
        "openssl s_client -connect {}:443 -servername caddy.acme.test </dev/null 2>/dev/null | openssl x509",
        stage.host
    );
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    Certificate::from_pem(&String::from_utf8(output.stdout).unwrap()).ok()
}
