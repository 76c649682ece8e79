//! R14: what agents report of what they hold.

use super::*;

fn reports(site: &Site) -> Vec<serde_json::Value> {
    std::mem::take(&mut site.authority.borrow_mut().reports)
}

#[test]
fn holders_report_after_each_delivery_and_every_hour() {
    let site = Site::new(DAY);
    site.authority.borrow_mut().advises = true;
    let mut plan = plan("a.internal", "/tls".into());
    plan.places = vec![Place::parse("127.0.0.1:443", "a.internal").unwrap()];
    plan.reloads = vec![Reload::Unit("nginx".to_owned())];
    let mut agent = Agent::on(&site, plan, Rc::new(Memory::default()));
    agent.run_until(site.at(Duration::from_secs(30)));
    let first = reports(&site);
    assert_eq!(first.len(), 1, "{first:?}");
    let one = &first[0];
    assert_eq!((&one["host"], &one["name"]), (&"host".into(), &"a.internal".into()));
    assert_eq!(one["serial_number"], agent.serial().as_str());
    assert_eq!(one["served"][0]["address"], "127.0.0.1:443");
    assert_eq!(one["served"][0]["serial_number"], agent.serial().as_str());
    assert_eq!(one["next_renewal"], agent.record().renew_at.to_string().as_str());
    assert!(one["agent"].as_str().unwrap().starts_with("keep "));
    agent.run_until(site.at(10 * HOUR));
    let hourly = reports(&site).len();
    assert!((9..=11).contains(&hourly), "{hourly} in ten hours");
    let old = agent.serial();
    agent.run_until(site.at(13 * HOUR));
    assert_ne!(agent.serial(), old);
    assert!(reports(&site).iter().any(|one| one["serial_number"] == agent.serial().as_str()));
}

/// A server that keeps none, or does not let this agent tell, is no failure, and is not asked without end.
#[test]
fn that_nobody_wants_to_know_is_no_failure() {
    let site = Site::new(DAY);
    let mut agent = Agent::new(&site, "a.internal");
    agent.run_until(site.at(11 * HOUR));
    assert_eq!((agent.record().failures, agent.record().last_report), (0, None));
    assert_eq!(agent.events(), [""; 0]);
    assert_eq!(site.authority.borrow().logins, 1, "one login serves the certificate and the report");
    let mut plan = plan("b.internal", "/tls".into());
    plan.report = false;
    site.authority.borrow_mut().advises = true;
    let mut agent = Agent::on(&site, plan, Rc::new(Memory::default()));
    agent.run_until(site.at(20 * HOUR));
    assert!(reports(&site).is_empty());
}
