//! R3 and R11: killed at any step of the file system, or refused at it, there is one whole pair, the old or the new.

use std::{fs, io::ErrorKind, os::unix::fs::PermissionsExt, path::Path};

use super::{
    disks::{Failing, Faulty},
    *,
};
use crate::agent::disk::Machine;

/// A folder of the real file system that goes away with the test.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("keep-fleet-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The serial of the pair in a folder; panics if key and certificate do not belong together, or a file is not whole.
#[track_caller]
pub(super) fn matched(folder: &Path) -> String {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let (key, certificate) = (read("key.pem"), read("cert.pem"));
    let der = crate::pem::blocks(&certificate).remove(0);
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let public = rcgen::KeyPair::from_pem(&key).unwrap().public_key_raw().to_vec();
    assert_eq!(parsed.public_key().subject_public_key.data.to_vec(), public, "a mixed pair");
    assert_eq!(read("pair.pem"), format!("{key}{}", read("fullchain.pem")), "every file is whole");
    parsed.raw_serial_as_string()
}

#[test]
fn killed_at_any_step_there_is_one_whole_pair() {
    let mut steps_seen = 0;
    for step in 0.. {
        let folder = Scratch::new("kill");
        let site = Site::new(DAY);
        let disk = Rc::new(Faulty::new(Machine));
        let shared: Rc<dyn Disk> = Rc::clone(&disk) as Rc<dyn Disk>;
        let mut agent = Agent::on(&site, plan("a.internal", folder.0.join("tls")), shared);
        agent.turn();
        let old = matched(&folder.0.join("tls/current"));
        site.now.set(agent.record().renew_at);
        disk.fail_at(Some(step), Failing::Dies);
        agent.turn();
        let survived = disk.steps.get() <= step;
        let shown = matched(&folder.0.join("tls/current"));
        let issued = site.authority.borrow().signed.len();
        // The machine starts again.
        disk.fail_at(None, Failing::Dies);
        agent.restart();
        assert!([old.clone(), matched(&folder.0.join("tls/current"))].contains(&shown), "step {step}");
        agent.run_until(site.now.get().plus(Duration::from_secs(60)));
        let new = matched(&folder.0.join("tls/current"));
        assert_ne!(new, old, "step {step}: after the restart it goes on");
        assert_eq!(new, agent.serial(), "step {step}");
        assert!(
            site.authority.borrow().signed.len() <= issued + 1,
            "step {step}: it does not ask again and again"
        );
        let mut names = agent.disk.names(&folder.0.join("tls")).unwrap();
        names.retain(|name| name.starts_with('.'));
        assert_eq!(names, [".state.json.new"; 0], "step {step}: nothing half-made is left");
        if survived {
            break;
        }
        steps_seen = step + 1;
    }
    assert!(steps_seen > 20, "only {steps_seen} steps were found: the test does not see the file system");
}

#[test]
fn refused_at_any_step_the_old_pair_is_untouched_and_people_are_told() {
    for kind in [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied] {
        for step in 0.. {
            let folder = Scratch::new("refuse");
            let site = Site::new(DAY);
            let disk = Rc::new(Faulty::new(Machine));
            let shared: Rc<dyn Disk> = Rc::clone(&disk) as Rc<dyn Disk>;
            let mut agent = Agent::on(&site, plan("a.internal", folder.0.join("tls")), shared);
            agent.turn();
            let old = matched(&folder.0.join("tls/current"));
            site.now.set(agent.record().renew_at);
            disk.fail_at(Some(step), Failing::Refuses(kind));
            agent.turn();
            if disk.steps.get() <= step {
                break;
            }
            let now = matched(&folder.0.join("tls/current"));
            if agent.record().last_error.is_some() {
                assert!(agent.events().contains(&"disk_failed"), "{kind:?} at {step}: {:?}", agent.events());
            }
            assert!(now == old || now == agent.serial(), "{kind:?} at {step}");
            agent.run_until(site.now.get().plus(Duration::from_secs(60)));
            let new = matched(&folder.0.join("tls/current"));
            assert!(new != old && new == agent.serial(), "{kind:?} at {step}: with room again it goes on");
        }
    }
}

/// A full disk is found before the CA is asked, so that it does not sign for nothing every few minutes.
#[test]
fn a_full_disk_costs_the_ca_nothing() {
    let site = Site::new(DAY);
    let disk = Rc::new(Faulty::new(Memory::default()));
    let shared: Rc<dyn Disk> = Rc::clone(&disk) as Rc<dyn Disk>;
    let mut agent = Agent::on(&site, plan("a.internal", "/tls".into()), shared);
    agent.turn();
    disk.fail_at(Some(0), Failing::Dies);
    agent.run_until(site.at(DAY));
    let authority = site.authority.borrow();
    assert_eq!((authority.signed.len(), authority.asked.len()), (1, 1));
    assert!(agent.events().contains(&"disk_failed"));
}

#[test]
fn files_are_for_their_owner_alone() {
    let folder = Scratch::new("modes");
    let site = Site::new(DAY);
    let mut agent = Agent::on(&site, plan("a.internal", folder.0.join("tls")), Rc::new(Machine));
    agent.turn();
    let mode = |path: &str| fs::metadata(folder.0.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("tls"), mode("tls/current")], [0o700; 2]);
    for file in fs::read_dir(folder.0.join("tls/current")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert_eq!(mode(&format!("tls/current/{name}")), 0o600, "{name}");
    }
    assert_eq!(mode("tls/state.json"), 0o600);
}

/// R3: a reader that follows the link once, or reads the file that holds both, never sees halves of two pairs.
#[test]
fn readers_never_see_a_mixed_pair() {
    let folder = Scratch::new("readers");
    let tls = folder.0.join("tls");
    let site = Site::new(DAY);
    let mut agent = Agent::on(&site, plan("a.internal", tls.clone()), Rc::new(Machine));
    agent.turn();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = std::sync::Arc::clone(&done);
    let reader = std::thread::spawn(move || {
        let mut reads = 0_u32;
        while reads < 10_000 || !stop.load(std::sync::atomic::Ordering::Relaxed) {
            // The link alone: to look at what it leads to takes a second step, after which that may be gone.
            let Ok(at) = fs::read_link(tls.join("current")) else { panic!("the link is gone") };
            let at = tls.join(at);
            let pair = ["key.pem", "cert.pem"].map(|name| fs::read_to_string(at.join(name)));
            // Two rotations later a pair is taken away: that is a missing file, which a reader notices.
            if let [Ok(key), Ok(certificate)] = pair {
                let der = crate::pem::blocks(&certificate).remove(0);
                let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
                let public = rcgen::KeyPair::from_pem(&key).unwrap().public_key_raw().to_vec();
                assert_eq!(parsed.public_key().subject_public_key.data.to_vec(), public);
            }
            reads += 1;
        }
        reads
    });
    for _ in 0..200 {
        site.now.set(agent.record().renew_at);
        agent.turn();
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(reader.join().unwrap() >= 10_000);
    assert_eq!(site.authority.borrow().signed.len(), 201);
}
