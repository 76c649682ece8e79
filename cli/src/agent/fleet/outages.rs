//! R8, R9, R10: the CA is down, pushes back, or gives nonsense.

use super::{authority::Mood, *};

const SIZE: usize = 1_000;
const CEILING: Duration = Duration::from_secs(300);
const BUCKET_SECONDS: i64 = 10;

/// R8: a thousand agents that failed together come back within twice the ceiling, without a rush.
#[test]
fn a_thousand_agents_come_back_without_a_rush() {
    let site = Site::new(6 * HOUR);
    let mut agents = fleet(&site, SIZE);
    run_all(&site, &mut agents, site.at(Duration::from_secs(60)));
    site.authority.borrow_mut().up = false;
    // Renewals fall due within 18 minutes before the third hour is over; the CA is down for half an hour more.
    let back = site.at(3 * HOUR + HOUR / 2);
    run_all(&site, &mut agents, back);
    assert!(agents.iter().all(|agent| agent.record().failures > 8), "everybody is waiting");
    site.authority.borrow_mut().up = true;
    site.authority.borrow_mut().signed.clear();
    run_all(&site, &mut agents, back.plus(2 * CEILING));
    let authority = site.authority.borrow();
    assert_eq!(authority.signed.len(), SIZE, "all are back within twice the ceiling");
    let last = authority.signed.iter().map(|(at, _)| *at).max().unwrap();
    let mut buckets = std::collections::HashMap::new();
    for (at, _) in &authority.signed {
        *buckets.entry(at.seconds() / BUCKET_SECONDS).or_insert(0_u32) += 1;
    }
    let mean = SIZE as f64 / (last.since(back).as_secs_f64() / BUCKET_SECONDS as f64);
    let peak = f64::from(*buckets.values().max().unwrap());
    assert!(peak <= 3.0 * mean, "the peak is {peak} in {BUCKET_SECONDS} s, the mean {mean}");
    assert!(agents.iter().all(|agent| agent.not_after() > site.now.get().plus(5 * HOUR)));
    assert!(agents.iter().all(|agent| agent.events() == ["renewal_failed", "recovered"]));
}

/// A CA that signs few at a time says when to come again, and is obeyed; everybody gets a certificate in the end.
#[test]
fn a_server_that_pushes_back_is_obeyed() {
    let site = Site::new(DAY);
    site.authority.borrow_mut().per_second = Some(2);
    let mut agents = fleet(&site, 300);
    run_all(&site, &mut agents, site.at(HOUR));
    let authority = site.authority.borrow();
    assert_eq!(authority.signed.len(), 300);
    assert_eq!(authority.too_early, 0, "somebody came back before the pause was over");
    assert!(authority.asked.len() > 600, "many were pushed back: {}", authority.asked.len());
}

/// R9: in an outage an agent is restarted again and again; it serves what it has and keeps its schedule.
#[test]
fn a_restart_in_an_outage_changes_nothing() {
    let site = Site::new(DAY);
    let mut agent = Agent::new(&site, "a.internal");
    agent.run_until(site.at(HOUR));
    let (serial, renew_at) = (agent.serial(), agent.record().renew_at);
    site.authority.borrow_mut().up = false;
    for hour in 2..12 {
        agent.restart();
        agent.run_until(site.at(HOUR * hour));
        assert_eq!((agent.serial(), agent.record().renew_at), (serial.clone(), renew_at));
    }
    agent.run_until(site.at(20 * HOUR));
    let failures = agent.record().failures;
    let before = site.authority.borrow().asked.len();
    assert!(failures > 10);
    agent.restart();
    assert_eq!(
        (agent.record().failures, agent.serial()),
        (failures, serial),
        "it does not begin at one second again"
    );
    agent.turn();
    assert_eq!(site.authority.borrow().asked.len(), before, "a restart is no reason to ask");
}

/// R10: the certificate ended during the outage; the agent comes back by its own identity, and soon.
#[test]
fn a_certificate_that_ended_in_the_outage_comes_back() {
    let site = Site::new(DAY);
    let mut agent = Agent::new(&site, "a.internal");
    agent.run_until(site.at(HOUR));
    site.authority.borrow_mut().up = false;
    agent.run_until(site.at(3 * DAY));
    assert!(agent.not_after() < site.now.get());
    site.authority.borrow_mut().up = true;
    let back = site.now.get();
    agent.run_until(back.plus(Duration::from_secs(31)));
    assert!(agent.not_after() > back && agent.record().failures == 0);
    let issued = site.authority.borrow().signed.last().unwrap().0;
    assert!(issued.since(back) <= Duration::from_secs(31), "after the end every half minute counts");
}

