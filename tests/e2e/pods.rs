//! A cluster that starts many pods at once: each of them logs in, none is taken for another, and nobody else waits for them.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::binary::Binary;
use tests::http::Client;
use tests::scratch::Scratch;
use tests::server::Server;

use crate::issuer::{Answer, FROM, Issuer, UNTIL};
use crate::standin::{Asked, StandIn};

const PODS: usize = 200;
/// So many logins of a mount are asked about at a time (docs/guide/kubernetes.md).
const AT_A_TIME: usize = 64;
/// Who hears that the line is long comes again, as pods do.
const TRIES: usize = 20;

/// How many questions the cluster has before it, and had at most; and whether it answers.
#[derive(Default)]
struct Desk {
    there: usize,
    most: usize,
    answers: bool,
}

struct Cluster {
    /// With what the first mount asks.
    reviewer: String,
    desk: Mutex<Desk>,
    changed: Condvar,
}

impl Cluster {
    /// Says of each token whose it is; of those of the first mount once all may be told.
    fn review(&self, asked: &Asked) -> Answer {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        let token = body["spec"]["token"].as_str().unwrap();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        if asked.header("authorization") == format!("Bearer {}", self.reviewer) {
            let mut desk = self.desk.lock().unwrap();
            desk.there += 1;
            desk.most = desk.most.max(desk.there);
            self.changed.notify_all();
            let mut desk = self.changed.wait_while(desk, |desk| !desk.answers).unwrap();
            desk.there -= 1;
        }
        let uid = &claims["kubernetes.io"]["serviceaccount"]["uid"];
        let user = json!({"username": "system:serviceaccount:shop:web", "uid": uid});
        Answer::Say(
            201,
            json!({"status": {"authenticated": true, "audiences": ["a"], "user": user}}).to_string(),
        )
    }

    /// Waits until so many questions are before it.
    fn has(&self, count: usize) {
        drop(self.changed.wait_while(self.desk.lock().unwrap(), |desk| desk.there < count).unwrap());
    }

    fn answer_all(&self) {
        self.desk.lock().unwrap().answers = true;
        self.changed.notify_all();
    }
}

fn mount(root: &Client, site: &StandIn, path: &str, reviewer: &str) {
    root.post(&format!("sys/auth/{path}"), json!({"type": "kubernetes"})).must(204);
    let ca = std::fs::read_to_string(&site.ca).unwrap();
    let host = format!("https://127.0.0.1:{}", site.port);
    let config = json!({"kubernetes_host": host, "kubernetes_ca_cert": ca, "token_reviewer_jwt": reviewer});
    root.post(&format!("auth/{path}/config"), config).must(204);
    let role = json!({"bound_service_account_names": "web", "bound_service_account_namespaces": "shop", "audience": "a"});
    root.post(&format!("auth/{path}/role/web"), role).must_be_any(&[200, 204]);
}

/// Logs a pod in and says as whom.
fn log_in(server: &Server, path: &str, token: &str) -> String {
    for _ in 0..TRIES {
        let said =
            server.anonymous().post(&format!("auth/{path}/login"), json!({"role": "web", "jwt": token}));
        if said.status != 429 {
            let uid = said.must(200).json()["auth"]["metadata"]["service_account_uid"].clone();
            return uid.as_str().unwrap().to_owned();
        }
    }
    panic!("{TRIES} times the line was too long");
}

#[test]
fn two_hundred_pods_log_in_at_once() {
    let (server, folder) = (Server::dev(&Binary::sealkeep()), Scratch::new());
    let (root, issuer) = (server.root(), Issuer::new());
    let reviewer = |name: &str| issuer.token("k", &json!({"sub": name}));
    let (desk, changed) = (Mutex::default(), Condvar::new());
    let cluster = Arc::new(Cluster { reviewer: reviewer("one"), desk, changed });
    let play = Arc::clone(&cluster);
    let site = StandIn::open(folder.path(), Arc::new(move |asked| play.review(asked)));
    mount(&root, &site, "pods", &cluster.reviewer);
    mount(&root, &site, "others", &reviewer("two"));
    let token = |uid: &str| {
        let account = json!({"namespace": "shop", "serviceaccount": {"name": "web", "uid": uid}});
        issuer.token("k", &json!({"aud": ["a"], "iat": FROM, "exp": UNTIL, "kubernetes.io": account}))
    };
    let pods: Vec<_> = (0..PODS).map(|pod| format!("u{pod}")).map(|uid| (token(&uid), uid)).collect();
    thread::scope(|scope| {
        let server = &server;
        let logins: Vec<_> =
            pods.iter().map(|(token, _)| scope.spawn(move || log_in(server, "pods", token))).collect();
        cluster.has(AT_A_TIME);
        // The cluster says nothing yet, and the others are served all the same: by this server, and by the same cluster for
        // another mount.
        root.post("secret/data/x", json!({"data": {"a": "b"}})).must(200);
        assert_eq!(log_in(server, "others", &token("v1")), "v1");
        cluster.answer_all();
        for (login, (_, uid)) in logins.into_iter().zip(&pods) {
            assert_eq!(&login.join().unwrap(), uid, "each is itself");
        }
    });
    let desk = cluster.desk.lock().unwrap();
    assert_eq!((desk.most, desk.there), (AT_A_TIME, 0));
}
