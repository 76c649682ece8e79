//! R2, R4, R5 and the CA's wishes: when a thousand agents renew, and what they send.

use super::*;
use crate::agent::schedule::Window;

const SIZE: usize = 1_000;

/// R5: all were issued in the same second; their renewals are spread evenly over 5 % of the life, and none is late.
#[test]
fn a_thousand_agents_renew_evenly_and_none_late() {
    let site = Site::new(DAY);
    let mut agents = fleet(&site, SIZE);
    run_all(&site, &mut agents, site.at(Duration::from_secs(60)));
    assert_eq!(site.authority.borrow().signed.len(), SIZE, "all have a certificate at once");
    site.authority.borrow_mut().signed.clear();
    run_all(&site, &mut agents, site.at(20 * HOUR));
    let authority = site.authority.borrow();
    assert_eq!(authority.signed.len(), SIZE, "each renewed once");
    // The certificates are dated back by half a minute; their life counts from when they were obtained all the same.
    let latest = site.at(DAY / 2);
    let spread = DAY.mul_f64(0.05);
    let earliest = latest.minus(spread);
    let mut bins = [0_u32; 20];
    let mut seconds = std::collections::HashMap::new();
    for (at, name) in &authority.signed {
        assert!(*at >= earliest && *at <= latest, "{name} renewed at {at}, outside {earliest} to {latest}");
        let share = at.since(earliest).as_secs_f64() / spread.as_secs_f64();
        bins[((share * 20.0) as usize).min(19)] += 1;
        *seconds.entry(at.seconds()).or_insert(0_u32) += 1;
    }
    let expected = SIZE as f64 / 20.0;
    let chi_square: f64 = bins.iter().map(|seen| (f64::from(*seen) - expected).powi(2) / expected).sum();
    // 19 degrees of freedom: even draws exceed 36.2 once in a hundred runs, and this run is always the same one.
    assert!(chi_square < 36.2, "{chi_square}: {bins:?}");
    let fullest = seconds.values().max().unwrap();
    assert!(*fullest <= SIZE as u32 / 100, "{fullest} in one second");
}

/// R2: in a whole life nothing that leaves the machine holds a key. R4: each renewal has a fresh one.
#[test]
fn keys_are_fresh_and_never_leave() {
    for (reuse_key, expected) in [(false, 4), (true, 1)] {
        let site = Site::new(DAY);
        site.authority.borrow_mut().listens = true;
        let mut plan = plan("a.internal", "/tls".into());
        plan.reuse_key = reuse_key;
        let mut agent = Agent::on(&site, plan, Rc::new(Memory::default()));
        let mut keys = std::collections::BTreeSet::new();
        for half_days in 0..4 {
            agent.run_until(site.at(DAY / 2 * half_days + Duration::from_secs(60)));
            let key = agent.disk.read(std::path::Path::new("/tls/current/key.pem")).unwrap();
            let text = String::from_utf8(key.to_vec()).unwrap();
            let secret: String = text.lines().filter(|line| !line.starts_with("---")).collect();
            assert!(!secret.is_empty() && !site.authority.borrow().heard.contains(secret.get(..40).unwrap()));
            keys.insert(secret);
        }
        assert_eq!(site.authority.borrow().signed.len(), 4);
        assert!(!site.authority.borrow().heard.contains("PRIVATE KEY"));
        assert_eq!(keys.len(), expected, "reuse_key = {reuse_key}");
        assert_eq!(agent.record().key_reused, reuse_key, "it is said that the key is an old one");
    }
}

/// RFC 9773: a window of the CA counts, and one in the past means now; a CA that always wishes does not get its will
/// without end.
#[test]
fn the_ca_may_wish_for_an_earlier_renewal() {
    let site = Site::new(DAY);
    let mut agents = fleet(&site, SIZE / 10);
    run_all(&site, &mut agents, site.at(HOUR));
    site.authority.borrow_mut().signed.clear();
    let window = Window { start: site.at(HOUR), end: site.at(2 * HOUR) };
    site.authority.borrow_mut().window = Some(window);
    // A CA that had no wish is asked again within the next hour or so.
    run_all(&site, &mut agents, site.at(HOUR + 5 * HOUR / 2));
    let first = site.authority.borrow().signed.len();
    assert!(first >= SIZE / 10, "{first}");
    let again = first as f64 / (SIZE as f64 / 10.0);
    assert!(again < 10.0, "{again} renewals each in an hour and a half: the wish is followed without end");
}

/// An outage budget moves the renewal, and a life too short for it is told.
#[test]
fn a_budget_is_kept_and_a_short_life_is_told() {
    let site = Site::new(DAY);
    let mut plan = plan("a.internal", "/tls".into());
    plan.survive = 18 * HOUR;
    let mut agent = Agent::on(&site, plan, Rc::new(Memory::default()));
    agent.run_until(site.at(Duration::from_secs(10)));
    assert!(agent.not_after().since(agent.record().renew_at) >= 18 * HOUR);
    assert_eq!(agent.events(), [""; 0]);
    site.authority.borrow_mut().life = 10 * HOUR;
    agent.run_until(site.at(7 * HOUR));
    assert_eq!(agent.events(), ["budget_short"]);
}
