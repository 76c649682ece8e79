//! The verbs for namespaces, transit, one-time passwords, ssh, new unseal keys and support bundles, as somebody uses them.

use std::fs;

use crate::bao::{Bao, Said};

#[track_caller]
fn good(said: Said) -> String {
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}

#[test]
fn a_namespace_is_made_locked_unlocked_and_deleted() {
    let server = Bao::start(&[]);
    let none = server.keep("namespace list");
    assert_eq!((none.code, none.out.as_str()), (2, ""), "{none:?}");
    good(server.keep("namespace create -custom-metadata=team=blue a"));
    good(server.keep("namespace create -ns=a b"));
    assert_eq!(good(server.keep("namespace list -format=json")).trim(), "[\n  \"a/\"\n]");
    assert!(good(server.keep("namespace scan")).contains("a/b/"));
    let detailed = good(server.keep("namespace list -detailed"));
    let columns: Vec<&str> = detailed.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(columns, ["Keys", "custom_metadata", "id", "locked", "path", "tainted", "uuid"]);
    assert!(detailed.contains("map[team:blue]"));
    assert!(good(server.keep("namespace lookup -field=path a")).starts_with("a/"));
    good(server.keep("namespace patch -custom-metadata=floor=2 -remove-custom-metadata=team a"));
    let seen = good(server.keep("namespace lookup -field=custom_metadata -format=json a"));
    assert!(seen.contains("floor") && !seen.contains("team"), "{seen}");
    assert_eq!(server.keep("namespace patch a").code, 1);

    let key = good(server.keep("namespace lock -field=unlock_key a"));
    assert_ne!(server.keep("secrets list -ns=a").code, 0, "it is locked");
    good(server.keep(&format!("namespace unlock -unlock-key={key} a")));
    good(server.keep("secrets list -ns=a"));
    assert!(good(server.keep("namespace lock a")).starts_with("Unlock Key: "));
    good(server.keep("namespace unlock a"));
    assert!(good(server.keep("namespace delete -ns=a b")).contains("Success! Namespace deleted at: b"));
    assert_eq!(good(server.keep("namespace delete nothing")), "");
    let missing = server.keep("namespace lookup nothing");
    assert_eq!(missing.code, 2, "{missing:?}");
}

#[test]
fn a_namespace_with_a_seal_of_its_own_is_unsealed_sealed_and_deleted() {
    let server = Bao::start(&[]);
    let made = good(server.keep("namespace create -key-shares=2 -key-threshold=2 a"));
    let shares: Vec<&str> = made
        .lines()
        .filter_map(|line| line.strip_prefix("Unseal Key "))
        .filter_map(|line| line.split_once(": "))
        .map(|(_, share)| share)
        .collect();
    assert_eq!(shares.len(), 2, "{made}");
    let sealed = server.keep("secrets list -ns=a");
    assert!(sealed.code == 2 && sealed.err.contains("keep namespace unseal"), "it begins sealed: {sealed:?}");
    let told = good(server.keep_with("namespace unseal a -", shares[0]));
    assert!(told.contains("progress"), "{told}");
    good(server.keep("namespace unseal -reset a"));
    good(server.keep_with("namespace unseal a -", shares[1]));
    good(server.keep_with("namespace unseal a -", shares[0]));
    good(server.keep("secrets list -ns=a"));
    assert_ne!(server.keep("namespace delete-sealed a").code, 0, "it is not sealed");
    good(server.keep("namespace create -ns=a b"));
    good(server.keep("namespace seal a"));
    let status = good(server.keep("namespace seal-status -format=json a"));
    assert!(status.contains("\"sealed\": true"), "{status}");
    assert_ne!(server.keep("namespace delete-sealed a").code, 0, "it holds another");
    good(server.keep("namespace delete-sealed -force a"));
    server.folder.write("seal.hcl", "seal \"shamir\" {\n  shares = 1\n  threshold = 1\n}\n");
    let made = good(server.keep("namespace create -seal=seal.hcl -format=json c"));
    assert!(made.contains("key_shares"), "{made}");
}

#[test]
fn what_transit_encrypts_comes_back_as_it_was() {
    let server = Bao::start(&[]);
    good(server.keep("secrets enable transit"));
    good(server.keep("write -f transit/keys/orders"));
    server.folder.write("order.json", "{\"to\": \"Zoë\"}\n");
    let cipher = good(server.keep("transit encrypt -field=ciphertext orders @order.json"));
    assert!(cipher.starts_with("vault:v1:"), "{cipher}");
    assert_eq!(good(server.keep(&format!("transit decrypt orders {cipher}"))), "{\"to\": \"Zoë\"}\n");
    assert_eq!(good(server.keep_with("transit decrypt orders -", &cipher)), "{\"to\": \"Zoë\"}\n");

    let key = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
    good(server.keep(&format!(
        "transit import transit/keys/own {key} type=aes256-gcm96 exportable=true allow_rotation=true"
    )));
    let exported = good(server.keep("read -field=keys -format=json transit/export/encryption-key/own"));
    assert!(exported.contains(key), "{exported}");
    let second = "ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A=";
    good(server.keep_with("transit import-version transit/keys/own -", second));
    assert!(
        good(server.keep("read -field=keys -format=json transit/export/encryption-key/own")).contains(second)
    );
    let wrong = server.keep("transit import transit/own AQID type=aes256-gcm96");
    assert!(wrong.code == 1 && wrong.err.contains("transit/keys/NAME"), "{wrong:?}");
}

