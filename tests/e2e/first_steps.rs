//! docs/guide/first-steps.md, typed as it stands.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use tests::binary::{Binary, source_root};
use tests::scratch::Scratch;

/// A first run with a home of its own. It ends with the test.
struct FirstRun {
    child: Child,
    address: String,
    /// Kept open, so that what the server says later has somewhere to go.
    output: BufReader<ChildStdout>,
}

impl FirstRun {
    fn start(home: &Path) -> Self {
        Self::told(home, "127.0.0.1:0").0
    }

    /// Starts at an address. Also what it said.
    fn told(home: &Path, address: &str) -> (Self, String) {
        let mut child = spawn_at(home, address);
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut run = Self { child, address: String::new(), output };
        run.output.read_line(&mut run.address).unwrap();
        run.address.truncate(run.address.trim_end().len());
        let mut said = String::new();
        while run.output.read_line(&mut said).unwrap() > 0 {
            if said.contains("keep kv put") && said.ends_with('\n') {
                return (run, said);
            }
        }
        panic!("the first run did not say what to type next");
    }

    /// What a client hears of the certificate that the server has.
    fn status(&self, home: &Path) -> (bool, String) {
        let mut command = Command::new(Binary::keep().path());
        command.arg("status").env_clear().env("HOME", home).env("KEEP_ADDR", &self.address);
        let output = command.env("KEEP_CACERT", home.join(".config/sealkeep/ca.pem")).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }
}

fn spawn(home: &Path) -> Child {
    spawn_at(home, "127.0.0.1:0")
}

fn spawn_at(home: &Path, address: &str) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(Binary::sealkeep().path());
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").env("SEALKEEP_ADDRESS", address);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    command.spawn().unwrap()
}

impl Drop for FirstRun {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The commands of the page: its blocks that are marked `sh`.
fn commands() -> String {
    let page = std::fs::read_to_string(source_root().join("docs/guide/first-steps.md")).unwrap();
    let mut script = String::from("set -euo pipefail\n");
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, "```sh") => inside = true,
            (true, "```") => inside = false,
            (true, line) => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

#[test]
fn every_command_of_the_page_does_what_it_says() {
    let home = Scratch::new();
    let first = FirstRun::start(home.path());
    let keep = Binary::keep();
    let bin = keep.path().parent().unwrap();
    let output = Command::new("bash")
        .args(["-c", &commands()])
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()))
        .env("KEEP_ADDR", &first.address)
        .output()
        .unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{wrong}");
    for expected in
        ["correct-horse", "app-reader", "first-steps-web.pem: OK", "battery-staple", "\"type\":\"response\""]
    {
        assert!(said.contains(expected), "{expected:?} is missing in\n{said}\n{wrong}");
    }
    assert!(wrong.contains("permission denied"), "the program was let do what it may not\n{wrong}");
    assert!(wrong.contains("www.example.com"), "the refusal does not name what it refused\n{wrong}");
}

/// What a first start makes, in its order.
const MADE: [&str; 8] = [
    ".config/sealkeep/unseal.key",
    ".config/sealkeep/ca.key",
    ".config/sealkeep/server.pem",
    ".local/share/sealkeep/sealkeep.redb.new",
    ".local/share/sealkeep/sealkeep.redb",
    ".local/share/sealkeep/sealkeep.journal",
    ".config/sealkeep/unfinished",
    ".config/sealkeep/root-token",
];

#[test]
fn a_first_start_that_is_killed_is_finished_by_the_next() {
    for made in MADE {
        let home = Scratch::new();
        let mut child = spawn(home.path());
        // What is there for a moment only may be missed: then it is killed at the next.
        let seen = |made: &str| home.path().join(made).exists();
        let is_time =
            || seen(made) || (made.ends_with(".new") && seen(".local/share/sealkeep/sealkeep.redb"));
        while !is_time() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before {made} was there");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let first = FirstRun::start(home.path());
        let keep = |line: &str| {
            let mut command = Command::new(Binary::keep().path());
            command
                .args(line.split(' '))
                .env_clear()
                .env("HOME", home.path())
                .env("KEEP_ADDR", &first.address);
            let token = std::fs::read_to_string(home.path().join(".config/sealkeep/root-token"));
            let output = command.env("KEEP_TOKEN", token.unwrap()).output().unwrap();
            assert!(output.status.success(), "killed at {made}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(keep("token lookup -field=policies"), "[root]", "killed at {made}");
        keep("kv put -mount=secret a b=c");
        assert_eq!(keep("kv get -mount=secret -field=b a"), "c");
        assert!(!home.path().join(".config/sealkeep/unfinished").exists());
    }
}

#[test]
fn where_the_address_is_taken_it_says_how_to_take_another() {
    let home = Scratch::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(Binary::sealkeep().path());
    command.env_clear().env("HOME", home.path()).env("SEALKEEP_ADDRESS", &address);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{address} is taken")) && said.contains("SEALKEEP_ADDRESS="), "{said}");
}

/// How it ends, and what it says.
fn refused(home: &Path, address: &str) -> (Option<i32>, String) {
    let mut command = Command::new(Binary::sealkeep().path());
    command.env_clear().env("HOME", home).env("SEALKEEP_ADDRESS", address);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_printed_address_works_wherever_it_listens() {
    let home = Scratch::new();
    for (address, printed) in [
        ("127.0.0.1:0", "https://127.0.0.1:"),
        ("127.0.0.5:0", "https://127.0.0.5:"),
        ("0.0.0.0:0", "https://127.0.0.1:"),
    ] {
        let (mut first, said) = FirstRun::told(home.path(), address);
        let shown = said.split_once("export KEEP_ADDR=").unwrap().1.split(' ').next().unwrap().to_owned();
        assert!(shown.starts_with(printed), "{address}: {said}");
        first.address = shown;
        assert_eq!(first.status(home.path()), (true, String::new()), "{address}");
    }
    for wrong in ["foo", "127.0.0.1", "::1:8200", ":8200"] {
        let (code, said) = refused(home.path(), wrong);
        assert_eq!(code, Some(2), "{wrong}: {said}");
        assert!(said.contains("SEALKEEP_ADDRESS must be HOST:PORT"), "{wrong}: {said}");
    }
}

#[test]
fn a_first_token_that_was_taken_away_is_not_promised() {
    let home = Scratch::new();
    let token = home.path().join(".config/sealkeep/root-token");
    let (first, said) = FirstRun::told(home.path(), "127.0.0.1:0");
    assert!(said.contains(&format!("cat {}", token.display())), "{said}");
    drop(first);
    std::fs::remove_file(&token).unwrap();
    let (first, said) = FirstRun::told(home.path(), "127.0.0.1:0");
    let unfinished = home.path().join(".config/sealkeep/unfinished");
    assert!(!said.contains("root-token"), "{said}");
    assert!(said.contains(&format!("touch {}", unfinished.display())), "{said}");
    drop(first);
    // As it says.
    std::fs::write(&unfinished, "").unwrap();
    let (_first, said) = FirstRun::told(home.path(), "127.0.0.1:0");
    assert!(said.contains("root-token") && token.exists(), "{said}");
}

#[test]
fn a_wrong_key_is_named() {
    let home = Scratch::new();
    drop(FirstRun::start(home.path()));
    let key = home.path().join(".config/sealkeep/unseal.key");
    std::fs::write(&key, "ab".repeat(32)).unwrap();
    let (code, said) = refused(home.path(), "127.0.0.1:0");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("unseal.key") && said.contains("put the right one back"), "{said}");
}
