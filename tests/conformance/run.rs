//! Runs a script against both servers and reports every difference that nobody has given a reason for.

use crate::compare::{Difference, Seen, differences};
use crate::script::{Kept, Start, Step, fill, parse};
use std::cell::Cell;
use std::io;
use tests::binary::{Binary, setting};
use tests::http::{Client, Reply, Request};
use tests::scratch::Scratch;
use tests::server::{Config, DEV_TOKEN, Server, Storage};

/// One server, with what its answers gave so far.
pub(crate) struct Side {
    server: Server,
    kept: Kept,
    version: String,
    _folder: Scratch,
}

/// A difference that is meant, and why.
struct Allowed {
    area: String,
    needed: Use,
    request: String,
    pointer: String,
    used: Cell<bool>,
}

/// Where a difference must come up, so that its entry does not outlive it.
enum Use {
    /// In this area.
    In(String),
    /// Nowhere: whether it does is chance.
    Chance,
}

/// Runs one area on both servers.
pub(crate) fn check(area: &str, text: &str) {
    check_like(area, &[], text);
}

/// Runs what was recorded of these areas on both servers; what may differ there may differ here.
pub(crate) fn replay(part: &str, areas: &[&str], text: &str) {
    check_like(&format!("recorded/{part}"), areas, text);
}

fn check_like(area: &str, like: &[&str], text: &str) {
    let (start, steps) = parse(text);
    let mut oracle = Side::start(&Binary::bao(), start);
    let mut subject = Side::start(&Binary::sealkeep(), start);
    let allowed = allowed(include_str!("allowed.txt"));
    let mut report = Vec::new();
    let shown = setting("CONFORMANCE_SHOW").is_some();
    for step in &steps {
        let (expected, found) = (oracle.take(step), subject.take(step));
        if step.until.is_some() {
            continue;
        }
        if let Some(was) = step.was.filter(|was| *was != expected.status) {
            report.push(format!("{area}.req:{}: bao answered {was} and now says {expected}", step.line));
        }
        let verb = if step.verb == "PUT" { "POST" } else { &step.verb };
        let request = format!("{verb} {}", step.path);
        if shown {
            println!(
                "{request} {}\n    {}",
                step.body.as_deref().unwrap_or_default(),
                oracle.seen(&expected)
            );
        }
        for difference in differences(&oracle.seen(&expected), &subject.seen(&found)) {
            let meant: Vec<&Allowed> =
                allowed.iter().filter(|entry| entry.matches(area, like, &request, &difference)).collect();
            meant.iter().for_each(|entry| entry.used.set(true));
            if meant.is_empty() {
                report.push(format!("{area}.req:{} {request}\n    {difference}", step.line));
            }
        }
    }
    let needed = |entry: &&Allowed| matches!(&entry.needed, Use::In(here) if here == area);
    for entry in allowed.iter().filter(needed).filter(|entry| !entry.used.get()) {
        report.push(format!(
            "allowed.txt excuses what no longer differs: {}, {}",
            entry.request, entry.pointer
        ));
    }
    println!("{area}: {} requests compared", steps.len());
    assert!(report.is_empty(), "{} differences from bao:\n{}", report.len(), report.join("\n"));
}

impl Side {
    pub(crate) fn start(binary: &Binary, start: Start) -> Self {
        let folder = Scratch::new();
        let server = match start {
            Start::Dev => Server::dev(binary),
            Start::Blank => {
                let config = Config::new(Storage::Inmem, folder.path());
                Server::configured(binary, &config.with("unsafe_allow_api_audit_creation = true"))
            }
            Start::Recorded => {
                let config = Config::new(Storage::Inmem, folder.path());
                let looked_at =
                    "raw_storage_endpoint = true\nintrospection_endpoint = true\nprofiling_endpoint = true";
                Server::configured(binary, &config.with(looked_at))
            }
            Start::Open => {
                let config = Config::new(Storage::Inmem, folder.path())
                    .listening_with("disable_unauthed_rekey_endpoints = false")
                    .listening_with("disable_unauthed_generate_root_endpoints = false");
                Server::configured(binary, &config)
            }
        };
        let folder_name = folder.path().display().to_string();
        let mut kept = Kept::from([("folder".to_owned(), folder_name)]);
        if start == Start::Dev {
            kept.insert("root".to_owned(), DEV_TOKEN.to_owned());
        }
        let version = server.anonymous().get("sys/seal-status").at("/version");
        Self { server, kept, version, _folder: folder }
    }

