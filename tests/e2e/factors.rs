//! A second factor by Duo, Okta and PingID: each is played by a stand-in that speaks its public API over TLS and takes
//! nothing that is not signed as that API wants it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tests::binary::Binary;
use tests::http::{Client, Reply, Request};
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage};

use crate::issuer::Answer;
use crate::standin::{Asked, StandIn};

const SECRET: &str = "duo-secret-key";
/// Longer than any login waits for an answer.
const BOUND: Duration = Duration::from_secs(75);

/// A server that believes the stand-in, with ann, whose logins owe a second factor.
struct Stage {
    server: Server,
    root: Client,
    port: u16,
    method: String,
    _folder: Scratch,
}

impl Stage {
    fn new(
        kind: &str,
        play: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
        method: impl Fn(u16) -> Value,
    ) -> Self {
        let folder = Scratch::new();
        let site = StandIn::open(folder.path(), Arc::new(play));
        let config = Config::new(Storage::Inmem, folder.path());
        let config = config.environment("SSL_CERT_FILE", &site.ca.display().to_string());
        let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
        let root = server.anonymous().with(&keys.root);
        root.post("sys/auth/userpass", json!({"type": "userpass"})).must(204);
        root.post("auth/userpass/users/ann", json!({"password": "pw"})).must(204);
        let accessor = root.get("sys/auth/userpass").must(200).at("/data/accessor");
        let mut body = method(site.port);
        body["method_name"] = json!("other");
        body["username_format"] =
            json!(format!("{{{{identity.entity.aliases.{accessor}.name}}}}@example.com"));
        let method = root.post(&format!("identity/mfa/method/{kind}"), body).must(200).at("/data/method_id");
        let body = json!({"mfa_method_ids": [method], "auth_method_types": ["userpass"]});
        root.post("identity/mfa/login-enforcement/e", body).must(204);
        Self { server, root, port: site.port, method, _folder: folder }
    }

    fn log_in(&self, header: &str) -> Reply {
        let login = Request::new("POST", "/v1/auth/userpass/login/ann").body(r#"{"password":"pw"}"#);
        let login = if header.is_empty() { login } else { login.header("X-Vault-MFA", header) };
        self.server.anonymous().send(&login)
    }

    fn show(&self, codes: Value) -> Reply {
        let id = self.log_in("").must(200).at("/auth/mfa_requirement/mfa_request_id");
        let body = json!({"mfa_request_id": id, "mfa_payload": {self.method.as_str(): codes}});
        self.server.anonymous().post("sys/mfa/validate", body)
    }

    #[track_caller]
    fn must_let_in(&self, reply: Reply) {
        let token = reply.must(200).at("/auth/client_token");
        self.server.anonymous().with(&token).get("auth/token/lookup-self").must(200);
    }

    /// It is refused, says why, and there is no token in the answer.
    #[track_caller]
    fn must_refuse(&self, reply: Reply, why: &str) {
        let reply = reply.must(403);
        assert!(reply.errors().contains(why), "{reply}");
        assert!(reply.json()["auth"].is_null(), "{reply}");
    }
}

fn ok(response: Value) -> Answer {
    Answer::Say(200, json!({"stat": "OK", "response": response}).to_string())
}

/// The parameters of a request to Duo, if it is signed.
fn signed_for_duo(asked: &Asked) -> Result<Vec<(String, String)>, Answer> {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let parameters = if asked.method == "GET" { query } else { asked.body.as_str() };
    let mut sorted: Vec<&str> = parameters.split('&').collect();
    sorted.sort_unstable();
    let text =
        [asked.header("date"), &asked.method, &asked.header("host").to_lowercase(), path, &sorted.join("&")]
            .join("\n");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    let tag: String =
        hmac::sign(&key, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let expect = format!("Basic {}", STANDARD.encode(format!("ikey:{tag}")));
    if asked.header("authorization") != expect || !asked.header("date").ends_with(" -0000") {
        let body =
            json!({"stat": "FAIL", "code": 40103, "message": "Invalid signature in request credentials"});
        return Err(Answer::Say(401, body.to_string()));
    }
    let pairs = parameters.split('&').filter_map(|pair| pair.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.replace("%40", "@").replace("%3D", "="))).collect())
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

/// What a stand-in does next, set by the test.
type Mood = Arc<Mutex<Answer>>;

fn duo(
    mood: &Mood,
    status: &Arc<Mutex<Vec<&'static str>>>,
) -> impl Fn(&Asked) -> Answer + Send + Sync + 'static {
    let (mood, status) = (Arc::clone(mood), Arc::clone(status));
    let last = Mutex::new(Vec::new());
    move |asked: &Asked| {
        let fields = match signed_for_duo(asked) {
            Ok(fields) => fields,
            Err(refused) => return refused,
        };
        match (asked.method.as_str(), asked.path.split('?').next().unwrap()) {
            ("POST", "/auth/v2/preauth") => {
                let known = field(&fields, "username") == "ann@example.com"
                    && field(&fields, "ipaddr") == "127.0.0.1";
                if known {
                    mood.lock().unwrap().clone()
                } else {
                    ok(json!({"result": "deny", "status_msg": "who?"}))
                }
            }
            ("POST", "/auth/v2/auth") => {
                let push =
                    [("factor", "push"), ("device", "auto"), ("pushinfo", "from=here"), ("async", "1")];
                let is_push = push.iter().all(|(name, value)| field(&fields, name) == *value);
                if !is_push && field(&fields, "factor") != "passcode" {
                    return Answer::Say(
                        400,
                        json!({"stat": "FAIL", "message": "Invalid request parameters"}).to_string(),
                    );
                }
                *last.lock().unwrap() = fields;
                ok(json!({"txid": "45f7c92b-f45f-4862-8545-e0f58e78075a"}))
            }
            ("GET", "/auth/v2/auth_status") => {
                assert_eq!(field(&fields, "txid"), "45f7c92b-f45f-4862-8545-e0f58e78075a");
                let code = field(&last.lock().unwrap(), "passcode").to_owned();
                let result = match code.as_str() {
                    "" => status.lock().unwrap().pop().unwrap_or("deny"),
                    "123456" => "allow",
                    _ => "deny",
                };
                ok(json!({"result": result, "status": result, "status_msg": "Login timed out."}))
            }
            _ => Answer::Say(404, String::new()),
        }
    }
}

