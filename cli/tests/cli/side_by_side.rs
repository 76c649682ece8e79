//! The same commands by both programs against one server: what scripts read must be the same bytes.

use crate::bao::{Bao, Said};

/// Runs a line by both. `SIDE` becomes a name of each program's own, so that both find the same state.
/// Moments, ids and tokens differ by nature and are masked.
#[track_caller]
fn check(server: &Bao, line: &str) {
    let theirs = server.bao(&line.replace("SIDE", "side-b"));
    let ours = server.keep(&line.replace("SIDE", "side-k"));
    let theirs = Said {
        code: theirs.code,
        out: mask(&theirs.out.replace("side-b", "side-k")),
        err: mask(
            &theirs
                .err
                .replace("side-b", "side-k")
                .replace("returned from OpenBao", "returned from the server"),
        ),
    };
    let out = mask(&ours.out);
    assert_eq!((ours.code, &out), (theirs.code, &theirs.out), "{line}\ntheirs: {theirs:?}\nours: {ours:?}");
    let err = mask(&ours.err);
    // We may add one line of advice.
    let advice =
        err.strip_prefix(&theirs.err).unwrap_or_else(|| panic!("{line}\ntheirs: {theirs:?}\nours: {ours:?}"));
    assert!(advice.lines().count() <= 1, "{line}: {advice}");
}

fn mask(text: &str) -> String {
    // Whether it had to wait depends on who was faster.
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("Waiting for terminal status"));
    let text = lines.collect::<String>();
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() || "-_.:+".contains(c) {
            word.push(c);
            continue;
        }
        out.push_str(masked(&word));
        word.clear();
        out.push(c);
    }
    out.pop();
    out
}

fn masked(word: &str) -> &str {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if word.len() == 36 && word.matches('-').count() == 4 {
        "UUID"
    } else if word.len() >= 20 && word.starts_with("20") && word.contains('T') && word.ends_with('Z') {
        "MOMENT"
    } else if word.matches(':').count() == 2 && word.contains('.') && digits >= 7 {
        "CLOCK"
    } else if word.len() >= 26 && (word.starts_with("s.") || word.starts_with("b.")) {
        "TOKEN"
    } else if word.len() == 24
        && word.bytes().all(|b| b.is_ascii_alphanumeric())
        && word != word.to_lowercase()
    {
        "ACCESSOR"
    } else {
        word
    }
}

#[test]
fn a_key_value_store() {
    let server = Bao::start(&[]);
    for line in [
        "kv put secret/SIDE/b user=me pass=x",
        "kv put -format=json secret/SIDE/b user=me pass=x",
        "kv get secret/SIDE/b",
        "kv get -format=json secret/SIDE/b",
        "kv get -format=yaml secret/SIDE/b",
        "kv get -format=pretty secret/SIDE/b",
        "kv get -format=raw secret/SIDE/b",
        "kv get -format=bogus secret/SIDE/b",
        "kv get -field=user secret/SIDE/b",
        "kv get -field user secret/SIDE/b",
        "kv get -field=nope secret/SIDE/b",
        "kv get -mount=secret -field=data SIDE/b",
        "kv get -mount=secret SIDE/b",
        "kv get -version=1 secret/SIDE/b",
        "kv get secret/SIDE/nope",
        "kv list secret/SIDE",
        "kv list -format=json secret/SIDE",
        "kv list -format=json secret/SIDE/zzz",
        "kv list secret/SIDE/zzz",
        "kv scan secret/SIDE",
        "kv patch secret/SIDE/b more=1",
        "kv patch -method=rw secret/SIDE/b other=1",
        "kv patch -remove-data=more secret/SIDE/b",
        "kv patch -method=rw secret/SIDE/nothere b=2",
        "kv put -cas=0 secret/SIDE/b user=me",
        "kv put -cas=-1 secret/SIDE/b user=me",
        "kv delete secret/SIDE/b",
        "kv get secret/SIDE/b",
        "kv get -format=json secret/SIDE/b",
        "kv undelete -versions=6 secret/SIDE/b",
        "kv undelete secret/SIDE/b",
        "kv destroy -versions=1 secret/SIDE/b",
        "kv rollback -version=2 secret/SIDE/b",
        "kv rollback -version=1 secret/SIDE/b",
        "kv rollback secret/SIDE/b",
        "kv metadata put -max-versions=5 -custom-metadata=a=b -delete-version-after=1h secret/SIDE/b",
        "kv metadata patch -custom-metadata=c=d secret/SIDE/b",
        "kv metadata get secret/SIDE/b",
        "kv metadata get -format=json secret/SIDE/b",
        "kv metadata delete secret/SIDE/b",
        "kv metadata get secret/SIDE/b",
        "kv put secret/SIDE/b",
        "kv get",
        "kv get a b",
        "kv get -bogus secret/SIDE/b",
        "kv get -output-policy secret/SIDE/b",
        "kv get -wrap-ttl=60s secret/SIDE/b",
        "kv get nomount/SIDE",
        "kv list -mount=nomount",
        "secrets enable -path=SIDE kv",
        "kv put SIDE/x a=b",
        "kv get SIDE/x",
        "kv get -format=json SIDE/x",
        "kv list SIDE",
        "kv patch SIDE/x a=c",
        "kv destroy -versions=1 SIDE/x",
        "kv metadata get SIDE/x",
        "kv delete SIDE/x",
        "kv enable-versioning SIDE",
        "secrets disable SIDE",
    ] {
        check(&server, line);
    }
}

