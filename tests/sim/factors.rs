//! Second factors that others are asked about: only a yes to this very question lets in, a phone rings seldom, and while
//! it rings the server goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kernel::{AuditSpec, Registry, Settings};
use kit::Verb::{Get, List, Post};
use kit::{
    AnyEngine, AnyMethod, AuthMethod, Call, Claim, Endpoint, Engine, Error, Fault, Login, LoginPoint,
    Reading, Renewal, Result, Route, Soon, Terms, Time, Told, World, Writing, login,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tests::desk::{Desk, Everything, Said, Surroundings, request};
use tests::scratch::Scratch;

/// A method whose people have no name, so that identity knows none of them.
struct Nameless;

impl Engine for Nameless {
    const NAME: &'static str = "nameless";
    const ABOUT: &'static str = "Lets in whoever knocks.";
    const ENDPOINTS: &'static [Endpoint<Self>] = &[];

    fn open(_: &Value) -> Result<Self> {
        Ok(Self)
    }
}

impl AuthMethod for Nameless {
    const LOGINS: &'static [LoginPoint<Self>] = &[login::<Self, Knock>()];

    fn renew(&self, _: &Renewal<'_>, _: &Reading<'_>) -> Result<Terms> {
        Ok(Terms::default())
    }
}

/// Knocks.
#[derive(Deserialize, JsonSchema)]
struct Knock {}

impl Login<Nameless> for Knock {
    const ROUTE: Route = Route::post("login");

    fn who(&self) -> String {
        String::new()
    }

    fn run(self, _: &Nameless, _: &mut Writing<'_>) -> Result<Claim> {
        Ok(Claim { display_name: "somebody".to_owned(), ..Claim::default() })
    }
}

struct AndNameless;

impl Registry for AndNameless {
    fn engine(&self, kind: &str, options: &Value) -> Result<Arc<dyn AnyEngine>> {
        Everything.engine(kind, options)
    }

    fn method(&self, kind: &str, options: &Value) -> Result<(Arc<dyn AnyEngine>, Arc<dyn AnyMethod>)> {
        if kind != Nameless::NAME {
            return Everything.method(kind, options);
        }
        let method = Arc::new(Nameless);
        Ok((Arc::clone(&method) as Arc<dyn AnyEngine>, method))
    }

    fn engine_kinds(&self) -> &'static [&'static str] {
        Everything.engine_kinds()
    }

    fn method_kinds(&self) -> &'static [&'static str] {
        &["nameless", "userpass", "approle"]
    }
}

/// Something that happens here while a phone rings.
type Meanwhile = Box<dyn FnOnce() + Send>;

/// Duo, as far as its answers go.
#[derive(Clone, Default)]
struct Phones(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What authentications end with; without one nobody answers at all.
    result: Option<&'static str>,
    asked: Vec<(String, BTreeMap<String, String>)>,
    meanwhile: Option<Meanwhile>,
}

impl World for Phones {
    fn now(&self) -> Time {
        Time::from_seconds(1_767_225_600)
    }

    fn pause(&self, _: Duration) -> Soon<'_, ()> {
        // Whoever never answers has run out of time at once.
        Box::pin(std::future::ready(()))
    }

    fn fetch(&self, call: Call) -> Soon<'_, Result<Told>> {
        let path = call.url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
        let body = String::from_utf8(call.body).unwrap();
        let fields = body.split('&').filter_map(|pair| pair.split_once('='));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let meanwhile = self.0.lock().unwrap().meanwhile.take_if(|_| path == "auth_status");
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        let mut state = self.0.lock().unwrap();
        state.asked.push((path.clone(), fields));
        let Some(result) = state.result else { return Box::pin(std::future::pending()) };
        let response = match path.as_str() {
            "preauth" => json!({"result": "auth", "status_msg": ""}),
            "auth" => json!({"txid": "t1"}),
            _ => json!({"result": result, "status_msg": "as it is"}),
        };
        let body = json!({"stat": "OK", "response": response}).to_string().into_bytes();
        Box::pin(std::future::ready(Ok(Told { status: 200, body, ..Told::default() })))
    }

    fn dial<'a>(&'a self, _: &'a str, _: u16) -> Soon<'a, Result<std::net::TcpStream>> {
        Box::pin(std::future::ready(Err(Error::new(Fault::Upstream, "nobody is there"))))
    }
}

impl Phones {
    fn say(&self, result: Option<&'static str>) {
        self.0.lock().unwrap().result = result;
    }

    /// The names that phones rang for.
    fn rung(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let begun = state.asked.iter().filter(|(path, _)| path == "auth");
        begun.map(|(_, fields)| fields["username"].clone()).collect()
    }

