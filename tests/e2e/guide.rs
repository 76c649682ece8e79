//! Pages of the guide, as they stand, typed by a shell: every command of a page must succeed, in its order.

use crate::acme::Names;
use crate::issuer::{Answer, FROM, Issuer, Site, UNTIL};
use crate::ldap::Directory;
use serde_json::json;
use std::process::Command;
use tests::authority::{Door, Wanted};
use tests::binary::{Binary, source_root};
use tests::http::Client;
use tests::scratch::Scratch;
use tests::server::{Config, DEV_TOKEN, Server, Storage, free_port};

/// The commands of a page of the guide, in their order.
pub(crate) fn commands(page: &str) -> String {
    blocks(page, "sh")
}

/// All that a page has in this language.
fn blocks(page: &str, language: &str) -> String {
    let text = std::fs::read_to_string(source_root().join("docs/guide").join(page)).unwrap();
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.map(|(block, _)| block).collect()
}

/// Someone who reads the guide at a terminal, in a home of their own.
struct Reader {
    home: Scratch,
    address: String,
    token: String,
}

impl Reader {
    fn new(address: &str, token: &str) -> Self {
        Self { home: Scratch::new(), address: address.to_owned(), token: token.to_owned() }
    }

    /// A reader at a development server.
    fn of(server: &Server) -> Self {
        Self::new(&server.url(), DEV_TOKEN)
    }

    /// Does what a page says, after what it takes for granted, with these instead of the names that it makes up.
    /// What was printed.
    #[track_caller]
    fn follows(&self, page: &str, before: &str, instead: &[(&str, &str)]) -> String {
        let mut commands = commands(page);
        for (name, real) in instead {
            assert!(commands.contains(name), "{page} does not say {name:?} any more");
            commands = commands.replace(name, real);
        }
        let folder = |binary: &Binary| binary.path().parent().map(|folder| folder.display().to_string());
        let (bao, keep) = (folder(&Binary::bao()).unwrap_or_default(), Binary::keep());
        let script = format!(
            "set -eux\nPATH=\"{bao}:$PATH\"\nkeep() {{ '{}' \"$@\"; }}\n{before}\n{commands}",
            keep.path().display()
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .current_dir(self.home.path())
            .env("BAO_ADDR", &self.address)
            .env("BAO_TOKEN", &self.token)
            .env("BAO_MAX_RETRIES", "0")
            .env("HOME", self.home.path())
            .output()
            .unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{page}:\n{out}{error}");
        out.into_owned()
    }
}

#[track_caller]
fn has(text: &str, words: &str) {
    let found = text.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == words);
    assert!(found, "no line {words:?} in:\n{text}");
}

#[test]
fn transit_as_the_guide_has_it() {
    let server = Server::dev(&Binary::sealkeep());
    let said = Reader::of(&server).follows("transit.md", "", &[]);
    assert!(said.contains("my secret"), "{said}");
    has(&said, "valid true");
    assert_eq!(server.root().get("transit/keys/restored").must(200).at("/data/latest_version"), "2");
}

#[test]
fn secrets_of_the_agent_as_the_guide_has_them() {
    let server = Server::dev(&Binary::sealkeep());
    let reader = Reader::of(&server);
    let said = reader.follows("agent-secrets.md", "", &[]);
    has(&said, "password=first");
    assert_eq!(std::fs::read_to_string(reader.home.path().join("told")).unwrap(), "told\n");
}

#[test]
fn ssh_as_the_guide_has_it() {
    let server = Server::dev(&Binary::sealkeep());
    let keys =
        "mkdir ~/.ssh\nfor key in ~/.ssh/id_ed25519 host ca; do ssh-keygen -q -t ed25519 -N '' -f $key; done";
    let reader = Reader::of(&server);
    reader.follows("ssh.md", keys, &[("/etc/ssh/ssh_host_ed25519_key.pub", "host.pub")]);
    for file in [".ssh/id_ed25519-cert.pub", "ssh_host_ed25519_key-cert.pub"] {
        let shown = Command::new("ssh-keygen")
            .args(["-L", "-f"])
            .arg(reader.home.path().join(file))
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("ssh-ed25519-cert-v01@openssh.com"), "{file}: {shown}");
    }
    let otp = server.root().post("users/creds/old-machines", json!({"ip": "10.1.2.3"})).must(200);
    server.anonymous().post("users/verify", json!({"otp": otp.at("/data/key")})).must(200);
}

#[test]
fn totp_as_the_guide_has_it() {
    let server = Server::dev(&Binary::sealkeep());
    let said = Reader::of(&server).follows("totp.md", "", &[]);
    has(&said, "valid false");
}