    pub(crate) fn take(&mut self, step: &Step) -> Reply {
        let mut request = Request::new(&step.verb, &step.target(&self.kept));
        for (name, value) in &step.headers {
            request = request.header(name, &fill(value, &self.kept));
        }
        if let Some(body) = &step.body {
            request = request.body(self.fill_body(body));
        }
        let client = self.client(step);
        let reply = match step.until {
            None => client.send(&request),
            Some(status) => {
                self.server.until(&step.path, |_| client.send(&request).status == status);
                client.send(&request)
            }
        };
        for (name, pointer) in &step.keep {
            let json = reply.json();
            let value = json
                .pointer(pointer)
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            // A missing value shows as a difference of this answer; later lines then carry a name nobody knows.
            self.kept.insert(name.clone(), value.unwrap_or_else(|| format!("missing-{name}")));
        }
        reply
    }

    /// A body with what was kept; in JSON, what has several lines is one string.
    fn fill_body(&self, body: &str) -> String {
        if !body.starts_with(['{', '[', '"']) {
            return fill(body, &self.kept);
        }
        let one_line = |(name, value): (&String, &String)| (name.clone(), value.replace('\n', "\\n"));
        fill(body, &self.kept.iter().map(one_line).collect())
    }

    /// What the owner is answered; kept values are filled in.
    pub(crate) fn ask(&self, verb: &str, path: &str, body: Option<&str>) -> Reply {
        self.try_ask(verb, path, body).unwrap_or_else(|error| panic!("{verb} {path}: {error}"))
    }

    /// The same, from a server that may break off.
    pub(crate) fn try_ask(&self, verb: &str, path: &str, body: Option<&str>) -> io::Result<Reply> {
        let mut request = Request::new(verb, &format!("/v1/{}", fill(path, &self.kept)));
        if let Some(body) = body {
            request = request.body(self.fill_body(body));
        }
        let anonymous = self.server.anonymous();
        self.kept.get("root").map_or(anonymous.clone(), |root| anonymous.with(root)).try_send(&request)
    }

    fn client(&self, step: &Step) -> Client {
        let anonymous = self.server.anonymous();
        match step.token.as_deref() {
            Some("-") => anonymous,
            Some(token) => anonymous.with(&fill(token, &self.kept)),
            None => self.kept.get("root").map_or(anonymous.clone(), |root| anonymous.with(root)),
        }
    }

    fn seen<'a>(&'a self, reply: &'a Reply) -> Seen<'a> {
        Seen { reply, kept: &self.kept, address: self.server.address(), version: &self.version }
    }
}

impl Allowed {
    fn matches(&self, area: &str, like: &[&str], request: &str, difference: &Difference) -> bool {
        let here = glob(&self.area, area) || like.iter().any(|area| glob(&self.area, area));
        let pointer = self.pointer.trim_end_matches(['+', '~', '^']);
        let text = match self.pointer.strip_prefix(pointer) {
            Some("+") => difference.adds(),
            Some("~") => difference.refuses_the_same_field(),
            Some("^") => difference.blames_the_caller(),
            _ => true,
        };
        here && text && glob(pointer, &difference.pointer) && glob(&self.request, request)
    }
}

/// `area | request | pointer | reason`, with `*` for anything; an area may be `*:AREA` or end in `?`; a pointer may end in `+`, `~` or `^` (see the file); an entry without a reason is refused.
fn allowed(text: &str) -> Vec<Allowed> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let parse = |line: &str| {
        let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
        assert!(parts.len() == 4 && parts[3].len() > 10, "allowed.txt wants four parts and a reason: {line}");
        let (area, needed) = match (parts[0].strip_suffix('?'), parts[0].split_once(':')) {
            (Some(area), _) => (area, Use::Chance),
            (None, Some((area, needed_in))) => (area, Use::In(needed_in.to_owned())),
            (None, None) => (parts[0], Use::In(parts[0].to_owned())),
        };
        Allowed {
            area: area.to_owned(),
            needed,
            request: parts[1].to_owned(),
            pointer: parts[2].to_owned(),
            used: Cell::new(false),
        }
    };
    lines.map(parse).collect()
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let ends = (0..=rest.len()).filter(|&at| rest.is_char_boundary(at));
            ends.into_iter().any(|at| glob(after, &rest[at..]))
        }),
    }
}

#[test]
fn what_is_allowed_is_needed_in_an_area_that_is_there() {
    let folder = tests::binary::source_root().join("tests/conformance");
    for entry in allowed(include_str!("allowed.txt")) {
        let Use::In(area) = &entry.needed else { continue };
        assert!(folder.join(format!("{area}.req")).exists(), "{area} is no area: {}", entry.request);
        assert!(glob(&entry.area, area), "{area} is none of {}: {}", entry.area, entry.request);
    }
}

#[test]
fn globs_match_whole_texts() {
    assert!(glob("GET sys/*", "GET sys/mounts") && glob("*", "") && glob("/a/*/c", "/a/b/c"));
    assert!(!glob("GET sys/*", "GET kv/a") && !glob("/a", "/a/b"));
}
