//! Logging in by a directory: a real slapd, and ones that are down, slow or talk nonsense.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tests::authority::{Door, Wanted};
use tests::binary::Binary;
use tests::http::{Client, Reply, Request};
use tests::scratch::Scratch;
use tests::server::{Server, free_port};

const PEOPLE: &str = r"dn: dc=example,dc=org
objectClass: organization
objectClass: dcObject
o: example
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: uid=bob,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: principal
uid: bob
cn: Bob
sn: B
mail: robert@example.org
userPrincipalName: bob@corp.example
userPassword: bobs-password

dn: uid=Cyd,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: principal
uid: Cyd
cn: Cyd
sn: C
userPrincipalName: Cyd@corp.example
userPassword: cyds-password

dn: uid=ann lee,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: ann lee
cn: Ann
sn: L
userPassword: anns-password

dn: uid=twin,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: T
userPassword: twins-password

dn: cn=Twin,ou=groups,dc=example,dc=org
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: T
userPassword: twins-password

dn: cn=Dev,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: Dev
member: uid=bob,ou=people,dc=example,dc=org

dn: cn=ops,ou=groups,dc=example,dc=org
objectClass: posixGroup
cn: ops
gidNumber: 7
memberUid: bob
memberUid: Cyd

dn: cn=cn\3dadmins\2cdc\3dx,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: cn=admins,dc=x
member: uid=twin,ou=people,dc=example,dc=org
";

/// A slapd with these people in it, over TCP with StartTLS, and over TLS.
pub(crate) struct Directory {
    slapd: Child,
    plain: u16,
    pub(crate) tls: u16,
    pub(crate) ca: String,
    _folder: Scratch,
}

