//! What `keep agent` does with templates that are mistaken, and with files that are none, beside what `bao agent` does.

use crate::agent::{APPROLE, Site};
use std::process::Command;
use tests::binary::Binary;
use tests::program::Program;

const STAYS: &str = "remove_secret_id_file_after_reading = false";

fn configuration(template: &str) -> String {
    let approle = APPROLE.replace("remove_secret_id_file_after_reading = true", STAYS);
    format!(
        "auto_auth {{{approle}\n}}\nexit_after_auth = true\nvault {{ retry {{ num_retries = -1 }} }}\ntemplate_config {{ exit_on_retry_failure = true }}\n{template}"
    )
}

/// A service is not given `<no value>` for its password: the file stays as it was.
#[test]
fn a_wrong_path_leaves_the_file_as_it_was() {
    let site = Site::new();
    for (text, kept) in [
        ("{{ .data.data.password }}", true),
        ("{{ .Nope.x }}", true),
        ("{{ .Data.data.nope.x }}", true),
        ("{{ if .Data.data.nope.x }}a{{ else }}b{{ end }}", true),
        ("{{ $d := .Data.data }}{{ $d.nope.x }}", true),
        ("{{ .Data.data.nope }}", false),
        ("{{ $d := .Data.data }}{{ $d.password }}", false),
    ] {
        // Outside of all there is nothing, and for both agents its fields are nothing as well.
        let whole = format!(
            "{{{{ if .a.b }}}}a{{{{ end }}}}{{{{ with secret \"secret/data/app/db\" }}}}{text}{{{{ end }}}}"
        );
        site.folder.file("t.ctmpl", &whole);
        let made = |program: &Binary| {
            site.folder.file("rendered", "as it was");
            let config =
                configuration("template {\n source = \"@/t.ctmpl\"\n destination = \"@/rendered\"\n}");
            let mut agent = Program::start(&site.command(program, "agent", &config));
            let ended = agent.end();
            (ended.success(), site.read("rendered").unwrap(), agent.log())
        };
        let (ours, theirs) = (made(&Binary::keep()), made(&Binary::bao()));
        assert_eq!((ours.0, &ours.1), (theirs.0, &theirs.1), "{text}\n{}\n{}", ours.2, theirs.2);
        assert_eq!(ours.1 == "as it was", kept, "{text}\n{}", ours.2);
    }
}

/// Whoever may put things where `file` looks cannot hold up the agent.
#[test]
fn a_pipe_in_the_place_of_a_file_holds_nobody_up() {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    assert!(Command::new("mkfifo").arg(site.path("in/pipe")).status().unwrap().success());
    for sandbox in ["", "sandbox_path = \"@/in\""] {
        let template = format!(
            "template {{\n contents = \"{{{{ file \\\"@/in/pipe\\\" }}}}\"\n destination = \"@/rendered\"\n {sandbox}\n}}"
        );
        let mut agent = Program::start(&site.command(&Binary::keep(), "agent", &configuration(&template)));
        assert!(!agent.end().success(), "{}", agent.log());
        agent.until("it says why", || agent.log().contains("it is no regular file").then_some(()));
        assert!(!site.path("rendered").exists());
    }
}