/// What a wrong or hostile server gives does not replace a good certificate.
#[test]
fn nonsense_replaces_nothing() {
    for (mood, said) in [
        (Mood::OtherKey, "another key"),
        (Mood::NoNames, "not for a.internal"),
        (Mood::Ended, "has ended already"),
        (Mood::Nonsense, "no certificate"),
    ] {
        let site = Site::new(DAY);
        let mut agent = Agent::new(&site, "a.internal");
        agent.run_until(site.at(HOUR));
        let serial = agent.serial();
        site.authority.borrow_mut().mood = mood;
        agent.run_until(site.at(13 * HOUR));
        assert_eq!(agent.serial(), serial, "{mood:?}");
        let mistake = agent.record().last_error.clone().unwrap().text;
        assert!(mistake.contains(said), "{mood:?}: {mistake}");
        let names = agent.disk.names(std::path::Path::new("/tls")).unwrap();
        assert_eq!(names, ["current", "pair-000001", "state.json"], "{mood:?}: what was begun is taken away");
        site.authority.borrow_mut().mood = Mood::Good;
        agent.run_until(site.at(13 * HOUR + CEILING));
        assert_ne!(agent.serial(), serial, "{mood:?}");
    }
}

/// A CA that is away for days makes a log that can be read: the first failure, another reason, and then less and less.
#[test]
fn what_keeps_failing_is_not_logged_at_each_try() {
    let site = Site::new(30 * DAY);
    let mut agent = Agent::new(&site, "a.internal");
    agent.run_until(site.at(HOUR));
    let lines = |agent: &Agent, words: &str| -> Vec<(Moment, String)> {
        let said = agent.spot.said.borrow();
        said.iter().filter(|(_, line)| line.contains(words)).cloned().collect()
    };
    site.authority.borrow_mut().up = false;
    let begun = agent.record().renew_at;
    agent.run_until(begun.plus(2 * DAY));
    let (said, tries) = (lines(&agent, "next try at"), agent.record().failures);
    assert!(tries > 300, "it does not give up, and the metric counts each: {tries}");
    assert!((7..=10).contains(&said.len()), "{} lines for {tries} tries: {said:?}", said.len());
    assert!(!said[0].1.contains("in a row"), "{:?}", said[0]);
    assert!(said[1].1.contains("failed ") && said[1].1.contains(" times in a row"), "{:?}", said[1]);
    let pauses: Vec<Duration> = said.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0].mul_f64(1.2)), "{pauses:?}");
    // Another reason is said at once, and so is the same one after it went well in between.
    site.authority.borrow_mut().up = true;
    site.authority.borrow_mut().mood = Mood::OtherKey;
    agent.run_until(site.now.get().plus(HOUR));
    assert!(!lines(&agent, "another key").is_empty());
    site.authority.borrow_mut().mood = Mood::Good;
    agent.run_until(site.now.get().plus(HOUR));
    assert_eq!(agent.record().failures, 0);
    site.authority.borrow_mut().up = false;
    let before = lines(&agent, "next try at").len();
    agent.run_until(agent.record().renew_at.plus(HOUR));
    let said = lines(&agent, "next try at");
    assert!(said.len() > before && !said[before].1.contains("in a row"), "{:?}", said.get(before));
}

/// A token that was revoked meanwhile costs a login, not a failure.
#[test]
fn a_revoked_token_costs_a_login() {
    let site = Site::new(DAY);
    let mut agent = Agent::new(&site, "a.internal");
    agent.run_until(site.at(HOUR));
    site.authority.borrow_mut().mood = Mood::ForgetsTokens;
    agent.run_until(site.at(12 * HOUR));
    assert_eq!((site.authority.borrow().signed.len(), agent.record().failures), (2, 0));
    assert_eq!(agent.events(), [""; 0]);
}

/// A machine that starts with a clock in the future, before it could hear the server, does not wait for that future.
#[test]
fn a_wrong_clock_at_the_start_does_not_put_a_try_off_for_years() {
    let site = Site::new(DAY);
    let right = site.now.get();
    site.authority.borrow_mut().up = false;
    site.now.set(right.plus(900 * DAY));
    let mut agent = Agent::new(&site, "a.internal");
    agent.turn();
    assert!(agent.record().try_at > right.plus(899 * DAY));
    site.authority.borrow_mut().up = true;
    site.now.set(right);
    agent.restart();
    agent.run_until(right.plus(Duration::from_secs(60)));
    assert_eq!(site.authority.borrow().signed.len(), 1);
    // The same without a restart.
    site.authority.borrow_mut().up = false;
    site.now.set(right.plus(900 * DAY));
    agent.turn();
    site.authority.borrow_mut().up = true;
    site.now.set(right.plus(DAY));
    agent.run_until(right.plus(DAY + Duration::from_secs(60)));
    assert_eq!(site.authority.borrow().signed.len(), 2);
}
