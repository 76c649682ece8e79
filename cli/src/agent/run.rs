//! The agent at work: one task for each certificate and each identity, until it is told to end.

use std::{cell::RefCell, collections::HashSet, path::Path, rc::Rc, time::Duration};

use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Mutex, mpsc},
    task::{JoinSet, LocalSet},
};

use super::{
    alerts,
    bell::{self, Bell, Ropes},
    cache::{Cache, CachePlan, Needed},
    clock::{Clock, Ticks},
    config::{Config, Metrics, Post, Secrets, Server},
    course::Course,
    disk::{self, Disk, Machine},
    export, handover,
    here::{self, Here},
    ledger::Ledger,
    log::{Level, Log},
    login::{Identity, Method},
    moment::Moment,
    proxy::{self, Desk},
    repeats::Repeats,
    shelf::Shelf,
    sinks,
    templates::{Source, Work},
    world::World,
};
use crate::stop::{LOCAL, Outcome, Stop};

/// No sleep is longer: after the machine was suspended the clock is looked at again within this.
const SLEEP_MAX: Duration = Duration::from_secs(20);
/// And none shorter, whatever a schedule says.
const SLEEP_MIN: Duration = Duration::from_millis(20);
/// A program that the agent runs is given this long to end; it is asked, and then killed, before.
const ENDING_TIME_MAX: Duration = Duration::from_secs(35);
/// A single run tries so often.
const ONCE_TRIES: u32 = 3;

/// Runs until a signal ends it, or everything is there if that is all that was asked.
pub(crate) async fn run(config: Config, once: Once) -> Outcome {
    let log = Rc::new(Log::open(&config.log).map_err(Stop::local)?);
    match LocalSet::new().run_until(work(config, once, Rc::clone(&log))).await {
        // Whoever reads JSON reads this too.
        Err(Stop::Failed { code, message, hint }) if log.is_json() => {
            let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
            log.write(Level::Error, &format!("{message}{hint}"));
            Ok(code)
        }
        outcome => outcome,
    }
}

/// Whether to end once everything is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Once {
    Yes,
    No,
}

/// Opens a course in the real world.
pub(crate) fn courses(post: &Post, identity: &Rc<Mutex<Identity>>, ledger: &Rc<Ledger>) -> Vec<Course> {
    let open = |plan: &super::config::Certificate| {
        let shelf = Shelf::new(Rc::new(Machine), plan.folder.clone(), plan.owner);
        Course::open(plan.clone(), shelf, Rc::clone(identity), Rc::clone(ledger))
    };
    post.certificates.iter().map(open).collect()
}

async fn work(config: Config, once: Once, log: Rc<Log>) -> Outcome {
    let once = if config.exit_after { Once::Yes } else { once };
    let ledger = Rc::new(Ledger::default());
    let clock = Rc::new(Clock::new(Ticks));
    let (alert_sender, alert_receiver) = mpsc::unbounded_channel();
    let books = (Rc::clone(&ledger), Rc::clone(&log));
    let sending = tokio::task::spawn_local(alerts::send_all(alert_receiver, config.receivers, books));
    let mut ending = Ending::new()?;
    if let Some(file) = &config.pid_file {
        write_pid(file)?;
    }
    if let Some(address) = config.metrics.listen {
        export::listen(address, Rc::clone(&ledger)).await.map_err(Stop::local)?;
    }
    let mut tasks = JoinSet::new();
    let (bell, mut ropes) = bell::hang();
    let ground =
        Ground { clock, ledger: Rc::clone(&ledger), log: Rc::clone(&log), alerts: alert_sender, bell, once };
    let runs = config.posts.iter().any(|post| post.secrets.child.is_some());
    let patience = if runs { ENDING_TIME_MAX } else { Duration::ZERO };
    for post in config.posts {
        ground.begin(post, &mut tasks).await?;
    }
    for (server, secrets) in config.bare {
        let world = ground.world(&server, None);
        ground.open_doors(&server, secrets, world, None).await?;
        if once == Once::No {
            // Its doors are open until somebody ends the agent.
            tasks.spawn_local(std::future::pending());
        }
    }
    drop(ground);
    let writing =
        tokio::task::spawn_local(write_metrics(config.metrics, Rc::clone(&ledger), Rc::clone(&log)));
    let outcome = wait(tasks, &mut ropes, (&mut ending, &log), (sending, patience)).await;
    writing.abort();
    if let Some(file) = &config.pid_file {
        // It is gone or stale; the next start overwrites it.
        let _ = Machine.remove(file);
    }
    Ok(outcome)
}

