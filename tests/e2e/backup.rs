//! Backups: made while the server serves, put in the place of what is there, and refused where they are not whole.

use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Output};
use tests::binary::Binary;
use tests::http::{Client, Request};
use tests::scratch::Scratch;
use tests::server::{Config, Keys, Server, Storage};

const SNAPSHOT: &str = "sys/storage/raft/snapshot";
const FORCED: &str = "sys/storage/raft/snapshot-force";

struct Site {
    server: Server,
    keys: Keys,
    config: Config,
    folder: Scratch,
}

impl Site {
    fn new(storage: Storage) -> Self {
        let folder = Scratch::new();
        let config = Config::new(storage, folder.path());
        let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
        let site = Self { server, keys, config, folder };
        site.root().post("sys/mounts/kv", json!({"type": "kv"})).must(204);
        site
    }

    fn root(&self) -> Client {
        self.server.anonymous().with(&self.keys.root)
    }

    fn write(&self, value: &str) {
        self.root().post("kv/a", json!({ "value": value })).must(204);
    }

    #[track_caller]
    fn holds(&self, value: &str) {
        assert_eq!(self.root().get("kv/a").must(200).at("/data/value"), value);
    }

    fn backup(&self) -> Vec<u8> {
        let reply = self.root().get(SNAPSHOT).must(200);
        assert_eq!(reply.header("content-type"), Some("application/gzip"));
        reply.body
    }

    fn restore(&self, path: &str, backup: &[u8]) -> (u16, String) {
        let reply = self.root().send(&Request::new("POST", &format!("/v1/{path}")).body(backup));
        let said = reply.errors();
        (reply.status, said)
    }

    fn bao(&self, args: &[&str]) -> Output {
        let mut command = Command::new(Binary::bao().path());
        command.args(args).env("BAO_ADDR", self.server.url()).env("BAO_TOKEN", &self.keys.root);
        command.env("HOME", self.folder.path()).output().unwrap()
    }
}

#[test]
fn the_client_saves_and_restores_while_the_server_serves() {
    let site = Site::new(Storage::Raft);
    site.write("old");
    let file = site.folder.path().join("backup.snap").display().to_string();
    let saved = site.bao(&["operator", "raft", "snapshot", "save", &file]);
    assert!(saved.status.success(), "{saved:?}");
    let keep = |args: &[&str]| {
        let mut command = Command::new(Binary::keep().path());
        command.args(["operator", "raft", "snapshot"]).args(args);
        command.env("KEEP_ADDR", site.server.url()).env("KEEP_TOKEN", &site.keys.root);
        command.env("HOME", site.folder.path()).output().unwrap()
    };
    // Ours saves the same, and says what it is without a server.
    let own = site.folder.path().join("own.snap").display().to_string();
    let saved = keep(&["save", &own]);
    assert!(saved.status.success(), "{saved:?}");
    for file in [&own, &file] {
        let shown = String::from_utf8(keep(&["inspect", file]).stdout).unwrap();
        assert!(shown.contains("sealkeep backup") && shown.contains("+sealkeep."), "{shown}");
    }
    site.write("new");
    site.root().post("kv/b", json!({"value": "since"})).must(204);
    let token = site.root().post("auth/token/create", json!({"policies": ["default"]})).must(200);
    let restored = site.bao(&["operator", "raft", "snapshot", "restore", &file]);
    assert!(restored.status.success(), "{restored:?}");
    // The keys are the same, so it is open again, and as it was.
    site.holds("old");
    site.root().get("kv/b").must(404);
    site.server.anonymous().with(&token.at("/auth/client_token")).get("auth/token/lookup-self").must(403);
    site.write("after");
    let Site { server, keys, config, folder } = site;
    server.kill();
    let server = Server::configured(&Binary::sealkeep(), &config);
    server.unseal(&keys);
    let site = Site { server, keys, config, folder };
    site.holds("after");
    let mut command = Command::new(Binary::keep().path());
    command.args(["operator", "raft", "snapshot", "restore", &own]).env("KEEP_ADDR", site.server.url());
    let restored = command.env("KEEP_TOKEN", &site.keys.root).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    site.holds("old");
}