fn duo_method(port: u16) -> Value {
    json!({
        "secret_key": SECRET, "integration_key": "ikey", "api_hostname": format!("127.0.0.1:{port}"),
        "push_info": "from=here", "use_passcode": true,
    })
}

#[test]
fn duo_by_push_and_by_passcode() {
    let mood: Mood = Arc::new(Mutex::new(ok(json!({"result": "auth", "status_msg": "Account is active"}))));
    let status = Arc::new(Mutex::new(vec!["allow", "waiting"]));
    let stage = Stage::new("duo", duo(&mood, &status), duo_method);
    let begun = stage.log_in("").must(200);
    let any = &begun.json()["auth"]["mfa_requirement"]["mfa_constraints"]["e"]["any"][0];
    assert_eq!((&any["type"], &any["uses_passcode"]), (&json!("duo"), &json!(true)));
    stage.must_let_in(stage.log_in("other"));
    stage.must_let_in(stage.log_in("other:passcode=123456"));
    stage.must_let_in(stage.show(json!(["123456"])));
    stage.must_refuse(stage.show(json!(["654321"])), "Duo refused: Login timed out.");
    status.lock().unwrap().push("allow");
    stage.must_let_in(stage.show(json!([])));
    for (result, why) in [("deny", "Duo refused"), ("enroll", "Duo refused"), ("other", "unknown")] {
        *mood.lock().unwrap() = ok(json!({"result": result, "status_msg": "no"}));
        stage.must_refuse(stage.log_in("other:123456"), why);
    }
    *mood.lock().unwrap() = ok(json!({"result": "allow", "status_msg": "by policy"}));
    stage.must_let_in(stage.log_in("other"));
    // With another key, Duo says no to the server itself.
    let mut method = duo_method(stage.port);
    method["secret_key"] = json!("another");
    stage.root.post(&format!("identity/mfa/method/duo/{}", stage.method), method).must(204);
    stage.must_refuse(stage.log_in("other:123456"), "Invalid signature in request credentials");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "that a bad site holds nobody up is what this test is about")]
