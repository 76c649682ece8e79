//! What lies outside is asked, changed and cleaned up, whatever fails and whenever the plug is pulled: when all is
//! quiet, just what is leased is there.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use kernel::{Handled, Registry, Settings};
use kit::Verb::{Get, Post};
use kit::{
    AnyEngine, AnyMethod, Ask, Call, Command, Effect, Endpoint, Engine, Error, Fault, Query, Reading,
    Recording, Reply, Result, Route, Secret, Soon, Table, Time, Told, World, Writing, ask, command, effect,
    query,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::faulty::PowerCut;
use tests::desk::{Desk, Everything, Said, Surroundings, request};

/// An engine that makes users in a directory outside, as a database engine does.
struct Rented;

const ROOT: Table<String> = Table::new(1);

impl Engine for Rented {
    const NAME: &'static str = "rented";
    const ABOUT: &'static str = "Users of a directory outside, for a while.";
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        effect::<_, Rent>(),
        effect::<_, Turn>(),
        ask::<_, Lookup>(),
        ask::<_, Refresh>(),
        command::<_, PutDirectory>(),
        query::<_, Root>(),
        query::<_, Refreshed>(),
    ];

    fn open(_: &Value) -> Result<Self> {
        Ok(Self)
    }
}

/// Makes a user.
#[derive(Deserialize, JsonSchema)]
struct Rent {
    /// What the user is for.
    name: String,
}

#[derive(Deserialize, Serialize)]
struct User {
    url: String,
    user: String,
}

#[derive(JsonSchema, Serialize)]
struct Made {
    user: String,
}

impl Effect<Rented> for Rent {
    const ROUTE: Route = Route::post("creds/{name}");
    type Plan = User;
    type Done = u16;
    type Reply = Made;

    fn plan(self, _: &Rented, cx: &mut Writing<'_>) -> Result<User> {
        let user = format!("{}-{:016x}", self.name, u64::from_be_bytes(cx.random()));
        Ok(User { url: format!("dir/{user}"), user })
    }

    async fn act(_: &Rented, plan: &User, world: &dyn World) -> Result<u16> {
        done(world.fetch(call("PUT", &plan.url)).await?)
    }

    async fn renew(_: &Rented, plan: &User, until: Time, world: &dyn World) -> Result<()> {
        let call = Call { body: until.rfc3339().into_bytes(), ..call("PATCH", &plan.url) };
        world.fetch(call).await.and_then(done).map(drop)
    }

    async fn undo(_: &Rented, plan: &User, world: &dyn World) -> Result<()> {
        world.fetch(call("DELETE", &plan.url)).await.and_then(done).map(drop)
    }

    fn record(_: &Rented, plan: &User, _: &u16, cx: &mut Writing<'_>) -> Result<Reply<Made>> {
        cx.hold::<Rented, Self>(Duration::from_secs(3600), None, plan)?;
        Ok(Made { user: plan.user.clone() }.into())
    }
}

/// Turns the password of the directory's root, every day.
#[derive(Deserialize, JsonSchema, Serialize)]
struct Turn {}

impl Effect<Rented> for Turn {
    const ROUTE: Route = Route::internal("turn").every(Duration::from_secs(86_400));
    type Plan = User;
    type Done = u16;
    type Reply = kit::Nothing;

    fn plan(self, _: &Rented, cx: &mut Writing<'_>) -> Result<User> {
        let user = format!("{:016x}", u64::from_be_bytes(cx.random()));
        Ok(User { url: format!("root/{user}"), user })
    }

    async fn act(_: &Rented, plan: &User, world: &dyn World) -> Result<u16> {
        done(world.fetch(call("PUT", &plan.url)).await?)
    }

    async fn undo(_: &Rented, plan: &User, world: &dyn World) -> Result<()> {
        world.fetch(call("DELETE", &plan.url)).await.and_then(done).map(drop)
    }

    fn record(_: &Rented, plan: &User, _: &u16, cx: &mut Writing<'_>) -> Result<Reply<kit::Nothing>> {
        ROOT.put(cx, "root", &plan.user)?;
        Ok(Reply::Nothing)
    }
}

/// Shows the password of the directory's root.
#[derive(Deserialize, JsonSchema)]
struct Root {}

impl Query<Rented> for Root {
    const ROUTE: Route = Route::get("root");
    type Reply = Made;

    fn run(self, _: &Rented, cx: &Reading<'_>) -> Result<Reply<Made>> {
        let user = ROOT.get(cx, "root")?.ok_or_else(Error::not_found)?;
        Ok(Made { user }.into())
    }
}