impl Directory {
    pub(crate) fn new() -> Self {
        let folder = Scratch::new();
        // The certificate of a server at 127.0.0.1 serves slapd as well.
        let (plain, tls) = (free_port(), free_port());
        Door::new(folder.path(), tls);
        std::fs::create_dir(folder.path().join("db")).unwrap();
        let at = folder.path().display();
        let schemas: String = ["core", "cosine", "inetorgperson", "nis"]
            .map(|name| format!("include /etc/ldap/schema/{name}.schema\n"))
            .concat();
        let conf = format!(
            "{schemas}attributetype ( 1.2.840.113556.1.4.656 NAME 'userPrincipalName' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.99.7 NAME 'principal' SUP top AUXILIARY MAY userPrincipalName )
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {at}/slapd.pid
TLSCACertificateFile {at}/door-ca.pem
TLSCertificateFile {at}/door.pem
TLSCertificateKeyFile {at}/door.key
database mdb
maxsize 16777216
suffix dc=example,dc=org
rootdn cn=admin,dc=example,dc=org
rootpw admins-password
directory {at}/db
"
        );
        let conf = folder.file("slapd.conf", &conf);
        let people = folder.file("people.ldif", PEOPLE);
        let loaded =
            Command::new("/usr/sbin/slapadd").arg("-f").arg(&conf).arg("-l").arg(&people).output().unwrap();
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        let urls = format!("ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{tls}");
        let slapd = Command::new("/usr/sbin/slapd")
            .args(["-d", "0", "-h", &urls, "-f"])
            .arg(&conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ca = std::fs::read_to_string(folder.path().join("door-ca.pem")).unwrap();
        let directory = Self { slapd, plain, tls, ca, _folder: folder };
        for _ in 0..2_000 {
            if [plain, tls].iter().all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
                return directory;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        panic!("slapd does not listen");
    }

    /// Settings that fit it.
    fn settings(&self) -> Value {
        json!({"url": format!("ldap://127.0.0.1:{}", self.plain), "userdn": "ou=people,dc=example,dc=org",
            "userattr": "uid", "groupdn": "ou=groups,dc=example,dc=org",
            "binddn": "cn=admin,dc=example,dc=org", "bindpass": "admins-password", "token_policies": "all"})
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = self.slapd.kill();
        let _ = self.slapd.wait();
    }
}

struct Stage {
    server: Server,
    root: Client,
}

impl Stage {
    fn new() -> Self {
        let server = Server::dev(&Binary::sealkeep());
        let root = server.root();
        root.post("sys/auth/ldap", json!({"type": "ldap"})).must(204);
        let off = json!({"user_lockout_config": {"lockout_disable": true}});
        root.post("sys/auth/ldap/tune", off).must(204);
        Self { server, root }
    }

    fn set(&self, settings: Value) {
        self.root.post("auth/ldap/config", settings).must(204);
    }

    /// The name goes into the path as it is.
    fn log_in(&self, name: &str, password: &str) -> Reply {
        let request = Request::new("POST", &format!("/v1/auth/ldap/login/{name}"));
        self.server.anonymous().send(&request.json(&json!({"password": password})))
    }
}

const REFUSED: &str = "ldap operation failed: failed to bind as user";

#[test]
fn who_the_directory_knows_is_let_in() {
    let (stage, directory) = (Stage::new(), Directory::new());
    let said = stage.log_in("bob", "bobs-password").must(400);
    assert_eq!(said.errors(), "ldap backend not configured");
    stage.set(directory.settings());
    stage.root.post("auth/ldap/groups/dev", json!({"policies": "p-dev"})).must(204);
    stage.root.post("auth/ldap/groups/OPS", json!({"policies": "p-ops"})).must(204);
    stage.root.post("auth/ldap/groups/local", json!({"policies": "p-local"})).must(204);
    stage.root.post("auth/ldap/groups/admins", json!({"policies": "p-admins"})).must(204);
    stage.root.post("auth/ldap/users/Bob", json!({"policies": "p-bob", "groups": "Local"})).must(204);
    let said = stage.log_in("bob", "bobs-password").must(200);
    let policies = json!(["all", "default", "p-bob", "p-dev", "p-local", "p-ops"]);
    assert_eq!(said.json()["auth"]["token_policies"], policies);
    assert_eq!(said.json()["auth"]["metadata"], json!({"username": "bob"}));
    let token = stage.root.with(&said.at("/auth/client_token"));
    let shown = token.get("auth/token/lookup-self").must(200);
    assert_eq!(shown.at("/data/display_name"), "ldap-bob");
    assert!(!shown.text().contains("bobs-password"));
    // A group that calls itself `cn=admins,dc=x` is not the group `admins`.
    let said = stage.log_in("twin", "twins-password").must(200);
    assert_eq!(said.json()["auth"]["token_policies"], json!(["all", "default"]));
    let said = stage.log_in("ann%20lee", "anns-password").must(200);
    let warning = "no LDAP groups found in groupDN \"ou=groups,dc=example,dc=org\"; only policies from \
                   locally-defined groups available";
    assert_eq!(said.json()["warnings"], json!([warning]));
    for (name, password) in [
        ("bob", "wrong"),
        ("bob", "anns-password"),
        ("nobody", "bobs-password"),
        ("b*", "bobs-password"),
        ("*", "bobs-password"),
        ("bob%29%28uid%3Dbob", "bobs-password"),
        ("%5C62ob", "bobs-password"),
        ("bob%5C00", "bobs-password"),
        ("uid%3Dbob,ou%3Dpeople,dc%3Dexample,dc%3Dorg", "bobs-password"),
        ("bob", "bobs-password\0"),
        ("bob", "\0bobs-password"),
    ] {
        assert_eq!(stage.log_in(name, password).must(400).errors(), REFUSED, "{name} {password:?}");
    }
    // What nobody can see does not get that far.
    for name in ["bob%C2%AD", "bo%E2%80%8Bb", "%C2%A0bob", "bob%00"] {
        stage.log_in(name, "bobs-password").must(400);
    }
    let empty = "password cannot be of zero length when passwordless binds are being denied";
    assert_eq!(stage.log_in("bob", "").must(400).errors(), empty);
    let config = stage.root.get("auth/ldap/config").must(200);
    assert!(!config.text().contains("admins-password") && config.text().contains("cn=admin"), "{config}");
}

#[test]
fn every_spelling_is_one_user() {
    let (stage, directory) = (Stage::new(), Directory::new());
    for as_alias in [false, true] {
        stage.set(directory.settings());
        stage.set(json!({"username_as_alias": as_alias}));
        let entity =
            |name: &str, password: &str| stage.log_in(name, password).must(200).at("/auth/entity_id");
        let bob = entity("bob", "bobs-password");
        for name in ["BOB", "%20bob", "bob%20", "Bob", "%EF%BD%82ob"] {
            assert_eq!(entity(name, "bobs-password"), bob, "{name} {as_alias}");
        }
        let ann = entity("ann%20lee", "anns-password");
        for name in ["Ann%20%20LEE", "%20ann%20lee"] {
            assert_eq!(entity(name, "anns-password"), ann, "{name} {as_alias}");
        }
    }
    // Where case counts, the directory that does not mind it makes no second user.
    stage.set(json!({"case_sensitive_names": true}));
    stage.log_in("bob", "bobs-password").must(200);
    assert_eq!(stage.log_in("BOB", "bobs-password").must(400).errors(), REFUSED);
}

/// `memberUid` is compared letter by letter, and the user's name is not.
#[test]
fn every_spelling_has_the_same_groups() {
    let (stage, directory) = (Stage::new(), Directory::new());
    stage.set(directory.settings());
    stage.root.post("auth/ldap/groups/ops", json!({"policies": "p-ops"})).must(204);
    stage.root.post("auth/ldap/users/bob", json!({"policies": "p-bob"})).must(204);
    let policies = |name: &str, password: &str| {
        let said = stage.log_in(name, password).must(200);
        (said.json()["auth"]["token_policies"].clone(), said.json()["auth"]["metadata"]["username"].clone())
    };
    for settings in [
        json!({}),
        json!({"userfilter": "(|(uid={{.Username}})(mail={{.Username}}))"}),
        // Named by one attribute, found by another.
        json!({"userattr": "sn", "userfilter": "(uid={{.Username}})"}),
        json!({"username_as_alias": true}),
        json!({"upndomain": "corp.example"}),
        json!({"binddn": "", "bindpass": ""}),
        json!({"binddn": "", "bindpass": "", "discoverdn": true}),
        json!({"binddn": "", "bindpass": "", "upndomain": "corp.example", "discoverdn": true}),
    ] {
        stage
            .set(json!({"userattr": "uid", "upndomain": "", "discoverdn": false, "username_as_alias": false,
            "userfilter": "({{.UserAttr}}={{.Username}})"}));
        stage.set(directory.settings());
        stage.set(settings.clone());
        let bob = policies("bob", "bobs-password");
        assert_eq!(bob.0, json!(["all", "default", "p-bob", "p-ops"]), "{settings}");
        let cyd = policies("Cyd", "cyds-password");
        assert_eq!(cyd.0, json!(["all", "default", "p-ops"]), "{settings}");
        for (bobs, cyds) in [("BOB", "CYD"), ("Bob%20", "cyd"), ("%20boB", "%20cYD")] {
            assert_eq!(policies(bobs, "bobs-password"), bob, "{settings}");
            assert_eq!(policies(cyds, "cyds-password"), cyd, "{settings}");
        }
    }
    // Another name of the same user, if the filter takes it, is the same user.
    stage.set(json!({"upndomain": "", "discoverdn": false}));
    stage.set(directory.settings());
    for as_alias in [false, true] {
        stage.set(json!({"userfilter": "(|(uid={{.Username}})(mail={{.Username}}))", "username_as_alias": as_alias}));
        let entity = |name: &str| stage.log_in(name, "bobs-password").must(200).at("/auth/entity_id");
        assert_eq!(policies("robert@example.org", "bobs-password"), policies("bob", "bobs-password"));
        assert_eq!(entity("Robert@example.org"), entity("bob"));
    }
}

#[test]
fn no_spelling_leaves_out_the_second_factor() {
    let (stage, directory) = (Stage::new(), Directory::new());
    stage.set(directory.settings());
    let root = &stage.root;
    let accessor = root.get("sys/auth/ldap").must(200).at("/data/accessor");
    let group = json!({"name": "careful", "type": "external", "policies": "no-prod"});
    let group = root.post("identity/group", group).must(200).at("/data/id");
    let alias = json!({"name": "ops", "mount_accessor": accessor, "canonical_id": group});
    root.post("identity/group-alias", alias).must(200);
    let first = stage.log_in("bob", "bobs-password").must(200);
    assert_eq!(first.json()["auth"]["identity_policies"], json!(["no-prod"]));
    let method =
        root.post("identity/mfa/method/totp", json!({"issuer": "x"})).must(200).at("/data/method_id");
    let whom = json!({"mfa_method_ids": [method], "identity_group_ids": [group]});
    root.post("identity/mfa/login-enforcement/e", whom).must(204);
    for name in ["bob", "BOB", "%20bOb"] {
        let said = stage.log_in(name, "bobs-password").must(200);
        assert_eq!(said.at("/auth/client_token"), "", "{name}: {said}");
        assert!(said.json()["auth"]["mfa_requirement"].is_object(), "{name}: {said}");
        // And the tokens that are out there keep the policies of the group.
        let token = root.with(&first.at("/auth/client_token"));
        let shown = token.get("auth/token/lookup-self").must(200);
        assert_eq!(shown.json()["data"]["identity_policies"], json!(["no-prod"]), "{name}");
    }
}

#[test]
fn users_are_found_in_every_way() {
    let (stage, directory) = (Stage::new(), Directory::new());
    let both = |settings: Value| {
        stage.root.delete("sys/auth/ldap").must(204);
        stage.root.post("sys/auth/ldap", json!({"type": "ldap"})).must(204);
        stage.set(settings);
        stage.log_in("bob", "bobs-password")
    };
    let without = |names: &[&str]| {
        let mut settings = directory.settings();
        names.iter().for_each(|name| drop(settings.as_object_mut().unwrap().remove(*name)));
        settings
    };
    let with = |mut settings: Value, more: Value| {
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    };
    // By their name alone, without a search.
    both(without(&["binddn", "bindpass"])).must(200);
    assert_eq!(stage.log_in("bob,ou=people", "bobs-password").must(400).errors(), REFUSED);
    // By a search as nobody.
    both(with(without(&["binddn", "bindpass"]), json!({"discoverdn": true}))).must(200);
    assert_eq!(stage.log_in("nobody", "bobs-password").must(400).errors(), REFUSED);
    both(with(directory.settings(), json!({"anonymous_group_search": true}))).must(200);
    both(with(directory.settings(), json!({"max_page_size": 1, "dereference_aliases": "always"}))).must(200);
    // Two of one name are nobody.
    both(with(directory.settings(), json!({"userdn": "dc=example,dc=org"}))).must(200);
    assert_eq!(stage.log_in("twin", "twins-password").must(400).errors(), REFUSED);
    both(with(directory.settings(), json!({"userfilter": "(&(uid={{.Username}})(sn=B))"}))).must(200);
    assert_eq!(stage.log_in("twin", "twins-password").must(400).errors(), REFUSED);
    let said = both(with(directory.settings(), json!({"upndomain": "corp.example"}))).must(200);
    assert_eq!(said.json()["auth"]["metadata"]["username"], "bob");
    assert_eq!(stage.log_in("twin", "twins-password").must(400).errors(), REFUSED);
    let said = both(with(directory.settings(), json!({"bindpass": "wrong"}))).must(400);
    assert_eq!(said.errors(), "ldap operation failed: the directory does not believe binddn and bindpass");
    let said = both(with(directory.settings(), json!({"userdn": "ou=nowhere"}))).must(400);
    assert_eq!(said.errors(), REFUSED);
}

#[test]
fn passwords_go_over_tls_that_is_checked() {
    let (stage, directory) = (Stage::new(), Directory::new());
    stage.set(directory.settings());
    let log_in = || stage.log_in("bob", "bobs-password");
    stage.set(json!({"starttls": true}));
    let said = log_in().must(400);
    assert!(said.errors().contains("error connecting to host \"ldap://127.0.0.1:"), "{said}");
    stage.set(json!({"certificate": directory.ca}));
    log_in().must(200);
    stage.set(json!({"tls_min_version": "tls12", "tls_max_version": "tls13"}));
    log_in().must(200);
    stage.set(json!({"starttls": false, "url": format!("ldaps://127.0.0.1:{}", directory.tls)}));
    log_in().must(200);
    stage.set(json!({"certificate": Wanted::ca("Other").by_itself().pem()}));
    log_in().must(400);
    stage.set(json!({"insecure_tls": true}));
    log_in().must(200);
    // StartTLS with one that does not speak it.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = deaf.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in deaf.incoming() {
            // An ExtendedResponse with protocolError to message 1, in place of a yes.
            let no = [0x30, 0x0c, 2, 1, 1, 0x78, 7, 0x0a, 1, 2, 4, 0, 4, 0];
            let _ = stream.unwrap().write_all(&no);
        }
    });
    stage.set(json!({"starttls": true, "url": format!("ldap://127.0.0.1:{port}")}));
    log_in().must(400);
}