#[test]
fn another_server_takes_it_by_force_alone_and_is_opened_by_the_keys_of_the_first() {
    let first = Site::new(Storage::Sled);
    first.write("of the first");
    let backup = first.backup();
    let other = Site::new(Storage::File);
    other.write("of the other");
    let (status, said) = other.restore(SNAPSHOT, &backup);
    assert!(status == 400 && said.contains("use snapshot-force"), "{status} {said}");
    other.holds("of the other");
    assert_eq!(other.restore(FORCED, &backup).0, 204);
    assert_eq!(other.server.anonymous().get("sys/health").status, 503, "its keys are others");
    let Site { server, config, folder, .. } = other;
    server.unseal(&first.keys);
    let other = Site { server, keys: first.keys.clone(), config, folder };
    other.holds("of the first");
    // What is not on a disk of its own, or on sled's, is not replaced while the server runs.
    let (status, said) = first.restore(SNAPSHOT, &backup);
    assert!(
        status == 400 && said.contains("only storage \"raft\" and storage \"file\" can be restored"),
        "{said}"
    );
    first.holds("of the first");
}

#[test]
fn a_backup_that_is_not_whole_changes_nothing() {
    let site = Site::new(Storage::Raft);
    site.write("old");
    let backup = site.backup();
    site.write("new");
    let refused = |damaged: &[u8], what: &str| {
        let (status, said) = site.restore(SNAPSHOT, damaged);
        assert!(status == 400 && said.ends_with("Nothing was changed"), "{what}: {status} {said}");
        let (status, said) = site.restore(FORCED, damaged);
        assert_eq!(status, 400, "{what}: {said}");
    };
    for part in 0..40 {
        let at = backup.len() * part / 40;
        refused(&backup[..at], "cut short");
        // Before that, the head of gzip has bytes that say nothing of what follows.
        let mut flipped = backup.clone();
        flipped[at.max(10)] ^= 0xff;
        refused(&flipped, "a flipped bit");
    }
    refused(b"", "nothing");
    refused(b"{}", "something else");
    let two = [backup.clone(), backup.clone()].concat();
    site.restore(SNAPSHOT, &two);
    let left: Vec<_> = std::fs::read_dir(site.folder.path().join("data")).unwrap().collect();
    assert_eq!(left.len(), 2, "nothing is left beside the store: {left:?}");
    site.write("new");
    site.holds("new");
    assert_eq!(site.restore(SNAPSHOT, &backup).0, 204);
    site.holds("old");
}

