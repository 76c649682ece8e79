//! Leases, tokens and outages in a world whose clock stands still until somebody moves it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    brain::Brain,
    query::Query,
    source::{Habit, Source},
};
use crate::{
    agent::{
        cache::{Cache, CachePlan, Needed},
        deliver::Reload,
        disk::Machine,
        log::Level,
        login::{AfterReading, Identity, Method, Proof, SecretId},
        moment::Moment,
        probe::Place,
        world::{Alert, World},
    },
    call::{Call, Verb},
    client::{Credential, Reply},
    refused::{Answer, Refused},
    trouble::Trouble,
};

const START: i64 = 1_800_000_000;
const TTL: i64 = 900;

/// The clock, and a server that lends.
struct Stage {
    now: Cell<Moment>,
    up: Cell<bool>,
    renewable: Cell<bool>,
    /// It cannot renew tokens at the moment.
    ails: Cell<bool>,
    /// How long after it was made a lease can be renewed at most.
    most: Cell<i64>,
    /// When each lease and token was made; what was revoked is not there any more.
    lent: RefCell<BTreeMap<String, Moment>>,
    made: Cell<u32>,
    /// What was asked, and after how many seconds.
    asked: RefCell<Vec<(i64, String)>>,
    said: RefCell<Vec<String>>,
    /// Secret ids that it takes, once each.
    secrets: RefCell<Vec<String>>,
}

impl Stage {
    fn new() -> Rc<Stage> {
        Rc::new(Stage {
            now: Cell::new(Moment::from_seconds(START)),
            up: Cell::new(true),
            renewable: Cell::new(true),
            ails: Cell::new(false),
            most: Cell::new(100_000),
            lent: RefCell::default(),
            made: Cell::new(0),
            asked: RefCell::default(),
            said: RefCell::default(),
            secrets: RefCell::new(vec!["one".to_owned()]),
        })
    }

    fn since_start(&self) -> i64 {
        self.now.get().seconds() - START
    }

    fn lend(&self, kind: &str) -> String {
        self.made.set(self.made.get() + 1);
        let name = format!("{kind}.{}", self.made.get());
        self.lent.borrow_mut().insert(name.clone(), self.now.get());
        name
    }

    /// What is left for something that was lent, or nothing if it is not known.
    fn renewed(&self, name: &str) -> Option<i64> {
        let made = *self.lent.borrow().get(name)?;
        let end = made.plus(Duration::from_secs(self.most.get() as u64));
        Some(TTL.min(end.since(self.now.get()).as_secs() as i64)).filter(|left| *left > 0)
    }

    fn answer(&self, call: &Call) -> Result<Reply, Refused> {
        let body = call.body.clone().unwrap_or_default();
        let token = call.token.as_ref().map(|token| token.to_string()).unwrap_or_default();
        self.asked.borrow_mut().push((self.since_start(), call.path.clone()));
        if !self.up.get() {
            let trouble = Trouble::Refused("connection refused".to_owned());
            return Err(Refused::NoAnswer { verb: call.verb, url: call.path.clone(), trouble });
        }
        let auth = |name: &str, seconds: i64| json!({"auth": {"client_token": name, "lease_duration": seconds, "renewable": true}});
        match call.path.as_str() {
            "sys/health" => good(json!({"initialized": true})),
            "auth/approle/login" => {
                let secret = body["secret_id"].as_str().unwrap_or_default();
                let known = self.secrets.borrow().iter().position(|known| known == secret);
                match known {
                    Some(at) => {
                        self.secrets.borrow_mut().remove(at);
                        good(auth(&self.lend("login"), 86_400))
                    }
                    None => refusal(400),
                }
            }
            "auth/token/lookup-self" => match self.lent.borrow().contains_key(&token) {
                true => good(json!({"data": {"ttl": 86_400, "renewable": true}})),
                false => refusal(403),
            },
            "auth/token/renew-self" if self.ails.get() => refusal(503),
            "auth/token/renew-self" => match self.renewed(&token) {
                Some(left) => good(auth(&token, left)),
                None => refusal(403),
            },
            _ if !self.lent.borrow().contains_key(&token) => refusal(403),
            "auth/token/create" => good(auth(&self.lend("made"), TTL)),
            "sys/leases/renew" => match self.renewed(body["lease_id"].as_str().unwrap()) {
                Some(left) => {
                    good(json!({"lease_id": body["lease_id"], "lease_duration": left, "renewable": true}))
                }
                None => refusal(400),
            },
            "database/creds/app" => {
                let id = self.lend("lease");
                good(json!({"lease_id": id, "lease_duration": TTL, "renewable": self.renewable.get(),
                    "data": {"password": format!("of {id}")}}))
            }
            _ => refusal(404),
        }
    }
}