/// Chooses the directory.
#[derive(Deserialize, JsonSchema)]
struct PutDirectory {
    /// Which.
    at: String,
}

impl Command<Rented> for PutDirectory {
    const ROUTE: Route = Route::post("directory");
    type Reply = kit::Nothing;

    fn run(self, _: &Rented, cx: &mut Writing<'_>) -> Result<Reply<kit::Nothing>> {
        ROOT.put(cx, "directory", &self.at)?;
        Ok(Reply::Nothing)
    }
}

/// Asks the directory about a user.
#[derive(Deserialize, JsonSchema)]
struct Lookup {
    /// Whom.
    name: String,
}

#[derive(JsonSchema, Serialize)]
struct Shown {
    status: u16,
    directory: String,
}

impl Ask<Rented> for Lookup {
    const ROUTE: Route = Route::get("lookup/{name}");
    type Facts = String;
    type Heard = u16;
    type Reply = Shown;

    fn facts(&self, _: &Rented, cx: &Recording<'_>) -> Result<String> {
        ROOT.get(cx, "directory")?.ok_or_else(|| Error::invalid("no directory is configured"))
    }

    async fn ask(&self, facts: &String, world: &dyn World) -> Result<u16> {
        Ok(world.fetch(call("GET", &format!("{facts}/{}", self.name))).await?.status)
    }

    fn run(self, _: &Rented, heard: &u16, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        let directory = ROOT.get(cx, "directory")?.unwrap_or_default();
        ROOT.put(cx, "last", &self.name)?;
        Ok(Shown { status: *heard, directory }.into())
    }
}

/// Asks the directory for what is new, every day.
#[derive(Deserialize, JsonSchema, Serialize)]
struct Refresh {}

impl Ask<Rented> for Refresh {
    const ROUTE: Route = Route::internal("refresh").every(Duration::from_secs(86_400));
    type Facts = String;
    type Heard = String;
    type Reply = kit::Nothing;

    fn facts(&self, _: &Rented, cx: &Recording<'_>) -> Result<String> {
        ROOT.get(cx, "directory")?.ok_or_else(|| Error::invalid("no directory is configured"))
    }

    async fn ask(&self, facts: &String, world: &dyn World) -> Result<String> {
        world.fetch(call("GET", facts)).await?;
        Ok(facts.clone())
    }

    fn run(self, _: &Rented, heard: &String, cx: &mut Writing<'_>) -> Result<Reply<kit::Nothing>> {
        ROOT.put(cx, "refreshed", heard)?;
        Ok(Reply::Nothing)
    }
}

/// Shows from which directory the last news came.
#[derive(Deserialize, JsonSchema)]
struct Refreshed {}

impl Query<Rented> for Refreshed {
    const ROUTE: Route = Route::get("refreshed");
    type Reply = Made;

    fn run(self, _: &Rented, cx: &Reading<'_>) -> Result<Reply<Made>> {
        let user = ROOT.get(cx, "refreshed")?.ok_or_else(Error::not_found)?;
        Ok(Made { user }.into())
    }
}

fn call(method: &'static str, url: &str) -> Call {
    Call {
        method,
        url: url.to_owned(),
        headers: vec![("x".into(), Secret::new("y".to_owned()))],
        ..Call::default()
    }
}

fn done(told: Told) -> Result<u16> {
    match told.status {
        200 => Ok(told.status),
        status => Err(Error::new(Fault::Upstream, format!("the directory says {status}"))),
    }
}

/// A directory outside that does what it is told, or what a test tells it to do instead.
#[derive(Clone, Default)]
pub(crate) struct Directory(Arc<Mutex<Shelves>>);

#[derive(Default)]
struct Shelves {
    there: BTreeMap<String, String>,
    mood: Mood,
    calls: usize,
    /// Something that happens here while a question is being asked.
    meanwhile: Option<(String, Box<dyn FnOnce() + Send>)>,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// It does what it is told, and says it did not.
    Lies,
    /// It says no and does nothing.
    Down,
    /// It does what it is told and never answers.
    Mute,
    /// The same, and nobody's patience ends meanwhile.
    Asleep,
}

impl World for Directory {
    fn now(&self) -> Time {
        Time::from_seconds(0)
    }