#[test]
fn paths_that_are_none_of_a_store_of_the_second_version() {
    let server = Bao::start(&[]);
    for line in [
        "kv get secret",
        "kv get -format=json secret",
        "kv put secret a=b",
        "kv delete secret",
        "kv metadata get secret",
        "read secret/SIDE",
        "list secret",
        "scan secret/",
        "write secret/SIDE a=b",
        "write -field=a secret/SIDE a=b",
        "patch secret/SIDE a=b",
        "delete secret/SIDE",
    ] {
        check(&server, line);
    }
}

#[test]
fn namespaces_and_mounts_that_are_not_there() {
    let server = Bao::start(&[]);
    for line in [
        "kv get -namespace=nowhere secret/SIDE",
        "policy list -namespace=nowhere",
        "namespace list -namespace=nowhere",
        "read -namespace=nowhere secret/SIDE",
        "list -namespace=nowhere secret/SIDE",
        "secrets list -namespace=nowhere",
        "auth list -namespace=nowhere",
        "audit list -namespace=nowhere",
        "operator key-status -namespace=nowhere",
        "login -namespace=nowhere root",
        "pki health-check nope",
        "pki health-check secret",
        "pki health-check -format=json nope",
    ] {
        check(&server, line);
    }
}

#[test]
fn any_path() {
    let server = Bao::start(&[]);
    server.folder.write("j.json", r#"{"a":[1,2,{"x":1.50}],"n":12345678901234567890,"s":"<a>&"}"#);
    server.folder.write("f", "file\n");
    for line in [
        "status",
        "status -format=json",
        "status -format=yaml",
        "status -field=version",
        "read sys/mounts/secret",
        "read -format=json sys/mounts/secret",
        "read -field=type sys/mounts/secret",
        "read secret/data/nope",
        "read nomount/x",
        "secrets enable -path=SIDE kv",
        "write SIDE/x",
        "write SIDE/x a=b c=d",
        "write -format=json SIDE/x a=b",
        "write SIDE/y @j.json",
        "read SIDE/y",
        "read -format=json SIDE/y",
        "read -format=yaml SIDE/y",
        "read -field=a SIDE/y",
        "read -field=a -format=json SIDE/y",
        "read -field=s -format=json SIDE/y",
        "write SIDE/z f=@f a=1 a=2",
        "read -format=json SIDE/z",
        "write SIDE/z @nofile",
        "list SIDE",
        "list -format=json SIDE",
        "list -format=yaml SIDE",
        "list SIDE/nope",
        "list -format=json SIDE/nope",
        "scan secret/metadata",
        "delete SIDE/z",
        "delete nomount/x",
        "read -field=a secret/data/SIDE",
        "write nomount/x a=b",
        "patch secret/data/a data=x",
        "write -f auth/token/create",
        "write -force -format=json auth/token/create policies=default",
        "write -wrap-ttl=60s -f auth/token/create",
        "path-help secret",
        "path-help nomount",
    ] {
        check(&server, line);
    }
}

#[test]
fn mounts_policies_tokens_and_the_operator() {
    let server = Bao::start(&[]);
    server.folder.write("p.hcl", "path \"a/*\" { capabilities=[\"read\"] }\n");
    for line in [
        "secrets list",
        "secrets list -detailed",
        "secrets list -format=json",
        "secrets enable nosuch",
        "secrets enable -version=2 -path=SIDE -description=foo -default-lease-ttl=1h -max-lease-ttl=24h kv",
        "secrets tune -default-lease-ttl=2h -description=xx SIDE",
        "secrets tune nomount",
        "secrets move SIDE SIDE-moved",
        "secrets disable SIDE-moved",
        "auth list",
        "auth list -detailed",
        "auth list -format=json",
        "auth enable -path=SIDE userpass",
        "auth tune -default-lease-ttl=2h SIDE",
        "auth disable SIDE",
        "auth help nomethod",
        "policy write SIDE p.hcl",
        "policy write UP-SIDE p.hcl",
        "policy delete UP-SIDE",
        "policy read SIDE",
        "policy read -format=json SIDE",
        "policy read nope",
        "policy delete SIDE",
        "policy delete root",
        "policy list",
        "policy list -format=json",
        "token create -policy=default -ttl=1h",
        "token create -format=json -ttl=1h",
        "token create -policy=SIDE -field=token_duration",
        "token create -ttl=99999h -field=token_duration",
        "token create -orphan -period=1h -metadata=a=b -display-name=foo -use-limit=4",
        "token lookup",
        "token lookup -format=json",
        "token lookup nope",
        "token lookup -accessor nope",
        "token capabilities sys/mounts",
        "token capabilities -format=json root sys/mounts",
        "token renew nope",
        "token renew -i=1h nope",
        "token revoke nope",
        "token revoke",
        "token revoke -accessor nope",
        "lease lookup nope",
        "lease renew nope",
        "lease revoke nope",
        "lease revoke -force nope",
        "lease revoke -sync -prefix nope",
        "audit list",
        "audit list -format=json",
        "audit enable file file_path=/nowhere/audit.log",
        "audit disable file",
        "operator key-status",
        "operator members",
        "operator init",
        "operator unseal nope",
        "operator generate-root -status",
        "operator generate-root -status -recovery-token",
        "operator generate-root -decode=x",
        "unwrap nope",
        "read -unlock-key=x secret/data/nope",
    ] {
        check(&server, line);
    }
}

#[test]
fn plugins() {
    let server = Bao::start(&[]);
    for line in [
        "plugin list",
        "plugin list secret",
        "plugin list -detailed",
        "plugin list -detailed auth",
        "plugin list -format=json",
        "plugin list -format=json secret",
        "plugin list -format=yaml auth",
        "plugin list nope",
        "plugin info secret kv",
        "plugin info -format=json secret kv",
        "plugin info -format=yaml secret kv",
        "plugin info -field=version secret kv",
        "plugin info -field=nope secret kv",
        "plugin info nope x",
        "plugin register secret x",
        "plugin register -sha256=aa secret x",
        "plugin deregister secret x",
        "plugin reload",
        "plugin reload -plugin=kv",
        "plugin reload -mounts=secret/",
        "plugin reload -plugin=kv -mounts=secret/",
        "plugin reload-status nope",
    ] {
        check(&server, line);
    }
    // Its words about old servers are left out.
    for line in ["version-history", "version-history -format=json"] {
        let (theirs, ours) = (server.bao(line), server.keep(line));
        assert_eq!((ours.code, mask(&ours.out)), (theirs.code, mask(&theirs.out)), "{line}");
    }
}

#[test]
fn a_cluster_of_one() {
    let server = Bao::start_new();
    let made = server.bao("operator init -format=json -key-shares=1 -key-threshold=1").out;
    let after =
        |start: &str| made.split(start).nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap().to_owned();
    let (key, token) = (after("\"unseal_keys_b64\": ["), after("\"root_token\":"));
    assert_eq!(server.keep_with("operator unseal -", &key).code, 0);
    let server = server.with_token(&token);
    server.until_active();
    for line in [
        "operator raft list-peers",
        "operator raft list-peers -format=json",
        "operator raft list-peers -format=yaml",
        "operator raft promote n",
        "operator raft autopilot get-config",
        "operator raft autopilot get-config -format=json",
        "operator raft autopilot set-config -min-quorum=3",
        "operator raft snapshot save SIDE.snap",
        "operator raft snapshot restore SIDE.snap",
        "operator raft snapshot restore -force SIDE.snap",
        "operator raft snapshot restore nothing.snap",
        "operator raft remove-peer nope",
    ] {
        check(&server, line);
    }
    let inspected = server.keep("operator raft snapshot inspect side-b.snap");
    assert!(inspected.code == 0 && inspected.out.contains("index "), "{inspected:?}");
    let snapshot = std::fs::read(server.folder.0.join("side-k.snap")).unwrap();
    std::fs::write(server.folder.0.join("cut.snap"), &snapshot[..snapshot.len() / 2]).unwrap();
    let cut = server.keep("operator raft snapshot inspect cut.snap");
    assert!(cut.code == 1 && cut.err.contains("no whole snapshot"), "{cut:?}");
}

#[test]
fn policy_files_are_laid_out_the_same() {
    let server = Bao::start(&[]);
    let text = "# top\npath \"s/*\" { capabilities = [\"create\",\n \"update\"] \n  # inner\n  min_wrapping_ttl=\"1s\"\n  \
                max_wrapping_ttl   = \"90s\" // trailing\n}\npath \"k\" { control_group = { factor \"x\" { \
                controlled_capabilities=[\"read\"] \nidentity { group_names = [\"a\"] \napprovals = 1 } } } }\npath \"e\" {}\n\
                path \"f/*\" { capabilities = [\"read\"] // trail\n  allowed_parameters = { \"a\" = [\"x\",\"y\"], \
                \"*\" = [] }\n/* block\n comment */\n  min_wrapping_ttl=\"1s\"\n}\npath \"g\" {} path \"h\" {}\n";
    let (b, k) = (server.folder.write("b.hcl", text), server.folder.write("k.hcl", text));
    assert_eq!(server.bao("policy fmt b.hcl").code, 0);
    assert_eq!(server.keep("policy fmt k.hcl").code, 0);
    assert_eq!(std::fs::read_to_string(k).unwrap(), std::fs::read_to_string(b).unwrap());
}

#[test]
fn what_an_answer_warns_of_reaches_programs_too() {
    let server = Bao::start(&[]);
    let warned = "WARNING! The following warnings were returned from the server:";
    let said = server.keep("write -field=random_bytes -format=json sys/tools/random/4 foo=1");
    assert!(said.code == 0 && said.out.starts_with('"'), "{said:?}");
    assert!(said.err.starts_with(warned) && said.err.contains("unrecognized parameters: [foo]"), "{said:?}");
    let said = server.keep("list -format=json secret");
    assert!(said.code == 2 && said.out == "{}\n" && said.err.starts_with(warned), "{said:?}");
    for line in ["write -format=json secret/x a=b", "delete -format=json secret/x"] {
        let (theirs, ours) = (server.bao(line), server.keep(line));
        assert_eq!((ours.code, mask(&ours.out)), (theirs.code, mask(&theirs.out)), "{line}");
        assert!(ours.err.contains("Code: 404. Errors:") && ours.err.contains(warned), "{line}: {ours:?}");
    }
    let said = server.keep("kv get -field=x secret");
    assert!(
        said.code == 2 && said.err.starts_with(warned) && said.err.contains("root of a K/V v2"),
        "{said:?}"
    );
    assert!(said.err.ends_with("No data found at secret/data\n"), "{said:?}");
}
