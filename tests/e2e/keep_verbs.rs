//! Verbs that users of `bao` look for, by `keep` against Sealkeep; and `diagnose`, by both programs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tests::authority::{Door, PAST, Wanted};
use tests::binary::Binary;
use tests::scratch::Scratch;
use tests::server::{Config, DEV_TOKEN, Server, Storage, free_port};

fn run(binary: &Binary, server: &Server, home: &Scratch, line: &str) -> Output {
    let mut command = Command::new(binary.path());
    command.args(line.split(' ')).current_dir(home.path());
    command.env("HOME", home.path()).env("BAO_ADDR", server.url()).env("BAO_TOKEN", DEV_TOKEN);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_can_be_mounted_and_what_has_run_are_told_as_bao_tells_it() {
    let (server, home) = (Server::dev(&Binary::sealkeep()), Scratch::new());
    for line in [
        "version-history",
        "plugin list",
        "plugin list -detailed",
        "plugin list auth",
        "plugin list -format=json",
        "plugin list -format=yaml secret",
        "plugin info auth approle",
        "plugin info -format=json secret kv",
        "plugin info -field=version secret pki",
    ] {
        let (ours, theirs) =
            (run(&Binary::keep(), &server, &home, line), run(&Binary::bao(), &server, &home, line));
        assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{line}");
        assert_eq!((ours.status.code(), ours.stderr.is_empty()), (Some(0), true), "{line}");
    }
}

#[test]
fn what_the_server_has_not_is_said_with_the_reason() {
    let (server, home) = (Server::dev(&Binary::sealkeep()), Scratch::new());
    let hash = "a".repeat(64);
    for (line, told) in [
        (format!("plugin register -sha256={hash} secret x"), "engines and methods built in"),
        ("plugin deregister secret kv".to_owned(), "engines and methods built in"),
        ("plugin reload -plugin=kv".to_owned(), "engines and methods built in"),
        ("plugin info secret nothing".to_owned(), "keep plugin list secret"),
        ("operator raft list-peers".to_owned(), "Sealkeep is one node"),
        ("operator raft join https://127.0.0.1:1".to_owned(), "Sealkeep is one node"),
        ("operator raft remove-peer n".to_owned(), "Sealkeep is one node"),
        ("operator raft autopilot state".to_owned(), "Sealkeep is one node"),
    ] {
        let said = run(&Binary::keep(), &server, &home, &line);
        assert_eq!(said.status.code(), Some(2), "{line}: {}", text(&said.stderr));
        assert!(text(&said.stderr).contains(told), "{line}: {}", text(&said.stderr));
    }
}

/// `diagnose` by the server's program: the exit code and the tree.
fn diagnose(file: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(Binary::sealkeep().path());
    command.arg("diagnose").arg(format!("-config={}", file.display())).arg("-format=json").args(more);
    let output = command.output().unwrap();
    let tree = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code(), tree)
}

/// The knots of a name: their states, and all that they say.
fn found(tree: &Value, name: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    if tree["name"].as_str().is_some_and(|known| known.starts_with(name)) {
        let said = format!("{} {} {}", tree["message"], tree["warnings"], tree["Advice"]);
        all.push((tree["status"].as_str().unwrap().to_owned(), said));
    }
    for child in tree["children"].as_array().into_iter().flatten() {
        all.extend(found(child, name));
    }
    all
}

#[track_caller]
fn is(tree: &Value, name: &str, status: &str, told: &str) {
    let found = found(tree, name);
    assert!(found.iter().any(|(known, said)| known == status && said.contains(told)), "{name}: {found:?}");
}