#[test]
fn a_directory_that_is_down_slow_or_mad_lets_nobody_in() {
    let (stage, directory) = (Stage::new(), Directory::new());
    let log_in = |urls: &str| {
        stage.set(directory.settings());
        stage.set(json!({"url": urls, "request_timeout": 2, "connection_timeout": 1}));
        stage.log_in("bob", "bobs-password")
    };
    let down = format!("ldap://127.0.0.1:{}", free_port());
    let said = log_in(&down).must(400);
    assert!(said.errors().contains(&format!("error connecting to host \"{down}\": no connection")), "{said}");
    let up = format!("ldap://127.0.0.1:{}", directory.plain);
    log_in(&format!("{down},{up}")).must(200);
    let talker = |words: &'static [u8]| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ldap://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.write_all(words);
                kept.push(stream);
            }
        });
        url
    };
    let said = log_in(&talker(b"")).must(400);
    assert_eq!(said.errors(), "ldap operation failed: the directory did not answer within 2 seconds");
    // Text, an answer to a question of another number, an unknown operation, an entry without anything in it.
    for words in [
        &b"HTTP/1.1 200 OK\r\n\r\n"[..],
        &[0x30, 0x0c, 2, 1, 9, 0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0],
        &[0x30, 5, 2, 1, 1, 0x7e, 0],
        &[0x30, 0x0c, 2, 1, 1, 0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0, 0x30, 5, 2, 1, 2, 0x64, 0],
    ] {
        log_in(&talker(words)).must(400);
    }
    stage.root.get("auth/token/lookup-self").must(200);
}

