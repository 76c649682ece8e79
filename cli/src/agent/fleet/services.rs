//! R12: the service that is to take a new certificate, and the ways in which services do not.

use super::*;

/// A service that loads its certificate when it is told to, or does not.
pub(super) struct Service {
    disk: Rc<dyn Disk>,
    folder: PathBuf,
    loaded: Option<Vec<u8>>,
    mood: Mood,
    reloads: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Good,
    /// Its configuration is broken: it says so and goes on as it was.
    Refuses,
    /// It is told, says nothing, and goes on as it was.
    Ignores,
    /// Takes the first, then ignores: as after a restart with an older configuration.
    Forgets,
}

impl Service {
    pub(super) fn new(disk: Rc<dyn Disk>, folder: PathBuf) -> Service {
        Service { disk, folder, loaded: None, mood: Mood::Good, reloads: 0 }
    }

    pub(super) fn reload(&mut self) -> Result<(), String> {
        self.reloads += 1;
        match self.mood {
            Mood::Refuses => Err("configuration is broken".to_owned()),
            Mood::Ignores => Ok(()),
            Mood::Good | Mood::Forgets => {
                let text =
                    self.disk.read(&self.folder.join("current/fullchain.pem")).map_err(|e| e.to_string())?;
                self.loaded = crate::agent::pair::leaf_bytes(std::str::from_utf8(&text).unwrap());
                Ok(())
            }
        }
    }

    pub(super) fn shown(&self) -> Result<Vec<u8>, String> {
        match self.mood {
            Mood::Forgets => Ok(vec![1, 2, 3]),
            _ => self.loaded.clone().ok_or_else(|| "connection refused".to_owned()),
        }
    }
}

fn served_agent(site: &Rc<Site>) -> Agent {
    let mut plan = plan("a.internal", "/tls".into());
    plan.reloads = vec![Reload::Unit("nginx".to_owned())];
    plan.places = vec![Place { address: "127.0.0.1:443".to_owned(), server_name: "a.internal".to_owned() }];
    Agent::on(site, plan, Rc::new(Memory::default()))
}

fn shown_pair(agent: &Agent) -> String {
    let link = agent.disk.target(std::path::Path::new("/tls/current")).unwrap();
    link.display().to_string()
}

#[test]
fn a_service_that_takes_it_is_seen_with_it() {
    let site = Site::new(DAY);
    let mut agent = served_agent(&site);
    agent.run_until(site.at(HOUR));
    assert!(agent.record().delivered);
    let seen = agent.record().served.clone();
    assert_eq!((seen[0].address.as_str(), &seen[0].serial), ("127.0.0.1:443", &agent.serial()));
    assert!(
        site.now.get().since(seen[0].at) <= Duration::from_secs(15 * 60),
        "it is looked at again and again"
    );
    agent.run_until(site.at(13 * HOUR));
    assert_eq!((agent.spot.service.borrow().reloads, shown_pair(&agent).as_str()), (2, "pair-000002"));
    assert_eq!(agent.record().served[0].serial, agent.serial());
}

/// Two tries, then the old pair back and a word to people; when the service is well again, the new one is served.
#[test]
fn a_service_that_does_not_take_it_keeps_the_old_one_and_people_are_told() {
    for mood in [Mood::Refuses, Mood::Ignores] {
        let site = Site::new(DAY);
        let mut agent = served_agent(&site);
        agent.run_until(site.at(HOUR));
        let first = agent.spot.service.borrow().loaded.clone();
        agent.spot.service.borrow_mut().mood = mood;
        agent.spot.service.borrow_mut().reloads = 0;
        // To the moment of the renewal, and no further.
        site.now.set(agent.record().renew_at);
        agent.turn();
        assert_eq!(agent.spot.service.borrow().reloads, 3, "{mood:?}: two tries, and one for the old pair");
        assert_eq!(shown_pair(&agent), "pair-000001", "{mood:?}: the old pair is back");
        assert_eq!(agent.spot.service.borrow().loaded, first, "{mood:?}");
        assert!(!agent.record().delivered);
        assert_eq!(agent.events(), ["delivery_failed"], "{mood:?}");
        let said = agent.record().last_error.clone().unwrap().text;
        assert!(said.contains("does not take the new certificate"), "{mood:?}: {said}");
        agent.restart();
        assert_eq!(shown_pair(&agent), "pair-000001", "{mood:?}: also after a restart");
        let asked = site.authority.borrow().signed.len();
        agent.spot.service.borrow_mut().mood = Mood::Good;
        let until = site.now.get().plus(Duration::from_secs(300));
        agent.run_until(until);
        assert_eq!(shown_pair(&agent), "pair-000002", "{mood:?}");
        assert_ne!(agent.spot.service.borrow().loaded, first);
        assert_eq!(site.authority.borrow().signed.len(), asked, "{mood:?}: the certificate at hand is used");
        assert!(agent.record().delivered && agent.record().failures == 0);
    }
}