fn good(body: Value) -> Result<Reply, Refused> {
    Ok(Reply { status: 200, body: Bytes::from(body.to_string()), date: None, retry_after: None })
}

fn refusal(status: u16) -> Result<Reply, Refused> {
    let body = Bytes::from(json!({"errors": ["no"]}).to_string());
    let reply = Reply { status, body, date: None, retry_after: None };
    Err(Refused::Answer(Box::new(Answer::read(Verb::Put, "u".to_owned(), None, reply, Credential::Given))))
}

impl World for Stage {
    fn now(&self) -> Moment {
        self.now.get()
    }

    /// The dice show nothing: what is spread comes at its latest, what backs off at its soonest.
    fn chance(&self) -> f64 {
        0.0
    }

    async fn ask(&self, call: Call) -> Result<Reply, Refused> {
        self.answer(&call)
    }

    async fn reload(&self, _: &Reload) -> Result<(), String> {
        Ok(())
    }

    async fn served(&self, _: &Place) -> Result<Vec<u8>, String> {
        Err("nothing is served here".to_owned())
    }

    async fn pause(&self, span: Duration) {
        self.now.set(self.now.get().plus(span));
    }

    fn alert(&self, _: Alert) {}

    fn host(&self) -> String {
        "host".to_owned()
    }

    fn log(&self, _: Level, line: &str) {
        self.said.borrow_mut().push(line.to_owned());
    }
}

