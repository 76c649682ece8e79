//! The first minutes of somebody new: logging in, trusting the server, unsealing, and being told what to do.

use std::os::unix::fs::PermissionsExt;

use crate::bao::{Bao, bare, run};

const KEEP: &str = env!("CARGO_BIN_EXE_keep");

#[test]
fn logins_keep_the_token_for_the_next_command() {
    let server = Bao::start(&[]);
    let home = &server.folder.0;
    let keep = |line: &str, input: &str| {
        let mut command = bare(KEEP, home, line);
        command.env("KEEP_ADDR", &server.address);
        run(command, input)
    };
    assert_eq!(server.keep("auth enable userpass").code, 0);
    assert_eq!(server.keep_with("write auth/userpass/users/sally password=- policies=default", "pw").code, 0);
    let wrong = keep("login -method=userpass username=sally password=-", "hunter2\n");
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.err.contains("invalid username or password") && !wrong.err.contains("hunter2"),
        "{wrong:?}"
    );
    let good = keep("login -method=userpass username=sally password=-", "pw\n");
    assert_eq!(good.code, 0, "{good:?}");
    let file = home.join(".vault-token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(keep("token lookup -field=display_name", "").out, "userpass-sally");
    assert_eq!(keep("print token", "").out.trim(), std::fs::read_to_string(&file).unwrap());
    let denied = keep("read sys/mounts", "");
    assert!(
        denied.err.contains("* permission denied") && denied.err.contains("keep token capabilities"),
        "{denied:?}"
    );

    assert_eq!(keep("login -", "root\n").code, 0);
    assert_eq!(keep("login -token-only -", "root\n").out, "root");
    assert_eq!(keep("auth enable approle", "").code, 0);
    assert_eq!(keep("write auth/approle/role/app policies=default", "").code, 0);
    let role = keep("read -field=role_id auth/approle/role/app/role-id", "").out;
    let secret = keep("write -force -field=secret_id auth/approle/role/app/secret-id", "").out;
    let app =
        keep(&format!("login -no-store -field=token -method=approle role_id={role} secret_id=-"), &secret);
    assert_eq!(app.code, 0, "{app:?}");
    assert!(app.out.starts_with("s."), "{app:?}");
    assert_eq!(keep("token lookup -field=id", "").out, "root", "-no-store leaves the kept token alone");
}

#[test]
fn without_a_token_the_error_says_where_the_first_one_is() {
    let server = Bao::start(&[]);
    let ask = || {
        let mut command = bare(KEEP, &server.folder.0, "read sys/mounts");
        command.env("VAULT_ADDR", &server.address);
        run(command, "")
    };
    let told = ask();
    assert_eq!(told.code, 2);
    assert!(told.err.contains("run `keep login`") && !told.err.contains("root-token"), "{told:?}");
    server.folder.write(".config/sealkeep/root-token", "s.secret");
    let told = ask();
    assert!(told.err.contains(".config/sealkeep/root-token") && !told.err.contains("s.secret"), "{told:?}");
}

#[test]
fn the_ca_of_the_first_run_is_trusted_and_no_other() {
    let server = Bao::start(&["-dev-tls"]);
    let status = |line: &str| server.keep(line);
    let unknown = status("status");
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("unknown authority") && unknown.err.contains("-ca-cert"), "{unknown:?}");
    assert_eq!(status("status -tls-skip-verify").code, 0);
    let ca = std::fs::read_to_string(server.folder.0.join("tls/vault-ca.pem")).unwrap();
    let copy = server.folder.write("ca.pem", &ca);
    assert_eq!(status(&format!("status -ca-cert={}", copy.display())).code, 0);
    let other = status(&format!("status -tls-server-name=elsewhere.example -ca-cert={}", copy.display()));
    assert!(other.code == 1 && other.err.contains("-tls-server-name"), "{other:?}");
    server.folder.write(".config/sealkeep/ca.pem", &ca);
    assert_eq!(status("status").code, 0, "the first run's CA needs no flag");
    let plain = status(&format!("status -address={}", server.address.replace("https", "http")));
    assert!(plain.code == 1 && plain.err.contains("https://"), "{plain:?}");
}