/// The old pair is no help once it has ended.
#[test]
fn what_has_ended_does_not_come_back() {
    let site = Site::new(DAY);
    let mut agent = served_agent(&site);
    agent.run_until(site.at(HOUR));
    site.authority.borrow_mut().up = false;
    agent.run_until(site.at(2 * DAY));
    agent.spot.service.borrow_mut().mood = Mood::Refuses;
    site.authority.borrow_mut().up = true;
    agent.run_until(site.at(2 * DAY + HOUR));
    assert_eq!(shown_pair(&agent), "pair-000002");
}

/// A service that shows something else for a reason of its own is told again, without a new certificate.
#[test]
fn a_service_that_loses_it_is_reloaded() {
    let site = Site::new(DAY);
    let mut agent = served_agent(&site);
    agent.run_until(site.at(HOUR));
    agent.spot.service.borrow_mut().mood = Mood::Forgets;
    agent.run_until(site.at(HOUR + Duration::from_secs(16 * 60)));
    assert!(!agent.record().delivered);
    agent.spot.service.borrow_mut().mood = Mood::Good;
    agent.run_until(site.at(2 * HOUR));
    assert!(agent.record().delivered);
    assert_eq!(site.authority.borrow().signed.len(), 1);
}

/// A service that takes nothing does not make its agent deaf: the CA is heard, and told, all the same.
#[test]
fn an_agent_whose_service_takes_nothing_still_hears_the_ca() {
    let site = Site::new(90 * DAY);
    site.authority.borrow_mut().advises = true;
    let mut agent = served_agent(&site);
    agent.spot.service.borrow_mut().mood = Mood::Refuses;
    agent.run_until(site.at(2 * HOUR));
    assert!(!agent.record().delivered);
    let reports = site.authority.borrow().reports.len();
    assert!((2..=4).contains(&reports), "it reports every hour: {reports}");
    // Another CA is to be trusted.
    let (_, other) = super::authority::authority("Next CA");
    site.authority.borrow_mut().bundle.push_str(&other);
    agent.run_until(site.at(2 * HOUR + Duration::from_secs(660)));
    let bundle = agent.disk.read(std::path::Path::new("/tls/current/ca.pem")).unwrap();
    assert!(std::str::from_utf8(&bundle).unwrap().contains(&other), "the bundle is the new one");
    // All are to be replaced, and are revoked later.
    let old = agent.serial();
    let now = site.now.get();
    site.authority.borrow_mut().reissue = Some((now, now.plus(HOUR)));
    agent.run_until(now.plus(Duration::from_secs(420)));
    assert_ne!(agent.serial(), old);
    assert_eq!(site.authority.borrow().signed.len(), 2);
    let last = site.authority.borrow().reports.last().cloned().unwrap();
    agent.run_until(now.plus(2 * HOUR));
    assert_eq!(last["serial_number"], old.as_str());
    assert_eq!(site.authority.borrow().reports.last().unwrap()["serial_number"], agent.serial().as_str());
    assert_eq!(site.authority.borrow().signed.len(), 2, "and one new one is enough");
    let names = agent.disk.names(std::path::Path::new("/tls")).unwrap();
    let pairs = names.iter().filter(|name| name.starts_with("pair-")).count();
    assert!(pairs <= 2, "what nobody needs is taken away: {names:?}");
}

/// What is to be replaced serves on while it is good; once it is revoked it does not come back.
#[test]
fn what_is_revoked_does_not_come_back() {
    let site = Site::new(90 * DAY);
    site.authority.borrow_mut().advises = true;
    let mut agent = served_agent(&site);
    agent.run_until(site.at(HOUR));
    agent.spot.service.borrow_mut().mood = Mood::Refuses;
    let now = site.now.get();
    site.authority.borrow_mut().reissue = Some((now, now.plus(HOUR)));
    agent.run_until(now.plus(HOUR / 2));
    assert_eq!((agent.record().number, shown_pair(&agent).as_str()), (2, "pair-000001"));
    let reported = site.authority.borrow().reports.last().unwrap()["serial_number"].clone();
    assert_ne!(reported, agent.serial().as_str(), "what is reported is what is shown");
    agent.run_until(now.plus(HOUR + Duration::from_secs(600)));
    assert_eq!((agent.record().number, shown_pair(&agent).as_str()), (2, "pair-000002"));
    let said = agent.record().last_error.clone().unwrap().text;
    assert!(said.contains("the old one is revoked"), "{said}");
}

/// At its start the agent looks whether the service shows the pair; one that is starting too is given a minute.
#[test]
fn a_start_looks_at_the_service() {
    let site = Site::new(DAY);
    let mut agent = served_agent(&site);
    agent.run_until(site.at(HOUR));
    agent.spot.service.borrow_mut().mood = Mood::Forgets;
    agent.restart();
    agent.run_until(site.at(HOUR + Duration::from_secs(50)));
    assert!(agent.record().delivered && agent.events().is_empty());
    agent.run_until(site.at(HOUR + Duration::from_secs(90)));
    assert!(!agent.record().delivered);
    assert_eq!(agent.events(), ["delivery_failed"]);
}