#[test]
fn an_archive_of_other_things_is_named_as_what_it_is() {
    let site = Site::new(Storage::Raft);
    site.write("kept");
    let about = |kind: &str, version: u32| json!({"kind": kind, "version": version, "server": "9.9", "made": "2030-01-01T00:00:00Z"});
    let archive = |files: &[(&str, Value)]| {
        let mut tar =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (name, value) in files {
            let bytes = value.to_string().into_bytes();
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            tar.append_data(&mut header, name, &*bytes).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    };
    for (files, words) in [
        (
            vec![("meta.json", json!({"Version": 1, "ID": "bolt-snapshot"}))],
            "those of Vault and OpenBao are not read",
        ),
        (vec![("meta.json", about("sealkeep backup", 2))], "use the Sealkeep that made it (9.9)"),
        (vec![("state.bin", json!(1))], "\"state.bin\" lies in it where \"meta.json\" should"),
        (
            vec![("meta.json", about("sealkeep backup", 1)), ("SHA256SUMS", json!(1))],
            "its digests do not fit",
        ),
        (
            vec![("meta.json", about("sealkeep backup", 1)), ("state/00000000", json!("x"))],
            "a piece of the backup is damaged",
        ),
        (vec![("meta.json", about("sealkeep backup", 1))], "it ends in the middle"),
    ] {
        let (status, said) = site.restore(FORCED, &archive(&files));
        assert!(status == 400 && said.contains(words), "{words}: {status} {said}");
    }
    site.holds("kept");
}

#[test]
fn who_may_not_neither_gets_a_backup_nor_sends_one() {
    let site = Site::new(Storage::Raft);
    site.write("kept");
    let backup = site.backup();
    let reads = json!({"policy": format!("path \"{SNAPSHOT}\" {{ capabilities = [\"read\"] }}")});
    site.root().post("sys/policies/acl/saves", reads).must(204);
    let token = site.root().post("auth/token/create", json!({"policies": ["saves"]})).must(200);
    let saver = site.server.anonymous().with(&token.at("/auth/client_token"));
    let nobody = site.server.anonymous();
    assert_eq!(saver.get(SNAPSHOT).must(200).body.get(..2), Some(&[0x1f, 0x8b][..]));
    nobody.get(SNAPSHOT).must(403);
    for client in [&saver, &nobody] {
        for path in [SNAPSHOT, FORCED] {
            client.send(&Request::new("POST", &format!("/v1/{path}")).body(backup.clone())).must(403);
        }
    }
    // Leave that others must give first is no leave yet.
    let waits = json!({"policy": format!(
        "path \"{SNAPSHOT}\" {{\n capabilities = [\"read\"]\n control_group = {{\n factor \"ops\" {{\n controlled_capabilities = [\"read\"]\n identity {{\n group_names = [\"ops\"]\n approvals = 1\n }}\n }}\n }}\n}}"
    )});
    site.root().post("sys/policies/acl/waits", waits).must(204);
    let token = site.root().post("auth/token/create", json!({"policies": ["waits"]})).must(200);
    let waiting = site.server.anonymous().with(&token.at("/auth/client_token")).get(SNAPSHOT);
    assert!(waiting.status == 200 && waiting.json()["wrap_info"].is_object(), "{}", waiting.text());
    // There is nothing of a secret in it that can be read.
    for text in ["kept", "saves"] {
        assert!(!backup.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    site.holds("kept");
}

#[test]
fn a_restore_that_is_cut_off_leaves_the_store_as_it_was() {
    let site = Site::new(Storage::Raft);
    site.write("kept");
    // So much that half of it is more than what is read ahead.
    site.root().post("kv/large", json!({"value": "x".repeat(500_000)})).must(204);
    let backup = site.backup();
    let half = backup.len() / 2;
    let mut connection = TcpStream::connect(site.server.address()).unwrap();
    let head = format!(
        "POST /v1/{SNAPSHOT} HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {}\r\nContent-Length: {}\r\n\r\n",
        site.keys.root,
        backup.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(&backup[..half]).unwrap();
    // It is being read as soon as there is something beside the store.
    let beside = site.folder.path().join("data/sealkeep.redb.next");
    site.server.until("it is read", |_| beside.exists());
    let Site { server, keys, config, folder } = site;
    server.kill();
    let server = Server::configured(&Binary::sealkeep(), &config);
    server.unseal(&keys);
    let journal = folder.path().join("data/sealkeep.journal.next");
    assert!(!beside.exists() && !journal.exists(), "what was begun is taken away");
    let site = Site { server, keys, config, folder };
    site.holds("kept");
    assert_eq!(site.restore(SNAPSHOT, &backup).0, 204);
    site.holds("kept");
}

/// The lines of the unit that the timer of deploy/systemd starts, run as they stand there, but for this folder and these three. What
/// they say goes into the journal, which others read: the token is not in it.
fn run_unit(site: &Site, folder: &std::path::Path, token: &str) -> Result<(), String> {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/sealkeep-backup.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    let lines: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("ExecStart=")).collect();
    assert_eq!(lines.len(), 2, "{unit}");
    lines.iter().try_for_each(|line| {
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("/usr/local/bin/keep"));
        let mut command = Command::new(Binary::keep().path());
        for word in words {
            match word {
                "/var/lib/sealkeep-backup" => command.arg(folder),
                "-retain=14" => command.arg("-retain=3"),
                other => command.arg(other),
            };
        }
        command.env("KEEP_ADDR", site.server.url()).env("KEEP_TOKEN", token).env("HOME", site.folder.path());
        let output = command.output().unwrap();
        for said in [&output.stdout, &output.stderr] {
            let said = String::from_utf8_lossy(said);
            assert!(!said.contains(token), "{line}: {said}");
        }
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    })
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Again and again it leaves the newest backups, whole, and nothing else is touched; what fails takes nothing away.
#[test]
fn backups_by_schedule_keep_the_newest() {
    let site = Site::new(Storage::Raft);
    let folder = site.folder.path().join("backups");
    std::fs::create_dir(&folder).unwrap();
    let rules = "path \"sys/storage/raft/snapshot\" { capabilities = [\"read\"] }\npath \"auth/token/renew-self\" { capabilities = [\"update\"] }";
    site.root().post("sys/policies/acl/backup", json!({"policy": rules})).must(204);
    let wanted =
        json!({"policies": ["backup"], "no_default_policy": true, "no_parent": true, "period": "768h"});
    let token = site.root().post("auth/token/create", wanted).must(200).at("/auth/client_token");
    let foreign = ["another.snap", "sealkeep-notes.snap"];
    for name in ["sealkeep-20200101T000000.000Z.snap", "sealkeep.snap.part"].iter().chain(&foreign) {
        std::fs::write(folder.join(name), "x").unwrap();
    }
    for value in ["one", "two", "three", "four"] {
        site.write(value);
        run_unit(&site, &folder, &token).unwrap();
    }
    let left = names(&folder);
    let ours: Vec<&String> = left.iter().filter(|name| !foreign.contains(&name.as_str())).collect();
    assert!(left.len() == 5 && ours.len() == 3 && ours[0].as_str() > "sealkeep-2021", "{left:?}");
    site.root().post("auth/token/revoke", json!({ "token": &token })).must(204);
    assert!(run_unit(&site, &folder, &token).unwrap_err().contains("403"), "a token that is gone");
    assert_eq!(names(&folder), left);
    let keep = |args: &[&str]| {
        let mut command = Command::new(Binary::keep().path());
        command.args(["operator", "raft", "snapshot"]).args(args).env("KEEP_ADDR", site.server.url());
        command.env("KEEP_TOKEN", &site.keys.root).env("HOME", site.folder.path()).output().unwrap()
    };
    for name in &ours {
        let file = folder.join(name).display().to_string();
        assert!(keep(&["inspect", &file]).status.success(), "{name}");
    }
    let file = site.folder.path().join("one.snap").display().to_string();
    let refused = keep(&["save", "-retain=3", &file]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("-retain keeps snapshots of a folder"),
        "{refused:?}"
    );
    site.write("after");
    assert!(keep(&["restore", &folder.join(ours[0]).display().to_string()]).status.success());
    site.holds("two");
}

/// A backup is sent as it is read: `keep` needs no room for it in memory.
#[test]
fn what_is_restored_need_not_fit_into_memory() {
    let site = Site::new(Storage::Raft);
    site.write("old");
    let file = site.folder.path().join("large.snap");
    // All zeros, and on the disk nearly nothing.
    std::fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 786432 && exec \"$@\"", "sh"]).arg(Binary::keep().path());
    command.args(["operator", "raft", "snapshot", "restore"]).arg(&file);
    command.env("KEEP_ADDR", site.server.url()).env("KEEP_TOKEN", &site.keys.root);
    let refused = command.env("HOME", site.folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("the backup cannot be used"), "{refused:?}");
    site.holds("old");
}
