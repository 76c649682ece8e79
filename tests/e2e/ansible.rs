//! Ansible with community.hashi_vault, as playbooks use it.

use std::path::PathBuf;
use std::process::Command;
use tests::binary::{Binary, setting, source_root};
use tests::scratch::Scratch;
use tests::server::{DEV_TOKEN, Server};

#[test]
fn a_playbook_uses_what_is_kept_here() {
    let (server, home) = (Server::dev(&Binary::sealkeep()), Scratch::new());
    let installed = installed();
    let library = installed.join("lib");
    let output = Command::new("python3")
        .arg(library.join("bin/ansible-playbook"))
        .args(["-i", "localhost,", "-e", "ansible_python_interpreter=python3"])
        .args(["-e", &format!("ansible_hashi_vault_url={}", server.url())])
        .args(["-e", &format!("ansible_hashi_vault_auth_method=token ansible_hashi_vault_token={DEV_TOKEN}")])
        .arg(source_root().join("tests/e2e/ansible/site.yml"))
        .env("PYTHONPATH", &library)
        .env("ANSIBLE_COLLECTIONS_PATH", &installed)
        .env("ANSIBLE_LOCALHOST_WARNING", "false")
        .env("ANSIBLE_NOCOLOR", "true")
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", home.path())
        .current_dir(home.path())
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}\nthe server said:\n{}", server.log());
    assert!(out.contains("failed=0"), "{out}");
}

/// Where tests/run puts Ansible and the collection: `ANSIBLE_FOLDER`, or `ansible` in the target folder.
fn installed() -> PathBuf {
    let beside = || {
        let test = std::env::current_exe().unwrap();
        // …/target/debug/deps/e2e-0123 → …/target/ansible
        test.ancestors().nth(3).unwrap().join("ansible")
    };
    let folder = setting("ANSIBLE_FOLDER").map_or_else(beside, PathBuf::from);
    let playbook = folder.join("lib/bin/ansible-playbook");
    assert!(playbook.exists(), "{} is not there: tests/run installs it", playbook.display());
    folder
}