#[test]
fn a_renewal_sees_what_has_changed_here() {
    let (stage, directory) = (Stage::new(), Directory::new());
    stage.set(directory.settings());
    stage.root.post("auth/ldap/groups/dev", json!({"policies": "p-dev"})).must(204);
    let token = stage.root.with(&stage.log_in("bob", "bobs-password").must(200).at("/auth/client_token"));
    drop(directory);
    let renew = || token.post("auth/token/renew-self", json!({}));
    renew().must(200);
    stage.root.post("auth/ldap/groups/dev", json!({"policies": "p-other"})).must(204);
    let said = renew().must(500);
    assert!(said.errors().contains("policies have changed, not renewing"), "{said}");
    stage.root.post("auth/ldap/groups/dev", json!({"policies": "p-dev"})).must(204);
    renew().must(200);
    stage.root.post("auth/ldap/users/bob", json!({"policies": "p-new"})).must(204);
    renew().must(500);
}

#[test]
fn wrong_passwords_lock_out_in_every_spelling() {
    let (stage, directory) = (Stage::new(), Directory::new());
    stage.set(directory.settings());
    let on = json!({"user_lockout_config": {"lockout_threshold": "3", "lockout_duration": "10m",
        "lockout_counter_reset_duration": "10m", "lockout_disable": false}});
    stage.root.post("sys/auth/ldap/tune", on).must(204);
    for name in ["bob", "BOB", "%20bob"] {
        stage.log_in(name, "wrong").must(400);
    }
    stage.log_in("bob", "bobs-password").must(403);
    stage.log_in("Bob", "bobs-password").must(403);
    stage.log_in("twin", "twins-password").must(200);
}

