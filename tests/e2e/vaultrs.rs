//! vaultrs, the client that services in Rust use.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::binary::Binary;
use tests::server::{DEV_TOKEN, Server};
use vaultrs::api::auth::approle::requests::{GenerateNewSecretIDRequest, SetAppRoleRequest};
use vaultrs::api::auth::userpass::requests::CreateUserRequest;
use vaultrs::api::identity::entity::requests::CreateEntityByNameRequest;
use vaultrs::api::identity::group::requests::CreateGroupByNameRequest;
use vaultrs::api::kv2::requests::{ReadSecretRequest, SetSecretRequestOptions};
use vaultrs::api::pki::requests::{GenerateCertificateRequest, GenerateRootRequest, SetRoleRequest};
use vaultrs::api::token::requests::CreateTokenRequest;
use vaultrs::api::transit::KeyType;
use vaultrs::api::transit::requests::{CreateKeyRequest, VerifySignedDataRequest};
use vaultrs::api::{ResponseWrapper as _, transit::requests::DecryptDataRequest};
use vaultrs::auth::{approle, userpass};
use vaultrs::client::{Client as _, VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;
use vaultrs::identity::{entity, entity_alias, group};
use vaultrs::pki::{cert, role};
use vaultrs::sys::{ServerStatus, auth, mount, policy, wrapping};
use vaultrs::transit::{data, key};
use vaultrs::{kv2, token};

/// A program with this token, and the server that it speaks to.
struct Stage {
    server: Server,
    root: VaultClient,
}

impl Stage {
    fn new() -> Self {
        // The first of the tests in a process chooses the library for TLS.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = Server::dev(&Binary::sealkeep());
        let root = client(&server, DEV_TOKEN);
        Self { server, root }
    }

    fn with(&self, token: &str) -> VaultClient {
        client(&self.server, token)
    }
}

fn client(server: &Server, token: &str) -> VaultClient {
    let mut settings = VaultClientSettingsBuilder::default();
    VaultClient::new(settings.address(server.url()).token(token).build().unwrap()).unwrap()
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

/// The status of a refusal.
#[track_caller]
fn refused<T>(answer: Result<T, ClientError>) -> u16 {
    match answer {
        Err(ClientError::APIError { code, .. }) => code,
        Err(error) => panic!("another failure: {error:?}"),
        Ok(_) => panic!("it was done"),
    }
}

#[test]
fn vaultrs_logs_in() {
    let stage = Stage::new();
    run(async {
        let root = &stage.root;
        assert!(matches!(root.status().await.unwrap(), ServerStatus::OK));
        policy::set(root, "app", r#"path "secret/data/app" { capabilities = ["read"] }"#).await.unwrap();
        kv2::set(root, "secret", "app", &json!({"a": "1"})).await.unwrap();

        auth::enable(root, "approle", "approle", None).await.unwrap();
        let mut role = SetAppRoleRequest::builder();
        let role = role.token_policies(vec!["app".to_owned()]).token_ttl("10m");
        approle::role::set(root, "approle", "web", Some(role)).await.unwrap();
        assert_eq!(approle::role::read(root, "approle", "web").await.unwrap().token_policies, ["app"]);
        let id = approle::role::read_id(root, "approle", "web").await.unwrap().role_id;
        let mut how = GenerateNewSecretIDRequest::builder();
        let secret = approle::role::secret::generate(root, "approle", "web", Some(&mut how)).await.unwrap();
        let said = approle::login(&stage.with(""), "approle", &id, &secret.secret_id).await.unwrap();
        assert_eq!((said.token_policies, said.lease_duration), (vec!["app".into(), "default".into()], 600));
        let mut web = stage.with("");
        web.set_token(&said.client_token);
        let read: Value = kv2::read(&web, "secret", "app").await.unwrap();
        assert_eq!(read, json!({"a": "1"}));
        assert_eq!(refused(kv2::read::<Value>(&web, "secret", "other").await), 403);
        assert_eq!(refused(approle::login(&stage.with(""), "approle", &id, "wrong").await), 400);

        auth::enable(root, "userpass", "userpass", None).await.unwrap();
        let mut user = CreateUserRequest::builder();
        let user = user.token_policies(vec!["app".to_owned()]);
        userpass::user::set(root, "userpass", "ann", "pass of ann", Some(user)).await.unwrap();
        let said = userpass::login(&stage.with(""), "userpass", "ann", "pass of ann").await.unwrap();
        assert_eq!(said.metadata.unwrap()["username"], "ann");
        assert_eq!(refused(userpass::login(&stage.with(""), "userpass", "ann", "wrong").await), 400);
        assert_eq!(userpass::user::list(root, "userpass").await.unwrap().keys, ["ann"]);
        assert_eq!(auth::list(root).await.unwrap()["approle/"].mount_type, "approle");
    });
}

#[test]
fn vaultrs_keeps_versions_of_secrets() {
    let stage = Stage::new();
    run(async {
        let root = &stage.root;
        assert_eq!(kv2::set(root, "secret", "a/b", &json!({"n": "1"})).await.unwrap().version, 1);
        let stale = SetSecretRequestOptions { cas: 0 };
        let answer = kv2::set_with_options(root, "secret", "a/b", &json!({"n": "2"}), stale).await;
        assert_eq!(refused(answer), 400);
        let good = SetSecretRequestOptions { cas: 1 };
        kv2::set_with_options(root, "secret", "a/b", &json!({"n": "2"}), good).await.unwrap();
        let first: Value = kv2::read_version(root, "secret", "a/b", 1).await.unwrap();
        assert_eq!(first, json!({"n": "1"}));
        assert_eq!(kv2::list(root, "secret", "a").await.unwrap(), ["b"]);
        let about = kv2::read_metadata(root, "secret", "a/b").await.unwrap();
        assert_eq!((about.current_version, about.versions.len()), (2, 2));
        kv2::delete_latest(root, "secret", "a/b").await.unwrap();
        // What is deleted is answered with 404 and its dates, which the crate takes for no list of errors.
        assert!(kv2::read::<Value>(root, "secret", "a/b").await.is_err());
        kv2::undelete_versions(root, "secret", "a/b", vec![2]).await.unwrap();
        let second: Value = kv2::read(root, "secret", "a/b").await.unwrap();
        assert_eq!(second, json!({"n": "2"}));
        kv2::destroy_versions(root, "secret", "a/b", vec![1]).await.unwrap();
        assert!(kv2::read_version::<Value>(root, "secret", "a/b", 1).await.is_err());
        kv2::delete_metadata(root, "secret", "a/b").await.unwrap();
        assert_eq!(refused(kv2::list(root, "secret", "a").await), 404);
    });
}

#[test]
fn vaultrs_makes_renews_and_wraps() {
    let stage = Stage::new();
    run(async {
        let root = &stage.root;
        let mut wanted = CreateTokenRequest::builder();
        let meta = HashMap::from([("team".to_owned(), "x".to_owned())]);
        let wanted = wanted.policies(vec!["default".to_owned()]).ttl("1h").display_name("job").meta(meta);
        let made = token::new(root, Some(wanted)).await.unwrap();
        let job = stage.with(&made.client_token);
        let shown = job.lookup().await.unwrap();
        assert_eq!(
            (shown.display_name.as_str(), shown.creation_ttl, shown.orphan),
            ("token-job", 3600, false)
        );
        assert_eq!(shown.meta.unwrap()["team"], "x");
        assert_eq!(job.renew(Some("2h")).await.unwrap().lease_duration, 7200);
        assert_eq!(token::lookup_accessor(root, &made.accessor).await.unwrap().path, "auth/token/create");
        token::revoke_accessor(root, &made.accessor).await.unwrap();
        assert_eq!(refused(job.lookup().await), 403);

        kv2::set(root, "secret", "a", &json!({"n": "1"})).await.unwrap();
        let question = ReadSecretRequest::builder().mount("secret").path("a").build().unwrap();
        let wrapped = question.wrap(root).await.unwrap();
        assert_eq!(wrapped.info.creation_path, "secret/data/a");
        assert_eq!(wrapped.lookup(root).await.unwrap().creation_ttl, 600);
        let opened: Value = wrapping::unwrap(&stage.with(&wrapped.info.token), None).await.unwrap();
        assert_eq!(opened["data"], json!({"n": "1"}));
        assert!(matches!(wrapped.lookup(root).await, Err(ClientError::WrapInvalidError)));
    });
}

#[test]
fn vaultrs_encrypts_and_signs() {
    let stage = Stage::new();
    run(async {
        let root = &stage.root;
        mount::enable(root, "transit", "transit", None).await.unwrap();
        key::create(root, "transit", "box", None).await.unwrap();
        let plain = STANDARD.encode("what nobody may read");
        let sealed = data::encrypt(root, "transit", "box", &plain, None).await.unwrap().ciphertext;
        key::rotate(root, "transit", "box").await.unwrap();
        let again = data::rewrap(root, "transit", "box", &sealed, None).await.unwrap().ciphertext;
        assert!(sealed.starts_with("vault:v1:") && again.starts_with("vault:v2:"));
        for sealed in [&sealed, &again] {
            let mut how = DecryptDataRequest::builder();
            let opened = data::decrypt(root, "transit", "box", sealed, Some(&mut how)).await.unwrap();
            assert_eq!(opened.plaintext, plain);
        }
        let mut pen = CreateKeyRequest::builder();
        key::create(root, "transit", "pen", Some(pen.key_type(KeyType::Ed25519))).await.unwrap();
        assert!(key::read(root, "transit", "pen").await.unwrap().supports_signing);
        let signature = data::sign(root, "transit", "pen", &plain, None).await.unwrap().signature;
        let mut how = VerifySignedDataRequest::builder();
        let how = how.signature(signature.as_str());
        assert!(data::verify(root, "transit", "pen", &plain, Some(&mut *how)).await.unwrap().valid);
        let other = STANDARD.encode("something else");
        assert!(!data::verify(root, "transit", "pen", &other, Some(how)).await.unwrap().valid);
        assert_eq!(key::list(root, "transit").await.unwrap().keys, ["box", "pen"]);
    });
}

#[test]
fn vaultrs_knows_people() {
    let stage = Stage::new();
    run(async {
        let root = &stage.root;
        let mut ann = CreateEntityByNameRequest::builder();
        let ann = ann.policies(vec!["p".to_owned()]);
        entity::create_or_update_by_name(root, "ann", Some(ann)).await.unwrap();
        let ann = entity::read_by_name(root, "ann").await.unwrap();
        auth::enable(root, "userpass", "userpass", None).await.unwrap();
        let accessor = auth::list(root).await.unwrap()["userpass/"].accessor.clone();
        let alias = entity_alias::create(root, "ann", &ann.id, &accessor, None).await.unwrap();
        assert_eq!(entity_alias::read_by_id(root, &alias.id).await.unwrap().canonical_id, ann.id);
        let mut team = CreateGroupByNameRequest::builder();
        let team = team.policies(vec!["team".to_owned()]).member_entity_ids(vec![ann.id.clone()]);
        group::create_or_update_by_name(root, "team", Some(team)).await.unwrap();
        let team = group::read_by_name(root, "team").await.unwrap();
        userpass::user::set(root, "userpass", "ann", "pass of ann", None).await.unwrap();
        let said = userpass::login(&stage.with(""), "userpass", "ann", "pass of ann").await.unwrap();
        assert_eq!((said.entity_id.as_str(), said.policies.len()), (ann.id.as_str(), 3));
        assert_eq!(entity::read_by_id(root, &ann.id).await.unwrap().direct_group_ids, [team.id]);
        entity::delete_by_name(root, "ann").await.unwrap();
        assert_eq!(refused(entity::read_by_id(root, &ann.id).await), 404);
    });
}

#[test]
fn vaultrs_issues_certificates() {
    let stage = Stage::new();
    run(async {
        let root = &stage.root;
        mount::enable(root, "pki", "pki", None).await.unwrap();
        let mut authority = GenerateRootRequest::builder();
        let authority = authority.common_name("Example Root").ttl("24h").key_type("ec").key_bits(256_u64);
        cert::ca::generate(root, "pki", "internal", Some(authority)).await.unwrap();
        let mut web = SetRoleRequest::builder();
        let web = web.allowed_domains(vec!["app.internal".to_owned()]).allow_subdomains(true).key_type("ec");
        role::set(root, "pki", "web", Some(web.key_bits(256_u64))).await.unwrap();
        let wanted = |name: &str| {
            let mut wanted = GenerateCertificateRequest::builder();
            wanted.common_name(name).ttl("1h");
            wanted
        };
        let made = cert::generate(root, "pki", "web", Some(&mut wanted("www.app.internal"))).await.unwrap();
        assert_eq!(made.private_key_type, "ec");
        let read = cert::read(root, "pki", &made.serial_number).await.unwrap();
        assert_eq!((read.certificate.trim(), read.revocation_time), (made.certificate.trim(), 0));
        let other = cert::generate(root, "pki", "web", Some(&mut wanted("www.example.com"))).await;
        assert_eq!(refused(other), 400);
        let revoked = cert::revoke(root, "pki", &made.serial_number).await.unwrap();
        assert!(revoked.revocation_time > 0);
        assert!(cert::list(root, "pki").await.unwrap().contains(&made.serial_number));
    });
}