/// An agent that asks one thing, and a folder for its files.
struct Play {
    stage: Rc<Stage>,
    brain: Brain<Stage>,
    query: Query,
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Play {
    /// It begins with a secret id that is taken away after its use, and a cache.
    fn begin(name: &str, query: Query) -> Play {
        let folder = std::env::temp_dir().join(format!("keep-trial-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("role"), "role").unwrap();
        std::fs::write(folder.join("secret"), "one").unwrap();
        let stage = Stage::new();
        let brain = brain(&stage, &folder);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Play { stage, brain, query, folder, runtime }
    }

    fn restart(&mut self) {
        // The database has its file until it is dropped.
        self.brain = bare(&self.stage, &self.folder, None);
        self.brain = brain(&self.stage, &self.folder);
    }

    /// What a template would be told; why not, if it is told nothing.
    fn read(&mut self) -> Result<Value, String> {
        self.brain.begin();
        let needed = self.runtime.block_on(self.brain.need(&self.query, None));
        needed.map_err(|unanswered| unanswered.trouble.map_or("too early".to_owned(), |why| why.text))?;
        let known = self.brain.known();
        known.numbers.json(&known.answers[&self.query])
    }

    /// Goes to the next moment at which something is due, and does it. Whether the answer is another, or what went wrong.
    fn next(&mut self) -> Result<bool, String> {
        let next = self.brain.next().unwrap();
        self.stage.now.set(next.max(self.stage.now.get()));
        self.brain.begin();
        let (changed, mut wrong) = self.runtime.block_on(self.brain.refresh());
        match wrong.pop() {
            Some((_, trouble, _)) => Err(trouble.text),
            None => Ok(changed.contains(&self.query)),
        }
    }

    /// What was asked since this was asked last, and after how many seconds.
    fn asked(&self) -> Vec<(i64, String)> {
        let mut asked = std::mem::take(&mut *self.stage.asked.borrow_mut());
        asked.retain(|(_, path)| !path.starts_with("sys/internal/"));
        asked
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn brain(stage: &Rc<Stage>, folder: &std::path::Path) -> Brain<Stage> {
    let stale_max = Duration::from_secs(86_400);
    let plan = CachePlan { folder: folder.join("kept"), stale_max, needed: Needed::Yes };
    bare(stage, folder, Some(Rc::new(Cache::open(&plan, stage.now()).unwrap())))
}

fn bare(stage: &Rc<Stage>, folder: &std::path::Path, cache: Option<Rc<Cache>>) -> Brain<Stage> {
    let secret_id = SecretId {
        proof: Proof { path: folder.join("secret"), after_reading: AfterReading::Remove },
        wrapped_at: None,
    };
    let method = Method::Approle { role_id: folder.join("role"), secret_id: Some(secret_id) };
    let identity = Identity::new(method, "approle".to_owned(), Rc::new(Machine));
    let identity = match &cache {
        Some(cache) => identity.with_drawer(Rc::clone(cache), "https://server"),
        None => identity,
    };
    let source = Source::new(Rc::clone(stage), Rc::new(Mutex::new(identity)), Rc::clone(stage));
    Brain::new(source, Habit::default(), cache)
}

fn leased() -> Query {
    Query::Read("database/creds/app".to_owned())
}

fn at(seconds: i64, path: &str) -> (i64, String) {
    (seconds, path.to_owned())
}

const LOGIN: &str = "auth/approle/login";
const READ: &str = "database/creds/app";
const RENEW: &str = "sys/leases/renew";

#[test]
fn a_lease_is_renewed_at_two_thirds_and_its_secret_is_the_same() {
    let mut play = Play::begin("renewed", leased());
    assert_eq!(play.read().unwrap()["Data"]["password"], "of lease.2");
    assert_eq!(play.asked(), [at(0, LOGIN), at(0, READ)]);
    for round in 1..=5 {
        assert_eq!(play.next(), Ok(false), "the secret is the same");
        assert_eq!(play.asked(), [at(600 * round, RENEW)]);
    }
    assert_eq!(play.read().unwrap()["Data"]["password"], "of lease.2");
}

#[test]
fn a_lease_at_its_last_end_is_given_up_for_a_new_one() {
    let mut play = Play::begin("given-up", leased());
    play.stage.most.set(2_000);
    play.read().unwrap();
    play.asked();
    // 900 s at 600, 800 s at 1200, 267 s at 1733: less than half of what it was, so there is a new one.
    assert_eq!([play.next(), play.next()], [Ok(false), Ok(false)]);
    assert_eq!(play.next(), Ok(true), "another secret");
    assert_eq!(play.asked(), [at(600, RENEW), at(1200, RENEW), at(1733, RENEW), at(1733, READ)]);
    assert_eq!(play.read().unwrap()["Data"]["password"], "of lease.3");
    assert_eq!(play.next(), Ok(false));
    assert_eq!(play.asked(), [at(2333, RENEW)], "the new one has a life of its own");
}

#[test]
fn a_lease_that_was_revoked_or_cannot_be_renewed_is_asked_for_anew() {
    let mut play = Play::begin("revoked", leased());
    play.read().unwrap();
    play.stage.lent.borrow_mut().remove("lease.2");
    play.asked();
    assert_eq!(play.next(), Ok(true));
    assert_eq!(play.asked(), [at(600, RENEW), at(600, READ)]);
    play.stage.renewable.set(false);
    play.stage.lent.borrow_mut().remove("lease.3");
    assert_eq!(play.next(), Ok(true));
    play.asked();
    assert_eq!(play.next(), Ok(true), "one that says it cannot be renewed is not tried");
    assert_eq!(play.asked(), [at(1800, READ)]);
}

#[test]
fn a_token_that_a_template_made_is_renewed_by_itself() {
    let query = Query::Write("auth/token/create".to_owned(), BTreeMap::new());
    let mut play = Play::begin("token", query);
    play.stage.most.set(1_700);
    assert_eq!(play.read().unwrap()["Auth"]["ClientToken"], "made.2");
    play.asked();
    assert_eq!(play.next(), Ok(false));
    assert_eq!(play.next(), Ok(false));
    assert_eq!(play.next(), Ok(true), "near its last end it is replaced");
    let renew = "auth/token/renew-self";
    assert_eq!(
        play.asked(),
        [at(600, renew), at(1200, renew), at(1533, renew), at(1533, "auth/token/create")]
    );
}

#[test]
fn a_renewal_that_finds_no_server_is_tried_again_before_the_lease_ends() {
    let mut play = Play::begin("outage", leased());
    play.read().unwrap();
    play.asked();
    play.stage.up.set(false);
    for _ in 0..20 {
        assert!(play.next().is_err());
    }
    assert!(play.stage.since_start() < 900, "{}", play.stage.since_start());
    assert!(play.asked().iter().all(|(_, path)| path == RENEW));
    play.stage.up.set(true);
    assert_eq!(play.next(), Ok(false), "it is the same lease");
    // An outage that is longer than the lease costs a new one.
    play.stage.up.set(false);
    assert!(play.next().is_err());
    play.stage.lent.borrow_mut().remove("lease.2");
    play.stage.up.set(true);
    assert_eq!(play.next(), Ok(true));
}

/// The secret id is gone after its first use: what a restart stands on is the token and the answers of the cache.
#[test]
fn an_agent_without_its_secret_id_starts_from_what_it_kept() {
    let mut play = Play::begin("offline", leased());
    play.read().unwrap();
    let file = play.folder.join("secret");
    assert!(!file.exists(), "it is taken away after its use");
    play.stage.up.set(false);
    play.restart();
    assert_eq!(play.read().unwrap()["Data"]["password"], "of lease.2", "from the cache");
    assert!(play.stage.said.borrow().iter().any(|line| line.contains("comes from the cache")));
    // The server is back: the token of the last run serves, without a login.
    play.stage.up.set(true);
    play.asked();
    assert_eq!(play.next(), Ok(true));
    let paths: Vec<String> = play.asked().into_iter().map(|(_, path)| path).collect();
    assert_eq!(paths, ["auth/token/lookup-self", READ]);
    // The server does not know the token any more, and answers: then nothing comes from the cache.
    play.stage.lent.borrow_mut().clear();
    play.restart();
    let why = play.read().unwrap_err();
    assert!(why.contains("nothing to log in with") && why.contains("secret"), "{why}");
    // Nor is there a token to try at the next start; while nobody answers, the cache is good all the same.
    play.stage.up.set(false);
    play.restart();
    play.asked();
    assert!(play.read().is_ok());
    let paths: Vec<String> = play.asked().into_iter().map(|(_, path)| path).collect();
    assert_eq!(paths, ["sys/health"]);
    // A new secret id is taken when it lies there.
    play.stage.up.set(true);
    play.stage.secrets.borrow_mut().push("two".to_owned());
    std::fs::write(&file, "two").unwrap();
    play.brain.hurry();
    assert_eq!(play.next(), Ok(true));
    assert!(!file.exists());
}

/// A secret id is not lost to an outage: it goes when it has served.
#[test]
fn a_secret_id_stays_until_it_has_served() {
    let mut play = Play::begin("unspent", leased());
    play.stage.up.set(false);
    let why = play.read().unwrap_err();
    assert!(why.contains("logging in"), "{why}");
    assert!(play.folder.join("secret").exists());
    play.restart();
    play.stage.up.set(true);
    assert!(play.read().is_ok());
    assert!(!play.folder.join("secret").exists());
}

/// A server that does not take what the agent remembers is not asked again and again: that would lock the agent out.
#[test]
fn a_proof_that_was_refused_is_shown_again_only_after_long() {
    let mut play = Play::begin("refused", leased());
    play.read().unwrap();
    let logins = |play: &Play| play.asked().into_iter().filter(|(_, path)| path == LOGIN).count();
    assert_eq!(logins(&play), 1);
    // The secret id was good once, and the token ends.
    play.stage.lent.borrow_mut().clear();
    for _ in 0..12 {
        let why = play.next().unwrap_err();
        assert!(why.contains("has served its time: put a new one there"), "{why}");
    }
    let seconds = play.stage.since_start();
    assert!(seconds >= 600 && logins(&play) <= 1 + usize::try_from(seconds / 1200).unwrap(), "{seconds}");
    play.stage.secrets.borrow_mut().push("two".to_owned());
    std::fs::write(play.folder.join("secret"), "two").unwrap();
    play.brain.hurry();
    assert_eq!(play.next(), Ok(true));
}

#[test]
fn a_token_that_cannot_be_renewed_at_the_moment_is_good_to_its_end() {
    const RENEW_SELF: &str = "auth/token/renew-self";
    let mut play = Play::begin("ailing", leased());
    play.read().unwrap();
    play.stage.ails.set(true);
    // The lease is asked for anew, so that the token is needed.
    play.stage.renewable.set(false);
    play.stage.lent.borrow_mut().remove("lease.2");
    play.stage.now.set(Moment::from_seconds(START + 80_000));
    play.asked();
    play.brain.hurry();
    assert_eq!(play.next(), Ok(true));
    assert!(play.asked().contains(&at(80_000, RENEW_SELF)));
    // Whoever asks through the agent has it, too, and asks for no more than that.
    let identity = Rc::clone(&play.brain.source.identity);
    let lend = || play.runtime.block_on(async { identity.lock().await.lent(&*play.stage).await });
    for _ in 0..9 {
        assert_eq!(lend().unwrap().as_str(), "login.1");
    }
    assert_eq!(play.asked(), []);
    // Once it is over there is none; nobody logs in for those who ask.
    play.stage.now.set(Moment::from_seconds(START + 90_000));
    for _ in 0..9 {
        assert!(lend().is_err());
    }
    assert_eq!(play.asked(), []);
}