/// Waits until all is done, somebody ends the agent, or a part of it says that it must end. The exit code.
async fn wait(
    mut tasks: JoinSet<bool>,
    ropes: &mut Ropes,
    (ending, log): (&mut Ending, &Log),
    (sending, patience): (tokio::task::JoinHandle<()>, Duration),
) -> u8 {
    let mut failed = false;
    let signal = {
        let ended = async {
            while let Some(done) = tasks.join_next().await {
                failed |= !matches!(done, Ok(true));
            }
        };
        tokio::select! {
            biased;
            Some(code) = ropes.verdict.recv() => return code,
            () = ended => None,
            signal = ending.asked() => Some(signal),
        }
    };
    let code = if failed { LOCAL } else { 0 };
    let Some(signal) = signal else {
        // A part that ended may have said with what; and the last alerts still go out.
        let _ = tokio::time::timeout(SLEEP_MAX, sending).await;
        return ropes.verdict.try_recv().unwrap_or(code);
    };
    log.write(Level::Info, "the agent ends; services keep what they have");
    // Nobody listens if there are no programs.
    let _ = ropes.closing.send(Some(signal));
    match tokio::time::timeout(patience, ropes.verdict.recv()).await {
        Ok(Some(child)) => child,
        Ok(None) | Err(_) => code,
    }
}

/// What all posts of an agent share.
struct Ground {
    clock: Rc<Clock<Ticks>>,
    ledger: Rc<Ledger>,
    log: Rc<Log>,
    alerts: mpsc::UnboundedSender<super::world::Alert>,
    bell: Bell,
    once: Once,
}

impl Ground {
    fn world(&self, server: &Server, namespace: Option<String>) -> Rc<Here> {
        Rc::new(Here {
            server: server.clone(),
            namespace,
            clock: Rc::clone(&self.clock),
            ledger: Rc::clone(&self.ledger),
            alerts: self.alerts.clone(),
            warned: RefCell::new(HashSet::new()),
            log: Rc::clone(&self.log),
            is_set_up: Default::default(),
        })
    }

    /// Begins all that one file says.
    async fn begin(&self, post: Post, tasks: &mut JoinSet<bool>) -> Result<(), Stop> {
        let world = self.world(&post.auth.server, post.auth.namespace.clone());
        let identity = Identity::new(post.auth.method.clone(), post.auth.mount.clone(), Rc::new(Machine));
        let cache = self.cache(post.secrets.cache.as_ref(), &world)?;
        let identity = match &cache {
            Some(cache) => identity.with_drawer(Rc::clone(cache), &world.whereabouts()),
            None => identity,
        };
        let identity = Rc::new(Mutex::new(identity));
        for course in courses(&post, &identity, &self.ledger) {
            tasks.spawn_local(follow(course, Rc::clone(&world), self.once));
        }
        let Post { auth, mut secrets, .. } = post;
        // A single run needs a token only when something asks for it.
        let lasting = self.once == Once::No && !secrets.is_empty();
        if lasting || !auth.sinks.is_empty() || matches!(auth.method, Method::TokenFile { .. }) {
            let holder = Rc::clone(&identity);
            let (ledger, bell) = (Rc::clone(&self.ledger), self.bell.clone());
            let (world, ways) = (Rc::clone(&world), (self.once, bell));
            match (auth.wrap_ttl, auth.sinks.first()) {
                (Some(ttl), Some(sink)) => {
                    let order = (sink.clone(), ttl, auth.pacing);
                    tasks.spawn_local(handover::hand_over(holder, order, world, ledger, ways));
                }
                _ => {
                    let order = (auth.sinks, auth.pacing);
                    tasks.spawn_local(sinks::keep(holder, order, world, ledger, ways));
                }
            }
        }
        let templates = std::mem::take(&mut secrets.templates);
        if !templates.is_empty() {
            // Secrets are where the agent's namespace is said to be, which is not where it logs in.
            let source = Source::new(self.world(&auth.server, None), Rc::clone(&identity), Rc::clone(&world));
            let ways = (self.once, self.bell.clone());
            let work = Work::new(templates, secrets.pace, source, cache, ways);
            tasks.spawn_local(work.run(secrets.child.take()));
        }
        self.open_doors(&auth.server, secrets, world, Some(identity)).await
    }