    fn pause(&self, _: Duration) -> Soon<'_, ()> {
        // Patience ends at once with the one that never answers; `patiently` looks at the answer first.
        match self.0.lock().unwrap().mood {
            Mood::Asleep => Box::pin(std::future::pending()),
            _ => Box::pin(std::future::ready(())),
        }
    }

    fn fetch(&self, call: Call) -> Soon<'_, Result<Told>> {
        let meanwhile =
            self.0.lock().unwrap().meanwhile.take_if(|(url, _)| call.url.starts_with(url.as_str()));
        if let Some((_, meanwhile)) = meanwhile {
            meanwhile();
        }
        let mut shelves = self.0.lock().unwrap();
        shelves.calls += 1;
        let mood = shelves.mood;
        if mood == Mood::Down {
            return Box::pin(std::future::ready(Err(Error::new(Fault::Upstream, "the directory is down"))));
        }
        let known = shelves.there.contains_key(&call.url);
        match call.method {
            "PUT" | "PATCH" => {
                shelves.there.insert(call.url, String::from_utf8(call.body).unwrap());
            }
            "DELETE" => {
                shelves.there.remove(&call.url);
            }
            _ => {}
        }
        match mood {
            Mood::Mute | Mood::Asleep => Box::pin(std::future::pending()),
            Mood::Lies => Box::pin(std::future::ready(Ok(Told { status: 500, ..Told::default() }))),
            _ => {
                let status = if call.method == "GET" && !known { 404 } else { 200 };
                Box::pin(std::future::ready(Ok(Told { status, ..Told::default() })))
            }
        }
    }

    fn dial<'a>(&'a self, _: &'a str, _: u16) -> Soon<'a, Result<std::net::TcpStream>> {
        Box::pin(std::future::ready(Err(Error::new(Fault::Upstream, "nobody is there"))))
    }
}

impl Directory {
    pub(crate) fn mood(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    /// Something happens while what begins like this is asked for, once.
    pub(crate) fn when_asked(&self, url: &str, what: impl FnOnce() + Send + 'static) {
        self.0.lock().unwrap().meanwhile = Some((url.to_owned(), Box::new(what)));
    }

    pub(crate) fn there(&self, folder: &str) -> Vec<String> {
        self.0
            .lock()
            .unwrap()
            .there
            .keys()
            .filter_map(|url| url.strip_prefix(folder))
            .map(str::to_owned)
            .collect()
    }

    /// How often it was called.
    pub(crate) fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    fn until(&self, user: &str) -> String {
        self.0.lock().unwrap().there[&format!("dir/{user}")].clone()
    }
}

struct WithRented;

impl Registry for WithRented {
    fn engine(&self, kind: &str, options: &Value) -> Result<Arc<dyn AnyEngine>> {
        if kind == Rented::NAME { Ok(Arc::new(Rented)) } else { Everything.engine(kind, options) }
    }

    fn method(&self, kind: &str, options: &Value) -> Result<(Arc<dyn AnyEngine>, Arc<dyn AnyMethod>)> {
        Everything.method(kind, options)
    }

    fn engine_kinds(&self) -> &'static [&'static str] {
        &["kv", "rented"]
    }

    fn method_kinds(&self) -> &'static [&'static str] {
        Everything.method_kinds()
    }
}

pub(crate) fn desk(seed: u64) -> (Desk, Directory) {
    let directory = Directory::default();
    let surroundings = Surroundings { registry: Arc::new(WithRented), world: Arc::new(directory.clone()) };
    let desk = Desk::within(seed, Settings { allow_audit_api: true, ..Settings::default() }, surroundings);
    desk.ask(Post, "sys/mounts/r", r#"{"type":"rented"}"#).expect(204);
    (desk, directory)
}

pub(crate) fn rent(desk: &Desk) -> (String, String) {
    let said = desk.ask(Post, "r/creds/web", "{}").expect(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&said.json["data"]["user"]), text(&said.json["lease_id"]))
}

fn revoke(desk: &Desk, lease: &str) -> Said {
    desk.ask(Post, "sys/leases/revoke", &json!({ "lease_id": lease }).to_string())
}

#[test]
fn what_is_made_outside_lasts_as_long_as_its_lease() {
    let (desk, directory) = desk(1);
    let (user, lease) = rent(&desk);
    assert_eq!(directory.there("dir/"), std::slice::from_ref(&user));
    desk.wait(Duration::from_secs(3000));
    desk.tick();
    assert_eq!(directory.there("dir/").len(), 1);
    let renew = json!({ "lease_id": lease, "increment": 3600 }).to_string();
    desk.ask(Post, "sys/leases/renew", &renew).expect(200);
    assert!(directory.until(&user).starts_with("2026-01-01T01:50"), "{}", directory.until(&user));
    desk.wait(Duration::from_secs(3500));
    desk.tick();
    assert_eq!(directory.there("dir/").len(), 1, "it was renewed");
    desk.wait(Duration::from_secs(200));
    desk.tick();
    assert!(directory.there("dir/").is_empty());
    desk.ask(Post, "sys/leases/lookup", &json!({ "lease_id": lease }).to_string()).expect(400);
}