#[test]
fn a_new_server_is_set_up_and_opened_by_its_share_holders() {
    let server = Bao::start_new();
    assert_eq!(server.keep("operator init -status").code, 2);
    let status = server.keep("status -format=json");
    assert_eq!((status.code, status.out), (2, server.bao("status -format=json").out));
    let refused = server.keep("operator init -key-shares=1 -key-threshold=2");
    assert!(refused.code == 2 && refused.err.contains("threshold cannot be larger"), "{refused:?}");
    let made = server.keep("operator init -key-shares=3 -key-threshold=2");
    assert_eq!(made.code, 0, "{made:?}");
    let after = |start: &str| {
        let line = made.out.lines().find_map(|line| line.strip_prefix(start));
        line.unwrap_or_else(|| panic!("{start} in {made:?}")).to_owned()
    };
    assert!(after("Initial Root Token: ").starts_with("s."));
    assert_eq!(server.keep("operator init -status").code, 0);
    assert_eq!(server.keep("operator init").code, 2);
    let first = server.keep_with("operator unseal -", &after("Unseal Key 1: "));
    assert!(first.code == 0 && first.out.contains("Unseal Progress    1/2"), "{first:?}");
    let reset = server.keep("operator unseal -reset");
    assert!(reset.code == 0 && reset.out.contains("Unseal Progress    0/2"), "{reset:?}");
    server.keep_with("operator unseal -", &after("Unseal Key 3: "));
    let open = server.keep_with("operator unseal -", &after("Unseal Key 2: "));
    assert!(open.code == 0 && open.out.contains("Sealed                  false"), "{open:?}");
    assert_eq!(server.keep("status").code, 0);
}

#[test]
fn a_sealed_server_says_so_and_how_to_open_it() {
    let server = Bao::start(&[]);
    assert_eq!(server.keep("operator seal").code, 0);
    assert_eq!(server.keep("status").code, 2);
    let sealed = server.keep("kv get secret/a");
    assert!(sealed.code == 2 && sealed.err.contains("keep operator unseal"), "{sealed:?}");
    let bad = server.keep_with("operator unseal -", "bm90IGEgc2hhcmU=\n");
    assert!(bad.code == 2 && !bad.err.contains("bm90"), "{bad:?}");
    let open = server.keep_with("operator unseal -format=json -", &server.unseal_key);
    assert!(open.code == 0 && open.out.contains("\"sealed\": false"), "{open:?}");
    let nobody = server.keep("operator unseal");
    assert!(nobody.code == 1 && nobody.err.contains("not a terminal"), "{nobody:?}");
}

#[test]
fn a_new_root_token_out_of_key_shares() {
    let server = Bao::start(&[]);
    let begun = server.keep("operator generate-root -init -format=json");
    assert_eq!(begun.code, 0, "{begun:?}");
    let begun = |name: &str| value(&begun.out, name);
    let line = format!("operator generate-root -format=json -nonce={} -", begun("nonce"));
    let done = server.keep_with(&line, &server.unseal_key);
    let encoded = value(&done.out, "encoded_token");
    let token = server.keep(&format!("operator generate-root -decode={encoded} -otp={}", begun("otp")));
    assert!(token.code == 0 && token.out.starts_with("s."), "{token:?}");
    let mut command = server.command(KEEP, "token lookup -field=policies");
    command.env("KEEP_TOKEN", token.out.trim());
    assert_eq!(run(command, "").out, "[root]");
}

/// A string in printed JSON.
fn value(json: &str, name: &str) -> String {
    let start = format!("\"{name}\": \"");
    let rest = json.split(&start).nth(1).unwrap_or_else(|| panic!("{name} in {json}"));
    rest.split('"').next().unwrap().to_owned()
}

