//! An engine that is unmounted undoes what it did outside, whatever fails and whenever the plug is pulled.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use kernel::Ticked;
use kit::Verb::{Delete, Get, List, Post};
use storage::faulty::PowerCut;
use tests::desk::Desk;

use crate::outside::{Mood, desk, rent};

/// How many leases there are below `r/creds/web`, whoever made them.
fn leased(desk: &Desk) -> usize {
    let said = desk.ask(List, "sys/leases/lookup/r/creds/web", "");
    said.json["data"]["keys"].as_array().map_or(0, Vec::len)
}

#[test]
fn what_an_unmounted_engine_made_outside_is_undone() {
    let (desk, directory) = desk(11);
    rent(&desk);
    rent(&desk);
    desk.ask(Delete, "sys/mounts/r", "").expect(204);
    desk.ask(Post, "r/creds/web", "{}").expect(404);
    desk.tick();
    assert!(directory.there("dir/").is_empty());
    assert_eq!(leased(&desk), 0);
    // Another takes its place, with leases of its own.
    desk.ask(Post, "sys/mounts/r", r#"{"type":"rented"}"#).expect(204);
    let (user, _) = rent(&desk);
    desk.wait(Duration::from_secs(60));
    desk.tick();
    assert_eq!(directory.there("dir/"), [user]);
}

#[test]
fn what_cannot_be_undone_outlives_its_mount_and_is_listed() {
    let (desk, directory) = desk(12);
    let (user, _) = rent(&desk);
    directory.mood(Mood::Down);
    desk.ask(Delete, "sys/mounts/r", "").expect(204);
    for _ in 0..12 {
        desk.wait(Duration::from_secs(7200));
        desk.tick();
    }
    let said = desk.ask(Get, "sys/leases?type=irrevocable", "").expect(200);
    assert_eq!(said.json["data"]["lease_count"], 1, "{said:?}");
    // The one that takes its place keeps what it has made.
    desk.ask(Post, "sys/mounts/r", r#"{"type":"rented"}"#).expect(204);
    directory.mood(Mood::Well);
    let (kept, _) = rent(&desk);
    let desk = desk.crash(PowerCut::Drop);
    desk.wait(Duration::from_secs(1800));
    desk.tick();
    assert_eq!(directory.there("dir/").len(), 2, "nobody has asked for it yet");
    desk.ask(Post, "sys/leases/revoke-force/r/creds", "{}").expect(204);
    desk.tick();
    assert!(directory.there("dir/").is_empty(), "{user} and {kept}, as the prefix says");
    assert_eq!(leased(&desk), 0);
}

#[test]
fn nothing_is_left_of_a_mount_once_all_is_undone() {
    let (desk, directory) = desk(13);
    desk.ask(Post, "r/directory", r#"{"at":"dir"}"#).expect(204);
    rent(&desk);
    directory.mood(Mood::Down);
    let uuid =
        desk.ask(Get, "sys/mounts/r", "").expect(200).json["data"]["uuid"].as_str().unwrap().to_owned();
    desk.ask(Delete, "sys/mounts/r", "").expect(204);
    desk.tick();
    let rows = |desk: Desk| {
        let mount = u128::from_str_radix(&uuid.replace('-', ""), 16).unwrap().to_be_bytes();
        desk.look(|snapshot| {
            let mut rows = 0;
            let place = storage::Place { mount: storage::MountId(mount), table: 1 };
            snapshot
                .walk(place, "", &mut |_, _| {
                    rows += 1;
                    Ok(std::ops::ControlFlow::Continue(()))
                })
                .unwrap();
            rows
        })
    };
    let (desk, kept) = rows(desk);
    assert_eq!(kept, 1, "it may still be needed");
    directory.mood(Mood::Well);
    desk.wait(Duration::from_secs(7200));
    desk.tick();
    desk.wait(Duration::from_secs(7200));
    desk.tick();
    assert!(directory.there("dir/").is_empty());
    let (_, kept) = rows(desk);
    assert_eq!(kept, 0);
}

#[test]
fn what_is_under_way_when_its_mount_goes_is_undone() {
    let (desk, directory) = desk(14);
    let desk = Arc::new(desk);
    let other = Arc::clone(&desk);
    directory.when_asked("dir/", move || {
        other.ask(Delete, "sys/mounts/r", "").expect(204);
        other.tick();
    });
    let said = desk.ask(Post, "r/creds/web", "{}");
    assert!(said.status >= 400, "{said:?}");
    desk.wait(Duration::from_secs(300));
    desk.tick();
    assert!(directory.there("dir/").is_empty());
}

#[test]
fn an_unmounted_engine_leaves_nothing_outside_wherever_the_plug_is_pulled() {
    let mut cuts = 0;
    for at in 1.. {
        let (desk, directory) = desk(15);
        rent(&desk);
        rent(&desk);
        desk.disk.cut_at(desk.disk.changes() + at);
        let gone = desk.ask(Delete, "sys/mounts/r", "");
        for _ in 0..3 {
            if desk.disk.fired() > 0 {
                break;
            }
            let Ok(Ticked { outside, .. }) = desk.kernel.tick() else { break };
            for claimed in outside {
                let mut working = pin!(desk.kernel.outside(claimed));
                let _ = working.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            }
        }
        let quiet = desk.disk.fired() == 0;
        let desk = desk.crash(PowerCut::Sectors);
        for _ in 0..4 {
            desk.wait(Duration::from_secs(300));
            desk.tick();
        }
        let mounted = desk.ask(Get, "sys/mounts/r", "").status == 200;
        assert!(gone.status != 204 || !mounted, "cut at {at}: what was acknowledged is done");
        let expected = if mounted { 2 } else { 0 };
        assert_eq!(directory.there("dir/").len(), expected, "cut at {at}");
        assert_eq!(leased(&desk), expected, "cut at {at}");
        if quiet {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 5, "{cuts} cuts prove nothing");
}

#[test]
fn a_deleted_namespace_waits_for_what_its_engines_made_outside() {
    let (desk, directory) = desk(16);
    desk.ask(Post, "sys/namespaces/team", "{}").expect(200);
    desk.ask(Post, "team/sys/mounts/r", r#"{"type":"rented"}"#).expect(204);
    desk.ask(Post, "team/r/creds/web", "{}").expect(200);
    directory.mood(Mood::Down);
    desk.ask(Delete, "sys/namespaces/team", "").expect(200);
    for _ in 0..12 {
        desk.wait(Duration::from_secs(7200));
        desk.tick();
    }
    assert_eq!(directory.there("dir/").len(), 1);
    let desk = desk.crash(PowerCut::Drop);
    directory.mood(Mood::Well);
    desk.wait(Duration::from_secs(7200));
    desk.tick();
    assert!(directory.there("dir/").is_empty(), "it is tried until it succeeds");
}

/// A namespace that has lent something while the directory outside is dead, deleted.
fn stuck(seed: u64) -> (Desk, crate::outside::Directory) {
    let (desk, directory) = desk(seed);
    // The one above would go on trying to turn what it has, and leave its own plans behind.
    desk.ask(Delete, "sys/mounts/r", "").expect(204);
    desk.tick();
    desk.ask(Post, "sys/namespaces/n", "").expect(200);
    let within = |verb, path: &str, body: &str| {
        let request = tests::desk::request(&desk.root, verb, path, body);
        desk.send(&kernel::Request { namespace: "n".to_owned(), ..request })
    };
    within(Post, "sys/mounts/r", r#"{"type":"rented"}"#).expect(204);
    within(Post, "r/creds/web", "{}").expect(200);
    directory.mood(Mood::Down);
    desk.ask(Delete, "sys/namespaces/n", "").expect(200);
    desk.tick();
    (desk, directory)
}

#[test]
fn a_deleted_namespace_says_what_it_waits_for() {
    let (desk, directory) = stuck(17);
    for hours in [1, 10, 20] {
        let said = desk.ask(Get, "sys/namespaces/n", "").expect(200);
        assert_eq!(said.json["data"]["tainted"], true);
        let waits = said.json["data"]["waits_for"].as_array().unwrap().clone();
        assert_eq!(waits.len(), 1, "{waits:?}");
        assert!(waits[0].as_str().unwrap().contains("r/"), "after {hours} hours: {waits:?}");
        let listed = desk.ask(List, "sys/namespaces", "").expect(200);
        assert_eq!(listed.json["data"]["key_info"]["n/"]["tainted"], true);
        let again = desk.ask(Delete, "sys/namespaces/n", "").expect(200);
        assert!(again.json["warnings"][0].as_str().unwrap().starts_with("still waited for: "), "{again:?}");
        desk.wait(Duration::from_secs(hours * 3600));
        desk.tick();
    }
    // Nobody reaches it meanwhile, and its name is free.
    desk.ask(Get, "n/sys/mounts", "").expect(404);
    desk.ask(Post, "sys/namespaces/n", "").expect(200);
    assert_eq!(desk.ask(Get, "sys/namespaces/n", "").expect(200).json["data"]["tainted"], false);
    desk.ask(Delete, "sys/namespaces/n", "").expect(200);
    directory.mood(Mood::Well);
    for _ in 0..4 {
        desk.wait(Duration::from_secs(7200));
        desk.tick();
    }
    desk.ask(Get, "sys/namespaces/n", "").expect(404);
    assert!(directory.there("dir/").is_empty(), "what it lent is taken back");
}

#[test]
fn by_force_a_deleted_namespace_leaves_behind_what_it_cannot_take_back() {
    for after in [0, 24] {
        let (desk, directory) = stuck(18 + after);
        desk.wait(Duration::from_secs(after * 3600));
        desk.tick();
        let said = desk.ask(Delete, "sys/namespaces/n?force=true", "").expect(200);
        let warning = said.json["warnings"][0].as_str().unwrap().to_owned();
        assert!(warning.starts_with("no longer waited for: "), "{warning}");
        for _ in 0..3 {
            desk.wait(Duration::from_secs(200));
            desk.tick();
        }
        desk.ask(Get, "sys/namespaces/n", "").expect(404);
        assert_eq!(directory.there("dir/").len(), 1);
        desk.wait(Duration::from_secs(7200));
        desk.tick();
        let (_, left) = desk.look(|snapshot| {
            let of = |table| {
                let place = storage::Place { mount: storage::MountId(*b"sealkeep/kernel\0"), table };
                let mut rows = 0;
                let each = &mut |_: &[u8], _| {
                    rows += 1;
                    Ok(std::ops::ControlFlow::Continue(()))
                };
                snapshot.scan(place, &[], None, each).unwrap();
                rows
            };
            [of(18), of(29)]
        });
        assert_eq!(left, [0, 0], "nothing of it is kept");
    }
}