    fn cache(&self, plan: Option<&CachePlan>, world: &Here) -> Result<Option<Rc<Cache>>, Stop> {
        let Some(plan) = plan else { return Ok(None) };
        match Cache::open(plan, world.now()) {
            Ok(cache) => Ok(Some(Rc::new(cache))),
            Err(why) if plan.needed == Needed::Yes => Err(Stop::local(why)),
            Err(why) => {
                self.log.write(Level::Warn, &format!("{why}; the agent goes on without it"));
                Ok(None)
            }
        }
    }

    async fn open_doors(
        &self,
        server: &Server,
        secrets: Secrets,
        gate: Rc<Here>,
        identity: Option<Rc<Mutex<Identity>>>,
    ) -> Result<(), Stop> {
        // Nobody comes through the doors of an agent that is about to end.
        if secrets.doors.is_empty() || self.once == Once::Yes {
            return Ok(());
        }
        let client = here::client(server, &crate::settings::Settings::read())?;
        let parts = (Rc::clone(&self.ledger), self.bell.clone());
        let desk = Desk::new(client, (self.world(server, None), gate), identity, secrets.manners, parts);
        let desk = Rc::new(desk);
        for door in secrets.doors {
            proxy::open(door, Rc::clone(&desk)).await.map_err(Stop::local)?;
        }
        Ok(())
    }
}

/// Follows one certificate. `true` if a single run got it and its service shows it.
async fn follow(mut course: Course, world: Rc<Here>, once: Once) -> bool {
    let mut tries = 0;
    match once {
        Once::Yes => course.hasten(),
        Once::No => course.say_wait(world.as_ref()),
    }
    loop {
        let next = course.turn(world.as_ref()).await;
        if once == Once::Yes {
            if !course.is_alone() {
                return false;
            }
            if course.record.delivered && course.record.renew_at > world.now() {
                return true;
            }
            tries += 1;
            if tries >= ONCE_TRIES {
                return false;
            }
        }
        sleep_until(world.as_ref(), next).await;
    }
}

/// Passes the time until a moment.
pub(crate) async fn sleep_until(world: &Here, next: Moment) {
    loop {
        let left = next.since(world.now());
        tokio::time::sleep(left.clamp(SLEEP_MIN, SLEEP_MAX)).await;
        if world.now() >= next {
            return;
        }
    }
}

async fn write_metrics(metrics: Metrics, ledger: Rc<Ledger>, log: Rc<Log>) {
    let Some(path) = metrics.text_file else { return };
    let (clock, mut repeats) = (Clock::new(Ticks), Repeats::default());
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        match export::write(&path, &ledger) {
            Ok(()) => repeats.over(),
            Err(why) if repeats.is_news(&why, clock.now()) => log.write(Level::Warn, &why),
            Err(_) => {}
        }
    }
}

fn write_pid(file: &Path) -> Result<(), Stop> {
    let text = format!("{}\n", std::process::id());
    disk::replace(&Machine, file, text.as_bytes(), 0o644)
        .map_err(|e| Stop::local(format!("{} cannot be written: {e}", file.display())))
}

/// The signals that end it.
struct Ending {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    /// Heard so that it ends nothing: there is nothing to read again that is not read when it is needed.
    _hangup: tokio::signal::unix::Signal,
}

impl Ending {
    fn new() -> Result<Ending, Stop> {
        let heard = |kind| signal(kind).map_err(|e| Stop::local(format!("Signals cannot be heard: {e}")));
        Ok(Ending {
            terminate: heard(SignalKind::terminate())?,
            interrupt: heard(SignalKind::interrupt())?,
            _hangup: heard(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
        }
    }
}