#[test]
fn a_code_is_right_or_wrong() {
    let server = Bao::start(&[]);
    good(server.keep("secrets enable totp"));
    good(server.keep("write totp/keys/me generate=true issuer=Here account_name=me"));
    let code = good(server.keep("totp code -field=code me"));
    assert_eq!(code.len(), 6, "{code}");
    assert!(good(server.keep(&format!("totp verify me {code}"))).contains("valid"));
    let wrong = server.keep("totp verify me 00000x");
    assert_ne!(wrong.code, 0, "{wrong:?}");
    assert_eq!(server.keep("totp code nobody").code, 2);
}

#[test]
fn a_public_key_is_signed_for_its_user() {
    let server = Bao::start(&[]);
    good(server.keep("secrets enable ssh"));
    good(server.keep("write ssh/config/ca generate_signing_key=true key_type=ed25519"));
    good(server.keep(
        "write ssh/roles/ops key_type=ca allow_user_certificates=true allowed_users=* default_user=ann ttl=1m algorithm_signer=default",
    ));
    let public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO2tPZrRuDWOHvD2mpjxqDeVL8ZJcS6ZOxAZZtdFf2Ka me\n";
    server.folder.write(".ssh/id_ed25519.pub", public);
    let signed = good(server.keep("ssh -mode=ca -role=ops -no-exec ann@127.0.0.1"));
    assert!(signed.starts_with("ssh-ed25519-cert-v01@openssh.com "), "{signed}");
    let wrong = server.keep("ssh -mode=magic -role=ops ann@127.0.0.1");
    assert!(wrong.code == 1 && wrong.err.contains("ca or otp"), "{wrong:?}");
    // What looks like a host and is a flag of ssh never reaches it.
    assert_eq!(server.keep("ssh -mode=ca -role=ops 'ann@-oProxyCommand=id'").code, 1);
}

