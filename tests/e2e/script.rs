//! A client that is a script: run against a server, believed when its last words are "all of it".

use std::process::Command;
use tests::binary::source_root;
use tests::server::Server;

/// Runs this script of the folder with the server's URL and one more argument.
#[track_caller]
pub(crate) fn run(mut interpreter: Command, script: &str, server: &Server, argument: &str) {
    let command =
        interpreter.arg(source_root().join("tests/e2e").join(script)).arg(server.url()).arg(argument);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}\nthe server said:\n{}", server.log());
    assert!(out.trim_end().ends_with("all of it"), "{out}");
}

/// Runs a Python script.
#[track_caller]
pub(crate) fn python(script: &str, server: &Server, argument: &str) {
    run(Command::new("python3"), script, server, argument);
}