    fn meanwhile(&self, what: impl FnOnce() + Send + 'static) {
        self.0.lock().unwrap().meanwhile = Some(Box::new(what));
    }
}

struct Stage {
    desk: Arc<Desk>,
    phones: Phones,
    method: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// A server whose logins with a password owe a push.
fn stage(seed: u64) -> Stage {
    stage_with(seed, Settings::default())
}

fn stage_with(seed: u64, settings: Settings) -> Stage {
    let phones = Phones::default();
    phones.say(Some("allow"));
    let surroundings = Surroundings { registry: Arc::new(AndNameless), world: Arc::new(phones.clone()) };
    let desk = Desk::within(seed, settings, surroundings);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    desk.ask(Post, "auth/userpass/users/ann", r#"{"password":"pw"}"#).expect(204);
    let accessor = text(&desk.ask(Get, "sys/auth/userpass", "").expect(200).json["data"]["accessor"]);
    let method = json!({
        "method_name": "push", "secret_key": "s", "integration_key": "i", "api_hostname": "duo.example",
        "username_format": format!("{{{{identity.entity.aliases.{accessor}.name}}}}"),
    });
    let made = desk.ask(Post, "identity/mfa/method/duo", &method.to_string()).expect(200);
    let method = text(&made.json["data"]["method_id"]);
    let body = json!({"mfa_method_ids": [method], "auth_method_types": ["userpass"]}).to_string();
    desk.ask(Post, "identity/mfa/login-enforcement/e", &body).expect(204);
    Stage { desk: Arc::new(desk), phones, method }
}

impl Stage {
    fn log_in(&self, header: &str) -> Said {
        let mut login = request("", Post, "auth/userpass/login/ann", r#"{"password":"pw"}"#);
        if !header.is_empty() {
            login.headers.push(("x-vault-mfa".to_owned(), header.to_owned()));
        }
        self.desk.send(&login)
    }

    fn begin(&self) -> String {
        let said = self.log_in("").expect(200);
        assert_eq!(said.json["auth"]["client_token"], "");
        text(&said.json["auth"]["mfa_requirement"]["mfa_request_id"])
    }

    fn show(&self, id: &str) -> Said {
        let body = json!({ "mfa_request_id": id, "mfa_payload": { self.method.as_str(): [] } });
        self.desk.ask_as("", Post, "sys/mfa/validate", &body.to_string())
    }
}

#[test]
fn a_yes_lets_in_once_in_one_step_and_in_two() {
    let stage = stage(30);
    // Ann is new: she is written down, then her phone rings, once.
    let said = stage.log_in("push").expect(200);
    stage.desk.ask_as(&said.token(), Get, "auth/token/lookup-self", "").expect(200);
    assert_eq!(stage.phones.rung(), ["ann"]);
    let id = stage.begin();
    let again = stage.show(&id).expect(200);
    assert_eq!(again.json["auth"]["entity_id"], said.json["auth"]["entity_id"]);
    assert_eq!(stage.show(&id).expect(400).error(), "invalid request ID");
    assert_eq!(stage.phones.rung(), ["ann", "ann"]);
}

#[test]
fn whatever_is_not_a_yes_is_no_login() {
    let stage = stage(31);
    for result in [Some("deny"), Some("maybe"), Some(""), None] {
        stage.phones.say(result);
        let said = stage.log_in("push").expect(403);
        assert!(said.error().starts_with("failed to satisfy enforcement e. error: 2 errors"), "{said:?}");
        assert!(said.json["auth"].is_null(), "{said:?}");
    }
    let id = stage.begin();
    stage.phones.say(Some("deny"));
    stage.show(&id).expect(403);
    // Too often in vain, by whichever way: now the phone does not ring at all, not even to be told yes.
    let rung = stage.phones.rung().len();
    stage.phones.say(Some("allow"));
    for said in [stage.show(&id), stage.log_in("push")] {
        assert!(said.expect(403).error().contains("maximum MFA validation attempts"));
    }
    assert_eq!(stage.phones.rung().len(), rung);
}

#[test]
fn neither_a_no_nor_silence_is_a_failed_login() {
    let stage = stage(32);
    stage.phones.say(None);
    for _ in 0..5 {
        stage.log_in("push").expect(403);
    }
    // Ann may still begin.
    stage.begin();
    let other = self::stage(33);
    other.phones.say(Some("deny"));
    for _ in 0..5 {
        other.log_in("push").expect(403);
    }
    other.begin();
}

#[test]
fn a_phone_rings_for_nobody_whose_password_is_wrong_or_who_shows_too_little() {
    let stage = stage(34);
    let mut wrong = request("", Post, "auth/userpass/login/ann", r#"{"password":"no"}"#);
    wrong.headers.push(("x-vault-mfa".to_owned(), "push".to_owned()));
    stage.desk.send(&wrong).expect(400);
    stage.log_in("other").expect(403);
    // A second enforcement, of which nothing is shown.
    let made = stage.desk.ask(Post, "identity/mfa/method/totp", r#"{"issuer":"I"}"#).expect(200);
    let body = json!({"mfa_method_ids": [made.json["data"]["method_id"]], "auth_method_types": ["userpass"]});
    stage.desk.ask(Post, "identity/mfa/login-enforcement/f", &body.to_string()).expect(204);
    stage.log_in("push").expect(403);
    assert!(stage.phones.rung().is_empty());
}

#[test]
fn what_changes_while_a_phone_rings_counts() {
    let stage = stage(35);
    // The server goes on meanwhile; and a yes to what is no longer the question is none.
    let (desk, method) = (Arc::clone(&stage.desk), stage.method.clone());
    stage.phones.meanwhile(move || {
        let other = json!({"secret_key": "s2", "integration_key": "i", "api_hostname": "duo.example", "username_format": "bob"});
        desk.ask(Post, &format!("identity/mfa/method/duo/{method}"), &other.to_string()).expect(204);
    });
    stage.log_in("push").expect(200).token();
    assert_eq!(stage.phones.rung(), ["ann", "bob"]);
    // The password changes.
    let desk = Arc::clone(&stage.desk);
    stage.phones.meanwhile(move || {
        desk.ask(Post, "auth/userpass/users/ann/password", r#"{"password":"new"}"#).expect(204);
    });
    stage.log_in("push").expect(400);
    stage.desk.ask(Post, "auth/userpass/users/ann/password", r#"{"password":"pw"}"#).expect(204);
    // The enforcement goes; so does the wait.
    let (id, desk) = (stage.begin(), Arc::clone(&stage.desk));
    stage.phones.meanwhile(move || {
        desk.ask(Post, "auth/userpass/users/ann", r#"{"password":"pw"}"#).expect(204);
    });
    stage.show(&id).expect(200).token();
}

#[test]
fn an_enforced_login_that_nobody_is_known_by_does_not_come_in() {
    let stage = stage(36);
    stage.desk.ask(Post, "sys/auth/nameless", r#"{"type":"nameless"}"#).expect(204);
    let knock = |header: &str| {
        let mut knock = request("", Post, "auth/nameless/login", "");
        knock.headers.extend((!header.is_empty()).then(|| ("x-vault-mfa".to_owned(), header.to_owned())));
        stage.desk.send(&knock)
    };
    assert_eq!(knock("").expect(200).json["auth"]["entity_id"], "");
    let body = json!({"mfa_method_ids": [stage.method], "auth_method_types": ["nameless"]}).to_string();
    stage.desk.ask(Post, "identity/mfa/login-enforcement/n", &body).expect(204);
    for header in ["", "push"] {
        let said = knock(header).expect(403);
        assert!(said.json["auth"].is_null(), "{said:?}");
    }
    assert!(stage.phones.rung().is_empty());
    // And one whose template has no value.
    let method = json!({
        "secret_key": "s", "integration_key": "i", "api_hostname": "duo.example",
        "username_format": "{{identity.entity.metadata.duo}}",
    });
    stage
        .desk
        .ask(Post, &format!("identity/mfa/method/duo/{}", stage.method), &method.to_string())
        .expect(204);
    stage.log_in("push").expect(403);
    assert!(stage.phones.rung().is_empty());
}

#[test]
fn a_login_whose_answer_cannot_be_written_down_leaves_no_token() {
    let folder = Scratch::new();
    let file = folder.path().join("audit.log");
    let options = BTreeMap::from([("file_path".to_owned(), file.display().to_string())]);
    let (kind, path) = ("file".to_owned(), "file".to_owned());
    let audit = AuditSpec { kind, path, description: String::new(), options };
    let stage = stage_with(37, Settings { declared_audits: vec![audit], ..Settings::default() });
    let count = || {
        let listed = stage.desk.ask(List, "auth/token/accessors", "").expect(200);
        listed.json["data"]["keys"].as_array().unwrap().len()
    };
    stage.log_in("push").expect(200);
    let before = count();
    // While the phone rings a folder takes the place of the file, and no lines.
    let (desk, place) = (Arc::clone(&stage.desk), file.clone());
    stage.phones.meanwhile(move || {
        std::fs::remove_file(&place).unwrap();
        std::fs::create_dir(&place).unwrap();
        desk.wait(Duration::from_secs(2));
    });
    stage.log_in("push").expect(500);
    std::fs::remove_dir(&file).unwrap();
    assert_eq!(count(), before);
    stage.log_in("push").expect(200);
    assert_eq!(count(), before + 1);
}
