//! The care of a CA with a real agent and a real nginx: who holds what, a mass re-issue, a roll.

use std::process::Command;

use serde_json::Value;
use tests::http::Client;
use tests::program::Program;

use crate::rotation::Site;

/// The serial as the API has it.
fn colons(serial: &str) -> String {
    let pairs: Vec<&str> =
        serial.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
    pairs.join(":")
}

fn holders(root: &Client, serial: &str) -> Vec<Value> {
    let shown = root.get(&format!("pki/inventory/certificate/{}", colons(serial))).must(200).json();
    shown["data"]["holders"].as_array().unwrap().clone()
}

/// R14 and R15: what the agent looks after is in the inventory; a mass re-issue replaces it and says who is late.
#[test]
fn an_agent_is_in_the_inventory_and_follows_a_mass_reissue() {
    let site = Site::new();
    let (agent, first) = site.rotating("1h");
    let root = site.server.root();
    let holder = agent.until("it is reported", || holders(&root, &first).pop());
    assert_eq!((&holder["name"], &holder["role"]), (&"app.internal".into(), &"web".into()));
    assert_eq!(holder["stale"], Value::Array(vec![]), "{holder}");
    let place = &holder["served"][0];
    assert_eq!(place["serial_number"], colons(&first).as_str(), "{holder}");
    assert!(place["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    let said =
        String::from_utf8(site.shell("keep pki inventory; ! keep pki inventory -stale").stdout).unwrap();
    assert!(said.contains(&colons(&first)) && said.contains(holder["host"].as_str().unwrap()), "{said}");

    let begun = site.shell("keep pki revoke -format=json -role=web -grace=1h -reason='a test'").stdout;
    let begun: Value = serde_json::from_slice(&begun).unwrap();
    let id = begun["data"]["id"].as_str().unwrap().to_owned();
    let state = || root.get(&format!("pki/reissue/{id}")).must(200).json()["data"].clone();
    assert_eq!(state()["waiting_for"], 1, "{}", state());
    // The agent asks every five minutes; this is how such a question falls due now.
    assert!(agent.stop().success());
    let file = site.path("tls/state.json");
    let mut record: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    record["ask_at"] = 0.into();
    std::fs::write(&file, record.to_string()).unwrap();
    let agent = site.agent(&[]);
    let second = agent.until("another is served", || site.served().filter(|serial| *serial != first));
    agent.until("nobody is late", || (state()["waiting_for"] == 0).then_some(()));
    assert_eq!(holders(&root, &first).len(), 0);
    assert_eq!(holders(&root, &second).len(), 1);
    assert_eq!((&state()["state"], &state()["matched"]), (&"waiting".into(), &1.into()));
    site.shell(&format!("keep pki revoke -status | grep {id}; keep pki revoke -abort={id}"));
    assert_eq!(state()["state"], "aborted");
    assert!(agent.stop().success());
}

/// A look as a client has it that reads the bundle of this folder: the chain that nginx shows must end in it.
fn is_trusted(site: &Site, bundle: &str) -> bool {
    let at = site.address();
    let line = format!(
        "openssl s_client -connect {at} -servername app.internal -verify_return_error -verify_hostname app.internal -CAfile {bundle} </dev/null"
    );
    Command::new("bash").args(["-c", &line]).output().unwrap().status.success()
}

fn bundle_size(site: &Site) -> usize {
    let text = std::fs::read_to_string(site.path("tls/current/ca.pem")).unwrap_or_default();
    text.matches("BEGIN CERTIFICATE").count()
}

fn state(site: &Site) -> String {
    site.server.root().get("pki/roll").must(200).at("/data/state")
}

/// R16: each step of a roll, as a client sees it that keeps one bundle for long.
#[test]
fn a_roll_is_never_seen_by_clients() {
    let site = Site::new();
    let (agent, _) = site.rotating("20s");
    let current = site.path("tls/current/ca.pem").display().to_string();
    let (old, both) = (site.path("old.pem"), site.path("both.pem"));
    std::fs::copy(&current, &old).unwrap();
    let (old, kept) = (old.display().to_string(), both.display().to_string());
    assert!(is_trusted(&site, &old));
    let verify = format!(
        "openssl verify -CAfile {current} -untrusted {0}/fullchain.pem {0}/cert.pem",
        site.path("tls/current").display()
    );

    let said = site.shell("keep pki roll start -publish-for=15m").stdout;
    assert!(String::from_utf8(said).unwrap().contains("CA → CA 2: published"));
    agent.until("the agent trusts both", || (bundle_size(&site) == 2).then_some(()));
    std::fs::copy(&current, &both).unwrap();
    site.shell(&verify);
    assert!(is_trusted(&site, &old), "the old one still signs");

    site.shell("keep pki roll switch; ! keep pki roll abort");
    until_the_next_ca_signs(&site, &agent, &old);
    site.shell(&verify);
    assert!(is_trusted(&site, &kept), "who has the bundle of a roll trusts what comes after the switch");

    agent.until("the last leaf of the old CA has ended", || (state(&site) == "finished").then_some(()));
    agent.until("the old CA leaves the bundle", || (bundle_size(&site) == 1).then_some(()));
    site.shell(&verify);
    assert!(is_trusted(&site, &current) && is_trusted(&site, &kept));
    let said = String::from_utf8(site.shell("keep pki roll status").stdout).unwrap();
    assert!(said.contains("CA → CA 2: finished"), "{said}");
    assert!(agent.stop().success());
}

fn until_the_next_ca_signs(site: &Site, agent: &Program, old: &str) {
    agent.until("nginx shows a leaf of the next CA", || {
        let chain = site.path("tls/current/cert.pem").display().to_string();
        let output =
            Command::new("openssl").args(["verify", "-partial_chain", "-CAfile", old, &chain]).output();
        (!output.unwrap().status.success() && site.served() == site.held()).then_some(())
    });
}

/// A CA whose parent is in another mount is rolled by one command of somebody who may use both, and by nobody else.
#[test]
fn a_roll_is_signed_in_another_mount() {
    let site = Site::new();
    let rules = r#"
keep secrets enable -max-lease-ttl=87600h -path=top pki >/dev/null
keep secrets enable -max-lease-ttl=87600h -path=other pki >/dev/null
keep secrets enable -max-lease-ttl=43800h -path=int pki >/dev/null
for mount in top other; do
    keep write $mount/root/generate/internal common_name="Root of $mount" key_type=ec ttl=80000h >/dev/null
done
keep pki issue top/issuer/default int common_name=Below key_type=ec ttl=20000h max_path_length=0 >/dev/null
echo 'path "int/*" { capabilities = ["create", "read", "update", "sudo"] }' | keep policy write below - >/dev/null
echo 'path "top/issuer/default/sign-intermediate" { capabilities = ["update"] }' | keep policy write above - >/dev/null
"#;
    site.shell(rules);
    let run = |script: &str| String::from_utf8(site.shell(&format!("({script}) 2>&1")).stdout).unwrap();
    let said = run("! keep pki roll start -parent-mount=other int");
    assert!(said.contains("other/issuer/default (Root of other) did not sign Below in int"), "{said}");
    let said = run("! keep pki roll status int");
    assert!(said.contains("was ever rolled"), "nothing is begun that cannot be ended: {said}");

    let below = "KEEP_TOKEN=$(keep token create -policy=below -field=token)";
    let said = run(&format!("{below}; export KEEP_TOKEN; ! keep pki roll start -parent-mount=top int"));
    assert!(
        said.contains("permission denied") && said.contains("`keep pki roll sign` tries again"),
        "{said}"
    );
    assert_eq!(site.server.root().get("int/roll").must(200).at("/data/state"), "requested");
    let both = "KEEP_TOKEN=$(keep token create -policy=below -policy=above -field=token)";
    let said = run(&format!("{both}; export KEEP_TOKEN; keep pki roll sign -parent-mount=top int"));
    assert!(said.contains("top/issuer/default (Root of top) signed the next CA"), "{said}");
    assert!(said.contains("Below → Below 2: published"), "{said}");
    let said = run("! keep pki roll sign -parent-mount=top int");
    assert!(said.contains("The roll in int waits for no certificate: it is published"), "{said}");
    let next = site.server.root().get("int/roll").must(200).at("/data/next/issuer_id");
    let look = format!(
        "keep read -field=certificate int/issuer/{next} > next.pem; keep read -field=certificate top/issuer/default > top.pem
         openssl verify -CAfile top.pem next.pem; openssl x509 -in next.pem -noout -text | grep pathlen:0"
    );
    site.shell(&look);
}