/// A configuration with which all is well but for the limits of the machine.
fn good(folder: &Scratch, door: &Door) -> String {
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    for key in ["door.key", "unseal.key"] {
        let file = folder.path().join(key);
        if !file.exists() {
            std::fs::write(&file, "00".repeat(32)).unwrap();
        }
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let shown = folder.path().display();
    format!(
        "storage \"file\" {{ path = \"{shown}/data\" }}\n{}\napi_addr = \"{}\"\n\
         seal \"static\" {{\n  current_key_id = \"a\"\n  current_key = \"file://{shown}/unseal.key\"\n}}\n\
         audit \"file\" \"main\" {{\n  options {{ file_path = \"{shown}/audit.log\" }}\n}}\n",
        door.stanza(),
        door.url()
    )
}

#[test]
fn diagnose_finds_nothing_wrong_where_a_server_starts() {
    let folder = Scratch::new();
    let door = Door::new(folder.path(), free_port());
    let file = folder.file("c.hcl", &good(&folder, &door));
    let (_, tree) = diagnose(&file, &[]);
    for name in [
        "Parse Configuration",
        "Check Storage",
        "Check Seal",
        "Start Listeners",
        "Check Addresses",
        "Check Audit Devices",
    ] {
        is(&tree, name, "ok", "");
    }
    assert!(!folder.path().join("audit.log").exists(), "it makes nothing");
    assert_eq!(
        std::fs::read_dir(folder.path().join("data")).unwrap().count(),
        0,
        "and leaves nothing behind"
    );
}

#[test]
fn diagnose_finds_what_a_server_would_stumble_over() {
    let folder = Scratch::new();
    let door = Door::new(folder.path(), free_port());
    let text = good(&folder, &door);
    let shown = folder.path().display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = format!("127.0.0.1:{}", taken.local_addr().unwrap().port());
    let own = door.url().replace("https://", "");
    let old = Wanted { validity: PAST, ..Wanted::client("old") }.by_itself();
    old.files(folder.path(), "old", &[]);
    let open = folder.file("open.key", &"00".repeat(32));
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::create_dir(folder.path().join("foreign")).unwrap();
    folder.file("foreign/vault.db", "");
    for (from, to, name, status, told, code) in [
        (own.as_str(), busy.as_str(), "Create Listener", "fail", "-skip=listener", 4),
        ("/door.", "/old.", "Check Listener TLS", "fail", "has expired", 4),
        ("door.key", "old.key", "Check Listener TLS", "fail", "does not go with its key", 4),
        ("unseal.key", "nothing.key", "Read Keys", "fail", "nothing.key", 4),
        ("unseal.key", "open.key", "Check Key", "warn", "chmod 600", 2),
        ("/data\"", "/foreign\"", "Check Data", "fail", "Vault or OpenBao", 4),
        ("/audit.log", "/nowhere/audit.log", "Check Audit Device main", "fail", "/nowhere", 4),
        (
            "api_addr = \"https://127.0.0.1",
            "api_addr = \"https://10.0.0.7",
            "Check Listener TLS",
            "warn",
            "10.0.0.7",
            2,
        ),
        ("seal ", "sael ", "Parse Configuration", "fail", "sael", 4),
    ] {
        let wrong = text.replace(from, to);
        assert_ne!(wrong, text, "{from}");
        let (ended, tree) = diagnose(&folder.file("wrong.hcl", &wrong), &[]);
        assert_eq!(ended, Some(code), "{from} {to} in {shown}: {tree:#}");
        is(&tree, name, status, told);
    }
    let skipped = folder.file("wrong.hcl", &text.replace(&own, &busy));
    is(&diagnose(&skipped, &["-skip=listener"]).1, "Start Listeners", "invalid", "");
}

#[test]
fn diagnose_beside_a_running_server_and_by_keep() {
    let folder = Scratch::new();
    let config = Config::new(Storage::File, folder.path());
    let (_server, _) = Server::opened(&Binary::sealkeep(), &config);
    let file = folder.file("again.hcl", &config.hcl(free_port()));
    let (code, tree) = diagnose(&file, &[]);
    assert_eq!(code, Some(4));
    is(&tree, "Check Data", "fail", "-skip=storage");
    is(&diagnose(&file, &["-skip=storage"]).1, "Check Storage", "invalid", "");
    let beside = Binary::sealkeep().path().parent().unwrap().to_owned();
    let keep = |line: &[&str]| {
        let mut command = Command::new(Binary::keep().path());
        command.args(line).env("HOME", folder.path()).env_remove("BAO_CONFIG_PATH").env("PATH", &beside);
        command.output().unwrap()
    };
    let path = format!("-config={}", file.display());
    let said = keep(&["operator", "diagnose", "-skip=storage", &path]);
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    assert!(text(&said.stdout).contains("[ warning ] Check Audit Devices: No audit device"), "{said:?}");
    assert_eq!(keep(&["operator", "diagnose"]).status.code(), Some(3));
    let valid = keep(&["operator", "validate-config", &path]);
    assert_eq!(
        (valid.status.code(), text(&valid.stdout).contains("The configuration is right.")),
        (Some(0), true)
    );
}

#[test]
fn an_explanation_says_which_policies_there_are_not() {
    let (server, home) = (Server::dev(&Binary::sealkeep()), Scratch::new());
    home.file("p.hcl", "path \"a/*\" { capabilities = [\"read\"] }");
    let keep = |line: &str| run(&Binary::keep(), &server, &home, line);
    assert!(keep("policy write there p.hcl").status.success());
    for format in ["table", "json"] {
        let said = keep(&format!(
            "policy explain -format={format} -policy=nope -policy=There -policy=default a/b read"
        ));
        let (out, err) = (text(&said.stdout), text(&said.stderr));
        assert!(said.status.success() && out.contains("allowed"), "{out}{err}");
        assert!(err.starts_with("WARNING! ") && err.contains("* Policy \"nope\" does not exist\n"), "{err}");
        assert!(!err.contains("There") && !err.contains("default"), "{err}");
    }
    let help = text(&keep("policy explain -help").stdout);
    let operations = help.lines().find(|line| line.contains("What is to be done")).unwrap();
    let words = operations.split(": ").nth(1).unwrap().replace(" or ", ", ");
    for operation in words.split(", ") {
        let said = keep(&format!("policy explain a/b {operation}"));
        assert!(said.status.success(), "{operation}: {}", text(&said.stderr));
    }
}
