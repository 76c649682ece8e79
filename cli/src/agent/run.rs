//! The agent at work: one task for each certificate and each identity, until it is told to end.

use std::{cell::RefCell, collections::HashSet, path::Path, rc::Rc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Mutex, mpsc},
    task::{JoinSet, LocalSet},
};

use super::{
    alerts,
    clock::{Clock, Ticks},
    config::{Config, Metrics, Post, Sink},
    course::Course,
    disk::{self, Disk, Machine},
    export,
    here::{self, Here},
    ledger::Ledger,
    login::{Identity, Method},
    moment::Moment,
    shelf::Shelf,
    world::World,
};
use crate::{
    output::warn,
    stop::{LOCAL, Outcome, Stop},
};

/// No sleep is longer: after the machine was suspended the clock is looked at again within this.
const SLEEP_MAX: Duration = Duration::from_secs(20);
/// And none shorter, whatever a schedule says.
const SLEEP_MIN: Duration = Duration::from_millis(20);
/// An identity that cannot be kept is tried again after this.
const IDENTITY_AGAIN: Duration = Duration::from_secs(15);
/// A single run tries so often.
const ONCE_TRIES: u32 = 3;

/// Runs until a signal ends it, or everything is there if that is all that was asked.
pub(crate) async fn run(config: Config, once: Once) -> Outcome {
    LocalSet::new().run_until(work(config, once)).await
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
        let shelf = Shelf { disk: Rc::new(Machine), folder: plan.folder.clone(), owner: plan.owner };
        Course::open(plan.clone(), shelf, Rc::clone(identity), Rc::clone(ledger))
    };
    post.certificates.iter().map(open).collect()
}

async fn work(config: Config, once: Once) -> Outcome {
    let once = if config.exit_after { Once::Yes } else { once };
    let ledger = Rc::new(Ledger::default());
    let clock = Rc::new(Clock::new(Ticks));
    let (alert_sender, alert_receiver) = mpsc::unbounded_channel();
    let sending =
        tokio::task::spawn_local(alerts::send_all(alert_receiver, config.receivers, Rc::clone(&ledger)));
    let mut ending = Ending::new()?;
    if let Some(file) = &config.pid_file {
        write_pid(file)?;
    }
    if let Some(address) = config.metrics.listen {
        export::listen(address, Rc::clone(&ledger)).await.map_err(Stop::local)?;
    }
    let mut tasks = JoinSet::new();
    for post in config.posts {
        let world = Rc::new(Here {
            server: post.auth.server.clone(),
            namespace: post.auth.namespace.clone(),
            clock: Rc::clone(&clock),
            ledger: Rc::clone(&ledger),
            alerts: alert_sender.clone(),
            warned: RefCell::new(HashSet::new()),
        });
        let identity = Identity::new(post.auth.method.clone(), post.auth.mount.clone(), Rc::new(Machine));
        let identity = Rc::new(Mutex::new(identity));
        for course in courses(&post, &identity, &ledger) {
            tasks.spawn_local(follow(course, Rc::clone(&world), once));
        }
        if !post.auth.sinks.is_empty() || matches!(post.auth.method, Method::TokenFile { .. }) {
            tasks.spawn_local(keep(identity, post.auth.sinks, world, Rc::clone(&ledger), once));
        }
    }
    drop(alert_sender);
    let writing = tokio::task::spawn_local(write_metrics(config.metrics, Rc::clone(&ledger)));
    let mut failed = false;
    let ended = async {
        while let Some(done) = tasks.join_next().await {
            failed |= !matches!(done, Ok(true));
        }
    };
    tokio::select! {
        () = ended => {
            // The last alerts still go out.
            let _ = tokio::time::timeout(SLEEP_MAX, sending).await;
        }
        () = ending.asked() => warn("the agent ends; services keep what they have"),
    }
    writing.abort();
    if let Some(file) = &config.pid_file {
        // It is gone or stale; the next start overwrites it.
        let _ = Machine.remove(file);
    }
    Ok(if failed { LOCAL } else { 0 })
}

/// Follows one certificate. `true` if a single run got it and its service shows it.
async fn follow(mut course: Course, world: Rc<Here>, once: Once) -> bool {
    let mut tries = 0;
    loop {
        let next = course.turn(world.as_ref()).await;
        if once == Once::Yes {
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

/// Keeps an identity's token alive and in its sinks.
async fn keep(
    identity: Rc<Mutex<Identity>>,
    sinks: Vec<Sink>,
    world: Rc<Here>,
    ledger: Rc<Ledger>,
    once: Once,
) -> bool {
    let mut written = None;
    loop {
        let mut held = identity.lock().await;
        let kept = held.keep(world.as_ref()).await;
        ledger.logins(held.logins.0, held.logins.1);
        let token = if kept.is_ok() { held.token(world.as_ref()).await.ok() } else { None };
        drop(held);
        let next = match kept {
            Ok(next) => next.max(world.now().plus(IDENTITY_AGAIN)),
            Err(trouble) => {
                world.log(&format!("the token: {}", trouble.text));
                world.now().plus(IDENTITY_AGAIN.mul_f64(0.5 + here::chance()))
            }
        };
        if let Some(token) = token.filter(|token| written.as_ref() != Some(token)) {
            for sink in &sinks {
                if let Err(e) = disk::replace(&Machine, &sink.path, token.as_bytes(), sink.mode) {
                    world.log(&format!("{} cannot be written: {e}", sink.path.display()));
                }
            }
            written = Some(token);
        }
        if once == Once::Yes {
            return written.is_some();
        }
        sleep_until(world.as_ref(), next).await;
    }
}

async fn sleep_until(world: &Here, next: Moment) {
    loop {
        let left = next.since(world.now());
        tokio::time::sleep(left.clamp(SLEEP_MIN, SLEEP_MAX)).await;
        if world.now() >= next {
            return;
        }
    }
}

async fn write_metrics(metrics: Metrics, ledger: Rc<Ledger>) {
    let Some(path) = metrics.text_file else { return };
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        export::write(&path, &ledger);
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
}

impl Ending {
    fn new() -> Result<Ending, Stop> {
        let heard = |kind| signal(kind).map_err(|e| Stop::local(format!("Signals cannot be heard: {e}")));
        Ok(Ending { terminate: heard(SignalKind::terminate())?, interrupt: heard(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