#[test]
fn certificates_from_root_to_leaf() {
    let server = Bao::start(&[]);
    let ok = |line: &str| {
        let said = server.keep(line);
        assert_eq!(said.code, 0, "{line}: {said:?}");
        said
    };
    ok("secrets enable -max-lease-ttl=87600h pki");
    ok("secrets enable -path=int -max-lease-ttl=43800h pki");
    ok("write pki/root/generate/internal common_name=root.example ttl=87600h");
    let made = ok("pki issue -issuer_name=first pki/issuer/default int common_name=int.example ttl=43800h");
    assert!(made.out.contains("issuer_name") && made.out.contains("first"), "{made:?}");
    ok("write int/config/issuers default=first");
    ok(
        "write int/roles/web allowed_domains=example allow_subdomains=true max_ttl=72h key_type=ec key_bits=256",
    );
    let leaf = ok("pki issue -out=leaf int web common_name=a.example");
    assert!(!leaf.out.contains("PRIVATE KEY"), "{leaf:?}");
    let key = server.folder.0.join("leaf.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let chain = std::fs::read_to_string(server.folder.0.join("leaf.crt")).unwrap();
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2, "the leaf and its issuer, without the root");
    let list = ok("pki list int");
    assert!(list.out.contains("a.example"), "{list:?}");
    let serial = list.out.lines().find(|line| line.contains("a.example")).unwrap();
    ok(&format!("write int/revoke serial_number={}", serial.split(' ').next().unwrap()));
    let all = server.bao("list -detailed -format=json int/certs/detailed").out;
    let revoked = ok("pki list -revoked -format=json int").out;
    for name in ["common_name", "issuer", "key_type", "not_after", "not_before"] {
        let of_leaf = all.split(serial.split(' ').next().unwrap()).nth(1).unwrap();
        assert_eq!(value(&revoked, name), value(of_leaf, name), "{revoked}");
    }
    assert!(revoked.contains("\"dns_names\": [") && revoked.contains("\"key_bits\": 256"), "{revoked}");
    let ends = value(&revoked, "not_after");
    assert!(ok("pki list -revoked int").out.contains(&ends), "{ends}");
    let nowhere = server.keep("pki list nowhere");
    assert!(nowhere.code == 2 && nowhere.err.contains("route entry not found"), "{nowhere:?}");
    let other = server.keep("pki list secret");
    assert!(other.code == 2 && other.err.contains("versioned K/V secrets engine"), "{other:?}");
    let refused = server.keep("pki issue int web common_name=a.elsewhere");
    assert!(refused.code == 2 && refused.err.contains("not allowed by this role"), "{refused:?}");
    let request = request_for("b.example");
    server.folder.write("b.csr", &request);
    let signed = ok("pki sign -field=certificate int web csr=@b.csr common_name=b.example");
    assert!(signed.out.starts_with("-----BEGIN CERTIFICATE"), "{signed:?}");
    assert_eq!(server.keep("pki sign int web common_name=b.example").code, 1);
    let health = server.keep("pki health-check -format=json int");
    assert!(health.code >= 2 && health.out.contains("\"role_allows_localhost\""), "{health:?}");
    assert_eq!(server.keep("pki health-check -return-indicator=permission int").code, 0);
    assert_eq!(server.keep("pki health-check nomount").code, 1);
    assert_eq!(ok("pki health-check -list").out, server.bao("pki health-check -list pki").out);
}

fn request_for(name: &str) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.serialize_request(&key).unwrap().pem().unwrap()
}

#[test]
fn what_only_sealkeep_can_do_is_said_so() {
    let server = Bao::start(&[]);
    let told = server.keep("policy explain secret/data/app read");
    assert!(
        told.code == 2 && told.err.contains("no such endpoint") && told.err.contains("Only Sealkeep"),
        "{told:?}"
    );
}

#[test]
fn help_completion_and_manual_come_from_one_declaration() {
    let folder = crate::bao::Folder::new();
    let keep = |line: &str| run(bare(KEEP, &folder.0, line), "");
    for line in ["-help", "kv -help", "kv get -h", "operator init --help", "help pki issue"] {
        let help = keep(line);
        assert!(help.code == 0 && help.out.contains("Usage: keep"), "{line}: {help:?}");
    }
    assert_eq!((keep("").code, keep("nope").code, keep("kv").code), (127, 127, 1));
    for shell in ["bash", "zsh", "fish"] {
        let script = keep(&format!("completion {shell}"));
        assert!(script.code == 0 && script.out.contains("health-check"), "{shell}");
    }
    // A flag completes in the spelling in which it is written everywhere.
    let file = folder.0.join("keep.bash");
    std::fs::write(&file, keep("completion bash").out).unwrap();
    for (words, typed, before, expect) in [
        ("keep cert get -na", "-na", "get", "-name -namespace"),
        ("keep cert get -key-type ml", "ml", "-key-type", "ml-dsa-44 ml-dsa-65 ml-dsa-87"),
        ("keep cert get -key-type = ed", "ed", "=", "ed25519"),
        ("keep read -format y", "y", "-format", "yaml"),
        ("keep completion z", "z", "completion", "zsh"),
    ] {
        let at = words.split(' ').count() - 1;
        let line = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={at}; _keep_or_path keep {typed} {before}; echo ${{COMPREPLY[@]}}",
            file.display()
        );
        let shown = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), expect, "{words}");
    }
    assert_eq!(keep("man pages").code, 0);
    let page = std::fs::read_to_string(folder.0.join("pages/keep-cert-get.1")).unwrap();
    assert!(page.contains(r"\fB\-name\fR") && page.contains(r"\fB\-key\-type\fR"), "{page}");
    assert!(!page.contains(r"\-\-"), "{page}");
}