#[test]
fn identity_as_the_guide_has_it() {
    let server = Server::dev(&Binary::sealkeep());
    Reader::of(&server).follows("identity.md", "", &[]);
    let root = server.root();
    root.get("identity/entity/name/anne").must(404);
    let found = root.get("identity/oidc/provider/main").must(200).json();
    assert_eq!(found["data"]["scopes_supported"], json!(["profile"]));
}

#[test]
fn quotas_as_the_guide_has_them() {
    let server = Server::dev(&Binary::sealkeep());
    Reader::of(&server).follows("quotas.md", "", &[]);
    server.root().get("sys/quotas/rate-limit/logins").must(404);
    assert_eq!(server.root().get("sys/quotas/lease-count/all").must(200).at("/data/max_leases"), "300000");
}

#[test]
fn signed_tokens_as_the_guide_has_them() {
    let server = Server::dev(&Binary::sealkeep());
    let (site, issuer) = (Site::open(), Issuer::new());
    let url = site.url.as_str();
    site.put("/keys", &json!({"keys": [issuer.jwk("k")]}));
    let discovery = json!({
        "issuer": url, "jwks_uri": format!("{url}/keys"), "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"), "response_types_supported": ["code"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"]
    });
    site.put("/.well-known/openid-configuration", &discovery);
    let reader = Reader::of(&server);
    let claims = json!({"iss": url, "sub": "job", "aud": "https://vault.example", "iat": FROM, "exp": UNTIL,
        "ref": "refs/heads/main", "actor": "ann"});
    reader.home.file("token", &issuer.token("k", &claims));
    reader.home.file("secret", "of the client");
    let key = "openssl ecparam -name prime256v1 -genkey -noout | openssl ec -pubout > key.pem";
    let instead = [
        ("https://issuer.example/keys", &*format!("{url}/keys")),
        ("https://issuer.example", url),
        ("https://token.actions.githubusercontent.com", url),
        ("https://login.example", url),
        // It opens a browser.
        ("keep login -method=oidc", "true"),
    ];
    let said = reader.follows("jwt.md", key, &instead);
    has(&said, "token_policies [\"default\" \"deploy\"]");
    let asked = json!({"role": "people", "redirect_uri": "http://localhost:8250/oidc/callback"});
    let asked = server.anonymous().post("auth/oidc/oidc/auth_url", asked).must(200);
    assert!(asked.at("/data/auth_url").starts_with(&format!("{url}/authorize?")));
}