#[test]
fn wrong_passwords_lock_out_by_every_name_of_an_entry() {
    let (stage, directory) = (Stage::new(), Directory::new());
    stage.set(directory.settings());
    stage.set(json!({"userfilter": "(|(uid={{.Username}})(mail={{.Username}}))"}));
    let on = json!({"user_lockout_config": {"lockout_threshold": "3", "lockout_duration": "10m",
        "lockout_counter_reset_duration": "10m", "lockout_disable": false}});
    stage.root.post("sys/auth/ldap/tune", on).must(204);
    for name in ["bob", "robert@example.org", "ROBERT@example.org"] {
        stage.log_in(name, "wrong").must(400);
    }
    for name in ["bob", "robert@example.org"] {
        // Right or wrong, the answer is the same.
        stage.log_in(name, "bobs-password").must(403);
        stage.log_in(name, "wrong").must(403);
    }
    let locked = stage.root.get("sys/locked-users").must(200);
    assert_eq!(locked.json()["data"]["total"], 1);
    let mount = "/data/by_namespace/0/mount_accessors/0";
    let (accessor, name) =
        (locked.at(&format!("{mount}/mount_accessor")), locked.at(&format!("{mount}/alias_identifiers/0")));
    stage.root.post(&format!("sys/locked-users/{accessor}/unlock/{name}"), json!({})).must(204);
    stage.log_in("robert@example.org", "bobs-password").must(200);
}

