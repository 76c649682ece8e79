//! I, Q. `keep agent`: what a template says when it fails, and which files it may read.

use crate::stage::{CANARY, Stage};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tests::binary::Binary;

/// A number that is as secret as a word.
const PIN: &str = "734519026";

/// An agent that reads one secret. At its first failure it ends.
struct Agent {
    stage: Stage,
}

impl Agent {
    fn new(secret: &Value) -> Self {
        let stage = Stage::dev();
        stage.policy("app", r#"path "secret/data/app" { capabilities = ["read"] }"#);
        let role = stage.approle("web", json!({"token_policies": "app"}));
        let proof = stage.root.post("auth/approle/role/web/secret-id", json!({})).must(200);
        stage.folder.file("role", &role);
        stage.folder.file("proof", &proof.at("/data/secret_id"));
        stage.root.post("secret/data/app", json!({ "data": secret })).must(200);
        Self { stage }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.stage.folder.path().join(name)
    }

    /// Renders these once, the first to `0` and so on: all that it said, and whether it has everything.
    fn render(&self, templates: &[String], lines: &str) -> (String, bool) {
        let folder = self.stage.folder.path().display().to_string();
        let mut config = r#"
vault { retry { num_retries = -1 } }
template_config { exit_on_retry_failure = true }
auto_auth {
  method "approle" {
    config = {
      role_id_file_path = "@/role"
      secret_id_file_path = "@/proof"
      remove_secret_id_file_after_reading = false
    }
  }
}
"#
        .to_owned();
        for (number, template) in templates.iter().enumerate() {
            let text = self.stage.folder.file(&format!("{number}.tmpl"), &template.replace('@', &folder));
            let (source, to) = (text.display(), self.path(&number.to_string()));
            let to = to.display();
            write!(config, "template {{\n  source = \"{source}\"\n  destination = \"{to}\"\n{lines}\n}}\n")
                .unwrap();
        }
        let config = self.stage.folder.file("agent.hcl", &config.replace('@', &folder));
        let mut keep = Command::new(Binary::keep().path());
        keep.arg("agent").arg(format!("-config={}", config.display())).arg("--once");
        keep.env("BAO_ADDR", self.stage.server.url()).env_remove("BAO_TOKEN");
        let output = keep.env("HOME", self.stage.folder.path()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&text).into_owned(), output.status.success())
    }
}

#[test]
fn row_095_a_template_that_fails_does_not_say_what_it_read() {
    let broken = format!("{CANARY}([");
    let secret = json!({"word": CANARY, "broken": broken, "pin": PIN, "list": [1, 2], "map": {"a": "b"},
        "yaml": format!("a: [{CANARY}"), "json": format!("{{\"{CANARY}")});
    let agent = Agent::new(&secret);
    let failing = [
        "{{ index .word 500 }}",
        "{{ index .list .word }}",
        "{{ index .list (parseInt .pin) }}",
        "{{ index .map .word .word }}",
        "{{ slice .word 5 900 }}",
        "{{ range .word }}{{ end }}",
        "{{ .word.deeper }}",
        "{{ call .word }}",
        "{{ parseInt .word }}",
        "{{ parseFloat .word }}",
        "{{ parseBool .word }}",
        "{{ parseJSON .json }}",
        "{{ parseYAML .yaml }}",
        "{{ base64Decode .broken }}",
        "{{ regexMatch .broken `x` }}",
        "{{ regexReplaceAll .broken `` `x` }}",
        "{{ add .word 1 }}",
        "{{ divide 0 (parseInt .pin) }}",
        "{{ loop .word }}",
        "{{ mustEnv .word }}",
        "{{ executeTemplate .word }}",
        "{{ writeToFile `@/x` `` `` .word `text` }}",
        "{{ writeToFile `@/x` .word `` `0600` `text` }}",
        "{{ writeToFile `@/x` `` .word `0600` `text` }}",
    ];
    let whole = |inner: &&str| {
        format!(
            "{{{{ with secret `secret/data/app` }}}}{{{{ with .Data.data }}}}{inner}{{{{ end }}}}{{{{ end }}}}"
        )
    };
    let (said, done) = agent.render(&failing.iter().map(whole).collect::<Vec<_>>(), "");
    assert!(!done);
    let failed = |number: usize| said.contains(&format!("{}: ", agent.path(&number.to_string()).display()));
    let fine: Vec<&str> =
        failing.iter().enumerate().filter(|(number, _)| !failed(*number)).map(|(_, text)| *text).collect();
    assert!(fine.is_empty(), "{fine:?} must fail: {said}");
    for hidden in [CANARY, PIN] {
        assert!(!said.contains(hidden), "{said}");
    }
}

/// Puts a link where one is, in one step.
fn lead(link: &Path, to: &Path) {
    let fresh = link.with_extension("new");
    symlink(to, &fresh).unwrap();
    fs::rename(&fresh, link).unwrap();
}

#[test]
fn row_163_a_link_that_is_swapped_while_it_is_looked_at_leads_out_of_no_sandbox() {
    const FILES: usize = 64;
    let agent = Agent::new(&json!({"a": 1}));
    let (ours, theirs, way) = (agent.path("in/ours"), agent.path("out"), agent.path("in/way"));
    for (folder, text) in [(&ours, "ours"), (&theirs, CANARY)] {
        fs::create_dir_all(folder).unwrap();
        (0..FILES).for_each(|number| fs::write(folder.join(number.to_string()), text).unwrap());
    }
    let templates: Vec<String> =
        (0..FILES).map(|number| format!("{{{{ file `@/in/way/{number}` }}}}")).collect();
    let rendered = |number: usize| fs::read_to_string(agent.path(&number.to_string())).ok();
    let lines = format!("  sandbox_path = \"{}\"\n", agent.path("in").display());
    lead(&way, &theirs);
    let (said, done) = agent.render(&templates, &lines);
    assert!(!done && said.matches("outside of sandbox_path").count() >= FILES, "{said}");
    // Now here, now there, while the agent checks and reads.
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                lead(&way, &theirs);
                lead(&way, &ours);
            }
        });
        let leaks = (0..8).any(|_| {
            let (said, _) = agent.render(&templates, &lines);
            let leaks = |number| rendered(number).as_deref() == Some(CANARY);
            said.contains(CANARY) || (0..FILES).any(leaks)
        });
        ended.store(true, Ordering::Relaxed);
        assert!(!leaks, "what lies outside is shown");
    });
    let (said, done) = agent.render(&templates, &lines);
    assert!(done, "{said}");
    assert!((0..FILES).all(|number| rendered(number).as_deref() == Some("ours")));
}