#[test]
fn who_revokes_waits_until_it_is_gone_outside() {
    let (desk, directory) = desk(2);
    let (_, lease) = rent(&desk);
    revoke(&desk, &lease).expect(204);
    assert!(directory.there("dir/").is_empty(), "before anything ticks");
    let (user, lease) = rent(&desk);
    directory.mood(Mood::Down);
    let said = revoke(&desk, &lease).expect(502);
    assert_eq!(said.error(), "the directory is down");
    assert_eq!(directory.there("dir/"), [user]);
    let renew = json!({ "lease_id": lease }).to_string();
    let said = desk.ask(Post, "sys/leases/renew", &renew).expect(400);
    assert_eq!(said.error(), "lease is being revoked");
    directory.mood(Mood::Well);
    desk.wait(Duration::from_secs(20));
    desk.tick();
    assert!(directory.there("dir/").is_empty(), "it is tried again by itself");
}

#[test]
fn what_failed_half_way_is_undone() {
    for mood in [Mood::Lies, Mood::Mute] {
        let (desk, directory) = desk(3);
        directory.mood(mood);
        let said = desk.ask(Post, "r/creds/web", "{}").expect(502);
        assert!(!said.error().is_empty());
        assert_eq!(directory.there("dir/").len(), 1, "it was made all the same");
        directory.mood(Mood::Well);
        desk.tick();
        assert!(directory.there("dir/").is_empty(), "and unmade");
    }
}