#[test]
fn the_owner_of_the_key_makes_new_ones() {
    let server = Bao::start(&[]);
    let begun = good(server.keep("operator rotate-keys -init -key-shares=2 -key-threshold=2"));
    assert!(begun.contains("New Shares") && begun.contains('2'), "{begun}");
    let status: String = good(server.keep("operator rotate-keys -status -format=json"));
    let nonce = status.split("\"nonce\": \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let missing = server.keep(&format!("operator rotate-keys {}", server.unseal_key));
    assert!(missing.code == 1 && missing.err.contains(&nonce), "{missing:?}");
    let made = server.keep_with(&format!("operator rotate-keys -nonce={nonce} -"), &server.unseal_key);
    assert!(good(made).contains("Key 2: "));
    assert!(good(server.keep("operator rotate-keys -cancel")).contains("Success!"));
}

#[test]
fn a_support_bundle_holds_no_secret() {
    let server = Bao::start(&[]);
    good(server.keep("kv put secret/app password=hunter2"));
    let done = good(server.keep("debug -duration=1s -interval=5s -compress=false -output=bundle"));
    assert!(done.contains("bundle"), "{done}");
    let folder = server.folder.0.join("bundle");
    let mut all = String::new();
    for file in fs::read_dir(&folder).unwrap() {
        all.push_str(&fs::read_to_string(file.unwrap().path()).unwrap());
    }
    assert!(all.contains("\"rounds\": 1") && all.contains("seal_status") || all.contains("sealed"), "{all}");
    assert!(!all.contains("hunter2") && !all.contains(&server.unseal_key), "{all}");
    assert_eq!(server.keep("debug -duration=1s -output=bundle").code, 1, "nothing is overwritten");
    good(server.keep("debug -duration=1s -compress=false -log-format=json -metrics-interval=5s -target=metrics -output=plain"));
    assert!(server.folder.0.join("plain/metrics.jsonl").exists());
    assert_eq!(server.keep("debug -log-format=poem -output=never").code, 1);
    good(server.keep("debug -duration=1s -target=host -output=other"));
    assert!(server.folder.0.join("other.tar.gz").exists() && !server.folder.0.join("other").exists());
}

#[test]
fn a_configuration_of_the_agent_is_made_from_secrets() {
    let server = Bao::start(&[]);
    good(server.keep("kv put secret/db password=hunter2 user-name=app"));
    good(server.keep("kv put secret/web/site/tls mode=strict"));
    good(server.keep("secrets enable -path=old kv"));
    good(server.keep("write old/db password=x"));
    let line = "agent generate-config -type=env-template '-exec=./app -v' -path=secret/db -path=secret/data/db \
                -path=secret/web/* -path=old/db made.hcl";
    let said = server.keep(line);
    assert!(said.code == 0 && said.err.contains("not suitable for production"), "{said:?}");
    let made = fs::read_to_string(server.folder.0.join("made.hcl")).unwrap();
    for part in [
        "env_template \"DB_PASSWORD\" {",
        "{{ with secret \\\"secret/data/db\\\" }}{{ index .Data.data \\\"user-name\\\" }}{{ end }}",
        "{{ with secret \\\"secret/data/web/site/tls\\\" }}{{ .Data.data.mode }}{{ end }}",
        "env_template \"DB_PASSWORD_2\" {",
        "{{ with secret \\\"old/db\\\" }}{{ .Data.password }}{{ end }}",
        "[\"./app\", \"-v\"]",
    ] {
        assert!(made.contains(part), "{part}\n{made}");
    }
    assert!(!made.contains("DB_PASSWORD_3") && !made.contains("hunter2"), "{made}");
    assert!(good(server.keep("agent check -config=made.hcl")).contains("runs ./app -v"));
    for (line, code, told) in [
        ("agent generate-config", 1, "Please specify a -type flag"),
        ("agent generate-config -type=x", 1, "is not a supported configuration type"),
        (
            "agent generate-config -type=env-template -path=secret/nope",
            2,
            "\"secret/nope\": secret not found",
        ),
        ("agent generate-config -type=env-template '-exec=a \"b'", 1, "-exec has a quote that does not end"),
    ] {
        let said = server.keep(line);
        assert!(said.code == code && said.err.contains(told), "{line}: {said:?}");
    }
}

#[test]
fn a_one_time_password_is_as_long_as_the_server_wants() {
    let server = Bao::start(&[]);
    let otp = good(server.keep("operator generate-root -generate-otp"));
    let begun = server.keep(&format!("operator generate-root -init -otp={otp}"));
    assert_eq!(begun.code, 0, "{begun:?}");
    assert_ne!(otp, good(server.keep("operator generate-root -generate-otp")));
}

#[test]
fn who_looks_for_another_program_is_told_where_it_is() {
    let server = Bao::start(&[]);
    for (line, told) in
        [("server", "`sealkeep server`"), ("proxy", "`keep agent`"), ("operator migrate", "through the API")]
    {
        let said = server.keep(line);
        assert!(said.code != 0 && said.err.contains(told), "{line}: {said:?}");
    }
    let mut command = server.command(env!("CARGO_BIN_EXE_keep"), "operator diagnose -config=x.hcl");
    command.env("PATH", "/nowhere");
    let said = crate::bao::run(command, "");
    let known = std::path::Path::new(env!("CARGO_BIN_EXE_keep")).with_file_name("sealkeep").exists();
    assert!(known || said.code == 1 && said.err.contains("run `sealkeep diagnose -config=x.hcl"), "{said:?}");
}

#[test]
fn paths_of_the_api_are_completed_without_a_server() {
    let server = Bao::start(&[]);
    let paths = good(server.keep("complete-paths sys/mo"));
    assert!(paths.contains("sys/mounts\nsys/mounts/\n"), "{paths}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(good(server.keep(&format!("completion {shell}"))).contains("complete-paths"), "{shell}");
    }
}

#[test]
fn a_listing_with_details_tells_what_the_store_knows() {
    let server = Bao::start(&[]);
    good(server.keep("kv put secret/deep/a x=1"));
    good(server.keep("kv put secret/deep/b/c x=1"));
    good(server.keep("kv metadata put -custom-metadata=team=blue secret/deep/a"));
    for line in ["kv list -detailed secret/deep", "kv scan -detailed -mount=secret deep"] {
        let told = good(server.keep(line));
        assert!(told.contains("current_version") && told.contains("map[team:blue]"), "{line}: {told}");
    }
    let json = good(server.keep("kv list -detailed -format=json secret/deep"));
    assert!(json.contains("\"key_info\"") && json.contains("\"team\": \"blue\""), "{json}");
    assert!(!good(server.keep("kv list secret/deep")).contains("current_version"));
    assert_eq!(server.keep("kv list -detailed secret/none").code, 2);
    // Who may list names alone still gets them, unless the details were asked for in the command.
    server.folder.write("p.hcl", "path \"secret/metadata/*\" { capabilities = [\"list\"] }");
    good(server.keep("policy write names p.hcl"));
    let token = good(server.keep("token create -policy=names -field=token"));
    let server = server.with_token(token.trim());
    let listed = |line: &str| {
        let mut command = server.command(env!("CARGO_BIN_EXE_keep"), line);
        command.env("KEEP_DETAILED", "true");
        crate::bao::run(command, "")
    };
    assert!(good(listed("kv list secret/deep")).contains("b/"));
    let refused = listed("kv list -detailed secret/deep");
    assert!(refused.code == 2 && refused.err.contains("detailed-metadata"), "{refused:?}");
}