/// What 2.6.2, the last OpenBao with this method inside, answered to the same.
#[test]
fn settings_answer_as_openbao_did() {
    let stage = Stage::new();
    let mut expect = json!({"anonymous_group_search": false, "binddn": "", "case_sensitive_names": false,
        "certificate": "", "connection_timeout": 30, "deny_null_bind": true, "dereference_aliases": "never",
        "discoverdn": false, "groupattr": "cn", "groupdn": "",
        "groupfilter": "(|(memberUid={{.Username}})(member={{.UserDN}})(uniqueMember={{.UserDN}}))",
        "insecure_tls": false, "max_page_size": 0, "request_timeout": 90, "starttls": false,
        "tls_max_version": "tls12", "tls_min_version": "tls12", "token_bound_cidrs": [],
        "token_explicit_max_ttl": 0, "token_max_ttl": 0, "token_no_default_policy": false, "token_num_uses": 0,
        "token_period": 0, "token_policies": [], "token_strictly_bind_ip": false, "token_ttl": 0,
        "token_type": "default", "upndomain": "", "url": "ldap://127.0.0.1",
        "use_pre111_group_cn_behavior": false, "use_token_groups": false, "userattr": "cn", "userdn": "",
        "userfilter": "({{.UserAttr}}={{.Username}})", "username_as_alias": false});
    assert_eq!(stage.root.get("auth/ldap/config").must(200).json()["data"], expect);
    stage.set(json!({"url": "ldap://127.0.0.1:1", "userdn": "ou=u", "userattr": "UID", "groupdn": "ou=g",
        "groupattr": "cn", "binddn": "cn=a", "bindpass": "p", "token_policies": "p"}));
    for (field, value) in [
        ("url", json!("ldap://127.0.0.1:1")),
        ("userdn", json!("ou=u")),
        ("userattr", json!("uid")),
        ("groupdn", json!("ou=g")),
        ("binddn", json!("cn=a")),
        ("token_policies", json!(["p"])),
    ] {
        expect[field] = value;
    }
    assert_eq!(stage.root.get("auth/ldap/config").must(200).json()["data"], expect);
    stage.root.post("auth/ldap/groups/g1", json!({"policies": "a,b"})).must(204);
    assert_eq!(
        stage.root.get("auth/ldap/groups/g1").must(200).json()["data"],
        json!({"policies": ["a", "b"]})
    );
    assert_eq!(stage.root.list("auth/ldap/groups").must(200).json()["data"], json!({"keys": ["g1"]}));
    stage.root.get("auth/ldap/groups/nope").must(404);
    stage.root.post("auth/ldap/users/u1", json!({"policies": "a", "groups": "g1"})).must(204);
    let shown = stage.root.get("auth/ldap/users/U1").must(200);
    assert_eq!(shown.json()["data"], json!({"groups": "g1", "policies": ["a"]}));
    stage.root.post("auth/ldap/users/a/b", json!({"policies": "a"})).must(204);
    assert_eq!(stage.root.list("auth/ldap/users").must(200).json()["data"], json!({"keys": ["a/b", "u1"]}));
    stage.root.delete("auth/ldap/users/a/b").must(204);
    stage.root.delete("auth/ldap/groups/g1").must(204);
    stage.root.list("auth/ldap/groups").must(404);
    let said = stage.log_in("u1", "x").must(400);
    assert!(
        said.errors().starts_with("1 error occurred:\n\t* error connecting to host \"ldap://127.0.0.1:1\": "),
        "{said}"
    );
    for (field, value, why) in [
        ("url", json!("http://x"), "invalid LDAP scheme in url"),
        ("userfilter", json!("{{.Nope}}"), "invalid userfilter"),
        ("groupfilter", json!("{{"), "invalid groupfilter"),
        ("certificate", json!("zz"), "failed to parse server tls cert"),
        ("client_tls_cert", json!("zz"), "both client_tls_cert and client_tls_key must be set"),
        ("tls_min_version", json!("ssl3"), "invalid 'tls_min_version'"),
        ("tls_max_version", json!("tls11"), "'tls_max_version'"),
        ("dereference_aliases", json!("x"), "invalid 'dereference_aliases'"),
        ("deny_null_bind", json!(false), "deny_null_bind cannot be false"),
        ("max_page_size", json!(-1), "max_page_size"),
        ("userattr", json!("a)(b"), "userattr is no name"),
    ] {
        let said = stage.root.post("auth/ldap/config", json!({field: value})).must(400);
        assert!(said.errors().contains(why), "{field} {said}");
    }
    assert_eq!(stage.root.get("auth/ldap/config").must(200).json()["data"], expect);
    for kind in ["radius", "kerberos"] {
        let said = stage.root.post(&format!("sys/auth/{kind}"), json!({"type": kind})).must(400);
        assert_eq!(said.errors(), format!("plugin not found in the catalog: {kind}"));
    }
}