#[test]
fn pods_as_the_guide_has_them() {
    let server = Server::dev(&Binary::sealkeep());
    let (site, issuer) = (Site::open(), Issuer::new());
    let status = json!({"status": {"authenticated": true, "audiences": ["vault"],
        "user": {"username": "system:serviceaccount:shop:web", "uid": "u1"}}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    site.does(reviews, Answer::Say(201, status.to_string()));
    let reader = Reader::of(&server);
    let account = json!({"namespace": "shop", "serviceaccount": {"name": "web", "uid": "u1"}});
    let claims = json!({"aud": ["vault"], "iat": FROM, "exp": UNTIL, "kubernetes.io": account});
    reader.home.file("pod.jwt", &issuer.token("k", &claims));
    reader.home.file("reviewer.jwt", &issuer.token("k", &json!({"sub": "reviewer"})));
    reader.home.file("ca.crt", &Wanted::ca("cluster").by_itself().pem());
    let instead = [
        ("https://10.0.0.1:6443", site.url.as_str()),
        ("/var/run/secrets/kubernetes.io/serviceaccount/token", "pod.jwt"),
    ];
    has(&reader.follows("kubernetes.md", "", &instead), "token_policies [\"default\" \"web\"]");
}

/// A server with a door that asks for certificates.
fn with_a_door() -> (Server, Client, Door, Scratch, String) {
    let folder = Scratch::new();
    let port = free_port();
    let door = Door::new(folder.path(), port);
    let config = Config::new(Storage::Inmem, folder.path()).with(&door.stanza());
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    (server, root, door, folder, format!("https://127.0.0.1:{port}"))
}

#[test]
fn certificates_as_the_guide_has_them() {
    let (_server, root, _door, folder, address) = with_a_door();
    root.post("sys/mounts/pki", json!({"type": "pki"})).must(204);
    root.post("pki/root/generate/internal", json!({"common_name": "lists"})).must(200);
    let list = root.get("pki/crl/pem").must(200).text();
    let (site, reader) = (Site::open(), Reader::new(&address, root.token()));
    site.does("/list", Answer::Say(200, list.clone()));
    let ca = Wanted::ca("ours").by_itself();
    reader.home.file("ca.pem", &ca.pem());
    reader.home.file("crl.pem", &list);
    Wanted::client("a.web.example.com").by(&ca).files(reader.home.path(), "web", &[]);
    let trust = format!("export BAO_CACERT='{}'", folder.path().join("door-ca.pem").display());
    let instead = [("http://pki.example.com/v1/pki/crl/pem", &*format!("{}/list", site.url))];
    let said = reader.follows("cert.md", &trust, &instead);
    has(&said, "token_policies [\"default\" \"web\"]");
}

#[test]
fn secrets_as_the_guide_has_them() {
    let server = Server::dev(&Binary::sealkeep());
    let said = Reader::of(&server).follows("kv.md", "", &[]);
    for line in ["password first", "password only", "text mine"] {
        has(&said, line);
    }
}

#[test]
fn logins_as_the_guide_has_them() {
    let server = Server::dev(&Binary::sealkeep());
    let said = Reader::of(&server).follows("logins.md", "", &[]);
    for line in ["token_accessor n/a", "token_meta_role_name web", "wrapping_token_ttl: 1m"] {
        assert!(
            said.lines().any(|said| said.split_whitespace().collect::<Vec<_>>().join(" ").contains(line)),
            "{said}"
        );
    }
}

#[test]
fn authorities_as_the_guide_has_them() {
    let server = Server::dev(&Binary::sealkeep());
    let said = Reader::of(&server).follows("pki.md", "", &[]);
    for line in ["leaf.pem: OK", "own.pem: OK", "own.pem: good", "own.pem: revoked", "Revoked Certificates:"]
    {
        has(&said, line);
    }
}

#[test]
fn certificates_without_a_token_as_the_guide_has_them() {
    let server = Server::dev(&Binary::sealkeep());
    let host = std::net::Ipv4Addr::new(127, 77, 0, 25);
    let (names, folder) = (Names::start(host), crate::acme_clients::installed());
    let reader = Reader::of(&server);
    let certbot = format!(
        "certbot() {{ PYTHONPATH='{}' python3 '{}' \"$@\" --http-01-address {host} --config-dir cb --work-dir cb \
         --logs-dir cb --non-interactive --agree-tos --register-unsafely-without-email; }}",
        folder.display(),
        folder.join("bin/certbot").display()
    );
    let enabled = format!("enabled=true dns_resolver={} allowed_targets=127.77.0.0/16", names.address);
    let listed =
        "bao list -format=json pki/eab | python3 -c 'import json, sys; print(json.load(sys.stdin)[0])'";
    let instead = [
        ("https://ca.example.com:8200", server.url()),
        ("enabled=true", enabled),
        ("delete pki/eab/ID", format!("delete pki/eab/$({listed})")),
    ];
    let instead: Vec<_> = instead.iter().map(|(name, real)| (*name, real.as_str())).collect();
    let said = reader.follows("acme.md", &certbot, &instead);
    for name in ["app.example.com", "short.example.com"] {
        assert!(said.contains(&format!("cb/live/{name}/fullchain.pem")), "{said}");
    }
    assert_eq!(server.root().list("pki/eab").must(200).json()["data"]["keys"].as_array().unwrap().len(), 1);
    let shown = server.anonymous().get("pki/acme/directory").must(200).json();
    assert_eq!(shown["meta"]["caaIdentities"], json!(["ca.example.com"]));
}

#[test]
fn the_care_of_authorities_as_the_guide_has_it() {
    let server = Server::dev(&Binary::sealkeep());
    let said = Reader::of(&server).follows("ca-care.md", "", &[]);
    for line in ["Example CA → Example CA 2: published", "Example CA → Example CA 2: aborted", "app.pem: OK"]
    {
        has(&said, line);
    }
    assert!(said.contains("app-1") && said.contains("how many would it be?"), "{said}");
    let bundle = server.anonymous().get("pki/issuer/default/bundle").must(200).text();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 1, "what was given up has left the bundle");
}

/// Ann with a password, and what her phone shows: `code 0` now, `code 30` half a minute later.
const ANN: &str = r#"
bao auth enable userpass
bao write auth/userpass/users/ann password=pass-of-ann
printf s3cret > key
ACCESSOR=$(bao read -field=accessor sys/auth/userpass)
bao write identity/entity name=ann
bao write identity/entity-alias name=ann mount_accessor=$ACCESSOR canonical_id=$(bao read -field=id identity/entity/name/ann)
code() { python3 - "$1" enrolled <<'PY'
import base64, hashlib, hmac, re, struct, sys, time
secret = base64.b32decode(re.search("secret=([A-Z2-7]+)", open(sys.argv[2]).read())[1])
digest = hmac.digest(secret, struct.pack(">Q", (int(time.time()) + int(sys.argv[1])) // 30), hashlib.sha1)
print("%06d" % ((struct.unpack_from(">I", digest, digest[-1] & 15)[0] & 0x7fffffff) % 1000000))
PY
}
begun() {
    ID=$(curl -s "$BAO_ADDR/v1/auth/userpass/login/ann" -d '{"password": "pass-of-ann"}' |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["auth"]["mfa_requirement"]["mfa_request_id"])')
    printf '{"mfa_request_id": "%s", "mfa_payload": {"%s": ["%s"]}}' "$ID" "$METHOD_ID" "$(code 30)" > answer.json
}
"#;

#[test]
fn second_factors_as_the_guide_has_them() {
    let server = Server::dev(&Binary::sealkeep());
    let generate = "totp/admin-generate method_id=$METHOD_ID entity_id=$ENTITY_ID";
    let instead = [
        (generate, &*format!("{generate} > enrolled")),
        ("-mfa=phone:123456 username=ann", "-mfa=phone:$(code 0) username=ann password=pass-of-ann"),
        // It rings a phone.
        ("keep login -method=userpass -mfa=push", "true"),
        ("keep write sys/mfa/validate", "begun\nkeep write sys/mfa/validate"),
    ];
    let said = Reader::of(&server).follows("mfa.md", ANN, &instead);
    assert!(said.contains("token_accessor"), "{said}");
    let shown = server.root().list("identity/mfa/method/duo").must(200);
    assert!(shown.text().contains("api-12345678.duosecurity.com"), "{shown}");
}

#[test]
fn directories_as_the_guide_has_them() {
    let (server, directory) = (Server::dev(&Binary::sealkeep()), Directory::new());
    let reader = Reader::of(&server);
    reader.home.file("ca.pem", &directory.ca);
    reader.home.file("reader.txt", "admins-password");
    let instead = [
        ("ldaps://ldap.example.org", &*format!("ldaps://127.0.0.1:{}", directory.tls)),
        ("cn=reader", "cn=admin"),
        ("users/ann", "users/bob"),
        ("username=ann", "username=bob password=bobs-password"),
    ];
    has(&reader.follows("ldap.md", "", &instead), "token_policies [\"default\" \"more\" \"ops\"]");
}

#[test]
fn control_groups_as_the_guide_has_them() {
    let server = Server::dev(&Binary::sealkeep());
    let root = server.root();
    root.post("secret/data/payroll", json!({"data": {"ann": "4000"}})).must(200);
    root.post("sys/auth/userpass", json!({"type": "userpass"})).must(204);
    root.post("sys/policies/acl/clerk", json!({"policy": blocks("control-groups.md", "hcl")})).must(204);
    let consents = "path \"sys/control-group/*\" { capabilities = [\"update\"] }";
    root.post("sys/policies/acl/boss", json!({"policy": consents})).must(204);
    let mut bosses = Vec::new();
    let mut people = String::new();
    for (who, policy) in [("CLERK", "clerk"), ("ONE", "boss"), ("OTHER", "boss")] {
        let user = json!({"password": "p", "token_policies": policy});
        root.post(&format!("auth/userpass/users/{who}"), user).must(204);
        let login = format!("auth/userpass/login/{who}");
        let login = server.anonymous().post(&login, json!({"password": "p"})).must(200);
        people.push_str(&format!("{who}={}\n", login.at("/auth/client_token")));
        if policy == "boss" {
            bosses.push(login.at("/auth/entity_id"));
        }
    }
    root.post("identity/group", json!({"name": "bosses", "member_entity_ids": bosses})).must(200);
    let of = "of() { python3 -c 'import json, sys; print(json.load(open(\"asked\"))[\"wrap_info\"][sys.argv[1]])' $1; }\n";
    let consent = "bao write sys/control-group/authorize accessor=$(of accessor)";
    let instead = [
        (
            "bao read secret/data/payroll",
            "BAO_TOKEN=$CLERK bao read -format=json secret/data/payroll > asked",
        ),
        ("accessor=ACCESSOR", "accessor=$(of accessor)"),
        (consent, &*format!("BAO_TOKEN=$ONE {consent}; BAO_TOKEN=$OTHER {consent}")),
        ("bao unwrap TOKEN", "BAO_TOKEN=$CLERK bao unwrap $(of token)"),
    ];
    let said = Reader::of(&server).follows("control-groups.md", &format!("{of}{people}"), &instead);
    has(&said, "data map[ann:4000]");
}