fn a_site_that_is_slow_or_away_or_babbles_lets_nobody_in_and_holds_nobody_up() {
    let mood: Mood = Arc::new(Mutex::new(Answer::Hang));
    let stage = Stage::new("duo", duo(&mood, &Arc::default()), duo_method);
    let (stage, begun) = (&stage, Instant::now());
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| stage.log_in("other"));
        // Others write meanwhile.
        for number in 0..20 {
            stage.root.post(&format!("auth/userpass/users/u{number}"), json!({"password": "pw"})).must(204);
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        stage.must_refuse(slow.join().unwrap(), "nobody answered within 50 seconds");
    });
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    let answers = [
        Answer::Say(200, "nonsense".to_owned()),
        Answer::Say(302, String::new()),
        Answer::Say(200, "x".repeat(5_000_000)),
        Answer::Babble,
    ];
    for answer in answers {
        *mood.lock().unwrap() = answer;
        stage.must_refuse(stage.log_in("other"), "login MFA validation failed");
    }
    // Ann is not locked out by that: she may begin, and is told when she may be asked about again.
    stage.must_refuse(stage.show(json!([])), "maximum MFA validation attempts");
}

/// A site whose certificate the server has no reason to believe.
struct Wrong {
    port: u16,
    _folder: Scratch,
}

impl Wrong {
    fn open() -> Self {
        let folder = Scratch::new();
        let site = StandIn::open(folder.path(), Arc::new(|_| ok(json!({"result": "allow"}))));
        Self { port: site.port, _folder: folder }
    }
}

#[test]
fn nobody_there_and_an_authority_that_is_not_believed() {
    let other = Wrong::open();
    let stage = Stage::new("duo", |_| Answer::Hang, |_| duo_method(other.port));
    stage.must_refuse(stage.log_in("other"), "no answer from https://127.0.0.1:");
    let method = duo_method(9);
    stage.root.post(&format!("identity/mfa/method/duo/{}", stage.method), method).must(204);
    stage.must_refuse(stage.log_in("other"), "no answer from https://127.0.0.1:9/auth/v2/preauth");
}

/// Okta: `polls` are the outcomes of a push, the next one last.
fn okta(
    polls: &Arc<Mutex<Vec<&'static str>>>,
    site: &Arc<Mutex<String>>,
) -> impl Fn(&Asked) -> Answer + Send + Sync + 'static {
    let (polls, site) = (Arc::clone(polls), Arc::clone(site));
    let filter = "/api/v1/users?filter=profile.login%20eq%20%22ann%40example.com%22";
    move |asked: &Asked| {
        let say = |body: Value| Answer::Say(200, body.to_string());
        if asked.header("authorization") != "SSWS api-token" {
            return Answer::Say(
                401,
                json!({"errorCode": "E0000011", "errorSummary": "Invalid token provided"}).to_string(),
            );
        }
        let factor = "/api/v1/users/u%201/factors/p1/verify";
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", path) if path == filter => say(json!([{"id": "u 1", "status": "ACTIVE"}])),
            ("GET", path) if path.starts_with("/api/v1/users?filter=") => say(json!([])),
            ("GET", "/api/v1/users/u%201/factors") => say(json!([
                {"id": "s1", "factorType": "sms", "status": "ACTIVE"},
                {"id": "p0", "factorType": "push", "status": "PENDING_ACTIVATION"},
                {"id": "p1", "factorType": "push", "provider": "OKTA", "status": "ACTIVE"},
                {"id": "t1", "factorType": "token:software:totp", "status": "ACTIVE"},
            ])),
            ("POST", path) if path == factor => {
                let poll = format!("{}{factor}/transactions/x1", site.lock().unwrap());
                say(json!({"factorResult": "WAITING", "_links": {"poll": {"href": poll}}}))
            }
            ("GET", path) if path == format!("{factor}/transactions/x1") => {
                say(json!({"factorResult": polls.lock().unwrap().pop().unwrap_or("TIMEOUT")}))
            }
            ("POST", "/api/v1/users/u%201/factors/t1/verify") => {
                match serde_json::from_str::<Value>(&asked.body).unwrap()["passCode"] == "123456" {
                    true => say(json!({"factorResult": "SUCCESS"})),
                    false => Answer::Say(
                        403,
                        json!({"errorCode": "E0000068", "errorSummary": "Invalid Passcode/Answer"})
                            .to_string(),
                    ),
                }
            }
            _ => Answer::Say(404, json!({"errorSummary": "Not found"}).to_string()),
        }
    }
}

