//! R15: every certificate is to be replaced at once, by a CA that signs fifty in a second.

use super::*;

const SIZE: usize = 1_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Lets all agents run, and looks after each turn whether what that agent holds is valid: not ended, not revoked.
fn run_watched(site: &Rc<Site>, agents: &mut [Agent], until: Moment) {
    let mut due: BinaryHeap<Reverse<(Moment, usize)>> =
        (0..agents.len()).map(|n| Reverse((site.now.get(), n))).collect();
    while let Some(Reverse((at, n))) = due.pop() {
        if at > until {
            break;
        }
        site.now.set(at.max(site.now.get()));
        let next = agents[n].turn().max(site.now.get().plus(Duration::from_millis(20)));
        let held = agents[n].record().held.as_ref().unwrap();
        let now = site.now.get();
        assert!(held.not_after > now, "host-{n} holds what has ended");
        assert!(!site.authority.borrow().is_revoked(&held.serial, now), "host-{n} holds what is revoked");
        due.push(Reverse((next, n)));
    }
    site.now.set(until);
}

fn replaced(agents: &[Agent], old: &[String]) -> usize {
    agents.iter().zip(old).filter(|(agent, old)| agent.serial() != **old).count()
}

#[test]
fn a_thousand_agents_replace_theirs_in_ten_minutes() {
    let site = Site::new(30 * DAY);
    site.authority.borrow_mut().advises = true;
    let mut agents = fleet(&site, SIZE);
    // They were set up within two hours, so each asks at a time of its own.
    run_all(&site, &mut agents, site.at(2 * HOUR));
    {
        let mut authority = site.authority.borrow_mut();
        authority.per_second = Some(50);
        authority.retry_after = Duration::from_secs(5);
        authority.reissue = Some((site.now.get(), site.now.get().plus(30 * MINUTE)));
        authority.signed.clear();
        authority.asked.clear();
    }
    let old: Vec<String> = agents.iter().map(Agent::serial).collect();
    let begun = site.now.get();
    run_watched(&site, &mut agents, begun.plus(10 * MINUTE));
    let done = replaced(&agents, &old);
    assert!(done >= SIZE * 99 / 100, "{done} of {SIZE} within ten minutes");
    {
        let authority = site.authority.borrow();
        let mut seconds = std::collections::HashMap::new();
        for (at, _) in &authority.signed {
            *seconds.entry(at.seconds()).or_insert(0_u32) += 1;
        }
        assert!(seconds.values().all(|count| *count <= 50), "the CA signs fifty in a second");
        assert_eq!(authority.too_early, 0, "somebody came back before the pause was over");
        let asked = authority.asked.len();
        assert!(asked < SIZE + SIZE / 5, "{asked} requests for {SIZE} certificates: there was a rush");
    }
    // On through the end of the grace and an hour after: nobody is ever caught with a revoked one, and nobody renews twice.
    run_watched(&site, &mut agents, begun.plus(90 * MINUTE));
    assert_eq!(replaced(&agents, &old), SIZE);
    assert_eq!(site.authority.borrow().signed.len(), SIZE);
    assert!(agents.iter().all(|agent| agent.record().failures == 0 && agent.events().is_empty()));
}

/// All agents ask in the same second, as after a power cut: the CA pushes back, and each gets its certificate all the same.
#[test]
fn a_rush_is_pushed_back_and_ends_well() {
    let site = Site::new(30 * DAY);
    site.authority.borrow_mut().advises = true;
    let mut agents = fleet(&site, SIZE);
    run_all(&site, &mut agents, site.at(2 * HOUR));
    for agent in &mut agents {
        agent.course.record.ask_at = site.now.get();
    }
    {
        let mut authority = site.authority.borrow_mut();
        authority.per_second = Some(50);
        authority.retry_after = Duration::from_secs(5);
        authority.reissue = Some((site.now.get(), site.now.get().plus(30 * MINUTE)));
    }
    let old: Vec<String> = agents.iter().map(Agent::serial).collect();
    let begun = site.now.get();
    run_watched(&site, &mut agents, begun.plus(10 * MINUTE));
    let done = replaced(&agents, &old);
    assert!(done >= SIZE * 99 / 100, "{done} of {SIZE} within ten minutes");
    run_watched(&site, &mut agents, begun.plus(60 * MINUTE));
    assert_eq!(replaced(&agents, &old), SIZE);
    assert_eq!(site.authority.borrow().too_early, 0);
}

/// A certificate that is an hour old is replaced as soon as an old one, whatever it has left.
#[test]
fn a_young_certificate_is_replaced_too_and_a_second_wish_is_followed() {
    let site = Site::new(90 * DAY);
    site.authority.borrow_mut().advises = true;
    let mut agent = Agent::new(&site, "a.internal");
    for minutes in [20_u32, 60, 100] {
        agent.run_until(site.at(MINUTE * minutes));
        let serial = agent.serial();
        let now = site.now.get();
        site.authority.borrow_mut().reissue = Some((now, now.plus(HOUR)));
        agent.run_until(now.plus(7 * MINUTE));
        assert_ne!(agent.serial(), serial, "after {minutes} minutes");
    }
}

/// A CA that has said when is not one that knows of none: its mount was moved, or a proxy before it is being mended.
#[test]
fn a_ca_that_answers_otherwise_for_a_while_is_heard_soon_after() {
    let site = Site::new(30 * DAY);
    site.authority.borrow_mut().advises = true;
    let mut agent = Agent::new(&site, "a.internal");
    agent.run_until(site.at(HOUR));
    site.authority.borrow_mut().advises = false;
    agent.run_until(site.at(2 * HOUR));
    let old = agent.serial();
    let now = site.now.get();
    let mut authority = site.authority.borrow_mut();
    (authority.advises, authority.reissue) = (true, Some((now, now.plus(HOUR))));
    drop(authority);
    agent.run_until(now.plus(20 * MINUTE));
    assert_ne!(agent.serial(), old);
}
