//! What every attack starts from: a server of its own, its owner, and callers with few rights.

use serde_json::{Value, json};
use tests::binary::Binary;
use tests::http::{Client, Request};
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage};

/// A value that may be nowhere but in the answer to who may read it.
pub(crate) const CANARY: &str = "CANARY-7f1c9e52b8d34a6e-CANARY";

/// A server and its owner.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) root: Client,
    pub(crate) folder: Scratch,
}

impl Stage {
    /// A development server with `secret/` as kv version 2 and `kv/` as version 1.
    pub(crate) fn dev() -> Self {
        let server = Server::dev(&Binary::sealkeep());
        let root = server.root();
        let stage = Self { server, root, folder: Scratch::new() };
        stage.root.post("sys/mounts/kv", json!({"type": "kv"})).must(204);
        stage
    }

    /// A durable server with an audit file, and `kv/` as version 1.
    pub(crate) fn audited() -> Self {
        let folder = Scratch::new();
        let config = Config::new(Storage::Raft, folder.path()).with("unsafe_allow_api_audit_creation = true");
        let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
        let root = server.anonymous().with(&keys.root);
        let stage = Self { server, root, folder };
        stage.enable_audit("file", json!({"file_path": stage.audit_path()}));
        stage.root.post("sys/mounts/kv", json!({"type": "kv"})).must(204);
        stage
    }

    /// The same, with more lines in its listener, and the shares of its owners.
    pub(crate) fn audited_and(listener: &str) -> (Self, Vec<String>) {
        let folder = Scratch::new();
        let config = Config::new(Storage::Raft, folder.path())
            .with("unsafe_allow_api_audit_creation = true")
            .listening_with(listener);
        let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
        let root = server.anonymous().with(&keys.root);
        let stage = Self { server, root, folder };
        stage.enable_audit("file", json!({"file_path": stage.audit_path()}));
        (stage, keys.shares)
    }

    /// Where the audit file lies.
    pub(crate) fn audit_path(&self) -> String {
        self.folder.path().join("audit.log").display().to_string()
    }

    /// What the audit file says.
    pub(crate) fn audit_text(&self) -> String {
        std::fs::read_to_string(self.audit_path()).expect("the audit file is there")
    }

    /// Enables a file device.
    pub(crate) fn enable_audit(&self, name: &str, options: Value) {
        self.root.post(&format!("sys/audit/{name}"), json!({"type": "file", "options": options})).must(204);
    }

    /// Writes a policy.
    pub(crate) fn policy(&self, name: &str, text: &str) {
        self.root.post(&format!("sys/policies/acl/{name}"), json!({"policy": text})).must(204);
    }

    /// A caller with this policy and `default`.
    pub(crate) fn caller(&self, policy: &str) -> Client {
        self.policy("caller", policy);
        self.token(json!({"policies": ["caller"]}))
    }

    /// A caller with a token made as asked.
    pub(crate) fn token(&self, body: Value) -> Client {
        let reply = self.root.post("auth/token/create", body).must(200);
        self.root.with(&reply.at("/auth/client_token"))
    }

    /// A caller without a token.
    pub(crate) fn anonymous(&self) -> Client {
        self.server.anonymous()
    }

    /// An approle `name` and the id to log in with.
    pub(crate) fn approle(&self, name: &str, body: Value) -> String {
        // It may be there already: then that is not what the test is about.
        self.root.post("sys/auth/approle", json!({"type": "approle"})).must_be_any(&[204, 400]);
        self.root.post(&format!("auth/approle/role/{name}"), body).must(204);
        self.root.get(&format!("auth/approle/role/{name}/role-id")).must(200).at("/data/role_id")
    }

    /// Userpass with one user `bob`, password `correct-password`.
    pub(crate) fn userpass(&self, body: Value) {
        self.root.post("sys/auth/userpass", json!({"type": "userpass"})).must(204);
        let mut user = json!({"password": "correct-password"});
        user.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        self.root.post("auth/userpass/users/bob", user).must(204);
    }

    /// A root and a role on it, EC.
    pub(crate) fn pki(&self, role: Value) {
        self.root.post("sys/mounts/pki", json!({"type": "pki"})).must(204);
        let body = json!({"common_name": "Root", "key_type": "ec", "ttl": "700h"});
        self.root.post("pki/root/generate/internal", body).must(200);
        let mut fields = json!({"key_type": "ec", "ttl": "1h"});
        fields.as_object_mut().unwrap().extend(role.as_object().unwrap().clone());
        self.root.post("pki/roles/web", fields).must(200);
    }

    /// The server still answers, and at once.
    #[track_caller]
    pub(crate) fn lives(&self) {
        self.root.get("auth/token/lookup-self").must(200);
    }
}

/// A raw request line, kept as it is.
pub(crate) fn raw(verb: &str, path: &str) -> Request {
    Request::new(verb, &format!("/v1/{path}"))
}