#[test]
fn okta_by_push_and_by_code() {
    let (polls, site) = (Arc::new(Mutex::new(vec!["SUCCESS", "WAITING"])), Arc::default());
    // The organization's name and the base URL make the host: here an address.
    let method =
        |port| json!({"org_name": "127", "base_url": format!("0.0.1:{port}"), "api_token": "api-token"});
    let stage = Stage::new("okta", okta(&polls, &site), method);
    *site.lock().unwrap() = format!("https://127.0.0.1:{}", stage.port);
    stage.must_let_in(stage.log_in("other"));
    stage.must_let_in(stage.log_in("other:123456"));
    stage.must_refuse(stage.show(json!(["654321"])), "Invalid Passcode/Answer");
    polls.lock().unwrap().push("SUCCESS");
    stage.must_let_in(stage.show(json!([])));
    for (result, why) in [("REJECTED", "rejected"), ("TIMEOUT", "timed out"), ("ERROR", "unknown")] {
        polls.lock().unwrap().push(result);
        stage.must_refuse(stage.log_in("other"), why);
    }
    // The token is not carried to where an answer points.
    *site.lock().unwrap() = format!("https://127.0.0.1:{}.example", stage.port);
    stage.must_refuse(stage.log_in("other"), "another site");
    let mut wrong = method(stage.port);
    wrong["api_token"] = json!("old");
    stage.root.post(&format!("identity/mfa/method/okta/{}", stage.method), wrong).must(204);
    stage.must_refuse(stage.log_in("other"), "Invalid token provided");
}

/// PingID: takes what is signed with this key, and answers as it is told, signed with that one.
fn pingid(
    errors: &Arc<Mutex<Vec<i64>>>,
    answers_with: &'static [u8],
) -> impl Fn(&Asked) -> Answer + Send + Sync + 'static {
    let errors = Arc::clone(errors);
    move |asked: &Asked| {
        let own = hmac::Key::new(hmac::HMAC_SHA256, b"ping-key");
        let (signed, tag) = asked.body.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let parse = |part: &str| -> Value { serde_json::from_slice(&bytes(part)).unwrap() };
        if hmac::verify(&own, signed.as_bytes(), &bytes(tag)).is_err() {
            return Answer::Say(400, "bad signature".to_owned());
        }
        let (header, claims) = (parse(header), parse(claims));
        let (asks, body) = (&claims["reqHeader"], &claims["reqBody"]);
        let fits = asked.method == "POST"
            && asked.path == "/pingid/rest/4/authonline/do"
            && header == json!({"alg": "HS256", "org_alias": "org", "token": "tok"})
            && (&asks["orgAlias"], &asks["secretKey"]) == (&json!("org"), &json!("tok"))
            && asks["timestamp"].as_str().is_some_and(|text| text.len() == 23)
            && *body == json!({"spAlias": "web", "userName": "ann@example.com", "authType": "CONFIRM"});
        assert!(fits, "{asked:?} {header} {claims}");
        let error = errors.lock().unwrap().pop().unwrap_or(200);
        let answer = json!({"responseBody": {"errorId": error, "errorMsg": "as it is", "sessionId": "s"}});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!(
            "{}.{}",
            part(&json!({"alg": "HS256", "orgAlias": "org", "token": "tok"})),
            part(&answer)
        );
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, answers_with), text.as_bytes());
        Answer::Say(200, format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }
}

fn pingid_method(port: u16) -> Value {
    let key = STANDARD.encode("ping-key");
    let file = format!(
        "#Auto-Generated from PingOne\nuse_base64_key={key}\nuse_signature=true\ntoken=tok\n\
         idp_url=https://127.0.0.1:{port}/pingid\norg_alias=org\nadmin_url=https://a.example/pingid\n\
         authenticator_url=https://b.example/pingid/ppm\n"
    );
    json!({"settings_file_base64": STANDARD.encode(file)})
}

#[test]
fn pingid_by_push() {
    let errors = Arc::new(Mutex::new(vec![20_541]));
    let stage = Stage::new("pingid", pingid(&errors, b"ping-key"), pingid_method);
    stage.must_refuse(stage.log_in("other"), "PingID refused: \"as it is\"");
    stage.must_let_in(stage.log_in("other"));
    stage.must_let_in(stage.show(json!([])));
    // A yes that is signed by somebody else.
    let stage = Stage::new("pingid", pingid(&Arc::default(), b"other-key"), pingid_method);
    stage.must_refuse(stage.log_in("other"), "a signature that is not right");
    stage.must_refuse(stage.show(json!([])), "a signature that is not right");
}
