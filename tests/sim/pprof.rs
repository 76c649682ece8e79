//! Profiles are there when the operator says so, for the owner, and show no memory.

use kernel::Settings;
use kit::Verb::{Get, Post};
use tests::desk::Desk;

fn desk(seed: u64) -> Desk {
    Desk::with(seed, Settings { profiling_endpoint: true, ..Settings::default() })
}

#[test]
fn it_is_there_when_the_operator_says_so_and_for_the_owner() {
    let closed = Desk::new(84);
    for path in ["sys/pprof", "sys/pprof/heap", "sys/pprof/nothing"] {
        let said = closed.ask(Get, path, "").expect(404);
        assert!(said.error().contains("profiling_endpoint = true"), "{}", said.error());
    }
    let desk = desk(85);
    let policy = r#"{"policy":"path \"sys/pprof*\" { capabilities = [\"read\"] }"}"#;
    desk.ask(Post, "sys/policies/acl/reader", policy).expect(204);
    let token = desk.ask(Post, "auth/token/create", r#"{"policies":["reader"]}"#).expect(200).token();
    for path in ["sys/pprof", "sys/pprof/heap", "sys/pprof/cmdline", "sys/pprof/profile"] {
        desk.ask_as(&token, Get, path, "").expect(403);
        desk.ask_as("", Get, path, "").expect(403);
    }
    desk.ask(Post, "sys/namespaces/team", "").expect(200);
    assert_ne!(desk.ask(Get, "team/sys/pprof/heap", "").status, 200, "it is about the server as a whole");
}

#[test]
fn what_is_known_is_told_and_the_rest_refused() {
    let desk = desk(86);
    let text = |path: &str| String::from_utf8(desk.ask(Get, path, "").expect(200).raw).unwrap();
    assert!(text("sys/pprof").contains("threadcreate"));
    assert_eq!(text("sys/pprof/symbol"), "num_symbols: 0\n");
    assert!(text("sys/pprof/heap?debug=1").starts_with("heap profile: "));
    assert!(text("sys/pprof/threadcreate?debug=1").lines().count() > 1);
    assert!(text("sys/pprof/goroutine?debug=2").contains("\tname\n"));
    // A protocol buffer begins with what is measured.
    assert_eq!(desk.ask(Get, "sys/pprof/heap", "").expect(200).raw[0], 0x0a);
    for unknown in ["allocs", "block", "mutex", "trace"] {
        assert!(desk.ask(Get, &format!("sys/pprof/{unknown}"), "").expect(404).error().contains("counts"));
    }
    desk.ask(Get, "sys/pprof/nothing", "").expect(404);
    desk.ask(Get, "sys/pprof/heap/more", "").expect(404);
    desk.ask(Get, "sys/pprof/heap?debug=much", "").expect(400);
    desk.ask(Post, "sys/pprof/heap", "").expect(405);
}
