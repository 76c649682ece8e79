//! A thousand agents in one process: the real code over a clock that jumps, dice with a seed, disks in memory, and a CA
//! that signs for real, goes down, and pushes back.

mod authority;
mod disks;
mod faults;
mod inventory;
mod outages;
mod reissue;
mod rolls;
mod services;
mod spread;
mod upkeep;

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::BinaryHeap,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use authority::Authority;
use disks::Memory;
use services::Service;
use tokio::sync::Mutex;

use super::{
    config::Certificate,
    course::Course,
    deliver::Reload,
    disk::{Disk, Owner},
    ledger::Ledger,
    log::Level,
    login::{AfterReading, Identity, Method, Proof, SecretId},
    moment::Moment,
    pair::{KeyKind, Names},
    probe::Place,
    record::Record,
    shelf::Shelf,
    world::{Alert, World},
};
use crate::{call::Call, client::Reply, refused::Refused};

const START: i64 = 1_800_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What all agents share.
struct Site {
    now: Cell<Moment>,
    dice: Cell<u64>,
    authority: RefCell<Authority>,
    runtime: tokio::runtime::Runtime,
}

/// The surroundings of one agent.
struct Spot {
    site: Rc<Site>,
    service: RefCell<Service>,
    alerts: RefCell<Vec<Alert>>,
    /// Its log, and when each line was written.
    said: RefCell<Vec<(Moment, String)>>,
}

/// One agent with one certificate.
struct Agent {
    spot: Spot,
    disk: Rc<dyn Disk>,
    course: Course,
}

impl Site {
    fn new(life: Duration) -> Rc<Site> {
        let now = Moment::from_seconds(START);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Rc::new(Site {
            now: Cell::new(now),
            dice: Cell::new(7),
            authority: RefCell::new(Authority::new(life)),
            runtime,
        })
    }

    fn at(&self, since_start: Duration) -> Moment {
        Moment::from_seconds(START).plus(since_start)
    }

    /// Splitmix: the same dice for the same seed, for ever.
    fn roll(&self) -> f64 {
        self.dice.set(self.dice.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.dice.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl World for Spot {
    fn now(&self) -> Moment {
        self.site.now.get()
    }

    fn chance(&self) -> f64 {
        self.site.roll()
    }

    async fn ask(&self, call: Call) -> Result<Reply, Refused> {
        self.site.authority.borrow_mut().answer(&call, self.site.now.get())
    }

    async fn reload(&self, _: &Reload) -> Result<(), String> {
        self.service.borrow_mut().reload()
    }

    async fn served(&self, _: &Place) -> Result<Vec<u8>, String> {
        self.service.borrow().shown()
    }

    async fn pause(&self, span: Duration) {
        self.site.now.set(self.site.now.get().plus(span));
    }

    fn alert(&self, alert: Alert) {
        self.alerts.borrow_mut().push(alert);
    }

    fn host(&self) -> String {
        "host".to_owned()
    }

    fn log(&self, _: Level, line: &str) {
        self.said.borrow_mut().push((self.site.now.get(), line.to_owned()));
    }
}

/// A plan without a service.
fn plan(name: &str, folder: PathBuf) -> Certificate {
    Certificate {
        name: name.to_owned(),
        names: Names { common: name.to_owned(), ..Names::default() },
        mount: "pki".to_owned(),
        role: "web".to_owned(),
        ttl: None,
        survive: Duration::ZERO,
        folder,
        owner: Owner::default(),
        key: KeyKind::EcP256,
        reuse_key: false,
        report: true,
        reloads: Vec::new(),
        places: Vec::new(),
        patience: Duration::from_secs(10),
    }
}

fn open(plan: &Certificate, disk: &Rc<dyn Disk>) -> Course {
    let secret_id = SecretId {
        proof: Proof { path: "/etc/agent/secret-id".into(), after_reading: AfterReading::Keep },
        wrapped_at: None,
    };
    let method = Method::Approle { role_id: "/etc/agent/role-id".into(), secret_id: Some(secret_id) };
    // Credentials lie in memory even where the certificates lie on a real disk.
    let credentials: Rc<dyn Disk> = Rc::new(Memory::with_credentials());
    let identity = Rc::new(Mutex::new(Identity::new(method, "approle".to_owned(), credentials)));
    let shelf = Shelf::new(Rc::clone(disk), plan.folder.clone(), plan.owner);
    Course::open(plan.clone(), shelf, identity, Rc::new(Ledger::default()))
}

impl Agent {
    fn new(site: &Rc<Site>, name: &str) -> Agent {
        Agent::on(site, plan(name, "/tls".into()), Rc::new(Memory::default()))
    }

    fn on(site: &Rc<Site>, plan: Certificate, disk: Rc<dyn Disk>) -> Agent {
        let service = RefCell::new(Service::new(Rc::clone(&disk), plan.folder.clone()));
        let spot =
            Spot { site: Rc::clone(site), service, alerts: RefCell::default(), said: RefCell::default() };
        let course = open(&plan, &disk);
        Agent { spot, disk, course }
    }

    fn turn(&mut self) -> Moment {
        let site = Rc::clone(&self.spot.site);
        site.runtime.block_on(self.course.turn(&self.spot))
    }

    /// The process ends and a new one starts on the same disk.
    fn restart(&mut self) {
        self.course = open(&self.course.plan, &self.disk);
    }

    /// Turns until this moment, as the clock goes.
    fn run_until(&mut self, until: Moment) {
        loop {
            let next = self.turn();
            if next > until {
                break;
            }
            let now = self.spot.site.now.get();
            self.spot.site.now.set(next.max(now.plus(Duration::from_millis(20))));
        }
        self.spot.site.now.set(until);
    }

    fn record(&self) -> &Record {
        &self.course.record
    }

    fn not_after(&self) -> Moment {
        self.record().held.as_ref().unwrap().not_after
    }

    fn serial(&self) -> String {
        self.record().held.as_ref().unwrap().serial.clone()
    }

    fn events(&self) -> Vec<&'static str> {
        self.spot.alerts.borrow().iter().map(|alert| alert.event.name()).collect()
    }
}

/// Lets all agents run until a moment, each turn at its time.
fn run_all(site: &Rc<Site>, agents: &mut [Agent], until: Moment) {
    let now = site.now.get();
    let mut due: BinaryHeap<Reverse<(Moment, usize)>> =
        (0..agents.len()).map(|n| Reverse((now, n))).collect();
    while let Some(Reverse((at, n))) = due.pop() {
        if at > until {
            break;
        }
        site.now.set(at.max(site.now.get()));
        let next = agents[n].turn().max(site.now.get().plus(Duration::from_millis(20)));
        due.push(Reverse((next, n)));
    }
    site.now.set(until);
}

fn fleet(site: &Rc<Site>, size: usize) -> Vec<Agent> {
    (0..size).map(|n| Agent::new(site, &format!("host-{n}.internal"))).collect()
}