#[test]
fn what_a_crash_cut_off_is_undone() {
    let (desk, directory) = desk(4);
    let (kept, _) = rent(&desk);
    directory.mood(Mood::Mute);
    let asked = request(&desk.root, Post, "r/creds/web", "{}");
    let Handled::Later(pending) = desk.kernel.handle(&asked) else { panic!("an effect waits") };
    {
        // It is under way outside, and then there is no more of this server.
        let mut finishing = pin!(desk.kernel.finish(pending, &asked));
        let _ = finishing.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    let desk = desk.crash(PowerCut::Sectors);
    directory.mood(Mood::Well);
    desk.wait(Duration::from_secs(300));
    desk.tick();
    assert_eq!(directory.there("dir/"), [kept]);
}

#[test]
fn when_all_is_quiet_just_what_is_leased_is_there() {
    let mut cuts = 0;
    for at in 1.. {
        let (desk, directory) = desk(5);
        let (_, first) = rent(&desk);
        desk.disk.cut_at(desk.disk.changes() + at);
        let rented = desk.ask(Post, "r/creds/web", "{}");
        let revoked = revoke(&desk, &first);
        let quiet = desk.disk.fired() == 0;
        let desk = desk.crash(PowerCut::Sectors);
        desk.wait(Duration::from_secs(300));
        desk.tick();
        let leased = desk.ask(kit::Verb::List, "sys/leases/lookup/r/creds/web", "");
        let leased = leased.json["data"]["keys"].as_array().map_or(0, Vec::len);
        assert_eq!(directory.there("dir/").len(), leased, "cut at {at}");
        if rented.status == 200 && revoked.status == 204 {
            assert_eq!(leased, 1, "cut at {at}: what was acknowledged is there");
        }
        if quiet {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 5, "{cuts} cuts prove nothing");
}

#[test]
fn what_cannot_be_undone_is_listed_and_can_be_forced() {
    let (desk, directory) = desk(6);
    let (user, lease) = rent(&desk);
    let irrevocable = |desk: &Desk| crate::metrics::gauge(desk, "vault.expire.num_irrevocable_leases");
    assert_eq!(irrevocable(&desk), 0.0);
    directory.mood(Mood::Down);
    for _ in 0..12 {
        desk.wait(Duration::from_secs(7200));
        desk.tick();
    }
    let said = desk.ask(Get, "sys/leases?type=irrevocable", "").expect(200);
    assert_eq!(said.json["data"]["lease_count"], 1, "{said:?}");
    assert_eq!(irrevocable(&desk), 1.0, "by each commit");
    assert_eq!(directory.there("dir/"), [user]);
    directory.mood(Mood::Well);
    let desk = desk.crash(PowerCut::Sectors);
    assert_eq!(irrevocable(&desk), 1.0, "by a look at all");
    desk.ask(Post, "sys/leases/revoke-force/r/creds", "{}").expect(204);
    desk.tick();
    assert_eq!(irrevocable(&desk), 0.0);
    assert!(directory.there("dir/").is_empty());
    desk.ask(Post, "sys/leases/lookup", &json!({ "lease_id": lease }).to_string()).expect(400);
}

#[test]
fn a_rotation_outside_runs_by_itself_and_leaves_one_password() {
    let (desk, directory) = desk(7);
    desk.ask(Get, "r/root", "").expect(404);
    for day in 0..3 {
        desk.wait(Duration::from_secs(86_400));
        desk.tick();
        let shown = desk.ask(Get, "r/root", "").expect(200).json["data"]["user"].as_str().unwrap().to_owned();
        assert!(directory.there("root/").contains(&shown), "day {day}");
    }
    assert_eq!(directory.there("root/").len(), 3);
    // A rotation that fails is undone, and tried again.
    directory.mood(Mood::Lies);
    desk.wait(Duration::from_secs(86_400));
    desk.tick();
    directory.mood(Mood::Well);
    desk.wait(Duration::from_secs(600));
    desk.tick();
    assert_eq!(directory.there("root/").len(), 4);
}

#[test]
fn an_ask_decides_on_what_it_was_told() {
    let (desk, directory) = desk(8);
    assert_eq!(desk.ask(Get, "r/lookup/ann", "").expect(400).error(), "no directory is configured");
    desk.ask(Post, "r/directory", r#"{"at":"dir"}"#).expect(204);
    assert_eq!(desk.ask(Get, "r/lookup/ann", "").expect(200).json["data"]["status"], 404);
    let (user, _) = rent(&desk);
    assert_eq!(desk.ask(Get, &format!("r/lookup/{user}"), "").expect(200).json["data"]["status"], 200);
    directory.mood(Mood::Mute);
    let said = desk.ask(Get, "r/lookup/ann", "").expect(502);
    assert!(said.error().starts_with("no answer from outside within"), "{said:?}");
    directory.mood(Mood::Down);
    assert_eq!(desk.ask(Get, "r/lookup/ann", "").expect(502).error(), "the directory is down");
}

#[test]
fn what_changed_while_it_was_asked_is_asked_anew() {
    let (desk, directory) = desk(9);
    desk.ask(Post, "r/directory", r#"{"at":"old"}"#).expect(204);
    let desk = Arc::new(desk);
    let (other, before) = (Arc::clone(&desk), directory.calls());
    directory.when_asked("old/", move || {
        other.ask(Post, "r/directory", r#"{"at":"new"}"#).expect(204);
    });
    let said = desk.ask(Get, "r/lookup/ann", "").expect(200);
    assert_eq!(said.json["data"]["directory"], "new");
    assert_eq!(directory.calls(), before + 2, "the answer of the old directory counts for nothing");
}

#[test]
fn news_of_a_directory_that_was_given_up_meanwhile_count_for_nothing() {
    let (desk, directory) = desk(10);
    desk.ask(Post, "r/directory", r#"{"at":"old"}"#).expect(204);
    let desk = Arc::new(desk);
    let other = Arc::clone(&desk);
    desk.wait(Duration::from_secs(86_400));
    // The first to go outside on this day may be the rotation: the directory changes with the question for news.
    directory.when_asked("old", move || {
        other.ask(Post, "r/directory", r#"{"at":"new"}"#).expect(204);
    });
    desk.tick();
    desk.ask(Get, "r/refreshed", "").expect(404);
    desk.wait(Duration::from_secs(600));
    desk.tick();
    assert_eq!(desk.ask(Get, "r/refreshed", "").expect(200).json["data"]["user"], "new");
}

#[test]
fn who_may_no_more_when_the_answer_is_there_gets_nothing() {
    let (desk, directory) = desk(11);
    desk.ask(Post, "r/directory", r#"{"at":"dir"}"#).expect(204);
    desk.ask(Post, "sys/policies/acl/r", r#"{"policy":"path \"r/*\" { policy = \"write\" }"}"#).expect(204);
    let desk = Arc::new(desk);
    for (verb, path) in [(Get, "r/lookup/ann"), (Post, "r/creds/ann")] {
        let body = r#"{"policies":["r"],"ttl":"1h"}"#;
        let token = desk.ask(Post, "auth/token/create", body).expect(200).token();
        let (other, revoked) = (Arc::clone(&desk), format!(r#"{{"token":"{token}"}}"#));
        directory.when_asked("dir/", move || {
            other.ask(Post, "auth/token/revoke", &revoked).expect(204);
        });
        desk.ask_as(&token, verb, path, "").expect(403);
    }
    desk.tick();
    assert!(directory.there("dir/").is_empty(), "what was made for them is undone");
}
