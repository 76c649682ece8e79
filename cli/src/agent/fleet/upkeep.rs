//! R3 and R11: files that people took away, copied or moved are noticed, and put right.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use super::{
    faults::{Scratch, matched},
    *,
};
use crate::agent::{course::astray, disk::Machine};

fn held_agent(site: &Rc<Site>, folder: &Scratch) -> Agent {
    let mut agent = Agent::on(site, plan("a.internal", folder.0.join("tls")), Rc::new(Machine));
    agent.run_until(site.at(HOUR));
    agent
}

fn astray_of(agent: &Agent) -> Option<String> {
    let plan = &agent.course.plan;
    astray(&Shelf::new(Rc::new(Machine), plan.folder.clone(), plan.owner), agent.record())
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Damages the folder, has an agent look at it, and says how many certificates that took.
#[track_caller]
fn repaired(what: &str, damage: fn(&Path)) -> usize {
    let mut taken = 0;
    for restarted in [false, true] {
        let folder = Scratch::new("upkeep");
        let site = Site::new(DAY);
        let mut agent = held_agent(&site, &folder);
        let tls = folder.0.join("tls");
        assert_eq!(astray_of(&agent), None);
        damage(&tls);
        assert!(astray_of(&agent).is_some(), "{what}");
        if restarted {
            agent.restart();
        }
        agent.turn();
        agent.turn();
        assert_eq!(matched(&tls.join("current")), agent.serial(), "{what}");
        let shown = fs::read_link(tls.join("current")).unwrap();
        assert_eq!(shown, Path::new(&format!("pair-{:06}", agent.record().held.as_ref().unwrap().number)));
        assert!(agent.record().delivered, "{what}");
        assert_eq!(astray_of(&agent), None, "{what}");
        taken = site.authority.borrow().signed.len() - 1;
    }
    taken
}

#[test]
fn a_link_that_leads_elsewhere_is_put_right() {
    let gone = |tls: &Path| fs::remove_file(tls.join("current")).unwrap();
    assert_eq!(repaired("gone", gone), 0);
    let elsewhere = |tls: &Path| {
        fs::remove_file(tls.join("current")).unwrap();
        symlink("/tmp", tls.join("current")).unwrap();
    };
    assert_eq!(repaired("elsewhere", elsewhere), 0);
    let copy = |tls: &Path| {
        fs::remove_file(tls.join("current")).unwrap();
        copied(&tls.join("pair-000001"), &tls.join("current"));
    };
    assert_eq!(repaired("a folder", copy), 0);
    let file = |tls: &Path| {
        fs::remove_file(tls.join("current")).unwrap();
        fs::write(tls.join("current"), "x").unwrap();
    };
    assert_eq!(repaired("a file", file), 0);
}

#[test]
fn a_pair_without_its_files_is_as_none() {
    let key = |tls: &Path| fs::remove_file(tls.join("current/key.pem")).unwrap();
    assert_eq!(repaired("no key", key), 1);
    let empty = |tls: &Path| fs::write(tls.join("current/fullchain.pem"), "").unwrap();
    assert_eq!(repaired("an empty chain", empty), 1);
    let all = |tls: &Path| fs::remove_dir_all(tls.join("pair-000001")).unwrap();
    assert_eq!(repaired("no folder", all), 1);
}

/// A folder with files of somebody else in place of the link stays, and people are told.
#[test]
fn what_is_not_the_agents_is_not_taken_away() {
    let folder = Scratch::new("upkeep-foreign");
    let site = Site::new(DAY);
    let mut agent = held_agent(&site, &folder);
    let current = folder.0.join("tls/current");
    fs::remove_file(&current).unwrap();
    fs::create_dir(&current).unwrap();
    fs::write(current.join("notes"), "x").unwrap();
    agent.run_until(site.at(2 * HOUR));
    assert_eq!(fs::read_to_string(current.join("notes")).unwrap(), "x");
    let said = agent.record().last_error.clone().unwrap().text;
    assert!(said.contains("holds notes") && agent.events().contains(&"disk_failed"), "{said}");
    fs::remove_dir_all(&current).unwrap();
    agent.run_until(site.at(3 * HOUR));
    assert_eq!(matched(&current), agent.serial());
    assert_eq!(agent.record().last_error, None);
}

/// Somebody who takes the key away again and again does not make the CA sign without end.
#[test]
fn what_is_taken_away_again_is_fetched_once_an_hour() {
    let folder = Scratch::new("upkeep-again");
    let site = Site::new(DAY);
    let mut agent = held_agent(&site, &folder);
    for minute in 0..300 {
        // Gone already if nothing was fetched since.
        let _ = fs::remove_file(folder.0.join("tls/current/key.pem"));
        agent.run_until(site.at(HOUR + Duration::from_secs(60 * minute)));
        agent.turn();
    }
    let signed = site.authority.borrow().signed.len();
    // The first, the one that is fetched at once, and one in each of four hours.
    assert!((5..=6).contains(&signed), "{signed}");
}

#[test]
fn a_key_that_others_could_read_is_closed() {
    let folder = Scratch::new("upkeep-modes");
    let site = Site::new(DAY);
    let mut agent = held_agent(&site, &folder);
    let pair = folder.0.join("tls/pair-000001");
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(&pair, 0o755);
    set(&pair.join("key.pem"), 0o644);
    set(&pair.join("cert.pem"), 0o644);
    agent.turn();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        [mode(&pair), mode(&pair.join("key.pem")), mode(&pair.join("cert.pem"))],
        [0o750, 0o640, 0o644]
    );
    let said =
        agent.spot.said.borrow().iter().filter(|(_, line)| line.contains("open to other users")).count();
    assert_eq!(said, 2);
}
